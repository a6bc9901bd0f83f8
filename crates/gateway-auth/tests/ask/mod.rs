//! A service behind a layer, which shows what reached it. Each test file uses some of it.
#![allow(dead_code)]

use bytes::Bytes;
use gateway_auth::AuthLayer;
use gateway_core::{Principal, Problem};
use http::{HeaderMap, Request, Response, Uri};
use http_body_util::Full;
use std::convert::Infallible;
use tower::{Layer, ServiceExt, service_fn};

/// What reached the service.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) id: String,
    pub(crate) uri: Uri,
    pub(crate) headers: HeaderMap,
}

/// The answer of a service that is asked through the layer.
pub(crate) async fn ask(layer: &AuthLayer, request: Request<()>) -> Response<Full<Bytes>> {
    let service = layer.layer(service_fn(|request: Request<()>| async move {
        let mut response = Response::new(Full::<Bytes>::default());
        let id = request.extensions().get::<Principal>().map_or("-", Principal::id).to_owned();
        let seen = Seen { id, uri: request.uri().clone(), headers: request.headers().clone() };
        response.extensions_mut().insert(seen);
        Ok::<_, Infallible>(response)
    }));
    service.oneshot(request).await.unwrap()
}

pub(crate) fn seen(response: &Response<Full<Bytes>>) -> &Seen {
    response.extensions().get().expect("the request did not reach the service")
}

pub(crate) fn get(headers: &[(&str, &str)]) -> Request<()> {
    let mut request = Request::get("/orders");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap()
}

/// The id of who passed, `-` for nobody, or code and detail of the refusal, or the status of another's answer.
pub(crate) fn outcome(response: &Response<Full<Bytes>>) -> String {
    match (response.extensions().get::<Seen>(), response.extensions().get::<Problem>()) {
        (Some(seen), _) => seen.id.clone(),
        (None, Some(problem)) => {
            format!("{} {}", problem.code().name(), problem.detail().unwrap_or_default()).trim().to_owned()
        }
        (None, None) => response.status().to_string(),
    }
}
