use crate::{
    BulkheadSettings, CircuitSettings, EwmaSettings, HashOn, HoldSettings, LimitSettings, LoadFactor,
    OutlierSettings, PanicSettings, RequestBias, SlowStartSettings, StickySettings, Strategy, SubsetSettings,
};
use gateway_core::units::{Scalar, Short, ShortForm, Switch};
use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::IntoDeserializer;
use serde::de::value::{Error, StrDeserializer};

/// Which endpoint takes a request, and which may not. Short form: the strategy, `"least_request"`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PolicySettings {
    /// How the next endpoint is picked. Default `round_robin`.
    pub strategy: Strategy,
    /// What `ring_hash` and `maglev` tell requests apart by: `client_ip`, `header NAME`, `cookie NAME`,
    /// `query NAME`, `param NAME` (what the route captured by that name), `path`, `principal`, or a list of which
    /// the first that a request has counts. Default `client_ip`.
    pub hash_on: HashOn,
    /// For `ring_hash` and `maglev`: how busy an endpoint may be, in percent of its share, before a request goes
    /// to the next one; such as 125. Default: any.
    pub bounded_load: Option<LoadFactor>,
    /// For `least_request` where weights differ: an endpoint's chance is `weight / (requests + 1)^request_bias`. 0 looks
    /// at the weights alone; 2 leaves busy ones alone sooner. Default 1.0 (Envoy).
    pub request_bias: RequestBias,
    /// How `peak_ewma` judges speed.
    pub ewma: EwmaSettings,
    /// Clients come back to the endpoint that answered them: the name of a cookie, or a table. Default: no.
    pub sticky: Option<Short<StickySettings>>,
    /// The zone that the gateway is in: endpoints of this `zone` are preferred, and the others of the same priority take
    /// over what those cannot, from where fewer than five sevenths of them are available. Default: none is preferred.
    pub zone: Option<String>,
    /// Sends requests only to endpoints with a label that the request asks for. Default: to all.
    pub subset: Option<SubsetSettings>,
    /// Endpoints that keep failing are left alone for a while. Default: on, with Envoy's numbers.
    pub outlier: Short<OutlierSettings>,
    /// What happens when too few endpoints are left. Default 50: below half, ejections are ignored.
    pub panic: Short<PanicSettings>,
    /// An endpoint that comes back, or that a reload adds, gets its share bit by bit: `"30s"`, or a table. Default: at
    /// once.
    pub slow_start: Option<Short<SlowStartSettings>>,
    /// How many requests may be on their way at once. Default: any number.
    pub limits: LimitSettings,
    /// How many requests wait at once while the service gives hardly any of them an answer: a number, `false` or a table.
    /// Default 1000.
    pub bulkhead: Short<BulkheadSettings>,
    /// A circuit breaker for the service as a whole: `true`, or a table. Default false.
    pub circuit: Switch<CircuitSettings>,
    /// A circuit breaker for each endpoint: `true`, or a table. Default false.
    pub endpoint_circuit: Switch<CircuitSettings>,
    /// How long a request waits for an endpoint when none is available, or none that is tried takes connections, within
    /// `timeout`: `"5s"`, or a table. Default: not at all.
    pub hold: Option<Short<HoldSettings>>,
}

impl From<Strategy> for PolicySettings {
    fn from(strategy: Strategy) -> Self {
        Self { strategy, ..Self::default() }
    }
}

impl ShortForm for PolicySettings {
    const EXPECTED: &'static str = "a strategy such as \"round_robin\", or a table";
    const TYPE: &'static str = "string";
    fn from_short(value: Scalar<'_>) -> Option<Result<Self, String>> {
        let Scalar::Text(text) = value else { return None };
        let text: StrDeserializer<'_, Error> = text.into_deserializer();
        Some(Strategy::deserialize(text).map(Self::from).map_err(|error| error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<PolicySettings, String> {
        serde_json::from_str::<Short<PolicySettings>>(text).map(|short| short.0).map_err(|e| e.to_string())
    }

    #[test]
    fn a_policy_is_a_strategy_or_a_table_and_a_mistake_names_what_is_known() {
        assert_eq!(read("\"least_request\""), Ok(Strategy::LeastRequest.into()));
        let policy =
            read(r#"{"strategy": "random", "outlier": "report", "panic": 0, "slow_start": "10s"}"#).unwrap();
        assert_eq!(policy.strategy, Strategy::Random);
        assert_eq!(policy.panic.threshold.get(), 0);
        assert_eq!(policy.slow_start.unwrap().window.as_secs(), 10);
        for (text, part) in [
            ("\"fastest\"", "unknown variant `fastest`, expected one of `round_robin`"),
            ("7", "expected a strategy such as"),
            (r#"{"outliers": "off"}"#, "unknown field `outliers`"),
            (r#"{"panic": 101}"#, "`101` is no percentage"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
