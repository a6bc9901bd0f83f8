//! Which endpoints may be picked, and how often: made anew when that changes, from values only.

use crate::hash::{Slot, Table};
use crate::panic::{Ignored, PanicSettings};
use crate::slow_start::FULL;
use crate::strategy::{Strategy, schedule};

/// What the plan needs to know of one endpoint.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View<'a> {
    /// The same in every replica.
    pub(crate) name: &'a str,
    /// 0 is drained.
    pub(crate) weight: u32,
    /// 0 comes first; other zones come after the own one.
    pub(crate) priority: u64,
    /// Whether it passes its active health checks.
    pub(crate) passes: bool,
    /// Whether it is ejected.
    pub(crate) ejected: bool,
    /// Whether its circuit is open.
    pub(crate) broken: bool,
    /// The share of its weight, in steps of [`FULL`].
    pub(crate) share: u32,
}

impl View<'_> {
    fn is_available(&self) -> bool {
        self.passes && !self.ejected && !self.broken
    }
}

/// The endpoints that may be picked.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// By priority; requests are shared out between them.
    pub(crate) levels: Box<[Level]>,
    /// The ejected ones, for retries that find all others tried: one that was ejected may have come back since.
    pub(crate) ejected: Box<[usize]>,
    /// Whether health is ignored for want of endpoints.
    pub(crate) panics: bool,
    /// Whether there would be endpoints but for their circuits.
    pub(crate) broken: bool,
    /// Whether any is available, health not ignored.
    pub(crate) available: bool,
}

/// The plan for all endpoints, and one for each subset of them.
#[derive(Debug, Default)]
pub(crate) struct Plans {
    pub(crate) all: Plan,
    pub(crate) subsets: Box<[Plan]>,
}

/// Endpoints of one priority.
#[derive(Debug)]
pub(crate) struct Level {
    /// Of a hundred requests, those before this one that no earlier level takes come here.
    until: u32,
    pub(crate) members: Box<[u32]>,
    /// The members' weights, in the same order.
    pub(crate) weights: Box<[u32]>,
    pub(crate) heaviness: Heaviness,
    /// One round by weight, for the strategies that take turns.
    pub(crate) round: Box<[u32]>,
    /// For the strategies that hash.
    pub(crate) table: Option<Table>,
    /// The sum of the weights.
    pub(crate) sum: u64,
}

/// Whether the members' weights differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heaviness {
    Even,
    Uneven,
}

