use gateway_core::ClientAddr;
use http::header::{FORWARDED, HOST, HeaderName, HeaderValue};
use http::{HeaderMap, Request};
use ipnet::IpNet;
use schemars::JsonSchema;
use serde::Deserialize;
use std::fmt::Write;
use std::net::IpAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use tower::{Layer, Service};

static FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
static PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
static X_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
static OTHERS: [HeaderName; 3] = [
    HeaderName::from_static("x-forwarded-port"),
    HeaderName::from_static("x-forwarded-prefix"),
    HeaderName::from_static("x-real-ip"),
];

/// Which proxies in front of the gateway are believed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ForwardedSettings {
    /// Networks whose `Forwarded` and `X-Forwarded-*` headers are kept, such as `10.0.0.0/8`. Default: none; what
    /// clients send of them is removed.
    #[schemars(with = "Vec<String>")]
    pub trusted_proxies: Vec<IpNet>,
}

/// Tells the upstream who asked: `X-Forwarded-For`, `X-Forwarded-Proto` and `X-Forwarded-Host`.
///
/// A trusted peer's own `X-Forwarded-For` is appended to, its other headers kept; anybody else's are replaced.
/// The peer is the [`ClientAddr`] extension.
#[derive(Clone, Debug)]
pub struct ForwardedLayer {
    trusted: Arc<[IpNet]>,
}

impl ForwardedLayer {
    /// A layer with these settings.
    #[must_use]
    pub fn new(settings: &ForwardedSettings) -> Self {
        Self { trusted: settings.trusted_proxies.clone().into() }
    }

    fn tell(&self, peer: IpAddr, headers: &mut HeaderMap) {
        let mut text = Text { buffer: [0; 48], length: 0 };
        if self.trusted.iter().any(|network| network.contains(&peer)) {
            let before: Vec<_> = headers.get_all(&FOR).iter().filter_map(|v| v.to_str().ok()).collect();
            let chain = before.join(", ");
            let chain = if chain.is_empty() { peer.to_string() } else { format!("{chain}, {peer}") };
            insert(headers, &FOR, HeaderValue::try_from(chain).ok());
            if !headers.contains_key(&PROTO) {
                headers.insert(PROTO.clone(), HeaderValue::from_static("http"));
            }
            if !headers.contains_key(&X_HOST) {
                let host = headers.get(HOST).cloned();
                insert(headers, &X_HOST, host);
            }
            return;
        }
        // A look at the names costs less than four removals of what is rarely there.
        if headers.keys().any(|name| *name == FORWARDED || OTHERS.contains(name)) {
            headers.remove(FORWARDED);
            for name in &OTHERS {
                headers.remove(name);
            }
        }
        // An address is at most 45 characters, and always valid.
        let address = write!(text, "{peer}").ok().and_then(|()| HeaderValue::from_bytes(text.bytes()).ok());
        insert(headers, &FOR, address);
        headers.insert(PROTO.clone(), HeaderValue::from_static("http"));
        let host = headers.get(HOST).cloned();
        insert(headers, &X_HOST, host);
    }
}

fn insert(headers: &mut HeaderMap, name: &HeaderName, value: Option<HeaderValue>) {
    match value {
        Some(value) => drop(headers.insert(name.clone(), value)),
        None => drop(headers.remove(name)),
    }
}

/// A text on the stack, long enough for any address.
struct Text {
    buffer: [u8; 48],
    length: usize,
}

impl Text {
    fn bytes(&self) -> &[u8] {
        &self.buffer[..self.length]
    }
}

impl Write for Text {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let end = self.length + text.len();
        self.buffer.get_mut(self.length..end).ok_or(std::fmt::Error)?.copy_from_slice(text.as_bytes());
        self.length = end;
        Ok(())
    }
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
        if let Some(client) = request.extensions().get::<ClientAddr>().copied() {
            self.layer.tell(client.ip(), request.headers_mut());
        }
        self.inner.call(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(trusted: &[&str], peer: &str, sent: &[(&'static str, &'static str)]) -> Vec<(String, String)> {
        let layer = ForwardedLayer::new(&ForwardedSettings {
            trusted_proxies: trusted.iter().map(|net| net.parse().unwrap()).collect(),
        });
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_static("shop.example"));
        for (name, value) in sent {
            headers.append(*name, HeaderValue::from_static(value));
        }
        layer.tell(peer.parse().unwrap(), &mut headers);
        headers.remove(HOST);
        let mut told: Vec<_> =
            headers.iter().map(|(n, v)| (n.to_string(), v.to_str().unwrap().to_owned())).collect();
        told.sort();
        told
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
        ];
        let expected = pairs(&[
            ("x-forwarded-for", "2001:db8::7"),
            ("x-forwarded-host", "shop.example"),
            ("x-forwarded-proto", "http"),
        ]);
        assert_eq!(told(&[], "2001:db8::7", &sent), expected);
        assert_eq!(told(&["10.0.0.0/8"], "2001:db8::7", &sent), expected);
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
    }
}
