//! A token for the caller's token (RFC 8693), remembered by it.

use crate::credential::{Found, authorization};
use crate::flight::Flights;
use crate::jwt::cache::Cache;
use crate::outbound::endpoint::{Denied, Endpoint, Granted};
use crate::outbound::settings::TokenExchange;
use crate::text::unix_now;
use gateway_core::{Code, KeyedHash, Problem};
use http::header::{HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use std::sync::Arc;

#[derive(Debug)]
pub(crate) struct Exchange {
    endpoint: Endpoint,
    settings: TokenExchange,
    hasher: KeyedHash,
    /// By the caller's token; `None` where the endpoint gives none for it.
    tokens: Cache<Option<HeaderValue>>,
    flights: Flights<Result<HeaderValue, Denied>>,
}

/// What there is for a caller.
pub(crate) enum Known {
    /// This, or nothing.
    Token(Option<HeaderValue>),
    /// Not yet asked for: a token of the caller's.
    Ask(String),
    No(Problem),
}

impl Exchange {
    pub(crate) fn new(endpoint: Endpoint, settings: &TokenExchange) -> Arc<Self> {
        Arc::new(Self {
            endpoint,
            settings: settings.clone(),
            hasher: KeyedHash::default(),
            tokens: Cache::new(settings.cache_entries),
            flights: Flights::default(),
        })
    }

    pub(crate) fn recall(&self, headers: &HeaderMap) -> Known {
        let token = match authorization(headers, "Bearer") {
            Found::One(token) => token,
            Found::Nothing if self.settings.optional => return Known::Token(None),
            Found::Nothing | Found::Unclear => {
                let challenge = HeaderValue::from_static("Bearer realm=\"gateway\"");
                let problem = Problem::new(Code::MissingCredentials).with_header(WWW_AUTHENTICATE, challenge);
                return Known::No(problem.with_detail("the service needs a bearer token"));
            }
        };
        match self.tokens.get(self.hasher.of(token.as_bytes()), unix_now()) {
            Some(Some(known)) => Known::Token(Some(known)),
            Some(None) => Known::No(refused()),
            None => Known::Ask(token.into_owned()),
        }
    }

    pub(crate) async fn ask(self: Arc<Self>, token: String) -> Result<HeaderValue, Problem> {
        let (key, exchange) = (self.hasher.of(token.as_bytes()), self.clone());
        let ask = move || async move {
            let settings = &exchange.settings;
            let mut fields = vec![
                ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
                ("subject_token", token.as_str()),
                ("subject_token_type", settings.subject_token_type.as_str()),
            ];
            fields
                .extend(settings.requested_token_type.as_deref().map(|kind| ("requested_token_type", kind)));
            fields.extend(settings.resource.as_deref().map(|resource| ("resource", resource)));
            let now = unix_now();
            let (answer, value, ttl) = match exchange.endpoint.ask(&fields).await {
                Ok(Granted { header, ttl }) => {
                    (Ok(header.clone()), Some(header), exchange.endpoint.fresh(ttl))
                }
                Err(Denied::Refused) => (Err(Denied::Refused), None, *settings.negative_cache),
                Err(Denied::Away) => return Err(Denied::Away),
            };
            exchange.tokens.insert(key, value, now + ttl.as_secs_f64(), now);
            answer
        };
        self.flights.join(key, ask).await.map_err(|denied| match denied {
            Denied::Refused => refused(),
            Denied::Away => self.endpoint.unavailable(),
        })
    }
}

/// The caller's token is good, for us, but not for this service.
fn refused() -> Problem {
    Problem::new(Code::Forbidden).with_detail("the token cannot be exchanged for one of the service")
}
