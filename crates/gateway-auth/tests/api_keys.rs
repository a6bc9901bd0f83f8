//! API keys: who passes with which, and how they come and go.
#![allow(clippy::unwrap_used)]

mod ask;

use ask::{ask, get, outcome};
use gateway_auth::{
    ApiKey, ApiKeyEntry, ApiKeyMethod, ApiKeySettings, AuthLayer, AuthPolicy, KeyHash, KeyRing,
};
use gateway_core::units::Timespan;
use gateway_core::{AuthMethod, Principal};
use gateway_store::{RedisSettings, Store};
use gateway_testkit::{Redis, RedisValue};
use http::Request;
use std::sync::Arc;
use std::time::{Duration, Instant};

fn layer(settings: &ApiKeySettings, ring: &KeyRing) -> AuthLayer {
    let method = ApiKeyMethod::new(settings, ring.clone()).unwrap();
    AuthLayer::new(vec![Arc::new(method)], &AuthPolicy::default())
}

fn settings(toml: &str) -> ApiKeySettings {
    toml_edit::de::from_str(toml).unwrap()
}

fn hash(key: &str) -> KeyHash {
    KeyHash::of(key)
}

#[tokio::test]
async fn a_key_passes_while_it_is_good_and_each_refusal_says_why() {
    let table = [
        ("good", "", "good"),
        ("owned", "owner = 'ada'", "ada"),
        ("old", "expires = '2020-01-01'", "invalid-credentials the API key has expired"),
        ("current", "expires = '2100-01-01T00:00:00Z'\nnot_before = '2020-01-01'", "current"),
        ("early", "not_before = '2100-01-01'", "invalid-credentials the API key is not valid yet"),
        ("off", "disabled = true", "invalid-credentials the API key is disabled"),
    ];
    let toml: String = table
        .iter()
        .map(|(key, rest, _)| format!("[[keys]]\nid = '{key}'\nhash = '{}'\n{rest}\n", hash(key)))
        .collect();
    let settings = settings(&toml);
    let ring = KeyRing::new("shop", &settings, Store::memory()).unwrap();
    let layer = layer(&settings, &ring);
    for (key, _, expected) in table {
        let response = ask(&layer, get(&[("X-API-Key", key)])).await;
        assert_eq!(outcome(&response), expected, "{key}");
    }
    let key = ApiKey::generate("gw_live").as_str().to_owned();
    let mistyped = format!("{}{}", &key[..46], if key.ends_with('x') { 'y' } else { 'x' });
    for (key, expected) in [
        ("nobody", "invalid-credentials the API key is not known"),
        ("", "invalid-credentials the API key is not known"),
        ("Good", "invalid-credentials the API key is not known"),
        (
            mistyped.as_str(),
            "invalid-credentials the API key is mistyped: its last six characters do not fit",
        ),
        (&"x".repeat(5000), "invalid-credentials the API key is not known"),
        (&hash("good").to_string(), "invalid-credentials the API key is not known"),
    ] {
        let response = ask(&layer, get(&[("X-API-Key", key)])).await;
        assert_eq!(outcome(&response), expected, "{key}");
        assert_eq!(response.headers()["www-authenticate"], "ApiKey realm=\"gateway\"");
    }
    assert_eq!(outcome(&ask(&layer, get(&[])).await), "missing-credentials");
    let used: Vec<_> = ring.list().into_iter().filter(|key| key.last_used.is_some()).collect();
    let used: Vec<_> = used.iter().map(|key| key.entry.id.as_str()).collect();
    assert_eq!(used, ["current", "good", "owned"]);
}

#[tokio::test]
async fn what_is_known_of_a_key_is_known_of_its_principal_and_the_key_stays_behind() {
    let toml = format!(
        "query = 'key'\ncookie = 'key'\n[[keys]]\nid = 'orders-1'\nowner = 'orders'\nhash = '{}'\ntier = 'gold'\n\
         scopes = ['read', 'write']\nroles = ['service']\nmetadata = {{ plan = 7, sub = 'root' }}",
        hash("k+1")
    );
    let settings = settings(&toml);
    let ring = KeyRing::new("shop", &settings, Store::memory()).unwrap();
    let layer = layer(&settings, &ring);
    for request in [
        Request::get("/orders?a=1&b=%20").header("x-api-key", "k+1").header("cookie", "key=k; s=1"),
        Request::get("/orders?a=1&key=k%2B1&b=%20").header("cookie", "s=1"),
        Request::get("/orders?a=1&b=%20").header("cookie", "s=1; key=k+1"),
    ] {
        let response = ask(&layer, request.body(()).unwrap()).await;
        let principal = response.extensions().get::<Principal>().unwrap();
        assert_eq!((principal.id(), principal.method()), ("orders", AuthMethod::ApiKey));
        assert!(principal.has_scope("write") && principal.has_role("service"));
        assert_eq!(principal.claim("tier").unwrap(), "gold");
        assert_eq!(principal.claim("plan").unwrap(), 7);
        assert_eq!(principal.claim("key_id").unwrap(), "orders-1");
        assert_eq!(principal.claim("sub").unwrap(), "orders", "metadata does not override");
        let seen = ask::seen(&response);
        assert_eq!(seen.uri, "/orders?a=1&b=%20");
        assert_eq!(seen.headers["cookie"], "s=1");
        assert!(!seen.headers.contains_key("x-api-key"));
    }
}

