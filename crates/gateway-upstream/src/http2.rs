//! HTTP/2: requests share connections, each of which a task drives.

mod body;
mod head;
mod links;
mod upload;

pub(crate) use body::Http2Body;
pub(crate) use links::Links;

use crate::body::UpstreamBody;
use crate::client::{Failed, HttpUpstream, MAX_INTERIM, Shared, TOO_MANY_INTERIM, is_idempotent};
use crate::dial::{Offer, dial};
use crate::http1::{BodyFraming, Connection, describe};
use crate::settings::UpstreamSettings;
use crate::slots::Permit;
use crate::tls::is_refusal;
use body::Exchange;
use bytes::Bytes;
use gateway_core::units::Timespan;
use gateway_core::{BoxError, FailureKind, ProxyError, Upgrade, UpstreamError, interim, is_event_stream};
use h2::Reason;
use h2::client::{ResponseFuture, SendRequest};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap};
use http::request::Parts;
use http::{Method, Response, StatusCode, Version};
use http_body::Body;
use links::{Lease, Link};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};
use upload::Upload;

/// How often a request that was handed back unprocessed is sent by this client itself.
const ATTEMPTS: u32 = 3;

/// How far a request had come when it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Attempt {
    /// On a connection that had not taken a request before.
    First,
    /// On one that had.
    Reused,
    /// The head of its answer had come.
    Answered,
}

/// What an error of the h2 crate means to the request, and in words.
fn failure(error: &h2::Error, attempt: Attempt) -> (FailureKind, String) {
    let reason = error.reason();
    if let Some(e) = error.get_io() {
        let kind = match attempt {
            Attempt::First if is_refusal(e) => FailureKind::Connect,
            Attempt::First | Attempt::Answered => FailureKind::Reset,
            Attempt::Reused => FailureKind::Stale,
        };
        return (kind, format!("the HTTP/2 connection broke: {}", describe(e)));
    }
    let why = reason.map_or_else(|| error.to_string(), |reason| reason.description().to_owned());
    let kind = match reason {
        _ if !error.is_remote() => FailureKind::Protocol,
        _ if attempt == Attempt::Answered => FailureKind::Reset,
        // A stream above the last one that the peer says it processed.
        _ if error.is_go_away() => FailureKind::Refused,
        Some(Reason::REFUSED_STREAM) => FailureKind::Refused,
        Some(Reason::HTTP_1_1_REQUIRED) => FailureKind::Protocol,
        _ => FailureKind::Reset,
    };
    let message = match kind {
        FailureKind::Protocol if !error.is_remote() => format!("the answer is not valid HTTP/2: {why}"),
        FailureKind::Refused => format!("the upstream handed the request back unprocessed: {why}"),
        _ => format!("the upstream reset the stream: {why}"),
    };
    (kind, message)
}

impl HttpUpstream {
    /// The request over a shared connection. Gives the body back if the upstream chose HTTP/1.1, or asks for it.
    pub(crate) async fn send_http2<B>(
        &self,
        head: &Parts,
        body: B,
        framing: BodyFraming,
    ) -> Result<Result<Response<UpstreamBody<B>>, UpstreamError>, B>
    where
        B: Body<Data = Bytes> + Send + Unpin,
        B::Error: Into<BoxError>,
    {
        let bodiless = is_bodiless(&body, framing);
        let mut body = body;
        let mut attempt = 1;
        loop {
            let (sender, lease) = match self.place(framing == BodyFraming::Tunnel).await {
                Ok(Some(place)) => place,
                Ok(None) => return Err(body),
                Err(error) => return Ok(Err(error)),
            };
            let (error, again) = match self.stream(head, body, framing, sender, lease).await {
                Ok(response) => return Ok(Ok(response)),
                Err((error, Some(again))) if attempt < ATTEMPTS => (error, again),
                Err((error, _)) => return Ok(Err(error)),
            };
            let safe = match error.kind() {
                FailureKind::Refused => true,
                FailureKind::Stale => bodiless && is_idempotent(&head.method),
                _ => false,
            };
            if !safe {
                return Ok(Err(error));
            }
            body = again;
            if self.chose_http1() {
                return Err(body);
            }
            attempt += 1;
        }
    }

