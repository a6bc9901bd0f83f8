use crate::AuthError;
use crate::assertion::claims::{OWN, Subject};
use crate::assertion::key::{PublicKey, SigningKey};
use crate::assertion::layer::AssertionLayer;
use crate::assertion::ring::{Ages, Ring};
use crate::assertion::settings::AssertionSettings;
use crate::jwt::cache::Cache;
use crate::text::unix_now;
use arc_swap::ArcSwap;
use aws_lc_rs::error::Unspecified;
use bytes::Bytes;
use gateway_core::KeyedHash;
use gateway_core::units::Timespan;
use gateway_store::{Store, StoreError};
use http::{HeaderName, HeaderValue};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How often keys are looked after.
const EVERY: Duration = Duration::from_secs(5);
/// How long what an instance published stays without being renewed.
const PUBLISHED: Duration = Duration::from_secs(60);
/// How soon the store is asked again for whoever wants the key set.
const FRESH_MILLIS: u64 = 1000;

/// Signs, for services, who calls them and through which route; see [`AssertionLayer`]. Clones share keys and tokens.
///
/// | keys | are replaced | with several instances |
/// |---|---|---|
/// | made by the gateway | by age (`rotate`); the next is published `announce` before it signs, the last `overlap` longer | each publishes its own in the store, [`jwks`](Self::jwks) has those of all |
/// | from `key_file` | when the file changes; the last is published `overlap` longer | share the file |
/// | from `key` | with the configuration ([`succeed`](Self::succeed)) | share it |
///
/// In the store, `assertion:<issuer>:<instance>` has an instance's public keys as JSON for a minute, renewed every five
/// seconds. Who can write there can add a key: protect it accordingly. While the store is away, the keys last heard of
/// are published for `overlap` more.
#[derive(Clone, Debug)]
pub struct Assertions(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    settings: AssertionSettings,
    header: HeaderName,
    ring: ArcSwap<Ring>,
    /// Held by whoever makes a new ring; what the key file had in it.
    changing: Mutex<Option<String>>,
    tokens: Cache<HeaderValue>,
    hash: KeyedHash,
    /// This instance's name in the store.
    place: String,
    prefix: String,
    /// When the store was last asked, in milliseconds since 1970.
    asked: AtomicU64,
}

impl Assertions {
    /// What signs with these settings.
    ///
    /// # Errors
    /// The key cannot be used, or settings contradict each other.
    pub fn new(settings: &AssertionSettings) -> Result<Self, AuthError> {
        let header = settings.header.parse().map_err(|_| AuthError::Header(settings.header.clone()))?;
        if settings.ttl.as_secs() < 4 {
            let why = format!("{} is too short; expected `4s` or more", settings.ttl);
            return Err(AuthError::setting("ttl", why));
        }
        if settings.announce >= settings.rotate {
            let why = format!("{} is not less than `rotate`, {}", settings.announce, settings.rotate);
            return Err(AuthError::setting("announce", why));
        }
        if settings.overlap < Timespan(*settings.ttl * 2) {
            let why = format!("{} is less than twice the `ttl`, {}", settings.overlap, settings.ttl);
            return Err(AuthError::setting("overlap", why));
        }
        if let Some(claim) = settings.claims.iter().find(|claim| OWN.contains(&claim.as_str())) {
            let why = format!("`{claim}` is the gateway's own to say; expected other claims");
            return Err(AuthError::setting("claims", why));
        }
        let (key, text) = match (&settings.key, &settings.key_file) {
            (Some(_), Some(_)) => {
                return Err(AuthError::setting("key", "`key_file` is given too; expected one of them"));
            }
            (Some(pem), None) => {
                let not_a_key = || AuthError::setting("key", NOT_A_KEY);
                (SigningKey::from_pem(pem).ok_or_else(not_a_key)?, None)
            }
            (None, Some(path)) => {
                let pem = read(path)?;
                let not_a_key = || AuthError::text("key", Some(path), NOT_A_KEY);
                (SigningKey::from_pem(&pem).ok_or_else(not_a_key)?, Some(pem))
            }
            (None, None) => {
                let key = SigningKey::generate(settings.algorithm);
                (key.map_err(|_| AuthError::setting("algorithm", "no key could be made"))?, None)
            }
        };
        let prefix = format!("assertion:{}:", settings.issuer);
        // A name that no other instance has, and whose key nobody can guess from it.
        let place = format!("{prefix}{}", key.public.kid);
        Ok(Self(Arc::new(Shared {
            header,
            ring: ArcSwap::from_pointee(Ring::new(key, unix_now())),
            changing: Mutex::new(text),
            tokens: Cache::new(settings.cache_entries),
            hash: KeyedHash::default(),
            place,
            prefix,
            asked: AtomicU64::new(0),
            settings: settings.clone(),
        })))
    }

