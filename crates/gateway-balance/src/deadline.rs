//! Timeouts that every attempt has and almost none reaches.

use pin_project_lite::pin_project;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use tokio::task::unconstrained;
use tokio::time::{Instant, Sleep, sleep_until};

/// How many timers are kept after so many requests were on their way at once.
const KEPT: usize = 1024;

/// Timers that are used again.
///
/// To register one with the runtime and to deregister it is more work than the rest of a timeout. So a timer that is
/// given back stays registered, for the time of the attempt that it last served, and serves the next one as it is:
/// when it goes off too early, it is wound up for the time that is really meant. All of them belong to the runtime
/// that they were made in, which lets them go off when it ends.
#[derive(Debug, Default)]
pub(crate) struct Timers(Mutex<Vec<Pin<Box<Sleep>>>>);

impl Timers {
    /// Ready at this time. Costs nothing until it is polled.
    pub(crate) fn until(&self, due: Instant) -> Deadline<'_> {
        Deadline { timers: self, due, sleep: None }
    }

    /// What the future gives, or `None` if it is not ready at this time.
    pub(crate) fn limit<F: Future>(&self, due: Instant, future: F) -> Limited<'_, F> {
        Limited { future, deadline: self.until(due) }
    }

    fn pool(&self) -> MutexGuard<'_, Vec<Pin<Box<Sleep>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A timer that goes off at this time or before.
    fn take(&self, due: Instant) -> Pin<Box<Sleep>> {
        // A statement of its own: the lock is held no longer.
        let pooled = self.pool().pop();
        match pooled {
            // One that has gone off may have done so because its runtime is gone: to poll it then is a panic.
            Some(mut sleep) if !sleep.is_elapsed() => {
                if sleep.deadline() > due {
                    sleep.as_mut().reset(due);
                }
                sleep
            }
            _ => Box::pin(sleep_until(due)),
        }
    }
}

/// The future of [`Timers::until`]. Gives its timer back when it is dropped.
#[derive(Debug)]
pub(crate) struct Deadline<'a> {
    timers: &'a Timers,
    due: Instant,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Future for Deadline<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Self { timers, due, sleep } = &mut *self;
        let sleep = sleep.get_or_insert_with(|| timers.take(*due));
        loop {
            // A limited future that is busy must not use up what tokio lets the task do: the time would never be over.
            ready!(Pin::new(&mut unconstrained(sleep.as_mut())).poll(cx));
            if sleep.deadline() >= *due || Instant::now() >= *due {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(*due);
        }
    }
}

impl Drop for Deadline<'_> {
    fn drop(&mut self) {
        if let Some(sleep) = self.sleep.take() {
            let mut pool = self.timers.pool();
            if pool.len() < KEPT {
                pool.push(sleep);
            }
        }
    }
}

pin_project! {
    /// The future of [`Timers::limit`].
    #[derive(Debug)]
    pub(crate) struct Limited<'a, F> {
        #[pin]
        future: F,
        deadline: Deadline<'a>,
    }
}

