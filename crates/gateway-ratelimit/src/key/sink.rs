//! The two forms of a key: a hash in this process, a text on a server.

use super::KeyBy;
use crate::facts::Facts;
use std::collections::hash_map::DefaultHasher;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};

/// 128 bits from two hashes with a secret before each, so that nobody can choose an identity that shares another's
/// count; by chance it happens once in 10³⁸ pairs.
pub(crate) type Key = u128;

/// What takes the parts of a key.
pub(super) trait Sink {
    fn bytes(&mut self, kind: &'static str, bytes: &[u8]);
    fn address(&mut self, bytes: &[u8], text: impl FnOnce() -> String);
}

/// Makes keys; a copy makes the same.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct KeyHasher([u64; 4]);

/// Without the secrets.
impl std::fmt::Debug for KeyHasher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyHasher").finish_non_exhaustive()
    }
}

impl Default for KeyHasher {
    fn default() -> Self {
        Self([(); 4].map(|()| RandomState::new().hash_one(0u8)))
    }
}

struct Hashing(DefaultHasher, DefaultHasher);

impl Sink for Hashing {
    fn bytes(&mut self, kind: &'static str, bytes: &[u8]) {
        // The length keeps parts apart that would read the same side by side.
        for hasher in [&mut self.0, &mut self.1] {
            hasher.write_usize(kind.len());
            hasher.write(kind.as_bytes());
            hasher.write_usize(bytes.len());
            hasher.write(bytes);
        }
    }
    fn address(&mut self, bytes: &[u8], _: impl FnOnce() -> String) {
        for hasher in [&mut self.0, &mut self.1] {
            bytes.hash(hasher);
        }
    }
}

impl KeyHasher {
    /// The key of a request in one tier; `None` where it lacks a part. A caller who changes tier starts anew there.
    pub(crate) fn key(&self, by: &KeyBy, tier: u64, facts: &Facts<'_>) -> (Key, bool) {
        let start = |half: [u64; 2]| {
            let mut hasher = DefaultHasher::new();
            half.hash(&mut hasher);
            tier.hash(&mut hasher);
            hasher
        };
        let [a, b, c, d] = self.0;
        let mut hashing = Hashing(start([a, b]), start([c, d]));
        let whole = by.write(facts, &mut hashing);
        ((u128::from(hashing.0.finish()) << 64) | u128::from(hashing.1.finish()), whole)
    }

    /// The secrets, to be kept with counts that outlive the process.
    pub(crate) fn secrets(&self) -> [u64; 4] {
        self.0
    }

    pub(crate) fn from_secrets(secrets: [u64; 4]) -> Self {
        Self(secrets)
    }
}

/// A text of more than this many bytes is cut, and its hash put in place of the rest.
const LONGEST: usize = 512;

struct Reading(String);

impl Sink for Reading {
    fn bytes(&mut self, kind: &'static str, bytes: &[u8]) {
        if !self.0.is_empty() {
            self.0.push('|');
        }
        self.0.push_str(kind);
        if kind == "nobody" {
            return;
        }
        self.0.push('=');
        for byte in bytes.iter().take(LONGEST) {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b':' | b'@' | b'/' => {
                    self.0.push(char::from(*byte));
                }
                // Among others those which mean something in a key.
                byte => self.0.push_str(&format!("%{byte:02X}")),
            }
        }
        if bytes.len() > LONGEST {
            let mut hasher = DefaultHasher::new();
            bytes.hash(&mut hasher);
            self.0.push_str(&format!("%{:016x}", hasher.finish()));
        }
    }
    fn address(&mut self, _: &[u8], text: impl FnOnce() -> String) {
        let text = text();
        self.bytes("ip", text.as_bytes());
    }
}

/// The same as a text that is the same in every instance: `principal=ada`, `ip=192.0.2.1|route=orders`.
pub(crate) fn readable(by: &KeyBy, facts: &Facts<'_>) -> String {
    let mut reading = Reading(String::with_capacity(40));
    by.write(facts, &mut reading);
    reading.0
}
