use super::Database;
use super::users::user;
use crate::clock::Millis;
use crate::{IdentityError, User};
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row};

/// A session as it stands in the database.
#[derive(Clone, Debug)]
pub(crate) struct SessionRow {
    pub(crate) id: String,
    pub(crate) user_id: String,
    pub(crate) created_at: Millis,
    pub(crate) last_used_at: Millis,
    pub(crate) expires_at: Millis,
    pub(crate) revoked_at: Option<Millis>,
    pub(crate) user_agent: String,
    pub(crate) address: String,
}

fn session(row: &AnyRow) -> Result<SessionRow, sqlx::Error> {
    Ok(SessionRow {
        id: row.try_get("id")?,
        user_id: row.try_get("user_id")?,
        created_at: row.try_get("created_at")?,
        last_used_at: row.try_get("last_used_at")?,
        expires_at: row.try_get("expires_at")?,
        revoked_at: row.try_get("revoked_at")?,
        user_agent: row.try_get("user_agent")?,
        address: row.try_get("address")?,
    })
}

/// What became of a refresh token.
#[derive(Debug)]
pub(crate) enum Rotation {
    /// It was used now, for the first time.
    Rotated { session: SessionRow, salt: String, expires_at: Millis },
    /// It was used just before, and what followed it was not: the same again.
    Repeated { session: SessionRow, salt: String, expires_at: Millis },
    /// It was used before: its session has ended now.
    Replayed { session: SessionRow },
    /// It, or its session, has expired.
    Expired,
    /// Its session was ended.
    Revoked,
    /// Nobody was given it.
    Unknown,
}

impl Database {
    /// Begins a session for whoever knew the password with this hash: for an account that has it still, and is not
    /// disabled. The account as it is now; `None` where it has changed meanwhile, and nothing has begun.
    pub(crate) async fn insert_session(
        &self,
        session: &SessionRow,
        password: &str,
        refresh_hash: &str,
        refresh_expires: Millis,
    ) -> Result<Option<User>, IdentityError> {
        self.write(async {
            let mut tx = self.pool.begin().await?;
            // Nobody changes the account until the session is there to be ended.
            let row = sqlx::query(
                "UPDATE identity_users SET updated_at = updated_at \
                 WHERE id = $1 AND password = $2 AND disabled = 0 RETURNING *",
            )
            .bind(session.user_id.clone())
            .bind(password.to_owned())
            .fetch_optional(&mut *tx)
            .await?;
            let Some(user) = row.as_ref().map(user).transpose()? else { return Ok(None) };
            sqlx::query(
                "INSERT INTO identity_sessions (id, user_id, created_at, last_used_at, expires_at, user_agent, \
                 address) VALUES ($1, $2, $3, $4, $5, $6, $7)",
            )
            .bind(session.id.clone())
            .bind(session.user_id.clone())
            .bind(session.created_at)
            .bind(session.last_used_at)
            .bind(session.expires_at)
            .bind(session.user_agent.clone())
            .bind(session.address.clone())
            .execute(&mut *tx)
            .await?;
            insert_token(&mut tx, refresh_hash, &session.id, refresh_expires).await?;
            tx.commit().await?;
            Ok(Some(user))
        })
        .await
    }

    /// Uses a refresh token. `successor` says under what the next one stands, by the salt that makes it.
    pub(crate) async fn rotate(
        &self,
        hash: &str,
        salt: &str,
        now: Millis,
        grace: Millis,
        lifetime: Millis,
        successor: impl Fn(&str) -> String,
    ) -> Result<Rotation, IdentityError> {
        self.write(async {
            let mut tx = self.pool.begin().await?;
            let used = sqlx::query(
                "UPDATE identity_refresh_tokens SET used_at = $2, next_salt = $3 \
                 WHERE hash = $1 AND used_at IS NULL AND expires_at > $2 RETURNING session_id",
            )
            .bind(hash.to_owned())
            .bind(now)
            .bind(salt.to_owned())
            .fetch_optional(&mut *tx)
            .await?;
            let Some(used) = used else {
                let outcome = not_fresh(&mut tx, hash, now, grace, successor).await?;
                tx.commit().await?;
                return Ok(outcome);
            };
            let id: String = used.try_get("session_id")?;
            let alive = sqlx::query(
                "UPDATE identity_sessions SET last_used_at = $2 \
                 WHERE id = $1 AND revoked_at IS NULL AND expires_at > $2 RETURNING *",
            )
            .bind(id.clone())
            .bind(now)
            .fetch_optional(&mut *tx)
            .await?;
            let Some(alive) = alive else {
                let ended = read(&mut tx, &id).await?;
                return Ok(if ended.is_some_and(|s| s.revoked_at.is_some()) {
                    Rotation::Revoked
                } else {
                    Rotation::Expired
                });
            };
            let session = session(&alive)?;
            let expires_at = session.expires_at.min(now.saturating_add(lifetime));
            insert_token(&mut tx, &successor(salt), &id, expires_at).await?;
            tx.commit().await?;
            Ok(Rotation::Rotated { session, salt: salt.to_owned(), expires_at })
        })
        .await
    }

    /// The session of a refresh token, whatever became of the token.
    pub(crate) async fn session_of_token(&self, hash: &str) -> Result<Option<SessionRow>, IdentityError> {
        self.run(async {
            let row = sqlx::query(
                "SELECT s.* FROM identity_sessions s JOIN identity_refresh_tokens t ON t.session_id = s.id \
                 WHERE t.hash = $1",
            )
            .bind(hash.to_owned())
            .fetch_optional(&self.pool)
            .await?;
            row.as_ref().map(session).transpose()
        })
        .await
    }

