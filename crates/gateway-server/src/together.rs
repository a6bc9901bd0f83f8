//! Connections that are ready at the same time are all read before anything is written, to services or to clients, so that
//! what is written leaves together.
//!
//! Written one by one, each piece wakes whoever waits for it on another processor of the machine, who has gone to sleep
//! again by the time of the next: to wake a process costs several times what it costs to send. Where nothing else is ready,
//! it costs one more poll.

use std::cell::RefCell;
use std::future::Future;
use std::mem;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use tokio::task::yield_now;

/// From so many that wait on, more are looked for. With fewer, whoever is to get what is written has little else to do.
const MANY: usize = 16;
/// From so many on, none.
const MOST: usize = 128;

thread_local! {
    static GATHERING: RefCell<Gathering> = RefCell::default();
}

#[derive(Debug, Default)]
struct Gathering {
    is_led: bool,
    /// Who waits besides the one who leads.
    others: Vec<Waker>,
    /// How many waited at the last look.
    seen: usize,
}

/// One task's part in it.
#[derive(Debug, Default)]
pub(crate) struct Together {
    part: Part,
}

#[derive(Clone, Copy, Debug, Default)]
enum Part {
    #[default]
    None,
    Begins,
    Waits,
    /// Came first, and looks for more.
    Leads,
}

impl Together {
    /// The part of a task that waits before all else.
    pub(crate) fn begin() -> Self {
        Self { part: Part::Begins }
    }

    /// Waits for the tasks that are ready to have their turn: this one is asked again behind them, and is to ask
    /// [`poll`](Self::poll) then.
    pub(crate) fn wait(&mut self, cx: &Context<'_>) {
        GATHERING.with_borrow_mut(|gathering| {
            if gathering.is_led {
                gathering.others.push(cx.waker().clone());
                self.part = Part::Waits;
            } else {
                (gathering.is_led, gathering.seen) = (true, 0);
                self.part = Part::Leads;
                // Behind those that are ready in the executor's queue; `yield_now` would also wait for its driver.
                cx.waker().wake_by_ref();
            }
        });
    }

    /// Ready when there is nothing to wait for, with whether there was.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        match self.part {
            Part::None => return Poll::Ready(false),
            Part::Begins => {
                self.wait(cx);
                return Poll::Pending;
            }
            // Behind what the driver finds ready now.
            Part::Leads if GATHERING.with_borrow_mut(Gathering::is_growing) => {
                return pin!(yield_now()).poll(cx).map(|()| true);
            }
            Part::Waits | Part::Leads => {}
        }
        self.leave();
        Poll::Ready(true)
    }

    /// Waits no longer; nor does anyone for one who led.
    fn leave(&mut self) {
        if let Part::Leads = mem::take(&mut self.part) {
            // What a waker does is the executor's affair, so nothing is borrowed meanwhile. At a thread's end nobody is left.
            let _ = GATHERING.try_with(|gathering| {
                let mut others = gathering.borrow_mut().end();
                others.drain(..).for_each(Waker::wake);
                let mut gathering = gathering.borrow_mut();
                if gathering.others.is_empty() {
                    gathering.others = others;
                }
            });
        }
    }
}

impl Drop for Together {
    fn drop(&mut self) {
        self.leave();
    }
}

impl Gathering {
    fn end(&mut self) -> Vec<Waker> {
        self.is_led = false;
        mem::take(&mut self.others)
    }

    /// Whether many wait, and more than at the last look.
    fn is_growing(&mut self) -> bool {
        let count = self.others.len() + 1;
        let grown = count > mem::replace(&mut self.seen, count);
        grown && (MANY..MOST).contains(&count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use std::io::Write;
    use std::rc::Rc;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;
    use tokio::io::AsyncReadExt;
    use tokio::net::UnixStream;
    use tokio::task::spawn_local;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn waiting(count: usize, cx: &Context<'_>) -> Vec<Together> {
        let mut all: Vec<_> = (0..count).map(|_| Together::default()).collect();
        all.iter_mut().for_each(|one| one.wait(cx));
        all
    }

    #[test]
    fn more_are_looked_for_only_where_many_wait_and_as_long_as_more_come() {
        for (counts, looks) in
            [(&[1][..], 0), (&[15], 0), (&[16], 1), (&[16, 1, 1], 3), (&[100, 27, 1], 2), (&[200], 0)]
        {
            let mut cx = Context::from_waker(Waker::noop());
            let (mut all, mut looked) = (Vec::new(), 0);
            for count in counts {
                all.extend(waiting(*count, &cx));
                looked += usize::from(all[0].poll(&mut cx).is_pending());
            }
            assert_eq!(looked, looks, "{counts:?}");
            assert!(all[0].poll(&mut cx).is_ready(), "{counts:?}");
            assert!(all.iter_mut().skip(1).all(|one| one.poll(&mut cx) == Poll::Ready(true)));
            assert!(all.iter_mut().all(|one| one.poll(&mut cx) == Poll::Ready(false)));
        }
    }

    #[test]
    fn nobody_waits_for_one_who_has_gone() {
        let woken = Arc::new(Count::default());
        let waker = woken.clone().into();
        let cx = Context::from_waker(&waker);
        let mut all = waiting(20, &cx);
        assert_eq!(woken.0.swap(0, Ordering::Relaxed), 1, "the first asks again");
        drop(all.remove(0));
        assert_eq!(woken.0.swap(0, Ordering::Relaxed), 19);
        drop(waiting(1, &cx));
        assert_eq!(woken.0.load(Ordering::Relaxed), 1, "the next is the first again");
    }

    #[tokio::test(flavor = "local")]
    async fn many_wait_for_what_the_driver_finds_ready() {
        for (count, expected) in [(MANY - 1, "waited"), (MANY, "read")] {
            let order = Rc::new(RefCell::new(Vec::new()));
            let (mut far, near) = std::os::unix::net::UnixStream::pair().unwrap();
            far.write_all(b"x").unwrap();
            near.set_nonblocking(true).unwrap();
            let mut near = UnixStream::from_std(near).unwrap();
            let noted = order.clone();
            let mut tasks = vec![spawn_local(async move {
                near.read_exact(&mut [0]).await.unwrap();
                noted.borrow_mut().push("read");
            })];
            for _ in 0..count {
                let (mut together, noted) = (Together::begin(), order.clone());
                tasks.push(spawn_local(async move {
                    assert!(poll_fn(|cx| together.poll(cx)).await);
                    noted.borrow_mut().push("waited");
                }));
            }
            for task in tasks {
                task.await.unwrap();
            }
            assert_eq!((order.borrow().len(), order.borrow()[0]), (count + 1, expected));
        }
    }
}
