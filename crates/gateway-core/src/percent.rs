//! What percent-encoded text stands for (RFC 3986 §2.1). What is no valid encoding stands for itself.
//!
//! Without an allocation where nothing is encoded, and as bytes: what is no UTF-8 stays apart.

use std::borrow::Cow;

/// In a path, where a `+` is a plus.
///
/// ```
/// # use gateway_core::percent;
/// assert_eq!(*percent::decoded("100%25+%4"), *b"100%+%4");
/// ```
#[must_use]
pub fn decoded(text: &str) -> Cow<'_, [u8]> {
    decoded_with(text, b'+')
}

/// In the names and values of a query, where a `+` is a space, as in forms.
///
/// ```
/// # use gateway_core::percent;
/// assert_eq!(*percent::form_decoded("100%25+%4"), *b"100% %4");
/// ```
#[must_use]
pub fn form_decoded(text: &str) -> Cow<'_, [u8]> {
    decoded_with(text, b' ')
}

fn decoded_with(text: &str, plus: u8) -> Cow<'_, [u8]> {
    let bytes = text.as_bytes();
    if !bytes.iter().any(|byte| matches!(byte, b'%' | b'+')) {
        return Cow::Borrowed(bytes);
    }
    let digit = |at: usize| bytes.get(at).and_then(|byte| char::from(*byte).to_digit(16));
    let (mut plain, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while let Some(byte) = bytes.get(at) {
        match (byte, digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                // Two hexadecimal digits are one byte.
                plain.push((high << 4 | low) as u8);
                at += 2;
            }
            (b'+', ..) => plain.push(plus),
            _ => plain.push(*byte),
        }
        at += 1;
    }
    Cow::Owned(plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_no_valid_encoding_stands_for_itself() {
        for (text, path, form) in [
            ("", "", ""),
            ("a b", "a b", "a b"),
            ("x%20y+z", "x y+z", "x y z"),
            ("%zz%4", "%zz%4", "%zz%4"),
            ("%2B%2b", "++", "++"),
            ("%%41%", "%A%", "%A%"),
            ("é%c3%A9", "éé", "éé"),
        ] {
            assert_eq!(*decoded(text), *path.as_bytes(), "{text}");
            assert_eq!(*form_decoded(text), *form.as_bytes(), "{text}");
        }
        assert_eq!(*decoded("%ff"), [0xff]);
    }

    proptest! {
        #[test]
        fn whatever_is_encoded_byte_for_byte_comes_back(bytes: Vec<u8>) {
            let text: String = bytes.iter().map(|byte| format!("%{byte:02x}")).collect();
            prop_assert_eq!(&*decoded(&text), &*bytes);
            prop_assert_eq!(&*form_decoded(&text), &*bytes);
        }
    }
}
