//! Where clients come from: other processes, load balancers, the process before this one.
#![allow(clippy::unwrap_used)]

use command_fds::{CommandFdExt, FdMapping};
use gateway_testkit::{
    Client, Gateway, Process, Request, Signal, Upstream, Wire, free_port, get, raw, wait_until,
};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const EXE: &str = env!("CARGO_BIN_EXE_gateway");
const SOON: Duration = Duration::from_secs(10);

fn config(upstream: &Upstream, server: &str) -> String {
    format!(
        "access_log = \"@DIR@/access.log\"\n[server]\n{server}\n[admin]\nlisten = \"127.0.0.1:@ADMIN@\"\n\
         [services.a]\nendpoints = [\"{}\"]\n[[routes]]\npath = \"/*\"\nservice = \"a\"\n",
        upstream.url()
    )
}

#[test]
fn clients_may_come_over_a_unix_socket_and_services_may_be_behind_one() {
    let upstream = Upstream::named("a");
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("gateway.sock");
    let file = folder.path().join("gateway.toml");
    let text = format!(
        "access_log = false\n[server]\nlisten = \"unix:{},mode=0600\"\nworkers = 2\n[services.a]\n\
         endpoints = [\"{}\"]\n[[routes]]\npath = \"/*\"\nservice = \"a\"\n",
        socket.display(),
        upstream.url()
    );
    std::fs::write(&file, text).unwrap();
    let _inner = Process::start(Command::new(EXE).arg("run").arg("--config").arg(&file), "build it");
    wait_until("the socket", SOON, || socket.exists().then_some(()));
    let mut stream = UnixStream::connect(&socket).unwrap();
    stream.write_all(b"GET /over-unix HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\na"), "{answer}");
    let outer = format!(
        "[server]\nlisten = \"127.0.0.1:@PORT@\"\n[services.inner]\nendpoints = [\"unix:{}\"]\n\
         [[routes]]\npath = \"/*\"\nservice = \"inner\"\n",
        socket.display()
    );
    let outer = Gateway::builder(EXE).config(&outer).start();
    assert_eq!(get(outer.addr(), "/through-both").text(), "a");
    assert!(upstream.requests().iter().any(|request| request.target == "/through-both"));
}

#[test]
fn who_connects_as_soon_as_there_is_a_socket_is_answered() {
    let upstream = Upstream::named("a");
    for turn in 0..10 {
        let text = config(&upstream, "listen = \"127.0.0.1:@PORT@\"\nworkers = 2\nwatch = false");
        let builder = Gateway::builder(EXE).config(&text);
        let addr = SocketAddr::from(([127, 0, 0, 1], builder.port()));
        let (refused, when_refused) = std::sync::mpsc::sync_channel(1);
        let client = std::thread::spawn(move || {
            let start = Instant::now();
            while start.elapsed() < SOON {
                match TcpStream::connect(addr) {
                    Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
                        let _ = refused.try_send(());
                    }
                    Err(error) => return Err(error),
                    Ok(mut stream) => {
                        stream.set_read_timeout(Some(SOON))?;
                        stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")?;
                        let mut answer = String::new();
                        return stream.read_to_string(&mut answer).map(|_| answer);
                    }
                }
            }
            panic!("nobody listens");
        });
        when_refused.recv().unwrap();
        let _gateway = builder.start();
        let answer = client.join().unwrap().unwrap_or_else(|e| panic!("turn {turn}: {e}"));
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "turn {turn}: {answer:?}");
    }
}

