use crate::IdentityError;
use crate::Secret;
use crate::db::SessionRow;
use gateway_core::BoxError;
use serde::Serialize;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use utoipa::ToSchema;

/// What a session begins with and is renewed to (RFC 6749 §5.1).
#[derive(Clone, Debug)]
pub struct Tokens {
    /// A signed token, for a short time.
    pub access_token: Secret,
    /// How long the access token is good.
    pub expires_in: Duration,
    /// What renews the session, once.
    pub refresh_token: Secret,
    /// How long the refresh token is good.
    pub refresh_expires_in: Duration,
    /// The session.
    pub session_id: String,
}

/// From where somebody asks, as far as that is known.
#[derive(Clone, Debug, Default)]
pub struct Origin {
    /// The address: throttles count by it.
    pub address: Option<IpAddr>,
    /// What the client calls itself: shown in the list of sessions.
    pub user_agent: Option<String>,
}

/// Who asks, as an access token of a living session says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The account.
    pub user_id: String,
    /// The session.
    pub session_id: String,
    /// What it may do.
    pub roles: Vec<String>,
    pub(crate) admin: bool,
}

impl Caller {
    /// Whoever runs the process: an administrator without account and session, for commands and tests.
    #[must_use]
    pub fn operator() -> Self {
        Self { user_id: String::new(), session_id: String::new(), roles: Vec::new(), admin: true }
    }

    /// Whether the caller is an administrator.
    #[must_use]
    pub fn is_admin(&self) -> bool {
        self.admin
    }

    pub(crate) fn may(&self, user: &str) -> Result<(), IdentityError> {
        if self.admin || self.user_id == user { Ok(()) } else { Err(IdentityError::Forbidden) }
    }

    pub(crate) fn must_be_admin(&self) -> Result<(), IdentityError> {
        if self.admin { Ok(()) } else { Err(IdentityError::Forbidden) }
    }
}

/// A session as its owner sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Session {
    /// Its identifier: `sid` in its tokens.
    pub id: String,
    /// Whose it is.
    pub user_id: String,
    /// When it began, in milliseconds since 1970.
    pub created_at: i64,
    /// When it was begun or renewed last, in milliseconds since 1970.
    pub last_used_at: i64,
    /// When it ends at the latest, in milliseconds since 1970.
    pub expires_at: i64,
    /// What the client called itself.
    pub user_agent: String,
    /// From where it was begun.
    pub address: String,
}

impl From<SessionRow> for Session {
    fn from(row: SessionRow) -> Self {
        let SessionRow { id, user_id, created_at, last_used_at, expires_at, user_agent, address, .. } = row;
        Self { id, user_id, created_at, last_used_at, expires_at, user_agent, address }
    }
}

/// A session that was ended while its access tokens may still be good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revoked {
    /// The session: `sid` in its tokens.
    pub session_id: String,
    /// Whose it was: `sub` in its tokens.
    pub user_id: String,
    /// Until when its tokens must be refused; after that they have expired.
    pub until: SystemTime,
}

impl Revoked {
    pub(crate) fn new(row: &SessionRow, now: i64, lifetime: Duration) -> Self {
        let at = u64::try_from(row.revoked_at.unwrap_or(now)).unwrap_or(0);
        Self {
            session_id: row.id.clone(),
            user_id: row.user_id.clone(),
            until: UNIX_EPOCH + Duration::from_millis(at) + lifetime,
        }
    }
}

/// Told of every session that is ended, before whoever asked for it is answered: so that the verifying side refuses
/// its access tokens from then on.
///
/// A failure is logged and does not undo the end of the session, which stands in the database:
/// [`Identity::revoked_sessions`](crate::Identity::revoked_sessions) lists what may have been missed.
pub trait RevocationSink: Send + Sync {
    /// Takes note.
    fn revoked<'a>(
        &'a self,
        revoked: &'a Revoked,
    ) -> Pin<Box<dyn Future<Output = Result<(), BoxError>> + Send + 'a>>;
}
