//! Active health checks: whether an endpoint that is asked at an interval is well.

mod grpc;
mod http;
mod settings;
mod status;
mod tcp;

pub use settings::{HealthCheck, HealthSettings};
pub use status::StatusRanges;

use crate::EndpointSet;
use bytes::Bytes;
use gateway_core::{BoxError, Endpoint, FailureKind, Upstream, UpstreamError};
use gateway_lookup::Lookup;
use http_body::Body;
use http_body_util::Full;
use std::fmt;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Whether an endpoint is in or out, after each check: pure.
#[derive(Clone, Copy, Debug, Default)]
struct Streak {
    /// Unknown before the first check ever, which decides alone.
    healthy: Option<bool>,
    against: u32,
}

impl Streak {
    fn after(self, good: bool, settings: &HealthSettings) -> Self {
        let Some(healthy) = self.healthy else { return Self { healthy: Some(good), against: 0 } };
        if good == healthy {
            return Self { against: 0, ..self };
        }
        let against = self.against + 1;
        let needed = if healthy { settings.fall } else { settings.rise };
        if against >= needed { Self { healthy: Some(good), against: 0 } } else { Self { against, ..self } }
    }
}

/// Checks the endpoints of a set until dropped. The caller spawns it; one is enough for a process.
///
/// The first check of each endpoint runs at once, and decides alone where none was made before, in this set or in the
/// one that it [renews](EndpointSet::renewed); endpoints are then checked at the interval, each at its own time within it, so that checks do not come in bursts. `connect` makes what sends the checks to an
/// endpoint, which may have another port than that of the set; for `grpc` it must speak HTTP/2. Checks of the kind
/// `tcp` do without it.
pub async fn health_checks<U>(set: EndpointSet, settings: HealthSettings, connect: impl Fn(&Endpoint) -> U)
where
    U: Upstream<Full<Bytes>> + Send + Sync + 'static,
    U::Body: Body<Data = Bytes, Error: Into<BoxError>> + Send,
{
    let mut checks = JoinSet::new();
    for (index, member) in set.members().iter().enumerate() {
        let asked = place(&member.endpoint, &settings);
        let upstream = connect(&asked);
        let (set, settings, endpoint) = (set.clone(), settings.clone(), member.endpoint.clone());
        checks.spawn(async move { check_one(&set, index, &endpoint, &asked, &settings, &upstream).await });
    }
    while checks.join_next().await.is_some() {}
}

/// Where an endpoint is checked.
fn place(endpoint: &Endpoint, settings: &HealthSettings) -> Endpoint {
    let other = || {
        let (port, host) = (settings.port?, endpoint.host());
        let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        let other = Endpoint::parse(&format!("{}://{host}:{port}", endpoint.scheme().as_str())).ok();
        other.filter(|_| endpoint.socket_path().is_none())
    };
    other().unwrap_or_else(|| endpoint.clone())
}

async fn check_one<U>(
    set: &EndpointSet,
    index: usize,
    endpoint: &Endpoint,
    asked: &Endpoint,
    settings: &HealthSettings,
    upstream: &U,
) where
    U: Upstream<Full<Bytes>>,
    U::Body: Body<Data = Bytes, Error: Into<BoxError>>,
{
    let mut streak = Streak { healthy: set.members()[index].checked(), against: 0 };
    let mut due = Instant::now();
    let lookup = Lookup::default();
    for round in 0u64.. {
        tokio::time::sleep_until(due).await;
        let result = check(asked, &lookup, settings, upstream).await;
        // What was not asked is as well as before.
        if !matches!(result, Err(Flaw::Unasked(_))) {
            streak = streak.after(result.is_ok(), settings);
        }
        let healthy = streak.healthy.unwrap_or(true);
        if set.set_healthy(index, healthy) {
            match &result {
                Err(why) if !healthy => tracing::warn!("{}: {endpoint} is unhealthy: {why}", set.name()),
                _ => tracing::info!("{}: {endpoint} is healthy again", set.name()),
            }
        }
        due = match round {
            0 => Instant::now() + settings.interval.mul_f64(fastrand::f64()),
            _ => (due + settings.wait(set.unused_for(), fastrand::f64())).max(Instant::now()),
        };
    }
}

