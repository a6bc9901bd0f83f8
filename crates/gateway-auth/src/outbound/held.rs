//! The gateway's own token: held until shortly before its end, asked for once however many want it.

use crate::flight::Flights;
use crate::outbound::endpoint::{Denied, Endpoint, Granted};
use arc_swap::ArcSwapOption;
use http::HeaderValue;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// How long the endpoint is left alone after it failed to replace a token that is still good.
const PAUSE: Duration = Duration::from_secs(1);

/// A token that is good for now.
#[derive(Debug)]
pub(crate) struct Token {
    pub(crate) header: HeaderValue,
    refresh: Instant,
    end: Instant,
}

#[derive(Debug)]
pub(crate) struct Held {
    endpoint: Endpoint,
    token: ArcSwapOption<Token>,
    flights: Flights<Result<Arc<Token>, Denied>>,
    refreshing: AtomicBool,
    /// A token was dropped, and none since was taken by the service.
    dropped: AtomicBool,
}

impl Held {
    pub(crate) fn new(endpoint: Endpoint) -> Arc<Self> {
        Arc::new(Self {
            endpoint,
            token: ArcSwapOption::empty(),
            flights: Flights::default(),
            refreshing: AtomicBool::new(false),
            dropped: AtomicBool::new(false),
        })
    }

    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The token that is held. One that is about to end is replaced meanwhile.
    pub(crate) fn now(self: &Arc<Self>) -> Option<Arc<Token>> {
        let (token, now) = (self.token.load_full()?, Instant::now());
        if token.end <= now {
            return None;
        }
        if token.refresh <= now && !self.refreshing.swap(true, Ordering::Relaxed) {
            let held = self.clone();
            tokio::spawn(async move {
                // Given back even if the runtime ends meanwhile.
                let refreshing = Refreshing(held.clone());
                if held.fetch().await.is_err() {
                    tokio::time::sleep(PAUSE).await;
                }
                drop(refreshing);
            });
        }
        Some(token)
    }

    /// A new token; of many who want one, one asks.
    pub(crate) async fn fetch(self: &Arc<Self>) -> Result<Arc<Token>, Denied> {
        let held = self.clone();
        let ask = move || async move {
            // Somebody may have been faster.
            if let Some(token) = held.token.load_full().filter(|token| Instant::now() < token.refresh) {
                return Ok(token);
            }
            let asked = Instant::now();
            let Granted { header, ttl } = held.endpoint.ask(&[("grant_type", "client_credentials")]).await?;
            let refresh = asked + held.endpoint.fresh(ttl);
            let token = Arc::new(Token { header, refresh, end: asked + ttl });
            held.token.store(Some(token.clone()));
            Ok(token)
        };
        self.flights.join(0, ask).await
    }

    /// The service did not take this token. It is dropped, unless that was of no use last time.
    pub(crate) fn drop_token(&self, token: &Arc<Token>) {
        let held = self.token.load();
        let is_held = held.as_ref().is_some_and(|held| Arc::ptr_eq(held, token));
        if is_held && !self.dropped.swap(true, Ordering::Relaxed) {
            self.token.store(None);
        }
    }

    /// The service took a token.
    pub(crate) fn was_taken(&self) {
        if self.dropped.load(Ordering::Relaxed) {
            self.dropped.store(false, Ordering::Relaxed);
        }
    }
}

struct Refreshing(Arc<Held>);

impl Drop for Refreshing {
    fn drop(&mut self) {
        self.0.refreshing.store(false, Ordering::Relaxed);
    }
}
