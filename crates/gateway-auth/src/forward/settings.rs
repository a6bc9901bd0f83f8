use crate::forward::key::KeyPart;
use gateway_core::units::{Scalar, Short, ShortForm, Timespan};
use gateway_fetch::FetchSettings;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Who is asked whether a request may pass, and what is told both ways (Traefik: ForwardAuth).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ForwardSettings {
    /// Where to ask, with `GET`: `http://auth:9000/verify`. Needed.
    pub url: String,
    /// The request's headers that are sent along; an empty list sends all but those of the connection. Always sent:
    /// `X-Forwarded-Method`, `-Proto`, `-Host`, `-Uri`, `-For`. Default: all.
    pub request_headers: Vec<String>,
    /// Headers of a 2xx answer that the service gets with the request. Copies from clients are removed, on all other
    /// routes too; but on those not `Authorization`, `Cookie`, what `request_headers` lists, and headers that carry
    /// the credential of another way. Default: none.
    pub response_headers: Vec<String>,
    /// Further such headers by how they begin: `x-auth-`. Default: none.
    pub response_headers_prefix: Option<String>,
    /// Headers of a 2xx answer that the client gets with the service's answer, such as `set-cookie`. Default: none.
    pub answer_headers: Vec<String>,
    /// The header of a 2xx answer that says who the caller is; removed from requests of clients. Without it callers
    /// pass without a name. Default: none.
    pub principal_header: Option<String>,
    /// How long a 2xx is believed without asking again: `"10s"`, or a table with `ttl` and `key`. Default: asks
    /// each time.
    pub cache: Option<Short<ForwardCache>>,
    /// What happens while nobody answers in time, or with 5xx. Default `deny`.
    pub on_failure: OnForwardFailure,
    /// How to get there: time-out, certificates; `max_body` limits the answer.
    pub http: FetchSettings,
}

impl ForwardSettings {
    /// The files that are read once, when a method is made.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.http.files()
    }
}

/// How long answers are believed, and for which requests.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ForwardCache {
    /// How long. Default `10s`.
    pub ttl: Timespan,
    /// What requests must have in common to get the same answer: `header NAME`, `cookie NAME`, `method`, `host`,
    /// `path`, `uri`, `client_ip`. Whatever the answer depends on must be here. Default
    /// `["header authorization", "header cookie", "method", "host", "uri"]`.
    pub key: Vec<KeyPart>,
    /// How many answers are remembered. Default 10 000.
    pub entries: usize,
}

impl Default for ForwardCache {
    fn default() -> Self {
        Self {
            ttl: Timespan::secs(10),
            key: vec![
                KeyPart::Header(http::header::AUTHORIZATION),
                KeyPart::Header(http::header::COOKIE),
                KeyPart::Method,
                KeyPart::Host,
                KeyPart::Uri,
            ],
            entries: 10_000,
        }
    }
}

impl ShortForm for ForwardCache {
    const EXPECTED: &'static str = "a length of time such as \"10s\", or a table";
    const TYPE: &'static str = "string";

    fn from_short(value: Scalar<'_>) -> Option<Result<Self, String>> {
        match value {
            Scalar::Text(ttl) => Some(ttl.parse().map(|ttl| Self { ttl, ..Self::default() })),
            Scalar::Number(_) | Scalar::Switch(_) => None,
        }
    }
}

/// What happens to requests while nobody answers about them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnForwardFailure {
    /// They are answered 503 `auth-unavailable`.
    #[default]
    Deny,
    /// They pass, without a name.
    Allow,
}
