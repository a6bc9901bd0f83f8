//! Two instances over a real Redis, which is killed, too.
#![allow(clippy::unwrap_used)]

mod support;

use gateway_cache::{CacheSettings, CacheStore, Purge, PurgeMode};
use gateway_core::units::{ByteSize, Timespan};
use gateway_store::{RedisSettings, Store, StoreSettings};
use gateway_testkit::Redis;
use std::time::{Duration, Instant};
use support::{World, answer, ok, world_on};

/// An instance, and its task.
struct Instance(World, tokio::task::JoinHandle<()>);

impl std::ops::Deref for Instance {
    type Target = World;
    fn deref(&self) -> &World {
        &self.0
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.1.abort();
    }
}

async fn instance(redis: &Redis, name: &'static str) -> Instance {
    // A busy machine is no failed tier.
    instance_within(redis, name, Timespan::secs(1)).await
}

async fn instance_within(redis: &Redis, name: &'static str, timeout: Timespan) -> Instance {
    let settings = RedisSettings { timeout, ..RedisSettings::new(&redis.url()) };
    let settings = StoreSettings { redis: Some(settings), ..StoreSettings::default() };
    let shared = Store::open(&settings).unwrap();
    shared.ping().await.unwrap();
    let (store, task) = CacheStore::with_tier(ByteSize::kib(1 << 20), shared);
    let task = tokio::spawn(task.run());
    let world = world_on(store, "test", CacheSettings::default(), move |call, asked| async move {
        let vary = if asked.uri.path() == "/vary" { "foo" } else { "" };
        let lines =
            [("cache-control", "max-age=600"), ("vary", vary), ("cache-tag", "red"), ("etag", "\"a\"")];
        // What an instance had when it began to listen for purges, it asks about.
        if asked.headers.contains_key("if-none-match") {
            return Ok(answer(304, &lines, ""));
        }
        ok(&lines, format!("{name} {call} {}", "x".repeat(5000)))
    });
    Instance(world, task)
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !holds().await {
        assert!(start.elapsed() < Duration::from_secs(10), "{what}: not within 10 s");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn entries(redis: &Redis) -> usize {
    redis.keys("gateway:cache:*").iter().filter(|key| !key.contains("purged")).count()
}

#[tokio::test]
async fn what_one_instance_fetched_another_answers() {
    let redis = Redis::start();
    let (a, b) = (instance(&redis, "a").await, instance(&redis, "b").await);
    let first = a.get("/").await;
    assert_eq!(first.cache(), "fwd=uri-miss; stored");
    until("the answer in Redis", async || entries(&redis) == 1).await;
    let got = b.get("/").await;
    assert_eq!((got.text(), got.header("etag")), (first.text(), "\"a\""), "{}", got.cache());
    let ask = async |of: &World, foo: &str| of.ask("GET", "/vary", &[("foo", foo)]).await;
    ask(&a, "1").await;
    ask(&a, "2").await;
    until("both variants in Redis", async || entries(&redis) == 4).await;
    for (foo, whose) in [("2", "a"), ("1", "a"), ("3", "b")] {
        let got = ask(&b, foo).await;
        assert!(got.text().starts_with(whose), "{foo}: {}", got.cache());
    }
    for key in redis.keys("*") {
        let gateway_testkit::RedisValue::Int(ttl) = redis.command(&["PTTL", &key]) else { panic!() };
        assert!(ttl > 0, "{key} never expires");
    }
}

#[tokio::test]
async fn a_purge_reaches_all_instances_and_what_comes_later() {
    for what in [
        Purge::Url("http://host/".into()),
        Purge::Tag("red".into()),
        Purge::Prefix("http://host/".into()),
        Purge::All,
    ] {
        let redis = Redis::start();
        let (a, b) = (instance(&redis, "a").await, instance(&redis, "b").await);
        a.get("/").await;
        until("the answer in Redis", async || entries(&redis) == 1).await;
        until("the answer at the other instance", async || b.get("/").await.is_hit()).await;
        a.store.purge(&what, PurgeMode::Remove);
        until("the purge at the other instance", async || b.store.is_empty()).await;
        let c = instance(&redis, "c").await;
        assert!(!c.get("/").await.is_hit(), "{what:?}: the second tier still had it");
    }
}

#[tokio::test]
async fn who_asks_right_after_a_purge_gets_nothing_from_before_it() {
    let redis = Redis::start();
    let a = instance(&redis, "a").await;
    let urls: Vec<_> = (0..60).map(|i| format!("/{i}")).collect();
    for url in &urls {
        a.get(url).await;
    }
    until("all answers in Redis", async || entries(&redis) == urls.len()).await;
    for url in &urls {
        // Redis does not know of it yet.
        assert_eq!(a.store.purge(&Purge::Url(format!("http://host{url}")), PurgeMode::Remove), 1);
        assert_eq!(a.get(url).await.cache(), "fwd=uri-miss; stored", "{url}");
    }
}

#[tokio::test]
async fn a_purge_that_redis_refuses_to_write_reaches_all_instances_all_the_same() {
    let redis = Redis::start();
    let (a, b) = (instance(&redis, "a").await, instance(&redis, "b").await);
    a.get("/").await;
    until("the answer in Redis", async || entries(&redis) == 1).await;
    until("the answer at the other instance", async || b.get("/").await.is_hit()).await;
    let _ = redis.command(&["CONFIG", "SET", "maxmemory", "1"]);
    a.store.purge(&Purge::Url("http://host/".into()), PurgeMode::Remove);
    assert_eq!(a.get("/").await.cache(), "fwd=uri-miss; stored", "Redis still has the old answer");
    until("the purge at the other instance", async || b.store.is_empty()).await;
    assert_eq!(b.get("/").await.cache(), "fwd=uri-miss; stored", "Redis still has the old answer");
    // It is written as soon as that can be.
    let _ = redis.command(&["CONFIG", "SET", "maxmemory", "0"]);
    until("the purge in Redis", async || redis.keys("gateway:cache:purged:*").len() == 1).await;
    let c = instance(&redis, "c").await;
    assert!(c.get("/").await.text().starts_with('c'));
}

#[tokio::test]
async fn without_redis_there_are_only_misses() {
    let mut redis = Redis::start();
    let (a, b) = (instance(&redis, "a").await, instance(&redis, "b").await);
    a.get("/").await;
    until("the answer in Redis", async || entries(&redis) == 1).await;
    redis.kill();
    let got = b.get("/").await;
    assert_eq!((got.status.as_u16(), got.cache()), (200, "fwd=uri-miss; stored"));
    until("what is in memory", async || a.get("/").await.is_hit() && b.get("/").await.is_hit()).await;
    // A purge meanwhile is told when Redis is back.
    a.store.purge(&Purge::Tag("red".into()), PurgeMode::Remove);
    redis.restart();
    until("the purge at the other instance", async || b.store.is_empty()).await;
}

#[tokio::test]
async fn what_is_broken_in_redis_is_a_miss() {
    let redis = Redis::start();
    let (a, b) = (instance(&redis, "a").await, instance(&redis, "b").await);
    a.get("/").await;
    until("the answer in Redis", async || entries(&redis) == 1).await;
    let key = redis.keys("gateway:cache:*").into_iter().find(|key| !key.contains("purged")).unwrap();
    let _ = redis.command(&["SETRANGE", &key, "20", "broken"]);
    assert_eq!(b.get("/").await.cache(), "fwd=uri-miss; stored");
}

#[tokio::test]
async fn a_stalled_redis_costs_no_more_than_its_timeout() {
    let redis = Redis::start();
    let a = instance_within(&redis, "a", Timespan::millis(20)).await;
    redis.stall();
    let start = Instant::now();
    let got = a.get("/").await;
    let took = start.elapsed();
    redis.resume();
    assert_eq!(got.status, 200);
    assert!(took < Duration::from_millis(500), "{took:?}");
}
