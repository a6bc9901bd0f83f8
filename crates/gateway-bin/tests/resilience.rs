//! What the settings of a service promise when its endpoints are slow, ill, taken away or not the ones that are asked for,
//! as its clients see it.
#![allow(clippy::unwrap_used)]

use gateway_testkit::{Client, Gateway, Recorded, Reply, Request, Response, Upstream, get, wait_until};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const EXE: &str = env!("CARGO_BIN_EXE_gateway");
const SOON: Duration = Duration::from_secs(60);

/// Health checks quick enough for tests.
const CHECKED: &str = "health = { path = \"/health\", interval = \"30ms\", fall = 1, rise = 1 }\n";

/// A route for everything to the service `a`, one worker, and whatever else there is.
fn start(rest: &str) -> Gateway {
    let config = format!(
        "[server]\nlisten = \"127.0.0.1:@PORT@\"\nworkers = 1\n[admin]\nlisten = \"127.0.0.1:@ADMIN@\"\n\
         [[routes]]\npath = \"/*\"\nservice = \"a\"\n{rest}\n"
    );
    Gateway::builder(EXE).config(&config).start()
}

/// The service `a`, whose endpoints each have their own settings, and whatever it says besides.
fn service(endpoints: &[(&Upstream, &str)], settings: &str) -> String {
    let endpoint = |(upstream, more): &(&Upstream, &str)| format!("{{ url = \"{}\"{more} }}", upstream.url());
    let endpoints: Vec<_> = endpoints.iter().map(endpoint).collect();
    format!("[services.a]\nendpoints = [{}]\n{settings}\n", endpoints.join(", "))
}

fn send(gateway: &Gateway, request: &Request) -> Response {
    Client::new(gateway.addr()).send(request)
}

/// Who answered so many requests, by what they said.
fn who(gateway: &Gateway, count: usize, request: &Request) -> BTreeMap<String, usize> {
    let (mut client, mut seen) = (Client::new(gateway.addr()), BTreeMap::new());
    for _ in 0..count {
        let answer = client.send(request);
        let said = if answer.status == 200 { answer.text() } else { code(&answer).1 };
        *seen.entry(said).or_default() += 1;
    }
    seen
}

fn code(answer: &Response) -> (u16, String) {
    let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    (answer.status, body["code"].as_str().unwrap_or_default().to_owned())
}

fn in_background(gateway: &Gateway, request: &Request) -> std::thread::JoinHandle<Response> {
    let (addr, request) = (gateway.addr(), request.clone());
    std::thread::spawn(move || Client::new(addr).send(&request))
}

fn metric(gateway: &Gateway, line: &str) {
    wait_until(line, SOON, || get(gateway.admin(), "/metrics").text().contains(line).then_some(()));
}

fn is_healthy(gateway: &Gateway, upstream: &Upstream, healthy: bool) {
    let (url, value) = (upstream.url(), u8::from(healthy));
    metric(gateway, &format!("gateway_upstream_healthy{{service=\"a\",endpoint=\"{url}\"}} {value}"));
}

/// Answers its name, or 500 while it is ill, checks included.
fn mortal(name: &'static str) -> (Upstream, Arc<AtomicBool>) {
    let ill = Arc::new(AtomicBool::new(false));
    let state = ill.clone();
    let upstream = Upstream::start(move |_| match state.load(Ordering::SeqCst) {
        true => Reply::new(500, "ill"),
        false => Reply::new(200, name),
    });
    (upstream, ill)
}

/// Answers by how often the same was asked before.
fn in_turn(answer: impl Fn(usize, &Recorded) -> Reply + Send + Sync + 'static) -> Upstream {
    let asked = std::sync::Mutex::new(BTreeMap::<String, usize>::new());
    Upstream::start(move |request| {
        let turn = {
            let mut asked = asked.lock().unwrap();
            let turn = asked.entry(request.target.clone()).or_default();
            *turn += 1;
            *turn - 1
        };
        answer(turn, request)
    })
}

