//! Minutes of outages in virtual time: what was written down beforehand is what must come of them.
#![allow(clippy::unwrap_used)]

mod simulated;

use gateway_balance::CircuitState::{Closed, HalfOpen, Open};
use gateway_balance::{Balance, EndpointSet, Strategy};
use gateway_core::FailureKind::{Connect, Reset};
use simulated::{Simulated, answers, fails, get, hosts, policy, request, send, settings, simulate};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

const ONCE: &str = r#"{"retry": 1}"#;

/// Sends so many requests a second for so long, each in a task of its own; the statuses and the times they took.
async fn load(balance: &Balance<Simulated>, per_second: u32, time: Duration) -> Vec<(u16, Duration)> {
    let (start, gap) = (Instant::now(), secs(1) / per_second);
    let mut sent = Vec::new();
    for number in 0.. {
        let at = start + gap * number;
        if at >= start + time {
            break;
        }
        tokio::time::sleep_until(at).await;
        let balance = balance.clone();
        sent.push(tokio::spawn(async move {
            let begun = Instant::now();
            (get(&balance).await.0, begun.elapsed())
        }));
    }
    tokio::time::sleep_until(start + time).await;
    let mut done = Vec::new();
    for request in sent {
        done.push(request.await.unwrap());
    }
    done
}

fn count(done: &[(u16, Duration)]) -> BTreeMap<u16, usize> {
    done.iter().fold(BTreeMap::new(), |mut counts, (status, _)| {
        *counts.entry(*status).or_default() += 1;
        counts
    })
}

