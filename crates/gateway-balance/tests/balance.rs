//! Behaviour through the service, over upstreams that answer by script.
#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use gateway_balance::{Balance, BalanceSettings, EndpointSet, PolicySettings, RetrySettings, Strategy};
use gateway_core::units::Short;
use gateway_core::{Endpoint, FailureKind, Problem, Upstream, UpstreamError};
use http::request::Parts;
use http::{Request, Response};
use http_body_util::{Empty, Full};
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::Instant;
use tower::ServiceExt;

/// What an endpoint does with a request: a status and perhaps a `Retry-After`, or a failure, after a time.
type Script = Arc<dyn Fn(&Endpoint, &Parts) -> (Duration, Result<Response<()>, FailureKind>) + Send + Sync>;

/// The host of each request in order, and what its `X-Retry-Attempt` said.
type Seen = Arc<Mutex<Vec<(String, Option<String>)>>>;

struct Scripted {
    endpoint: Endpoint,
    script: Script,
    seen: Seen,
}

impl<B: Send> Upstream<B> for Scripted {
    type Body = Full<Bytes>;
    fn send(
        &self,
        head: &Parts,
        _: B,
    ) -> impl Future<Output = Result<Response<Full<Bytes>>, UpstreamError>> + Send {
        let attempt = head.headers.get("x-retry-attempt").map(|value| value.to_str().unwrap().to_owned());
        self.seen.lock().unwrap().push((self.endpoint.host().to_owned(), attempt));
        let (time, answer) = (self.script)(&self.endpoint, head);
        async move {
            tokio::time::sleep(time).await;
            let failed = |kind| UpstreamError::new(kind, &self.endpoint, "by script");
            answer.map(|response| response.map(|()| Full::default())).map_err(failed)
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
