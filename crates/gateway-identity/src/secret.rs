//! What must not be seen: passwords and tokens, and what is made of them.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::{hmac, rand};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::fmt;

/// A password or a token: `Debug` does not show it, and there is no `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides the text.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, for the one place that needs it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl<'de> serde::Deserialize<'de> for Secret {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d).map(Self)
    }
}

impl schemars::JsonSchema for Secret {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Secret".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string" })
    }
    fn inline_schema() -> bool {
        true
    }
}

/// Random bytes of the operating system's quality.
///
/// # Panics
/// Never in practice: AWS-LC ends the process when the system gives no entropy.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).expect("the system has random numbers");
    bytes
}

pub(crate) fn base64(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

pub(crate) fn unbase64(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

/// A new refresh token: 256 random bits.
pub(crate) fn refresh_token() -> Secret {
    Secret(base64(&random::<32>()))
}

/// The token that follows a used one. Made from both the used token, which the database does not have, and a salt,
/// which nobody else has: who asks twice within the grace gets the same, and neither alone tells it.
pub(crate) fn successor(used: &Secret, salt: &str) -> Secret {
    let key = hmac::Key::new(hmac::HMAC_SHA256, used.0.as_bytes());
    Secret(base64(hmac::sign(&key, salt.as_bytes()).as_ref()))
}

/// Under what a token stands in the database. It is as random as the hash is wide: no salt is needed.
pub(crate) fn fingerprint(text: &str) -> String {
    base64(digest(&SHA256, text.as_bytes()).as_ref())
}

/// An identifier that sorts by the time it was made (UUID version 7, RFC 9562 §5.7).
pub(crate) fn new_id(now: i64) -> String {
    let millis = u64::try_from(now).unwrap_or(0);
    uuid::Builder::from_unix_timestamp_millis(millis, &random::<10>()).into_uuid().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_successor_needs_both_the_used_token_and_the_salt() {
        let used = refresh_token();
        assert_eq!(successor(&used, "salt"), successor(&used, "salt"));
        assert_ne!(successor(&used, "salt"), successor(&used, "other"));
        assert_ne!(successor(&used, "salt"), successor(&refresh_token(), "salt"));
        assert_eq!(unbase64(successor(&used, "salt").expose()).unwrap().len(), 32);
    }

    #[test]
    fn a_secret_is_not_shown() {
        assert_eq!(format!("{:?}", Secret::new("hunter2")), "Secret(…)");
    }

    #[test]
    fn identifiers_sort_by_their_time() {
        assert!(new_id(1_000) < new_id(1_001));
        assert_eq!(uuid::Uuid::parse_str(&new_id(5)).unwrap().get_version_num(), 7);
    }
}
