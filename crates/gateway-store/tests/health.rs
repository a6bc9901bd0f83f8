//! What callers see of a server that is killed, frozen or restarted.
#![allow(clippy::unwrap_used)]

use futures_util::future::join_all;
use gateway_store::{Event, Health, RedisSettings, Script, Store, StoreError, StoreSettings};
use gateway_testkit::Redis;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const MINUTE: Duration = Duration::from_secs(60);
/// A deadline that tells a wait from none, and what a busy machine may add to it.
const DEADLINE: Duration = Duration::from_millis(500);
const SLACK: Duration = Duration::from_millis(1_500);
/// What a server that is there again has to be used.
const SOON: Duration = Duration::from_secs(5);

static COUNT: Script = Script::new("return redis.call('INCR', KEYS[1])");

fn open(redis: &Redis) -> Store {
    let settings = RedisSettings {
        timeout: format!("{DEADLINE:?}").parse().unwrap(),
        ..RedisSettings::new(&redis.url())
    };
    Store::open(&StoreSettings::from(settings)).unwrap()
}

/// Each operation that requests wait for, one after the other: whether it succeeded, and how long it took.
async fn each(store: &Store) -> [(&'static str, bool, Duration); 6] {
    async fn timed<T>(
        name: &'static str,
        operation: impl Future<Output = Result<T, StoreError>>,
    ) -> (&'static str, bool, Duration) {
        let start = Instant::now();
        let done = operation.await.is_ok();
        (name, done, start.elapsed())
    }
    [
        timed("get", store.get(&["x"])).await,
        timed("set", store.set("x", b"1", MINUTE)).await,
        timed("set_new", store.set_new("y", b"1", MINUTE)).await,
        timed("delete", store.delete(&["y"])).await,
        timed("run", store.run(&COUNT, &["n"], &[])).await,
        timed("publish", store.publish("news", b"1")).await,
    ]
}

async fn works_within(limit: Duration, store: &Store) {
    let start = Instant::now();
    while store.get(&["x"]).await.is_err() {
        assert!(start.elapsed() < limit, "still away after {limit:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    for (name, done, _) in each(store).await {
        assert!(done, "{name}");
    }
    assert!(!store.is_away());
}

#[tokio::test]
async fn every_operation_ends_at_its_deadline_whatever_becomes_of_the_server() {
    let mut redis = Redis::start();
    // As many stores as operations, so that each of them is once the first to notice.
    let stores: Vec<Store> = (0..6).map(|_| open(&redis)).collect();
    for frozen in [true, false] {
        for store in &stores {
            works_within(SOON, store).await;
        }
        if frozen {
            redis.stall();
        } else {
            redis.kill();
        }
        for (first, store) in stores.iter().enumerate() {
            let start = Instant::now();
            let failed = match first {
                0 => store.get(&["x"]).await.is_err(),
                1 => store.set("x", b"1", MINUTE).await.is_err(),
                2 => store.set_new("x", b"1", MINUTE).await.is_err(),
                3 => store.delete(&["x"]).await.is_err(),
                4 => store.run(&COUNT, &["n"], &[]).await.is_err(),
                _ => store.publish("news", b"1").await.is_err(),
            };
            let took = start.elapsed();
            assert!(failed && took < DEADLINE + SLACK, "operation {first}, frozen {frozen}: {took:?}");
            let start = Instant::now();
            assert!(each(store).await.iter().all(|(_, done, _)| !done));
            assert!(start.elapsed() < DEADLINE, "those after it wait for nothing: {:?}", start.elapsed());
        }
        if frozen {
            redis.resume();
        } else {
            redis.restart();
        }
    }
    for store in &stores {
        works_within(SOON, store).await;
    }
}

#[tokio::test]
async fn while_the_server_is_frozen_one_operation_a_second_waits() {
    let redis = Redis::start();
    let store = open(&redis);
    works_within(SOON, &store).await;
    redis.stall();
    let start = Instant::now();
    join_all((0..100).map(|_| store.get(&["x"]))).await;
    assert!(start.elapsed() < DEADLINE + SLACK, "those in flight end together: {:?}", start.elapsed());
    assert!(store.is_away());
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let asked = join_all((0..100).map(async |_| {
        let start = Instant::now();
        store.get(&["x"]).await.unwrap_err();
        start.elapsed() > DEADLINE / 2
    }));
    assert_eq!(asked.await.into_iter().filter(|waited| *waited).count(), 1);
    redis.resume();
    works_within(SOON, &store).await;
}

#[tokio::test]
async fn a_restart_is_noticed_once_for_all_workers() {
    let mut redis = Redis::start();
    let store = open(&redis);
    let workers: Vec<Store> = (0..4).map(|_| store.per_worker()).collect();
    for worker in &workers {
        works_within(SOON, worker).await;
    }
    let mut health = store.health();
    redis.restart();
    workers[0].get(&["x"]).await.unwrap_err();
    assert!(workers.iter().all(Store::is_away) && *health.borrow_and_update() == Health::Away);
    works_within(SOON, &workers[0]).await;
    assert_eq!(*health.borrow_and_update(), Health::Up);
    for worker in &workers {
        worker.get(&["x"]).await.expect("no other worker stumbles over its old connection");
    }
    assert!(!health.has_changed().unwrap());
}

#[tokio::test]
async fn a_listener_sees_a_gap_after_the_server_was_frozen_or_killed() {
    let mut redis = Redis::start();
    let store = open(&redis);
    store.ping().await.unwrap();
    let mut messages = store.subscribe("news");
    for loss in ["none", "frozen", "killed"] {
        match loss {
            "frozen" => {
                redis.stall();
                // Longer than it takes to notice.
                let silence = tokio::time::timeout(Duration::from_millis(3_500), messages.next()).await;
                assert!(silence.is_err(), "{silence:?}");
                redis.resume();
            }
            "killed" => {
                redis.kill();
                let silence = tokio::time::timeout(Duration::from_millis(300), messages.next()).await;
                assert!(silence.is_err(), "{silence:?}");
                redis.restart();
            }
            _ => {}
        }
        let gap = tokio::time::timeout(Duration::from_secs(6), messages.next()).await;
        assert_eq!(gap.expect("a new connection"), Event::Gap, "{loss}");
        let start = Instant::now();
        while store.publish("news", loss.as_bytes()).await.is_err() {
            assert!(start.elapsed() < SOON, "{loss}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(messages.next().await, Event::Message(loss.into()));
    }
}

/// Passes everything on, answers after a while only.
async fn slow_to_answer(redis: &Redis, pause: Duration) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (url, port) = (format!("redis://{}", listener.local_addr().unwrap()), redis.port());
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            let ((mut asked, mut answers), (mut from, mut to)) = (client.into_split(), server.into_split());
            tokio::spawn(async move { tokio::io::copy(&mut asked, &mut to).await });
            tokio::spawn(async move {
                let mut answer = [0; 4096];
                while let Ok(length @ 1..) = from.read(&mut answer).await {
                    tokio::time::sleep(pause).await;
                    answers.write_all(&answer[..length]).await.unwrap();
                }
            });
        }
    });
    url
}

