//! The database: one schema and one set of statements for SQLite and PostgreSQL.
//!
//! Whatever must be seen by one only begins its transaction with a write: in SQLite that takes the file's lock, in
//! PostgreSQL the row's, and who comes second sees what the first did.

use crate::{IdentityError, OpenError, Secret};
use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::{AnyPool, ConnectOptions, Executor, SqlSafeStr};
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;
use tokio::sync::Semaphore;

mod keys;
mod sessions;
mod throttles;
mod users;
pub(crate) use keys::KeyRow;
pub(crate) use sessions::{Rotation, SessionRow};

const MIGRATIONS: [(i64, &str, &str); 1] = [(1, "identity", include_str!("../migrations/0001_identity.sql"))];
/// Not sqlx's own table, which the services of a shared database may use.
const MIGRATIONS_TABLE: &str = "identity_migrations";

/// Who is refused hears it at once; nobody waits much longer for the reason of what took too long.
const ASKED_WHY: Duration = Duration::from_millis(200);

/// A pool of connections, and how long anything may take.
#[derive(Clone)]
pub(crate) struct Database {
    pool: AnyPool,
    /// In SQLite one writes at a time, and who finds the file locked tries again after a while, in no order: here they
    /// stand in line. The file's own lock is left for other processes.
    writers: Option<Arc<Semaphore>>,
    timeout: Duration,
    reach: Arc<Reach>,
}

/// Whether the database does what it is asked. The log hears of every change, and of nothing else.
struct Reach {
    /// Where it is, without user and password.
    at: String,
    away: AtomicU8,
}

/// What fails: as long as nothing can be written, that something can be read is no news.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    Reading,
    Writing,
}

const THERE: u8 = 0;
const AWAY: u8 = 1;
const AWAY_FOR_WRITES: u8 = 2;

impl Reach {
    fn at(at: String) -> Self {
        Self { at, away: AtomicU8::new(THERE) }
    }

    fn told<T>(&self, work: Work, result: &Result<T, IdentityError>) {
        let away = self.away.load(Ordering::Relaxed);
        match (result, away) {
            (Err(IdentityError::Unavailable(why)), _) => {
                let now = if work == Work::Writing { AWAY_FOR_WRITES } else { AWAY };
                if self.away.fetch_max(now, Ordering::Relaxed) == THERE {
                    tracing::warn!(at = self.at, why, "the database of accounts is away");
                }
            }
            (_, THERE) => {}
            (_, AWAY_FOR_WRITES) if work == Work::Reading => {}
            _ => {
                if self.away.swap(THERE, Ordering::Relaxed) != THERE {
                    tracing::info!(at = self.at, "the database of accounts answers again");
                }
            }
        }
    }
}

impl Database {
    pub(crate) async fn open(at: &Secret, connections: u32, timeout: Duration) -> Result<Self, OpenError> {
        let failed = |error: &dyn std::fmt::Display| OpenError::Database(error.to_string());
        sqlx::any::install_default_drivers();
        let url = at.expose();
        let postgres = url.starts_with("postgres://") || url.starts_with("postgresql://");
        let url = if postgres { url.to_owned() } else { sqlite(url)? };
        // Statements without their values; sqlx would show them at `debug`.
        let options = url
            .parse::<AnyConnectOptions>()
            // The parser may quote the URL, which holds a password.
            .map_err(|_| {
                OpenError::Database("`database` is no URL such as postgres://user@host/name".into())
            })?
            .disable_statement_logging();
        let pool = AnyPoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(timeout)
            .after_connect(move |connection, _| {
                Box::pin(async move {
                    if !postgres {
                        connection.execute("PRAGMA journal_mode = WAL").await?;
                        connection.execute("PRAGMA busy_timeout = 5000").await?;
                        connection.execute("PRAGMA foreign_keys = ON").await?;
                    }
                    Ok(())
                })
            })
            // What SQLite rolls back by itself, as on a full disk, confuses who counts transactions: one that is left open
            // would keep everybody else from writing for as long as the process lives.
            .after_release(move |connection, _| {
                Box::pin(async move { Ok(postgres || connection.execute("ROLLBACK").await.is_err()) })
            })
            .connect_lazy_with(options);
        let writers = (!postgres).then(|| Arc::new(Semaphore::new(1)));
        let database = Self { pool, writers, timeout, reach: Arc::new(Reach::at(shown(at.expose()))) };
        if let Err(error) = database.pool.acquire().await {
            let why = match error {
                sqlx::Error::PoolTimedOut => database.no_connection().await,
                other => other.to_string(),
            };
            return Err(OpenError::Database(format!("{}: {why}", database.reach.at)));
        }
        database.migrate().await.map_err(|error| failed(&error))?;
        Ok(database)
    }

