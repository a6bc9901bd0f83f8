use crate::body::UpstreamBody;
use crate::http1::{BodyFraming, Pool};
use crate::http2::Links;
use crate::settings::{HostHeader, Protocol, UpstreamSettings};
use crate::slots::{ConnectionLimit, ConnectionLimits};
use crate::tls::UpstreamTls;
use bytes::Bytes;
use gateway_core::{BoxError, Endpoint, FailureKind, ProxyError, Scheme, Upstream, UpstreamError};
use gateway_http1::ReadSize;
use gateway_lookup::Lookup;
use http::request::Parts;
use http::{HeaderValue, Method, Response};
use http_body::Body;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// An HTTP client for one endpoint, with its pool of connections. Cheap to clone; clones share the pool.
///
/// Sends requests as [`Upstream`]; see the [crate's page](crate) for what it takes care of.
#[derive(Clone, Debug)]
pub struct HttpUpstream(pub(crate) Arc<Shared>);

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) endpoint: Endpoint,
    pub(crate) lookup: Lookup,
    pub(crate) settings: UpstreamSettings,
    pub(crate) tls: Option<UpstreamTls>,
    pub(crate) pool: Pool,
    pub(crate) links: Links,
    /// What there may be of connections, where that is limited.
    pub(crate) limits: ConnectionLimits,
    pub(crate) read_size: ReadSize,
    /// Takes the place of the client's `Host`.
    pub(crate) host: Option<HeaderValue>,
    language: Language,
}

/// Which version of HTTP the endpoint speaks.
#[derive(Debug)]
enum Language {
    Http1,
    Http2,
    /// What it chose in the last TLS handshake, where that was HTTP/1.1, or has asked for since (`HTTP_1_1_REQUIRED`).
    Chosen {
        http1: AtomicBool,
    },
}

/// How many interim answers (1xx) there may be to one request; Go's client has 5.
pub(crate) const MAX_INTERIM: u32 = 8;
pub(crate) const TOO_MANY_INTERIM: &str = "the upstream sent more than 8 interim answers";

/// A failure, and the request's body if nothing of it was taken.
pub(crate) type Failed<B> = (UpstreamError, Option<B>);

impl HttpUpstream {
    /// A client for this endpoint. Connects when it is first needed.
    ///
    /// An `https` endpoint needs [`with_tls`](Self::with_tls): here every request to it would fail.
    #[must_use]
    pub fn new(endpoint: Endpoint, settings: UpstreamSettings) -> Self {
        Self::with_tls(endpoint, settings, None)
    }

    /// A client for this endpoint that speaks TLS if that is `https`.
    #[must_use]
    pub fn with_tls(endpoint: Endpoint, settings: UpstreamSettings, tls: Option<UpstreamTls>) -> Self {
        let endpoint_limit = settings.max_connections.map(ConnectionLimit::new);
        let limits = ConnectionLimits { endpoint: endpoint_limit, total: None };
        Self::sharing(endpoint, settings, tls, limits)
    }

    /// The same with limits that other clients share, such as those of other workers. They take the place of
    /// [`max_connections`](UpstreamSettings::max_connections).
    #[must_use]
    pub fn sharing(
        endpoint: Endpoint,
        settings: UpstreamSettings,
        tls: Option<UpstreamTls>,
        limits: ConnectionLimits,
    ) -> Self {
        let host = match settings.host {
            HostHeader::Preserve => None,
            // An authority is always a valid header value.
            HostHeader::Endpoint => HeaderValue::from_str(endpoint.authority().as_str()).ok(),
        };
        let language = match (settings.protocol, endpoint.scheme()) {
            // Its connections are not for all clients.
            _ if settings.proxy_protocol.is_some() => Language::Http1,
            (Protocol::Http1, _) | (Protocol::Auto, Scheme::Http) => Language::Http1,
            (Protocol::Http2, _) => Language::Http2,
            (Protocol::Auto, Scheme::Https) => Language::Chosen { http1: AtomicBool::new(false) },
        };
        let (lookup, pool, links, read_size) = Default::default();
        let shared = Arc::new(Shared {
            endpoint,
            lookup,
            settings,
            tls,
            pool,
            links,
            limits,
            read_size,
            host,
            language,
        });
        shared.limits.join(&shared);
        Self(shared)
    }

