use std::future::Future;

/// Runs what has to go on after an answer was given: the refreshing of a stale one in the background. As hyper's
/// `rt::Executor`.
pub trait Executor<F> {
    /// Runs a future to its end.
    fn execute(&self, future: F);
}

/// Runs them as tasks of the tokio runtime that the request is answered on: for services whose futures are `Send`,
/// as in axum and in the gateway.
#[derive(Clone, Copy, Debug, Default)]
pub struct TokioExecutor;

impl<F> Executor<F> for TokioExecutor
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, future: F) {
        tokio::spawn(future);
    }
}

/// Runs them as tasks of the tokio `LocalSet` or `LocalRuntime` that the request is answered in: for services whose
/// futures stay on one thread.
#[derive(Clone, Copy, Debug, Default)]
pub struct LocalExecutor;

impl<F> Executor<F> for LocalExecutor
where
    F: Future<Output = ()> + 'static,
{
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}
