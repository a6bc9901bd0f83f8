//! TLS, users and passwords, and servers that answer with errors.
#![allow(clippy::unwrap_used)]

use gateway_store::{Health, RedisSettings, SentinelSettings, Store, StoreError, StoreSettings};
use gateway_testkit::{Authority, Redis, RedisCluster, RedisSentinel, free_port};
use std::path::PathBuf;
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);

fn open(redis: RedisSettings) -> Result<Store, StoreError> {
    Store::open(&StoreSettings::from(redis))
}

/// Time enough for a slow machine: what is tested is not speed.
fn patient(url: &str) -> RedisSettings {
    RedisSettings { timeout: "2s".parse().unwrap(), ..RedisSettings::new(url) }
}

#[tokio::test]
async fn tls_verifies_the_server_and_shows_the_clients_certificate() {
    let files = Authority::of(&["localhost", "client"]);
    let path = |name| files.file(name).to_str().unwrap().to_owned();
    let port = free_port().to_string();
    let _redis = Redis::start_with(&[
        "--tls-port",
        &port,
        "--tls-cert-file",
        &path("localhost.pem"),
        "--tls-key-file",
        &path("localhost.key"),
        "--tls-ca-cert-file",
        &path("ca.pem"),
        "--tls-auth-clients",
        "yes",
    ]);
    let complete = RedisSettings {
        ca_file: Some(files.file("ca.pem")),
        client_certificate_file: Some(files.file("client.pem")),
        client_key_file: Some(files.file("client.key")),
        ..patient(&format!("rediss://localhost:{port}"))
    };
    let store = open(complete.clone()).unwrap();
    store.ping().await.unwrap();
    store.set("x", b"1", MINUTE).await.unwrap();
    assert_eq!(store.get(&["x"]).await.unwrap(), [Some(b"1".to_vec())]);
    let mut messages = store.subscribe("news");
    assert_eq!(messages.next().await, gateway_store::Event::Gap);

    let no_certificate =
        RedisSettings { client_certificate_file: None, client_key_file: None, ..complete.clone() };
    let unknown_signer = RedisSettings {
        ca_file: Some(Authority::of(&["localhost", "client"]).file("ca.pem")),
        ..complete.clone()
    };
    assert!(matches!(open(unknown_signer), Err(StoreError::File { .. })), "the folder is gone");
    let others = Authority::of(&["localhost", "client"]);
    let unknown_signer = RedisSettings { ca_file: Some(others.file("ca.pem")), ..complete.clone() };
    let by_address = RedisSettings { url: Some(format!("rediss://127.0.0.1:{port}")), ..complete.clone() };
    for (settings, why) in
        [(no_certificate, "ertificate"), (unknown_signer, "ertificate"), (by_address, "not valid for name")]
    {
        let error = open(settings).unwrap().ping().await.unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
}

#[tokio::test]
async fn the_user_may_stand_in_the_url_or_beside_it_and_the_password_in_a_file() {
    let directory = tempfile::tempdir().unwrap();
    let (users, file) = (directory.path().join("users.acl"), directory.path().join("password"));
    std::fs::write(&users, "user default off\nuser gateway on >secret ~gateway:* &gateway:* +@all\n")
        .unwrap();
    std::fs::write(&file, "secret\n").unwrap();
    let redis = Redis::start_with(&["--aclfile", users.to_str().unwrap()]);
    let plain = patient(&redis.url());
    let user = Some("gateway".to_owned());
    let in_url = patient(&redis.url().replace("redis://", "redis://gateway:secret@"));
    let beside =
        RedisSettings { username: user.clone(), password: Some("secret".to_owned()), ..plain.clone() };
    let in_file =
        RedisSettings { username: user.clone(), password_file: Some(file.clone()), ..plain.clone() };
    for settings in [in_url, beside.clone(), in_file.clone()] {
        let store = open(settings).unwrap();
        store.ping().await.unwrap();
        store.set("x", b"1", MINUTE).await.unwrap();
        assert_eq!(store.scan("").await.unwrap(), ["x"]);
        let mut messages = store.subscribe("news");
        assert_eq!(messages.next().await, gateway_store::Event::Gap);
        store.publish("news", b"1").await.unwrap();
    }
    let wrong = RedisSettings { password: Some("hunter2".to_owned()), ..beside.clone() };
    for settings in [plain, wrong] {
        let store = open(settings).unwrap();
        let error = store.ping().await.unwrap_err().to_string();
        assert!(error.contains("uthentication") || error.contains("WRONGPASS"), "{error}");
        assert!(store.is_away() && !error.contains("hunter2"), "{error}");
    }
    let foreign = open(RedisSettings { prefix: "other:".to_owned(), ..beside.clone() }).unwrap();
    let error = foreign.get(&["x"]).await.unwrap_err();
    assert!(matches!(error, StoreError::Refused { .. }) && !foreign.is_away(), "{error:?}");

    let both = RedisSettings { password: Some("secret".to_owned()), ..in_file.clone() };
    assert!(open(both).unwrap_err().to_string().contains("`password` and `password_file`"));
    let none = RedisSettings { password_file: Some(directory.path().join("none")), ..in_file };
    assert!(open(none).unwrap_err().to_string().contains("cannot use"));
}

#[tokio::test]
async fn sentinels_have_users_of_their_own() {
    let directory = tempfile::tempdir().unwrap();
    let (users, file) = (directory.path().join("users.acl"), directory.path().join("password"));
    std::fs::write(&users, "user default on nopass ~* &* +@all\nuser gateway on >secret ~* &* +@all\n")
        .unwrap();
    std::fs::write(&file, "watched\n").unwrap();
    let group = RedisSentinel::start_with(
        &["--aclfile", users.to_str().unwrap()],
        "user watcher on >watched allchannels +@all",
    );
    let settings = |server: &str, file: &PathBuf| RedisSettings {
        url: None,
        sentinel: Some(SentinelSettings {
            urls: vec![group.url()],
            username: Some("watcher".to_owned()),
            password_file: Some(file.clone()),
            ..SentinelSettings::default()
        }),
        username: Some("gateway".to_owned()),
        password: Some(server.to_owned()),
        ..patient("")
    };
    let store = open(settings("secret", &file)).unwrap();
    store.ping().await.unwrap();
    let mut messages = store.subscribe("news");
    assert_eq!(messages.next().await, gateway_store::Event::Gap);
    let mut wrong_at_sentinel = settings("secret", &file);
    wrong_at_sentinel.sentinel = wrong_at_sentinel.sentinel.map(|sentinel| SentinelSettings {
        urls: vec![group.url().replace("redis://", "redis://watcher:hunter2@")],
        username: None,
        password_file: None,
        ..sentinel
    });
    let mut in_url = wrong_at_sentinel.clone();
    in_url.sentinel = in_url.sentinel.map(|sentinel| SentinelSettings {
        urls: vec![group.url().replace("redis://", "redis://watcher:watched@")],
        ..sentinel
    });
    open(in_url).unwrap().ping().await.unwrap();
    for wrong in [wrong_at_sentinel, settings("hunter2", &file)] {
        let error = open(wrong).unwrap().ping().await.unwrap_err().to_string();
        assert!(error.contains("mymaster of sentinels") && !error.contains("hunter2"), "{error}");
        assert!(error.contains("uthentication") || error.contains("WRONGPASS"), "{error}");
    }
}

#[tokio::test]
async fn a_node_of_a_cluster_taken_for_a_single_server_says_so() {
    let cluster = RedisCluster::start();
    let store = open(patient(&cluster.nodes[0].url())).unwrap();
    let mut refused = 0;
    for n in 0..20 {
        if let Err(error) = store.set(&format!("key{n}"), b"x", MINUTE).await {
            assert!(error.to_string().contains("name it under `cluster`"), "{error}");
            refused += 1;
        }
    }
    assert!(refused > 0 && !store.is_away());

    let store = open(RedisSettings { url: None, cluster: Some(cluster.urls()), ..patient("") }).unwrap();
    static TWO: gateway_store::Script = gateway_store::Script::new("return #KEYS");
    let error = store.run(&TWO, &["a", "b"], &[]).await.unwrap_err();
    assert!(matches!(error, StoreError::Refused { .. }), "{error:?}");
    assert!(!store.is_away(), "{error}");
}

#[tokio::test]
async fn a_server_without_memory_refuses_writes_and_answers_reads() {
    let redis = Redis::start();
    let store = open(patient(&redis.url())).unwrap();
    store.set("x", b"1", MINUTE).await.unwrap();
    let _ = redis.command(&["CONFIG", "SET", "maxmemory", "1"]);
    let error = store.set("y", b"1", MINUTE).await.unwrap_err();
    assert!(matches!(error, StoreError::Refused { .. }) && error.to_string().contains("OOM"), "{error:?}");
    assert!(!store.is_away());
    assert_eq!(store.get(&["x"]).await.unwrap(), [Some(b"1".to_vec())]);
    // What is in order for reads is not for a gateway.
    let health = store.health();
    for ask in [true, false] {
        let asked = if ask { store.ping().await } else { store.probe().await };
        assert!(matches!(asked, Err(StoreError::Refused { .. })), "{asked:?}");
        assert_eq!(*health.borrow(), Health::Refuses);
    }
    let _ = redis.command(&["CONFIG", "SET", "maxmemory", "0"]);
    store.set("y", b"1", MINUTE).await.unwrap();
    assert_eq!(*health.borrow(), Health::Refuses, "one operation is not all of them");
    store.probe().await.unwrap();
    assert_eq!(*health.borrow(), Health::Up);
    assert_eq!(store.scan("").await.unwrap(), ["x", "y"], "a probe leaves nothing");
}

#[tokio::test]
async fn a_user_who_may_not_do_all_of_it_is_found_out_at_the_start() {
    let redis = Redis::start();
    // Of the operators' page.
    let documented = ["+@read", "+@write", "+@scripting", "+@pubsub", "+@connection", "+time"];
    let store = |user: &str, but: &str| {
        let mut words = vec!["ACL", "SETUSER", user, "on", ">secret", "~gateway:*", "&gateway:*", "-@all"];
        words.extend(documented.iter().filter(|allowed| **allowed != but));
        let _ = redis.command(&words);
        open(patient(&redis.url().replace("redis://", &format!("redis://{user}:secret@")))).unwrap()
    };
    store("all", "").ping().await.unwrap();
    for but in ["+@read", "+@write", "+@scripting", "+@pubsub"] {
        let store = store(&format!("without{}", &but[2..]), but);
        let error = store.ping().await.unwrap_err();
        assert!(matches!(error, StoreError::Refused { .. }), "{but}: {error:?}");
        assert!(error.to_string().contains("needs more in the access control list"), "{but}: {error}");
        assert_eq!(*store.health().borrow(), Health::Refuses, "{but}");
    }
}

#[tokio::test]
async fn a_server_that_became_a_replica_is_left_and_found_again_as_master() {
    let (redis, master) = (Redis::start(), Redis::start());
    let store = open(patient(&redis.url())).unwrap();
    store.set("x", b"1", MINUTE).await.unwrap();
    let mut health = store.health();
    assert_eq!(*health.borrow_and_update(), Health::Up);
    let _ = redis.command(&["REPLICAOF", "127.0.0.1", &master.port().to_string()]);
    let error = store.set("x", b"2", MINUTE).await.unwrap_err();
    assert!(matches!(error, StoreError::Away { .. }), "{error:?}");
    health.changed().await.unwrap();
    assert_eq!(*health.borrow_and_update(), Health::Away);
    assert!(store.is_away() && store.per_worker().is_away(), "all workers know");
    // A `PING` would be answered.
    let pong = redis.command(&["PING"]);
    let asked = store.ping().await;
    assert!(matches!(asked, Err(StoreError::Away { .. })), "{pong:?} {asked:?}");
    assert_eq!(*health.borrow_and_update(), Health::Away, "and nobody says that it is there again");
    let _ = redis.command(&["REPLICAOF", "NO", "ONE"]);
    let start = std::time::Instant::now();
    while store.set("x", b"2", MINUTE).await.is_err() {
        assert!(start.elapsed() < Duration::from_secs(2), "the store never came back");
        tokio::task::yield_now().await;
    }
    health.changed().await.unwrap();
    assert_eq!(*health.borrow_and_update(), Health::Up);
}

#[test]
fn files_in_which_nothing_is_to_be_found_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        Some(path)
    };
    let signed = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let certificate = file("certificate", &signed.cert.pem());
    let key = file("key", &signed.signing_key.serialize_pem());
    let tls = RedisSettings::new("rediss://localhost");
    let client = |certificate: &Option<PathBuf>, key: &Option<PathBuf>| RedisSettings {
        client_certificate_file: certificate.clone(),
        client_key_file: key.clone(),
        ..tls.clone()
    };
    open(client(&certificate, &key)).unwrap();
    let plain = "redis://localhost".to_owned();
    for settings in [
        RedisSettings::new(&plain),
        RedisSettings::new("unix:///run/redis.sock"),
        RedisSettings::sentinel([plain.clone()], "m"),
        RedisSettings::cluster([plain]),
    ] {
        for ca_file in [Some(&certificate), None] {
            let settings = RedisSettings {
                ca_file: ca_file.cloned().flatten(),
                client_certificate_file: certificate.clone().filter(|_| ca_file.is_none()),
                client_key_file: key.clone().filter(|_| ca_file.is_none()),
                ..settings.clone()
            };
            let error = open(settings).unwrap_err().to_string();
            assert!(error.contains("has certificates") && error.contains("expected rediss://"), "{error}");
        }
    }
    for (settings, expected) in [
        (RedisSettings { password_file: file("empty", "\nsecret\n"), ..tls.clone() }, "first line is empty"),
        (RedisSettings { ca_file: file("text", "no PEM"), ..tls.clone() }, "no certificate in it"),
        (RedisSettings { ca_file: key.clone(), ..tls.clone() }, "no certificate in it"),
        (client(&key, &key), "no certificate in it"),
        (client(&certificate, &certificate), "no private key in it"),
    ] {
        let error = open(settings).unwrap_err();
        let (StoreError::File { path, .. }, text) = (&error, error.to_string()) else { panic!("{error}") };
        assert!(text.contains(expected) && text.contains(&format!("`{}`", path.display())), "{text}");
    }
}

