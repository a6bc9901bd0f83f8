//! Reloading leaves nothing behind: memory, threads and file descriptors stay as they are.
//!
//! `GATEWAY_LONG=1` reloads 10,000 times instead of 300, and prints the figures with `--nocapture`.
#![allow(clippy::unwrap_used)]

use gateway_testkit::{Client, Gateway, Request, Upstream, get};

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
