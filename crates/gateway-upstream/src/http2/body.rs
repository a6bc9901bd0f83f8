use super::links::Lease;
use super::upload::Upload;
use super::{Attempt, failure, head};
use crate::client::Shared;
use bytes::Bytes;
use gateway_core::units::Timespan;
use gateway_core::{BoxError, FailureKind, UpstreamError};
use h2::RecvStream;
use http_body::{Body, Frame, SizeHint};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::time::{Instant, Sleep};

/// The body of an answer over HTTP/2. The upstream may send as much as was taken from here.
#[derive(Debug)]
pub(crate) struct Http2Body<B> {
    exchange: Option<Exchange<B>>,
    shared: Arc<Shared>,
    /// How much is left, if the answer said how long it is.
    left: Option<u64>,
    /// Only set while the upstream is silent.
    idle: Option<Pin<Box<Sleep>>>,
}

#[derive(Debug)]
pub(super) struct Exchange<B> {
    pub(super) stream: RecvStream,
    pub(super) upload: Option<Upload<B>>,
    /// How long the answer may make no progress, if that is limited.
    pub(super) silence: Option<Timespan>,
    pub(super) lease: Lease,
}

impl<B> Http2Body<B> {
    pub(super) fn new(exchange: Exchange<B>, length: Option<u64>, shared: &Arc<Shared>) -> Self {
        let ended = exchange.stream.is_end_stream();
        let left = if ended { Some(0) } else { length };
        // A request whose answer has ended needs no more of its body (RFC 9113 §8.1): the stream is let go.
        let exchange = if ended { None } else { Some(exchange) };
        Self { exchange, shared: shared.clone(), left, idle: None }
    }

    fn fail<T>(
        &mut self,
        kind: FailureKind,
        message: impl Into<String>,
    ) -> Poll<Option<Result<T, UpstreamError>>> {
        self.exchange = None;
        Poll::Ready(Some(Err(UpstreamError::new(kind, &self.shared.endpoint, message))))
    }

    fn fail_by<T>(&mut self, error: &h2::Error) -> Poll<Option<Result<T, UpstreamError>>> {
        if let Some(exchange) = self.exchange.as_ref().filter(|_| error.is_io()) {
            exchange.lease.leave();
        }
        let (kind, message) = failure(error, Attempt::Answered);
        self.fail(kind, message)
    }
}

impl<B> Body for Http2Body<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = UpstreamError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UpstreamError>>> {
        let this = self.get_mut();
        let Some(exchange) = this.exchange.as_mut() else { return Poll::Ready(None) };
        if let Some(upload) = exchange.upload.as_mut()
            // If the client's body broke off, the answer still goes on; the stream ends with it.
            && upload.poll_send(cx).is_ready()
        {
            exchange.upload = None;
        }
        match exchange.stream.poll_data(cx) {
            Poll::Ready(Some(Ok(data))) => {
                exchange.lease.heard();
                // Now that it is on its way to the client, the upstream may send as much again.
                if let Err(error) = exchange.stream.flow_control().release_capacity(data.len()) {
                    return this.fail_by(&error);
                }
                this.left = this.left.map(|left| left.saturating_sub(data.len() as u64));
                this.idle = None;
                if exchange.stream.is_end_stream() {
                    this.exchange = None;
                }
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
            Poll::Ready(Some(Err(error))) => return this.fail_by(&error),
            Poll::Ready(None) => match exchange.stream.poll_trailers(cx) {
                Poll::Ready(Ok(trailers)) => {
                    exchange.lease.heard();
                    this.exchange = None;
                    let trailers = trailers.map(head::trailers).filter(|trailers| !trailers.is_empty());
                    return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
                }
                Poll::Ready(Err(error)) => return this.fail_by(&error),
                Poll::Pending => {}
            },
            Poll::Pending => {}
        }
        let Some(limit) = exchange.silence else { return Poll::Pending };
        let idle =
            this.idle.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(Instant::now() + *limit)));
        if idle.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        this.fail(FailureKind::Timeout, format!("the answer's body made no progress for {limit}"))
    }

    fn is_end_stream(&self) -> bool {
        self.exchange.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        match (&self.exchange, self.left) {
            (None, _) => SizeHint::with_exact(0),
            (Some(_), Some(left)) => SizeHint::with_exact(left),
            (Some(_), None) => SizeHint::default(),
        }
    }
}
