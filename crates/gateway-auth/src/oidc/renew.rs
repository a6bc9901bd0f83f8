//! A session whose access token ends soon: refreshed once, however many requests wait for it.

use super::shared::Shared;
use crate::method::{Check, Head, Verdict};
use crate::oidc::cookies::MAX_SESSION;
use crate::oidc::provider::Failure;
use crate::oidc::session::Session;
use crate::remote;
use crate::text::unix_now;
use serde_json::Value;
use std::sync::Arc;

/// How long the outcome of a refresh is given to requests that were sent before the browser knew of it, in seconds.
const RECENT: f64 = 60.0;
/// How long after a refresh that nobody answered the next one is tried, in seconds.
const AWAY: f64 = 5.0;

/// A session after it was refreshed, with its cookie's value.
#[derive(Clone)]
pub(super) enum Refreshed {
    Good(Arc<(Session, String)>),
    Ended,
    Away,
}

impl Shared {
    /// Has a session refreshed, once for all requests with it.
    pub(super) fn refresh(self: &Arc<Self>, session: Session, head: Head<'_>) -> Check {
        let token = session.refresh_token.clone().unwrap_or_default();
        let (key, shared, had) = (self.hasher.of(token.as_bytes()), self.clone(), head.headers.clone());
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
            // All of it, and nothing from before: what it no longer says, a group say, was taken away.
            claims = provider.verify(id_token, &tokens.access_token, None, subject).await?;
            if self.settings.userinfo
                && provider.add_userinfo(&configuration, &tokens.access_token, &mut claims).await.is_err()
            {
                // What it said last counts on: the old tokens are used up, and the session would be lost.
                before.claims.iter().for_each(|(name, value)| {
                    claims.entry(name.clone()).or_insert_with(|| value.clone());
                });
            }
        }
        let mut session = self.session(claims, tokens, unix_now());
        session.began = before.began;
        session.refresh_token = session.refresh_token.or_else(|| before.refresh_token.clone());
        session.id_token = session.id_token.or_else(|| before.id_token.clone());
        Ok(session)
    }
}
