//! What connections cost that do nothing, as operators count it: the resident memory of the process.
//!
//! `GATEWAY_LONG=1` opens 10,000 of them instead of 2,000; run it with `--release` and `--nocapture` for the figures.
#![allow(clippy::unwrap_used)]

use gateway_testkit::{Gateway, Upstream, Wire, get};

const KIB: u64 = 1 << 10;

/// With one request behind it, as most idle connections have.
fn used(gateway: &Gateway) -> Wire {
    let mut wire = Wire::connect(gateway.addr());
    wire.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert_eq!(wire.answer("GET").unwrap().status, 200);
    wire
}

#[test]
fn an_idle_connection_holds_little_and_gives_it_back() {
    let long = std::env::var_os("GATEWAY_LONG").is_some_and(|value| value == "1");
    let count: u64 = if long { 10_000 } else { 2_000 };
    let upstream = Upstream::named("a");
    let config = format!(
        "access_log = false\n[server]\nlisten = \"127.0.0.1:@PORT@\"\nworkers = 2\nidle_timeout = \"10m\"\nmax_connections = {}\n\
         [services.a]\nendpoints = [\"{}\"]\n[[routes]]\npath = \"/*\"\nservice = \"a\"\n",
        // By default half of the files that may be open are for services.
        count + 100,
        upstream.url()
    );
    let gateway = Gateway::builder(env!("CARGO_BIN_EXE_gateway")).config(&config).start();
    for _ in 0..200 {
        assert_eq!(get(gateway.addr(), "/").text(), "a");
    }
    let empty = gateway.process().memory();
    let open: Vec<Wire> = (0..count).map(|_| used(&gateway)).collect();
    let full = gateway.process().memory();
    let each = full.saturating_sub(empty) / count;
    println!(
        "{} KiB without, {} KiB with {count} idle connections: {each} bytes each",
        empty / KIB,
        full / KIB
    );
    assert!(each < 6 * KIB, "{each} bytes for each");
    // They are served all the same.
    for mut wire in open.into_iter().step_by(100) {
        wire.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        assert_eq!(wire.answer("GET").unwrap().text(), "a");
    }
}
