//! Tokens remembered and revoked through a real Redis.
#![allow(clippy::unwrap_used, clippy::needless_pass_by_value)]

mod keys;

use bytes::Bytes;
use gateway_auth::{JwtLayer, JwtSettings, OnStoreFailure};
use gateway_core::{Principal, Problem};
use gateway_store::{RedisSettings, Store};
use gateway_testkit::{Redis, RedisValue};
use http::{Request, Response};
use http_body_util::Full;
use keys::{SECRET, hs256, now};
use serde_json::json;
use std::convert::Infallible;
use std::time::{Duration, Instant, SystemTime};
use tower::{Layer, ServiceExt, service_fn};

/// With time enough for a busy machine: what is asked here is not decided without Redis while it is there.
fn store(redis: &Redis) -> Store {
    let settings = RedisSettings { timeout: "5s".parse().unwrap(), ..RedisSettings::new(&redis.url()) };
    Store::open(&settings.into()).unwrap()
}

async fn instance(redis: &Redis, on_store_failure: OnStoreFailure) -> JwtLayer {
    let settings =
        JwtSettings { secret: Some(SECRET.to_owned()), on_store_failure, ..JwtSettings::default() };
    let store = store(redis);
    store.ping().await.unwrap();
    JwtLayer::new(&settings, store).unwrap()
}

/// The principal's id, or the status and code of the problem.
async fn ask(layer: &JwtLayer, token: &str) -> Result<String, (u16, &'static str)> {
    let service = layer.layer(service_fn(|request: Request<()>| async move {
        let mut response = Response::new(Full::<Bytes>::default());
        let id = request.extensions().get::<Principal>().unwrap().id().parse().unwrap();
        response.headers_mut().insert("id", id);
        Ok::<_, Infallible>(response)
    }));
    let request = Request::get("/").header("authorization", format!("Bearer {token}")).body(()).unwrap();
    let response = service.oneshot(request).await.unwrap();
    match response.extensions().get::<Problem>() {
        None => Ok(response.headers()["id"].to_str().unwrap().to_owned()),
        Some(problem) => Err((response.status().as_u16(), problem.code().name())),
    }
}

#[tokio::test]
async fn s3_19_a_token_verified_by_one_instance_is_not_verified_by_the_other() {
    let redis = Redis::start();
    let (a, b) =
        (instance(&redis, OnStoreFailure::Local).await, instance(&redis, OnStoreFailure::Local).await);
    let token = hs256(&json!({ "sub": "ada", "exp": now() + 60 }));
    for layer in [&a, &a, &b, &b] {
        assert_eq!(ask(layer, &token).await.as_deref(), Ok("ada"));
    }
    assert_eq!((a.verifications(), b.verifications()), (1, 0));
    let keys = redis.keys("gateway:token:*");
    assert_eq!(keys.len(), 2, "{keys:?}");
    for key in keys {
        assert!(!key.contains(&token), "a token stands in a key");
        let RedisValue::Int(ttl) = redis.command(&["TTL", &key]) else { panic!("{key}") };
        assert!((50..=60).contains(&ttl), "{key} lives {ttl} s, the token 60");
    }
}

#[tokio::test]
async fn s3_20_flagging_or_deleting_an_entry_revokes_on_every_instance() {
    let redis = Redis::start();
    let (a, b) =
        (instance(&redis, OnStoreFailure::Local).await, instance(&redis, OnStoreFailure::Local).await);
    let revoked = Err((401, "revoked-token"));
    for how in ["SET", "DEL", "API"] {
        let token = hs256(&json!({ "sub": how, "exp": now() + 60 }));
        ask(&a, &token).await.unwrap();
        let state = redis
            .keys("*:state")
            .into_iter()
            .find(|key| matches!(redis.command(&["GET", key]), RedisValue::Text(text) if text.contains(how)));
        let state = state.unwrap();
        match how {
            "SET" => drop(redis.command(&["SET", &state, "revoked", "KEEPTTL"])),
            "DEL" => drop(redis.command(&["DEL", &state])),
            _ => b.revocations().revoke(&token).await.unwrap(),
        }
        assert_eq!(ask(&a, &token).await, revoked, "{how}, on the instance that verified it");
        assert_eq!(ask(&b, &token).await, revoked, "{how}, on the other");
    }
}

