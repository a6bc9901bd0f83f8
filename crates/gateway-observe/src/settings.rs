use gateway_core::units::{ByteSize, Scalar, ShortForm, Timespan};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The access log. Short forms: `true` (standard output), or a file's path.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AccessLogSettings {
    /// The fields of a line. Default `json`.
    pub format: LogFormat,
    /// The file, appended to; once it was moved away, as by logrotate, a new one is made within a second. Default:
    /// standard output.
    pub path: Option<PathBuf>,
    /// Only answers with this status or a higher one are logged, and those that broke off. Default: all.
    pub min_status: u16,
    /// Query parameters whose values are not logged, besides those in which `[auth]` looks for credentials. Default
    /// `access_token`, `api_key`, `password`, `secret`, `token`.
    pub redact_query: Vec<String>,
    /// How long lines may wait to be written together, at least `1ms`. Default `100ms`.
    pub flush: Timespan,
    /// How much each worker may have waiting; what comes on top is dropped and counted. Default `4MiB`.
    pub buffer: ByteSize,
}

impl Default for AccessLogSettings {
    fn default() -> Self {
        Self {
            format: LogFormat::Json,
            path: None,
            min_status: 0,
            redact_query: ["access_token", "api_key", "password", "secret", "token"]
                .map(str::to_owned)
                .to_vec(),
            flush: Timespan::millis(100),
            buffer: ByteSize::kib(4096),
        }
    }
}

impl ShortForm for AccessLogSettings {
    const EXPECTED: &'static str = "`true`, `false`, a file's path, or a table";
    const TYPE: &'static str = "string";
    const ALSO: &'static [&'static str] = &["boolean"];
    fn from_short(value: Scalar<'_>) -> Option<Result<Self, String>> {
        match value {
            Scalar::Switch(true) => Some(Ok(Self::default())),
            Scalar::Text(path) => Some(Ok(Self { path: Some(path.into()), ..Self::default() })),
            Scalar::Number(_) | Scalar::Switch(false) => None,
        }
    }
}

/// The fields of a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// `time`, `id`, `client`, `method`, `host`, `uri`, `route`, `service`, `upstream`, `status`, `reason`, `user`,
    /// `duration_ms`, `bytes_in`, `bytes_out`, `user_agent`. `reason` is the code of the gateway's own answer,
    /// or `auth-refused` where a service that is asked about requests refused in its own words;
    /// or `client-gone` or `answer-cut-off`, where it has no end; null where a service has answered. Where that is a failure of the
    /// gateway or the service (500 and above), `error` is its error type of RFC 9209; where there is more to say than
    /// the code does, `detail` says it. Where written policies were asked, also
    /// `decision` (`allow`, `deny`, or `error` where one could not be evaluated) and `policies`, the ids of those that
    /// decided.
    #[default]
    Json,
    /// The fields of Echo's logger (S3-22).
    Echo,
    /// `timestamp`, `message` (`API Gateway Request`), `method`, `url` (whole), `status_code`, `duration_ms`, `user_id`,
    /// `correlation_id`, `user_agent`, `ip_address` (S4-32).
    ApiGateway,
}
