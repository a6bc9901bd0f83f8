//! The life of the process, and what it does with upstreams that come, go and misbehave.
#![allow(clippy::unwrap_used)]

use gateway_testkit::{
    Client, Fault, Gateway, Reply, Request, Signal, Upstream, failing, get, raw, scripted, wait_until,
};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const EXE: &str = env!("CARGO_BIN_EXE_gateway");
const SOON: Duration = Duration::from_secs(10);

fn gateway(endpoints: &[String], service: &str) -> Gateway {
    let config = format!(
        "access_log = \"@DIR@/access.log\"\n[server]\nlisten = \"127.0.0.1:@PORT@\"\nworkers = 1\n\
         [admin]\nlisten = \"127.0.0.1:@ADMIN@\"\n[services.a]\nendpoints = {endpoints:?}\n{service}\n\
         [[routes]]\npath = \"/*\"\nservice = \"a\"\n"
    );
    Gateway::builder(EXE).config(&config).start()
}

#[test]
fn sigterm_lets_requests_finish_closes_idle_connections_and_writes_the_last_line() {
    let upstream = Upstream::named("a");
    let gateway = gateway(&[upstream.url()], "");
    let addr = gateway.addr();
    let mut idle = TcpStream::connect(addr).unwrap();
    let mut kept = Client::new(addr);
    assert_eq!(kept.send(&Request::get("/first")).status, 200);
    upstream.stall();
    let busy = std::thread::spawn(move || get(addr, "/last"));
    wait_until("the request upstream", SOON, || (upstream.hits() == 2).then_some(()));
    let start = Instant::now();
    gateway.process().signal(Signal::SIGTERM);
    wait_until("the listener to close", SOON, || TcpStream::connect(addr).is_err().then_some(()));
    assert_eq!(get(gateway.admin(), "/readyz").status, 503);
    assert_eq!(get(gateway.admin(), "/livez").status, 200);
    upstream.resume();
    assert_eq!(busy.join().unwrap().text(), "a");
    let log = gateway.dir().join("access.log");
    let keep = std::fs::File::open(&log).unwrap();
    let finished = gateway.stop();
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    assert!(
        start.elapsed() < Duration::from_secs(8),
        "idle connections held it up for {:?}",
        start.elapsed()
    );
    assert_eq!(idle.read(&mut [0; 1]).unwrap(), 0, "the idle connection was closed in order");
    let lines = std::io::read_to_string(keep).unwrap();
    assert!(lines.contains("\"uri\":\"/last\""), "{lines}");
    assert!(
        finished.stderr.contains("draining") && finished.stderr.contains("stopped"),
        "{}",
        finished.stderr
    );
}

#[test]
fn s4_29_s4_02_an_endpoint_that_fails_its_checks_is_taken_out_and_comes_back() {
    let sick = Arc::new(AtomicBool::new(true));
    let state = sick.clone();
    let a = Upstream::start(move |request| match request.target.as_str() {
        "/health" if state.load(Ordering::SeqCst) => Reply::new(500, "sick"),
        _ => Reply::new(200, "a"),
    });
    let b = Upstream::named("b");
    let service = "health = { path = \"/health\", interval = \"50ms\", timeout = \"1s\" }";
    let gateway = gateway(&[a.url(), b.url()], service);
    let metric = |url: String, value: u8| {
        let line = format!("gateway_upstream_healthy{{service=\"a\",endpoint=\"{url}\"}} {value}");
        wait_until(&line, SOON, || get(gateway.admin(), "/metrics").text().contains(&line).then_some(()));
    };
    metric(a.url(), 0);
    assert_eq!([0; 4].map(|_| get(gateway.addr(), "/").text()), ["b", "b", "b", "b"]);
    assert_eq!(get(gateway.admin(), "/health").json()["status"], "healthy", "one endpoint is enough");
    sick.store(false, Ordering::SeqCst);
    metric(a.url(), 1);
    let mut both = [0; 2].map(|_| get(gateway.addr(), "/").text());
    both.sort();
    assert_eq!(both, ["a", "b"]);
}

