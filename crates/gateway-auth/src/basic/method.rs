use crate::AuthError;
use crate::basic::settings::BasicSettings;
use crate::basic::users::Users;
use crate::credential::{Found, authorization, challenge};
use crate::flight::Flights;
use crate::method::{Check, Head, Method, Verdict};
use crate::text::unix_now;
use arc_swap::ArcSwap;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use gateway_core::{Code, Principal, Problem, Slot};
use http::header::{AUTHORIZATION, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, request};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::available_parallelism;
use std::time::{Duration, SystemTime};
use tokio::sync::Semaphore;

/// Longer ones are no passwords but attacks.
const MAX_CREDENTIALS: usize = 2048;

/// Recognises callers by user and password (RFC 7617). Clones share their users.
///
/// Checking a password takes tens of milliseconds by design. It happens on threads of their own, a bounded number at
/// once, so that a flood of logins cannot slow the workers; one that was right is remembered for a while; and one of
/// an unknown user takes as long as that of a known one, if all hashes are of one kind.
#[derive(Clone, Debug)]
pub struct BasicMethod(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    settings: BasicSettings,
    challenge: HeaderValue,
    users: ArcSwap<Users>,
    /// When the file was changed last, and how long it was.
    file_seen: Mutex<Option<(SystemTime, u64)>>,
    permits: Arc<Semaphore>,
    /// Those that wait and those that are checked.
    admitted: AtomicUsize,
    max_admitted: usize,
    flights: Flights<Outcome>,
    checks: AtomicU64,
}

#[derive(Clone, Debug)]
enum Outcome {
    Right(Principal),
    Wrong,
    Busy,
}

impl BasicMethod {
    /// A method with these users.
    ///
    /// # Errors
    /// There are none, one's hash is of another kind than bcrypt and argon2id, or the file cannot be used.
    pub fn new(settings: &BasicSettings) -> Result<Self, AuthError> {
        let half = available_parallelism().map_or(1, |cores| cores.get().div_ceil(2));
        let parallel = settings.max_parallel.unwrap_or(half).max(1);
        Ok(Self(Arc::new(Shared {
            challenge: challenge("Basic", &settings.realm, ", charset=\"UTF-8\""),
            file_seen: Mutex::new(seen(settings)),
            users: ArcSwap::from_pointee(Users::new(settings)?),
            permits: Arc::new(Semaphore::new(parallel)),
            admitted: AtomicUsize::new(0),
            max_admitted: parallel.saturating_add(settings.max_queued),
            flights: Flights::default(),
            checks: AtomicU64::new(0),
            settings: settings.clone(),
        })))
    }

    /// How many passwords were checked so far.
    #[must_use]
    pub fn checks(&self) -> u64 {
        self.0.checks.load(Ordering::Relaxed)
    }

    /// Reads the file if it has changed; returns whether it did. One that cannot be used is said so in the log, and
    /// the last good users stay.
    pub fn reread(&self) -> bool {
        let now = seen(&self.0.settings);
        let mut before = self.0.file_seen.lock().unwrap_or_else(PoisonError::into_inner);
        if *before == now {
            return false;
        }
        *before = now;
        match Users::new(&self.0.settings) {
            Ok(users) => self.0.users.store(Arc::new(users)),
            Err(error) => tracing::error!(%error, "the last good users stay"),
        }
        true
    }

    /// Follows the file for ever: run it in a task of its own.
    pub async fn keep_current(self) {
        let mut tick = tokio::time::interval((*self.0.settings.reload).max(Duration::from_millis(100)));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            self.reread();
        }
    }

    fn refused(&self, why: &'static str) -> Verdict {
        let problem = Problem::new(Code::InvalidCredentials).with_detail(why);
        Verdict::Refused(problem.with_header(WWW_AUTHENTICATE, self.0.challenge.clone()).into())
    }

    fn verdict(&self, outcome: Outcome) -> Verdict {
        match outcome {
            Outcome::Right(principal) => Verdict::passed(principal),
            Outcome::Wrong => self.refused("the user or the password is wrong"),
            Outcome::Busy => {
                let problem =
                    Problem::new(Code::AuthUnavailable).with_detail("too many passwords wait to be checked");
                Verdict::Refused(problem.with_header(RETRY_AFTER, HeaderValue::from_static("1")).into())
            }
        }
    }
}

impl Shared {
    /// Checks a password, as one of a bounded number.
    async fn verify(self: Arc<Self>, users: Arc<Users>, credentials: String) -> Outcome {
        let Some(_admission) = Slot::take(&self.admitted, self.max_admitted) else { return Outcome::Busy };
        // Never closed.
        let Ok(permit) = self.permits.clone().acquire_owned().await else { return Outcome::Busy };
        self.checks.fetch_add(1, Ordering::Relaxed);
        let key = users.hasher.of(credentials.as_bytes());
        let (name, password) = credentials.split_once(':').unwrap_or_default();
        let (hash, principal) = users.find(name);
        let password = password.to_owned();
        let work = tokio::task::spawn_blocking(move || {
            // Held until the work is done, even if nobody waits for it any more.
            let _permit = permit;
            hash.is_of(&password)
        });
        match (work.await, principal) {
            (Ok(true), Some(principal)) => {
                let now = unix_now();
                let end = now + self.settings.cache.as_secs_f64();
                users.right.insert(key, principal.clone(), end, now);
                Outcome::Right(principal)
            }
            _ => Outcome::Wrong,
        }
    }
}

fn seen(settings: &BasicSettings) -> Option<(SystemTime, u64)> {
    let metadata = std::fs::metadata(settings.file.as_ref()?).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

/// `user:password`.
fn decoded(text: &str) -> Option<String> {
    if text.len() > MAX_CREDENTIALS {
        return None;
    }
    let credentials = String::from_utf8(STANDARD.decode(text).ok()?).ok()?;
    credentials.contains(':').then_some(credentials)
}

impl Method for BasicMethod {
    fn check(&self, head: Head<'_>) -> Check {
        let text = match authorization(head.headers, "Basic") {
            Found::Nothing => return Check::Done(Verdict::Absent),
            Found::Unclear => None,
            Found::One(text) => decoded(&text),
        };
        let Some(credentials) = text else {
            return Check::Done(
                self.refused("the Authorization header is not `Basic` and `user:password` in base64"),
            );
        };
        let users = self.0.users.load_full();
        let key = users.hasher.of(credentials.as_bytes());
        if let Some(principal) = users.right.get(key, unix_now()) {
            return Check::Done(Verdict::passed(principal));
        }
        let method = self.clone();
        Check::wait(async move {
            let shared = method.0.clone();
            let outcome = method.0.flights.join(key, || shared.verify(users, credentials)).await;
            method.verdict(outcome)
        })
    }

    fn challenge(&self) -> Option<&HeaderValue> {
        Some(&self.0.challenge)
    }

    fn strips(&self) -> bool {
        self.0.settings.hide_credentials
    }

    fn strip(&self, request: &mut request::Parts) {
        if self.0.settings.hide_credentials && authorization(&request.headers, "Basic") != Found::Nothing {
            request.headers.remove(AUTHORIZATION);
        }
    }
}
