//! No token, password or key in any log, error or answer but the one that it is for.
#![allow(clippy::unwrap_used)]

mod common;

use common::{ADMIN, ADMIN_PASSWORD, Face, PASSWORD, Place, settings};
use gateway_testkit::PostgresServer;
use serde_json::{Value, json};
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tracing_subscriber::fmt::MakeWriter;

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;
    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// A whole life of an account, good and bad requests; all that must not be seen, and all answers that may not show it.
async fn live(place: &Place) -> (Vec<String>, String) {
    const NEW: &str = "another horse battery";
    let mut secrets: Vec<String> = vec![PASSWORD.into(), ADMIN_PASSWORD.into(), NEW.into(), "hunter2".into()];
    let mut shown = String::new();
    let face = Face::open(settings(place)).await;
    shown += &format!("{:?} {:?}", face.identity, face.identity.settings());
    let id = face.register("ada@example.org").await;
    let (access, refresh, session) = face.login("ada@example.org", PASSWORD).await;
    let (root, root_refresh, _) = face.login(ADMIN, ADMIN_PASSWORD).await;
    let renewed = face.refresh(&refresh).await;
    let second = renewed.text("refresh_token");
    secrets.extend([access.clone(), refresh.clone(), root.clone(), root_refresh, second.clone()]);
    secrets.push(renewed.text("access_token"));
    for (line, token, body) in [
        ("POST /auth/register", None, json!({ "email": "ada@example.org", "password": PASSWORD })),
        ("POST /auth/register", None, json!({ "email": "x", "password": "hunter2" })),
        ("POST /auth/login", None, json!({ "email": "ada@example.org", "password": "hunter2" })),
        ("POST /auth/login", None, json!({ "email": ["hunter2"], "password": { "hunter2": 1 } })),
        ("POST /auth/refresh", None, json!({ "refresh_token": access })),
        ("POST /auth/refresh", None, json!({ "refresh_token": { "x": refresh } })),
        ("GET /auth/me", Some(&refresh), Value::Null),
        ("GET /auth/me", Some(&access), Value::Null),
        ("GET /auth/sessions", Some(&access), Value::Null),
        ("GET /users", Some(&root), Value::Null),
        ("POST /auth/password", Some(&access), json!({ "current_password": "hunter2", "new_password": NEW })),
        ("POST /auth/password", Some(&access), json!({ "current_password": PASSWORD, "new_password": NEW })),
        ("GET /.well-known/jwks.json", None, Value::Null),
        ("POST /auth/revoke", None, json!({ "token": second })),
        ("GET /openapi.json", None, Value::Null),
    ] {
        let answer = face.call(line, token.map(String::as_str), body).await;
        shown += &format!("{line} {:?} {}\n", answer.headers, answer.text);
    }
    face.clock.advance(Duration::from_secs(11));
    for line in [format!("DELETE /auth/sessions/{session}"), format!("DELETE /users/{id}")] {
        shown += &face.call(&line, Some(&root), Value::Null).await.text;
    }
    shown += &face.refresh(&refresh).await.text;
    face.identity.rotate_keys(gateway_identity::Rotation::Now).await.unwrap();
    face.upkeep.once().await.unwrap();
    for column in [
        "password FROM identity_users",
        "hash FROM identity_refresh_tokens",
        "private FROM identity_signing_keys",
    ] {
        secrets.extend(place.query(&format!("SELECT {column}")).await);
    }
    // What can be told from a part of a token: its signature, its claims.
    let parts = |token: &String| token.split('.').map(ToOwned::to_owned).collect::<Vec<_>>();
    let parts: Vec<_> = [&access, &root].into_iter().flat_map(parts).filter(|part| part.len() > 60).collect();
    secrets.extend(parts);
    (secrets, shown)
}

#[tokio::test]
async fn nothing_secret_is_logged_or_answered() {
    let server = PostgresServer::start();
    for place in [Place::sqlite(), Place::postgres(&server.url(), "secrets").await] {
        let log = Log::default();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::level_filters::LevelFilter::TRACE)
            .with_writer(log.clone())
            .finish();
        let guard = tracing::subscriber::set_default(subscriber);
        let (secrets, shown) = live(&place).await;
        drop(guard);
        let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        for expected in ["account made", "session begun", "login refused", "signing key made"] {
            assert!(log.contains(expected), "`{expected}` is not in {log}");
        }
        assert!(secrets.len() > 12);
        for secret in &secrets {
            assert!(secret.len() > 5, "{secret}");
            assert!(!log.contains(secret.as_str()), "{secret} is in the log:\n{log}");
            assert!(!shown.contains(secret.as_str()), "{secret} is shown:\n{shown}");
        }
    }
}
