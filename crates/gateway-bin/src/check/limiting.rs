//! What a rate limit says that changes nothing.

use crate::config::{Mistake, Origin, Settings, join};
use gateway_ratelimit::{Algorithm, CountWhat, RateLimitSettings, Shared};

/// Settings of limits that nothing looks at, as they are set.
pub(super) fn without_effect(settings: &Settings, origin: &Origin) -> Vec<Mistake> {
    let mut found = Vec::new();
    let has_redis = settings.store.redis.is_some();
    for (name, limit) in &settings.rate_limits {
        for Unread { key, why, help } in unread(&limit.0, has_redis) {
            let key_of = format!("{}.{key}", join("rate_limits", name));
            let warning = origin.warning(&key_of, format!("`{key}` changes nothing: {why}"));
            found.push(warning.with_help(help));
        }
    }
    found
}

struct Unread {
    key: &'static str,
    why: &'static str,
    help: &'static str,
}

/// What is set and not looked at, why, and what would have it looked at.
fn unread(limit: &RateLimitSettings, has_redis: bool) -> impl Iterator<Item = Unread> {
    let default = RateLimitSettings::default();
    let no_redis = ("only what a Redis keeps is shared", "name one in `store.redis`");
    let not_leased = ("shares are taken with `leased` only", "set `shared = \"leased\"`");
    let no_quota = ("only quotas go by the calendar and are kept", "give a `quota`, such as `\"10000/day\"`");
    let is_leased = limit.shared == Shared::Leased;
    [
        ("shared", is_leased && !has_redis, no_redis),
        ("lease", limit.lease.is_some() && !is_leased, not_leased),
        ("lease_ttl", limit.lease_ttl != default.lease_ttl && !is_leased, not_leased),
        ("timezone", limit.timezone != default.timezone && limit.quota.is_none(), no_quota),
        ("quota_file", limit.quota_file.is_some() && limit.quota.is_none(), no_quota),
        (
            "max_delay",
            limit.max_delay != default.max_delay && limit.algorithm != Algorithm::LeakyBucket,
            ("only a leaky bucket has requests wait", "set `algorithm = \"leaky_bucket\"`"),
        ),
        (
            "statuses",
            limit.statuses != default.statuses && limit.count == CountWhat::Requests,
            ("every request counts, whatever its answer", "set `count = \"failures\"`"),
        ),
    ]
    .into_iter()
    .filter(|(_, is_unread, _)| *is_unread)
    .map(|(key, _, (why, help))| Unread { key, why, help })
}
