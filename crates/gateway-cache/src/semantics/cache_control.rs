//! `Cache-Control` in requests and answers (RFC 9111 §5.2).

use http::HeaderMap;
use http::header::{CACHE_CONTROL, PRAGMA};
use std::time::Duration;

/// More than a century: what a number too large to hold stands for (RFC 9111 §1.2.2 asks for at least 2^31).
pub(crate) const FOREVER: Duration = Duration::from_secs(1 << 32);

/// What an answer says of its reuse.
///
/// `private` and `no-cache` with a list of fields are taken as if they stood alone, as RFC 9111 §5.2.2.4 allows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ResponseDirectives {
    pub(crate) no_store: bool,
    pub(crate) no_cache: bool,
    pub(crate) private: bool,
    pub(crate) public: bool,
    pub(crate) must_revalidate: bool,
    pub(crate) proxy_revalidate: bool,
    pub(crate) must_understand: bool,
    pub(crate) max_age: Option<Duration>,
    pub(crate) s_maxage: Option<Duration>,
    pub(crate) stale_while_revalidate: Option<Duration>,
    pub(crate) stale_if_error: Option<Duration>,
}

impl ResponseDirectives {
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let mut found = Self::default();
        for line in headers.get_all(CACHE_CONTROL) {
            for (name, value) in Directives::new(line.as_bytes()) {
                found.set(name, value);
            }
        }
        found
    }

    /// Takes note of one directive; `value` is what stands after `=`, without quotes.
    pub(crate) fn set(&mut self, name: &[u8], value: Option<&[u8]>) {
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        if is("no-store") {
            self.no_store = true;
        } else if is("no-cache") {
            self.no_cache = true;
        } else if is("private") {
            self.private = true;
        } else if is("public") {
            self.public = true;
        } else if is("must-revalidate") {
            self.must_revalidate = true;
        } else if is("proxy-revalidate") {
            self.proxy_revalidate = true;
        } else if is("must-understand") {
            self.must_understand = true;
        } else if is("max-age") {
            least(&mut self.max_age, value);
        } else if is("s-maxage") {
            least(&mut self.s_maxage, value);
        } else if is("stale-while-revalidate") {
            least(&mut self.stale_while_revalidate, value);
        } else if is("stale-if-error") {
            least(&mut self.stale_if_error, value);
        }
    }
}

/// What a client asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RequestDirectives {
    pub(crate) no_store: bool,
    pub(crate) no_cache: bool,
    pub(crate) only_if_cached: bool,
    pub(crate) max_age: Option<Duration>,
    pub(crate) min_fresh: Option<Duration>,
    /// [`FOREVER`] without a value.
    pub(crate) max_stale: Option<Duration>,
    pub(crate) stale_if_error: Option<Duration>,
}

impl RequestDirectives {
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let mut found = Self::default();
        let mut any = false;
        for line in headers.get_all(CACHE_CONTROL) {
            any = true;
            for (name, value) in Directives::new(line.as_bytes()) {
                found.set(name, value);
            }
        }
        // RFC 9111 §5.4: only where the client says nothing newer.
        found.no_cache |= !any
            && headers.get_all(PRAGMA).iter().any(|line| {
                Directives::new(line.as_bytes()).any(|(n, _)| n.eq_ignore_ascii_case(b"no-cache"))
            });
        found
    }

    fn set(&mut self, name: &[u8], value: Option<&[u8]>) {
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        if is("no-store") {
            self.no_store = true;
        } else if is("no-cache") {
            self.no_cache = true;
        } else if is("only-if-cached") {
            self.only_if_cached = true;
        } else if is("max-age") {
            least(&mut self.max_age, value);
        } else if is("min-fresh") {
            // The most that is asked for is what keeps the promise.
            self.min_fresh = self.min_fresh.max(value.map(seconds));
        } else if is("max-stale") {
            let stale = value.map_or(FOREVER, seconds);
            self.max_stale = Some(self.max_stale.map_or(stale, |other| other.min(stale)));
        } else if is("stale-if-error") {
            least(&mut self.stale_if_error, value);
        }
    }
}

/// The least of several values: who says two things is taken by the more careful one (RFC 9111 §4.2.1).
fn least(slot: &mut Option<Duration>, value: Option<&[u8]>) {
    let value = value.map_or(Duration::ZERO, seconds);
    *slot = Some(slot.map_or(value, |other| other.min(value)));
}

/// A number of seconds; nothing that is not one counts as zero (RFC 9111 §4.2.1: considered stale).
fn seconds(value: &[u8]) -> Duration {
    delta_seconds(value).unwrap_or(Duration::ZERO)
}

