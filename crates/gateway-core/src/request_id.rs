use crate::once;
use http::HeaderValue;

/// Each byte in hexadecimal digits.
const HEX: [[u8; 2]; 256] = {
    let (digits, mut pairs, mut byte) = (b"0123456789abcdef", [[0; 2]; 256], 0);
    while byte < 256 {
        pairs[byte] = [digits[byte >> 4], digits[byte & 15]];
        byte += 1;
    }
    pairs
};
/// Where in the text of a UUID each of its bytes stands.
const PLACES: [usize; 16] = [0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34];

/// Request extension: the identifier of one request, in the log, in the problem body and on the way upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(HeaderValue);

impl RequestId {
    /// A new random UUID (version 4, RFC 9562 §5.4) in its usual text form.
    ///
    /// From the thread's own fast generator: unique, but not a secret.
    #[must_use]
    pub fn generate() -> Self {
        let mut bytes = fastrand::u128(..).to_be_bytes();
        bytes[6] = (bytes[6] & 0x0f) | 0x40;
        bytes[8] = (bytes[8] & 0x3f) | 0x80;
        let mut text = [b'-'; 36];
        for (byte, at) in bytes.into_iter().zip(PLACES) {
            text[at..at + 2].copy_from_slice(&HEX[usize::from(byte)]);
        }
        // Hex digits and dashes are always valid in a header value; the empty value is never reached.
        Self(once(HeaderValue::from_bytes(&text).unwrap_or(HeaderValue::from_static(""))))
    }

    /// Takes over an identifier that came with the request, if it is safe to log and to pass on: 1 to 128
    /// letters, digits and `-_.:/+=@`.
    #[must_use]
    pub fn from_inbound(value: &HeaderValue) -> Option<Self> {
        let bytes = value.as_bytes();
        let safe = |b: &u8| b.is_ascii_alphanumeric() || b"-_.:/+=@".contains(b);
        ((1..=128).contains(&bytes.len()) && bytes.iter().all(safe)).then(|| Self(once(value.clone())))
    }

    /// As a header value.
    #[must_use]
    pub fn as_header(&self) -> &HeaderValue {
        &self.0
    }

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_ids_are_version_4_uuids_and_differ() {
        let (a, b) = (RequestId::generate(), RequestId::generate());
        assert_ne!(a, b);
        let text = a.as_str();
        assert_eq!(text.len(), 36, "{text}");
        let dashes: Vec<_> = text.char_indices().filter(|(_, c)| *c == '-').map(|(i, _)| i).collect();
        assert_eq!(dashes, [8, 13, 18, 23], "{text}");
        assert_eq!(&text[14..15], "4", "{text}");
        assert!("89ab".contains(&text[19..20]), "{text}");
    }

    #[test]
    fn inbound_ids_are_kept_only_when_harmless() {
        let long = "x".repeat(129);
        for (text, kept) in
            [("abc-1", true), ("", false), ("a b", false), ("a\"b", false), ("a,b", false), (&*long, false)]
        {
            let value = HeaderValue::from_str(text).unwrap();
            assert_eq!(RequestId::from_inbound(&value).is_some(), kept, "{text:?}");
        }
    }

    #[test]
    fn rfc_7541_7_1_3_ids_are_not_kept_for_later_requests_of_the_connection() {
        assert!(RequestId::generate().as_header().is_sensitive());
        let own = RequestId::from_inbound(&HeaderValue::from_static("abc-1"));
        assert!(own.is_some_and(|id| id.as_header().is_sensitive()));
    }
}
