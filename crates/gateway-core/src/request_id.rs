use crate::once;
use http::HeaderValue;

/// Request extension: the identifier of one request, in the log, in the problem body and on the way upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(HeaderValue);

impl RequestId {
    /// A new random UUID (version 4, RFC 9562 §5.4) in its usual text form.
    ///
    /// From the thread's own fast generator: unique, but not a secret.
    #[must_use]
    pub fn generate() -> Self {
        let (high, low) = (fastrand::u64(..), fastrand::u64(..));
        let (high, low) = ((high & !0xf000) | 0x4000, (low & (u64::MAX >> 2)) | (1 << 63));
        let (first, second) = (hex((high >> 32) as u32), hex(high as u32));
        let (third, fourth) = (hex((low >> 32) as u32), hex(low as u32));
        let mut text = [b'-'; 36];
        text[..8].copy_from_slice(&first);
        text[9..13].copy_from_slice(&second[..4]);
        text[14..18].copy_from_slice(&second[4..]);
        text[19..23].copy_from_slice(&third[..4]);
        text[24..28].copy_from_slice(&third[4..]);
        text[28..].copy_from_slice(&fourth);
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

    /// As a header value, without a copy.
    #[must_use]
    pub fn into_header(self) -> HeaderValue {
        self.0
    }

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }
}

/// In hexadecimal digits, all eight at once: there is an identifier for each request.
fn hex(number: u32) -> [u8; 8] {
    const ONES: u64 = u64::MAX / 255;
    // Each digit in a byte of its own.
    let mut spread = u64::from(number);
    spread = (spread | (spread << 16)) & 0x0000_ffff_0000_ffff;
    spread = (spread | (spread << 8)) & 0x00ff_00ff_00ff_00ff;
    spread = (spread | (spread << 4)) & (ONES * 0x0f);
    // `a` does not follow `9`.
    let letters = ((spread + ONES * 6) >> 4) & ONES;
    (spread + ONES * u64::from(b'0') + letters * u64::from(b'a' - b'0' - 10)).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_hexadecimal_digits() {
        for number in [0, 9, 10, 0x1234_5678, 0x9abc_def0, 0x0f0f_f0f0, 0x8000_0001, u32::MAX] {
            assert_eq!(hex(number), format!("{number:08x}").as_bytes());
        }
    }

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
