//! Against a real Redis that is killed, stalled and restarted.
#![allow(clippy::unwrap_used)]

use gateway_store::{Event, RedisSettings, Script, Store, StoreError, StoreSettings};
use gateway_testkit::{Redis, RedisValue};
use std::time::{Duration, Instant};

fn open(redis: &Redis) -> Store {
    let settings = RedisSettings { timeout: "1s".parse().unwrap(), ..RedisSettings::new(&redis.url()) };
    Store::open(&StoreSettings::from(settings)).unwrap()
}

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn values_are_shared_and_none_is_without_an_expiry() {
    let redis = Redis::start();
    let (a, b) = (open(&redis), open(&redis));
    a.ping().await.unwrap();
    b.ping().await.unwrap();
    a.set("x", b"1", MINUTE).await.unwrap();
    assert_eq!(b.get(&["x", "y"]).await.unwrap(), [Some(b"1".to_vec()), None]);
    let RedisValue::Int(ttl) = redis.command(&["PTTL", "gateway:x"]) else { panic!() };
    assert!((50_000..=60_000).contains(&ttl), "{ttl}");
    a.set("z", b"1", Duration::ZERO).await.unwrap();
    assert_eq!(redis.keys("*"), ["gateway:x"], "a value without time to live is not set");
}

#[tokio::test]
async fn a_killed_server_is_noticed_at_once_and_found_again() {
    let mut redis = Redis::start();
    let store = open(&redis).per_worker();
    store.ping().await.unwrap();
    store.set("x", b"1", MINUTE).await.unwrap();
    redis.kill();
    let error = store.get(&["x"]).await.unwrap_err();
    assert!(error.to_string().contains(&redis.url()), "{error}");
    let start = Instant::now();
    for _ in 0..1000 {
        store.get(&["x"]).await.unwrap_err();
    }
    assert!(start.elapsed() < Duration::from_millis(500), "1000 refusals took {:?}", start.elapsed());
    redis.restart();
    let start = Instant::now();
    while store.set("x", b"2", MINUTE).await.is_err() {
        assert!(start.elapsed() < Duration::from_secs(10), "the store never came back");
        tokio::task::yield_now().await;
    }
    assert_eq!(store.get(&["x"]).await.unwrap(), [Some(b"2".to_vec())]);
}

#[tokio::test]
async fn a_frozen_server_costs_no_more_than_the_deadline() {
    let redis = Redis::start();
    let store = Store::open(&StoreSettings::from(RedisSettings::new(&redis.url()))).unwrap();
    store.ping().await.unwrap();
    redis.stall();
    let start = Instant::now();
    let error = store.get(&["x"]).await.unwrap_err();
    let took = start.elapsed();
    redis.resume();
    assert!(error.to_string().contains("no answer within 20ms"), "{error}");
    assert!(took < Duration::from_millis(500), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_says_nothing_costs_the_deadline_once_and_not_a_tick_more() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("redis://{}", silent.local_addr().unwrap());
    let settings = RedisSettings { connect_timeout: "60s".parse().unwrap(), ..RedisSettings::new(&url) };
    let store = Store::open(&StoreSettings::from(settings)).unwrap();
    let start = tokio::time::Instant::now();
    store.get(&["x"]).await.unwrap_err();
    let took = start.elapsed();
    assert!((Duration::from_millis(15)..=Duration::from_millis(20)).contains(&took), "{took:?}");
    store.get(&["x"]).await.unwrap_err();
    assert_eq!(start.elapsed(), took, "the next one waits for nothing");
}

#[test]
fn a_url_that_is_none_is_refused_without_its_password() {
    for url in ["http://u:secret@x", "nonsense", "redis://u:secret@[x"] {
        let settings = StoreSettings::from(RedisSettings::new(url));
        let error = Store::open(&settings).unwrap_err();
        assert!(matches!(error, StoreError::Url { .. }), "{error:?}");
        assert!(!format!("{error} {settings:?}").contains("secret"), "{error}");
    }
}

static ADD: Script = Script::new("return {redis.call('INCRBY', KEYS[1], ARGV[1]), #KEYS}");

#[tokio::test]
async fn a_script_runs_as_one_step_also_when_the_server_has_forgotten_it() {
    let redis = Redis::start();
    let store = open(&redis);
    store.ping().await.unwrap();
    assert!(store.is_shared());
    assert_eq!(store.run(&ADD, &["{n}", "{n}x"], &[b"2"]).await.unwrap(), [2, 2]);
    let _ = redis.command(&["SCRIPT", "FLUSH"]);
    assert_eq!(store.run(&ADD, &["{n}"], &[b"3"]).await.unwrap(), [5, 1]);
    assert_eq!(redis.keys("*"), ["gateway:{n}"]);
    static ONE: Script = Script::new("return 7");
    assert_eq!(store.run(&ONE, &[], &[]).await.unwrap(), [7]);
    static TEXT: Script = Script::new("return {'a'}");
    let error = store.run(&TEXT, &[], &[]).await.unwrap_err();
    assert!(matches!(error, StoreError::Refused { .. }), "{error:?}");
    assert_eq!(Store::memory().run(&ONE, &[], &[]).await, Err(StoreError::NoScripts));
    store.get(&["x"]).await.expect("a script that is refused does not stop the rest");
}

#[tokio::test]
async fn keys_are_deleted_and_found_by_what_they_begin_with() {
    let redis = Redis::start();
    for store in [open(&redis), Store::memory()] {
        store.ping().await.unwrap();
        for key in ["a:1", "a:2", "a*3", "b:1"] {
            store.set(key, b"x", MINUTE).await.unwrap();
        }
        assert_eq!(store.scan("a:").await.unwrap(), ["a:1", "a:2"]);
        assert_eq!(store.scan("a*").await.unwrap(), ["a*3"]);
        store.delete(&["a:1", "a*3", "c"]).await.unwrap();
        store.delete(&[]).await.unwrap();
        assert_eq!(store.scan("").await.unwrap(), ["a:2", "b:1"]);
    }
}

#[tokio::test]
async fn messages_reach_every_instance_and_a_gap_tells_of_missed_ones() {
    let mut redis = Redis::start();
    let (a, b) = (open(&redis), open(&redis));
    a.ping().await.unwrap();
    let (mut one, mut two) = (a.subscribe("purge"), b.subscribe("purge"));
    for listener in [&mut one, &mut two] {
        assert_eq!(listener.next().await, Event::Gap);
    }
    a.publish("purge", b"x\0y").await.unwrap();
    for listener in [&mut one, &mut two] {
        assert_eq!(listener.next().await, Event::Message("x\0y".into()));
    }
    redis.restart();
    for listener in [&mut one, &mut two] {
        assert_eq!(listener.next().await, Event::Gap);
    }
    while a.publish("purge", b"again").await.is_err() {
        tokio::task::yield_now().await;
    }
    for listener in [&mut one, &mut two] {
        assert_eq!(listener.next().await, Event::Message("again".into()));
    }
}
