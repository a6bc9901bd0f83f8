//! What all requests of a login share: settings that were found good, and sessions as they are sealed and read.

use crate::client::proof::{secret_file, secret_or_file};
use crate::credential::challenge;
use crate::flight::Flights;
use crate::forward::key::host;
use crate::jwt::cache::Cache;
use crate::method::{Changes, Check, Head, Passed, Verdict};
use crate::oidc::cookies::{Cookies, MAX_SESSION};
use crate::oidc::navigation::{is_navigation, return_path};
use crate::oidc::provider::{Provider, Tokens};
use crate::oidc::renew::Refreshed;
use crate::oidc::seal::{Purpose, Sealer};
use crate::oidc::session::{Limits, Session};
use crate::oidc::settings::OidcSettings;
use crate::{AuthError, OneOrMany, remote};
use gateway_core::{AuthMethod, Code, KeyedHash, Principal, Problem, Scheme};
use http::header::{HeaderMap, HeaderValue, SET_COOKIE, WWW_AUTHENTICATE};
use http::uri::Authority;
use serde_json::{Map, Value};
use std::sync::Arc;

const RECENT_ENTRIES: usize = 10_000;

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
    pub(super) hasher: KeyedHash,
    pub(super) refreshing: Flights<Refreshed>,
    pub(super) refreshed: Cache<Refreshed>,
}

impl Shared {
    /// What these settings make, or what is wrong with them.
    pub(super) fn new(settings: &OidcSettings) -> Result<Self, AuthError> {
        let wrong = |key, why: String| AuthError::Oidc { key, why };
        if settings.issuer.is_empty() {
            return Err(wrong(
                "issuer",
                "is missing; expected the provider as it calls itself, such as https://login.example/realms/shop"
                    .to_owned(),
            ));
        }
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
        let secret = secret_or_file(
            "client_secret",
            settings.client_secret.as_deref(),
            settings.client_secret_file.as_deref(),
        )?;
        let owner = format!("{} {}", settings.client_id, settings.issuer);
        let form_action = settings.login_path.replace('"', "%22");
        Ok(Self {
            provider: Arc::new(Provider::new(settings, secret)?),
            sealer: Sealer::new(&secrets(settings)?, owner)?,
            cookies: Cookies::new(settings)?,
            limits: Limits::of(settings),
            scopes: settings.scopes.join(" "),
            origin,
            challenge: challenge("Cookie", &settings.realm, &format!(", form-action=\"{form_action}\"")),
            hasher: KeyedHash::default(),
            refreshing: Flights::default(),
            refreshed: Cache::new(RECENT_ENTRIES),
            settings: settings.clone(),
        })
    }

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
            return Check::Done(Verdict::Login(self.begin(head, return_path(target))));
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

fn secrets(settings: &OidcSettings) -> Result<Vec<Vec<u8>>, AuthError> {
    let bytes = |text: &str| text.as_bytes().to_vec();
    match (&settings.cookie_secret, &settings.cookie_secret_file) {
        (Some(OneOrMany::One(one)), _) => Ok(vec![bytes(one)]),
        (Some(OneOrMany::Many(many)), _) => Ok(many.iter().map(|one| bytes(one)).collect()),
        (None, Some(path)) => Ok(secret_file("cookie_secret", path)?
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .map(bytes)
            .collect()),
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