    /// A place on a connection, a new one if need be; `None` if the upstream chose HTTP/1.1. For a tunnel, a new one has
    /// said whether there can be any.
    async fn place(&self, tunnel: bool) -> Result<Option<(SendRequest<Bytes>, Lease)>, UpstreamError> {
        let Shared { settings, links, .. } = &*self.0;
        if let Some(place) = links.lease(settings) {
            return Ok(Some(place));
        }
        let failures = links.failures();
        let _opening = links.opening.lock().await;
        // Whoever was first may have opened one, or failed to.
        if let Some(place) = links.lease(settings) {
            return Ok(Some(place));
        }
        if self.chose_http1() {
            return Ok(None);
        }
        if let Some(error) = links.failed_since(failures) {
            return Err(error);
        }
        // Where no more may be opened, the request waits within a connection for its turn. A worker that has none would
        // wait for as long as others keep theirs, which may be for ever: its first one is not counted.
        let permit = self.0.limits.try_permit();
        if permit.is_none()
            && let Some(place) = links.share()
        {
            return Ok(Some(place));
        }
        let opened = self.open_http2(permit, tunnel).await;
        if let Err(error) = &opened {
            links.note_failure(error);
        }
        Ok(opened?.map(|link| links.add(link)))
    }

    async fn open_http2(&self, permit: Option<Permit>, tunnel: bool) -> Result<Option<Link>, UpstreamError> {
        let Shared { endpoint, settings, tls, limits, .. } = &*self.0;
        let counted = permit.map(|permit| (limits.count(), permit));
        let lookup = &self.0.lookup;
        let dialed = dial(endpoint, lookup, settings, tls.as_ref(), Offer::Preferred, None).await?;
        let plain = endpoint.scheme() == gateway_core::Scheme::Http;
        if !plain && !dialed.chose_http2 {
            if self.must_speak_http2() {
                let error = self.failure(FailureKind::Connect, "the upstream does not speak HTTP/2");
                return Err(error.with_cause(ProxyError::HttpProtocolError));
            }
            self.note_http1();
            if let Some((open, _permit)) = counted {
                self.0.pool.put(Connection::new(dialed.socket, None, open), settings);
            }
            return Ok(None);
        }
        let opened = Link::open(dialed.socket, settings, tunnel, counted).await;
        opened.map(Some).map_err(|e| self.failure(FailureKind::Connect, failure(&e, Attempt::First).1))
    }

    /// One request and the head of its answer over one stream.
    async fn stream<B>(
        &self,
        head: &Parts,
        body: B,
        framing: BodyFraming,
        mut sender: SendRequest<Bytes>,
        lease: Lease,
    ) -> Result<Response<UpstreamBody<B>>, Failed<B>>
    where
        B: Body<Data = Bytes> + Send + Unpin,
        B::Error: Into<BoxError>,
    {
        let wish = head.extensions.get::<Upgrade>().filter(|_| sender.is_extended_connect_protocol_enabled());
        let wish = wish.and_then(|Upgrade(protocol)| Some((protocol, protocol.to_str().ok()?)));
        let bodiless = wish.is_none() && is_bodiless(&body, framing);
        let request = match head::request(head, self.0.host.as_ref(), &self.0.endpoint, framing) {
            Ok(request) => match wish {
                Some((_, protocol)) => head::extended(request, protocol),
                None => request,
            },
            // The endpoint has no part in it, nor would another do better.
            Err(message) => return Err((self.failure(FailureKind::RequestBody, message), Some(body))),
        };
        let ready = poll_fn(|cx| sender.poll_ready(cx)).await;
        let sent = ready.and_then(|()| sender.send_request(request, bodiless));
        let (mut answer, stream) = match sent {
            Ok(sent) => sent,
            // Nothing was sent: the connection has ended, or is about to.
            Err(error) => {
                lease.leave();
                let message = failure(&error, Attempt::Reused).1;
                return Err((self.failure(FailureKind::Refused, message), Some(body)));
            }
        };
        let mut tunnel = None;
        let (mut upload, mut idle_body) = match (bodiless, framing) {
            (true, _) => (None, Some(body)),
            // What goes through a tunnel waits until the upstream has agreed to it.
            (false, BodyFraming::Tunnel) => {
                tunnel = wish.map(|(protocol, _)| (stream, protocol));
                (None, Some(body))
            }
            (false, BodyFraming::Length(length)) => (Some(Upload::new(stream, body, Some(length))), None),
            (false, _) => (Some(Upload::new(stream, body, None)), None),
        };
        let mut count = 0;
        let answered = poll_fn(|cx| {
            if let Some(sending) = upload.as_mut() {
                match sending.poll_send(cx) {
                    Poll::Ready(Ok(())) => upload = None,
                    Poll::Ready(Err(e)) => {
                        let kind = FailureKind::of_request_body(&*e);
                        return Poll::Ready(Err(self.failure(kind, e.to_string())));
                    }
                    Poll::Pending => {}
                }
            }
            self.poll_head(head, &mut answer, &mut count, &lease, cx)
        })
        .await;
        let mut response = match answered {
            Ok(response) => response,
            Err(error) => {
                let untouched = upload.and_then(Upload::into_untouched);
                return Err((error, idle_body.take().or(untouched)));
            }
        };
        head::clean(response.headers_mut());
        // The versions are the hops' own affair: to the layers an answer is an answer.
        *response.version_mut() = Version::HTTP_11;
        let (mut answer, stream) = response.into_parts();
        match tunnel {
            Some((sending, protocol)) if answer.status.is_success() => {
                head::granted(&mut answer, head, protocol);
                upload = idle_body.map(|body| Upload::new(sending, body, None));
            }
            // Refused only where the stream has ended already.
            Some((mut sending, _)) => drop(sending.send_data(Bytes::new(), true)),
            None => {}
        }
        let response = Response::from_parts(answer, ());
        let length = length(&head.method, &response);
        let silence = match response.status() {
            // Its server looks at both directions.
            StatusCode::SWITCHING_PROTOCOLS => None,
            _ => silence(response.headers(), &self.0.settings),
        };
        let exchange = Exchange { stream, upload, silence, lease };
        Ok(response.map(|()| Http2Body::new(exchange, length, &self.0).into()))
    }

