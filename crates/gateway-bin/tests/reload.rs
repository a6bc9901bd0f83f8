//! Configurations change while requests are under way, and nothing is lost.
#![allow(clippy::unwrap_used)]

use gateway_testkit::{Client, Gateway, Reply, Request, Signal, Upstream, get, wait_until};
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

const EXE: &str = env!("CARGO_BIN_EXE_gateway");
const SOON: Duration = Duration::from_secs(10);

fn gateway(routes: &str, watch: bool) -> Gateway {
    let config = format!(
        "access_log = false\n[server]\nlisten = \"127.0.0.1:@PORT@\"\nworkers = 2\nwatch = {watch}\n\
         [admin]\nlisten = \"127.0.0.1:@ADMIN@\"\n{routes}"
    );
    Gateway::builder(EXE).config(&config).start()
}

fn service(name: &str, upstream: &Upstream, more: &str) -> String {
    format!("[services.{name}]\nendpoints = [\"{}\"]\n{more}\n", upstream.url())
}

fn route(path: &str, service: &str) -> String {
    format!("[[routes]]\npath = \"{path}\"\nservice = \"{service}\"\n")
}

/// Changes the file; `from` must stand in it.
fn edit(gateway: &Gateway, from: &str, to: &str) {
    let path = gateway.dir().join("gateway.toml");
    let before = fs::read_to_string(&path).unwrap();
    assert!(before.contains(from), "{before}");
    fs::write(path, before.replacen(from, to, 1)).unwrap();
}

fn status(gateway: &Gateway) -> serde_json::Value {
    get(gateway.admin(), "/config").json()
}

fn reload(gateway: &Gateway) -> (u16, String) {
    let answer = Client::new(gateway.admin()).send(&Request::new("POST", "/reload"));
    (answer.status, answer.text())
}

#[test]
fn a_signal_a_changed_file_and_the_admin_listener_each_bring_a_new_configuration_into_force() {
    let (a, b) = (Upstream::named("a"), Upstream::named("b"));
    let routes = service("a", &a, "") + &service("b", &b, "") + &route("/*", "a");
    for how in ["signal", "file", "admin"] {
        let gateway = gateway(&routes, how == "file");
        let mut kept = Client::new(gateway.addr());
        assert_eq!(kept.send(&Request::get("/")).text(), "a", "{how}");
        edit(&gateway, "service = \"a\"", "service = \"b\"");
        match how {
            "signal" => gateway.process().signal(Signal::SIGHUP),
            "admin" => assert_eq!(reload(&gateway), (200, "reloaded\n".to_owned())),
            _ => {}
        }
        wait_until("the reload", SOON, || (status(&gateway)["reloads"] == 1).then_some(()));
        wait_until("both workers", SOON, || {
            (0..8).all(|_| get(gateway.addr(), "/").text() == "b").then_some(())
        });
        assert_eq!(kept.send(&Request::get("/")).text(), "b", "{how}: a kept connection sees it too");
        let metrics = get(gateway.admin(), "/metrics").text();
        assert!(metrics.contains("gateway_config_reloads_total{result=\"success\"} 1"), "{metrics}");
        assert!(get(gateway.admin(), "/routes").text().contains("\"service\": \"b\""));
    }
}

#[test]
fn a_configuration_with_mistakes_is_rejected_with_the_reason_and_the_last_good_one_stays() {
    let a = Upstream::named("a");
    let gateway = gateway(&(service("a", &a, "") + &route("/*", "a")), false);
    edit(&gateway, "service = \"a\"", "service = \"aa\"");
    let (code, text) = reload(&gateway);
    assert_eq!(code, 422);
    assert!(text.contains("there is no service `aa`") && text.contains("did you mean `a`?"), "{text}");
    assert_eq!(get(gateway.addr(), "/").text(), "a");
    let status = status(&gateway);
    assert_eq!((&status["rejected"], &status["reloads"]), (&1.into(), &0.into()));
    assert!(status["error"].as_str().unwrap().contains("no service `aa`"), "{status}");
    let metrics = get(gateway.admin(), "/metrics").text();
    for line in
        ["gateway_config_reloads_total{result=\"failure\"} 1", "gateway_config_last_reload_successful 0"]
    {
        assert!(metrics.contains(line), "no `{line}` in {metrics}");
    }
    edit(&gateway, "service = \"aa\"", "service = \"a\"");
    assert_eq!(reload(&gateway).0, 200);
    assert!(get(gateway.admin(), "/config").json()["error"].is_null());
    let finished = gateway.stop();
    assert!(finished.stderr.contains("was rejected, what was in force stays"), "{}", finished.stderr);
}

