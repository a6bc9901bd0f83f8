//! Expressions in matches: what they see and say, what is wrong with them, and that none takes long or panics.
#![cfg(feature = "cel")]
#![allow(clippy::unwrap_used)]

#[path = "cel/bounds.rs"]
mod bounds;
#[path = "cel/callers.rs"]
mod callers;
#[path = "cel/mistakes.rs"]
mod mistakes;
#[path = "cel/random.rs"]
mod random;
#[path = "cel/routes.rs"]
mod routes;
#[path = "cel/values.rs"]
mod values;

use gateway_core::{ClientAddr, Scheme};
use gateway_routing::{Match, Refusal, RouteMatch, RouteTable, When};
use http::{HeaderValue, Request};

fn request() -> Request<()> {
    let mut request = Request::post("http://Shop.Example:81/a%20b/c?page=2&name=J%C3%BCrgen+X&page=3&empty")
        .header("x-plan", "gold")
        .header("x-many", "a")
        .header("x-many", "b")
        .header("x-odd", HeaderValue::from_bytes(b"\xff!").unwrap())
        .header("cookie", "group=\"beta-1\"; id=7")
        .header("cookie", "id=8")
        .body(())
        .unwrap();
    request.extensions_mut().insert(ClientAddr("10.1.2.3:99".parse().unwrap()));
    request.extensions_mut().insert(Scheme::Https);
    request
}

/// A table of one route that asks for an expression and nothing else.
fn table(text: &str) -> RouteTable<()> {
    let when: When = text.parse().unwrap_or_else(|mistakes| panic!("{text}: {mistakes}"));
    RouteTable::build(vec![(RouteMatch { when: Some(when), ..RouteMatch::path("/*").unwrap() }, ())]).unwrap()
}

/// What an expression says of a request: `Err` is what failed.
fn said(text: &str, request: &Request<()>) -> Result<bool, String> {
    let table = table(text);
    let explained = table.explain(request).candidates.remove(0);
    let said = match explained.refusals.into_iter().next() {
        None => Ok(true),
        Some(Refusal::Expression { failed: None, .. }) => Ok(false),
        Some(Refusal::Expression { failed: Some(failed), .. }) => Err(failed),
        Some(other) => panic!("{text}: {other}"),
    };
    assert_eq!(matches!(table.find(request), Match::Found(_)), said == Ok(true), "{text}");
    said
}
