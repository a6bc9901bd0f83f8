//! What becomes of a token: remembered, verified, revoked; with or without the store.

use crate::AuthError;
use crate::jwt::cache::Cache;
use crate::jwt::key::Key;
use crate::jwt::settings::{JwtSettings, OnStoreFailure};
use crate::jwt::verify::{Verified, Verifier};
use crate::refusal::{Challenges, Refusal};
use crate::revocation::{Keys, Known, hex, sha256, unix_now, until};
use aws_lc_rs::digest::{SHA256, digest};
use gateway_store::Store;
use std::sync::Arc;

const CACHE_ENTRIES: usize = 100_000;

/// What all clones of a layer have in common.
pub(crate) struct Shared {
    pub(crate) verifier: Verifier,
    verified: Cache<Verified>,
    pub(crate) known: Arc<Known>,
    pub(crate) challenges: Challenges,
    on_store_failure: OnStoreFailure,
    pub(crate) namespace: Arc<str>,
    pub(crate) leeway: f64,
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
    pub(crate) fn new(settings: &JwtSettings) -> Result<Self, AuthError> {
        let key = Key::new(settings)?;
        let namespace = namespace(settings, &key.material);
        Ok(Self {
            verifier: Verifier::new(settings, key),
            verified: Cache::new(settings.cache_entries.unwrap_or(CACHE_ENTRIES)),
            known: Arc::default(),
            challenges: Challenges::new(settings.realm.as_deref().unwrap_or("gateway")),
            on_store_failure: settings.on_store_failure,
            namespace: namespace.into(),
            leeway: settings.leeway.map_or(0.0, |leeway| leeway.as_secs_f64()),
        })
    }

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
            Err(_) => {
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
