use crate::credential::challenge;
use crate::flight::Flights;
use crate::forward::key::host;
use crate::jwt::cache::{Cache, TokenHasher};
use crate::jwt::remote as keys;
use crate::method::{Changes, Check, Head, Method, Passed, Refusal, Verdict};
use crate::oidc::cookies::{Cookies, MAX_SESSION};
use crate::oidc::login::{Callback, Login, Refused, with_query};
use crate::oidc::navigation::{is_navigation, return_path};
use crate::oidc::provider::{Failure, Provider, Tokens};
use crate::oidc::seal::{Purpose, Sealer};
use crate::oidc::session::{Limits, Session, State};
use crate::oidc::settings::OidcSettings;
use crate::text::{sha256, unix_now};
use crate::{AuthError, OneOrMany, remote};
use bytes::Bytes;
use gateway_core::{AuthMethod, Code, Principal, Problem, Scheme};
use gateway_store::Store;
use http::header::{
    ALLOW, CACHE_CONTROL, HeaderMap, HeaderName, HeaderValue, LOCATION, SET_COOKIE, WWW_AUTHENTICATE,
};
use http::uri::Authority;
use http::{Response, StatusCode, request};
use serde_json::{Map, Value};
use std::fmt;
use std::future::Future;
use std::path::Path;
use std::sync::Arc;

/// How long the outcome of a refresh is given to requests that were sent before the browser knew of it, in seconds.
const RECENT: f64 = 60.0;
/// How long after a refresh that nobody answered the next one is tried, in seconds.
const AWAY: f64 = 5.0;
const RECENT_ENTRIES: usize = 10_000;

/// Logs browsers in at an OpenID provider, and recognises them by an encrypted cookie from then on: authorization
/// code with PKCE (RFC 7636), discovery, refresh, logout at the provider. There is no state on the server: any
/// instance with the same `cookie_secret` knows the session. Clones share all.
///
/// | request | answer |
/// |---|---|
/// | with a session | passes as who logged in; its cookies do not reach the service |
/// | without, or with one that ended: a page (`GET` by a browser's window) | 302 to the provider, unless another method knows the caller or anonymous ones may pass |
/// | the same by a script, an API client, or with another method than `GET` | 401, for a redirect would lead nowhere and a body would be lost |
/// | `callback_path` | 303 to the page that was asked for, with the session; 400 `bad-request` where no such login is on its way in this browser, 403 `forbidden` where the provider says no, 401 `invalid-credentials` where its ID token is not good, 503 `auth-unavailable` where it does not answer |
/// | `login_path` | 302 to the provider, and back to `?return_to=` |
/// | `logout_path` | 303 to the provider's logout, and from there to `post_logout`; the session is gone |
/// | with a session that cannot be refreshed because the provider is away | passes until the access token ends, then 503 `auth-unavailable` |
///
/// The three paths are answered by this method itself: the route that it protects must match them, and they must not
/// be public. They are answered with `mode = "report"`, too. Who has stolen a session's cookie has it until it ends,
/// after a logout too: what ends it everywhere is the refresh that the provider refuses.
///
/// A session is refreshed once, however many requests it has on their way; other instances do not know of it, so
/// where the provider turns refresh tokens over, requests of one browser should go to one instance.
#[derive(Clone)]
pub struct OidcMethod {
    shared: Arc<Shared>,
    store: Store,
}

struct Shared {
    provider: Arc<Provider>,
    sealer: Sealer,
    cookies: Cookies,
    limits: Limits,
    settings: OidcSettings,
    scopes: String,
    /// Scheme and host, without a slash at its end.
    origin: Option<String>,
    challenge: HeaderValue,
    hasher: TokenHasher,
    refreshing: Flights<Refreshed>,
    refreshed: Cache<Refreshed>,
}

impl fmt::Debug for OidcMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OidcMethod").field("settings", &self.shared.settings).finish_non_exhaustive()
    }
}

/// A session after it was refreshed, with its cookie's value.
#[derive(Clone)]
enum Refreshed {
    Good(Arc<(Session, String)>),
    Ended,
    Away,
}

