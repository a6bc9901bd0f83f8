use crate::AuthError;
use crate::cache::Cache;
use crate::key::Key;
use crate::refusal::{Challenges, Refusal};
use crate::revocation::{Keys, Known, Revocations, hex, sha256, unix_now, until};
use crate::service::Jwt;
use crate::settings::{JwtSettings, OnStoreFailure};
use crate::verify::{Verified, Verifier};
use aws_lc_rs::digest::{SHA256, digest};
use gateway_store::{Store, StoreError};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tower::Layer;

const CACHE_ENTRIES: usize = 100_000;

/// Lets requests with a good token pass; see the [crate's page](crate). Clones share keys, verified tokens and
/// revocations.
#[derive(Clone)]
pub struct JwtLayer {
    pub(crate) shared: Arc<Shared>,
    pub(crate) store: Store,
}

pub(crate) struct Shared {
    verifier: Verifier,
    verified: Cache<Verified>,
    pub(crate) known: Arc<Known>,
    pub(crate) challenges: Challenges,
    on_store_failure: OnStoreFailure,
    namespace: Arc<str>,
    leeway: f64,
}

/// Without keys.
impl std::fmt::Debug for JwtLayer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JwtLayer").field("namespace", &self.shared.namespace).finish_non_exhaustive()
    }
}

impl JwtLayer {
    /// A layer with these settings, which remembers in this store.
    ///
    /// # Errors
    /// The settings hold no usable key, or algorithms that do not go with it.
    pub fn new(settings: &JwtSettings, store: Store) -> Result<Self, AuthError> {
        let key = Key::new(settings)?;
        let namespace = namespace(settings, &key.material);
        let shared = Shared {
            verifier: Verifier::new(settings, key),
            verified: Cache::new(settings.cache_entries.unwrap_or(CACHE_ENTRIES)),
            known: Arc::default(),
            challenges: Challenges::new(settings.realm.as_deref().unwrap_or("gateway")),
            on_store_failure: settings.on_store_failure,
            namespace: namespace.into(),
            leeway: settings.leeway.map_or(0.0, |leeway| leeway.as_secs_f64()),
        };
        Ok(Self { shared: Arc::new(shared), store })
    }

    /// The same layer over another connection to the store, such as that of a thread with its own runtime
    /// ([`Store::per_worker`]).
    #[must_use]
    pub fn with_store(&self, store: Store) -> Self {
        Self { shared: self.shared.clone(), store }
    }

    /// Whether both verify by the same key.
    #[must_use]
    pub fn has_keys_of(&self, other: &Self) -> bool {
        self.shared.namespace == other.shared.namespace
    }

    /// What revokes the tokens of this layer.
    #[must_use]
    pub fn revocations(&self) -> Revocations {
        Revocations {
            known: self.shared.known.clone(),
            store: self.store.clone(),
            namespace: self.shared.namespace.clone(),
            leeway: self.shared.leeway,
        }
    }

    /// How many signatures were checked so far, on all clones.
    #[must_use]
    pub fn verifications(&self) -> u64 {
        self.shared.verifier.verifications.load(Ordering::Relaxed)
    }
}

/// What layers must have in common to believe each other's entries in the store: the key and what is asked of the
/// claims. Eight hexadecimal digits tell layers apart, and tell nothing of a secret.
fn namespace(settings: &JwtSettings, key: &[u8]) -> String {
    let JwtSettings { algorithms, issuer, audience, required_claims, .. } = settings;
    let rules = format!("{algorithms:?}{issuer:?}{audience:?}{required_claims:?}");
    let whole = [b"gateway-auth ", key, rules.as_bytes()].concat();
    hex(&digest(&SHA256, &whole).as_ref()[..4])
}

impl Shared {
    /// What is known without asking anybody: the token was verified before, or it was revoked here.
    pub(crate) fn recall(&self, token: &str) -> Option<Result<Verified, Refusal>> {
        let (key, now) = (self.known.hasher.key(token), unix_now());
        if self.known.is_revoked(token, now) {
            return Some(Err(Refusal::Revoked));
        }
        self.verified.get(key, now).map(Ok)
    }

    /// Checks the signature, and remembers.
    pub(crate) fn verify(&self, token: &str) -> Result<Verified, Refusal> {
        let now = unix_now();
        let verified = self.verifier.verify(token, now)?;
        self.verified.insert(self.known.hasher.key(token), verified.clone(), verified.expires, now);
        Ok(verified)
    }

    /// Asks the store first.
    pub(crate) async fn check(&self, store: &Store, token: &str) -> Result<Verified, Refusal> {
        let keys = Keys::new(&self.namespace, token);
        let recalled = self.recall(token);
        if let Some(Err(refusal)) = recalled {
            return Err(refusal);
        }
        let recalled = recalled.and_then(Result::ok);
        let answer = store.get(&[&keys.state, &keys.seen]).await;
        let state = match answer.as_deref() {
            Ok([state, seen]) => (state.as_deref(), seen.is_some()),
            Ok(_) => (None, false),
            Err(StoreError::Away { .. } | StoreError::Url { .. }) => {
                return match (self.on_store_failure, recalled) {
                    (OnStoreFailure::Deny, _) => Err(Refusal::StoreAway),
                    (OnStoreFailure::Local, Some(verified)) => Ok(verified),
                    (OnStoreFailure::Local, None) => self.verify(token),
                };
            }
        };
        match (state, recalled) {
            ((Some(b"revoked"), _) | (None, true), _) => Err(Refusal::Revoked),
            ((Some(_), _), Some(verified)) => Ok(verified),
            ((Some(state), _), None) => match self.read_entry(state, token) {
                Some(accepted) => accepted,
                // Not written by us: worth no more than nothing.
                None => self.enter(store, &keys, token).await,
            },
            ((None, false), _) => self.enter(store, &keys, token).await,
        }
    }

    /// The claims that another instance verified.
    /// `None` if this is no entry, or one of the same claims with another signature.
    fn read_entry(&self, state: &[u8], token: &str) -> Option<Result<Verified, Refusal>> {
        let state = std::str::from_utf8(state).ok()?;
        let (hash, claims) = state.strip_prefix("valid ")?.split_once(' ')?;
        if hash != sha256(token) {
            return None;
        }
        Some(self.verifier.accept(serde_json::from_str(claims).ok()?, unix_now()))
    }

    /// Verifies, and tells the others.
    async fn enter(&self, store: &Store, keys: &Keys, token: &str) -> Result<Verified, Refusal> {
        let verified = self.verify(token)?;
        let ttl = until(verified.expires, unix_now());
        let claims = serde_json::to_string(verified.principal.claims()).unwrap_or_default();
        let entry = format!("valid {} {claims}", sha256(token));
        // If it fails, the others verify for themselves; the store has said so in the log. The mark that it was
        // seen comes second: alone it would mean that the entry was deleted.
        match store.set_new(&keys.state, entry.as_bytes(), ttl).await {
            Ok(true) => drop(store.set(&keys.seen, b"1", ttl).await),
            // Somebody was faster: with the same, or with a revocation.
            Ok(false) => {
                let state =
                    store.get(&[&keys.state]).await.ok().and_then(|mut values| values.pop().flatten());
                if state.as_deref() == Some(b"revoked") {
                    return Err(Refusal::Revoked);
                }
            }
            Err(_) => {}
        }
        Ok(verified)
    }
}

impl<S> Layer<S> for JwtLayer {
    type Service = Jwt<S>;
    fn layer(&self, inner: S) -> Jwt<S> {
        Jwt { inner, layer: self.clone() }
    }
}
