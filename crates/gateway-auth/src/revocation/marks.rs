//! What a token can be revoked by: short names that tell nothing, the same in every instance.

use super::known::Revoked;
use crate::jwt::settings::{JwtSettings, OneOrMany};
use aws_lc_rs::digest::{Context, SHA256};
use serde_json::{Map, Value};
use std::sync::atomic::{AtomicU64, Ordering};

/// Layers that have their revocations in common.
#[derive(Debug)]
pub(crate) struct Group(Box<str>);

impl Group {
    pub(crate) fn of(settings: &JwtSettings) -> Self {
        let named = settings.revocation_group.clone();
        Self(
            named
                .map_or_else(
                    || match &settings.issuer {
                        None => String::new(),
                        Some(OneOrMany::One(issuer)) => issuer.clone(),
                        Some(OneOrMany::Many(issuers)) => issuers.join("\n"),
                    },
                    |name| format!("group {name}"),
                )
                .into(),
        )
    }
}

/// A token, a session, a token id or a subject: half of a SHA-256.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Mark(pub(crate) u128);

impl Mark {
    pub(crate) fn new(group: &Group, kind: &str, value: &str) -> Self {
        let mut context = Context::new(&SHA256);
        for part in ["gateway", &*group.0, kind, value] {
            // With its length in front, so that no two lists of parts look alike.
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part.as_bytes());
        }
        let half =
            context.finish().as_ref().iter().take(16).fold(0, |mark, byte| mark << 8 | u128::from(*byte));
        Self(half)
    }

    /// A token itself, whoever issued it.
    pub(crate) fn of_token(token: &str) -> Self {
        Self::new(&Group("".into()), "token", signed_part(token))
    }
}

/// The token without its signature. Revocations go by it: an ECDSA signature can be changed without the key and
/// stay good, and a revoked token must not come back that way.
pub(crate) fn signed_part(token: &str) -> &str {
    token.rsplit_once('.').map_or(token, |(signed, _)| signed)
}

/// All that a token can be revoked by.
#[derive(Debug)]
pub(crate) struct Marks {
    /// Token, token id, session and subject, as far as it has them.
    marks: [Option<Mark>; 4],
    /// When it was issued, as far as it says so.
    issued: Option<f64>,
    /// How many revocations there were when it was last compared with them.
    pub(super) compared: AtomicU64,
}

impl Marks {
    pub(crate) fn new(group: &Group, token: &str, claims: &Map<String, Value>, issued: Option<f64>) -> Self {
        let mark = |name: &str| match claims.get(name)? {
            Value::String(value) => Some(Mark::new(group, name, value)),
            // Against RFC 7519, and often seen.
            Value::Number(value) => Some(Mark::new(group, name, &value.to_string())),
            _ => None,
        };
        let marks = [Some(Mark::of_token(token)), mark("jti"), mark("sid"), mark("sub")];
        Self { marks, issued, compared: AtomicU64::new(0) }
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = Mark> {
        self.marks.into_iter().flatten()
    }

    /// Where they stand in the store.
    pub(crate) fn record_keys(&self) -> Vec<String> {
        self.all().map(super::listen::record_key).collect()
    }

    /// Whether a revocation means this token.
    pub(super) fn is_meant(&self, revoked: &Revoked) -> bool {
        self.issued.is_none_or(|issued| issued < revoked.before)
    }

    /// Whether a record of the store means this token. One that nobody can read is a revocation all the same.
    pub(crate) fn is_hit(&self, record: Option<&[u8]>) -> bool {
        record.is_some_and(|record| Revoked::read(record).is_none_or(|revoked| self.is_meant(&revoked)))
    }

    /// Whether it was compared with all of so many revocations.
    pub(super) fn is_compared(&self, changes: u64) -> bool {
        self.compared.load(Ordering::Relaxed) == changes
    }
}
