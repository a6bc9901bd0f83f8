//! How many requests at once, and faults on purpose.

use super::*;
use gateway_testkit::Reply;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// An upstream that sends half of each answer, and the rest once it is told to.
fn by_halves() -> (String, Sender<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (finish, told) = channel::<()>();
    let told: Arc<Mutex<Receiver<()>>> = Arc::new(Mutex::new(told));
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let told = told.clone();
            std::thread::spawn(move || {
                while matches!(stream.read(&mut [0; 4096]), Ok(1..)) {
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nha");
                    let _ = told.lock().unwrap().recv();
                    let _ = stream.write_all(b"lf");
                }
            });
        }
    });
    (url, finish)
}

/// A request whose answer has begun and not ended.
fn begun(addr: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").unwrap();
    let mut seen = Vec::new();
    while !seen.ends_with(b"\r\n\r\nha") {
        let mut byte = [0];
        assert_eq!(stream.read(&mut byte).unwrap(), 1, "{}", String::from_utf8_lossy(&seen));
        seen.push(byte[0]);
    }
    stream
}

fn finish(mut stream: TcpStream) -> Vec<u8> {
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
    rest
}

#[test]
fn one_more_than_allowed_is_refused_until_an_answers_body_has_ended() {
    let (url, rest) = by_halves();
    let gateway = gateway(&format!(
        "services.a.endpoints = [\"{url}\"]\n[[routes]]\npath = \"/*\"\nservice = \"a\"\nconcurrency = 2\n"
    ));
    let addr = gateway.addr();
    let (first, second) = (begun(addr), begun(addr));
    let refused = get(addr, "/");
    assert_eq!((code(&refused), refused.header("retry-after")), ((503, "overloaded".to_owned()), Some("1")));
    rest.send(()).unwrap();
    rest.send(()).unwrap();
    assert_eq!((finish(first), finish(second)), (b"lf".to_vec(), b"lf".to_vec()));
    // The slots are free again; one who goes away gives his back too.
    let gone = begun(addr);
    let stays = begun(addr);
    assert_eq!(get(addr, "/").status, 503);
    drop(gone);
    rest.send(()).unwrap();
    rest.send(()).unwrap();
    wait_until("a free slot", SOON, || (get_if_free(addr, &rest)).then_some(()));
    drop(stays);
}

/// Whether a request was let in; the upstream is told to finish it.
fn get_if_free(addr: SocketAddr, rest: &Sender<()>) -> bool {
    let _ = rest.send(());
    get(addr, "/").status == 200
}

#[test]
fn who_has_too_many_at_once_of_a_key_is_429_and_others_pass() {
    let upstream = Upstream::named("a");
    let gateway = in_front_of(
        &upstream,
        "[[routes]]\npath = \"/*\"\nservice = \"a\"\nconcurrency = { max = 1, key = \"header:X-Tenant\" }\n",
    );
    let addr = gateway.addr();
    let of = |tenant: &'static str| Request::get("/").header("X-Tenant", tenant);
    upstream.stall();
    let busy =
        ["acme", "other"].map(|tenant| std::thread::spawn(move || Client::new(addr).send(&of(tenant))));
    wait_until("both upstream", SOON, || (upstream.hits() == 2).then_some(()));
    let refused = send(&gateway, &of("acme"));
    assert_eq!(
        (code(&refused), refused.header("retry-after")),
        ((429, "rate-limited".to_owned()), Some("1"))
    );
    upstream.resume();
    assert_eq!(busy.map(|thread| thread.join().unwrap().status), [200, 200]);
}

