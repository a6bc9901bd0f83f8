//! Who is not limited.

use crate::facts::Facts;
use crate::settings::ExemptSettings;
use gateway_core::AuthMethod;
use serde_json::Value;

impl ExemptSettings {
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    pub(crate) fn covers(&self, facts: &Facts<'_>) -> bool {
        let near = || facts.ip().is_some_and(|ip| self.networks.iter().any(|network| network.contains(ip)));
        let known = || {
            facts.principal().is_some_and(|principal| {
                let by_key = principal.method() == AuthMethod::ApiKey;
                self.principals.contains(principal.id()) || (by_key && self.keys.contains(principal.id()))
            })
        };
        let claimed = || {
            self.claims.iter().any(|(path, wanted)| match facts.claim(path) {
                Some(Value::Array(values)) => values.contains(wanted),
                value => value == Some(wanted),
            })
        };
        (!self.networks.is_empty() && near()) || known() || (!self.claims.is_empty() && claimed())
    }
}
