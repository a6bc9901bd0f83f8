use http::StatusCode;

/// Why the gateway itself answered: one stable code per cause, the same in the problem body, the log and the
/// metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Code {
    /// The request is malformed or ambiguous.
    BadRequest,
    /// The route wants credentials and the request has none.
    MissingCredentials,
    /// The credentials are not valid: wrong scheme, bad signature, wrong issuer, …
    InvalidToken,
    /// The token was valid once.
    ExpiredToken,
    /// The token was revoked before it expired.
    RevokedToken,
    /// Known caller, not allowed.
    Forbidden,
    /// No route matches.
    NoRoute,
    /// The route is there, what it was asked for is not.
    NotFound,
    /// A route matches but for its methods.
    MethodNotAllowed,
    /// The client was too slow with its request.
    RequestTimeout,
    /// What is asked for contradicts what is there, such as a name that is taken.
    Conflict,
    /// The body is larger than the route allows.
    BodyTooLarge,
    /// The target is longer than the gateway allows.
    UriTooLong,
    /// The body is in a format that is not read here.
    UnsupportedMediaType,
    /// The body can be read, and breaks the rules: a field is missing, unknown or out of range.
    InvalidRequest,
    /// The headers are larger than the gateway allows.
    HeadersTooLarge,
    /// A rate limit is used up.
    RateLimited,
    /// A quota, counted by the calendar, is used up.
    QuotaExceeded,
    /// The gateway failed; its log says why.
    InternalError,
    /// No connection to the upstream could be made.
    UpstreamConnectFailed,
    /// The upstream closed the connection before it answered.
    UpstreamReset,
    /// The upstream's answer is not valid HTTP.
    UpstreamProtocolError,
    /// The service has no endpoint that can take the request.
    NoEndpoint,
    /// A backing store is away and the policy says to refuse meanwhile.
    StoreUnavailable,
    /// More is in progress than the gateway or the service can bear; the request was shed.
    Overloaded,
    /// The gateway is shutting down.
    Draining,
    /// The upstream did not answer in time.
    UpstreamTimeout,
    /// Too many requests failed: for a while none is sent.
    CircuitOpen,
    /// An API key, a password, a client certificate or a session is not valid.
    InvalidCredentials,
    /// Who decides about credentials cannot be asked now.
    AuthUnavailable,
    /// Known caller, whose token was not issued for this (RFC 6750 §3.1).
    InsufficientScope,
    /// The client wants only what is stored, and nothing stored answers it (RFC 9111 §5.2.1.7).
    NotCached,
    /// The operator has closed the route for a while.
    Maintenance,
    /// The operator has some requests fail on purpose.
    FaultInjected,
}

#[derive(Clone, Copy)]
struct Row {
    code: Code,
    name: &'static str,
    status: StatusCode,
    title: &'static str,
    /// The text of the `message` format where it is not the title: the words of reference system S3.
    message: Option<&'static str>,
    /// The text of the `detail` format where it is not the title: the words of S0, else S2, else S4.
    detail: Option<&'static str>,
}

const fn row(code: Code, name: &'static str, status: StatusCode, title: &'static str) -> Row {
    Row { code, name, status, title, message: None, detail: None }
}

const fn said(row: Row, message: &'static str, detail: &'static str) -> Row {
    Row { message: Some(message), detail: Some(detail), ..row }
}

/// The words of S2 for whoever has the wrong role or scope (S2-20).
const NOT_ALLOWED: &str = "You are not allowed to access this scope.";