#[test]
fn z5_what_is_safe_to_do_twice_gets_a_second_endpoint_and_the_first_answer_counts() {
    let hedge = "hedge = \"50ms\", attempt_header = true";
    let no_budget = format!("{hedge}, budget = {{ percent = 0, min_per_second = 0 }}");
    for (retry, request, hedged) in [
        (hedge, Request::get("/"), true),
        (hedge, Request::new("PUT", "/").body("x"), true),
        // One attempt is no retry, and leaves the hedge.
        ("hedge = \"50ms\", attempts = 1", Request::get("/"), true),
        (hedge, Request::new("PUT", "/").body("x".repeat(70_000)), false),
        (hedge, Request::new("POST", "/").body("x"), false),
        (hedge, Request::new("POST", "/").body("x").header("Idempotency-Key", "1"), false),
        (&*no_budget, Request::get("/"), false),
    ] {
        let slow = Upstream::start(|_| Reply::new(200, "slow").after(Duration::from_millis(400)));
        let quick = Upstream::named("quick");
        let gateway =
            start(&service(&[(&slow, ""), (&quick, ", priority = 1")], &format!("retry = {{ {retry} }}")));
        if hedged {
            slow.stall();
        }
        let answer = send(&gateway, &request);
        assert_eq!(answer.text(), if hedged { "quick" } else { "slow" }, "{retry} {request:.80?}");
        assert_eq!(quick.hits(), usize::from(hedged), "{retry} {request:.80?}");
        if let Some(second) = quick.requests().first() {
            assert_eq!(second.header("x-hedge-attempt"), retry.contains("attempt_header").then_some("1"));
            assert_eq!(second.body, slow.requests()[0].body);
            metric(&gateway, "gateway_upstream_hedges_won_total{service=\"a\"} 1\n");
        }
    }
}

#[test]
fn z5_the_delay_may_be_what_most_answers_took() {
    let slow = Upstream::start(|request| {
        Reply::new(200, "slow").after(Duration::from_millis(if request.target == "/slow" { 1500 } else { 0 }))
    });
    let quick = Upstream::named("quick");
    let retry = "retry = { hedge = { delay = \"p95\", min_requests = 20 } }";
    let gateway = start(&service(&[(&slow, ""), (&quick, ", priority = 1")], retry));
    assert_eq!(get(gateway.addr(), "/slow").text(), "slow", "nothing is known yet");
    wait_until("a hedge", SOON, || {
        let _ = who(&gateway, 40, &Request::get("/"));
        (get(gateway.addr(), "/slow").text() == "quick").then_some(())
    });
}

#[test]
fn z5_z3_a_hedge_that_fails_and_the_retry_after_it_have_the_whole_body() {
    let [first, second] = ["first", "second"].map(|name| Upstream::start(move |_| Reply::new(503, name)));
    let third = Upstream::named("third");
    let endpoints = [(&first, ""), (&second, ", priority = 1"), (&third, ", priority = 2")];
    let gateway = start(&service(&endpoints, "retry = { hedge = \"1s\", attempts = 2 }"));
    let body = "x".repeat(60_000);
    first.stall();
    let waiting = in_background(&gateway, &Request::new("PUT", "/").body(body.as_str()));
    wait_until("the hedge", SOON, || (second.hits() == 1).then_some(()));
    first.resume();
    let answer = waiting.join().unwrap();
    assert_eq!((answer.status, answer.text().as_str()), (200, "third"));
    for upstream in [&first, &second, &third] {
        let bodies: Vec<_> = upstream.requests().into_iter().map(|request| request.body).collect();
        assert_eq!(bodies, [body.as_bytes()]);
    }
}