#[test]
fn settings_that_contradict_each_other_are_named() {
    let tls = RedisSettings::new("rediss://localhost");
    let file = Some(PathBuf::from("x.pem"));
    for (settings, expected) in [
        (RedisSettings { cluster: Some(vec!["redis://b".to_owned()]), ..tls.clone() }, "`url` and `cluster`"),
        (RedisSettings { url: None, ..tls.clone() }, "has none; expected exactly one"),
        (RedisSettings { client_key_file: file.clone(), ..tls.clone() }, "without `client_certificate_file`"),
        (RedisSettings { client_certificate_file: file, ..tls.clone() }, "without `client_key_file`"),
        (RedisSettings::new("rediss://localhost/#insecure"), "always verified"),
        (RedisSettings::cluster(["redis://a".to_owned(), "rediss://b".to_owned()]), "`redis.cluster`"),
        (
            RedisSettings::sentinel(["redis://a".to_owned(), "rediss://b".to_owned()], "m"),
            "both redis:// and rediss://",
        ),
        (
            RedisSettings { url: None, sentinel: Some(SentinelSettings::default()), ..tls.clone() },
            "`redis.sentinel.urls` is empty",
        ),
        (RedisSettings::sentinel(["redis://a/1".to_owned()], "m"), "the master is `sentinel.database`"),
        (RedisSettings::sentinel(["redis://a".to_owned()], ""), "`sentinel.master` is empty"),
        (
            RedisSettings::sentinel(["redis://user@a".to_owned()], "m"),
            "`redis.sentinel` has `username` without `password`",
        ),
        (RedisSettings::cluster(["redis://a/3".to_owned()]), "a cluster has no databases"),
        (RedisSettings::new("redis://a?db=3"), "`db` is not looked at"),
        (RedisSettings::new("redis://user@a"), "`redis` has `username` without `password`"),
        (
            RedisSettings { username: Some("u".to_owned()), ..RedisSettings::new("redis://a") },
            "`redis` has `username` without `password`",
        ),
        (
            RedisSettings { timeout: "0s".parse().unwrap(), ..RedisSettings::new("redis://a") },
            "`timeout` is 0s",
        ),
        (
            RedisSettings { connect_timeout: "0s".parse().unwrap(), ..RedisSettings::new("redis://a") },
            "`connect_timeout` is 0s",
        ),
    ] {
        let error = open(settings).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}