impl OidcMethod {
    /// A method with these settings. Callbacks that were answered are remembered in this store, so that none is
    /// answered twice.
    ///
    /// # Errors
    /// A setting is missing, cannot be used, or does not go with another.
    pub fn new(settings: &OidcSettings, store: Store) -> Result<Self, AuthError> {
        let wrong = |key, why: String| AuthError::Oidc { key, why };
        if settings.client_id.is_empty() {
            return Err(wrong(
                "client_id",
                "is missing; expected what the provider knows the gateway by".to_owned(),
            ));
        }
        if !settings.scopes.iter().any(|scope| scope == "openid") {
            return Err(wrong(
                "scopes",
                "do not hold `openid`; expected it, for there is no ID token else".to_owned(),
            ));
        }
        let paths = [
            ("callback_path", &settings.callback_path),
            ("login_path", &settings.login_path),
            ("logout_path", &settings.logout_path),
        ];
        for (at, (key, path)) in paths.iter().enumerate() {
            if return_path(path) != *path || path.len() < 2 || path.contains(['?', '#']) {
                return Err(wrong(key, format!("is `{path}`; expected a path, such as `/oauth2/callback`")));
            }
            if let Some((other, _)) = paths[..at].iter().find(|(_, other)| other == path) {
                return Err(wrong(key, format!("is `{path}`, as `{other}` is; expected another")));
            }
        }
        if !settings.post_logout.starts_with("http")
            && return_path(&settings.post_logout) != settings.post_logout
        {
            let why = format!("is `{}`; expected a path of this site, or a URL", settings.post_logout);
            return Err(wrong("post_logout", why));
        }
        if settings.post_logout.starts_with("http") {
            remote::url(&settings.post_logout)?;
        }
        let origin = settings.external_url.as_deref().map(origin).transpose()?;
        let secret = match (&settings.client_secret, &settings.client_secret_file) {
            (Some(secret), _) => Some(secret.clone()),
            (None, Some(path)) => Some(read(path)?.trim_end().to_owned()),
            (None, None) => None,
        };
        let owner = format!("{} {}", settings.client_id, settings.issuer);
        let form_action = settings.login_path.replace('"', "%22");
        Ok(Self {
            store,
            shared: Arc::new(Shared {
                provider: Arc::new(Provider::new(settings, secret)?),
                sealer: Sealer::new(&secrets(settings)?, owner)?,
                cookies: Cookies::new(settings)?,
                limits: Limits::of(settings),
                scopes: settings.scopes.join(" "),
                origin,
                challenge: challenge("Cookie", &settings.realm, &format!(", form-action=\"{form_action}\"")),
                hasher: TokenHasher::default(),
                refreshing: Flights::default(),
                refreshed: Cache::new(RECENT_ENTRIES),
                settings: settings.clone(),
            }),
        })
    }

    /// Reads the provider's keys again and again: a task to be spawned once per process, which ends with the last
    /// clone of this method. Until it runs, nobody can log in.
    pub fn refresh(&self) -> impl Future<Output = ()> + Send + use<> {
        let remote = self.shared.provider.keys.verifier.keys.remote.as_ref().map(Arc::downgrade);
        async move {
            if let Some(remote) = remote {
                keys::refresh(remote).await;
            }
        }
    }
}

fn read(path: &Path) -> Result<String, AuthError> {
    std::fs::read_to_string(path).map_err(|source| AuthError::File { path: path.to_owned(), source })
}

fn secrets(settings: &OidcSettings) -> Result<Vec<Vec<u8>>, AuthError> {
    let bytes = |text: &str| text.as_bytes().to_vec();
    match (&settings.cookie_secret, &settings.cookie_secret_file) {
        (Some(OneOrMany::One(one)), _) => Ok(vec![bytes(one)]),
        (Some(OneOrMany::Many(many)), _) => Ok(many.iter().map(|one| bytes(one)).collect()),
        (None, Some(path)) => {
            Ok(read(path)?.lines().map(str::trim).filter(|line| !line.is_empty()).map(bytes).collect())
        }
        (None, None) => Ok(Vec::new()),
    }
}

fn origin(url: &str) -> Result<String, AuthError> {
    let parsed = remote::url(url)?;
    if !matches!(parsed.path_and_query().map(|target| target.as_str()), None | Some("/")) {
        let why = format!("is `{url}`; expected scheme and host only, such as https://shop.example");
        return Err(AuthError::Oidc { key: "external_url", why });
    }
    Ok(url.trim_end_matches('/').to_owned())
}

impl Shared {
    /// How browsers see the gateway. `None` where a request does not say.
    fn origin(&self, head: Head<'_>) -> Option<String> {
        if let Some(origin) = &self.origin {
            return Some(origin.clone());
        }
        let host = std::str::from_utf8(host(head)).ok()?;
        let host: Authority = host.parse().ok().filter(|_| !host.contains('@'))?;
        let scheme = head.extensions.get::<Scheme>().copied().unwrap_or_default();
        Some(format!("{}://{host}", scheme.as_str()))
    }

