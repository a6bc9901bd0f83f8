//! The parts do what tests rely on.
#![allow(clippy::unwrap_used)]

use gateway_testkit::{
    Client, Disturbance, Fault, FaultProxy, Gateway, Redis, RedisValue, Reply, Request, Upstream, failing,
    get, raw,
};
use std::time::{Duration, Instant};

#[test]
fn an_upstream_records_is_killed_and_comes_back_on_its_port() {
    let mut upstream = Upstream::start(|request| Reply::with(201, &[("X-Seen", &request.target)], "hi"));
    let mut client = Client::new(upstream.addr());
    for _ in 0..2 {
        let response = client.send(&Request::new("POST", "/a?b").header("X-A", "1").body("body"));
        assert_eq!(
            (response.status, response.header("x-seen"), &*response.text()),
            (201, Some("/a?b"), "hi")
        );
    }
    let seen = &upstream.requests()[1];
    assert_eq!(
        (&*seen.method, seen.header("x-a"), &*seen.body, seen.connection),
        ("POST", Some("1"), &b"body"[..], 0)
    );
    assert_eq!((upstream.hits(), upstream.connections()), (2, 1));
    upstream.kill();
    assert!(client.try_send(&Request::get("/")).is_err());
    assert!(Client::new(upstream.addr()).try_send(&Request::get("/")).is_err());
    upstream.restart();
    assert_eq!(get(upstream.addr(), "/").status, 201);
}

#[test]
fn a_stalled_upstream_answers_when_it_is_resumed() {
    let upstream = Upstream::named("a");
    upstream.stall();
    let addr = upstream.addr();
    let asking = std::thread::spawn(move || get(addr, "/").text());
    gateway_testkit::wait_until("the request", Duration::from_secs(5), || {
        (upstream.hits() == 1).then_some(())
    });
    assert!(!asking.is_finished());
    upstream.resume();
    assert_eq!(asking.join().unwrap(), "a");
}

#[test]
fn failing_upstreams_give_no_answer() {
    for fault in [
        Fault::AcceptThenClose,
        Fault::ResetBeforeResponse,
        Fault::ResetInHead,
        Fault::TruncatedBody,
        Fault::Garbage,
    ] {
        let (addr, seen) = failing(fault);
        let result = Client::new(addr).try_send(&Request::get("/"));
        assert!(result.is_err(), "{fault:?}: {result:?}");
        assert_eq!(seen.load(std::sync::atomic::Ordering::SeqCst), 1, "{fault:?}");
    }
}

#[test]
fn redis_keeps_values_stalls_and_restarts_empty() {
    let mut redis = Redis::start();
    assert_eq!(redis.command(&["SET", "k", "v"]), RedisValue::Text("OK".to_owned()));
    assert_eq!(redis.command(&["GET", "k"]), RedisValue::Text("v".to_owned()));
    assert_eq!(redis.keys("*"), ["k"]);
    redis.stall();
    redis.resume();
    redis.restart();
    assert_eq!(redis.command(&["GET", "k"]), RedisValue::Nil);
}

#[test]
fn a_process_that_ends_says_how() {
    let start = Instant::now();
    let finished = Gateway::builder("/bin/sh").args(&["-c", "echo out; echo err >&2; exit 3"]).run();
    assert_eq!((finished.code, &*finished.stdout, &*finished.stderr), (Some(3), "out\n", "err\n"));
    assert!(start.elapsed() < Duration::from_secs(10));
}

#[test]
fn a_fault_proxy_does_as_much_harm_as_it_is_told() {
    let upstream = Upstream::named("0123456789");
    let head = "HTTP/1.1 200 Status\r\nContent-Length: 10\r\n\r\n".len();
    let proxy = FaultProxy::start(upstream.addr());
    let bytes = |how| {
        proxy.disturb(how);
        raw(proxy.addr(), b"GET / HTTP/1.1\r\n\r\n").len()
    };
    for (how, seen) in [
        (Disturbance::CloseOnAccept, 0),
        (Disturbance::ResetOnRequest, 0),
        (Disturbance::ResetBeforeAnswer, 0),
        (Disturbance::ResetAfter(7), 7),
        (Disturbance::CloseAfter(head + 2), head + 2),
        (Disturbance::StallAfter(head), head),
        (Disturbance::Garbage(b"xyz"), 3),
        (Disturbance::CloseIdle, head + 10),
    ] {
        assert_eq!(bytes(how), seen, "{how:?}");
    }
    proxy.disturb_once(Disturbance::CloseOnAccept);
    assert!(Client::new(proxy.addr()).try_send(&Request::get("/")).is_err());
    assert_eq!(get(proxy.addr(), "/").text(), "0123456789");
    proxy.disturb(Disturbance::Refuse);
    assert!(std::net::TcpStream::connect(proxy.addr()).is_err());
}
