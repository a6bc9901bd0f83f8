use gateway_core::Mode;
use schemars::JsonSchema;
use serde::Deserialize;
use std::num::NonZeroU32;

/// How many requests may be on their way at once; a request counts until its answer's body has ended. What is too
/// much is answered 503 `overloaded`. Default: any number (Envoy's 1024 would surprise).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LimitSettings {
    /// To the whole service; retries are not counted again. Default: any number.
    pub max_requests: Option<NonZeroU32>,
    /// To each endpoint; requests go to another endpoint while one has room. Default: any number.
    pub max_requests_per_endpoint: Option<NonZeroU32>,
    /// `enforce`, or `report` to refuse nobody and only say so. Default `enforce`.
    pub mode: Mode,
}
