use gateway_core::{Recall, Recalled};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Wake, Waker};
use tokio::task::coop::unconstrained;

/// Waits for a tunnel's recall, which mostly never comes: looked at with each message, it costs no more than a load until
/// it calls.
pub(crate) struct Recalling {
    recalled: Recalled,
    call: Option<Arc<Call>>,
}

/// Whether the recall has something to say, to which task.
struct Call {
    called: AtomicBool,
    task: Waker,
}

impl Wake for Call {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.called.store(true, Ordering::Release);
        self.task.wake_by_ref();
    }
}

impl From<Recall> for Recalling {
    fn from(recall: Recall) -> Self {
        Self { recalled: recall.due(), call: None }
    }
}

impl Recalling {
    /// Whether the tunnel is to end; wakes this task when it is. Not to be asked again then.
    pub(crate) fn is_due(&mut self, cx: &mut Context<'_>) -> bool {
        let call = match &self.call {
            Some(call) if call.task.will_wake(cx.waker()) => call,
            _ => {
                let (called, task) = (AtomicBool::new(true), cx.waker().clone());
                self.call.insert(Arc::new(Call { called, task }))
            }
        };
        if !call.called.load(Ordering::Relaxed) {
            return false;
        }
        // Before it is asked: what it says from then on is news.
        call.called.swap(false, Ordering::AcqRel);
        let waker = Waker::from(call.clone());
        pin!(unconstrained(self.recalled.as_mut())).poll(&mut Context::from_waker(&waker)).is_ready()
    }
}