#[tokio::test(start_paused = true)]
async fn a_circuit_opens_in_an_outage_probes_with_longer_pauses_and_closes_after_it() {
    let policy = policy(r#"{"circuit": {"min_requests": 20, "open": "5s", "probes": 3}, "outlier": "off"}"#);
    let (balance, set, log) = simulate(hosts(["a", "b"]), policy, &settings(ONCE), |_, at, _| {
        answers(if (secs(10)..secs(40)).contains(&at) { 500 } else { 200 }, 5)
    });
    assert_eq!(count(&load(&balance, 10, secs(10)).await), [(200, 100)].into());
    // At 10 a second and with 100 good ones in the window it takes 5 s until half of the last 10 s has failed.
    let outage = load(&balance, 10, secs(6)).await;
    let refused = count(&outage)[&503];
    assert!((2..=15).contains(&refused), "{refused} of 60 were refused after it opened at about 15 s");
    assert_eq!(set.circuit(), Open);
    log.take();
    // At about 20 s a probe fails and it opens for 10 s, at 30 s for 20 s: until 50 s, when the outage is over.
    load(&balance, 10, secs(24)).await;
    let probes: Vec<_> = log.take().into_iter().map(|seen| seen.at.as_secs()).collect();
    let attempts = probes.iter().collect::<std::collections::BTreeSet<_>>().len();
    assert!(attempts == 2 && probes.len() <= 6, "a probe that fails ends an attempt: {probes:?}");
    assert_eq!(set.circuit(), Open);
    let after = load(&balance, 10, secs(20)).await;
    assert_eq!(set.circuit(), Closed);
    assert!(count(&after)[&200] >= 80, "{:?}", count(&after));
}

#[tokio::test(start_paused = true)]
async fn an_open_circuit_is_half_open_when_its_time_is_over_and_lets_no_more_than_its_probes_pass() {
    let policy = policy(r#"{"circuit": {"min_requests": 5, "open": "5s", "probes": 3}, "outlier": "off"}"#);
    let (balance, set, log) = simulate(hosts(["a"]), policy, &settings(ONCE), |_, at, _| {
        if at < secs(4) { fails(Connect, 0) } else { answers(200, 1000) }
    });
    for _ in 0..5 {
        get(&balance).await;
    }
    assert_eq!(set.circuit(), Open);
    tokio::time::advance(secs(5)).await;
    assert_eq!((set.circuit(), log.take().len()), (HalfOpen, 5));
    let all = futures_util::future::join_all((0..50).map(|_| get(&balance))).await;
    assert_eq!(all.iter().filter(|answer| **answer == (200, None)).count(), 3);
    assert_eq!((set.circuit(), log.take().len()), (Closed, 3));
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_stays_sick_is_ejected_for_longer_each_time_up_to_five_minutes() {
    let policy = policy(r#"{"outlier": {"jitter": "0s"}}"#);
    let (balance, set, log) = simulate(hosts(["a", "b"]), policy, &settings(ONCE), |host, _, _| {
        if host == "a" { fails(Reset, 1) } else { answers(200, 1) }
    });
    load(&balance, 4, secs(2600)).await;
    // Whoever is back is asked five times within three seconds, and then left alone.
    let on_a: Vec<_> = log.all().into_iter().filter(|seen| seen.host == "a").map(|seen| seen.at).collect();
    assert!(on_a.len().is_multiple_of(5), "{}", on_a.len());
    let pauses: Vec<_> =
        on_a.windows(2).map(|pair| (pair[1] - pair[0]).as_secs()).filter(|gap| *gap > 5).collect();
    let expected = [30, 60, 90, 120, 150, 180, 210, 240, 270, 300, 300, 300];
    assert_eq!(pauses[..expected.len().min(pauses.len())], expected[..pauses.len().min(expected.len())]);
    assert!(pauses.len() >= 11, "{pauses:?}");
    assert_eq!(set.states().next().unwrap().ejections as usize, on_a.len() / 5);
}

#[tokio::test(start_paused = true)]
async fn a_total_outage_costs_no_more_than_a_fifth_and_three_more_attempts_a_second() {
    let settings = settings(r#"{"retry": {"attempts": 5, "backoff": "none"}}"#);
    let policy = policy(r#"{"outlier": "off"}"#);
    let (balance, set, log) =
        simulate(hosts(["a", "b", "c"]), policy, &settings, |_, _, _| fails(Reset, 500));
    let done = load(&balance, 100, secs(60)).await;
    assert_eq!(count(&done), [(502, 6000)].into());
    let attempts = log.all().len();
    assert!(attempts <= 6000 * 12 / 10 + 3 * 70, "{attempts} attempts for 6000 requests");
    assert!(attempts > 6000, "there were retries");
    assert_eq!(set.retries() as usize, attempts - 6000);
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_comes_back_is_given_more_from_second_to_second() {
    let policy = policy(r#"{"slow_start": "30s", "outlier": {"jitter": "0s"}}"#);
    let (balance, _, log) = simulate(hosts(["a", "b"]), policy, &settings(ONCE), |host, at, _| {
        if host == "a" && at < secs(1) { fails(Connect, 0) } else { answers(200, 1) }
    });
    load(&balance, 100, secs(75)).await;
    let on_a = |from: u64, to: u64| {
        let seen = log.all();
        let within = seen.iter().filter(|seen| (secs(from)..secs(to)).contains(&seen.at));
        let (mine, all) =
            within.fold((0, 0), |(mine, all), seen| (mine + usize::from(seen.host == "a"), all + 1));
        mine * 100 / all
    };
    assert_eq!(on_a(1, 30), 0, "it is ejected");
    // A tenth of the other's weight at first, a half in the middle, all of it in the end.
    for (from, to, least, most) in [(31, 33, 7, 12), (44, 47, 29, 36), (58, 60, 45, 50), (62, 75, 49, 50)] {
        let share = on_a(from, to);
        assert!((least..=most).contains(&share), "{share} % from {from} s to {to} s");
    }
}

#[tokio::test(start_paused = true)]
async fn hedging_cuts_the_tail_and_costs_few_requests() {
    let slow = |host: &str, at: Duration| {
        // Each endpoint stands still for 2 s out of 40, at different times.
        let offset = if host == "a" { 0 } else { 20 };
        (at.as_secs() + offset) % 40 < 2
    };
    let mut tails = Vec::new();
    for text in [r#"{"retry": 1}"#, r#"{"retry": {"attempts": 1, "hedge": "p90"}}"#] {
        let (balance, set, log) =
            simulate(hosts(["a", "b"]), Strategy::RoundRobin, &settings(text), move |host, at, _| {
                answers(200, if slow(host, at) { 2000 } else { 20 })
            });
        // Time for it to learn what is usual.
        tokio::time::advance(secs(3)).await;
        load(&balance, 50, secs(12)).await;
        let mut times: Vec<_> =
            load(&balance, 50, secs(120)).await.into_iter().map(|(_, took)| took).collect();
        times.sort_unstable();
        tails.push(times[times.len() * 98 / 100]);
        let (sent, hedges) = (log.all().len(), set.hedges());
        assert_eq!(sent as u64, 6600 + hedges);
        assert!(hedges * 20 <= 6600 * 2, "{hedges} hedges");
    }
    assert_eq!(tails[0], secs(2));
    assert!(tails[1] < Duration::from_millis(60), "{tails:?}");
}

#[tokio::test(start_paused = true)]
async fn when_most_endpoints_are_ejected_panic_spreads_the_load_over_all_again() {
    let policy = policy(r#"{"outlier": {"max_ejected": 100, "success_rate": false}}"#);
    let (balance, set, log) = simulate(hosts(["a", "b", "c", "d"]), policy, &settings(ONCE), |host, _, _| {
        if host == "d" { answers(200, 1) } else { answers(500, 1) }
    });
    load(&balance, 20, secs(1)).await;
    // Two of four are half and no panic; the third is ejected in its turn, and then all are asked again.
    load(&balance, 20, secs(2)).await;
    assert!(set.is_panicking());
    assert_eq!(set.states().filter(|state| state.ejected).count(), 3);
    log.take();
    let done = load(&balance, 20, secs(10)).await;
    assert_eq!(count(&done), [(200, 50), (500, 150)].into(), "each gets its fourth");
    let off = simulated::policy(r#"{"outlier": {"max_ejected": 100, "success_rate": false}, "panic": 0}"#);
    let (calm, set, _) = simulate(hosts(["a", "b", "c", "d"]), off, &settings(ONCE), |host, _, _| {
        if host == "d" { answers(200, 1) } else { answers(500, 1) }
    });
    load(&calm, 20, secs(3)).await;
    assert_eq!(
        count(&load(&calm, 20, secs(10)).await),
        [(200, 200)].into(),
        "without panic the last one takes all"
    );
    assert!(!set.is_panicking());
}

#[tokio::test(start_paused = true)]
async fn one_of_ten_that_fails_every_third_request_is_ejected_after_an_interval() {
    let names = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];
    let (balance, set, log) = simulate(hosts(names), Strategy::RoundRobin, &settings(ONCE), |host, at, _| {
        answers(if host == "g" && at.as_millis() % 3 == 0 { 500 } else { 200 }, 1)
    });
    load(&balance, 200, secs(9)).await;
    assert!(set.states().all(|state| !state.ejected));
    load(&balance, 200, secs(3)).await;
    let ejected: Vec<_> =
        set.states().filter(|state| state.ejected).map(|state| state.endpoint.host().to_owned()).collect();
    assert_eq!(ejected, ["g"]);
    log.take();
    load(&balance, 200, secs(20)).await;
    assert_eq!(log.on("g"), 0);
}

#[tokio::test(start_paused = true)]
async fn z13_the_answer_tells_a_layer_around_it_who_failed_and_why() {
    use gateway_core::{Endpoint, Problem};
    for (policy_text, settings_text, script, status, code) in [
        ("{}", ONCE, fails(Connect, 0), 502, Some("upstream-connect-failed")),
        ("{}", ONCE, fails(Reset, 0), 502, Some("upstream-reset")),
        ("{}", r#"{"retry": 1, "timeout": "1s"}"#, answers(200, 5000), 504, Some("upstream-timeout")),
        (r#"{"circuit": {"min_requests": 1}}"#, ONCE, fails(Connect, 0), 503, Some("circuit-open")),
        ("{}", ONCE, answers(503, 0), 503, None),
    ] {
        let (balance, ..) =
            simulate(hosts(["a"]), policy(policy_text), &settings(settings_text), move |_, _, _| {
                script.clone()
            });
        if code == Some("circuit-open") {
            get(&balance).await;
        }
        let response = tower::ServiceExt::oneshot(balance, simulated::request("GET")).await.unwrap();
        let problem = response.extensions().get::<Problem>().map(|problem| problem.code().name());
        assert_eq!((response.status().as_u16(), problem), (status, code));
        // The endpoint that was tried is named whoever answered. An open circuit tries none.
        let endpoint = response.extensions().get::<Endpoint>().map(Endpoint::name);
        assert_eq!(endpoint, (code != Some("circuit-open")).then_some("a"), "{code:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_failure_names_the_endpoint_that_was_tried_last_if_names_are_wanted() {
    use gateway_core::Endpoint;
    let retried = settings(r#"{"retry": {"attempts": 3, "backoff": "none"}}"#);
    let (balance, _, log) =
        simulate(hosts(["a", "b", "c"]), policy("{}"), &retried, |_, _, _| fails(Connect, 0));
    let answer = tower::ServiceExt::oneshot(balance.clone(), simulated::request("GET")).await.unwrap();
    let last = log.take().pop().unwrap().host;
    assert_eq!(answer.extensions().get::<Endpoint>().map(Endpoint::name), Some(last.as_str()));
    let nameless = balance.without_endpoint_names();
    let answer = tower::ServiceExt::oneshot(nameless, simulated::request("GET")).await.unwrap();
    assert!(answer.extensions().get::<Endpoint>().is_none());
}

/// The most that wait at once, looked at ten times a second.
async fn most_waiting(set: &EndpointSet, time: Duration) -> usize {
    let (end, mut most) = (Instant::now() + time, 0);
    while Instant::now() < end {
        most = most.max(set.states().map(|state| state.in_flight).sum());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    most
}

#[tokio::test(start_paused = true)]
async fn o12_a_service_that_answers_nobody_keeps_a_thousand_waiting_and_one_that_is_slow_any_number() {
    for (outlier, timeouts) in [("report", true), ("eject", true), ("eject", false)] {
        let policy = policy(&format!(r#"{{"outlier": "{outlier}"}}"#));
        // It stands still from the tenth second to the hundredth; or it only takes its time.
        let (balance, set, _) = simulate(hosts(["a", "b"]), policy, &settings(ONCE), move |_, at, _| {
            let takes = match (secs(10)..secs(100)).contains(&at) {
                false => 5,
                true if timeouts => 60_000,
                true => 14_000,
            };
            answers(200, takes)
        });
        let loading = {
            let balance = balance.clone();
            tokio::spawn(async move { load(&balance, 200, secs(140)).await })
        };
        let before = most_waiting(&set, secs(60)).await;
        let meanwhile = most_waiting(&set, secs(30)).await;
        let done = loading.await.unwrap();
        let counts = count(&done);
        if !timeouts {
            assert_eq!(counts, [(200, 28_000)].into(), "{outlier}");
            assert!(meanwhile >= 2_800, "{meanwhile} wait for 14 s each");
            assert_eq!(set.refused_by_bulkhead(), 0);
            continue;
        }
        // 15 s until the first knows, 10 s until that is sure.
        assert!((2_900..=3_000).contains(&before), "{outlier}: {before}");
        // The last tenth is for the critical; and one a second is let in on top, for 15 s each.
        assert!((900..=915).contains(&meanwhile), "{outlier}: {meanwhile}");
        assert_eq!(counts[&503] as u64, set.refused_by_bulkhead(), "{outlier}: {counts:?}");
        let slow = done.iter().filter(|(status, took)| *status == 503 && *took > Duration::ZERO).count();
        assert_eq!(slow, 0, "{outlier}: refused at once");
        assert!(counts[&200] >= 200 * 40, "{outlier}: {counts:?}");
        assert!(!set.is_stuck(), "{outlier}");
        assert_eq!(load(&balance, 2_000, secs(1)).await.len(), 2_000);
    }
}

#[tokio::test(start_paused = true)]
async fn o12_after_a_restart_those_who_poll_do_not_keep_the_others_out() {
    let policy = policy(r#"{"bulkhead": 30, "outlier": "off"}"#);
    let settings = settings(r#"{"retry": 1, "timeout": "5m"}"#);
    let (balance, set, _) =
        simulate(hosts(["a"]), policy, &settings, |_, at, head| match (secs(10)..secs(25)).contains(&at) {
            true => fails(Connect, 1),
            false => answers(200, if head.method == "HEAD" { 240_000 } else { 5 }),
        });
    // Ten polls are begun each second, and wait for what is never said.
    let polls = {
        let balance = balance.clone();
        tokio::spawn(async move {
            for _ in 0..600 {
                tokio::time::sleep(Duration::from_millis(100)).await;
                let balance = balance.clone();
                tokio::spawn(async move { send(&balance, request("HEAD")).await });
            }
        })
    };
    let outage = count(&load(&balance, 20, secs(25)).await);
    assert_eq!(outage, [(200, 200), (502, 300)].into(), "none of these waits");
    assert!(set.is_stuck());
    load(&balance, 20, secs(11)).await;
    assert!(!set.is_stuck(), "though all that may wait are polls");
    assert_eq!(count(&load(&balance, 20, secs(10)).await), [(200, 200)].into());
    polls.abort();
}

#[tokio::test(start_paused = true)]
async fn o12_who_waits_for_too_short_a_time_does_not_make_a_service_stuck() {
    let (balance, set, _) =
        simulate(hosts(["a"]), Strategy::RoundRobin, &settings(ONCE), |_, _, _| answers(200, 300));
    let mut asked = Vec::new();
    for _ in 0..3_000 {
        tokio::time::sleep(Duration::from_millis(10)).await;
        let balance = balance.clone();
        asked.push(tokio::spawn(async move {
            let mut request = request("POST");
            let headers = request.headers_mut();
            headers.insert("content-type", http::HeaderValue::from_static("application/grpc"));
            headers.insert("grpc-timeout", http::HeaderValue::from_static("100m"));
            send(&balance, request).await
        }));
    }
    for answer in asked {
        assert_eq!(answer.await.unwrap(), (504, Some("upstream-timeout")));
    }
    assert!(!set.is_stuck());
}
