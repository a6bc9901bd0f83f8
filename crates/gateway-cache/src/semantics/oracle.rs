//! The same questions to `http-cache-semantics`, which others wrote. Where the two differ on purpose:
//!
//! | what | here | there |
//! |---|---|---|
//! | several values of one directive | the least counts | the first counts |
//! | malformed numbers, dates with `Expires: 0` | stale | partly ignored |
//! | `must-understand` | known statuses only, and it lifts `no-store` | not known |
//! | `CDN-Cache-Control`, `stale-while-revalidate` | followed | not known |
//! | `proxy-revalidate` | never stale (RFC 9111 §5.2.2.8) | never fresh |
//! | `Date` | what is older than that when it comes is that old (§4.2.3) | only `Age` counts |
//! | statuses beyond a list | stored with explicit freshness (RFC 9111 §3) | not stored |
//! | answers that are of no use, as they are stale and cannot be asked about | not stored | stored |
//! | `Set-Cookie` | not stored | stored, and fresh only where `public` or `immutable` |
//! | `private="field"`, `no-cache="field"` | as if they stood alone | the same |
//!
//! So it is asked about well-formed answers with statuses that both know, and what is stored here has to be stored
//! there, fresh for as long.

use super::cache_control::RequestDirectives;
use super::reuse::{Reuse, reuse};
use super::terms::{Asked, Rules, terms};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_cache_semantics::{CacheOptions, CachePolicy};
use proptest::prelude::*;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_700_000_000)
}

/// Directives, each at most once.
fn directives() -> impl Strategy<Value = String> {
    let number = |name: &'static str| (0..200_u32).prop_map(move |secs| format!("{name}={secs}"));
    let optional = (
        proptest::option::of(number("max-age")),
        proptest::option::of(number("s-maxage")),
        proptest::sample::subsequence(
            vec!["no-store", "no-cache", "private", "public", "must-revalidate", "x-other"],
            0..3,
        ),
    );
    optional.prop_map(|(max_age, s_maxage, flags)| {
        let all = max_age.into_iter().chain(s_maxage).chain(flags.into_iter().map(ToOwned::to_owned));
        all.collect::<Vec<_>>().join(", ")
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]
    #[test]
    fn what_is_stored_and_fresh_here_is_so_there(
        directives in directives(),
        status in proptest::sample::select(vec![200_u16, 203, 300, 301, 404, 410]),
        expires in proptest::option::of(-100..200_i64),
        age in proptest::option::of(0..100_u32),
        etag in any::<bool>(),
        authorization in any::<bool>(),
        later in 0..300_u64,
    ) {
        let mut headers = HeaderMap::new();
        let date = |offset: i64| {
            let by = Duration::from_secs(offset.unsigned_abs());
            let at = if offset < 0 { now() - by } else { now() + by };
            HeaderValue::try_from(httpdate::fmt_http_date(at)).unwrap()
        };
        headers.insert("date", date(0));
        headers.insert("cache-control", HeaderValue::try_from(directives.as_str()).unwrap());
        expires.map(|offset| headers.insert("expires", date(offset)));
        age.map(|age| headers.insert("age", age.into()));
        if etag {
            headers.insert("etag", HeaderValue::from_static("\"a\""));
        }
        let mut request = Request::get("http://host/").body(()).unwrap();
        if authorization {
            request.headers_mut().insert("authorization", HeaderValue::from_static("x"));
        }
        let mut response = Response::new(());
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        *response.headers_mut() = headers.clone();

        let asked = Asked { identified: authorization, isolated: authorization, ..Asked::default() };
        let here = terms(asked, response.status(), &headers, (now(), now()), &Rules::default());
        let options = CacheOptions { shared: true, cache_heuristic: 0.0, ..CacheOptions::default() };
        let there = CachePolicy::new_options(&request, &response, now(), options);
        let at = now() + Duration::from_secs(later);

        if let Ok(terms) = here {
            prop_assert!(there.is_storable(), "{directives}: stored here only");
            let current = terms.initial_age + Duration::from_secs(later);
            prop_assert_eq!(current.as_secs(), there.age(at).as_secs(), "age");
            let fresh = reuse(&terms, current, false, &RequestDirectives::default()) == Reuse::Fresh;
            prop_assert_eq!(fresh, !there.is_stale(at) , "{} expires {:?} age {:?} after {} s", directives, expires, age, later);
        } else if there.is_storable() {
            // Only what is of no use here: neither fresh nor to be asked about.
            prop_assert!(there.is_stale(now()), "{directives}: {here:?}, but there it is fresh");
        }
    }
}
