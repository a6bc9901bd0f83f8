//! Tokens that a real server is asked about: what is believed, how long, and what happens when it is away.
#![allow(clippy::unwrap_used)]

mod ask;
mod server;

use ask::{ask, get, outcome};
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get as on_get, post};
use gateway_auth::{AuthLayer, AuthPolicy, IntrospectionMethod, IntrospectionSettings};
use gateway_core::{AuthMethod, Principal};
use serde_json::json;
use server::Server;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn method(toml: &str) -> (IntrospectionMethod, AuthLayer) {
    let settings: IntrospectionSettings = toml_edit::de::from_str(toml).unwrap();
    let method = IntrospectionMethod::new(&settings).unwrap();
    (method.clone(), AuthLayer::new(vec![Arc::new(method)], &AuthPolicy::default()))
}

async fn bearer(layer: &AuthLayer, token: &str) -> String {
    outcome(&ask(layer, get(&[("authorization", &format!("Bearer {token}"))])).await)
}

/// Answers by what the token says of itself, if it is asked by who may.
async fn issuer(headers: HeaderMap, form: String) -> (StatusCode, String) {
    // user%40shop:p%3Ass, in base64.
    if headers["authorization"] != "Basic dXNlciU0MHNob3A6cCUzQXNz" {
        return (StatusCode::UNAUTHORIZED, String::new());
    }
    let form: Vec<(String, String)> = form_urlencoded::parse(form.as_bytes()).into_owned().collect();
    assert_eq!(form[1], ("token_type_hint".to_owned(), "access_token".to_owned()));
    let claims = match form[0].1.as_str() {
        "good+/=" => {
            json!({ "active": true, "sub": "ada", "scope": "read write", "aud": ["shop"], "exp": now() + 60 })
        }
        "app" => json!({ "active": true, "client_id": "robot", "aud": "shop" }),
        "bad" => json!({ "active": false }),
        "old" => json!({ "active": true, "sub": "ada", "aud": "shop", "exp": now() - 1 }),
        "early" => json!({ "active": true, "sub": "ada", "aud": "shop", "nbf": now() + 60 }),
        "other" => json!({ "active": true, "sub": "ada", "aud": "bank" }),
        "string" => json!({ "active": "true", "sub": "ada", "aud": "shop" }),
        "list" => json!(["active"]),
        _ => return (StatusCode::INTERNAL_SERVER_ERROR, String::new()),
    };
    (StatusCode::OK, claims.to_string())
}

#[tokio::test]
async fn a_token_is_as_good_as_its_issuer_says_and_the_caller_knows_its_claims() {
    let server = Server::start(Router::new().route("/introspect", post(issuer))).await;
    let toml = |secret: &str| {
        format!(
            "url = '{}/introspect'\nclient_id = 'user@shop'\nclient_secret = '{secret}'\naudience = 'shop'",
            server.url
        )
    };
    let (method, layer) = method(&toml("p:ss"));
    for (token, expected) in [
        ("good+/=", "ada"),
        ("app", "robot"),
        ("bad", "invalid-token the token is not active"),
        ("old", "invalid-token the token has expired"),
        ("early", "invalid-token the token is not valid yet"),
        ("other", "invalid-token the token is for another audience"),
        ("string", "auth-unavailable who decides about the credentials does not answer"),
        ("list", "auth-unavailable who decides about the credentials does not answer"),
        ("unknown", "auth-unavailable who decides about the credentials does not answer"),
    ] {
        assert_eq!(bearer(&layer, token).await, expected, "{token}");
    }
    assert_eq!(method.asked(), 9);
    let response = ask(&layer, get(&[("authorization", "bearer good+/=")])).await;
    let principal = response.extensions().get::<Principal>().unwrap();
    assert_eq!((principal.id(), principal.method()), ("ada", AuthMethod::Introspection));
    assert!(principal.has_scope("write"));
    assert_eq!(bearer(&layer, "bad").await, "invalid-token the token is not active");
    assert_eq!(method.asked(), 9, "good and bad ones are remembered");

    let response = ask(&layer, get(&[("authorization", "Bearer bad")])).await;
    assert_eq!(response.headers()["www-authenticate"], "Bearer realm=\"gateway\", error=\"invalid_token\"");
    let response = ask(&layer, get(&[])).await;
    assert_eq!(outcome(&response), "missing-credentials");
    assert_eq!(response.headers()["www-authenticate"], "Bearer realm=\"gateway\"");
    for header in ["Basic YTpi", "Bearer", "Bearer "] {
        assert_eq!(ask(&layer, get(&[("authorization", header)])).await.status(), 401, "{header}");
    }
    let (_, wrong_client) = self::method(&toml("wrong"));
    assert!(bearer(&wrong_client, "good+/=").await.starts_with("auth-unavailable"), "it fails closed");
}

