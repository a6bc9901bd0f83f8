//! How many requests at once, and faults on purpose.

use super::*;
use gateway_testkit::Reply;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
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
    let mut refused = |priority: &str| {
        let answers = (0..20).map(|_| client.send(&Request::get("/").header("X-Priority", priority)));
        answers.filter(|answer| answer.status == 503 && code(answer).1 == "overloaded").count()
    };
    assert_eq!(refused("critical"), 0, "too few have been seen");
    // Of all, four of five are refused: every sheddable one, and three of five of the others.
    wait_until("all that is sheddable to be refused", SOON, || {
        let (critical, sheddable) = (refused("critical"), refused("sheddable"));
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
    assert_eq!((aborted.status, aborted.text().as_str()), (418, "fault injected\n"));
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
