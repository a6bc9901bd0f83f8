//! Which endpoint takes a request, and what happens when endpoints fail, are slow, or come back.
#![allow(clippy::unwrap_used)]

use gateway_testkit::{Client, Gateway, Reply, Request, Response, Upstream, get, wait_until};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const EXE: &str = env!("CARGO_BIN_EXE_gateway");
const SOON: Duration = Duration::from_secs(10);

/// Two workers, so that whatever they should share and do not shows.
fn gateway(endpoints: &str, service: &str) -> Gateway {
    let config = format!(
        "[server]\nlisten = \"127.0.0.1:@PORT@\"\nworkers = 2\n[admin]\nlisten = \"127.0.0.1:@ADMIN@\"\n\
         [[routes]]\npath = \"/*\"\nservice = \"a\"\n[services.a]\nendpoints = [{endpoints}]\n{service}\n"
    );
    Gateway::builder(EXE).config(&config).start()
}

fn urls(upstreams: &[&Upstream]) -> String {
    let urls: Vec<String> = upstreams.iter().map(|upstream| format!("\"{}\"", upstream.url())).collect();
    urls.join(", ")
}

/// An upstream that answers its name, or 500 and fails its checks while it is sick.
fn mortal(name: &'static str, sick: bool) -> (Upstream, Arc<AtomicBool>) {
    let sick = Arc::new(AtomicBool::new(sick));
    let state = sick.clone();
    let upstream = Upstream::start(move |_| match state.load(Ordering::SeqCst) {
        true => Reply::new(500, "sick"),
        false => Reply::new(200, name),
    });
    (upstream, sick)
}

/// Who answered so many requests, by name, over connections to both workers.
fn who(addr: SocketAddr, count: usize) -> BTreeMap<String, usize> {
    let mut clients = [Client::new(addr), Client::new(addr), Client::new(addr)];
    let mut seen = BTreeMap::new();
    for i in 0..count {
        *seen.entry(clients[i % 3].send(&Request::get("/")).text()).or_default() += 1;
    }
    seen
}

fn metric(gateway: &Gateway, line: &str) {
    wait_until(line, SOON, || get(gateway.admin(), "/metrics").text().contains(line).then_some(()));
}

fn is_healthy(gateway: &Gateway, upstream: &Upstream, healthy: bool) {
    let (url, value) = (upstream.url(), u8::from(healthy));
    metric(gateway, &format!("gateway_upstream_healthy{{service=\"a\",endpoint=\"{url}\"}} {value}"));
}

fn code(answer: &Response) -> (u16, String) {
    (answer.status, answer.json()["code"].as_str().unwrap_or_default().to_owned())
}

fn in_background(addr: SocketAddr, request: Request) -> std::thread::JoinHandle<Response> {
    std::thread::spawn(move || Client::new(addr).send(&request))
}

/// Health checks quick enough for tests.
const CHECKED: &str = "health = { path = \"/health\", interval = \"30ms\", fall = 1, rise = 1 }";

#[test]
fn round_robin_is_exact_by_weight_across_workers() {
    let (a, b, c) = (Upstream::named("a"), Upstream::named("b"), Upstream::named("c"));
    let endpoints = format!(
        "{{ url = \"{}\", weight = 3 }}, \"{}\", {{ url = \"{}\", weight = 0 }}",
        a.url(),
        b.url(),
        c.url()
    );
    let gateway = gateway(&endpoints, "");
    let _ = who(gateway.addr(), 40);
    assert_eq!((a.hits(), b.hits(), c.hits()), (30, 10, 0));
}

#[test]
fn random_follows_the_weights() {
    let (a, b) = (Upstream::named("a"), Upstream::named("b"));
    let gateway =
        gateway(&format!("{{ url = \"{}\", weight = 3 }}, \"{}\"", a.url(), b.url()), "balance = \"random\"");
    let _ = who(gateway.addr(), 400);
    // Five standard deviations around 300.
    assert!((257..=343).contains(&a.hits()), "{} of 400", a.hits());
}

