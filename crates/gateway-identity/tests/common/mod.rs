//! Accounts on either engine, and requests to them.
#![allow(dead_code)]

use axum::Router;
use axum::body::Body;
use gateway_core::units::{ByteSize, Timespan};
use gateway_identity::{
    Clock, FirstAdmin, Identity, IdentitySettings, KeySettings, PasswordSettings, Secret, ThrottleSettings,
    router,
};
use http::{HeaderMap, Request, StatusCode};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection};
use std::net::SocketAddr;
use tower::ServiceExt;

pub(crate) const PASSWORD: &str = "correct horse battery";
pub(crate) const ADMIN: &str = "root@example.org";
pub(crate) const ADMIN_PASSWORD: &str = "the password of root";

/// Where a test keeps its accounts: nothing is there yet.
pub(crate) struct Place {
    pub(crate) database: String,
    _dir: Option<tempfile::TempDir>,
}

impl Place {
    pub(crate) fn sqlite() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let database = dir.path().join("the accounts.db").to_str().unwrap().to_owned();
        Self { database, _dir: Some(dir) }
    }

    /// A database of its own on the server.
    pub(crate) async fn postgres(server: &str, name: &str) -> Self {
        sqlx::any::install_default_drivers();
        // Names in PostgreSQL have at most 63 bytes.
        let name = &name[..name.len().min(60)];
        let mut connection = sqlx::AnyConnection::connect(server).await.unwrap();
        let create = format!("CREATE DATABASE {name}");
        sqlx::query(AssertSqlSafe(create)).execute(&mut connection).await.unwrap();
        let database = format!("{}/{name}", server.rsplit_once('/').unwrap().0);
        Self { database, _dir: None }
    }

    /// Runs a query without the crate's help, and shows all texts of the first column.
    pub(crate) async fn query(&self, sql: &str) -> Vec<String> {
        sqlx::any::install_default_drivers();
        let postgres = self.database.starts_with("postgres");
        let url = if postgres {
            self.database.clone()
        } else {
            format!("sqlite://{}", self.database.replace(' ', "%20"))
        };
        let mut connection = sqlx::AnyConnection::connect(&url).await.unwrap();
        sqlx::query_scalar(AssertSqlSafe(sql.to_owned())).fetch_all(&mut connection).await.unwrap()
    }
}

/// Settings whose hashes cost next to nothing.
pub(crate) fn settings(place: &Place) -> IdentitySettings {
    IdentitySettings {
        database: Secret::new(place.database.clone()),
        database_timeout: Timespan::secs(5),
        issuer: "https://id.example.org".to_owned(),
        first_admin: Some(FirstAdmin { email: ADMIN.to_owned(), password: Secret::new(ADMIN_PASSWORD) }),
        password: PasswordSettings {
            memory: ByteSize::kib(8),
            iterations: 1,
            max_parallel: Some(2),
            ..PasswordSettings::default()
        },
        throttle: ThrottleSettings { registrations: 1000, ..ThrottleSettings::default() },
        keys: KeySettings { secret: Some(Secret::new("sixteen bytes or more")), ..KeySettings::default() },
        ..IdentitySettings::default()
    }
}

/// An open identity with its HTTP face and a clock that stands still.
pub(crate) struct Face {
    pub(crate) identity: Identity,
    pub(crate) upkeep: gateway_identity::Upkeep,
    pub(crate) clock: Clock,
    pub(crate) router: Router,
}

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn text(&self, name: &str) -> String {
        self.body[name].as_str().unwrap_or_else(|| panic!("no `{name}` in {}", self.text)).to_owned()
    }
}

impl Face {
    pub(crate) async fn open(settings: IdentitySettings) -> Self {
        Self::open_at(settings, Clock::manual()).await
    }

    pub(crate) async fn open_at(settings: IdentitySettings, clock: Clock) -> Self {
        let (identity, upkeep) = Identity::builder(settings).clock(clock.clone()).open().await.unwrap();
        let router = router(&identity);
        Self { identity, upkeep, clock, router }
    }

    /// Sends a request: `"POST /path"`, an access token or none, a body or `null`.
    pub(crate) async fn call(&self, line: &str, token: Option<&str>, body: Value) -> Answer {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.send(line, token, "application/json", body).await
    }

    pub(crate) async fn form(&self, line: &str, body: &str) -> Answer {
        self.send(line, None, "application/x-www-form-urlencoded", body.to_owned()).await
    }

    pub(crate) async fn send(&self, line: &str, token: Option<&str>, kind: &str, body: String) -> Answer {
        let (method, target) = line.split_once(' ').unwrap();
        let mut request = Request::builder().method(method).uri(target).header("content-type", kind);
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        request = request.header("user-agent", "a test");
        let address: SocketAddr = "192.0.2.1:5000".parse().unwrap();
        request = request.extension(gateway_core::ClientAddr(address));
        let response = self.router.clone().oneshot(request.body(Body::from(body)).unwrap()).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        Answer { status: parts.status, headers: parts.headers, body, text }
    }

    /// Opens an account by the default preset's paths; its identifier.
    pub(crate) async fn register(&self, email: &str) -> String {
        let body = json!({ "email": email, "password": PASSWORD });
        let answer = self.call("POST /auth/register", None, body).await;
        assert_eq!(answer.status, 201, "{}", answer.text);
        answer.text("id")
    }

    /// Logs in; access token, refresh token and session.
    pub(crate) async fn login(&self, email: &str, password: &str) -> (String, String, String) {
        let body = json!({ "email": email, "password": password });
        let answer = self.call("POST /auth/login", None, body).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        (answer.text("access_token"), answer.text("refresh_token"), answer.text("session_id"))
    }

    pub(crate) async fn refresh(&self, token: &str) -> Answer {
        self.call("POST /auth/refresh", None, json!({ "refresh_token": token })).await
    }
}

/// The claims of a token, unverified.
pub(crate) fn claims(token: &str) -> Value {
    use base64::Engine;
    let part = token.split('.').nth(1).unwrap();
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(part).unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

/// The claims of a token, verified as any service would with a published key set.
pub(crate) fn verify(token: &str, jwks: &Value) -> Result<Value, String> {
    use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header, jwk::JwkSet};
    let set: JwkSet = serde_json::from_value(jwks.clone()).unwrap();
    let header = decode_header(token).map_err(|e| e.to_string())?;
    let key = set.find(header.kid.as_deref().unwrap()).ok_or("unknown kid")?;
    assert_eq!(key.common.key_algorithm.unwrap().to_string(), format!("{:?}", header.alg));
    assert_ne!(header.alg, Algorithm::HS256);
    let mut rules = Validation::new(header.alg);
    rules.validate_exp = false;
    rules.set_issuer(&["https://id.example.org"]);
    let key = DecodingKey::from_jwk(key).unwrap();
    decode::<Value>(token, &key, &rules).map(|token| token.claims).map_err(|e| e.to_string())
}
