//! Why a request was not answered by an endpoint, as clients are told.

use crate::retry::Outcome;
use crate::retry::Verdict;
use crate::set::Unavailable;
use gateway_core::units::Timespan;
use gateway_core::{Code, FailureKind, Problem, ProxyError, UpstreamError};
use http::header::{HeaderValue, RETRY_AFTER};
use std::time::Duration;

pub(crate) enum Failure {
    Unavailable(Unavailable),
    /// No answer within the gateway's own limit.
    Timeout(Duration),
    /// No answer within the time that the client had left for it.
    ClientDeadline,
    Upstream(UpstreamError),
}

impl Failure {
    pub(crate) fn outcome(&self) -> Outcome<'static> {
        match self {
            Self::Upstream(error) => Outcome::Failed(error.kind()),
            Self::Timeout(_) | Self::ClientDeadline | Self::Unavailable(_) => {
                Outcome::Failed(FailureKind::Timeout)
            }
        }
    }

    /// Whether a limit on connections kept it from being sent.
    pub(crate) fn is_connection_limit(&self) -> bool {
        matches!(self, Self::Upstream(error) if error.cause() == Some(ProxyError::ConnectionLimitReached))
    }

    /// What it says about whoever was asked.
    pub(crate) fn verdict(&self) -> Verdict {
        match self {
            Self::Upstream(_) | Self::Timeout(_) => self.outcome().verdict(),
            // Nothing was asked; or a client, which may be anyone, chose to wait for too short a time.
            Self::Unavailable(_) | Self::ClientDeadline => Verdict::Unknown,
        }
    }

    /// `reveal` has clients see which endpoint failed.
    pub(crate) fn into_problem(self, reveal: bool) -> Problem {
        match self {
            Self::Unavailable(Unavailable::NoEndpoint | Unavailable::NoneOfSubset) => {
                Problem::new(Code::NoEndpoint).with_header(RETRY_AFTER, HeaderValue::from_static("1"))
            }
            Self::Unavailable(Unavailable::Overloaded) => {
                Problem::new(Code::Overloaded).with_header(RETRY_AFTER, HeaderValue::from_static("1"))
            }
            Self::Unavailable(Unavailable::Stuck) => Problem::new(Code::Overloaded)
                .with_detail("as many requests as may wait already, and hardly any has an answer")
                .with_header(RETRY_AFTER, HeaderValue::from_static("1")),
            Self::Unavailable(Unavailable::CircuitOpen { wait }) => {
                let seconds = wait.as_millis().div_ceil(1000).max(1) as u64;
                Problem::new(Code::CircuitOpen).with_header(RETRY_AFTER, HeaderValue::from(seconds))
            }
            Self::Timeout(limit) => {
                let limit = Timespan(limit);
                Problem::new(Code::UpstreamTimeout).with_detail(format!("no answer within {limit}"))
            }
            Self::ClientDeadline => Problem::new(Code::UpstreamTimeout)
                .with_detail("no answer within the time that the request gives for it"),
            Self::Upstream(error) => {
                let code = match error.kind() {
                    FailureKind::Connect => Code::UpstreamConnectFailed,
                    FailureKind::Exhausted => Code::Overloaded,
                    FailureKind::Refused | FailureKind::Stale | FailureKind::Reset => Code::UpstreamReset,
                    FailureKind::Protocol => Code::UpstreamProtocolError,
                    FailureKind::Timeout => Code::UpstreamTimeout,
                    FailureKind::RequestBody => Code::BadRequest,
                    FailureKind::BodyTooLarge => Code::BodyTooLarge,
                    FailureKind::BodyTimedOut => Code::RequestTimeout,
                };
                let detail = if reveal { error.to_string() } else { error.message().to_owned() };
                let mut problem = Problem::new(code).with_detail(detail);
                if code == Code::Overloaded {
                    problem = problem.with_header(RETRY_AFTER, HeaderValue::from_static("1"));
                }
                match error.cause() {
                    Some(cause) => problem.with_proxy_error(cause),
                    None => problem,
                }
            }
        }
    }
}
