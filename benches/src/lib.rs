//! What is measured by the benches of this crate: single decisions and layers ([`cases`]), and the whole stack of one
//! worker ([`Stack`]).
//!
//! | command | tells |
//! |---|---|
//! | `cargo bench -p gateway-benches` | all of the following |
//! | `cargo bench -p gateway-benches --bench layers` | the time of each case |
//! | `… --bench stack` | the time of a request through the stack, with an upstream over loopback |
//! | `… --bench routes` | the time of a look-up; with `--features cel` of expressions too |
//! | `… --bench auth` | the time of each kind of signature |
//! | `… --features cedar --bench cedar` | the time of a decision by policies in Cedar |
//! | `… --bench allocations` | allocations and bytes for each, which do not shake |
//! | `scripts/instructions.sh` | instructions of a request, held in `benches/instructions.txt` |
//!
//! `compare/` beside this crate measures the binary against its peers.

mod cases;
mod parts;
mod stack;

pub use cases::{Case, cases};
pub use stack::{Kind, Stack};
