use crate::{Code, Problem};
use bytes::Bytes;
use http::header::{HeaderName, HeaderValue};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// RFC 9209: who failed, and how.
pub(crate) const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");

/// Which of the gateway's own answers say in `Proxy-Status` (RFC 9209) that they are its own, and why:
/// `gateway; error=http_response_timeout; details="upstream-timeout"`. `details` is the [`Code`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ProxyStatus {
    /// None.
    Off,
    /// Those with a status of 500 or more: whether the service failed or the gateway in front of it is what the
    /// status alone does not tell.
    #[default]
    Failures,
    /// All, also those that refuse the client: it may then tell the gateway's 401, 404 or 429 from the service's.
    All,
}

impl ProxyStatus {
    /// The field's value for this problem, if there is to be one. A gRPC request's problem counts by the status that
    /// others would be answered with.
    pub(crate) fn value(self, problem: &Problem, status: http::StatusCode) -> Option<HeaderValue> {
        let wanted = match self {
            Self::Off => false,
            Self::Failures => status.is_server_error(),
            Self::All => true,
        };
        if !wanted {
            return None;
        }
        let (error, code) = (problem.proxy_error().name(), problem.code().name());
        let value = format!("gateway; error={error}; details=\"{code}\"");
        HeaderValue::from_maybe_shared(Bytes::from(value)).ok()
    }
}

/// How a proxy failed: those of the error types of RFC 9209 §2.3 that the gateway can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ProxyError {
    /// The upstream's name was not resolved in time.
    DnsTimeout,
    /// The upstream's name cannot be resolved.
    DnsError,
    /// There is no upstream for the request.
    DestinationNotFound,
    /// The upstream is taken to be away, and not asked.
    DestinationUnavailable,
    /// The upstream's address cannot be reached from here.
    DestinationIpUnroutable,
    /// The upstream refused the connection.
    ConnectionRefused,
    /// The upstream closed the connection before it had answered.
    ConnectionTerminated,
    /// No connection to the upstream in time.
    ConnectionTimeout,
    /// Nothing came from the upstream for too long.
    ConnectionReadTimeout,
    /// The upstream took nothing for too long.
    ConnectionWriteTimeout,
    /// As many requests as allowed are on their way.
    ConnectionLimitReached,
    /// TLS with the upstream failed.
    TlsProtocolError,
    /// The upstream's certificate is not trusted.
    TlsCertificateError,
    /// The upstream ended TLS with an alert.
    TlsAlertReceived,
    /// The client's request is not valid.
    HttpRequestError,
    /// The client's request is not allowed.
    HttpRequestDenied,
    /// The upstream's answer broke off.
    HttpResponseIncomplete,
    /// The head of the upstream's answer is too large.
    HttpResponseHeaderSectionSize,
    /// The body of the upstream's answer is too large.
    HttpResponseBodySize,
    /// The upstream did not answer in time.
    HttpResponseTimeout,
    /// The upstream did not agree to an upgrade.
    HttpUpgradeFailed,
    /// The upstream does not speak HTTP as it should.
    HttpProtocolError,
    /// The gateway answered by itself, without trying to ask an upstream.
    ProxyInternalResponse,
    /// The gateway failed.
    ProxyInternalError,
    /// The gateway's configuration is wrong.
    ProxyConfigurationError,
    /// The request came through the gateway before.
    ProxyLoopDetected,
}

impl ProxyError {
    /// Its registered name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::DnsTimeout => "dns_timeout",
            Self::DnsError => "dns_error",
            Self::DestinationNotFound => "destination_not_found",
            Self::DestinationUnavailable => "destination_unavailable",
            Self::DestinationIpUnroutable => "destination_ip_unroutable",
            Self::ConnectionRefused => "connection_refused",
            Self::ConnectionTerminated => "connection_terminated",
            Self::ConnectionTimeout => "connection_timeout",
            Self::ConnectionReadTimeout => "connection_read_timeout",
            Self::ConnectionWriteTimeout => "connection_write_timeout",
            Self::ConnectionLimitReached => "connection_limit_reached",
            Self::TlsProtocolError => "tls_protocol_error",
            Self::TlsCertificateError => "tls_certificate_error",
            Self::TlsAlertReceived => "tls_alert_received",
            Self::HttpRequestError => "http_request_error",
            Self::HttpRequestDenied => "http_request_denied",
            Self::HttpResponseIncomplete => "http_response_incomplete",
            Self::HttpResponseHeaderSectionSize => "http_response_header_section_size",
            Self::HttpResponseBodySize => "http_response_body_size",
            Self::HttpResponseTimeout => "http_response_timeout",
            Self::HttpUpgradeFailed => "http_upgrade_failed",
            Self::HttpProtocolError => "http_protocol_error",
            Self::ProxyInternalResponse => "proxy_internal_response",
            Self::ProxyInternalError => "proxy_internal_error",
            Self::ProxyConfigurationError => "proxy_configuration_error",
            Self::ProxyLoopDetected => "proxy_loop_detected",
        }
    }
}

