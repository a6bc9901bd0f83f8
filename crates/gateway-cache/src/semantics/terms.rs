//! Whether an answer may be stored, and on which terms it may be used again (RFC 9111 §3).

use super::cache_control::ResponseDirectives;
use super::{conditional, freshness, targeted, vary};
use http::header::SET_COOKIE;
use http::{HeaderMap, HeaderName, StatusCode};
use std::time::{Duration, SystemTime};

/// Old, but browsers once kept it as they keep cookies.
static SET_COOKIE2: HeaderName = HeaderName::from_static("set-cookie2");

/// What the operator adds to what answers say.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rules {
    pub(crate) ttl: Option<Duration>,
    /// The `ttl` counts whatever the answer says.
    pub(crate) overrides: bool,
    /// Which answers the `ttl` is for.
    pub(crate) statuses: Vec<StatusCode>,
    pub(crate) negative: Vec<(StatusCode, Duration)>,
    pub(crate) heuristic: bool,
    pub(crate) set_cookie: bool,
    pub(crate) stale_while_revalidate: Duration,
    pub(crate) stale_if_error: Duration,
    /// Headers of requests that the upstream sees otherwise than the cache does.
    pub(crate) unseen: Vec<HeaderName>,
}

/// What counts of the request.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Asked {
    /// It asked for nothing to be stored.
    pub(crate) no_store: bool,
    /// It says who asks: `Authorization`, or a principal.
    pub(crate) identified: bool,
    /// Who asks is part of the key.
    pub(crate) isolated: bool,
    /// It has cookies that are not part of the key.
    pub(crate) cookies: bool,
}

/// The terms on which a stored answer may be used again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Terms {
    pub(crate) lifetime: Duration,
    /// How old it was when it came.
    pub(crate) initial_age: Duration,
    /// Never without asking.
    pub(crate) no_cache: bool,
    /// Never stale: `must-revalidate`, `proxy-revalidate`, `s-maxage`.
    pub(crate) must_revalidate: bool,
    pub(crate) stale_while_revalidate: Duration,
    pub(crate) stale_if_error: Duration,
}

/// Why an answer is not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unstorable {
    /// The request forbids it.
    Request,
    /// A status that is never stored, or that must be understood and is not.
    Status,
    NoStore,
    Private,
    SetCookie,
    Vary,
    /// To an authenticated request, without leave (RFC 9111 §3.5).
    Authorization,
    /// It says nothing about its freshness, or is of no use when it is stored.
    NoFreshness,
}

/// The terms of an answer that may be stored.
///
/// # Errors
/// Why it may not.
pub(crate) fn terms(
    asked: Asked,
    status: StatusCode,
    headers: &HeaderMap,
    (sent, received): (SystemTime, SystemTime),
    rules: &Rules,
) -> Result<Terms, Unstorable> {
    let targeted = targeted::directives(headers);
    let says = targeted.unwrap_or_else(|| ResponseDirectives::of(headers));
    if asked.no_store {
        return Err(Unstorable::Request);
    }
    if status.is_informational() || is_of_request(status) {
        return Err(Unstorable::Status);
    }
    if says.must_understand && !is_understood(status) {
        return Err(Unstorable::Status);
    }
    // RFC 9111 §5.2.2.3: who understands the status ignores the `no-store` that is for those who do not.
    if says.no_store && !says.must_understand {
        return Err(Unstorable::NoStore);
    }
    if says.private {
        return Err(Unstorable::Private);
    }
    if !rules.set_cookie && (headers.contains_key(SET_COOKIE) || headers.contains_key(&SET_COOKIE2)) {
        return Err(Unstorable::SetCookie);
    }
    if vary::is_star(headers) || vary::names_one(headers, &rules.unseen) {
        return Err(Unstorable::Vary);
    }
    let explicit = freshness::explicit(headers, &says, targeted.is_some(), received);
    let negative = rules.negative.iter().find(|(known, _)| *known == status).map(|(_, ttl)| *ttl);
    let operators = negative.or_else(|| rules.ttl.filter(|_| rules.statuses.contains(&status)));
    // What a user's cookies may have shaped is not shared because the answer forgot to say so.
    let own = operators.filter(|_| asked.isolated || !asked.cookies || rules.overrides);
    let with_leave = says.public || says.must_revalidate || says.s_maxage.is_some();
    let lent = own.is_some() && asked.isolated;
    if asked.identified && !with_leave && !lent {
        return Err(Unstorable::Authorization);
    }
    let guess = || {
        let allowed = rules.heuristic
            && !asked.cookies
            && (says.public || freshness::is_heuristically_cacheable(status));
        allowed.then(|| freshness::heuristic(headers, received)).flatten()
    };
    let (lifetime, is_operators) = match own {
        Some(ttl) if rules.overrides => (Some(ttl), true),
        own => (explicit.or(if says.no_cache { None } else { own.or_else(guess) }), false),
    };
    let stale = |said: Option<Duration>, default: Duration| {
        if is_operators { default } else { said.unwrap_or(default) }
    };
    let terms = Terms {
        lifetime: lifetime.unwrap_or_default(),
        initial_age: if is_operators {
            Duration::ZERO
        } else {
            freshness::initial_age(headers, sent, received)
        },
        no_cache: says.no_cache && !is_operators,
        must_revalidate: !is_operators
            && (says.must_revalidate || says.proxy_revalidate || says.s_maxage.is_some()),
        stale_while_revalidate: stale(says.stale_while_revalidate, rules.stale_while_revalidate),
        stale_if_error: stale(says.stale_if_error, rules.stale_if_error),
    };
    let is_fresh = !terms.no_cache && terms.lifetime > terms.initial_age;
    let is_checkable = conditional::has_validator(headers) && (lifetime.is_some() || says.no_cache);
    let is_useful_stale = lifetime.is_some()
        && !terms.no_cache
        && !terms.must_revalidate
        && terms.stale_while_revalidate.max(terms.stale_if_error) > Duration::ZERO;
    if is_fresh || is_checkable || is_useful_stale { Ok(terms) } else { Err(Unstorable::NoFreshness) }
}

