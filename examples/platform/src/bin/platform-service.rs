//! `platform-service NAME PORT`: one of the services by itself, as containers have it.

use platform::{service, user_service};
use std::process::ExitCode;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let named =
        |name: &str| if name.starts_with("user-service") { user_service(name) } else { service(name) };
    example_runner::service_main(named).await
}