#[test]
fn a_load_balancer_that_is_trusted_says_who_the_client_is_and_nobody_else_can() {
    let upstream = Upstream::named("a");
    let listen = "listen = \"127.0.0.1:@PORT@\"\n";
    let trusting = config(&upstream, &format!("{listen}proxy_protocol = [\"127.0.0.0/8\"]"));
    let gateway = Gateway::builder(EXE).config(&trusting).start();
    let request = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let proxied = format!("PROXY TCP4 192.0.2.7 192.0.2.1 4000 80\r\n{request}");
    let answer = raw(gateway.addr(), proxied.as_bytes());
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!(upstream.requests()[0].header("x-forwarded-for"), Some("192.0.2.7"));
    assert_eq!(raw(gateway.addr(), request.as_bytes()), "", "without its header a balancer is not served");
    assert_eq!(upstream.hits(), 1);
    // Those that only looked whether somebody listens are not told.
    let told =
        wait_until("a line of both", SOON, || Some(gateway.access_log()).filter(|lines| lines.len() >= 2));
    let of = |status| told.iter().find(|line| line["status"] == status).unwrap();
    assert_eq!((&of(200)["client"], &of(200)["reason"]), (&"192.0.2.7".into(), &serde_json::Value::Null));
    assert_eq!((&of(400)["client"], &of(400)["reason"]), (&"127.0.0.1".into(), &"bad-request".into()));
    let trusting_nobody = Gateway::builder(EXE).config(&config(&upstream, listen)).start();
    let answer = raw(trusting_nobody.addr(), proxied.as_bytes());
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert_eq!(upstream.hits(), 1);
}

#[test]
fn a_load_balancer_on_this_machine_says_who_the_client_is_over_a_unix_socket() {
    let upstream = Upstream::named("a");
    let folder = tempfile::tempdir().unwrap();
    let (socket, file) = (folder.path().join("gateway.sock"), folder.path().join("gateway.toml"));
    let text = format!(
        "access_log = false\n[server]\nlisten = \"unix:{}\"\nproxy_protocol = [\"127.0.0.0/8\"]\n[services.a]\n\
         endpoints = [\"{}\"]\n[[routes]]\npath = \"/*\"\nservice = \"a\"\n",
        socket.display(),
        upstream.url()
    );
    std::fs::write(&file, text).unwrap();
    let _gateway = Process::start(Command::new(EXE).arg("run").arg("--config").arg(&file), "build it");
    wait_until("the socket", SOON, || socket.exists().then_some(()));
    let mut stream = UnixStream::connect(&socket).unwrap();
    let request =
        "PROXY TCP4 192.0.2.7 192.0.2.1 4000 80\r\nGET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert_eq!(upstream.requests()[0].header("x-forwarded-for"), Some("192.0.2.7"));
}

#[test]
fn connections_are_even_over_the_workers_and_answered_wherever_they_are() {
    let upstream = Upstream::named("a");
    let config = config(&upstream, "listen = \"127.0.0.1:@PORT@\"\nworkers = 4\nwatch = false");
    let gateway = Gateway::builder(EXE).config(&config).start();
    let each = |count: usize| {
        let metrics = get(gateway.admin(), "/metrics").text();
        (0..4).all(|n| metrics.contains(&format!("gateway_worker_connections{{worker=\"{n}\"}} {count}\n")))
    };
    wait_until("whoever looked whether it is up to be gone", SOON, || each(0).then_some(()));
    let mut clients: Vec<Client> = (0..12).map(|_| Client::new(gateway.addr())).collect();
    for client in &mut clients {
        assert_eq!(client.send(&Request::get("/")).text(), "a");
    }
    assert!(each(3), "{}", get(gateway.admin(), "/metrics").text());
    // They stay where they are, and serve on.
    for client in &mut clients {
        assert_eq!(client.send(&Request::get("/")).text(), "a");
    }
    drop(clients);
    wait_until("all connections to end", SOON, || each(0).then_some(()));
}

/// A gateway whose process may have no more files open than `ulimit` says.
fn with_few_files(ulimit: &str, config: &str) -> Gateway {
    let script = format!("{ulimit}; exec \"$0\" run --config gateway.toml");
    Gateway::builder("/bin/sh").config(config).args(&["-c", &script, EXE]).start()
}

fn idle(gateway: &Gateway, count: usize) -> Vec<TcpStream> {
    (0..count).map(|_| TcpStream::connect(gateway.addr()).unwrap()).collect()
}