#[test]
fn l5_z5_a_client_at_home_is_not_hedged_away_but_finds_another_where_its_own_is_ejected() {
    let ill = Arc::new(AtomicBool::new(false));
    let state = ill.clone();
    let a = Upstream::start(move |request| match request.target.as_str() {
        "/slow" => Reply::new(200, "a").after(Duration::from_millis(400)),
        _ if state.load(Ordering::SeqCst) => Reply::new(500, "ill"),
        _ => Reply::new(200, "a"),
    });
    let b = Upstream::named("b");
    let balance = "balance = { sticky = \"home\", outlier = { consecutive_5xx = 2, ejection_time = \"10m\" } }\n\
                   retry = { hedge = \"20ms\", attempts = 1 }";
    let gateway = start(&service(&[(&a, ""), (&b, "")], balance));
    let first = std::iter::repeat_with(|| get(gateway.addr(), "/")).find(|answer| answer.text() == "a");
    let cookie = first.unwrap().header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    assert_eq!(send(&gateway, &Request::get("/slow").header("Cookie", &cookie)).text(), "a");
    assert!(b.requests().iter().all(|request| request.target != "/slow"));
    let come_back = Request::get("/").header("Cookie", &cookie);
    ill.store(true, Ordering::SeqCst);
    for _ in 0..2 {
        assert_eq!(send(&gateway, &come_back).status, 500);
    }
    let moved = send(&gateway, &come_back);
    assert_eq!(moved.text(), "b");
    assert!(moved.header("set-cookie").is_some_and(|new| !new.starts_with(&cookie)), "{moved:?}");
}

#[test]
fn l11_requests_go_to_endpoints_with_the_label_that_they_ask_for() {
    let upstreams = ["v1", "v2", "none"].map(Upstream::named);
    let [one, two, none] = &upstreams;
    let labelled =
        [(one, ", metadata = { version = \"v1\" }"), (two, ", metadata = { version = \"v2\" }"), (none, "")];
    let header = |value: &str| Request::get("/").header("X-Version", value);
    let cookie = Request::get("/").header("Cookie", "x=1; version=v2");
    let by_header = "from = { header = \"X-Version\" }";
    let all = &["none", "v1", "v2"][..];
    for (settings, request, expected) in [
        (by_header, header("v1"), &["v1"][..]),
        (by_header, header("v2"), &["v2"]),
        (by_header, header("v3"), all),
        (by_header, Request::get("/"), all),
        ("from = { header = \"X-Version\" }, value = \"v2\"", Request::get("/"), &["v2"]),
        ("from = { header = \"X-Version\" }, fallback = \"none\"", header("v3"), &["no-endpoint"]),
        ("from = { header = \"X-Version\" }, fallback = { default = \"v1\" }", header("v3"), &["v1"]),
        ("from = { cookie = \"version\" }", cookie, &["v2"]),
        ("value = \"v1\"", Request::get("/"), &["v1"]),
    ] {
        let subset = format!("balance = {{ subset = {{ key = \"version\", {settings} }} }}");
        let gateway = start(&service(&labelled, &subset));
        let seen = who(&gateway, 6, &request);
        assert_eq!(seen.keys().collect::<Vec<_>>(), expected, "{settings} {request:?}");
    }
}

#[test]
fn l11_where_all_of_a_label_are_ejected_or_fail_their_checks_the_fallback_takes_over() {
    let outlier = "outlier = { consecutive_5xx = 2, ejection_time = \"10m\" }";
    for (fallback, ejected, unhealthy) in [
        ("\"any\"", &["other"][..], &["other"][..]),
        ("{ default = \"v1\" }", &["other"], &["other"]),
        // Nobody else may take them, and of those who may all are ejected.
        ("\"none\"", &["ill"], &["no-endpoint"]),
    ] {
        for (checks, expected) in [("", ejected), (CHECKED, unhealthy)] {
            let (only, ill) = mortal("only");
            let other = Upstream::named("other");
            let endpoints =
                [(&only, ", metadata = { version = \"v2\" }"), (&other, ", metadata = { version = \"v1\" }")];
            let balance = format!(
                "balance = {{ {outlier}, subset = {{ key = \"version\", value = \"v2\", fallback = {fallback} }} }}"
            );
            let gateway = start(&service(&endpoints, &format!("{balance}\nretry = 1\n{checks}")));
            let mut client = Client::new(gateway.addr());
            let mut said = || match client.send(&Request::get("/")) {
                answer if answer.status == 503 => code(&answer).1,
                answer => answer.text(),
            };
            assert_eq!(said(), "only");
            ill.store(true, Ordering::SeqCst);
            if checks.is_empty() {
                assert_eq!([said(), said()], ["ill", "ill"]);
            }
            is_healthy(&gateway, &only, false);
            assert_eq!([said()], expected, "{fallback} {checks}");
        }
    }
}