#[test]
fn s4_31_without_a_healthy_endpoint_it_is_503_and_the_gateway_stays_alive() {
    let (addr, _) = failing(Fault::AcceptThenClose);
    let gateway =
        gateway(&[format!("http://{addr}")], "health = { path = \"/health\", interval = \"50ms\" }");
    let report = wait_until("the service to be unhealthy", SOON, || {
        let report = get(gateway.admin(), "/health");
        (report.json()["status"] == "degraded").then_some(report)
    });
    assert_eq!((report.status, &report.json()["services"]["a"]), (200, &"unhealthy".into()));
    let answer = get(gateway.addr(), "/");
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")));
    assert_eq!(answer.json()["code"], "no-endpoint");
    assert_eq!(answer.json()["instance"], answer.header("x-correlation-id").unwrap());
    assert_eq!((get(gateway.admin(), "/livez").status, get(gateway.admin(), "/readyz").status), (200, 200));
}

#[test]
fn s0_07_one_connection_serves_many_requests() {
    let upstream = Upstream::named("a");
    let gateway = gateway(&[upstream.url()], "");
    let mut client = Client::new(gateway.addr());
    for i in 0..50 {
        let request = if i % 2 == 0 { Request::get("/") } else { Request::new("POST", "/").body("hello") };
        assert_eq!(client.send(&request).status, 200);
    }
    assert_eq!((upstream.hits(), upstream.connections()), (50, 1));
}

#[test]
fn answers_of_every_shape_come_through() {
    let big = "x".repeat(1 << 20);
    let shapes: Vec<(&str, String, u16, String)> = vec![
        ("/length", format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{big}", big.len()), 200, big.clone()),
        ("/chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\nX-T: 1\r\n\r\n".into(), 200, "hello world".into()),
        ("/close", "HTTP/1.1 200 OK\r\n\r\nuntil the end".into(), 200, "until the end".into()),
        ("/old", "HTTP/1.0 200 OK\r\n\r\nold".into(), 200, "old".into()),
        ("/empty", "HTTP/1.1 204 No Content\r\n\r\n".into(), 204, String::new()),
        ("/not-modified", "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\nETag: \"x\"\r\n\r\n".into(), 304, String::new()),
        ("/interim", "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".into(), 200, "ok".into()),
    ];
    let replies = shapes.clone();
    let upstream = Upstream::start(move |request| {
        let (path, bytes, ..) = replies.iter().find(|(path, ..)| *path == request.target).unwrap();
        Reply::raw(bytes.as_bytes(), matches!(*path, "/close" | "/old"))
    });
    let gateway = gateway(&[upstream.url()], "");
    let mut client = Client::new(gateway.addr());
    for _ in 0..2 {
        for (path, _, status, body) in &shapes {
            let answer = client.send(&Request::get(path));
            assert_eq!(
                (answer.status, answer.text() == *body),
                (*status, true),
                "{path}: {:.60}",
                answer.text()
            );
        }
    }
}

#[test]
fn a_head_request_has_the_headers_of_its_get_and_no_body() {
    let upstream = Upstream::start(|request| match request.method.as_str() {
        "HEAD" => Reply::raw(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", false),
        _ => Reply::new(200, "hello"),
    });
    let gateway = gateway(&[upstream.url()], "");
    let mut client = Client::new(gateway.addr());
    let head = client.send(&Request::new("HEAD", "/"));
    assert_eq!((head.header("content-length"), head.body.len()), (Some("5"), 0));
    assert_eq!(client.send(&Request::get("/")).text(), "hello");
    assert_eq!(upstream.connections(), 1);
}

#[test]
fn an_answer_may_come_before_the_body_has_been_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            // Looks at the head only, refuses, and closes with the body unread.
            let _ = stream.read(&mut [0; 200]);
            let _ = stream
                .write_all(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nno!");
            let _ = stream.shutdown(std::net::Shutdown::Write);
            std::thread::sleep(Duration::from_secs(2));
        }
    });
    let gateway = gateway(&[format!("http://{addr}")], "");
    let head = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10000000\r\n\r\n";
    let mut stream = TcpStream::connect(gateway.addr()).unwrap();
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&[b'x'; 100_000]).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    let mut answer = [0; 1024];
    let length = stream.read(&mut answer).unwrap();
    let answer = String::from_utf8_lossy(&answer[..length]);
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}

