//! What an operator reads of a server that goes away.
#![allow(clippy::unwrap_used)]

use gateway_store::{RedisSettings, Store, StoreSettings};
use gateway_testkit::Redis;
use std::fmt::{Debug, Write};
use std::io::Write as _;
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// The lines of this crate.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "message" {
            write!(self.0, "{value:?}").unwrap();
        }
    }
}

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("gateway_store")
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &Event<'_>) {
        let mut line = Line(format!("{} ", event.metadata().level()));
        event.record(&mut line);
        self.0.lock().unwrap().push(line.0);
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

#[tokio::test]
async fn each_change_of_state_is_one_line_without_the_password() {
    let lines = Lines::default();
    let _logging = tracing::subscriber::set_default(lines.clone());
    let mut redis = Redis::start_with(&["--requirepass", "secret"]);
    let url = redis.url().replace("redis://", "redis://:secret@");
    let settings = RedisSettings { timeout: "500ms".parse().unwrap(), ..RedisSettings::new(&url) };
    let store = Store::open(&StoreSettings::from(settings)).unwrap();
    let workers = [store.per_worker(), store.per_worker()];
    for worker in &workers {
        worker.ping().await.unwrap();
    }
    assert_eq!(*lines.0.lock().unwrap(), Vec::<String>::new());
    redis.kill();
    let start = Instant::now();
    // Long enough for a second attempt.
    while start.elapsed() < Duration::from_millis(1_300) {
        for worker in &workers {
            worker.get(&["x"]).await.unwrap_err();
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    redis.restart();
    for worker in &workers {
        while worker.get(&["x"]).await.is_err() {
            assert!(start.elapsed() < Duration::from_secs(10), "the store never came back");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    let lines = lines.0.lock().unwrap();
    let at = redis.url();
    let (last, away) = lines.split_last().unwrap();
    // That nobody listens there any more is another reason, if it took long enough to be told.
    assert!((1..=2).contains(&away.len()), "{lines:#?}");
    for line in away {
        assert!(
            line.starts_with(&format!("WARN Redis at {at}: ")) && line.ends_with("tried again every second")
        );
    }
    assert_eq!(*last, format!("INFO Redis at {at} answers again"));
}

#[tokio::test]
async fn who_broke_off_and_now_asks_for_a_password_is_told_of() {
    let lines = Lines::default();
    let _logging = tracing::subscriber::set_default(lines.clone());
    let redis = Redis::start();
    let settings = RedisSettings { timeout: "500ms".parse().unwrap(), ..RedisSettings::new(&redis.url()) };
    let store = Store::open(&StoreSettings::from(settings)).unwrap().per_worker();
    store.ping().await.unwrap();
    let mut operator = TcpStream::connect(("127.0.0.1", redis.port())).unwrap();
    operator.write_all(b"CONFIG SET requirepass secret\r\nCLIENT KILL TYPE normal\r\n").unwrap();
    let start = Instant::now();
    while !lines.0.lock().unwrap().iter().any(|line| line.contains("NOAUTH")) {
        let lines = lines.0.lock().unwrap().clone();
        assert!(start.elapsed() < Duration::from_secs(20), "nothing says why it stays away: {lines:#?}");
        let _ = store.get(&["x"]).await;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
