//! What a request is counted under: a hash of its caller, so that no key is allocated per request.

use crate::KeyBy;
use gateway_core::{ClientAddr, Principal};
use http::Extensions;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::net::IpAddr;

/// 128 bits from two independently keyed SipHashes. The keys are random and never leave the process, so that
/// nobody can choose an identity that shares another's count; by chance it happens once in 10³⁸ pairs.
pub(crate) type Key = u128;

#[derive(Clone, Debug, Default)]
pub(crate) struct KeyHasher(RandomState, RandomState);

#[derive(Hash)]
enum Caller<'a> {
    Principal(&'a str),
    V4([u8; 4]),
    V6Network([u8; 8]),
    Nobody,
}

impl KeyHasher {
    /// The key of a request in one tier. A caller who changes tier starts anew there.
    pub(crate) fn key(&self, by: KeyBy, tier: usize, facts: &Extensions) -> Key {
        let address = || match facts.get::<ClientAddr>().map(ClientAddr::ip) {
            Some(IpAddr::V4(ip)) => Caller::V4(ip.octets()),
            Some(IpAddr::V6(ip)) => {
                let [a, b, c, d, e, f, g, h, ..] = ip.octets();
                Caller::V6Network([a, b, c, d, e, f, g, h])
            }
            None => Caller::Nobody,
        };
        let principal = || facts.get::<Principal>().map(|principal| Caller::Principal(principal.id()));
        let caller = match by {
            KeyBy::Caller => principal().unwrap_or_else(address),
            KeyBy::ClientIp => address(),
            KeyBy::Principal => principal().unwrap_or(Caller::Nobody),
            KeyBy::All => Caller::Nobody,
        };
        let half = |state: &RandomState| {
            let mut hasher = state.build_hasher();
            tier.hash(&mut hasher);
            caller.hash(&mut hasher);
            hasher.finish()
        };
        (u128::from(half(&self.0)) << 64) | u128::from(half(&self.1))
    }
}
