//! The script on a real Redis against the arithmetic in this process.

use super::*;
use crate::algorithm::{State, decide};
use crate::plan::{apart, decide_all, take_all};
use crate::{Limit, Quota, TimeZone};
use gateway_store::{RedisSettings, StoreSettings};
use gateway_testkit::Redis;
use proptest::prelude::*;
use std::time::Duration;

/// 2024-02-29T23:59:30Z, so that days and months end within the histories.
const START: u64 = 1_709_251_170_000_000;
const SECOND: u64 = 1_000_000;

fn open(redis: &Redis) -> Store {
    let settings =
        RedisSettings { timeout: gateway_core::units::Timespan::secs(5), ..RedisSettings::new(&redis.url()) };
    Store::open(&StoreSettings { redis: Some(settings), ..StoreSettings::default() }).unwrap()
}

fn plan(rules: &[Rule]) -> Plan {
    let (limits, penalty) = apart(rules);
    let limits = limits.iter().map(|rule| (*rule, &"x" as _, "s".to_owned())).collect();
    Plan::new("model", crate::plan::Tier::All, limits, penalty.copied(), 1, 1)
}

fn any_rule() -> impl Strategy<Value = Rule> {
    let algorithm = prop::sample::select(vec![
        Algorithm::Gcra,
        Algorithm::TokenBucket,
        Algorithm::FixedWindow,
        Algorithm::SlidingWindow,
        Algorithm::LeakyBucket,
    ]);
    let counts = prop_oneof![4 => 1u32..20, 1 => 1u32..4_000_000];
    let seconds = prop_oneof![4 => 1u32..20, 1 => 1u32..366 * 86_400];
    let limit = (counts.clone(), seconds, counts.clone(), algorithm, 0u64..20_000).prop_map(
        |(count, seconds, burst, algorithm, longest)| {
            let limit: Limit = format!("{count}/{seconds}s burst {burst}").parse().unwrap();
            Rule::new(&limit, algorithm, Duration::from_millis(longest))
        },
    );
    let quota = (counts, prop::sample::select(vec!["day", "week", "month"]), -12i32..=14).prop_map(
        |(count, per, hours)| {
            let zone = format!("{}{:02}:00", if hours < 0 { '-' } else { '+' }, hours.abs());
            let quota: Quota = format!("{count}/{per}").parse().unwrap();
            Rule::quota(count, quota.calendar(zone.parse::<TimeZone>().unwrap()))
        },
    );
    prop_oneof![4 => limit, 1 => quota]
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Take(u32),
    Peek(u32),
    Force(i32),
    Lease(u32),
    Owed(u32, u32),
}

fn any_step() -> impl Strategy<Value = (u64, Step)> {
    let cost = || prop_oneof![6 => 0u32..4, 1 => any::<u32>()];
    let step = prop_oneof![
        6 => cost().prop_map(Step::Take),
        1 => cost().prop_map(Step::Peek),
        1 => (-20i32..20).prop_map(Step::Force),
        1 => (0u32..30).prop_map(Step::Lease),
        1 => (0u32..4, 0u32..9).prop_map(|(cost, owed)| Step::Owed(cost, owed)),
    ];
    let gap = prop_oneof![2 => Just(0), 4 => 0u64..2 * SECOND, 1 => 0u64..40 * SECOND];
    (gap, step)
}

