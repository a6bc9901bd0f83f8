use crate::credential::challenge;
use crate::flight::Flights;
use crate::forward::key::host;
use crate::jwt::cache::{Cache, TokenHasher};
use crate::jwt::remote as keys;
use crate::method::{Changes, Check, Head, Method, Passed, Verdict};
use crate::oidc::cookies::{Cookies, MAX_SESSION};
use crate::oidc::flow::answered;
use crate::oidc::navigation::{is_navigation, return_path};
use crate::oidc::provider::{Provider, Tokens};
use crate::oidc::renew::Refreshed;
use crate::oidc::seal::{Purpose, Sealer};
use crate::oidc::session::{Limits, Session, State};
use crate::oidc::settings::OidcSettings;
use crate::text::unix_now;
use crate::{AuthError, OneOrMany, remote};
use gateway_core::{AuthMethod, Code, Principal, Problem, Scheme};
use gateway_store::Store;
use http::header::{ALLOW, HeaderMap, HeaderValue, SET_COOKIE, WWW_AUTHENTICATE};
use http::request;
use http::uri::Authority;
use serde_json::{Map, Value};
use std::fmt;
use std::future::Future;
use std::path::Path;
use std::sync::Arc;

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

pub(super) struct Shared {
    pub(super) provider: Arc<Provider>,
    pub(super) sealer: Sealer,
    pub(super) cookies: Cookies,
    pub(super) limits: Limits,
    pub(super) settings: OidcSettings,
    pub(super) scopes: String,
    /// Scheme and host, without a slash at its end.
    pub(super) origin: Option<String>,
    pub(super) challenge: HeaderValue,
    pub(super) hasher: TokenHasher,
    pub(super) refreshing: Flights<Refreshed>,
    pub(super) refreshed: Cache<Refreshed>,
}

impl fmt::Debug for OidcMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OidcMethod").field("settings", &self.shared.settings).finish_non_exhaustive()
    }
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
    if !matches!(parsed.path_and_query().map(http::uri::PathAndQuery::as_str), None | Some("/")) {
        let why = format!("is `{url}`; expected scheme and host only, such as https://shop.example");
        return Err(AuthError::Oidc { key: "external_url", why });
    }
    Ok(url.trim_end_matches('/').to_owned())
}

impl Shared {
    /// How browsers see the gateway. `None` where a request does not say.
    pub(super) fn origin(&self, head: Head<'_>) -> Option<String> {
        if let Some(origin) = &self.origin {
            return Some(origin.clone());
        }
        let host = std::str::from_utf8(host(head)).ok()?;
        let host: Authority = host.parse().ok().filter(|_| !host.contains('@'))?;
        let scheme = head.extensions.get::<Scheme>().copied().unwrap_or_default();
        Some(format!("{}://{host}", scheme.as_str()))
    }

    pub(super) fn opened(&self, headers: &HeaderMap) -> Option<(Session, bool)> {
        self.cookies.session(headers, |sealed| {
            let opened = self.sealer.open(Purpose::Session, sealed)?;
            Some((serde_json::from_slice(&opened.value).ok()?, opened.old_key))
        })
    }

    /// The value of a session's cookie. The ID token, which only makes a logout smoother, may have to go; what is
    /// too large even so is told by its length.
    pub(super) fn sealed(&self, session: &mut Session) -> Result<String, usize> {
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

    pub(super) fn passed(
        &self,
        session: Session,
        sealed: Option<&str>,
        had: &HeaderMap,
        now: f64,
    ) -> Verdict {
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
    pub(super) fn kept(&self, mut claims: Map<String, Value>) -> Map<String, Value> {
        let keeps = |name: &str| {
            let names = self.settings.claims.iter().chain(&self.settings.principal);
            name == "sub" || names.into_iter().any(|kept| kept == name)
        };
        claims.retain(|name, _| keeps(name));
        claims
    }

    pub(super) fn session(&self, claims: Map<String, Value>, tokens: Tokens, now: f64) -> Session {
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
    pub(super) fn without_session(self: &Arc<Self>, head: Head<'_>) -> Check {
        if is_navigation(head.method, head.headers) {
            let target = head.uri.path_and_query().map_or("/", |target| target.as_str());
            return self.begin(head, return_path(target), Verdict::Login);
        }
        Check::Done(match self.cookies.has_session(head.headers) {
            true => Verdict::Login(self.unauthorized("the session has ended, or is none of ours").into()),
            false => Verdict::Absent,
        })
    }

    pub(super) fn unauthorized(&self, why: impl Into<std::borrow::Cow<'static, str>>) -> Problem {
        let problem = Problem::new(Code::InvalidCredentials).with_detail(why);
        problem.with_header(WWW_AUTHENTICATE, self.challenge.clone())
    }
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