#[tokio::test]
async fn a_redis_that_comes_back_empty_revokes_nobody() {
    let redis = Redis::start();
    let layer = instance(&redis, OnStoreFailure::Local).await;
    let token = hs256(&json!({ "sub": "ada", "exp": now() + 60 }));
    ask(&layer, &token).await.unwrap();
    let _ = redis.command(&["FLUSHALL"]);
    assert_eq!(ask(&layer, &token).await.as_deref(), Ok("ada"));
    assert_eq!(redis.keys("*").len(), 2, "it is entered again");
}

#[tokio::test]
async fn an_entry_of_another_key_is_not_believed() {
    let redis = Redis::start();
    let layer = instance(&redis, OnStoreFailure::Local).await;
    let other =
        JwtSettings { secret: Some("another secret, also long enough".to_owned()), ..JwtSettings::default() };
    let store = store(&redis);
    let other = JwtLayer::new(&other, store).unwrap();
    let token = hs256(&json!({ "sub": "ada", "exp": now() + 60 }));
    ask(&layer, &token).await.unwrap();
    assert_eq!(ask(&other, &token).await, Err((401, "invalid-token")));
}

#[tokio::test]
async fn while_redis_is_away_the_policy_decides() {
    let mut redis = Redis::start();
    let (local, deny) =
        (instance(&redis, OnStoreFailure::Local).await, instance(&redis, OnStoreFailure::Deny).await);
    let (old, new) = (
        hs256(&json!({ "sub": "old", "exp": now() + 60 })),
        hs256(&json!({ "sub": "new", "exp": now() + 60 })),
    );
    ask(&local, &old).await.unwrap();
    ask(&deny, &old).await.unwrap();
    redis.kill();
    assert_eq!(ask(&local, &old).await.as_deref(), Ok("old"));
    assert_eq!(ask(&local, &new).await.as_deref(), Ok("new"));
    assert_eq!(ask(&deny, &old).await, Err((503, "store-unavailable")));
}

/// An instance that is told what others revoke.
async fn listening(redis: &Redis, more: serde_json::Value) -> JwtLayer {
    let mut settings = json!({ "secret": SECRET, "revocation": "push" });
    settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let settings: JwtSettings = serde_json::from_value(settings).unwrap();
    let store = store(redis);
    let layer = JwtLayer::new(&settings, store).unwrap();
    tokio::spawn(layer.listen());
    layer
}

