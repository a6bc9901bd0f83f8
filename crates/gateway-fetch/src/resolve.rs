//! The addresses of those who are asked.

use gateway_lookup::Lookup;
use hyper_util::client::legacy::connect::dns::Name;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use tower::Service;

/// Has all connections to a name wait for the same look-up.
#[derive(Clone, Debug)]
pub(crate) struct Resolve(pub(crate) Lookup);

impl Service<Name> for Resolve {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let lookup = self.0.clone();
        // Whoever connects sets the port.
        Box::pin(async move { lookup.addresses(name.as_str(), 0).await.map(Vec::into_iter) })
    }
}
