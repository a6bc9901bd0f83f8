//! How a body comes over an HTTP/2 stream.

use super::BodyError;
use crate::Limits;
use crate::patience::Patience;
use bytes::Bytes;
use gateway_core::{BodyTimedOut, Grpc};
use h2::RecvStream;
use http::HeaderMap;
use http::header::CONTENT_LENGTH;
use http_body::{Frame, SizeHint};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use tokio::time::{Instant, Sleep, sleep};

/// What the reader of a body tells who answers its request.
#[derive(Debug, Default)]
pub(crate) struct Signals {
    wanted: AtomicBool,
    answered: AtomicBool,
}

impl Signals {
    /// Whether the reader has waited for the client.
    pub(crate) fn is_wanted(&self) -> bool {
        self.wanted.load(Ordering::Relaxed)
    }

    /// The answer begins: both sides may speak when they like, and only silence counts.
    pub(crate) fn answer_begins(&self) {
        self.answered.store(true, Ordering::Relaxed);
    }
}

/// Room for as much as was read is given to the client at once; for what is unread, when the body is dropped.
#[derive(Debug)]
pub(super) struct StreamBody {
    stream: RecvStream,
    /// How much is to come, where the client has said so. HTTP/2 holds it to that.
    left: Option<u64>,
    /// Whether nothing but trailers may follow.
    data_ended: bool,
    /// How long the client may be waited for.
    patience: Patience,
    /// Whether it may be silent for ever once its answer has begun: in a gRPC call, whose messages come when there is
    /// something to say. Whether its client is still there, PING finds out.
    is_call: bool,
    sleep: Option<Pin<Box<Sleep>>>,
    /// Since when it is waited for.
    waits: Option<Instant>,
    signals: Arc<Signals>,
}

impl StreamBody {
    pub(super) fn new(
        stream: RecvStream,
        headers: &HeaderMap,
        limits: &Limits,
        signals: Arc<Signals>,
    ) -> Self {
        let left = content_length(headers);
        let is_call = Grpc::of(headers) == Some(Grpc::Native);
        let patience = if is_call { Patience::new(limits.tunnel_timeout, 0) } else { limits.patience() };
        Self { stream, left, data_ended: false, patience, is_call, sleep: None, waits: None, signals }
    }

    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.poll_stream(cx) {
            Poll::Ready(frame) => {
                self.waits = None;
                Poll::Ready(frame.map(|frame| frame.map_err(BodyError::Http2)))
            }
            Poll::Pending => self.poll_late(cx).map(|error| Some(Err(error))),
        }
    }

    fn poll_stream(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        if !self.data_ended {
            if let Some(data) = ready!(self.stream.poll_data(cx)) {
                let data = data?;
                // Refused only where the stream has ended.
                let _ = self.stream.flow_control().release_capacity(data.len());
                self.left = self.left.map(|left| left.saturating_sub(data.len() as u64));
                self.patience.came(data.len());
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
            self.data_ended = true;
        }
        let trailers = ready!(self.stream.poll_trailers(cx))?;
        Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))))
    }

    fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<BodyError> {
        let limit = self.patience.limit();
        let timer = self.sleep.get_or_insert_with(|| Box::pin(sleep(limit)));
        let since = *self.waits.get_or_insert_with(|| {
            self.signals.wanted.store(true, Ordering::Relaxed);
            let now = Instant::now();
            timer.as_mut().reset(now + self.patience.wait());
            now
        });
        loop {
            ready!(timer.as_mut().poll(cx));
            // It may have begun during the wait.
            let answered = self.signals.answered.load(Ordering::Relaxed);
            if answered && self.is_call {
                return Poll::Pending;
            }
            if !answered || timer.deadline() >= since + limit {
                return Poll::Ready(BodyError::TimedOut(BodyTimedOut));
            }
            timer.as_mut().reset(since + limit);
        }
    }

    pub(super) fn is_end_stream(&self) -> bool {
        self.stream.is_end_stream()
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// HTTP/2 itself refuses what is no number, and numbers that differ.
fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}
