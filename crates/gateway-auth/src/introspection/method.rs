use crate::AuthError;
use crate::client::proof::{Client, secret_or_file};
use crate::client::settings::ClientAuth;
use crate::credential::{Found, authorization, challenge};
use crate::flight::Flights;
use crate::introspection::settings::{IntrospectionProtocol, IntrospectionSettings, OnIntrospectionFailure};
use crate::jwt::cache::{Cache, TokenKey};
use crate::method::{Check, Head, Method, Verdict};
use crate::remote::{self, Reachable};
use crate::text::unix_now;
use bytes::Bytes;
use gateway_core::{AuthMethod, Code, KeyedHash, Principal, Problem};
use gateway_fetch::Fetch;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Request, StatusCode, Uri, request};
use serde_json::{Map, Value};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How long after a question that nobody answered the next one is asked about a token of which something is known, in
/// seconds.
const RETRY: f64 = 5.0;

/// A good token is far smaller, and whoever sends a larger one wants us to pass it on.
const MAX_TOKEN: usize = 16 * 1024;

/// Recognises callers by a bearer token that its issuer is asked about: by RFC 7662, or by a user service that is
/// shown the token. Clones share what they remember.
///
/// | token | answer |
/// |---|---|
/// | none | 401 `missing-credentials`, unless another method finds something |
/// | good | passes with all claims of the answer |
/// | bad | 401 `invalid-token`, unless another method knows it; remembered for `negative_cache` |
/// | nobody answers | 503 `auth-unavailable`, or what was good lately passes (`on_failure`) |
///
/// However many requests carry the same token at once, it is asked about once.
#[derive(Clone, Debug)]
pub struct IntrospectionMethod(Arc<Shared>);

struct Shared {
    settings: IntrospectionSettings,
    url: Uri,
    /// Who asks.
    client: Option<Client>,
    fetch: Fetch,
    bare: HeaderValue,
    invalid: HeaderValue,
    hasher: KeyedHash,
    cache: Cache<Entry>,
    flights: Flights<Outcome>,
    reachable: Reachable,
    /// When somebody may be asked again about what is known, while nobody answers: the bits of seconds since 1970. 0
    /// while somebody does.
    retry: AtomicU64,
    asked: AtomicU64,
}

/// Without the client's secret.
impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("url", &remote::shown(&self.url)).finish_non_exhaustive()
    }
}

/// An answer, and until when it is not asked for again, in seconds since 1970.
#[derive(Clone)]
struct Entry {
    outcome: Outcome,
    fresh: f64,
}

/// Whether somebody is asked again now.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Retry {
    Now,
    Later,
}

#[derive(Clone)]
enum Outcome {
    Good(Principal),
    Bad(&'static str),
    Unanswered,
}

impl IntrospectionMethod {
    /// A method that asks as the settings say.
    ///
    /// # Errors
    /// The URL is none, the secret's file cannot be read, or TLS cannot be set up.
    pub fn new(settings: &IntrospectionSettings) -> Result<Self, AuthError> {
        let url = remote::needed_url(&settings.url)?;
        let secret = secret_or_file(
            "client_secret",
            settings.client_secret.as_deref(),
            settings.client_secret_file.as_deref(),
        )?;
        let client = match (&settings.client_id, secret, settings.client_auth) {
            (None, None, ClientAuth::Basic) => None,
            (None, _, _) => return Err(AuthError::NoClient),
            (Some(id), secret, auth) => {
                // With HTTP Basic a client may have no password.
                let secret = secret.or_else(|| (auth == ClientAuth::Basic).then(String::new));
                Some(Client::new(id, secret.as_deref(), auth, &settings.client_assertion)?)
            }
        };
        Ok(Self(Arc::new(Shared {
            url,
            client,
            fetch: Fetch::new(&settings.http)?,
            bare: challenge("Bearer", &settings.realm, ""),
            invalid: challenge("Bearer", &settings.realm, ", error=\"invalid_token\""),
            hasher: KeyedHash::default(),
            cache: Cache::new(settings.cache_entries),
            flights: Flights::default(),
            reachable: Reachable::default(),
            retry: AtomicU64::new(0),
            asked: AtomicU64::new(0),
            settings: settings.clone(),
        })))
    }

