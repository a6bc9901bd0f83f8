//! The services of reference system S3, for demonstrations and tests: users, products and checkout, each a small
//! HTTP server over a SQLite file with create, read, update and delete (S3-27).
//!
//! | request | answer |
//! |---|---|
//! | `GET /` | 200, the list |
//! | `POST /` | 201 and `Location`, or 400 |
//! | `GET`, `PUT /{id}` | 200, or 404 |
//! | `DELETE /{id}` | 204, or 404 |
//! | `GET /health` | 200 |
//! | `ANY /inspect` | 200, what the service saw of the request |
//! | `GET /slow?ms=300` | 200, after a while |
//!
//! Every answer names its instance in `X-Instance`. Instances of one kind may share a file.

mod kind;
mod server;
mod table;

pub use kind::Kind;
pub use server::{Bound, Error, bind};
