//! Header names as services may read them.

use http::{HeaderMap, HeaderName};

/// Whether some service takes two names for the same: CGI and its heirs (WSGI, Rack, PHP) turn every character that
/// is no letter or digit into an underscore. Names are in lower case.
fn is_same_to_a_service(a: &str, b: &str) -> bool {
    let other = |byte: u8| if byte.is_ascii_alphanumeric() { byte } else { b'_' };
    a.len() == b.len() && a.bytes().zip(b.bytes()).all(|(a, b)| other(a) == other(b))
}

/// Takes headers away that a service might take for one of these. Allocates only where there are any.
pub(crate) fn strip(headers: &mut HeaderMap, names: &[HeaderName]) {
    let is_ours =
        |name: &HeaderName| names.iter().any(|ours| is_same_to_a_service(name.as_str(), ours.as_str()));
    let spoofed: Vec<HeaderName> = headers.keys().filter(|name| is_ours(name)).cloned().collect();
    for name in spoofed {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_same_in_any_case_and_with_any_separator() {
        for (a, b, same) in [
            ("x-user-id", "x-user-id", true),
            ("x_user-id", "x-user-id", true),
            ("user-id", "user_id", true),
            ("user.id", "user_id", true),
            ("x-user-ids", "x-user-id", false),
            ("xuser-id", "x-user-id", false),
        ] {
            assert_eq!(is_same_to_a_service(a, b), same, "{a} {b}");
        }
    }
}
