//! Active checks through the loop that runs them: L7.
#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use gateway_balance::{EndpointSet, HealthSettings, Strategy, health_checks};
use gateway_core::{Endpoint, FailureKind, Upstream, UpstreamError};
use gateway_upstream::{HttpUpstream, UpstreamSettings};
use http::request::Parts;
use http::{HeaderMap, Response};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::{Instant, timeout};

type Frames = Vec<Result<Frame<Bytes>, Infallible>>;
type Answer = Result<(u16, &'static [u8], Option<&'static str>), FailureKind>;
type Script = Arc<dyn Fn(usize) -> Answer + Send + Sync>;

/// What was asked, when and with which body.
type Asked = Arc<Mutex<Vec<(Duration, Parts, Bytes)>>>;

struct Scripted {
    endpoint: Endpoint,
    start: Instant,
    asked: Asked,
    script: Script,
}

impl Upstream<Full<Bytes>> for Scripted {
    type Body = StreamBody<futures_util::stream::Iter<std::vec::IntoIter<Result<Frame<Bytes>, Infallible>>>>;
    async fn send(&self, head: &Parts, body: Full<Bytes>) -> Result<Response<Self::Body>, UpstreamError> {
        let body = body.collect().await.unwrap().to_bytes();
        let number = {
            let mut asked = self.asked.lock().unwrap();
            asked.push((self.start.elapsed(), head.clone(), body));
            asked.len() - 1
        };
        let failed = |kind| UpstreamError::new(kind, &self.endpoint, "by script");
        let answer = (self.script)(number);
        if answer.is_err_and(|kind| kind == FailureKind::Timeout) {
            std::future::pending::<()>().await;
        }
        let (status, data, grpc) = answer.map_err(failed)?;
        let mut frames: Frames = vec![Ok(Frame::data(Bytes::from_static(data)))];
        if let Some(status) = grpc {
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", status.parse().unwrap());
            frames.push(Ok(Frame::trailers(trailers)));
        }
        let body = StreamBody::new(futures_util::stream::iter(frames));
        Ok(Response::builder().status(status).body(body).unwrap())
    }
}

/// Checks one endpoint for so long, and says what was asked and whether it is healthy.
async fn check(
    settings: &str,
    seconds: u64,
    script: impl Fn(usize) -> Answer + Send + Sync + 'static,
) -> (EndpointSet, Vec<(Duration, Parts, Bytes)>) {
    let set = EndpointSet::new("test", vec![Endpoint::parse("http://a:81").unwrap()], Strategy::RoundRobin);
    check_set(set, settings, seconds, script).await
}

async fn check_set(
    set: EndpointSet,
    settings: &str,
    seconds: u64,
    script: impl Fn(usize) -> Answer + Send + Sync + 'static,
) -> (EndpointSet, Vec<(Duration, Parts, Bytes)>) {
    let settings: HealthSettings = serde_json::from_str(settings).unwrap();
    let (asked, script): (Asked, Script) = (Asked::default(), Arc::new(script));
    let start = Instant::now();
    let connect = |endpoint: &Endpoint| Scripted {
        endpoint: endpoint.clone(),
        start,
        asked: asked.clone(),
        script: script.clone(),
    };
    let _ = timeout(Duration::from_secs(seconds), health_checks(set.clone(), settings, connect)).await;
    let asked = asked.lock().unwrap().clone();
    (set, asked)
}

#[tokio::test(start_paused = true)]
async fn a_check_asks_as_it_was_told_to() {
    let settings =
        r#"{"path": "/up", "method": "HEAD", "host": "users:9", "headers": {"X-Check": "1"}, "port": 9901}"#;
    let (set, asked) = check(settings, 1, |_| Ok((200, b"", None))).await;
    let (_, head, _) = &asked[0];
    assert_eq!((head.method.as_str(), head.uri.path()), ("HEAD", "/up"));
    assert_eq!(
        (&head.headers["host"], &head.headers["x-check"]),
        (&"users:9".parse().unwrap(), &"1".parse().unwrap())
    );
    assert!(set.is_ready());
}

