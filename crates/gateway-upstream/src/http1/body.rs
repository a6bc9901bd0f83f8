use super::connection::{Connection, describe};
use super::request::{Upload, UploadError};
use crate::client::Shared;
use bytes::Bytes;
use gateway_core::units::Timespan;
use gateway_core::{BoxError, FailureKind, Splice, Spliced, UpstreamError};
use gateway_http1::{ChunkDecoder, Decoded, Framing, READ};
use http_body::{Body, Frame, SizeHint};
use std::future::Future;
use std::os::fd::BorrowedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::time::{Instant, Sleep};

/// So much of a body, where it is known to be that long, is passed on without being read, if it can be.
const LONG: u64 = 64 * 1024;
/// The most that one read of a body asks for.
const MAX_READ: usize = 64 * 1024;

/// The body of an answer, read from its connection as the client takes it.
///
/// When it has ended well, the connection goes back to the pool. Dropped before all of it has come, it is closed. What is
/// left of the request body `B` is still sent meanwhile.
#[derive(Debug)]
pub(crate) struct Http1Body<B> {
    state: State,
    exchange: Option<Exchange<B>>,
    shared: Arc<Shared>,
    /// Only set while the upstream is silent.
    idle: Option<Pin<Box<Sleep>>>,
}

#[derive(Debug)]
pub(crate) struct Exchange<B> {
    pub(crate) connection: Box<Connection>,
    /// Boxed, for few requests have one and every layer passes this on.
    pub(crate) upload: Option<Box<Upload<B>>>,
    pub(crate) keep_alive: bool,
    /// How long the answer may make no progress, if that is limited here.
    pub(crate) silence: Option<Timespan>,
}

#[derive(Debug)]
enum State {
    Length(u64),
    Chunked(ChunkDecoder),
    UntilClose,
    Done,
}

impl<B> Http1Body<B> {
    pub(crate) fn new(exchange: Exchange<B>, framing: Framing, shared: &Arc<Shared>) -> Self {
        let state = match framing {
            Framing::None => State::Done,
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::Chunked(ChunkDecoder::default()),
            Framing::UntilClose => State::UntilClose,
        };
        let mut body = Self { state, exchange: Some(exchange), shared: shared.clone(), idle: None };
        if framing == Framing::None {
            body.finish();
        }
        body
    }

    /// The end: gives the connection back, if both sides are done with it and it holds nothing unasked for.
    fn finish(&mut self) {
        self.state = State::Done;
        if let Some(Exchange { mut connection, upload: None, keep_alive: true, .. }) = self.exchange.take()
            && connection.buffer.is_empty()
        {
            if self.shared.read_size.get() > READ {
                connection.rest();
            }
            self.shared.pool.give(connection, &self.shared.settings);
        }
    }

    /// Passes over what has come already. Says whether that was all there is.
    fn skip(&mut self) -> bool {
        let Some(Exchange { connection, .. }) = &mut self.exchange else { return false };
        let buffer = &mut connection.buffer;
        match &mut self.state {
            State::Length(left) if *left == buffer.len() as u64 => {
                buffer.clear();
                true
            }
            State::Chunked(decoder) => loop {
                match decoder.decode(buffer) {
                    Ok(Decoded::Data(_)) => {}
                    Ok(Decoded::End(_)) => return true,
                    Ok(Decoded::NeedMore) | Err(_) => return false,
                }
            },
            State::Length(_) | State::UntilClose | State::Done => false,
        }
    }

    /// Ready when nothing has come for as long as that may last.
    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<Timespan> {
        let Some(limit) = self.exchange.as_ref().and_then(|exchange| exchange.silence) else {
            return Poll::Pending;
        };
        let begin = || Box::pin(tokio::time::sleep_until(Instant::now() + *limit));
        self.idle.get_or_insert_with(begin).as_mut().poll(cx).map(|()| limit)
    }

    fn fail<T>(
        &mut self,
        kind: FailureKind,
        message: impl Into<String>,
    ) -> Poll<Option<Result<T, UpstreamError>>> {
        self.state = State::Done;
        self.exchange = None;
        Poll::Ready(Some(Err(UpstreamError::new(kind, &self.shared.endpoint, message))))
    }
}

