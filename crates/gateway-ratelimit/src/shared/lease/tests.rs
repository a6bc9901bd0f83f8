//! Interleavings of several instances over one store, without either.

use super::*;
use crate::algorithm::{State, decide, take};
use crate::facts::{Facts, Scope};
use crate::plan::Plans;

use http::Request;
use proptest::prelude::*;

const START: u64 = 1_700_000_000_000_000;

#[derive(Clone, Copy, Debug)]
enum Step {
    /// A request at one of the instances.
    Ask(usize, u32),
    /// Its background task asks the store.
    Sync(usize),
    /// The store is away when it does.
    Fail(usize),
    /// Unused shares are given back.
    Sweep(usize),
    /// Strangers come to it, more than it has room for.
    Flood(usize),
    Wait(u64),
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0usize..3, 1u32..12).prop_map(|(i, cost)| Step::Ask(i, cost)),
        3 => (0usize..3).prop_map(Step::Sync),
        1 => (0usize..3).prop_map(Step::Fail),
        1 => (0usize..3).prop_map(Step::Sweep),
        1 => (0usize..3).prop_map(Step::Flood),
        1 => (0u64..30_000_000).prop_map(Step::Wait),
    ]
}

/// What the script does in its `lease` mode.
fn lease(state: &mut State, now: u64, asking: &Asking, plan: &Plan) -> Answer {
    let rule = &plan.rules[0];
    *state = take(state, now, i64::try_from(asking.debt).unwrap(), rule);
    let taken = i64::from(decide(state, now, 0, rule).remaining()).min(asking.want as i64);
    *state = take(state, now, taken, rule);
    let asked = decide(state, now, 1, rule);
    Answer { taken, outcome: Outcome::join(std::iter::once((asked, asked.remaining()))) }
}

proptest! {
    #[test]
    fn instances_are_never_ahead_of_the_limit_by_more_than_one_lease_each(
        count in 5u32..60, size in 1u32..8, steps in prop::collection::vec(any_step(), 1..300),
    ) {
        let settings = RateLimitSettings {
            lease: Some(size),
            max_keys: 2 * SHARDS,
            ..RateLimitSettings::all(format!("{count}/min").parse().unwrap())
        };
        let plans = Plans::new("model", &settings, Vec::new()).unwrap();
        let instances: Vec<_> = (0..3).map(|_| Leases::new(&settings)).collect();
        let (request, scope) = (Request::new(()), Scope::default());
        let facts = Facts::of(&request, &scope);
        let (mut state, mut now, mut passed) = (State::default(), START, Vec::new());
        for step in steps {
            match step {
                Step::Ask(i, cost) => {
                    let Some(plan) = plans.choose(&facts) else { panic!("no plan") };
                    let rule = plan.rules[0];
                    let case = Case { plan, key: 1, cost };
                    let passes = match instances[i].decide(&case, now, || "x".into(), true).0 {
                        Found::Pass(_) => true,
                        Found::Refuse(_) | Found::Nothing => false,
                        Found::NoRoom if decide(&state, now, cost, &rule).is_refusal() => false,
                        Found::NoRoom => {
                            state = take(&state, now, cost.into(), &rule);
                            true
                        }
                    };
                    if passes {
                        passed.push((now, u64::from(cost)));
                    }
                }
                Step::Sync(i) => for asking in instances[i].asked() {
                    let mut strangers = State::default();
                    let state = if asking.key == 1 { &mut state } else { &mut strangers };
                    let answer = lease(state, now, &asking, &asking.plan);
                    instances[i].answered(&asking, Some(answer), now);
                },
                Step::Flood(i) => for key in 2..6 {
                    let Some(plan) = plans.choose(&facts) else { panic!("no plan") };
                    instances[i].decide(&Case { plan, key, cost: 1 }, now, || "stranger".into(), true);
                },
                Step::Fail(i) => for asking in instances[i].asked() {
                    instances[i].answered(&asking, None, now);
                },
                Step::Sweep(i) => for (name, plan, unused) in instances[i].expired(now, false) {
                    if &*name == "stranger" {
                        continue;
                    }
                    state = take(&state, now, -unused, &plan.rules[0]);
                },
                Step::Wait(micros) => now += micros,
            }
        }
        for (i, (start, _)) in passed.iter().enumerate() {
            let mut sum = 0;
            for (end, cost) in &passed[i..] {
                sum += cost;
                // What was taken before and not used may come in this stretch: a share each.
                let allowed = u64::from(count) + (end - start) * u64::from(count) / 60_000_000;
                let ahead = 3 * u64::from(size) + 3 * u64::from(size.max(11));
                prop_assert!(sum <= allowed + ahead, "{} instead of {} and {}", sum, allowed, ahead);
            }
        }
        // From the beginning, nothing was at hand: one lease each.
        let all: u64 = passed.iter().map(|(_, cost)| cost).sum();
        let last = passed.last().map_or(START, |(at, _)| *at);
        let allowed = u64::from(count) + (last - START) * u64::from(count) / 60_000_000;
        prop_assert!(all <= allowed + 3 * u64::from(size), "{} instead of {}", all, allowed);
    }
}