    pub(crate) async fn session(&self, id: &str) -> Result<Option<SessionRow>, IdentityError> {
        self.run(async {
            let row = sqlx::query("SELECT * FROM identity_sessions WHERE id = $1")
                .bind(id.to_owned())
                .fetch_optional(&self.pool)
                .await?;
            row.as_ref().map(session).transpose()
        })
        .await
    }

    /// The sessions of a user that can still be renewed, the latest first.
    pub(crate) async fn sessions(&self, user: &str, now: Millis) -> Result<Vec<SessionRow>, IdentityError> {
        self.run(async {
            let rows = sqlx::query(
                "SELECT * FROM identity_sessions WHERE user_id = $1 AND revoked_at IS NULL AND expires_at > $2 \
                 ORDER BY created_at DESC, id DESC LIMIT 1000",
            )
            .bind(user.to_owned())
            .bind(now)
            .fetch_all(&self.pool)
            .await?;
            rows.iter().map(session).collect()
        })
        .await
    }

    /// The sessions that were ended after a time.
    pub(crate) async fn revoked_since(&self, since: Millis) -> Result<Vec<SessionRow>, IdentityError> {
        self.run(async {
            let rows =
                sqlx::query("SELECT * FROM identity_sessions WHERE revoked_at > $1 ORDER BY revoked_at")
                    .bind(since)
                    .fetch_all(&self.pool)
                    .await?;
            rows.iter().map(session).collect()
        })
        .await
    }

    /// Ends one session; `None` if it had ended, or never was.
    pub(crate) async fn revoke_session(
        &self,
        id: &str,
        now: Millis,
    ) -> Result<Option<SessionRow>, IdentityError> {
        self.write(async {
            let row = sqlx::query(
                "UPDATE identity_sessions SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL RETURNING *",
            )
            .bind(id.to_owned())
            .bind(now)
            .fetch_optional(&self.pool)
            .await?;
            row.as_ref().map(session).transpose()
        })
        .await
    }

    /// Ends all sessions of a user, but for one; those that it ended.
    pub(crate) async fn revoke_sessions(
        &self,
        user: &str,
        except: &str,
        now: Millis,
    ) -> Result<Vec<SessionRow>, IdentityError> {
        self.write(async {
            let rows = sqlx::query(
                "UPDATE identity_sessions SET revoked_at = $3 \
                 WHERE user_id = $1 AND id <> $2 AND revoked_at IS NULL AND expires_at > $3 RETURNING *",
            )
            .bind(user.to_owned())
            .bind(except.to_owned())
            .bind(now)
            .fetch_all(&self.pool)
            .await?;
            rows.iter().map(session).collect()
        })
        .await
    }

    /// Removes what no answer depends on any more: sessions and tokens that are over since before a time.
    pub(crate) async fn purge(&self, before: Millis) -> Result<u64, IdentityError> {
        self.write(async {
            let mut gone = 0;
            for sql in [
                "DELETE FROM identity_refresh_tokens WHERE expires_at < $1",
                "DELETE FROM identity_sessions WHERE expires_at < $1 OR revoked_at < $1",
            ] {
                gone += sqlx::query(sql).bind(before).execute(&self.pool).await?.rows_affected();
            }
            Ok(gone)
        })
        .await
    }
}

async fn insert_token(
    connection: &mut AnyConnection,
    hash: &str,
    session: &str,
    expires_at: Millis,
) -> Result<(), sqlx::Error> {
    sqlx::query("INSERT INTO identity_refresh_tokens (hash, session_id, expires_at) VALUES ($1, $2, $3)")
        .bind(hash.to_owned())
        .bind(session.to_owned())
        .bind(expires_at)
        .execute(connection)
        .await
        .map(drop)
}

async fn read(connection: &mut AnyConnection, id: &str) -> Result<Option<SessionRow>, sqlx::Error> {
    let row = sqlx::query("SELECT * FROM identity_sessions WHERE id = $1")
        .bind(id.to_owned())
        .fetch_optional(connection)
        .await?;
    row.as_ref().map(session).transpose()
}

/// What a token is that cannot be used for the first time.
async fn not_fresh(
    connection: &mut AnyConnection,
    hash: &str,
    now: Millis,
    grace: Millis,
    successor: impl Fn(&str) -> String,
) -> Result<Rotation, sqlx::Error> {
    const TOKEN: &str =
        "SELECT session_id, used_at, next_salt, expires_at FROM identity_refresh_tokens WHERE hash = $1";
    let token = sqlx::query(TOKEN).bind(hash.to_owned()).fetch_optional(&mut *connection).await?;
    let Some(token) = token else { return Ok(Rotation::Unknown) };
    let id: String = token.try_get("session_id")?;
    let Some(session) = read(connection, &id).await? else { return Ok(Rotation::Unknown) };
    if session.revoked_at.is_some() {
        return Ok(Rotation::Revoked);
    }
    let used_at: Option<Millis> = token.try_get("used_at")?;
    let salt: Option<String> = token.try_get("next_salt")?;
    let (Some(used_at), Some(salt)) = (used_at, salt) else { return Ok(Rotation::Expired) };
    if session.expires_at <= now {
        return Ok(Rotation::Expired);
    }
    let next = sqlx::query(TOKEN).bind(successor(&salt)).fetch_optional(&mut *connection).await?;
    if let Some(next) = next {
        let unused = next.try_get::<Option<Millis>, _>("used_at")?.is_none();
        let expires_at: Millis = next.try_get("expires_at")?;
        if unused && now <= used_at.saturating_add(grace) && expires_at > now {
            return Ok(Rotation::Repeated { session, salt, expires_at });
        }
    }
    sqlx::query("UPDATE identity_sessions SET revoked_at = $2 WHERE id = $1")
        .bind(id)
        .bind(now)
        .execute(connection)
        .await?;
    Ok(Rotation::Replayed { session })
}
