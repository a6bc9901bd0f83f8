//! A cache in front of a hyper client: `cargo run -p gateway-cache --example reverse_proxy 127.0.0.1:8002
//! http://127.0.0.1:8000`.

use bytes::Bytes;
use gateway_cache::{CacheBody, CacheLayer, CacheSettings, CacheStore};
use gateway_core::units::ByteSize;
use http::{Request, Response, StatusCode, Uri};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use tower::{Layer, ServiceExt};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let listen = args.next().unwrap_or_else(|| "127.0.0.1:8002".to_owned());
    let upstream = args.next().unwrap_or_else(|| "http://127.0.0.1:8000".to_owned());

    let store = CacheStore::new(ByteSize::kib(64 * 1024));
    let cache = CacheLayer::new("demo", &CacheSettings::default(), &store)?;
    let client = Client::builder(TokioExecutor::new()).build_http::<Incoming>();
    // The cache goes by the URL that the client asked for, so that the upstream's comes after it.
    let upstream = client.map_request(move |mut request: Request<Incoming>| {
        let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
        *request.uri_mut() = format!("{upstream}{target}").parse().unwrap_or_else(|_| Uri::from_static("/"));
        request
    });
    // Within the cache a failure is an error, outside of it an answer.
    let service = cache.layer(upstream).map_result(|result: Result<_, hyper_util::client::legacy::Error>| {
        Ok::<_, hyper_util::client::legacy::Error>(result.unwrap_or_else(|error| {
            let mut response = Response::new(CacheBody::from(Bytes::from(format!("{error}\n"))));
            *response.status_mut() = StatusCode::BAD_GATEWAY;
            response
        }))
    });

    let listener = tokio::net::TcpListener::bind(listen).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        let service = TowerToHyperService::new(service.clone());
        tokio::spawn(async move {
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}
