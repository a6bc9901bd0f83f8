//! What becomes of endpoints that a new set does not have any more: L15.
#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use futures_util::FutureExt;
use gateway_balance::{Balance, BalanceSettings, EndpointSet, Strategy};
use gateway_core::Endpoint;
use gateway_upstream::{HttpUpstream, UpstreamSettings};
use http::Request;
use http_body_util::{BodyExt, Empty};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tower::ServiceExt;

const SOON: Duration = Duration::from_secs(10);

async fn endpoint() -> (TcpListener, Endpoint) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = Endpoint::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
    (listener, endpoint)
}

fn balance(endpoint: &Endpoint) -> Balance<HttpUpstream> {
    let set = EndpointSet::new("test", vec![endpoint.clone()], Strategy::RoundRobin);
    let connect = |endpoint: &Endpoint| HttpUpstream::new(endpoint.clone(), UpstreamSettings::default());
    Balance::new(set, &BalanceSettings::default(), connect)
}

fn get() -> Request<Empty<Bytes>> {
    Request::get("/").header("host", "a").body(Empty::new()).unwrap()
}

async fn read_request(stream: &mut TcpStream) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        assert!(stream.read_buf(&mut request).await.unwrap() > 0, "the request broke off");
    }
}

/// Reads a request and answers it.
async fn answer(stream: &mut TcpStream) {
    read_request(stream).await;
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello").await.unwrap();
}

/// Reads a request and answers with the head and a part of the body.
async fn begin_answer(listener: &TcpListener) -> TcpStream {
    let (mut stream, _) = listener.accept().await.unwrap();
    read_request(&mut stream).await;
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello").await.unwrap();
    stream
}

/// Whether the other side has closed the connection without another byte.
async fn is_closed(stream: &mut TcpStream) -> bool {
    matches!(timeout(SOON, stream.read(&mut [0])).await, Ok(Ok(0) | Err(_)))
}

#[tokio::test]
async fn l15_idle_connections_of_a_set_that_is_gone_are_closed() {
    let (listener, endpoint) = endpoint().await;
    let old = balance(&endpoint);
    let (response, mut stream) = tokio::join!(old.clone().oneshot(get()), begin_answer(&listener));
    stream.write_all(b"world").await.unwrap();
    assert_eq!(response.unwrap().into_body().collect().await.unwrap().to_bytes(), "helloworld");
    // It is kept for the next request.
    let (response, ()) = tokio::join!(old.clone().oneshot(get()), answer(&mut stream));
    assert_eq!(response.unwrap().into_body().collect().await.unwrap().to_bytes(), "hello");
    drop(old);
    assert!(is_closed(&mut stream).await);
}

#[tokio::test]
async fn l15_a_request_on_its_way_to_an_endpoint_that_is_gone_goes_on_and_its_connection_is_closed_then() {
    let ((listener, endpoint), (other_listener, other)) = (endpoint().await, endpoint().await);
    let old = balance(&endpoint);
    let (response, mut stream) = tokio::join!(old.clone().oneshot(get()), begin_answer(&listener));
    // The new set takes the old one's place.
    let new = balance(&other);
    drop(old);
    let (answer, mut other_stream) = tokio::join!(new.oneshot(get()), begin_answer(&other_listener));
    other_stream.write_all(b"other").await.unwrap();
    assert_eq!(answer.unwrap().into_body().collect().await.unwrap().to_bytes(), "helloother");
    stream.write_all(b"world").await.unwrap();
    assert_eq!(response.unwrap().into_body().collect().await.unwrap().to_bytes(), "helloworld");
    assert!(is_closed(&mut stream).await);
    assert!(listener.accept().now_or_never().is_none(), "the endpoint that is gone was asked again");
}

