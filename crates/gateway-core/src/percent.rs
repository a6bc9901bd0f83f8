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

/// A path with all that need not be encoded as itself, and the rest encoded, in capitals (RFC 3986 §3.3 and §6.2.2). A
/// `%` that begins no triplet stays.
///
/// ```
/// # use gateway_core::percent;
/// assert_eq!(percent::encoded_as_needed("/%61/caf%c3%a9/a|b/100%"), "/a/caf%C3%A9/a%7Cb/100%");
/// ```
#[must_use]
pub fn encoded_as_needed(path: &str) -> Cow<'_, str> {
    const DIGITS: [u8; 16] = *b"0123456789ABCDEF";
    let bytes = path.as_bytes();
    if bytes.iter().all(|byte| is_plain(*byte) || *byte == b'/') {
        return Cow::Borrowed(path);
    }
    let mut normal = String::with_capacity(path.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        // A whole triplet, or the sign alone where it is none.
        let triplet = (byte == b'%').then(|| triplet(&bytes[at + 1..])).flatten();
        at += if triplet.is_some() { 3 } else { 1 };
        let is_itself = match triplet {
            Some(byte) => is_unreserved(byte),
            None => is_plain(byte) || matches!(byte, b'/' | b'%'),
        };
        let byte = triplet.unwrap_or(byte);
        if is_itself {
            normal.push(char::from(byte));
        } else {
            let digit = |digit: u8| char::from(DIGITS[usize::from(digit)]);
            normal.extend(['%', digit(byte >> 4), digit(byte & 15)]);
        }
    }
    Cow::Owned(normal)
}

/// A text with white space and all beyond ASCII encoded, for whoever wrote it as it is read.
///
/// ```
/// # use gateway_core::percent;
/// assert_eq!(percent::in_ascii("/ä b/{id}/*"), "/%C3%A4%20b/{id}/*");
/// ```
#[must_use]
pub fn in_ascii(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_ascii_graphic() {
            encoded.push(c);
        } else {
            encoded += &encoded_as_needed(c.encode_utf8(&mut [0; 4]));
        }
    }
    encoded
}

/// What stands in a path's expression and in no path, as requests have all that need be encoded in capitals and nothing
/// else: what is told of the first. Within `[…]` it may be said not to stand there.
///
/// ```
/// # use gateway_core::percent;
/// let told = percent::never_in_paths("/caf(é|e)").unwrap();
/// assert_eq!(told, "requests have `é` percent-encoded: write `(?:%C3%A9)`");
/// assert_eq!(percent::never_in_paths("/%c3.*").unwrap(), "requests have `%c3` as `%C3`: write it so");
/// assert!(percent::never_in_paths("/[^é]+").is_none());
/// ```
#[must_use]
pub fn never_in_paths(expression: &str) -> Option<String> {
    // By their flags, some expressions ignore case and others blanks.
    let (any_case, no_blanks) = (expression.contains("(?i"), expression.contains("(?x"));
    let (mut classes, mut is_escaped) = (0u32, false);
    expression.char_indices().find_map(|(at, c)| {
        let was_escaped = std::mem::take(&mut is_escaped);
        match c {
            _ if was_escaped => {}
            '\\' => is_escaped = true,
            '[' => classes += 1,
            ']' => classes = classes.saturating_sub(1),
            _ => {}
        }
        if classes > 0 {
            return None;
        }
        if !c.is_ascii() || c == ' ' && !no_blanks {
            let encoded = in_ascii(c.encode_utf8(&mut [0; 4]));
            return Some(format!("requests have `{c}` percent-encoded: write `(?:{encoded})`"));
        }
        if c != '%' || any_case {
            return None;
        }
        triplet(&expression.as_bytes()[at + 1..])?;
        let triplet = expression.get(at..at + 3)?;
        let normal = encoded_as_needed(triplet);
        (normal != triplet).then(|| format!("requests have `{triplet}` as `{normal}`: write it so"))
    })
}

/// The byte that the two hexadecimal digits after a `%` stand for.
#[must_use]
pub fn triplet(digits: &[u8]) -> Option<u8> {
    let digit = |i: usize| digits.get(i).and_then(|b| char::from(*b).to_digit(16));
    u8::try_from(digit(0)? * 16 + digit(1)?).ok()
}

/// Whether the byte stands for itself wherever it is: letters, digits, `-`, `.`, `_` and `~` (RFC 3986 §2.3).
#[must_use]
pub fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// Whether the byte stands in paths as it is (RFC 3986 §3.3, `pchar`) and means nothing to us. Others are let pass by the
/// parsers of requests, and by many servers taken for their encoded form.
#[must_use]
#[inline]
pub fn is_plain(byte: u8) -> bool {
    PLAIN[usize::from(byte)]
}

static PLAIN: [bool; 256] = {
    let mut plain = [false; 256];
    let known = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~!$&'()*+,;=:@";
    let mut i = 0;
    while i < known.len() {
        plain[known[i] as usize] = true;
        i += 1;
    }
    plain
};

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

    #[test]
    fn what_no_path_has_is_found_in_expressions() {
        for (expression, told) in [
            ("/a/%C3%A9/[a-z]+", None),
            ("/a%2fb", Some("`%2f` as `%2F`")),
            ("/%C3%a9", Some("`%a9` as `%A9`")),
            ("/%61bc", Some("`%61` as `a`")),
            ("(?i)/%c3%a9", None),
            ("/[%c3 é]+", None),
            (r"/\[%c3", Some("`%c3` as `%C3`")),
            ("/100%", None),
            ("/%\u{e9}", Some("`é` percent-encoded")),
            ("/a b", Some("` ` percent-encoded: write `(?:%20)`")),
            (r"/a\ b", Some("` ` percent-encoded")),
            ("(?x) /a b", None),
        ] {
            let found = never_in_paths(expression);
            assert_eq!(found.is_some(), told.is_some(), "{expression}: {found:?}");
            assert!(found.unwrap_or_default().contains(told.unwrap_or_default()), "{expression}");
        }
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
