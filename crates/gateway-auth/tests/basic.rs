//! Users and passwords: who passes, what it costs, and what is refused from the start.
#![allow(clippy::unwrap_used)]

mod ask;

use argon2::password_hash::PasswordHasher;
use argon2::{Algorithm, Argon2, Params, Version};
use ask::{ask, get, outcome};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use gateway_auth::{AuthLayer, AuthPolicy, BasicMethod, BasicSettings};
use gateway_core::units::Timespan;
use gateway_core::{AuthMethod, Principal};
use std::sync::Arc;

const WRONG: &str = "invalid-credentials the user or the password is wrong";

/// With as little work as there can be.
fn bcrypted(password: &str) -> String {
    bcrypt::hash(password, 4).unwrap()
}

fn argon2id(password: &str) -> String {
    let params = Params::new(8, 1, 1, None).unwrap();
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    argon2.hash_password_with_salt(password.as_bytes(), b"salt for tests").unwrap().to_string()
}

fn settings(toml: &str) -> BasicSettings {
    toml_edit::de::from_str(toml).unwrap()
}

fn layer(settings: &BasicSettings) -> (BasicMethod, AuthLayer) {
    let method = BasicMethod::new(settings).unwrap();
    (method.clone(), AuthLayer::new(vec![Arc::new(method)], &AuthPolicy::default()))
}

fn basic(credentials: &str) -> String {
    format!("Basic {}", STANDARD.encode(credentials))
}

#[tokio::test]
async fn a_right_password_passes_and_wrong_ones_are_refused_alike() {
    let users = settings(&format!(
        "[users]\nada = '{}'\nbob = {{ hash = '{}', roles = ['admin'], scopes = ['a', 'b'] }}\n'zoë' = '{}'",
        bcrypted("correct horse"),
        argon2id("with:colons:"),
        bcrypted("pässword"),
    ));
    let (_, layer) = layer(&users);
    let long = format!("ada:{}", "x".repeat(3000));
    for (credentials, expected) in [
        ("ada:correct horse", "ada"),
        ("bob:with:colons:", "bob"),
        ("zoë:pässword", "zoë"),
        ("ada:wrong", WRONG),
        ("ada:", WRONG),
        (":", WRONG),
        ("ADA:correct horse", WRONG),
        ("nobody:correct horse", WRONG),
        ("bob:correct horse", WRONG),
        (
            "nocolon",
            "invalid-credentials the Authorization header is not `Basic` and `user:password` in base64",
        ),
        (&long, "invalid-credentials the Authorization header is not `Basic` and `user:password` in base64"),
    ] {
        let response = ask(&layer, get(&[("authorization", &basic(credentials))])).await;
        assert_eq!(outcome(&response), expected, "{credentials}");
        if expected == credentials.split(':').next().unwrap() {
            assert!(!ask::seen(&response).headers.contains_key("authorization"), "the password stays behind");
        } else {
            assert_eq!(response.headers()["www-authenticate"], "Basic realm=\"gateway\", charset=\"UTF-8\"");
        }
    }
    for header in ["Basic", "Basic !!", "Basic YTpi YTpi"] {
        assert_eq!(ask(&layer, get(&[("authorization", header)])).await.status(), 401, "{header}");
    }
    assert_eq!(outcome(&ask(&layer, get(&[])).await), "missing-credentials");
    let response = ask(&layer, get(&[("authorization", &basic("bob:with:colons:"))])).await;
    let principal = response.extensions().get::<Principal>().unwrap();
    assert_eq!(principal.method(), AuthMethod::Basic);
    assert!(principal.has_role("admin") && principal.has_scope("b"));
}

