use crate::text::hex;
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// 32 of 62 characters: 190 bits.
const RANDOM: usize = 32;
const CHECK: usize = 6;

/// A new API key. Whoever made it shows it once and keeps its [`hash`](ApiKey::hash); it is nowhere else.
///
/// `gw_live_4oX…_1aB9zQ`: a prefix by which scanners for leaked secrets know it, 190 random bits, and check digits
/// by which a mistyped key is known from a foreign one.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey(String);

/// Without the key.
impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(…)")
    }
}

impl ApiKey {
    /// A random key that begins with this prefix, such as `gw_live`.
    ///
    /// # Panics
    /// The system has no random numbers, as if there could be keys without.
    #[must_use]
    #[allow(clippy::expect_used)]
    pub fn generate(prefix: &str) -> Self {
        let mut text = format!("{prefix}_");
        let mut bytes = [0; 64];
        while text.len() < prefix.len() + 1 + RANDOM {
            rand::fill(&mut bytes).expect("the system has random numbers");
            // 248 is the last multiple of 62: beyond it some characters would come more often.
            let fair = bytes.iter().filter(|byte| **byte < 248).map(|byte| DIGITS[usize::from(byte % 62)]);
            let missing = prefix.len() + 1 + RANDOM - text.len();
            text.extend(fair.take(missing).map(char::from));
        }
        let check = check_digits(&text);
        Self(format!("{text}_{check}"))
    }

    /// The key itself.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What is kept of it.
    #[must_use]
    pub fn hash(&self) -> KeyHash {
        KeyHash::of(&self.0)
    }
}

/// Whether a key was made by [`ApiKey::generate`] and not mistyped since; `None` if it has another form.
pub(crate) fn is_intact(key: &str) -> Option<bool> {
    let (text, check) = key.rsplit_once('_')?;
    let (_, random) = text.rsplit_once('_')?;
    let digits = |text: &str, len| text.len() == len && text.bytes().all(|b| b.is_ascii_alphanumeric());
    (digits(random, RANDOM) && digits(check, CHECK)).then(|| check_digits(text) == check)
}

fn check_digits(text: &str) -> String {
    let mut rest = crc32(text.as_bytes()) as usize;
    let mut digits = [0; CHECK];
    for digit in digits.iter_mut().rev() {
        *digit = DIGITS[rest % 62];
        rest /= 62;
    }
    digits.iter().map(|digit| char::from(*digit)).collect()
}

/// CRC-32 as of IEEE 802.3, bit by bit: keys are short, and this is for new ones and wrong ones.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg());
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}

/// The SHA-256 of an API key, `sha256:` and 64 hexadecimal digits: `printf %s "$KEY" | sha256sum`.
///
/// Without salt: keys are random, so that there is nothing to guess from their hashes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyHash([u8; 32]);

impl KeyHash {
    /// The hash of a key.
    #[must_use]
    pub fn of(key: &str) -> Self {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest(&SHA256, key.as_bytes()).as_ref());
        Self(hash)
    }
}

impl fmt::Display for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", hex(&self.0))
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

const EXPECTED: &str = "the SHA-256 of a key as `sha256:` and 64 hexadecimal digits";

impl FromStr for KeyHash {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // What was found may be the key itself, by mistake: it is not repeated.
        let wrong = || format!("this is no hash of an API key; expected {EXPECTED}");
        let digits = text.strip_prefix("sha256:").filter(|digits| digits.len() == 64 && digits.is_ascii());
        let digits = digits.ok_or_else(wrong)?.as_bytes();
        let mut hash = [0; 32];
        for (byte, pair) in hash.iter_mut().zip(digits.chunks_exact(2)) {
            let digit = |at: usize| char::from(pair[at]).to_digit(16).ok_or_else(wrong);
            // Two hexadecimal digits are one byte.
            *byte = (digit(0)? << 4 | digit(1)?) as u8;
        }
        Ok(Self(hash))
    }
}

impl<'de> Deserialize<'de> for KeyHash {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Cow::<'_, str>::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

impl Serialize for KeyHash {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl JsonSchema for KeyHash {
    fn schema_name() -> Cow<'static, str> {
        "KeyHash".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^sha256:[0-9a-fA-F]{64}$", "description": EXPECTED })
    }
    fn inline_schema() -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_digits_are_those_of_crc_32() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926, "the check value of the algorithm");
    }

    #[test]
    fn generated_keys_differ_and_know_when_they_are_mistyped() {
        let (a, b) = (ApiKey::generate("gw_live"), ApiKey::generate("gw_live"));
        assert_ne!(a, b);
        assert!(a.as_str().starts_with("gw_live_") && a.as_str().len() == 8 + 32 + 1 + 6, "{}", a.as_str());
        assert_eq!(is_intact(a.as_str()), Some(true));
        let typo =
            a.as_str().replace(&a.as_str()[10..11], if &a.as_str()[10..11] == "x" { "y" } else { "x" });
        assert_eq!(is_intact(&typo), Some(false), "{typo}");
        for foreign in ["", "_", "__", "secret", "gw_live_short_1aB9zQ"] {
            assert_eq!(is_intact(foreign), None, "{foreign}");
        }
        assert!(!format!("{a:?}").contains(&a.as_str()[8..]));
    }

    #[test]
    fn a_hash_is_read_as_it_is_written_and_a_key_in_its_place_is_not_repeated() {
        let hash = KeyHash::of("secret");
        assert_eq!(
            hash.to_string(),
            "sha256:2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b"
        );
        assert_eq!(hash.to_string().parse(), Ok(hash));
        for wrong in ["gw_live_secret", "sha256:", "sha256:zz", &format!("sha256:{}", "é".repeat(32))] {
            let error = wrong.parse::<KeyHash>().unwrap_err();
            assert!(error.contains("sha256:") && !error.contains("gw_live"), "{error}");
        }
    }
}
