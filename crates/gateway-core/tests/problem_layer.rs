//! How problems are shown, through the layer in a plain service.
#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use gateway_core::{Code, Override, Overrides, Problem, ProblemFormat, ProblemLayer, ProxyStatus, Upgrade};
use http::header::{HeaderValue, RETRY_AFTER};
use http::{Request, Response, StatusCode, Version};
use http_body_util::{BodyExt, Full};
use std::convert::Infallible;
use tower::{Layer, ServiceExt, service_fn};

/// The answer to a request with this content type when the service below refuses it so.
async fn shown(layer: &ProblemLayer, content_type: &str, problem: Problem) -> Response<Full<Bytes>> {
    let refuse = service_fn(move |_: Request<()>| {
        std::future::ready(Ok::<_, Infallible>(problem.clone().into_response()))
    });
    let request = Request::post("/").header("content-type", content_type).body(()).unwrap();
    layer.layer(refuse).oneshot(request).await.unwrap()
}

#[tokio::test]
async fn a_grpc_request_is_answered_with_a_grpc_status_and_no_body() {
    let layer = ProblemLayer::new(ProblemFormat::Message);
    for (code, status) in [
        (Code::MissingCredentials, "16"),
        (Code::Forbidden, "7"),
        (Code::NoRoute, "12"),
        (Code::RateLimited, "8"),
        (Code::NoEndpoint, "14"),
        (Code::UpstreamTimeout, "4"),
        (Code::BodyTooLarge, "8"),
    ] {
        let problem = Problem::new(code).with_header(RETRY_AFTER, HeaderValue::from_static("3"));
        let response = shown(&layer, "application/grpc+proto", problem).await;
        assert_eq!(response.status(), 200, "{}", code.name());
        let headers = response.headers();
        assert_eq!(headers["grpc-status"], status, "{}", code.name());
        assert_eq!(headers["grpc-message"], code.title());
        assert_eq!(
            (&headers["content-type"], &headers["retry-after"]),
            (&"application/grpc".parse().unwrap(), &"3".parse().unwrap())
        );
        assert!(!headers.contains_key("content-length"));
        assert_eq!(
            response.extensions().get::<Problem>().unwrap().code(),
            code,
            "logs and metrics keep the code"
        );
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "");
    }
}

#[tokio::test]
async fn grpc_web_clients_are_answered_in_their_own_content_type() {
    let layer = ProblemLayer::new(ProblemFormat::Problem);
    let answer = shown(&layer, "application/grpc-web-text", Problem::new(Code::Overloaded)).await;
    assert_eq!(answer.headers()["content-type"], "application/grpc-web-text");
    assert_eq!(answer.headers()["grpc-status"], "14");
}

#[tokio::test]
async fn the_operators_words_reach_grpc_clients_but_a_status_of_http_does_not() {
    let own = Override { status: Some(StatusCode::IM_A_TEAPOT), text: Some("zu viel: 100 %\n".to_owned()) };
    let overrides = Overrides::from([(Code::RateLimited, own)]);
    let layer = ProblemLayer::with_overrides(ProblemFormat::Problem, overrides);
    let problem = || Problem::new(Code::RateLimited).with_detail("10 per second");
    let answer = shown(&layer, "application/grpc", problem()).await;
    assert_eq!((answer.status().as_u16(), &answer.headers()["grpc-status"]), (200, &"8".parse().unwrap()));
    assert_eq!(answer.headers()["grpc-message"], "zu viel: 100 %25%0A");
    let answer = shown(&layer, "application/json", problem()).await;
    assert_eq!(answer.status(), 418);
    assert!(!answer.headers().contains_key("grpc-status"));
}

#[tokio::test]
async fn proxy_status_says_who_failed_and_can_be_switched_off_or_on_for_all() {
    let at_first = ProblemLayer::new(ProblemFormat::Problem);
    for (layer, on_404, on_504) in [
        (at_first.clone(), false, true),
        (at_first.clone().with_proxy_status(ProxyStatus::Off), false, false),
        (at_first.with_proxy_status(ProxyStatus::All), true, true),
    ] {
        for content_type in ["application/json", "application/grpc"] {
            let has = async |code| {
                let answer = shown(&layer, content_type, Problem::new(code)).await;
                answer.headers().get("proxy-status").map(|value| value.to_str().unwrap().to_owned())
            };
            let no_route = "gateway; error=destination_not_found; details=\"no-route\"";
            let timeout = "gateway; error=http_response_timeout; details=\"upstream-timeout\"";
            assert_eq!(has(Code::NoRoute).await.as_deref(), on_404.then_some(no_route));
            assert_eq!(has(Code::UpstreamTimeout).await.as_deref(), on_504.then_some(timeout));
        }
    }
}

#[tokio::test]
async fn a_tunnel_over_http_2_is_granted_or_refused_and_never_answered_otherwise() {
    for (version, upgrade, status, expected) in [
        (Version::HTTP_2, true, 101, 101),
        (Version::HTTP_2, true, 200, 502),
        (Version::HTTP_2, true, 204, 502),
        (Version::HTTP_2, true, 403, 403),
        (Version::HTTP_2, false, 200, 200),
        (Version::HTTP_11, true, 200, 200),
    ] {
        let answer = service_fn(move |_: Request<()>| async move {
            let response = Response::builder().status(status).body(Full::<Bytes>::from("hello"));
            Ok::<_, Infallible>(response.unwrap())
        });
        let mut request = Request::get("/").version(version).body(()).unwrap();
        if upgrade {
            request.extensions_mut().insert(Upgrade("websocket".parse().unwrap()));
        }
        let response = ProblemLayer::default().layer(answer).oneshot(request).await.unwrap();
        let code = response.extensions().get::<Problem>().map(Problem::code);
        assert_eq!(response.status(), expected, "{version:?} {upgrade} {status}");
        assert_eq!(code, (expected == 502).then_some(Code::UpstreamProtocolError), "{status}");
    }
}

#[tokio::test]
async fn answers_that_are_no_problems_pass_untouched() {
    let answer =
        service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("hello"))));
    let request = Request::post("/").header("content-type", "application/grpc").body(()).unwrap();
    let response = ProblemLayer::new(ProblemFormat::Problem).layer(answer).oneshot(request).await.unwrap();
    assert!(response.headers().is_empty());
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "hello");
}
