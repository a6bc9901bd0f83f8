//! Tokens that are good no more.

use super::{Admin, Answer, bytes_of, refused, text};
use gateway_auth::Revocations;
use gateway_core::Code;
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
        // Which of them the token is for is not asked: revoked is revoked.
        let mut failed = None;
        for revocations in &view.revocations {
            if let Err(error) = what.revoke(revocations).await {
                failed = Some(error);
            }
        }
        match failed {
            None => text("revoked\n"),
            // This process refuses the token; the others have not been told.
            Some(error) => refused(Code::StoreUnavailable, &error.to_string()),
        }
    }
}

impl What {
    async fn revoke(&self, revocations: &Revocations) -> Result<(), StoreError> {
        match self {
            Self::Token(token) => revocations.revoke(token).await,
            Self::Session(sid) => revocations.revoke_session(sid, None).await,
            Self::Id(jti) => revocations.revoke_id(jti, None).await,
            Self::Subject { subject, before } => {
                let before =
                    before.map_or_else(SystemTime::now, |before| UNIX_EPOCH + Duration::from_secs(before));
                revocations.revoke_subject(subject, before, None).await
            }
        }
    }
}