#[test]
fn z12_more_clients_than_the_process_can_bear_wait_and_those_who_are_there_are_served() {
    let upstream = Upstream::named("a");
    let config = config(&upstream, "listen = \"127.0.0.1:@PORT@\"\nworkers = 2");
    let gateway = with_few_files("ulimit -n 100", &config);
    let mut early: Vec<Client> = (0..10).map(|_| Client::new(gateway.addr())).collect();
    early.iter_mut().for_each(|client| assert_eq!(client.send(&Request::get("/")).status, 200));
    let idle = idle(&gateway, 150);
    let metrics = || get(gateway.admin(), "/metrics").text();
    wait_until("as many as may", SOON, || metrics().contains("\nhttp_active_connections 26\n").then_some(()));
    let seen = metrics();
    assert!(seen.contains("\ngateway_max_connections 26\n"), "{seen}");
    assert!(!seen.contains("\ngateway_max_connections_reached_total 0\n"), "{seen}");
    assert_eq!(get(gateway.admin(), "/livez").status, 200);
    // All at once, so that each needs a connection to the service.
    upstream.stall();
    let asked: Vec<_> = early
        .into_iter()
        .map(|mut client| std::thread::spawn(move || client.send(&Request::get("/")).status))
        .collect();
    wait_until("all upstream", SOON, || (upstream.hits() == 20).then_some(()));
    upstream.resume();
    assert!(asked.into_iter().all(|thread| thread.join().unwrap() == 200));
    let late = std::thread::spawn({
        let addr = gateway.addr();
        move || get(addr, "/").status
    });
    drop(idle);
    assert_eq!(late.join().unwrap(), 200);
    let said = gateway.stop().stderr;
    assert!(said.contains("at most 26 clients at once; 100 files may be open"), "{said}");
    assert_eq!(said.matches("as many clients are connected as may be (26").count(), 1, "{said}");
    assert!(!said.contains("cannot accept"), "{said}");
}

#[test]
fn the_soft_limit_on_open_files_is_raised_to_the_hard_one() {
    let upstream = Upstream::named("a");
    let config = config(&upstream, "listen = \"127.0.0.1:@PORT@\"\nworkers = 2");
    let gateway = with_few_files("ulimit -Sn 80; ulimit -Hn 300", &config);
    let said = gateway.stop().stderr;
    assert!(said.contains("at most 126 clients at once; 300 files may be open"), "{said}");
}

#[test]
fn a_gateway_without_descriptors_says_so_and_blames_no_service() {
    let upstreams = [Upstream::named("a"), Upstream::named("b")];
    let config = format!(
        "access_log = false\n[server]\nlisten = \"127.0.0.1:@PORT@\"\nworkers = 2\nmax_connections = 1000\n\
         header_timeout = \"60s\"\n[admin]\nlisten = \"127.0.0.1:@ADMIN@\"\n[services.a]\n\
         endpoints = [\"{}\", \"{}\"]\n\
         health = {{ kind = \"tcp\", interval = \"30ms\", fall = 1, rise = 1 }}\n\
         [[routes]]\npath = \"/a\"\nservice = \"a\"\n",
        upstreams[0].url(),
        upstreams[1].url(),
    );
    let gateway = with_few_files("ulimit -n 70", &config);
    let mut early: Vec<Client> = (0..8).map(|_| Client::new(gateway.addr())).collect();
    early.iter_mut().for_each(|client| assert_eq!(client.send(&Request::get("/")).status, 404));
    let idle = idle(&gateway, 150);
    let warned = "cannot accept connections: ";
    wait_until("no descriptors", SOON, || gateway.process().stderr().contains(warned).then_some(()));
    for client in &mut early {
        let answer = client.send(&Request::get("/a"));
        assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")), "{}", answer.text());
        assert_eq!(answer.json()["code"], "overloaded");
        let status = answer.header("proxy-status").unwrap();
        assert_eq!(status, "gateway; error=proxy_internal_error; details=\"overloaded\"");
    }
    drop(idle);
    wait_until("descriptors", SOON, || (early[0].send(&Request::get("/a")).status == 200).then_some(()));
    let metrics = get(gateway.admin(), "/metrics").text();
    for upstream in &upstreams {
        let of = format!("{{service=\"a\",endpoint=\"{}\"}}", upstream.url());
        for line in
            [format!("gateway_upstream_healthy{of} 1"), format!("gateway_upstream_ejections_total{of} 0")]
        {
            assert!(metrics.contains(&line), "{line}: {metrics}");
        }
    }
    let said = gateway.stop().stderr;
    assert_eq!(said.matches(warned).count(), 1, "{said}");
    assert!(said.contains("`server.max_connections` leaves nothing for services and files"), "{said}");
    assert!(!said.contains("unhealthy") && !said.contains("ejected"), "{said}");
}

