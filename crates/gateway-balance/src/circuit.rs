//! A breaker that stops sending requests while too many of them fail, and probes whether that is over.

mod window;

use crate::Percent;
use crate::member::{Clock, millis};
use crate::retry::Verdict;
use gateway_core::Mode;
use gateway_core::units::{Scalar, ShortForm, Timespan};
use schemars::JsonSchema;
use serde::Deserialize;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use tokio::time::Instant;
pub(crate) use window::{Sum, Window};

/// When a circuit opens and how it closes again. Short form: `true`, for the defaults.
///
/// Failures are 5xx answers, requests without an answer and, by choice, slow answers. An open circuit refuses at once;
/// when its time is over it is half open and lets a few requests probe: if they succeed it closes, if one fails it opens
/// again for twice the time.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CircuitSettings {
    /// It opens when at least this share of the requests in the window failed. Default 50.
    pub error_rate: Percent,
    /// An answer counts as failed if its head takes longer than this, whatever it says. The time runs from the last piece
    /// of the request's body, retries included where they are. Default: it may take as long as `timeout` lets it.
    pub slow: Option<Timespan>,
    /// The time that is looked back on. Default `10s`.
    pub window: Timespan,
    /// With fewer requests in the window than this it does not open. Default 20.
    pub min_requests: u32,
    /// How long it is open the first time. Default `5s`.
    pub open: Timespan,
    /// The longest it is open. Default `300s` (APISIX).
    pub max_open: Timespan,
    /// How many requests may probe, and must succeed, until it closes. Default 3.
    pub probes: u32,
    /// `enforce`, or `report` to refuse nobody and only say so. Default `enforce`.
    pub mode: Mode,
}

impl Default for CircuitSettings {
    fn default() -> Self {
        Self {
            error_rate: Percent::new(50),
            slow: None,
            window: Timespan::secs(10),
            min_requests: 20,
            open: Timespan::secs(5),
            max_open: Timespan::secs(300),
            probes: 3,
            mode: Mode::Enforce,
        }
    }
}

impl ShortForm for CircuitSettings {
    const EXPECTED: &'static str = "true, false or a table";
    const TYPE: &'static str = "boolean";
    fn from_short(value: Scalar<'_>) -> Option<Result<Self, String>> {
        matches!(value, Scalar::Switch(true)).then(|| Ok(Self::default()))
    }
}

impl CircuitSettings {
    fn trips(&self, sum: Sum) -> bool {
        sum.failed > 0
            && sum.total >= self.min_requests
            && !self.error_rate.exceeds(sum.failed as usize, sum.total as usize)
    }

    /// How long it is open the `trips`-th time in a row, from 1.
    fn open_for(&self, trips: u32) -> Duration {
        let longest = (*self.max_open).max(*self.open);
        self.open.saturating_mul(2u32.saturating_pow(trips.saturating_sub(1))).min(longest)
    }
}

/// Whether requests pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CircuitState {
    /// They do.
    #[default]
    Closed,
    /// A few do, as probes.
    HalfOpen,
    /// None does.
    Open,
}

/// How a request was let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    Free,
    /// Its end decides; whoever has this says how it ended, or gives it back.
    Probe,
}

/// What a request's end changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Nothing,
    Opened(Duration),
    Closed,
}

impl Change {
    /// Tells the operator of it, and which circuit it was.
    pub(crate) fn log(self, circuit: fmt::Arguments<'_>) {
        match self {
            Self::Nothing => {}
            Self::Opened(time) => {
                tracing::warn!("{circuit} is open for {time:?}: too many requests fail");
            }
            Self::Closed => tracing::info!("{circuit} is closed again"),
        }
    }
}

/// One circuit, in atomics.
#[derive(Debug)]
pub(crate) struct Breaker {
    settings: CircuitSettings,
    window: Window,
    /// 0 is closed; from this time on it is half open.
    open_until: AtomicU64,
    trips: AtomicU32,
    probing: AtomicU32,
    proved: AtomicU32,
}

impl Breaker {
    pub(crate) fn new(settings: &CircuitSettings) -> Self {
        Self {
            settings: settings.clone(),
            window: Window::new(millis(*settings.window)),
            open_until: AtomicU64::new(0),
            trips: AtomicU32::new(0),
            probing: AtomicU32::new(0),
            proved: AtomicU32::new(0),
        }
    }

    /// One for these settings: `known` itself, where that has them.
    pub(crate) fn renewed(
        known: Option<&Arc<Self>>,
        settings: Option<&CircuitSettings>,
    ) -> Option<Arc<Self>> {
        let settings = settings?;
        let same = known.filter(|known| known.settings == *settings).cloned();
        Some(same.unwrap_or_else(|| Arc::new(Self::new(settings))))
    }

    pub(crate) fn state(&self, now: u64) -> CircuitState {
        match self.open_until.load(Relaxed) {
            0 => CircuitState::Closed,
            until if now < until => CircuitState::Open,
            _ => CircuitState::HalfOpen,
        }
    }

    /// Until when it refuses requests, if it does.
    pub(crate) fn refuses_until(&self, now: u64) -> Option<u64> {
        let until = Some(self.open_until.load(Relaxed)).filter(|until| now < *until);
        until.filter(|_| !self.only_reports())
    }

    /// Whether what it would refuse passes.
    pub(crate) fn only_reports(&self) -> bool {
        self.settings.mode == Mode::Report
    }

    /// Lets a request through, or says how long that will not be.
    pub(crate) fn admit(&self, now: u64) -> Result<Admission, Duration> {
        match self.open_until.load(Relaxed) {
            0 => Ok(Admission::Free),
            until if now < until => Err(Duration::from_millis(until - now)),
            _ => {
                let probing = self.probing.fetch_add(1, Relaxed);
                if probing + self.proved.load(Relaxed) < self.settings.probes.max(1) {
                    return Ok(Admission::Probe);
                }
                self.release();
                Err(Duration::ZERO)
            }
        }
    }

