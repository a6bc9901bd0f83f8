//! Everything at once: five services, the gateway, and what to try.

use example_runner::Demo;
use std::net::SocketAddr;
use std::path::PathBuf;
use tokio::process::Command;

/// Good for a demonstration, and for nothing else.
const DEMO_SECRET: &str = "a secret for demonstrations only, known to everybody";
const SERVICES: [(&str, &str, u16); 5] = [
    ("users", "user-service-1", 3002),
    ("users", "user-service-2", 3004),
    ("products", "product-service-1", 3001),
    ("products", "product-service-2", 3003),
    ("checkout", "checkout-service", 3005),
];

/// Runs until Ctrl-C.
pub(crate) async fn run(gateway: Option<PathBuf>) -> Result<(), String> {
    let config = concat!(env!("CARGO_MANIFEST_DIR"), "/gateway.toml");
    let mut demo = Demo::new(config, gateway)?;
    demo.default_env("JWT_SECRET", DEMO_SECRET);
    demo.run(start).await
}

async fn start(demo: &mut Demo) -> Result<(), String> {
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    for (kind, name, port) in SERVICES {
        let mut command = Command::new(&own);
        command.args(["service", kind, "--name", name, "--port", &port.to_string(), "--exit-with-parent"]);
        command.arg("--database").arg(demo.dir().join(format!("{kind}.db")));
        demo.spawn(name, command, SocketAddr::from(([127, 0, 0, 1], port))).await?;
    }
    demo.start_gateway(SocketAddr::from(([127, 0, 0, 1], 8080))).await?;
    let routes = demo.ask_gateway(&["routes"]).await?;
    let claims = ["token", "--auth", "shop", "--claim", "email=ada@example.com", "--expires", "1h"];
    let token = demo.ask_gateway(&claims).await?;
    println!("{}", banner(demo, &routes, token.trim()));
    Ok(())
}

fn banner(demo: &Demo, routes: &str, token: &str) -> String {
    let victim = demo.process("product-service-1").unwrap_or(0);
    format!(
        "
The gateway listens on http://localhost:8080, in front of five services:

{routes}
Try, in another terminal:

  # Round robin: product-service-1 and -2 take turns.
  for i in 1 2 3 4; do curl -si localhost:8080/api/products | grep -i x-instance; done

  # One user, through the same prefix; then a new one.
  curl -s localhost:8080/api/users/1
  curl -si localhost:8080/api/users -d '{{\"Name\":\"Eve\",\"Email\":\"eve@example.com\"}}'

  # Checkout wants a token: 401, and with one 200.
  curl -si localhost:8080/api/checkout
  TOKEN={token}
  curl -si localhost:8080/api/checkout -H \"Authorization: Bearer $TOKEN\"

  # Revoke it, and it is worth nothing.
  curl -s localhost:9901/revoke -d \"$TOKEN\"
  curl -si localhost:8080/api/checkout -H \"Authorization: Bearer $TOKEN\"

  # A limit: /api/users takes 20 a minute; then it is 429 with Retry-After.
  for i in $(seq 25); do curl -so /dev/null -w '%{{http_code}} ' localhost:8080/api/users; done; echo

  # A retry: kill product-service-1, and every request still gets its answer from the other.
  kill {victim}
  for i in 1 2 3 4; do curl -si localhost:8080/api/products | grep -i x-instance; done

  # What was counted, how the services are, and what was logged.
  curl -s localhost:9901/metrics | grep http_requests_total
  curl -s localhost:9901/health
  tail {log}

Ctrl-C ends it all.",
        log = demo.access_log().display()
    )
}
