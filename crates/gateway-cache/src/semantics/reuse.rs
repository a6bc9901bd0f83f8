//! Whether a stored answer may be used for a request (RFC 9111 §4, RFC 5861).

use super::cache_control::RequestDirectives;
use super::terms::Terms;
use std::time::Duration;

/// What may be done with a stored answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reuse {
    /// Fresh enough.
    Fresh,
    /// Stale, and the client does not mind.
    Stale,
    /// Stale, and is to be refreshed in the background.
    Refresh,
    /// The client wants the upstream to be asked.
    AskedFor,
    /// Too old: the upstream has to be asked.
    TooOld,
}

/// What may be done with an answer of this age. `is_marked` where a soft purge made it stale.
pub(crate) fn reuse(terms: &Terms, age: Duration, is_marked: bool, wants: &RequestDirectives) -> Reuse {
    if wants.no_cache {
        return Reuse::AskedFor;
    }
    if terms.no_cache {
        return Reuse::TooOld;
    }
    let is_young = wants.max_age.is_none_or(|max| age <= max);
    let is_fresh = !is_marked && age < terms.lifetime;
    if is_fresh {
        let left = terms.lifetime - age;
        let lasts = wants.min_fresh.is_none_or(|min| left >= min);
        return if is_young && lasts { Reuse::Fresh } else { Reuse::AskedFor };
    }
    if terms.must_revalidate || wants.min_fresh.is_some() || !is_young {
        return Reuse::TooOld;
    }
    let staleness = age.saturating_sub(terms.lifetime);
    if !is_marked && wants.max_stale.is_some_and(|max| staleness <= max) {
        return Reuse::Stale;
    }
    if !terms.stale_while_revalidate.is_zero() && staleness <= terms.stale_while_revalidate {
        return Reuse::Refresh;
    }
    Reuse::TooOld
}

/// Whether it may be used because the upstream fails (RFC 5861 §4).
pub(crate) fn on_error(terms: &Terms, age: Duration, wants: &RequestDirectives) -> bool {
    if terms.no_cache || terms.must_revalidate || wants.no_cache {
        return false;
    }
    let staleness = age.saturating_sub(terms.lifetime);
    let allowed = terms.stale_if_error.max(wants.stale_if_error.unwrap_or_default());
    !allowed.is_zero() && staleness <= allowed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[test]
    fn rfc_9111_4_2_4_fresh_stale_or_to_be_asked_for() {
        let plain = Terms { lifetime: secs(10), ..Terms::default() };
        let strict = Terms { must_revalidate: true, stale_while_revalidate: secs(9), ..plain };
        let lenient = Terms { stale_while_revalidate: secs(5), ..plain };
        let never = Terms { no_cache: true, ..lenient };
        let any = RequestDirectives::default();
        let no_cache = RequestDirectives { no_cache: true, ..any };
        let max_age = RequestDirectives { max_age: Some(secs(5)), ..any };
        let min_fresh = RequestDirectives { min_fresh: Some(secs(5)), ..any };
        let max_stale = RequestDirectives { max_stale: Some(secs(3)), ..any };
        for (terms, age, marked, wants, expected) in [
            (&plain, 0, false, &any, Reuse::Fresh),
            (&plain, 9, false, &any, Reuse::Fresh),
            (&plain, 10, false, &any, Reuse::TooOld),
            (&plain, 0, true, &any, Reuse::TooOld),
            (&plain, 0, false, &no_cache, Reuse::AskedFor),
            (&plain, 5, false, &max_age, Reuse::Fresh),
            (&plain, 6, false, &max_age, Reuse::AskedFor),
            (&plain, 5, false, &min_fresh, Reuse::Fresh),
            (&plain, 6, false, &min_fresh, Reuse::AskedFor),
            (&plain, 13, false, &max_stale, Reuse::Stale),
            (&plain, 14, false, &max_stale, Reuse::TooOld),
            (&strict, 11, false, &max_stale, Reuse::TooOld),
            (&strict, 11, false, &any, Reuse::TooOld),
            (&lenient, 15, false, &any, Reuse::Refresh),
            (&lenient, 16, false, &any, Reuse::TooOld),
            (&lenient, 3, true, &any, Reuse::Refresh),
            (&never, 0, false, &any, Reuse::TooOld),
        ] {
            assert_eq!(
                reuse(terms, secs(age), marked, wants),
                expected,
                "{terms:?} {age} {marked} {wants:?}"
            );
        }
    }

    #[test]
    fn rfc_5861_4_stale_if_error_is_for_as_long_as_it_says() {
        let plain = Terms { lifetime: secs(10), ..Terms::default() };
        let lenient = Terms { stale_if_error: secs(5), ..plain };
        let any = RequestDirectives::default();
        let asks = RequestDirectives { stale_if_error: Some(secs(50)), ..any };
        assert!(!on_error(&plain, secs(11), &any));
        assert!(on_error(&lenient, secs(15), &any));
        assert!(!on_error(&lenient, secs(16), &any));
        assert!(on_error(&lenient, secs(16), &asks));
        assert!(!on_error(&Terms { must_revalidate: true, ..lenient }, secs(11), &asks));
        assert!(!on_error(&Terms { no_cache: true, ..lenient }, secs(11), &asks));
    }
}
