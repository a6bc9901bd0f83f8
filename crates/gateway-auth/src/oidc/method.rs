use crate::AuthError;
use crate::jwt::remote as keys;
use crate::method::{Check, Head, Method};
use crate::oidc::flow::answered;
use crate::oidc::session::State;
use crate::oidc::settings::OidcSettings;
use crate::oidc::shared::Shared;
use crate::text::unix_now;
use gateway_core::{Code, Problem};
use gateway_store::Store;
use http::header::{ALLOW, HeaderValue};
use http::request;
use std::fmt;
use std::future::Future;
use std::sync::Arc;

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
        Ok(Self { shared: Arc::new(Shared::new(settings)?), store })
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

    fn answered(&self) -> Option<bool> {
        Some(self.shared.provider.answered())
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
