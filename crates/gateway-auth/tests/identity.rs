//! What the service is told of the caller, and what nobody else can tell it.
#![allow(clippy::unwrap_used)]

mod keys;

use gateway_auth::{IdentityHeadersLayer, IdentityHeadersSettings, JwtLayer, JwtSettings};
use gateway_core::{AuthMethod, Principal};
use gateway_store::Store;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use keys::{SECRET, hs256, now};
use serde_json::{Value, json};
use std::convert::Infallible;
use tower::{Layer, ServiceExt, service_fn};

fn layer(settings: Value) -> IdentityHeadersLayer {
    let settings: IdentityHeadersSettings = serde_json::from_value(settings).unwrap();
    IdentityHeadersLayer::new(&settings).unwrap()
}

fn caller(claims: Value) -> Principal {
    let Value::Object(claims) = claims else { panic!("not a table: {claims}") };
    Principal::new("42", AuthMethod::Jwt, claims)
}

/// What reaches the service.
async fn sent(
    layer: &IdentityHeadersLayer,
    caller: Option<Principal>,
    headers: &[(&str, &str)],
) -> HeaderMap {
    let mut request = Request::new(());
    for (name, value) in headers {
        let name: HeaderName = name.parse().unwrap();
        request.headers_mut().append(name, HeaderValue::from_str(value).unwrap());
    }
    if let Some(caller) = caller {
        request.extensions_mut().insert(caller);
    }
    let service = layer.layer(service_fn(|request: Request<()>| async move {
        Ok::<_, Infallible>(Response::new(request.headers().clone()))
    }));
    service.oneshot(request).await.unwrap().into_body()
}

fn shown(headers: &HeaderMap) -> Vec<String> {
    let mut all: Vec<_> =
        headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
    all.sort();
    all
}

#[tokio::test]
async fn s0_21_the_claims_user_id_and_role_are_sent_and_spoofed_copies_are_not() {
    let layer = layer(json!({ "preset": "s0" }));
    let spoofed = [("user_id", "1"), ("User-Id", "1"), ("ROLE", "admin"), ("role", "root")];
    let ada = caller(json!({ "user_id": 7, "role": "customer" }));
    assert_eq!(shown(&sent(&layer, Some(ada), &spoofed).await), ["role: customer", "user_id: 7"]);
    assert_eq!(shown(&sent(&layer, None, &spoofed).await), [""; 0]);
}

#[tokio::test]
async fn s2_20_the_users_id_is_sent_as_request_user_id() {
    let layer = layer(json!({ "preset": "s2" }));
    let sent = sent(&layer, Some(caller(json!({}))), &[("request_user_id", "1")]).await;
    assert_eq!(shown(&sent), ["request-user-id: 42"]);
}

#[tokio::test]
async fn s4_25_id_and_roles_are_sent_with_commas_and_no_spaces() {
    let layer = layer(json!({ "preset": "s4" }));
    let spoofed = [("X-User-ID", "1"), ("X-User-Roles", "admin"), ("x_user_roles", "admin")];
    let found = sent(&layer, Some(caller(json!({ "roles": ["customer", "seller"] }))), &spoofed).await;
    assert_eq!(shown(&found), ["x-user-id: 42", "x-user-roles: customer,seller"]);
    assert_eq!(shown(&sent(&layer, None, &spoofed).await), [""; 0]);
    let without = sent(&layer, Some(caller(json!({}))), &spoofed).await;
    assert_eq!(shown(&without), ["x-user-id: 42"], "who has no roles is not lent any");
}

#[tokio::test]
async fn s0_09_authorization_is_kept_unless_it_is_removed() {
    let token = [("authorization", "Bearer abc")];
    let kept = sent(&layer(json!({ "preset": "s0" })), None, &token).await;
    assert_eq!(shown(&kept), ["authorization: Bearer abc"]);
    let removed = sent(&layer(json!({ "authorization": "remove" })), None, &token).await;
    assert_eq!(shown(&removed), [""; 0]);
}

