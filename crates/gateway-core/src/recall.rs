use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

/// Answer extension of a tunnel (`101 Switching Protocols`): says when it is to end in order, because whoever is at its
/// other end is to go while both connections are still good.
///
/// Set by whoever knows of that end, heeded by a server: it tells the client to go, in words of the tunnel's protocol.
#[derive(Clone)]
pub struct Recall(Arc<dyn Fn() -> Recalled + Send + Sync>);

/// Ready when the tunnel is to end; see [`Recall`].
pub type Recalled = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Recall {
    /// One that ends the tunnel when such a future is ready.
    pub fn new<F: Future<Output = ()> + Send + 'static>(due: impl Fn() -> F + Send + Sync + 'static) -> Self {
        Self(Arc::new(move || Box::pin(due())))
    }

    /// Ready when the tunnel is to end.
    #[must_use]
    pub fn due(&self) -> Recalled {
        (self.0)()
    }
}

impl fmt::Debug for Recall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Recall")
    }
}
