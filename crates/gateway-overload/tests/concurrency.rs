//! The concurrency limit in a plain service, on paused time.

#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use gateway_core::{AuthMethod, ClientAddr, Limited, Principal};
use gateway_overload::{ConcurrencyLimitLayer, ConcurrencySettings, SlotBody};
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use proptest::prelude::*;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tower::{Layer, ServiceExt, service_fn};

type Answer = Response<SlotBody<Full<Bytes>>>;

fn layer(json: serde_json::Value) -> ConcurrencyLimitLayer {
    ConcurrencyLimitLayer::new(&serde_json::from_value::<ConcurrencySettings>(json).unwrap()).unwrap()
}

fn ask(layer: &ConcurrencyLimitLayer, request: Request<()>) -> Pin<Box<dyn Future<Output = Answer> + Send>> {
    let service = layer.layer(service_fn(|_: Request<()>| async {
        Ok::<_, Infallible>(Response::new(Full::from(Bytes::from_static(b"hello"))))
    }));
    Box::pin(async { service.oneshot(request).await.unwrap() })
}

fn from_ip(ip: &str) -> Request<()> {
    let mut request = Request::new(());
    request.extensions_mut().insert(ClientAddr(format!("{ip}:1").parse().unwrap()));
    request
}

#[tokio::test]
async fn o8_in_report_mode_all_pass_and_who_would_not_is_told_and_counted() {
    let report = |more: serde_json::Value| {
        let mut json = serde_json::json!({ "max": 1, "mode": "report" });
        json.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        layer(json)
    };
    for layer in [
        report(serde_json::json!({})),
        report(serde_json::json!({ "key": "client_ip" })),
        report(serde_json::json!({ "queue": 5 })),
    ] {
        let first = ask(&layer, from_ip("192.0.2.1")).await;
        assert_eq!(first.extensions().get::<Limited>(), None);
        for refused in 1..=3 {
            let over = ask(&layer, from_ip("192.0.2.1")).await;
            assert_eq!(over.status(), 200);
            assert_eq!(over.extensions().get(), Some(&Limited::Would("concurrency".into())));
            // It holds no place that it would not have had.
            assert_eq!((layer.in_flight(), layer.refused()), (1, refused));
        }
        drop(first);
        assert_eq!(ask(&layer, from_ip("192.0.2.1")).await.extensions().get::<Limited>(), None);
    }
    let enforced = layer(serde_json::json!({ "max": 1 }));
    let _first = ask(&enforced, Request::new(())).await;
    let refused = ask(&enforced, Request::new(())).await;
    assert_eq!(refused.extensions().get(), Some(&Limited::By("concurrency".into())));
}

#[tokio::test]
async fn z8_one_over_the_limit_is_503_with_retry_after_until_a_body_ends_or_is_dropped() {
    let layer = layer(serde_json::json!({ "max": 2 }));
    let first = ask(&layer, Request::new(())).await;
    let second = ask(&layer, Request::new(())).await;
    assert_eq!((first.status(), second.status()), (200.try_into().unwrap(), 200.try_into().unwrap()));

    let refused = ask(&layer, Request::new(())).await;
    assert_eq!(refused.status(), 503);
    assert_eq!(refused.headers()["retry-after"], "1");
    let problem = refused.into_body().collect().await.unwrap().to_bytes();
    let problem: serde_json::Value = serde_json::from_slice(&problem).unwrap();
    assert_eq!(problem["code"], "overloaded");
    assert_eq!(problem["detail"], "more than 2 requests at once");
    assert_eq!((layer.in_flight(), layer.refused()), (2, 1));

    let mut body = first.into_body();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "hello");
    assert_eq!(layer.in_flight(), 1, "the body has ended, although it is still held");
    drop(second);
    assert_eq!(layer.in_flight(), 0);
    drop(body);
    assert_eq!(layer.in_flight(), 0, "a slot was given back twice");
    assert_eq!(ask(&layer, Request::new(())).await.status(), 200);
}

/// A stream of what is sent through a channel.
struct Events(tokio::sync::mpsc::Receiver<Bytes>);

impl From<Bytes> for Events {
    fn from(bytes: Bytes) -> Self {
        let (sender, receiver) = tokio::sync::mpsc::channel(1);
        sender.try_send(bytes).unwrap();
        Self(receiver)
    }
}

impl http_body::Body for Events {
    type Data = Bytes;
    type Error = Infallible;
    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|event| event.map(|event| Ok(http_body::Frame::data(event))))
    }
}