/// A number of seconds, saturating (RFC 9111 §1.2.2).
pub(crate) fn delta_seconds(value: &[u8]) -> Option<Duration> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number =
        value.iter().fold(0_u64, |n, digit| n.saturating_mul(10).saturating_add(u64::from(digit - b'0')));
    Some(Duration::from_secs(number).min(FOREVER))
}

/// The directives of one line: commas within quotes do not separate, and what is malformed is skipped.
struct Directives<'a>(&'a [u8]);

impl<'a> Directives<'a> {
    fn new(line: &'a [u8]) -> Self {
        Self(line)
    }
}

impl<'a> Iterator for Directives<'a> {
    type Item = (&'a [u8], Option<&'a [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if self.0.is_empty() {
                return None;
            }
            let (mut quoted, mut escaped) = (false, false);
            let end = self.0.iter().position(|&byte| {
                let ends = byte == b',' && !quoted;
                if escaped {
                    escaped = false;
                } else if quoted && byte == b'\\' {
                    escaped = true;
                } else if byte == b'"' {
                    quoted = !quoted;
                }
                ends
            });
            let (item, rest) = match end {
                Some(end) => (&self.0[..end], &self.0[end + 1..]),
                None => (self.0, &[][..]),
            };
            self.0 = rest;
            let item = item.trim_ascii();
            if item.is_empty() {
                continue;
            }
            return Some(match item.iter().position(|byte| *byte == b'=') {
                // Spaces around `=` are malformed: the name is known, the value is none.
                Some(at) if item[..at].ends_with(b" ") || item[at + 1..].starts_with(b" ") => {
                    (item[..at].trim_ascii(), Some(&[]))
                }
                Some(at) => (&item[..at], Some(unquoted(&item[at + 1..]))),
                None => (item, None),
            });
        }
    }
}

fn unquoted(value: &[u8]) -> &[u8] {
    match value {
        [b'"', inner @ .., b'"'] => inner,
        value => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn headers(lines: &[&'static str]) -> HeaderMap {
        lines.iter().map(|line| (CACHE_CONTROL, HeaderValue::from_static(line))).collect()
    }

    #[test]
    fn max_age_is_read_from_anything_and_never_as_more_than_it_says() {
        for (lines, expected) in [
            (&["max-age=3600"][..], Some(3600)),
            (&["MaX-aGe=3600"], Some(3600)),
            (&["foobar, max-age=3600"], Some(3600)),
            (&["max-age=\"3600\""], Some(3600)),
            (&["max-age='3600'"], Some(0)),
            (&["extension=\"max-age=3600\", max-age=1"], Some(1)),
            (&["max-age=1, extension=\"max-age=3600\""], Some(1)),
            (&["extension=\"a\\\", max-age=3600\", max-age=1"], Some(1)),
            (&["extension=\"unfinished, max-age=3600"], None),
            (&["max-age=003600"], Some(3600)),
            (&["max-age=3600.5"], Some(0)),
            (&["max-age =3600"], Some(0)),
            (&["max-age= 3600"], Some(0)),
            (&["max-age=a3600"], Some(0)),
            (&["max-age=3600a"], Some(0)),
            (&["max-age=-3600"], Some(0)),
            (&["max-age"], Some(0)),
            (&["max-age=3600", "max-age=1800"], Some(1800)),
            (&["max-age=1, max-age=1800"], Some(1)),
            (&["max-age=99999999999"], Some(1 << 32)),
            (&["max-age=99999999999999999999999999"], Some(1 << 32)),
            (&[",,  ,max-age=5,"], Some(5)),
            (&[""], None),
        ] {
            let found = ResponseDirectives::of(&headers(lines)).max_age.map(|age| age.as_secs());
            assert_eq!(found, expected, "{lines:?}");
        }
    }

    #[test]
    fn directives_are_found_in_any_case_and_on_any_line() {
        let found =
            ResponseDirectives::of(&headers(&["nO-StOrE, Public", "private=\"set-cookie\", no-cache"]));
        assert!(found.no_store && found.public && found.private && found.no_cache);
        assert!(!ResponseDirectives::of(&headers(&["x-no-store, no-store-x"])).no_store);
    }

    #[test]
    fn a_client_may_ask_for_little_or_much() {
        let found = RequestDirectives::of(&headers(&["max-stale, min-fresh=5, min-fresh=9, only-if-cached"]));
        assert_eq!(found.max_stale, Some(FOREVER));
        assert_eq!(found.min_fresh, Some(Duration::from_secs(9)));
        assert!(found.only_if_cached && !found.no_cache);
        let pragma = HeaderMap::from_iter([(PRAGMA, HeaderValue::from_static("no-cache"))]);
        assert!(RequestDirectives::of(&pragma).no_cache);
        let mut both = pragma;
        both.insert(CACHE_CONTROL, HeaderValue::from_static("max-age=1"));
        assert!(!RequestDirectives::of(&both).no_cache, "Cache-Control comes first");
    }
}
