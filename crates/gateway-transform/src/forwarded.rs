mod address;
pub(crate) mod node;
mod settings;

pub use settings::{ClientFrom, ForwardedSettings};

use crate::client_ip::{FOR, PROTO};
use gateway_core::{ClientAddr, PeerAddr, Scheme};
use http::header::{Entry, FORWARDED, HOST, HeaderName, HeaderValue};
use http::{HeaderMap, Request};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::task::{Context, Poll};
use tower::{Layer, Service};

static X_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
static PORT: HeaderName = HeaderName::from_static("x-forwarded-port");

/// Tells the upstream who asked: `X-Forwarded-For`, `X-Forwarded-Proto` and `X-Forwarded-Host`, and, where the
/// settings say so, `X-Forwarded-Port` and `Forwarded` (RFC 7239).
///
/// | header | from a trusted peer | from anybody else |
/// |---|---|---|
/// | `X-Forwarded-For`, `Forwarded` | the peer is added to the chain | the client alone |
/// | `X-Forwarded-Proto`, `-Host`, `-Port` | kept (of several `-Proto` the last), else set | set |
/// | `X-Forwarded-Prefix`, `X-Real-IP` | kept | removed |
/// | all of them with underscores for dashes | kept | removed |
/// | those of the other kind than [`client_from`](ForwardedSettings::client_from) names | removed: its client wrote them | removed |
///
/// The peer is the [`PeerAddr`] extension, else [`ClientAddr`]; the protocol is [`Scheme`]. What is not written by
/// settings is still removed when it comes from somebody who is not trusted. Put it outside what rewrites the
/// host, which it tells of, and inside [`ClientIpLayer`](crate::ClientIpLayer).
///
/// By then conditions, limits and whoever is asked about a request have seen what strangers wrote. A server that takes
/// it away before ([`only_proxies_say`]) adds [`of_cleaned`](Self::of_cleaned): what is there then, a policy has set.
#[derive(Clone, Debug)]
pub struct ForwardedLayer {
    settings: Arc<ForwardedSettings>,
    cleaned: bool,
}

impl ForwardedLayer {
    /// A layer with these settings.
    #[must_use]
    pub fn new(settings: &ForwardedSettings) -> Self {
        Self { settings: Arc::new(settings.clone()), cleaned: false }
    }

    /// The same for requests without the words of strangers: what is there is kept, whoever the peer is.
    #[must_use]
    pub fn of_cleaned(self) -> Self {
        Self { cleaned: true, ..self }
    }

    fn tell(&self, hop: SocketAddr, scheme: Scheme, headers: &mut HeaderMap) {
        if self.cleaned || self.settings.trusts(hop) {
            if !self.cleaned {
                remove_claims(headers, |name| !self.settings.client_from.is_of(name));
            }
            self.add(hop.ip().to_canonical(), scheme, headers);
        } else {
            self.replace(hop.ip().to_canonical(), scheme, headers);
        }
    }

    /// A trusted proxy's own words are kept.
    fn add(&self, hop: IpAddr, scheme: Scheme, headers: &mut HeaderMap) {
        if self.settings.x_forwarded {
            match headers.entry(&FOR) {
                Entry::Vacant(none) => drop(none.insert(address::value(hop))),
                Entry::Occupied(mut chain) => {
                    let before: Vec<_> = chain.iter().filter_map(|value| value.to_str().ok()).collect();
                    let before = before.join(", ");
                    let value = HeaderValue::try_from(format!("{before}, {hop}"));
                    let value = value.ok().filter(|_| !before.is_empty());
                    chain.insert(value.unwrap_or_else(|| address::value(hop)));
                }
            }
            match headers.entry(&PROTO) {
                Entry::Vacant(none) => drop(none.insert(HeaderValue::from_static(scheme.as_str()))),
                // Of several, what was believed: services read the first, or none.
                Entry::Occupied(mut told) if are_several(told.iter()) => {
                    told.insert(HeaderValue::from_static(scheme.as_str()));
                }
                Entry::Occupied(_) => {}
            }
            if let Some(host) = headers.get(HOST).cloned() {
                headers.entry(&X_HOST).or_insert(host);
            }
        }
        if self.settings.port && !headers.contains_key(&PORT) {
            headers.insert(PORT.clone(), port(headers.get(HOST), scheme));
        }
        if self.settings.rfc7239 {
            let element = element(hop, scheme, headers.get(HOST));
            headers.append(FORWARDED, element);
        }
    }

