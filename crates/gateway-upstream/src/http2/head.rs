//! Heads in HTTP/2: the same fields stay behind as in HTTP/1.1.

use crate::http1::{BodyFraming, asks_for_trailers};
use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use gateway_core::{Endpoint, Scheme};
use gateway_http1::{may_be_trailer, nominated_by, stays_behind};
use h2::ext::Protocol;
use http::header::{CONNECTION, CONTENT_LENGTH, HOST, HeaderMap, HeaderValue};
use http::header::{PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER, UPGRADE};
use http::header::{SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY};
use http::request::Parts;
use http::uri::{Authority, PathAndQuery};
use http::{Method, Request, StatusCode, Uri, Version};

/// The request as it is sent: `:authority` from `host`, else from the client's `Host`, else the endpoint's own. An empty
/// `Host` names nobody (RFC 9112 §3.2), and there is no empty `:authority` (RFC 9113 §8.3.1).
pub(super) fn request(
    head: &Parts,
    host: Option<&HeaderValue>,
    endpoint: &Endpoint,
    framing: BodyFraming,
) -> Result<Request<()>, &'static str> {
    let host = host.or_else(|| head.headers.get(HOST).filter(|host| !host.is_empty()));
    let authority = match (host, head.uri.authority()) {
        (Some(host), _) => {
            let authority = Authority::try_from(host.as_bytes()).ok();
            // RFC 9113 §8.3.1: no credentials in it.
            let authority = authority.filter(|authority| !authority.as_str().contains('@'));
            authority.ok_or("the request's host cannot be sent over HTTP/2")?
        }
        (None, Some(authority)) => authority.clone(),
        (None, None) => endpoint.authority().clone(),
    };
    let mut uri = http::uri::Parts::default();
    uri.scheme = Some(match endpoint.scheme() {
        Scheme::Http => http::uri::Scheme::HTTP,
        Scheme::Https => http::uri::Scheme::HTTPS,
    });
    uri.authority = Some(authority);
    let target = head.uri.path_and_query().cloned();
    uri.path_and_query = Some(target.unwrap_or_else(|| PathAndQuery::from_static("/")));
    let mut request = Request::new(());
    *request.method_mut() = head.method.clone();
    *request.uri_mut() =
        Uri::from_parts(uri).map_err(|_| "the request's target cannot be sent over HTTP/2")?;
    *request.version_mut() = Version::HTTP_2;
    *request.headers_mut() = fields(&head.headers, framing);
    Ok(request)
}

/// The same request as one for a tunnel (RFC 8441 §4). HTTP/2 does without the key of WebSockets (§5).
pub(super) fn extended(mut request: Request<()>, protocol: &str) -> Request<()> {
    *request.method_mut() = Method::CONNECT;
    request.headers_mut().remove(SEC_WEBSOCKET_KEY);
    request.extensions_mut().insert(Protocol::from(protocol));
    request
}

/// Makes of the answer that grants a tunnel what HTTP/1.1 says instead, with the proof that the key of WebSockets was
/// seen (RFC 6455 §4.2.2).
pub(super) fn granted(answer: &mut http::response::Parts, asked: &Parts, protocol: &HeaderValue) {
    answer.status = StatusCode::SWITCHING_PROTOCOLS;
    answer.headers.remove(CONTENT_LENGTH);
    answer.headers.insert(UPGRADE, protocol.clone());
    if let Some(key) = asked.headers.get(SEC_WEBSOCKET_KEY) {
        let proven = [key.as_bytes(), b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"].concat();
        let proof = STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, &proven));
        if let Ok(proof) = HeaderValue::try_from(proof) {
            answer.headers.insert(SEC_WEBSOCKET_ACCEPT, proof);
        }
    }
}

