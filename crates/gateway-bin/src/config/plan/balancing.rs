//! Timeouts and retries of routes that have others than their service.

use super::levels::Levels;
use super::planner::Planner;
use gateway_balance::{BalanceSettings, RouteRetrySettings, RouteTimeoutSettings};
use std::sync::Arc;

impl Planner<'_> {
    /// What the requests of a route are sent by, where it or its group says so.
    pub(super) fn route_balancing(
        &mut self,
        levels: &Levels<'_>,
        service: Option<&str>,
    ) -> Option<Arc<BalanceSettings>> {
        let (timeout_key, timeout) = levels.first("timeout", |policies| policies.timeout);
        let (retry_key, retry) = levels.first("retry", |policies| policies.retry);
        if timeout.is_none() && retry.is_none() {
            return None;
        }
        let of_service = self.settings.services.get(service?)?.balancing();
        let mut balancing = of_service.clone();
        if let Some(timeout) = timeout {
            self.timeout_makes_sense(&timeout_key, timeout);
            balancing.timeout.0 = timeout.over(&of_service.timeout);
        }
        if let Some(retry) = retry {
            self.retry_makes_sense(&retry_key, retry);
            balancing.retry.0 = retry.over(&of_service.retry);
        }
        Some(Arc::new(balancing))
    }

    pub(super) fn timeout_makes_sense(&mut self, key: &str, timeout: &RouteTimeoutSettings) {
        for (name, time) in [("total", timeout.total), ("per_try", timeout.per_try)] {
            if let Some(time) = time {
                self.is_some_time(key, name, time);
            }
        }
    }

    pub(super) fn retry_makes_sense(&mut self, key: &str, retry: &RouteRetrySettings) {
        self.are_attempts(key, retry.attempts.unwrap_or(1));
        self.are_statuses(key, retry.statuses.as_deref().unwrap_or_default());
    }

    pub(super) fn are_attempts(&mut self, key: &str, attempts: u32) {
        if !(1..=100).contains(&attempts) {
            self.noted::<(), _>(key, Err(format!("`attempts` is {attempts}; expected 1 to 100")));
        }
    }

    pub(super) fn are_statuses(&mut self, key: &str, statuses: &[u16]) {
        for (i, status) in statuses.iter().enumerate() {
            if !(100..=599).contains(status) {
                let message = format!("{status} is not a status; expected 100 to 599");
                self.noted::<(), _>(format_args!("{key}.statuses[{i}]"), Err(message));
            }
        }
    }
}