impl<F: Future> Future for Limited<'_, F> {
    type Output = Option<F::Output>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<F::Output>> {
        let this = self.project();
        if let Poll::Ready(output) = this.future.poll(cx) {
            return Poll::Ready(Some(output));
        }
        Pin::new(this.deadline).poll(cx).map(|()| None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use proptest::prelude::*;
    use std::future::{pending, ready};
    use std::time::Duration;

    fn pooled(timers: &Timers) -> usize {
        timers.pool().len()
    }

    /// Polls a deadline once and drops it: its timer is in the pool, registered for that time.
    fn leave_one(timers: &Timers, time: Duration) {
        assert!(timers.until(Instant::now() + time).now_or_never().is_none());
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn a_timer_of_the_pool_that_goes_off_early_is_wound_up_again() {
        let (timers, start) = (Timers::default(), Instant::now());
        leave_one(&timers, SECOND);
        assert_eq!(timers.limit(start + 5 * SECOND, pending::<()>()).await, None);
        assert_eq!((start.elapsed(), pooled(&timers)), (5 * SECOND, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_timer_of_the_pool_that_would_go_off_late_is_brought_forward() {
        let (timers, start) = (Timers::default(), Instant::now());
        leave_one(&timers, 60 * SECOND);
        assert_eq!(timers.limit(start + SECOND, pending::<()>()).await, None);
        assert_eq!((start.elapsed(), pooled(&timers)), (SECOND, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_timer_that_went_off_in_the_pool_still_tells_the_next_time() {
        let (timers, start) = (Timers::default(), Instant::now());
        leave_one(&timers, SECOND);
        tokio::time::advance(3 * SECOND).await;
        timers.until(start + 10 * SECOND).await;
        assert_eq!((start.elapsed(), pooled(&timers)), (10 * SECOND, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn one_timer_serves_many_in_turn_and_as_many_as_are_at_once() {
        let (timers, start) = (Timers::default(), Instant::now());
        for i in 0..100 {
            let answer = timers.limit(Instant::now() + 15 * SECOND, tokio::time::sleep(SECOND).map(|()| i));
            assert_eq!(answer.await, Some(i));
        }
        assert_eq!((start.elapsed(), pooled(&timers)), (100 * SECOND, 1));
        let all = (0..3).map(|_| timers.limit(Instant::now() + 15 * SECOND, tokio::time::sleep(SECOND)));
        futures_util::future::join_all(all).await;
        assert_eq!(pooled(&timers), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_ready_at_once_takes_no_timer() {
        let timers = Timers::default();
        assert_eq!(timers.limit(Instant::now() + SECOND, ready(7)).await, Some(7));
        drop(timers.limit(Instant::now() + SECOND, pending::<()>()));
        assert_eq!(pooled(&timers), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_time_that_has_passed_is_over_at_once() {
        let (timers, start) = (Timers::default(), Instant::now());
        leave_one(&timers, 60 * SECOND);
        tokio::time::advance(SECOND).await;
        assert_eq!(timers.limit(start, pending::<()>()).await, None);
        assert_eq!(start.elapsed(), SECOND);
    }

    #[tokio::test(start_paused = true)]
    async fn the_task_that_polled_last_is_the_one_that_is_woken() {
        let (timers, start) = (std::sync::Arc::new(Timers::default()), Instant::now());
        leave_one(&timers, SECOND);
        let shared = timers.clone();
        let other = tokio::spawn(async move { shared.until(start + 2 * SECOND).await });
        other.await.unwrap();
        assert_eq!(start.elapsed(), 2 * SECOND);
    }

    #[test]
    fn timers_of_a_runtime_that_is_gone_are_forgotten() {
        let runtime =
            || tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        let timers = Timers::default();
        runtime().unwrap().block_on(async { leave_one(&timers, 60 * SECOND) });
        runtime().unwrap().block_on(async {
            let start = Instant::now();
            assert_eq!(timers.limit(start + SECOND, pending::<()>()).await, None);
            assert_eq!((start.elapsed(), pooled(&timers)), (SECOND, 1));
        });
    }

    #[tokio::test(start_paused = true)]
    async fn a_future_that_is_always_busy_is_ended_all_the_same() {
        let (timers, start) = (Timers::default(), Instant::now());
        let busy = async {
            loop {
                tokio::task::consume_budget().await;
                tokio::time::advance(Duration::from_millis(1)).await;
            }
        };
        assert_eq!(timers.limit(start + SECOND, busy).await, None::<()>);
        assert!(start.elapsed() < 2 * SECOND);
    }

    proptest! {
        /// Whatever was asked for before: nothing is cut off early or late.
        #[test]
        fn every_attempt_has_exactly_the_time_it_was_given(
            attempts in prop::collection::vec((1..40u32, 1..40u32, 0..40u32), 1..30),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_time().start_paused(true).build().unwrap();
            runtime.block_on(async {
                let timers = Timers::default();
                for (limit, work, pause) in attempts {
                    let (limit, work) = (limit * SECOND, work * SECOND);
                    let start = Instant::now();
                    let done = timers.limit(start + limit, tokio::time::sleep(work)).await;
                    assert_eq!(start.elapsed(), limit.min(work));
                    // Of two that are over at once, the work is asked first.
                    assert_eq!(done.is_some(), work <= limit, "{work:?} of {limit:?}");
                    tokio::time::advance(pause * SECOND).await;
                }
                assert_eq!(pooled(&timers), 1);
            });
        }
    }
}
