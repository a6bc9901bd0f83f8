//! Passwords, hashed off the workers, a bounded number at once.

use crate::secret::random;
use crate::{IdentityError, PasswordSettings, Secret, Violation};
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use gateway_core::Slot;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use tokio::sync::Semaphore;

/// Longer ones are no passwords but attacks.
const MAX_BYTES: usize = 1024;

/// How a password did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Wrong,
    Right,
    /// Right, and its hash was made with less work than is asked for now.
    Outdated,
}

pub(crate) struct Hasher {
    argon2: Argon2<'static>,
    min_length: usize,
    permits: Arc<Semaphore>,
    /// Those that wait and those that are computed.
    admitted: AtomicUsize,
    max_admitted: usize,
    computed: Arc<AtomicU64>,
    /// What is checked where there is no account: the same work, never right.
    nobody: String,
}

impl Hasher {
    pub(crate) fn new(settings: &PasswordSettings) -> Result<Self, String> {
        let kib = u32::try_from(settings.memory.bytes() / 1024).unwrap_or(u32::MAX);
        let params = Params::new(kib, settings.iterations, settings.lanes, None)
            .map_err(|error| format!("`password` makes no argon2 parameters: {error}"))?;
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let max_parallel = settings.max_parallel();
        let nobody = hash(&argon2, &random::<32>()).map_err(|error| error.to_string())?;
        Ok(Self {
            argon2,
            min_length: settings.min_length,
            permits: Arc::new(Semaphore::new(max_parallel)),
            admitted: AtomicUsize::new(0),
            max_admitted: max_parallel.saturating_add(settings.max_queued),
            computed: Arc::default(),
            nobody,
        })
    }

    /// How many hashes were computed so far.
    pub(crate) fn computed(&self) -> u64 {
        self.computed.load(Ordering::Relaxed)
    }

    /// What is wrong with a password that somebody wants to have.
    pub(crate) fn violation(&self, password: &Secret) -> Option<Violation> {
        let text = password.expose();
        let detail = if text.chars().count() < self.min_length {
            format!("must have at least {} characters", self.min_length)
        } else if text.len() > MAX_BYTES {
            format!("must have at most {MAX_BYTES} bytes")
        } else {
            return None;
        };
        Some(Violation::new("/password", detail))
    }

    /// The hash of a password, as a PHC string.
    pub(crate) async fn hash(&self, password: &Secret) -> Result<String, IdentityError> {
        let password = password.clone();
        self.compute(move |argon2| hash(argon2, password.expose().as_bytes())).await?
    }

    /// Checks a password against a hash, or against nobody's: either way one hash is computed.
    pub(crate) async fn verify(
        &self,
        password: &Secret,
        stored: Option<&str>,
    ) -> Result<Verdict, IdentityError> {
        let (password, exists) = (password.clone(), stored.is_some());
        let stored = stored.unwrap_or(&self.nobody).to_owned();
        let verdict = self.compute(move |argon2| {
            let Ok(stored) = PasswordHash::new(&stored) else { return Verdict::Wrong };
            let right = argon2.verify_password(password.expose().as_bytes(), &stored).is_ok();
            let enough = Params::try_from(&stored).is_ok_and(|params| {
                let wanted = argon2.params();
                params.m_cost() >= wanted.m_cost()
                    && params.t_cost() >= wanted.t_cost()
                    && params.p_cost() >= wanted.p_cost()
            });
            let enough = enough && stored.algorithm.as_str() == "argon2id";
            match (right, enough) {
                (true, true) => Verdict::Right,
                (true, false) => Verdict::Outdated,
                (false, true) => Verdict::Wrong,
                (false, false) => {
                    // An account from before costs no less than none, or its time would tell that it is there.
                    let _ = hash(argon2, password.expose().as_bytes());
                    Verdict::Wrong
                }
            }
        });
        let verdict = verdict.await?;
        Ok(if exists { verdict } else { Verdict::Wrong })
    }

    async fn compute<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Argon2<'static>) -> T + Send + 'static,
    ) -> Result<T, IdentityError> {
        let _admission = Slot::take(&self.admitted, self.max_admitted).ok_or(IdentityError::Busy)?;
        let internal = |what: &str| IdentityError::Internal(what.to_owned());
        let permit = self.permits.clone().acquire_owned().await.map_err(|_| internal("closed"))?;
        let (argon2, computed) = (self.argon2.clone(), self.computed.clone());
        // The permit goes along: who does not wait for the answer frees no place before its work is done.
        let task = tokio::task::spawn_blocking(move || {
            let result = work(&argon2);
            computed.fetch_add(1, Ordering::Relaxed);
            drop(permit);
            result
        });
        task.await.map_err(|_| internal("a password could not be hashed"))
    }
}