#[test]
fn a_queue_lets_requests_wait_for_their_turn_but_not_for_ever() {
    let upstream = Upstream::named("a");
    let gateway = in_front_of(
        &upstream,
        "[[routes]]\npath = \"/*\"\nservice = \"a\"\nconcurrency = { max = 1, queue = { length = 1, timeout = \"10s\" } }\n\
         [[routes]]\npath = \"/hasty\"\nservice = \"a\"\nconcurrency = { max = 1, queue = { length = 1, timeout = \"50ms\" } }\n",
    );
    let addr = gateway.addr();
    upstream.stall();
    let ask = |path: &'static str| std::thread::spawn(move || get(addr, path));
    let first = ask("/");
    wait_until("the first upstream", SOON, || (upstream.hits() == 1).then_some(()));
    // Of two more, one waits and one is refused, whichever comes first.
    let (more, answers) = channel();
    for _ in 0..2 {
        let more = more.clone();
        std::thread::spawn(move || more.send(get(addr, "/")));
    }
    let refused = answers.recv_timeout(SOON).unwrap();
    assert_eq!(code(&refused), (503, "overloaded".to_owned()));
    let hasty = ask("/hasty");
    wait_until("the hasty upstream", SOON, || (upstream.hits() == 2).then_some(()));
    let late = get(addr, "/hasty");
    assert!(late.status == 503 && late.text().contains("did not come in time"), "{}", late.text());
    assert!(answers.try_recv().is_err(), "the other still waits");
    upstream.resume();
    assert_eq!((first.join().unwrap().status, hasty.join().unwrap().status), (200, 200));
    assert_eq!(answers.recv_timeout(SOON).unwrap().status, 200);
}

#[test]
fn an_adaptive_limit_refuses_what_the_service_has_no_room_for_unless_it_only_reports() {
    for (mode, at_least) in [("enforce", 1), ("report", 4)] {
        let upstream = Upstream::named("a");
        let config = format!(
            "services.a.adaptive = {{ min = 2, initial = 2, max = 2, mode = \"{mode}\" }}\n\
             [[routes]]\npath = \"/*\"\nservice = \"a\"\n"
        );
        let gateway = in_front_of(&upstream, &config);
        let addr = gateway.addr();
        upstream.stall();
        let (to, answers) = channel();
        for _ in 0..4 {
            let to = to.clone();
            std::thread::spawn(move || to.send(get(addr, "/")));
        }
        wait_until("as many as there is room for", SOON, || (upstream.hits() >= at_least).then_some(()));
        if mode == "enforce" {
            let answer = answers.recv_timeout(SOON).unwrap();
            assert_eq!(
                (code(&answer), answer.header("retry-after")),
                ((503, "overloaded".to_owned()), Some("1"))
            );
        }
        upstream.resume();
        assert!(answers.recv_timeout(SOON).is_ok());
    }
}

#[test]
fn while_too_much_fails_a_share_is_refused_and_the_critical_last() {
    let upstream = Upstream::start(|_| Reply::new(500, "broken"));
    let gateway = in_front_of(
        &upstream,
        "services.a.admission = { min_requests = 10, priority_header = \"X-Priority\", trusted = [\"127.0.0.0/8\"] }\n\
         [[routes]]\npath = \"/*\"\nservice = \"a\"\n",
    );
    let mut client = Client::new(gateway.addr());
    let mut refused = |priority: &str, requests: usize| {
        let answers = (0..requests).map(|_| client.send(&Request::get("/").header("X-Priority", priority)));
        answers.filter(|answer| answer.status == 503 && code(answer).1 == "overloaded").count()
    };
    assert_eq!(refused("critical", 10), 0, "too few have been seen");
    // Of all, four of five are refused: every sheddable one, and three of five of the others.
    wait_until("all that is sheddable to be refused", SOON, || {
        let (critical, sheddable) = (refused("critical", 20), refused("sheddable", 20));
        (sheddable == 20 && (1..20).contains(&critical)).then_some(())
    });
}

