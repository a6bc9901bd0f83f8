//! A circuit for some of a service's requests: those of a route.

use crate::circuit::{Admission, Breaker, CircuitSettings, CircuitState};
use crate::member::Clock;
use crate::retry::Verdict;
use crate::set::Unavailable;
use gateway_core::{Mode, Refusals};
use std::sync::Arc;
use tokio::time::Instant;

/// A circuit breaker for the requests of one route, so that what fails there does not keep the service from the others.
///
/// Cheap to clone; clones share their state. [`Balance::with_circuit`](crate::Balance::with_circuit) has requests pass
/// it.
#[derive(Clone, Debug)]
pub struct RouteCircuit(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    name: String,
    clock: Clock,
    breaker: Breaker,
    refused: Refusals,
}

impl RouteCircuit {
    /// A closed circuit. `name` is for logs.
    #[must_use]
    pub fn new(name: &str, settings: &CircuitSettings) -> Self {
        Self(Arc::new(Shared {
            name: name.to_owned(),
            clock: Clock::starting_now(),
            breaker: Breaker::new(settings),
            refused: Refusals::default(),
        }))
    }

    /// Whether it lets requests pass.
    #[must_use]
    pub fn state(&self) -> CircuitState {
        self.0.breaker.state(self.0.clock.at(Instant::now()))
    }

    /// How many requests were refused since the start; in report mode, how many would have been.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.0.refused.of(self.mode())
    }

    /// Whether it refuses or only says whom it would.
    #[must_use]
    pub fn mode(&self) -> Mode {
        if self.0.breaker.only_reports() { Mode::Report } else { Mode::Enforce }
    }

    /// Goes on counting where another has come to, so that what is counted never goes back. What was counted in another
    /// mode counts again once that is back.
    pub fn count_on_from(&self, earlier: &Self) {
        self.0.refused.count_on_from(&earlier.0.refused);
    }

    /// Lets a request pass.
    pub(crate) fn enter(&self, now: Instant) -> Result<Passage, Unavailable> {
        let shared = &*self.0;
        let passage = |admission, reported| Passage { circuit: self.clone(), admission, reported };
        shared.breaker.admit(shared.clock.at(now)).map(|admission| passage(admission, false)).or_else(
            |wait| {
                shared.refused.count(self.mode());
                match shared.breaker.only_reports() {
                    true => Ok(passage(Admission::Free, true)),
                    false => Err(Unavailable::CircuitOpen { wait }),
                }
            },
        )
    }
}

/// A request that a circuit has let pass, until it is known how it ended.
#[derive(Debug)]
pub(crate) struct Passage {
    circuit: RouteCircuit,
    admission: Admission,
    /// Whether it would have been refused, if that were not only reported.
    pub(crate) reported: bool,
}

impl Passage {
    /// Learns how the request ended, retries included, and since when its service was waited for.
    pub(crate) fn record(&mut self, verdict: Verdict, since: Instant) {
        let Shared { name, clock, breaker, .. } = &*self.circuit.0;
        let change = breaker.learn(&mut self.admission, verdict, since, *clock);
        change.log(format_args!("route {name}: the circuit"));
    }
}

impl Drop for Passage {
    fn drop(&mut self) {
        if self.admission == Admission::Probe {
            self.circuit.0.breaker.release();
        }
    }
}
