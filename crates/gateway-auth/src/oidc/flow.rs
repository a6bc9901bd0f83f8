//! What is answered on the way to the provider and back.

use super::shared::Shared;
use crate::method::{self, Check, Head, Refusal, Verdict};
use crate::oidc::cookies::MAX_SESSION;
use crate::oidc::login::{Callback, Login, Refused, with_query};
use crate::oidc::navigation::return_path;
use crate::oidc::provider::Failure;
use crate::oidc::seal::Purpose;
use crate::oidc::session::State;
use crate::remote;
use crate::text::{sha256, unix_now};
use bytes::Bytes;
use gateway_core::{Code, Problem};
use gateway_store::Store;
use http::header::{CACHE_CONTROL, HeaderMap, HeaderName, HeaderValue, LOCATION, SET_COOKIE};
use http::{Response, StatusCode};
use std::sync::Arc;

impl Shared {
    /// Sends a browser to the provider.
    pub(super) fn begin(self: &Arc<Self>, head: Head<'_>, return_to: &str) -> method::Login {
        let Some(origin) = self.origin(head) else {
            let problem = Problem::new(Code::BadRequest).with_detail("the request does not say its host");
            return problem.into();
        };
        let timeout = self.settings.login_timeout.as_secs();
        let redirect_uri = format!("{origin}{}", self.settings.callback_path);
        let login = Login::begin(return_to, redirect_uri, unix_now() + timeout as f64);
        let begun = login.and_then(|login| {
            let sealed = self.sealer.seal(Purpose::Login, &serde_json::to_vec(&login).ok()?)?;
            Some((self.cookies.keep_login(&login.state, &sealed, timeout, head.headers), login))
        });
        let Some((set, login)) = begun else {
            return Problem::new(Code::InternalError).into();
        };
        let shared = self.clone();
        method::Login::wait(async move {
            match shared.provider.configuration().await {
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
            }
        })
    }

    /// What `login_path` answers.
    pub(super) fn login(self: &Arc<Self>, head: Head<'_>) -> Check {
        let query = head.uri.query().unwrap_or_default();
        let given = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "return_to");
        let given = given.map_or("/".into(), |(_, value)| value);
        let return_to = return_path(&given);
        let state = self.opened(head.headers).map(|(session, _)| self.limits.state(&session, unix_now()));
        match state {
            Some(State::Good | State::Used) => {
                Check::Done(answered(redirect(StatusCode::FOUND, return_to, Vec::new())))
            }
            _ => {
                let login = self.begin(head, return_to);
                Check::wait(async move { answered(login.answer().await) })
            }
        }
    }

    /// What `logout_path` answers.
    pub(super) fn logout(self: &Arc<Self>, head: Head<'_>) -> Check {
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
    pub(super) fn callback(self: &Arc<Self>, head: Head<'_>, store: &Store) -> Check {
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

pub(super) fn answered(refusal: Refusal) -> Verdict {
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