    fn poll_head(
        &self,
        head: &Parts,
        answer: &mut ResponseFuture,
        count: &mut u32,
        lease: &Lease,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Response<h2::RecvStream>, UpstreamError>> {
        while let Poll::Ready(Some(Ok(mut early))) = answer.poll_informational(cx) {
            lease.heard();
            *count += 1;
            if *count > MAX_INTERIM {
                return Poll::Ready(Err(self.failure(FailureKind::Protocol, TOO_MANY_INTERIM)));
            }
            head::clean(early.headers_mut());
            interim::send(head, early);
        }
        let answered = Pin::new(answer).poll(cx);
        if matches!(answered, Poll::Ready(Ok(_))) {
            lease.heard();
        }
        answered.map_err(|error| {
            if error.is_go_away() || error.is_io() {
                lease.leave();
            }
            let attempt = if lease.reused { Attempt::Reused } else { Attempt::First };
            // It asks for other words and has done nothing. RFC 9113 does not say so (§8.7), but nothing else makes sense: curl
            // and browsers take it so for any method.
            if error.is_remote()
                && error.reason() == Some(Reason::HTTP_1_1_REQUIRED)
                && !self.must_speak_http2()
            {
                self.note_http1();
                return self.failure(FailureKind::Refused, "the upstream asks for HTTP/1.1");
            }
            match failure(&error, attempt) {
                (FailureKind::Connect, message) => self.refused_by_alert(message),
                (kind, message) => self.failure(kind, message),
            }
        })
    }
}

/// Whether the request has no body here. What a client would send in another protocol is none, unless that is granted.
fn is_bodiless<B: Body>(body: &B, framing: BodyFraming) -> bool {
    framing == BodyFraming::Tunnel || body.is_end_stream()
}

/// How long the answer's body is, where it says so and has one.
fn length<T>(method: &Method, response: &Response<T>) -> Option<u64> {
    if *method == Method::HEAD {
        return None;
    }
    response.headers().get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// How long such a body may make no progress. In gRPC silence is normal, and the connection's pings look after it.
fn silence(headers: &HeaderMap, settings: &UpstreamSettings) -> Option<Timespan> {
    let kind = headers.get(CONTENT_TYPE).map_or(&b""[..], |kind| kind.as_bytes());
    match kind.starts_with(b"application/grpc") {
        true => None,
        false if is_event_stream(headers) => settings.event_idle_timeout,
        false => Some(settings.body_idle_timeout),
    }
}