    /// Nobody else says who they are.
    fn replace(&self, hop: IpAddr, scheme: Scheme, headers: &mut HeaderMap) {
        remove_claims(headers, |_| true);
        if self.settings.x_forwarded {
            headers.insert(FOR.clone(), address::value(hop));
            headers.insert(PROTO.clone(), HeaderValue::from_static(scheme.as_str()));
            let host = headers.get(HOST).cloned();
            insert(headers, &X_HOST, host);
        }
        if self.settings.port {
            headers.insert(PORT.clone(), port(headers.get(HOST), scheme));
        }
        if self.settings.rfc7239 {
            let element = element(hop, scheme, headers.get(HOST));
            headers.insert(FORWARDED, element);
        }
    }
}

/// What only a proxy may say.
const CLAIMS: [&str; 7] = [
    "forwarded",
    "x-real-ip",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-prefix",
    "x-forwarded-proto",
];

/// Whether only a proxy may say this of a request: `Forwarded`, `X-Real-IP`, and all of `X-Forwarded-*`, with dashes or
/// with what CGI and its heirs take for them: underscores, dots and the like. Servers remove it from requests of peers that [`ClientIpLayer::believes`](crate::ClientIpLayer::believes)
/// nothing, before anything is decided by it.
#[must_use]
pub fn only_proxies_say(name: &HeaderName) -> bool {
    let name = name.as_str();
    let (prefix, real_ip) = ("x-forwarded-", "x-real-ip");
    match name.as_bytes().first() {
        Some(b'f') => name == "forwarded",
        Some(b'x') => {
            same(name, real_ip) || name.get(..prefix.len()).is_some_and(|begin| same(begin, prefix))
        }
        _ => false,
    }
}

fn same(name: &str, claim: &str) -> bool {
    name.len() == claim.len()
        && name.bytes().zip(claim.bytes()).all(|(a, b)| a == b || (b == b'-' && !a.is_ascii_alphanumeric()))
}

fn remove_claims(headers: &mut HeaderMap, is_meant: impl Fn(&str) -> bool) {
    let is_one = |name: &&HeaderName| is_claim(name.as_str()) && is_meant(name.as_str());
    // A look at the names costs less than removals of what is rarely there.
    if headers.keys().any(|name| is_one(&name)) {
        let claims: Vec<_> = headers.keys().filter(is_one).cloned().collect();
        for name in claims {
            headers.remove(name);
        }
    }
}

/// Whether a service may take this for one of them: CGI and its heirs make one of dashes, underscores and dots. The first
/// letter decides for nearly all names.
fn is_claim(name: &str) -> bool {
    matches!(name.as_bytes().first(), Some(b'f' | b'x')) && CLAIMS.iter().any(|claim| same(name, claim))
}

fn insert(headers: &mut HeaderMap, name: &HeaderName, value: Option<HeaderValue>) {
    match value {
        Some(value) => drop(headers.insert(name.clone(), value)),
        None => drop(headers.remove(name)),
    }
}

fn are_several<'v>(mut values: impl Iterator<Item = &'v HeaderValue>) -> bool {
    let first = values.next().map(HeaderValue::as_bytes).unwrap_or_default();
    first.contains(&b',') || values.next().is_some()
}

/// The port that the client asked: that of its `Host`, else the scheme's.
fn port(host: Option<&HeaderValue>, scheme: Scheme) -> HeaderValue {
    let asked = host.and_then(|host| host.to_str().ok()?.rsplit_once(':')?.1.parse::<u16>().ok());
    match asked.unwrap_or(scheme.default_port()) {
        80 => HeaderValue::from_static("80"),
        443 => HeaderValue::from_static("443"),
        other => HeaderValue::from(other),
    }
}

/// One hop (RFC 7239 §4): IPv6 addresses in brackets and quotes, and hosts in quotes, as their colons need.
fn element(hop: IpAddr, scheme: Scheme, host: Option<&HeaderValue>) -> HeaderValue {
    let mut text = match hop {
        IpAddr::V4(ip) => format!("for={ip};proto={}", scheme.as_str()),
        IpAddr::V6(ip) => format!("for=\"[{ip}]\";proto={}", scheme.as_str()),
    };
    let host = host.and_then(|host| host.to_str().ok());
    if let Some(host) = host.filter(|host| !host.contains(['"', '\\'])) {
        text.extend([";host=\"", host, "\""]);
    }
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("for=unknown"))
}

impl<S> Layer<S> for ForwardedLayer {
    type Service = Forwarded<S>;
    fn layer(&self, inner: S) -> Forwarded<S> {
        Forwarded { inner, layer: self.clone() }
    }
}

/// The service of [`ForwardedLayer`].
#[derive(Clone, Debug)]
pub struct Forwarded<S> {
    inner: S,
    layer: ForwardedLayer,
}