    /// Gives back a probe whose end nobody will know.
    pub(crate) fn release(&self) {
        self.probing.fetch_sub(1, Relaxed);
    }

    /// Learns how a request ended, if that says anything of the service, which was waited for since then.
    pub(crate) fn learn(
        &self,
        admission: &mut Admission,
        verdict: Verdict,
        since: Instant,
        clock: Clock,
    ) -> Change {
        let now = Instant::now();
        let slow = self.settings.slow.is_some_and(|slow| now.saturating_duration_since(since) > *slow);
        let end = match verdict {
            Verdict::Unknown => return Change::Nothing,
            Verdict::Good if !slow => End::Good,
            Verdict::Good | Verdict::ServerError | Verdict::GatewayError | Verdict::LocalFailure => {
                End::Failed
            }
        };
        self.record(std::mem::replace(admission, Admission::Free), end, clock.at(now))
    }

    fn record(&self, admission: Admission, end: End, now: u64) -> Change {
        let state = self.state(now);
        if admission == Admission::Probe {
            self.release();
        }
        match (admission, state, end) {
            (Admission::Free, CircuitState::Closed, end) => {
                let sum = self.window.add(now, end);
                if end == End::Failed && self.settings.trips(sum) {
                    self.trip(0, now)
                } else {
                    Change::Nothing
                }
            }
            (Admission::Probe, CircuitState::HalfOpen, End::Failed) => {
                self.trip(self.open_until.load(Relaxed), now)
            }
            (Admission::Probe, CircuitState::HalfOpen, End::Good) => {
                if self.proved.fetch_add(1, Relaxed) + 1 < self.settings.probes.max(1) {
                    return Change::Nothing;
                }
                self.window.clear();
                self.trips.store(0, Relaxed);
                self.proved.store(0, Relaxed);
                self.open_until.store(0, Relaxed);
                Change::Closed
            }
            // Begun before the circuit changed: it says nothing about now.
            _ => Change::Nothing,
        }
    }

    /// Opens it, unless another request has just done so.
    fn trip(&self, seen: u64, now: u64) -> Change {
        let time = self.settings.open_for(self.trips.load(Relaxed) + 1);
        let until = now.saturating_add(millis(time).max(1));
        if self.open_until.compare_exchange(seen, until, Relaxed, Relaxed).is_err() {
            return Change::Nothing;
        }
        self.trips.fetch_add(1, Relaxed);
        self.proved.store(0, Relaxed);
        Change::Opened(time)
    }
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Good,
    Failed,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breaker() -> Breaker {
        Breaker::new(&CircuitSettings { min_requests: 4, probes: 2, ..CircuitSettings::default() })
    }

    fn ends(breaker: &Breaker, text: &str, now: u64) -> Change {
        let end = |c| if c == '+' { End::Good } else { End::Failed };
        text.chars().map(|c| breaker.record(Admission::Free, end(c), now)).last().unwrap()
    }

    #[test]
    fn it_opens_at_half_failures_of_enough_requests_within_the_window() {
        let opened = Change::Opened(Duration::from_secs(5));
        for (text, expected) in [
            ("---", Change::Nothing),
            ("----", opened),
            ("++--", opened),
            ("+++--", Change::Nothing),
            ("++++", Change::Nothing),
            ("--++", Change::Nothing),
        ] {
            assert_eq!(ends(&breaker(), text, 1), expected, "{text}");
        }
        let late = breaker();
        ends(&late, "---", 1);
        assert_eq!(ends(&late, "-", 10_500), Change::Nothing, "the first three are forgotten");
        let within = breaker();
        ends(&within, "---", 1);
        assert_eq!(ends(&within, "-", 9_500), opened);
    }

    #[test]
    fn probes_close_it_or_open_it_for_twice_the_time() {
        let breaker = breaker();
        ends(&breaker, "----", 1);
        assert_eq!(breaker.admit(1000), Err(Duration::from_millis(4001)));
        assert_eq!(breaker.state(5001), CircuitState::HalfOpen);
        assert_eq!(
            [(); 3].map(|()| breaker.admit(5001).ok()),
            [Some(Admission::Probe), Some(Admission::Probe), None]
        );
        assert_eq!(
            breaker.record(Admission::Probe, End::Failed, 5001),
            Change::Opened(Duration::from_secs(10))
        );
        assert_eq!(breaker.record(Admission::Probe, End::Good, 5002), Change::Nothing, "it comes too late");
        assert_eq!(breaker.state(15_000), CircuitState::Open);
        for change in [Change::Nothing, Change::Closed] {
            assert_eq!(breaker.admit(15_001), Ok(Admission::Probe));
            assert_eq!(breaker.record(Admission::Probe, End::Good, 15_001), change);
        }
        assert_eq!(breaker.admit(15_001), Ok(Admission::Free));
        assert_eq!(ends(&breaker, "----", 15_002), Change::Opened(Duration::from_secs(5)), "it begins anew");
    }

    #[test]
    fn a_probe_that_is_given_up_makes_room_for_another() {
        let breaker = breaker();
        ends(&breaker, "----", 1);
        for _ in 0..10 {
            assert_eq!(breaker.admit(6000), Ok(Admission::Probe));
            breaker.release();
        }
    }

    #[test]
    fn it_is_never_open_for_longer_than_the_longest() {
        let settings = CircuitSettings::default();
        let times = [1, 2, 3, 7, 40, u32::MAX].map(|trips| settings.open_for(trips).as_secs());
        assert_eq!(times, [5, 10, 20, 300, 300, 300]);
    }
}
