//! HTTP/1.1: whoever waits for the answer drives the socket, without a task of its own.

mod body;
mod connection;
mod pool;
mod request;

pub(crate) use body::Http1Body;
pub(crate) use connection::{Connection, describe};
pub(crate) use pool::Pool;
pub(crate) use request::{BodyFraming, asks_for_trailers};

use crate::body::UpstreamBody;
use crate::client::{Failed, HttpUpstream, MAX_INTERIM, Shared, TOO_MANY_INTERIM, is_idempotent};
use crate::dial::{Offer, dial};
use crate::slots::{Full, Permit};
use crate::tls::is_refusal;
use body::Exchange;
use bytes::{Bytes, BytesMut};
use gateway_core::{BoxError, ClientAddr, FailureKind, ProxyError, UpstreamError, interim};
use gateway_http1::{Framing, ResponseHead, parse_response};
use http::request::Parts;
use http::{Response, StatusCode};
use http_body::Body;
use request::{Upload, UploadError, encode_head};
use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll};

thread_local! {
    /// Where heads are written before they are sent, so that none needs its own allocation.
    static SCRATCH: RefCell<BytesMut> = RefCell::new(BytesMut::with_capacity(8192));
}

impl HttpUpstream {
    /// The request over a pooled connection or a new one.
    pub(crate) async fn send_http1<B>(
        &self,
        head: &Parts,
        body: B,
        framing: BodyFraming,
    ) -> Result<Response<UpstreamBody<B>>, UpstreamError>
    where
        B: Body<Data = Bytes> + Unpin,
        B::Error: Into<BoxError>,
    {
        let bodiless = matches!(framing, BodyFraming::None | BodyFraming::Length(0));
        let mut permit = self.permit().await?;
        let client = self.announced(head);
        let mut pooled = self.0.pool.take(&self.0.settings, client);
        let mut body = body;
        loop {
            let reused = pooled.is_some();
            let mut connection = match pooled.take() {
                Some(connection) => connection,
                // Boxed, so that the future of requests that need none stays small.
                None => Box::pin(self.open_http1(client)).await?,
            };
            connection.permit = permit.take();
            match self.exchange(head, body, framing, connection, reused).await {
                // The upstream closed an idle connection just as it was used again. Nothing was processed that
                // could not be again: once more, on a new connection.
                Err((error, Some(again)))
                    if error.kind() == FailureKind::Stale && bodiless && is_idempotent(&head.method) =>
                {
                    body = again;
                    if self.0.limits.are_some() {
                        self.0.pool.clear();
                        permit = self.permit().await?;
                    }
                }
                Err((error, _)) => {
                    if error.kind() == FailureKind::Stale {
                        // The others were likely closed with it.
                        self.0.pool.clear();
                    }
                    return Err(error);
                }
                Ok(response) => return Ok(response),
            }
        }
    }

    /// Whom the connection has to name, where it has to.
    fn announced(&self, head: &Parts) -> Option<SocketAddr> {
        self.0.settings.proxy_protocol.and_then(|_| head.extensions.get()).map(|ClientAddr(client)| *client)
    }

    async fn open_http1(&self, client: Option<SocketAddr>) -> Result<Box<Connection>, UpstreamError> {
        let Shared { endpoint, lookup, settings, tls, limits, .. } = &*self.0;
        let open = limits.count();
        let dialed = dial(endpoint, lookup, settings, tls.as_ref(), Offer::Http1, client).await;
        if dialed.is_err() {
            self.forget_protocol();
        }
        Ok(Connection::new(dialed?.socket, client, open))
    }

    /// The right to have one of the connections in use that there may be, where that is limited. Who finds none waits.
    async fn permit(&self) -> Result<Option<Permit>, UpstreamError> {
        let Shared { settings, limits, .. } = &*self.0;
        if !limits.are_some() {
            return Ok(None);
        }
        if let Some(permit) = limits.try_permit() {
            return Ok(Some(permit));
        }
        let limit = settings.connect_timeout;
        // Boxed, so that the future of requests that need not wait stays small.
        let full = match Box::pin(limits.permit(*limit, settings.max_pending)).await {
            Ok(permit) => return Ok(Some(permit)),
            Err(full) => full,
        };
        let message = match full {
            Full::Time => format!("all connections are in use, and none became free within {limit}"),
            Full::Queue => {
                format!("all connections are in use, and {} requests wait for one", settings.max_pending)
            }
        };
        let error = self.failure(FailureKind::Exhausted, message);
        Err(error.with_cause(ProxyError::ConnectionLimitReached))
    }