#[tokio::test]
async fn a_server_that_is_slower_than_operations_may_be_stays_away() {
    let redis = Redis::start();
    let url = slow_to_answer(&redis, DEADLINE * 2).await;
    let settings = RedisSettings {
        timeout: format!("{DEADLINE:?}").parse().unwrap(),
        connect_timeout: "20s".parse().unwrap(),
        ..RedisSettings::new(&url)
    };
    let store = Store::open(&StoreSettings::from(settings)).unwrap();
    // It can be used, only not in time.
    store.ping().await.unwrap();
    store.get(&["x"]).await.unwrap_err();
    assert!(store.is_away());
    let start = Instant::now();
    let mut asked = 0;
    while asked < 2 {
        let error = store.probe().await.unwrap_err().to_string();
        assert!(store.is_away(), "{error}");
        asked += usize::from(error.contains("no answer within"));
        assert!(start.elapsed() < MINUTE, "{error}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_connection_that_failed_is_closed_before_another_is_needed() {
    let redis = Redis::start();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let settings = RedisSettings {
        timeout: format!("{DEADLINE:?}").parse().unwrap(),
        ..RedisSettings::new(&format!("redis://{}", listener.local_addr().unwrap()))
    };
    let store = Store::open(&StoreSettings::from(settings)).unwrap();
    let port = redis.port();
    let closed = tokio::spawn(async move {
        let (client, _) = listener.accept().await.unwrap();
        let server = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let ((mut asked, mut answers), (mut from, mut to)) = (client.into_split(), server.into_split());
        tokio::spawn(async move { tokio::io::copy(&mut from, &mut answers).await });
        tokio::io::copy(&mut asked, &mut to).await
    });
    store.ping().await.unwrap();
    redis.stall();
    store.get(&["x"]).await.unwrap_err();
    tokio::time::timeout(MINUTE, closed).await.expect("it is closed").unwrap().unwrap();
}

/// Accepts connections and passes them on after a while.
async fn slow_to_connect(redis: &Redis, pause: Duration) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (url, port) = (format!("redis://{}", listener.local_addr().unwrap()), redis.port());
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            tokio::spawn(async move {
                tokio::time::sleep(pause).await;
                let mut server = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                tokio::io::copy_bidirectional(&mut client, &mut server).await
            });
        }
    });
    url
}

