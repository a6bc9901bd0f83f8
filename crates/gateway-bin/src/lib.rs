//! The `gateway` binary as a library: configuration, assembly and the data plane's threads.
//!
//! Nothing here decides anything about requests: what routes, limits, authenticates, balances or logs is in the
//! crates that this one puts together. It is a library so that its parts can be measured; what it offers is the
//! binary.
//!
//! Where things are:
//!
//! | module | what it does |
//! |---|---|
//! | `cli` | the commands |
//! | `check` | what is wrong with a configuration, likely wrong with it, or out of its reach |
//! | `explain` | what becomes of a request, by sending it through the stacks |
//! | `simulate` | whom rate limits would have refused, of those an access log tells of |
//! | `config` | text to settings, settings to a plan, and what is wrong with either |
//! | `assemble` | the plan to one worker's stacks, in the order in which layers see a request |
//! | `stack` | the edge: what happens to each request before its route is known |
//! | `server` | listeners, workers, connections, draining |
//! | `admin` | health, metrics and the like |
//! | `doorway` | how many clients may be connected |
//! | `run` | the life of the process |

mod accounts;
mod admin;
mod assemble;
pub mod bench;
mod body_limit;
mod check;
mod chores;
pub mod cli;
mod config;
mod descriptors;
mod diary;
mod doorway;
mod end;
mod explain;
mod fallback;
mod gauges;
mod grpc_web;
mod handover;
mod hops;
mod live;
mod panic;
mod reference;
mod routes;
mod run;
mod seats;
mod server;
mod simulate;
mod stack;
mod token;

/// What `gateway check` says of a file: nothing, or its mistakes as text. For fuzzing.
///
/// # Errors
/// Everything that is wrong with it.
#[doc(hidden)]
pub fn check(path: &std::path::Path) -> Result<(), String> {
    config::load(Some(path)).map(|_| ()).map_err(|mistakes| mistakes.to_string())
}