    /// What signs with other settings from now on, after a reload say. Where they are the same it is this one;
    /// otherwise this one's keys are published by the new one for its `overlap`.
    ///
    /// # Errors
    /// The key cannot be used, or settings contradict each other.
    pub fn succeed(&self, settings: &AssertionSettings) -> Result<Self, AuthError> {
        if self.0.settings == *settings {
            return Ok(self.clone());
        }
        let next = Self::new(settings)?;
        let mut ring = (**next.0.ring.load()).clone();
        ring.learn(self.0.ring.load().public().cloned(), unix_now() + settings.overlap.as_secs_f64());
        next.0.ring.store(Arc::new(ring));
        Ok(next)
    }

    /// The layer of a route to a service.
    #[must_use]
    pub fn layer(&self, route: &str, service: &str) -> AssertionLayer {
        AssertionLayer::new(self.clone(), route, service)
    }

    /// The header that only this may set: for an edge that strips it on every route, those without assertions too.
    #[must_use]
    pub fn header(&self) -> &HeaderName {
        &self.0.header
    }

    /// The public keys as RFC 7517 has them, for `/.well-known/jwks.json`: those of this instance, and those of others
    /// as last heard of.
    #[must_use]
    pub fn jwks_json(&self) -> Bytes {
        #[derive(serde::Serialize)]
        struct Document<'a> {
            keys: Vec<&'a PublicKey>,
        }
        let ring = self.0.ring.load();
        serde_json::to_vec(&Document { keys: ring.public().collect() }).unwrap_or_default().into()
    }

    /// The same after asking the store, if nobody did within the last second.
    pub async fn jwks(&self, store: &Store) -> Bytes {
        let now = millis();
        let asked = self.0.asked.load(Ordering::Relaxed);
        let is_first =
            || self.0.asked.compare_exchange(asked, now, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if store.is_shared() && now.saturating_sub(asked) >= FRESH_MILLIS && is_first() {
            // Without it, the keys that are known are shown; the store has said so in the log.
            let _ = self.learn(store).await;
        }
        self.jwks_json()
    }

    /// Looks after the keys for ever: to be spawned once, before the first request is taken.
    pub async fn keep(self, store: Store) {
        loop {
            self.maintain(&store).await;
            tokio::time::sleep(EVERY).await;
        }
    }

    /// Looks after the keys once: replaces those that are due, tells other instances and hears of theirs.
    pub async fn maintain(&self, store: &Store) {
        self.renew(unix_now());
        if store.is_shared() {
            let _ = self.publish(store).await;
            let _ = self.learn(store).await;
        }
    }

    /// Signs with a new key from now on, without announcing it: for keys that may be in wrong hands. Does nothing where
    /// the key is the operator's.
    pub fn rotate_now(&self) {
        if self.is_given() {
            return;
        }
        let _changing = self.0.changing.lock().unwrap_or_else(PoisonError::into_inner);
        if let Ok(key) = self.make() {
            let mut ring = (**self.0.ring.load()).clone();
            ring.replace(Arc::new(key), unix_now(), self.0.settings.overlap.as_secs_f64());
            self.0.ring.store(Arc::new(ring));
        }
    }

    fn is_given(&self) -> bool {
        self.0.settings.key.is_some() || self.0.settings.key_file.is_some()
    }

    fn make(&self) -> Result<SigningKey, Unspecified> {
        SigningKey::generate(self.0.settings.algorithm).inspect_err(|_| {
            tracing::error!("no key could be made to sign assertions with; the old one stays")
        })
    }

    /// Replaces keys that are due at this time.
    fn renew(&self, now: f64) {
        let mut known = self.0.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let settings = &self.0.settings;
        let mut ring = (**self.0.ring.load()).clone();
        let overlap = settings.overlap.as_secs_f64();
        if let Some(path) = &settings.key_file {
            match read(path).map(|pem| (SigningKey::from_pem(&pem), pem)) {
                Ok((_, pem)) if known.as_ref() == Some(&pem) => {}
                Ok((Some(key), pem)) => {
                    tracing::info!(
                        kid = key.public.kid,
                        "assertions are signed with another key from now on"
                    );
                    ring.replace(Arc::new(key), now, overlap);
                    self.0.ring.store(Arc::new(ring.clone()));
                    *known = Some(pem);
                }
                Ok((None, pem)) => {
                    tracing::error!(path = %path.display(), "it holds no key to sign assertions with; the old one stays");
                    *known = Some(pem);
                }
                Err(error) => tracing::warn!(%error, "the old key to sign assertions with stays"),
            }
        }
        let rotate = if self.is_given() { f64::INFINITY } else { settings.rotate.as_secs_f64() };
        let ages = Ages { rotate, announce: settings.announce.as_secs_f64(), overlap };
        if let Ok(Some(next)) = ring.step(ages, now, || self.make()) {
            self.0.ring.store(Arc::new(next));
        }
    }

    async fn publish(&self, store: &Store) -> Result<(), StoreError> {
        let keys = serde_json::to_vec(&self.0.ring.load().own().collect::<Vec<_>>()).unwrap_or_default();
        store.set(&self.0.place, &keys, PUBLISHED).await
    }

    async fn learn(&self, store: &Store) -> Result<(), StoreError> {
        self.0.asked.store(millis(), Ordering::Relaxed);
        let places = store.scan(&self.0.prefix).await?;
        let places: Vec<&str> =
            places.iter().map(String::as_str).filter(|place| *place != self.0.place).collect();
        if places.is_empty() {
            return Ok(());
        }
        let values = store.get(&places).await?;
        let keys = values.into_iter().flatten();
        let keys = keys.filter_map(|value| serde_json::from_slice::<Vec<PublicKey>>(&value).ok()).flatten();
        let _changing = self.0.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut ring = (**self.0.ring.load()).clone();
        ring.learn(keys, unix_now() + self.0.settings.overlap.as_secs_f64());
        self.0.ring.store(Arc::new(ring));
        Ok(())
    }

    /// A token that says who calls this service; remembered as long as three quarters of its life are left.
    pub(crate) fn token(
        &self,
        caller: Option<&gateway_core::Principal>,
        route: &str,
        service: &str,
    ) -> Result<Option<HeaderValue>, Unspecified> {
        let Shared { settings, .. } = &*self.0;
        if caller.is_none() && !settings.anonymous {
            return Ok(None);
        }
        let subject = Subject { caller, claims: &settings.claims, route, service };
        let (key, now) = (subject.key(&self.0.hash), unix_now());
        if let Some(token) = self.0.tokens.get(key, now) {
            return Ok(Some(token));
        }
        let ttl = settings.ttl.as_secs();
        // Whole seconds, as most libraries want them; rounded down, so that no clock is behind.
        let claims = subject.claims(&settings.issuer, settings.audience.as_deref(), now as u64, ttl);
        let token = self.0.ring.load().current.token(&claims)?;
        let token = HeaderValue::try_from(token).map_err(|_| Unspecified)?;
        self.0.tokens.insert(key, token.clone(), now + ttl as f64 / 4.0 - 1.0, now);
        Ok(Some(token))
    }
}

fn millis() -> u64 {
    (unix_now() * 1000.0) as u64
}

fn read(path: &PathBuf) -> Result<String, AuthError> {
    std::fs::read_to_string(path).map_err(|source| AuthError::File { path: path.clone(), source })
}

const NOT_A_KEY: &str =
    "it is no private key; expected PKCS #8 in PEM, P-256 or Ed25519: `openssl genpkey -algorithm ed25519`";
