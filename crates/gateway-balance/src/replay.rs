use crate::{HoldSettings, RetrySettings};
use bytes::Bytes;
use gateway_core::BoxError;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use tokio::time::Instant;

/// A request body that can be sent again, as long as it is not larger than a limit.
///
/// It streams: what has passed is kept beside, so that the next attempt starts with that and goes on with the
/// rest. Beyond the limit nothing is kept and the body can be sent once only.
///
/// It also knows whether it is the client that is waited for, so that its time is not held against the endpoint.
#[derive(Debug)]
pub struct Replay<B>(Kind<B>);

#[derive(Debug)]
enum Kind<B> {
    Empty,
    Taped {
        tape: Arc<Mutex<Tape<B>>>,
        at: usize,
        left: Option<u64>,
        ended: bool,
    },
    /// What is left of it, for which nobody will ask again. Boxed, as it is rare.
    Last(Box<B>),
}

#[derive(Debug)]
pub(crate) struct Tape<B> {
    source: B,
    pieces: Vec<Piece>,
    limit: u64,
    kept: u64,
    /// How many pieces are kept, for each of them costs more than a few bytes.
    most_pieces: usize,
    /// Whether what passes now is kept.
    keeps: bool,
    over: bool,
    ended: bool,
    /// Whether somebody waits for the client to send more.
    waiting: bool,
    /// When the last piece came, or the end.
    moved: Option<Instant>,
}

#[derive(Clone, Debug)]
enum Piece {
    Data(Bytes),
    /// Boxed: a piece is to be small.
    Trailers(Box<HeaderMap>),
}

/// How many pieces are kept of a body of up to so many bytes.
fn most_pieces(limit: u64) -> usize {
    1024 + usize::try_from(limit / 512).unwrap_or(usize::MAX / 2)
}

/// What makes the body for the next attempt.
#[derive(Debug)]
pub(crate) enum Repeat<B> {
    Empty,
    Tape { tape: Arc<Mutex<Tape<B>>>, length: Option<u64> },
}

impl<B: Body<Data = Bytes>> Replay<B> {
    /// The body for the first attempt, and what makes it again if the settings ask for more attempts.
    pub(crate) fn prepare(
        body: B,
        settings: &RetrySettings,
        hold: Option<&HoldSettings>,
    ) -> (Self, Repeat<B>) {
        if body.is_end_stream() {
            return (Self(Kind::Empty), Repeat::Empty);
        }
        let limit = settings.body_limit.bytes();
        let once = settings.attempts <= 1 && settings.hedge.is_none() && hold.is_none();
        let (length, over) = (body.size_hint().exact(), once || body.size_hint().lower() > limit);
        let tape = Tape {
            source: body,
            pieces: Vec::new(),
            limit,
            kept: 0,
            most_pieces: most_pieces(limit),
            keeps: true,
            over,
            ended: false,
            waiting: false,
            moved: None,
        };
        let tape = Arc::new(Mutex::new(tape));
        (Self::at_start(&tape, length), Repeat::Tape { tape, length })
    }

    fn at_start(tape: &Arc<Mutex<Tape<B>>>, length: Option<u64>) -> Self {
        Self(Kind::Taped { tape: tape.clone(), at: 0, left: length, ended: false })
    }

    /// Where nobody is left who could have it sent again, keeps no more than what is still to be read: a stream or a tunnel
    /// may go on for days once it has its answer. With nothing of it left on the tape, that is put away.
    fn forget(&mut self) {
        let Kind::Taped { tape, at, .. } = &mut self.0 else { return };
        if Arc::strong_count(tape) > 1 || !lock(tape).forget(at) {
            return;
        }
        if let Kind::Taped { tape, .. } = std::mem::replace(&mut self.0, Kind::Empty)
            && let Some(tape) = Arc::into_inner(tape)
        {
            let tape = tape.into_inner().unwrap_or_else(PoisonError::into_inner);
            self.0 = Kind::Last(Box::new(tape.source));
        }
    }
}