#[test]
fn least_request_avoids_an_endpoint_that_is_stalled() {
    let (a, b) = (Upstream::named("a"), Upstream::named("b"));
    let gateway = gateway(&urls(&[&a, &b]), "balance = \"least_request\"");
    let addr = gateway.addr();
    a.stall();
    let clients: Vec<_> = (0..8)
        .map(|_| {
            std::thread::spawn(move || {
                let mut client = Client::new(addr);
                (0..20).all(|_| client.send(&Request::get("/")).status == 200)
            })
        })
        .collect();
    // Half of the clients at most wait at `a`: then it is as busy as `b` can be. In turn, all of them would.
    wait_until("four clients to be done", SOON, || (b.hits() >= 80).then_some(()));
    assert!(a.hits() <= 4, "{} requests went to the stalled endpoint", a.hits());
    a.resume();
    assert!(clients.into_iter().all(|client| client.join().unwrap()));
}

#[test]
fn peak_ewma_prefers_the_faster_endpoint() {
    let slow = Upstream::start(|_| Reply::new(200, "slow").after(Duration::from_millis(60)));
    let fast = Upstream::named("fast");
    let gateway = gateway(&urls(&[&slow, &fast]), "balance = \"peak_ewma\"");
    let seen = who(gateway.addr(), 60);
    assert!(seen["fast"] >= 50, "{seen:?}");
}

/// Which endpoint each of 200 users comes to.
fn homes(addr: SocketAddr) -> Vec<String> {
    let mut client = Client::new(addr);
    (0..200)
        .map(|user| client.send(&Request::get("/").header("X-User", &format!("user-{user}"))).text())
        .collect()
}

#[test]
fn hashing_keeps_keys_at_home_and_moves_few_when_an_endpoint_goes() {
    // A ring moves only the keys of the endpoint that is gone; Maglev a few others too.
    for (strategy, others_moved) in [("ring_hash", 0), ("maglev", 20)] {
        let mut upstreams = ["a", "b", "c", "d"].map(Upstream::named);
        let service =
            format!("balance = {{ strategy = \"{strategy}\", hash_on = \"header X-User\" }}\n{CHECKED}");
        let gateway = gateway(&urls(&upstreams.each_ref()), &service);
        let before = homes(gateway.addr());
        assert_eq!(before, homes(gateway.addr()), "{strategy}: the same key, the same endpoint");
        for name in ["a", "b", "c", "d"] {
            let keys = before.iter().filter(|home| *home == name).count();
            assert!((20..=90).contains(&keys), "{strategy}: {name} has {keys} of 200 keys");
        }
        upstreams[0].kill();
        is_healthy(&gateway, &upstreams[0], false);
        let after = homes(gateway.addr());
        let moved =
            before.iter().zip(&after).filter(|(before, after)| *before != "a" && before != after).count();
        assert!(moved <= others_moved, "{strategy}: {moved} keys of the others moved");
        assert!(!after.contains(&"a".to_owned()));
        upstreams[0].restart();
        is_healthy(&gateway, &upstreams[0], true);
        assert_eq!(homes(gateway.addr()), before, "{strategy}: they come home again");
    }
}

#[test]
fn a_key_may_be_a_header_a_query_parameter_a_cookie_or_the_path_and_the_first_there_is_counts() {
    let upstreams = ["a", "b", "c", "d"].map(Upstream::named);
    let service = "balance = { strategy = \"maglev\", hash_on = [\"header X-User\", \"cookie sid\", \"query user\", \"path\"] }";
    let gateway = gateway(&urls(&upstreams.each_ref()), service);
    let mut client = Client::new(gateway.addr());
    let mut homes = |make: &dyn Fn(usize) -> Request| {
        let homes: Vec<String> = (0..40).map(|i| client.send(&make(i)).text()).collect();
        let again: Vec<String> = (0..40).map(|i| client.send(&make(i)).text()).collect();
        assert_eq!(homes, again);
        homes.iter().collect::<std::collections::BTreeSet<_>>().len()
    };
    let get = |target: String| Request::get(&target);
    assert_eq!(
        homes(&|i| get(format!("/{i}")).header("X-User", "me").header("Cookie", &format!("sid={i}"))),
        1
    );
    assert!(homes(&|i| get("/".into()).header("Cookie", &format!("sid={i}"))) > 1);
    assert!(homes(&|i| get(format!("/?user={i}"))) > 1);
    assert!(homes(&|i| get(format!("/{i}"))) > 1);
    assert_eq!(homes(&|i| get(format!("/x?y={i}"))), 1, "the query is no part of the path");
}

