//! `microshop-service NAME PORT`: one of the services by itself, as containers have it.

use std::process::ExitCode;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    example_runner::service_main(microshop::service).await
}