fn lock<B>(tape: &Mutex<Tape<B>>) -> MutexGuard<'_, Tape<B>> {
    tape.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<B: Body<Data = Bytes>> Repeat<B> {
    /// The body from its beginning, unless it has become too large to be kept.
    pub(crate) fn again(&self) -> Option<Replay<B>> {
        match self {
            Self::Empty => Some(Replay(Kind::Empty)),
            Self::Tape { tape, length } => {
                let mut taped = lock(tape);
                // Whoever is sent it now has not asked for more yet.
                taped.waiting = false;
                (!taped.over).then(|| Replay::at_start(tape, *length))
            }
        }
    }

    /// Whether what the next attempt takes is kept for one after it.
    pub(crate) fn keep(&self, keeps: bool) {
        if let Self::Tape { tape, .. } = self {
            lock(tape).keeps = keeps;
        }
    }

    /// Until when the client had a part in how long it takes: now, where more of the body is waited for, else when the
    /// last of it came. `None` where nothing of it has come, or there is none.
    pub(crate) fn client_moved(&self, now: Instant) -> Option<Instant> {
        let Self::Tape { tape, .. } = self else { return None };
        let tape = lock(tape);
        if tape.waiting { Some(now) } else { tape.moved }
    }

    /// Since when the endpoint alone is waited for, in a try that began at `started`.
    pub(crate) fn waited_since(&self, started: Instant) -> Instant {
        let Self::Tape { tape, .. } = self else { return started };
        let tape = lock(tape);
        if tape.waiting { Instant::now() } else { tape.moved.map_or(started, |moved| moved.max(started)) }
    }

    /// The body from its beginning, if it has arrived whole: so that it can be sent twice at the same time without
    /// both waiting for the rest of it.
    pub(crate) fn whole(&self) -> Option<Replay<B>> {
        match self {
            Self::Tape { tape, .. } if !lock(tape).ended => None,
            _ => self.again(),
        }
    }
}

impl<B> Body for Replay<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        this.forget();
        match &mut this.0 {
            Kind::Empty => Poll::Ready(None),
            Kind::Last(source) => Pin::new(&mut **source).poll_frame(cx).map_err(Into::into),
            Kind::Taped { tape, at, left, ended } => {
                let mut tape = lock(tape);
                let piece = if let Some(piece) = tape.pieces.get(*at) {
                    *at += 1;
                    Some(piece.clone())
                } else if tape.ended {
                    None
                } else {
                    let piece = ready!(tape.poll_source(cx))?;
                    *at = tape.pieces.len();
                    piece
                };
                let Some(piece) = piece else {
                    *ended = true;
                    return Poll::Ready(None);
                };
                *ended = tape.ended && *at >= tape.pieces.len();
                Poll::Ready(Some(Ok(match piece {
                    Piece::Data(data) => {
                        *left = left.map(|left| left.saturating_sub(data.len() as u64));
                        Frame::data(data)
                    }
                    Piece::Trailers(trailers) => Frame::trailers(*trailers),
                })))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Empty => true,
            Kind::Taped { ended, .. } => *ended,
            Kind::Last(source) => source.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Empty => SizeHint::with_exact(0),
            Kind::Taped { left, .. } => left.map_or_else(SizeHint::default, SizeHint::with_exact),
            Kind::Last(source) => source.size_hint(),
        }
    }
}

impl<B> Tape<B> {
    /// Keeps no more than what is still to be read. Says whether all of that is still to come.
    fn forget(&mut self, at: &mut usize) -> bool {
        self.over = true;
        if *at > 0 {
            self.pieces = self.pieces.split_off((*at).min(self.pieces.len()));
            *at = 0;
        }
        self.pieces.is_empty() && !self.ended
    }
}

