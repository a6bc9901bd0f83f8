use gateway_core::units::ByteSize;
use schemars::JsonSchema;
use serde::Deserialize;

/// What passwords must be (NIST SP 800-63B: length, no composition rules), and how they are kept (argon2id).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PasswordSettings {
    /// How many characters a password has at least. Default 8.
    pub min_length: usize,
    /// How much memory one hash takes. Default `19MiB` (OWASP's first recommendation; RFC 9106's second one is
    /// `64MiB` with 3 iterations and 4 lanes).
    pub memory: ByteSize,
    /// How often the memory is gone through. Default 2.
    pub iterations: u32,
    /// How many lanes the memory has. Default 1.
    pub lanes: u32,
    /// How many hashes are computed at once. Default: half of the processors, at least 1, so that a flood of logins
    /// leaves the others to everything else.
    pub max_parallel: Option<usize>,
    /// How many more may wait for their turn; beyond that logins are answered 503 with `Retry-After`. Default 256.
    pub max_queued: usize,
}

impl Default for PasswordSettings {
    fn default() -> Self {
        Self {
            min_length: 8,
            memory: ByteSize::kib(19 * 1024),
            iterations: 2,
            lanes: 1,
            max_parallel: None,
            max_queued: 256,
        }
    }
}

impl PasswordSettings {
    pub(super) fn check(&self) -> Result<(), String> {
        if self.iterations == 0 {
            return Err("`password.iterations` is 0; expected at least 1".to_owned());
        }
        if !(1..=64).contains(&self.lanes) {
            return Err(format!("`password.lanes` is {}; expected 1 to 64", self.lanes));
        }
        // RFC 9106 §3.1: at least 8 KiB per lane. The upper end is a mistake in the unit.
        if !(u64::from(self.lanes) * 8 * 1024..=4 << 30).contains(&self.memory.bytes()) {
            return Err(format!("`password.memory` is {}; expected 8KiB per lane to 4GiB", self.memory));
        }
        if self.max_parallel == Some(0) {
            return Err("`password.max_parallel` is 0; expected at least 1".to_owned());
        }
        if !(1..=64).contains(&self.min_length) {
            return Err(format!("`password.min_length` is {}; expected 1 to 64", self.min_length));
        }
        Ok(())
    }

    pub(crate) fn max_parallel(&self) -> usize {
        let processors = || std::thread::available_parallelism().map_or(1, usize::from);
        self.max_parallel.unwrap_or_else(|| (processors() / 2).max(1))
    }
}
