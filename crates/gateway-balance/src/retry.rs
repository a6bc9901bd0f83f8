//! Whether a failed attempt may be repeated: pure decisions.

use crate::RetrySettings;
use gateway_core::FailureKind;
use http::header::RETRY_AFTER;
use http::request::Parts;
use http::{HeaderMap, Response, StatusCode};
use std::time::{Duration, SystemTime};

/// How one attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome<'a> {
    Failed(FailureKind),
    Answered(StatusCode, &'a HeaderMap),
}

/// What an outcome says about the endpoint it came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It answered, and not with a 5xx status.
    Good,
    /// It answered with a 5xx status other than those of [`Verdict::GatewayError`].
    ServerError,
    /// It answered with 502, 503 or 504.
    GatewayError,
    /// It could not be connected to, broke the connection, did not speak HTTP, or took too long.
    LocalFailure,
    /// Nothing: the client itself broke off or asked for what cannot be sent, a kept connection had been closed while it
    /// was idle, or the gateway had no connection left.
    Unknown,
}

impl Verdict {
    pub(crate) fn is_failure(self) -> bool {
        matches!(self, Self::ServerError | Self::GatewayError | Self::LocalFailure)
    }
}

impl<'a> Outcome<'a> {
    pub(crate) fn of<B>(answer: &'a Response<B>) -> Self {
        Self::Answered(answer.status(), answer.headers())
    }

    pub(crate) fn verdict(self) -> Verdict {
        match self {
            Self::Failed(
                FailureKind::RequestBody
                | FailureKind::BodyTooLarge
                | FailureKind::BodyTimedOut
                | FailureKind::Stale
                | FailureKind::Exhausted,
            ) => Verdict::Unknown,
            Self::Failed(_) => Verdict::LocalFailure,
            Self::Answered(status, _) => match status.as_u16() {
                502..=504 => Verdict::GatewayError,
                500.. => Verdict::ServerError,
                _ => Verdict::Good,
            },
        }
    }
}

/// What about the request decides whether it may be repeated at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Repeatable {
    /// It does no more when processed twice.
    Always,
    /// Only if it surely was not processed.
    IfUnsent,
}

impl Repeatable {
    pub(crate) fn of(head: &Parts) -> Self {
        let idempotent = head.method.is_idempotent() || head.headers.contains_key("idempotency-key");
        if idempotent { Self::Always } else { Self::IfUnsent }
    }
}

/// Whether this outcome calls for another attempt and allows it.
pub(crate) fn wanted(outcome: Outcome<'_>, request: Repeatable, settings: &RetrySettings) -> bool {
    use FailureKind::{Connect, Exhausted, Refused};
    let unsent = matches!(outcome, Outcome::Failed(Connect | Exhausted | Refused));
    let safe = request == Repeatable::Always || unsent;
    safe && match outcome {
        Outcome::Failed(kind) => settings.on.iter().any(|on| on.takes_failure(kind)),
        Outcome::Answered(status, headers) => {
            settings.statuses.contains(&status.as_u16())
                || settings.on.iter().any(|on| on.takes_answer(status, headers))
                || settings.headers.iter().any(|wanted| wanted.is_in(headers))
        }
    }
}

/// How long an answer asks to wait (RFC 9110 §10.2.3), in seconds or until a date. A gRPC server says it in
/// milliseconds, and by anything but a number that it is not to be asked again (gRFC A6).
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    if let Some(pushback) = headers.get("grpc-retry-pushback-ms") {
        let millis = pushback.to_str().ok().and_then(|text| text.parse().ok());
        return Some(millis.map_or(Duration::MAX, Duration::from_millis));
    }
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let until = || {
        let date = httpdate::parse_http_date(text).ok()?;
        Some(date.duration_since(SystemTime::now()).unwrap_or_default())
    };
    text.parse().ok().map(Duration::from_secs).or_else(until)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_happen_only_where_they_are_safe() {
        let get = http::Request::get("/").body(()).unwrap().into_parts().0;
        let post = http::Request::post("/").body(()).unwrap().into_parts().0;
        let keyed = http::Request::post("/").header("Idempotency-Key", "1").body(()).unwrap().into_parts().0;
        let none = HeaderMap::new();
        let answered = |code| Outcome::Answered(StatusCode::from_u16(code).unwrap(), &none);
        use FailureKind::{Connect, Exhausted, Protocol, Refused, RequestBody, Reset, Stale, Timeout};
        for (head, outcome, expected) in [
            (&get, Outcome::Failed(Connect), true),
            (&get, Outcome::Failed(Stale), true),
            (&get, Outcome::Failed(Reset), true),
            (&get, Outcome::Failed(Timeout), true),
            (&get, Outcome::Failed(Protocol), true),
            (&get, Outcome::Failed(RequestBody), false),
            (&get, answered(503), true),
            (&get, answered(500), false),
            (&get, answered(200), false),
            (&post, Outcome::Failed(Connect), true),
            (&post, Outcome::Failed(Exhausted), true),
            (&post, Outcome::Failed(Refused), true),
            (&post, Outcome::Failed(Stale), false),
            (&post, Outcome::Failed(Reset), false),
            (&post, Outcome::Failed(Timeout), false),
            (&post, answered(503), false),
            (&keyed, Outcome::Failed(Reset), true),
            (&keyed, answered(503), true),
        ] {
            let seen = wanted(outcome, Repeatable::of(head), &RetrySettings::default());
            assert_eq!(seen, expected, "{} {outcome:?}", head.method);
        }
    }

    #[test]
    fn conditions_that_are_not_asked_for_are_not_retried() {
        let get = http::Request::get("/").body(()).unwrap().into_parts().0;
        let settings = RetrySettings {
            on: vec![crate::RetryOn::Retriable4xx],
            statuses: vec![429],
            ..Default::default()
        };
        let none = HeaderMap::new();
        for (outcome, expected) in [
            (Outcome::Failed(FailureKind::Connect), false),
            (Outcome::Answered(StatusCode::BAD_GATEWAY, &none), false),
            (Outcome::Answered(StatusCode::CONFLICT, &none), true),
            (Outcome::Answered(StatusCode::TOO_MANY_REQUESTS, &none), true),
        ] {
            assert_eq!(wanted(outcome, Repeatable::of(&get), &settings), expected, "{outcome:?}");
        }
    }

    #[test]
    fn a_grpc_servers_pushback_is_read_in_milliseconds_and_may_forbid_to_ask_again() {
        for (text, expected) in
            [("250", Duration::from_millis(250)), ("-1", Duration::MAX), ("soon", Duration::MAX)]
        {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-retry-pushback-ms", text.parse().unwrap());
            assert_eq!(retry_after(&headers), Some(expected), "{text}");
        }
    }

    #[test]
    fn retry_after_is_read_in_seconds_or_as_a_date() {
        let soon = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(3600));
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, soon.parse().unwrap());
        let wait = retry_after(&headers).unwrap().as_secs();
        assert!((3590..=3600).contains(&wait), "{wait}");
        for (text, seconds) in [
            ("2", Some(2)),
            (" 0 ", Some(0)),
            ("-1", None),
            ("soon", None),
            ("Fri, 31 Dec 1999 23:59:59 GMT", Some(0)),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, text.parse().unwrap());
            assert_eq!(retry_after(&headers).map(|wait| wait.as_secs()), seconds, "{text}");
        }
        assert_eq!(retry_after(&HeaderMap::new()), None);
    }
}
