//! Benches: `cargo bench -p gateway-benches`. `decisions` measures single decisions, `stack` the whole in-process
//! stack with an upstream over loopback; `compare/` beside this crate measures the binary against its peers.
