//! `ecommerce`: a shop's services, the gateway in front of them, and what to try.

use ecommerce::{chat, orders, products};
use example_runner::{Demo, serve};
use std::net::SocketAddr;
use std::process::ExitCode;

const ABOUT: &str = "A shop's services, and the gateway in front of them";
const CONFIG: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/gateway.toml");

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> ExitCode {
    example_runner::main("ecommerce", ABOUT, CONFIG, start).await
}

async fn start(demo: &mut Demo) -> Result<(), String> {
    demo.default_file("DATABASE_URL", "ecommerce.db");
    serve(4001, products()).await?;
    serve(4002, orders()).await?;
    serve(4003, chat()).await?;
    demo.start_gateway(SocketAddr::from(([127, 0, 0, 1], 8080))).await?;
    println!("{}", banner(demo, &demo.ask_gateway(&["routes"]).await?));
    Ok(())
}

fn banner(demo: &Demo, routes: &str) -> String {
    format!(
        r#"
The gateway listens on http://localhost:8080, in front of a shop's services:

{routes}
Try, in another terminal:

  # An account, and its tokens.
  curl -s localhost:8080/api/auth/signin -H 'Content-Type: application/json' \
    -d '{{"email":"ada@example.com","password":"correct horse battery","firstName":"Ada"}}'
  LOGIN=$(curl -s localhost:8080/api/auth/login -H 'Content-Type: application/json' \
    -d '{{"email":"ada@example.com","password":"correct horse battery"}}')
  echo "$LOGIN"
  ACCESS=$(echo "$LOGIN" | sed 's/.*"access_token":"\([^"]*\)".*/\1/')
  REFRESH=$(echo "$LOGIN" | sed 's/.*"refresh_token":"\([^"]*\)".*/\1/')
  SESSION=$(echo "$LOGIN" | sed 's/.*"session_id":"\([^"]*\)".*/\1/')

  # 401, and with the token 200; the second time from the cache (Cache-Status), and counted (RateLimit).
  curl -si localhost:8080/api/products
  curl -si localhost:8080/api/products -H "Authorization: Bearer $ACCESS"
  curl -si localhost:8080/api/products -H "Authorization: Bearer $ACCESS"

  # An order, and a text that comes word by word.
  curl -si localhost:8080/api/orders -H "Authorization: Bearer $ACCESS" \
    -H 'Content-Type: application/json' -d '{{"product":1,"quantity":2}}'
  curl -N "localhost:8080/api/generate?prompt=gateways" -H "Authorization: Bearer $ACCESS"

  # A limit: 100 a minute, then 429 with Retry-After.
  for i in $(seq 110); do curl -so /dev/null -w '%{{http_code}} ' localhost:8080/api/orders \
    -H "Authorization: Bearer $ACCESS"; done; echo

  # Other methods are 405 with Allow.
  curl -si -X PATCH localhost:8080/api/products/1 -H "Authorization: Bearer $ACCESS"

  # New tokens; then log out, and neither is worth anything.
  curl -s localhost:8080/api/tokens/renew -H 'Content-Type: application/json' -d '{{"refreshToken":"'$REFRESH'"}}'
  curl -si -X POST "localhost:8080/api/auth/logout?id=$SESSION" -H "Authorization: Bearer $ACCESS"
  curl -si localhost:8080/api/products -H "Authorization: Bearer $ACCESS"

  # What was logged.
  tail {log}

Ctrl-C ends it all."#,
        log = demo.access_log().display()
    )
}
