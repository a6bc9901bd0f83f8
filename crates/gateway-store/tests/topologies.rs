//! Every operation on every way to run Redis: one server, with sentinels, as a cluster.
#![allow(clippy::unwrap_used)]

use gateway_store::{Event, RedisSettings, Script, Store, StoreSettings};
use gateway_testkit::{Redis, RedisCluster, RedisSentinel, free_port};
use std::time::{Duration, Instant};

const MINUTE: Duration = Duration::from_secs(60);

fn open(redis: RedisSettings) -> Store {
    Store::open(&StoreSettings::from(redis)).unwrap()
}

/// With time enough for a busy machine.
fn patient(settings: RedisSettings) -> RedisSettings {
    RedisSettings { timeout: "2s".parse().unwrap(), ..settings }
}

fn with_prefix(settings: &RedisSettings, prefix: &str) -> Store {
    open(RedisSettings { prefix: prefix.to_owned(), ..settings.clone() })
}

/// Waits until an operation succeeds, at most so long.
async fn within<T, E: std::fmt::Display>(limit: Duration, mut ask: impl AsyncFnMut() -> Result<T, E>) -> T {
    let start = Instant::now();
    loop {
        match ask().await {
            Ok(value) => return value,
            Err(e) => assert!(start.elapsed() < limit, "still not after {limit:?}: {e}"),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// All operations, and that two prefixes are two worlds.
async fn works(settings: &RedisSettings) {
    let (a, b) = (with_prefix(settings, "a:"), with_prefix(settings, "a:").per_worker());
    let other = with_prefix(settings, "b:");
    for store in [&a, &b, &other] {
        store.ping().await.unwrap();
    }
    let names: Vec<String> = (0..50).map(|n| format!("key{n}")).collect();
    let keys: Vec<&str> = names.iter().map(String::as_str).collect();
    for key in &keys {
        a.set(key, key.as_bytes(), MINUTE).await.unwrap();
    }
    let expected: Vec<Option<Vec<u8>>> = keys.iter().map(|key| Some(key.as_bytes().to_vec())).collect();
    assert_eq!(b.get(&keys).await.unwrap(), expected, "the values of all slots, in the order of the keys");
    assert_eq!(b.get(&["key1", "none", "key2"]).await.unwrap()[1], None);
    assert_eq!(b.get(&[]).await.unwrap(), Vec::<Option<Vec<u8>>>::new());
    assert_eq!(other.get(&["key1"]).await.unwrap(), [None]);
    assert!(
        !b.set_new("key1", b"x", MINUTE).await.unwrap() && other.set_new("key1", b"x", MINUTE).await.unwrap()
    );

    let mut sorted = names.clone();
    sorted.sort_unstable();
    assert_eq!(b.scan("key").await.unwrap(), sorted);
    assert_eq!(other.scan("").await.unwrap(), ["key1"]);
    b.delete(&keys[1..]).await.unwrap();
    assert_eq!(a.scan("").await.unwrap(), ["key0"]);
    assert_eq!(other.get(&["key1"]).await.unwrap(), [Some(b"x".to_vec())]);

    static TAKE: Script =
        Script::new("redis.call('INCRBY', KEYS[2], ARGV[1]) return {redis.call('INCR', KEYS[1]), 7}");
    assert_eq!(a.run(&TAKE, &["{x}1", "{x}2"], &[b"5"]).await.unwrap(), [1, 7]);
    assert_eq!(b.run(&TAKE, &["{x}1", "{x}2"], &[b"5"]).await.unwrap(), [2, 7]);
    assert_eq!(other.run(&TAKE, &["{x}1", "{x}2"], &[b"5"]).await.unwrap(), [1, 7]);

    let (mut mine, mut theirs) = (a.subscribe("news"), other.subscribe("news"));
    assert_eq!((mine.next().await, theirs.next().await), (Event::Gap, Event::Gap));
    b.publish("news", b"1").await.unwrap();
    assert_eq!(mine.next().await, Event::Message("1".into()));
    other.publish("news", b"2").await.unwrap();
    assert_eq!(theirs.next().await, Event::Message("2".into()));
    assert!(!a.is_away() && !b.is_away() && !other.is_away());
}

#[tokio::test]
async fn everything_works_on_one_server() {
    let redis = Redis::start();
    works(&patient(RedisSettings::new(&redis.url()))).await;
}

#[tokio::test]
async fn everything_works_in_a_cluster_and_after_a_node_was_away() {
    let mut cluster = RedisCluster::start();
    let settings = RedisSettings::cluster(cluster.urls());
    works(&patient(settings.clone())).await;

    let store = open(RedisSettings { timeout: "500ms".parse().unwrap(), ..settings });
    let mut messages = store.subscribe("news");
    assert_eq!(messages.next().await, Event::Gap);
    store.ping().await.unwrap();
    static COUNT: Script = Script::new("return redis.call('INCR', KEYS[1])");
    let names: Vec<String> = (0..20).map(|n| format!("key{n}")).collect();
    for name in &names {
        assert_eq!(store.run(&COUNT, &[name], &[]).await.unwrap(), [1]);
    }
    for node in &mut cluster.nodes {
        let _ = node.command(&["SCRIPT", "FLUSH"]);
    }
    for name in &names {
        assert_eq!(store.run(&COUNT, &[name], &[]).await.unwrap(), [2]);
    }
    cluster.nodes[1].stall();
    let start = Instant::now();
    let mut failed = 0;
    for name in &names {
        failed += usize::from(store.get(&[name]).await.is_err());
    }
    // Far less than a wait for each.
    assert!(failed > 0 && start.elapsed() < Duration::from_secs(3), "{failed} took {:?}", start.elapsed());
    cluster.nodes[1].resume();
    cluster.wait_until_whole();
    within(Duration::from_secs(10), async || {
        for name in &names {
            store.get(&[name]).await?;
        }
        Ok::<_, gateway_store::StoreError>(())
    })
    .await;
}

#[tokio::test]
async fn a_sentinel_that_is_frozen_keeps_nobody_from_the_master() {
    let group = RedisSentinel::start();
    // Takes connections, and says nothing.
    let frozen = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let frozen = format!("redis://{}", frozen.local_addr().unwrap());
    let urls = [frozen.clone(), frozen, group.url()];
    let mut settings = patient(RedisSettings::sentinel(urls, RedisSentinel::MASTER));
    settings.connect_timeout = "20s".parse().unwrap();
    let start = Instant::now();
    open(settings).ping().await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
}

#[tokio::test]
async fn everything_works_with_sentinels_and_after_a_fail_over() {
    let mut group = RedisSentinel::start();
    let nobody = format!("redis://127.0.0.1:{}", free_port());
    let settings = patient(RedisSettings::sentinel([nobody, group.url()], RedisSentinel::MASTER));
    works(&settings).await;

    let store = open(settings);
    store.ping().await.unwrap();
    let mut messages = store.subscribe("news");
    assert_eq!(messages.next().await, Event::Gap);
    group.servers[0].kill();
    let start = Instant::now();
    store.set("x", b"1", MINUTE).await.unwrap_err();
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    group.wait_for_master(1);
    within(Duration::from_secs(5), async || store.set("x", b"1", MINUTE).await).await;
    let gap = tokio::time::timeout(Duration::from_secs(10), messages.next()).await;
    assert_eq!(gap.expect("a new subscription"), Event::Gap);
    store.publish("news", b"after").await.unwrap();
    assert_eq!(messages.next().await, Event::Message("after".into()));
}