    /// How often somebody was asked so far.
    #[must_use]
    pub fn asked(&self) -> u64 {
        self.0.asked.load(Ordering::Relaxed)
    }
}

impl Shared {
    fn problem(&self, why: &'static str) -> Problem {
        Problem::new(Code::InvalidToken).with_detail(why).with_header(WWW_AUTHENTICATE, self.invalid.clone())
    }

    fn verdict(&self, outcome: Outcome) -> Verdict {
        match outcome {
            Outcome::Good(principal) => Verdict::passed(principal),
            Outcome::Bad(why) => Verdict::Foreign(self.problem(why).into()),
            Outcome::Unanswered => Verdict::Refused(remote::unavailable().into()),
        }
    }

    /// Asks, and remembers.
    async fn ask(self: Arc<Self>, key: TokenKey, request: Option<Request<Bytes>>) -> Outcome {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let Some(request) = request else { return Outcome::Bad("the token holds strange characters") };
        let answer = self.fetch.send(request).await.map_err(|error| error.to_string());
        // Who answers with an error has answered, and maybe to this token alone: the others are still asked about.
        let retry = if answer.is_err() { (unix_now() + RETRY).to_bits() } else { 0 };
        self.retry.store(retry, Ordering::Relaxed);
        let answer = answer.and_then(|answer| self.read(answer.status(), answer.body(), unix_now()));
        let now = unix_now();
        match answer {
            Ok((outcome, end)) => {
                self.reachable.is_back(&self.url);
                let (lives, stale) = match &outcome {
                    Outcome::Good(_) => (*self.settings.cache, self.settings.stale.as_secs_f64()),
                    _ => (*self.settings.negative_cache, 0.0),
                };
                let fresh = end.min(now + lives.as_secs_f64());
                let kept = match self.settings.on_failure {
                    OnIntrospectionFailure::Deny => fresh,
                    OnIntrospectionFailure::Stale => end.min(fresh + stale),
                };
                self.cache.insert(key, Entry { outcome: outcome.clone(), fresh }, kept, now);
                outcome
            }
            Err(why) => {
                self.reachable.is_away(&self.url, &why);
                // Without `stale`, what is no longer fresh is no longer kept.
                match self.cache.get(key, now) {
                    Some(Entry { outcome: outcome @ Outcome::Good(_), .. }) => outcome,
                    _ => Outcome::Unanswered,
                }
            }
        }
    }

