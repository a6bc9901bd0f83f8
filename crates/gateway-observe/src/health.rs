use crate::time::Utc;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Instant;

/// What `/health` says (S4-01): the gateway, and each of its services.
#[derive(Clone, Debug, Serialize)]
pub struct HealthReport {
    /// `healthy`, or `degraded` when a service is not.
    pub status: &'static str,
    /// UTC, to the second.
    pub timestamp: String,
    /// The version of what reports.
    pub version: String,
    /// `healthy` or `unhealthy`, by name.
    pub services: BTreeMap<String, &'static str>,
}

impl HealthReport {
    /// The report at this time, of services and whether they can take requests.
    #[must_use]
    pub fn now(version: &str, services: impl IntoIterator<Item = (String, bool)>) -> Self {
        let word = |healthy| if healthy { "healthy" } else { "unhealthy" };
        let services: BTreeMap<_, _> =
            services.into_iter().map(|(name, healthy)| (name, word(healthy))).collect();
        let degraded = services.values().any(|state| *state != "healthy");
        Self {
            status: if degraded { "degraded" } else { "healthy" },
            timestamp: format!("{}Z", String::from_utf8_lossy(&Utc::at(Instant::now()).second)),
            version: version.to_owned(),
            services,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s4_01_s4_02_a_service_without_a_healthy_endpoint_degrades_the_whole() {
        let report = HealthReport::now("1.0.0", [("a".to_owned(), true), ("b".to_owned(), false)]);
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["status"], "degraded");
        assert_eq!(json["version"], "1.0.0");
        assert_eq!(json["services"], serde_json::json!({ "a": "healthy", "b": "unhealthy" }));
        let time = json["timestamp"].as_str().unwrap();
        assert_eq!((time.len(), &time[10..11], &time[19..]), (20, "T", "Z"), "{time}");
        assert_eq!(HealthReport::now("", [("a".to_owned(), true)]).status, "healthy");
    }
}