impl<B> Tape<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    fn poll_source(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Piece>, BoxError>> {
        let polled = Pin::new(&mut self.source).poll_frame(cx);
        self.waiting = polled.is_pending();
        let polled = ready!(polled);
        self.moved = Some(Instant::now());
        let piece = match polled {
            None => None,
            Some(Err(e)) => {
                // Whoever sends it again would fail in the same place.
                self.over = true;
                return Poll::Ready(Err(e.into()));
            }
            Some(Ok(frame)) => Some(match frame.into_data() {
                Ok(data) => Piece::Data(data),
                Err(frame) => Piece::Trailers(frame.into_trailers().unwrap_or_default().into()),
            }),
        };
        self.ended = piece.is_none() || self.source.is_end_stream();
        if let Some(piece) = &piece {
            self.kept += if let Piece::Data(data) = piece { data.len() as u64 } else { 0 };
            self.over |= !self.keeps || self.kept > self.limit || self.pieces.len() >= self.most_pieces;
            if self.over {
                self.pieces = Vec::new();
            } else {
                self.pieces.push(piece.clone());
            }
        }
        Poll::Ready(Ok(piece))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::{BodyExt, Full, StreamBody};

    fn pieces(texts: &'static [&'static str]) -> impl Body<Data = Bytes, Error = std::io::Error> + Unpin {
        let frames = texts.iter().map(|t| Ok(Frame::data(Bytes::from_static(t.as_bytes()))));
        StreamBody::new(futures_util::stream::iter(frames))
    }

    fn keeping(limit: u64) -> RetrySettings {
        RetrySettings { body_limit: gateway_core::units::ByteSize(limit), ..RetrySettings::default() }
    }

    async fn text<B: Body<Data = Bytes> + Unpin>(body: Replay<B>) -> String
    where
        B::Error: Into<BoxError>,
    {
        String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap()
    }

    #[tokio::test]
    async fn a_small_body_in_very_many_pieces_is_not_kept() {
        let most = most_pieces(64 * 1024);
        for (count, kept) in [(most, true), (most + 1, false)] {
            let frames = (0..count).map(|_| Ok::<_, std::io::Error>(Frame::data(Bytes::from_static(b"x"))));
            let body = StreamBody::new(futures_util::stream::iter(frames));
            let (first, rewind) = Replay::prepare(body, &keeping(64 * 1024), None);
            assert_eq!(text(first).await, "x".repeat(count));
            assert_eq!(rewind.again().is_some(), kept, "{count}");
        }
        assert!(size_of::<Piece>() <= 40, "{}", size_of::<Piece>());
    }

    #[tokio::test]
    async fn a_small_body_is_sent_again_from_the_start() {
        let (mut first, rewind) = Replay::prepare(pieces(&["ab", "cd", "ef"]), &keeping(100), None);
        // The first attempt breaks off in the middle.
        first.frame().await.unwrap().unwrap();
        drop(first);
        assert_eq!(text(rewind.again().unwrap()).await, "abcdef");
        assert_eq!(text(rewind.again().unwrap()).await, "abcdef");
    }

    #[tokio::test]
    async fn a_body_that_need_not_be_kept_can_be_sent_again_until_something_of_it_is_taken() {
        let (first, rewind) = Replay::prepare(pieces(&["ab", "cd"]), &keeping(100), None);
        rewind.keep(false);
        // No connection was made for it.
        drop(first);
        let mut second = rewind.again().unwrap();
        second.frame().await.unwrap().unwrap();
        assert!(rewind.again().is_none());
        assert_eq!(text(second).await, "cd");
    }

    #[tokio::test]
    async fn what_was_kept_is_sent_before_what_is_not_kept_any_more() {
        let (mut first, rewind) = Replay::prepare(pieces(&["ab", "cd", "ef"]), &keeping(100), None);
        first.frame().await.unwrap().unwrap();
        drop(first);
        rewind.keep(false);
        assert_eq!(text(rewind.again().unwrap()).await, "abcdef");
        assert!(rewind.again().is_none());
    }

    #[tokio::test]
    async fn a_body_over_the_limit_passes_once_and_is_not_kept() {
        let (first, rewind) = Replay::prepare(pieces(&["ab", "cd", "ef"]), &keeping(3), None);
        assert_eq!(text(first).await, "abcdef");
        assert!(rewind.again().is_none());
    }

    #[tokio::test]
    async fn what_nobody_can_have_sent_again_is_not_kept() {
        let kept = |body: &Replay<_>| match &body.0 {
            Kind::Taped { tape, .. } => lock(tape).pieces.len(),
            Kind::Empty | Kind::Last(_) => 0,
        };
        let (mut first, rewind) = Replay::prepare(pieces(&["ab", "cd", "ef"]), &keeping(100), None);
        first.frame().await.unwrap().unwrap();
        first.frame().await.unwrap().unwrap();
        drop(first);
        let mut again = rewind.again().unwrap();
        again.frame().await.unwrap().unwrap();
        assert_eq!(kept(&again), 2);
        // It has its answer.
        drop(rewind);
        assert_eq!(again.frame().await.unwrap().unwrap().into_data().unwrap(), "cd");
        assert_eq!(kept(&again), 1, "the one that was just read");
        assert_eq!(again.frame().await.unwrap().unwrap().into_data().unwrap(), "ef");
        assert_eq!(kept(&again), 0);
        assert!(again.frame().await.is_none());
    }

    #[tokio::test]
    async fn a_body_is_whole_once_all_of_it_has_arrived() {
        let (mut first, rewind) = Replay::prepare(pieces(&["ab", "cd"]), &keeping(100), None);
        first.frame().await.unwrap().unwrap();
        assert!(rewind.whole().is_none());
        while first.frame().await.is_some() {}
        assert_eq!(text(rewind.whole().unwrap()).await, "abcd");
        let (_, empty) = Replay::prepare(pieces(&[]), &keeping(100), None);
        assert!(empty.whole().is_none(), "nobody knows yet that nothing comes");
        let (_, empty) = Replay::prepare(Full::new(Bytes::new()), &keeping(100), None);
        assert!(empty.whole().is_some());
        let (once, over) = Replay::prepare(pieces(&["abcd"]), &keeping(3), None);
        assert_eq!(text(once).await, "abcd");
        assert!(over.whole().is_none());
    }

    #[tokio::test]
    async fn the_length_is_known_again_for_each_attempt() {
        let (mut first, rewind) = Replay::prepare(Full::new(Bytes::from_static(b"abc")), &keeping(100), None);
        assert_eq!(first.size_hint().exact(), Some(3));
        first.frame().await.unwrap().unwrap();
        assert!(first.is_end_stream());
        assert_eq!(first.size_hint().exact(), Some(0));
        let again = rewind.again().unwrap();
        assert!(!again.is_end_stream());
        assert_eq!(again.size_hint().exact(), Some(3));
        assert_eq!(text(again).await, "abc");
    }
}