#[test]
fn what_has_not_changed_keeps_its_connections_counts_and_health() {
    let (a, b) = (Upstream::named("a"), Upstream::named("b"));
    let dead = format!("http://127.0.0.1:{}", gateway_testkit::free_port());
    let routes = service("a", &a, "")
        + &format!(
            "[services.b]\nendpoints = [\"{}\", \"{dead}\"]\nhealth = {{ path = \"/\", interval = \"50ms\" }}\n",
            b.url()
        )
        + "[rate_limits.few]\nlimit = \"3/h\"\n"
        + &route("/*", "a")
        + "rate_limit = \"few\"\n"
        + &route("/b/*", "b");
    let config = format!(
        "access_log = false\n[server]\nlisten = \"127.0.0.1:@PORT@\"\nworkers = 1\nwatch = false\n\
         [admin]\nlisten = \"127.0.0.1:@ADMIN@\"\n{routes}"
    );
    let gateway = Gateway::builder(EXE).config(&config).start();
    let mut client = Client::new(gateway.addr());
    assert_eq!(client.send(&Request::get("/")).status, 200);
    let sick = format!("gateway_upstream_healthy{{service=\"b\",endpoint=\"{dead}\"}} 0");
    wait_until(&sick, SOON, || get(gateway.admin(), "/metrics").text().contains(&sick).then_some(()));
    let checks = b.hits();
    for turn in 0..2 {
        // Another service's table, then the watched service itself, changes.
        let (from, to) = match turn {
            0 => ("[[routes]]", "[services.c]\nendpoints = [\"http://127.0.0.1:1\"]\n[[routes]]"),
            _ => ("[services.b]", "[services.b]\ntimeout = \"9s\""),
        };
        edit(&gateway, from, to);
        assert_eq!(reload(&gateway).0, 200);
        assert_eq!(client.send(&Request::get("/")).status, 200);
        assert!(get(gateway.admin(), "/metrics").text().contains(&sick), "turn {turn}: health is remembered");
        assert_eq!(get(gateway.addr(), "/b/").text(), "b");
    }
    assert_eq!(client.send(&Request::get("/")).status, 429, "the limit's count lives on");
    assert_eq!(a.connections(), 1, "the connection to the endpoint lives on");
    wait_until("checks that go on", SOON, || (b.hits() > checks + 4).then_some(()));
}

#[test]
fn a_request_under_way_is_finished_by_what_it_began_with() {
    let (a, b) = (Upstream::named("a"), Upstream::named("b"));
    let gateway = gateway(&(service("a", &a, "") + &service("b", &b, "") + &route("/*", "a")), false);
    let addr = gateway.addr();
    a.stall();
    let busy = std::thread::spawn(move || get(addr, "/"));
    wait_until("the request upstream", SOON, || (a.hits() == 1).then_some(()));
    edit(&gateway, &service("a", &a, ""), "");
    edit(&gateway, "service = \"a\"", "service = \"b\"");
    assert_eq!(reload(&gateway).0, 200);
    wait_until("the new one", SOON, || (get(addr, "/").text() == "b").then_some(()));
    a.resume();
    assert_eq!(busy.join().unwrap().text(), "a");
}

#[test]
fn keys_that_are_only_read_at_start_say_so() {
    let a = Upstream::named("a");
    let gateway = gateway(&(service("a", &a, "") + &route("/*", "a")), false);
    edit(&gateway, "workers = 2", "workers = 1");
    assert_eq!(reload(&gateway).0, 200);
    let finished = gateway.stop();
    assert!(
        finished.stderr.contains("`server.workers` has changed since the start, which takes a restart"),
        "{}",
        finished.stderr
    );
}

