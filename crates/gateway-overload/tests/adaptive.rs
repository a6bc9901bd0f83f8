//! The adaptive limit: its algorithms as arithmetic, and in front of a simulated service on paused time.

#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use gateway_core::Limited;
use gateway_overload::{AdaptiveLimitLayer, AdaptiveSettings, Sample};
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use proptest::prelude::*;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, sleep_until};
use tower::{Layer, Service, ServiceExt, service_fn};

const ALGORITHMS: [&str; 3] = ["gradient2", "aimd", "vegas"];

fn settings(json: serde_json::Value) -> AdaptiveSettings {
    serde_json::from_value(json).unwrap()
}

fn samples() -> impl Strategy<Value = Vec<Sample>> {
    let rtt = prop_oneof![Just(0u64), 1u64..1_000_000_000, Just(u64::MAX)];
    let sample = (rtt, any::<u32>(), any::<bool>()).prop_map(|(rtt, in_flight, dropped)| Sample {
        rtt: Duration::from_nanos(rtt),
        in_flight,
        dropped,
    });
    proptest::collection::vec(sample, 0..300)
}

proptest! {
    #[test]
    fn limits_stay_within_bounds_whatever_is_seen(samples in samples(), min in 1u32..50, room in 0u32..500, above in 0u32..500) {
        let (initial, max) = (min + room.min(above), min + room);
        for name in ALGORITHMS {
            let bounds = settings(serde_json::json!({ "algorithm": name, "min": min, "initial": initial, "max": max }));
            let mut algorithm = bounds.algorithm().unwrap();
            prop_assert_eq!(algorithm.limit(), initial);
            for sample in &samples {
                let limit = algorithm.update(*sample);
                prop_assert!((min..=max).contains(&limit), "{name}: {limit} is not within {min} and {max}");
                prop_assert_eq!(limit, algorithm.limit());
            }
        }
    }
}

fn sample(rtt: u64, in_flight: u32) -> Sample {
    Sample { rtt: Duration::from_millis(rtt), in_flight, dropped: false }
}

#[test]
fn a_limit_that_is_not_used_does_not_grow() {
    for name in ALGORITHMS {
        let mut algorithm =
            settings(serde_json::json!({ "algorithm": name, "initial": 100 })).algorithm().unwrap();
        for _ in 0..1000 {
            algorithm.update(sample(10, 40));
        }
        assert_eq!(algorithm.limit(), 100, "{name}");
        for _ in 0..10 {
            algorithm.update(sample(10, 100));
        }
        assert!(algorithm.limit() > 100, "{name} does not grow when used");
    }
}

#[test]
fn drops_lower_the_limit_down_to_the_lowest() {
    for name in ALGORITHMS {
        let mut algorithm =
            settings(serde_json::json!({ "algorithm": name, "initial": 100 })).algorithm().unwrap();
        let mut last = 100;
        for _ in 0..100 {
            let limit = algorithm.update(Sample { rtt: Duration::ZERO, in_flight: 100, dropped: true });
            assert!(limit < last || limit == 10, "{name}: {last} became {limit}");
            last = limit;
        }
        assert_eq!(last, 10, "{name}");
    }
}

#[test]
fn gradient2_follows_latency_down_and_forgets_an_overload_soon_but_does_not_get_used_to_it() {
    let mut algorithm = settings(serde_json::json!({ "initial": 100 })).algorithm().unwrap();
    for _ in 0..20 {
        algorithm.update(sample(50, 0));
    }
    let mut limit = 0;
    for window in 0..1200 {
        limit = algorithm.update(sample(500, 100));
        assert!(window < 30 || limit < 25, "{limit} after {window} windows of tenfold latency");
    }
    assert!(limit <= 25, "{limit}: ten minutes of overload became the usual");
    for _ in 0..60 {
        limit = algorithm.update(sample(50, 100));
    }
    assert!(limit > 60, "{limit} half a minute after the overload");
}

/// A service with so many workers; who comes when all are busy waits.
#[derive(Clone)]
struct Simulated {
    workers: Arc<Semaphore>,
    takes: Duration,
}

