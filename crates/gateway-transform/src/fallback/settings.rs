use crate::respond::RespondSettings;
use gateway_core::units::{ByteSize, Scalar, Short, ShortForm};
use gateway_core::{Code, Problem};
use http::StatusCode;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer};
use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

/// What takes the place of an answer that is none: another service, then an answer that is always the same.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FallbackSettings {
    /// Which answers are none: `"connect"` (no connection, no endpoint left, or the circuit is open), `"failure"` (these
    /// and every other way in which the service gave no answer), or statuses such as `"5xx"`, `"503"` or `"500-504"`,
    /// whoever gave them. Default `["failure"]`.
    pub on: Vec<FallbackOn>,
    /// The service that is asked next. Default: none.
    pub service: Option<String>,
    /// The answer if that one fails too, or there is none: a text, a status, or a table. Default: the last one that
    /// there was.
    pub respond: Option<Short<RespondSettings>>,
    /// The largest request body that is kept for the other service. A request with a larger one, or one of unknown
    /// length, is not repeated. Default `64KiB`.
    pub max_body: ByteSize,
}

impl Default for FallbackSettings {
    fn default() -> Self {
        Self { on: vec![FallbackOn::Failure], service: None, respond: None, max_body: ByteSize::kib(64) }
    }
}

impl ShortForm for FallbackSettings {
    const EXPECTED: &'static str = "`false`, or a table with `service` or `respond`";
    const TYPE: &'static str = "boolean";
    fn from_short(_: Scalar<'_>) -> Option<Result<Self, String>> {
        None
    }
}

impl FallbackSettings {
    /// The same without the other service; `None` where nothing is left.
    #[must_use]
    pub fn only_respond(&self) -> Option<Self> {
        self.respond.as_ref()?;
        Some(Self { service: None, ..self.clone() })
    }
}

/// Answers that are none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FallbackOn {
    /// `connect`: the service was not reached.
    Connect,
    /// `failure`: the service gave no answer.
    Failure,
    /// `5xx`, `503` or `500-504`: these statuses, both ends included.
    Status(u16, u16),
}

impl FallbackOn {
    /// Whether an answer is one of these. The gateway's own have a problem.
    pub(super) fn takes(self, status: StatusCode, problem: Option<&Problem>) -> bool {
        let code = problem.map(Problem::code);
        let unreached =
            matches!(code, Some(Code::UpstreamConnectFailed | Code::NoEndpoint | Code::CircuitOpen));
        match self {
            Self::Connect => unreached,
            Self::Failure => {
                let broken = Some(Code::UpstreamReset) == code
                    || Some(Code::UpstreamProtocolError) == code
                    || Some(Code::UpstreamTimeout) == code;
                // Codes of later crates are failures of the service too where their status says so.
                unreached || broken || (code.is_some() && matches!(status.as_u16(), 502 | 504))
            }
            Self::Status(first, last) => (first..=last).contains(&status.as_u16()),
        }
    }
}

impl FromStr for FallbackOn {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let status = |text: &str| text.parse::<u16>().ok().filter(|status| (400..600).contains(status));
        let range = match (text, text.split_once('-')) {
            ("connect", _) => return Ok(Self::Connect),
            ("failure", _) => return Ok(Self::Failure),
            ("4xx", _) => Some((400, 499)),
            ("5xx", _) => Some((500, 599)),
            (_, Some((first, last))) => status(first).zip(status(last)).filter(|(first, last)| first <= last),
            (one, None) => status(one).map(|status| (status, status)),
        };
        range.map(|(first, last)| Self::Status(first, last)).ok_or_else(|| {
            format!("`{text}` is nothing to fall back on; expected `connect`, `failure`, `5xx`, `503` or `500-504`")
        })
    }
}

impl<'de> Deserialize<'de> for FallbackOn {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Read;
        impl Visitor<'_> for Read {
            type Value = FallbackOn;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`connect`, `failure`, `5xx`, `503` or `500-504`")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<FallbackOn, E> {
                text.parse().map_err(E::custom)
            }
            // Statuses alone are numbers everywhere else.
            fn visit_u64<E: Error>(self, status: u64) -> Result<FallbackOn, E> {
                self.visit_str(&status.to_string())
            }
            fn visit_i64<E: Error>(self, status: i64) -> Result<FallbackOn, E> {
                self.visit_str(&status.to_string())
            }
        }
        d.deserialize_any(Read)
    }
}

impl JsonSchema for FallbackOn {
    fn schema_name() -> Cow<'static, str> {
        "FallbackOn".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": ["string", "integer"],
            "pattern": "^(connect|failure|[45](xx|[0-9]{2}(-[45][0-9]{2})?))$",
            "examples": ["connect", "failure", "5xx", "500-504"]
        })
    }
    fn inline_schema() -> bool {
        true
    }
}