#[test]
fn a_bounded_load_sends_a_busy_key_on_to_the_next_endpoint() {
    for strategy in ["ring_hash", "maglev"] {
        let (a, b) = (Upstream::named("a"), Upstream::named("b"));
        let service =
            format!("balance = {{ strategy = \"{strategy}\", hash_on = \"path\", bounded_load = 125 }}");
        let gateway = gateway(&urls(&[&a, &b]), &service);
        let (home, next) = if get(gateway.addr(), "/hot").text() == "a" { (&a, &b) } else { (&b, &a) };
        home.stall();
        let busy: Vec<_> = (0..4).map(|_| in_background(gateway.addr(), Request::get("/hot"))).collect();
        wait_until("the overflow", SOON, || (next.hits() > 0 && home.hits() > 1).then_some(()));
        home.resume();
        assert!(busy.into_iter().all(|thread| thread.join().unwrap().status == 200));
    }
}

#[test]
fn a_sticky_cookie_brings_a_client_back_until_its_endpoint_is_gone() {
    let (mut a, b) = (Upstream::named("a"), Upstream::named("b"));
    let gateway = gateway(&urls(&[&a, &b]), "balance = { sticky = { name = \"home\", max_age = \"1h\" } }");
    let addr = gateway.addr();
    // The one whose home is `a`.
    let first = std::iter::repeat_with(|| get(addr, "/")).find(|answer| answer.text() == "a").unwrap();
    let cookie = first.header("set-cookie").unwrap().to_owned();
    for part in ["home=", "; Path=/", "; Max-Age=3600", "; HttpOnly", "; SameSite=Lax"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    let pair = cookie.split(';').next().unwrap().to_owned();
    let come_back = || Client::new(addr).send(&Request::get("/").header("Cookie", &format!("x=1; {pair}")));
    for _ in 0..10 {
        let back = come_back();
        assert_eq!((back.text().as_str(), back.header("set-cookie")), ("a", None));
        // Others have no part in it.
        assert!(get(addr, "/").header("set-cookie").is_some());
    }
    let unknown = Client::new(addr).send(&Request::get("/").header("Cookie", "home=forged"));
    assert!(unknown.status == 200 && unknown.header("set-cookie").is_some());
    a.kill();
    let moved = come_back();
    assert_eq!(moved.text(), "b");
    assert!(moved.header("set-cookie").is_some_and(|new| !new.starts_with(&pair)), "{moved:?}");
    a.restart();
    wait_until("the client to be at home again", SOON, || (come_back().text() == "a").then_some(()));
}

#[test]
fn the_next_priority_takes_over_and_gives_back() {
    let (a, sick) = mortal("first", false);
    let b = Upstream::named("second");
    let endpoints = format!("\"{}\", {{ url = \"{}\", priority = 1 }}", a.url(), b.url());
    let gateway = gateway(&endpoints, CHECKED);
    assert_eq!(who(gateway.addr(), 20), [("first".to_owned(), 20)].into());
    sick.store(true, Ordering::SeqCst);
    is_healthy(&gateway, &a, false);
    assert_eq!(who(gateway.addr(), 20), [("second".to_owned(), 20)].into());
    sick.store(false, Ordering::SeqCst);
    is_healthy(&gateway, &a, true);
    assert_eq!(who(gateway.addr(), 20), [("first".to_owned(), 20)].into());
}

#[test]
fn five_errors_in_a_row_eject_an_endpoint_until_its_time_is_over() {
    let (a, sick) = mortal("a", true);
    let b = Upstream::named("b");
    let service = "balance = { outlier = { ejection_time = \"3s\", jitter = \"0s\" } }\nretry = 1";
    let gateway = gateway(&urls(&[&a, &b]), service);
    let start = Instant::now();
    let seen = who(gateway.addr(), 30);
    assert_eq!(seen["sick"], 5, "{seen:?}");
    is_healthy(&gateway, &a, false);
    sick.store(false, Ordering::SeqCst);
    wait_until("the endpoint to be back", SOON, || (get(gateway.addr(), "/").text() == "a").then_some(()));
    assert!(start.elapsed() >= Duration::from_secs(3), "{:?}", start.elapsed());
    is_healthy(&gateway, &a, true);
}

#[test]
fn an_endpoint_nobody_listens_at_is_left_alone_without_its_clients_noticing() {
    let (mut a, b) = (Upstream::named("a"), Upstream::named("b"));
    let gateway = gateway(&urls(&[&a, &b]), "");
    a.kill();
    assert_eq!(who(gateway.addr(), 30), [("b".to_owned(), 30)].into(), "retries hide it");
    is_healthy(&gateway, &a, false);
    let retries = "gateway_upstream_retries_total{service=\"a\"} 5";
    metric(&gateway, retries);
    let _ = who(gateway.addr(), 10);
    metric(&gateway, retries);
}

#[test]
fn z4_retries_stop_where_the_budget_that_was_set_does() {
    for (budget, failed, retried) in [("{ percent = 0, min_per_second = 0 }", 20, 0), ("100", 0, 20)] {
        let (a, _) = mortal("a", true);
        let b = Upstream::named("b");
        let service =
            format!("balance = {{ outlier = \"off\" }}\nretry = {{ statuses = [500], budget = {budget} }}");
        let gateway = gateway(&urls(&[&a, &b]), &service);
        assert_eq!(who(gateway.addr(), 40).get("sick").copied().unwrap_or_default(), failed, "{budget}");
        metric(&gateway, &format!("gateway_upstream_retries_total{{service=\"a\"}} {retried}"));
    }
}

#[test]
fn outliers_are_only_reported_or_not_watched_where_it_says_so() {
    for (mode, said) in [("report", true), ("off", false)] {
        let (a, _) = mortal("a", true);
        let b = Upstream::named("b");
        let gateway = gateway(&urls(&[&a, &b]), &format!("balance = {{ outlier = \"{mode}\" }}\nretry = 1"));
        assert_eq!(who(gateway.addr(), 20)["sick"], 10, "{mode}");
        is_healthy(&gateway, &a, true);
        let log = gateway.stop().stderr;
        assert_eq!(log.contains("would be ejected"), said, "{mode}: {log}");
    }
}

#[test]
fn the_last_endpoint_is_never_ejected() {
    let (a, _) = mortal("a", true);
    let gateway = gateway(&urls(&[&a]), "retry = 1");
    assert_eq!(who(gateway.addr(), 20), [("sick".to_owned(), 20)].into());
}

#[test]
fn below_the_panic_threshold_ejections_are_ignored() {
    for (panic, hits) in [("", 3..20), ("panic = 90, ", 8..20)] {
        let (a, _) = mortal("a", true);
        let b = Upstream::named("b");
        let service = format!("balance = {{ {panic}outlier = {{ ejection_time = \"60s\" }} }}\nretry = 1");
        let gateway = gateway(&urls(&[&a, &b]), &service);
        let _ = who(gateway.addr(), 12);
        let seen = who(gateway.addr(), 20);
        let sick = seen.get("sick").copied().unwrap_or_default();
        assert_eq!(hits.contains(&sick), !panic.is_empty(), "{panic}: {seen:?}");
    }
}

#[test]
fn an_endpoint_that_comes_back_gets_its_share_bit_by_bit() {
    let (a, sick) = mortal("a", true);
    let b = Upstream::named("b");
    let service = format!("balance = {{ slow_start = \"4s\" }}\n{CHECKED}");
    let gateway = gateway(&urls(&[&a, &b]), &service);
    is_healthy(&gateway, &a, false);
    sick.store(false, Ordering::SeqCst);
    is_healthy(&gateway, &a, true);
    let begin = who(gateway.addr(), 44);
    // A tenth of its weight is one of eleven.
    assert!(begin.get("a").is_none_or(|count| *count <= 14), "{begin:?}");
    wait_until("its full share", SOON, || {
        let seen = who(gateway.addr(), 20);
        (seen.get("a") == Some(&10)).then_some(())
    });
}

#[test]
fn a_circuit_opens_says_when_to_come_back_and_closes_again() {
    let (a, sick) = mortal("a", true);
    let service = "balance = { circuit = { min_requests = 5, open = \"3s\", probes = 1 } }\nretry = 1";
    let gateway = gateway(&urls(&[&a]), service);
    assert_eq!(who(gateway.addr(), 5), [("sick".to_owned(), 5)].into());
    for _ in 0..5 {
        let refused = get(gateway.addr(), "/");
        assert_eq!(code(&refused), (503, "circuit-open".to_owned()));
        let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=3).contains(&wait), "{wait} s");
    }
    assert_eq!(a.hits(), 5, "the service is left alone");
    sick.store(false, Ordering::SeqCst);
    wait_until("the circuit to close", SOON, || (get(gateway.addr(), "/").status == 200).then_some(()));
    assert_eq!(who(gateway.addr(), 10), [("a".to_owned(), 10)].into());
    let log = gateway.stop().stderr;
    assert!(log.contains("the circuit is open") && log.contains("the circuit is closed again"), "{log}");
}