/// Waits for an answer, at most so long; returns how long it took.
async fn becomes(
    layer: &JwtLayer,
    token: &str,
    expected: Result<&str, (u16, &'static str)>,
    within: Duration,
) -> Duration {
    let start = Instant::now();
    loop {
        let seen = ask(layer, token).await;
        if seen.as_deref().map_err(|refusal| *refusal) == expected {
            return start.elapsed();
        }
        assert!(start.elapsed() < within, "{seen:?} after {within:?}, and not {expected:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

const REVOKED: Result<&str, (u16, &str)> = Err((401, "revoked-token"));
const SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn a_revocation_that_redis_refused_is_told_once_it_takes_it() {
    let redis = Redis::start();
    let (a, b) = (listening(&redis, json!({})).await, listening(&redis, json!({})).await);
    let token = hs256(&json!({ "sub": "ada", "sid": "s1", "iat": now() - 10, "exp": now() + 60 }));
    becomes(&b, &token, Ok("ada"), 5 * SECOND).await;
    let _ = redis.command(&["CONFIG", "SET", "maxmemory", "1"]);
    a.revocations().revoke_session("s1", None).await.unwrap_err();
    becomes(&a, &token, REVOKED, 5 * SECOND).await;
    let _ = redis.command(&["CONFIG", "SET", "maxmemory", "0"]);
    becomes(&b, &token, REVOKED, 10 * SECOND).await;
}

#[tokio::test]
async fn what_one_instance_revokes_the_others_refuse_within_a_second_and_without_asking() {
    let redis = Redis::start();
    let deny = json!({ "on_store_failure": "deny" });
    let (a, b) = (listening(&redis, json!({})).await, listening(&redis, deny).await);
    let strict = instance(&redis, OnStoreFailure::Local).await;
    let claims = |more: serde_json::Value| {
        let mut claims = json!({ "sub": "ada", "iat": now() - 10, "exp": now() + 60 });
        claims.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        hs256(&claims)
    };
    let (token, session, id) =
        (claims(json!({})), claims(json!({ "sid": "s1" })), claims(json!({ "jti": "j1" })));
    let (old, new) = (
        claims(json!({ "sub": "bob" })),
        hs256(&json!({ "sub": "bob", "iat": now() + 5, "exp": now() + 60 })),
    );
    becomes(&b, &token, Ok("ada"), 5 * SECOND).await;
    for good in [&token, &session, &id, &old, &new] {
        for layer in [&a, &b, &strict] {
            ask(layer, good).await.unwrap();
        }
    }
    let revocations = a.revocations();
    let until = SystemTime::now() + Duration::from_secs(60);
    revocations.revoke(&token).await.unwrap();
    revocations.revoke_session("s1", until).await.unwrap();
    revocations.revoke_id("j1", until).await.unwrap();
    revocations.revoke_subject("bob", SystemTime::now(), None).await.unwrap();
    for bad in [&token, &session, &id, &old] {
        assert_eq!(ask(&a, bad).await.as_deref().map_err(|e| *e), REVOKED, "where it was revoked");
        becomes(&b, bad, REVOKED, SECOND).await;
        assert_eq!(
            ask(&strict, bad).await.as_deref().map_err(|e| *e),
            REVOKED,
            "whoever asks each time knows at once"
        );
    }
    assert_eq!(ask(&b, &new).await.as_deref(), Ok("bob"), "issued later");
    for key in redis.keys("gateway:revoked:*") {
        let RedisValue::Int(ttl) = redis.command(&["TTL", &key]) else { panic!("{key}") };
        assert!(ttl > 0, "{key} would stay for ever");
    }
    // One that starts later reads them.
    let late = listening(&redis, json!({ "on_store_failure": "deny" })).await;
    becomes(&late, &new, Ok("bob"), 5 * SECOND).await;
    for bad in [&token, &session, &id, &old] {
        assert_eq!(ask(&late, bad).await.as_deref().map_err(|e| *e), REVOKED);
    }
}

#[tokio::test]
async fn what_redis_refused_to_take_is_told_again_though_it_answers() {
    let redis = Redis::start();
    let (a, b) = (listening(&redis, json!({})).await, listening(&redis, json!({})).await);
    let token = hs256(&json!({ "sub": "eve", "exp": now() + 60 }));
    let first = hs256(&json!({ "sub": "ada", "exp": now() + 60 }));
    a.revocations().revoke(&first).await.unwrap();
    becomes(&b, &first, REVOKED, 5 * SECOND).await;
    let _ = redis.command(&["ACL", "SETUSER", "default", "-set"]);
    a.revocations().revoke(&token).await.unwrap_err();
    let _ = redis.command(&["ACL", "SETUSER", "default", "+set"]);
    becomes(&b, &token, REVOKED, 20 * SECOND).await;
}

#[tokio::test]
async fn a_listening_instance_outlives_redis_and_tells_it_again_what_it_has_lost() {
    let mut redis = Redis::start();
    let (a, b) =
        (listening(&redis, json!({})).await, listening(&redis, json!({ "on_store_failure": "deny" })).await);
    let (gone, good) = (
        hs256(&json!({ "sub": "eve", "exp": now() + 60 })),
        hs256(&json!({ "sub": "ada", "exp": now() + 60 })),
    );
    becomes(&b, &good, Ok("ada"), 5 * SECOND).await;
    a.revocations().revoke(&gone).await.unwrap();
    becomes(&b, &gone, REVOKED, 5 * SECOND).await;
    redis.kill();
    assert_eq!(ask(&a, &good).await.as_deref(), Ok("ada"));
    assert_eq!(ask(&a, &gone).await.as_deref().map_err(|e| *e), REVOKED);
    becomes(&b, &good, Err((503, "store-unavailable")), 5 * SECOND).await;
    // Revoked while Redis is away: here at once, elsewhere when it is back.
    let third = hs256(&json!({ "sub": "mallory", "exp": now() + 60 }));
    a.revocations().revoke(&third).await.unwrap_err();
    assert_eq!(ask(&a, &third).await.as_deref().map_err(|e| *e), REVOKED);
    redis.restart();
    becomes(&b, &third, REVOKED, 20 * SECOND).await;
    becomes(&b, &gone, REVOKED, 5 * SECOND).await;
    becomes(&b, &good, Ok("ada"), 5 * SECOND).await;
}
