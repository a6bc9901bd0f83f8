//! The `gateway` binary: see `gateway --help` and the `gateway_bin` library.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    gateway_bin::cli::main()
}