#[test]
fn l14_l11_nobody_waits_for_a_label_that_no_endpoint_has() {
    let mut a = Upstream::named("a");
    let balance = "timeout = \"1m\"\nretry = 1\n\
        balance = { hold = \"1m\", subset = { key = \"version\", from = { header = \"X-Version\" }, fallback = \"none\" } }";
    let gateway = start(&service(&[(&a, ", metadata = { version = \"v1\" }")], balance));
    let begin = Instant::now();
    let refused = send(&gateway, &Request::get("/").header("X-Version", "v9"));
    assert_eq!(code(&refused), (503, "no-endpoint".to_owned()));
    assert!(begin.elapsed() < Duration::from_secs(30), "{:?}", begin.elapsed());
    a.kill();
    let waiting = in_background(&gateway, &Request::get("/").header("X-Version", "v1"));
    metric(&gateway, "gateway_upstream_retries_total{service=\"a\"} 1");
    a.restart();
    assert_eq!(waiting.join().unwrap().text(), "a");
}

#[test]
fn l6_the_own_zone_comes_first_and_others_take_what_it_cannot() {
    let ((a, a_ill), (b, b_ill), far) = (mortal("a"), mortal("b"), Upstream::named("far"));
    let endpoints = [(&far, ", zone = \"eu-2\""), (&a, ", zone = \"eu-1\""), (&b, ", zone = \"eu-1\"")];
    let gateway = start(&service(&endpoints, &format!("balance = {{ zone = \"eu-1\" }}\n{CHECKED}")));
    let seen = |count| who(&gateway, count, &Request::get("/"));
    assert_eq!(seen(10), [("a".to_owned(), 5), ("b".to_owned(), 5)].into());
    a_ill.store(true, Ordering::SeqCst);
    is_healthy(&gateway, &a, false);
    // Seven of ten, and five standard deviations.
    let half = seen(200);
    assert!((107..=173).contains(&half["b"]) && half["b"] + half["far"] == 200, "{half:?}");
    b_ill.store(true, Ordering::SeqCst);
    is_healthy(&gateway, &b, false);
    assert_eq!(seen(10), [("far".to_owned(), 10)].into());
    b_ill.store(false, Ordering::SeqCst);
    a_ill.store(false, Ordering::SeqCst);
    is_healthy(&gateway, &a, true);
    is_healthy(&gateway, &b, true);
    assert_eq!(seen(10), [("a".to_owned(), 5), ("b".to_owned(), 5)].into());
}

#[test]
fn l7_a_check_over_http_asks_as_it_is_told_and_goes_by_status_and_body() {
    let large = format!("\"up\"{}", "x".repeat(100_000));
    let states: [(u16, &str, bool); 6] = [
        (204, "\"up\"", true),
        (401, "{\"status\":\"up\"}", true),
        (200, "{\"status\":\"down\"}", false),
        // What is looked at begins so.
        (200, large.leak(), true),
        (301, "\"up\"", false),
        (200, "\"up\"", true),
    ];
    let now = Arc::new(AtomicUsize::new(0));
    let state = now.clone();
    let checked = Upstream::start(move |_| {
        let (status, body, _) = states[state.load(Ordering::SeqCst)];
        Reply::new(status, if status == 204 { "" } else { body })
    });
    let a = Upstream::named("a");
    let health = format!(
        "[services.a.health]\npath = \"/live?x=1\"\nport = {}\nmethod = \"POST\"\nhost = \"check.example\"\n\
         headers = {{ X-Check = \"gateway\" }}\nstatus = [\"200-299\", 401]\nbody = '\"up\"'\n\
         interval = \"30ms\"\nfall = 1\nrise = 1",
        checked.addr().port()
    );
    let gateway = start(&service(&[(&a, "")], &health));
    for (turn, (status, body, well)) in states.into_iter().enumerate() {
        now.store(turn, Ordering::SeqCst);
        // No body holds nothing.
        is_healthy(&gateway, &a, well && status != 204);
        let answer = get(gateway.addr(), "/");
        let expected = if well && status != 204 { 200 } else { 503 };
        assert_eq!(answer.status, expected, "{status} {body:.30}");
    }
    let asked = &checked.requests()[0];
    assert_eq!((asked.method.as_str(), asked.target.as_str()), ("POST", "/live?x=1"));
    assert_eq!((asked.header("host"), asked.header("x-check")), (Some("check.example"), Some("gateway")));
    assert!(a.requests().iter().all(|request| request.target == "/"), "checks have a port of their own");
}

