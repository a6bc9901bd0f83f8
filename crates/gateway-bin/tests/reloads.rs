//! Reloading leaves nothing behind: memory, threads and file descriptors stay as they are. Nor does it hold up requests.
//!
//! `GATEWAY_LONG=1` reloads 10,000 times instead of 300; run it with `--release` and `--nocapture` for the figures.
#![allow(clippy::unwrap_used)]

use gateway_testkit::{Client, Gateway, Request, Upstream, Wire, get};
use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const MIB: u64 = 1 << 20;

/// What the process holds: resident memory, threads, file descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Held {
    memory: u64,
    threads: usize,
    files: usize,
}

impl Held {
    fn by(gateway: &Gateway) -> Self {
        let count = |what: &str| {
            std::fs::read_dir(format!("/proc/{}/{what}", gateway.process().id())).unwrap().count()
        };
        Self { memory: gateway.process().memory(), threads: count("task"), files: count("fd") }
    }
}

/// Two configurations by turns, which differ in a route, a pool and a health check: each reload builds and drops all.
fn config(upstream: &str, turn: usize) -> String {
    let odd = turn % 2;
    format!(
        "[server]\nlisten = \"127.0.0.1:@PORT@\"\nworkers = 2\nwatch = false\n[admin]\nlisten = \"127.0.0.1:@ADMIN@\"\n\
         [rate_limits]\napi = \"100000{odd}/s\"\n\
         [services.a]\nendpoints = [\"{upstream}\"]\nconnection.max_idle = {}\n\
         health = {{ path = \"/health\", interval = \"{}s\" }}\n\
         [services.turn{odd}]\nendpoints = [\"{upstream}\"]\n\
         [[routes]]\npath = \"/turn{odd}/*\"\nservice = \"turn{odd}\"\n\
         [[routes]]\npath = \"/*\"\nservice = \"a\"\nrate_limit = \"api\"\n",
        64 + odd,
        20 + odd,
    )
}

#[test]
fn reloads_leave_no_memory_threads_or_files_behind() {
    let long = std::env::var_os("GATEWAY_LONG").is_some_and(|value| value == "1");
    let (warm_up, reloads) = if long { (500, 10_000) } else { (100, 300) };
    let upstream = Upstream::named("a");
    let url = upstream.url();
    let gateway = Gateway::builder(env!("CARGO_BIN_EXE_gateway")).config(&config(&url, 0)).start();
    let file = gateway.dir().join("gateway.toml");
    let mut admin = Client::new(gateway.admin());
    let mut reload = |turn: usize| {
        let text = config(&url, turn)
            .replace("@PORT@", &gateway.addr().port().to_string())
            .replace("@ADMIN@", &gateway.admin().port().to_string());
        std::fs::write(&file, text).unwrap();
        let answer = admin.send(&Request::new("POST", "/reload"));
        assert_eq!(answer.status, 200, "reload {turn}: {}", answer.text());
        // A request goes through what is in force, and through a pool that is made anew.
        if turn % 10 < 2 {
            assert_eq!(get(gateway.addr(), &format!("/turn{}/", turn % 2)).text(), "a");
        }
    };
    // Allocators and pools take what they need first.
    (1..=warm_up).for_each(&mut reload);
    let before = Held::by(&gateway);
    (warm_up + 1..=warm_up + reloads).for_each(&mut reload);
    let after = Held::by(&gateway);
    println!("{reloads} reloads: {before:?} before, {after:?} after");
    assert_eq!(after.threads, before.threads, "threads");
    // A connection or two to the upstream may be under way.
    assert!(after.files <= before.files + 4, "file descriptors: {before:?}, then {after:?}");
    // A leak of a kilobyte by each reload would show in the long run.
    assert!(after.memory <= before.memory + 4 * MIB, "memory: {before:?}, then {after:?}");
}

/// As many routes, before one whose answer tells the turn.
fn many(routes: usize, turn: usize) -> String {
    let mut text = format!(
        "access_log = false\n[server]\nlisten = \"127.0.0.1:@PORT@\"\nworkers = 2\nwatch = false\n[admin]\n\
         listen = \"127.0.0.1:@ADMIN@\"\n[services.a]\nendpoints = [\"http://127.0.0.1:9\"]\n\
         [[routes]]\npath = \"/turn\"\nrespond = {{ text = \"{turn}\" }}\n"
    );
    for number in 0..routes {
        write!(text, "[[routes]]\npath = \"/r{number}/*\"\nservice = \"a\"\n").unwrap();
    }
    text
}

/// How long, sorted: the median, the 99th of a hundred, the longest.
fn spread(mut times: Vec<Duration>) -> [Duration; 3] {
    times.sort_unstable();
    [times[times.len() / 2], times[times.len() * 99 / 100], times[times.len() - 1]]
}

/// Ends those who wait for it also where the test fails, which would wait for them else.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn fifty_thousand_routes_are_swapped_while_requests_go_on() {
    const ROUTES: usize = 50_000;
    /// How long a gateway that is not optimized may read so many on a busy machine.
    const PATIENCE: Duration = Duration::from_secs(120);
    let gateway = Gateway::builder(env!("CARGO_BIN_EXE_gateway")).config(&many(ROUTES, 0)).start();
    let (addr, file) = (gateway.addr(), gateway.dir().join("gateway.toml"));
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // Each request is answered, by the routes of before or by those of after.
        let asking = scope.spawn(|| {
            let (mut client, mut times, mut newest) = (Client::new(addr), Vec::new(), 0);
            while !stop.load(Ordering::Relaxed) {
                let began = Instant::now();
                let answer = client.send(&Request::get("/turn"));
                times.push(began.elapsed());
                assert_eq!(answer.status, 200, "{}", answer.text());
                let turn: usize = answer.text().parse().unwrap();
                assert!(turn >= newest, "routes of {turn} after those of {newest}");
                newest = turn;
            }
            times
        });
        let ends = Ends(&stop);
        for turn in 1..=3 {
            let text = many(ROUTES, turn)
                .replace("@PORT@", &addr.port().to_string())
                .replace("@ADMIN@", &gateway.admin().port().to_string());
            std::fs::write(&file, text).unwrap();
            let began = Instant::now();
            let mut admin = Wire::connect(gateway.admin()).with_patience(PATIENCE);
            admin.send(b"POST /reload HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n").unwrap();
            let answer = admin.answer("POST").unwrap();
            assert_eq!((answer.status, answer.text().as_str()), (200, "reloaded\n"));
            println!("{ROUTES} routes read and swapped in {:?}", began.elapsed());
            assert_eq!(get(addr, "/turn").text(), turn.to_string());
        }
        drop(ends);
        let [median, most, longest] = spread(asking.join().unwrap());
        println!("requests meanwhile: median {median:?}, 99 of 100 within {most:?}, the longest {longest:?}");
    });
}
