use super::calendar::{Calendar, Cycle};
use super::*;
use proptest::prelude::*;

const SECOND: u64 = 1_000_000;
/// 2024-02-28T12:00:00Z.
const NOON: u64 = 1_709_121_600 * SECOND;

const ALL: [Algorithm; 5] = [
    Algorithm::Gcra,
    Algorithm::TokenBucket,
    Algorithm::FixedWindow,
    Algorithm::SlidingWindow,
    Algorithm::LeakyBucket,
];

fn rule(limit: &str, algorithm: Algorithm) -> Rule {
    Rule::new(&limit.parse().unwrap(), algorithm, Duration::from_secs(3600))
}

/// Decides, and takes if it may pass.
fn ask(state: &mut State, now: u64, cost: u32, rule: &Rule) -> Decision {
    let decision = decide(state, now, cost, rule);
    if !decision.is_refusal() {
        *state = take(state, now, i64::from(cost), rule);
    }
    decision
}

/// What each request hears: what is left, `-` the seconds to wait before the next try, or how long it is delayed.
fn heard(rule: &Rule, at: &[u64]) -> Vec<String> {
    let mut state = State::default();
    at.iter()
        .map(|at| match ask(&mut state, NOON + at * SECOND, 1, rule) {
            Decision::Allow { remaining, .. } => remaining.to_string(),
            Decision::Delay { delay, remaining, .. } => format!("{remaining} in {}", delay.as_secs()),
            Decision::Refuse { retry_after, .. } => format!("-{}", retry_after.as_secs()),
        })
        .collect()
}

#[test]
fn s4_22_the_last_of_the_limit_passes_and_the_next_does_not_by_every_algorithm() {
    for (algorithm, expected) in [
        (Algorithm::Gcra, ["2", "1", "0", "-20", "-1", "0", "-20", "1"]),
        (Algorithm::TokenBucket, ["2", "1", "0", "-20", "-1", "0", "-20", "1"]),
        (Algorithm::FixedWindow, ["2", "1", "0", "-60", "-41", "-40", "-40", "2"]),
        // At the next minute all three still count.
        (Algorithm::SlidingWindow, ["2", "1", "0", "-80", "-61", "-60", "-60", "-20"]),
        (Algorithm::LeakyBucket, ["3", "2 in 20", "1 in 40", "0 in 60", "0 in 61", "-20", "-20", "1 in 40"]),
    ] {
        let rule = rule("3/min", algorithm);
        let heard = heard(&rule, &[0, 0, 0, 0, 19, 20, 20, 60]);
        if algorithm == Algorithm::LeakyBucket {
            assert_eq!(heard[..4], expected[..4], "{algorithm:?}");
        } else {
            assert_eq!(heard, expected, "{algorithm:?}");
        }
    }
}

#[test]
fn a_limit_is_whole_again_when_an_answer_says_so() {
    for algorithm in ALL {
        let rule = rule("7/min", algorithm);
        let mut state = State::default();
        for (after, cost) in
            [(0, 1), (1, 3), (2_000_001, 3), (2_000_002, -1), (9_999_999, 40), (200_000_000, 1)]
        {
            state = take(&state, NOON + after, cost, &rule);
            let now = NOON + after + 17;
            let told = decide(&state, now, 0, &rule).reset();
            assert_eq!(Duration::from_micros(reset(&state, now, &rule)), told, "{algorithm:?} after {after}");
        }
    }
}

#[test]
fn a_window_begins_with_the_first_request_and_forgets_debt_when_it_ends() {
    let rule = rule("2/10s", Algorithm::FixedWindow);
    let mut state = take(&State::default(), NOON, 7, &rule);
    assert_eq!(used(&state, NOON, &rule), 7);
    assert!(ask(&mut state, NOON + 10 * SECOND - 1, 1, &rule).is_refusal());
    assert_eq!(ask(&mut state, NOON + 10 * SECOND, 1, &rule).remaining(), 1);
}

#[test]
fn a_leaky_bucket_makes_nobody_wait_longer_than_it_may() {
    let rule = Rule::new(&"10/s".parse().unwrap(), Algorithm::LeakyBucket, Duration::from_millis(250));
    let mut state = State::default();
    let delays: Vec<_> = (0..5)
        .map(|_| match ask(&mut state, NOON, 1, &rule) {
            Decision::Allow { .. } => Some(0),
            Decision::Delay { delay, .. } => Some(delay.as_millis()),
            Decision::Refuse { .. } => None,
        })
        .collect();
    assert_eq!(delays, [Some(0), Some(100), Some(200), None, None]);
}