#[test]
fn z6_a_circuit_opens_for_slow_answers_where_it_is_told_what_slow_is() {
    let slow = Upstream::start(|_| Reply::new(200, "slow").after(Duration::from_millis(200)));
    let service = "balance = { circuit = { slow = \"100ms\", min_requests = 3, open = \"10m\" } }";
    let gateway = gateway(&urls(&[&slow]), service);
    for _ in 0..3 {
        assert_eq!(get(gateway.addr(), "/").status, 200);
    }
    let refused = get(gateway.addr(), "/");
    assert_eq!((refused.status, slow.hits()), (503, 3), "{}", refused.text());
    assert!(refused.text().contains("circuit-open"), "{}", refused.text());
}

#[test]
fn the_circuit_of_one_endpoint_leaves_the_others_to_answer() {
    let (a, sick) = mortal("a", true);
    let b = Upstream::named("b");
    let service = "balance = { outlier = \"off\", endpoint_circuit = { min_requests = 4, open = \"3s\", probes = 1 } }\nretry = 1";
    let gateway = gateway(&urls(&[&a, &b]), service);
    assert_eq!(who(gateway.addr(), 40)["sick"], 4);
    is_healthy(&gateway, &a, false);
    sick.store(false, Ordering::SeqCst);
    wait_until("its return", SOON, || (who(gateway.addr(), 10).get("a") == Some(&5)).then_some(()));
}