    /// How many idle HTTP/1.1 connections the pool holds.
    #[must_use]
    pub fn idle_connections(&self) -> usize {
        self.0.pool.len()
    }

    /// How many HTTP/2 connections there are, in use or idle.
    #[must_use]
    pub fn http2_connections(&self) -> usize {
        self.0.links.len()
    }

    /// Closes connections that have been idle for longer than [`idle_timeout`](UpstreamSettings::idle_timeout), or
    /// that the other side has closed.
    ///
    /// Requests do so as they come by; this is for whoever wants it done where none come any more. It is cheap: call it
    /// every few seconds.
    pub fn close_idle(&self) {
        self.0.pool.close_idle(&self.0.settings);
        self.0.links.close_idle(&self.0.settings);
    }

    pub(crate) fn failure(&self, kind: FailureKind, message: impl Into<String>) -> UpstreamError {
        UpstreamError::new(kind, &self.0.endpoint, message)
    }

    /// The upstream took our connection, but not who we are.
    pub(crate) fn refused_by_alert(&self, message: String) -> UpstreamError {
        self.failure(FailureKind::Connect, message).with_cause(ProxyError::TlsAlertReceived)
    }

    /// Whether the upstream chose HTTP/1.1, or asked for it, where it could have chosen HTTP/2.
    pub(crate) fn chose_http1(&self) -> bool {
        matches!(&self.0.language, Language::Chosen { http1 } if http1.load(Ordering::Relaxed))
    }

    pub(crate) fn must_speak_http2(&self) -> bool {
        matches!(self.0.language, Language::Http2)
    }

    pub(crate) fn note_http1(&self) {
        self.set_http1(true);
    }

    /// To ask again: the upstream does not take HTTP/1.1 any more.
    pub(crate) fn forget_protocol(&self) {
        self.set_http1(false);
    }

    fn set_http1(&self, chosen: bool) {
        if let Language::Chosen { http1 } = &self.0.language {
            http1.store(chosen, Ordering::Relaxed);
        }
    }

    async fn send_http2_or_http1<B>(
        &self,
        head: &Parts,
        body: B,
        framing: BodyFraming,
    ) -> Result<Response<UpstreamBody<B>>, UpstreamError>
    where
        B: Body<Data = Bytes> + Send + Unpin,
        B::Error: Into<BoxError>,
    {
        // Where only HTTP/2 is spoken, a tunnel is one of its streams (RFC 8441). Where the upstream knows of none, the
        // request goes without the wish, which whoever gets it may ignore (RFC 9110 §7.8).
        let tunnel = framing == BodyFraming::Tunnel && !self.must_speak_http2();
        if tunnel || self.chose_http1() {
            return self.send_http1(head, body, framing).await;
        }
        match self.send_http2(head, body, framing).await {
            Ok(response) => Ok(response?),
            Err(body) => self.send_http1(head, body, framing).await,
        }
    }
}

impl<B> Upstream<B> for HttpUpstream
where
    B: Body<Data = Bytes> + Send + Unpin,
    B::Error: Into<BoxError>,
{
    type Body = UpstreamBody<B>;

    async fn send(&self, head: &Parts, body: B) -> Result<Response<Self::Body>, UpstreamError> {
        let framing = BodyFraming::of(head, &body);
        if matches!(self.0.language, Language::Http1) {
            return self.send_http1(head, body, framing).await;
        }
        // Boxed, so that the future of the plain case stays small.
        Box::pin(self.send_http2_or_http1(head, body, framing)).await
    }

    /// HTTP/1.1 has no words for it, but TLS may refuse who we are once we have written.
    fn may_give_back(&self) -> bool {
        self.0.tls.is_some() || !matches!(self.0.language, Language::Http1)
    }
}

/// RFC 9110 §9.2.2.
pub(crate) fn is_idempotent(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE | Method::PUT | Method::DELETE
    )
}
