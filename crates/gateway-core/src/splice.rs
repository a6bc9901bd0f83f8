use bytes::Bytes;
use http_body::Body;
use std::os::fd::BorrowedFd;
use std::pin::Pin;
use std::task::{Context, Poll};

/// A body whose bytes can go from the socket they come from to another one without being read, such as by `splice(2)`.
///
/// For bodies that come from a connection as they are, and for those around them that only count: whoever changes bytes or
/// looks at them does not implement it, or says that nothing went this way.
pub trait Splice: Body {
    /// Moves what comes next to `to`, a stream socket that does not block. Nothing may wait to be written to it before.
    ///
    /// [`Spliced::default`] says that nothing goes this way now: the next frame is to be asked for, which also tells how a
    /// body ended or failed. Pending, the task is woken as it is by `poll_frame`.
    fn poll_splice(self: Pin<&mut Self>, cx: &mut Context<'_>, to: BorrowedFd<'_>) -> Poll<Spliced>;
}

/// What went past.
#[derive(Debug, Default)]
pub struct Spliced {
    /// How many bytes the socket has taken.
    pub moved: u64,
    /// What it did not take of those that came: to be written behind them.
    pub rest: Bytes,
}

impl Spliced {
    /// How many bytes of the body these are.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.moved + self.rest.len() as u64
    }
}
