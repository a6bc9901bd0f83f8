//! A reverse proxy: one route balanced over two endpoints with retries, everything else answered by axum.
//!
//! `cargo run -p axum-examples --bin proxy -- http://127.0.0.1:3001 http://127.0.0.1:3003`, then
//! `curl -i localhost:3000/api/products`.

use axum::Router;
use axum::routing::get;
use gateway_balance::{Balance, BalanceSettings, EndpointSet, Strategy};
use gateway_core::Endpoint;
use gateway_routing::{Dispatch, RouteMatch, RouteTable};
use gateway_transform::StripPrefixLayer;
use gateway_upstream::{HttpUpstream, UpstreamSettings};
use tower::Layer;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let endpoints =
        std::env::args().skip(1).map(|url| Endpoint::parse(&url)).collect::<Result<Vec<_>, _>>()?;
    let set = EndpointSet::new("products", endpoints, Strategy::RoundRobin);
    let products = Balance::new(set, &BalanceSettings::default(), |endpoint| {
        HttpUpstream::new(endpoint.clone(), UpstreamSettings::default())
    });
    let products = StripPrefixLayer::new("/api/products")?.layer(products);
    let routes = RouteTable::build(vec![(RouteMatch::path("/api/products/*")?, products)])?;
    let app =
        Router::new().route("/hello", get(|| async { "hello\n" })).fallback_service(Dispatch::new(routes));
    let listener =
        tokio::net::TcpListener::bind(std::env::var("LISTEN").unwrap_or("127.0.0.1:3000".into())).await?;
    axum::serve(listener, app).await?;
    Ok(())
}