#[test]
fn faults_delay_abort_and_slow_down_by_percentage_or_header() {
    let upstream = Upstream::start(|_| Reply::new(200, &"x".repeat(3000)));
    let gateway = in_front_of(
        &upstream,
        "[[routes]]\npath = \"/delay\"\nservice = \"a\"\nfault = { delay = \"300ms\" }\n\
         [[routes]]\npath = \"/abort\"\nservice = \"a\"\nfault = { abort = 418 }\n\
         [[routes]]\npath = \"/half\"\nservice = \"a\"\nfault = { abort = { status = 500, percent = 50 } }\n\
         [[routes]]\npath = \"/never\"\nservice = \"a\"\nfault = { abort = { percent = 0 } }\n\
         [[routes]]\npath = \"/header\"\nservice = \"a\"\nfault = { abort = 503, header = \"X-Fault\" }\n\
         [[routes]]\npath = \"/slow\"\nservice = \"a\"\nfault = { rate = \"6KiB\" }\n",
    );
    let addr = gateway.addr();
    let start = Instant::now();
    assert_eq!(get(addr, "/delay").status, 200);
    assert!(start.elapsed() >= Duration::from_millis(300), "{:?}", start.elapsed());
    let before = upstream.hits();
    let aborted = get(addr, "/abort");
    assert_eq!(code(&aborted), (418, "fault-injected".to_owned()));
    assert_eq!(upstream.hits(), before, "the service was not asked");
    let mut client = Client::new(addr);
    let half = (0..200).filter(|_| client.send(&Request::get("/half")).status == 500).count();
    // Five standard deviations.
    assert!((65..=135).contains(&half), "{half} of 200");
    assert!((0..50).all(|_| client.send(&Request::get("/never")).status == 200));
    assert_eq!(get(addr, "/header").status, 200);
    assert_eq!(send(&gateway, &Request::get("/header").header("X-Fault", "")).status, 503);
    let start = Instant::now();
    assert_eq!(get(addr, "/slow").body.len(), 3000);
    assert!(start.elapsed() >= Duration::from_millis(300), "{:?}", start.elapsed());
    let injected =
        |route: &str| metric(&gateway, &format!("gateway_faults_injected_total{{route=\"{route}\"}}"));
    let counted = ["/delay", "/abort", "/half", "/never", "/header", "/slow"].map(injected);
    assert_eq!(counted, [1, 1, half as u64, 0, 1, 1]);
}

#[test]
fn a_body_over_the_limit_is_413_whether_its_length_is_told_or_turns_out() {
    let upstream = Upstream::named("a");
    let gateway = in_front_of(
        &upstream,
        "defaults.max_body = \"1KiB\"\n[[routes]]\npath = \"/*\"\nservice = \"a\"\n\
         [[routes]]\npath = \"/large/*\"\nservice = \"a\"\nmax_body = \"4KiB\"\n",
    );
    let told =
        |target: &str, bytes: usize| send(&gateway, &Request::new("POST", target).body(vec![b'x'; bytes]));
    let turns_out = |bytes: usize| {
        let body = "x".repeat(bytes);
        let request = format!(
            "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n\
             200\r\n{}\r\n{:x}\r\n{}\r\n0\r\n\r\n",
            &body[..512],
            bytes - 512,
            &body[512..]
        );
        gateway_testkit::raw(gateway.addr(), request.as_bytes())
    };
    assert_eq!(told("/", 1024).status, 200);
    assert_eq!(told("/large/x", 4096).status, 200);
    assert!(turns_out(1024).starts_with("HTTP/1.1 200 "));
    let seen = upstream.hits();
    for answer in [told("/", 1025), told("/large/x", 4097)] {
        assert_eq!(
            (answer.status, &answer.json()["code"]),
            (413, &"body-too-large".into()),
            "{}",
            answer.text()
        );
    }
    assert_eq!(upstream.hits(), seen, "nothing of a body that is known to be too large goes on");
    let answer = turns_out(1025);
    assert!(answer.starts_with("HTTP/1.1 413 ") && answer.contains("\"body-too-large\""), "{answer}");
    let whole: Vec<_> = upstream.requests().into_iter().filter(|request| request.body.len() > 1024).collect();
    assert_eq!(whole.len(), 1, "only the one that may be: {}", whole.len());
    // Over HTTP/2 too.
    let output = std::process::Command::new("curl")
        .args([
            "-s",
            "--http2-prior-knowledge",
            "-o",
            "/dev/null",
            "-w",
            "%{http_code}",
            "-H",
            "Content-Length:",
        ])
        .args(["--data-binary", &"x".repeat(2000)])
        .arg(format!("http://{}/", gateway.addr()))
        .output()
        .expect("curl; install it");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "413");
}

