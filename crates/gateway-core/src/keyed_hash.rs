use siphasher::sip128::{Hasher128, SipHasher13};
use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};

/// Hashes of 128 bits under a secret: what stands for a caller or a token in a map, so that nobody who does not know
/// the secret can make one that is taken for another. By chance it happens once in 10³⁸ pairs.
///
/// SipHash-1-3, as `std`'s maps have it, with its longer result. A copy makes the same hashes.
///
/// ```
/// use gateway_core::KeyedHash;
///
/// let (hash, other) = (KeyedHash::default(), KeyedHash::default());
/// assert_eq!(hash.of(b"ada"), hash.of(b"ada"));
/// assert_ne!(hash.of(b"ada"), hash.of(b"bob"));
/// assert_ne!(hash.of(b"ada"), other.of(b"ada"));
/// ```
#[derive(Clone, Copy)]
pub struct KeyedHash(SipHasher13);

impl KeyedHash {
    /// With these secrets, to read what was written under them. [`default`](Self::default) has new ones.
    #[must_use]
    pub fn from_secrets([first, second]: [u64; 2]) -> Self {
        Self(SipHasher13::new_with_keys(first, second))
    }

    /// The secrets, to be kept with what they were used for.
    #[must_use]
    pub fn secrets(&self) -> [u64; 2] {
        self.0.keys().into()
    }

    /// The hash of bytes.
    #[must_use]
    pub fn of(&self, bytes: &[u8]) -> u128 {
        self.0.hash(bytes).into()
    }

    /// The hash of what will be written, piece by piece.
    #[must_use]
    pub fn begin(&self) -> KeyedHasher {
        KeyedHasher(self.0)
    }
}

/// A [`KeyedHash`] of what was written so far. As with every [`Hasher`], `finish` says its half.
#[derive(Clone)]
pub struct KeyedHasher(SipHasher13);

impl KeyedHasher {
    /// The hash of all that was written.
    #[must_use]
    pub fn whole(&self) -> u128 {
        self.0.finish128().into()
    }
}

impl Hasher for KeyedHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.write(bytes);
    }
    fn write_u8(&mut self, number: u8) {
        self.0.write_u8(number);
    }
    fn write_u64(&mut self, number: u64) {
        self.0.write_u64(number);
    }
    fn write_usize(&mut self, number: usize) {
        self.0.write_usize(number);
    }
    fn finish(&self) -> u64 {
        self.0.finish()
    }
}

/// Without what would tell of the secrets.
impl fmt::Debug for KeyedHasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedHasher").finish_non_exhaustive()
    }
}

impl Default for KeyedHash {
    /// With secrets of its own, from the system's source of randomness.
    fn default() -> Self {
        Self::from_secrets([(); 2].map(|()| RandomState::new().hash_one(0u8)))
    }
}

impl PartialEq for KeyedHash {
    fn eq(&self, other: &Self) -> bool {
        self.secrets() == other.secrets()
    }
}

impl Eq for KeyedHash {}

/// Without the secrets.
impl fmt::Debug for KeyedHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedHash").finish_non_exhaustive()
    }
}
