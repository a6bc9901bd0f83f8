use super::Database;
use crate::IdentityError;
use crate::clock::Millis;
use crate::throttle::{Attempt, Policy};
use sqlx::Row;

impl Database {
    /// Counts an attempt before it is known how it ends, so that many at once are not all the first.
    pub(crate) async fn attempt(
        &self,
        name: &str,
        policy: &Policy,
        now: Millis,
    ) -> Result<Attempt, IdentityError> {
        self.write(async {
            let mut tx = self.pool.begin().await?;
            let row = sqlx::query(
                "INSERT INTO identity_throttles (name, failures, last_at, blocked_until) VALUES ($1, 1, $2, 0) \
                 ON CONFLICT (name) DO UPDATE SET \
                 failures = CASE WHEN identity_throttles.last_at <= $3 THEN 1 ELSE identity_throttles.failures + 1 \
                 END, last_at = $2 RETURNING failures, blocked_until",
            )
            .bind(name.to_owned())
            .bind(now)
            .bind(now.saturating_sub(policy.forget_after))
            .fetch_one(&mut *tx)
            .await?;
            let blocked_until: Millis = row.try_get("blocked_until")?;
            if blocked_until > now {
                // Dropped: an attempt that is refused does not count.
                return Ok(Attempt::Refused { until: blocked_until });
            }
            let wait = policy.wait_after(row.try_get("failures")?);
            if wait > 0 {
                sqlx::query("UPDATE identity_throttles SET blocked_until = $2 WHERE name = $1")
                    .bind(name.to_owned())
                    .bind(now.saturating_add(wait))
                    .execute(&mut *tx)
                    .await?;
            }
            tx.commit().await?;
            Ok(Attempt::Allowed)
        })
        .await
    }

    /// Forgets all attempts, or takes back one.
    pub(crate) async fn forgive(&self, name: &str, all: bool) -> Result<(), IdentityError> {
        let sql = if all {
            "DELETE FROM identity_throttles WHERE name = $1"
        } else {
            "UPDATE identity_throttles SET failures = failures - 1, blocked_until = 0 \
             WHERE name = $1 AND failures > 0"
        };
        self.write(async { sqlx::query(sql).bind(name.to_owned()).execute(&self.pool).await.map(drop) }).await
    }

    pub(crate) async fn purge_throttles(&self, before: Millis) -> Result<(), IdentityError> {
        self.write(async {
            sqlx::query("DELETE FROM identity_throttles WHERE last_at < $1")
                .bind(before)
                .execute(&self.pool)
                .await
                .map(drop)
        })
        .await
    }
}