#[test]
fn more_requests_than_the_service_may_have_are_overloaded() {
    let a = Upstream::named("a");
    let gateway = gateway(&urls(&[&a]), "balance = { limits = { max_requests = 2 } }");
    a.stall();
    let busy = [(); 2].map(|()| in_background(gateway.addr(), Request::get("/")));
    wait_until("both upstream", SOON, || (a.hits() == 2).then_some(()));
    let refused = get(gateway.addr(), "/");
    assert_eq!((code(&refused), refused.header("retry-after")), ((503, "overloaded".to_owned()), Some("1")));
    a.resume();
    assert!(busy.into_iter().all(|thread| thread.join().unwrap().status == 200));
    wait_until("room again", SOON, || (get(gateway.addr(), "/").status == 200).then_some(()));
}

#[test]
fn z7_beyond_the_connections_of_all_workers_requests_are_overloaded_and_nobody_is_to_blame() {
    let a = Upstream::named("a");
    let service = "connection = { max_connections = 1, connect_timeout = \"300ms\" }";
    let gateway = gateway(&urls(&[&a]), service);
    a.stall();
    let busy = in_background(gateway.addr(), Request::get("/"));
    wait_until("it upstream", SOON, || (a.hits() == 1).then_some(()));
    // Connections are spread evenly, so that both workers have some.
    let refused = [(); 8].map(|()| in_background(gateway.addr(), Request::get("/")));
    for thread in refused {
        let answer = thread.join().unwrap();
        assert_eq!(
            (code(&answer), answer.header("retry-after")),
            ((503, "overloaded".to_owned()), Some("1"))
        );
    }
    metric(&gateway, "gateway_overload_total{policy=\"connections\",name=\"a\",result=\"refused\"} 8\n");
    metric(&gateway, "gateway_upstream_retries_total{service=\"a\"} 0\n");
    is_healthy(&gateway, &a, true);
    a.resume();
    assert_eq!(busy.join().unwrap().status, 200);
    assert_eq!(a.hits(), 1);
    // Whichever worker they come to.
    assert_eq!(who(gateway.addr(), 12)["a"], 12);
}

