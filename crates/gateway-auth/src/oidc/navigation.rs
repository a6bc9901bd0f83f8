//! Which requests are sent to a login, and where they may come back to: decisions over the head of a request.

use http::Method;
use http::header::{ACCEPT, HeaderMap};

/// Longer targets do not fit into the cookie of a login.
const MAX_RETURN: usize = 2048;

/// Whether somebody looks at the answer in a browser's window, and can be sent to a login and back without loss.
///
/// A script would follow the redirect to a page that it cannot read, and the body of a `POST` would be gone. Browsers
/// say what they are at by Fetch Metadata; where they are too old, only the kinds that they accept tell.
pub(crate) fn is_navigation(method: &Method, headers: &HeaderMap) -> bool {
    let says = |name: &str| headers.get(name).map(|value| value.as_bytes().trim_ascii());
    method == Method::GET
        && says("x-requested-with").is_none()
        && says("sec-fetch-mode").is_none_or(|mode| mode.eq_ignore_ascii_case(b"navigate"))
        // Nobody may ever look at it.
        && says("sec-purpose").is_none()
        && accepts_html(headers)
}

fn accepts_html(headers: &HeaderMap) -> bool {
    let values = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|kind| {
        let kind = kind.split(';').next().unwrap_or_default().trim();
        kind.eq_ignore_ascii_case("text/html") || kind.eq_ignore_ascii_case("application/xhtml+xml")
    })
}

/// The path, with its query, if browsers resolve it to a page of the same origin; else `/`.
///
/// `//host` names another host, browsers take `\` for `/`, and skip tabs and line ends wherever they stand (WHATWG
/// URL, §4.4).
pub(crate) fn return_path(target: &str) -> &str {
    let good = target.len() <= MAX_RETURN
        && target.starts_with('/')
        && !target.starts_with("//")
        && target.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    if good { target } else { "/" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use proptest::prelude::*;

    #[test]
    fn only_what_a_browser_shows_in_a_window_is_sent_to_a_login() {
        const HTML: (&str, &str) = ("accept", "text/html,application/xhtml+xml,*/*;q=0.8");
        for (method, headers, expected) in [
            ("GET", &[HTML][..], true),
            ("GET", &[HTML, ("sec-fetch-mode", "navigate")], true),
            ("GET", &[("accept", "Application/XHTML+xml;q=0.9")], true),
            ("GET", &[], false),
            ("GET", &[("accept", "*/*")], false),
            ("GET", &[("accept", "application/json")], false),
            ("GET", &[("accept", "text/htmlx")], false),
            ("GET", &[HTML, ("sec-fetch-mode", "cors")], false),
            ("GET", &[HTML, ("sec-fetch-mode", "no-cors")], false),
            ("GET", &[HTML, ("x-requested-with", "XMLHttpRequest")], false),
            ("GET", &[HTML, ("sec-purpose", "prefetch;prerender")], false),
            ("POST", &[HTML, ("sec-fetch-mode", "navigate")], false),
            ("HEAD", &[HTML], false),
            ("OPTIONS", &[HTML], false),
        ] {
            let mut map = HeaderMap::new();
            for (name, value) in headers {
                map.append(*name, HeaderValue::from_static(value));
            }
            assert_eq!(is_navigation(&method.parse().unwrap(), &map), expected, "{method} {headers:?}");
        }
    }

    #[test]
    fn no_return_path_leads_to_another_host() {
        for good in ["/", "/a/b?c=d&e=//f#g", "/%2f%2fevil.example", "/.//evil.example", "/a?x=https://b/"] {
            assert_eq!(return_path(good), good);
        }
        for bad in [
            "",
            "a",
            "//evil.example",
            "///evil.example",
            "/\\evil.example",
            "\\\\evil.example",
            "/a\\..\\\\evil.example",
            "https://evil.example/",
            "https:evil.example",
            "javascript:alert(1)",
            "/\t/evil.example",
            "/\n/evil.example",
            "/a\r\nSet-Cookie: x=1",
            " //evil.example",
            "/ /a",
            "/ä",
            "/\u{7f}",
        ] {
            assert_eq!(return_path(bad), "/", "{bad:?}");
        }
        assert_eq!(return_path(&format!("/{}", "a".repeat(MAX_RETURN))), "/");
    }

    proptest! {
        #[test]
        fn a_return_path_is_always_a_header_and_a_path(target in "[/\\\\a.:?\\t\\r\\n é]{0,12}") {
            let path = return_path(&target);
            prop_assert!(HeaderValue::from_str(path).is_ok());
            // What browsers make of it: no tabs and line ends, slashes for backslashes.
            let read: String = path.chars().filter(|c| !"\t\r\n".contains(*c)).collect::<String>().replace('\\', "/");
            prop_assert!(read.starts_with('/') && !read.starts_with("//"), "{path:?}");
        }
    }
}