impl Code {
    /// What RFC 9209 calls it, as long as [nothing more is known](Problem::with_proxy_error).
    ///
    /// | codes | error type |
    /// |---|---|
    /// | malformed, too large or too slow requests | `http_request_error` |
    /// | credentials, rights, methods, rate limits, quotas, conflicts, `not-found` | `http_request_denied` |
    /// | `no-route` | `destination_not_found` |
    /// | `upstream-reset` | `connection_terminated` |
    /// | `upstream-protocol-error` | `http_protocol_error` |
    /// | `upstream-timeout` | `http_response_timeout` |
    /// | `upstream-connect-failed`, `no-endpoint`, `circuit-open` | `destination_unavailable` |
    /// | `overloaded` | `connection_limit_reached` |
    /// | `draining`, `maintenance`, `fault-injected`, `not-cached` | `proxy_internal_response` |
    /// | `internal-error`, `store-unavailable`, `auth-unavailable` | `proxy_internal_error` |
    #[must_use]
    pub fn proxy_error(self) -> ProxyError {
        match self {
            Self::BadRequest
            | Self::UnsupportedMediaType
            | Self::InvalidRequest
            | Self::RequestTimeout
            | Self::BodyTooLarge
            | Self::UriTooLong
            | Self::HeadersTooLarge => ProxyError::HttpRequestError,
            Self::MissingCredentials
            | Self::InvalidToken
            | Self::ExpiredToken
            | Self::RevokedToken
            | Self::InvalidCredentials
            | Self::Forbidden
            | Self::InsufficientScope
            | Self::NotFound
            | Self::Conflict
            | Self::MethodNotAllowed
            | Self::RateLimited
            | Self::QuotaExceeded => ProxyError::HttpRequestDenied,
            Self::NoRoute => ProxyError::DestinationNotFound,
            Self::UpstreamReset => ProxyError::ConnectionTerminated,
            Self::UpstreamProtocolError => ProxyError::HttpProtocolError,
            Self::UpstreamTimeout => ProxyError::HttpResponseTimeout,
            Self::UpstreamConnectFailed | Self::NoEndpoint | Self::CircuitOpen => {
                ProxyError::DestinationUnavailable
            }
            Self::Overloaded => ProxyError::ConnectionLimitReached,
            Self::Draining | Self::Maintenance | Self::FaultInjected | Self::NotCached => {
                ProxyError::ProxyInternalResponse
            }
            Self::InternalError | Self::StoreUnavailable | Self::AuthUnavailable => {
                ProxyError::ProxyInternalError
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_field_names_the_gateway_the_registered_error_and_the_code() {
        let timeout = Problem::new(Code::UpstreamTimeout);
        let value = ProxyStatus::Failures.value(&timeout, timeout.code().status()).unwrap();
        assert_eq!(value, "gateway; error=http_response_timeout; details=\"upstream-timeout\"");
        let unknown = Problem::new(Code::UpstreamConnectFailed).with_proxy_error(ProxyError::DnsError);
        let value = ProxyStatus::Failures.value(&unknown, unknown.code().status()).unwrap();
        assert_eq!(value, "gateway; error=dns_error; details=\"upstream-connect-failed\"");
    }

    #[test]
    fn which_answers_have_it_is_up_to_the_operator() {
        for (scope, on_401, on_503) in [
            (ProxyStatus::Off, false, false),
            (ProxyStatus::Failures, false, true),
            (ProxyStatus::All, true, true),
        ] {
            let has = |code: Code| scope.value(&Problem::new(code), code.status()).is_some();
            assert_eq!((has(Code::InvalidToken), has(Code::NoEndpoint)), (on_401, on_503), "{scope:?}");
        }
    }

    #[test]
    fn every_code_makes_a_valid_value() {
        for code in Code::all() {
            assert!(ProxyStatus::All.value(&Problem::new(code), code.status()).is_some(), "{}", code.name());
        }
    }
}