#[tokio::test]
async fn no_way_to_write_a_name_gets_it_past_the_gateway() {
    let layer =
        layer(json!({ "headers": { "X-User-ID": "sub", "user_role": "role" }, "strip": ["X-Tenant"] }));
    for name in [
        "X-User-ID",
        "x-user-id",
        "X_USER_ID",
        "x_user-id",
        "x-user_id",
        "x.user.id",
        "x-user.id",
        "x~user!id",
        "user_role",
        "user-role",
        "USER-ROLE",
        "user.role",
        "user+role",
        "X-Tenant",
        "x_tenant",
    ] {
        for caller in [None, Some(caller(json!({ "sub": "ada", "role": "r" })))] {
            let known = caller.is_some();
            let found =
                sent(&layer, caller, &[(name, "spoofed"), (name, "twice"), ("x-user-i", "stays")]).await;
            assert!(!found.values().any(|value| value == "spoofed" || value == "twice"), "{name}: {found:?}");
            assert_eq!(
                found.get("x-user-id").map(|id| id.to_str().unwrap()),
                known.then_some("ada"),
                "{name}"
            );
            assert_eq!(found["x-user-i"], "stays");
        }
    }
}

#[tokio::test]
async fn a_claim_that_would_split_the_head_is_left_out() {
    let layer = layer(json!({ "headers": { "x-name": "name", "x-id": "@id" } }));
    let found =
        sent(&layer, Some(caller(json!({ "name": "a\r\nx-admin: 1" }))), &[("x-name", "spoofed")]).await;
    assert_eq!(shown(&found), ["x-id: 42"]);
}

#[tokio::test]
async fn s4_17_later_stages_know_the_validated_user_with_id_and_roles() {
    let settings = JwtSettings { secret: Some(SECRET.to_owned()), ..JwtSettings::default() };
    let service = service_fn(|request: Request<()>| async move {
        let caller = request.extensions().get::<Principal>().unwrap().clone();
        let roles: Vec<_> = caller.roles().collect();
        let seen = format!("{} {}", caller.id(), roles.join("+"));
        let header = request.headers()["x-user-roles"].clone();
        Ok::<_, Infallible>(
            Response::builder()
                .header("seen", seen)
                .header("roles", header)
                .body(bytes::Bytes::new())
                .unwrap(),
        )
    });
    let stack = JwtLayer::new(&settings, Store::memory())
        .unwrap()
        .layer(layer(json!({ "preset": "s4" })).layer(service));
    let token = hs256(&json!({ "sub": "42", "roles": ["a", "b"], "exp": now() + 60 }));
    let request = Request::get("/").header("authorization", format!("Bearer {token}")).body(()).unwrap();
    let response = stack.oneshot(request).await.unwrap();
    assert_eq!(response.headers()["seen"], "42 a+b");
    assert_eq!(response.headers()["roles"], "a,b");
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    for (settings, part) in [
        (json!({ "headers": { "x y": "sub" } }), "`x y` cannot name a header"),
        (json!({ "headers": { "Host": "sub" } }), "`headers.host`: it is not a claim's to set"),
        (json!({ "headers": { "x": "@role" } }), "`@role` is unknown; expected `@id`"),
        (json!({ "headers": { "x": "" } }), "`headers.x`: it is empty"),
        (json!({ "headers": { "x": { "claim": "a", "separator": "\n" } } }), "`separator` is not printable"),
        (json!({ "headers": { "x": { "name": "a" } } }), "unknown field `name`"),
        (json!({ "headers": { "x": 7 } }), "expected a claim such as"),
        (json!({ "preset": "s9" }), "unknown variant `s9`"),
    ] {
        let made = serde_json::from_value::<IdentityHeadersSettings>(settings.clone())
            .map_err(|error| error.to_string())
            .and_then(|settings| IdentityHeadersLayer::new(&settings).map_err(|error| error.to_string()));
        let error = made.err().unwrap_or_else(|| panic!("{settings} is taken"));
        assert!(error.contains(part), "{settings}: {error}");
    }
}