#[tokio::test]
async fn z5_who_loses_a_race_has_its_connection_closed() {
    let ((slow, first), (fast, second)) = (endpoint().await, endpoint().await);
    let set = EndpointSet::new("test", vec![first, second], Strategy::RoundRobin);
    let settings: BalanceSettings = serde_json::from_str(r#"{"retry": {"hedge": "1ms"}}"#).unwrap();
    let connect = |endpoint: &Endpoint| HttpUpstream::new(endpoint.clone(), UpstreamSettings::default());
    let balance = Balance::new(set.clone(), &settings, connect);
    let waiting = tokio::sync::Notify::new();
    let never = async {
        let (mut stream, _) = slow.accept().await.unwrap();
        read_request(&mut stream).await;
        waiting.notify_one();
        stream
    };
    let ready = async {
        let (mut stream, _) = fast.accept().await.unwrap();
        waiting.notified().await;
        answer(&mut stream).await;
        stream
    };
    let (response, mut loser, _winner) = tokio::join!(balance.clone().oneshot(get()), never, ready);
    assert!(is_closed(&mut loser).await, "it still waits for an answer");
    assert_eq!(response.unwrap().into_body().collect().await.unwrap().to_bytes(), "hello");
    assert_eq!((set.hedges_won(), set.states().map(|state| state.in_flight).sum::<usize>()), (1, 0));
}

/// Says something every second and has no end, in answers of the type that is asked for.
struct Endless;

type Piece = Result<http_body::Frame<Bytes>, std::convert::Infallible>;

impl<B: Send> gateway_core::Upstream<B> for Endless {
    type Body = http_body_util::StreamBody<futures_util::stream::BoxStream<'static, Piece>>;
    async fn send(
        &self,
        head: &http::request::Parts,
        _: B,
    ) -> Result<http::Response<Self::Body>, gateway_core::UpstreamError> {
        let pieces = futures_util::stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Some((Ok(http_body::Frame::data(Bytes::from_static(b"x"))), ()))
        });
        let mut answer = http::Response::new(http_body_util::StreamBody::new(Box::pin(pieces) as _));
        match head.headers.get("accept") {
            Some(kind) => drop(answer.headers_mut().insert("content-type", kind.clone())),
            None => *answer.status_mut() = http::StatusCode::SWITCHING_PROTOCOLS,
        }
        Ok(answer)
    }
}

#[tokio::test(start_paused = true)]
async fn l15_streams_with_an_endpoint_that_is_gone_end_in_order_when_their_time_is_up_and_others_go_on() {
    let [gone, stays] = ["http://a", "http://b"].map(|url| Endpoint::parse(url).unwrap());
    let set = EndpointSet::new("test", vec![gone], Strategy::RoundRobin);
    let balance = Balance::new(set.clone(), &BalanceSettings::default(), |_| Endless);
    let ask = |kind: Option<&'static str>| {
        let request = Request::get("/");
        let request = kind.into_iter().fold(request, |request, kind| request.header("accept", kind));
        balance.clone().oneshot(request.body(Empty::<Bytes>::new()).unwrap())
    };
    let tunnel = ask(None).await.unwrap();
    let download = ask(Some("application/octet-stream")).await.unwrap().into_body();
    let ended = ["text/event-stream", "application/grpc"].map(|kind| {
        let answer = ask(Some(kind));
        tokio::spawn(async move { answer.await.unwrap().into_body().collect().await.unwrap() })
    });
    tokio::time::sleep(Duration::from_secs(60)).await;
    let start = tokio::time::Instant::now();
    let next = set.renewed(vec![stays.clone()], Strategy::RoundRobin);
    set.replaced_by(Some(&next), Duration::from_millis(30_500));
    let other = Balance::new(next.clone(), &BalanceSettings::default(), |_| Endless);
    let request =
        Request::get("/").header("accept", "text/event-stream").body(Empty::<Bytes>::new()).unwrap();
    let other = other.oneshot(request).await.unwrap().into_body();
    let [events, call] = ended;
    let (events, call) = (events.await.unwrap(), call.await.unwrap());
    assert_eq!(start.elapsed(), Duration::from_millis(30_500));
    assert_eq!(events.trailers(), None);
    assert_eq!(call.trailers().unwrap()["grpc-status"], "14");
    assert_eq!(call.to_bytes().len(), 90);
    // A tunnel is its server's to end.
    tunnel.extensions().get::<gateway_core::Recall>().unwrap().due().await;
    for goes_on in [tunnel.into_body(), download, other] {
        assert!(timeout(Duration::from_secs(3600), goes_on.collect()).await.is_err());
    }
    assert_eq!(start.elapsed().as_secs(), 30 + 3 * 3600);
}
