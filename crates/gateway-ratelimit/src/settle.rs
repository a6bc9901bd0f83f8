//! The final cost, read from an answer's body as it passes.

mod find;

use crate::cost::{Pointer, Settle};
use crate::limiter::Note;
use bytes::{Buf, Bytes};
use find::find;
use gateway_core::is_event_stream;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use tower::{Layer, Service};

/// Response extension: what [`SettleLayer`] has to settle, of each limit that reads bodies.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settlements(Vec<Settlement>);

impl Settlements {
    /// One more.
    pub(crate) fn add<R>(note: Note, response: &mut Response<R>) {
        let due = Due { note, done: AtomicBool::new(!response.status().is_success()) };
        response.extensions_mut().get_or_insert_default::<Self>().0.push(Settlement(Arc::new(due)));
    }
}

#[derive(Clone, Debug)]
struct Settlement(Arc<Due>);

/// What is to be settled once; if it never is, it is missing.
#[derive(Debug)]
struct Due {
    note: Note,
    /// Whether it has been settled, or need not be: a service that fails has done less than it should, if anything.
    done: AtomicBool,
}

impl Drop for Due {
    fn drop(&mut self) {
        if !*self.done.get_mut() {
            self.note.missing();
        }
    }
}

impl Settlement {
    fn pointer(&self) -> Option<&Pointer> {
        let Settle::Body(pointer) = &self.0.note.limiter.settle else { return None };
        Some(pointer)
    }

    fn settle(&self, actual: u32) {
        let Due { note, done } = &*self.0;
        done.store(true, Ordering::Relaxed);
        note.take(i64::from(actual) - i64::from(note.cost));
    }
}

/// Reads the final cost of requests from the bodies of their answers, for limits with `settle = { json = … }`. Stands
/// around the [`RateLimitLayer`](crate::RateLimitLayer); other answers pass as they are.
///
/// Bodies pass frame by frame, while a copy of at most `max_body` bytes is kept and read when the body ends, or is
/// dropped because the client has gone. What a body does not say is [missing](crate::SettleSettings::missing).
#[derive(Clone, Copy, Debug, Default)]
pub struct SettleLayer;

impl<S> Layer<S> for SettleLayer {
    type Service = SettleService<S>;
    fn layer(&self, inner: S) -> SettleService<S> {
        SettleService { inner }
    }
}

/// The service of [`SettleLayer`].
#[derive(Clone, Debug)]
pub struct SettleService<S> {
    inner: S,
}

impl<S, B, R> Service<Request<B>> for SettleService<S>
where
    S: Service<Request<B>, Response = Response<R>>,
{
    type Response = Response<SettleBody<R>>;
    type Error = S::Error;
    type Future = SettleFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        SettleFuture { inner: self.inner.call(request) }
    }
}

pin_project! {
    /// The future of [`SettleService`].
    pub struct SettleFuture<F> {
        #[pin]
        inner: F,
    }
}

impl<F, R, E> Future for SettleFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
{
    type Output = Result<Response<SettleBody<R>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut response = ready!(self.project().inner.poll(cx))?;
        let events = is_event_stream(response.headers());
        let settlements = response.extensions_mut().remove::<Settlements>();
        let copy = settlements.map(|Settlements(all)| Copy {
            max: all.iter().filter_map(|one| Some(one.pointer()?.max)).max().unwrap_or_default(),
            settlements: all,
            events,
            bytes: Vec::new(),
            cut: false,
        });
        Poll::Ready(Ok(response.map(|inner| SettleBody { inner, copy })))
    }
}

pin_project! {
    /// A body of which a copy is read at its end, if there is something to settle.
    #[derive(Debug)]
    pub struct SettleBody<B> {
        #[pin]
        inner: B,
        copy: Option<Copy>,
    }
}

/// What of a body was kept; settles when it is dropped.
#[derive(Debug)]
struct Copy {
    settlements: Vec<Settlement>,
    /// How much is kept: what the limit that wants most has as `max_body`.
    max: usize,
    events: bool,
    bytes: Vec<u8>,
    /// Whether the beginning is missing.
    cut: bool,
}

impl Copy {
    fn keep(&mut self, data: &[u8]) {
        self.bytes.extend_from_slice(data);
        // Cut at twice the size, so that each byte is moved once at most.
        if self.bytes.len() > self.max.saturating_mul(2) {
            self.shorten();
        }
    }

    fn shorten(&mut self) {
        if self.bytes.len() > self.max {
            self.bytes.drain(..self.bytes.len() - self.max);
            self.cut = true;
        }
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        self.shorten();
        for settlement in &self.settlements {
            let Some(pointer) = settlement.pointer() else { continue };
            if let Some(actual) = find(&self.bytes, &pointer.path, self.events, self.cut) {
                settlement.settle(actual);
            }
        }
    }
}

impl<B: Body> Body for SettleBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.project();
        let frame = ready!(this.inner.poll_frame(cx));
        match &frame {
            Some(Ok(_)) => {}
            // Settled at once, not only when the body is dropped.
            Some(Err(_)) | None => *this.copy = None,
        }
        let frame = frame.map(|frame| {
            frame.map(|frame| {
                frame.map_data(|mut data| {
                    let data = data.copy_to_bytes(data.remaining());
                    if let Some(copy) = this.copy.as_mut() {
                        copy.keep(&data);
                    }
                    data
                })
            })
        });
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
