//! One HTTP/2 stream: its answer, its deadline, and its count among the streams of its connection.

use super::websocket::{Extended, granted};
use super::{Shared, stalled};
use crate::Handler;
use bytes::Bytes;
use gateway_core::{Code, Problem};
use http::Response;
use http_body::{Body, Frame, SizeHint};
use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker, ready};

/// How many streams of a connection are under way.
#[derive(Debug, Default)]
pub(super) struct Streams {
    open: Cell<usize>,
    connection: RefCell<Option<Waker>>,
}

impl Streams {
    /// Whether there are none; wakes this task when that becomes so.
    pub(super) fn is_idle(&self, cx: &mut Context<'_>) -> bool {
        let mut waker = self.connection.borrow_mut();
        if waker.as_ref().is_none_or(|waker| !waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        self.open.get() == 0
    }
}

/// Counts one stream for as long as it lives.
pub(super) struct Counted<H>(Rc<Shared<H>>);

impl<H> Counted<H> {
    pub(super) fn new(shared: &Rc<Shared<H>>) -> Self {
        shared.streams.open.set(shared.streams.open.get() + 1);
        Self(shared.clone())
    }

    pub(super) fn shared(&self) -> &Shared<H> {
        &self.0
    }
}

impl<H> Drop for Counted<H> {
    fn drop(&mut self) {
        let streams = &self.0.streams;
        streams.open.set(streams.open.get() - 1);
        if streams.open.get() == 0
            && let Some(waker) = &*streams.connection.borrow()
        {
            waker.wake_by_ref();
        }
    }
}

/// An answer on its way.
pub(super) struct Answering<H: Handler> {
    pub(super) future: H::Future,
    /// Set when the client has let its request's body wait for too long.
    pub(super) late: Option<Arc<AtomicBool>>,
    /// What the stream becomes when the answer is 101.
    pub(super) extended: Option<Extended>,
    pub(super) counted: Option<Counted<H>>,
}

impl<H: Handler + Clone> Future for Answering<H> {
    type Output = Result<Response<AnswerBody<H>>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        loop {
            let polled = Pin::new(&mut this.future).poll(cx);
            // Whatever the handler made of a body that broke off: the client was too slow.
            if let Some(late) = &this.late
                && late.load(Ordering::Relaxed)
                && let Some(counted) = &this.counted
            {
                this.future = counted.shared().handler.refuse(Problem::new(Code::RequestTimeout));
                this.late = None;
                continue;
            }
            let response = match ready!(polled) {
                Ok(response) => response,
                Err(never) => match never {},
            };
            // An answer is given once.
            let Some(counted) = this.counted.take() else { return Poll::Pending };
            let Some(extended) = this.extended.take() else {
                return Poll::Ready(Ok(response.map(|body| AnswerBody::of(body, counted))));
            };
            match granted(extended, response, counted) {
                Ok(response) => return Poll::Ready(Ok(response)),
                Err(counted) => {
                    let problem = Problem::new(Code::UpstreamProtocolError)
                        .with_detail("the upstream does not change protocols");
                    this.future = counted.shared().handler.refuse(problem);
                    this.counted = Some(counted);
                }
            }
        }
    }
}

/// An answer's body, which keeps its stream counted.
pub(super) struct AnswerBody<H: Handler> {
    body: Option<(H::Body, Counted<H>)>,
    /// What is left of its last piece.
    rest: Bytes,
}

impl<H: Handler> AnswerBody<H> {
    pub(super) fn of(body: H::Body, counted: Counted<H>) -> Self {
        Self { body: Some((body, counted)), rest: Bytes::new() }
    }

    pub(super) fn empty() -> Self {
        Self { body: None, rest: Bytes::new() }
    }
}

impl<H: Handler> Body for AnswerBody<H> {
    type Data = Bytes;
    type Error = <H::Body as Body>::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = self.get_mut();
        stalled::asked();
        if this.rest.is_empty() {
            let Some((body, _)) = &mut this.body else { return Poll::Ready(None) };
            match ready!(Pin::new(body).poll_frame(cx)).map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(data))) => this.rest = data,
                Some(Ok(Err(frame))) => return Poll::Ready(Some(Ok(frame))),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
        Poll::Ready(Some(Ok(Frame::data(stalled::give(&mut this.rest)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.as_ref().is_none_or(|(body, _)| body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        let Some((body, _)) = &self.body else { return SizeHint::with_exact(0) };
        let (mut hint, rest) = (body.size_hint(), self.rest.len() as u64);
        if rest > 0 {
            let upper = hint.upper();
            hint.set_lower(hint.lower() + rest);
            if let Some(upper) = upper {
                hint.set_upper(upper + rest);
            }
        }
        hint
    }
}
