//! What becomes of a token: remembered, verified, revoked; with or without the store.

use crate::AuthError;
use crate::jwt::cache::Cache;
use crate::jwt::keyring::Keyring;
use crate::jwt::place::Places;
use crate::jwt::settings::{JwtSettings, OnStoreFailure, OneOrMany, RevocationMode};
use crate::jwt::token::unverified_claims;
use crate::jwt::verify::{Failure, Verified, Verifier};
use crate::refusal::{Challenges, Refusal};
use crate::revocation::known::Known;
use crate::revocation::marks::Marks;
use crate::revocation::strict::Keys;
use crate::text::{hex, sha256, unix_now, until};
use aws_lc_rs::digest::{SHA256, digest};
use gateway_core::KeyedHash;
use gateway_store::Store;
use http::{HeaderMap, Uri};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

const CACHE_ENTRIES: usize = 100_000;
/// More does not help against clocks that are apart, and lets old tokens in.
const MAX_LEEWAY: Duration = Duration::from_secs(60);
/// How long a revocation is kept of a token that does not say when it ends.
const MAX_LIFETIME: f64 = 86_400.0;

/// What all clones of a layer have in common.
pub(crate) struct Shared {
    pub(crate) verifier: Verifier,
    pub(crate) places: Places,
    pub(crate) hide: bool,
    hasher: KeyedHash,
    verified: Cache<Verified>,
    pub(crate) known: Arc<Known>,
    pub(crate) challenges: Challenges,
    on_store_failure: OnStoreFailure,
    revocation: Option<RevocationMode>,
    pub(crate) namespace: Arc<str>,
    /// In seconds.
    pub(crate) max_lifetime: f64,
}

/// The answer, or how to come by it.
pub(crate) enum Step {
    Done(Result<Verified, Refusal>),
    Wait(Pin<Box<dyn Future<Output = Result<Verified, Refusal>> + Send>>),
}

/// What layers must have in common to believe each other's entries in the store: the key and what is asked of the
/// claims. Eight hexadecimal digits tell layers apart, and tell nothing of a secret.
fn namespace(settings: &JwtSettings, key: &[u8]) -> String {
    let JwtSettings { algorithms, issuer, audience, required_claims, required, typ, .. } = settings;
    let JwtSettings { max_age, max_age_claim, require_exp, .. } = settings;
    // What came later stands only where it is used: entries of an older instance are not lost.
    let mut rules = format!("{algorithms:?}{issuer:?}{audience:?}{required_claims:?}");
    if !required.is_empty() || typ.is_some() || max_age.is_some() || *require_exp == Some(false) {
        rules.push_str(&format!("{required:?}{typ:?}{max_age:?}{max_age_claim:?}{require_exp:?}"));
    }
    let whole = [b"gateway-auth ", key, rules.as_bytes()].concat();
    hex(&digest(&SHA256, &whole).as_ref()[..4])
}

impl Shared {
    pub(crate) fn new(keys: Keyring, settings: &JwtSettings) -> Result<Self, AuthError> {
        if let Some(leeway) = settings.leeway.filter(|leeway| **leeway > MAX_LEEWAY) {
            return Err(AuthError::Leeway(leeway));
        }
        for (key, texts) in [("issuer", &settings.issuer), ("audience", &settings.audience)] {
            if matches!(texts, Some(OneOrMany::Many(texts)) if texts.is_empty()) {
                let why = "the list is empty, so that no token could pass; expected at least one text";
                return Err(AuthError::setting(key, why));
            }
        }
        let verifier = Verifier::new(keys, settings);
        let namespace = namespace(settings, &verifier.keys.material);
        let lifetime = settings.max_lifetime.or(settings.max_age);
        Ok(Self {
            verifier,
            places: Places::new(&settings.places)?,
            hide: settings.hide_credentials,
            hasher: KeyedHash::default(),
            verified: Cache::new(settings.cache_entries.unwrap_or(CACHE_ENTRIES)),
            known: Arc::default(),
            challenges: Challenges::new(settings.realm.as_deref().unwrap_or("gateway")),
            on_store_failure: settings.on_store_failure,
            revocation: settings.revocation,
            namespace: namespace.into(),
            max_lifetime: lifetime.map_or(MAX_LIFETIME, |lifetime| lifetime.as_secs_f64()),
        })
    }

    /// Takes over what must not be forgotten with the settings.
    pub(crate) fn succeed(&mut self, before: &Self) {
        self.known = before.known.clone();
        if let (Some(now), Some(before)) = (&self.verifier.keys.remote, &before.verifier.keys.remote) {
            now.succeed(before);
        }
    }

    /// Looks for the token of a request, and whether it is good.
    pub(crate) fn start(self: &Arc<Self>, store: &Store, headers: &HeaderMap, uri: &Uri) -> Step {
        let token = match self.places.find(headers, uri) {
            Ok(token) => token,
            Err(refusal) => return Step::Done(Err(refusal)),
        };
        if self.asks_each_time(store) {
            let (shared, store, token) = (self.clone(), store.clone(), token.to_owned());
            return Step::Wait(Box::pin(async move { shared.ask_first(&store, &token).await }));
        }
        match self.alone(token, matches!(store, Store::Redis(_))) {
            Ok(verified) => Step::Done(Ok(verified)),
            Err(Failure::Refused(refusal)) => Step::Done(Err(refusal)),
            Err(Failure::KeyUnknown(refusal)) => {
                let (shared, token) = (self.clone(), token.to_owned());
                Step::Wait(Box::pin(async move { shared.with_new_keys(&token, refusal).await }))
            }
        }
    }

    fn asks_each_time(&self, store: &Store) -> bool {
        matches!(store, Store::Redis(_)) && self.revocation.is_none_or(|mode| mode == RevocationMode::Strict)
    }

