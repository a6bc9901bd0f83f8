//! Two endpoints asked for one answer, the second because the first is slow.

use super::{Sending, outcome};
use crate::client_deadline::tell_budget;
use crate::failure::Failure;
use crate::hedge::Latencies;
use crate::replay::{Repeat, Replay};
use crate::retry::{Outcome, Repeatable, Verdict, wanted};
use crate::set::{LastResort, Picked};
use crate::timeout::{Limit, Time};
use bytes::Bytes;
use gateway_core::{BoxError, FailureKind, Upstream};
use http::Response;
use http::header::{HeaderName, HeaderValue};
use http::request::Parts;
use http_body::Body;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use tokio::time::Instant;

/// Tells an endpoint that another was asked before.
const HEDGE: HeaderName = HeaderName::from_static("x-hedge-attempt");

/// A request on its way to one endpoint.
pub(super) struct Try {
    pub(super) picked: Picked,
    pub(super) started: Instant,
    /// Until when it may take, and why.
    pub(super) limit: (Instant, Limit),
}

/// How a race ended.
pub(super) struct Raced<B> {
    pub(super) result: Result<Response<B>, Failure>,
    /// Whose result that is; it is not recorded yet.
    pub(super) by: Try,
    /// The endpoint of the other one, if that failed; it is recorded.
    pub(super) failed: Option<usize>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    First,
    Second,
}

impl<U> Sending<'_, U> {
    /// Sends a request, and again to another endpoint if no answer has come after the delay. The first answer that is
    /// not to be retried is taken; a failure only if the other one has failed too. Who loses is cancelled when this
    /// returns.
    pub(super) async fn race<B>(
        &self,
        head: &Parts,
        body: Replay<B>,
        repeat: &Repeat<B>,
        first: Try,
        time: &Time,
        latencies: &Latencies,
    ) -> Raced<U::Body>
    where
        U: Upstream<Replay<B>>,
        B: Body<Data = Bytes> + Unpin,
        B::Error: Into<BoxError>,
    {
        let sending = pin!(self.upstreams[first.picked.index].send(head, body));
        let mut one = pin!(self.hear(sending, first.started, first.limit, time, repeat));
        let delay = latencies.delay(self.set.clock().at(first.started));
        let due = delay.map(|delay| first.started + delay).filter(|due| *due < first.limit.0);
        let early = match due {
            Some(due) => self.timers.limit(due, &mut one).await,
            None => Some((&mut one).await),
        };
        let (second, body) = match early {
            Some(result) => return Raced::alone(result, first, latencies),
            None => match self.second(head, repeat, &first.picked, time) {
                Some(second) => second,
                None => return Raced::alone(one.await, first, latencies),
            },
        };
        let second_head = self.second_head(head, time, &second);
        let sending = pin!(self.upstreams[second.picked.index].send(&second_head, body));
        let mut two = pin!(self.hear(sending, second.started, second.limit, time, repeat));
        let ended = poll_fn(|cx| match one.as_mut().poll(cx) {
            Poll::Ready(result) => Poll::Ready((Place::First, result)),
            Poll::Pending => two.as_mut().poll(cx).map(|result| (Place::Second, result)),
        });
        let (place, result) = ended.await;
        let (by, other) = if place == Place::First { (first, second) } else { (second, first) };
        if self.decides(&result, head) {
            self.set.record_overtaken(&other.picked, other.started);
            // What the first one would have taken is not known: it is more than this.
            latencies.observe(if place == Place::First { &by } else { &other }.started.elapsed());
            if place == Place::Second {
                self.set.count_hedge_won();
            }
            return Raced { result, by, failed: None };
        }
        let later = if place == Place::First { two.await } else { one.await };
        if place == Place::First && self.decides(&later, head) {
            self.set.count_hedge_won();
        }
        // An answer is worth more to the client than none.
        let (kept, given_up) = match (&result, &later) {
            (Ok(_), Err(_)) => ((result, by), (later, other)),
            _ => ((later, other), (result, by)),
        };
        let (failure, mut whose) = given_up;
        let since = repeat.waited_since(whose.started);
        self.set.record(&mut whose.picked, outcome(&failure).1, since);
        Raced { result: kept.0, by: kept.1, failed: Some(whose.picked.index) }
    }

    /// Another endpoint and the body for it; `None` without one of them, or where the budget of retries is used up.
    fn second<B>(
        &self,
        head: &Parts,
        repeat: &Repeat<B>,
        first: &Picked,
        time: &Time,
    ) -> Option<(Try, Replay<B>)>
    where
        B: Body<Data = Bytes>,
    {
        let body = repeat.whole()?;
        let started = Instant::now();
        let picked = self.set.pick(Some(head), &[first.index], LastResort::Available, started).ok()?;
        if picked.index == first.index {
            return None;
        }
        if !self.set.may_try_again(started, &self.retry.budget) {
            return None;
        }
        self.set.count_hedge();
        tracing::debug!(
            "{}: {} is slow, {} is asked too",
            self.set.name(),
            first.endpoint(),
            picked.endpoint()
        );
        let limit = time.since(repeat.client_moved(started)).limit(started);
        Some((Try { picked, started, limit }, body))
    }

    fn second_head(&self, head: &Parts, time: &Time, second: &Try) -> Parts {
        let mut head = head.clone();
        time.client.tell(&mut head.headers, self.timeout, second.started);
        if let Some(header) = &self.timeout.budget_header {
            let left = second.limit.0.saturating_duration_since(second.started);
            tell_budget(&mut head.headers, header, left);
        }
        if self.retry.attempt_header {
            head.headers.insert(HEDGE, HeaderValue::from_static("1"));
        }
        head
    }

    /// Whether the request is over with this, whatever comes of the other try: with an answer that is not to be
    /// retried, and when nobody is left to answer. That a connection could not be used or had says nothing of the other.
    fn decides<B>(&self, result: &Result<Response<B>, Failure>, head: &Parts) -> bool {
        match outcome(result) {
            (Outcome::Failed(FailureKind::Stale | FailureKind::Connect | FailureKind::Exhausted), _) => false,
            (Outcome::Failed(_), verdict) => verdict == Verdict::Unknown,
            (answered, _) => !wanted(answered, Repeatable::of(head), self.retry),
        }
    }
}

impl<B> Raced<B> {
    /// The end of one that had no other beside it.
    fn alone(result: Result<Response<B>, Failure>, by: Try, latencies: &Latencies) -> Self {
        // One that fails at once is not fast, and one that never answered is slow.
        if matches!(outcome(&result).0, Outcome::Answered(..) | Outcome::Failed(FailureKind::Timeout)) {
            latencies.observe(by.started.elapsed());
        }
        Self { result, by, failed: None }
    }
}
