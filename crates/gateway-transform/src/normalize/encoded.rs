//! Sets of encoded bytes.

use gateway_core::percent;
use serde::de::{Deserialize, Deserializer, Error};
use std::borrow::Cow;

/// Bytes that may not stand in a path in their encoded form. Written as a list such as `["%3B", "%25"]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EncodedSet([u64; 4]);

impl EncodedSet {
    /// The set of these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        let mut set = [0; 4];
        for byte in bytes {
            set[usize::from(byte >> 6)] |= 1 << (byte & 63);
        }
        Self(set)
    }

    /// Whether the byte is one of them.
    #[must_use]
    pub fn contains(&self, byte: u8) -> bool {
        self.0[usize::from(byte >> 6)] & (1 << (byte & 63)) != 0
    }
}

impl<'de> Deserialize<'de> for EncodedSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let texts = Vec::<Cow<'_, str>>::deserialize(deserializer)?;
        let byte = |text: &Cow<'_, str>| {
            let digits = text.strip_prefix('%').filter(|digits| digits.len() == 2);
            digits.and_then(|digits| percent::triplet(digits.as_bytes())).ok_or_else(|| {
                D::Error::custom(format!("`{text}` is no encoded character; expected one such as \"%3B\""))
            })
        };
        Ok(Self::of(&texts.iter().map(byte).collect::<Result<Vec<u8>, _>>()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_lists_of_triplets() {
        let read = |text: &str| serde_json::from_str::<EncodedSet>(text);
        let set = read(r#"["%3b", "%25", "%FF", "%00"]"#).unwrap();
        assert_eq!(set, EncodedSet::of(b";%\xff\0"));
        assert!((0..=255).all(|byte| set.contains(byte) == [0x3b, 0x25, 0xff, 0].contains(&byte)));
        for wrong in [";", "%3", "%3BB", "3B", "%+1", "%é", ""] {
            let error = read(&format!("[{wrong:?}]")).unwrap_err().to_string();
            assert!(error.contains("is no encoded character; expected one such as \"%3B\""), "{error}");
        }
    }
}
