//! Tokens remembered and revoked through a real Redis.
#![allow(clippy::unwrap_used)]

mod keys;

use bytes::Bytes;
use gateway_auth::{JwtLayer, JwtSettings, OnStoreFailure};
use gateway_core::{Principal, Problem};
use gateway_store::{RedisSettings, Store, StoreSettings};
use gateway_testkit::{Redis, RedisValue};
use http::{Request, Response};
use http_body_util::Full;
use keys::{SECRET, hs256, now};
use serde_json::json;
use std::convert::Infallible;
use tower::{Layer, ServiceExt, service_fn};

async fn instance(redis: &Redis, on_store_failure: OnStoreFailure) -> JwtLayer {
    let settings =
        JwtSettings { secret: Some(SECRET.to_owned()), on_store_failure, ..JwtSettings::default() };
    let store = Store::open(&StoreSettings {
        redis: Some(RedisSettings::new(&redis.url())),
        ..StoreSettings::default()
    })
    .unwrap();
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
    let store = Store::open(&StoreSettings {
        redis: Some(RedisSettings::new(&redis.url())),
        ..StoreSettings::default()
    })
    .unwrap();
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
