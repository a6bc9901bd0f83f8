//! The request's target: how its path is read, and changed in place.

use http::Uri;
use http::uri::PathAndQuery;

/// Whether upper and lower case in a path differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Case {
    Differs,
    Ignored,
}

/// What comes after this prefix, if the path begins with it.
pub(crate) fn after<'p>(path: &'p str, prefix: &str, case: Case) -> Option<&'p str> {
    let (head, rest) = path.split_at_checked(prefix.len())?;
    let fits = match case {
        Case::Differs => head == prefix,
        Case::Ignored => head.eq_ignore_ascii_case(prefix),
    };
    fits.then_some(rest)
}

/// Puts another path and query in the place of a target's own.
pub(crate) fn set(uri: &mut Uri, target: PathAndQuery) {
    let old = std::mem::take(uri);
    *uri = if old.authority().is_none() {
        Uri::from(target)
    } else {
        let mut parts = old.clone().into_parts();
        parts.path_and_query = Some(target);
        Uri::from_parts(parts).unwrap_or(old)
    };
}