    /// Decides without asking anybody.
    fn alone(&self, token: &str, pushed: bool) -> Result<Verified, Failure> {
        if pushed && self.on_store_failure == OnStoreFailure::Deny && self.known.is_behind() {
            return Err(Refusal::StoreAway.into());
        }
        match self.recall(token) {
            Some(recalled) => Ok(recalled?),
            None => self.verify(token),
        }
    }

    /// What is remembered: that it is good, or was revoked here.
    fn recall(&self, token: &str) -> Option<Result<Verified, Refusal>> {
        let now = unix_now();
        let verified = self.verified.get(self.hasher.of(token.as_bytes()), now)?;
        if !self.verifier.keys.has(verified.key) {
            return None;
        }
        Some(self.unless_revoked(verified, now))
    }

    fn unless_revoked(&self, verified: Verified, now: f64) -> Result<Verified, Refusal> {
        if self.known.is_revoked(&verified.marks, now) { Err(Refusal::Revoked) } else { Ok(verified) }
    }

    /// Checks the signature, and remembers.
    fn verify(&self, token: &str) -> Result<Verified, Failure> {
        let now = unix_now();
        let verified = self.verifier.verify(token, now)?;
        self.verified.insert(self.hasher.of(token.as_bytes()), verified.clone(), verified.expires, now);
        Ok(self.unless_revoked(verified, now)?)
    }

    /// Verifies again when there are other keys.
    async fn with_new_keys(&self, token: &str, refusal: Refusal) -> Result<Verified, Refusal> {
        let Some(remote) = &self.verifier.keys.remote else { return Err(refusal) };
        let found = remote.wait_for(|| match self.verify(token) {
            Ok(verified) => Some(Ok(verified)),
            Err(Failure::Refused(refusal)) => Some(Err(refusal)),
            Err(Failure::KeyUnknown(_)) => None,
        });
        found.await.unwrap_or(Err(refusal))
    }

    /// Verifies, with new keys if it must be.
    pub(crate) async fn verify_waiting(&self, token: &str) -> Result<Verified, Refusal> {
        match self.verify(token) {
            Ok(verified) => Ok(verified),
            Err(Failure::Refused(refusal)) => Err(refusal),
            Err(Failure::KeyUnknown(refusal)) => self.with_new_keys(token, refusal).await,
        }
    }

    /// Asks the store first.
    async fn ask_first(&self, store: &Store, token: &str) -> Result<Verified, Refusal> {
        let recalled = match self.recall(token) {
            Some(Err(refusal)) => return Err(refusal),
            recalled => recalled.and_then(Result::ok),
        };
        let marks = match &recalled {
            Some(verified) => verified.marks.clone(),
            None => Arc::new(self.unverified_marks(token)),
        };
        let keys = Keys::new(&self.namespace, token);
        let listed = marks.record_keys();
        let mut asked = vec![keys.state.as_str(), keys.seen.as_str()];
        asked.extend(listed.iter().map(String::as_str));
        let (state, seen) = match store.get(&asked).await {
            Ok(values) => {
                let mut values = values.into_iter();
                let (state, seen) = (values.next().flatten(), values.next().flatten().is_some());
                if values.any(|record| marks.is_hit(record.as_deref())) {
                    return Err(Refusal::Revoked);
                }
                (state, seen)
            }
            Err(_) => {
                return match (self.on_store_failure, recalled) {
                    (OnStoreFailure::Deny, _) => Err(Refusal::StoreAway),
                    (OnStoreFailure::Local, Some(verified)) => Ok(verified),
                    (OnStoreFailure::Local, None) => self.verify_waiting(token).await,
                };
            }
        };
        match (state.as_deref(), seen, recalled) {
            (Some(b"revoked"), ..) | (None, true, _) => Err(Refusal::Revoked),
            (Some(_), _, Some(verified)) => Ok(verified),
            (Some(state), _, None) => match self.read_entry(state, token) {
                Some(accepted) => accepted,
                // Not written by us: worth no more than nothing.
                None => self.enter(store, &keys, token).await,
            },
            (None, false, _) => self.enter(store, &keys, token).await,
        }
    }

    /// What a token that was not verified yet could be revoked by.
    fn unverified_marks(&self, token: &str) -> Marks {
        let claims = unverified_claims(token).unwrap_or_default();
        let issued = self.verifier.rules.issued(&claims);
        Marks::new(&self.verifier.group, token, &claims, issued)
    }

    /// The claims that another instance verified.
    /// `None` if this is no entry, one of the same claims with another signature, or by a key that we do not have.
    fn read_entry(&self, state: &[u8], token: &str) -> Option<Result<Verified, Refusal>> {
        let mut parts = std::str::from_utf8(state).ok()?.strip_prefix("valid ")?.splitn(3, ' ');
        let (hash, key, claims) = (parts.next()?, parts.next()?, parts.next()?);
        let key = u64::from_str_radix(key, 16).ok()?;
        if hash != sha256(token) || !self.verifier.keys.has(key) {
            return None;
        }
        let now = unix_now();
        let accepted = self.verifier.accept(token, serde_json::from_str(claims).ok()?, key, now);
        Some(accepted.and_then(|verified| self.unless_revoked(verified, now)))
    }

    /// Verifies, and tells the others.
    async fn enter(&self, store: &Store, keys: &Keys, token: &str) -> Result<Verified, Refusal> {
        let verified = self.verify_waiting(token).await?;
        let ttl = until(verified.expires, unix_now());
        let claims = serde_json::to_string(verified.principal.claims()).unwrap_or_default();
        let entry = format!("valid {} {:x} {claims}", sha256(token), verified.key);
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
