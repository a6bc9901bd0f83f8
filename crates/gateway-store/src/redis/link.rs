use super::circuit::Circuit;
use super::failure::explained;
use super::topology::{Link, Topology};
use arc_swap::ArcSwapOption;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::Notify;

/// The connection of one worker: made when it is needed, kept until it fails.
#[derive(Default)]
pub(super) struct Slot {
    link: ArcSwapOption<(u64, Link)>,
    /// Why the last one could not be made.
    failure: ArcSwapOption<String>,
    connecting: AtomicBool,
    /// Somebody has already waited for it in vain: nobody else does.
    overdue: AtomicBool,
    made: Notify,
}

/// Waits for a connection; when it is dropped while it waits, the connection is overdue.
struct Wait<'a>(Option<&'a Slot>);

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        if let Some(slot) = self.0 {
            // One that was made meanwhile is not late.
            slot.overdue.store(slot.connecting.load(Ordering::Acquire), Ordering::Release);
        }
    }
}

impl Slot {
    /// The connection and its epoch. It is made in a task of its own, so that whoever asks first does not wait
    /// longer than the operation's deadline, and the next finds it. A connection that takes longer than that is not
    /// yet one that failed.
    pub(super) async fn link(
        self: &Arc<Self>,
        topology: &Arc<Topology>,
        circuit: &Arc<Circuit>,
        timeout: Duration,
    ) -> Result<(u64, Link), String> {
        let made = self.made.notified();
        if let Some(link) = self.current(circuit) {
            return Ok(link);
        }
        if !self.connecting.swap(true, Ordering::AcqRel) {
            let connecting = Connecting(self.clone());
            let (topology, circuit) = (topology.clone(), circuit.clone());
            tokio::spawn(async move { connecting.run(&topology, &circuit, timeout).await });
        }
        if self.overdue.load(Ordering::Acquire) {
            return Err("still connecting".to_owned());
        }
        let mut wait = Wait(Some(self));
        made.await;
        wait.0 = None;
        self.current(circuit).ok_or_else(|| match &*self.failure.load() {
            Some(why) => why.to_string(),
            None => "the connection was lost".to_owned(),
        })
    }

    /// Closes a connection that failed as soon as nobody waits for it: whatever still comes is of no use.
    pub(super) fn close(&self, epoch: u64) {
        let link = self.link.load();
        if link.as_ref().is_some_and(|link| link.0 == epoch) {
            // Unless another has been made meanwhile.
            self.link.compare_and_swap(&link, None);
        }
    }

    fn current(&self, circuit: &Circuit) -> Option<(u64, Link)> {
        let link = self.link.load();
        link.as_deref().filter(|(epoch, _)| *epoch == circuit.epoch()).cloned()
    }
}

/// A connection in the making; whoever waits is woken at its end, whatever that is.
struct Connecting(Arc<Slot>);

impl Connecting {
    async fn run(self, topology: &Topology, circuit: &Circuit, timeout: Duration) {
        self.0.link.store(None);
        let limit = timeout * topology.steps();
        let result = match tokio::time::timeout(limit, topology.connect(timeout)).await {
            Ok(made) => made.map_err(|e| explained(&e)),
            Err(_) => Err(format!("no connection within {}", gateway_core::units::Timespan(limit))),
        };
        match result {
            Ok(link) => {
                self.0.link.store(Some(Arc::new((circuit.epoch(), link))));
                self.0.failure.store(None);
                circuit.connected();
            }
            Err(why) => {
                circuit.failed(None, &why);
                self.0.failure.store(Some(Arc::new(why)));
            }
        }
    }
}

impl Drop for Connecting {
    fn drop(&mut self) {
        self.0.connecting.store(false, Ordering::Release);
        self.0.overdue.store(false, Ordering::Release);
        self.0.made.notify_waiters();
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot").field("connected", &self.link.load().is_some()).finish_non_exhaustive()
    }
}