#[tokio::test]
async fn what_takes_the_place_of_a_ring_knows_its_managed_keys_before_it_has_asked_the_store() {
    let (acme, globex) = (ApiKey::generate("gw_live"), ApiKey::generate("gw_live"));
    let keys = vec![ApiKeyEntry::new("acme", acme.hash())];
    let before = ApiKeySettings { keys, ..ApiKeySettings::default() };
    let ring = KeyRing::new("shop", &before, Store::memory()).unwrap();
    ring.add(&ApiKeyEntry::new("globex", globex.hash())).await.unwrap();
    assert_eq!(ring.revoke("acme").await.unwrap(), 1);
    assert_eq!(outcome(&ask(&layer(&before, &ring), get(&[("X-API-Key", globex.as_str())])).await), "globex");

    let mut settings = before;
    settings.keys.push(ApiKeyEntry::new("new", hash("new")));
    let ring = ring.succeed(&settings, Store::memory()).unwrap();
    assert!(ring.list().iter().any(|key| key.last_used.is_some()), "when keys were used goes on");
    let layer = layer(&settings, &ring);
    for (key, expected) in [
        (acme.as_str(), "invalid-credentials the API key is disabled"),
        (globex.as_str(), "globex"),
        ("new", "new"),
    ] {
        assert_eq!(outcome(&ask(&layer, get(&[("X-API-Key", key)])).await), expected);
    }
}

#[tokio::test]
async fn two_keys_of_one_id_overlap_and_are_revoked_together() {
    let (old, new) = (ApiKey::generate("gw_live"), ApiKey::generate("gw_live"));
    let keys = [&old, &new].map(|key| ApiKeyEntry::new("orders", key.hash()));
    let settings = ApiKeySettings { keys: keys.to_vec(), ..ApiKeySettings::default() };
    let ring = KeyRing::new("shop", &settings, Store::memory()).unwrap();
    let layer = layer(&settings, &ring);
    for key in [&old, &new] {
        assert_eq!(outcome(&ask(&layer, get(&[("x-api-key", key.as_str())])).await), "orders");
    }
    assert_eq!(ring.revoke("orders").await.unwrap(), 2);
    assert_eq!(ring.revoke("orders").await.unwrap(), 0);
    for key in [&old, &new] {
        let response = ask(&layer, get(&[("x-api-key", key.as_str())])).await;
        assert_eq!(outcome(&response), "invalid-credentials the API key is disabled");
    }
}

#[tokio::test]
async fn a_file_is_read_again_when_it_changes_and_a_broken_one_leaves_the_last_good_keys() {
    let dir = tempfile::tempdir().unwrap();
    for (name, of) in [
        (
            "keys.toml",
            (|id: &str| format!("[[keys]]\nid = '{id}'\nhash = '{}'\n", hash(id))) as fn(&str) -> String,
        ),
        ("keys.json", |id| format!("{{\"keys\":[{{\"id\":\"{id}\",\"hash\":\"{}\"}}]}}", hash(id))),
    ] {
        let path = dir.path().join(name);
        std::fs::write(&path, of("one")).unwrap();
        let settings = ApiKeySettings { keys_file: Some(path.clone()), ..ApiKeySettings::default() };
        let ring = KeyRing::new("shop", &settings, Store::memory()).unwrap();
        let layer = layer(&settings, &ring);
        assert!(!ring.reread(), "nothing has changed");
        for (text, passes) in [(of("three"), "three"), ("nonsense".to_owned(), "three"), (of("four"), "four")]
        {
            std::fs::write(&path, text).unwrap();
            assert!(ring.reread());
            assert_eq!(outcome(&ask(&layer, get(&[("x-api-key", passes)])).await), passes);
        }
        let gone = outcome(&ask(&layer, get(&[("x-api-key", "three")])).await);
        assert_eq!(gone, "invalid-credentials the API key is not known");
    }
}