#[test]
fn quotas_follow_the_calendar_in_its_zone() {
    let day = |text: &str| {
        let time = humantime::parse_rfc3339(text).unwrap();
        time.duration_since(std::time::UNIX_EPOCH).unwrap().as_micros() as u64
    };
    for (cycle, offset, now, start, end) in [
        (Cycle::Day, 0, "2024-02-28T12:00:00Z", "2024-02-28T00:00:00Z", "2024-02-29T00:00:00Z"),
        (Cycle::Day, 7200, "2024-02-28T23:00:00Z", "2024-02-28T22:00:00Z", "2024-02-29T22:00:00Z"),
        (Cycle::Week, 0, "2024-03-03T23:59:59Z", "2024-02-26T00:00:00Z", "2024-03-04T00:00:00Z"),
        (Cycle::Month, 0, "2024-02-29T23:59:59Z", "2024-02-01T00:00:00Z", "2024-03-01T00:00:00Z"),
        (Cycle::Month, 0, "2023-12-31T23:59:59Z", "2023-12-01T00:00:00Z", "2024-01-01T00:00:00Z"),
        (Cycle::Month, -3600, "2024-01-01T00:30:00Z", "2023-12-01T01:00:00Z", "2024-01-01T01:00:00Z"),
    ] {
        let calendar = Calendar { cycle, offset };
        assert_eq!(calendar.period(day(now)), (day(start), day(end)), "{cycle:?} {offset} {now}");
    }
}

#[test]
fn a_quota_begins_anew_with_its_period() {
    let rule = Rule::quota(2, Calendar { cycle: Cycle::Day, offset: 0 });
    let mut state = State::default();
    assert_eq!(ask(&mut state, NOON, 2, &rule).remaining(), 0);
    let Decision::Refuse { retry_after, .. } = ask(&mut state, NOON, 1, &rule) else { panic!("it passed") };
    assert_eq!(retry_after, Duration::from_secs(43_200));
    assert_eq!(ask(&mut state, NOON + 43_200 * SECOND, 1, &rule).remaining(), 1);
}

#[test]
fn many_a_second_are_counted_to_the_last() {
    for (count, seconds) in [(600_000u64, 1u64), (999_983, 1), (999_983, 86_400), (7, 1)] {
        let rule = rule(&format!("{count}/{seconds}s burst 1"), Algorithm::Gcra);
        let (mut state, mut now, mut passed) = (State::default(), NOON, 0u64);
        for _ in 0..10_000 {
            let Decision::Allow { .. } = ask(&mut state, now, 1, &rule) else {
                now += 1;
                continue;
            };
            passed += 1;
            if let Decision::Refuse { retry_after, .. } = decide(&state, now, 1, &rule) {
                now += retry_after.as_micros() as u64;
            }
        }
        let ideal = (now - NOON) as f64 * count as f64 / (seconds * SECOND) as f64;
        let off = (passed as f64 - ideal).abs() / ideal;
        // Waiting in whole microseconds costs up to one each.
        let most = count as f64 / (seconds * SECOND) as f64 + 0.01;
        assert!(off <= most, "{count}/{seconds}s: {passed} instead of {ideal}");
    }
}

fn any_algorithm() -> impl Strategy<Value = Algorithm> {
    prop::sample::select(ALL.to_vec())
}

