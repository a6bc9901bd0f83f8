use super::picked::Affinity;
use super::*;
use crate::Strategy;
use crate::outlier::{Cause, OutlierMode};
use crate::retry::Verdict;

fn set(weights: &[u32], strategy: Strategy) -> EndpointSet {
    let endpoints = weights
        .iter()
        .enumerate()
        .map(|(i, w)| Endpoint::parse(&format!("http://127.0.0.1:{}", 3000 + i)).unwrap().with_weight(*w));
    EndpointSet::new("test", endpoints.collect(), strategy)
}

const ALL: [Strategy; 6] = [
    Strategy::RoundRobin,
    Strategy::Random,
    Strategy::LeastRequest,
    Strategy::PeakEwma,
    Strategy::RingHash,
    Strategy::Maglev,
];

fn at(set: &EndpointSet, index: usize) -> Picked {
    set.take(index, Affinity::New, set.now()).unwrap()
}

fn picks(set: &EndpointSet, n: usize) -> Vec<usize> {
    (0..n).map(|_| set.pick(None, &[], LastResort::Ejected, Instant::now()).unwrap().index).collect()
}

#[test]
fn s3_08_round_robin_starts_at_the_first_and_goes_on_in_turn() {
    let (a, b) = (set(&[1, 1, 1], Strategy::RoundRobin), set(&[1, 1, 1], Strategy::RoundRobin));
    assert_eq!(picks(&a, 5), [0, 1, 2, 0, 1]);
    assert_eq!(picks(&b, 2), [0, 1], "each service has its own counter");
}