#[test]
fn an_address_has_no_more_connections_than_it_may_whoever_brings_them() {
    let upstream = Upstream::named("a");
    let server =
        "listen = \"127.0.0.1:@PORT@\"\nproxy_protocol = [\"127.0.0.0/8\"]\nmax_connections_per_address = 1";
    let gateway = Gateway::builder(EXE).config(&config(&upstream, server)).start();
    let from = |address: &str| {
        let mut wire = Wire::connect(gateway.addr());
        let request = format!("PROXY TCP4 {address} 192.0.2.1 4000 80\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n");
        wire.send(request.as_bytes()).unwrap();
        let answer = wire.answer("GET").map(|answer| answer.status).ok();
        (wire, answer)
    };
    let (first, answer) = from("192.0.2.7");
    assert_eq!(answer, Some(200));
    assert_eq!(from("192.0.2.7").1, None);
    assert_eq!(from("192.0.2.8").1, Some(200));
    let metrics = get(gateway.admin(), "/metrics").text();
    assert!(metrics.contains("\ngateway_connections_refused_total 1\n"), "{metrics}");
    drop(first);
    wait_until("its place", SOON, || (from("192.0.2.7").1 == Some(200)).then_some(()));
}

#[test]
fn the_next_process_takes_over_and_no_request_is_refused_or_lost() {
    let upstream = Upstream::named("a");
    let mut gateway = Some(
        Gateway::builder(EXE)
            .config(&config(&upstream, "listen = \"127.0.0.1:@PORT@\"\nworkers = 2\nwatch = false"))
            .start(),
    );
    let first = gateway.as_ref().unwrap();
    let (addr, admin, id) = (first.addr(), first.admin(), first.process().id());
    let (stop, done, failed) =
        (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let clients: Vec<_> = (0..6)
        .map(|i| {
            let (stop, done, failed) = (stop.clone(), done.clone(), failed.clone());
            std::thread::spawn(move || {
                let mut client = Client::new(addr);
                while !stop.load(Ordering::Relaxed) {
                    // Some keep their connection, some open one per request: a refused one fails here.
                    let request = Request::get("/");
                    let answer = if i % 2 == 0 {
                        client.try_send(&request)
                    } else {
                        Client::new(addr).try_send(&request)
                    };
                    match answer {
                        Ok(answer) if answer.status == 200 => done.fetch_add(1, Ordering::Relaxed),
                        // A kept connection that the old process closed while idle: the next one is new.
                        Err(_) if i % 2 == 0 => {
                            client = Client::new(addr);
                            match client.try_send(&request) {
                                Ok(answer) if answer.status == 200 => done.fetch_add(1, Ordering::Relaxed),
                                _ => failed.fetch_add(1, Ordering::Relaxed),
                            }
                        }
                        _ => failed.fetch_add(1, Ordering::Relaxed),
                    };
                }
            })
        })
        .collect();
    wait_until("some load", SOON, || (done.load(Ordering::Relaxed) > 50).then_some(()));
    first.process().signal(Signal::SIGUSR2);
    let ended = |process: &Process| {
        let status = std::fs::read_to_string(format!("/proc/{}/stat", process.id())).unwrap_or_default();
        status.is_empty() || status.contains(") Z ")
    };
    wait_until("the first process to end", SOON, || ended(first.process()).then_some(()));
    let before = done.load(Ordering::Relaxed);
    wait_until("the second to serve", SOON, || (done.load(Ordering::Relaxed) > before + 50).then_some(()));
    stop.store(true, Ordering::Relaxed);
    clients.into_iter().for_each(|client| client.join().unwrap());
    let next = children_named_gateway(admin.port());
    let (done, failed) = (done.load(Ordering::Relaxed), failed.load(Ordering::Relaxed));
    println!("{done} requests over a hand-over, {failed} failed");
    assert_eq!(get(admin, "/readyz").status, 200, "the admin listener was handed over too");
    for process in next.iter().filter(|process| **process != id) {
        assert!(Command::new("sh").args(["-c", &format!("kill {process}")]).status().unwrap().success());
    }
    assert_eq!(failed, 0, "of {done}");
    assert_eq!(next.iter().filter(|process| **process != id).count(), 1, "{next:?}");
    drop(gateway.take());
}

/// The processes whose command line is that of a gateway which has this admin port in its configuration.
fn children_named_gateway(admin: u16) -> Vec<u32> {
    let all = std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let is_ours = |process: &u32| {
        let line = std::fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
        let arguments: Vec<_> = line.split(|b| *b == 0).map(String::from_utf8_lossy).collect();
        let Some(config) = arguments.iter().find(|argument| argument.ends_with("gateway.toml")) else {
            return false;
        };
        let folder = std::fs::read_link(format!("/proc/{process}/cwd")).unwrap_or_default();
        let text = std::fs::read_to_string(folder.join(&**config)).unwrap_or_default();
        arguments[0].ends_with("gateway") && text.contains(&format!("127.0.0.1:{admin}"))
    };
    all.filter(is_ours).collect()
}

#[test]
fn a_next_process_that_cannot_start_changes_nothing() {
    let upstream = Upstream::named("a");
    let gateway = Gateway::builder(EXE)
        .config(&config(&upstream, "listen = \"127.0.0.1:@PORT@\"\nworkers = 1\nwatch = false"))
        .start();
    let file = gateway.dir().join("gateway.toml");
    std::fs::write(&file, "nonsense = true\n").unwrap();
    gateway.process().signal(Signal::SIGUSR2);
    wait_until("the failure", SOON, || gateway.process().stderr().contains("this one stays").then_some(()));
    assert_eq!(get(gateway.addr(), "/").text(), "a");
    let finished = gateway.stop();
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    for part in ["it ended with exit status: 2", "unknown key `nonsense`"] {
        assert!(finished.stderr.contains(part), "{}", finished.stderr);
    }
}

/// The process that a gateway, or any other process, has started to take its place.
fn next_of(process: u32) -> u32 {
    let children = format!("/proc/{process}/task/{process}/children");
    wait_until("the next process", SOON, || {
        std::fs::read_to_string(&children).ok()?.split_whitespace().next()?.parse().ok()
    })
}

fn has_ended(process: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    status.is_empty() || status.contains(") Z ")
}

fn kill(signal: &str, process: u32) {
    assert!(Command::new("kill").args([signal, &process.to_string()]).status().unwrap().success());
}

/// A process that nobody else ends.
struct Ended(u32);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-KILL", &self.0.to_string()]).status();
    }
}

