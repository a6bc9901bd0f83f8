use crate::kind::Kind;
use crate::table::Table;
use axum::body::Bytes;
use axum::extract::{FromRequestParts, Path as UrlPath, Query, Request, State};
use axum::http::header::{HeaderName, HeaderValue, LOCATION};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use axum::{Json, Router};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::fmt::Display;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;
use tokio::net::TcpListener;

/// Why a service cannot run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is taken, or not ours.
    #[error("cannot listen on {0}: {1}")]
    Listen(SocketAddr, std::io::Error),
    /// The database cannot be used.
    #[error("cannot use the database {0}: {1}")]
    Database(String, sqlx::Error),
    /// Serving failed.
    #[error("cannot serve: {0}")]
    Serve(std::io::Error),
}

/// A service that listens but does not answer yet.
#[derive(Debug)]
pub struct Bound {
    listener: TcpListener,
    addr: SocketAddr,
    app: Router,
}

/// Opens the database and listens.
///
/// # Errors
/// The address is taken, or the database cannot be used.
pub async fn bind(kind: Kind, name: &str, addr: SocketAddr, database: &Path) -> Result<Bound, Error> {
    let failed = |error| Error::Database(database.display().to_string(), error);
    let table = Table::open(kind, database).await.map_err(failed)?;
    let listener = TcpListener::bind(addr).await.map_err(|error| Error::Listen(addr, error))?;
    let addr = listener.local_addr().map_err(|error| Error::Listen(addr, error))?;
    // Names are plain in this example; one that cannot stand in a header is not shown.
    let name = HeaderValue::from_str(name).unwrap_or(HeaderValue::from_static("?"));
    let app = Router::new()
        .route("/", get(list).post(create))
        .route("/{id}", get(read).put(update).delete(remove))
        .route("/health", get(|| async { Json(json!({ "status": "ok" })) }))
        .route("/slow", get(slow))
        .route("/inspect", any(inspect))
        .fallback(|| async { refuse(StatusCode::NOT_FOUND, "there is nothing here") })
        .with_state(table)
        .layer(from_fn_with_state(name, name_instance));
    Ok(Bound { listener, addr, app })
}

impl Bound {
    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Serves until the future ends.
    ///
    /// # Errors
    /// The listener fails.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send + 'static) -> Result<(), Error> {
        axum::serve(self.listener, self.app).with_graceful_shutdown(shutdown).await.map_err(Error::Serve)
    }
}

async fn name_instance(State(name): State<HeaderValue>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    response.headers_mut().insert(HeaderName::from_static("x-instance"), name);
    response
}

fn refuse(status: StatusCode, message: impl Into<String>) -> Response {
    (status, Json(json!({ "message": message.into() }))).into_response()
}

/// A failure of the database as an answer.
struct Failed(sqlx::Error);

impl From<sqlx::Error> for Failed {
    fn from(error: sqlx::Error) -> Self {
        Self(error)
    }
}

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        eprintln!("the database failed: {}", self.0);
        refuse(StatusCode::INTERNAL_SERVER_ERROR, "the database failed")
    }
}

fn missing(id: impl Display) -> Response {
    refuse(StatusCode::NOT_FOUND, format!("there is no {id}"))
}

/// The number in the path. No row has anything else for an ID, so other text is not found.
struct Id(i64);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Response> {
        let UrlPath(id) = UrlPath::<String>::from_request_parts(parts, state)
            .await
            .map_err(|error| refuse(StatusCode::BAD_REQUEST, error.body_text()))?;
        id.parse().map(Self).map_err(|_| missing(&id))
    }
}

async fn list(State(table): State<Table>) -> Result<Json<Vec<Value>>, Failed> {
    Ok(Json(table.list().await?))
}

async fn read(State(table): State<Table>, Id(id): Id) -> Result<Response, Failed> {
    Ok(table.get(id).await?.map_or_else(|| missing(id), |row| Json(row).into_response()))
}

fn parse(table: &Table, body: &Bytes) -> Result<Vec<crate::table::Bound>, String> {
    let body = serde_json::from_slice(body).map_err(|error| format!("the body is no JSON: {error}"))?;
    table.values(&body)
}

async fn create(State(table): State<Table>, body: Bytes) -> Result<Response, Failed> {
    let values = match parse(&table, &body) {
        Ok(values) => values,
        Err(message) => return Ok(refuse(StatusCode::BAD_REQUEST, message)),
    };
    let id = table.create(&values).await?;
    let row = table.get(id).await?.unwrap_or_default();
    Ok((StatusCode::CREATED, [(LOCATION, format!("/{id}"))], Json(row)).into_response())
}

async fn update(State(table): State<Table>, Id(id): Id, body: Bytes) -> Result<Response, Failed> {
    let values = match parse(&table, &body) {
        Ok(values) => values,
        Err(message) => return Ok(refuse(StatusCode::BAD_REQUEST, message)),
    };
    if !table.update(id, &values).await? {
        return Ok(missing(id));
    }
    Ok(Json(table.get(id).await?).into_response())
}

async fn remove(State(table): State<Table>, Id(id): Id) -> Result<Response, Failed> {
    let gone = table.delete(id).await?;
    Ok(if gone { StatusCode::NO_CONTENT.into_response() } else { missing(id) })
}

async fn slow(Query(query): Query<HashMap<String, String>>) -> Response {
    let millis = query.get("ms").map_or("1000", String::as_str);
    let Ok(millis) = millis.parse::<u64>() else {
        return refuse(StatusCode::BAD_REQUEST, format!("`ms` is `{millis}`; expected a whole number"));
    };
    let millis = millis.min(30_000);
    tokio::time::sleep(Duration::from_millis(millis)).await;
    Json(json!({ "waited_ms": millis })).into_response()
}

async fn inspect(method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Json<Value> {
    let headers: Vec<_> = headers
        .iter()
        .map(|(name, value)| [name.to_string(), String::from_utf8_lossy(value.as_bytes()).into()])
        .collect();
    Json(json!({
        "method": method.as_str(),
        "target": uri.to_string(),
        "headers": headers,
        "body": String::from_utf8_lossy(&body),
    }))
}
