//! What goes on in the background as long as a part of the plan is in force.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::oneshot;

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Work beside the requests, such as reading an issuer's keys again. Clones are one chore: a part of the plan that is
/// kept over a reload has it go on.
#[derive(Clone)]
pub(crate) struct Chore {
    id: u64,
    begin: Arc<dyn Fn(oneshot::Receiver<()>) -> Work + Send + Sync>,
}

impl fmt::Debug for Chore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Chore").field(&self.id).finish()
    }
}

impl Chore {
    fn new(begin: impl Fn(oneshot::Receiver<()>) -> Work + Send + Sync + 'static) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self { id: NEXT.fetch_add(1, Ordering::Relaxed), begin: Arc::new(begin) }
    }

    /// Work that is given up in the middle when its time is over.
    pub(crate) fn endless<F>(work: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self::new(move |end| {
            let work = work();
            Box::pin(async move {
                tokio::select! {
                    () = work => {}
                    _ = end => {}
                }
            })
        })
    }

    /// Work that is told of its end, and finishes by itself.
    pub(crate) fn finishing<F>(work: impl Fn(oneshot::Receiver<()>) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self::new(move |end| Box::pin(work(end)))
    }

    /// Work that can only begin once.
    pub(crate) fn once(work: impl Future<Output = ()> + Send + 'static) -> Self {
        let work = Mutex::new(Some(Box::pin(work)));
        Self::new(move |end| {
            let work = work.lock().unwrap_or_else(PoisonError::into_inner).take();
            Box::pin(async move {
                let Some(work) = work else { return };
                tokio::select! {
                    () = work => {}
                    _ = end => {}
                }
            })
        })
    }

    /// Tells it from others.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// The work itself; it ends soon after the receiver hears something.
    pub(crate) fn begin(&self, end: oneshot::Receiver<()>) -> impl Future<Output = ()> + Send + 'static {
        (self.begin)(end)
    }
}
