use crate::body::{Exchange, UpstreamBody};
use crate::connection::{Connection, Pool, describe};
use crate::request::{BodyFraming, Upload, UploadError, encode_head};
use crate::settings::{HostHeader, UpstreamSettings};
use bytes::{Bytes, BytesMut};
use gateway_core::{BoxError, Endpoint, FailureKind, Upstream, UpstreamError};
use gateway_http1::{ResponseHead, parse_response};
use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode};
use http_body::Body;
use std::cell::RefCell;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

/// An HTTP/1.1 client for one endpoint, with its pool of connections. Cheap to clone; clones share the pool.
///
/// Sends requests as [`Upstream`]; see the [crate's page](crate) for what it takes care of.
#[derive(Clone, Debug)]
pub struct HttpUpstream(Arc<Shared>);

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) endpoint: Endpoint,
    pub(crate) settings: UpstreamSettings,
    pub(crate) pool: Pool,
    host: Option<HeaderValue>,
}

thread_local! {
    /// Where heads are written before they are sent, so that none needs its own allocation.
    static SCRATCH: RefCell<BytesMut> = RefCell::new(BytesMut::with_capacity(8192));
}

impl HttpUpstream {
    /// A client for this endpoint. Connects when it is first needed.
    #[must_use]
    pub fn new(endpoint: Endpoint, settings: UpstreamSettings) -> Self {
        let host = match settings.host {
            HostHeader::Preserve => None,
            // An authority is always a valid header value.
            HostHeader::Endpoint => HeaderValue::from_str(endpoint.authority().as_str()).ok(),
        };
        Self(Arc::new(Shared { endpoint, settings, pool: Pool::default(), host }))
    }

    /// How many idle connections the pool holds.
    #[must_use]
    pub fn idle_connections(&self) -> usize {
        self.0.pool.len()
    }

    fn failure(&self, kind: FailureKind, message: impl Into<String>) -> UpstreamError {
        UpstreamError::new(kind, &self.0.endpoint, message)
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
        let bodiless = matches!(framing, BodyFraming::None | BodyFraming::Length(0));
        let mut body = Some(body);
        let mut pooled = self.0.pool.take(&self.0.settings);
        loop {
            let reused = pooled.is_some();
            let connection = match pooled.take() {
                Some(connection) => connection,
                None => Connection::open(&self.0.endpoint, &self.0.settings).await?,
            };
            let Some(this_body) = body.take() else {
                return Err(self.failure(FailureKind::Stale, "the connection was closed"));
            };
            match self.exchange(head, this_body, framing, connection, reused).await {
                // The upstream closed an idle connection just as it was used again. Nothing was processed that
                // could not be again: once more, on a new connection.
                Err((error, Some(again)))
                    if error.kind() == FailureKind::Stale && bodiless && is_idempotent(&head.method) =>
                {
                    body = Some(again);
                }
                Err((error, _)) => return Err(error),
                Ok(response) => return Ok(response),
            }
        }
    }
}

/// RFC 9110 §9.2.2.
fn is_idempotent(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE | Method::PUT | Method::DELETE
    )
}

type Failed<B> = (UpstreamError, Option<B>);