#[test]
fn a_request_that_comes_first_passes_and_what_the_store_lacks_is_refused_at_once() {
    let settings = RateLimitSettings { lease: Some(2), ..RateLimitSettings::all("4/h".parse().unwrap()) };
    let plans = Plans::new("model", &settings, Vec::new()).unwrap();
    let leases = Leases::new(&settings);
    let (request, scope) = (Request::new(()), Scope::default());
    let facts = Facts::of(&request, &scope);
    let case = || Case { plan: plans.choose(&facts).unwrap(), key: 1, cost: 1 };
    let ask = || leases.decide(&case(), START, || "x".into(), true);
    assert!(matches!(ask(), (Found::Pass(_), true)));
    assert!(matches!(ask(), (Found::Pass(_), false)), "on credit; the store is being asked");
    assert!(matches!(ask(), (Found::Refuse(_), false)));
    let asking = leases.asked().pop().unwrap();
    assert_eq!((asking.debt, asking.want), (2, 2));
    // Another instance has taken the rest.
    let refuse = Decision::Refuse { retry_after: Duration::from_secs(900), reset: Duration::from_secs(3600) };
    let answer = Answer { taken: 0, outcome: Outcome::join(std::iter::once((refuse, 0))) };
    leases.answered(&asking, Some(answer), START);
    let (Found::Refuse(outcome), false) = ask() else { panic!("it passed") };
    assert_eq!(outcome.told[0].reset, 900);
}

#[test]
fn who_comes_to_owe_by_an_answer_or_still_owes_later_wakes_the_background_task() {
    let settings = RateLimitSettings {
        lease: Some(2),
        shared: crate::settings::Shared::Leased,
        ..RateLimitSettings::all("100/h".parse().unwrap())
    };
    let plans = Plans::new("model", &settings, Vec::new()).unwrap();
    let state = crate::shared::State::new(&settings).unwrap();
    let leases = &state.leases;
    let (request, scope) = (Request::new(()), Scope::default());
    let facts = Facts::of(&request, &scope);
    let case = Case { plan: plans.choose(&facts).unwrap(), key: 1, cost: 1 };
    assert!(matches!(leases.decide(&case, START, || "x".into(), true), (Found::Pass(_), true)));
    let there = Answer {
        taken: 2,
        outcome: Outcome::join(std::iter::once((
            Decision::Allow { remaining: 90, reset: Duration::ZERO },
            90,
        ))),
    };
    leases.answered(&leases.asked().pop().unwrap(), Some(there), START);
    let is_woken = || futures_util::FutureExt::now_or_never(state.work.notified()).is_some();
    assert!(!is_woken() && !leases.has_asked());
    assert!(state.settle_share(1, 30));
    assert!(is_woken() && leases.has_asked(), "an answer has cost more than there was");
    leases.answered(&leases.asked().pop().unwrap(), None, START);
    assert!(!leases.has_asked());
    assert!(leases.expired(START + leases.ttl, false).is_empty());
    assert!(leases.has_asked(), "what is owed is asked for again");
    assert!(!state.settle_share(2, 30), "nobody has this one");
    let owed: Vec<i64> = leases.expired(START, true).into_iter().map(|(.., unused)| unused).collect();
    assert_eq!((owed, state.settle_share(1, 30)), (vec![-28], false), "who comes later tells the server");
}

#[test]
fn each_plan_has_a_lease_of_its_own() {
    let settings = serde_json::json!({
        "anonymous": "10/min", "authenticated": ["100/s", "60000/min"],
        "tiers": { "by": { "claim": "tier" }, "values": { "gold": "60000/min" } },
        "limit_from": { "claim": "rpm" },
    });
    let plans = Plans::new("model", &serde_json::from_value(settings).unwrap(), Vec::new()).unwrap();
    let scope = Scope::default();
    for (claims, lease) in [
        (None, 1),
        (Some(serde_json::json!({})), 5),
        (Some(serde_json::json!({ "tier": "gold" })), 3000),
        (Some(serde_json::json!({ "rpm": 600 })), 30),
    ] {
        let mut request = Request::new(());
        if let Some(serde_json::Value::Object(claims)) = claims.clone() {
            let ada = gateway_core::Principal::new("ada", gateway_core::AuthMethod::Jwt, claims);
            request.extensions_mut().insert(ada);
        }
        let plan = plans.choose(&Facts::of(&request, &scope)).unwrap();
        assert_eq!(plan.lease, lease, "{claims:?}");
    }
}