impl Plan {
    pub(crate) fn new(views: &[View<'_>], strategy: Strategy, panic: PanicSettings) -> Self {
        let (shares, panics) = shares(views, panic);
        let mut until = 0;
        let levels = shares.into_iter().map(|(members, share)| {
            until += share;
            Level::new(views, &members, until, strategy)
        });
        let broken = views.iter().any(|view| view.broken && view.passes && view.weight > 0);
        let ejected = |view: &View<'_>| view.ejected && view.passes && !view.broken && view.weight > 0;
        let ejected = views.iter().enumerate().filter(|(_, view)| ejected(view)).map(|(i, _)| i);
        let available = views.iter().any(|view| view.is_available() && view.weight > 0);
        Self { levels: levels.collect(), ejected: ejected.collect(), panics, broken, available }
    }

    /// Whether this endpoint may be picked at all.
    pub(crate) fn has(&self, index: usize) -> bool {
        self.levels.iter().any(|level| level.members.contains(&(index as u32)))
    }

    /// The level that takes the request with this number, of which the last two digits count.
    pub(crate) fn level(&self, number: impl FnOnce() -> u64) -> Option<&Level> {
        match &*self.levels {
            [] => None,
            [only] => Some(only),
            levels => {
                let number = (number() % 100) as u32;
                levels.iter().find(|level| number < level.until).or(levels.last())
            }
        }
    }
}

impl Level {
    fn new(views: &[View<'_>], members: &[usize], until: u32, strategy: Strategy) -> Self {
        let slow = members.iter().any(|i| views[*i].share < FULL);
        let weight =
            |view: &View<'_>| if slow { view.weight.saturating_mul(view.share) } else { view.weight };
        let weighed: Vec<_> = members.iter().map(|i| (*i, weight(&views[*i]))).collect();
        let weights: Box<[u32]> = weighed.iter().map(|(_, weight)| *weight).collect();
        let even = weights.iter().all(|weight| *weight == weights[0]);
        let round = match strategy {
            Strategy::RoundRobin | Strategy::Random => schedule(&weighed).into(),
            _ => Box::default(),
        };
        let slot =
            |(i, weight): &(usize, u32)| Slot { index: *i as u32, name: views[*i].name, weight: *weight };
        let slots = || weighed.iter().map(slot).collect::<Vec<_>>();
        // All of the priority, whether they are available or not.
        let here = |view: &&View<'_>| members.first().is_some_and(|i| views[*i].priority == view.priority);
        let all = views.iter().filter(here).map(|view| view.weight).filter(|weight| *weight > 0);
        let table = match strategy {
            Strategy::RingHash => Some(Table::ring(&slots(), all)),
            Strategy::Maglev => Some(Table::maglev(&slots())),
            _ => None,
        };
        Self {
            until,
            members: members.iter().map(|i| *i as u32).collect(),
            weights,
            heaviness: if even { Heaviness::Even } else { Heaviness::Uneven },
            round,
            table,
            sum: weighed.iter().map(|(_, weight)| u64::from(*weight)).sum(),
        }
    }
}

/// For each priority that has any, its members and how many of a hundred requests they take; and whether
/// that is panic (Envoy: priority levels, overprovisioning factor 1.4).
fn shares(views: &[View<'_>], panic: PanicSettings) -> (Vec<(Vec<usize>, u32)>, bool) {
    let mut priorities: Vec<u64> = views.iter().map(|view| view.priority).collect();
    priorities.sort_unstable();
    priorities.dedup();
    let mut groups = Vec::new();
    for priority in priorities {
        let of = |wanted: &dyn Fn(&View<'_>) -> bool| -> Vec<usize> {
            let here = |view: &View<'_>| view.priority == priority && view.weight > 0;
            views.iter().enumerate().filter(|(_, view)| here(view) && wanted(view)).map(|(i, _)| i).collect()
        };
        let (all, available) = (of(&|_| true), of(&|view| view.is_available()));
        let health = (140 * available.len()).checked_div(all.len()).unwrap_or(0).min(100) as u32;
        let (floor, fallback) = match panic.ignore {
            Ignored::Ejections => (of(&|view| view.passes).len(), of(&|view| view.passes && !view.broken)),
            Ignored::Health => (all.len(), of(&|view| !view.broken)),
        };
        let short = panic.threshold.exceeds(available.len(), floor);
        groups.push((available, health, short.then_some(fallback)));
    }
    let health: u32 = groups.iter().map(|(_, health, _)| health).sum();
    let mut panics = false;
    let mut left = 100;
    let mut shares = Vec::new();
    for (available, own, fallback) in groups {
        let members = match fallback {
            // While other priorities can take what this one cannot, there is no need to.
            Some(fallback) if health < 100 && !fallback.is_empty() => {
                panics = true;
                fallback
            }
            _ => available,
        };
        let share = match health {
            0 if members.is_empty() => 0,
            0 => left,
            1..100 => (own * 100).div_ceil(health).min(left),
            _ => own.min(left),
        };
        left -= share;
        // Those without a share of the first attempts are there for retries.
        if !members.is_empty() {
            shares.push((members, share));
        }
    }
    (shares, panics)
}

#[cfg(test)]
mod tests {
    use super::{FULL, Ignored, PanicSettings, View, shares};
    use crate::Percent;
    use proptest::prelude::{Strategy as _, any, prop, prop_assert, prop_assert_eq, proptest};

    const WELL: View<'_> =
        View { name: "", weight: 1, priority: 0, passes: true, ejected: false, broken: false, share: FULL };
    const SICK: View<'_> = View { passes: false, ..WELL };
    const EJECTED: View<'_> = View { ejected: true, ..WELL };

    fn seen(views: &[View<'_>], panic: PanicSettings) -> (Vec<(Vec<usize>, u32)>, bool) {
        shares(views, panic)
    }

    #[test]
    fn panic_ignores_ejections_but_never_the_checks_unless_told_to() {
        let default = PanicSettings::default();
        let all = PanicSettings { ignore: Ignored::Health, ..default };
        let off = PanicSettings { threshold: Percent::new(0), ..default };
        for (views, panic, expected, panics) in [
            (vec![WELL, EJECTED], default, vec![0], false),
            (vec![WELL, EJECTED, EJECTED], default, vec![0, 1, 2], true),
            (vec![WELL, EJECTED, EJECTED], off, vec![0], false),
            (vec![EJECTED], default, vec![0], true),
            (vec![EJECTED], off, vec![], false),
            (vec![WELL, SICK, SICK], default, vec![0], false),
            (vec![SICK, SICK], default, vec![], false),
            (vec![SICK, EJECTED], default, vec![1], true),
            (vec![WELL, SICK, SICK], all, vec![0, 1, 2], true),
            (vec![SICK, SICK], all, vec![0, 1], true),
        ] {
            let (levels, seen_panics) = seen(&views, panic);
            let members: Vec<_> = levels.into_iter().flat_map(|(members, _)| members).collect();
            assert_eq!((members, seen_panics), (expected, panics), "{views:?} {panic:?}");
        }
    }

    #[test]
    fn requests_spill_to_the_next_priority_when_the_first_is_below_five_sevenths() {
        let later = |view: View<'static>| View { priority: 1, ..view };
        for (views, expected) in [
            (vec![WELL, WELL, later(WELL)], vec![100, 0]),
            (vec![WELL, WELL, WELL, SICK, later(WELL)], vec![100, 0]),
            (vec![WELL, SICK, later(WELL)], vec![70, 30]),
            (vec![SICK, SICK, later(WELL)], vec![100]),
            (vec![WELL, SICK, SICK, SICK, later(WELL), later(SICK), later(SICK), later(SICK)], vec![50, 50]),
        ] {
            let shares: Vec<_> =
                seen(&views, PanicSettings::default()).0.into_iter().map(|(_, share)| share).collect();
            assert_eq!(shares, expected, "{views:?}");
        }
    }

    fn any_view() -> impl proptest::strategy::Strategy<Value = View<'static>> {
        (0u32..3, 0u64..3, any::<bool>(), any::<bool>()).prop_map(|(weight, priority, passes, ejected)| {
            View { name: "", weight, priority, passes, ejected, broken: false, share: FULL }
        })
    }

    proptest! {
        #[test]
        fn whatever_fails_all_requests_have_a_place_or_there_is_none(views in prop::collection::vec(any_view(), 0..9)) {
            let (levels, _) = seen(&views, PanicSettings::default());
            let sum: u32 = levels.iter().map(|(_, share)| share).sum();
            let possible = views.iter().any(|view| view.passes && view.weight > 0);
            prop_assert_eq!(sum, if possible { 100 } else { 0 });
            for (members, _) in &levels {
                prop_assert!(!members.is_empty());
                prop_assert!(members.iter().all(|i| views[*i].passes && views[*i].weight > 0));
            }
        }
    }
}
