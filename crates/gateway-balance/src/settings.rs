use crate::{Backoff, HedgeSettings, MillisHeader, RetryBudgetSettings, RetryHeader, RetryOn};
use gateway_core::units::{ByteSize, Scalar, Short, ShortForm, Timespan};
use schemars::JsonSchema;
use serde::Deserialize;

/// How requests are sent to a set of endpoints.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BalanceSettings {
    /// How long an answer may take.
    pub timeout: Short<TimeoutSettings>,
    /// What is tried again.
    pub retry: Short<RetrySettings>,
    /// Whether clients see which endpoint failed and how. Default false: they see only how.
    pub reveal_endpoints: bool,
}

/// How long an answer may take, until its head. Short form: `"5s"`, the total.
///
/// What comes after the head, be it a download, server-sent events, a WebSocket or the messages of a gRPC call, is not
/// cut off: there the connection's `body_idle_timeout` watches. Nor is a request whose body is still on its way, be it
/// an upload or the messages of a gRPC call: the time runs from the last piece that the endpoint was given.
///
/// A gRPC call's `grpc-timeout` shortens the total, and the endpoint is told what is left of it. An attempt that only
/// such a deadline ends says nothing about the endpoint, since clients may ask for any; `per_try` is what finds
/// endpoints that hang.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TimeoutSettings {
    /// All attempts and the waits between them. Default `15s` (Envoy's).
    pub total: Timespan,
    /// One attempt; an endpoint too slow for it is left for another. Default: none but the total.
    pub per_try: Option<Timespan>,
    /// A request header with the milliseconds that the client will wait, such as `x-request-timeout-ms`. It shortens
    /// the total, and the endpoint is told what is left of it in the same header; what is no number is passed on.
    /// Default: none.
    pub deadline_header: Option<MillisHeader>,
    /// A request header that tells every endpoint how many milliseconds the gateway will wait for this attempt, such
    /// as Envoy's `x-envoy-expected-rq-timeout-ms`; what the client sends in it is replaced. Default: none.
    pub budget_header: Option<MillisHeader>,
}

impl Default for TimeoutSettings {
    fn default() -> Self {
        Self { total: Timespan::secs(15), per_try: None, deadline_header: None, budget_header: None }
    }
}

impl ShortForm for TimeoutSettings {
    const EXPECTED: &'static str = "a length of time such as \"5s\", or a table";
    const TYPE: &'static str = "string";
    fn from_short(value: Scalar<'_>) -> Option<Result<Self, String>> {
        match value {
            Scalar::Text(text) => Some(text.parse().map(|total| Self { total, ..Self::default() })),
            Scalar::Number(_) | Scalar::Switch(_) => None,
        }
    }
}

/// What is tried again, and how often. Short form: `3`, the number of attempts.
///
/// A request that never reached an endpoint is always safe to repeat. Any other failure and any answer are
/// retried only for idempotent methods (RFC 9110 §9.2.2) or with an `Idempotency-Key`, and only while
/// the body can be replayed: gRPC calls are `POST` and carry such a key in their metadata. Retries go to another endpoint
/// if there is one, and stop when there are more than the `budget` allows.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RetrySettings {
    /// Attempts in all; 1 means no retry. Default 2.
    pub attempts: u32,
    /// The wait between them: `"100ms"` (exponential with jitter), `"linear 100ms"` or `"none"`.
    /// Default `25ms`.
    pub backoff: Backoff,
    /// What is retried, beside some statuses: `connect-failure`, `refused-stream`, `reset`, `timeout`,
    /// `gateway-error`, `5xx`, `retriable-4xx`; and the gRPC statuses `cancelled`, `deadline-exceeded`,
    /// `resource-exhausted`, `internal`, `unavailable`, where the answer's head has them. Default the first four.
    pub on: Vec<RetryOn>,
    /// Answers that are retried. Default 502, 503 and 504.
    pub statuses: Vec<u16>,
    /// Answers that are retried whatever their status, by a header: what it says, or `true` for anything. Default:
    /// none.
    #[serde(deserialize_with = "RetryHeader::by_name")]
    #[schemars(schema_with = "RetryHeader::schema")]
    pub headers: Vec<RetryHeader>,
    /// Whether a failed answer's `Retry-After` (seconds or a date) or `grpc-retry-pushback-ms` is waited for if that is longer
    /// than the backoff. An answer that asks for more time than there is goes to the client. Default true.
    pub retry_after: bool,
    /// Whether endpoints are told the number of a retry, from 1, in the header `X-Retry-Attempt`, and of a hedge in
    /// `X-Hedge-Attempt`. First attempts have none. Default false.
    pub attempt_header: bool,
    /// How many further attempts there may be, hedges included, beside the service's requests: a percentage, or a table.
    /// Default 20, but three a second always.
    pub budget: Short<RetryBudgetSettings>,
    /// The largest request body kept for replay, if it does not come in very many pieces: 1024, and one for each 512 bytes
    /// of this. Default `64KiB`.
    pub body_limit: ByteSize,
    /// Asks a second endpoint when the first is slow, and takes whichever answers first: the delay, `"200ms"` or
    /// `"p95"`, or a table. Works with one attempt as well. Default: no.
    pub hedge: Option<Short<HedgeSettings>>,
}

impl Default for RetrySettings {
    fn default() -> Self {
        Self {
            attempts: 2,
            backoff: Backoff::Exponential(std::time::Duration::from_millis(25)),
            on: RetryOn::DEFAULT.to_vec(),
            statuses: vec![502, 503, 504],
            headers: Vec::new(),
            retry_after: true,
            attempt_header: false,
            budget: Short::default(),
            body_limit: ByteSize::kib(64),
            hedge: None,
        }
    }
}

impl ShortForm for RetrySettings {
    const EXPECTED: &'static str = "a number of attempts, or a table";
    const TYPE: &'static str = "integer";
    fn from_short(value: Scalar<'_>) -> Option<Result<Self, String>> {
        match value {
            Scalar::Number(attempts) => Some(
                u32::try_from(attempts)
                    .ok()
                    .filter(|attempts| (1..=100).contains(attempts))
                    .map(|attempts| Self { attempts, ..Self::default() })
                    .ok_or_else(|| format!("{attempts} attempts make no sense; expected 1 to 100")),
            ),
            Scalar::Text(_) | Scalar::Switch(_) => None,
        }
    }
}
