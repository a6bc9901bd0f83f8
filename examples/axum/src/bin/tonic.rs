//! Two calls a minute for each client address, before a tonic service.
//!
//! `cargo run -p axum-examples --bin tonic`, then three times
//! `curl -i localhost:3000/shop.Cart/Add -X POST -H 'content-type: application/grpc'`.

use axum::body::Body;
use axum::http::{Request, Response};
use axum::routing::post;
use gateway_core::{ClientAddr, ProblemLayer};
use gateway_ratelimit::{RateLimitLayer, RateLimitSettings};
use tonic::Status;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::transport::server::TcpConnectInfo;
use tower::util::{MapRequestLayer, MapResponseLayer};

/// Tells the layers who is asking, as tonic knows it.
fn client(mut request: Request<tonic::body::Body>) -> Request<tonic::body::Body> {
    let connected = request.extensions().get::<TcpConnectInfo>().and_then(TcpConnectInfo::remote_addr);
    if let Some(address) = connected {
        request.extensions_mut().insert(ClientAddr(address));
    }
    request
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // In place of what `add_service` takes: it answers every call without a message.
    let cart = axum::Router::new().route("/shop.Cart/Add", post(async || Status::ok("").into_http::<Body>()));
    let limit = RateLimitLayer::new("demo", &RateLimitSettings::all("2/min".parse()?))?;
    Server::builder()
        // curl speaks HTTP/1.1 to this port.
        .accept_http1(true)
        .layer(MapRequestLayer::new(client))
        // Refusals become `grpc-status`.
        .layer(ProblemLayer::default())
        .layer(limit)
        // Layers that answer need a body that is made of bytes, which tonic's own is not.
        .layer(MapResponseLayer::new(|answer: Response<tonic::body::Body>| answer.map(Body::new)))
        .add_routes(Routes::from(cart))
        .serve(std::env::var("LISTEN").unwrap_or("127.0.0.1:3000".into()).parse()?)
        .await?;
    Ok(())
}
