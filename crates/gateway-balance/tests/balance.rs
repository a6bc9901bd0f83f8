//! Behaviour through the service, over upstreams that answer by script.
#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use futures_util::stream::{Pending, pending};
use gateway_balance::{
    Balance, BalanceSettings, EndpointSet, PolicySettings, RetrySettings, RouteCircuit, Strategy,
};
use gateway_core::units::Short;
use gateway_core::{Endpoint, FailureKind, Limited, Problem, Upstream, UpstreamError};
use http::request::Parts;
use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Instant;
use tower::ServiceExt;

/// What an endpoint does with a request: a status and perhaps a `Retry-After`, or a failure, after a time.
type Script = Arc<dyn Fn(&Endpoint, &Parts) -> (Duration, Result<Response<()>, FailureKind>) + Send + Sync>;

/// The host of each request in order, and what its `X-Retry-Attempt` said.
type Seen = Arc<Mutex<Vec<(String, Option<String>)>>>;

/// A body that goes on until it is dropped.
type Open = StreamBody<Pending<Result<Frame<Bytes>, Infallible>>>;

struct Scripted {
    endpoint: Endpoint,
    script: Script,
    seen: Seen,
}

impl<B: Send> Upstream<B> for Scripted {
    type Body = Open;
    fn send(&self, head: &Parts, _: B) -> impl Future<Output = Result<Response<Open>, UpstreamError>> + Send {
        let attempt = head.headers.get("x-retry-attempt").map(|value| value.to_str().unwrap().to_owned());
        self.seen.lock().unwrap().push((self.endpoint.host().to_owned(), attempt));
        let (time, answer) = (self.script)(&self.endpoint, head);
        async move {
            tokio::time::sleep(time).await;
            let failed = |kind| UpstreamError::new(kind, &self.endpoint, "by script");
            answer.map(|response| response.map(|()| StreamBody::new(pending()))).map_err(failed)
        }
    }
}

fn balance(
    hosts: &[&str],
    policy: impl Into<PolicySettings>,
    settings: &BalanceSettings,
    script: impl Fn(&Endpoint, &Parts) -> (Duration, Result<Response<()>, FailureKind>) + Send + Sync + 'static,
) -> (Balance<Scripted>, EndpointSet, Seen) {
    let endpoints = hosts.iter().map(|host| Endpoint::parse(&format!("http://{host}")).unwrap()).collect();
    let set = EndpointSet::new("test", endpoints, policy);
    let (script, seen): (Script, Seen) = (Arc::new(script), Seen::default());
    let connect = |endpoint: &Endpoint| Scripted {
        endpoint: endpoint.clone(),
        script: script.clone(),
        seen: seen.clone(),
    };
    (Balance::new(set.clone(), settings, connect), set, seen)
}

fn status(code: u16) -> Response<()> {
    Response::builder().status(code).body(()).unwrap()
}

/// The status and the code of the answer to a GET.
async fn get(balance: &Balance<Scripted>) -> (u16, Option<&'static str>) {
    let response =
        balance.clone().oneshot(Request::get("/").body(Empty::<Bytes>::new()).unwrap()).await.unwrap();
    let code = response.extensions().get::<Problem>().map(|problem| problem.code().name());
    (response.status().as_u16(), code)
}

#[tokio::test(start_paused = true)]
async fn a_failing_endpoint_is_ejected_and_its_requests_succeed_elsewhere() {
    let (balance, set, seen) =
        balance(&["a", "b"], Strategy::RoundRobin, &BalanceSettings::default(), |endpoint, _| {
            let answer = if endpoint.host() == "a" { Err(FailureKind::Reset) } else { Ok(status(200)) };
            (Duration::ZERO, answer)
        });
    for _ in 0..20 {
        assert_eq!(get(&balance).await, (200, None));
    }
    let on_a = seen.lock().unwrap().iter().filter(|(host, _)| host == "a").count();
    assert_eq!(on_a, 5, "it is left alone after five failures");
    assert!(set.states().next().unwrap().ejected);
}