impl Simulated {
    async fn answer(self) -> Result<Response<Full<Bytes>>, Infallible> {
        let _worker = self.workers.acquire().await.unwrap();
        sleep(self.takes.mul_f64(0.8 + 0.4 * fastrand::f64())).await;
        Ok(Response::default())
    }
}

struct Outcome {
    /// How many were let in at once in the last third, on average: nine tenths of the limit, as nobody is critical.
    let_in: f64,
    /// Answers per second in the last third.
    rate: f64,
    /// Their mean latency.
    latency: Duration,
}

/// Two hundred clients, each of which asks again as soon as it is answered or shortly after it is refused, in
/// front of 40 workers that take 50 ms: the knee is at 40, and 800 a second are all that can be answered.
async fn simulate(json: serde_json::Value) -> Outcome {
    fastrand::seed(7);
    let layer = AdaptiveLimitLayer::new(&settings(json)).unwrap();
    let service = Simulated { workers: Arc::new(Semaphore::new(40)), takes: Duration::from_millis(50) };
    let service = layer.layer(service_fn(move |_: Request<()>| service.clone().answer()));
    let settled = Instant::now() + Duration::from_secs(40);
    let end = settled + Duration::from_secs(20);
    let (answers, nanos) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    for _ in 0..200 {
        let (mut service, answers, nanos) = (service.clone(), answers.clone(), nanos.clone());
        tokio::spawn(async move {
            loop {
                let start = Instant::now();
                let answer = service.ready().await.unwrap().call(Request::new(())).await.unwrap();
                if answer.status() != StatusCode::OK {
                    sleep(Duration::from_millis(100)).await;
                } else if start > settled {
                    answers.fetch_add(1, Relaxed);
                    nanos.fetch_add(start.elapsed().as_nanos() as u64, Relaxed);
                }
            }
        });
    }
    sleep_until(settled).await;
    let (mut sum, mut count) = (0.0, 0.0);
    while Instant::now() < end {
        sleep(Duration::from_millis(100)).await;
        (sum, count) = (sum + f64::from(layer.in_flight()), count + 1.0);
    }
    assert!(layer.in_flight() <= 200);
    let answers = answers.load(Relaxed);
    let latency = Duration::from_nanos(nanos.load(Relaxed) / answers);
    Outcome { let_in: sum / count, rate: answers as f64 / 20.0, latency }
}

#[tokio::test(start_paused = true)]
async fn z9_gradient2_settles_near_the_knee() {
    let outcome = simulate(serde_json::json!({})).await;
    assert!((38.0..62.0).contains(&outcome.let_in), "{} at once were let in", outcome.let_in);
    assert!(outcome.rate > 720.0, "{} a second are too few", outcome.rate);
    assert!(outcome.latency < Duration::from_millis(80), "{:?} is too slow", outcome.latency);
}

#[tokio::test(start_paused = true)]
async fn aimd_settles_where_the_latency_is_what_was_asked_for() {
    let outcome = simulate(serde_json::json!({ "algorithm": "aimd", "slow": "75ms" })).await;
    assert!((45.0..66.0).contains(&outcome.let_in), "{} at once were let in", outcome.let_in);
    assert!(outcome.rate > 720.0, "{} a second are too few", outcome.rate);
    assert!(outcome.latency < Duration::from_millis(80), "{:?} is too slow", outcome.latency);
}

#[tokio::test(start_paused = true)]
async fn vegas_keeps_a_short_queue() {
    let outcome = simulate(serde_json::json!({ "algorithm": "vegas" })).await;
    assert!((40.0..56.0).contains(&outcome.let_in), "{} at once were let in", outcome.let_in);
    assert!(outcome.rate > 720.0, "{} a second are too few", outcome.rate);
}