impl<S: Service<Request<B>>, B> Service<Request<B>> for Forwarded<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> S::Future {
        let facts = request.extensions();
        if let Some(client) = facts.get::<ClientAddr>() {
            let hop = facts.get::<PeerAddr>().map_or(client.0, |peer| peer.0);
            let scheme = facts.get().copied().unwrap_or_default();
            self.layer.tell(hop, scheme, request.headers_mut());
        }
        self.inner.call(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    type Sent = [(&'static str, &'static str)];

    fn told_over(
        scheme: Scheme,
        settings: serde_json::Value,
        peer: &str,
        sent: &Sent,
    ) -> Vec<(String, String)> {
        let layer = ForwardedLayer::new(&serde_json::from_value(settings).unwrap());
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_static("shop.example"));
        for (name, value) in sent {
            headers.append(*name, HeaderValue::from_static(value));
        }
        layer.tell(SocketAddr::new(peer.parse().unwrap(), 9), scheme, &mut headers);
        headers.remove(HOST);
        let mut told: Vec<_> =
            headers.iter().map(|(n, v)| (n.to_string(), v.to_str().unwrap().to_owned())).collect();
        told.sort();
        told
    }

    fn told(trusted: &[&str], peer: &str, sent: &Sent) -> Vec<(String, String)> {
        told_over(Scheme::Http, json!({ "trusted_proxies": trusted }), peer, sent)
    }

    fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
        expected.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn strangers_cannot_say_who_they_are() {
        let sent = [
            ("x-forwarded-for", "1.2.3.4"),
            ("forwarded", "for=1.2.3.4"),
            ("x-real-ip", "1.2.3.4"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "evil.example"),
            ("x-forwarded-port", "1"),
            ("x-forwarded-prefix", "/evil"),
            ("x_forwarded_for", "1.2.3.4"),
            ("x.forwarded.for", "1.2.3.4"),
            ("x-real.ip", "1.2.3.4"),
        ];
        let expected = pairs(&[
            ("x-forwarded-for", "2001:db8::7"),
            ("x-forwarded-host", "shop.example"),
            ("x-forwarded-proto", "http"),
        ]);
        assert_eq!(told(&[], "2001:db8::7", &sent), expected);
        assert_eq!(told(&["10.0.0.0/8"], "2001:db8::7", &sent), expected);
        let silent = json!({ "x_forwarded": false });
        assert_eq!(told_over(Scheme::Http, silent.clone(), "192.0.2.1", &sent), []);
        assert_eq!(told_over(Scheme::Http, silent, "192.0.2.1", &sent[7..]), []);
    }

    #[test]
    fn a_trusted_proxy_is_believed_and_added_to_the_chain() {
        let sent =
            [("x-forwarded-for", "1.2.3.4"), ("x-forwarded-for", "10.0.0.1"), ("x-forwarded-proto", "https")];
        let expected = pairs(&[
            ("x-forwarded-for", "1.2.3.4, 10.0.0.1, 10.0.0.2"),
            ("x-forwarded-host", "shop.example"),
            ("x-forwarded-proto", "https"),
        ]);
        assert_eq!(told(&["10.0.0.0/8"], "10.0.0.2", &sent), expected);
        // Where only their number is known, whoever connects is one of them, unless networks say otherwise.
        assert_eq!(told_over(Scheme::Http, json!({ "depth": 1 }), "10.0.0.2", &sent), expected);
        let elsewhere = json!({ "depth": 1, "trusted_proxies": ["192.0.2.0/24"] });
        assert_eq!(told_over(Scheme::Http, elsewhere, "10.0.0.2", &sent)[0].1, "10.0.0.2");
    }

    #[test]
    fn a_trusted_proxy_is_believed_in_the_headers_that_it_writes() {
        let sent = [
            ("forwarded", "for=1.2.3.4;proto=https"),
            ("x-forwarded-for", "9.9.9.9"),
            ("x-forwarded-proto", "ftp"),
        ];
        let told = |from: &str| {
            let settings = json!({ "trusted_proxies": ["10.0.0.0/8"], "client_from": from });
            told_over(Scheme::Http, settings, "10.0.0.2", &sent)
                .into_iter()
                .map(|(_, value)| value)
                .collect::<Vec<_>>()
        };
        let theirs = ["for=1.2.3.4;proto=https", "10.0.0.2", "shop.example", "http"];
        assert_eq!(told("forwarded"), theirs);
        assert_eq!(told("x_forwarded_for"), ["9.9.9.9, 10.0.0.2", "shop.example", "ftp"]);
        assert_eq!(told("auto").len(), 4);
    }

