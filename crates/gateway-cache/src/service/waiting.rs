use super::asking::Asking;
use crate::answer::{from_entry, from_fill};
use crate::body::CacheBody;
use crate::entry::Entry;
use crate::flight::{Landing, Waiter};
use crate::semantics::reuse::{Reuse, on_error, reuse};
use crate::semantics::status::{Forward, Told};
use crate::semantics::vary;
use http::{Request, Response};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::SystemTime;
use tokio::time::Sleep;

/// A request that waits for another's answer.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(super) asking: Asking,
    pub(super) why: Forward,
    pub(super) stale: Option<Arc<Entry>>,
    pub(super) flight: Waiter,
    pub(super) sleep: Pin<Box<Sleep>>,
}

impl Waiting {
    /// Waits for the head of another's answer, or until it has been long enough.
    pub(crate) fn poll<B, R>(
        &mut self,
        request: &Request<B>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Response<CacheBody<R>>>> {
        let landing = match self.flight.poll(cx) {
            Poll::Ready(landing) => landing,
            Poll::Pending => {
                std::task::ready!(self.sleep.as_mut().poll(cx));
                Landing::Alone
            }
        };
        let (headers, now) = (request.headers(), self.asking.engine.now());
        let mut response = match landing {
            Landing::Fill(fill, head) => {
                let reader = self.may_share(&head, headers, now).then(|| fill.reader()).flatten();
                let Some(reader) = reader else { return Poll::Ready(None) };
                from_fill(&head, reader, headers, head.age(now))
            }
            Landing::Entry(entry) if self.may_share(&entry, headers, now) => {
                from_entry(&entry, request.method(), headers, entry.age(now))
            }
            Landing::Failed => {
                let wants = &self.asking.wants;
                let stale = self.stale.as_ref().filter(|stale| on_error(&stale.terms, stale.age(now), wants));
                let Some(stale) = stale else {
                    self.asking.alone = true;
                    return Poll::Ready(None);
                };
                let age = stale.age(now);
                let mut response = from_entry(stale, request.method(), headers, age);
                let told = Told::StaleOnError { ttl: stale.ttl(age), upstream: None };
                self.asking.engine.tell(&mut response, told);
                return Poll::Ready(Some(response));
            }
            Landing::Entry(_) | Landing::Alone => {
                self.asking.alone = true;
                return Poll::Ready(None);
            }
            Landing::Cancelled => return Poll::Ready(None),
        };
        self.asking.engine.tell(&mut response, Told::Collapsed { why: self.why });
        Poll::Ready(Some(response))
    }

    /// Whether another's answer is one for this request. If it is not, this request asks for itself, or waits for
    /// one that says the same in what the answer varies by.
    fn may_share(&mut self, head: &Entry, headers: &http::HeaderMap, now: SystemTime) -> bool {
        if !vary::matches(&head.selected, headers) {
            let names = head.selected.iter().map(|(name, _)| name.clone()).collect();
            let variant = format!("{}\0{:?}", self.asking.key.text, vary::select(names, headers));
            self.asking.alone = self.asking.variant.replace(variant.into()).is_some();
            return false;
        }
        let is_fresh =
            reuse(&head.terms, head.age(now), head.is_marked(), &self.asking.wants) == Reuse::Fresh;
        self.asking.alone = true;
        is_fresh
    }

    /// The request, to look again.
    pub(crate) fn into_asking(self) -> Asking {
        self.asking
    }
}
