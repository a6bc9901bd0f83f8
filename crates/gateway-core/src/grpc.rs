use crate::Code;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};

/// The outcome of a call, from 0 (OK) to 16 (UNAUTHENTICATED).
pub(crate) const STATUS: HeaderName = HeaderName::from_static("grpc-status");
/// What the outcome means, percent-encoded.
pub(crate) const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// A gRPC request, told by its `Content-Type`: `application/grpc`, alone or followed by `+proto` and the like.
///
/// Its client looks for the outcome of a call in `grpc-status`, not in the HTTP status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grpc {
    /// gRPC over HTTP/2: `application/grpc`.
    Native,
    /// gRPC-Web: `application/grpc-web`.
    Web,
    /// gRPC-Web in base64: `application/grpc-web-text`.
    WebText,
}

impl Grpc {
    /// Which kind of gRPC request has these headers; `None` for all others.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let (start, rest) = headers.get(CONTENT_TYPE)?.as_bytes().split_at_checked(16)?;
        if !start.eq_ignore_ascii_case(b"application/grpc") {
            return None;
        }
        let kinds = [(&b"-web-text"[..], Self::WebText), (b"-web", Self::Web), (b"", Self::Native)];
        let (kind, rest) = kinds.into_iter().find_map(|(suffix, kind)| {
            let (found, rest) = rest.split_at_checked(suffix.len())?;
            found.eq_ignore_ascii_case(suffix).then_some((kind, rest))
        })?;
        matches!(rest.first(), None | Some(b'+' | b';' | b' ')).then_some(kind)
    }

    pub(crate) fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Native => "application/grpc",
            Self::Web => "application/grpc-web",
            Self::WebText => "application/grpc-web-text",
        })
    }
}

impl Code {
    /// Its `grpc-status`.
    ///
    /// | answers | `grpc-status` |
    /// |---|---|
    /// | 400, 414, 415, 422 | 3 INVALID_ARGUMENT |
    /// | 401 | 16 UNAUTHENTICATED |
    /// | 403 | 7 PERMISSION_DENIED |
    /// | 404 `not-found` | 5 NOT_FOUND |
    /// | 404 `no-route`, 405 | 12 UNIMPLEMENTED |
    /// | 409 | 6 ALREADY_EXISTS |
    /// | 408, 504 | 4 DEADLINE_EXCEEDED |
    /// | 413, 429, 431 | 8 RESOURCE_EXHAUSTED |
    /// | 500 | 13 INTERNAL |
    /// | 502, 503 | 14 UNAVAILABLE |
    ///
    /// gRPC's own `http-grpc-status-mapping` says what clients are to make of an intermediary that knows nothing of
    /// gRPC. This table parts from it where the gateway knows more: it tells a client's mistake (3) from a fault of
    /// the service (13), a limit (8), which only waiting helps against, from a service that is away (14), which
    /// clients call again at once, and a timeout (4) from both. As gRPC's own servers do, it calls what is too large
    /// RESOURCE_EXHAUSTED.
    #[must_use]
    pub fn grpc_status(self) -> u8 {
        match self {
            Self::BadRequest | Self::UriTooLong | Self::UnsupportedMediaType | Self::InvalidRequest => 3,
            Self::RequestTimeout | Self::UpstreamTimeout | Self::NotCached => 4,
            Self::NotFound => 5,
            Self::Conflict => 6,
            Self::Forbidden | Self::InsufficientScope => 7,
            Self::BodyTooLarge | Self::HeadersTooLarge | Self::RateLimited | Self::QuotaExceeded => 8,
            Self::NoRoute | Self::MethodNotAllowed => 12,
            Self::InternalError => 13,
            Self::UpstreamConnectFailed
            | Self::UpstreamReset
            | Self::UpstreamProtocolError
            | Self::NoEndpoint
            | Self::StoreUnavailable
            | Self::Overloaded
            | Self::Draining
            | Self::Maintenance
            | Self::FaultInjected
            | Self::CircuitOpen
            | Self::AuthUnavailable => 14,
            Self::MissingCredentials
            | Self::InvalidToken
            | Self::ExpiredToken
            | Self::RevokedToken
            | Self::InvalidCredentials => 16,
        }
    }
}

/// Text as a `grpc-message`: all but printable ASCII, and the percent sign itself, percent-encoded.
pub(crate) fn message(text: &str) -> HeaderValue {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut encoded = Vec::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'%' | ..=0x1f | 0x7f.. => {
                encoded.extend([b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
            }
            printable => encoded.push(printable),
        }
    }
    // Printable ASCII is always a header's value.
    HeaderValue::from_maybe_shared(Bytes::from(encoded)).unwrap_or(HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn grpc_requests_are_told_by_their_content_type() {
        for (value, expected) in [
            ("application/grpc", Some(Grpc::Native)),
            ("application/grpc+proto", Some(Grpc::Native)),
            ("Application/gRPC; charset=utf-8", Some(Grpc::Native)),
            ("application/grpc-web", Some(Grpc::Web)),
            ("application/grpc-web+json", Some(Grpc::Web)),
            ("application/grpc-web-text", Some(Grpc::WebText)),
            ("application/grpc-web-text+proto", Some(Grpc::WebText)),
            ("application/grpcish", None),
            ("application/grpc-websocket", None),
            ("application/json", None),
            ("application/gr", None),
            ("", None),
        ] {
            let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(value))]);
            assert_eq!(Grpc::of(&headers), expected, "{value}");
        }
        assert_eq!(Grpc::of(&HeaderMap::new()), None);
    }

    #[test]
    fn every_code_has_the_status_that_the_table_says() {
        for code in Code::all() {
            let expected = match code.status().as_u16() {
                400 | 414 | 415 | 422 => 3,
                401 => 16,
                403 => 7,
                // A route that is not there is UNIMPLEMENTED, a thing that is not there NOT_FOUND.
                404 if code == Code::NotFound => 5,
                404 | 405 => 12,
                409 => 6,
                408 | 504 => 4,
                413 | 429 | 431 => 8,
                500 => 13,
                502 | 503 => 14,
                other => panic!("{} answers {other}, which is not in the table", code.name()),
            };
            assert_eq!(code.grpc_status(), expected, "{}", code.name());
        }
    }

    proptest! {
        #[test]
        fn a_message_is_printable_and_says_the_same_once_decoded(text in "\\PC*|[\\x00-\\x7f]*|.*%.*") {
            let value = message(&text);
            let encoded = value.to_str().unwrap();
            prop_assert!(encoded.bytes().all(|byte| matches!(byte, 0x20..=0x7e)));
            let mut decoded = Vec::new();
            let mut rest = encoded.bytes();
            while let Some(byte) = rest.next() {
                decoded.push(if byte == b'%' {
                    let mut digit = || char::from(rest.next().unwrap()).to_digit(16).unwrap() as u8;
                    digit() << 4 | digit()
                } else {
                    byte
                });
            }
            prop_assert_eq!(decoded, text.as_bytes());
        }
    }
}
