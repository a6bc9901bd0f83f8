use gateway_core::units::{ByteSize, Timespan};
use schemars::JsonSchema;
use serde::Deserialize;

/// Which `Host` the upstream sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HostHeader {
    /// The one the client sent, as Envoy, Traefik and Caddy do.
    #[default]
    Preserve,
    /// The endpoint's own, as nginx does.
    Endpoint,
}

/// How connections to one endpoint are made and kept.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct UpstreamSettings {
    /// Which `Host` the upstream sees: `preserve` (the client's) or `endpoint`.
    pub host: HostHeader,
    /// How long a connection may take to be made, name resolution included. Default `1s`.
    pub connect_timeout: Timespan,
    /// How long an idle connection is kept. Shorter than what usual servers keep (nginx: 75 s, Node.js: 5 s
    /// are the extremes), so that they rarely close first. Default `55s`.
    pub idle_timeout: Timespan,
    /// How many idle connections are kept per endpoint and worker. Default 256.
    pub max_idle: usize,
    /// The largest answer head accepted. Default `64KiB`.
    pub max_head: ByteSize,
    /// How long an answer's body may make no progress. `text/event-stream` is exempt. Default `60s`.
    pub body_idle_timeout: Timespan,
}

impl Default for UpstreamSettings {
    fn default() -> Self {
        Self {
            host: HostHeader::Preserve,
            connect_timeout: Timespan::secs(1),
            idle_timeout: Timespan::secs(55),
            max_idle: 256,
            max_head: ByteSize::kib(64),
            body_idle_timeout: Timespan::secs(60),
        }
    }
}
