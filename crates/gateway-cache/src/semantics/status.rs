//! `Cache-Status`: what the cache did with a request, for whoever reads the answer (RFC 9211).

use gateway_core::{CacheResult, once};
use http::{HeaderName, HeaderValue, StatusCode};

pub(crate) static CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// Why a request went to the upstream (RFC 9211 §2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Forward {
    /// The operator, or what is asked for, goes around the cache.
    Bypass,
    Method,
    UriMiss,
    VaryMiss,
    /// The client wanted it.
    Request,
    Stale,
}

/// What is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// Answered from the store; how many seconds it is still fresh, negative where it is not.
    Hit { ttl: i64 },
    /// Stale, answered because the upstream failed.
    StaleOnError { ttl: i64, upstream: Option<StatusCode> },
    /// The upstream was asked.
    Forwarded { why: Forward, upstream: Option<StatusCode>, stored: bool, would_hit: bool },
    /// The upstream was asked by another request, whose answer this is too.
    Collapsed { why: Forward },
}

impl Forward {
    fn as_str(self) -> &'static str {
        match self {
            Self::Bypass => "bypass",
            Self::Method => "method",
            Self::UriMiss => "uri-miss",
            Self::VaryMiss => "vary-miss",
            Self::Request => "request",
            Self::Stale => "stale",
        }
    }
}

impl Told {
    /// In one word, for logs and metrics.
    pub(crate) fn result(self) -> CacheResult {
        match self {
            Self::Hit { ttl } if ttl > 0 => CacheResult::Hit,
            Self::Hit { .. } | Self::StaleOnError { .. } => CacheResult::Stale,
            Self::Collapsed { .. } => CacheResult::Collapsed,
            Self::Forwarded { why: Forward::Bypass | Forward::Method, .. } => CacheResult::Bypass,
            Self::Forwarded { upstream: Some(StatusCode::NOT_MODIFIED), .. } => CacheResult::Revalidated,
            Self::Forwarded { .. } => CacheResult::Miss,
        }
    }

    /// As a member of the list.
    pub(crate) fn value(self) -> HeaderValue {
        if let Self::Hit { ttl } = self {
            // By far the most: in memory of just that size.
            let (start, mut digits) = ("gateway; hit; ttl=", itoa::Buffer::new());
            let digits = digits.format(ttl);
            let mut text = String::with_capacity(start.len() + digits.len());
            text.push_str(start);
            text.push_str(digits);
            return once(HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("gateway")));
        }
        let mut text = String::with_capacity(64);
        text.push_str("gateway");
        let number = |text: &mut String, name: &str, number: i64| {
            text.push_str(name);
            text.push_str(itoa::Buffer::new().format(number));
        };
        match self {
            Self::Hit { ttl } => number(&mut text, "; hit; ttl=", ttl),
            Self::StaleOnError { ttl, upstream } => {
                // No `hit`: the request was forwarded (RFC 9211 §2.1).
                text.push_str("; fwd=stale");
                if let Some(status) = upstream {
                    number(&mut text, "; fwd-status=", status.as_u16().into());
                }
                number(&mut text, "; ttl=", ttl);
                text.push_str("; detail=stale-if-error");
            }
            Self::Forwarded { why, upstream, stored, would_hit } => {
                text.push_str("; fwd=");
                text.push_str(why.as_str());
                if let Some(status) = upstream {
                    number(&mut text, "; fwd-status=", status.as_u16().into());
                }
                if stored {
                    text.push_str("; stored");
                }
                if would_hit {
                    text.push_str("; detail=would-hit");
                }
            }
            Self::Collapsed { why } => {
                text.push_str("; fwd=");
                text.push_str(why.as_str());
                text.push_str("; collapsed");
            }
        }
        HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("gateway"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_9211_each_outcome_in_its_words() {
        let told = |why, upstream, stored| Told::Forwarded { why, upstream, stored, would_hit: false };
        for (told, expected) in [
            (Told::Hit { ttl: 30 }, "gateway; hit; ttl=30"),
            (Told::Hit { ttl: -5 }, "gateway; hit; ttl=-5"),
            (told(Forward::UriMiss, None, true), "gateway; fwd=uri-miss; stored"),
            (told(Forward::VaryMiss, None, false), "gateway; fwd=vary-miss"),
            (
                told(Forward::Stale, Some(StatusCode::NOT_MODIFIED), false),
                "gateway; fwd=stale; fwd-status=304",
            ),
            (told(Forward::Bypass, None, false), "gateway; fwd=bypass"),
            (told(Forward::Method, None, false), "gateway; fwd=method"),
            (Told::Collapsed { why: Forward::UriMiss }, "gateway; fwd=uri-miss; collapsed"),
            (
                Told::StaleOnError { ttl: -1, upstream: Some(StatusCode::BAD_GATEWAY) },
                "gateway; fwd=stale; fwd-status=502; ttl=-1; detail=stale-if-error",
            ),
            (
                Told::StaleOnError { ttl: -1, upstream: None },
                "gateway; fwd=stale; ttl=-1; detail=stale-if-error",
            ),
        ] {
            assert_eq!(told.value(), expected);
        }
    }
}
