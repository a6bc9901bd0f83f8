//! Tokens that are refused before they expire.

pub(crate) mod known;
pub(crate) mod listen;
pub(crate) mod marks;
pub(crate) mod strict;

use crate::jwt::check::Shared;
use crate::jwt::token::{Token, unverified_claims};
use crate::text::{unix, unix_now, until};
use gateway_store::{Store, StoreError};
use known::Revoked;
use marks::Mark;
use std::sync::Arc;
use std::time::SystemTime;
use strict::Keys;

/// Revokes tokens before they expire: one, those of a session, or those that somebody was issued so far.
///
/// A revocation counts for this process at once. With Redis it is also written there, until the tokens would have
/// expired, and told to all other instances. How they come to know it is the setting `revocation`:
///
/// | | `push` | `strict`, the default on Redis |
/// |---|---|---|
/// | a request asks Redis | never | each time, in one round trip |
/// | a revocation counts elsewhere | within a second | with the next request |
/// | also revoked is what an operator deletes or flags | no | yes, see below |
/// | while Redis is away | those known so far count, and none with `on_store_failure = "deny"`: 503 | the same |
/// | needs | [`JwtLayer::listen`](crate::JwtLayer::listen), run as a task | nothing |
///
/// What stands in Redis, where `<mark>` is half of a hexadecimal SHA-256 of what is revoked, and `<token>` the whole
/// of that of the token without its signature (`printf %s "${TOKEN%.*}" | sha256sum`: some signatures can be changed
/// and still be good):
///
/// | key | value | meaning |
/// |---|---|---|
/// | `gateway:revoked:<mark>` | its end, and before when a token must have been issued, or `*` | revoked |
/// | `gateway:token:<layer>:{<token>}:state` | `valid`, the hash of the whole token, its key, its claims | passes, without a look at the signature |
/// | the same | `revoked` | 401 `revoked-token` |
/// | missing, where `gateway:token:<layer>:{<token>}:seen` is `1` | – | an operator deleted the entry: revoked |
/// | missing, and `…:seen` too | – | never seen, or the server has lost everything: verified, then entered |
///
/// So in `strict` mode a token is also revoked by setting its `state` to `revoked`, or by deleting it; a Redis that
/// comes back empty revokes nobody, and is told again what listening instances know. Who can write to Redis can let
/// anybody in: protect it accordingly.
#[derive(Clone)]
pub struct Revocations {
    pub(crate) shared: Arc<Shared>,
    pub(crate) store: Store,
}

impl std::fmt::Debug for Revocations {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Revocations").field("namespace", &self.shared.namespace).finish_non_exhaustive()
    }
}

impl Revocations {
    /// Whether a text is a token, as far as can be told without its key: only of one can the revocation count.
    #[must_use]
    pub fn is_token(text: &str) -> bool {
        Token::parse(text).and_then(|token| token.claims()).is_ok()
    }

    /// Revokes a token until it would have expired anyway.
    ///
    /// # Errors
    /// The store is away; this process refuses the token all the same.
    pub async fn revoke(&self, token: &str) -> Result<(), StoreError> {
        let now = unix_now();
        let end =
            unverified_claims(token).map_or(f64::INFINITY, |claims| self.shared.verifier.rules.end(&claims));
        let end = if end.is_finite() { end } else { now + self.shared.max_lifetime };
        let told = self.tell(Mark::of_token(token), Revoked::whole(end), now).await;
        let keys = Keys::new(&self.shared.namespace, token);
        self.store.set(&keys.state, b"revoked", until(end, now)).await?;
        told
    }

    /// Revokes all tokens of a session, by their claim `sid`, until a time: when the last of them would have expired.
    /// Default: the setting `max_lifetime` from now.
    ///
    /// # Errors
    /// The store is away; this process refuses the tokens all the same.
    pub async fn revoke_session(
        &self,
        sid: &str,
        until: impl Into<Option<SystemTime>>,
    ) -> Result<(), StoreError> {
        let now = unix_now();
        let mark = Mark::new(&self.shared.verifier.group, "sid", sid);
        self.tell(mark, Revoked::whole(self.end(until.into(), now)), now).await
    }

    /// Revokes the token with this id, its claim `jti`, until a time: when it would have expired. Default: the setting
    /// `max_lifetime` from now.
    ///
    /// # Errors
    /// The store is away; this process refuses the token all the same.
    pub async fn revoke_id(&self, jti: &str, until: impl Into<Option<SystemTime>>) -> Result<(), StoreError> {
        let now = unix_now();
        let mark = Mark::new(&self.shared.verifier.group, "jti", jti);
        self.tell(mark, Revoked::whole(self.end(until.into(), now)), now).await
    }

    /// Revokes the tokens of a subject, their claim `sub`, that were issued before a time (`iat`), or do not say when;
    /// until a time, when the last of them would have expired. Default: the setting `max_lifetime` after `before`.
    ///
    /// # Errors
    /// The store is away; this process refuses the tokens all the same.
    pub async fn revoke_subject(
        &self,
        sub: &str,
        before: SystemTime,
        until: impl Into<Option<SystemTime>>,
    ) -> Result<(), StoreError> {
        let (now, before) = (unix_now(), unix(before));
        let mark = Mark::new(&self.shared.verifier.group, "sub", sub);
        let end = self.end(until.into(), now.max(before));
        self.tell(mark, Revoked { before, end }, now).await
    }

    fn end(&self, until: Option<SystemTime>, from: f64) -> f64 {
        until.map_or(from + self.shared.max_lifetime, unix)
    }

    /// Here, in the store for who comes later, and to all who listen.
    async fn tell(&self, mark: Mark, revoked: Revoked, now: f64) -> Result<(), StoreError> {
        let revoked = self.shared.known.revoke(mark, revoked, now);
        if !self.store.is_shared() {
            return Ok(());
        }
        let told = listen::tell(&self.store, mark, revoked, now).await;
        if told.is_err() {
            // Whoever listens tells it later.
            self.shared.known.set_untold();
        }
        told
    }
}
