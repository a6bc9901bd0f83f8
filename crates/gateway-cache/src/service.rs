mod asking;
mod tiering;
mod waiting;

use crate::body::CacheBody;
use crate::engine::Engine;
use crate::executor::{Executor, TokioExecutor};
use crate::fetch::Fetch;
use crate::future::{CacheFuture, Kind, RefreshFuture};
use crate::invalidation::Invalidation;
use crate::purging;
use crate::semantics::invalidate;
use crate::semantics::status::Forward;
use asking::Asking;
use bytes::Bytes;
use gateway_core::BoxError;
use http::{Request, Response};
use http_body::Body;
use std::sync::Arc;
use std::task::{Context, Poll};
pub(crate) use tiering::Tiering;
use tower::Service;
pub(crate) use waiting::Waiting;

/// The service of [`CacheLayer`](crate::CacheLayer).
#[derive(Clone, Debug)]
pub struct Cache<S, X = TokioExecutor> {
    pub(crate) inner: S,
    pub(crate) engine: Arc<Engine>,
    pub(crate) executor: X,
}

impl<S, X, B, R> Service<Request<B>> for Cache<S, X>
where
    S: Service<Request<B>, Response = Response<R>> + Clone,
    X: Executor<RefreshFuture<S::Future, R>> + Clone,
    B: Body,
    R: Body<Data = Bytes> + Send + 'static,
    R::Error: Into<BoxError>,
{
    type Response = Response<CacheBody<R>>;
    type Error = S::Error;
    type Future = CacheFuture<S, X, B, R>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let engine = self.engine.clone();
        if let Some(purgers) = &engine.purgers
            && request.method().as_str() == "PURGE"
        {
            let response = purging::answer(&engine, purgers, &request);
            return Kind::Ready { response: Some(response) }.into();
        }
        if !engine.takes(request.method()) {
            let changes = !invalidate::is_safe(request.method());
            let invalidation = changes.then(|| Box::new(Invalidation::of(&engine, &request)));
            let fetch = Fetch::for_get(&engine, &request);
            let future = self.inner.call(request);
            return Kind::Pass { future, engine, why: Forward::Method, invalidation, fetch }.into();
        }
        let key = if engine.bypasses(&request) { None } else { engine.keys.key(&request) };
        let Some(key) = key else {
            let future = self.inner.call(request);
            return Kind::Pass { future, engine, why: Forward::Bypass, invalidation: None, fetch: None }
                .into();
        };
        let wants = engine.wants(request.headers());
        Asking::new(engine, key, wants).look(&mut self.inner, &self.executor, request).into()
    }
}
