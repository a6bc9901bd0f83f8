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

/// A path's expression with what it has percent-encoded as requests have it, in capitals; or what stands in it and in no
/// path, as requests have all encoded that need be and nothing else. Within `[…]` it may be said not to stand there.
///
/// ```
/// # use gateway_core::percent;
/// assert_eq!(percent::in_expression("/caf%c3%a9(/.*)?").unwrap(), "/caf%C3%A9(/.*)?");
/// let told = percent::in_expression("/caf(é|e)").unwrap_err();
/// assert_eq!(told, "requests have `é` percent-encoded: write `(?:%C3%A9)`");
/// assert_eq!(percent::in_expression("/%61").unwrap_err(), "requests have `%61` as `a`: write it so");
/// assert!(percent::in_expression("/[^é]+").is_ok());
/// ```
///
/// # Errors
///
/// What is told of the first that no path has.
pub fn in_expression(expression: &str) -> Result<Cow<'_, str>, String> {
    let mut normal = Cow::Borrowed(expression);
    let (mut at, mut classes, mut ignores_blanks) = (0, 0u32, false);
    while let Some(c) = expression[at..].chars().next() {
        let rest = &expression[at..];
        let until = |end| rest.find(end).unwrap_or(rest.len());
        at += match c {
            '\\' => match rest.as_bytes().get(1) {
                Some(escaped) if escaped.is_ascii_punctuation() && *escaped != b'%' => 2,
                _ => 1,
            },
            '[' => {
                classes += 1;
                1
            }
            ']' => {
                classes = classes.saturating_sub(1);
                1
            }
            _ if classes > 0 => c.len_utf8(),
            // The name of a group, numbers and properties, comments.
            '(' if rest.starts_with("(?<") || rest.starts_with("(?P<") => until('>'),
            '{' => until('}'),
            '#' if ignores_blanks => until('\n'),
            '(' => {
                let flags = rest.strip_prefix("(?").and_then(|flags| flags.split([':', ')', '-']).next());
                ignores_blanks |= flags.is_some_and(|flags| flags.contains('x'));
                1
            }
            '%' if triplet(&rest.as_bytes()[1..]).is_some() => {
                let encoded = encoded_as_needed(&rest[..3]);
                if encoded.len() < 3 {
                    return Err(format!("requests have `{}` as `{encoded}`: write it so", &rest[..3]));
                }
                if encoded != rest[..3] {
                    normal.to_mut().replace_range(at..at + 3, &encoded);
                }
                3
            }
            ' ' if ignores_blanks => 1,
            _ if c == ' ' || !c.is_ascii() => {
                let encoded = in_ascii(c.encode_utf8(&mut [0; 4]));
                return Err(format!("requests have `{c}` percent-encoded: write `(?:{encoded})`"));
            }
            _ => 1,
        };
    }
    Ok(normal)
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
        for (expression, normal) in [
            ("/a/%C3%A9/[a-z]+", Ok("/a/%C3%A9/[a-z]+")),
            ("/a%2fb", Ok("/a%2Fb")),
            ("/%C3%a9(%c3)*", Ok("/%C3%A9(%C3)*")),
            (r"/\[%c3\\%c3\%c3", Ok(r"/\[%C3\\%C3\%C3")),
            ("/[%c3 é]+", Ok("/[%c3 é]+")),
            ("/100%", Ok("/100%")),
            ("(?x) /a b # é\n", Ok("(?x) /a b # é\n")),
            ("(?s-i)(?six: /%c3 )", Ok("(?s-i)(?six: /%C3 )")),
            ("/[0-9]{2, 4}/(?<größe>a)(?P<é>b)", Ok("/[0-9]{2, 4}/(?<größe>a)(?P<é>b)")),
            ("/%61bc", Err("`%61` as `a`")),
            ("(?i)/%7E", Err("`%7E` as `~`")),
            ("/%\u{e9}", Err("`é` percent-encoded")),
            ("/(?<a>é)", Err("`é` percent-encoded")),
            ("/a b", Err("` ` percent-encoded: write `(?:%20)`")),
            ("(?i-x)/a b", Err("` ` percent-encoded")),
            (r"/a\ b", Err("` ` percent-encoded")),
        ] {
            match (in_expression(expression), normal) {
                (Ok(found), Ok(normal)) => assert_eq!(found, normal),
                (Err(found), Err(told)) => assert!(found.contains(told), "{expression}: {found}"),
                (found, _) => panic!("{expression}: {found:?}"),
            }
        }
    }

    proptest! {
        #[test]
        fn an_expression_is_as_long_as_before(text in r"[\[\](){}\\?<>%#xi:cC3 é\n-]{0,20}") {
            if let Ok(normal) = in_expression(&text) {
                prop_assert!(normal.eq_ignore_ascii_case(&text));
            }
        }

        #[test]
        fn whatever_is_encoded_byte_for_byte_comes_back(bytes: Vec<u8>) {
            let text: String = bytes.iter().map(|byte| format!("%{byte:02x}")).collect();
            prop_assert_eq!(&*decoded(&text), &*bytes);
            prop_assert_eq!(&*form_decoded(&text), &*bytes);
        }
    }
}
