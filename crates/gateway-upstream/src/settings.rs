mod tls;

pub use tls::{TlsSettings, TlsVersion};

use gateway_core::units::{ByteSize, Timespan};
use schemars::JsonSchema;
use serde::Deserialize;
use std::num::{NonZeroU32, NonZeroUsize};

/// Which `Host` the upstream sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HostHeader {
    /// The one the client sent, as Envoy, Traefik and Caddy do.
    #[default]
    Preserve,
    /// The endpoint's own, as nginx does.
    Endpoint,
}

/// Which version of HTTP is spoken to an endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// Over TLS what the upstream prefers of HTTP/2 and HTTP/1.1 (ALPN, RFC 7301); in plain text HTTP/1.1.
    #[default]
    Auto,
    /// HTTP/1.1.
    Http1,
    /// HTTP/2, in plain text by prior knowledge (RFC 9113 §3.3): "h2c", as gRPC servers speak it.
    Http2,
}

/// Which version of the PROXY protocol tells an endpoint who the client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProxyProtocol {
    /// One line of text.
    V1,
    /// Binary.
    V2,
}

/// How connections to one endpoint are made and kept.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct UpstreamSettings {
    /// Which `Host` the upstream sees: `preserve` (the client's) or `endpoint`.
    pub host: HostHeader,
    /// Which version of HTTP is spoken: `auto` (over TLS what the upstream prefers, in plain text HTTP/1.1),
    /// `http1` or `http2` (in plain text by prior knowledge, for gRPC). Default `auto`.
    pub protocol: Protocol,
    /// Tells the endpoint at the start of each connection who the client is, before TLS: `v1` (text) or `v2` (binary) of
    /// the PROXY protocol. Such a connection serves one client's connection and is kept for that alone; HTTP/1.1 only.
    /// The endpoint must expect it. Default: not sent.
    pub proxy_protocol: Option<ProxyProtocol>,
    /// Whom to trust and how to show who we are, for `https` endpoints.
    pub tls: TlsSettings,
    /// How long a connection may take to be made, name resolution and TLS included. Default `1s`.
    pub connect_timeout: Timespan,
    /// How long a TCP connection is silent before the system asks whether the other side is still there, and how
    /// often it asks then. `0s` turns it off. Default `60s`.
    pub tcp_keepalive: Timespan,
    /// How long an idle connection is kept. Shorter than what usual servers keep (nginx: 75 s, Node.js: 5 s
    /// are the extremes), so that they rarely close first. Default `55s`.
    pub idle_timeout: Timespan,
    /// How many idle connections are kept per endpoint and worker. Default 256.
    pub max_idle: usize,
    /// How many connections there may be per endpoint, those of all workers together, in use or idle. A request that
    /// finds all of them in use waits up to `connect_timeout` for one, then another endpoint is tried, else the answer is
    /// 503 `overloaded`; over HTTP/2 it shares one, and a worker that has none may open one on top. Default: no limit.
    pub max_connections: Option<NonZeroUsize>,
    /// How many requests may wait at once for one of an endpoint's connections; the next are not kept waiting. Default
    /// 1024 (Envoy's).
    pub max_pending: usize,
    /// The age from which a connection takes no further request, so that it moves with DNS and load balancers.
    /// Default: no limit.
    pub max_lifetime: Option<Timespan>,
    /// How many requests a connection takes before it is replaced. Default: no limit.
    pub max_requests: Option<NonZeroU32>,
    /// How many requests share an HTTP/2 connection at the same time, if the upstream allows as many; the next
    /// one opens another connection. Default 100.
    pub max_streams: NonZeroU32,
    /// How often an HTTP/2 connection in use is checked by a ping. One that has not answered it within the same time
    /// is closed. Where nothing else comes from the other side, it is asked every 5 to 6 minutes: servers of gRPC
    /// close connections that ask more often. `0s` turns it off. Default `20s`.
    pub ping_interval: Timespan,
    /// The largest answer head accepted. Default `64KiB`.
    pub max_head: ByteSize,
    /// How long an answer's body may make no progress. `text/event-stream` and gRPC are exempt. Default `60s`.
    pub body_idle_timeout: Timespan,
    /// The same for an event stream (`text/event-stream`), which its reader then asks for again: longer than the service is
    /// ever silent between two events or comments. Default: as long as it likes.
    pub event_idle_timeout: Option<Timespan>,
}

