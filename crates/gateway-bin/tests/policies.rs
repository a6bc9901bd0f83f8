//! What an operator writes for a route is what its clients and its service see.
#![allow(clippy::unwrap_used)]

#[path = "policies/answers.rs"]
mod answers;
#[path = "policies/client.rs"]
mod client;
#[path = "policies/groups.rs"]
mod groups;
#[path = "policies/mistakes.rs"]
mod mistakes;
#[path = "policies/overload.rs"]
mod overload;
#[path = "policies/rewriting.rs"]
mod rewriting;
#[path = "policies/routing.rs"]
mod routing;

use gateway_testkit::{Client, Gateway, Reply, Request, Response, Upstream, Wire, get, wait_until};
use std::time::Duration;

const EXE: &str = env!("CARGO_BIN_EXE_gateway");
const SOON: Duration = Duration::from_secs(10);

/// Two workers, so that whatever they should share and do not shows.
const FRAME: &str = "access_log = \"@DIR@/access.log\"\nserver.listen = \"127.0.0.1:@PORT@\"\n\
                     server.workers = 2\nadmin.listen = \"127.0.0.1:@ADMIN@\"\n";

fn gateway(config: &str) -> Gateway {
    Gateway::builder(EXE).config(&format!("{FRAME}{config}")).start()
}

/// One service `a` and whatever else the configuration says.
fn in_front_of(upstream: &Upstream, config: &str) -> Gateway {
    gateway(&format!("services.a.endpoints = [\"{}\"]\n{config}", upstream.url()))
}

fn send(gateway: &Gateway, request: &Request) -> Response {
    Client::new(gateway.addr()).send(request)
}

fn text(gateway: &Gateway, request: &Request) -> String {
    send(gateway, request).text()
}

/// Status and code of one of the gateway's own answers.
fn code(answer: &Response) -> (u16, String) {
    (answer.status, answer.json()["code"].as_str().unwrap_or_default().to_owned())
}
