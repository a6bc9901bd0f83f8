//! `platform`: five services, Redis, the gateway in front of them, and what to try.

use example_runner::{Demo, serve};
use platform::{service, user_service};
use std::net::SocketAddr;
use std::process::ExitCode;
use tokio::process::Command;

const ABOUT: &str = "Five services, and the gateway in front of them";
const CONFIG: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/gateway.toml");
/// Beside the one that may run on this machine anyway.
const REDIS: u16 = 6390;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> ExitCode {
    example_runner::main("platform", ABOUT, CONFIG, start).await
}

async fn start(demo: &mut Demo) -> Result<(), String> {
    for (variable, port, service) in [
        ("USER_SERVICE_URL", 8001, user_service("user-service-1")),
        ("USER_SERVICE_2_URL", 8011, user_service("user-service-2")),
        ("ORDER_SERVICE_URL", 8002, service("order-service-1")),
        ("ORDER_SERVICE_2_URL", 8012, service("order-service-2")),
        ("INVENTORY_SERVICE_URL", 8003, service("inventory-service-1")),
        ("INVENTORY_SERVICE_2_URL", 8013, service("inventory-service-2")),
        ("PAYMENT_SERVICE_URL", 8004, service("payment-service")),
        ("NOTIFICATION_SERVICE_URL", 8005, service("notification-service")),
    ] {
        serve(port, service).await?;
        demo.default_env(variable, &format!("http://127.0.0.1:{port}"));
    }
    if std::env::var_os("REDIS_URL").is_none() {
        let mut redis = Command::new("redis-server");
        redis.args(["--port", &REDIS.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
        redis.current_dir(demo.dir());
        demo.spawn("redis-server", redis, SocketAddr::from(([127, 0, 0, 1], REDIS))).await?;
        demo.default_env("REDIS_URL", &format!("redis://127.0.0.1:{REDIS}"));
    }
    demo.start_gateway(SocketAddr::from(([127, 0, 0, 1], 8000))).await?;
    println!("{}", banner(demo, &demo.ask_gateway(&["routes"]).await?));
    Ok(())
}

fn banner(demo: &Demo, routes: &str) -> String {
    format!(
        r#"
The gateway listens on http://localhost:8000, in front of five services:

{routes}
Try, in another terminal:

  # Without a token: 401. A login is public; the user service says whose the token is.
  curl -si localhost:8000/api/v1/users
  LOGIN=$(curl -s localhost:8000/api/v1/auth/login -H 'Content-Type: application/json' -d '{{"name":"ada"}}')
  TOKEN=$(echo "$LOGIN" | sed 's/.*"access_token":"\([^"]*\)".*/\1/')
  curl -si localhost:8000/api/v1/users -H "Authorization: Bearer $TOKEN"

  # The service is told who calls, and believes nobody else.
  curl -s localhost:8000/api/v1/orders -H "Authorization: Bearer $TOKEN" -H 'X-User-ID: root'

  # 1000 an hour for users, 10000 with an API key, 100 for all others: RateLimit tells what is left.
  curl -si localhost:8000/api/v1/payments -H "Authorization: Bearer $TOKEN" | grep -i ratelimit
  curl -si localhost:8000/api/v1/payments -H 'X-API-Key: demo-key-of-a-partner' | grep -i ratelimit
  for i in $(seq 101); do curl -so /dev/null -w '%{{http_code}} ' localhost:8000/api/v1/products; done; echo

  # Products are kept in Redis for half a minute (Cache-Status).
  curl -si localhost:8000/api/v1/products -H 'X-API-Key: demo-key-of-a-partner' | grep -i cache-status

  # How the services are, and what is counted; examples/platform/grafana has a dashboard for it.
  curl -s localhost:8000/health
  curl -s localhost:8000/metrics | grep http_requests_total

  # What was logged.
  tail {log}

Ctrl-C ends it all."#,
        log = demo.access_log().display()
    )
}