#[test]
fn o8_a_limit_on_bodies_that_only_reports_lets_all_pass_and_says_whom_it_would_refuse() {
    let upstream = Upstream::named("a");
    let gateway = in_front_of(
        &upstream,
        "server.watch = false\n[[routes]]\npath = \"/*\"\nservice = \"a\"\n\
         max_body = { limit = \"1KiB\", mode = \"report\" }\n",
    );
    let sized = |bytes: usize| Request::new("POST", "/").body(vec![b'x'; bytes]);
    assert_eq!(send(&gateway, &sized(1024)).status, 200);
    assert_eq!(send(&gateway, &sized(1025)).status, 200);
    let body = "x".repeat(0x500);
    let unsized_one = format!(
        "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n\
         500\r\n{body}\r\n0\r\n\r\n"
    );
    let answer = gateway_testkit::raw(gateway.addr(), unsized_one.as_bytes());
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let lengths: Vec<_> = upstream.requests().iter().map(|request| request.body.len()).collect();
    assert_eq!(lengths, [1024, 1025, 0x500]);
    let expected = ["-", "max-body", "max-body"].map(|would| (200, "-".to_owned(), would.to_owned()));
    assert_eq!(told(&gateway, 3), expected);
    assert_eq!(overload(&gateway, "max-body", "/*", "would_refuse"), 2);
    // What was counted is not forgotten.
    let reload = Request::new("POST", "/reload");
    assert_eq!(gateway_testkit::Client::new(gateway.admin()).send(&reload).status, 200);
    assert_eq!(overload(&gateway, "max-body", "/*", "would_refuse"), 2);
}

/// What a series stands at; 0 where there is none.
fn metric(gateway: &Gateway, series: &str) -> u64 {
    let text = get(gateway.admin(), "/metrics").text();
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.map_or(0, |value| value.parse::<f64>().unwrap() as u64)
}

fn overload(gateway: &Gateway, policy: &str, name: &str, result: &str) -> u64 {
    let labels = format!("policy=\"{policy}\",name=\"{name}\",result=\"{result}\"");
    metric(gateway, &format!("gateway_overload_total{{{labels}}}"))
}

/// What the log says of who was refused, or would have been.
fn told(gateway: &Gateway, requests: usize) -> Vec<(u64, String, String)> {
    let lines = wait_until("the lines of the access log", SOON, || {
        Some(gateway.access_log()).filter(|lines| lines.len() >= requests)
    });
    let text = |line: &serde_json::Value, name: &str| line[name].as_str().unwrap_or("-").to_owned();
    let mut told: Vec<_> = lines
        .iter()
        .map(|line| (line["status"].as_u64().unwrap(), text(line, "limited_by"), text(line, "would_limit")))
        .collect();
    told.sort();
    told
}

#[test]
fn o8_who_is_refused_and_who_would_be_is_in_the_log_and_in_metrics() {
    let dash = "-".to_owned();
    for (mode, result) in [("enforce", "refused"), ("report", "would_refuse")] {
        for (policy, name, config) in [
            ("concurrency", "r", format!("groups.g.concurrency = {{ max = 1, mode = \"{mode}\" }}\n")),
            (
                "adaptive",
                "a",
                format!("services.a.adaptive = {{ min = 1, initial = 1, max = 1, mode = \"{mode}\" }}\n"),
            ),
            (
                "limits",
                "a",
                format!("services.a.balance.limits = {{ max_requests = 1, mode = \"{mode}\" }}\n"),
            ),
        ] {
            let upstream = Upstream::named("a");
            let config = format!(
                "{config}groups.g.max_body = \"1KiB\"\n[[routes]]\nname = \"r\"\ngroup = \"g\"\npath = \"/*\"\nservice = \"a\"\n"
            );
            let gateway = in_front_of(&upstream, &config);
            let addr = gateway.addr();
            upstream.stall();
            let first = std::thread::spawn(move || get(addr, "/").status);
            wait_until("the first upstream", SOON, || (upstream.hits() == 1).then_some(()));
            let second = std::thread::spawn(move || get(addr, "/").status);
            wait_until("the second to be counted", SOON, || {
                (overload(&gateway, policy, name, result) == 1).then_some(())
            });
            upstream.resume();
            assert_eq!(first.join().unwrap(), 200);
            let (status, limited, would) = match mode {
                "enforce" => (503, policy.to_owned(), dash.clone()),
                _ => (200, dash.clone(), policy.to_owned()),
            };
            assert_eq!(u64::from(second.join().unwrap()), status, "{policy} {mode}");
            let mut expected = vec![(200, dash.clone(), dash.clone()), (status, limited, would)];
            expected.sort();
            assert_eq!(told(&gateway, 2), expected, "{policy} {mode}");
        }
    }
}