#[tokio::test(start_paused = true)]
async fn an_upstreams_retry_after_is_waited_for_within_the_time_there_is() {
    for (asked, waited, expected) in [("3", 3, 200), ("60", 0, 503)] {
        let (balance, _, seen) =
            balance(&["a", "b"], Strategy::RoundRobin, &BalanceSettings::default(), move |endpoint, _| {
                let mut response = status(if endpoint.host() == "a" { 503 } else { 200 });
                response.headers_mut().insert("retry-after", asked.parse().unwrap());
                (Duration::ZERO, Ok(response))
            });
        let start = Instant::now();
        assert_eq!(get(&balance).await.0, expected);
        assert_eq!(start.elapsed().as_secs(), waited);
        assert_eq!(seen.lock().unwrap().len(), if expected == 200 { 2 } else { 1 });
    }
}

#[tokio::test(start_paused = true)]
async fn a_retry_says_so_if_asked_to() {
    let retry = RetrySettings { attempts: 3, attempt_header: true, ..RetrySettings::default() };
    let settings = BalanceSettings { retry: Short(retry), ..BalanceSettings::default() };
    let (balance, _, seen) =
        balance(&["a", "b", "c"], Strategy::RoundRobin, &settings, |_, _| (Duration::ZERO, Ok(status(503))));
    assert_eq!(get(&balance).await, (503, None));
    let expected = [("a", None), ("b", Some("1")), ("c", Some("2"))];
    let seen = seen.lock().unwrap();
    let seen: Vec<_> = seen.iter().map(|(host, attempt)| (host.as_str(), attempt.as_deref())).collect();
    assert_eq!(seen, expected);
}

