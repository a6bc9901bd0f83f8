use super::circuit::Circuit;
use super::plain;
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
    made: Notify,
}

impl Slot {
    /// The connection and its epoch. It is made in a task of its own, so that whoever asks first does not wait
    /// longer than the operation's deadline, and the next finds it.
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
        made.await;
        self.current(circuit).ok_or_else(|| match &*self.failure.load() {
            Some(why) => why.to_string(),
            None => "the connection was lost".to_owned(),
        })
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
        let epoch = circuit.epoch();
        self.0.link.store(None);
        let limit = timeout * topology.steps();
        let result = match tokio::time::timeout(limit, topology.connect(timeout)).await {
            Ok(made) => made.map_err(|e| plain(&e)),
            Err(_) => Err(format!("no connection within {}", gateway_core::units::Timespan(limit))),
        };
        match result {
            Ok(link) => {
                self.0.link.store(Some(Arc::new((epoch, link))));
                circuit.connected();
            }
            Err(why) => self.0.failure.store(Some(Arc::new(why))),
        }
    }
}

impl Drop for Connecting {
    fn drop(&mut self) {
        self.0.connecting.store(false, Ordering::Release);
        self.0.made.notify_waiters();
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot").field("connected", &self.link.load().is_some()).finish_non_exhaustive()
    }
}
