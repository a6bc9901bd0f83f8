//! A small HTTP client for what a gateway asks on the side: key sets, token endpoints, service registries.
//!
//! Not for proxying: answers are read whole, up to a size and within a time, and redirects are not followed, because
//! whoever answers for a key set must not be able to send the gateway elsewhere. Connections are kept and shared by
//! all clones.
//!
//! ```
//! use axum::{routing::get, Json, Router};
//! use gateway_fetch::{Fetch, FetchSettings};
//! use serde_json::{json, Value};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let app: Router = Router::new().route("/keys", get(|| async { Json(json!({ "keys": [] })) }));
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
//! let url = format!("http://{}/keys", listener.local_addr()?);
//! tokio::spawn(axum::serve(listener, app).into_future());
//!
//! let fetch = Fetch::new(&FetchSettings::default())?;
//! let keys: Value = fetch.get_json(&url).await?;
//! assert_eq!(keys, json!({ "keys": [] }));
//!
//! let gone = fetch.get_json::<Value>(&url.replace("keys", "gone")).await.unwrap_err();
//! assert_eq!(gone.to_string(), format!("{} answered 404 Not Found", url.replace("keys", "gone")));
//! # Ok(()) }
//! ```

mod client;
mod error;
mod resolve;
mod settings;
mod tls;

pub use client::Fetch;
pub use error::FetchError;
pub use settings::FetchSettings;