    fn opened(&self, headers: &HeaderMap) -> Option<(Session, bool)> {
        self.cookies.session(headers, |sealed| {
            let opened = self.sealer.open(Purpose::Session, sealed)?;
            Some((serde_json::from_slice(&opened.value).ok()?, opened.old_key))
        })
    }

    /// The value of a session's cookie. The ID token, which only makes a logout smoother, may have to go; what is
    /// too large even so is told by its length.
    fn sealed(&self, session: &mut Session) -> Result<String, usize> {
        let seal = |session: &Session| {
            let json = serde_json::to_vec(session).unwrap_or_default();
            self.sealer.seal(Purpose::Session, &json).unwrap_or_default()
        };
        let mut sealed = seal(session);
        if sealed.len() > MAX_SESSION && session.id_token.take().is_some() {
            sealed = seal(session);
        }
        if sealed.len() > MAX_SESSION { Err(sealed.len()) } else { Ok(sealed) }
    }

    fn principal(&self, claims: Map<String, Value>) -> Principal {
        let id = self.settings.principal.iter().find_map(|name| match claims.get(name)? {
            Value::String(id) if !id.is_empty() => Some(id.clone()),
            Value::Number(id) => Some(id.to_string()),
            _ => None,
        });
        Principal::new(id.unwrap_or_default(), AuthMethod::Session, claims)
    }

    fn passed(&self, session: Session, sealed: Option<&str>, had: &HeaderMap, now: f64) -> Verdict {
        let set =
            sealed.and_then(|sealed| self.cookies.keep(sealed, self.limits.remaining(&session, now), had));
        let changes = set.map(|set| {
            let mut changes = Changes::default();
            for value in set {
                changes.response.append(SET_COOKIE, value);
            }
            Box::new(changes)
        });
        Verdict::Passed(Passed { principal: Some(self.principal(session.claims)), changes })
    }

    /// What a session keeps of all that a provider says.
    fn kept(&self, mut claims: Map<String, Value>) -> Map<String, Value> {
        let keeps = |name: &str| {
            let names = self.settings.claims.iter().chain(&self.settings.principal);
            name == "sub" || names.into_iter().any(|kept| kept == name)
        };
        claims.retain(|name, _| keeps(name));
        claims
    }

    fn session(&self, claims: Map<String, Value>, tokens: Tokens, now: f64) -> Session {
        let lives = tokens.expires_in.filter(|lives| *lives > 0.0);
        Session {
            claims: self.kept(claims),
            began: now,
            seen: now,
            access: lives.map(|lives| self.limits.access(lives, now)),
            refresh_token: tokens.refresh_token,
            id_token: tokens.id_token,
        }
    }

    /// A request without a session: to the login, or to whom knows the caller otherwise.
    fn without_session(self: &Arc<Self>, head: Head<'_>) -> Check {
        if is_navigation(head.method, head.headers) {
            let target = head.uri.path_and_query().map_or("/", |target| target.as_str());
            return self.begin(head, return_path(target), Verdict::Login);
        }
        Check::Done(match self.cookies.has_session(head.headers) {
            true => Verdict::Login(self.unauthorized("the session has ended, or is none of ours").into()),
            false => Verdict::Absent,
        })
    }

    fn unauthorized(&self, why: impl Into<std::borrow::Cow<'static, str>>) -> Problem {
        let problem = Problem::new(Code::InvalidCredentials).with_detail(why);
        problem.with_header(WWW_AUTHENTICATE, self.challenge.clone())
    }

    /// Sends a browser to the provider.
    fn begin(self: &Arc<Self>, head: Head<'_>, return_to: &str, verdict: fn(Refusal) -> Verdict) -> Check {
        let Some(origin) = self.origin(head) else {
            let problem = Problem::new(Code::BadRequest).with_detail("the request does not say its host");
            return Check::Done(verdict(problem.into()));
        };
        let timeout = self.settings.login_timeout.as_secs();
        let redirect_uri = format!("{origin}{}", self.settings.callback_path);
        let login = Login::begin(return_to, redirect_uri, unix_now() + timeout as f64);
        let begun = login.and_then(|login| {
            let sealed = self.sealer.seal(Purpose::Login, &serde_json::to_vec(&login).ok()?)?;
            Some((self.cookies.keep_login(&login.state, &sealed, timeout, head.headers), login))
        });
        let Some((set, login)) = begun else {
            return Check::Done(verdict(Problem::new(Code::InternalError).into()));
        };
        let shared = self.clone();
        Check::wait(async move {
            verdict(match shared.provider.configuration().await {
                Ok(configuration) => {
                    let Shared { settings, scopes, .. } = &*shared;
                    let endpoint = &configuration.authorization_endpoint;
                    redirect(
                        StatusCode::FOUND,
                        &login.url(endpoint, &settings.client_id, scopes, &settings.parameters),
                        set,
                    )
                }
                Err(_) => remote::unavailable().into(),
            })
        })
    }

