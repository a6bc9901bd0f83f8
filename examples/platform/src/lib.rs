//! The services of reference system S4's example. Each answers who it is and what it was told; the user service also
//! says whose a token is.
//!
//! | request | answer |
//! |---|---|
//! | `GET /health` | 200 |
//! | `POST /api/v1/auth/login` `{"name":"ada"}` at the user service | 200 with a token; 401 for who is not known |
//! | `GET /api/v1/auth/me` with the token, there | 200 with id and roles, or 401 |
//! | anything else | 200: which instance this is, what was asked, and who the gateway says is asking |
//!
//! Tokens are made of names: good for a demonstration, and for nothing else.

use axum::extract::{Request, State};
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use std::sync::Arc;

/// A service that answers with its name.
pub fn service(name: &str) -> Router {
    Router::new()
        .route("/health", get(async || Json(json!({ "status": "ok" }))))
        .fallback(tell)
        .with_state(Arc::from(name))
}

/// The user service: it knows Ada, an administrator, and Eve.
pub fn user_service(name: &str) -> Router {
    service(name).route("/api/v1/auth/login", post(login)).route("/api/v1/auth/me", get(me))
}

/// Names and roles.
const USERS: [(&str, &[&str]); 2] = [("ada", &["user", "admin"]), ("eve", &["user"])];

/// What comes before the name in a token.
const TOKEN: &str = "demo-token-of-";

async fn login(Json(asked): Json<Value>) -> (StatusCode, Json<Value>) {
    match USERS.iter().find(|(name, _)| asked["name"] == *name) {
        Some((name, _)) => (StatusCode::OK, Json(json!({ "access_token": format!("{TOKEN}{name}") }))),
        None => (StatusCode::UNAUTHORIZED, Json(json!({ "detail": "Unknown user" }))),
    }
}

async fn me(headers: HeaderMap) -> (StatusCode, Json<Value>) {
    let token = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    let name = token.and_then(|token| token.strip_prefix(TOKEN));
    match USERS.iter().find(|(known, _)| name == Some(known)) {
        Some((name, roles)) => (StatusCode::OK, Json(json!({ "id": name, "roles": roles }))),
        None => (StatusCode::UNAUTHORIZED, Json(json!({ "detail": "Invalid token" }))),
    }
}

async fn tell(State(name): State<Arc<str>>, request: Request) -> Json<Value> {
    let told = |header: &str| request.headers().get(header).and_then(|value| value.to_str().ok());
    Json(json!({
        "service": &*name,
        "method": request.method().as_str(),
        "path": request.uri().path(),
        "user": told("x-user-id"),
        "roles": told("x-user-roles"),
        "correlation_id": told("x-correlation-id"),
    }))
}
