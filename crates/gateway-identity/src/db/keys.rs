use super::Database;
use crate::IdentityError;
use crate::clock::Millis;
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row};

/// A signing key as it stands in the database, its private part perhaps sealed.
#[derive(Clone)]
pub(crate) struct KeyRow {
    pub(crate) kid: String,
    pub(crate) algorithm: String,
    pub(crate) private: String,
    pub(crate) created_at: Millis,
    pub(crate) signs_from: Millis,
}

/// Whoever comes later waits here. The number tells keys apart that sign from the same time.
const LOCK: &str =
    "UPDATE identity_locks SET version = version + 1 WHERE name = 'signing-keys' RETURNING version";
const ALL: &str = "SELECT * FROM identity_signing_keys ORDER BY signs_from, sequence";

fn rows(rows: &[AnyRow]) -> Result<Vec<KeyRow>, sqlx::Error> {
    let row = |row: &AnyRow| {
        Ok(KeyRow {
            kid: row.try_get("kid")?,
            algorithm: row.try_get("algorithm")?,
            private: row.try_get("private")?,
            created_at: row.try_get("created_at")?,
            signs_from: row.try_get("signs_from")?,
        })
    };
    rows.iter().map(row).collect()
}

impl Database {
    /// All keys, the one that signs from the latest time last.
    pub(crate) async fn keys(&self) -> Result<Vec<KeyRow>, IdentityError> {
        self.run(async { rows(&sqlx::query(ALL).fetch_all(&self.pool).await?) }).await
    }

    /// Lets one instance at a time see the keys and say which to add and which to remove; all keys after that.
    pub(crate) async fn change_keys(
        &self,
        change: impl FnOnce(&[KeyRow]) -> (Option<KeyRow>, Vec<String>),
    ) -> Result<Vec<KeyRow>, IdentityError> {
        self.write(async {
            let mut tx = self.pool.begin().await?;
            let sequence: i64 = sqlx::query(LOCK).fetch_one(&mut *tx).await?.try_get(0)?;
            let (new, gone) = change(&rows(&sqlx::query(ALL).fetch_all(&mut *tx).await?)?);
            for kid in gone {
                sqlx::query("DELETE FROM identity_signing_keys WHERE kid = $1")
                    .bind(kid)
                    .execute(&mut *tx)
                    .await?;
            }
            if let Some(new) = new {
                insert(&mut tx, new, sequence).await?;
            }
            let all = rows(&sqlx::query(ALL).fetch_all(&mut *tx).await?)?;
            tx.commit().await?;
            Ok(all)
        })
        .await
    }
}

async fn insert(connection: &mut AnyConnection, key: KeyRow, sequence: i64) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO identity_signing_keys (kid, algorithm, private, created_at, signs_from, sequence) \
         VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(key.kid)
    .bind(key.algorithm)
    .bind(key.private)
    .bind(key.created_at)
    .bind(key.signs_from)
    .bind(sequence)
    .execute(connection)
    .await
    .map(drop)
}
