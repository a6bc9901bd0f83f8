//! Rows of JSON with an id and, if it is a private table, an owner.

use axum::extract::{Path, State};
use axum::http::header::{CACHE_CONTROL, LOCATION};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The products: everybody sees the same ones, and they may be kept for ten seconds.
pub fn products() -> Router {
    let table = Table::new("/api/products", false);
    for (name, price) in [("Laptop", 999), ("Headphones", 149), ("Keyboard", 79)] {
        table.add(json!({ "name": name, "price": price }), "");
    }
    table.router()
}

/// The orders: each caller's own, never kept by caches.
pub fn orders() -> Router {
    Table::new("/api/orders", true).router()
}

#[derive(Clone)]
struct Table {
    path: &'static str,
    private: bool,
    rows: Arc<Mutex<BTreeMap<u64, Row>>>,
}

struct Row {
    owner: String,
    value: Value,
}

type Answer = Result<Response, (StatusCode, Json<Value>)>;

fn refuse(status: StatusCode, message: &str) -> (StatusCode, Json<Value>) {
    (status, Json(json!({ "message": message })))
}

impl Table {
    fn new(path: &'static str, private: bool) -> Self {
        Self { path, private, rows: Arc::default() }
    }

    fn router(self) -> Router {
        Router::new()
            .route(self.path, get(list).post(create))
            .route(&format!("{}/{{id}}", self.path), get(read).put(update).delete(remove))
            .with_state(self)
    }

    fn rows(&self) -> MutexGuard<'_, BTreeMap<u64, Row>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, mut value: Value, owner: &str) -> Value {
        let mut rows = self.rows();
        let id = rows.last_key_value().map_or(1, |(last, _)| last + 1);
        value["id"] = id.into();
        rows.insert(id, Row { owner: owner.to_owned(), value: value.clone() });
        value
    }

    /// Whose rows the caller may see; nobody's name is the empty one.
    fn owner<'h>(&self, headers: &'h HeaderMap) -> &'h str {
        let caller = headers.get("x-user-id").and_then(|id| id.to_str().ok());
        caller.filter(|_| self.private).unwrap_or_default()
    }

    fn show(&self, value: Value) -> Response {
        let kept = if self.private { "no-store" } else { "public, max-age=10" };
        ([(CACHE_CONTROL, kept)], Json(value)).into_response()
    }
}

async fn list(State(table): State<Table>, headers: HeaderMap) -> Response {
    let owner = table.owner(&headers);
    let rows = table.rows().values().filter(|row| row.owner == owner).map(|row| row.value.clone()).collect();
    table.show(rows)
}

async fn create(State(table): State<Table>, headers: HeaderMap, Json(value): Json<Value>) -> Answer {
    if !value.is_object() {
        return Err(refuse(StatusCode::BAD_REQUEST, "an object is needed"));
    }
    let value = table.add(value, table.owner(&headers));
    let location = format!("{}/{}", table.path, value["id"]);
    Ok((StatusCode::CREATED, [(LOCATION, location)], Json(value)).into_response())
}

async fn read(State(table): State<Table>, Path(id): Path<u64>, headers: HeaderMap) -> Answer {
    let owner = table.owner(&headers);
    let found = table.rows().get(&id).filter(|row| row.owner == owner).map(|row| row.value.clone());
    found.map(|value| table.show(value)).ok_or_else(nothing)
}

async fn update(
    State(table): State<Table>,
    Path(id): Path<u64>,
    headers: HeaderMap,
    Json(mut value): Json<Value>,
) -> Answer {
    if !value.is_object() {
        return Err(refuse(StatusCode::BAD_REQUEST, "an object is needed"));
    }
    let owner = table.owner(&headers);
    let mut rows = table.rows();
    let row = rows.get_mut(&id).filter(|row| row.owner == owner).ok_or_else(nothing)?;
    value["id"] = id.into();
    row.value = value.clone();
    Ok(Json(value).into_response())
}

async fn remove(State(table): State<Table>, Path(id): Path<u64>, headers: HeaderMap) -> Answer {
    let owner = table.owner(&headers);
    let mut rows = table.rows();
    if rows.get(&id).is_none_or(|row| row.owner != owner) {
        return Err(nothing());
    }
    rows.remove(&id);
    Ok(StatusCode::NO_CONTENT.into_response())
}

fn nothing() -> (StatusCode, Json<Value>) {
    refuse(StatusCode::NOT_FOUND, "there is nothing of this id")
}