/// Enough for most services; the value that RFC 9113 §6.5.2 recommends servers not to go below.
const MAX_STREAMS: NonZeroU32 = NonZeroU32::new(100).expect("100 is not zero");

impl Default for UpstreamSettings {
    fn default() -> Self {
        Self {
            host: HostHeader::Preserve,
            protocol: Protocol::Auto,
            proxy_protocol: None,
            tls: TlsSettings::default(),
            connect_timeout: Timespan::secs(1),
            tcp_keepalive: Timespan::secs(60),
            idle_timeout: Timespan::secs(55),
            max_idle: 256,
            max_connections: None,
            max_pending: 1024,
            max_lifetime: None,
            max_requests: None,
            max_streams: MAX_STREAMS,
            ping_interval: Timespan::secs(20),
            max_head: ByteSize::kib(64),
            body_idle_timeout: Timespan::secs(60),
            event_idle_timeout: None,
        }
    }
}

impl UpstreamSettings {
    /// What cannot go together, in words for the operator: the PROXY protocol with HTTP/2, which many clients share.
    #[must_use]
    pub fn mistake(&self) -> Option<&'static str> {
        (self.proxy_protocol.is_some() && self.protocol == Protocol::Http2).then_some(
            "`proxy_protocol` with `protocol = \"http2\"`: a connection that clients share cannot say who its client is; \
             expected `http1` or `auto`",
        )
    }

    /// [`max_head`](Self::max_head) as a length.
    pub(crate) fn head_limit(&self) -> usize {
        usize::try_from(self.max_head.bytes()).unwrap_or(usize::MAX)
    }

    /// Whether a connection of this age that took this many requests takes no more.
    pub(crate) fn is_worn(&self, age: impl FnOnce() -> std::time::Duration, requests: u32) -> bool {
        self.max_requests.is_some_and(|max| requests >= max.get())
            || self.max_lifetime.is_some_and(|max| age() >= *max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_by_their_names_and_unknown_ones_refused() {
        let read = |text: &str| serde_json::from_str::<UpstreamSettings>(text).map_err(|e| e.to_string());
        let read_ok = read(
            r#"{"protocol": "http2", "max_connections": 4, "max_lifetime": "10m", "max_requests": 1000,
                "tls": {"ca_file": "/etc/ca.pem", "min_version": "1.3", "verify": false}}"#,
        )
        .unwrap();
        assert_eq!(read_ok.protocol, Protocol::Http2);
        assert_eq!(read_ok.tls.min_version, TlsVersion::Tls13);
        assert!(!read_ok.tls.verify);
        assert_eq!(read("{}").unwrap(), UpstreamSettings::default());
        for (text, part) in [
            (r#"{"protocol": "h3"}"#, "expected one of `auto`, `http1`, `http2`"),
            (r#"{"proxy_protocol": "v3"}"#, "expected `v1` or `v2`"),
            (r#"{"max_connections": 0}"#, "expected a nonzero"),
            (r#"{"tls": {"min_version": "1.1"}}"#, "expected `1.2` or `1.3`"),
            (r#"{"tls": {"ca": "x"}}"#, "unknown field `ca`"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn a_shared_connection_has_no_client_to_name() {
        let read = |text: &str| serde_json::from_str::<UpstreamSettings>(text).unwrap().mistake().is_some();
        for (text, wrong) in [
            (r#"{"proxy_protocol": "v2", "protocol": "http2"}"#, true),
            (r#"{"proxy_protocol": "v1", "protocol": "http1"}"#, false),
            (r#"{"proxy_protocol": "v1"}"#, false),
            (r#"{"protocol": "http2"}"#, false),
        ] {
            assert_eq!(read(text), wrong, "{text}");
        }
    }

    #[test]
    fn a_connection_is_worn_by_age_or_by_use() {
        let settings = UpstreamSettings {
            max_requests: NonZeroU32::new(3),
            max_lifetime: Some(Timespan::secs(10)),
            ..UpstreamSettings::default()
        };
        let secs = std::time::Duration::from_secs;
        for (age, requests, worn) in [(0, 0, false), (9, 2, false), (10, 0, true), (0, 3, true)] {
            assert_eq!(settings.is_worn(|| secs(age), requests), worn, "{age} s, {requests} requests");
        }
        assert!(!UpstreamSettings::default().is_worn(|| secs(1_000_000), u32::MAX));
    }
}
