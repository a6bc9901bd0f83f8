use crate::EndpointSet;
use bytes::Bytes;
use gateway_core::units::{Scalar, ShortForm, Timespan};
use gateway_core::{Endpoint, Upstream};
use http::header::{HOST, HeaderValue, USER_AGENT};
use http::{Request, StatusCode};
use http_body_util::Empty;
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

/// Active health checks: a request to each endpoint at an interval. Short form: the path, `"/health"`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HealthSettings {
    /// What is asked for.
    pub path: String,
    /// The time between two checks of an endpoint. Default `5s`.
    #[serde(default = "five_seconds")]
    pub interval: Timespan,
    /// How long an answer may take. Default `5s` (S4-29).
    #[serde(default = "five_seconds")]
    pub timeout: Timespan,
    /// The status that means healthy; any other does not. Default 200 (S4-29).
    #[serde(default = "ok")]
    pub status: u16,
    /// Failed checks in a row until an endpoint is taken out. Default 3 (HAProxy: `fall`).
    #[serde(default = "three")]
    pub fall: u32,
    /// Good checks in a row until it is taken back. Default 2 (HAProxy: `rise`).
    #[serde(default = "two")]
    pub rise: u32,
}

fn five_seconds() -> Timespan {
    Timespan::secs(5)
}
fn ok() -> u16 {
    200
}
fn three() -> u32 {
    3
}
fn two() -> u32 {
    2
}

impl ShortForm for HealthSettings {
    const EXPECTED: &'static str = "the path to check such as \"/health\", or a table";
    const TYPE: &'static str = "string";
    fn from_short(value: Scalar<'_>) -> Option<Result<Self, String>> {
        let Scalar::Text(path) = value else { return None };
        Some(Ok(Self {
            path: path.to_owned(),
            interval: five_seconds(),
            timeout: five_seconds(),
            status: ok(),
            fall: three(),
            rise: two(),
        }))
    }
}

/// Whether an endpoint is in or out, after each check: pure.
#[derive(Clone, Copy, Debug, Default)]
struct Streak {
    /// Unknown before the first check, which decides alone.
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
/// The first check of each endpoint runs at once and decides alone; endpoints are then checked at the interval,
/// each at its own time within it, so that checks do not come in bursts.
pub async fn health_checks<U>(set: EndpointSet, settings: HealthSettings, connect: impl Fn(&Endpoint) -> U)
where
    U: Upstream<Empty<Bytes>> + Send + Sync + 'static,
    U::Body: Send,
{
    let mut checks = JoinSet::new();
    for (index, member) in set.members().iter().enumerate() {
        let upstream = connect(&member.endpoint);
        let (set, settings, endpoint) = (set.clone(), settings.clone(), member.endpoint.clone());
        checks.spawn(async move { check_one(&set, index, &endpoint, &settings, &upstream).await });
    }
    while checks.join_next().await.is_some() {}
}

async fn check_one<U: Upstream<Empty<Bytes>>>(
    set: &EndpointSet,
    index: usize,
    endpoint: &Endpoint,
    settings: &HealthSettings,
    upstream: &U,
) {
    let mut streak = Streak::default();
    let mut ticks = tokio::time::interval(*settings.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut first = true;
    loop {
        ticks.tick().await;
        let result = probe(upstream, endpoint, settings).await;
        streak = streak.after(result.is_ok(), settings);
        let healthy = streak.healthy.unwrap_or(true);
        if set.set_healthy(index, healthy) {
            match &result {
                Err(why) if !healthy => tracing::warn!("{}: {endpoint} is unhealthy: {why}", set.name()),
                _ => tracing::info!("{}: {endpoint} is healthy again", set.name()),
            }
        }
        if std::mem::take(&mut first) {
            let offset = settings.interval.mul_f64(fastrand::f64());
            ticks.reset_after(offset);
        }
    }
}

async fn probe<U: Upstream<Empty<Bytes>>>(
    upstream: &U,
    endpoint: &Endpoint,
    settings: &HealthSettings,
) -> Result<(), String> {
    let mut request = Request::new(Empty::new());
    *request.uri_mut() = settings.path.parse().map_err(|_| format!("`{}` is no path", settings.path))?;
    if let Ok(host) = HeaderValue::from_str(endpoint.authority().as_str()) {
        request.headers_mut().insert(HOST, host);
    }
    request.headers_mut().insert(USER_AGENT, HeaderValue::from_static("gateway-health"));
    let (head, body) = request.into_parts();
    match tokio::time::timeout(*settings.timeout, upstream.send(&head, body)).await {
        Ok(Ok(response)) if response.status().as_u16() == settings.status => Ok(()),
        Ok(Ok(response)) => Err(format!(
            "{} answered {}, expected {}",
            settings.path,
            response.status(),
            StatusCode::from_u16(settings.status)
                .map_or_else(|_| settings.status.to_string(), |s| s.to_string())
        )),
        Ok(Err(error)) => Err(error.message().to_owned()),
        Err(_) => Err(format!("{} gave no answer within {}", settings.path, settings.timeout)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_fall_after_three_bad_checks_and_rise_after_two_good_ones() {
        let Some(Ok(settings)) = HealthSettings::from_short(Scalar::Text("/health")) else { panic!() };
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
}