#[test]
fn systemd_is_told_who_serves_after_each_of_several_hand_overs() {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram};
    let upstream = Upstream::named("a");
    let folder = tempfile::tempdir().unwrap();
    let name = format!("gateway-notify-{}", std::process::id());
    for socket in [folder.path().join("notify").display().to_string(), format!("@{name}")] {
        let systemd = match socket.strip_prefix('@') {
            Some(name) => UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(name).unwrap()),
            None => UnixDatagram::bind(&socket),
        };
        let systemd = systemd.unwrap();
        systemd.set_read_timeout(Some(SOON)).unwrap();
        let heard = || {
            let mut text = [0; 64];
            let length = systemd.recv(&mut text).unwrap();
            String::from_utf8_lossy(&text[..length]).into_owned()
        };
        let gateway = Gateway::builder(EXE)
            .env("NOTIFY_SOCKET", &socket)
            .config(&config(&upstream, "listen = \"127.0.0.1:@PORT@\"\nworkers = 1\nwatch = false"))
            .start();
        assert_eq!(heard(), "READY=1");
        gateway.process().signal(Signal::SIGUSR2);
        let second = Ended(next_of(gateway.process().id()));
        assert_eq!(heard(), format!("MAINPID={}", second.0));
        kill("-USR2", second.0);
        let third = Ended(next_of(second.0));
        assert_eq!(heard(), format!("MAINPID={}", third.0), "{socket}: it knows whom to tell, too");
        wait_until("the second process to end", SOON, || has_ended(second.0).then_some(()));
        assert_eq!(get(gateway.addr(), "/").text(), "a");
    }
}