#[test]
fn a_full_endpoint_leaves_requests_to_the_others_until_all_are_full() {
    let (a, b) = (Upstream::named("a"), Upstream::named("b"));
    let gateway = gateway(&urls(&[&a, &b]), "balance = { limits = { max_requests_per_endpoint = 1 } }");
    let addr = gateway.addr();
    a.stall();
    let first = std::iter::repeat_with(|| in_background(addr, Request::get("/")));
    // In turn: of two, one comes to each.
    let first: Vec<_> = first.take(2).collect();
    wait_until("one at the stalled", SOON, || (a.hits() == 1 && b.hits() == 1).then_some(()));
    wait_until("all others at b", SOON, || {
        let answer = get(addr, "/");
        (answer.text() == "b").then_some(())
    });
    b.stall();
    let second = in_background(addr, Request::get("/"));
    let before = b.hits();
    wait_until("b to be full", SOON, || (b.hits() > before || b.hits() >= 3).then_some(()));
    let refused = get(addr, "/");
    assert_eq!(code(&refused), (503, "overloaded".to_owned()));
    assert_eq!(a.hits(), 1);
    a.resume();
    b.resume();
    assert!(first.into_iter().chain([second]).all(|thread| thread.join().unwrap().status == 200));
}

#[test]
fn a_request_is_held_until_an_endpoint_is_back_or_its_patience_is_over() {
    let mut a = Upstream::named("a");
    let gateway_of =
        |hold: &str| gateway(&urls(&[&a]), &format!("balance = {{ hold = \"{hold}\" }}\n{CHECKED}"));
    let (patient, hasty) = (gateway_of("10s"), gateway_of("100ms"));
    a.kill();
    is_healthy(&patient, &a, false);
    is_healthy(&hasty, &a, false);
    let start = Instant::now();
    let refused = get(hasty.addr(), "/");
    assert_eq!(code(&refused), (503, "no-endpoint".to_owned()));
    assert!(start.elapsed() >= Duration::from_millis(100), "{:?}", start.elapsed());
    let waiting = in_background(patient.addr(), Request::get("/"));
    a.restart();
    let answer = waiting.join().unwrap();
    assert_eq!((answer.status, answer.text().as_str()), (200, "a"));
}

#[test]
fn what_is_safe_is_tried_again_elsewhere_and_nothing_else() {
    let b = Upstream::named("b");
    for (request, status) in [
        (Request::get("/"), 200),
        (Request::new("DELETE", "/"), 200),
        (Request::new("PUT", "/").body("x"), 200),
        (Request::new("POST", "/").body("x"), 503),
        (Request::new("PATCH", "/").body("x"), 503),
        (Request::new("POST", "/").body("x").header("Idempotency-Key", "1"), 200),
        (Request::new("PUT", "/").body("x".repeat(70_000)), 503),
    ] {
        let a = Upstream::start(|_| Reply::new(503, "busy"));
        let endpoints = format!("\"{}\", {{ url = \"{}\", priority = 1 }}", a.url(), b.url());
        let gateway = gateway(&endpoints, "retry = { attempt_header = true }");
        let before = b.hits();
        let answer = Client::new(gateway.addr()).send(&request);
        assert_eq!(answer.status, status, "{request:.80?}");
        assert_eq!((a.hits(), b.hits() - before), (1, usize::from(status == 200)));
        if status == 200 {
            assert_eq!(a.requests()[0].header("x-retry-attempt"), None);
            assert_eq!(b.requests().pop().unwrap().header("x-retry-attempt"), Some("1"));
            assert_eq!(b.requests().pop().unwrap().body, a.requests()[0].body);
        }
    }
}

#[test]
fn an_endpoint_too_slow_for_one_attempt_is_left_for_another() {
    let (a, b) = (Upstream::named("a"), Upstream::named("b"));
    let endpoints = format!("\"{}\", {{ url = \"{}\", priority = 1 }}", a.url(), b.url());
    let gateway = gateway(&endpoints, "timeout = { total = \"10s\", per_try = \"1s\" }");
    a.stall();
    assert_eq!(get(gateway.addr(), "/").text(), "b");
}

