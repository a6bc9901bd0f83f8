//! The services of reference system S0's example. Each answers who it is and what it was told, and describes itself.
//!
//! | request | answer |
//! |---|---|
//! | `GET /docs` | a page about it |
//! | `GET /openapi.json` | its interface |
//! | anything else | 200: who this is, what was asked, and who the gateway says is asking |

use axum::extract::{Request, State};
use axum::response::Html;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};
use std::sync::Arc;

/// A service that answers with its name.
pub fn service(name: &str) -> Router {
    Router::new()
        .route("/docs", get(page))
        .route("/openapi.json", get(interface))
        .fallback(tell)
        .with_state(Arc::from(name))
}

async fn page(State(name): State<Arc<str>>) -> Html<String> {
    Html(format!("<!doctype html><title>{name}</title><h1>{name}</h1><p>It answers everything below /api."))
}

async fn interface(State(name): State<Arc<str>>) -> Json<Value> {
    Json(json!({ "openapi": "3.1.0", "info": { "title": &*name, "version": "1.0.0" }, "paths": {} }))
}

async fn tell(State(name): State<Arc<str>>, request: Request) -> Json<Value> {
    let told = |header: &str| request.headers().get(header).and_then(|value| value.to_str().ok());
    Json(json!({
        "service": &*name,
        "method": request.method().as_str(),
        "path": request.uri().path(),
        "user_id": told("user_id"),
        "role": told("role"),
    }))
}
