use crate::{Endpoint, ProxyError};
use http::Response;
use http::request::Parts;
use std::future::Future;
use std::io;

/// Something that can send requests to one [`Endpoint`](crate::Endpoint).
///
/// The head is only borrowed, so that a retry can use it again without a copy per request. An upstream is
/// shared by many requests at once.
pub trait Upstream<B> {
    /// The body of its answers.
    type Body;

    /// Sends the request and waits for the head of the answer.
    ///
    /// Dropping the future cancels the request and closes the connection it was using.
    fn send(
        &self,
        head: &Parts,
        body: B,
    ) -> impl Future<Output = Result<Response<Self::Body>, UpstreamError>> + Send;

    /// Whether it may say of a request whose body it has begun to take that it was not processed
    /// ([`Refused`](FailureKind::Refused), [`Connect`](FailureKind::Connect) or [`Exhausted`](FailureKind::Exhausted)), so
    /// that the body is worth keeping for another.
    fn may_give_back(&self) -> bool {
        true
    }
}

/// What kind of failure it was, and so whether another attempt is safe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FailureKind {
    /// No connection: the request was never sent.
    Connect,
    /// The gateway itself had no connection left for it, be it by a limit on them or for want of descriptors or ports:
    /// the request was never sent, and the endpoint has no part in it.
    Exhausted,
    /// The upstream gave the request back unprocessed: HTTP/2's `REFUSED_STREAM`, or a `GOAWAY` before its stream
    /// (RFC 9113 §8.7). Any request is safe to send again.
    Refused,
    /// A kept-alive connection turned out closed before anything of an answer arrived.
    Stale,
    /// The connection broke before the answer's head was complete.
    Reset,
    /// The answer is not valid HTTP, or over a limit.
    Protocol,
    /// No answer in time.
    Timeout,
    /// The client's own request: its body broke off, so that nobody is left to answer, or it cannot be sent to any.
    RequestBody,
    /// The client's request body is larger than allowed; see [`BodyTooLarge`].
    BodyTooLarge,
    /// The client's request body did not come in time; see [`BodyTimedOut`].
    BodyTimedOut,
}

/// Why an upstream gave no answer.
#[derive(Clone, Debug)]
pub struct UpstreamError {
    kind: FailureKind,
    message: String,
    endpoint: Option<Endpoint>,
    cause: Option<ProxyError>,
}

impl UpstreamError {
    /// A failure of this endpoint. The message names no host: it may be shown to clients.
    #[must_use]
    pub fn new(kind: FailureKind, endpoint: &Endpoint, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), endpoint: Some(endpoint.clone()), cause: None }
    }

    /// A failure of an endpoint that is not known here: another request was sent to it, and its answer is shared.
    #[must_use]
    pub fn elsewhere(kind: FailureKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), endpoint: None, cause: None }
    }

    /// Says more exactly than the kind does what happened, such as [`ProxyError::DnsError`] where the kind is
    /// [`FailureKind::Connect`].
    #[must_use]
    pub fn with_cause(mut self, cause: ProxyError) -> Self {
        self.cause = Some(cause);
        self
    }

    /// What happened more exactly than the kind says, if that is known.
    #[must_use]
    pub fn cause(&self) -> Option<ProxyError> {
        self.cause
    }

    /// What kind of failure it was.
    #[must_use]
    pub fn kind(&self) -> FailureKind {
        self.kind
    }

    /// What happened, without the endpoint's name, for clients. `Display` names the endpoint, for operators.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl std::fmt::Display for UpstreamError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.endpoint {
            Some(endpoint) => write!(f, "{endpoint}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

impl std::error::Error for UpstreamError {}

/// The error of a request body that turned out larger than allowed. Whoever reads the body knows by it that the
/// client is to be answered 413.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the request body is larger than is allowed")]
pub struct BodyTooLarge;

/// The error of a request body that its client sent too slowly. Whoever reads the body knows by it that the client is
/// to be answered 408.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the request body did not come in time")]
pub struct BodyTimedOut;

impl FailureKind {
    /// What it means that a connection could not be made for this reason: with no descriptor, port or memory left for one,
    /// it says nothing about the other side.
    #[must_use]
    pub fn of_connecting(error: &io::Error) -> Self {
        /// `ENFILE` and `EMFILE`, which the standard library does not name. Linux, macOS and the BSDs number them alike.
        const NO_DESCRIPTOR: [i32; 2] = [23, 24];
        let descriptors = error.raw_os_error().is_some_and(|number| NO_DESCRIPTOR.contains(&number));
        match error.kind() {
            io::ErrorKind::AddrNotAvailable | io::ErrorKind::OutOfMemory => Self::Exhausted,
            _ if descriptors => Self::Exhausted,
            _ => Self::Connect,
        }
    }

    /// What it means that reading the request's body failed with this error.
    #[must_use]
    pub fn of_request_body(error: &(dyn std::error::Error + 'static)) -> Self {
        let mut cause = Some(error);
        while let Some(error) = cause {
            if error.is::<BodyTooLarge>() {
                return Self::BodyTooLarge;
            }
            if error.is::<BodyTimedOut>() {
                return Self::BodyTimedOut;
            }
            cause = error.source();
        }
        Self::RequestBody
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_gateway_lacks_is_told_from_what_the_other_side_does() {
        use io::ErrorKind::{AddrNotAvailable, ConnectionRefused, TimedOut};
        for (error, kind) in [
            (io::Error::from_raw_os_error(24), FailureKind::Exhausted),
            (io::Error::from_raw_os_error(23), FailureKind::Exhausted),
            (AddrNotAvailable.into(), FailureKind::Exhausted),
            (ConnectionRefused.into(), FailureKind::Connect),
            (TimedOut.into(), FailureKind::Connect),
        ] {
            assert_eq!(FailureKind::of_connecting(&error), kind, "{error}");
        }
    }
}