#[test]
fn o12_a_service_that_stands_still_keeps_only_so_many_waiting_until_it_answers_again() {
    let (upstream, other) = (Upstream::named("a"), Upstream::named("b"));
    let config = format!(
        "[services.a]\nendpoints = [\"{}\"]\ntimeout = \"1s\"\nretry = 1\nbalance = {{ bulkhead = 3 }}\n\
         [services.b]\nendpoints = [\"{}\"]\n\
         [[routes]]\npath = \"/a\"\nservice = \"a\"\n\
         [[routes]]\npath = \"/b\"\nservice = \"b\"\n",
        upstream.url(),
        other.url()
    );
    let gateway = gateway(&config);
    let addr = gateway.addr();
    assert_eq!(get(addr, "/a").status, 200);
    upstream.stall();
    let over = Arc::new(AtomicBool::new(false));
    let (to, answers) = channel();
    let clients: Vec<_> = (0..6)
        .map(|_| {
            let (to, over) = (to.clone(), over.clone());
            std::thread::spawn(move || {
                while !over.load(Relaxed) {
                    let answer = get(addr, "/a");
                    if answer.status != 200 {
                        let _ = to.send((code(&answer), answer.header("retry-after").map(str::to_owned)));
                    }
                }
            })
        })
        .collect();
    // All wait for their timeouts, until those of ten seconds are known.
    let begun = Instant::now();
    let refused = loop {
        let answer = answers.recv_timeout(2 * SOON).expect("a request to be refused or to time out");
        if answer.0.1 != "upstream-timeout" {
            break answer;
        }
        assert!(begun.elapsed() < 6 * SOON, "nobody is refused");
    };
    assert_eq!(refused, ((503, "overloaded".to_owned()), Some("1".to_owned())));
    assert_eq!(metric(&gateway, "gateway_upstream_stuck{service=\"a\"}"), 1);
    wait_until("what was counted", SOON, || {
        (overload(&gateway, "bulkhead", "a", "refused") > 0).then_some(())
    });
    wait_until("a line that says so", SOON, || {
        let said = "a: half of the requests and more have no answer: of those who wait for one, all above 3 are refused";
        gateway.process().stderr().contains(said).then_some(())
    });
    wait_until("a line of the access log", SOON, || {
        let lines = gateway.access_log();
        lines.iter().any(|line| line["limited_by"] == "bulkhead" && line["status"] == 503).then_some(())
    });
    assert_eq!(get(addr, "/b").status, 200, "the other service is as it was");
    upstream.resume();
    wait_until("any number to wait again", 3 * SOON, || {
        (metric(&gateway, "gateway_upstream_stuck{service=\"a\"}") == 0).then_some(())
    });
    over.store(true, Relaxed);
    for client in clients {
        client.join().unwrap();
    }
    assert_eq!(get(addr, "/a").status, 200);
    assert_eq!(metric(&gateway, "gateway_upstream_stuck{service=\"b\"}"), 0);
}

