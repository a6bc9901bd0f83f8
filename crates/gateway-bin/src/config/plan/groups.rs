//! Groups and defaults: what routes take over.

use super::cedar::Cedar;
use super::planner::Planner;
use gateway_auth::IdentityHeadersLayer;
use gateway_cache::{CacheError, CacheLayer, CacheSettings, CacheStore};
use gateway_core::units::{ByteSize, Switch};
use gateway_overload::{ConcurrencyLimitLayer, FaultLayer};
use gateway_transform::{CorrelationIdLayer, CorsLayer, MaintenanceLayer, SecurityHeadersLayer};
use std::collections::BTreeMap;

/// Checks settings that no route may have taken over.
fn check_cache(settings: &CacheSettings) -> Result<CacheLayer, CacheError> {
    CacheLayer::new("", settings, &CacheStore::new(ByteSize(u64::MAX)))
}

impl Planner<'_> {
    /// What is wrong with groups and defaults, whether or not any route takes it over.
    pub(super) fn shared_policies(&mut self, cedar: &BTreeMap<String, Cedar>) {
        let settings = self.settings;
        let groups = settings.groups.iter().map(|(name, group)| (format!("groups.{name}"), group.policies()));
        for (place, set) in groups.chain([("defaults".to_owned(), settings.defaults.policies())]) {
            let key = |name: &str| format!("{place}.{name}");
            set.auth.map(|auth| self.auth_is_known(&key("auth"), auth));
            if let Some(names) = set.rate_limit {
                (0..names.all().len()).for_each(|i| drop(self.limit_name(&key("rate_limit"), names, i)));
            }
            self.authorization(&key("authorize"), set.authorize, ("", ""), cedar);
            let told = set.identity_headers;
            told.and_then(|on| self.switch(&key("identity_headers"), on, IdentityHeadersLayer::new));
            let fallback = set.fallback.and_then(Switch::on);
            fallback.map(|fallback| self.fallback_is_good(&key("fallback"), fallback));
            set.cache.and_then(|on| self.switch(&key("cache"), on, check_cache));
            set.cors.and_then(|on| self.switch(&key("cors"), on, CorsLayer::new));
            let security = set.security_headers;
            security.and_then(|on| self.switch(&key("security_headers"), on, SecurityHeadersLayer::new));
            set.maintenance.and_then(|on| self.switch(&key("maintenance"), on, MaintenanceLayer::new));
            set.concurrency.and_then(|on| self.switch(&key("concurrency"), on, ConcurrencyLimitLayer::new));
            set.fault.and_then(|on| self.switch(&key("fault"), on, FaultLayer::new));
            let correlation = set.correlation_id;
            correlation.and_then(|on| self.switch(&key("correlation_id"), on, CorrelationIdLayer::new));
            self.headers(&key("headers"), set.headers);
            if let Some(timeout) = set.timeout {
                self.timeout_makes_sense(&key("timeout"), timeout);
            }
            if let Some(retry) = set.retry {
                self.retry_makes_sense(&key("retry"), retry);
            }
            for (name, is_said) in [("timeout", set.timeout.is_some()), ("retry", set.retry.is_some())] {
                if is_said && place == "defaults" {
                    let message =
                        format!("`{name}` for all routes would come before what their services say");
                    let mistake = self.origin.mistake(&key(name), message);
                    self.mistakes.push(mistake.with_help("set it in services, groups or routes"));
                }
            }
        }
    }
}
