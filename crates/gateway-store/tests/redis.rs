//! Against a real Redis that is killed, stalled and restarted.
#![allow(clippy::unwrap_used)]

use gateway_store::{RedisSettings, Store, StoreError, StoreSettings};
use gateway_testkit::{Redis, RedisValue};
use std::time::{Duration, Instant};

fn open(redis: &Redis) -> Store {
    Store::open(&StoreSettings { redis: Some(RedisSettings::new(&redis.url())) }).unwrap()
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
    let store = open(&redis);
    store.ping().await.unwrap();
    redis.stall();
    let start = Instant::now();
    let error = store.get(&["x"]).await.unwrap_err();
    let took = start.elapsed();
    redis.resume();
    assert!(error.to_string().contains("no answer within 20ms"), "{error}");
    assert!(took < Duration::from_millis(500), "{took:?}");
}

#[test]
fn a_url_that_is_none_is_refused_without_its_password() {
    for url in ["http://u:secret@x", "nonsense", "redis://u:secret@[x"] {
        let settings = StoreSettings { redis: Some(RedisSettings::new(url)) };
        let error = Store::open(&settings).unwrap_err();
        assert!(matches!(error, StoreError::Url { .. }), "{error:?}");
        assert!(!format!("{error} {settings:?}").contains("secret"), "{error}");
    }
}
