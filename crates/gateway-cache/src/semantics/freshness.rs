//! How long an answer is fresh, and how old it is (RFC 9111 §4.2).

use super::cache_control::{FOREVER, ResponseDirectives, delta_seconds};
use super::targeted;
use http::header::{AGE, DATE, EXPIRES, LAST_MODIFIED};
use http::{HeaderMap, HeaderName, StatusCode};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A share of the time since the last change (RFC 9111 §4.2.2).
const HEURISTIC_SHARE: u32 = 10;
/// And no longer than a day, after which RFC 7234 asked for a warning.
const HEURISTIC_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// A field with a date. `None` where there is no such field, or it is none that HTTP knows.
pub(crate) fn date(headers: &HeaderMap, name: &HeaderName) -> Option<SystemTime> {
    httpdate::parse_http_date(headers.get(name)?.to_str().ok()?).ok()
}

/// When the answer was made: its `Date`, else when it came.
pub(crate) fn made(headers: &HeaderMap, received: SystemTime) -> SystemTime {
    date(headers, &DATE).unwrap_or(received)
}

/// The time for which the answer itself says it is fresh (RFC 9111 §4.2.1); `None` where it says nothing.
/// `Expires` counts only beside `Cache-Control`, not beside a targeted field.
pub(crate) fn explicit(
    headers: &HeaderMap,
    says: &ResponseDirectives,
    is_targeted: bool,
    received: SystemTime,
) -> Option<Duration> {
    says.s_maxage.or(says.max_age).or_else(|| {
        if is_targeted || !headers.contains_key(EXPIRES) {
            return None;
        }
        let mut lines = headers.get_all(EXPIRES).iter();
        let first = lines.next()?;
        // Two dates that differ are none.
        let expires = lines.all(|line| line == first).then(|| date(headers, &EXPIRES)).flatten();
        let made = made(headers, whole_seconds(received));
        // What is no date, `0` above all, is in the past (RFC 9111 §5.3).
        Some(expires.and_then(|at| at.duration_since(made).ok()).unwrap_or_default().min(FOREVER))
    })
}

/// Whether the answer itself says how long it is fresh.
pub(crate) fn is_explicit(headers: &HeaderMap, received: SystemTime) -> bool {
    let targeted = targeted::directives(headers);
    let says = targeted.unwrap_or_else(|| ResponseDirectives::of(headers));
    explicit(headers, &says, targeted.is_some(), received).is_some()
}

/// The time for which an answer may be taken to be fresh that says nothing but when it last changed.
pub(crate) fn heuristic(headers: &HeaderMap, received: SystemTime) -> Option<Duration> {
    let changed = date(headers, &LAST_MODIFIED)?;
    let since = made(headers, received).duration_since(changed).ok()?;
    Some((since / HEURISTIC_SHARE).min(HEURISTIC_MAX))
}

/// Whether the status itself allows for a heuristic (RFC 9110 §15.1).
pub(crate) fn is_heuristically_cacheable(status: StatusCode) -> bool {
    matches!(status.as_u16(), 200 | 203 | 204 | 300 | 301 | 308 | 404 | 405 | 410 | 414 | 501)
}

/// How old the answer already was when it came (RFC 9111 §4.2.3).
pub(crate) fn initial_age(headers: &HeaderMap, asked: SystemTime, received: SystemTime) -> Duration {
    // `Date` has no more than seconds: a part of one is no age.
    let apparent = date(headers, &DATE)
        .and_then(|made| whole_seconds(received).duration_since(made).ok())
        .unwrap_or_default();
    let delay = received.duration_since(asked).unwrap_or_default();
    apparent.max(age(headers).saturating_add(delay)).min(FOREVER)
}

/// The `Age` field: of several values the first, and nothing where that is no number (RFC 9111 §5.1).
fn age(headers: &HeaderMap) -> Duration {
    let value = headers.get(AGE).map_or(&b""[..], |value| value.as_bytes());
    let first = value.split(|byte| *byte == b',').next().unwrap_or_default();
    delta_seconds(first.trim_ascii()).unwrap_or_default()
}

fn whole_seconds(time: SystemTime) -> SystemTime {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    UNIX_EPOCH + Duration::from_secs(since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn at(secs: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_000_000_000 + secs)
    }

    fn headers(lines: &[(HeaderName, &str)]) -> HeaderMap {
        lines.iter().map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap())).collect()
    }

    fn shown(secs: u64) -> String {
        httpdate::fmt_http_date(at(secs))
    }

    #[test]
    fn rfc_9111_4_2_1_the_lifetime_is_what_comes_first() {
        let lifetime = |text: &str, expires: Option<String>, date: Option<String>| {
            let mut map = headers(&[(http::header::CACHE_CONTROL, text)]);
            expires.map(|expires| map.append(EXPIRES, HeaderValue::from_str(&expires).unwrap()));
            date.map(|date| map.append(DATE, HeaderValue::from_str(&date).unwrap()));
            explicit(&map, &ResponseDirectives::of(&map), false, at(0)).map(|time| time.as_secs())
        };
        assert_eq!(lifetime("s-maxage=1, max-age=3600", Some(shown(50)), None), Some(1));
        assert_eq!(lifetime("max-age=3600", Some(shown(50)), None), Some(3600));
        assert_eq!(lifetime("max-age=0", Some(shown(50)), None), Some(0));
        assert_eq!(lifetime("x", Some(shown(50)), None), Some(50));
        assert_eq!(lifetime("x", Some(shown(50)), Some(shown(20))), Some(30));
        assert_eq!(lifetime("x", Some(shown(50)), Some(shown(60))), Some(0));
        assert_eq!(lifetime("x", Some("0".into()), None), Some(0));
        assert_eq!(lifetime("x", Some(shown(50)), Some("foo".into())), Some(50));
        assert_eq!(lifetime("x", None, None), None);
    }

    #[test]
    fn rfc_9111_4_2_3_the_age_is_the_greater_of_what_the_clocks_and_the_caches_say() {
        let age = |value: &str, date: u64| {
            initial_age(&headers(&[(AGE, value), (DATE, &shown(date))]), at(98), at(100)).as_secs()
        };
        assert_eq!(age("0", 100), 2, "two seconds under way");
        assert_eq!(age("30", 100), 32);
        assert_eq!(age("30", 40), 60);
        assert_eq!(age("30", 400), 32, "a Date in the future is no age");
        for (value, expected) in [("7200, 0", 7202), ("0, 7200", 2), ("abc", 2), ("-5", 2), ("7200.0", 2)] {
            assert_eq!(age(value, 100), expected, "{value}");
        }
        assert_eq!(age("99999999999999999999", 100), FOREVER.as_secs());
    }

    #[test]
    fn rfc_9111_4_2_2_a_tenth_of_the_time_since_the_last_change() {
        let since = |secs: u64| {
            let map = headers(&[(LAST_MODIFIED, &shown(0)), (DATE, &shown(secs))]);
            heuristic(&map, at(secs)).map(|time| time.as_secs())
        };
        assert_eq!(since(3600), Some(360));
        assert_eq!(since(100 * 24 * 3600), Some(24 * 3600));
        assert_eq!(heuristic(&HeaderMap::new(), at(0)), None);
    }
}