#[test]
fn a_body_that_breaks_off_breaks_off_for_the_client_too() {
    let (addr, _) = failing(Fault::TruncatedBody);
    let gateway = gateway(&[format!("http://{addr}")], "");
    let result = Client::new(gateway.addr()).try_send(&Request::get("/"));
    assert!(result.is_err(), "half an answer was passed on as a whole one: {result:?}");
}

#[test]
fn an_upstream_that_says_nothing_is_504_and_its_connection_is_given_up() {
    let (addr, seen) = failing(Fault::Silence);
    let gateway = gateway(&[format!("http://{addr}")], "timeout = \"200ms\"\nretry = 1");
    let answer = get(gateway.addr(), "/");
    assert_eq!((answer.status, answer.json()["code"].clone()), (504, "upstream-timeout".into()));
    assert_eq!(seen.load(Ordering::SeqCst), 1);
}

#[test]
fn clients_are_not_told_which_endpoint_failed_unless_the_operator_says_so() {
    let port = gateway_testkit::free_port();
    for (service, shown) in [("retry = 1", false), ("retry = 1\nreveal_endpoints = true", true)] {
        let gateway = gateway(&[format!("http://127.0.0.1:{port}")], service);
        let answer = get(gateway.addr(), "/").text();
        assert_eq!(answer.contains(&port.to_string()), shown, "{answer}");
        assert!(answer.contains("connection refused"), "{answer}");
    }
}

#[test]
fn the_admin_listener_answers_only_what_it_has() {
    let upstream = Upstream::named("a");
    let gateway = gateway(&[upstream.url()], "");
    let admin: SocketAddr = gateway.admin();
    assert_eq!(get(admin, "/routes").json()[0]["path"], "/*");
    assert_eq!(get(admin, "/nothing").status, 404);
    let refused = Client::new(admin).send(&Request::new("DELETE", "/metrics"));
    assert_eq!((refused.status, refused.header("allow")), (405, Some("GET, HEAD")));
    assert_eq!(
        Client::new(admin).send(&Request::new("POST", "/revoke").body("x")).status,
        404,
        "no tokens, no revocation"
    );
    assert!(raw(admin, b"nonsense\r\n\r\n").starts_with("HTTP/1.1 400"));
    assert_eq!(get(gateway.addr(), "/metrics").text(), "a", "clients do not reach it");
}

#[test]
fn a_limit_is_told_and_enforced_and_shared_by_all_workers() {
    let upstream = Upstream::named("a");
    let config = format!(
        "[server]\nlisten = \"127.0.0.1:@PORT@\"\nworkers = 4\n[services.a]\nendpoints = [\"{}\"]\n\
         [rate_limits]\nfew = \"5/h\"\n[[routes]]\npath = \"/*\"\nservice = \"a\"\nrate_limit = \"few\"\n",
        upstream.url()
    );
    let gateway = Gateway::builder(EXE).config(&config).start();
    // A new connection each time, so that all workers are met.
    let answers: Vec<_> = (0..12).map(|_| get(gateway.addr(), "/")).collect();
    let passed = answers.iter().filter(|answer| answer.status == 200).count();
    assert_eq!((passed, upstream.hits()), (5, 5));
    assert_eq!(answers[0].header("ratelimit"), Some("\"few\";r=4;t=720"));
    let last = answers.last().unwrap();
    assert_eq!((last.status, last.json()["code"].clone()), (429, "rate-limited".into()));
    assert!(last.header("retry-after").unwrap().parse::<u32>().unwrap() <= 720);
}