#[test]
fn a_hand_over_is_not_noticed_by_who_asks_for_readiness_and_one_more_signal_cuts_nothing() {
    let upstream = Upstream::named("a");
    let server = "listen = \"127.0.0.1:@PORT@\"\nworkers = 1\nwatch = false\ndrain_delay = \"60s\"";
    let gateway = Gateway::builder(EXE).config(&config(&upstream, server)).start();
    let (addr, first) = (gateway.addr(), gateway.process().id());
    let mut kept = Client::new(gateway.admin());
    assert_eq!(kept.send(&Request::get("/readyz")).status, 200);
    upstream.stall();
    let busy = std::thread::spawn(move || get(addr, "/busy"));
    wait_until("the request upstream", SOON, || (upstream.hits() == 1).then_some(()));
    gateway.process().signal(Signal::SIGUSR2);
    let _next = Ended(next_of(first));
    wait_until("the first to drain", SOON, || gateway.process().stderr().contains("draining").then_some(()));
    for turn in 0..50 {
        assert_eq!(get(gateway.admin(), "/readyz").status, 200, "{turn}");
    }
    assert!(
        kept.try_send(&Request::get("/metrics")).is_err(),
        "it would go on reading what the old one counts"
    );
    // As one does who comes from nginx.
    gateway.process().signal(Signal::SIGTERM);
    assert!(!has_ended(first));
    upstream.resume();
    assert_eq!(busy.join().unwrap().text(), "a");
    wait_until("the first process to end", SOON, || has_ended(first).then_some(()));
    assert_eq!(get(addr, "/").text(), "a");
}

#[test]
fn whoever_asks_to_end_while_the_next_process_starts_ends_both_and_the_drain_has_its_delay() {
    let upstream = Upstream::named("a");
    let server = "listen = \"127.0.0.1:@PORT@\"\nworkers = 1\nwatch = false\ndrain_delay = \"4s\"";
    let gateway = Gateway::builder(EXE).config(&config(&upstream, server)).start();
    // The next one waits for a Redis that says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let file = gateway.dir().join("gateway.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let redis = format!(
        "[store.redis]\nurl = \"redis://{}\"\nconnect_timeout = \"50s\"\ntimeout = \"50s\"\n",
        silent.local_addr().unwrap()
    );
    std::fs::write(&file, text + &redis).unwrap();
    gateway.process().signal(Signal::SIGUSR2);
    let next = next_of(gateway.process().id());
    let _waiting = silent.accept().unwrap();
    let start = Instant::now();
    gateway.process().signal(Signal::SIGTERM);
    wait_until("the next process to be ended", SOON, || has_ended(next).then_some(()));
    wait_until("the delay", SOON, || (get(gateway.admin(), "/readyz").status == 503).then_some(()));
    assert_eq!(get(gateway.addr(), "/").text(), "a", "connections are still taken");
    let (addr, process) = (gateway.addr(), gateway.process().id());
    wait_until("the listener to close", SOON, || std::net::TcpStream::connect(addr).is_err().then_some(()));
    assert!(start.elapsed() >= Duration::from_secs(4), "{:?}", start.elapsed());
    wait_until("the end", SOON, || has_ended(process).then_some(()));
}

