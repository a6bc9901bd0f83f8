//! Admission around an adaptive limit, in front of a simulated service that gets twice what it can bear.

#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use gateway_core::Limited;
use gateway_overload::{
    AdaptiveLimitLayer, AdaptiveSettings, AdmissionLayer, AdmissionSettings, ConcurrencyLimitLayer, Priority,
};
use http::{Request, Response};
use http_body_util::Full;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, sleep_until};
use tower::{Layer, Service, ServiceExt, service_fn};

#[tokio::test(start_paused = true)]
async fn o12_at_twice_the_load_what_is_critical_works_and_nothing_else_is_slow() {
    fastrand::seed(7);
    // 40 workers that take 50 ms: 800 a second.
    let workers = Arc::new(Semaphore::new(40));
    let service = service_fn(move |_: Request<()>| {
        let workers = workers.clone();
        async move {
            let _worker = workers.acquire().await.unwrap();
            sleep(Duration::from_millis(50).mul_f64(0.8 + 0.4 * fastrand::f64())).await;
            Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
        }
    });
    let limit = AdaptiveLimitLayer::new(&AdaptiveSettings::default()).unwrap();
    let admission = AdmissionLayer::new(&AdmissionSettings::default()).unwrap();
    let service = admission.layer(limit.layer(service));

    // 1600 a second: half sheddable, three in ten default, two in ten critical.
    let (asked, served, nanos): (Arc<[AtomicU64; 3]>, Arc<[AtomicU64; 3]>, Arc<AtomicU64>) =
        Default::default();
    let start = Instant::now();
    let settled = start + Duration::from_secs(30);
    for number in 0..(1600 * 60) {
        let arrives = start + Duration::from_micros(625) * number;
        sleep_until(arrives).await;
        let class = match fastrand::u32(..10) {
            0..5 => Priority::Sheddable,
            5..8 => Priority::Default,
            _ => Priority::Critical,
        };
        let (service, asked, served, nanos) = (service.clone(), asked.clone(), served.clone(), nanos.clone());
        tokio::spawn(async move {
            let mut request = Request::new(());
            request.extensions_mut().insert(class);
            let (began, answer) = (Instant::now(), service.oneshot(request).await.unwrap());
            if arrives > settled {
                asked[class.index()].fetch_add(1, Relaxed);
                if answer.status() == 200 {
                    served[class.index()].fetch_add(1, Relaxed);
                    nanos.fetch_add(began.elapsed().as_nanos() as u64, Relaxed);
                }
            }
        });
    }
    sleep(Duration::from_secs(1)).await;

    let share = |class: Priority| {
        let (served, asked) = (served[class.index()].load(Relaxed), asked[class.index()].load(Relaxed));
        served as f64 / asked as f64
    };
    let [sheddable, default, critical] = Priority::ALL.map(share);
    let all: u64 = served.iter().map(|served| served.load(Relaxed)).sum();
    let latency = Duration::from_nanos(nanos.load(Relaxed) / all);
    let said = format!(
        "served: critical {critical:.3}, default {default:.3}, sheddable {sheddable:.3}; {} a second, {latency:?}, limit {}",
        all / 30,
        limit.limit()
    );
    println!("{said}");
    assert!(critical > 0.99, "{said}");
    assert!(critical > default && default > sheddable, "{said}");
    assert!(all / 30 > 720, "{said}");
    assert!(latency < Duration::from_millis(80), "{said}");
}

#[tokio::test(start_paused = true)]
async fn who_refused_is_told_whoever_else_only_would_have() {
    let refuses = service_fn(|_: Request<()>| async {
        let mut answer = Response::builder().status(503).body(Full::<Bytes>::default()).unwrap();
        answer.extensions_mut().insert(Limited::By("the one within".into()));
        Ok::<_, Infallible>(answer)
    });
    fn by<B>(answer: &Response<B>) -> Limited {
        answer.extensions().get::<Limited>().unwrap().clone()
    }
    let within = Limited::By("the one within".into());

    let settings = serde_json::from_str(r#"{"max": 1, "mode": "report"}"#).unwrap();
    let concurrency = ConcurrencyLimitLayer::new(&settings).unwrap();
    let mut service = concurrency.layer(refuses);
    let (_first, second) = (service.call(Request::new(())), service.call(Request::new(())));
    assert_eq!((by(&second.await.unwrap()), concurrency.refused()), (within.clone(), 1));

    let settings: AdaptiveSettings =
        serde_json::from_str(r#"{"min": 1, "initial": 1, "mode": "report"}"#).unwrap();
    let adaptive = AdaptiveLimitLayer::new(&settings).unwrap();
    let mut service = adaptive.layer(refuses);
    let (_first, second) = (service.call(Request::new(())), service.call(Request::new(())));
    assert_eq!((by(&second.await.unwrap()), adaptive.refused()), (within.clone(), 1));

    let settings: AdmissionSettings = serde_json::from_str(r#"{"mode": "report"}"#).unwrap();
    let admission = AdmissionLayer::new(&settings).unwrap();
    let mut service = admission.layer(refuses);
    for _ in 0..1000 {
        tokio::time::advance(Duration::from_millis(10)).await;
        assert_eq!(by(&service.call(Request::new(())).await.unwrap()), within);
    }
    assert!(admission.refused(Priority::Default) > 0);
}
