use gateway_core::FailureKind;
use http::{HeaderMap, StatusCode};
use schemars::JsonSchema;
use serde::Deserialize;

/// A condition on which a request is tried again (the names are Envoy's).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RetryOn {
    /// No connection could be made, or as many as there may be were in use: the request was not sent, so that any method is
    /// retried. At an endpoint whose connections are all in use it is not tried again.
    ConnectFailure,
    /// The endpoint closed a kept connection without a byte of an answer: what HTTP/1 has for a stream that is
    /// refused.
    RefusedStream,
    /// The connection broke before the answer's head was complete, or what came was not valid HTTP.
    Reset,
    /// There was no answer within `timeout.per_try`.
    Timeout,
    /// The answer was 502, 503 or 504.
    GatewayError,
    /// The answer was 500 or above, or there was none for any of the reasons above.
    #[serde(rename = "5xx")]
    ServerError,
    /// The answer was 409: a conflict that may be over the next time.
    #[serde(rename = "retriable-4xx")]
    Retriable4xx,
    /// The gRPC status was 1 (CANCELLED). This and those below are read from the answer's head, where they stand if
    /// there are no messages ("trailers only"): what comes after messages has reached the client.
    Cancelled,
    /// The gRPC status was 4 (DEADLINE_EXCEEDED).
    DeadlineExceeded,
    /// The gRPC status was 8 (RESOURCE_EXHAUSTED).
    ResourceExhausted,
    /// The gRPC status was 13 (INTERNAL).
    Internal,
    /// The gRPC status was 14 (UNAVAILABLE).
    Unavailable,
}

impl RetryOn {
    /// What is retried unless the settings say otherwise, beside some statuses.
    pub(crate) const DEFAULT: [Self; 4] =
        [Self::ConnectFailure, Self::RefusedStream, Self::Reset, Self::Timeout];

    pub(crate) fn takes_failure(self, kind: FailureKind) -> bool {
        match kind {
            // Nobody is left to answer.
            FailureKind::RequestBody | FailureKind::BodyTooLarge | FailureKind::BodyTimedOut => false,
            FailureKind::Connect | FailureKind::Exhausted => {
                matches!(self, Self::ConnectFailure | Self::ServerError)
            }
            FailureKind::Refused => matches!(self, Self::RefusedStream | Self::ServerError),
            FailureKind::Stale => matches!(self, Self::RefusedStream | Self::Reset | Self::ServerError),
            FailureKind::Reset | FailureKind::Protocol => matches!(self, Self::Reset | Self::ServerError),
            FailureKind::Timeout => matches!(self, Self::Timeout | Self::ServerError),
        }
    }

    pub(crate) fn takes_answer(self, status: StatusCode, headers: &HeaderMap) -> bool {
        let is = |code: &str| headers.get("grpc-status").is_some_and(|found| found == code);
        match self {
            Self::GatewayError => matches!(status.as_u16(), 502..=504),
            Self::ServerError => status.as_u16() >= 500,
            Self::Retriable4xx => status == StatusCode::CONFLICT,
            Self::Cancelled => is("1"),
            Self::DeadlineExceeded => is("4"),
            Self::ResourceExhausted => is("8"),
            Self::Internal => is("13"),
            Self::Unavailable => is("14"),
            Self::ConnectFailure | Self::RefusedStream | Self::Reset | Self::Timeout => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_condition_takes_what_its_name_says() {
        use FailureKind::{BodyTimedOut, Connect, Protocol, Refused, RequestBody, Reset, Stale, Timeout};
        for (name, failures, statuses) in [
            ("connect-failure", vec![Connect], vec![]),
            ("refused-stream", vec![Refused, Stale], vec![]),
            ("reset", vec![Stale, Reset, Protocol], vec![]),
            ("timeout", vec![Timeout], vec![]),
            ("gateway-error", vec![], vec![502, 503, 504]),
            ("5xx", vec![Connect, Refused, Stale, Reset, Protocol, Timeout], vec![500, 502, 503, 504, 599]),
            ("retriable-4xx", vec![], vec![409]),
        ] {
            let on: RetryOn = serde_json::from_str(&format!("\"{name}\"")).unwrap();
            for kind in [Connect, Refused, Stale, Reset, Protocol, Timeout, RequestBody, BodyTimedOut] {
                assert_eq!(on.takes_failure(kind), failures.contains(&kind), "{name} {kind:?}");
            }
            for status in [200, 404, 409, 429, 500, 502, 503, 504, 599] {
                let taken = on.takes_answer(StatusCode::from_u16(status).unwrap(), &HeaderMap::new());
                assert_eq!(taken, statuses.contains(&status), "{name} {status}");
            }
        }
    }

    #[test]
    fn each_grpc_condition_takes_the_status_of_its_name_from_the_head() {
        for (name, code) in [
            ("cancelled", 1),
            ("deadline-exceeded", 4),
            ("resource-exhausted", 8),
            ("internal", 13),
            ("unavailable", 14),
        ] {
            let on: RetryOn = serde_json::from_str(&format!("\"{name}\"")).unwrap();
            let failures = [FailureKind::Connect, FailureKind::Reset, FailureKind::Timeout];
            assert!(!failures.into_iter().any(|kind| on.takes_failure(kind)), "{name}");
            assert!(!on.takes_answer(StatusCode::OK, &HeaderMap::new()), "{name}: a call that goes on");
            for status in 0..17 {
                let mut headers = HeaderMap::new();
                headers.insert("grpc-status", status.into());
                assert_eq!(on.takes_answer(StatusCode::OK, &headers), status == code, "{name} {status}");
            }
        }
    }
}
