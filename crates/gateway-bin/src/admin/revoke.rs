//! Tokens that are good no more.

use super::{Admin, Answer, bytes_of, refused, text};
use futures_util::future::join_all;
use gateway_auth::Revocations;
use gateway_core::Code;
use gateway_identity::{Caller, Identity, IdentityError, Secret};
use gateway_store::StoreError;
use http::Request;
use hyper::body::Incoming;
use serde::Deserialize;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What is revoked, unless the body is a token.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
enum What {
    Token(String),
    /// All tokens with this `sid`.
    Session(String),
    /// The token with this `jti`.
    Id(String),
    /// All tokens of this `sub` that were issued until now, or before a time in seconds since 1970.
    #[serde(untagged)]
    Subject {
        subject: String,
        before: Option<u64>,
    },
}

impl Admin {
    /// `POST /revoke`: a token, or a table that says which.
    pub(super) async fn revoke(&self, request: Request<Incoming>) -> Answer {
        let view = self.view.load_full();
        let accounts = view.plan.identity.as_ref().and_then(|plan| plan.accounts.identity());
        if view.revocations.is_empty() {
            return refused(Code::NoRoute, "no [auth.jwt] is configured");
        }
        let body = match bytes_of(request).await {
            Ok(body) => body,
            Err(problem) => return problem.into_response(),
        };
        let Ok(body) = std::str::from_utf8(body.trim_ascii()) else {
            return refused(Code::BadRequest, "the body is not a token");
        };
        let what =
            if body.starts_with('{') { serde_json::from_str(body) } else { Ok(What::Token(body.to_owned())) };
        let Ok(what) = what else {
            let detail =
                "expected a token, or one of {\"session\": …}, {\"id\": …}, {\"subject\": …, \"before\": …}";
            return refused(Code::BadRequest, detail);
        };
        if let Err(why) = what.check() {
            return refused(Code::BadRequest, why);
        }
        // Which of them the token is for is not asked: revoked is revoked. All at once: each counts here from the
        // start, however long another waits for its store.
        let told = join_all(view.revocations.iter().map(|one| what.revoke(one))).await;
        let ended = match accounts {
            Some(accounts) => what.end(accounts).await,
            None => Ok(()),
        };
        match (told.into_iter().collect::<Result<(), _>>(), ended) {
            (Ok(()), Ok(())) => text("revoked\n"),
            // This process refuses the token; the others have not been told.
            (Err(error), _) => refused(Code::StoreUnavailable, &error.to_string()),
            // Its session goes on, and may be renewed.
            (_, Err(error)) => refused(Code::StoreUnavailable, &format!("the accounts: {error}")),
        }
    }
}

impl What {
    /// Whether there is anything to revoke, or why not: nobody must believe that somebody is out who is not.
    fn check(&self) -> Result<(), &'static str> {
        match self {
            Self::Token(token) if !Revocations::is_token(token) => Err("the body is not a token"),
            Self::Session(text) | Self::Id(text) | Self::Subject { subject: text, .. } if text.is_empty() => {
                Err("the text is empty; expected what stands in the token")
            }
            Self::Subject { before: Some(before), .. } if time(*before).is_none() => {
                Err("`before` is to come; expected seconds since 1970")
            }
            _ => Ok(()),
        }
    }

    /// Ends the sessions that are the gateway's own: else their refresh tokens would make new tokens.
    async fn end(&self, accounts: &Identity) -> Result<(), IdentityError> {
        let operator = Caller::operator();
        match self {
            Self::Token(token) => accounts.revoke_token(&Secret::new(token.as_str())).await,
            Self::Session(sid) => end_session(accounts, sid).await,
            // Of a token alone; its session is not known by it.
            Self::Id(_) => Ok(()),
            Self::Subject { subject, before: None } => {
                accounts.end_sessions(&operator, subject).await.map(drop)
            }
            Self::Subject { subject, before: Some(before) } => {
                let before = i64::try_from(before.saturating_mul(1000)).unwrap_or(i64::MAX);
                for session in accounts.sessions(&operator, subject).await? {
                    if session.created_at < before {
                        end_session(accounts, &session.id).await?;
                    }
                }
                Ok(())
            }
        }
    }

    async fn revoke(&self, revocations: &Revocations) -> Result<(), StoreError> {
        match self {
            Self::Token(token) => revocations.revoke(token).await,
            Self::Session(sid) => revocations.revoke_session(sid, None).await,
            Self::Id(jti) => revocations.revoke_id(jti, None).await,
            Self::Subject { subject, before } => {
                let before = before.and_then(time).unwrap_or_else(SystemTime::now);
                revocations.revoke_subject(subject, before, None).await
            }
        }
    }
}

async fn end_session(accounts: &Identity, sid: &str) -> Result<(), IdentityError> {
    match accounts.end_session(&Caller::operator(), sid).await {
        // It is that of another issuer, or gone.
        Err(IdentityError::NotFound(_)) => Ok(()),
        ended => ended,
    }
}

/// The time of so many seconds since 1970, unless it is to come. Clocks may be a little apart.
fn time(seconds: u64) -> Option<SystemTime> {
    const APART: Duration = Duration::from_secs(60);
    let time = UNIX_EPOCH.checked_add(Duration::from_secs(seconds))?;
    (time <= SystemTime::now() + APART).then_some(time)
}
