//! The service of reference system S2's example: tasks, each of one user, who the gateway says in `request-user-id`.
//!
//! | request | answer |
//! |---|---|
//! | `GET /api/v1/tasks` | 200, the caller's tasks |
//! | `POST /api/v1/tasks` `{"title":"…"}` | 201, the new one; 422 without a title |
//! | `GET /api/v1/tasks/all` | 200, everybody's; the gateway lets administrators pass only |
//!
//! It keeps them in memory. Who comes without the header did not come through the gateway, and is answered 401.

use axum::extract::{FromRequestParts, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The service.
pub fn tasks() -> Router {
    Router::new()
        .route("/api/v1/tasks", get(list).post(create))
        .route("/api/v1/tasks/all", get(list_all))
        .with_state(Tasks::default())
}

#[derive(Clone, Default)]
struct Tasks(Arc<Mutex<Vec<Value>>>);

impl Tasks {
    fn rows(&self) -> MutexGuard<'_, Vec<Value>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who calls, as the gateway says.
struct UserId(String);

impl<S: Send + Sync> FromRequestParts<S> for UserId {
    type Rejection = StatusCode;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, StatusCode> {
        let id = parts.headers.get("request-user-id").and_then(|id| id.to_str().ok());
        id.map(|id| Self(id.to_owned())).ok_or(StatusCode::UNAUTHORIZED)
    }
}

async fn list(State(tasks): State<Tasks>, UserId(user): UserId) -> Json<Value> {
    Json(tasks.rows().iter().filter(|task| task["user"] == *user).cloned().collect())
}

async fn list_all(State(tasks): State<Tasks>, _: UserId) -> Json<Value> {
    Json(tasks.rows().iter().cloned().collect())
}

async fn create(
    State(tasks): State<Tasks>,
    UserId(user): UserId,
    Json(asked): Json<Value>,
) -> (StatusCode, Json<Value>) {
    let Some(title) = asked["title"].as_str() else {
        return (StatusCode::UNPROCESSABLE_ENTITY, Json(json!({ "detail": "title: a text is needed" })));
    };
    let mut rows = tasks.rows();
    let task = json!({ "id": rows.len() + 1, "user": user, "title": title });
    rows.push(task.clone());
    (StatusCode::CREATED, Json(task))
}