#[test]
fn z6_a_circuit_of_a_route_leaves_the_services_other_routes_alone_and_outlives_a_reload() {
    let upstream = Upstream::start(|request| {
        if request.target.starts_with("/bad") { Reply::new(500, "broken") } else { Reply::new(200, "good") }
    });
    let gateway = in_front_of(
        &upstream,
        "services.a.balance.outlier = \"off\"\ndefaults.circuit = { min_requests = 5, open = \"60s\" }\n\
         [[routes]]\npath = \"/bad/*\"\nservice = \"a\"\n\
         [[routes]]\npath = \"/good/*\"\nservice = \"a\"\n\
         [[routes]]\npath = \"/bad/none\"\nservice = \"a\"\ncircuit = false\n\
         [[routes]]\npath = \"/bad/report\"\nservice = \"a\"\ncircuit = { min_requests = 5, mode = \"report\" }\n",
    );
    let addr = gateway.addr();
    let five = |path: &str| (0..5).for_each(|_| assert_eq!(get(addr, path).status, 500, "{path}"));
    five("/bad/x");
    // At once, while all of its time is left.
    let refused = get(addr, "/bad/x");
    assert_eq!(
        (code(&refused), refused.header("retry-after")),
        ((503, "circuit-open".to_owned()), Some("60"))
    );
    assert_eq!(get(addr, "/good/x").status, 200);
    for path in ["/bad/none", "/bad/report", "/bad/none", "/bad/report"] {
        five(path);
    }
    assert_eq!(overload(&gateway, "route-circuit", "/bad/*", "refused"), 1);
    assert_eq!(overload(&gateway, "route-circuit", "/bad/report", "would_refuse"), 5);
    assert_eq!(metric(&gateway, "gateway_route_circuit_open{route=\"/bad/*\"}"), 1);
    assert_eq!(metric(&gateway, "gateway_route_circuit_open{route=\"/good/*\"}"), 0);
    let file = gateway.dir().join("gateway.toml");
    let config = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("{config}[[routes]]\npath = \"/new\"\nrespond = 204\n")).unwrap();
    wait_until("the reload", SOON, || (get(addr, "/new").status == 204).then_some(()));
    assert_eq!(get(addr, "/bad/x").status, 503, "what is known is kept");
    assert!(gateway.stop().stderr.contains("route /bad/*: the circuit is open"));
}

#[test]
fn z10_the_class_of_a_route_says_what_is_shed_first() {
    let upstream = Upstream::start(|_| Reply::new(500, "broken"));
    let gateway = in_front_of(
        &upstream,
        "services.a.admission.min_requests = 10\nservices.a.balance.outlier = \"off\"\n\
         groups.paid.class = \"critical\"\n\
         [[routes]]\npath = \"/paid\"\nservice = \"a\"\ngroup = \"paid\"\n\
         [[routes]]\npath = \"/free\"\nservice = \"a\"\nclass = \"sheddable\"\n",
    );
    let mut client = Client::new(gateway.addr());
    let mut refused = |path: &str, requests: usize| {
        (0..requests).filter(|_| client.send(&Request::get(path)).status == 503).count()
    };
    assert_eq!(refused("/paid", 10), 0, "too few have been seen");
    wait_until("all that is sheddable to be refused", SOON, || {
        let (paid, free) = (refused("/paid", 20), refused("/free", 20));
        (free == 20 && (1..20).contains(&paid)).then_some(())
    });
}

#[test]
fn z13_another_service_then_a_stale_answer_then_a_static_one() {
    let [main, other] = [(); 2].map(|()| Arc::new(std::sync::atomic::AtomicBool::new(true)));
    let start = |well: &Arc<std::sync::atomic::AtomicBool>, text: &'static str, cache: &'static str| {
        let well = well.clone();
        Upstream::start(move |_| {
            if !well.load(std::sync::atomic::Ordering::SeqCst) {
                return Reply::new(500, "broken");
            }
            Reply::with(200, &[("Cache-Control", cache)], text)
        })
    };
    let a = start(&main, "main", "max-age=0, stale-if-error=600");
    let b = start(&other, "other", "no-store");
    let gateway = in_front_of(
        &a,
        &format!(
            "services.b.endpoints = [\"{}\"]\n[[routes]]\npath = \"/*\"\nservice = \"a\"\ncache = true\n\
             fallback = {{ on = [\"failure\", \"5xx\"], service = \"b\", respond = \"static\" }}\n",
            b.url()
        ),
    );
    let set = |flag: &Arc<std::sync::atomic::AtomicBool>, well| {
        flag.store(well, std::sync::atomic::Ordering::SeqCst);
    };
    let addr = gateway.addr();
    assert_eq!(get(addr, "/kept").text(), "main");
    set(&main, false);
    assert_eq!(get(addr, "/new").text(), "other");
    set(&other, false);
    assert_eq!(get(addr, "/kept").text(), "main", "what was kept comes before what says nothing");
    assert_eq!(get(addr, "/new").text(), "static");
}

