//! `microshop`: four services, the gateway in front of them, and what to try.

use example_runner::{Demo, serve};
use microshop::service;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

const ABOUT: &str = "Four services, and the gateway in front of them";
const CONFIG: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/gateway.toml");
/// Good for a demonstration, and for nothing else.
const DEMO_SECRET: &str = "a secret for demonstrations only, known to everybody";

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> ExitCode {
    example_runner::main("microshop", ABOUT, CONFIG, start).await
}

async fn start(demo: &mut Demo) -> Result<(), String> {
    demo.default_env("JWT_SECRET", DEMO_SECRET);
    for (variable, port, name) in [
        ("AUTH_SERVICE_URL", 4101, "auth-service"),
        ("PRODUCT_SERVICE_URL", 4102, "product-service"),
        ("ORDER_SERVICE_URL", 4103, "order-service"),
        ("PAYMENT_SERVICE_URL", 4104, "payment-service"),
    ] {
        serve(port, service(name)).await?;
        demo.default_env(variable, &format!("http://127.0.0.1:{port}"));
    }
    demo.start_gateway(SocketAddr::from(([127, 0, 0, 1], 8000))).await?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_err(|error| error.to_string())?;
    let issued = format!("timestamp={}", now.as_secs());
    let claims =
        ["token", "--auth", "shop", "--claim", "user_id=7", "--claim", "role=customer", "--claim", &issued];
    let token = demo.ask_gateway(&claims).await?;
    println!("{}", banner(demo, &demo.ask_gateway(&["routes"]).await?, token.trim()));
    Ok(())
}

fn banner(demo: &Demo, routes: &str, token: &str) -> String {
    format!(
        r#"
The gateway listens on http://localhost:8000, in front of four services:

{routes}
Try, in another terminal:

  # Products are public, orders are not; the service is told who calls.
  TOKEN={token}
  curl -s localhost:8000/products/api/v1/products
  curl -si localhost:8000/orders/api/v1/orders
  curl -s localhost:8000/orders/api/v1/orders -H "Authorization: Bearer $TOKEN" -H 'user_id: root'

  # A token that is there must be good, on public paths too.
  curl -si localhost:8000/products/api/v1/products -H 'Authorization: Bearer made.up.token'

  # Providers of payments need none. No such service: 404.
  curl -s localhost:8000/payments/callback/provider -d paid=1
  curl -si localhost:8000/wishes/api/v1/wishes

  # What the services say of themselves (in a browser), and how the gateway is.
  curl -s localhost:8000/docs
  curl -s localhost:8000/health

  # What was logged.
  tail {log}

Ctrl-C ends it all."#,
        log = demo.access_log().display()
    )
}