fn fields(from: &HeaderMap, framing: BodyFraming) -> HeaderMap {
    let nominated = if from.contains_key(CONNECTION) { nominated_by(from) } else { Vec::new() };
    let mut fields = HeaderMap::with_capacity(from.len() + 1);
    for (name, value) in from {
        if stays_behind(name.as_str()) {
            // gRPC servers demand it (gRPC over HTTP/2, "Requests").
            if name == TE && asks_for_trailers(value) {
                fields.insert(TE, HeaderValue::from_static("trailers"));
            }
        } else if nominated.is_empty() || !nominated.contains(name) {
            fields.append(name.clone(), value.clone());
        }
    }
    if let BodyFraming::Length(length) = framing {
        fields.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    fields
}

/// Removes what belongs to the connection from an answer. h2 has refused the rest as malformed (RFC 9113 §8.2.2).
pub(super) fn clean(headers: &mut HeaderMap) {
    for name in [TE, TRAILER, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION] {
        headers.remove(name);
    }
}

/// What may stand in a trailer section.
pub(super) fn trailers(trailers: HeaderMap) -> HeaderMap {
    if trailers.keys().all(may_be_trailer) {
        return trailers;
    }
    let allowed = trailers.iter().filter(|(name, _)| may_be_trailer(name));
    allowed.map(|(name, value)| (name.clone(), value.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(build: impl FnOnce(http::request::Builder) -> http::request::Builder) -> Parts {
        build(Request::get("/a?b=1")).body(()).unwrap().into_parts().0
    }

    fn endpoint() -> Endpoint {
        Endpoint::parse("https://10.0.0.1:8443").unwrap()
    }

    #[test]
    fn the_same_fields_stay_behind_as_in_http1() {
        let head = head(|request| {
            request
                .header("Host", "shop.example")
                .header("Connection", "keep-alive, X-Hop, Authorization, TE")
                .header("Keep-Alive", "timeout=5")
                .header("Proxy-Connection", "keep-alive")
                .header("Transfer-Encoding", "chunked")
                .header("Upgrade", "h2c")
                .header("HTTP2-Settings", "x")
                .header("X-Hop", "1")
                .header("Authorization", "Bearer x")
                .header("TE", "gzip, trailers")
                .header("Content-Length", "5")
                .header("Accept", "a")
        });
        let request = request(&head, None, &endpoint(), BodyFraming::Length(7)).unwrap();
        assert_eq!(request.uri(), "https://shop.example/a?b=1");
        let mut seen: Vec<_> =
            request.headers().iter().map(|(n, v)| format!("{n}: {}", v.to_str().unwrap())).collect();
        seen.sort();
        assert_eq!(seen, ["accept: a", "authorization: Bearer x", "content-length: 7", "te: trailers"]);
    }

    #[test]
    fn the_authority_is_that_of_the_settings_the_client_or_the_endpoint() {
        let own = HeaderValue::from_static("10.0.0.1:8443");
        let none = BodyFraming::None;
        let named = head(|request| request.header("Host", "shop.example"));
        let authority = |head: &Parts, host: Option<&HeaderValue>| {
            request(head, host, &endpoint(), none).map(|r| r.uri().authority().unwrap().to_string())
        };
        assert_eq!(authority(&named, None).unwrap(), "shop.example");
        assert_eq!(authority(&named, Some(&own)).unwrap(), "10.0.0.1:8443");
        assert_eq!(authority(&head(|request| request), None).unwrap(), "10.0.0.1:8443");
        let empty = head(|request| request.header("Host", ""));
        assert_eq!(authority(&empty, None).unwrap(), "10.0.0.1:8443");
        for odd in ["a b", "u:p@shop.example"] {
            let odd = head(|request| request.header("Host", odd));
            assert!(authority(&odd, None).is_err());
        }
    }

    #[test]
    fn an_answer_loses_what_is_for_one_connection() {
        let all = ["te", "trailer", "proxy-authenticate", "proxy-authorization", "www-authenticate"];
        let mut headers = all.iter().map(|n| (n.parse().unwrap(), HeaderValue::from_static("x"))).collect();
        clean(&mut headers);
        assert_eq!(headers.keys().map(http::HeaderName::as_str).collect::<Vec<_>>(), ["www-authenticate"]);
    }

    #[test]
    fn trailers_carry_nothing_that_frames_or_authenticates() {
        let all = [("grpc-status", "0"), ("content-length", "5"), ("authorization", "x")];
        let map = all.iter().map(|(n, v)| (n.parse().unwrap(), HeaderValue::from_static(v))).collect();
        let left = trailers(map);
        assert_eq!(left.keys().map(http::HeaderName::as_str).collect::<Vec<_>>(), ["grpc-status"]);
    }
}