#[test]
fn l7_a_check_over_tcp_says_something_and_listens_for_the_answer() {
    let (listener, well) = (TcpListener::bind("127.0.0.1:0").unwrap(), Arc::new(AtomicBool::new(true)));
    let (port, state) = (listener.local_addr().unwrap().port(), well.clone());
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut heard = [0; 6];
            let answer: &[u8] = match stream.read_exact(&mut heard) {
                Ok(()) if heard == *b"PING\r\n" && state.load(Ordering::SeqCst) => b"+PONG\r\n",
                _ => b"-LOADING\r\n",
            };
            let _ = stream.write_all(answer);
        }
    });
    let a = Upstream::named("a");
    let health = format!(
        "health = {{ kind = \"tcp\", port = {port}, send = \"PING\\r\\n\", expect = \"PONG\", interval = \"30ms\", fall = 1, rise = 1 }}"
    );
    let gateway = start(&service(&[(&a, "")], &health));
    for (expected, status) in [(true, 200), (false, 503), (true, 200)] {
        well.store(expected, Ordering::SeqCst);
        is_healthy(&gateway, &a, expected);
        assert_eq!(get(gateway.addr(), "/").status, status);
    }
    let log = gateway.stop().stderr;
    assert!(log.contains("is unhealthy: `PONG` was not in the 10 bytes that came"), "{log}");
}

#[test]
fn l8_who_fails_clearly_more_than_the_others_is_ejected_though_never_in_a_row() {
    for compared in [
        "success_rate = { request_volume = 5 }",
        "success_rate = false, failure_percentage = { threshold = 40, request_volume = 5 }",
    ] {
        let bad = in_turn(|turn, _| Reply::new(if turn % 2 == 0 { 200 } else { 500 }, "bad"));
        let good = ["1", "2", "3", "4"].map(Upstream::named);
        let endpoints: Vec<_> = good.iter().chain([&bad]).map(|upstream| (upstream, "")).collect();
        let outlier = format!("interval = \"4s\", ejection_time = \"10m\", {compared}");
        let balance = format!("balance = {{ outlier = {{ {outlier} }} }}\nretry = 1");
        let gateway = start(&service(&endpoints, &balance));
        wait_until("the bad one to be ejected", SOON, || {
            let seen = who(&gateway, 50, &Request::get("/"));
            (!seen.contains_key("bad")).then_some(())
        });
        is_healthy(&gateway, &bad, false);
        assert!(good.iter().all(|upstream| upstream.hits() > 0));
    }
}

#[test]
fn l9_in_a_panic_failed_checks_are_ignored_only_where_it_says_so() {
    for (panic, expected) in [("", &["no-endpoint"][..]), ("panic = { ignore = \"health\" }", &["a", "b"])] {
        let [a, b] = ["a", "b"].map(|name| {
            Upstream::start(move |request| match request.target.as_str() {
                "/health" => Reply::new(503, "no"),
                _ => Reply::new(200, name),
            })
        });
        let balance = format!("balance = {{ {panic} }}\n{CHECKED}");
        let gateway = start(&service(&[(&a, ""), (&b, "")], &balance));
        is_healthy(&gateway, &a, false);
        is_healthy(&gateway, &b, false);
        let seen = who(&gateway, 10, &Request::get("/"));
        assert_eq!(seen.keys().collect::<Vec<_>>(), expected, "{panic}");
    }
}