    /// What `login_path` answers.
    fn login(self: &Arc<Self>, head: Head<'_>) -> Check {
        let query = head.uri.query().unwrap_or_default();
        let given = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "return_to");
        let given = given.map_or("/".into(), |(_, value)| value);
        let return_to = return_path(&given);
        let state = self.opened(head.headers).map(|(session, _)| self.limits.state(&session, unix_now()));
        match state {
            Some(State::Good | State::Used) => {
                Check::Done(answered(redirect(StatusCode::FOUND, return_to, Vec::new())))
            }
            _ => self.begin(head, return_to, answered),
        }
    }

    /// What `logout_path` answers.
    fn logout(self: &Arc<Self>, head: Head<'_>) -> Check {
        let set = self.cookies.forget(head.headers);
        let after = &self.settings.post_logout;
        let after = match self.origin(head) {
            Some(origin) if after.starts_with('/') => format!("{origin}{after}"),
            _ => after.clone(),
        };
        let Some((session, _)) = self.opened(head.headers) else {
            return Check::Done(answered(redirect(StatusCode::SEE_OTHER, &after, set)));
        };
        let shared = self.clone();
        Check::wait(async move {
            let configuration = shared.provider.configuration().await.ok();
            let endpoint = configuration.as_ref().and_then(|found| found.end_session_endpoint.as_deref());
            let target = endpoint.map(|endpoint| {
                let hint = session.id_token.as_deref().map(|token| ("id_token_hint", token));
                let rest =
                    [("client_id", shared.settings.client_id.as_str()), ("post_logout_redirect_uri", &after)];
                with_query(endpoint, hint.into_iter().chain(rest))
            });
            answered(redirect(StatusCode::SEE_OTHER, target.as_deref().unwrap_or(&after), set))
        })
    }

    /// What `callback_path` answers.
    fn callback(self: &Arc<Self>, head: Head<'_>, store: &Store) -> Check {
        let query = head.uri.query().unwrap_or_default().to_owned();
        let callback = match Callback::read(&query) {
            Ok(callback) => callback,
            Err(why) => return Check::Done(answered(wrong(why).into())),
        };
        let login = self.cookies.login(head.headers, &callback.state).find_map(|sealed| {
            serde_json::from_slice::<Login>(&self.sealer.open(Purpose::Login, sealed)?.value).ok()
        });
        let Some(login) = login else {
            let why = "no such login is on its way in this browser: it has ended, or its cookie was not kept";
            return Check::Done(answered(wrong(why).into()));
        };
        let (shared, store, had) = (self.clone(), store.clone(), head.headers.clone());
        Check::wait(async move {
            let gone = shared.cookies.forget_login(&login.state);
            answered(match shared.complete(&store, &login, &query, &had).await {
                Ok(mut set) => {
                    set.extend(gone);
                    redirect(StatusCode::SEE_OTHER, return_path(&login.return_to), set)
                }
                Err(problem) => {
                    let problem = problem.with_header(CACHE_CONTROL, HeaderValue::from_static("no-store"));
                    match gone {
                        Some(gone) => problem.with_header(SET_COOKIE, gone).into(),
                        None => problem.into(),
                    }
                }
            })
        })
    }

    /// Ends a login: the cookies of the session, or why there is none.
    async fn complete(
        &self,
        store: &Store,
        login: &Login,
        query: &str,
        had: &HeaderMap,
    ) -> Result<Vec<HeaderValue>, Problem> {
        let callback = Callback::read(query).map_err(wrong)?;
        let configuration = self.provider.configuration().await.map_err(|failure| self.failed(&failure))?;
        let iss = configuration.authorization_response_iss_parameter_supported;
        let code = callback.code(login, &self.settings.issuer, iss, unix_now());
        let code = code.map_err(|refused| match refused {
            Refused::Wrong(why) => wrong(why),
            Refused::Error(error) => refused_login(&error),
        })?;
        // While the store is away, the provider still takes no code twice.
        let used = format!("oidc:used:{}", sha256(&login.state));
        if let Ok(false) = store.set_new(&used, b"1", *self.settings.login_timeout).await {
            return Err(wrong("this login has been answered already"));
        }
        let tokens = self.provider.exchange(&configuration, code, &login.verifier, &login.redirect_uri).await;
        let tokens = tokens.map_err(|failure| self.failed(&failure))?;
        let id_token = tokens.id_token.as_deref().ok_or(Failure::Bad("the provider gave no ID token"));
        let id_token = id_token.map_err(|failure| self.failed(&failure))?;
        let verified = self.provider.verify(id_token, &tokens.access_token, Some(&login.nonce), None).await;
        let mut claims = verified.map_err(|failure| self.failed(&failure))?;
        if self.settings.userinfo {
            let added = self.provider.add_userinfo(&configuration, &tokens.access_token, &mut claims).await;
            added.map_err(|failure| self.failed(&failure))?;
        }
        let now = unix_now();
        let mut session = self.session(claims, tokens, now);
        let too_large = |length: usize| {
            let why = format!(
                "the session takes {length} bytes; expected at most {MAX_SESSION}: keep fewer `claims`"
            );
            tracing::error!("{why}");
            Problem::new(Code::InternalError).with_detail(why)
        };
        let sealed = self.sealed(&mut session).map_err(too_large)?;
        let set = self.cookies.keep(&sealed, self.limits.remaining(&session, now), had);
        set.ok_or_else(|| too_large(sealed.len()))
    }

    fn failed(&self, failure: &Failure) -> Problem {
        match failure {
            Failure::Away => remote::unavailable(),
            Failure::Bad(why) => {
                tracing::warn!(issuer = self.settings.issuer, why, "a login failed");
                self.unauthorized(*why)
            }
            Failure::Refused(error) => self.unauthorized(format!("the provider refused the login: {error}")),
        }
    }

    /// Has a session refreshed, once for all requests with it.
    fn refresh(self: &Arc<Self>, session: Session, head: Head<'_>) -> Check {
        let token = session.refresh_token.clone().unwrap_or_default();
        let (key, shared, had) = (self.hasher.key(&token), self.clone(), head.headers.clone());
        // Where the session turns out to have ended, the request is one without.
        let ended = self.without_session(head);
        Check::wait(async move {
            let refreshed = match shared.recent(key, unix_now()) {
                Some(refreshed) => refreshed,
                None => {
                    let (refresher, before) = (shared.clone(), session.clone());
                    // On its own: if all who wait gave up, the new tokens were lost, and the old ones are used up.
                    let start = || async move {
                        let refresh = async move { refresher.refreshed(key, &before, &token).await };
                        tokio::spawn(refresh).await.unwrap_or(Refreshed::Away)
                    };
                    shared.refreshing.join(key, start).await
                }
            };
            let now = unix_now();
            match refreshed {
                Refreshed::Good(good) => shared.passed(good.0.clone(), Some(&good.1), &had, now),
                Refreshed::Ended => match ended {
                    Check::Done(verdict) => verdict,
                    Check::Wait(verdict) => verdict.await,
                },
                Refreshed::Away if session.access.is_some_and(|access| now < access.ends) => {
                    shared.passed(session, None, &had, now)
                }
                Refreshed::Away => Verdict::Refused(remote::unavailable().into()),
            }
        })
    }

    fn recent(&self, key: u128, now: f64) -> Option<Refreshed> {
        // The provider may give the same refresh token again: what came of it may be due itself.
        self.refreshed.get(key, now).filter(|refreshed| match refreshed {
            Refreshed::Good(good) => good.0.access.is_none_or(|access| now < access.due),
            Refreshed::Ended | Refreshed::Away => true,
        })
    }

    async fn refreshed(&self, key: u128, before: &Session, token: &str) -> Refreshed {
        if let Some(recent) = self.recent(key, unix_now()) {
            return recent;
        }
        let (refreshed, kept) = match self.ask(before, token).await {
            Ok(mut session) => match self.sealed(&mut session) {
                Ok(sealed) => (Refreshed::Good(Arc::new((session, sealed))), RECENT),
                Err(length) => {
                    tracing::error!(
                        "a refreshed session takes {length} bytes; expected at most {MAX_SESSION}"
                    );
                    (Refreshed::Ended, RECENT)
                }
            },
            Err(Failure::Away) => (Refreshed::Away, AWAY),
            Err(Failure::Refused(_)) => (Refreshed::Ended, RECENT),
            Err(Failure::Bad(why)) => {
                tracing::warn!(issuer = self.settings.issuer, why, "a session could not be refreshed");
                (Refreshed::Ended, RECENT)
            }
        };
        let now = unix_now();
        self.refreshed.insert(key, refreshed.clone(), now + kept, now);
        refreshed
    }

    async fn ask(&self, before: &Session, token: &str) -> Result<Session, Failure> {
        let provider = &self.provider;
        let configuration = provider.configuration().await?;
        let tokens = provider.refresh(&configuration, token).await?;
        let mut claims = before.claims.clone();
        if let Some(id_token) = &tokens.id_token {
            let subject = before.claims.get("sub").and_then(Value::as_str);
            let said = provider.verify(id_token, &tokens.access_token, None, subject).await?;
            claims.extend(self.kept(said));
        }
        let mut session = self.session(claims, tokens, unix_now());
        session.began = before.began;
        session.refresh_token = session.refresh_token.or_else(|| before.refresh_token.clone());
        session.id_token = session.id_token.or_else(|| before.id_token.clone());
        Ok(session)
    }
}

