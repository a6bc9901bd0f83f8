//! Every program runs and does what it says.
#![allow(clippy::unwrap_used)]

use gateway_testkit::{Client, Process, Redis, Request, Upstream, free_port, get, wait_until};
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

fn start(exe: &str, args: &[String]) -> (Process, SocketAddr) {
    start_with(Command::new(exe).args(args))
}

fn start_with(command: &mut Command) -> (Process, SocketAddr) {
    let addr = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let process = Process::start(command.env("LISTEN", addr.to_string()), "cargo builds it");
    wait_until("the program to listen", Duration::from_secs(10), || std::net::TcpStream::connect(addr).ok());
    (process, addr)
}

#[test]
fn ratelimit_refuses_the_third_request() {
    let (_process, addr) = start(env!("CARGO_BIN_EXE_ratelimit"), &[]);
    let statuses = [0; 3].map(|_| get(addr, "/").status);
    assert_eq!(statuses, [200, 200, 429]);
}

#[test]
fn tonic_refuses_the_third_call_by_its_grpc_status() {
    let (_process, addr) = start(env!("CARGO_BIN_EXE_tonic"), &[]);
    let call = Request::new("POST", "/shop.Cart/Add").header("content-type", "application/grpc");
    let said = [0; 3].map(|_| Client::new(addr).send(&call));
    let said = said.each_ref().map(|answer| (answer.status, answer.header("grpc-status")));
    assert_eq!(said, [(200, Some("0")), (200, Some("0")), (200, Some("8"))]);
}

#[test]
fn ratelimit_redis_refuses_the_third_request_at_whichever_instance_and_goes_on_without_redis() {
    let mut redis = Redis::start();
    let start =
        || start_with(Command::new(env!("CARGO_BIN_EXE_ratelimit_redis")).env("REDIS_URL", redis.url()));
    let ((_one, first), (_other, second)) = (start(), start());
    // A request that does not reach Redis in time is counted locally.
    wait_until("one limit for both", Duration::from_secs(20), || {
        let _ = redis.command(&["FLUSHALL"]);
        let statuses = [first, second, first, second].map(|addr| get(addr, "/").status);
        (statuses == [200, 200, 429, 429] && !redis.keys("*rate_limit*").is_empty()).then_some(())
    });
    redis.kill();
    assert!(matches!(get(second, "/").status, 200 | 429), "it answers all the same");
}

#[test]
fn auth_lets_its_own_token_and_key_pass_where_they_may() {
    let (process, addr) = start(env!("CARGO_BIN_EXE_auth"), &[]);
    assert_eq!(get(addr, "/").status, 401);
    assert_eq!(get(addr, "/health").text(), "fine\n");
    let said = wait_until("the token and the key", Duration::from_secs(10), || {
        Some(process.stdout()).filter(|said| said.matches('\'').count() == 4)
    });
    let headers: Vec<_> = said.split('\'').skip(1).step_by(2).map(|h| h.split_once(": ").unwrap()).collect();
    let [token, key] = headers.try_into().unwrap();
    let send =
        |request: Request, (name, value): (&str, &str)| Client::new(addr).send(&request.header(name, value));
    assert_eq!(send(Request::get("/"), token).text(), "hello ada, by jwt\n");
    assert_eq!(send(Request::get("/"), key).text(), "hello robot, by api_key\n");
    assert_eq!(send(Request::new("POST", "/orders"), token).text(), "ordered\n");
    assert_eq!(send(Request::new("POST", "/orders"), key).status, 403);
}

#[test]
fn cache_answers_the_second_request_itself() {
    let (_process, addr) = start(env!("CARGO_BIN_EXE_cache"), &[]);
    for (path, expected, told) in [
        ("/reports/a", "report a, the 1. to be made\n", "gateway; fwd=uri-miss; stored"),
        ("/reports/a", "report a, the 1. to be made\n", "gateway; hit; ttl="),
        ("/reports/b", "report b, the 2. to be made\n", "gateway; fwd=uri-miss; stored"),
    ] {
        let answer = get(addr, path);
        assert_eq!(answer.text(), expected);
        let status = answer.header("cache-status").unwrap();
        assert!(status.starts_with(told), "{path}: {status}");
    }
}

#[test]
fn transform_adds_its_headers() {
    let (_process, addr) = start(env!("CARGO_BIN_EXE_transform"), &[]);
    let answer = get(addr, "/");
    assert_eq!(answer.header("x-frame-options"), Some("DENY"));
    assert_eq!(answer.header("x-correlation-id").unwrap().len(), 36);
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
}

#[test]
fn observe_counts_and_logs() {
    let (process, addr) = start(env!("CARGO_BIN_EXE_observe"), &[]);
    assert_eq!(get(addr, "/users/7").text(), "hello 7\n");
    let metrics = get(addr, "/metrics").text();
    assert!(metrics.contains(r#"endpoint="/users/{id}",status="200",service="users"} 1"#), "{metrics}");
    wait_until("a line", Duration::from_secs(5), || {
        process.stdout().contains("\"uri\":\"/users/7\"").then_some(())
    });
}

#[test]
fn proxy_balances_and_routes() {
    let (a, b) = (Upstream::named("a"), Upstream::named("b"));
    let (_process, addr) = start(env!("CARGO_BIN_EXE_proxy"), &[a.url(), b.url()]);
    let answers = [0; 4].map(|_| get(addr, "/api/products/7").text());
    assert_eq!(answers, ["a", "b", "a", "b"]);
    assert_eq!(a.requests()[0].target, "/7");
    assert_eq!(get(addr, "/hello").text(), "hello\n");
    assert_eq!(get(addr, "/nothing").status, 404);
}
