use crate::jwt::cache::{Cache, TokenHasher, TokenKey};
use crate::jwt::verify::unverified_expiry;
use aws_lc_rs::digest::{SHA256, digest};
use gateway_store::{Store, StoreError};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Revokes tokens before they expire.
///
/// In memory, a revocation is known to this process. With Redis it is known to all, at once: every request asks
/// for two keys in one round trip, where `<token>` is the hexadecimal SHA-256 of the token without its signature
/// (`printf %s "${TOKEN%.*}" | sha256sum`: some signatures can be changed and still be good) and both live as long
/// as the token does:
///
/// | `gateway:token:<layer>:{<token>}:state` | `…:seen` | meaning |
/// |---|---|---|
/// | `valid`, the hash of the whole token, its claims | – | passes, without a look at the signature |
/// | `revoked` | – | 401 `revoked-token` |
/// | missing | `1` | an operator deleted the entry: revoked |
/// | missing | missing | never seen, or the server has lost everything: verified, then entered |
///
/// So a token is revoked by this type, by setting `revoked`, or by deleting its `state`; a Redis that comes back
/// empty revokes nobody. Who can write to Redis can let anybody in: protect it accordingly.
#[derive(Clone, Debug)]
pub struct Revocations {
    pub(crate) known: Arc<Known>,
    pub(crate) store: Store,
    pub(crate) namespace: Arc<str>,
    /// How long after its end a token is still good.
    pub(crate) leeway: f64,
}

/// The revocations that this process knows of.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) hasher: TokenHasher,
    revoked: Cache<()>,
    any: AtomicBool,
}

/// More would not be remembered beyond their tokens' life anyway.
const MAX_KNOWN: usize = 1_000_000;
/// How long a revocation is kept of a token that does not say when it ends.
const KEPT: f64 = 86_400.0;

impl Default for Known {
    fn default() -> Self {
        Self { hasher: TokenHasher::default(), revoked: Cache::new(MAX_KNOWN), any: AtomicBool::new(false) }
    }
}

impl Known {
    pub(crate) fn is_revoked(&self, token: &str, now: f64) -> bool {
        self.any.load(Ordering::Relaxed)
            && self.revoked.get(self.hasher.key(signed_part(token)), now).is_some()
    }

    fn revoke(&self, key: TokenKey, end: f64, now: f64) {
        self.revoked.insert(key, (), end, now);
        self.any.store(true, Ordering::Relaxed);
    }
}

impl Revocations {
    /// Revokes a token until it would have expired anyway.
    ///
    /// # Errors
    /// The store is away; this process refuses the token all the same.
    pub async fn revoke(&self, token: &str) -> Result<(), StoreError> {
        let now = unix_now();
        let end = unverified_expiry(token).unwrap_or(now + KEPT) + self.leeway;
        self.known.revoke(self.known.hasher.key(signed_part(token)), end, now);
        let keys = Keys::new(&self.namespace, token);
        self.store.set(&keys.state, b"revoked", until(end, now)).await
    }
}

/// Where a token stands in the store.
pub(crate) struct Keys {
    pub(crate) state: String,
    pub(crate) seen: String,
}

impl Keys {
    pub(crate) fn new(namespace: &str, token: &str) -> Self {
        let hash = sha256(signed_part(token));
        // Braces keep both on the same node of a cluster.
        let state = format!("token:{namespace}:{{{hash}}}:state");
        let seen = format!("token:{namespace}:{{{hash}}}:seen");
        Self { state, seen }
    }
}

/// The token without its signature. Revocations go by it: an ECDSA signature can be changed without the key and
/// stay good, and a revoked token must not come back that way.
fn signed_part(token: &str) -> &str {
    token.rsplit_once('.').map_or(token, |(signed, _)| signed)
}

pub(crate) fn sha256(text: &str) -> String {
    hex(digest(&SHA256, text.as_bytes()).as_ref())
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

pub(crate) fn unix_now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

/// The time from now to an end, at most some thirty years.
pub(crate) fn until(end: f64, now: f64) -> Duration {
    Duration::try_from_secs_f64((end - now).clamp(0.0, 1e9)).unwrap_or_default()
}