#[test]
fn l15_l10_an_endpoint_taken_away_ends_what_it_has_and_one_that_is_added_begins_with_little() {
    let (a, b, c) = (Upstream::named("a"), Upstream::named("b"), Upstream::named("c"));
    let slowly = "balance = { slow_start = \"10m\" }";
    let gateway = start(&service(&[(&a, ""), (&b, "")], slowly));
    let _ = who(&gateway, 4, &Request::get("/"));
    a.stall();
    let waiting: Vec<_> = (0..2).map(|_| in_background(&gateway, &Request::get("/"))).collect();
    wait_until("one of two upstream", SOON, || (a.hits() == 3).then_some(()));
    let path = gateway.dir().join("gateway.toml");
    let config = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, config.replace(&a.url(), &c.url())).unwrap();
    let reloaded = Client::new(gateway.admin()).send(&Request::new("POST", "/reload"));
    assert_eq!(reloaded.status, 200, "{}", reloaded.text());
    let seen = who(&gateway, 44, &Request::get("/"));
    assert!(!seen.contains_key("a"), "{seen:?}");
    // A tenth of its weight is one of eleven.
    assert!(seen["c"] <= 8, "{seen:?}");
    a.resume();
    let mut answers: Vec<_> = waiting.into_iter().map(|thread| thread.join().unwrap().text()).collect();
    answers.sort_unstable();
    assert_eq!(answers, ["a", "b"]);
    assert_eq!(a.hits(), 3);
}

#[test]
fn l12_a_connection_is_replaced_after_its_requests_or_its_time() {
    for (connection, expected) in [("", 1), ("max_requests = 3", 3), ("max_idle = 0", 9)] {
        let a = Upstream::named("a");
        let gateway = start(&service(&[(&a, "")], &format!("connection = {{ {connection} }}")));
        let _ = who(&gateway, 9, &Request::get("/"));
        assert_eq!(a.connections(), expected, "{connection}");
    }
    let a = Upstream::named("a");
    let gateway = start(&service(&[(&a, "")], "connection = { max_lifetime = \"300ms\" }"));
    wait_until("a third connection", SOON, || {
        let _ = who(&gateway, 1, &Request::get("/"));
        (a.connections() == 3).then_some(())
    });
}

#[test]
fn z2_endpoints_are_told_how_long_is_waited_and_a_client_can_shorten_it() {
    let a = Upstream::named("a");
    let timeout = "timeout = { total = \"50s\", per_try = \"20s\", deadline_header = \"X-Deadline-Ms\", budget_header = \"X-Budget-Ms\" }";
    let gateway = start(&service(&[(&a, "")], timeout));
    for (said, deadline, budget) in [
        (&[][..], None, 20_000),
        (&[("X-Deadline-Ms", "9000")], Some(9_000), 9_000),
        (&[("X-Deadline-Ms", "30000")], Some(30_000), 20_000),
        (&[("X-Budget-Ms", "1")], None, 20_000),
    ] {
        let request =
            said.iter().fold(Request::get("/"), |request, (name, value)| request.header(name, value));
        assert_eq!(send(&gateway, &request).status, 200);
        let seen = a.requests().pop().unwrap();
        let number = |name: &str| seen.header(name).map(|value| value.parse::<u32>().unwrap());
        // What has passed on the way is taken off.
        let within = |told: Option<u32>, most: u32| told.is_some_and(|told| told > most / 2 && told <= most);
        assert!(within(number("x-budget-ms"), budget), "{said:?}: {seen:?}");
        let told = number("x-deadline-ms");
        assert!(deadline.map_or(told.is_none(), |deadline| within(told, deadline)), "{said:?}: {seen:?}");
    }
    a.stall();
    let start = Instant::now();
    let late = send(&gateway, &Request::get("/").header("X-Deadline-Ms", "200"));
    assert_eq!(code(&late), (504, "upstream-timeout".to_owned()));
    assert!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
    a.resume();
}

