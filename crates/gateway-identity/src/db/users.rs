use super::Database;
use crate::clock::Millis;
use crate::{IdentityError, User};
use sqlx::Row;
use sqlx::any::AnyRow;

pub(super) fn user(row: &AnyRow) -> Result<User, sqlx::Error> {
    let json = |column: &str| -> Result<String, sqlx::Error> { row.try_get(column) };
    Ok(User {
        id: row.try_get("id")?,
        email: row.try_get("email")?,
        username: row.try_get("username")?,
        profile: serde_json::from_str(&json("profile")?).unwrap_or_default(),
        roles: serde_json::from_str(&json("roles")?).unwrap_or_default(),
        disabled: row.try_get::<i64, _>("disabled")? != 0,
        created_at: row.try_get("created_at")?,
        updated_at: row.try_get("updated_at")?,
    })
}

/// Under what a name is found: addresses and user names do not differ by case.
pub(crate) fn key(name: &str) -> String {
    name.trim().to_lowercase()
}

fn json<T: serde::Serialize>(value: &T) -> String {
    // Texts and maps always serialise.
    serde_json::to_string(value).unwrap_or_default()
}

impl Database {
    pub(crate) async fn insert_user(&self, user: &User, password: &str) -> Result<(), IdentityError> {
        self.write(async {
            sqlx::query(
                "INSERT INTO identity_users (id, email, email_key, username, username_key, password, profile, roles, \
                 disabled, created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
            )
            .bind(user.id.clone())
            .bind(user.email.clone())
            .bind(key(&user.email))
            .bind(user.username.clone())
            .bind(user.username.as_deref().map(key))
            .bind(password.to_owned())
            .bind(json(&user.profile))
            .bind(json(&user.roles))
            .bind(i64::from(user.disabled))
            .bind(user.created_at)
            .bind(user.updated_at)
            .execute(&self.pool)
            .await
            .map(drop)
        })
        .await
    }

    /// The account with this address or user name, and its password's hash.
    pub(crate) async fn user_by_login(&self, login: &str) -> Result<Option<(User, String)>, IdentityError> {
        let key = key(login);
        // User names have no `@`, addresses have one.
        let sql = if key.contains('@') {
            "SELECT * FROM identity_users WHERE email_key = $1"
        } else {
            "SELECT * FROM identity_users WHERE username_key = $1"
        };
        self.run(async {
            let row = sqlx::query(sql).bind(key).fetch_optional(&self.pool).await?;
            row.map(|row| Ok((user(&row)?, row.try_get("password")?))).transpose()
        })
        .await
    }

    pub(crate) async fn user(&self, id: &str) -> Result<Option<(User, String)>, IdentityError> {
        self.run(async {
            let row = sqlx::query("SELECT * FROM identity_users WHERE id = $1")
                .bind(id.to_owned())
                .fetch_optional(&self.pool)
                .await?;
            row.map(|row| Ok((user(&row)?, row.try_get("password")?))).transpose()
        })
        .await
    }

    /// Accounts in the order they were made, after one of them.
    pub(crate) async fn users(&self, after: &str, limit: i64) -> Result<Vec<User>, IdentityError> {
        self.run(async {
            let rows = sqlx::query("SELECT * FROM identity_users WHERE id > $1 ORDER BY id LIMIT $2")
                .bind(after.to_owned())
                .bind(limit)
                .fetch_all(&self.pool)
                .await?;
            rows.iter().map(user).collect()
        })
        .await
    }

    /// Changes an account while nobody else does, with another password's hash if there is one; what it was before, and
    /// is now. `None`: it is gone.
    pub(crate) async fn update_user(
        &self,
        id: &str,
        password: Option<&str>,
        now: Millis,
        change: impl FnOnce(&mut User),
    ) -> Result<Option<(User, User)>, IdentityError> {
        self.write(async {
            let mut tx = self.pool.begin().await?;
            let row = sqlx::query("UPDATE identity_users SET updated_at = $2 WHERE id = $1 RETURNING *")
                .bind(id.to_owned())
                .bind(now)
                .fetch_optional(&mut *tx)
                .await?;
            let Some(row) = row else { return Ok(None) };
            let before = user(&row)?;
            let mut after = before.clone();
            change(&mut after);
            sqlx::query(
                "UPDATE identity_users SET email = $2, email_key = $3, username = $4, username_key = $5, \
                 profile = $6, roles = $7, disabled = $8 WHERE id = $1",
            )
            .bind(id.to_owned())
            .bind(after.email.clone())
            .bind(key(&after.email))
            .bind(after.username.clone())
            .bind(after.username.as_deref().map(key))
            .bind(json(&after.profile))
            .bind(json(&after.roles))
            .bind(i64::from(after.disabled))
            .execute(&mut *tx)
            .await?;
            if let Some(password) = password {
                sqlx::query("UPDATE identity_users SET password = $2 WHERE id = $1")
                    .bind(id.to_owned())
                    .bind(password.to_owned())
                    .execute(&mut *tx)
                    .await?;
            }
            tx.commit().await?;
            Ok(Some((before, after)))
        })
        .await
    }

    /// Puts another hash in the place of a known one; whether it was still there.
    pub(crate) async fn replace_password(
        &self,
        id: &str,
        old: &str,
        new: &str,
    ) -> Result<bool, IdentityError> {
        self.write(async {
            sqlx::query("UPDATE identity_users SET password = $3 WHERE id = $1 AND password = $2")
                .bind(id.to_owned())
                .bind(old.to_owned())
                .bind(new.to_owned())
                .execute(&self.pool)
                .await
                .map(|done| done.rows_affected() > 0)
        })
        .await
    }

    pub(crate) async fn delete_user(&self, id: &str) -> Result<bool, IdentityError> {
        self.write(async {
            sqlx::query("DELETE FROM identity_users WHERE id = $1")
                .bind(id.to_owned())
                .execute(&self.pool)
                .await
                .map(|done| done.rows_affected() > 0)
        })
        .await
    }
}