impl HealthSettings {
    /// The time from one check to the next, for a service that nobody has used for so long. Pure.
    fn wait(&self, unused_for: Duration, random: f64) -> Duration {
        let interval = match self.no_traffic_interval {
            Some(slow) if unused_for >= *self.interval => slow,
            _ => self.interval,
        };
        // Never without a pause: the interval may be 0.
        let jitter = self.jitter.mul_f64(random.clamp(0.0, 1.0));
        (*interval + jitter).max(Duration::from_millis(1))
    }
}

/// Why a check did not find an endpoint well.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Flaw {
    /// It is not.
    Unwell(String),
    /// The gateway had no connection left to ask it.
    Unasked(String),
}

impl From<String> for Flaw {
    fn from(why: String) -> Self {
        Self::Unwell(why)
    }
}

impl From<UpstreamError> for Flaw {
    fn from(error: UpstreamError) -> Self {
        Self::of(error.kind(), error.message().to_owned())
    }
}

impl Flaw {
    fn of(kind: FailureKind, why: String) -> Self {
        if kind == FailureKind::Exhausted { Self::Unasked(why) } else { Self::Unwell(why) }
    }
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Unwell(why) | Self::Unasked(why)) = self;
        f.write_str(why)
    }
}

async fn check<U>(
    endpoint: &Endpoint,
    lookup: &Lookup,
    settings: &HealthSettings,
    upstream: &U,
) -> Result<(), Flaw>
where
    U: Upstream<Full<Bytes>>,
    U::Body: Body<Data = Bytes, Error: Into<BoxError>>,
{
    let asked = async {
        match settings.kind {
            HealthCheck::Http => http::check(upstream, endpoint, settings).await,
            HealthCheck::Grpc => grpc::check(upstream, endpoint, settings).await,
            HealthCheck::Tcp => tcp::check(endpoint, lookup, settings).await,
        }
    };
    match tokio::time::timeout(*settings.timeout, asked).await {
        Ok(result) => result,
        Err(_) => Err(Flaw::Unwell(match settings.kind {
            HealthCheck::Http => format!("{} gave no answer within {}", settings.path, settings.timeout),
            HealthCheck::Grpc | HealthCheck::Tcp => format!("no answer within {}", settings.timeout),
        })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gateway_core::units::Timespan;

    #[test]
    fn endpoints_fall_after_three_bad_checks_and_rise_after_two_good_ones() {
        let settings = HealthSettings::default();
        let mut streak = Streak::default();
        let mut seen = String::new();
        for good in "+--+---+-++-".chars().map(|c| c == '+') {
            streak = streak.after(good, &settings);
            seen.push(if streak.healthy == Some(true) { 'U' } else { 'd' });
        }
        assert_eq!(seen, "UUUUUUddddUU");
        let first = Streak::default().after(false, &settings);
        assert_eq!(first.healthy, Some(false), "the first check decides alone");
    }

    #[test]
    fn a_service_that_nobody_uses_is_asked_less_often_and_jitter_only_adds() {
        let plain = HealthSettings::default();
        let slow = HealthSettings {
            no_traffic_interval: Some(Timespan::secs(60)),
            jitter: Timespan::secs(2),
            ..HealthSettings::default()
        };
        for (settings, unused, random, expected) in [
            (&plain, 999, 1.0, 5),
            (&slow, 4, 0.0, 5),
            (&slow, 5, 0.0, 60),
            (&slow, 0, 0.5, 6),
            (&slow, 9, 1.0, 62),
        ] {
            let wait = settings.wait(Duration::from_secs(unused), random);
            assert_eq!(wait.as_secs(), expected, "{unused} {random}");
        }
    }

    #[test]
    fn another_port_is_asked_where_there_are_ports() {
        let settings = HealthSettings { port: std::num::NonZeroU16::new(9901), ..HealthSettings::default() };
        for (url, expected) in [
            ("http://a:80", "http://a:9901"),
            ("https://[::1]:443", "https://[::1]:9901"),
            ("unix:/run/a.sock", "unix:/run/a.sock"),
        ] {
            assert_eq!(place(&Endpoint::parse(url).unwrap(), &settings).to_string(), expected);
        }
    }
}