#[tokio::test]
async fn a_connection_that_takes_longer_than_an_operation_is_not_one_that_failed() {
    let redis = Redis::start();
    let url = slow_to_connect(&redis, DEADLINE * 3).await;
    let settings = RedisSettings {
        timeout: format!("{DEADLINE:?}").parse().unwrap(),
        connect_timeout: "10s".parse().unwrap(),
        ..RedisSettings::new(&url)
    };
    let store = Store::open(&StoreSettings::from(settings)).unwrap();
    let health = store.health();
    let start = Instant::now();
    store.get(&["x"]).await.unwrap_err();
    // Timers are set a tick earlier, so that nobody waits for longer.
    assert!(start.elapsed() >= DEADLINE - Duration::from_millis(1), "{:?}", start.elapsed());
    let start = Instant::now();
    let error = store.get(&["x"]).await.unwrap_err();
    assert!(error.to_string().contains("still connecting") && start.elapsed() < DEADLINE, "{error}");
    works_within(SOON, &store).await;
    assert!(!health.has_changed().unwrap(), "nobody else needs to know");
}

#[tokio::test]
async fn a_server_that_never_shakes_hands_is_away_after_the_time_for_connections() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let settings = RedisSettings {
        timeout: "50ms".parse().unwrap(),
        connect_timeout: "300ms".parse().unwrap(),
        ..RedisSettings::new(&format!("redis://{}", listener.local_addr().unwrap()))
    };
    let store = Store::open(&StoreSettings::from(settings)).unwrap();
    let mut health = store.health();
    store.get(&["x"]).await.unwrap_err();
    assert!(!store.is_away());
    tokio::time::timeout(Duration::from_secs(2), health.changed()).await.unwrap().unwrap();
    assert!(store.is_away());
    let error = store.get(&["x"]).await.unwrap_err();
    assert!(error.to_string().contains("away a moment ago"), "{error}");
}

#[tokio::test]
async fn in_memory_nothing_is_ever_away() {
    let store = Store::memory();
    assert!(!store.is_away() && !store.is_shared());
    let mut health = store.health();
    assert_eq!(*health.borrow_and_update(), Health::Up);
    assert!(health.changed().await.is_err());
    store.ping().await.unwrap();
    let mut messages = store.per_worker().subscribe("news");
    store.publish("news", b"1").await.unwrap();
    assert_eq!((messages.next().await, messages.next().await), (Event::Gap, Event::Message("1".into())));
}
