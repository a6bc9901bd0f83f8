//! What is counted and logged, in a plain service.
#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use gateway_core::{AuthMethod, ClientAddr, Code, Endpoint, Principal, Problem, RequestId};
use gateway_observe::{
    AccessLog, AccessLogSettings, LogFormat, Metrics, ObserveLayer, ObservedBody, RouteLabels, prometheus,
};
use http::{HeaderValue, Request, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Full, StreamBody};
use serde_json::Value;
use std::convert::Infallible;
use tower::{Layer, ServiceExt, service_fn};

fn labels() -> RouteLabels {
    RouteLabels { endpoint: "/api/users/*".to_owned(), service: "users".to_owned() }
}

/// Sends requests through an observed service that answers by path, reads the answers, and returns the log.
async fn logged(format: LogFormat, requests: Vec<Request<()>>) -> Vec<Value> {
    let file = tempfile::NamedTempFile::new().unwrap();
    let settings =
        AccessLogSettings { format, path: Some(file.path().into()), ..AccessLogSettings::default() };
    let log = AccessLog::open(&settings).unwrap();
    let layer = ObserveLayer::new(labels(), None, Some(log.lines()));
    for request in requests {
        let response = layer.layer(service_fn(answer)).oneshot(request).await.unwrap();
        response.into_body().collect().await.unwrap();
    }
    log.close();
    let text = std::fs::read_to_string(file.path()).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

async fn answer(request: Request<()>) -> Result<Response<Full<Bytes>>, Infallible> {
    if request.uri().path() == "/down" {
        return Ok(Problem::new(Code::UpstreamConnectFailed)
            .with_detail("connection refused")
            .into_response());
    }
    let mut response = Response::new(Full::from("hello"));
    response.extensions_mut().insert(Principal::new("ada", AuthMethod::Jwt, serde_json::Map::new()));
    response.extensions_mut().insert(Endpoint::parse("http://127.0.0.1:3001").unwrap());
    Ok(response)
}

fn request(path: &str) -> Request<()> {
    let mut request = Request::get(path)
        .header("host", "shop.example")
        .header("user-agent", "curl/8")
        .header("content-length", "12")
        .body(())
        .unwrap();
    request.extensions_mut().insert(ClientAddr("192.0.2.7:5".parse().unwrap()));
    request.extensions_mut().insert(RequestId::from_inbound(&HeaderValue::from_static("abc")).unwrap());
    request
}

#[tokio::test]
async fn s3_22_the_echo_format_has_its_fields_in_its_order() {
    let log = logged(LogFormat::Echo, vec![request("/users/7?a=1"), request("/down")]).await;
    let Value::Object(fields) = &log[0] else { panic!("{log:?}") };
    let mut names: Vec<_> = fields.keys().map(String::as_str).collect();
    let mut expected = vec![
        "time",
        "id",
        "remote_ip",
        "host",
        "method",
        "uri",
        "user_agent",
        "status",
        "error",
        "latency",
        "latency_human",
        "bytes_in",
        "bytes_out",
    ];
    names.sort_unstable();
    expected.sort_unstable();
    assert_eq!(names, expected);
    let said = |name: &str| log[0][name].clone();
    assert_eq!(said("id"), "abc");
    assert_eq!(said("remote_ip"), "192.0.2.7");
    assert_eq!(
        (said("host"), said("method"), said("uri")),
        ("shop.example".into(), "GET".into(), "/users/7?a=1".into())
    );
    assert_eq!(
        (said("status"), said("error"), said("bytes_in"), said("bytes_out")),
        (200.into(), "".into(), 12.into(), 5.into())
    );
    let latency = log[0]["latency"].as_u64().unwrap();
    assert_eq!(log[0]["latency_human"], gateway_observe::format_go_duration(latency));
    assert_eq!(log[1]["status"], 502);
    assert_eq!(log[1]["error"], serde_json::json!({ "code": 502, "message": "connection refused" }));
}

#[tokio::test]
async fn the_own_format_names_who_asked_what_answered_and_why_not() {
    let log = logged(LogFormat::Json, vec![request("/users/7"), request("/down")]).await;
    let said = |line: usize, names: [&str; 6]| names.map(|name| log[line][name].clone());
    let names = ["route", "service", "upstream", "status", "reason", "user"];
    assert_eq!(
        Value::from(said(0, names).to_vec()),
        serde_json::json!(["/api/users/*", "users", "127.0.0.1:3001", 200, null, "ada"])
    );
    assert_eq!(
        Value::from(said(1, names).to_vec()),
        serde_json::json!(["/api/users/*", "users", null, 502, "upstream-connect-failed", null])
    );
}

#[tokio::test]
async fn s4_03_to_s4_07_metrics_have_their_names_help_and_few_labels() {
    let (recorder, handle) = prometheus().unwrap();
    let metrics = Metrics::new(recorder);
    let layer = ObserveLayer::new(labels(), Some(metrics.clone()), None);
    let open = metrics.connections();
    let guards = (open.enter(), open.enter());
    for i in 0..50 {
        let method = http::Method::from_bytes(format!("M{i}").as_bytes()).unwrap();
        let request = Request::builder().method(method).uri(format!("/users/{i}")).body(()).unwrap();
        let response = layer.layer(service_fn(answer)).oneshot(request).await.unwrap();
        response.into_body().collect().await.unwrap();
    }
    let response = layer.layer(service_fn(answer)).oneshot(request("/down")).await.unwrap();
    response.into_body().collect().await.unwrap();
    let text = handle.render();
    for line in [
        "# HELP http_requests_total Total number of HTTP requests",
        "# TYPE http_requests_total counter",
        r#"http_requests_total{method="OTHER",endpoint="/api/users/*",status="200",service="users"} 50"#,
        r#"http_requests_total{method="GET",endpoint="/api/users/*",status="502",service="users",code="upstream-connect-failed"} 1"#,
        "# HELP http_request_duration_seconds HTTP request duration in seconds",
        "# TYPE http_request_duration_seconds histogram",
        r#"http_request_duration_seconds_count{method="GET",endpoint="/api/users/*",service="users"} 1"#,
        "# HELP http_active_connections Number of active HTTP connections",
        "# TYPE http_active_connections gauge",
        "http_active_connections 2",
    ] {
        assert!(text.lines().any(|seen| seen == line), "no `{line}` in\n{text}");
    }
    let series = text.lines().filter(|line| line.starts_with("http_requests_total{")).count();
    assert_eq!(series, 2, "51 paths and methods made {series} series");
    drop(guards);
    assert!(handle.render().contains("http_active_connections 0"));
}

#[tokio::test]
async fn a_request_given_up_before_or_within_its_answer_is_counted_all_the_same() {
    let (recorder, handle) = prometheus().unwrap();
    let layer = ObserveLayer::new(labels(), Some(Metrics::new(recorder)), None);
    let never =
        service_fn(|_: Request<()>| std::future::pending::<Result<Response<Full<Bytes>>, Infallible>>());
    drop(layer.layer(never).oneshot(request("/")));
    let mut asking = Box::pin(layer.layer(never).oneshot(request("/")));
    assert!(futures_poll_once(asking.as_mut()).await.is_none());
    drop(asking);
    let answered: Response<ObservedBody<_>> =
        layer.layer(service_fn(answer)).oneshot(request("/")).await.unwrap();
    drop(answered);
    let text = handle.render();
    assert!(text.contains(r#"status="499",service="users",code="client-gone"} 1"#), "{text}");
    assert!(text.contains(r#"status="200",service="users",code="client-gone"} 1"#), "{text}");
}

#[tokio::test]
async fn a_service_that_panics_is_not_a_client_that_left() {
    use futures_util::{FutureExt, StreamExt};
    use std::panic::AssertUnwindSafe;
    let (recorder, handle) = prometheus().unwrap();
    let layer = ObserveLayer::new(labels(), Some(Metrics::new(recorder)), None);
    let later = service_fn(async |request: Request<()>| {
        assert_ne!(request.uri().path(), "/", "on purpose");
        answer(request).await
    });
    assert!(AssertUnwindSafe(layer.layer(later).oneshot(request("/"))).catch_unwind().await.is_err());
    let at_once = service_fn(|request: Request<()>| {
        assert_ne!(request.uri().path(), "/", "on purpose");
        answer(request)
    });
    assert!(AssertUnwindSafe(layer.layer(at_once).oneshot(request("/"))).catch_unwind().await.is_err());
    let within = service_fn(async |_: Request<()>| {
        let frames = futures_util::stream::iter([Some(Bytes::from_static(b"hel")), None]);
        let frame = |part: Option<Bytes>| Ok::<_, Infallible>(Frame::data(part.expect("on purpose")));
        let body = StreamBody::new(frames.map(frame));
        Ok::<_, Infallible>(Response::new(body))
    });
    let response = layer.layer(within).oneshot(request("/")).await.unwrap();
    assert!(AssertUnwindSafe(response.into_body().collect()).catch_unwind().await.is_err());
    let text = handle.render();
    assert!(text.contains(r#"status="500",service="users"} 2"#), "{text}");
    assert!(text.contains(r#"status="200",service="users",code="answer-cut-off"} 1"#), "{text}");
}

async fn futures_poll_once<F: Future + Unpin>(mut future: F) -> Option<F::Output> {
    std::future::poll_fn(|cx| match std::pin::Pin::new(&mut future).poll(cx) {
        std::task::Poll::Ready(output) => std::task::Poll::Ready(Some(output)),
        std::task::Poll::Pending => std::task::Poll::Ready(None),
    })
    .await
}

#[tokio::test]
async fn the_gateways_own_answers_are_counted_apart_from_a_services_by_their_code() {
    let (recorder, handle) = prometheus().unwrap();
    let layer = ObserveLayer::new(labels(), Some(Metrics::new(recorder)), None);
    let answer = service_fn(|request: Request<()>| async move {
        let problem = |code| Problem::new(code).into_response::<Full<Bytes>>();
        let mut response = match request.uri().path() {
            "/open" => problem(Code::CircuitOpen),
            "/full" => problem(Code::Overloaded),
            "/grpc" => problem(Code::UpstreamTimeout),
            _ => Response::builder().status(503).body(Full::default()).unwrap(),
        };
        if request.uri().path() == "/grpc" {
            *response.status_mut() = http::StatusCode::OK;
        }
        Ok::<_, Infallible>(response)
    });
    for path in ["/open", "/full", "/own", "/open", "/grpc"] {
        let response = layer.layer(answer).oneshot(request(path)).await.unwrap();
        response.into_body().collect().await.unwrap();
    }
    let text = handle.render();
    for (status, code, count) in [
        (503, r#",code="circuit-open""#, 2),
        (503, r#",code="overloaded""#, 1),
        (503, "", 1),
        (200, r#",code="upstream-timeout""#, 1),
    ] {
        let line = format!(
            r#"http_requests_total{{method="GET",endpoint="/api/users/*",status="{status}",service="users"{code}}} {count}"#
        );
        assert!(text.lines().any(|seen| seen == line), "no `{line}` in\n{text}");
    }
    assert!(!text.lines().any(|line| line.starts_with("http_request_duration") && line.contains("code=")));
}

/// One frame, of which it says neither that it is the last nor, mostly, how long it is.
struct One(Option<Frame<Bytes>>, SizeHint);

impl Body for One {
    type Data = Bytes;
    type Error = Infallible;
    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        std::task::Poll::Ready(self.0.take().map(Ok))
    }
    fn size_hint(&self) -> SizeHint {
        self.1
    }
}

#[tokio::test]
async fn an_answer_is_whole_without_being_asked_for_more_where_nothing_can_follow() {
    let (recorder, handle) = prometheus().unwrap();
    let layer = ObserveLayer::new(labels(), Some(Metrics::new(recorder)), None);
    let data = || Frame::data(Bytes::from_static(b"hello"));
    let unknown = SizeHint::default;
    // What server and client have of it is dropped after so many frames.
    for (method, status, frame, length, frames) in [
        ("GET", 200, data(), SizeHint::with_exact(5), 1),
        ("GET", 201, Frame::trailers(http::HeaderMap::new()), unknown(), 1),
        ("GET", 202, data(), unknown(), 2),
        ("HEAD", 203, data(), SizeHint::with_exact(5), 0),
        ("GET", 204, data(), unknown(), 0),
        ("GET", 304, data(), unknown(), 0),
        ("GET", 101, data(), unknown(), 1),
        // These are not.
        ("GET", 400, data(), unknown(), 1),
        ("GET", 401, data(), SizeHint::with_exact(6), 1),
        ("GET", 402, data(), SizeHint::with_exact(5), 0),
    ] {
        let mut body = Some(One(Some(frame), length));
        let answer = service_fn(|_: Request<()>| {
            let answer = Response::builder().status(status).body(body.take().unwrap()).unwrap();
            async move { Ok::<_, Infallible>(answer) }
        });
        let request = Request::builder().method(method).body(()).unwrap();
        let mut answer = layer.layer(answer).oneshot(request).await.unwrap();
        for _ in 0..frames {
            answer.body_mut().frame().await;
        }
    }
    let text = handle.render();
    for line in text.lines().filter(|line| line.starts_with("http_requests_total{")) {
        assert_eq!(line.contains("client-gone"), line.contains("status=\"40"), "{line}");
    }
    assert_eq!(text.matches("client-gone").count(), 3, "{text}");
}

#[tokio::test]
async fn a_body_whose_length_is_not_told_is_as_long_as_was_read_of_it() {
    let received = gateway_core::Received::default();
    let mut chunked = request("/");
    chunked.headers_mut().remove("content-length");
    chunked.extensions_mut().insert(received.clone());
    received.add(7);
    let mut none = request("/");
    none.headers_mut().remove("content-length");
    let log = logged(LogFormat::Json, vec![request("/"), chunked, none]).await;
    let said: Vec<_> = log.iter().map(|line| line["bytes_in"].as_u64().unwrap()).collect();
    assert_eq!(said, [12, 7, 0]);
}

#[tokio::test]
async fn what_the_gateway_gives_up_itself_is_cut_off() {
    let (recorder, handle) = prometheus().unwrap();
    let layer = ObserveLayer::new(labels(), Some(Metrics::new(recorder)), None);
    // On a thread of its own, as a worker is.
    std::thread::spawn(move || {
        let never =
            service_fn(|_: Request<()>| std::future::pending::<Result<Response<Full<Bytes>>, Infallible>>());
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut asking = Box::pin(layer.layer(never).oneshot(request("/")));
            assert!(futures_poll_once(asking.as_mut()).await.is_none());
            let begun = layer.layer(service_fn(answer)).oneshot(request("/")).await.unwrap();
            gateway_core::given_up::cut_off();
            drop((asking, begun));
        });
    })
    .join()
    .unwrap();
    let text = handle.render();
    for status in [503, 200] {
        let line = format!(r#"status="{status}",service="users",code="answer-cut-off"}} 1"#);
        assert!(text.contains(&line), "no `{line}` in\n{text}");
    }
}

#[tokio::test]
async fn the_log_says_why_a_request_has_no_whole_answer() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let settings = AccessLogSettings { path: Some(file.path().into()), ..AccessLogSettings::default() };
    let log = AccessLog::open(&settings).unwrap();
    let layer = ObserveLayer::new(labels(), None, Some(log.lines()));
    let never =
        service_fn(|_: Request<()>| std::future::pending::<Result<Response<Full<Bytes>>, Infallible>>());
    drop(layer.layer(never).oneshot(request("/unanswered")));
    let mut asking = Box::pin(layer.layer(never).oneshot(request("/left")));
    assert!(futures_poll_once(asking.as_mut()).await.is_none());
    drop(asking);
    // As the balancer does, when the request that is at an endpoint is dropped.
    struct AtAnEndpoint;
    impl Drop for AtAnEndpoint {
        fn drop(&mut self) {
            gateway_core::given_up::say(&gateway_core::Endpoint::parse("http://10.0.0.1:3001").unwrap());
        }
    }
    let asks = service_fn(async |_: Request<()>| {
        let _at = AtAnEndpoint;
        std::future::pending::<Result<Response<Full<Bytes>>, Infallible>>().await
    });
    let mut asking = Box::pin(layer.layer(asks).oneshot(request("/left-early")));
    assert!(futures_poll_once(asking.as_mut()).await.is_none());
    drop(asking);
    let cut = service_fn(async |_: Request<()>| {
        let frames = [Ok(Frame::data(Bytes::from_static(b"hel"))), Err("reset")];
        let body = StreamBody::new(futures_util::stream::iter(frames));
        Ok::<_, Infallible>(Response::new(body))
    });
    // Of failures alone, it is one.
    let failures = tempfile::NamedTempFile::new().unwrap();
    let path = Some(failures.path().into());
    let only = AccessLog::open(&AccessLogSettings { path, min_status: 400, ..AccessLogSettings::default() });
    let only = only.unwrap();
    let cuts = ObserveLayer::new(labels(), None, Some(only.lines())).layer(cut);
    assert!(cuts.oneshot(request("/cut")).await.unwrap().into_body().collect().await.is_err());
    only.close();
    let only = std::fs::read_to_string(failures.path()).unwrap();
    assert!(only.contains("answer-cut-off") && only.ends_with(",\"detail\":\"reset\"}\n"), "{only}");
    let response = layer.layer(cut).oneshot(request("/cut")).await.unwrap();
    assert!(response.into_body().collect().await.is_err());
    let mut response = layer.layer(cut).oneshot(request("/left-within")).await.unwrap();
    response.body_mut().frame().await.unwrap().unwrap();
    drop(response);
    log.close();
    let text = std::fs::read_to_string(file.path()).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let said: Vec<_> = lines
        .map(|line| ["uri", "status", "reason", "upstream"].map(|name| line[name].to_string()))
        .collect();
    let expected = [
        [r#""/left""#, "499", r#""client-gone""#, "null"],
        [r#""/left-early""#, "499", r#""client-gone""#, r#""10.0.0.1:3001""#],
        [r#""/cut""#, "200", r#""answer-cut-off""#, "null"],
        [r#""/left-within""#, "200", r#""client-gone""#, "null"],
    ];
    assert_eq!(said, expected);
}

#[tokio::test]
async fn a_log_that_cannot_keep_up_drops_lines_and_says_how_many() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let settings: AccessLogSettings = serde_json::from_value(serde_json::json!({
        "path": file.path(), "buffer": "1KiB", "flush": "1h",
    }))
    .unwrap();
    let log = AccessLog::open(&settings).unwrap();
    let layer = ObserveLayer::new(labels(), None, Some(log.lines()));
    for _ in 0..100 {
        let response = layer.layer(service_fn(answer)).oneshot(request("/")).await.unwrap();
        response.into_body().collect().await.unwrap();
    }
    let dropped = log.dropped();
    log.close();
    let written = std::fs::read_to_string(file.path()).unwrap().lines().count() as u64;
    assert!(dropped > 0 && written > 0);
    assert_eq!(dropped + written, 100);
}

#[test]
fn a_log_that_cannot_be_opened_says_which_and_why() {
    let settings =
        AccessLogSettings { path: Some("/nowhere/access.log".into()), ..AccessLogSettings::default() };
    let error = AccessLog::open(&settings).unwrap_err().to_string();
    assert!(error.starts_with("cannot open the access log /nowhere/access.log: No such file"), "{error}");
}

/// Answers so many requests, and their lines wait to be written.
async fn log_lines(log: &AccessLog, requests: usize) {
    let layer = ObserveLayer::new(labels(), None, Some(log.lines()));
    for _ in 0..requests {
        let response = layer.layer(service_fn(answer)).oneshot(request("/")).await.unwrap();
        response.into_body().collect().await.unwrap();
    }
}

#[tokio::test]
async fn a_log_that_nobody_reads_any_more_keeps_nobody_from_ending() {
    use std::os::fd::AsRawFd;
    let (mut reader, writer) = std::io::pipe().unwrap();
    let path = format!("/proc/self/fd/{}", writer.as_raw_fd());
    let log = AccessLog::open(&AccessLogSettings { path: Some(path.into()), ..AccessLogSettings::default() });
    let log = log.unwrap();
    // More than a pipe holds.
    log_lines(&log, 1000).await;
    let (closed, closes) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        log.close();
        closed.send(())
    });
    let ended = closes.recv_timeout(std::time::Duration::from_secs(60));
    // Whatever came of it, the log's thread is to end.
    drop(writer);
    std::thread::spawn(move || std::io::copy(&mut reader, &mut std::io::sink()));
    assert!(ended.is_ok(), "the log is waited for");
}

#[tokio::test]
async fn lines_that_cannot_be_written_are_counted() {
    let settings = AccessLogSettings {
        path: Some("/dev/full".into()),
        flush: "1ms".parse().unwrap(),
        ..AccessLogSettings::default()
    };
    let log = AccessLog::open(&settings).unwrap();
    log_lines(&log, 10).await;
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while log.dropped() < 10 && std::time::Instant::now() < deadline {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    assert_eq!(log.dropped(), 10);
}