#[test]
fn the_next_process_goes_by_its_own_settings_and_loses_no_socket_that_it_has_no_worker_for() {
    let upstream = Upstream::named("a");
    let server = "listen = \"127.0.0.1:@PORT@\"\nworkers = 3\nwatch = false";
    let gateway = Gateway::builder(EXE).config(&config(&upstream, server)).start();
    let (addr, admin) = (gateway.addr(), gateway.admin());
    let workers = |admin| get(admin, "/metrics").text().matches("gateway_worker_connections{").count();
    let file = gateway.dir().join("gateway.toml");
    let hand_over = |from: u32, text: String| {
        std::fs::write(&file, text).unwrap();
        kill("-USR2", from);
        let next = Ended(next_of(from));
        wait_until("the one before to end", SOON, || has_ended(from).then_some(()));
        next
    };
    let text = std::fs::read_to_string(&file).unwrap();
    let second = hand_over(gateway.process().id(), text.replace("workers = 3", "workers = 1"));
    assert_eq!(workers(admin), 1);
    for _ in 0..20 {
        assert_eq!(get(addr, "/").text(), "a");
    }
    let [other, other_admin] = [(); 2].map(|()| SocketAddr::from(([127, 0, 0, 1], free_port())));
    let text = text.replace("workers = 3", "workers = 4").replace(&addr.to_string(), &other.to_string());
    let _third = hand_over(second.0, text.replace(&admin.to_string(), &other_admin.to_string()));
    assert_eq!(workers(other_admin), 4);
    assert_eq!(get(other, "/").text(), "a");
    for gone in [addr, admin] {
        assert!(std::net::TcpStream::connect(gone).is_err(), "{gone} is still listened on");
    }
}

#[test]
fn the_admin_listener_takes_the_sockets_of_its_name_whatever_their_kind() {
    let upstream = Upstream::named("a");
    let folder = tempfile::tempdir().unwrap();
    let (file, path) = (folder.path().join("gateway.toml"), folder.path().join("admin.sock"));
    let text = config(&upstream, "listen = \"127.0.0.1:1\"\nworkers = 1\nwatch = false");
    std::fs::write(
        &file,
        text.replace("@ADMIN@", "2").replace("@DIR@", &folder.path().display().to_string()),
    )
    .unwrap();
    let web = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = web.local_addr().unwrap();
    let admin = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let mut command = Command::new(EXE);
    command.arg("run").arg("--config").arg(&file);
    command.env("LISTEN_HANDOVER", "1").env("LISTEN_FDS", "2").env("LISTEN_FDNAMES", "web:admin");
    let mappings = [web.into(), admin.into()].into_iter().zip(3..);
    let mappings = mappings.map(|(parent_fd, child_fd)| FdMapping { parent_fd, child_fd }).collect();
    command.fd_mappings(mappings).unwrap();
    let gateway = Process::start(&mut command, "build it");
    // Or the test would listen, too.
    drop(command);
    let asked = |target: &str| {
        let mut stream = UnixStream::connect(&path).unwrap();
        stream
            .write_all(format!("GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").as_bytes())
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    assert!(asked("/readyz").ends_with("\r\n\r\nready\n"), "{}", gateway.stderr());
    assert!(asked("/anything").starts_with("HTTP/1.1 404 "), "it is no listener of clients");
    assert_eq!(get(addr, "/").text(), "a");
    let told = format!("admin on unix:{}", path.display());
    wait_until(&told, SOON, || gateway.stderr().contains(&told).then_some(()));
}
