use gateway_core::Network;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Who is not limited.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ExemptSettings {
    /// Clients in these networks, such as `10.0.0.0/8`. Default: none.
    pub networks: Vec<Network>,
    /// These principals, however they are authenticated. Default: none.
    pub principals: BTreeSet<String>,
    /// The principals of these API keys. Default: none.
    pub keys: BTreeSet<String>,
    /// Callers with one of these claims: it is the value, or a list that holds it. Default: none.
    #[schemars(with = "BTreeMap<String, serde_json::Value>")]
    pub claims: BTreeMap<String, Value>,
}