#[test]
fn settings_that_cannot_work_say_what_is_wrong() {
    let twice = ["a", "b"].map(|id| ApiKeyEntry::new(id, hash("k"))).to_vec();
    let twice = ApiKeySettings { keys: twice, ..ApiKeySettings::default() };
    let error = KeyRing::new("shop", &twice, Store::memory()).unwrap_err().to_string();
    assert!(error.contains("`a` and `b` have the same hash"), "{error}");
    let missing = ApiKeySettings { keys_file: Some("/no/such/file".into()), ..ApiKeySettings::default() };
    let error = KeyRing::new("shop", &missing, Store::memory()).unwrap_err().to_string();
    assert!(error.contains("/no/such/file"), "{error}");
    let ring = KeyRing::new("shop", &ApiKeySettings::default(), Store::memory()).unwrap();
    for (header, expected) in [("", "no place"), ("x y", "`x y` cannot name a header")] {
        let settings = ApiKeySettings { header: header.to_owned(), ..ApiKeySettings::default() };
        let error = ApiKeyMethod::new(&settings, ring.clone()).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    for (toml, expected) in [
        ("[[keys]]\nid = 'a'\nhash = 'gw_live_x'", "no hash of an API key"),
        ("[[keys]]\nid = 'a'\nkey = 'x'", "unknown field `key`"),
        ("[[keys]]\nid = 'a'\nhash = 'sha256:00'\nexpires = 'tomorrow'", "`tomorrow` is no time"),
    ] {
        let toml = toml.replace("sha256:00", &hash("k").to_string());
        let error = toml_edit::de::from_str::<ApiKeySettings>(&toml).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[tokio::test]
async fn a_key_revoked_while_the_store_is_away_stays_so_and_the_store_is_told_later() {
    let mut redis = Redis::start();
    let server = RedisSettings { timeout: Timespan::secs(5), ..RedisSettings::new(&redis.url()) };
    let store = Store::open(&server.into()).unwrap();
    let settings = ApiKeySettings::default();
    let ring = KeyRing::new("shop", &settings, store.clone()).unwrap();
    let keys = [ApiKey::generate("gw_live"), ApiKey::generate("gw_live")];
    for key in &keys {
        ring.add(&ApiKeyEntry::new("orders", key.hash())).await.unwrap();
    }
    let stored = |redis: &Redis| -> Vec<(String, String)> {
        let names = redis.keys("*api-key:*").into_iter();
        let value = |name: String| match redis.command(&["GET", &name]) {
            RedisValue::Text(json) => (name, json),
            other => panic!("{name}: {other:?}"),
        };
        names.map(value).collect()
    };
    let written = stored(&redis);
    assert_eq!(written.len(), 2);
    redis.kill();
    ring.revoke("orders").await.unwrap_err();
    let ring = ring.succeed(&settings, store).unwrap();
    let all_are = async |expected: &str| {
        let layer = layer(&settings, &ring);
        for key in &keys {
            assert_eq!(outcome(&ask(&layer, get(&[("x-api-key", key.as_str())])).await), expected);
        }
    };
    all_are("invalid-credentials the API key is disabled").await;

    // It comes back with what it knew before.
    redis.restart();
    for (name, json) in &written {
        assert_eq!(redis.command(&["SET", name, json]), RedisValue::Text("OK".to_owned()));
    }
    let started = Instant::now();
    while ring.load().await.is_err() {
        assert!(started.elapsed() < Duration::from_secs(20), "the store never came back");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    all_are("invalid-credentials the API key is disabled").await;
    let told = stored(&redis);
    assert!(told.len() == 2 && told.iter().all(|key| !written.contains(key)), "{told:?}");
}

#[tokio::test]
async fn a_key_added_or_revoked_on_one_instance_is_so_on_the_other_and_after_a_restart() {
    let redis = Redis::start();
    // Longer than by default: other tests run meanwhile.
    let timeout = Timespan::secs(5);
    let server = RedisSettings { timeout, ..RedisSettings::new(&redis.url()) };
    let open = || Store::open(&server.clone().into()).unwrap();
    let settings = ApiKeySettings::default();
    let (a, b) =
        (KeyRing::new("shop", &settings, open()).unwrap(), KeyRing::new("shop", &settings, open()).unwrap());
    let tasks = [&a, &b].map(|ring| tokio::spawn(ring.clone().keep_current()));
    let on_b = layer(&settings, &b);
    let key = ApiKey::generate("gw_live");
    let wait_for = async |expected: &str| {
        let mut seen = String::new();
        for _ in 0..500 {
            seen = outcome(&ask(&on_b, get(&[("x-api-key", key.as_str())])).await);
            if seen == expected {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("waited 5 s for `{expected}`, saw `{seen}`");
    };
    a.add(&ApiKeyEntry::new("orders", key.hash())).await.unwrap();
    wait_for("orders").await;
    let restarted = KeyRing::new("shop", &settings, open()).unwrap();
    restarted.load().await.unwrap();
    assert_eq!(restarted.list().len(), 1);
    assert_eq!(a.revoke("orders").await.unwrap(), 1);
    wait_for("invalid-credentials the API key is disabled").await;
    for stored in redis.keys("*") {
        assert!(!stored.contains(key.as_str()), "a key stands in the store");
    }
    tasks.iter().for_each(tokio::task::JoinHandle::abort);
}