#[test]
fn fifty_reloads_under_load_lose_no_request() {
    let (a, b) = (Upstream::named("a"), Upstream::named("b"));
    let gateway = gateway(&(service("a", &a, "") + &service("b", &b, "") + &route("/*", "a")), false);
    let (addr, stop) = (gateway.addr(), Arc::new(AtomicBool::new(false)));
    let (done, failed) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let clients: Vec<_> = (0..8)
        .map(|i| {
            let (stop, done, failed) = (stop.clone(), done.clone(), failed.clone());
            std::thread::spawn(move || {
                let mut client = Client::new(addr);
                while !stop.load(Ordering::Relaxed) {
                    let request =
                        if i % 2 == 0 { Request::get("/") } else { Request::new("PUT", "/").body("a body") };
                    let answer = client.send(&request);
                    let good = answer.status == 200 && ["a", "b"].contains(&answer.text().as_str());
                    if good { &done } else { &failed }.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for i in 0..50 {
        let (from, to) = if i % 2 == 0 { ("a", "b") } else { ("b", "a") };
        edit(&gateway, &format!("service = \"{from}\""), &format!("service = \"{to}\""));
        assert_eq!(reload(&gateway).0, 200);
        let before = done.load(Ordering::Relaxed);
        wait_until("requests between reloads", SOON, || {
            (done.load(Ordering::Relaxed) > before + 8).then_some(())
        });
    }
    stop.store(true, Ordering::Relaxed);
    clients.into_iter().for_each(|client| client.join().unwrap());
    let (done, failed) = (done.load(Ordering::Relaxed), failed.load(Ordering::Relaxed));
    println!("{done} requests during 50 reloads, {failed} failed");
    assert_eq!(failed, 0, "of {done}");
    assert!(a.hits() > 0 && b.hits() > 0);
}

/// An upstream over TLS with a certificate of its own making, in PEM.
fn secure_upstream() -> (u16, String) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key);
    let config = Arc::new(config.unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let connection = rustls::ServerConnection::new(config.clone()).unwrap();
            let mut stream = rustls::StreamOwned::new(connection, stream.unwrap());
            // Whoever does not trust the certificate goes away.
            if stream.read(&mut [0; 4096]).is_ok() {
                let _ =
                    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            }
        }
    });
    (port, made.cert.pem())
}

#[test]
fn certificates_that_were_renewed_in_their_file_are_used_after_a_reload() {
    let (port, certificate) = secure_upstream();
    let (_, other) = secure_upstream();
    let routes = format!(
        "[services.a]\nendpoints = [\"https://localhost:{port}\"]\n\
         connection.tls.ca_file = \"@DIR@/ca.pem\"\n[[routes]]\npath = \"/*\"\nservice = \"a\"\n"
    );
    let config = format!(
        "access_log = false\n[server]\nlisten = \"127.0.0.1:@PORT@\"\nwatch = false\n\
         [admin]\nlisten = \"127.0.0.1:@ADMIN@\"\n{routes}"
    );
    let gateway = Gateway::builder(EXE).file("ca.pem", &other).config(&config).start();
    assert_eq!(get(gateway.addr(), "/").status, 502);
    fs::write(gateway.dir().join("ca.pem"), certificate).unwrap();
    assert_eq!(reload(&gateway), (200, "reloaded\n".to_owned()));
    assert_eq!(get(gateway.addr(), "/").status, 200);
}

#[test]
fn requests_in_progress_count_against_the_limit_of_a_route_over_a_reload() {
    let slow = Upstream::start(|request| {
        let patience = if request.target == "/slow" { Duration::from_secs(60) } else { Duration::ZERO };
        Reply::new(200, "").after(patience)
    });
    let gateway =
        gateway(&(service("a", &slow, "timeout = \"60s\"") + &route("/*", "a") + "concurrency = 1\n"), false);
    let held = TcpStream::connect(gateway.addr()).unwrap();
    (&held).write_all(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    wait_until("the request to be in progress", SOON, || (slow.requests().len() == 1).then_some(()));
    assert_eq!(get(gateway.addr(), "/").status, 503);
    assert_eq!(reload(&gateway), (200, "reloaded\n".to_owned()));
    assert_eq!(get(gateway.addr(), "/").status, 503, "the request in progress was forgotten");
    drop(held);
    wait_until("its place to be free", SOON, || (get(gateway.addr(), "/").status == 200).then_some(()));
}

#[test]
fn endpoints_that_failed_checks_which_are_gone_take_requests_again() {
    let a = Upstream::start(|request| match request.target.as_str() {
        "/health" => Reply::new(500, "sick"),
        _ => Reply::new(200, "a"),
    });
    let health = "health = { path = \"/health\", interval = \"30ms\" }";
    let gateway = gateway(&(service("a", &a, health) + &route("/*", "a")), false);
    wait_until("it to be out", SOON, || (get(gateway.addr(), "/").status == 503).then_some(()));
    edit(&gateway, health, "nonsense = 1");
    assert_eq!(reload(&gateway).0, 422);
    assert_eq!(get(gateway.addr(), "/").status, 503, "what is rejected changes nothing");
    edit(&gateway, "nonsense = 1", "");
    assert_eq!(reload(&gateway), (200, "reloaded\n".to_owned()));
    wait_until("both workers", SOON, || (0..8).all(|_| get(gateway.addr(), "/").status == 200).then_some(()));
}

#[test]
fn a_circuit_and_the_count_of_retries_outlive_an_endpoint_that_is_added() {
    let sick = Upstream::start(|_| Reply::new(503, "sick"));
    let b = Upstream::named("b");
    let policy = "retry = { attempts = 2, backoff = \"none\" }\nbalance = { outlier = \"off\", endpoint_circuit = { min_requests = 4, open = \"60s\" } }";
    let gateway = gateway(&(service("a", &sick, policy) + &route("/*", "a")), false);
    (0..6).for_each(|_| drop(get(gateway.addr(), "/")));
    let (hits, retries) = (sick.hits(), "gateway_upstream_retries_total{service=\"a\"} 2");
    assert!(get(gateway.admin(), "/metrics").text().contains(retries));
    assert_eq!(hits, 4, "its circuit is open");
    edit(&gateway, "endpoints = [", &format!("endpoints = [\"{}\", ", b.url()));
    assert_eq!(reload(&gateway), (200, "reloaded\n".to_owned()));
    wait_until("both workers", SOON, || (0..8).all(|_| get(gateway.addr(), "/").text() == "b").then_some(()));
    assert_eq!(sick.hits(), hits, "its circuit is still open");
    assert!(get(gateway.admin(), "/metrics").text().contains(retries));
}

/// Answers `/events` with an event stream that goes on, anything else by a WebSocket that echoes short frames.
fn streams() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let serve = |mut stream: TcpStream| -> std::io::Result<()> {
        let mut head = [0; 4096];
        let length = stream.read(&mut head)?;
        if head[..length].starts_with(b"GET /events") {
            stream.write_all(
                b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n",
            )?;
            loop {
                stream.write_all(b"9\r\ndata: x\n\n\r\n")?;
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        stream.write_all(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                           Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
        )?;
        // The mask is zero: a frame comes back as it is, but for that.
        let mut frame = [0; 128];
        loop {
            let length = stream.read(&mut frame)?;
            if length < 6 {
                return Ok(());
            }
            stream.write_all(&[frame[0], frame[1] & 0x7f])?;
            stream.write_all(&frame[6..length])?;
        }
    };
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || serve(stream));
        }
    });
    port
}

