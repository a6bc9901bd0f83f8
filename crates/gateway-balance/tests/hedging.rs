//! A second endpoint is asked when the first is slow: Z5.
#![allow(clippy::unwrap_used)]

mod simulated;

use bytes::Bytes;
use gateway_balance::Strategy;
use gateway_core::FailureKind::{Connect, Reset};
use http::Request;
use http_body_util::Full;
use simulated::{Act, answers, fails, get, hosts, policy, request, send, settings, simulate};
use std::time::Duration;
use tokio::time::Instant;

const HEDGED: &str = r#"{"retry": {"attempts": 1, "hedge": "200ms"}}"#;

#[tokio::test(start_paused = true)]
async fn another_endpoint_is_asked_after_the_delay_and_the_faster_answer_is_taken() {
    for (first, second, status, took) in [
        (answers(200, 150), answers(200, 0), 200, 150),
        (answers(200, 5000), answers(201, 50), 201, 250),
        (answers(200, 300), answers(201, 5000), 200, 300),
        (answers(404, 300), answers(200, 5000), 404, 300),
    ] {
        let hedged = took > 200;
        let (balance, set, log) =
            simulate(hosts(["a", "b"]), Strategy::RoundRobin, &settings(HEDGED), move |host, _, _| {
                if host == "a" { first.clone() } else { second.clone() }
            });
        let start = Instant::now();
        assert_eq!(get(&balance).await, (status, None));
        assert_eq!(start.elapsed(), Duration::from_millis(took));
        assert_eq!(log.hosts(), if hedged { vec!["a", "b"] } else { vec!["a"] });
        assert_eq!((log.cancelled(), set.hedges()), (hedged.into(), hedged.into()), "the loser is cancelled");
        assert_eq!(set.hedges_won(), u64::from(status == 201));
        assert!(set.states().all(|state| state.in_flight == 0 && state.healthy));
    }
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_the_end_only_if_the_other_has_failed_too() {
    for (first, second, status, took) in [
        (answers(200, 1000), fails(Connect, 0), 200, 1000),
        (answers(200, 1000), answers(503, 0), 200, 1000),
        (fails(Reset, 300), answers(200, 1000), 200, 1200),
        (answers(503, 300), answers(200, 1000), 200, 1200),
        (fails(Reset, 300), fails(Connect, 500), 502, 700),
        (answers(503, 300), fails(Connect, 500), 503, 700),
        (fails(Reset, 1000), answers(503, 0), 503, 1000),
    ] {
        let (balance, set, log) =
            simulate(hosts(["a", "b"]), Strategy::RoundRobin, &settings(HEDGED), move |host, _, _| {
                if host == "a" { first.clone() } else { second.clone() }
            });
        let start = Instant::now();
        assert_eq!((get(&balance).await.0, start.elapsed()), (status, Duration::from_millis(took)));
        assert_eq!((log.hosts().len(), log.cancelled()), (2, 0));
        assert!(set.states().all(|state| state.in_flight == 0));
    }
}

#[tokio::test(start_paused = true)]
async fn an_ejected_endpoint_is_no_rival() {
    let healthy_takes = |at| if at < Duration::from_secs(1) { 0 } else { 400 };
    let (balance, set, log) =
        simulate(hosts(["a", "b"]), Strategy::RoundRobin, &settings(HEDGED), move |host, at, _| {
            if host == "a" { answers(200, healthy_takes(at)) } else { answers(500, 0) }
        });
    while set.states().all(|state| state.healthy) {
        get(&balance).await;
    }
    tokio::time::advance(Duration::from_secs(1)).await;
    log.take();
    assert_eq!((get(&balance).await.0, set.hedges()), (200, 0));
    assert_eq!(log.hosts(), ["a"]);
}

#[tokio::test(start_paused = true)]
async fn when_both_have_failed_the_retry_goes_to_a_third() {
    let settings = settings(r#"{"retry": {"attempts": 2, "hedge": "200ms", "backoff": "none"}}"#);
    let (balance, _, log) =
        simulate(hosts(["a", "b", "c"]), Strategy::RoundRobin, &settings, |host, _, _| match host {
            "c" => answers(200, 0),
            _ => answers(503, 500),
        });
    assert_eq!(get(&balance).await, (200, None));
    assert_eq!(log.hosts(), ["a", "b", "c"]);
}

#[tokio::test(start_paused = true)]
async fn only_what_may_be_processed_twice_is_hedged_and_only_where_there_is_another() {
    for (method, endpoints, sent) in [("GET", 2, 2), ("PUT", 2, 2), ("POST", 2, 1), ("GET", 1, 1)] {
        let endpoints = hosts(["a", "b"])[..endpoints].to_vec();
        let (balance, _, log) =
            simulate(endpoints, Strategy::RoundRobin, &settings(HEDGED), |_, _, _| answers(200, 1000));
        let mut request = request(method);
        request.headers_mut().insert("idempotency-key", "1".parse().unwrap());
        assert_eq!(send(&balance, request).await.0, 200);
        assert_eq!(log.hosts().len(), sent, "{method}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_is_sent_to_both_if_it_has_arrived_whole_within_the_limit() {
    let small = r#"{"retry": {"attempts": 1, "hedge": "200ms", "body_limit": "4B"}}"#;
    for (text, sent) in [("abcd", 2), ("abcde", 1)] {
        let (balance, _, log) =
            simulate(hosts(["a", "b"]), Strategy::RoundRobin, &settings(small), |_, _, _| answers(200, 1000));
        let body = Full::new(Bytes::from_static(text.as_bytes()));
        assert_eq!(send(&balance, Request::put("/").body(body).unwrap()).await.0, 200);
        let bodies: Vec<_> = log.all().into_iter().map(|seen| seen.body).collect();
        assert_eq!(bodies, vec![text; sent]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_hedge_says_so_if_asked_to_and_knows_how_much_time_is_left() {
    let settings = settings(
        r#"{"timeout": {"total": "2s", "deadline_header": "x-timeout", "budget_header": "x-budget"},
            "retry": {"attempts": 1, "hedge": "200ms", "attempt_header": true}}"#,
    );
    let (balance, _, log) =
        simulate(hosts(["a", "b"]), Strategy::RoundRobin, &settings, |_, _, _| answers(200, 1000));
    let mut request = request("GET");
    request.headers_mut().insert("x-timeout", "5000".parse().unwrap());
    assert_eq!(send(&balance, request).await.0, 200);
    let said = |name: &str| -> Vec<Option<String>> {
        let value =
            |seen: &simulated::Seen| seen.head.headers.get(name).map(|v| v.to_str().unwrap().to_owned());
        log.all().iter().map(value).collect()
    };
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(said("x-hedge-attempt"), [None, text("1")]);
    assert_eq!(said("x-timeout"), [text("5000"), text("4800")]);
    assert_eq!(said("x-budget"), [text("2000"), text("1800")]);
}

#[tokio::test(start_paused = true)]
async fn hedges_and_retries_share_one_budget() {
    let (balance, set, log) =
        simulate(hosts(["a", "b", "c"]), Strategy::RoundRobin, &settings(HEDGED), |_, _, _| {
            answers(200, 1000)
        });
    futures_util::future::join_all((0..50).map(|_| get(&balance))).await;
    assert_eq!((log.hosts().len(), set.hedges()), (90, 40), "a fifth, and three a second");
    futures_util::future::join_all((0..10).map(|_| get(&balance))).await;
    assert_eq!(set.hedges(), 42, "what was taken stays taken for ten seconds");
    tokio::time::advance(Duration::from_secs(12)).await;
    futures_util::future::join_all((0..10).map(|_| get(&balance))).await;
    assert_eq!(set.hedges(), 52);
}

#[tokio::test(start_paused = true)]
async fn a_client_with_a_sticky_cookie_is_not_sent_elsewhere() {
    let policy = policy(r#"{"sticky": "sid"}"#);
    let (balance, set, log) = simulate(hosts(["a", "b"]), policy, &settings(HEDGED), |_, at, _| {
        answers(200, if at.is_zero() { 0 } else { 1000 })
    });
    let response = tower::ServiceExt::oneshot(balance.clone(), request("GET")).await.unwrap();
    let cookie = response.headers()["set-cookie"].clone();
    tokio::time::advance(Duration::from_secs(1)).await;
    let mut back = request("GET");
    back.headers_mut().insert("cookie", cookie);
    assert_eq!(send(&balance, back).await, (200, None));
    assert_eq!((log.hosts(), set.hedges()), (vec!["a".to_owned(), "a".to_owned()], 0));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_goes_away_cancels_both() {
    let (balance, set, log) =
        simulate(hosts(["a", "b"]), Strategy::RoundRobin, &settings(HEDGED), |_, _, _| answers(200, 1000));
    assert!(tokio::time::timeout(Duration::from_millis(500), get(&balance)).await.is_err());
    assert_eq!((log.hosts().len(), log.cancelled()), (2, 2));
    assert!(set.states().all(|state| state.in_flight == 0));
    futures_util::future::join_all((0..3).map(|_| get(&balance))).await;
    assert_eq!(set.hedges(), 4, "its share of the budget was given back");
}

#[tokio::test(start_paused = true)]
async fn peak_ewma_learns_that_whoever_lost_is_slow() {
    let (balance, _, log) =
        simulate(hosts(["a", "b"]), Strategy::PeakEwma, &settings(HEDGED), |host, _, _| {
            if host == "a" { answers(200, 60_000) } else { answers(200, 20) }
        });
    for _ in 0..20 {
        assert_eq!(get(&balance).await, (200, None));
    }
    assert!(log.on("a") <= 1, "{} of 20 went to the slow one first", log.on("a"));
}

/// One in twenty takes two seconds, all others and all hedges between 20 and 40 ms.
fn long_tail(_: &str, at: Duration, head: &http::request::Parts) -> Act {
    let number = (at.as_millis() / 100) as u64;
    let slow = number % 20 == 7 && !head.headers.contains_key("x-hedge-attempt");
    answers(200, if slow { 2000 } else { 20 + number % 20 })
}

#[tokio::test(start_paused = true)]
async fn the_observed_quantile_is_waited_for_once_it_is_known() {
    let settings = settings(r#"{"retry": {"attempts": 1, "hedge": "p90", "attempt_header": true}}"#);
    let (balance, set, _) = simulate(hosts(["a", "b"]), Strategy::RoundRobin, &settings, long_tail);
    let (start, mut slow) = (Instant::now(), Vec::new());
    for number in 0..400 {
        tokio::time::sleep_until(start + Duration::from_millis(100 * number)).await;
        let sent = Instant::now();
        let balance = balance.clone();
        let done = tokio::spawn(async move {
            assert_eq!(get(&balance).await, (200, None));
            sent.elapsed()
        });
        if number % 20 == 7 {
            slow.push(done);
        }
    }
    let mut times = Vec::new();
    for done in slow {
        times.push(done.await.unwrap().as_millis());
    }
    let (before, after) = times.split_at(5);
    assert!(before.iter().all(|time| *time == 2000), "nothing is known yet: {times:?}");
    assert!(after[1..].iter().all(|time| *time < 150), "the tail is cut: {times:?}");
    assert!(set.hedges() <= 80, "{} hedges for 300 requests", set.hedges());
}