#[tokio::test]
async fn however_many_ask_at_once_the_issuer_is_asked_once_per_token() {
    let app = Router::new().route(
        "/",
        post(async || {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            json!({ "active": true, "sub": "ada" }).to_string()
        }),
    );
    let server = Server::start(app).await;
    let (method, layer) = method(&format!("url = '{}/'", server.url));
    let all = (0..50).map(|i| bearer(&layer, if i % 2 == 0 { "one" } else { "two" }));
    for passed in futures_util::future::join_all(all).await {
        assert_eq!(passed, "ada");
    }
    assert_eq!(method.asked(), 2);
}

#[tokio::test]
async fn while_the_issuer_is_away_the_policy_decides() {
    for (policy, expected) in [("deny", "auth-unavailable"), ("stale", "ada")] {
        let server = Server::start(Router::new().route(
            "/",
            post(async |form: String| json!({ "active": form.contains("good"), "sub": "ada" }).to_string()),
        ))
        .await;
        let toml =
            format!("url = '{}/'\ncache = '0s'\nnegative_cache = '0s'\non_failure = '{policy}'", server.url);
        let (_, layer) = method(&toml);
        assert_eq!(bearer(&layer, "good").await, "ada");
        assert!(bearer(&layer, "bad").await.starts_with("invalid-token"));
        server.stop().await;
        assert!(bearer(&layer, "good").await.starts_with(expected), "{policy}");
        for token in ["bad", "new-good"] {
            assert!(bearer(&layer, token).await.starts_with("auth-unavailable"), "{policy} {token}");
        }
    }
}

#[tokio::test]
async fn nobody_waits_for_an_issuer_that_hangs_where_an_answer_is_known() {
    let hangs = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let asked = Arc::new(AtomicU32::new(0));
    let issuer =
        async |State((hangs, asked)): State<(Arc<std::sync::atomic::AtomicBool>, Arc<AtomicU32>)>| {
            asked.fetch_add(1, Ordering::Relaxed);
            while hangs.load(Ordering::Relaxed) {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
            json!({ "active": true, "sub": "ada" }).to_string()
        };
    let app = Router::new().route("/", post(issuer)).with_state((hangs.clone(), asked.clone()));
    let server = Server::start(app).await;
    let (_, layer) =
        method(&format!("url = '{}/'\ncache = '0s'\non_failure = 'stale'\nhttp.timeout = '1s'", server.url));
    for token in ["one", "two"] {
        assert_eq!(bearer(&layer, token).await, "ada");
    }
    hangs.store(true, Ordering::Relaxed);
    assert_eq!(bearer(&layer, "one").await, "ada", "after a time-out");
    for _ in 0..20 {
        for token in ["one", "two"] {
            assert_eq!(bearer(&layer, token).await, "ada");
        }
    }
    let asked = asked.load(Ordering::Relaxed);
    assert!(asked <= 4, "the issuer was asked {asked} times: three, and once more on a slow machine");
}

#[tokio::test]
async fn s4_16_s4_17_a_user_service_that_is_shown_the_token_says_whose_it_is() {
    let asked = Arc::new(AtomicU32::new(0));
    let user = async |State(asked): State<Arc<AtomicU32>>, headers: HeaderMap| {
        asked.fetch_add(1, Ordering::Relaxed);
        match headers["authorization"].to_str().unwrap() {
            "Bearer good" => (StatusCode::OK, json!({ "id": 7, "role": "admin" }).to_string()),
            "Bearer broken" => (StatusCode::BAD_GATEWAY, String::new()),
            _ => (StatusCode::UNAUTHORIZED, String::new()),
        }
    };
    let app = Router::new().route("/me", on_get(user)).with_state(asked.clone());
    let server = Server::start(app).await;
    let (_, layer) = method(&format!("url = '{}/me'\nprotocol = 'userinfo'", server.url));
    for _ in 0..3 {
        let response = ask(&layer, get(&[("authorization", "Bearer good")])).await;
        let principal = response.extensions().get::<Principal>().unwrap();
        assert_eq!(principal.id(), "7");
        assert!(principal.has_role("admin"));
        assert_eq!(bearer(&layer, "bad").await, "invalid-token the token is not known to its issuer");
    }
    assert_eq!(asked.load(Ordering::Relaxed), 2, "the rest came from the cache");
    assert!(bearer(&layer, "broken").await.starts_with("auth-unavailable"), "it fails closed");
}

#[test]
fn settings_that_cannot_work_say_what_is_wrong() {
    for (toml, expected) in [
        ("", "`url`: it is missing"),
        ("url = 'auth.example/introspect'", "`auth.example/introspect` is not a URL"),
        ("url = 'ftp://auth.example/'", "`ftp://auth.example/` is not a URL"),
        ("url = 'http://auth.example/'\nclient_secret = 'x'", "without a `client_id`"),
        (
            "url = 'http://auth.example/'\nclient_id = 'x'\nclient_secret_file = '/no/such/file'",
            "/no/such/file",
        ),
        ("url = 'http://auth.example/'\nhttp.ca_file = '/no/such/file'", "`ca_file`"),
    ] {
        let settings: IntrospectionSettings = toml_edit::de::from_str(toml).unwrap();
        let error = IntrospectionMethod::new(&settings).unwrap_err().to_string();
        assert!(error.contains(expected), "{toml}: {error}");
    }
}
