use gateway_core::Network;
use gateway_core::units::{Scalar, ShortForm, Timespan};
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// An answer that is always the same. Short forms: a text such as `"pong"`, or a status such as `204`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RespondSettings {
    /// 200 to 599. Default 200; 503 for maintenance.
    pub status: Option<u16>,
    /// Headers of the answer. A `Content-Type` here takes the place of the one that follows from the body.
    pub headers: BTreeMap<String, String>,
    /// A body of plain text. Default, as for `json` and `file`, of which only one may be given: no body.
    pub text: Option<String>,
    /// A body of JSON, written in place.
    pub json: Option<serde_json::Value>,
    /// A body from this file, read once at the start. Its ending says what it is: html, txt, css, js, json, xml,
    /// svg, png, ico; `application/octet-stream` otherwise.
    pub file: Option<PathBuf>,
}

impl ShortForm for RespondSettings {
    const EXPECTED: &'static str = "a text, a status such as 204, or a table";
    const TYPE: &'static str = "string";
    const ALSO: &'static [&'static str] = &["integer"];
    fn from_short(value: Scalar<'_>) -> Option<Result<Self, String>> {
        match value {
            Scalar::Text(text) => Some(Ok(Self { text: Some(text.to_owned()), ..Self::default() })),
            Scalar::Number(status) => Some(
                u16::try_from(status)
                    .map(|status| Self { status: Some(status), ..Self::default() })
                    .map_err(|_| format!("{status} is not a status; expected 200 to 599")),
            ),
            Scalar::Switch(_) => None,
        }
    }
}

/// Answers 503 to everybody but those who work on it. Short form: `true`, the defaults.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MaintenanceSettings {
    /// When clients may come again, told in `Retry-After` in whole seconds, rounded up. Default `5m`; `0s` leaves it
    /// out.
    pub retry_after: Timespan,
    /// Networks of clients that are served as ever, such as `10.0.0.0/8`. Default: none.
    pub exempt: Vec<Network>,
    /// The answer. Default: a problem document (RFC 9457) with status 503.
    pub answer: RespondSettings,
}

impl Default for MaintenanceSettings {
    fn default() -> Self {
        Self { retry_after: Timespan::secs(300), exempt: Vec::new(), answer: RespondSettings::default() }
    }
}

impl ShortForm for MaintenanceSettings {
    const EXPECTED: &'static str = "`true`, or a table";
    const TYPE: &'static str = "boolean";
    fn from_short(value: Scalar<'_>) -> Option<Result<Self, String>> {
        (value == Scalar::Switch(true)).then(|| Ok(Self::default()))
    }
}
