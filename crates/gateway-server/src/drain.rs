use std::cell::Cell;
use std::future::Future;
use std::rc::Rc;
use tokio::sync::Notify;

/// Tells the connections of one worker that no request is to follow the one under way. Clones are the same signal.
#[derive(Clone, Debug, Default)]
pub struct Drain(Rc<Signal>);

#[derive(Debug, Default)]
struct Signal {
    begun: Cell<bool>,
    notify: Notify,
}

impl Drain {
    /// Begins to drain; for good.
    pub fn begin(&self) {
        self.0.begun.set(true);
        self.0.notify.notify_waiters();
    }

    /// Whether it has begun.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.0.begun.get()
    }

    /// Wakes who polled it when draining begins. Looking at [`Drain::has_begun`] is cheaper than to poll it again.
    pub(crate) fn begins(&self) -> impl Future<Output = ()> + '_ {
        self.0.notify.notified()
    }
}
