//! The body of a request on its way from the connection to whoever reads it.

use super::io::{Input, Output};
use crate::body::{Abandoned, Demand, Piece, Pipe};
use crate::patience::Patience;
use bytes::{Bytes, BytesMut};
use gateway_http1::{ChunkDecoder, Decoded, Framing};
use http::HeaderMap;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::AsyncRead;

/// The most that one read of a body asks for.
const MAX_READ: usize = 64 * 1024;

#[derive(Debug)]
pub(crate) struct Upload {
    reader: Reader,
    pipe: Arc<Pipe>,
    expect: Expect,
    pub(crate) patience: Patience,
}

/// What the client was told about its `Expect: 100-continue` (RFC 9110 §10.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expect {
    /// It sends, or will.
    Nothing,
    /// It waits to be told.
    Continue,
    /// The answer came before: it may or may not send its body now.
    Unsure,
}

#[derive(Debug)]
enum Reader {
    Length(u64),
    Chunked(ChunkDecoder),
    /// Raw bytes, once the answer was 101.
    Tunnel {
        open: bool,
    },
}

enum Next {
    Data(Bytes),
    End(HeaderMap),
    NeedMore(u64),
    Malformed(&'static str),
}

/// What became of an attempt to move a body on.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Pumped {
    /// A piece was handed over, or asked for.
    Progress,
    /// The body is complete.
    Done,
    /// The reader wants more than the client has sent.
    WaitingForClient,
    /// Nobody wants anything now.
    Idle,
    /// The body is malformed; the reader knows.
    Malformed,
    /// The client is gone.
    Gone,
}

/// What became of the rest of a body that nobody wants.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Discarded {
    All,
    Waiting,
    TooMuch,
}

impl Upload {
    pub(crate) fn new(framing: Framing, pipe: Arc<Pipe>, expects_continue: bool, patience: Patience) -> Self {
        let reader = match framing {
            Framing::Length(length) => Reader::Length(length),
            Framing::Chunked => Reader::Chunked(ChunkDecoder::default()),
            Framing::None | Framing::UntilClose => Reader::Tunnel { open: false },
        };
        let expect = if expects_continue { Expect::Continue } else { Expect::Nothing };
        Self { reader, pipe, expect, patience }
    }

    pub(crate) fn is_tunnel(&self) -> bool {
        matches!(self.reader, Reader::Tunnel { .. })
    }

    /// The answer begins. From now on a `100 Continue` would stand within it.
    ///
    /// Says whether the connection can serve another request: not when it is unknown whether the body comes, nor
    /// when so much of it is to come that nobody wants.
    pub(crate) fn answer_begins(&mut self, max_discard: usize) -> bool {
        if self.expect == Expect::Continue {
            self.expect = Expect::Unsure;
            return false;
        }
        let Reader::Length(left) = self.reader else { return true };
        left <= max_discard as u64 || self.pipe.has_reader()
    }

    /// The tunnel was not granted, and there is no body without one.
    pub(crate) fn refuse_tunnel(self) {
        self.pipe.abandon(Abandoned::Refused);
    }

    /// The client is too slow for its reader.
    pub(crate) fn give_up(self) {
        self.pipe.abandon(Abandoned::Late);
    }

    /// Whether what the client sends may still be read.
    pub(crate) fn has_reader(&self) -> bool {
        self.pipe.has_reader()
    }

    /// The answer was 101: what follows are bytes of another protocol.
    pub(crate) fn open_tunnel(&mut self) {
        self.reader = Reader::Tunnel { open: true };
    }

    /// Whether reading on gets to the end of this request. Not where the client may never send the body.
    pub(crate) fn may_be_discarded(&self) -> bool {
        self.expect == Expect::Nothing && !self.is_tunnel()
    }