    async fn migrate(&self) -> Result<(), sqlx::migrate::MigrateError> {
        let migrations = MIGRATIONS.map(|(version, name, sql)| {
            Migration::new(version, name.into(), MigrationType::Simple, sql.into_sql_str(), false)
        });
        let mut migrator = Migrator::with_migrations(migrations.into());
        migrator.dangerous_set_table_name(MIGRATIONS_TABLE);
        match migrator.run(&self.pool).await {
            Ok(()) => Ok(()),
            // SQLite has no lock for this: another process may have been faster, which shows the second time.
            Err(_) => migrator.run(&self.pool).await,
        }
    }

    /// [Does](Self::run) something that writes.
    async fn write<T>(&self, work: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, IdentityError> {
        self.within(Work::Writing, async {
            let _turn = match &self.writers {
                // Never closed.
                Some(writers) => Some(writers.acquire().await.map_err(|_| sqlx::Error::PoolClosed)?),
                None => None,
            };
            work.await
        })
        .await
    }

    /// [Does](Self::within) something that only reads.
    async fn run<T>(&self, work: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, IdentityError> {
        self.within(Work::Reading, work).await
    }

    /// Does something within the time, and says of a failure whether the database is away or the fault is ours.
    async fn within<T>(
        &self,
        kind: Work,
        work: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T, IdentityError> {
        let limit = gateway_core::units::Timespan(self.timeout);
        let result = match tokio::time::timeout(self.timeout, work).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(sqlx::Error::PoolTimedOut)) => {
                let why =
                    if self.is_away() { "no connection".to_owned() } else { self.no_connection().await };
                Err(IdentityError::Unavailable(why))
            }
            Ok(Err(error)) => Err(classify(&error)),
            Err(_) => Err(IdentityError::Unavailable(format!("no answer within {limit}"))),
        };
        self.reach.told(kind, &result);
        result
    }

    /// Why there is none. The pool goes on trying where connections are refused, and then only knows that it is late.
    async fn no_connection(&self) -> String {
        let limit = gateway_core::units::Timespan(self.timeout);
        let options = self.pool.connect_options();
        match tokio::time::timeout(ASKED_WHY, options.connect()).await {
            Ok(Err(error)) => format!("no connection within {limit}: {error}"),
            Ok(Ok(_)) | Err(_) => format!("no connection within {limit}"),
        }
    }

    /// Whether it did not do what it was asked last.
    pub(crate) fn is_away(&self) -> bool {
        self.reach.away.load(Ordering::Relaxed) != THERE
    }
}

/// Without user, password and parameters.
fn shown(url: &str) -> String {
    let url = url.split('?').next().unwrap_or_default();
    let scheme = url.find("://").map_or("", |end| &url[..end + 3]);
    let place = &url[scheme.len()..];
    format!("{scheme}{}", place.rsplit_once('@').map_or(place, |(_, place)| place))
}

/// The URL of an SQLite file, which is made here so that only its owner may read it.
fn sqlite(path: &str) -> Result<String, OpenError> {
    let path = path.strip_prefix("sqlite://").or_else(|| path.strip_prefix("sqlite:")).unwrap_or(path);
    let failed = |error: std::io::Error| OpenError::Database(format!("{path}: {error}"));
    let absolute = std::path::absolute(Path::new(path)).map_err(failed)?;
    let mut options = std::fs::OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(&absolute).map_err(failed)?;
    let mut url = "sqlite://".to_owned();
    for byte in absolute.to_string_lossy().bytes() {
        match byte {
            b'/' | b'-' | b'.' | b'_' | b'~' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => {
                url.push(char::from(byte));
            }
            other => url.push_str(&format!("%{other:02X}")),
        }
    }
    Ok(url)
}

/// Whether the database says by this code that it can do nothing now, whatever it was asked.
fn is_away(code: &str) -> bool {
    if code.len() == 5 {
        // PostgreSQL: 08 connections, 53 resources such as the disk, 57P it is shutting down or starting, 25006 it is one
        // that only reads, as after a fail-over.
        return ["08", "53", "57P", "25006"].iter().any(|class| code.starts_with(class));
    }
    // SQLite: busy, locked, it may only be read, input and output failed, the disk is full, the file cannot be opened. What
    // is above the lowest byte says more.
    code.parse::<u32>().is_ok_and(|code| matches!(code & 0xff, 5 | 6 | 8 | 10 | 13 | 14))
}

fn classify(error: &sqlx::Error) -> IdentityError {
    use sqlx::Error;
    match error {
        Error::Database(inner) if inner.is_unique_violation() => {
            // Both name the column: SQLite as `identity_users.username_key`, PostgreSQL in the constraint's name.
            let text = inner.constraint().unwrap_or_default().to_owned() + inner.message();
            let pointer = if text.contains("username_key") { "/username" } else { "/email" };
            IdentityError::Taken { pointer }
        }
        Error::Database(inner) => {
            let code = inner.code().unwrap_or_default();
            // PostgreSQL: a text with a NUL in it. There is nothing of such a name.
            if code == "22021" {
                return IdentityError::NotFound("account");
            }
            if is_away(&code) {
                IdentityError::Unavailable(inner.message().to_owned())
            } else {
                IdentityError::Internal(format!("{code}: {}", inner.message()))
            }
        }
        Error::Io(_)
        | Error::Tls(_)
        | Error::PoolTimedOut
        | Error::PoolClosed
        | Error::WorkerCrashed
        | Error::Protocol(_) => IdentityError::Unavailable(error.to_string()),
        other => IdentityError::Internal(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_that_only_reads_stays_away_until_it_writes() {
        let away = || Err::<(), _>(IdentityError::Unavailable(String::new()));
        for (told, expected) in [
            (vec![(Work::Reading, away())], true),
            (vec![(Work::Reading, away()), (Work::Reading, Ok(()))], false),
            (vec![(Work::Reading, away()), (Work::Writing, Err(IdentityError::NotFound("account")))], false),
            (vec![(Work::Writing, away()), (Work::Reading, Ok(()))], true),
            (vec![(Work::Writing, away()), (Work::Reading, Ok(())), (Work::Writing, Ok(()))], false),
            (vec![(Work::Reading, away()), (Work::Writing, away()), (Work::Reading, Ok(()))], true),
        ] {
            let reach = Reach::at(String::new());
            told.iter().for_each(|(work, result)| reach.told(*work, result));
            assert_eq!(reach.away.load(Ordering::Relaxed) != THERE, expected, "{told:?}");
        }
    }

    #[test]
    fn where_it_is_is_told_without_secrets() {
        for (url, expected) in [
            ("postgres://ada:p@ss@db:5432/gateway?password=x", "postgres://db:5432/gateway"),
            ("postgres://db/gateway", "postgres://db/gateway"),
            ("sqlite://identity.db?mode=rwc", "sqlite://identity.db"),
            ("identity.db", "identity.db"),
        ] {
            assert_eq!(shown(url), expected);
        }
    }

    #[test]
    fn a_database_that_can_do_nothing_now_is_away_and_a_mistake_of_ours_is_not() {
        for code in [
            "08006", "53100", "53300", "57P01", "57P03", "25006", "5", "261", "517", "8", "1032", "10",
            "778", "13", "14",
        ] {
            assert!(is_away(code), "{code}");
        }
        for code in ["", "23505", "42601", "42P01", "25P02", "57014", "1", "11", "19", "2067", "20"] {
            assert!(!is_away(code), "{code}");
        }
    }
}
