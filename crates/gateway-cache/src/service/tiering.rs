use super::asking::Asking;
use crate::executor::Executor;
use crate::flight::{Landing, Lead};
use crate::future::{Kind, RefreshFuture};
use crate::semantics::cache_control::RequestDirectives;
use crate::semantics::reuse::{Reuse, reuse};
use crate::semantics::status::Forward;
use crate::store::tier::Lookup;
use bytes::Bytes;
use gateway_core::BoxError;
use http::{Request, Response};
use http_body::Body;
use std::task::{Context, Poll};
use tower::Service;

/// A request for which the second tier is asked.
pub(crate) struct Tiering {
    pub(super) asking: Asking,
    pub(super) why: Forward,
    pub(super) lead: Option<Lead>,
    pub(super) purges: u64,
    pub(super) lookup: Lookup,
}

impl Tiering {
    /// Waits for what the second tier has. Returns whether it is here now.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        let found = std::task::ready!(self.lookup.as_mut().poll(cx));
        let store = &self.asking.engine.store;
        Poll::Ready(found.is_some_and(|entry| {
            let is_here = store.insert_found(entry.clone(), self.purges);
            if is_here && let Some(lead) = &self.lead {
                let now = self.asking.engine.now();
                let plain = RequestDirectives::default();
                if reuse(&entry.terms, entry.age(now), entry.is_marked(), &plain) == Reuse::Fresh {
                    lead.land(Landing::Entry(entry));
                }
            }
            is_here
        }))
    }

    /// Goes on: looks again if the answer is here now, or else asks the upstream.
    pub(crate) fn go_on<S, X, B, R>(
        self,
        is_here: bool,
        inner: &mut S,
        executor: &X,
        request: Request<B>,
    ) -> Kind<S, X, B, R>
    where
        S: Service<Request<B>, Response = Response<R>> + Clone,
        X: Executor<RefreshFuture<S::Future, R>> + Clone,
        R: Body<Data = Bytes> + Send + 'static,
        R::Error: Into<BoxError>,
    {
        let Self { asking, why, lead, .. } = self;
        if is_here || asking.wants.only_if_cached {
            drop(lead);
            return asking.look(inner, executor, request);
        }
        let now = asking.engine.now();
        asking.send(inner, request, why, None, now, lead)
    }
}