    /// Whether what is known is used because nobody answered lately, and whether to ask again beside it.
    fn instead(&self, now: f64) -> Option<Retry> {
        let bits = self.retry.load(Ordering::Relaxed);
        if bits == 0 {
            return None;
        }
        let due = now >= f64::from_bits(bits);
        let next = (now + RETRY).to_bits();
        let ours =
            due && self.retry.compare_exchange(bits, next, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        Some(if ours { Retry::Now } else { Retry::Later })
    }

    /// What an answer says, and until when at most; or why it says nothing.
    fn read(&self, status: StatusCode, body: &[u8], now: f64) -> Result<(Outcome, f64), String> {
        const NEVER: f64 = f64::INFINITY;
        let userinfo = self.settings.protocol == IntrospectionProtocol::Userinfo;
        if userinfo && matches!(status.as_u16(), 400 | 401 | 403 | 404) {
            return Ok((Outcome::Bad("the token is not known to its issuer"), NEVER));
        }
        if !status.is_success() {
            return Err(format!("it answered {status}"));
        }
        let claims: Map<String, Value> = serde_json::from_slice(body)
            .map_err(|error| format!("it answered with something else than a JSON object: {error}"))?;
        match claims.get("active") {
            Some(Value::Bool(true)) => {}
            None if userinfo => {}
            Some(Value::Bool(false)) => return Ok((Outcome::Bad("the token is not active"), NEVER)),
            _ => return Err("its answer does not say whether the token is `active`".to_owned()),
        }
        let time = |name: &str| claims.get(name).and_then(Value::as_f64);
        let end = time("exp").unwrap_or(NEVER);
        if now >= end {
            return Ok((Outcome::Bad("the token has expired"), NEVER));
        }
        if time("nbf").is_some_and(|from| now < from) {
            return Ok((Outcome::Bad("the token is not valid yet"), NEVER));
        }
        if let Some(audience) = &self.settings.audience {
            let meant = match claims.get("aud") {
                Some(Value::String(one)) => audience.contains(one),
                Some(Value::Array(many)) => {
                    many.iter().filter_map(Value::as_str).any(|one| audience.contains(one))
                }
                _ => false,
            };
            if !meant {
                return Ok((Outcome::Bad("the token is for another audience"), NEVER));
            }
        }
        let id = self.settings.principal.iter().find_map(|name| match claims.get(name)? {
            Value::String(id) if !id.is_empty() => Some(id.clone()),
            Value::Number(id) => Some(id.to_string()),
            _ => None,
        });
        let principal = Principal::new(id.unwrap_or_default(), AuthMethod::Introspection, claims);
        Ok((Outcome::Good(principal), end))
    }

    fn request(&self, token: &str) -> Option<Request<Bytes>> {
        let request = Request::builder().uri(self.url.clone()).header(ACCEPT, "application/json");
        match self.settings.protocol {
            IntrospectionProtocol::Rfc7662 => {
                let mut form = form_urlencoded::Serializer::new(String::new());
                form.append_pair("token", token).append_pair("token_type_hint", "access_token");
                let mut headers = HeaderMap::new();
                if let Some(client) = &self.client {
                    client.prove(&self.settings.url, &mut headers, &mut form);
                }
                let mut request =
                    request.method("POST").header(CONTENT_TYPE, "application/x-www-form-urlencoded");
                if let Some(own) = request.headers_mut() {
                    own.extend(headers);
                }
                request.body(form.finish().into())
            }
            IntrospectionProtocol::Userinfo => {
                request.header(AUTHORIZATION, format!("Bearer {token}")).body(Bytes::new())
            }
        }
        .ok()
    }
}

impl Method for IntrospectionMethod {
    fn check(&self, head: Head<'_>) -> Check {
        let shared = &self.0;
        let token = match authorization(head.headers, "Bearer") {
            Found::Nothing => return Check::Done(Verdict::Absent),
            Found::One(token) if token.len() <= MAX_TOKEN => token,
            Found::One(_) | Found::Unclear => {
                let problem =
                    shared.problem("the Authorization header is not `Bearer` and a token of at most 16 KiB");
                return Check::Done(Verdict::Foreign(problem.into()));
            }
        };
        let key = shared.hasher.of(token.as_bytes());
        let now = unix_now();
        let known = shared.cache.get(key, now);
        let ask = || {
            let (shared, request) = (shared.clone(), shared.request(&token));
            async move {
                let asker = shared.clone();
                let outcome = shared.flights.join(key, || asker.ask(key, request)).await;
                shared.verdict(outcome)
            }
        };
        match known {
            Some(Entry { outcome, fresh }) if now < fresh => Check::Done(shared.verdict(outcome)),
            // Nobody waits for who does not answer where there is an answer: one asks beside it.
            Some(Entry { outcome, .. }) => match shared.instead(now) {
                Some(retry) => {
                    if retry == Retry::Now {
                        drop(tokio::spawn(ask()));
                    }
                    Check::Done(shared.verdict(outcome))
                }
                None => Check::wait(ask()),
            },
            None => Check::wait(ask()),
        }
    }

    fn challenge(&self) -> Option<&HeaderValue> {
        Some(&self.0.bare)
    }

    fn answered(&self) -> Option<bool> {
        Some(self.0.reachable.answered())
    }

    fn strips(&self) -> bool {
        self.0.settings.hide_credentials
    }

    fn strip(&self, request: &mut request::Parts) {
        if self.0.settings.hide_credentials && authorization(&request.headers, "Bearer") != Found::Nothing {
            request.headers.remove(AUTHORIZATION);
        }
    }
}