#[test]
fn a_key_may_be_what_the_route_captured_and_a_name_that_none_captures_is_a_mistake() {
    let upstreams = ["a", "b", "c", "d"].map(Upstream::named);
    let config = |param: &str| {
        format!(
            "[server]\nlisten = \"127.0.0.1:@PORT@\"\n[[routes]]\npath = \"/carts/{{id}}/*\"\nservice = \"a\"\n\
             strip = \"/carts\"\n[services.a]\nendpoints = [{}]\n\
             balance = {{ strategy = \"ring_hash\", hash_on = \"param {param}\" }}\n",
            urls(&upstreams.each_ref())
        )
    };
    let gateway = Gateway::builder(EXE).config(&config("id")).start();
    let home = |cart: usize, what: &str| get(gateway.addr(), &format!("/carts/{cart}/{what}")).text();
    let homes: Vec<String> = (0..40).map(|cart| home(cart, "items")).collect();
    assert!((0..40).all(|cart| home(cart, "total?x=1") == homes[cart]), "one cart, one endpoint");
    assert!(homes.iter().collect::<std::collections::BTreeSet<_>>().len() > 1, "{homes:?}");
    let refused = Gateway::builder(EXE).config(&config("ids")).args(&["check"]).run();
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
    for part in ["no route to `a` captures `ids`", "did you mean `id`?"] {
        assert!(refused.stderr.contains(part), "{}", refused.stderr);
    }
}

#[test]
fn a_request_waits_for_a_service_that_restarts_without_checks() {
    let mut a = Upstream::named("a");
    let gateway = gateway(&urls(&[&a]), "balance = { hold = \"10s\" }\nretry = 1");
    a.kill();
    let waiting = in_background(gateway.addr(), Request::new("POST", "/").body("once"));
    metric(&gateway, "gateway_upstream_retries_total{service=\"a\"} 1");
    a.restart();
    let answer = waiting.join().unwrap();
    assert_eq!((answer.status, answer.text().as_str()), (200, "a"));
    assert_eq!(a.requests().last().unwrap().body, b"once");
}

#[test]
fn a_check_without_a_pause_or_without_time_is_a_mistake() {
    for time in ["interval", "timeout"] {
        let config = format!(
            "[[routes]]\npath = \"/*\"\nservice = \"a\"\n[services.a]\nendpoints = [\"http://127.0.0.1:1\"]\n\
             health = {{ path = \"/\", {time} = \"0s\" }}\n"
        );
        let refused = Gateway::builder(EXE).config(&config).args(&["check"]).run();
        assert_eq!(refused.code, Some(2), "{}", refused.stderr);
        let message = format!("`{time}` is 0s; expected a time such as \"5s\"");
        assert!(refused.stderr.contains(&message), "{}", refused.stderr);
    }
}

#[test]
fn a_route_or_its_group_has_timeouts_and_retries_of_its_own_where_it_says_so() {
    let upstream = Upstream::start(|request| match request.target.as_str() {
        path if path.starts_with("/slow/") => Reply::new(200, "slow").after(Duration::from_millis(1500)),
        _ => Reply::new(503, "busy"),
    });
    let route = |path: &str, rest: &str| format!("[[routes]]\npath = \"{path}\"\nservice = \"a\"\n{rest}\n");
    let service = [
        "timeout = { total = \"500ms\", per_try = \"250ms\" }\nretry = { attempts = 3, backoff = \"none\" }\n\
         balance = { outlier = \"off\" }\n[groups.reports]\ntimeout = \"1m\"\nretry = 1\n"
            .to_owned(),
        route("/slow/report", "group = \"reports\""),
        route("/slow/own", "timeout = \"1m\""),
        route("/slow/try", "group = \"reports\"\ntimeout = { total = \"1m\", per_try = \"250ms\" }"),
        route("/never", "retry = 1"),
        route("/twice", "group = \"reports\"\nretry = 2"),
        route("/other", "retry = { statuses = [500] }"),
    ];
    let gateway = gateway(&urls(&[&upstream]), &service.concat());
    for (path, status, hits) in [
        ("/slow/service", 504, 2),
        ("/slow/report", 200, 1),
        ("/slow/own", 200, 1),
        ("/slow/try", 504, 1),
        ("/service", 503, 3),
        ("/never", 503, 1),
        ("/twice", 503, 2),
        ("/other", 503, 1),
    ] {
        let before = upstream.hits();
        let answer = get(gateway.addr(), path);
        assert_eq!((answer.status, upstream.hits() - before), (status, hits), "{path}: {}", answer.text());
    }
}