#[test]
fn s3_08_round_robin_is_exact_under_concurrency() {
    let set = set(&[1, 1], Strategy::RoundRobin);
    let counts = [AtomicUsize::new(0), AtomicUsize::new(0)];
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..1000 {
                    counts[set.pick(None, &[], LastResort::Ejected, Instant::now()).unwrap().index]
                        .fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    let counts = counts.map(AtomicUsize::into_inner);
    assert_eq!(counts, [4000, 4000]);
}

#[test]
fn s4_30_only_healthy_endpoints_are_picked_and_a_shrinking_set_keeps_the_index_in_bounds() {
    let set = set(&[1, 1, 1], Strategy::RoundRobin);
    picks(&set, 2);
    assert!(set.set_healthy(2, false));
    assert!(!set.set_healthy(2, false), "it is news only once");
    let mut seen = picks(&set, 4);
    seen.sort_unstable();
    assert_eq!(seen, [0, 0, 1, 1]);
    set.set_healthy(0, false);
    set.set_healthy(1, false);
    assert!(set.pick(None, &[], LastResort::Ejected, Instant::now()).is_err());
    assert!(!set.is_ready());
    set.set_healthy(1, true);
    assert_eq!(picks(&set, 2), [1, 1]);
}

#[test]
fn a_retry_goes_to_another_endpoint_while_there_is_one() {
    for strategy in ALL {
        let set = set(&[1, 1], strategy);
        for _ in 0..50 {
            assert_eq!(
                set.pick(None, &[0], LastResort::Ejected, Instant::now()).unwrap().index,
                1,
                "{strategy:?}"
            );
            assert!(
                set.pick(None, &[0, 1], LastResort::Ejected, Instant::now()).is_ok(),
                "{strategy:?}: all were tried, one is still picked"
            );
        }
    }
}

#[test]
fn least_request_avoids_the_busy_one() {
    let set = set(&[1, 1], Strategy::LeastRequest);
    let busy: Vec<_> = (0..10).map(|_| at(&set, 0)).collect();
    let on_idle = picks(&set, 400).iter().filter(|i| **i == 1).count();
    assert_eq!(on_idle, 400, "of two, the idle one is always found");
    drop(busy);
    assert!(set.states().all(|s| s.in_flight == 0));
}

#[test]
fn weight_zero_takes_no_requests() {
    let set = set(&[1, 0], Strategy::RoundRobin);
    assert_eq!(picks(&set, 3), [0, 0, 0]);
}

fn fail(set: &EndpointSet, index: usize, times: usize) {
    for _ in 0..times {
        set.record(&mut at(set, index), Verdict::LocalFailure, Instant::now());
    }
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_fails_five_times_is_left_alone_for_half_a_minute() {
    let set = set(&[1, 1, 1], Strategy::RoundRobin);
    fail(&set, 1, 4);
    assert!(set.states().all(|state| state.healthy));
    fail(&set, 1, 1);
    let states: Vec<_> = set.states().map(|state| (state.healthy, state.ejected, state.ejections)).collect();
    assert_eq!(states, [(true, false, 0), (false, true, 1), (true, false, 0)]);
    assert!(!picks(&set, 10).contains(&1));
    tokio::time::advance(Duration::from_millis(29_900)).await;
    assert!(!picks(&set, 10).contains(&1));
    tokio::time::advance(Duration::from_millis(1_200)).await;
    assert!(picks(&set, 3).contains(&1), "it returns without anyone's doing");
    fail(&set, 1, 5);
    tokio::time::advance(Duration::from_secs(59)).await;
    assert!(!picks(&set, 10).contains(&1), "the second time lasts twice as long");
    tokio::time::advance(Duration::from_secs(3)).await;
    assert!(picks(&set, 3).contains(&1));
}

#[tokio::test(start_paused = true)]
async fn a_retry_that_has_tried_all_others_goes_to_an_ejected_endpoint() {
    for strategy in ALL {
        let set = set(&[1, 1, 1], strategy);
        fail(&set, 0, 5);
        let after =
            |tried: &[usize]| set.pick(None, tried, LastResort::Ejected, Instant::now()).unwrap().index;
        for _ in 0..50 {
            assert_eq!(after(&[1]), 2, "{strategy:?}: it is left alone");
            assert_eq!(after(&[2, 1]), 0, "{strategy:?}: it may be back");
        }
        set.set_healthy(0, false);
        assert_ne!(after(&[2, 1]), 0, "{strategy:?}: its checks say that it is not");
    }
}

#[tokio::test(start_paused = true)]
async fn who_has_answered_is_asked_again_before_an_ejected_endpoint_is() {
    let set = set(&[1, 1], Strategy::RoundRobin);
    fail(&set, 0, 5);
    let after = |last| set.pick(None, &[1], last, Instant::now()).unwrap().index;
    assert_eq!((after(LastResort::Available), after(LastResort::Ejected)), (1, 0));
}

#[test]
fn retries_of_one_moment_are_shared_out_and_take_no_turns_of_first_attempts() {
    let set = set(&[1; 4], Strategy::RoundRobin);
    let mut counts = [0; 4];
    for turn in 0..60 {
        assert_eq!(picks(&set, 1), [turn % 4]);
        counts[set.pick(None, &[1], LastResort::Available, Instant::now()).unwrap().index] += 1;
    }
    assert_eq!(counts, [20, 0, 20, 20]);
}

#[tokio::test(start_paused = true)]
async fn failures_of_ejected_endpoints_that_panic_still_asks_make_no_new_plans() {
    let set = set(&[1; 3], Strategy::Maglev);
    let policy: PolicySettings = serde_json::from_str(r#"{"strategy": "maglev", "panic": 100}"#).unwrap();
    let set = set.renewed(set.states().map(|state| state.endpoint).collect(), policy);
    fail(&set, 0, 5);
    assert!(set.0.plans.load().all.panics);
    let before = set.0.plans.load_full();
    fail(&set, 0, 50);
    assert!(Arc::ptr_eq(&before, &set.0.plans.load_full()));
}

#[tokio::test(start_paused = true)]
async fn a_second_endpoint_is_not_ejected_where_a_tenth_is_less_than_two() {
    let set = set(&[1; 10], Strategy::RoundRobin);
    fail(&set, 1, 5);
    fail(&set, 2, 50);
    assert_eq!(set.states().filter(|state| state.ejected).count(), 1);
    assert!(picks(&set, 9).contains(&2));
}

#[tokio::test(start_paused = true)]
async fn the_last_endpoint_is_never_ejected() {
    let set = set(&[1], Strategy::RoundRobin);
    fail(&set, 0, 50);
    assert_eq!(picks(&set, 1), [0]);
    assert!(set.states().all(|state| state.healthy && state.ejections == 0));
}

#[tokio::test(start_paused = true)]
async fn a_report_counts_and_changes_nothing() {
    let mut policy = PolicySettings::default();
    policy.outlier.0.mode = OutlierMode::Report;
    let endpoints = ["http://a", "http://b"].map(|url| Endpoint::parse(url).unwrap()).to_vec();
    let set = EndpointSet::new("test", endpoints, policy);
    fail(&set, 1, 10);
    let states: Vec<_> = set.states().map(|state| (state.healthy, state.ejections)).collect();
    assert_eq!(states, [(true, 0), (true, 2)]);
}

#[tokio::test(start_paused = true)]
async fn an_ejection_is_ignored_once_the_checks_take_the_others_out() {
    let set = set(&[1, 1], Strategy::RoundRobin);
    fail(&set, 1, 5);
    set.set_healthy(0, false);
    assert_eq!(picks(&set, 2), [1, 1], "it may fail, and there is no other");
    assert!(set.is_panicking());
    set.set_healthy(1, false);
    assert!(!set.is_ready(), "without any endpoint that passes its checks there is none");
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_comes_back_gets_its_share_bit_by_bit() {
    let policy = PolicySettings { slow_start: Some(Default::default()), ..PolicySettings::default() };
    let endpoints = ["http://a", "http://b"].map(|url| Endpoint::parse(url).unwrap()).to_vec();
    let set = EndpointSet::new("test", endpoints, policy);
    let share = |set: &EndpointSet| picks(set, 1000).into_iter().filter(|i| *i == 1).count();
    assert_eq!(share(&set), 500, "at the start of the process nobody starts slowly");
    set.set_healthy(1, false);
    set.set_healthy(1, true);
    let mut shares = Vec::new();
    for _ in 0..4 {
        shares.push(share(&set));
        tokio::time::advance(Duration::from_millis(10_100)).await;
    }
    // 2, 6, 13 and 20 parts for 20 of the other.
    let expected = [1000 * 2 / 22, 1000 * 6 / 26, 1000 * 13 / 33, 500];
    assert!(shares.iter().zip(expected).all(|(seen, wanted)| seen.abs_diff(wanted) <= 2), "{shares:?}");
}

#[test]
fn the_next_priority_takes_over_what_the_first_cannot() {
    let endpoints = [("http://a", 0), ("http://b", 0), ("http://c", 1)];
    let endpoints = endpoints.map(|(url, p)| Endpoint::parse(url).unwrap().with_priority(p)).to_vec();
    let set = EndpointSet::new("test", endpoints, Strategy::RoundRobin);
    assert!(!picks(&set, 100).contains(&2));
    assert_eq!(
        set.pick(None, &[0, 1], LastResort::Ejected, Instant::now()).unwrap().index,
        2,
        "a retry may go there as well"
    );
    set.set_healthy(0, false);
    let spilled = picks(&set, 1000).iter().filter(|i| **i == 2).count();
    assert!((230..370).contains(&spilled), "{spilled} of 1000 went to the second priority");
    set.set_healthy(1, false);
    assert_eq!(picks(&set, 3), [2, 2, 2]);
}

#[tokio::test(start_paused = true)]
async fn peak_ewma_prefers_the_faster_and_remembers_failures() {
    let set = set(&[1, 1, 1], Strategy::PeakEwma);
    tokio::time::advance(Duration::from_secs(60)).await;
    for (index, took) in [(0, 5), (1, 500), (2, 5)] {
        let started = Instant::now() - Duration::from_millis(took);
        set.record(&mut at(&set, index), Verdict::Good, started);
    }
    assert!(!picks(&set, 300).contains(&1), "of two, the slow one is never the better");
    set.record(&mut at(&set, 0), Verdict::ServerError, Instant::now());
    let first = picks(&set, 300).iter().filter(|i| **i == 0).count();
    assert_eq!(first, 0, "one that fails at once is not fast");
}

#[test]
fn a_key_stays_with_its_endpoint_and_only_its_endpoints_keys_move() {
    for strategy in [Strategy::RingHash, Strategy::Maglev] {
        let mut policy = PolicySettings::from(strategy);
        policy.hash_on = crate::HashKey::Path.into();
        let endpoints = (1..=4).map(|i| Endpoint::parse(&format!("http://10.0.0.{i}")).unwrap()).collect();
        let set = EndpointSet::new("test", endpoints, policy);
        let heads: Vec<_> =
            (0..200).map(|i| http::Request::get(format!("/{i}")).body(()).unwrap().into_parts().0).collect();
        let owners = |set: &EndpointSet| -> Vec<usize> {
            heads
                .iter()
                .map(|head| set.pick(Some(head), &[], LastResort::Ejected, Instant::now()).unwrap().index)
                .collect()
        };
        let before = owners(&set);
        assert_eq!(before, owners(&set), "{strategy:?}");
        assert!((0..4).all(|i| before.contains(&i)), "{strategy:?}: {before:?}");
        for (head, owner) in heads.iter().zip(&before) {
            assert_ne!(
                set.pick(Some(head), &[*owner], LastResort::Ejected, Instant::now()).unwrap().index,
                *owner
            );
        }
        set.set_healthy(2, false);
        let after = owners(&set);
        let moved = before.iter().zip(&after).filter(|(was, is)| **was != 2 && was != is).count();
        assert!(moved <= 24 && !after.contains(&2), "{strategy:?}: {moved} of 200 moved without need");
    }
}

#[test]
fn a_hot_key_spills_over_when_loads_are_bounded() {
    let mut policy = PolicySettings::from(Strategy::RingHash);
    policy.hash_on = crate::HashKey::Path.into();
    policy.bounded_load = Some(crate::LoadFactor::new(125));
    let endpoints = (1..=4).map(|i| Endpoint::parse(&format!("http://10.0.0.{i}")).unwrap()).collect();
    let set = EndpointSet::new("test", endpoints, policy);
    let head = http::Request::get("/hot").body(()).unwrap().into_parts().0;
    let held: Vec<_> =
        (0..100).map(|_| set.pick(Some(&head), &[], LastResort::Ejected, Instant::now()).unwrap()).collect();
    let most = set.states().map(|state| state.in_flight).max().unwrap();
    assert!(most <= 32, "{most} of 100 on one of four endpoints");
    drop(held);
}

#[test]
fn a_client_comes_back_by_its_cookie_until_its_endpoint_is_gone() {
    let sticky = crate::StickySettings { name: "sid".into(), ..Default::default() };
    let policy = PolicySettings { sticky: Some(gateway_core::units::Short(sticky)), ..Default::default() };
    let endpoints = (1..=3).map(|i| Endpoint::parse(&format!("http://10.0.0.{i}")).unwrap()).collect();
    let set = EndpointSet::new("test", endpoints, policy);
    let new = http::Request::get("/").header("cookie", "sid=stale").body(()).unwrap().into_parts().0;
    let picked = set.pick(Some(&new), &[], LastResort::Ejected, Instant::now()).unwrap();
    let cookie = picked.cookie().unwrap().to_str().unwrap().split(';').next().unwrap().to_owned();
    let back = http::Request::get("/").header("cookie", cookie).body(()).unwrap().into_parts().0;
    for _ in 0..5 {
        let again = set.pick(Some(&back), &[], LastResort::Ejected, Instant::now()).unwrap();
        assert_eq!((again.index, again.cookie()), (picked.index, None));
    }
    let retried = set.pick(Some(&back), &[picked.index], LastResort::Ejected, Instant::now()).unwrap();
    assert!(retried.index != picked.index && retried.cookie().is_some());
    set.set_healthy(picked.index, false);
    let moved = set.pick(Some(&back), &[], LastResort::Ejected, Instant::now()).unwrap();
    assert!(moved.index != picked.index && moved.cookie().is_some());
}

#[test]
fn least_request_shares_by_weight_when_idle_and_by_weight_and_load_when_busy() {
    let set = set(&[3, 1], Strategy::LeastRequest);
    let on_first = |set: &EndpointSet| picks(set, 4000).into_iter().filter(|i| *i == 0).count();
    let idle = on_first(&set);
    assert!((2850..3150).contains(&idle), "{idle} of 4000, expected 3000");
    let _busy: Vec<_> = (0..2).map(|_| at(&set, 0)).collect();
    let even = on_first(&set);
    assert!((1850..2150).contains(&even), "{even} of 4000, expected 2000: 3 / (2 + 1) is 1 / (0 + 1)");
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_fails_every_third_time_is_ejected_when_they_are_compared() {
    let set = set(&[1; 10], Strategy::RoundRobin);
    for round in 0..115 {
        for index in 0..10 {
            let bad = (index == 7 && round % 3 == 0) || (index == 2 && round % 4 == 0);
            let verdict = if bad { Verdict::ServerError } else { Verdict::Good };
            set.record(&mut at(&set, index), verdict, Instant::now());
        }
        tokio::time::advance(Duration::from_millis(90)).await;
        picks(&set, 1);
        if round == 110 {
            assert!(set.states().all(|state| !state.ejected), "the interval is not over");
        }
    }
    let ejected: Vec<_> = set.states().map(|state| state.ejected).collect();
    assert_eq!(ejected.iter().filter(|ejected| **ejected).count(), 1, "a tenth at most");
    assert!(ejected[7], "the worse of the two: {ejected:?}");
}

#[test]
fn endpoints_of_the_own_zone_are_preferred_until_too_few_of_them_are_left() {
    let zones =
        [("http://a", "eu-1", 0), ("http://b", "eu-1", 0), ("http://c", "eu-2", 0), ("http://d", "eu-1", 1)];
    let endpoint =
        |(url, zone, priority)| Endpoint::parse(url).unwrap().with_zone(zone).with_priority(priority);
    let policy = PolicySettings { zone: Some("eu-1".to_owned()), ..PolicySettings::default() };
    let set = EndpointSet::new("test", zones.map(endpoint).to_vec(), policy);
    let on = |set: &EndpointSet, index| picks(set, 1000).into_iter().filter(|i| *i == index).count();
    assert_eq!((on(&set, 2), on(&set, 3)), (0, 0));
    assert_eq!(
        set.pick(None, &[0, 1], LastResort::Ejected, Instant::now()).unwrap().index,
        2,
        "a retry may go there"
    );
    set.set_healthy(0, false);
    let spilled = on(&set, 2);
    assert!((230..370).contains(&spilled), "{spilled} of 1000 went to the other zone");
    set.set_healthy(1, false);
    assert_eq!(on(&set, 2), 1000, "the other zone comes before the next priority");
    set.set_healthy(2, false);
    assert_eq!(on(&set, 3), 1000);
    let plain = EndpointSet::new("test", zones.map(endpoint).to_vec(), PolicySettings::default());
    assert_eq!(picks(&plain, 3), [0, 1, 2], "who has no zone prefers none");
}

#[test]
fn a_request_goes_only_to_endpoints_with_the_label_it_asks_for() {
    let labelled = [("http://a", "v1"), ("http://b", "v2"), ("http://c", "v2")].map(|(url, version)| {
        let labels = [("version".to_owned(), version.to_owned())].into();
        Endpoint::parse(url).unwrap().with_metadata(labels)
    });
    let heads = ["v1", "v2", "v3"]
        .map(|version| http::Request::get("/").header("x-version", version).body(()).unwrap().into_parts().0);
    for strategy in ALL {
        for (fallback, unknown) in
            [("\"any\"", vec![0, 1, 2]), ("\"none\"", vec![]), (r#"{"default": "v1"}"#, vec![0])]
        {
            let mut policy = PolicySettings::from(strategy);
            let text =
                format!(r#"{{"key": "version", "from": {{"header": "x-version"}}, "fallback": {fallback}}}"#);
            policy.subset = Some(serde_json::from_str(&text).unwrap());
            let set = EndpointSet::new("test", labelled.to_vec(), policy);
            let seen = |head: &http::request::Parts, tried: &[usize]| {
                let pick = |_| {
                    set.pick(Some(head), tried, LastResort::Ejected, Instant::now())
                        .ok()
                        .map(|picked| picked.index)
                };
                let mut seen: Vec<_> = (0..300).filter_map(pick).collect();
                seen.sort_unstable();
                seen.dedup();
                seen
            };
            assert_eq!(seen(&heads[0], &[0]), [0], "{strategy:?}: a retry stays within the subset");
            assert_eq!(seen(&heads[1], &[1]), [2], "{strategy:?}");
            assert_eq!(seen(&heads[2], &[]), unknown, "{strategy:?} {fallback}");
            assert!(set.is_ready());
            set.0.eject(0, Cause::GatewayErrors, set.now());
            let instead = if fallback == "\"any\"" { vec![1, 2] } else { vec![0] };
            assert_eq!(seen(&heads[0], &[]), instead, "{strategy:?} {fallback}: the only one is ejected");
            set.set_healthy(0, false);
            let left = if fallback == "\"any\"" { vec![1, 2] } else { vec![] };
            assert_eq!(seen(&heads[0], &[]), left, "{strategy:?} {fallback}: nobody of it is left");
        }
    }
}

#[test]
fn a_subset_that_nobody_is_of_does_not_disturb_the_others_turns() {
    let policy =
        serde_json::from_str::<PolicySettings>(r#"{"subset": {"key": "version", "value": "v9"}}"#).unwrap();
    let endpoints = ["http://a", "http://b"].map(|url| Endpoint::parse(url).unwrap()).to_vec();
    assert_eq!(picks(&EndpointSet::new("test", endpoints, policy), 4), [0, 1, 0, 1]);
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]

    /// Whatever is labelled how, weighs what, and is healthy or not.
    #[test]
    fn turns_within_a_subset_are_exactly_by_weight_and_never_leave_it(
        endpoints in proptest::collection::vec((0u32..4, 0usize..3, proptest::bool::weighted(0.8)), 1..10),
        asked in 0usize..3,
    ) {
        let label = |version: usize| format!("v{version}");
        let made = endpoints.iter().enumerate().map(|(i, (weight, version, _))| {
            let labels = [("version".to_owned(), label(*version))].into();
            Endpoint::parse(&format!("http://10.0.0.{i}")).unwrap().with_weight(*weight).with_metadata(labels)
        });
        let mut policy = PolicySettings::from(Strategy::RoundRobin);
        let text = format!(r#"{{"key": "version", "value": "{}", "fallback": "none"}}"#, label(asked));
        policy.subset = Some(serde_json::from_str(&text).unwrap());
        let set = EndpointSet::new("test", made.collect(), policy);
        for (i, (_, _, healthy)) in endpoints.iter().enumerate() {
            set.set_healthy(i, *healthy);
        }
        let turns = |(weight, version, healthy): &(u32, usize, bool)| {
            if *version == asked && *healthy { *weight as usize } else { 0 }
        };
        let round: usize = endpoints.iter().map(turns).sum();
        let mut counts = vec![0; endpoints.len()];
        // Six rounds, which any common divisor of the weights up to three divides.
        for _ in 0..6 * round {
            counts[set.pick(None, &[], LastResort::Ejected, Instant::now()).unwrap().index] += 1;
        }
        proptest::prop_assert_eq!(counts, endpoints.iter().map(|one| 6 * turns(one)).collect::<Vec<_>>());
        proptest::prop_assert_eq!(set.pick(None, &[], LastResort::Ejected, Instant::now()).is_err(), round == 0);
    }
}

#[test]
fn subsets_that_are_asked_for_by_turns_have_turns_of_their_own() {
    let labelled = |(i, version): (usize, &str)| {
        let labels = [("version".to_owned(), version.to_owned())].into();
        Endpoint::parse(&format!("http://10.0.0.{i}")).unwrap().with_metadata(labels)
    };
    let endpoints = ["v1", "v1", "v2", "v2"].into_iter().enumerate().map(labelled).collect();
    let policy = r#"{"subset": {"key": "version", "from": {"header": "X-Version"}}}"#;
    let set = EndpointSet::new("test", endpoints, serde_json::from_str::<PolicySettings>(policy).unwrap());
    let asking =
        |version: &str| http::Request::get("/").header("x-version", version).body(()).unwrap().into_parts().0;
    let heads = ["v1", "v2"].map(asking);
    let picked =
        |i: usize| set.pick(Some(&heads[i % 2]), &[], LastResort::Ejected, Instant::now()).unwrap().index;
    assert_eq!((0..8).map(picked).collect::<Vec<_>>(), [0, 2, 1, 3, 0, 2, 1, 3]);
}

#[test]
fn a_retry_takes_nobodys_turn() {
    let set = set(&[1, 1], Strategy::RoundRobin);
    let mut first = Vec::new();
    for _ in 0..4 {
        let index = picks(&set, 1)[0];
        first.push(index);
        if index == 0 {
            assert_eq!(set.pick(None, &[0], LastResort::Ejected, Instant::now()).unwrap().index, 1);
        }
    }
    assert_eq!(first, [0, 1, 0, 1], "whoever fails is not asked first every time");
}

fn endpoints(urls: &[&str]) -> Vec<Endpoint> {
    urls.iter().map(|url| Endpoint::parse(url).unwrap()).collect()
}

fn policy(text: &str) -> PolicySettings {
    serde_json::from_str(text).unwrap()
}

#[tokio::test(start_paused = true)]
async fn what_is_known_of_endpoints_that_stay_outlives_a_change_of_their_service() {
    let before = policy(r#"{"endpoint_circuit": {"min_requests": 2, "open": "60s"}, "circuit": true}"#);
    let old = EndpointSet::new(
        "test",
        endpoints(&["http://a", "http://b", "http://c", "http://d"]),
        before.clone(),
    );
    old.set_healthy(1, false);
    let mut failing = [at(&old, 2), at(&old, 2)];
    failing.iter_mut().for_each(|picked| old.record(picked, Verdict::ServerError, Instant::now()));
    old.count_retry();
    let busy = at(&old, 0);
    let after = PolicySettings { strategy: Strategy::LeastRequest, ..before };
    let mut kept = endpoints(&["http://a", "http://b", "http://c", "http://e"]);
    kept[1] = kept[1].with_weight(3);
    let new = old.renewed(kept, after);
    let states: Vec<_> = new.states().map(|state| (state.healthy, state.circuit, state.in_flight)).collect();
    let closed = CircuitState::Closed;
    assert_eq!(
        states,
        [(true, closed, 1), (false, closed, 0), (false, CircuitState::Open, 2), (true, closed, 0)]
    );
    assert_eq!(new.retries(), 1, "a counter never goes back");
    drop(busy);
    assert_eq!(new.states().next().unwrap().in_flight, 0, "its end is noticed in the set that follows");
    new.end_checks();
    assert!(new.states().nth(1).unwrap().healthy, "without checks nobody fails them");
}

#[tokio::test(start_paused = true)]
async fn an_ejection_by_a_request_of_the_set_before_does_not_hide_the_endpoint_from_this_one() {
    let old = EndpointSet::new("test", endpoints(&["http://a", "http://b"]), Strategy::RoundRobin);
    let new = old.renewed(endpoints(&["http://a", "http://b"]), Strategy::Random);
    fail(&old, 0, 5);
    assert!(!new.states().next().unwrap().healthy);
    fail(&new, 0, 5);
    assert!(!picks(&new, 50).contains(&0));
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_a_change_adds_gets_its_share_bit_by_bit() {
    let policy = policy(r#"{"slow_start": "30s"}"#);
    let old = EndpointSet::new("test", endpoints(&["http://a"]), policy.clone());
    tokio::time::advance(Duration::from_secs(100)).await;
    let new = old.renewed(endpoints(&["http://a", "http://b"]), policy.clone());
    let share = |set: &EndpointSet, index| picks(set, 110).into_iter().filter(|i| *i == index).count();
    assert_eq!(share(&new, 1), 10, "a tenth of its weight");
    tokio::time::advance(Duration::from_secs(15)).await;
    let newer = new.renewed(endpoints(&["http://b", "http://a", "http://c"]), policy);
    let shares = [0, 1, 2].map(|index| share(&newer, index));
    assert!((30..=40).contains(&shares[0]) && shares[1] > 60 && shares[2] < 10, "{shares:?}: it goes on");
    tokio::time::advance(Duration::from_secs(31)).await;
    let even = [0, 1, 2].map(|index| share(&newer, index));
    assert!(even.iter().all(|count| (36..=37).contains(count)), "{even:?}");
}