use StatusCode as S;
static ROWS: [Row; 34] = [
    row(Code::BadRequest, "bad-request", S::BAD_REQUEST, "Bad request"),
    said(
        row(Code::MissingCredentials, "missing-credentials", S::UNAUTHORIZED, "Credentials are required"),
        "Missing Authorization header",
        "JWT token required",
    ),
    said(
        row(Code::InvalidToken, "invalid-token", S::UNAUTHORIZED, "The token is not valid"),
        "Invalid token",
        "Invalid JWT token",
    ),
    said(
        row(Code::ExpiredToken, "expired-token", S::UNAUTHORIZED, "The token has expired"),
        "Invalid token",
        "JWT expired",
    ),
    said(
        row(Code::RevokedToken, "revoked-token", S::UNAUTHORIZED, "The token was revoked"),
        "Invalid token",
        "Invalid JWT token",
    ),
    said(row(Code::Forbidden, "forbidden", S::FORBIDDEN, "Forbidden"), "Forbidden", NOT_ALLOWED),
    said(row(Code::NoRoute, "no-route", S::NOT_FOUND, "No route matches"), "Service not found", "Not Found"),
    said(row(Code::NotFound, "not-found", S::NOT_FOUND, "Not found"), "Not Found", "Not Found"),
    said(
        row(Code::MethodNotAllowed, "method-not-allowed", S::METHOD_NOT_ALLOWED, "Method not allowed"),
        "Method Not Allowed",
        "Method Not Allowed",
    ),
    row(Code::RequestTimeout, "request-timeout", S::REQUEST_TIMEOUT, "The request took too long to arrive"),
    row(Code::Conflict, "conflict", S::CONFLICT, "It is there already"),
    row(Code::BodyTooLarge, "body-too-large", S::PAYLOAD_TOO_LARGE, "The request body is too large"),
    row(Code::UriTooLong, "uri-too-long", S::URI_TOO_LONG, "The request target is too long"),
    row(
        Code::UnsupportedMediaType,
        "unsupported-media-type",
        S::UNSUPPORTED_MEDIA_TYPE,
        "The body's format is not supported",
    ),
    row(Code::InvalidRequest, "invalid-request", S::UNPROCESSABLE_ENTITY, "The request breaks the rules"),
    row(
        Code::HeadersTooLarge,
        "headers-too-large",
        S::REQUEST_HEADER_FIELDS_TOO_LARGE,
        "The request headers are too large",
    ),
    row(Code::RateLimited, "rate-limited", S::TOO_MANY_REQUESTS, "Rate limit exceeded"),
    row(Code::QuotaExceeded, "quota-exceeded", S::TOO_MANY_REQUESTS, "Quota exceeded"),
    row(Code::InternalError, "internal-error", S::INTERNAL_SERVER_ERROR, "Internal server error"),
    said(
        row(
            Code::UpstreamConnectFailed,
            "upstream-connect-failed",
            S::BAD_GATEWAY,
            "The upstream is unreachable",
        ),
        "Bad Gateway",
        "Bad Gateway",
    ),
    said(
        row(Code::UpstreamReset, "upstream-reset", S::BAD_GATEWAY, "The upstream closed the connection"),
        "Bad Gateway",
        "Bad Gateway",
    ),
    said(
        row(
            Code::UpstreamProtocolError,
            "upstream-protocol-error",
            S::BAD_GATEWAY,
            "The upstream's answer is not valid",
        ),
        "Bad Gateway",
        "Bad Gateway",
    ),
    said(
        row(Code::NoEndpoint, "no-endpoint", S::SERVICE_UNAVAILABLE, "No endpoint can take the request"),
        "Service Unavailable",
        "Service unavailable",
    ),
    row(
        Code::StoreUnavailable,
        "store-unavailable",
        S::SERVICE_UNAVAILABLE,
        "A backing store is unavailable",
    ),
    row(Code::Overloaded, "overloaded", S::SERVICE_UNAVAILABLE, "Overloaded"),
    row(Code::Draining, "draining", S::SERVICE_UNAVAILABLE, "The gateway is shutting down"),
    said(
        row(
            Code::UpstreamTimeout,
            "upstream-timeout",
            S::GATEWAY_TIMEOUT,
            "The upstream took too long to answer",
        ),
        "Gateway Timeout",
        "Gateway Timeout",
    ),
    said(
        row(Code::CircuitOpen, "circuit-open", S::SERVICE_UNAVAILABLE, "The service fails too often"),
        "Service Unavailable",
        "Service unavailable",
    ),
    said(
        row(
            Code::InvalidCredentials,
            "invalid-credentials",
            S::UNAUTHORIZED,
            "The credentials are not valid",
        ),
        "Invalid credentials",
        "Invalid credentials",
    ),
    said(
        row(
            Code::AuthUnavailable,
            "auth-unavailable",
            S::SERVICE_UNAVAILABLE,
            "Credentials cannot be checked now",
        ),
        "Service Unavailable",
        "Service unavailable",
    ),
    said(
        row(Code::InsufficientScope, "insufficient-scope", S::FORBIDDEN, "A scope is missing"),
        "Forbidden",
        NOT_ALLOWED,
    ),
    row(Code::NotCached, "not-cached", S::GATEWAY_TIMEOUT, "Nothing stored answers the request"),
    said(
        row(Code::Maintenance, "maintenance", S::SERVICE_UNAVAILABLE, "Down for maintenance"),
        "Service Unavailable",
        "Service unavailable",
    ),
    row(Code::FaultInjected, "fault-injected", S::SERVICE_UNAVAILABLE, "A fault was injected"),
];

impl Code {
    /// Every code there is.
    pub fn all() -> impl Iterator<Item = Self> {
        ROWS.iter().map(|row| row.code)
    }

    /// The code with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        ROWS.iter().find(|row| row.name == name).map(|row| row.code)
    }

    fn row(self) -> &'static Row {
        &ROWS[self as usize]
    }

    /// Its stable name, such as `no-route`.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// The status it is answered with unless the operator says otherwise.
    #[must_use]
    pub fn status(self) -> StatusCode {
        self.row().status
    }

    /// What it means, in a few words.
    #[must_use]
    pub fn title(self) -> &'static str {
        self.row().title
    }

    /// Its text in the `message` format.
    #[must_use]
    pub fn message(self) -> &'static str {
        self.row().message.unwrap_or(self.row().title)
    }

    /// Its text in the `detail` format.
    #[must_use]
    pub fn detail(self) -> &'static str {
        self.row().detail.unwrap_or(self.row().title)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_finds_its_own_row_and_names_are_unique() {
        for (i, row) in ROWS.iter().enumerate() {
            assert_eq!(row.code as usize, i, "{} stands in the wrong row", row.name);
            assert_eq!(Code::from_name(row.name), Some(row.code), "{} is named twice", row.name);
        }
    }
}
