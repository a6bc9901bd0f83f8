//! The two forms of a key: a hash in this process, a text on a server.

use super::KeyBy;
use crate::facts::Facts;
use gateway_core::{KeyedHash, KeyedHasher};
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

/// What stands for a caller: nobody can choose an identity that shares another's count.
pub(crate) type Key = u128;

/// What takes the parts of a key.
pub(super) trait Sink {
    fn bytes(&mut self, kind: &'static str, bytes: &[u8]);
    fn address(&mut self, bytes: &[u8], text: impl FnOnce() -> String);
}

impl Sink for KeyedHasher {
    fn bytes(&mut self, kind: &'static str, bytes: &[u8]) {
        // The lengths keep parts apart that would read the same side by side.
        self.write_u64((kind.len() as u64) << 48 ^ bytes.len() as u64);
        self.write(kind.as_bytes());
        self.write(bytes);
    }
    fn address(&mut self, bytes: &[u8], _: impl FnOnce() -> String) {
        self.bytes("", bytes);
    }
}

/// The key of a request in one tier, and whether it has all parts. A caller who changes tier starts anew there.
pub(crate) fn key(hash: &KeyedHash, by: &KeyBy, tier: u64, facts: &Facts<'_>) -> (Key, bool) {
    let mut hasher = hash.begin();
    hasher.write_u64(tier);
    let whole = by.write(facts, &mut hasher);
    (hasher.whole(), whole)
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