impl HttpUpstream {
    /// One request and the head of its answer over one connection. Gives a body that was not begun back.
    async fn exchange<B>(
        &self,
        head: &Parts,
        body: B,
        framing: BodyFraming,
        mut connection: Connection,
        reused: bool,
    ) -> Result<Response<UpstreamBody<B>>, Failed<B>>
    where
        B: Body<Data = Bytes> + Unpin,
        B::Error: Into<BoxError>,
    {
        let broken = |bytes_seen: bool, message: String| {
            let kind = if reused && !bytes_seen { FailureKind::Stale } else { FailureKind::Reset };
            self.failure(kind, message)
        };
        let tunnel = framing == BodyFraming::Tunnel;
        // What goes through a tunnel waits until the upstream has agreed to it.
        let bodiless = tunnel || body.is_end_stream();
        let written = SCRATCH.with_borrow_mut(|scratch| {
            scratch.clear();
            encode_head(head, self.0.host.as_ref(), framing, scratch);
            // With a body, its first piece should leave in the same call.
            let written = if bodiless { connection.try_write(scratch)? } else { 0 };
            Ok(BytesMut::from(&scratch[written..]))
        });
        let rest = match written {
            Ok(rest) => rest,
            Err(e) => {
                let e: std::io::Error = e;
                return Err((broken(false, describe(&e)), Some(body)));
            }
        };
        let mut idle_body = None;
        let mut upload = if bodiless && rest.is_empty() {
            idle_body = Some(body);
            None
        } else if tunnel {
            idle_body = Some(body);
            Some(Upload::bodiless(rest))
        } else {
            Some(Upload::new(rest, framing, body))
        };

        let answer = poll_fn(|cx: &mut Context<'_>| {
            if let Some(sending) = upload.as_mut() {
                match sending.poll_send(&mut connection, cx) {
                    Poll::Ready(Ok(())) => upload = None,
                    Poll::Ready(Err(UploadError::Body(e))) => {
                        return Poll::Ready(Err(self.failure(FailureKind::RequestBody, e.to_string())));
                    }
                    // It takes no more, but may have said why: an early answer, such as 413.
                    Poll::Ready(Err(UploadError::Connection(e))) => {
                        return match self.poll_answer(&mut connection, head, cx, &broken) {
                            Poll::Ready(Ok(answer)) => Poll::Ready(Ok((answer, true))),
                            _ => Poll::Ready(Err(broken(!connection.buffer.is_empty(), describe(&e)))),
                        };
                    }
                    Poll::Pending => {}
                }
            }
            self.poll_answer(&mut connection, head, cx, &broken).map_ok(|answer| (answer, false))
        })
        .await;

        let (ResponseHead { response, framing: answer_framing, keep_alive, event_stream }, dead) =
            match answer {
                Ok(answer) => answer,
                Err(error) => return Err((error, idle_body)),
            };
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            if !tunnel {
                let message = "the upstream switched protocols without being asked";
                return Err((self.failure(FailureKind::Protocol, message), idle_body));
            }
            upload = idle_body.map(|body| Upload::new(BytesMut::new(), framing, body));
        }
        let upload = if dead { None } else { upload.filter(|upload| !upload.is_done()).map(Box::new) };
        let keep_alive = keep_alive && !dead;
        let exchange = Exchange { connection, upload, keep_alive, may_be_silent: event_stream || tunnel };
        let body = UpstreamBody::new(exchange, answer_framing, &self.0);
        Ok(response.map(|()| body))
    }

    fn poll_answer(
        &self,
        connection: &mut Connection,
        head: &Parts,
        cx: &mut Context<'_>,
        broken: &impl Fn(bool, String) -> UpstreamError,
    ) -> Poll<Result<ResponseHead, UpstreamError>> {
        let max_head = usize::try_from(self.0.settings.max_head.bytes()).unwrap_or(usize::MAX);
        loop {
            while !connection.buffer.is_empty() {
                match parse_response(&mut connection.buffer, &head.method, max_head) {
                    // Interim answers are for the sender of the request, which is us (RFC 9110 §15.2).
                    Ok(Some(answer)) if is_interim(answer.response.status()) => {}
                    Ok(Some(answer)) => return Poll::Ready(Ok(answer)),
                    Ok(None) => break,
                    Err(message) => return Poll::Ready(Err(self.failure(FailureKind::Protocol, message))),
                }
            }
            match connection.poll_read(cx, 0) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(0)) => {
                    let message = if connection.buffer.is_empty() {
                        "the connection was closed before an answer"
                    } else {
                        "the connection was closed within the answer's head"
                    };
                    return Poll::Ready(Err(broken(!connection.buffer.is_empty(), message.to_owned())));
                }
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(e)) => {
                    return Poll::Ready(Err(broken(!connection.buffer.is_empty(), describe(&e))));
                }
            }
        }
    }
}

fn is_interim(status: StatusCode) -> bool {
    status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS
}