/// An answer that nobody wants, such as one that is tried again or that of a health check, costs no connection where it is
/// small.
impl<B> Drop for Http1Body<B> {
    fn drop(&mut self) {
        if self.skip() {
            self.finish();
        }
    }
}

impl<B> Body for Http1Body<B>
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
        if let Some(exchange) = &mut this.exchange
            && let Some(upload) = &mut exchange.upload
        {
            match upload.poll_send(&mut exchange.connection, cx) {
                Poll::Ready(Ok(())) => exchange.upload = None,
                // The answer goes on; the connection is of no further use.
                Poll::Ready(Err(UploadError::Connection | UploadError::Body(_))) => {
                    exchange.upload = None;
                    exchange.keep_alive = false;
                }
                Poll::Pending => {}
            }
        }
        loop {
            let Some(exchange) = this.exchange.as_mut() else {
                return match this.state {
                    State::Length(1..) => {
                        this.fail(FailureKind::Reset, "a part of the answer's body was lost")
                    }
                    _ => Poll::Ready(None),
                };
            };
            let buffer = &mut exchange.connection.buffer;
            let want = match &mut this.state {
                State::Done => return Poll::Ready(None),
                State::Length(left) if buffer.is_empty() => *left,
                State::Length(left) => {
                    let here = usize::try_from(*left).map_or(buffer.len(), |left| left.min(buffer.len()));
                    let data = buffer.split_to(here).freeze();
                    *left -= here as u64;
                    if *left == 0 {
                        this.finish();
                    }
                    this.idle = None;
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                State::UntilClose if buffer.is_empty() => 0,
                State::UntilClose => {
                    this.idle = None;
                    return Poll::Ready(Some(Ok(Frame::data(buffer.split().freeze()))));
                }
                State::Chunked(decoder) => match decoder.decode(buffer) {
                    Ok(Decoded::Data(data)) => {
                        this.idle = None;
                        return Poll::Ready(Some(Ok(Frame::data(data))));
                    }
                    Ok(Decoded::NeedMore) => decoder.remaining(),
                    Ok(Decoded::End(trailers)) => {
                        this.finish();
                        if trailers.is_empty() {
                            return Poll::Ready(None);
                        }
                        return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
                    }
                    Err(message) => return this.fail(FailureKind::Protocol, message),
                },
            };
            let want = usize::try_from(want).unwrap_or(MAX_READ).min(MAX_READ);
            match exchange.connection.poll_read(cx, want) {
                Poll::Ready(Ok(0)) if matches!(this.state, State::UntilClose) => {
                    this.finish();
                    return Poll::Ready(None);
                }
                Poll::Ready(Ok(0)) => {
                    return this
                        .fail(FailureKind::Reset, "the connection was closed within the answer's body");
                }
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(e)) => return this.fail(FailureKind::Reset, describe(&e)),
                Poll::Pending => {
                    let limit = ready!(this.poll_silence(cx));
                    let message = format!("the answer's body made no progress for {limit}");
                    return this.fail(FailureKind::Timeout, message);
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.state, State::Done)
    }

    fn size_hint(&self) -> SizeHint {
        match self.state {
            State::Length(left) => SizeHint::with_exact(left),
            State::Done => SizeHint::with_exact(0),
            State::Chunked(_) | State::UntilClose => SizeHint::default(),
        }
    }
}

impl<B> Splice for Http1Body<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    fn poll_splice(self: Pin<&mut Self>, cx: &mut Context<'_>, to: BorrowedFd<'_>) -> Poll<Spliced> {
        let this = self.get_mut();
        let (State::Length(left @ LONG..), Some(exchange @ Exchange { upload: None, .. })) =
            (&mut this.state, &mut this.exchange)
        else {
            return Poll::Ready(Spliced::default());
        };
        let Poll::Ready(spliced) = exchange.connection.poll_splice(cx, to, *left) else {
            return this.poll_silence(cx).map(|_| Spliced::default());
        };
        let Ok(spliced) = spliced else {
            // Whoever asks for the next frame is told.
            this.exchange = None;
            return Poll::Ready(Spliced::default());
        };
        if spliced.total() > 0 {
            this.idle = None;
        }
        *left -= spliced.total();
        if *left == 0 {
            this.finish();
        }
        Poll::Ready(spliced)
    }
}
