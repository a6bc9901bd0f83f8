use gateway_core::units::Timespan;
use schemars::JsonSchema;
use serde::Deserialize;

/// How guessing is slowed down. What is beyond the free attempts waits, twice as long after each further failure, up to
/// `max_backoff`: nobody is locked out for good.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ThrottleSettings {
    /// How many logins to one account may fail before it slows down. Default 5.
    pub account_attempts: u32,
    /// How many logins from one address (IPv6: one /64) may fail before it slows down. Default 50: many people may be
    /// behind one address.
    pub address_attempts: u32,
    /// How many accounts may be opened from one address before it slows down. Default 20.
    pub registrations: u32,
    /// How long the first wait is. Default `1s`.
    pub backoff: Timespan,
    /// How long a wait gets at most. Default `15m`.
    pub max_backoff: Timespan,
    /// After how long without an attempt all is forgotten. Default `1h`.
    pub forget_after: Timespan,
}

impl Default for ThrottleSettings {
    fn default() -> Self {
        Self {
            account_attempts: 5,
            address_attempts: 50,
            registrations: 20,
            backoff: Timespan::secs(1),
            max_backoff: Timespan::secs(15 * 60),
            forget_after: Timespan::secs(3600),
        }
    }
}

impl ThrottleSettings {
    pub(super) fn check(&self) -> Result<(), String> {
        if self.max_backoff < self.backoff {
            return Err(format!(
                "`throttle.max_backoff` is {}; expected at least `throttle.backoff`, {}",
                self.max_backoff, self.backoff
            ));
        }
        Ok(())
    }
}