#[tokio::test]
async fn a_stream_counts_until_it_ends() {
    let layer = layer(serde_json::json!({ "max": 1 }));
    let (sender, receiver) = tokio::sync::mpsc::channel(4);
    let receiver = std::sync::Mutex::new(Some(receiver));
    let streaming = service_fn(|_: Request<()>| {
        let receiver = receiver.lock().unwrap().take().unwrap();
        async { Ok::<_, Infallible>(Response::new(Events(receiver))) }
    });
    let mut body = layer.layer(streaming).oneshot(Request::new(())).await.unwrap().into_body();
    sender.send(Bytes::from_static(b"event")).await.unwrap();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "event");
    assert_eq!(layer.in_flight(), 1, "the stream goes on");
    assert_eq!(ask(&layer, Request::new(())).await.status(), 503);
    drop(sender);
    assert!(body.frame().await.is_none());
    assert_eq!(layer.in_flight(), 0);
}

#[tokio::test]
async fn a_request_given_up_gives_its_slot_back() {
    let layer = layer(serde_json::json!({ "max": 1 }));
    let never = layer.layer(service_fn(|_: Request<()>| async {
        std::future::pending::<()>().await;
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
    }));
    let mut hanging = Box::pin(never.oneshot(Request::new(())));
    assert!(hanging.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    assert_eq!(layer.in_flight(), 1);
    drop(hanging);
    assert_eq!(layer.in_flight(), 0);
}

#[tokio::test]
async fn each_caller_has_its_own_count_and_too_many_of_one_are_429() {
    for key in ["client_ip", "caller"] {
        let layer = layer(serde_json::json!({ "max": 1, "key": key }));
        let held = ask(&layer, from_ip("192.0.2.1")).await;
        let refused = ask(&layer, from_ip("192.0.2.1")).await;
        assert_eq!(refused.status(), 429, "{key}");
        assert_eq!(refused.headers()["retry-after"], "1");
        assert_eq!(ask(&layer, from_ip("192.0.2.2")).await.status(), 200, "{key}");
        drop(held);
        assert_eq!(ask(&layer, from_ip("192.0.2.1")).await.status(), 200, "{key}");
    }
    let by_network = layer(serde_json::json!({ "max": 1, "key": "client_ip" }));
    let _held = ask(&by_network, from_ip("[2001:db8::1]")).await;
    assert_eq!(ask(&by_network, from_ip("[2001:db8::2]")).await.status(), 429);
    assert_eq!(ask(&by_network, from_ip("[2001:db8:0:1::1]")).await.status(), 200);

    let tenants = layer(serde_json::json!({ "max": 1, "key": "header:X-Tenant" }));
    let tenant = |name: &str| Request::builder().header("x-tenant", name).body(()).unwrap();
    let _held = ask(&tenants, tenant("a")).await;
    assert_eq!(ask(&tenants, tenant("a")).await.status(), 429);
    assert_eq!(ask(&tenants, tenant("b")).await.status(), 200);
    assert_eq!(ask(&tenants, Request::new(())).await.status(), 200);

    let principals = layer(serde_json::json!({ "max": 1, "key": "principal" }));
    let known = |id: &str| {
        let mut request = from_ip("192.0.2.1");
        let principal = Principal::new(id, AuthMethod::Jwt, serde_json::Map::new());
        request.extensions_mut().insert(principal);
        request
    };
    let _held = ask(&principals, known("ada")).await;
    assert_eq!(ask(&principals, known("ada")).await.status(), 429);
    assert_eq!(ask(&principals, known("bob")).await.status(), 200);
}

#[tokio::test(start_paused = true)]
async fn the_queue_is_bounded_and_who_waits_for_too_long_is_refused() {
    let layer = layer(serde_json::json!({ "max": 1, "queue": { "length": 2, "timeout": "3s" } }));
    let held = ask(&layer, Request::new(())).await;
    let first = tokio::spawn(ask(&layer, Request::new(())));
    let second = tokio::spawn(ask(&layer, Request::new(())));
    tokio::task::yield_now().await;
    assert_eq!((layer.in_flight(), layer.waiting()), (1, 2));
    assert_eq!(ask(&layer, Request::new(())).await.status(), 503, "the queue is full");

    tokio::time::advance(Duration::from_secs(2)).await;
    drop(held);
    let first = first.await.unwrap();
    assert_eq!(first.status(), 200);
    assert_eq!((layer.in_flight(), layer.waiting()), (1, 1));
    let second = second.await.unwrap();
    assert_eq!((second.status().as_u16(), second.headers()["retry-after"].to_str().unwrap()), (503, "1"));
    assert_eq!((layer.in_flight(), layer.waiting()), (1, 0));
    drop(first);
    assert_eq!((layer.in_flight(), layer.waiting()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn who_leaves_the_queue_makes_room_and_never_takes_a_slot_with_it() {
    let layer = layer(serde_json::json!({ "max": 1, "queue": 2 }));
    let held = ask(&layer, Request::new(())).await;
    let leaves = tokio::spawn(ask(&layer, Request::new(())));
    let stays = tokio::spawn(ask(&layer, Request::new(())));
    tokio::task::yield_now().await;
    leaves.abort();
    tokio::task::yield_now().await;
    assert_eq!(layer.waiting(), 1);

    // The slot is handed to one whose client goes before it is polled again.
    let mut unlucky = ask(&layer, Request::new(()));
    assert!(unlucky.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    drop(held);
    let next = stays.await.unwrap();
    drop(next);
    assert_eq!((layer.in_flight(), layer.waiting()), (1, 0), "the slot is the unlucky one's");
    drop(unlucky);
    assert_eq!((layer.in_flight(), layer.waiting()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn z10_a_standing_queue_is_worked_off_from_its_end_and_who_waited_long_is_refused() {
    let layer =
        layer(serde_json::json!({ "max": 1, "queue": { "length": 9, "timeout": "10s", "codel": true } }));
    let wait = |millis| tokio::time::advance(Duration::from_millis(millis));
    let cx = &mut Context::from_waker(Waker::noop());
    let join = || {
        let mut request = ask(&layer, Request::new(()));
        assert!(request.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        request
    };
    let held = ask(&layer, Request::new(())).await;
    let mut first = join();
    let mut second = join();
    wait(6).await;
    // A turn above the target, but not yet for an interval: first come, first served.
    drop(held);
    let held = first.as_mut().await;
    wait(99).await;
    let mut third = join();
    wait(1).await;
    let mut fourth = join();
    wait(2).await;
    let mut fifth = join();
    wait(3).await;
    drop(held);
    let held = fifth.as_mut().await;
    assert_eq!(held.status(), 200, "the newest goes first");
    let refused = second.as_mut().await;
    assert_eq!((refused.status().as_u16(), layer.waiting()), (503, 1), "111 ms are too long");
    let late = third.as_mut().await;
    assert_eq!(late.status(), 503, "6 ms are too long");
    assert!(fourth.as_mut().poll(cx).is_pending(), "5 ms are not");

    // It has waited for less than the target at its turn: the line is in order again.
    drop(held);
    let held = fourth.as_mut().await;
    let mut oldest = join();
    let mut newest = join();
    wait(5).await;
    drop(held);
    assert_eq!(oldest.as_mut().await.status(), 200);
    assert_eq!(newest.as_mut().await.status(), 200);
    assert_eq!((layer.in_flight(), layer.waiting(), layer.refused()), (0, 0, 2));
}

/// What happens to the queue.
#[derive(Clone, Debug)]
enum Step {
    Arrive,
    Finish(usize),
    Leave(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => Just(Step::Arrive),
        2 => (0usize..8).prop_map(Step::Finish),
        1 => (0usize..8).prop_map(Step::Leave),
    ];
    proptest::collection::vec(step, 0..120)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn the_queue_is_first_come_first_served_and_the_limit_holds(steps in steps(), max in 1usize..4, length in 1usize..5) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let _inside = runtime.enter();
        let layer = layer(serde_json::json!({ "max": max, "queue": length }));
        let cx = &mut Context::from_waker(Waker::noop());
        let mut running: Vec<Answer> = Vec::new();
        let mut waiting = VecDeque::new();
        for step in steps {
            match step {
                Step::Arrive => {
                    let mut request = ask(&layer, Request::new(()));
                    match request.as_mut().poll(cx) {
                        Poll::Ready(answer) if answer.status() == 200 => running.push(answer),
                        Poll::Ready(answer) => {
                            prop_assert_eq!(answer.status(), 503);
                            prop_assert_eq!((running.len(), waiting.len()), (max, length), "refused in spite of room");
                        }
                        Poll::Pending => waiting.push_back(request),
                    }
                }
                Step::Finish(which) if !running.is_empty() => {
                    let which = which % running.len();
                    drop(running.swap_remove(which));
                    // Whoever is not first is polled first, and must still not get in.
                    let mut served = false;
                    for (place, request) in waiting.iter_mut().enumerate().rev() {
                        if let Poll::Ready(answer) = request.as_mut().poll(cx) {
                            prop_assert_eq!((place, answer.status().as_u16()), (0, 200), "it jumped the queue");
                            running.push(answer);
                            served = true;
                        }
                    }
                    if served {
                        waiting.pop_front();
                    }
                }
                Step::Leave(which) if !waiting.is_empty() => {
                    let which = which % waiting.len();
                    drop(waiting.remove(which));
                }
                Step::Finish(_) | Step::Leave(_) => {}
            }
            prop_assert!(running.len() <= max && waiting.len() <= length);
            prop_assert!(waiting.is_empty() || running.len() == max, "a slot is free and someone waits");
            prop_assert_eq!((layer.in_flight(), layer.waiting()), (running.len() as u64, waiting.len() as u64));
        }
    }
}

#[test]
fn never_more_than_the_limit_are_in_progress_on_any_number_of_threads() {
    for json in [
        serde_json::json!({ "max": 3 }),
        serde_json::json!({ "max": 3, "key": "client_ip" }),
        serde_json::json!({ "max": 3, "queue": { "length": 4, "timeout": "10s" } }),
        serde_json::json!({ "max": 3, "key": "client_ip", "queue": { "length": 4, "timeout": "10s" } }),
    ] {
        let layer = layer(json.clone());
        let keyed = json.get("key").is_some();
        let inside: Arc<[AtomicU32; 2]> = Arc::default();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_time().build().unwrap();
        let passed = runtime.block_on(async {
            let tasks: Vec<_> = (0..16)
                .map(|task: usize| {
                    let (caller, inside) = (if keyed { task % 2 } else { 0 }, inside.clone());
                    let counted = inside.clone();
                    let service = layer.layer(service_fn(move |_: Request<()>| {
                        let inside = counted.clone();
                        async move {
                            let now = inside[caller].fetch_add(1, SeqCst) + 1;
                            assert!(now <= 3, "{now} of caller {caller} at once");
                            tokio::task::yield_now().await;
                            Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
                        }
                    }));
                    tokio::spawn(async move {
                        let mut passed = 0;
                        for _ in 0..300 {
                            let request = from_ip(&format!("192.0.2.{caller}"));
                            let answer = service.clone().oneshot(request).await.unwrap();
                            if answer.status() == 200 {
                                passed += 1;
                                tokio::task::yield_now().await;
                                inside[caller].fetch_sub(1, SeqCst);
                            }
                            drop(answer);
                        }
                        passed
                    })
                })
                .collect();
            let mut passed = 0;
            for task in tasks {
                passed += task.await.unwrap();
            }
            passed
        });
        assert!(passed >= 300, "only {passed} passed of {json}");
        assert_eq!((layer.in_flight(), layer.waiting()), (0, 0), "{json}");
    }
}

#[test]
fn settings_that_make_no_limit_say_why() {
    for (json, part) in [
        (serde_json::json!({ "max": 0 }), "`max` is 0; expected 1 to 1000000"),
        (serde_json::json!({ "max_keys": 0 }), "`max_keys` is 0"),
        (serde_json::json!({ "queue": { "length": 1, "timeout": "0s" } }), "`queue.timeout` is 0s"),
        (
            serde_json::json!({ "queue": { "length": 1, "codel": { "target": "0s" } } }),
            "`queue.codel.target` is 0s",
        ),
    ] {
        let settings: ConcurrencySettings = serde_json::from_value(json).unwrap();
        let error = ConcurrencyLimitLayer::new(&settings).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
    for (json, part) in [
        (r#"{"key": "ip"}"#, "`ip` is nothing to count by; expected `all`, `caller`"),
        (r#"{"key": "header:a b"}"#, "`a b` cannot name a header"),
        (r#"{"maks": 1}"#, "unknown field `maks`"),
        (r#"{"queue": -1}"#, "-1 is no number of requests"),
    ] {
        let error = serde_json::from_str::<ConcurrencySettings>(json).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
}

#[tokio::test]
async fn off_limits_nothing() {
    let off = ConcurrencyLimitLayer::off();
    let _held = ask(&off, Request::new(())).await;
    assert_eq!(ask(&off, Request::new(())).await.status(), 200);
    assert_eq!((off.in_flight(), off.waiting(), off.refused()), (0, 0, 0));
}

#[tokio::test]
async fn what_was_counted_in_a_mode_goes_on_once_that_is_back() {
    let refused = async |layer: &ConcurrencyLimitLayer| {
        let _first = ask(layer, Request::new(())).await;
        ask(layer, Request::new(())).await;
        layer.refused()
    };
    let mut earlier = ConcurrencyLimitLayer::off();
    for (mode, count) in [("enforce", 1), ("report", 1), ("enforce", 2), ("enforce", 3), ("report", 2)] {
        let layer = layer(serde_json::json!({ "max": 1, "mode": mode }));
        layer.count_on_from(&earlier);
        assert_eq!(refused(&layer).await, count, "{mode}");
        earlier = layer;
    }
}