#[test]
fn websockets_and_event_streams_outlive_reloads_even_that_of_their_service_and_end_in_order() {
    let routes = format!(
        "[services.a]\nendpoints = [\"http://127.0.0.1:{}\"]\n[[routes]]\npath = \"/*\"\nservice = \"a\"\n",
        streams()
    );
    let gateway = gateway(&routes, false);
    let open = |request: &str| {
        let mut stream = TcpStream::connect(gateway.addr()).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = [0; 4096];
        let length = stream.read(&mut answer).unwrap();
        (stream, String::from_utf8_lossy(&answer[..length]).into_owned())
    };
    let upgrade = "GET /chat HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
    let (mut chat, answer) = open(upgrade);
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    let (mut events, answer) = open("GET /events HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    for (from, to) in
        [("[[routes]]", "timeout = \"9s\"\n[[routes]]"), ("services.a]", "services.b]"), ("\"a\"", "\"b\"")]
    {
        edit(&gateway, from, to);
        // A service that is named before it is there is a mistake, which changes nothing either.
        let _ = reload(&gateway);
        chat.write_all(&[0x81, 0x82, 0, 0, 0, 0, b'h', b'i']).unwrap();
        let mut echo = [0; 4];
        chat.read_exact(&mut echo).unwrap();
        assert_eq!(&echo, b"\x81\x02hi");
        events.read_exact(&mut [0; 2000]).unwrap();
    }
    assert_eq!(status(&gateway)["reloads"], 2);
    gateway.process().signal(Signal::SIGTERM);
    let mut farewell = [0; 4];
    chat.read_exact(&mut farewell).unwrap();
    assert_eq!(farewell, [0x88, 2, 0x03, 0xe9], "going away");
    events.read_exact(&mut [0; 1000]).unwrap();
}

#[test]
fn l15_websockets_and_event_streams_end_in_order_when_the_time_of_an_endpoint_that_is_gone_is_up() {
    let (gone, stays) = (streams(), streams());
    let routes = format!(
        "[services.a]\ndrain_timeout = \"1s\"\nendpoints = [\"http://127.0.0.1:{gone}\"]\n\
         [[routes]]\npath = \"/*\"\nservice = \"a\"\n"
    );
    let gateway = gateway(&routes, false);
    let open = |path: &str, more: &str| {
        let mut stream = TcpStream::connect(gateway.addr()).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: a\r\n{more}\r\n").unwrap();
        let mut answer = [0; 4096];
        let length = stream.read(&mut answer).unwrap();
        (stream, String::from_utf8_lossy(&answer[..length]).into_owned())
    };
    let upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n";
    let (mut chat, answer) = open("/chat", upgrade);
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    let (mut events, answer) = open("/events", "Connection: close\r\n");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    edit(&gateway, &gone.to_string(), &stays.to_string());
    assert_eq!(reload(&gateway).0, 200);
    let (mut new, answer) = open("/events", "");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let mut farewell = [0; 4];
    chat.read_exact(&mut farewell).unwrap();
    assert_eq!(farewell, [0x88, 2, 0x03, 0xe9], "going away");
    let mut seen = Vec::new();
    events.read_to_end(&mut seen).unwrap();
    assert!(seen.ends_with(b"0\r\n\r\n"), "it broke off: {:?}", String::from_utf8_lossy(&seen));
    new.read_exact(&mut [0; 2000]).unwrap();
}

/// A store in a file, and passwords that cost next to nothing.
const ACCOUNTS: &str = "[identity]\ndatabase = \"@DIR@/identity.db\"\n\
                        [identity.password]\nmemory = \"8KiB\"\niterations = 1\n";
const WITH_ACCOUNTS: &str = "[[routes]]\npath = \"/auth/*\"\nidentity = true\n\
                             [[routes]]\npath = \"/mine\"\nservice = \"a\"\nauth = \"identity\"\n";

fn account(gateway: &Gateway, path: &str) -> gateway_testkit::Response {
    let account = r#"{"email":"ada@example.org","password":"correct horse battery"}"#;
    let request = Request::new("POST", path).header("Content-Type", "application/json").body(account);
    Client::new(gateway.addr()).send(&request)
}

fn with_token(gateway: &Gateway, method: &str, path: &str, token: &str) -> u16 {
    let request = Request::new(method, path).header("Authorization", &format!("Bearer {token}"));
    Client::new(gateway.addr()).send(&request).status
}

#[test]
fn another_store_waits_for_a_restart_and_what_was_revoked_stays_so() {
    let a = Upstream::named("a");
    let tables = format!("[store.memory]\nmax_keys = 100000\n{ACCOUNTS}");
    let gateway = gateway(&(service("a", &a, "") + &tables + WITH_ACCOUNTS), false);
    assert_eq!(account(&gateway, "/auth/register").status, 201);
    let token = account(&gateway, "/auth/login").json()["access_token"].as_str().unwrap().to_owned();
    assert_eq!(with_token(&gateway, "GET", "/mine", &token), 200);
    assert_eq!(with_token(&gateway, "POST", "/auth/logout", &token), 204);
    assert_eq!(with_token(&gateway, "GET", "/mine", &token), 401);
    let warning = "`store` has changed since the start";
    let warnings = || gateway.process().stderr().matches(warning).count();
    for (from, to, warned) in [
        ("max_keys = 100000", "max_keys = 200000", 1),
        ("[[routes]]", "# Something else.\n[[routes]]", 2),
        ("max_keys = 200000", "max_keys = 100000", 2),
    ] {
        edit(&gateway, from, to);
        assert_eq!(reload(&gateway).0, 200);
        for _ in 0..8 {
            assert_eq!(with_token(&gateway, "GET", "/mine", &token), 401, "{to}: it is forgotten");
        }
        wait_until("the warning", SOON, || (warnings() >= warned).then_some(()));
    }
    let token = account(&gateway, "/auth/login").json()["access_token"].as_str().unwrap().to_owned();
    assert_eq!(with_token(&gateway, "GET", "/mine", &token), 200);
    let said = gateway.stop().stderr;
    assert_eq!(said.matches(warning).count(), 2, "one for each time that it is another: {said}");
}

#[test]
fn accounts_come_back_with_their_table_and_are_not_opened_by_a_reload() {
    let a = Upstream::named("a");
    let tables = ACCOUNTS.to_owned() + WITH_ACCOUNTS;
    let opened = gateway(&(service("a", &a, "") + &tables + &route("/*", "a")), false);
    let (tables, at) = (tables.replace("@DIR@", &opened.dir().display().to_string()), "# Here.\n");
    assert_eq!(account(&opened, "/auth/register").status, 201);
    let token = account(&opened, "/auth/login").json()["access_token"].as_str().unwrap().to_owned();
    edit(&opened, &tables, at);
    assert_eq!(reload(&opened).0, 200);
    wait_until("both workers", SOON, || {
        (0..8).all(|_| account(&opened, "/auth/login").text() == "a").then_some(())
    });
    edit(&opened, at, &tables);
    assert_eq!(reload(&opened).0, 200);
    wait_until("both workers", SOON, || {
        (0..8).all(|_| with_token(&opened, "GET", "/mine", "none") == 401).then_some(())
    });
    assert_eq!(account(&opened, "/auth/login").status, 200);
    assert_eq!(with_token(&opened, "GET", "/mine", &token), 200);

    let without = gateway(&(service("a", &a, "") + at + &route("/*", "a")), false);
    edit(&without, at, &tables);
    let (status, mistakes) = reload(&without);
    assert_eq!(status, 422);
    assert!(mistakes.contains("accounts are opened only when the gateway starts"), "{mistakes}");
    assert_eq!(get(without.addr(), "/auth/login").text(), "a");
}

#[test]
fn routes_that_share_a_path_each_keep_their_circuit_and_their_count_and_metrics_are_sums() {
    let sick = Upstream::start(|_| Reply::new(503, "sick"));
    let policies =
        "circuit = { min_requests = 4, open = \"60s\" }\nconcurrency = 100\ncache = { ttl = \"1m\" }\n";
    let of_host = |host: &str| route("/*", "a") + &format!("hosts = [\"{host}\"]\n{policies}");
    let more = "retry = 1\nbalance = { outlier = \"off\" }";
    let gateway =
        gateway(&(service("a", &sick, more) + &of_host("one.example") + &of_host("two.example")), false);
    let ask = |host: &str| {
        Client::new(gateway.addr()).send(&Request::get("/").header("Host", host));
    };
    for host in ["one.example", "two.example"] {
        (0..6).for_each(|_| ask(host));
    }
    assert_eq!(sick.hits(), 8, "both circuits are open");
    let told = || {
        let metrics = get(gateway.admin(), "/metrics").text();
        for line in [
            "gateway_overload_total{policy=\"route-circuit\",name=\"/*\",result=\"refused\"} 4",
            "gateway_cache_total{route=\"/*\",result=\"miss\"} 12",
            "gateway_route_circuit_open{route=\"/*\"} 1",
        ] {
            assert!(metrics.contains(line), "no `{line}` in {metrics}");
        }
    };
    told();
    // The second comes first, and a third of the same path beside them.
    edit(&gateway, &of_host("one.example"), "");
    edit(
        &gateway,
        &of_host("two.example"),
        &["two", "one", "new"].map(|host| of_host(&format!("{host}.example"))).concat(),
    );
    assert_eq!(reload(&gateway), (200, "reloaded\n".to_owned()));
    told();
    for host in ["one.example", "two.example"] {
        (0..4).for_each(|_| ask(host));
    }
    assert_eq!(sick.hits(), 8, "both circuits are still open");
    wait_until("the route that is new", SOON, || {
        ask("new.example");
        (sick.hits() > 8).then_some(())
    });
}

#[test]
fn a_limit_by_route_counts_routes_that_share_a_path_apart() {
    let a = Upstream::named("a");
    let of_host = |host: &str| route("/*", "a") + &format!("hosts = [\"{host}\"]\nrate_limit = \"few\"\n");
    let limit = "[rate_limits.few]\nlimit = \"2/h\"\nkey = \"route\"\n";
    let routes = service("a", &a, "") + limit + &of_host("one.example") + &of_host("two.example");
    let gateway = gateway(&routes, false);
    let ask = |host| Client::new(gateway.addr()).send(&Request::get("/").header("Host", host)).status;
    for host in ["one.example", "two.example"] {
        assert_eq!([0; 3].map(|_| ask(host)), [200, 200, 429], "{host}");
    }
    let named = "name = \"both\"\nhosts = ";
    edit(&gateway, "hosts = [\"one", &format!("{named}[\"one"));
    edit(&gateway, "hosts = [\"two", &format!("{named}[\"two"));
    assert_eq!(reload(&gateway), (200, "reloaded\n".to_owned()));
    wait_until("one limit for both", SOON, || (ask("one.example") == 200).then_some(()));
    assert_eq!((ask("two.example"), ask("two.example"), ask("one.example")), (200, 429, 429));
}

#[test]
fn an_adaptive_limit_is_forgotten_only_with_settings_of_its_own() {
    let sick = Upstream::start(|_| Reply::new(503, "sick"));
    let more = "timeout = \"5s\"\nretry = 1\nbalance = { outlier = \"off\" }\n\
                adaptive = { algorithm = \"aimd\", initial = 50, window = \"100ms\" }";
    let gateway = gateway(&(service("a", &sick, more) + &route("/*", "a")), false);
    let limit = || {
        let metrics = get(gateway.admin(), "/metrics").text();
        let line = metrics.lines().find(|line| line.starts_with("gateway_adaptive_limit{")).unwrap();
        line.rsplit(' ').next().unwrap().to_owned()
    };
    let found = wait_until("another limit than at first", SOON, || {
        (0..10).for_each(|_| drop(get(gateway.addr(), "/")));
        Some(limit()).filter(|limit| limit != "50")
    });
    edit(&gateway, "timeout = \"5s\"", "timeout = \"6s\"");
    assert_eq!(reload(&gateway), (200, "reloaded\n".to_owned()));
    assert_eq!(limit(), found);
    edit(&gateway, "initial = 50", "initial = 60");
    assert_eq!(reload(&gateway), (200, "reloaded\n".to_owned()));
    assert_eq!(limit(), "60");
}
