//! The chores of the plan in force, each as a task.

use crate::config::Chore;
use std::collections::HashMap;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// How long a chore may take to finish at the end of the process.
const PATIENCE: Duration = Duration::from_secs(2);

#[derive(Default)]
pub(crate) struct Chores {
    running: HashMap<u64, Running>,
}

struct Running {
    end: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Chores {
    /// Has these go on, and no others.
    pub(crate) fn keep<'c>(&mut self, wanted: impl Iterator<Item = &'c Chore>) {
        let mut before = std::mem::take(&mut self.running);
        for chore in wanted {
            let running = before.remove(&chore.id()).unwrap_or_else(|| {
                let (end, ended) = oneshot::channel();
                Running { end, task: tokio::spawn(chore.begin(ended)) }
            });
            self.running.insert(chore.id(), running);
        }
        for Running { end, .. } in before.into_values() {
            // One that has ended by itself hears nothing.
            let _ = end.send(());
        }
    }

    /// Ends all, and waits until what they keep is kept.
    pub(crate) async fn finish(&mut self) {
        for (_, Running { end, task }) in std::mem::take(&mut self.running) {
            let _ = end.send(());
            if tokio::time::timeout(PATIENCE, task).await.is_err() {
                tracing::warn!("something in the background did not finish in time");
            }
        }
    }
}