#[test]
fn z1_an_upload_may_take_longer_than_the_timeout_and_its_endpoint_is_not_blamed() {
    let upstream = Upstream::named("a");
    let gateway =
        in_front_of(&upstream, "services.a.timeout = \"2s\"\n[[routes]]\npath = \"/*\"\nservice = \"a\"\n");
    let mut stream = TcpStream::connect(gateway.addr()).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream
        .write_all(b"PUT / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 12\r\n\r\n")
        .unwrap();
    for _ in 0..12 {
        std::thread::sleep(Duration::from_millis(250));
        stream.write_all(b"x").unwrap();
    }
    let answer = String::from_utf8(finish(stream)).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    // An endpoint that has the whole request and says nothing is still too slow.
    upstream.stall();
    let slow = send(&gateway, &Request::new("PUT", "/").body(vec![b'x'; 10]));
    assert_eq!(code(&slow), (504, "upstream-timeout".to_owned()));
    upstream.resume();
}

#[test]
fn metrics_of_what_a_reload_has_removed_go_with_it_and_counters_of_a_mode_go_on() {
    let (upstream, other) = (Upstream::named("a"), Upstream::named("b"));
    let gateway = gateway(&format!(
        "server.watch = false\nservices.a.endpoints = [\"{}\", \"{}\"]\n\
         services.a.adaptive = {{ min = 1, initial = 1, max = 1, mode = \"enforce\" }}\n\
         [[routes]]\npath = \"/*\"\nservice = \"a\"\n\
         [[routes]]\npath = \"/gone\"\nservice = \"a\"\nconcurrency = 5\n",
        upstream.url(),
        other.url(),
    ));
    let addr = gateway.addr();
    let series = |part: &str| {
        let text = get(gateway.admin(), "/metrics").text();
        text.lines().filter(|line| line.starts_with("gateway_") && line.contains(part)).count()
    };
    let gone = other.url().replace("http://", "");
    assert!(series(&gone) >= 3 && series("\"/gone\"") >= 2);
    let edit = |from: &str, to: &str| {
        let file = gateway.dir().join("gateway.toml");
        let config = std::fs::read_to_string(&file).unwrap();
        assert!(config.contains(from), "{config}");
        std::fs::write(&file, config.replace(from, to)).unwrap();
        assert_eq!(Client::new(gateway.admin()).send(&Request::new("POST", "/reload")).status, 200);
    };
    edit(&format!(", \"{}\"", other.url()), "");
    edit("[[routes]]\npath = \"/gone\"\nservice = \"a\"\nconcurrency = 5\n", "");
    assert_eq!((series(&gone), series("\"/gone\"")), (0, 0));
    assert!(series("gateway_upstream_healthy") == 1);

    // One that is over what is allowed, in each mode.
    let mut hits = 0;
    let mut over = |result: &str, count: u64| {
        upstream.stall();
        let first = std::thread::spawn(move || get(addr, "/").status);
        wait_until("the first upstream", SOON, || (upstream.hits() == hits + 1).then_some(()));
        let second = std::thread::spawn(move || get(addr, "/").status);
        wait_until("the second to be counted", SOON, || {
            (overload(&gateway, "adaptive", "a", result) == count).then_some(())
        });
        upstream.resume();
        let status = if result == "refused" { 503 } else { 200 };
        assert_eq!((first.join().unwrap(), second.join().unwrap()), (200, status));
        hits = upstream.hits();
    };
    over("refused", 1);
    edit("\"enforce\"", "\"report\"");
    over("would_refuse", 1);
    edit("\"report\"", "\"enforce\"");
    over("refused", 2);
}