#[tokio::test(start_paused = true)]
async fn a_client_is_given_a_cookie_once_and_comes_back_with_it() {
    let policy: PolicySettings = serde_json::from_str(r#"{"sticky": "sid"}"#).unwrap();
    let (balance, _, seen) =
        balance(&["a", "b"], policy, &BalanceSettings::default(), |_, _| (Duration::ZERO, Ok(status(200))));
    let request =
        |cookie: &str| Request::get("/").header("cookie", cookie).body(Empty::<Bytes>::new()).unwrap();
    let first = balance.clone().oneshot(request("")).await.unwrap();
    let cookie = first.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    for _ in 0..4 {
        let again = balance.clone().oneshot(request(&cookie)).await.unwrap();
        assert!(!again.headers().contains_key("set-cookie"));
    }
    assert!(seen.lock().unwrap().iter().all(|(host, _)| host == "a"));
}

/// As [`get`], but the answer's body is not yet read.
async fn open(balance: &Balance<Scripted>) -> Response<impl Sized> {
    balance.clone().oneshot(Request::get("/").body(Empty::<Bytes>::new()).unwrap()).await.unwrap()
}

fn once() -> BalanceSettings {
    BalanceSettings {
        retry: Short(RetrySettings { attempts: 1, ..RetrySettings::default() }),
        ..BalanceSettings::default()
    }
}

fn policy(text: &str) -> PolicySettings {
    serde_json::from_str(text).unwrap()
}

#[tokio::test(start_paused = true)]
async fn more_requests_than_allowed_are_refused_until_an_answer_has_ended() {
    let policy = policy(r#"{"limits": {"max_requests": 2}}"#);
    let (balance, ..) = balance(&["a"], policy, &once(), |_, _| (Duration::ZERO, Ok(status(200))));
    let first = open(&balance).await;
    let _second = open(&balance).await;
    for _ in 0..3 {
        assert_eq!(get(&balance).await, (503, Some("overloaded")));
    }
    drop(first);
    assert_eq!(get(&balance).await, (200, None));
}

#[tokio::test(start_paused = true)]
async fn a_full_endpoint_is_passed_over_and_only_full_endpoints_refuse() {
    let policy = policy(r#"{"limits": {"max_requests_per_endpoint": 1}}"#);
    let (balance, set, seen) =
        balance(&["a", "b"], policy, &once(), |_, _| (Duration::ZERO, Ok(status(200))));
    let held = open(&balance).await;
    for _ in 0..4 {
        assert_eq!(get(&balance).await, (200, None));
    }
    assert!(seen.lock().unwrap()[1..].iter().all(|(host, _)| host == "b"));
    let both = open(&balance).await;
    assert_eq!(get(&balance).await, (503, Some("overloaded")));
    drop((held, both));
    assert!(set.states().all(|state| state.in_flight == 0), "refused requests hold no place");
}

#[tokio::test(start_paused = true)]
async fn a_service_that_fails_is_not_asked_until_probes_succeed() {
    use gateway_balance::CircuitState::{Closed, HalfOpen, Open};
    use std::sync::atomic::{AtomicBool, Ordering};
    let policy = policy(r#"{"circuit": {"min_requests": 4, "probes": 1, "open": "5s"}, "outlier": "off"}"#);
    let sick = Arc::new(AtomicBool::new(true));
    let state = sick.clone();
    let (balance, set, seen) = balance(&["a", "b"], policy, &once(), move |_, _| {
        (Duration::ZERO, Ok(status(if state.load(Ordering::Relaxed) { 500 } else { 200 })))
    });
    for _ in 0..4 {
        assert_eq!(get(&balance).await, (500, None));
    }
    assert_eq!((get(&balance).await, set.circuit()), ((503, Some("circuit-open")), Open));
    assert_eq!(seen.lock().unwrap().len(), 4);
    tokio::time::advance(Duration::from_secs(5)).await;
    assert_eq!((set.circuit(), get(&balance).await), (HalfOpen, (500, None)));
    let refused = open(&balance).await;
    assert_eq!(refused.headers()["retry-after"], "10", "the second time takes twice as long");
    sick.store(false, Ordering::Relaxed);
    tokio::time::advance(Duration::from_secs(10)).await;
    assert_eq!((get(&balance).await, set.circuit()), ((200, None), Closed));
}

/// The path decides: `/bad` fails, all else is answered.
async fn asked(balance: &Balance<Scripted>, path: &str) -> (u16, Option<Limited>) {
    let request = Request::get(path).body(Empty::<Bytes>::new()).unwrap();
    let response = balance.clone().oneshot(request).await.unwrap();
    (response.status().as_u16(), response.extensions().get().cloned())
}

#[tokio::test(start_paused = true)]
async fn z6_the_circuit_of_one_route_leaves_the_others_alone() {
    use gateway_balance::CircuitState::{Closed, HalfOpen, Open};
    let (balance, set, seen) = balance(&["a"], policy(r#"{"outlier": "off"}"#), &once(), |_, head| {
        (Duration::ZERO, Ok(status(if head.uri.path() == "/bad" { 500 } else { 200 })))
    });
    let circuit = serde_json::from_str(r#"{"min_requests": 4, "probes": 1, "open": "5s"}"#).unwrap();
    let (bad, good) = (RouteCircuit::new("bad", &circuit), RouteCircuit::new("good", &circuit));
    let (to_bad, to_good) = (balance.clone().with_circuit(bad.clone()), balance.with_circuit(good.clone()));
    for _ in 0..4 {
        assert_eq!(asked(&to_bad, "/bad").await, (500, None));
        assert_eq!(asked(&to_good, "/good").await, (200, None));
    }
    assert_eq!(asked(&to_bad, "/bad").await, (503, Some(Limited::By("circuit".into()))));
    assert_eq!(asked(&to_good, "/good").await, (200, None));
    assert_eq!((bad.state(), good.state(), set.circuit()), (Open, Closed, Closed));
    assert_eq!((bad.refused(), seen.lock().unwrap().len()), (1, 9));
    tokio::time::advance(Duration::from_secs(5)).await;
    assert_eq!((bad.state(), asked(&to_bad, "/good").await, bad.state()), (HalfOpen, (200, None), Closed));
}

#[tokio::test(start_paused = true)]
async fn z6_slow_answers_open_a_circuit_that_counts_them_as_failed() {
    use gateway_balance::CircuitState::{Closed, Open};
    let slow = r#"{"min_requests": 4, "slow": "1s", "open": "1h"}"#;
    for (millis, expected) in [(1_000, Closed), (1_001, Open)] {
        let after = |text: &str| {
            balance(&["a"], policy(text), &once(), move |_, _| {
                (Duration::from_millis(millis), Ok(status(200)))
            })
        };
        let (by_service, set, _) = after(&format!(r#"{{"circuit": {slow}}}"#));
        let (by_endpoint, members, _) = after(&format!(r#"{{"endpoint_circuit": {slow}}}"#));
        let (plain, ..) = after("{}");
        let circuit = RouteCircuit::new("slow", &serde_json::from_str(slow).unwrap());
        let by_route = plain.with_circuit(circuit.clone());
        for balance in [&by_service, &by_endpoint, &by_route] {
            for _ in 0..4 {
                assert_eq!(asked(balance, "/").await, (200, None));
            }
        }
        let states = [set.circuit(), members.states().next().unwrap().circuit, circuit.state()];
        assert_eq!(states, [expected; 3], "{millis} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn o8_circuits_and_limits_that_only_report_refuse_nobody_and_say_whom_they_would() {
    let would = |policy: &str| Some(Limited::Would(policy.into()));
    let mode = r#"{"min_requests": 4, "mode": "report"}"#;
    for (text, counts) in [
        (format!(r#"{{"circuit": {mode}, "outlier": "off"}}"#), [1, 0]),
        (format!(r#"{{"endpoint_circuit": {mode}, "outlier": "off"}}"#), [0, 1]),
    ] {
        let (balance, set, _) =
            balance(&["a"], policy(&text), &once(), |_, _| (Duration::ZERO, Ok(status(500))));
        for _ in 0..4 {
            assert_eq!(asked(&balance, "/").await, (500, None));
        }
        for refused in 1..=3 {
            assert_eq!(asked(&balance, "/").await, (500, would("circuit")), "{text}");
            let counted = [set.refused_by_circuit(), set.refused_by_endpoint_circuits()];
            assert_eq!(counted, counts.map(|count| count * refused), "{text}");
        }
        assert!(set.states().all(|state| state.healthy), "{text}");
    }
    let circuit = RouteCircuit::new("r", &serde_json::from_str(mode).unwrap());
    let (plain, _, _) =
        balance(&["a"], policy(r#"{"outlier": "off"}"#), &once(), |_, _| (Duration::ZERO, Ok(status(500))));
    let reporting = plain.with_circuit(circuit.clone());
    for _ in 0..4 {
        assert_eq!(asked(&reporting, "/").await, (500, None));
    }
    assert_eq!((asked(&reporting, "/").await, circuit.refused()), ((500, would("circuit")), 1));

    let limits = r#"{"limits": {"max_requests": 1, "mode": "report"}}"#;
    let (balance, set, _) =
        balance(&["a"], policy(limits), &once(), |_, _| (Duration::ZERO, Ok(status(200))));
    let first = open(&balance).await;
    assert_eq!((asked(&balance, "/").await, set.refused_by_limits()), ((200, would("limits")), 1));
    drop(first);
    assert_eq!(asked(&balance, "/").await, (200, None));
}

#[tokio::test(start_paused = true)]
async fn o8_a_full_endpoint_is_told_of_only_where_no_other_has_room() {
    let limits =
        |mode: &str| format!(r#"{{"limits": {{"max_requests_per_endpoint": 1, "mode": "{mode}"}}}}"#);
    for (mode, passes) in [("enforce", false), ("report", true)] {
        let (balance, set, _) =
            balance(&["a", "b"], policy(&limits(mode)), &once(), |_, _| (Duration::ZERO, Ok(status(200))));
        let _first = open(&balance).await;
        for _ in 0..5 {
            assert_eq!(asked(&balance, "/").await, (200, None), "{mode}: the other has room");
        }
        assert_eq!(set.refused_by_limits(), 0, "{mode}");
        let mut held = vec![open(&balance).await];
        if set.states().any(|state| state.in_flight == 0) {
            held.push(open(&balance).await);
        }
        let before = set.refused_by_limits();
        let (said, told) = asked(&balance, "/").await;
        let limits: std::sync::Arc<str> = "limits".into();
        let expected = if passes { Limited::Would(limits) } else { Limited::By(limits) };
        assert_eq!(
            (said == 200, told, set.refused_by_limits()),
            (passes, Some(expected), before + 1),
            "{mode}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn the_circuit_of_one_endpoint_leaves_the_others_alone() {
    use gateway_balance::CircuitState::{Closed, HalfOpen, Open};
    let policy =
        policy(r#"{"endpoint_circuit": {"min_requests": 4, "probes": 1, "open": "5s"}, "outlier": "off"}"#);
    let (balance, set, seen) = balance(&["a", "b"], policy, &once(), |endpoint, _| {
        let sick = endpoint.host() == "a";
        (Duration::from_millis(if sick { 10 } else { 0 }), Ok(status(if sick { 500 } else { 200 })))
    });
    for _ in 0..20 {
        get(&balance).await;
    }
    let on_a = || seen.lock().unwrap().iter().filter(|(host, _)| host == "a").count();
    let states = || set.states().map(|state| (state.circuit, state.healthy)).collect::<Vec<_>>();
    assert_eq!((on_a(), states()), (4, vec![(Open, false), (Closed, true)]));
    tokio::time::advance(Duration::from_secs(5)).await;
    assert_eq!(states()[0], (HalfOpen, true));
    // The probe is under way: all others go elsewhere.
    let all = futures_util::future::join_all((0..10).map(|_| get(&balance))).await;
    assert_eq!((on_a(), all.iter().filter(|(status, _)| *status == 200).count()), (5, 9));
    assert_eq!(states()[0], (Open, false));
}

#[tokio::test(start_paused = true)]
async fn the_answer_is_circuit_open_when_that_is_all_that_keeps_endpoints_away() {
    let policy = policy(r#"{"endpoint_circuit": {"min_requests": 2, "open": "5s"}, "outlier": "off"}"#);
    let (balance, ..) = balance(&["a"], policy, &once(), |_, _| (Duration::ZERO, Err(FailureKind::Connect)));
    for _ in 0..2 {
        assert_eq!(get(&balance).await, (502, Some("upstream-connect-failed")));
    }
    let refused = open(&balance).await;
    assert_eq!(refused.extensions().get::<Problem>().unwrap().code().name(), "circuit-open");
    assert_eq!(refused.headers()["retry-after"], "5");
}

#[tokio::test(start_paused = true)]
async fn a_request_is_held_until_a_place_is_free_or_its_time_is_over() {
    let policy = policy(r#"{"limits": {"max_requests_per_endpoint": 1}, "hold": "2s"}"#);
    let (balance, ..) = balance(&["a"], policy, &once(), |_, _| (Duration::from_secs(1), Ok(status(200))));
    let held = open(&balance).await;
    let start = Instant::now();
    assert_eq!(get(&balance).await, (503, Some("overloaded")));
    assert_eq!(start.elapsed().as_secs(), 2);
    let free = async {
        tokio::time::sleep(Duration::from_millis(1500)).await;
        drop(held);
    };
    let (answer, ()) = futures_util::future::join(get(&balance), free).await;
    assert_eq!(answer, (200, None));
}

/// What each request said in some headers.
type Heard = Arc<Mutex<Vec<Vec<Option<String>>>>>;

/// A balance whose endpoints take this long to answer 503, and what they heard in these headers.
fn hearing(
    settings: &BalanceSettings,
    policy: &str,
    takes: Duration,
    names: &'static [&'static str],
) -> (Balance<Scripted>, EndpointSet, Heard) {
    let heard = Heard::default();
    let notes = heard.clone();
    let (balance, set, _) = balance(&["a", "b"], self::policy(policy), settings, move |_, head| {
        let said = |name: &&str| head.headers.get(*name).map(|value| value.to_str().unwrap().to_owned());
        notes.lock().unwrap().push(names.iter().map(said).collect());
        (takes, Ok(status(503)))
    });
    (balance, set, heard)
}

fn call(headers: &[(&str, &str)]) -> Request<Empty<Bytes>> {
    let request = Request::post("/shop.Cart/Add").header("idempotency-key", "1");
    headers
        .iter()
        .fold(request, |request, (name, value)| request.header(*name, *value))
        .body(Empty::new())
        .unwrap()
}

fn settings(timeout: &str, retry: &str) -> BalanceSettings {
    serde_json::from_str(&format!(r#"{{"timeout": {timeout}, "retry": {retry}}}"#)).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_grpc_timeout_shortens_the_total_and_the_endpoint_is_told_what_is_left() {
    let settings = settings(r#""15s""#, r#"{"attempts": 3, "backoff": "none"}"#);
    let (balance, _, heard) = hearing(&settings, "{}", Duration::from_secs(2), &["grpc-timeout"]);
    let start = Instant::now();
    let call = call(&[("content-type", "application/grpc"), ("grpc-timeout", "5S")]);
    let response = balance.oneshot(call).await.unwrap();
    assert_eq!((response.status().as_u16(), start.elapsed()), (504, Duration::from_secs(5)));
    let problem = response.extensions().get::<Problem>().unwrap();
    assert_eq!((problem.code().name(), problem.code().grpc_status()), ("upstream-timeout", 4));
    let expected = ["5S", "3000000u", "1000000u"].map(|left| vec![Some(left.to_owned())]);
    assert_eq!(*heard.lock().unwrap(), expected);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_longer_than_the_total_is_passed_on_but_gives_no_more_time() {
    let settings = settings(r#""1s""#, "1");
    let (balance, _, heard) = hearing(&settings, "{}", Duration::from_secs(60), &["grpc-timeout"]);
    let start = Instant::now();
    let call = call(&[("content-type", "application/grpc"), ("grpc-timeout", "1H")]);
    assert_eq!(balance.oneshot(call).await.unwrap().status(), 504);
    assert_eq!(start.elapsed(), Duration::from_secs(1));
    assert_eq!(*heard.lock().unwrap(), [[Some("1H".to_owned())]]);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_that_has_passed_is_answered_without_asking_anyone() {
    let (balance, _, heard) = hearing(&settings(r#""15s""#, "2"), "{}", Duration::ZERO, &["grpc-timeout"]);
    let call = call(&[("content-type", "application/grpc+proto"), ("grpc-timeout", "0m")]);
    assert_eq!(balance.oneshot(call).await.unwrap().status(), 504);
    assert!(heard.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn headers_of_the_operators_choice_carry_the_deadline_and_the_budget() {
    let timeout =
        r#"{"total": "15s", "per_try": "4s", "deadline_header": "x-timeout", "budget_header": "x-budget"}"#;
    let settings = settings(timeout, r#"{"attempts": 2, "backoff": "none"}"#);
    let (balance, _, heard) = hearing(&settings, "{}", Duration::from_secs(3), &["x-timeout", "x-budget"]);
    let said = |texts: [Option<&str>; 2]| texts.map(|text| text.map(str::to_owned)).to_vec();
    let answer = balance.clone().oneshot(call(&[("x-timeout", "5000"), ("x-budget", "99")])).await.unwrap();
    assert_eq!(answer.status(), 504);
    let expected = [[Some("5000"), Some("4000")], [Some("2000"), Some("2000")]].map(said);
    assert_eq!(std::mem::take(&mut *heard.lock().unwrap()), expected);
    // Without a deadline, or with one that is none, the gateway's own limits hold.
    for (sent, told) in [(&[][..], None), (&[("x-timeout", "soon")], Some("soon"))] {
        assert_eq!(balance.clone().oneshot(call(sent)).await.unwrap().status(), 503);
        let expected = [[told, Some("4000")], [told, Some("4000")]].map(said);
        assert_eq!(std::mem::take(&mut *heard.lock().unwrap()), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn clients_in_a_hurry_cannot_have_endpoints_ejected_nor_circuits_opened() {
    let policy = r#"{"circuit": {"min_requests": 4}, "endpoint_circuit": {"min_requests": 4}}"#;
    let (balance, set, heard) = hearing(&settings(r#""15s""#, "1"), policy, Duration::from_secs(1), &[]);
    for _ in 0..40 {
        let call = call(&[("content-type", "application/grpc"), ("grpc-timeout", "1u")]);
        assert_eq!(balance.clone().oneshot(call).await.unwrap().status(), 504);
    }
    assert_eq!(heard.lock().unwrap().len(), 40);
    assert!(set.states().all(|state| state.healthy), "{:?}", set.states().collect::<Vec<_>>());
    assert_eq!(set.circuit(), gateway_balance::CircuitState::Closed);
}

#[tokio::test(start_paused = true)]
async fn z1_a_stream_goes_on_long_after_the_total_is_over() {
    use futures_util::StreamExt;
    use http_body::Frame;
    use http_body_util::{BodyExt, StreamBody};

    /// Answers at once and then sends an event every ten seconds, for an hour.
    struct Events;

    type Event = Result<Frame<Bytes>, std::convert::Infallible>;

    impl<B: Send> Upstream<B> for Events {
        type Body = StreamBody<futures_util::stream::BoxStream<'static, Event>>;
        async fn send(&self, _: &Parts, _: B) -> Result<Response<Self::Body>, UpstreamError> {
            let events = futures_util::stream::iter(0..360).then(|_| async {
                tokio::time::sleep(Duration::from_secs(10)).await;
                Ok(Frame::data(Bytes::from_static(b"data: tick\n\n")))
            });
            Ok(Response::new(StreamBody::new(events.boxed())))
        }
    }

    let endpoints = vec![Endpoint::parse("http://a").unwrap()];
    let set = EndpointSet::new("test", endpoints, Strategy::RoundRobin);
    let balance = Balance::new(set.clone(), &settings(r#""5s""#, "2"), |_| Events);
    let start = Instant::now();
    let call = call(&[("content-type", "application/grpc"), ("grpc-timeout", "2S")]);
    let response = balance.oneshot(call).await.unwrap();
    let events = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!((events.len(), start.elapsed()), (360 * 12, Duration::from_secs(3600)));
    assert_eq!(set.states().next().unwrap().in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn answers_name_their_endpoint_unless_nobody_wants_to_know() {
    let (balance, ..) =
        balance(&["a"], Strategy::RoundRobin, &once(), |_, _| (Duration::ZERO, Ok(status(200))));
    for (balance, named) in [(balance.clone(), true), (balance.without_endpoint_names(), false)] {
        let request = Request::get("/").body(Empty::<Bytes>::new()).unwrap();
        let response = balance.oneshot(request).await.unwrap();
        assert_eq!(response.extensions().get::<Endpoint>().is_some(), named);
    }
}

#[tokio::test(start_paused = true)]
async fn answers_are_retried_by_grpc_status_or_header_before_the_client_sees_them() {
    let retry = RetrySettings {
        on: vec![gateway_balance::RetryOn::Unavailable],
        headers: vec![gateway_balance::RetryHeader { name: "x-try-again".parse().unwrap(), value: None }],
        ..RetrySettings::default()
    };
    let settings = BalanceSettings { retry: Short(retry), ..BalanceSettings::default() };
    for (name, value, tries) in
        [("grpc-status", "14", 2), ("grpc-status", "13", 1), ("grpc-status", "0", 1), ("x-try-again", "", 2)]
    {
        for (method, key, repeatable) in
            [("GET", None, true), ("POST", None, false), ("POST", Some("1"), true)]
        {
            let (balance, _, seen) =
                balance(&["a", "b"], Strategy::RoundRobin, &settings, move |endpoint, _| {
                    let mut response = status(200);
                    if endpoint.host() == "a" {
                        response.headers_mut().insert(name, value.parse().unwrap());
                    }
                    (Duration::ZERO, Ok(response))
                });
            let mut request = Request::builder().method(method).uri("/").body(Empty::<Bytes>::new()).unwrap();
            if let Some(key) = key {
                request.headers_mut().insert("idempotency-key", http::HeaderValue::from_static(key));
            }
            let answer = balance.oneshot(request).await.unwrap();
            let tries = if repeatable { tries } else { 1 };
            assert_eq!(seen.lock().unwrap().len(), tries, "{method} {key:?}: {name}: {value}");
            assert_eq!(answer.headers().contains_key(name), tries == 1, "{method} {key:?}: {name}: {value}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_grpc_servers_pushback_is_waited_for_and_a_refusal_of_it_goes_to_the_client() {
    let retry =
        RetrySettings { on: vec![gateway_balance::RetryOn::ResourceExhausted], ..RetrySettings::default() };
    let settings = BalanceSettings { retry: Short(retry), ..BalanceSettings::default() };
    for (pushback, waited, tries) in [("700", 700, 2), ("-1", 0, 1)] {
        let (balance, _, seen) = balance(&["a", "b"], Strategy::RoundRobin, &settings, move |endpoint, _| {
            let mut response = status(200);
            if endpoint.host() == "a" {
                response.headers_mut().insert("grpc-status", "8".parse().unwrap());
                response.headers_mut().insert("grpc-retry-pushback-ms", pushback.parse().unwrap());
            }
            (Duration::ZERO, Ok(response))
        });
        let start = Instant::now();
        assert_eq!(get(&balance).await, (200, None));
        assert_eq!((start.elapsed().as_millis(), seen.lock().unwrap().len()), (waited, tries), "{pushback}");
    }
}

/// A balance over one endpoint that refuses connections for so long, and how often it was tried.
fn refusing(until: Duration, policy: &str) -> (Balance<Scripted>, EndpointSet, Seen) {
    let start = Instant::now();
    balance(&["a"], self::policy(policy), &once(), move |_, _| {
        let refused = start.elapsed() < until;
        (Duration::ZERO, if refused { Err(FailureKind::Connect) } else { Ok(status(200)) })
    })
}

#[tokio::test(start_paused = true)]
async fn a_request_is_held_while_connections_are_refused() {
    let (held, set, _) = refusing(Duration::from_secs(2), r#"{"hold": "5s"}"#);
    let start = Instant::now();
    let request = Request::post("/").body(Full::new(Bytes::from_static(b"once"))).unwrap();
    let answer = held.clone().oneshot(request).await.unwrap();
    assert_eq!((answer.status().as_u16(), start.elapsed()), (200, Duration::from_secs(2)));
    assert_eq!(set.retries(), 8, "every 250 ms");

    let (given_up, ..) = refusing(Duration::from_secs(60), r#"{"hold": "3s"}"#);
    let start = Instant::now();
    assert_eq!(get(&given_up).await, (502, Some("upstream-connect-failed")));
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    let (hasty, ..) = refusing(Duration::from_secs(60), "{}");
    let start = Instant::now();
    assert_eq!((get(&hasty).await.0, start.elapsed()), (502, Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn no_more_requests_wait_than_may() {
    let (balance, ..) = refusing(Duration::from_secs(1), r#"{"hold": {"time": "5s", "max_waiting": 2}}"#);
    let answers = futures_util::future::join_all((0..5).map(|_| get(&balance))).await;
    let good = answers.iter().filter(|answer| answer.0 == 200).count();
    assert_eq!(good, 2, "{answers:?}");
    assert!(answers.contains(&(502, Some("upstream-connect-failed"))), "{answers:?}");
}

#[tokio::test(start_paused = true)]
async fn z1_some_requests_are_sent_by_settings_of_their_own() {
    let slow = |_: &Endpoint, _: &Parts| (Duration::from_secs(10), Ok(status(503)));
    let (balance, _, seen) = balance(
        &["a", "b"],
        Strategy::RoundRobin,
        &settings(r#"{"total": "4s", "per_try": "1s"}"#, "3"),
        slow,
    );
    let own = Arc::new(settings(r#""1m""#, "1"));
    for (balance, code, tries) in [(balance.clone().with_settings(own), 503, 1), (balance, 504, 3)] {
        seen.lock().unwrap().clear();
        let request = Request::get("/").body(Empty::<Bytes>::new()).unwrap();
        let response = balance.oneshot(request).await.unwrap();
        assert_eq!((response.status().as_u16(), seen.lock().unwrap().len()), (code, tries));
    }
}

/// An answer of known length that comes in pieces, the last of which may fail, or be trailers: an empty one.
#[derive(Clone)]
struct Pieces(VecDeque<Result<&'static str, &'static str>>);

impl Body for Pieces {
    type Data = Bytes;
    type Error = &'static str;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, &'static str>>> {
        Poll::Ready(self.0.pop_front().map(|piece| match piece? {
            "" => Ok(Frame::trailers(HeaderMap::new())),
            piece => Ok(Frame::data(Bytes::from_static(piece.as_bytes()))),
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.iter().map(|piece| piece.unwrap_or_else(|why| why).len() as u64).sum())
    }
}

impl<B: Send> Upstream<B> for Pieces {
    type Body = Self;
    async fn send(&self, _: &Parts, _: B) -> Result<Response<Self>, UpstreamError> {
        Ok(Response::new(self.clone()))
    }
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_is_done_once_its_answer_has_come_whole_whoever_still_has_to_read_it() {
    for (pieces, busy, length) in [
        (vec![], 0, 0),
        (vec![Ok("whole")], 0, 5),
        (vec![Ok("in "), Ok("two")], 1, 6),
        (vec![Ok("more"), Ok("")], 1, 4),
        (vec![Ok("cut "), Err("off")], 1, 7),
        (vec![Err("none")], 1, 4),
    ] {
        let endpoints = vec![Endpoint::parse("http://a").unwrap()];
        let set = EndpointSet::new("test", endpoints, Strategy::RoundRobin);
        let answer = Pieces(pieces.clone().into());
        let balance = Balance::new(set.clone(), &once(), |_| answer.clone());
        let response = balance.oneshot(Request::new(Empty::<Bytes>::new())).await.unwrap();
        let in_flight = || set.states().next().unwrap().in_flight;
        let body = response.into_body();
        assert_eq!(in_flight(), busy, "{pieces:?}");
        // Also of what has broken off already, lest it be taken for whole.
        assert_eq!(
            (body.is_end_stream(), body.size_hint().exact()),
            (length == 0, Some(length)),
            "{pieces:?}"
        );
        let expected: Result<Vec<&str>, &str> = pieces.iter().copied().collect();
        let read = body.collect().await.map(|read| {
            assert_eq!(read.trailers().is_some(), pieces.contains(&Ok("")));
            String::from_utf8(read.to_bytes().to_vec()).unwrap()
        });
        assert_eq!(read, expected.map(|pieces| pieces.concat()));
        assert_eq!(in_flight(), 0);
    }
}
