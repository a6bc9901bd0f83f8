use std::mem;

/// Takes the service that was made ready out of its place, and leaves a clone there.
///
/// For services that call the one below later than in their own `call`, from the future they return. What
/// `poll_ready` found (a permit, a connection) is in the service it was asked of, not in a clone of it; so the clone is
/// what stays.
///
/// ```
/// use gateway_core::take_ready;
/// use std::task::{Context, Poll, Waker};
/// use tower::Service;
///
/// /// Panics when it is called without having been made ready, which a clone has not.
/// #[derive(Default)]
/// struct Strict { is_ready: bool }
///
/// impl Clone for Strict {
///     fn clone(&self) -> Self { Self::default() }
/// }
///
/// impl Service<()> for Strict {
///     type Response = ();
///     type Error = std::convert::Infallible;
///     type Future = std::future::Ready<Result<(), Self::Error>>;
///
///     fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
///         self.is_ready = true;
///         Poll::Ready(Ok(()))
///     }
///
///     fn call(&mut self, (): ()) -> Self::Future {
///         assert!(std::mem::take(&mut self.is_ready));
///         std::future::ready(Ok(()))
///     }
/// }
///
/// let mut inner = Strict::default();
/// assert!(inner.poll_ready(&mut Context::from_waker(Waker::noop())).is_ready());
/// let mut ready = take_ready(&mut inner);
/// let _ = ready.call(());
/// assert!(!inner.is_ready, "to be made ready for the next");
/// ```
#[must_use]
pub fn take_ready<S: Clone>(service: &mut S) -> S {
    let clone = service.clone();
    mem::replace(service, clone)
}
