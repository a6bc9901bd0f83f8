//! A service behind a layer, and requests to it.

#![allow(dead_code)]

use bytes::Bytes;
use gateway_core::{AuthMethod, ClientAddr, Principal};
use gateway_ratelimit::{RateLimitLayer, RateLimitSettings};
use http::{Request, Response};
use http_body_util::Full;
use serde_json::Value;
use std::convert::Infallible;
use tower::{Layer, ServiceExt, service_fn};

/// A layer of settings as they stand in a file.
pub(crate) fn layer(settings: Value) -> RateLimitLayer {
    let settings: RateLimitSettings = serde_json::from_value(settings).unwrap();
    RateLimitLayer::new("demo", &settings).unwrap()
}

/// A request of a client.
pub(crate) fn from(ip: &str) -> Request<()> {
    let mut request = Request::new(());
    request.extensions_mut().insert(ClientAddr(format!("{ip}:1").parse().unwrap()));
    request
}

/// A request of somebody with these claims.
pub(crate) fn of(id: &str, method: AuthMethod, claims: Value) -> Request<()> {
    let mut request = from("192.0.2.1");
    let Value::Object(claims) = claims else { panic!("claims are a table") };
    request.extensions_mut().insert(Principal::new(id, method, claims));
    request
}

/// A request with a target and a header.
pub(crate) fn with(target: &str, header: &str, value: &str) -> Request<()> {
    let mut request = from("192.0.2.1");
    *request.uri_mut() = target.parse().unwrap();
    request.headers_mut().insert(http::HeaderName::try_from(header).unwrap(), value.parse().unwrap());
    request
}

/// Asks a service that answers as the request says in `answer` and `used`.
pub(crate) async fn ask(layer: &RateLimitLayer, request: Request<()>) -> Response<Full<Bytes>> {
    let service = layer.layer(service_fn(|request: Request<()>| async move {
        let mut response = Response::new(Full::default());
        if let Some(status) = request.headers().get("answer") {
            *response.status_mut() = status.to_str().unwrap().parse().unwrap();
        }
        if let Some(used) = request.headers().get("used") {
            response.headers_mut().insert("x-tokens-used", used.clone());
        }
        Ok::<_, Infallible>(response)
    }));
    service.oneshot(request).await.unwrap()
}

/// The statuses of the same request, asked so often.
pub(crate) async fn statuses(
    layer: &RateLimitLayer,
    times: usize,
    request: impl Fn() -> Request<()>,
) -> Vec<u16> {
    let mut all = Vec::new();
    for _ in 0..times {
        all.push(ask(layer, request()).await.status().as_u16());
    }
    all
}
