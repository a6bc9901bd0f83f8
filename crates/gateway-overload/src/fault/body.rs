use super::layer::Active;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use std::num::NonZeroU64;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep};

/// What is sent at once is a tenth of what is sent in a second.
const PIECES_PER_SECOND: u64 = 10;

pin_project! {
    /// The body of an answer behind a [`FaultLayer`](crate::FaultLayer), sent at a given rate or as it comes.
    #[derive(Debug, Default)]
    pub struct PacedBody<B> {
        #[pin]
        body: B,
        pace: Option<Box<Pace>>,
    }
}

#[derive(Debug)]
pub(crate) struct Pace {
    rate: NonZeroU64,
    /// What has come but was not sent yet.
    rest: Bytes,
    /// Ends when the piece before is paid for.
    wait: Pin<Box<Sleep>>,
    _active: Active,
}

impl Pace {
    pub(crate) fn new(rate: NonZeroU64, active: Active) -> Box<Self> {
        Box::new(Self { rate, rest: Bytes::new(), wait: Box::pin(sleep(Duration::ZERO)), _active: active })
    }

    /// The next piece of what has come.
    fn piece(&mut self) -> Bytes {
        let most = usize::try_from(self.rate.get() / PIECES_PER_SECOND).unwrap_or(usize::MAX).max(1);
        let piece = self.rest.split_to(most.min(self.rest.len()));
        let nanos = piece.len() as u128 * 1_000_000_000 / u128::from(self.rate.get());
        let cost = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        self.wait.as_mut().reset(Instant::now() + cost);
        piece
    }
}

impl<B> PacedBody<B> {
    pub(crate) fn new(body: B, pace: Option<Box<Pace>>) -> Self {
        Self { body, pace }
    }
}

/// A body that is sent as it comes.
impl<B: From<Bytes>> From<Bytes> for PacedBody<B> {
    fn from(bytes: Bytes) -> Self {
        Self::new(bytes.into(), None)
    }
}

impl<B: Body<Data = Bytes>> Body for PacedBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.project();
        let Some(pace) = this.pace else { return this.body.poll_frame(cx) };
        ready!(pace.wait.as_mut().poll(cx));
        if pace.rest.is_empty() {
            match ready!(this.body.poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => pace.rest = data,
                    Err(other) => return Poll::Ready(Some(Ok(other))),
                },
                end => {
                    *this.pace = None;
                    return Poll::Ready(end);
                }
            }
        }
        Poll::Ready(Some(Ok(Frame::data(pace.piece()))))
    }

    fn is_end_stream(&self) -> bool {
        self.pace.as_ref().is_none_or(|pace| pace.rest.is_empty()) && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (body, mut hint) = (self.body.size_hint(), SizeHint::new());
        let rest = self.pace.as_ref().map_or(0, |pace| pace.rest.len() as u64);
        hint.set_lower(body.lower().saturating_add(rest));
        if let Some(upper) = body.upper() {
            hint.set_upper(upper.saturating_add(rest));
        }
        hint
    }
}