fn hash(argon2: &Argon2<'_>, password: &[u8]) -> Result<String, IdentityError> {
    let hashed = argon2.hash_password_with_salt(password, &random::<16>());
    hashed
        .map(|hash: PasswordHash| hash.to_string())
        .map_err(|error| IdentityError::Internal(format!("a password could not be hashed: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use gateway_core::units::ByteSize;

    fn cheap() -> PasswordSettings {
        PasswordSettings {
            memory: ByteSize::kib(8),
            iterations: 1,
            max_parallel: Some(1),
            ..PasswordSettings::default()
        }
    }

    #[tokio::test]
    async fn a_hash_of_less_work_is_outdated_and_one_of_more_is_not() {
        let small = Hasher::new(&cheap()).unwrap();
        let large = Hasher::new(&PasswordSettings { iterations: 2, ..cheap() }).unwrap();
        let password = Secret::new("correct horse");
        let (by_small, by_large) =
            (small.hash(&password).await.unwrap(), large.hash(&password).await.unwrap());
        assert!(by_small.starts_with("$argon2id$v=19$m=8,t=1,p=1$"), "{by_small}");
        for (hasher, stored, expected) in [
            (&small, &by_small, Verdict::Right),
            (&small, &by_large, Verdict::Right),
            (&large, &by_small, Verdict::Outdated),
        ] {
            assert_eq!(hasher.verify(&password, Some(stored)).await.unwrap(), expected);
        }
        assert_eq!(small.verify(&Secret::new("wrong"), Some(&by_small)).await.unwrap(), Verdict::Wrong);
    }

    #[tokio::test]
    async fn nobody_costs_as_much_as_somebody() {
        let hasher = Hasher::new(&cheap()).unwrap();
        let stored = hasher.hash(&Secret::new("correct horse")).await.unwrap();
        for stored in [Some(stored.as_str()), None] {
            let before = hasher.computed();
            assert_eq!(hasher.verify(&Secret::new("wrong"), stored).await.unwrap(), Verdict::Wrong);
            assert_eq!(hasher.computed() - before, 1, "{stored:?}");
        }
    }

    #[tokio::test]
    async fn beyond_the_queue_there_is_no_waiting_and_a_place_is_given_back() {
        let hasher = Hasher::new(&PasswordSettings { max_queued: 1, ..cheap() }).unwrap();
        let password = Secret::new("correct horse");
        // Nobody is done before all have asked.
        let only_place = hasher.permits.clone().acquire_owned().await.unwrap();
        let (a, b, c, ()) = tokio::join!(
            biased;
            hasher.hash(&password),
            hasher.hash(&password),
            hasher.hash(&password),
            async { drop(only_place) },
        );
        assert!(a.is_ok() && b.is_ok(), "one computes, one waits");
        assert_eq!(c, Err(IdentityError::Busy));
        assert!(hasher.hash(&password).await.is_ok());
        // Who goes away while waiting leaves no gap either.
        for _ in 0..5 {
            let waiting = hasher.hash(&password);
            drop(tokio::time::timeout(std::time::Duration::ZERO, waiting).await);
        }
        let (a, b) = tokio::join!(hasher.hash(&password), hasher.hash(&password));
        assert!(a.is_ok() && b.is_ok());
    }

    /// One worker: whatever computes on it stops everything else.
    #[tokio::test]
    async fn two_hundred_hashes_at_once_leave_the_worker_to_others() {
        const HASHES: usize = 200;
        // So long a hash that the system gives both threads turns, also where others have the processors.
        let settings = PasswordSettings { memory: ByteSize::kib(512), ..cheap() };
        let hasher = Arc::new(Hasher::new(&settings).unwrap());
        let hashing: Vec<_> = (0..HASHES)
            .map(|_| {
                let hasher = hasher.clone();
                tokio::spawn(async move { hasher.verify(&Secret::new("wrong"), None).await })
            })
            .collect();
        // How many turns another task has in the time of each hash: on the worker, a handful at most.
        let mut turns = [0; HASHES];
        while let Some(count) = turns.get_mut(hasher.computed() as usize) {
            *count += 1;
            tokio::task::yield_now().await;
        }
        for hashed in hashing {
            assert_eq!(hashed.await.unwrap(), Ok(Verdict::Wrong));
        }
        let many = turns.iter().filter(|turns| **turns > 20).count();
        assert!(many > HASHES / 2, "{turns:?}");
    }

    #[test]
    fn passwords_are_judged_by_their_length_alone() {
        let hasher = Hasher::new(&cheap()).unwrap();
        for (password, fine) in [
            ("1234567".to_owned(), false),
            ("12345678".to_owned(), true),
            ("päßwörtß".to_owned(), true),
            ("x".repeat(1024), true),
            ("x".repeat(1025), false),
        ] {
            assert_eq!(hasher.violation(&Secret::new(password.clone())).is_none(), fine, "{password}");
        }
    }
}
