//! Requests that change something and do not pass the cache.
#![allow(clippy::unwrap_used)]

mod support;

use bytes::Bytes;
use gateway_cache::{CacheSettings, CacheStore, InvalidateLayer, KeySettings};
use gateway_core::units::ByteSize;
use http::{Request, Response};
use http_body_util::Empty;
use std::convert::Infallible;
use support::{ok, request, world_on};
use tower::{Layer, ServiceExt, service_fn};

#[tokio::test]
async fn what_is_changed_beside_the_cache_is_out_of_date_in_it() {
    let store = CacheStore::new(ByteSize::kib(1 << 10));
    let key = KeySettings { ignore_query: vec!["utm".into()], ..KeySettings::default() };
    let settings = [CacheSettings { key, ..CacheSettings::default() }, CacheSettings::default()];
    let [plain, whole] = settings.map(|settings| {
        world_on(store.clone(), "test", settings, |call, _| async move {
            ok(&[("cache-control", "max-age=60")], format!("{call}"))
        })
    });
    let beside = InvalidateLayer::of([&plain.layer, &whole.layer]).layer(service_fn(
        |asked: Request<Empty<Bytes>>| async move {
            let status = if asked.uri().path() == "/refused" { 403 } else { 201 };
            let made = Response::builder().status(status).header("location", "/made");
            Ok::<_, Infallible>(made.body(()).unwrap())
        },
    ));
    for (method, target, is_out_of_date) in [
        ("POST", "/a?utm=1", true),
        ("DELETE", "/a", true),
        ("POST", "/b?x", false),
        ("POST", "/refused", false),
        ("GET", "/a", false),
        ("OPTIONS", "/a", false),
        ("QUERY", "/a", false),
    ] {
        for target in ["/a", "/made", "/refused"] {
            plain.get(target).await;
            assert!(plain.get(target).await.is_hit());
        }
        let response = beside.clone().oneshot(request(method, target, &[])).await.unwrap();
        assert!(response.headers().get("cache-status").is_none());
        assert_eq!(plain.get("/a").await.is_hit(), !is_out_of_date, "{method} {target}");
        let has_made = response.status() == 201 && matches!(method, "POST" | "DELETE");
        assert_eq!(plain.get("/made").await.is_hit(), !has_made, "{method} {target}");
        assert!(plain.get("/refused").await.is_hit(), "{method} {target}");
    }
}
