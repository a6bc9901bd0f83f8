use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Resolves once the other tasks that are ready now have had their turn: to be awaited before something is written to a
/// socket.
///
/// So what many tasks read is dealt with first, and what they write leaves together. Written one by one, each piece wakes
/// whoever waits for it on another processor of the same machine, who has gone to sleep again by the time of the next: to
/// wake a process costs several times what it costs to send. Where nothing else is ready it costs one more poll.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// use std::{cell::RefCell, rc::Rc};
///
/// let said = Rc::new(RefCell::new(Vec::new()));
/// let task = |name: &'static str| {
///     let said = said.clone();
///     async move {
///         said.borrow_mut().push(format!("{name} reads"));
///         gateway_core::after_others().await;
///         said.borrow_mut().push(format!("{name} writes"));
///     }
/// };
/// let local = tokio::task::LocalSet::new();
/// local.spawn_local(task("a"));
/// local.spawn_local(task("b"));
/// local.await;
/// assert_eq!(*said.borrow(), ["a reads", "b reads", "a writes", "b writes"]);
/// # }
/// ```
#[must_use = "a future does nothing unless it is awaited"]
pub fn after_others() -> AfterOthers {
    AfterOthers { waited: false }
}

/// The future of [`after_others`].
#[derive(Debug)]
pub struct AfterOthers {
    waited: bool,
}

impl Future for AfterOthers {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if std::mem::replace(&mut self.waited, true) {
            return Poll::Ready(());
        }
        // Behind those that are ready in the executor's queue. `yield_now` of tokio's would also wait for its driver.
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}
