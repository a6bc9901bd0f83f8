#[cfg(feature = "redis")]
use deadpool_redis::redis;
#[cfg(feature = "redis")]
use std::sync::OnceLock;

/// A Lua script that Redis runs as one step, undisturbed by other commands.
///
/// Keep it in a `static`, so that its digest is computed once. It is sent as a whole only where the server does not
/// know it yet (`EVALSHA`, then `EVAL` upon `NOSCRIPT`), so also after a fail-over and `SCRIPT FLUSH`.
///
/// It answers with an array of integers, `return {1, 2}`, or with one; Redis cuts fractions off. Ask the server for
/// the time (`redis.call('TIME')`) rather than each instance's clock, and name every key in `KEYS`: in a cluster they
/// must share a slot, by the same `{…}` in each.
///
/// ```
/// use gateway_store::Script;
/// static TAKE: Script = Script::new("return redis.call('INCRBY', KEYS[1], ARGV[1])");
/// ```
#[derive(Debug)]
pub struct Script {
    source: &'static str,
    #[cfg(feature = "redis")]
    digest: OnceLock<String>,
}

impl Script {
    /// A script with this source.
    #[must_use]
    pub const fn new(source: &'static str) -> Self {
        Self {
            source,
            #[cfg(feature = "redis")]
            digest: OnceLock::new(),
        }
    }

    /// The Lua source.
    #[must_use]
    pub const fn source(&self) -> &'static str {
        self.source
    }

    /// The SHA-1 of the source in hexadecimal digits: the name by which the server knows it.
    #[cfg(feature = "redis")]
    #[must_use]
    pub fn digest(&self) -> &str {
        self.digest.get_or_init(|| redis::Script::new(self.source).get_hash().to_owned())
    }
}

#[cfg(all(test, feature = "redis"))]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_that_of_redis() {
        // What `SCRIPT LOAD "return 1"` answers.
        static ONE: Script = Script::new("return 1");
        assert_eq!(ONE.digest(), "e0e1f9fabfc9d4800c877a703b823ac0578ff8db");
    }
}