/// The same step in this process.
fn model(states: &mut [State], now: u64, step: Step, rules: &[Rule]) -> Answer {
    let limits = apart(rules).0;
    let stand = |states: &[State]| {
        let each = states.iter().zip(limits).map(|(state, rule)| decide(state, now, 0, rule));
        crate::plan::Outcome::join(each.map(|decision| (decision, decision.remaining())))
    };
    match step {
        Step::Take(cost) => {
            let outcome = decide_all(states, now, cost, rules, true);
            Answer { taken: if outcome.decision.is_refusal() { 0 } else { i64::from(cost) }, outcome }
        }
        Step::Peek(cost) => Answer { taken: 0, outcome: decide_all(states, now, cost, rules, false) },
        Step::Force(cost) => {
            take_all(states, now, i64::from(cost), rules);
            Answer { taken: i64::from(cost), outcome: stand(states) }
        }
        Step::Owed(cost, owed) => {
            take_all(states, now, i64::from(owed), rules);
            model(states, now, Step::Take(cost), rules)
        }
        Step::Lease(want) => {
            let there =
                states.iter().zip(limits).map(|(state, rule)| decide(state, now, 0, rule).remaining());
            let taken = there.min().unwrap_or(0).min(want);
            take_all(states, now, i64::from(taken), rules);
            // What is told of a refusal is what remains without it.
            let each = states.iter().zip(limits).map(|(state, rule)| {
                let asked = decide(state, now, 1, rule);
                let told = if asked.is_refusal() { decide(state, now, 0, rule) } else { asked };
                (asked, told.remaining())
            });
            Answer { taken: i64::from(taken), outcome: crate::plan::Outcome::join(each) }
        }
    }
}

#[test]
fn the_script_gives_the_same_answers_as_this_process() {
    let redis = Redis::start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let store = open(&redis);
    let case = std::cell::Cell::new(0);
    let penalty = prop::option::weighted(0.3, (1u64..20_000).prop_map(Duration::from_millis));
    let rules = (prop::collection::vec(any_rule(), 1..4), penalty)
        .prop_map(|(rules, penalty)| rules.into_iter().chain(penalty.map(Rule::penalty)).collect::<Vec<_>>());
    let history = (rules, prop::collection::vec(any_step(), 1..40));
    let config = ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |((rules, steps) in history)| {
        case.set(case.get() + 1);
        let key = format!("rate_limit:{{{}}}:model", case.get());
        let plan = plan(&rules);
        let (mut states, mut now) = (vec![State::default(); plan.rules.len()], START);
        for (i, (gap, step)) in steps.iter().enumerate() {
            now += gap;
            let (mode, cost, owed) = match *step {
                Step::Take(cost) => (Mode::Take, i64::from(cost), 0),
                Step::Peek(cost) => (Mode::Peek, i64::from(cost), 0),
                Step::Force(cost) => (Mode::Force, i64::from(cost), 0),
                Step::Lease(want) => (Mode::Lease, i64::from(want), 0),
                Step::Owed(cost, owed) => (Mode::Take, i64::from(cost), u64::from(owed)),
            };
            let owed = vec![owed; plan.rules.len()];
            let call = Call { key: &key, mode, cost, owed: &owed, now: Some(now) };
            let answer = runtime.block_on(call.run(&store, &plan, now)).unwrap();
            let expected = model(&mut states, now, *step, &plan.rules);
            prop_assert_eq!(answer, expected, "step {} of {:?}: {:?} by {:?}", i, steps, step, plan.rules);
        }
    });
    for key in redis.keys("*") {
        let gateway_testkit::RedisValue::Int(ttl) = redis.command(&["PTTL", &key]) else { panic!("no TTL") };
        assert!(ttl != -1, "{key} has no time to live");
    }
}

#[test]
fn what_is_left_over_has_an_end_and_the_time_is_that_of_the_server() {
    let redis = Redis::start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let store = open(&redis);
    let plan = plan(&[Rule::new(&"10/s".parse().unwrap(), Algorithm::FixedWindow, Duration::ZERO)]);
    let call = |cost, mode| Call { key: "rate_limit:{x}:model", mode, cost, owed: &[], now: None };
    let answer = runtime.block_on(call(4, Mode::Take).run(&store, &plan, START)).unwrap();
    assert_eq!((answer.taken, answer.outcome.decision.remaining()), (4, 6));
    let gateway_testkit::RedisValue::Int(ttl) = redis.command(&["PTTL", "gateway:rate_limit:{x}:model"])
    else {
        panic!("no TTL")
    };
    assert!((1..=2000).contains(&ttl), "{ttl}");
    runtime.block_on(call(-4, Mode::Force).run(&store, &plan, START)).unwrap();
    assert_eq!(redis.keys("*"), [""; 0], "what is whole again is forgotten");
}
