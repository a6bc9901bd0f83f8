//! What the gateway itself does not allow says nothing about the endpoints: with real connections.
#![allow(clippy::unwrap_used)]

use axum::Router;
use axum::routing::get;
use bytes::Bytes;
use gateway_balance::{Balance, BalanceSettings, EndpointSet, PolicySettings};
use gateway_core::{Code, Endpoint, Limited, Problem, Upstream};
use gateway_upstream::{HttpUpstream, UpstreamSettings};
use http::Request;
use http_body_util::Empty;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tower::ServiceExt;

async fn serving(router: Router) -> Endpoint {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = Endpoint::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
    tokio::spawn(async { axum::serve(listener, router).await });
    endpoint
}

/// An endpoint that answers once it may.
async fn slow(may: &Arc<Semaphore>) -> Endpoint {
    let may = may.clone();
    let answer = move || async move { may.acquire().await.map(|_| "hello").unwrap_or_default() };
    serving(Router::new().route("/", get(answer))).await
}

#[tokio::test]
async fn an_endpoint_whose_connections_are_all_in_use_is_as_healthy_as_before() {
    let policy: PolicySettings = serde_json::from_str(r#"{"circuit": {"min_requests": 5}}"#).unwrap();
    for retry in ["{}", r#"{"attempts": 1, "hedge": "20ms"}"#] {
        let settings: BalanceSettings = serde_json::from_str(&format!(r#"{{"retry": {retry}}}"#)).unwrap();
        let connection: UpstreamSettings =
            serde_json::from_str(r#"{"max_connections": 1, "connect_timeout": "50ms"}"#).unwrap();
        let may = Arc::new(Semaphore::new(0));
        let set = EndpointSet::new("test", vec![slow(&may).await, slow(&may).await], policy.clone());
        let balance = Balance::new(set.clone(), &settings, |endpoint| {
            HttpUpstream::new(endpoint.clone(), connection.clone())
        });
        let mut requests = JoinSet::new();
        for _ in 0..16 {
            let request = Request::get("/").body(Empty::<Bytes>::new()).unwrap();
            requests.spawn(balance.clone().oneshot(request));
        }
        // Each endpoint has one, and the others find no place at either.
        for number in 0..14 {
            let answer = requests.join_next().await.unwrap().unwrap().unwrap();
            assert_eq!(answer.status(), 503, "{retry} {number}");
            assert_eq!(answer.headers()["retry-after"], "1");
            let problem = answer.extensions().get::<Problem>().unwrap();
            assert_eq!(problem.code(), Code::Overloaded);
            assert_eq!(answer.extensions().get(), Some(&Limited::By("connections".into())));
        }
        for state in set.states() {
            assert!(state.healthy && state.ejections == 0, "{retry}: {state:?}");
        }
        assert_eq!(set.refused_by_connections(), 14, "{retry}");
        // Once at the other endpoint each, never again at one that is full.
        assert_eq!(set.retries(), if retry == "{}" { 14 } else { 0 }, "{retry}");
        may.add_permits(100);
        while let Some(answer) = requests.join_next().await {
            assert_eq!(answer.unwrap().unwrap().status(), 200, "{retry}");
        }
        let request = Request::get("/").body(Empty::<Bytes>::new()).unwrap();
        assert_eq!(balance.oneshot(request).await.unwrap().status(), 200, "{retry}: the circuit is closed");
    }
}

#[tokio::test]
async fn one_that_finds_no_connection_leaves_the_race_to_the_other() {
    // The other is to be in the race long before the first gives up, and to answer after that.
    let connection: UpstreamSettings =
        serde_json::from_str(r#"{"max_connections": 1, "connect_timeout": "1s"}"#).unwrap();
    let settings: BalanceSettings =
        serde_json::from_str(r#"{"retry": {"attempts": 1, "hedge": "20ms"}}"#).unwrap();
    let takes = |millis| async move {
        let answer = move || async move {
            tokio::time::sleep(Duration::from_millis(millis)).await;
            "hello"
        };
        serving(Router::new().route("/", get(answer))).await
    };
    let endpoints = vec![takes(0).await, takes(1200).await];
    let full = HttpUpstream::new(endpoints[0].clone(), connection.clone());
    let (head, body) =
        Request::get("/").header("Host", "a").body(Empty::<Bytes>::new()).unwrap().into_parts();
    // Its one connection is in use as long as this is not read.
    let _unread = full.send(&head, body).await.unwrap();
    let set = EndpointSet::new("test", endpoints.clone(), PolicySettings::default());
    let balance = Balance::new(set, &settings, |endpoint| {
        if *endpoint == endpoints[0] {
            return full.clone();
        }
        HttpUpstream::new(endpoint.clone(), connection.clone())
    });
    for _ in 0..2 {
        let request = Request::get("/").body(Empty::<Bytes>::new()).unwrap();
        assert_eq!(balance.clone().oneshot(request).await.unwrap().status(), 200);
    }
}