#[tokio::test(start_paused = true)]
async fn over_the_limit_is_503_overloaded_and_report_mode_only_counts() {
    for (mode, status, refused) in [("enforce", 503, 1), ("report", 200, 1)] {
        let json = serde_json::json!({ "min": 1, "initial": 1, "mode": mode });
        let layer = AdaptiveLimitLayer::new(&settings(json)).unwrap();
        let service = layer.layer(service_fn(|_: Request<()>| async {
            sleep(Duration::from_millis(10)).await;
            Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
        }));
        let first = tokio::spawn(service.clone().oneshot(Request::new(())));
        tokio::task::yield_now().await;
        assert_eq!(layer.in_flight(), 1);
        let second = service.clone().oneshot(Request::new(())).await.unwrap();
        assert_eq!((second.status().as_u16(), layer.refused()), (status, refused), "{mode}");
        assert_eq!(second.headers().contains_key("retry-after"), status == 503);
        let told = match mode {
            "enforce" => Limited::By("adaptive".into()),
            _ => Limited::Would("adaptive".into()),
        };
        assert_eq!(second.extensions().get(), Some(&told));
        assert_eq!(first.await.unwrap().unwrap().status(), 200);
        assert_eq!(layer.in_flight(), 0);
        let given_up =
            tokio::time::timeout(Duration::from_millis(1), service.oneshot(Request::new(()))).await;
        assert!(given_up.is_err());
        assert_eq!(layer.in_flight(), 0, "{mode}: what the client gave up is still counted");
    }
}

#[tokio::test(start_paused = true)]
async fn panics_are_drops_and_give_their_place_back() {
    for at_once in [true, false] {
        let json = serde_json::json!({ "algorithm": "aimd", "initial": 50 });
        let layer = AdaptiveLimitLayer::new(&settings(json)).unwrap();
        let service = layer.layer(service_fn(move |_: Request<()>| {
            assert!(!at_once, "it panics as it is called");
            async { panic!("it panics later") as Result<Response<Full<Bytes>>, &str> }
        }));
        tokio::time::advance(Duration::from_secs(1)).await;
        for _ in 0..10 {
            assert!(tokio::spawn(service.clone().oneshot(Request::new(()))).await.unwrap_err().is_panic());
        }
        assert_eq!((layer.limit(), layer.in_flight()), (45, 0), "at once: {at_once}");
    }
}

#[tokio::test(start_paused = true)]
async fn answers_503_and_504_and_errors_are_drops_and_500_is_not() {
    for (status, falls) in
        [(Some(503), true), (Some(504), true), (None, true), (Some(500), false), (Some(200), false)]
    {
        let json = serde_json::json!({ "algorithm": "aimd", "initial": 50 });
        let layer = AdaptiveLimitLayer::new(&settings(json)).unwrap();
        let service = layer.layer(service_fn(move |_: Request<()>| async move {
            let status = status.ok_or("gone")?;
            Ok::<_, &str>(Response::builder().status(status).body(Full::<Bytes>::default()).unwrap())
        }));
        tokio::time::advance(Duration::from_secs(1)).await;
        for _ in 0..10 {
            let _ = service.clone().oneshot(Request::new(())).await;
        }
        assert_eq!(layer.limit(), if falls { 45 } else { 50 }, "{status:?}");
    }
}

#[test]
fn settings_that_make_no_sense_say_why() {
    for (json, part) in [
        (serde_json::json!({ "min": 0 }), "`min` is 0; expected at least 1"),
        (serde_json::json!({ "min": 30 }), "`min` is 30 and `initial` is 20"),
        (serde_json::json!({ "max": 15 }), "`initial` is 20 and `max` is 15"),
        (serde_json::json!({ "tolerance": 0.5 }), "`tolerance` is 0.5; expected 1 to 10"),
        (serde_json::json!({ "backoff": 1.0 }), "`backoff` is 1; expected 0.5 to 0.99"),
        (serde_json::json!({ "window": "0s" }), "`window` is 0s; expected 10ms to 1m"),
    ] {
        let error = AdaptiveLimitLayer::new(&settings(json)).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
    let error = serde_json::from_str::<AdaptiveSettings>(r#"{"algorithm": "bbr"}"#).unwrap_err().to_string();
    assert!(error.contains("unknown variant `bbr`, expected one of `gradient2`"), "{error}");
}