fn wrong(why: &'static str) -> Problem {
    Problem::new(Code::BadRequest).with_detail(why)
}

fn refused_login(error: &str) -> Problem {
    match error {
        "server_error" | "temporarily_unavailable" => remote::unavailable(),
        error => {
            Problem::new(Code::Forbidden).with_detail(format!("the provider refused the login: {error}"))
        }
    }
}

fn answered(refusal: Refusal) -> Verdict {
    Verdict::Refused(refusal.in_any_mode())
}

/// What nobody may keep, for it is for one browser.
fn redirect(status: StatusCode, to: &str, set: Vec<HeaderValue>) -> Refusal {
    let Ok(to) = HeaderValue::from_str(to) else { return Problem::new(Code::InternalError).into() };
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(LOCATION, to);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(HeaderName::from_static("referrer-policy"), HeaderValue::from_static("no-referrer"));
    for value in set {
        headers.append(SET_COOKIE, value);
    }
    Refusal::response(response)
}

impl Method for OidcMethod {
    fn check(&self, head: Head<'_>) -> Check {
        let shared = &self.shared;
        let settings = &shared.settings;
        let path = head.uri.path();
        let allowed: &[http::Method] = match path {
            _ if path == settings.logout_path => &[http::Method::GET, http::Method::POST],
            _ if path == settings.callback_path || path == settings.login_path => &[http::Method::GET],
            _ => return self.recognise(head),
        };
        if !allowed.contains(head.method) {
            let allow = if allowed.len() == 1 { "GET" } else { "GET, POST" };
            let problem =
                Problem::new(Code::MethodNotAllowed).with_header(ALLOW, HeaderValue::from_static(allow));
            return Check::Done(answered(problem.into()));
        }
        match path {
            _ if path == settings.callback_path => shared.callback(head, &self.store),
            _ if path == settings.login_path => shared.login(head),
            _ => shared.logout(head),
        }
    }

    fn challenge(&self) -> Option<&HeaderValue> {
        Some(&self.shared.challenge)
    }

    fn strips(&self) -> bool {
        true
    }

    fn strip(&self, request: &mut request::Parts) {
        self.shared.cookies.strip(&mut request.headers);
    }

    fn with_store(&self, store: &Store) -> Option<Arc<dyn Method>> {
        Some(Arc::new(Self { shared: self.shared.clone(), store: store.clone() }))
    }
}

impl OidcMethod {
    /// Whose session it is.
    fn recognise(&self, head: Head<'_>) -> Check {
        let shared = &self.shared;
        let Some((mut session, old_key)) = shared.opened(head.headers) else {
            return shared.without_session(head);
        };
        let now = unix_now();
        match shared.limits.state(&session, now) {
            State::Ended => shared.without_session(head),
            State::Due => shared.refresh(session, head),
            State::Good if !old_key => Check::Done(shared.passed(session, None, head.headers, now)),
            State::Good | State::Used => {
                session.seen = now;
                let sealed = shared.sealed(&mut session).ok();
                Check::Done(shared.passed(session, sealed.as_deref(), head.headers, now))
            }
        }
    }
}