proptest! {
    #[test]
    fn no_stretch_of_time_passes_more_than_the_burst_and_the_rate(
        count in 1u64..50, seconds in 1u64..20, burst in 1u64..50,
        algorithm in prop::sample::select(vec![Algorithm::Gcra, Algorithm::TokenBucket]),
        asked in prop::collection::vec((0u64..3 * SECOND, 1u32..4), 1..200),
    ) {
        let rule = rule(&format!("{count}/{seconds}s burst {burst}"), algorithm);
        let (mut state, mut now, mut passed) = (State::default(), NOON, Vec::new());
        for (gap, cost) in asked {
            now += gap;
            if !ask(&mut state, now, cost, &rule).is_refusal() {
                passed.push((now, u64::from(cost)));
            }
        }
        for (i, (start, _)) in passed.iter().enumerate() {
            let mut sum = 0;
            for (end, cost) in &passed[i..] {
                sum += cost;
                let allowed = burst + (end - start) * count / (seconds * SECOND);
                prop_assert!(sum <= allowed, "{} in {} µs", sum, end - start);
            }
        }
    }

    #[test]
    fn a_window_passes_no_more_than_its_count(
        count in 1u64..50, seconds in 1u64..20,
        asked in prop::collection::vec((0u64..3 * SECOND, 1u32..4), 1..200),
    ) {
        for algorithm in [Algorithm::FixedWindow, Algorithm::SlidingWindow] {
            let rule = rule(&format!("{count}/{seconds}s"), algorithm);
            let (mut state, mut now) = (State::default(), NOON);
            let mut windows = std::collections::BTreeMap::<u64, u64>::new();
            for (gap, cost) in &asked {
                now += gap;
                if !ask(&mut state, now, *cost, &rule).is_refusal() {
                    *windows.entry(state.at).or_default() += u64::from(*cost);
                }
            }
            prop_assert!(windows.values().all(|sum| *sum <= count), "{:?} {:?}", algorithm, windows);
        }
    }

    #[test]
    fn a_token_bucket_lets_the_same_requests_pass_as_gcra(
        limit in (1u64..5000, 1u64..5000, 1u64..5000),
        asked in prop::collection::vec((0u64..SECOND, 0u32..20), 1..200),
    ) {
        let text = format!("{}/{}s burst {}", limit.0, limit.1, limit.2);
        let (a, b) = (rule(&text, Algorithm::Gcra), rule(&text, Algorithm::TokenBucket));
        let (mut one, mut other, mut now) = (State::default(), State::default(), NOON);
        for (gap, cost) in asked {
            now += gap;
            prop_assert_eq!(ask(&mut one, now, cost, &a), ask(&mut other, now, cost, &b));
        }
    }

    #[test]
    fn waiting_as_long_as_told_is_enough_and_needed(
        algorithm in any_algorithm(), count in 1u32..1000, burst in 1u32..100, offset in 0u64..60 * SECOND,
        asked in prop::collection::vec((0u64..SECOND, 1u32..4), 0..200),
    ) {
        let windowed = matches!(algorithm, Algorithm::FixedWindow | Algorithm::SlidingWindow);
        let burst = if windowed { String::new() } else { format!(" burst {burst}") };
        let rule = rule(&format!("{count}/min{burst}"), algorithm);
        let (mut state, mut now) = (State::default(), NOON + offset);
        for (gap, cost) in asked {
            now += gap;
            let _ = ask(&mut state, now, cost, &rule);
            if let Decision::Refuse { retry_after, .. } = decide(&state, now, 1, &rule) {
                let then = now + retry_after.as_micros() as u64;
                prop_assert!(!decide(&state, then, 1, &rule).is_refusal(), "{:?}", state);
                prop_assert!(decide(&state, then - 1, 1, &rule).is_refusal(), "{:?}", state);
            }
        }
    }

    #[test]
    fn what_is_given_back_is_as_if_never_taken(
        algorithm in any_algorithm(), count in 1u32..1000, before in 1i64..50, cost in 1i64..50,
    ) {
        let rule = rule(&format!("{count}/min"), algorithm);
        let state = take(&State::default(), NOON, before, &rule);
        let there = take(&state, NOON, cost, &rule);
        prop_assert_eq!(take(&there, NOON, -cost, &rule), state);
        prop_assert_eq!(used(&there, NOON, &rule), u64::try_from(before + cost).unwrap());
    }

    #[test]
    fn extreme_values_never_panic_and_stay_exact_as_doubles(
        algorithm in any_algorithm(), count in 1u32.., burst in 1u32.., seconds in 1u64..366 * 86_400,
        cost: u32, taken in prop::collection::vec((any::<i64>(), 0u64..1 << 50), 0..20),
    ) {
        let rule = rule(&format!("{count}/{seconds}s burst {burst}"), algorithm);
        let (mut state, mut now) = (State::default(), NOON);
        for (taken, gap) in taken {
            now += gap / 1024;
            let _ = decide(&state, now, cost, &rule);
            state = take(&state, now, taken, &rule);
            for number in [state.at, state.used, state.before, rule.full, now] {
                prop_assert!(number <= 1 << 53, "{} in {:?}", number, state);
            }
        }
        let _ = (rule.share(3), used(&state, now, &rule));
    }
}