#[test]
fn z3_what_is_tried_again_can_be_said_by_status_header_and_time() {
    let a = in_turn(|turn, request| match (turn, request.target.as_str()) {
        (0, "/header") => Reply::with(200, &[("X-State", "warming up")], "first"),
        (0, "/other-header") => Reply::with(200, &[("X-State", "warm")], "first"),
        (0, "/conflict") => Reply::new(409, "first"),
        (0, "/error") => Reply::new(500, "first"),
        (0, "/limit") => Reply::new(429, "first"),
        (0, "/broken") => Reply::raw(b"", true),
        (0, "/after") => Reply::with(503, &[("Retry-After", "1")], "first"),
        (0, "/long-after") => Reply::with(503, &[("Retry-After", "100")], "first"),
        _ => Reply::new(200, "second"),
    });
    let retry = "balance = { outlier = \"off\" }\n[services.a.retry]\nattempts = 2\nstatuses = [429, 503]\n\
                 headers = { X-State = \"warming up\" }\non = [\"connect-failure\", \"reset\", \"retriable-4xx\", \"5xx\"]";
    let gateway = start(&service(&[(&a, "")], retry));
    for (target, expected) in [
        ("/header", "second"),
        ("/other-header", "first"),
        ("/conflict", "second"),
        ("/error", "second"),
        ("/limit", "second"),
        ("/broken", "second"),
        ("/long-after", "first"),
    ] {
        assert_eq!(get(gateway.addr(), target).text(), expected, "{target}");
    }
    let start = Instant::now();
    assert_eq!(get(gateway.addr(), "/after").text(), "second");
    assert!(start.elapsed() >= Duration::from_secs(1), "{:?}", start.elapsed());
}

#[test]
fn z10_a_queue_that_only_stands_is_worked_off_from_its_end_where_it_is_told_to() {
    for (codel, all_pass) in [("", true), (", codel = { target = \"5ms\", interval = \"50ms\" }", false)] {
        let a = Upstream::start(|_| Reply::new(200, "a").after(Duration::from_millis(50)));
        let config = format!(
            "concurrency = {{ max = 1, queue = {{ length = 20, timeout = \"1m\"{codel} }} }}\n{}",
            service(&[(&a, "")], "")
        );
        let gateway = start(&config);
        let threads: Vec<_> = (0..12).map(|_| in_background(&gateway, &Request::get("/"))).collect();
        let answers: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        let refused = answers.iter().filter(|answer| code(answer) == (503, "overloaded".to_owned())).count();
        let passed = answers.iter().filter(|answer| answer.status == 200).count();
        assert_eq!((refused == 0, passed + refused), (all_pass, 12), "{codel}: {passed} passed");
        assert!(passed > 0);
        assert_eq!(get(gateway.addr(), "/").status, 200, "who comes when nobody waits has a turn at once");
    }
}

#[test]
fn z13_a_fallback_takes_over_wherever_its_service_is_not_reached() {
    let (ill, b) = (Upstream::start(|_| Reply::new(500, "ill")), Upstream::named("b"));
    let nobody = gateway_testkit::free_port();
    for (on, expected) in [("", "b"), ("on = [\"connect\"], ", "b"), ("on = [\"504\"], ", "")] {
        for (endpoint, settings) in [(ill.url(), CHECKED), (format!("http://127.0.0.1:{nobody}"), "")] {
            let gateway = start(&format!(
                "fallback = {{ {on}service = \"b\" }}\n[services.b]\nendpoints = [\"{}\"]\n\
                 [services.a]\nendpoints = [\"{endpoint}\"]\n{settings}",
                b.url()
            ));
            if !settings.is_empty() {
                is_healthy(&gateway, &ill, false);
            }
            let answer = get(gateway.addr(), "/");
            assert_eq!(answer.status == 200, !expected.is_empty(), "{on} {endpoint}: {}", answer.text());
            assert!(answer.status != 200 || answer.text() == expected);
        }
    }
}

#[test]
fn z13_z10_what_is_shed_for_a_service_that_fails_is_seen_behind_its_fallback_and_goes_there() {
    let (ill, b) = (Upstream::start(|_| Reply::new(500, "ill")), Upstream::named("b"));
    let gateway = start(&format!(
        "fallback = {{ on = [\"5xx\"], service = \"b\" }}\n[services.b]\nendpoints = [\"{}\"]\n{}",
        b.url(),
        service(&[(&ill, "")], "admission = { min_requests = 10 }\nretry = 1")
    ));
    // What is refused does not come to the service, and the client gets its answer all the same.
    wait_until("requests to be shed", SOON, || {
        let before = (ill.hits(), b.hits());
        assert_eq!(who(&gateway, 20, &Request::get("/"))["b"], 20);
        assert_eq!(b.hits() - before.1, 20);
        (ill.hits() - before.0 < 15).then_some(())
    });
}
