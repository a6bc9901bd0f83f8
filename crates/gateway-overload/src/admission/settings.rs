use gateway_core::units::{Scalar, ShortForm, Timespan};
use gateway_core::{Mode, Network, Priority};
use schemars::JsonSchema;
use serde::Deserialize;

/// Sheds a share of the requests while too many of them fail, the least important first. Short form: `true`.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AdmissionSettings {
    /// The share of answers below 500 at which nothing is shed, above 0 up to 1. Default 0.95, as Envoy's.
    pub success_rate: f64,
    /// How steeply shedding begins, 0.1 to 10: the share is the excess of failures to the power of one divided
    /// by this. 1 sheds in proportion, 2 earlier, 0.5 later. Default 1.
    pub aggression: f64,
    /// How far back failures count, 1 s to 1 h. Default `30s`.
    pub window: Timespan,
    /// At most this share of all requests is shed, 0 to 1, so that enough pass to see the service recover.
    /// Default 0.8.
    pub max_shed: f64,
    /// Nothing is shed while fewer answers were seen within the window. Default 20.
    pub min_requests: u64,
    /// The class of requests that say nothing else: `critical`, `default` or `sheddable`. Default `default`.
    pub priority: Priority,
    /// A header whose value names the class. Default: none. Needs `trusted`.
    pub priority_header: Option<String>,
    /// The clients whose header is believed, not the proxies they come through; `["0.0.0.0/0", "::/0"]` believes everyone. Default: none.
    pub trusted: Vec<Network>,
    /// `enforce`, or `report` to count whom it would shed but refuse nobody. Default `enforce`.
    pub mode: Mode,
}

impl Default for AdmissionSettings {
    fn default() -> Self {
        Self {
            success_rate: 0.95,
            aggression: 1.0,
            window: Timespan::secs(30),
            max_shed: 0.8,
            min_requests: 20,
            priority: Priority::Default,
            priority_header: None,
            trusted: Vec::new(),
            mode: Mode::Enforce,
        }
    }
}

impl ShortForm for AdmissionSettings {
    const EXPECTED: &'static str = "true, or a table";
    const TYPE: &'static str = "boolean";
    fn from_short(value: Scalar<'_>) -> Option<Result<Self, String>> {
        match value {
            Scalar::Switch(true) => Some(Ok(Self::default())),
            Scalar::Switch(false) | Scalar::Text(_) | Scalar::Number(_) => None,
        }
    }
}
