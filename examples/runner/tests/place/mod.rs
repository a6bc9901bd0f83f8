//! What the tests of the examples with accounts have in common: where accounts and counts are kept, and requests with
//! and without a token.
#![allow(dead_code, reason = "each example uses its part")]

use gateway_testkit::{Client, Gateway, GatewayBuilder, PostgresServer, Redis, Request, Response};
use serde_json::Value;
use std::sync::atomic::{AtomicUsize, Ordering};

pub(crate) const EXE: &str = env!("CARGO_BIN_EXE_gateway");
pub(crate) const PASSWORD: &str = "correct horse battery";
pub(crate) const ADMIN: &str = "admin@example.com";
pub(crate) const ADMIN_PASSWORD: &str = "the password of the administrator";

/// Passwords whose hashes cost next to nothing, and as many accounts from one address as tests need.
pub(crate) const QUICK: &str = "\n[identity.password]\nmemory = \"8KiB\"\niterations = 1\nmax_parallel = 2\n\
    [identity.throttle]\nregistrations = 10000\n";

/// Where a test keeps its accounts, and whether instances share counts, answers and revocations.
pub(crate) struct Place<'a> {
    database: String,
    redis: Option<&'a Redis>,
    dir: tempfile::TempDir,
}

impl<'a> Place<'a> {
    /// SQLite, and nothing shared.
    pub(crate) fn alone() -> Self {
        Self::on(None, None)
    }

    pub(crate) fn on(postgres: Option<&PostgresServer>, redis: Option<&'a Redis>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("accounts.db").display().to_string();
        Self { database: postgres.map_or(file, PostgresServer::url), redis, dir }
    }

    pub(crate) fn redis(&self) -> Option<&'a Redis> {
        self.redis
    }

    /// The SQLite file, where it is one.
    pub(crate) fn file(&self) -> Option<&str> {
        Some(self.database.as_str()).filter(|database| !database.starts_with("postgres"))
    }

    /// A gateway that keeps its accounts here, told as an operator would: by the environment.
    pub(crate) fn builder(&self) -> GatewayBuilder {
        let builder =
            Gateway::builder(EXE).env("DATABASE_URL", &self.database).env("ADMIN_PASSWORD", ADMIN_PASSWORD);
        match self.redis {
            // Nothing is decided without Redis because this machine has other things to do.
            Some(redis) => builder
                .env("GATEWAY_STORE__REDIS__URL", &redis.url())
                .env("GATEWAY_STORE__REDIS__TIMEOUT", "10s"),
            None => builder,
        }
    }
}

/// An address that nobody else in this process has.
pub(crate) fn new_email() -> String {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    format!("ada{}@example.com", COUNT.fetch_add(1, Ordering::Relaxed))
}

/// The example's text with its addresses and files changed to those of the test, each of which must be there.
pub(crate) fn changed(example: &str, changes: &[(&str, &str)]) -> String {
    changes.iter().fold(example.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "the example no longer holds {from}");
        text.replace(from, to)
    })
}

/// Sends `GET /path`, with a token and a body of JSON unless they are `None` and null.
pub(crate) fn call(gateway: &Gateway, line: &str, token: Option<&str>, body: &Value) -> Response {
    Client::new(gateway.addr()).send(&request(line, token, body))
}

pub(crate) fn request(line: &str, token: Option<&str>, body: &Value) -> Request {
    let (method, target) = line.split_once(' ').unwrap();
    let mut request = Request::new(method, target);
    if let Some(token) = token {
        request = request.header("Authorization", &format!("Bearer {token}"));
    }
    if !body.is_null() {
        request = request.header("Content-Type", "application/json").body(body.to_string());
    }
    request
}

/// A text that the answer's JSON holds.
pub(crate) fn text(answer: &Response, name: &str) -> String {
    answer.json()[name].as_str().unwrap_or_else(|| panic!("no {name} in {}", answer.text())).to_owned()
}

/// What a token says, its signature aside.
pub(crate) fn claims(token: &str) -> Value {
    serde_json::from_slice(&unbase64(token.split('.').nth(1).unwrap())).unwrap()
}

fn unbase64(text: &str) -> Vec<u8> {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let (mut bytes, mut held, mut bits) = (Vec::new(), 0_u32, 0);
    for letter in text.bytes() {
        held = held << 6 | LETTERS.iter().position(|known| *known == letter).unwrap() as u32;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push((held >> bits) as u8);
            held &= (1 << bits) - 1;
        }
    }
    bytes
}

/// Each line is a test of its own on SQLite alone; with Redis and on PostgreSQL all run one after the other.
macro_rules! everywhere {
    ($($name:ident)+) => {
        $(
            #[test]
            fn $name() {
                lines::$name(&Place::alone());
            }
        )+

        fn all(postgres: Option<&gateway_testkit::PostgresServer>, redis: Option<&gateway_testkit::Redis>) {
            $(
                println!("{}", stringify!($name));
                lines::$name(&Place::on(postgres, redis));
            )+
        }

        #[test]
        fn all_of_it_holds_with_redis() {
            all(None, Some(&gateway_testkit::Redis::start()));
        }

        #[test]
        fn all_of_it_holds_on_postgresql_with_and_without_redis() {
            let postgres = gateway_testkit::PostgresServer::start();
            all(Some(&postgres), None);
            all(Some(&postgres), Some(&gateway_testkit::Redis::start()));
        }
    };
}
pub(crate) use everywhere;