/// Whether an answer is about the condition or the range that one client asked by, and not one to its URL: 304 and
/// 412, 206 and 416. Parts are not combined (docs/caching.md says why).
pub(crate) fn is_of_request(status: StatusCode) -> bool {
    matches!(status.as_u16(), 206 | 304 | 412 | 416)
}

/// The final statuses whose rules for caching this cache knows and keeps (RFC 9110 §15).
fn is_understood(status: StatusCode) -> bool {
    matches!(
        status.as_u16(),
        200..=205 | 300..=303 | 305 | 307 | 308 | 400..=417 | 421 | 422 | 426 | 500..=505
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use std::time::UNIX_EPOCH;

    const NOW: SystemTime = UNIX_EPOCH;
    fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    fn try_terms(
        asked: Asked,
        status: u16,
        lines: &[(&str, &str)],
        rules: &Rules,
    ) -> Result<Terms, Unstorable> {
        let headers = lines
            .iter()
            .map(|(name, value)| (name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap()))
            .collect();
        terms(asked, StatusCode::from_u16(status).unwrap(), &headers, (NOW, NOW), rules)
    }

    #[test]
    fn rfc_9111_3_what_is_stored_and_what_is_not() {
        use Unstorable::{NoFreshness, NoStore, Private, SetCookie, Status, Vary};
        let cc = "cache-control";
        for (status, lines, expected) in [
            (200, &[(cc, "max-age=60")][..], Ok(60)),
            (299, &[(cc, "max-age=60")], Ok(60)),
            (404, &[(cc, "max-age=60")], Ok(60)),
            (599, &[(cc, "max-age=60")], Ok(60)),
            (206, &[(cc, "max-age=60")], Err(Status)),
            (304, &[(cc, "max-age=60")], Err(Status)),
            (412, &[(cc, "max-age=60")], Err(Status)),
            (416, &[(cc, "max-age=60")], Err(Status)),
            (101, &[(cc, "max-age=60")], Err(Status)),
            (200, &[(cc, "no-store, max-age=60")], Err(NoStore)),
            (200, &[(cc, "private, max-age=60")], Err(Private)),
            (200, &[(cc, "private=\"x\", max-age=60")], Err(Private)),
            (200, &[(cc, "max-age=60"), ("set-cookie", "a=b")], Err(SetCookie)),
            (200, &[(cc, "max-age=60"), ("vary", "a"), ("vary", "b, *")], Err(Vary)),
            (200, &[], Err(NoFreshness)),
            (200, &[("etag", "\"a\"")], Err(NoFreshness)),
            (200, &[(cc, "no-cache")], Err(NoFreshness)),
            (200, &[(cc, "no-cache"), ("etag", "\"a\"")], Ok(0)),
            (200, &[(cc, "max-age=0")], Err(NoFreshness)),
            (200, &[(cc, "max-age=0"), ("etag", "\"a\"")], Ok(0)),
            (200, &[(cc, "max-age=0, stale-while-revalidate=9")], Ok(0)),
            (200, &[(cc, "max-age=60"), ("age", "61")], Err(NoFreshness)),
            (200, &[(cc, "must-understand, no-store, max-age=60")], Ok(60)),
            (299, &[(cc, "must-understand, no-store, max-age=60")], Err(Status)),
            (200, &[(cc, "no-store"), ("cdn-cache-control", "max-age=60")], Ok(60)),
            (200, &[(cc, "max-age=60"), ("cdn-cache-control", "no-store")], Err(NoStore)),
            (200, &[(cc, "max-age=60"), ("cdn-cache-control", "private, ,")], Ok(60)),
            (
                200,
                &[("expires", "Fri, 01 Jan 2038 01:01:01 GMT"), ("cdn-cache-control", "a")],
                Err(NoFreshness),
            ),
        ] {
            let found = try_terms(Asked::default(), status, lines, &Rules::default());
            assert_eq!(found.map(|terms| terms.lifetime.as_secs()), expected, "{status} {lines:?}");
        }
    }

    #[test]
    fn what_varies_by_what_nobody_here_sees_is_not_stored() {
        let rules = Rules { unseen: vec![HeaderName::from_static("x-user-id")], ..Rules::default() };
        for (vary, expected) in [
            ("X-User-Id", Err(Unstorable::Vary)),
            ("accept,x-user-id", Err(Unstorable::Vary)),
            ("accept", Ok(60)),
            ("x-user-id2", Ok(60)),
        ] {
            let lines = [("cache-control", "public, max-age=60"), ("vary", vary)];
            let found = try_terms(Asked::default(), 200, &lines, &rules);
            assert_eq!(found.map(|terms| terms.lifetime.as_secs()), expected, "{vary}");
        }
    }

    #[test]
    fn rfc_9111_3_5_an_answer_to_who_is_identified_needs_leave() {
        let asked = Asked { identified: true, isolated: true, ..Asked::default() };
        for (value, expected) in [
            ("max-age=60", false),
            ("max-age=60, public", true),
            ("max-age=60, must-revalidate", true),
            ("s-maxage=60", true),
            ("max-age=60, proxy-revalidate", false),
        ] {
            let found = try_terms(asked, 200, &[("cache-control", value)], &Rules::default());
            assert_eq!(found.is_ok(), expected, "{value}: {found:?}");
        }
    }

    #[test]
    fn the_operators_ttl_is_leave_only_where_everyone_has_a_copy_of_their_own() {
        let rules = Rules { ttl: Some(secs(30)), statuses: vec![StatusCode::OK], ..Rules::default() };
        let isolated = Asked { identified: true, isolated: true, cookies: true, ..Asked::default() };
        let shared = Asked { isolated: false, ..isolated };
        let with_cookies = Asked { cookies: true, ..Asked::default() };
        assert!(try_terms(isolated, 200, &[], &rules).is_ok());
        assert_eq!(try_terms(shared, 200, &[], &rules), Err(Unstorable::Authorization));
        assert_eq!(try_terms(with_cookies, 200, &[], &rules), Err(Unstorable::NoFreshness));
        assert!(try_terms(with_cookies, 200, &[("cache-control", "max-age=1")], &rules).is_ok());
        assert_eq!(
            try_terms(isolated, 200, &[("cache-control", "private")], &rules),
            Err(Unstorable::Private)
        );
    }

    #[test]
    fn the_operators_ttl_is_a_default_or_comes_first() {
        let mut rules = Rules {
            ttl: Some(secs(30)),
            statuses: vec![StatusCode::OK],
            negative: vec![(StatusCode::NOT_FOUND, secs(5))],
            ..Rules::default()
        };
        let found = |rules: &Rules, status, value: &str| {
            let lines: &[_] = if value.is_empty() { &[] } else { &[("cache-control", value)] };
            try_terms(Asked::default(), status, lines, rules).map(|terms| terms.lifetime.as_secs())
        };
        assert_eq!(found(&rules, 200, ""), Ok(30));
        assert_eq!(found(&rules, 200, "max-age=7"), Ok(7));
        assert_eq!(found(&rules, 200, "no-cache"), Err(Unstorable::NoFreshness));
        assert_eq!(found(&rules, 404, ""), Ok(5));
        assert_eq!(found(&rules, 404, "max-age=7"), Ok(7));
        assert_eq!(found(&rules, 500, ""), Err(Unstorable::NoFreshness));
        rules.overrides = true;
        assert_eq!(found(&rules, 200, "max-age=7"), Ok(30));
        assert_eq!(found(&rules, 200, "no-cache"), Ok(30));
        assert_eq!(found(&rules, 404, "max-age=7"), Ok(5));
        assert_eq!(found(&rules, 500, "max-age=7"), Ok(7));
        assert_eq!(found(&rules, 200, "no-store"), Err(Unstorable::NoStore), "never against a refusal");
        assert_eq!(found(&rules, 200, "private"), Err(Unstorable::Private));
    }
}
