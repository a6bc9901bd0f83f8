//! The gateway's own accounts: opened once, before the first request, and served on the routes that say so.

use crate::config::Plan;
use crate::end::Answer;
use crate::end::RequestStream;
use crate::live::View;
use arc_swap::ArcSwap;
use bytes::Bytes;
use futures_util::future::join_all;
use gateway_core::{BoxError, Code, Problem};
use gateway_identity::{
    Identity, IdentityService, IdentitySettings, OpenError, RevocationSink, Revoked, Upkeep,
};
use gateway_store::Store;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use http::{Request, Response};
use serde_json::Value;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use tower::Service;

/// Accounts that are there once they were opened. Clones are the same.
#[derive(Clone)]
pub(crate) struct Accounts(Arc<Inner>);

struct Inner {
    settings: IdentitySettings,
    open: OnceLock<(Identity, IdentityService)>,
}

impl Accounts {
    pub(crate) fn new(settings: IdentitySettings) -> Self {
        Self(Arc::new(Inner { settings, open: OnceLock::new() }))
    }

    /// Opens the database. Sessions that end are told to whatever verifies tokens at the time.
    ///
    /// # Errors
    /// It does not answer, or holds what cannot be used.
    pub(crate) async fn open(&self, view: Arc<ArcSwap<View>>) -> Result<Upkeep, OpenError> {
        let builder = Identity::builder(self.0.settings.clone()).revocations(Arc::new(ToVerifiers(view)));
        let (identity, upkeep) = builder.open().await?;
        let service = IdentityService::new(&identity);
        // Opened once only: nobody has set it.
        let _ = self.0.open.set((identity, service));
        Ok(upkeep)
    }

    /// The keys of its tokens, once it is open.
    pub(crate) fn jwks(&self) -> Option<Value> {
        self.0.open.get().map(|(identity, _)| Value::clone(&identity.jwks()))
    }

    /// The accounts themselves, once they are open.
    pub(crate) fn identity(&self) -> Option<&Identity> {
        self.0.open.get().map(|(identity, _)| identity)
    }
}

impl<B: RequestStream> Service<Request<B>> for Accounts {
    type Response = Answer<B>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Answer<B>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let service = self.0.open.get().map(|(_, service)| service.clone());
        Box::pin(async move {
            Ok(match service {
                Some(mut service) => service.answer(request).await,
                // Not reached: they are opened before the first request.
                None => Problem::new(Code::StoreUnavailable)
                    .with_detail("the accounts are not open yet")
                    .into_response(),
            })
        })
    }
}

/// Has the tokens of ended sessions refused.
struct ToVerifiers(Arc<ArcSwap<View>>);

impl RevocationSink for ToVerifiers {
    fn revoked<'a>(
        &'a self,
        revoked: &'a Revoked,
    ) -> Pin<Box<dyn Future<Output = Result<(), BoxError>> + Send + 'a>> {
        let view = self.0.load_full();
        Box::pin(async move {
            let all = view.revocations.iter();
            // All at once: each counts here from the start, however long another waits for its store, or in vain.
            let told = join_all(all.map(|one| one.revoke_session(&revoked.session_id, revoked.until))).await;
            Ok(told.into_iter().collect::<Result<(), _>>()?)
        })
    }
}

/// The keys of the gateway's own tokens: of accounts and of assertions.
#[derive(Clone)]
pub(crate) struct Jwks {
    pub(crate) plan: Arc<Plan>,
    pub(crate) store: Store,
}

impl Jwks {
    pub(crate) async fn answer<B: RequestStream>(self) -> Result<Answer<B>, Infallible> {
        let mut keys = Vec::new();
        let mut add = |set: Value| {
            if let Value::Object(mut set) = set
                && let Some(Value::Array(more)) = set.remove("keys")
            {
                keys.extend(more);
            }
        };
        if let Some(set) = self.plan.identity.as_ref().and_then(|plan| plan.accounts.jwks()) {
            add(set);
        }
        if let Some(plan) = &self.plan.assertions {
            add(serde_json::from_slice(&plan.assertions.jwks(&self.store).await).unwrap_or_default());
        }
        let body = Bytes::from(serde_json::json!({ "keys": keys }).to_string());
        let mut answer = Response::new(body.into());
        let headers = answer.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/jwk-set+json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=60"));
        Ok(answer)
    }
}