    fn next(&mut self, buffer: &mut BytesMut) -> Next {
        match &mut self.reader {
            Reader::Length(0) => Next::End(HeaderMap::new()),
            Reader::Length(left) if buffer.is_empty() => Next::NeedMore(*left),
            Reader::Length(left) => {
                let here = usize::try_from(*left).map_or(buffer.len(), |left| left.min(buffer.len()));
                *left -= here as u64;
                Next::Data(buffer.split_to(here).freeze())
            }
            Reader::Tunnel { .. } if buffer.is_empty() => Next::NeedMore(0),
            Reader::Tunnel { .. } => Next::Data(buffer.split().freeze()),
            Reader::Chunked(decoder) => match decoder.decode(buffer) {
                Ok(Decoded::Data(data)) => Next::Data(data),
                Ok(Decoded::End(trailers)) => Next::End(trailers),
                Ok(Decoded::NeedMore) => Next::NeedMore(decoder.remaining()),
                Err(why) => Next::Malformed(why),
            },
        }
    }

    /// Hands over what came with the head, before anybody asks: so that both can go on in one call.
    pub(crate) fn begin(&mut self, input: &mut Input, cx: &mut Context<'_>) {
        if matches!(self.reader, Reader::Length(_))
            && !input.is_empty()
            && let Next::Data(data) = self.next(input.buffer())
        {
            // Whoever sends does not wait.
            self.expect = Expect::Nothing;
            self.pipe.put(Piece::Data(data), cx);
        }
    }

    /// Hands the next piece over, if somebody wants one and it is there.
    pub(crate) fn pump<I: AsyncRead + Unpin>(
        &mut self,
        input: &mut Input,
        output: &mut Output,
        io: &mut I,
        cx: &mut Context<'_>,
    ) -> Pumped {
        if matches!(self.reader, Reader::Tunnel { open: false }) {
            return Pumped::Idle;
        }
        // A length that is used up needs no reader to be so.
        if matches!(self.reader, Reader::Length(0)) {
            return Pumped::Done;
        }
        if self.pipe.demand(cx) != Demand::Piece {
            return Pumped::Idle;
        }
        loop {
            let want = match self.next(input.buffer()) {
                Next::Data(data) => {
                    // Whoever sends does not wait.
                    self.expect = Expect::Nothing;
                    self.patience.came(data.len());
                    self.pipe.put(Piece::Data(data), cx);
                    return Pumped::Progress;
                }
                Next::End(trailers) => {
                    self.pipe.put(Piece::End(trailers), cx);
                    return Pumped::Done;
                }
                Next::Malformed(why) => {
                    self.pipe.abandon(Abandoned::Malformed(why));
                    return Pumped::Malformed;
                }
                Next::NeedMore(want) => usize::try_from(want).unwrap_or(MAX_READ).min(MAX_READ),
            };
            if self.expect == Expect::Continue {
                self.expect = Expect::Nothing;
                output.end().extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
                return Pumped::Progress;
            }
            match input.poll_read(io, cx, want) {
                Poll::Ready(Ok(1..)) => {}
                Poll::Ready(Ok(0)) if self.is_tunnel() => {
                    self.pipe.put(Piece::End(HeaderMap::new()), cx);
                    return Pumped::Done;
                }
                Poll::Ready(_) => return Pumped::Gone,
                Poll::Pending => return Pumped::WaitingForClient,
            }
        }
    }

    /// Reads to the end of the body without keeping it, within the budget.
    pub(crate) fn discard<I: AsyncRead + Unpin>(
        &mut self,
        input: &mut Input,
        io: &mut I,
        budget: &mut usize,
        cx: &mut Context<'_>,
    ) -> Discarded {
        loop {
            match self.next(input.buffer()) {
                Next::End(_) => return Discarded::All,
                Next::Data(data) if data.len() <= *budget => *budget -= data.len(),
                Next::NeedMore(left) if left <= *budget as u64 => match input.poll_read(io, cx, 0) {
                    Poll::Ready(Ok(1..)) => {}
                    Poll::Ready(_) => return Discarded::TooMuch,
                    Poll::Pending => return Discarded::Waiting,
                },
                Next::Data(_) | Next::NeedMore(_) | Next::Malformed(_) => return Discarded::TooMuch,
            }
        }
    }
}

/// Whoever still reads learns that nothing follows. A body that has ended was read to its end, or is as long as it
/// said, and notices nothing.
impl Drop for Upload {
    fn drop(&mut self) {
        self.pipe.abandon(Abandoned::Broken);
    }
}