    /// One request and the head of its answer over one connection. Gives a body that was not begun back.
    async fn exchange<B>(
        &self,
        head: &Parts,
        body: B,
        framing: BodyFraming,
        mut connection: Box<Connection>,
        reused: bool,
    ) -> Result<Response<UpstreamBody<B>>, Failed<B>>
    where
        B: Body<Data = Bytes> + Unpin,
        B::Error: Into<BoxError>,
    {
        let broken = |bytes_seen: bool, e: &io::Error| match (bytes_seen, reused) {
            (false, true) => self.failure(FailureKind::Stale, describe(e)),
            (false, false) if is_refusal(e) => self.refused_by_alert(describe(e)),
            _ => self.failure(FailureKind::Reset, describe(e)),
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
                let e: io::Error = e;
                return Err((broken(false, &e), Some(body)));
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

        let (mut count, mut dead) = (0, false);
        let answer = poll_fn(|cx: &mut Context<'_>| {
            if let Some(sending) = upload.as_mut() {
                match sending.poll_send(&mut connection, cx) {
                    Poll::Ready(Ok(())) => upload = None,
                    Poll::Ready(Err(UploadError::Body(e))) => {
                        let kind = FailureKind::of_request_body(&*e);
                        return Poll::Ready(Err(self.failure(kind, e.to_string())));
                    }
                    // It takes no more, but may have said why: an early answer such as 413, of which the system may still
                    // have to tell.
                    Poll::Ready(Err(UploadError::Connection)) => (upload, dead) = (None, true),
                    Poll::Pending => {}
                }
            }
            self.poll_answer(&mut connection, head, &mut count, cx, &broken)
        })
        .await;

        let ResponseHead { response, framing: answer_framing, keep_alive, event_stream } = match answer {
            Ok(answer) => answer,
            Err(error) => return Err((error, idle_body)),
        };
        if let Framing::Length(length) = answer_framing {
            self.0.read_size.learn(length);
        }
        // One that was only asked for is none: its answer has to make progress like any other.
        let tunnelled = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        if tunnelled {
            if !tunnel {
                let message = "the upstream switched protocols without being asked";
                return Err((self.failure(FailureKind::Protocol, message), idle_body));
            }
            upload = idle_body.map(|body| Upload::new(BytesMut::new(), framing, body));
        }
        let upload = if dead { None } else { upload.filter(|upload| !upload.is_done()).map(Box::new) };
        let keep_alive = keep_alive && !dead;
        let settings = &self.0.settings;
        let silence = match (tunnelled, event_stream) {
            // Its server looks at both directions.
            (true, _) => None,
            (false, true) => settings.event_idle_timeout,
            (false, false) => Some(settings.body_idle_timeout),
        };
        let exchange = Exchange { connection, upload, keep_alive, silence };
        let body = Http1Body::new(exchange, answer_framing, &self.0);
        Ok(response.map(|()| UpstreamBody::from(body)))
    }

    fn poll_answer(
        &self,
        connection: &mut Connection,
        head: &Parts,
        count: &mut u32,
        cx: &mut Context<'_>,
        broken: &impl Fn(bool, &io::Error) -> UpstreamError,
    ) -> Poll<Result<ResponseHead, UpstreamError>> {
        let max_head = self.0.settings.head_limit();
        loop {
            while !connection.buffer.is_empty() {
                match parse_response(&mut connection.buffer, &head.method, max_head) {
                    Ok(Some(answer)) if is_interim(answer.response.status()) => {
                        *count += 1;
                        if *count > MAX_INTERIM {
                            return Poll::Ready(Err(self.failure(FailureKind::Protocol, TOO_MANY_INTERIM)));
                        }
                        interim::send(head, answer.response);
                    }
                    Ok(Some(answer)) => return Poll::Ready(Ok(answer)),
                    Ok(None) => break,
                    Err(message) => return Poll::Ready(Err(self.failure(FailureKind::Protocol, message))),
                }
            }
            match connection.poll_read_answer(cx, self.0.read_size.get()) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(0)) => {
                    let message = if connection.buffer.is_empty() {
                        "the connection was closed before an answer"
                    } else {
                        "the connection was closed within the answer's head"
                    };
                    return Poll::Ready(Err(broken(
                        !connection.buffer.is_empty(),
                        &io::Error::other(message),
                    )));
                }
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(e)) => {
                    return Poll::Ready(Err(broken(!connection.buffer.is_empty(), &e)));
                }
            }
        }
    }
}

/// Whether another answer follows this one.
fn is_interim(status: StatusCode) -> bool {
    status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS
}
