//! The request's target, changed in place.

use http::Uri;
use http::uri::PathAndQuery;

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