#[tokio::test]
async fn a_password_is_checked_once_while_it_is_remembered_and_once_for_all_who_ask_at_once() {
    let toml = format!("users.ada = '{}'", bcrypted("secret"));
    let (method, remembering) = layer(&settings(&toml));
    let header = basic("ada:secret");
    let at_once =
        (0..20).map(|_| async { outcome(&ask(&remembering, get(&[("authorization", &header)])).await) });
    for passed in futures_util::future::join_all(at_once).await {
        assert_eq!(passed, "ada");
    }
    assert_eq!(method.checks(), 1);
    let forgetful = BasicSettings { cache: Timespan::secs(0), ..settings(&toml) };
    let (method, layer) = layer(&forgetful);
    for checks in 1..=3 {
        assert_eq!(outcome(&ask(&layer, get(&[("authorization", &header)])).await), "ada");
        assert_eq!(method.checks(), checks);
    }
}

#[tokio::test]
async fn unknown_users_cost_the_same_work_and_a_flood_is_answered_503() {
    // To be checked slowly enough that all ten have asked before the first is answered.
    let hash = bcrypt::hash("secret", 8).unwrap();
    let toml = format!("max_parallel = 1\nmax_queued = 2\nusers.ada = '{hash}'");
    let (method, layer) = layer(&settings(&toml));
    assert_eq!(outcome(&ask(&layer, get(&[("authorization", &basic("nobody:x"))])).await), WRONG);
    assert_eq!(method.checks(), 1, "a password was hashed");
    let flood = (0..10).map(|i| {
        let (layer, header) = (&layer, basic(&format!("user{i}:x")));
        async move { outcome(&ask(layer, get(&[("authorization", &header)])).await) }
    });
    let answers = futures_util::future::join_all(flood).await;
    let busy = answers.iter().filter(|answer| answer.starts_with("auth-unavailable")).count();
    assert_eq!((busy, method.checks()), (7, 4), "{answers:?}");
}

#[tokio::test]
async fn a_file_is_read_again_and_whoever_left_it_is_not_remembered() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("htpasswd");
    std::fs::write(&path, format!("# users\n\nada:{}\n", bcrypted("secret"))).unwrap();
    let settings = BasicSettings { file: Some(path.clone()), ..BasicSettings::default() };
    let (method, layer) = layer(&settings);
    let passes = async |who: &str| outcome(&ask(&layer, get(&[("authorization", &basic(who))])).await);
    assert_eq!(passes("ada:secret").await, "ada");
    std::fs::write(&path, "ada:secret").unwrap();
    assert!(method.reread());
    assert_eq!(passes("ada:secret").await, "ada", "the broken file leaves the last good users");
    std::fs::write(&path, format!("bob:{}", argon2id("secret"))).unwrap();
    assert!(method.reread() && !method.reread());
    assert_eq!(passes("ada:secret").await, WRONG);
    assert_eq!(passes("bob:secret").await, "bob");
}

#[test]
fn hashes_that_are_not_safe_are_refused_by_name_and_never_repeated() {
    for (hash, expected) in [
        ("$apr1$lZL6V/ci$eIMz/iKDkbtys/uU7LEK00", "Apache's MD5"),
        ("{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=", "SHA-1"),
        ("$6$salt$abc", "SHA-512 crypt"),
        ("$argon2i$v=19$m=8,t=1,p=1$c2FsdA$YWJj", "argon2i"),
        ("hunter2", "no hash of a password that we know"),
        ("$2y$10$short", "the bcrypt hash is malformed"),
        ("$argon2id$nonsense", "the argon2id hash is malformed"),
    ] {
        let error = BasicMethod::new(&settings(&format!("users.ada = '{hash}'"))).unwrap_err().to_string();
        assert!(error.contains("user `ada`") && error.contains(expected), "{error}");
        assert!(!error.contains("hunter2") && !error.contains("5en6"), "{error}");
    }
    assert!(BasicMethod::new(&BasicSettings::default()).unwrap_err().to_string().contains("no users"));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("htpasswd");
    std::fs::write(&path, format!("ada:{}\nbob:hunter2\n", bcrypted("x"))).unwrap();
    let settings = BasicSettings { file: Some(path), ..BasicSettings::default() };
    let error = BasicMethod::new(&settings).unwrap_err().to_string();
    assert!(error.contains("line 2: user `bob`") && !error.contains("hunter2"), "{error}");
}
