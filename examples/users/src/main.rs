//! `users-example`: the gateway with accounts of its own, a service behind it, and what to try.

use example_runner::{Demo, serve};
use std::net::SocketAddr;
use std::process::ExitCode;
use users_example::tasks;

const ABOUT: &str = "The gateway with accounts of its own, and a service behind it";
const CONFIG: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/gateway.toml");
/// Good for a demonstration, and for nothing else.
const DEMO_PASSWORD: &str = "a password for demonstrations only";

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> ExitCode {
    example_runner::main("users-example", ABOUT, CONFIG, start).await
}

async fn start(demo: &mut Demo) -> Result<(), String> {
    demo.default_file("DATABASE_URL", "users.db");
    demo.default_env("ADMIN_PASSWORD", DEMO_PASSWORD);
    serve(8101, tasks()).await?;
    demo.start_gateway(SocketAddr::from(([127, 0, 0, 1], 8001))).await?;
    println!("{}", banner(demo, &demo.ask_gateway(&["routes"]).await?));
    Ok(())
}

fn banner(demo: &Demo, routes: &str) -> String {
    format!(
        r#"
The gateway listens on http://localhost:8001, with accounts of its own and a service behind it:

{routes}
Try, in another terminal:

  # An account, and its tokens (also: examples/users/users.http).
  curl -s localhost:8001/api/v1/register -H 'Content-Type: application/json' \
    -d '{{"email":"ada@example.com","password":"correct horse battery"}}'
  LOGIN=$(curl -s localhost:8001/api/v1/login/access-token -d username=ada@example.com -d 'password=correct horse battery')
  echo "$LOGIN"
  ACCESS=$(echo "$LOGIN" | sed 's/.*"access_token":"\([^"]*\)".*/\1/')
  REFRESH=$(echo "$LOGIN" | sed 's/.*"refresh_token":"\([^"]*\)".*/\1/')

  # The service is told who calls; without a token nobody gets there.
  curl -si localhost:8001/api/v1/tasks
  curl -si localhost:8001/api/v1/tasks -H "Authorization: Bearer $ACCESS" \
    -H 'Content-Type: application/json' -d '{{"title":"write a letter"}}'
  # Twice: Cache-Status tells that the second comes from the cache.
  curl -si localhost:8001/api/v1/tasks -H "Authorization: Bearer $ACCESS"

  # A new access token.
  curl -s localhost:8001/api/v1/login/refresh-token -H 'Content-Type: application/json' -d '{{"refresh_token":"'$REFRESH'"}}'

  # Users are for administrators: 403, and with their token 200.
  curl -si localhost:8001/api/v1/users -H "Authorization: Bearer $ACCESS"
  ADMIN=$(curl -s localhost:8001/api/v1/login/access-token -d username=admin@example.com \
    -d 'password={DEMO_PASSWORD}' | sed 's/.*"access_token":"\([^"]*\)".*/\1/')
  curl -s localhost:8001/api/v1/users -H "Authorization: Bearer $ADMIN"

  # The interface as OpenAPI, the keys that tokens are verified with, and what was logged.
  curl -s localhost:8001/openapi.json
  curl -s localhost:8001/.well-known/jwks.json
  tail {log}

Ctrl-C ends it all."#,
        log = demo.access_log().display()
    )
}
