//! What a request that changes something makes out of date (RFC 9111 §4.4).

use http::header::{CONTENT_LOCATION, LOCATION};
use http::uri::Uri;
use http::{HeaderMap, Method, StatusCode};

/// Whether the method changes nothing (RFC 9110 §9.2.1), and so makes nothing out of date.
pub(crate) fn is_safe(method: &Method) -> bool {
    method.is_safe()
        || method.as_str() == "QUERY"
        || method.as_str() == "PROPFIND"
        || method.as_str() == "REPORT"
}

/// Whether the answer says that something has changed.
pub(crate) fn is_done(status: StatusCode) -> bool {
    status.is_success() || status.is_redirection()
}

/// The targets, each a path with its query, that the answer names in `Location` and `Content-Location` and that
/// are of the same origin as what was asked for: nobody makes another's answers out of date.
pub(crate) fn named(origin: &str, asked: &Uri, headers: &HeaderMap) -> Vec<String> {
    [LOCATION, CONTENT_LOCATION]
        .iter()
        .flat_map(|name| headers.get_all(name))
        .filter_map(|value| target(origin, asked, value.to_str().ok()?))
        .collect()
}

/// The target that the answer names in `Content-Location`, if it names one of the same origin.
pub(crate) fn content_location(origin: &str, asked: &Uri, headers: &HeaderMap) -> Option<String> {
    let mut lines = headers.get_all(CONTENT_LOCATION).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else { return None };
    target(origin, asked, line.to_str().ok()?)
}

fn target(origin: &str, asked: &Uri, reference: &str) -> Option<String> {
    let reference = reference.split('#').next().unwrap_or_default();
    if reference.is_empty() {
        return None;
    }
    if let Some((scheme, _)) = reference.split_once("://")
        && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
    {
        let uri: Uri = reference.parse().ok()?;
        let host = crate::key::origin(uri.scheme_str()?, uri.authority()?.as_str());
        return (host == origin)
            .then(|| uri.path_and_query().map_or("/".into(), |target| target.as_str().into()));
    }
    if let Some(rest) = reference.strip_prefix("//") {
        let (scheme, _) = origin.split_once("://")?;
        return target(origin, asked, &format!("{scheme}://{rest}"));
    }
    if reference.starts_with('/') {
        return Some(without_dots(reference));
    }
    if reference.starts_with('?') {
        return Some(format!("{}{reference}", asked.path()));
    }
    let folder = asked.path().rsplit_once('/').map_or("", |(folder, _)| folder);
    Some(without_dots(&format!("{folder}/{reference}")))
}

/// RFC 3986 §5.2.4, of the path.
fn without_dots(target: &str) -> String {
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    let mut segments: Vec<&str> = Vec::new();
    let count = path.split('/').count();
    for (i, segment) in path.split('/').enumerate().skip(1) {
        let is_last = i + 1 == count;
        match segment {
            "." if is_last => segments.push(""),
            "." => {}
            ".." => {
                segments.pop();
                if is_last {
                    segments.push("");
                }
            }
            segment => segments.push(segment),
        }
    }
    let path = format!("/{}", segments.join("/"));
    query.map_or(path.clone(), |query| format!("{path}?{query}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn rfc_9111_4_4_only_the_same_origin_is_made_out_of_date() {
        let asked: Uri = "/a/b?c".parse().unwrap();
        for (value, expected) in [
            ("/x?y", Some("/x?y")),
            ("x", Some("/a/x")),
            ("../x/./y", Some("/x/y")),
            ("?z", Some("/a/b?z")),
            ("http://host/x#part", Some("/x")),
            ("http://HOST:80/x", Some("/x")),
            ("//host/x", Some("/x")),
            ("https://host/x", None),
            ("http://other/x", None),
            ("//other/x", None),
            ("http://host.evil/x", None),
            ("#part", None),
        ] {
            let headers = HeaderMap::from_iter([(LOCATION, HeaderValue::from_static(value))]);
            let found = named("http://host", &asked, &headers);
            assert_eq!(found.first().map(String::as_str), expected, "{value}");
        }
    }
}
