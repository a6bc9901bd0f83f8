use gateway_core::clock;
use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::task::coop::unconstrained;
use tokio::time::{Instant, Sleep, sleep_until};

/// What a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// The first byte of the next request.
    Idle,
    /// The rest of a head.
    Head,
    /// More of a request's body.
    Body,
    /// An answer to go on, whose client cannot be seen to have gone.
    Answer,
    /// The client to take what it asked for.
    Write,
    /// Anything in a tunnel.
    Tunnel,
    /// The client of a tunnel to go, having been told to.
    Farewell,
    /// The client to notice that this is the end.
    Linger,
    /// An HTTP/2 client to say that it is still there.
    Pong,
}

/// The one deadline of a connection.
///
/// It is set for every request and rarely reached, so setting it must cost nothing: the runtime's timer runs for
/// the earliest time that was ever asked for, and is wound up again when it finds that there is more time.
#[derive(Debug, Default)]
pub(crate) struct Timer {
    due: Option<(Wait, Instant)>,
    sleep: Option<Pin<Box<Sleep>>>,
    /// Whether the runtime will wake this task when `sleep` is over.
    armed: bool,
}

impl Timer {
    /// From now, unless it runs for the same thing already.
    pub(crate) fn set(&mut self, wait: Wait, limit: Duration) {
        if self.due.is_none_or(|(current, _)| current != wait) {
            let now = clock::recent().map_or_else(Instant::now, Instant::from_std);
            self.due = Some((wait, now + limit));
        }
    }

    pub(crate) fn clear(&mut self) {
        self.due = None;
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Wait> {
        let Some((wait, due)) = self.due else { return Poll::Pending };
        let armed = &mut self.armed;
        let sleep = self.sleep.get_or_insert_with(|| {
            *armed = false;
            Box::pin(sleep_until(due))
        });
        if sleep.deadline() > due {
            sleep.as_mut().reset(due);
            self.armed = false;
        }
        loop {
            if self.armed && !sleep.is_elapsed() {
                return Poll::Pending;
            }
            // A task that has used up its budget would not get its timer armed, and would not notice.
            if pin!(unconstrained(sleep.as_mut())).poll(cx).is_pending() {
                self.armed = true;
                return Poll::Pending;
            }
            if Instant::now() >= due {
                self.due = None;
                return Poll::Ready(wait);
            }
            sleep.as_mut().reset(due);
            self.armed = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use tokio::task::coop::{consume_budget, has_budget_remaining};

    #[tokio::test(start_paused = true)]
    async fn it_fires_at_the_last_time_that_was_set_and_not_before() {
        let mut timer = Timer::default();
        let start = Instant::now();
        timer.set(Wait::Idle, Duration::from_secs(60));
        assert!(poll_fn(|cx| Poll::Ready(timer.poll(cx).is_pending())).await);
        // Another wait, shorter; then again the first, which begins anew.
        timer.set(Wait::Head, Duration::from_secs(10));
        assert!(poll_fn(|cx| Poll::Ready(timer.poll(cx).is_pending())).await);
        tokio::time::advance(Duration::from_secs(5)).await;
        timer.clear();
        assert!(poll_fn(|cx| Poll::Ready(timer.poll(cx).is_pending())).await);
        timer.set(Wait::Idle, Duration::from_secs(60));
        assert_eq!(poll_fn(|cx| timer.poll(cx)).await, Wait::Idle);
        assert_eq!(start.elapsed(), Duration::from_secs(65));
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_has_used_up_its_budget_is_woken_too() {
        let (mut timer, mut polls) = (Timer::default(), 0);
        timer.set(Wait::Linger, Duration::from_secs(2));
        let start = Instant::now();
        let fired = poll_fn(|cx| {
            polls += 1;
            while has_budget_remaining() {
                let _ = pin!(consume_budget()).poll(cx);
            }
            timer.poll(cx)
        });
        assert_eq!(tokio::time::timeout(Duration::from_secs(60), fired).await, Ok(Wait::Linger));
        assert_eq!((start.elapsed(), polls), (Duration::from_secs(2), 2));
    }

    #[tokio::test(start_paused = true)]
    async fn setting_it_for_the_same_thing_gives_no_more_time() {
        let mut timer = Timer::default();
        let start = Instant::now();
        for _ in 0..5 {
            timer.set(Wait::Head, Duration::from_secs(10));
            assert!(poll_fn(|cx| Poll::Ready(timer.poll(cx).is_pending())).await);
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert_eq!(poll_fn(|cx| timer.poll(cx)).await, Wait::Head);
        assert_eq!(start.elapsed(), Duration::from_secs(10));
    }
}