#[test]
fn a_client_cannot_say_two_hosts_remove_what_the_gateway_adds_or_claim_to_be_somebody() {
    let upstream = Upstream::named("a");
    let gateway = gateway(&[upstream.url()], "");
    let request = "GET http://public.example/x?y HTTP/1.1\r\nHost: admin.example\r\n\
                   Connection: close, X-Correlation-ID, X-Forwarded-For, Authorization, X-Mine\r\nX-Mine: 1\r\n\
                   Authorization: Basic x\r\nX-User-ID: root\r\nX_User_Roles: admin\r\nX-Consumer-Id: 1\r\n\r\n";
    assert!(raw(gateway.addr(), request.as_bytes()).starts_with("HTTP/1.1 200 "));
    let seen = &upstream.requests()[0];
    assert_eq!((seen.target.as_str(), seen.header("host")), ("/x?y", Some("public.example")));
    assert_eq!(seen.header("x-forwarded-host"), Some("public.example"));
    assert_eq!(seen.header("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(seen.header("x-correlation-id").map(str::len), Some(36));
    assert_eq!((seen.header("authorization"), seen.header("x-mine")), (Some("Basic x"), None));
    for spoofed in ["x-user-id", "x_user_roles", "x-consumer-id", "connection"] {
        assert_eq!(seen.header(spoofed), None, "{spoofed}");
    }
    let twofold =
        raw(gateway.addr(), b"GET http://user@public.example/ HTTP/1.1\r\nHost: public.example\r\n\r\n");
    assert!(twofold.starts_with("HTTP/1.1 400 "), "{twofold}");
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let upstream = Upstream::named("a");
    upstream.stall();
    let gateway = gateway(&[upstream.url()], "");
    let addr = gateway.addr();
    let busy = std::thread::spawn(move || Client::new(addr).try_send(&Request::get("/given-up")).is_err());
    wait_until("the request upstream", SOON, || (upstream.hits() == 1).then_some(()));
    gateway.process().signal(Signal::SIGTERM);
    wait_until("the listener to close", SOON, || TcpStream::connect(addr).is_err().then_some(()));
    let log = std::fs::File::open(gateway.dir().join("access.log")).unwrap();
    let start = Instant::now();
    let finished = gateway.stop();
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    assert!(start.elapsed() < Duration::from_secs(5), "it took {:?}", start.elapsed());
    assert!(busy.join().unwrap(), "the request was given up");
    let lines = std::io::read_to_string(log).unwrap();
    assert!(lines.contains("\"uri\":\"/given-up\""), "no line of what was given up: {lines}");
}

#[test]
fn a_second_signal_ends_it_at_once_also_while_connections_are_still_taken() {
    let upstream = Upstream::named("a");
    upstream.stall();
    let config = format!(
        "access_log = false\n[server]\nlisten = \"127.0.0.1:@PORT@\"\nworkers = 1\ndrain_delay = \"60s\"\n\
         drain_timeout = \"60s\"\n[admin]\nlisten = \"127.0.0.1:@ADMIN@\"\n[services.a]\n\
         endpoints = [\"{}\"]\n[[routes]]\npath = \"/*\"\nservice = \"a\"\n",
        upstream.url()
    );
    let gateway = Gateway::builder(EXE).config(&config).start();
    let addr = gateway.addr();
    let busy = std::thread::spawn(move || Client::new(addr).try_send(&Request::get("/")).is_err());
    wait_until("the request upstream", SOON, || (upstream.hits() == 1).then_some(()));
    gateway.process().signal(Signal::SIGTERM);
    wait_until("the delay", SOON, || (get(gateway.admin(), "/readyz").status == 503).then_some(()));
    // It waits for less than either time.
    let finished = gateway.stop();
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    assert!(busy.join().unwrap(), "the request was given up");
}

#[test]
fn it_ends_as_asked_also_while_it_waits_for_redis() {
    // It takes connections and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let config = format!(
        "access_log = false\n[server]\nlisten = \"127.0.0.1:@PORT@\"\n[store.redis]\nurl = \"redis://{}/0\"\n\
         connect_timeout = \"10m\"\n[[routes]]\npath = \"/*\"\nrespond = \"a\"\n",
        silent.local_addr().unwrap()
    );
    let builder = Gateway::builder(EXE).config(&config);
    let mut command = std::process::Command::new(EXE);
    command.args(["run", "--config", "gateway.toml"]).current_dir(builder.dir());
    let mut process = gateway_testkit::Process::start(&mut command, "no executable");
    let _connected = silent.accept().unwrap();
    process.signal(Signal::SIGTERM);
    let ended = process.wait(SOON);
    assert_eq!(ended.code(), Some(0), "{}", process.stderr());
}

/// A name that nobody resolves keeps a thread as a password does whose check never ends.
#[test]
fn work_on_other_threads_holds_up_no_end() {
    let hash = format!("$2b$31${}", ".".repeat(53));
    let config = format!(
        "access_log = false\n[server]\nlisten = \"127.0.0.1:@PORT@\"\nworkers = 1\ndrain_timeout = \"0s\"\n\
         [auth.basic.staff]\nusers = {{ ada = \"{hash}\" }}\nmax_parallel = 1\nmax_queued = 0\n\
         [[routes]]\npath = \"/*\"\nrespond = \"a\"\nauth = \"staff\"\n"
    );
    let gateway = Gateway::builder(EXE).config(&config).start();
    let mut asked = ["YWRhOm9uZQ==", "YWRhOm90aGVy"].map(|credentials| {
        let mut stream = TcpStream::connect(gateway.addr()).unwrap();
        let head = format!("GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Basic {credentials}\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        stream.set_nonblocking(true).unwrap();
        stream
    });
    // Refused because of the other.
    let mut answer = [0; 12];
    wait_until("one of them to be refused", SOON, || {
        asked.iter_mut().any(|stream| stream.read_exact(&mut answer).is_ok()).then_some(())
    });
    assert_eq!(&answer, b"HTTP/1.1 503");
    let finished = gateway.stop();
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
}

#[test]
fn a_reload_that_comes_too_late_is_told_so() {
    let upstream = Upstream::named("a");
    upstream.stall();
    let gateway = gateway(&[upstream.url()], "");
    let addr = gateway.addr();
    let busy = std::thread::spawn(move || get(addr, "/"));
    wait_until("the request upstream", SOON, || (upstream.hits() == 1).then_some(()));
    gateway.process().signal(Signal::SIGTERM);
    wait_until("the drain", SOON, || gateway.process().stderr().contains("draining").then_some(()));
    let answer = Client::new(gateway.admin()).send(&Request::new("POST", "/reload"));
    assert_eq!((answer.status, answer.json()["code"].clone()), (503, "draining".into()));
    upstream.resume();
    assert_eq!(busy.join().unwrap().text(), "a");
}

#[test]
fn an_access_log_that_nobody_reads_holds_up_no_end() {
    let upstream = Upstream::named("a");
    let builder = Gateway::builder(EXE);
    let fifo = builder.dir().join("access.fifo");
    let made = std::process::Command::new("mkfifo").arg(&fifo).status().unwrap();
    assert!(made.success());
    // Opened by both sides at once, as nobody waits for the other.
    let reader = std::fs::File::options().read(true).write(true).open(&fifo).unwrap();
    let config = format!(
        "access_log = \"@DIR@/access.fifo\"\nserver.listen = \"127.0.0.1:@PORT@\"\n\
         admin.listen = \"127.0.0.1:@ADMIN@\"\nservices.a.endpoints = [\"{}\"]\n\
         [[routes]]\npath = \"/*\"\nservice = \"a\"\n",
        upstream.url()
    );
    let gateway = builder.config(&config).start();
    let mut client = Client::new(gateway.addr());
    // More than a pipe holds.
    for _ in 0..400 {
        assert_eq!(client.send(&Request::get(&format!("/{}", "x".repeat(400)))).status, 200);
    }
    let finished = gateway.stop();
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    assert!(finished.stderr.contains("lines are lost"), "{}", finished.stderr);
    drop(reader);
}

/// A gateway that says what it has to say into a file, whatever that is.
fn saying_into(file: &std::path::Path, upstream: &Upstream) -> Gateway {
    let config = format!(
        "access_log = false\nserver.listen = \"127.0.0.1:@PORT@\"\nadmin.listen = \"127.0.0.1:@ADMIN@\"\n\
         services.a.endpoints = [\"{}\"]\nauth.api_keys.k = {{}}\n\
         [[routes]]\npath = \"/*\"\nservice = \"a\"\nauth = {{ methods = [\"k\"], mode = \"report\" }}\n",
        upstream.url()
    );
    let script = format!("exec '{EXE}' run --config gateway.toml 2>'{}'", file.display());
    Gateway::builder("/bin/sh").config(&config).args(&["-c", &script]).start()
}

#[test]
fn nobody_waits_for_whoever_reads_standard_error() {
    let upstream = Upstream::named("a");
    let dir = tempfile::tempdir().unwrap();
    let fifo = dir.path().join("stderr.fifo");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let mut pipe = std::fs::File::options().read(true).write(true).open(&fifo).unwrap();
    // One that is full takes no line.
    pipe.write_all(&[b'x'; 64 * 1024]).unwrap();
    let gateway = saying_into(&fifo, &upstream);
    let mut client = Client::new(gateway.addr());
    for _ in 0..100 {
        assert_eq!(client.send(&Request::get("/")).status, 200);
    }
    // Nor does the end wait.
    assert_eq!(gateway.stop().code, Some(0));
}

#[test]
fn a_full_disk_behind_standard_error_ends_nothing() {
    let upstream = Upstream::named("a");
    let gateway = saying_into(std::path::Path::new("/dev/full"), &upstream);
    for _ in 0..3 {
        let reload = Client::new(gateway.admin()).send(&Request::new("POST", "/reload"));
        assert_eq!((reload.status, get(gateway.addr(), "/").status), (200, 200));
    }
    assert_eq!(gateway.stop().code, Some(0));
}

#[test]
fn what_every_request_says_is_not_written_for_every_request() {
    let upstream = Upstream::named("a");
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("stderr");
    let gateway = saying_into(&file, &upstream);
    let mut client = Client::new(gateway.addr());
    let (start, mut sent) = (Instant::now(), 0);
    while sent < 300 {
        assert_eq!(client.send(&Request::get("/")).status, 200);
        sent += 1;
    }
    // Twenty a second, and one for the others of each second.
    let most = (start.elapsed().as_secs() as usize + 2) * 21;
    assert_eq!(gateway.stop().code, Some(0));
    let said = std::fs::read_to_string(&file).unwrap();
    let lines: Vec<&str> = said.lines().filter(|line| line.contains("a request passes")).collect();
    assert!(lines.len() <= most, "{} lines", lines.len());
    let more = |line: &&str| line.rsplit_once('(')?.1.strip_suffix(" more like this)")?.parse::<usize>().ok();
    let counted: usize = lines.iter().filter_map(more).sum();
    assert_eq!(lines.len() + counted, sent, "{said}");
}

#[test]
fn the_admin_listener_takes_few_descriptors_and_gives_them_back() {
    let upstream = Upstream::named("a");
    let gateway = gateway(&[upstream.url()], "");
    let files = || std::fs::read_dir(format!("/proc/{}/fd", gateway.process().id())).unwrap().count();
    assert_eq!(get(gateway.addr(), "/").status, 200);
    let before = files();
    let held: Vec<TcpStream> = (0..200).map(|_| TcpStream::connect(gateway.admin()).unwrap()).collect();
    let full =
        || gateway.process().stderr().contains("as many are connected to the admin listener as may be (64)");
    wait_until("all places to be taken", SOON, || full().then_some(()));
    assert_eq!(get(gateway.addr(), "/").status, 200);
    let after = files();
    assert!(after <= before + 70, "{before} {after}");
    drop(held);
    assert_eq!(get(gateway.admin(), "/readyz").status, 200);
}

#[test]
fn a_service_whose_only_endpoint_is_gone_is_told_of_and_so_is_its_return() {
    let mut upstream = Upstream::named("a");
    upstream.kill();
    let gateway = gateway(&[upstream.url()], "");
    let healthy = format!("gateway_upstream_healthy{{service=\"a\",endpoint=\"{}\"}}", upstream.url());
    let told = |value: &str| {
        let health = get(gateway.admin(), "/health").json();
        let metrics = get(gateway.admin(), "/metrics").text();
        (health["services"]["a"].clone(), metrics.contains(&format!("{healthy} {value}\n")))
    };
    assert_eq!(told("1"), ("healthy".into(), true));
    for _ in 0..5 {
        assert_eq!(get(gateway.addr(), "/").status, 502);
    }
    assert_eq!(told("0"), ("unhealthy".into(), true));
    for _ in 0..20 {
        assert_eq!(get(gateway.addr(), "/").status, 502);
    }
    upstream.restart();
    wait_until("it to answer", SOON, || (get(gateway.addr(), "/").status == 200).then_some(()));
    assert_eq!(told("1"), ("healthy".into(), true));
    let log = gateway.stop().stderr;
    let lines = |part: &str| log.lines().filter(|line| line.contains(part)).count();
    assert_eq!((lines("keeps failing"), lines("does not fail any more")), (1, 1), "{log}");
}

#[test]
fn a_service_whose_circuit_is_open_is_not_healthy() {
    let mut upstream = Upstream::named("a");
    upstream.kill();
    let circuit = "balance = { outlier = \"off\", circuit = { min_requests = 5, open = \"60s\" } }";
    let gateway = gateway(&[upstream.url()], circuit);
    let health = || get(gateway.admin(), "/health").json()["services"]["a"].clone();
    assert_eq!(health(), "healthy");
    while get(gateway.addr(), "/").status == 502 {}
    assert_eq!(health(), "unhealthy");
}

#[test]
fn who_left_within_an_answer_and_whom_the_end_cut_off_are_told_apart_from_whole_answers() {
    // Of ten bytes, five; the rest never comes.
    let (upstream, exchanges) = scripted();
    let (begun, begins) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut held = Vec::new();
        for mut exchange in exchanges {
            exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello").unwrap();
            held.push(exchange);
            let _ = begun.send(());
        }
    });
    let config = format!(
        "access_log = \"@DIR@/access.log\"\n[server]\nlisten = \"127.0.0.1:@PORT@\"\ndrain_timeout = \"100ms\"\n\
         [admin]\nlisten = \"127.0.0.1:@ADMIN@\"\n[services.a]\nendpoints = [\"http://{upstream}\"]\n\
         [[routes]]\npath = \"/*\"\nservice = \"a\"\n"
    );
    let gateway = Gateway::builder(EXE).config(&config).start();
    let ask = |path: &str| {
        let mut client = TcpStream::connect(gateway.addr()).unwrap();
        client.set_read_timeout(Some(SOON)).unwrap();
        client.write_all(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).unwrap();
        begins.recv_timeout(SOON).unwrap();
        let mut seen = Vec::new();
        while !seen.ends_with(b"hello") {
            let mut byte = [0];
            assert_eq!(client.read(&mut byte).unwrap(), 1);
            seen.push(byte[0]);
        }
        client
    };
    drop(ask("/left"));
    let lines = wait_until("the line", SOON, || Some(gateway.access_log()).filter(|lines| !lines.is_empty()));
    assert_eq!(lines[0]["reason"], "client-gone", "{}", lines[0]);
    let metrics = get(gateway.admin(), "/metrics").text();
    let counted = r#"status="200",service="a",code="client-gone"} 1"#;
    assert!(metrics.contains(counted), "no `{counted}` in\n{metrics}");
    let _held = ask("/held");
    let log = std::fs::File::open(gateway.dir().join("access.log")).unwrap();
    assert_eq!(gateway.stop().code, Some(0));
    let lines = std::io::read_to_string(log).unwrap();
    let last: serde_json::Value = serde_json::from_str(lines.lines().last().unwrap()).unwrap();
    assert_eq!(
        (&last["uri"], &last["status"], &last["reason"]),
        (&"/held".into(), &200.into(), &"answer-cut-off".into()),
        "{last}"
    );
}