    #[test]
    fn of_several_schemes_a_service_is_told_the_one_that_is_believed() {
        let of = |sent: &Sent| {
            let told =
                told_over(Scheme::Https, json!({ "trusted_proxies": ["10.0.0.0/8"] }), "10.0.0.2", sent);
            told.into_iter()
                .filter(|(name, _)| name == "x-forwarded-proto")
                .map(|(_, value)| value)
                .collect::<Vec<_>>()
        };
        assert_eq!(of(&[("x-forwarded-proto", "http, https")]), ["https"]);
        assert_eq!(of(&[("x-forwarded-proto", "http"), ("x-forwarded-proto", "https")]), ["https"]);
        assert_eq!(of(&[("x-forwarded-proto", "wss")]), ["wss"]);
    }

    #[test]
    fn what_policies_have_set_is_kept_where_strangers_words_are_gone() {
        let layer = ForwardedLayer::new(&ForwardedSettings::default()).of_cleaned();
        let peer = "192.0.2.1:9".parse().unwrap();
        let told = |sent: &Sent| {
            let mut headers: HeaderMap =
                sent.iter().map(|(n, v)| (n.parse().unwrap(), HeaderValue::from_static(v))).collect();
            layer.tell(peer, Scheme::Http, &mut headers);
            headers
        };
        let none = told(&[]);
        assert_eq!((&none[&FOR], &none[&PROTO]), (&"192.0.2.1".parse().unwrap(), &"http".parse().unwrap()));
        let set =
            told(&[("x-forwarded-proto", "https"), ("x-real-ip", "10.0.0.1"), ("x-forwarded-port", "8443")]);
        assert_eq!(set[&PROTO], "https");
        assert_eq!(
            (&set["x-real-ip"], &set[&PORT]),
            (&"10.0.0.1".parse().unwrap(), &"8443".parse().unwrap())
        );
    }

    #[test]
    fn what_only_proxies_say_is_known_in_either_spelling() {
        for (name, expected) in [
            ("forwarded", true),
            ("x-real-ip", true),
            ("x_real_ip", true),
            ("x-forwarded-for", true),
            ("x_forwarded-user", true),
            ("x-forwarded-", true),
            ("x-forwarded", false),
            ("x.forwarded.for", true),
            ("x-real!ip", true),
            ("x-real-ips", false),
            ("forwarded-by", false),
            ("x-request-id", false),
            ("host", false),
        ] {
            assert_eq!(only_proxies_say(&name.parse().unwrap()), expected, "{name}");
        }
    }

    #[test]
    fn port_and_forwarded_are_told_when_asked_for() {
        let settings = json!({ "trusted_proxies": ["10.0.0.0/8"], "port": true, "rfc7239": true });
        let over = |scheme, peer, sent: &Sent| {
            let told = told_over(scheme, settings.clone(), peer, sent);
            told.into_iter()
                .filter(|(name, _)| name == "forwarded" || name == "x-forwarded-port")
                .collect::<Vec<_>>()
        };
        let sent = [("forwarded", "for=1.2.3.4"), ("x-forwarded-port", "8443")];
        assert_eq!(
            over(Scheme::Https, "2001:db8::7", &sent),
            pairs(&[
                ("forwarded", "for=\"[2001:db8::7]\";proto=https;host=\"shop.example\""),
                ("x-forwarded-port", "443"),
            ])
        );
        assert_eq!(
            over(Scheme::Http, "10.0.0.2", &sent),
            pairs(&[
                ("forwarded", "for=1.2.3.4"),
                ("forwarded", "for=10.0.0.2;proto=http;host=\"shop.example\""),
                ("x-forwarded-port", "8443"),
            ])
        );
        for (host, expected) in
            [("a:8080", "8080"), ("a", "80"), ("[2001:db8::1]:81", "81"), ("[2001:db8::1]", "80")]
        {
            assert_eq!(port(Some(&HeaderValue::from_static(host)), Scheme::Http), expected, "{host}");
        }
    }

    #[tokio::test]
    async fn the_chain_names_the_peer_and_not_the_client_that_was_found_behind_it() {
        let settings: ForwardedSettings =
            serde_json::from_value(json!({ "trusted_proxies": ["10.0.0.0/8"] })).unwrap();
        let inner = tower::service_fn(|request: Request<()>| async move {
            Ok::<_, std::convert::Infallible>(request.headers()["x-forwarded-for"].clone())
        });
        let service = crate::ClientIpLayer::new(&settings).layer(ForwardedLayer::new(&settings).layer(inner));
        let mut request = Request::get("/").header("x-forwarded-for", "1.1.1.1").body(()).unwrap();
        request.extensions_mut().insert(ClientAddr("10.0.0.2:9".parse().unwrap()));
        assert_eq!(tower::ServiceExt::oneshot(service, request).await.unwrap(), "1.1.1.1, 10.0.0.2");
    }
}