#[tokio::test(start_paused = true)]
async fn statuses_and_the_body_decide() {
    for (settings, status, body, healthy) in [
        ("{}", 200, "", true),
        ("{}", 204, "", false),
        (r#"{"status": ["200-299", 401]}"#, 401, "", true),
        (r#"{"body": "\"up\""}"#, 200, r#"{"status":"up"}"#, true),
        (r#"{"body": "\"up\""}"#, 200, r#"{"status":"down"}"#, false),
        (r#"{"body": "up"}"#, 500, "up", false),
    ] {
        let (set, _) = check(settings, 1, move |_| Ok((status, body.as_bytes(), None))).await;
        assert_eq!(set.is_ready(), healthy, "{settings} {status} {body}");
    }
}

#[tokio::test(start_paused = true)]
async fn of_a_body_only_the_beginning_is_looked_at_however_long_it_is() {
    const LARGE: usize = 100 * 1024;
    for (at, healthy) in [(0, true), (64 * 1024 - 2, true), (64 * 1024 - 1, false), (LARGE - 2, false)] {
        let mut body = vec![b'.'; LARGE];
        body[at..at + 2].copy_from_slice(b"up");
        let body: &'static [u8] = body.leak();
        let (set, _) = check(r#"{"body": "up"}"#, 1, move |_| Ok((200, body, None))).await;
        assert_eq!(set.is_ready(), healthy, "`up` at {at}");
    }
}

#[tokio::test(start_paused = true)]
async fn three_failures_take_an_endpoint_out_and_two_successes_bring_it_back() {
    for (script, healthy) in [("+--", true), ("+---", false), ("+---+", false), ("+---++", true)] {
        // The last check stays without an answer: until then the script has been played.
        let (set, asked) = check(r#"{"interval": "10s", "timeout": "1h"}"#, 600, move |number| match script
            .as_bytes()
            .get(number)
        {
            Some(b'+') => Ok((200, b"", None)),
            Some(_) => Err(FailureKind::Connect),
            None => Err(FailureKind::Timeout),
        })
        .await;
        assert_eq!(set.is_ready(), healthy, "{script}");
        assert_eq!(asked.len(), script.len() + 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_without_traffic_is_asked_less_often() {
    let (_, asked) =
        check(r#"{"interval": "1s", "no_traffic_interval": "60s"}"#, 601, |_| Ok((200, b"", None))).await;
    assert!((10..=14).contains(&asked.len()), "{} checks in ten minutes", asked.len());
    let (_, asked) = check(r#"{"interval": "1s", "jitter": "1s"}"#, 600, |_| Ok((200, b"", None))).await;
    assert!(
        (350..=450).contains(&asked.len()),
        "{} checks, each 1.5 s after the last on average",
        asked.len()
    );
}

#[tokio::test(start_paused = true)]
async fn a_grpc_server_says_whether_it_serves() {
    const SERVING: &[u8] = &[0, 0, 0, 0, 2, 0x08, 1];
    const NOT_SERVING: &[u8] = &[0, 0, 0, 0, 2, 0x08, 2];
    for (status, data, grpc, healthy) in [
        (200, SERVING, Some("0"), true),
        (200, NOT_SERVING, Some("0"), false),
        (200, &[], Some("12"), false),
        (404, &[], None, false),
    ] {
        let settings = r#"{"kind": "grpc", "service": "shop.Cart"}"#;
        let (set, asked) = check(settings, 1, move |_| Ok((status, data, grpc))).await;
        assert_eq!(set.is_ready(), healthy, "{status} {data:?} {grpc:?}");
        let (_, head, body) = &asked[0];
        assert_eq!((head.method.as_str(), head.uri.path()), ("POST", "/grpc.health.v1.Health/Check"));
        assert_eq!(
            (&head.headers["te"], &head.headers["content-type"]),
            (&"trailers".parse().unwrap(), &"application/grpc".parse().unwrap())
        );
        assert_eq!(&body[..], b"\0\0\0\0\x0b\x0a\x09shop.Cart");
    }
}

#[tokio::test]
async fn a_tcp_endpoint_is_healthy_while_it_takes_connections() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = Endpoint::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
    let set = EndpointSet::new("test", vec![endpoint], Strategy::RoundRobin);
    let settings =
        serde_json::from_str(r#"{"kind": "tcp", "interval": "1ms", "fall": 1, "rise": 1}"#).unwrap();
    let connect = |endpoint: &Endpoint| HttpUpstream::new(endpoint.clone(), UpstreamSettings::default());
    let running = tokio::spawn(health_checks(set.clone(), settings, connect));
    let (_stream, _) = listener.accept().await.unwrap();
    assert!(set.is_ready());
    drop(listener);
    let gone = async {
        while set.is_ready() {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(10), gone).await.expect("nobody listens, and it is still taken for healthy");
    running.abort();
}

#[tokio::test(start_paused = true)]
async fn one_check_does_not_decide_over_what_is_known_from_before_a_change_of_the_service() {
    for before in [200, 500] {
        let (set, _) = check("{}", 1, move |_| Ok((before, b"", None))).await;
        let known = set.is_ready();
        assert_eq!(known, before == 200);
        let after = set.renewed(vec![Endpoint::parse("http://a:81").unwrap()], Strategy::Random);
        let turned = if known { 500 } else { 200 };
        let (after, _) = check_set(after, r#"{"interval": "1h"}"#, 1, move |_| Ok((turned, b"", None))).await;
        assert_eq!(after.is_ready(), known);
    }
}
