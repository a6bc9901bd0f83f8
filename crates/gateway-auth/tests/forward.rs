//! A service that is asked about requests: what it is told, what it may change, and what becomes of its answers.
#![allow(clippy::unwrap_used)]

mod ask;
mod server;

use ask::{ask, get, outcome, seen};
use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use axum::routing::any;
use gateway_auth::{AuthLayer, AuthPolicy, ForwardMethod, ForwardSettings, Method as _};
use gateway_core::{AuthMethod, ClientAddr, Principal, Scheme};
use http::{Method, Request};
use server::Server;
use std::sync::Arc;

fn method(toml: &str) -> (ForwardMethod, AuthLayer) {
    let settings: ForwardSettings = toml_edit::de::from_str(toml).unwrap();
    let method = ForwardMethod::new(&settings).unwrap();
    (method.clone(), AuthLayer::new(vec![Arc::new(method)], &AuthPolicy::default()))
}

/// Answers with what it was told.
async fn mirror(method: Method, headers: HeaderMap) -> impl IntoResponse {
    let mut told: Vec<String> = headers
        .iter()
        .filter(|(name, _)| *name != "host" && *name != "accept")
        .map(|(name, value)| format!("{name}={}", value.to_str().unwrap()))
        .collect();
    told.sort();
    (StatusCode::FORBIDDEN, format!("{method} {}", told.join(" ")))
}

async fn body(response: http::Response<http_body_util::Full<bytes::Bytes>>) -> String {
    use http_body_util::BodyExt;
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

#[tokio::test]
async fn the_service_is_told_what_traefik_tells_and_nothing_that_a_client_made_up() {
    let server = Server::start(Router::new().route("/verify", any(mirror))).await;
    let request = || {
        let request = Request::post("/orders?a=1")
            .header("host", "shop.example")
            .header("cookie", "s=1")
            .header("x-other", "o")
            .header("x-forwarded-for", "6.6.6.6")
            .header("x-forwarded-uri", "/public")
            .header("connection", "close, x-hop")
            .header("x-hop", "1")
            .header("transfer-encoding", "chunked");
        let mut request = request.body(()).unwrap();
        request.extensions_mut().insert(ClientAddr("203.0.113.9:4000".parse().unwrap()));
        request.extensions_mut().insert(Scheme::Https);
        request
    };
    let forwarded = "x-forwarded-for=203.0.113.9 x-forwarded-host=shop.example x-forwarded-method=POST \
                     x-forwarded-proto=https x-forwarded-uri=/orders?a=1";
    for (headers, expected) in [
        ("[]", format!("GET cookie=s=1 {forwarded} x-other=o")),
        ("['Cookie', 'X-Forwarded-Uri']", format!("GET cookie=s=1 {forwarded}")),
    ] {
        let (_, layer) = method(&format!("url = '{}/verify'\nrequest_headers = {headers}", server.url));
        let response = ask(&layer, request()).await;
        assert_eq!(response.status(), 403);
        assert_eq!(body(response).await, expected);
    }
}

#[tokio::test]
async fn what_the_service_says_goes_both_ways_and_spoofed_copies_do_not() {
    let verify = async || {
        let headers =
            [("x-user", "ada"), ("x-auth-role", "admin"), ("x-private", "p"), ("set-cookie", "s=2")];
        (StatusCode::NO_CONTENT, headers)
    };
    let server = Server::start(Router::new().route("/", any(verify))).await;
    let (_, layer) = method(&format!(
        "url = '{}/'\nresponse_headers = ['X-User', 'X-Missing']\nresponse_headers_prefix = 'X-Auth-'\n\
         answer_headers = ['set-cookie']\nprincipal_header = 'x-user'",
        server.url
    ));
    let spoofed = [
        ("x-user", "root"),
        ("x-missing", "m"),
        ("x-auth-role", "x"),
        ("x-auth-other", "x"),
        ("x-mine", "1"),
    ];
    let response = ask(&layer, get(&spoofed)).await;
    let principal = response.extensions().get::<Principal>().unwrap();
    assert_eq!((principal.id(), principal.method()), ("ada", AuthMethod::Forward));
    assert_eq!(response.headers()["set-cookie"], "s=2");
    assert!(!response.headers().contains_key("x-user"));
    let headers = &seen(&response).headers;
    let mut names: Vec<_> = headers.iter().map(|(n, v)| format!("{n}={}", v.to_str().unwrap())).collect();
    names.sort();
    assert_eq!(names, ["x-auth-role=admin", "x-mine=1", "x-user=ada"]);
}

#[tokio::test]
async fn any_other_answer_is_the_clients_and_redirects_are_not_followed() {
    let verify = async |headers: HeaderMap| match headers["x-case"].to_str().unwrap() {
        "login" => (StatusCode::FOUND, [("location", "/login"), ("keep-alive", "1")], "").into_response(),
        "no" => {
            (StatusCode::UNAUTHORIZED, [("www-authenticate", "Own"), ("x-why", "w")], "no").into_response()
        }
        "large" => "x".repeat(10_000).into_response(),
        _ => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    };
    let server = Server::start(Router::new().route("/", any(verify))).await;
    let toml = format!("url = '{}/'\nhttp.max_body = '1KiB'", server.url);
    let (_, layer) = method(&toml);
    let response = ask(&layer, get(&[("x-case", "login")])).await;
    assert_eq!(
        (response.status().as_u16(), &response.headers()["location"]),
        (302, &"/login".parse().unwrap())
    );
    assert!(!response.headers().contains_key("keep-alive"));
    let response = ask(&layer, get(&[("x-case", "no")])).await;
    assert_eq!(response.status(), 401);
    assert_eq!(
        (&response.headers()["www-authenticate"], &response.headers()["x-why"]),
        (&"Own".parse().unwrap(), &"w".parse().unwrap())
    );
    assert_eq!(body(response).await, "no");
    let (asking, lenient) = method(&format!("{toml}\non_failure = 'allow'"));
    assert_eq!(asking.answered(), Some(true), "it was not asked yet");
    for case in ["large", "broken"] {
        assert!(
            outcome(&ask(&layer, get(&[("x-case", case)])).await).starts_with("auth-unavailable"),
            "{case}"
        );
        assert_eq!(outcome(&ask(&lenient, get(&[("x-case", case)])).await), "-", "{case}");
        assert_eq!(asking.answered(), Some(false), "{case}");
        ask(&lenient, get(&[("x-case", "no")])).await;
        assert_eq!(asking.answered(), Some(true), "after {case}");
    }
    server.stop().await;
    let response = ask(&layer, get(&[("x-case", "no")])).await;
    assert!(outcome(&response).starts_with("auth-unavailable"));
    assert_eq!(
        (response.status().as_u16(), &response.headers()["retry-after"]),
        (503, &"1".parse().unwrap())
    );
    assert_eq!(outcome(&ask(&lenient, get(&[("x-case", "no")])).await), "-");
}

#[tokio::test]
async fn an_answer_is_remembered_for_the_same_caller_only_and_refusals_are_not() {
    let verify = async |headers: HeaderMap| match headers.get("authorization").map(|v| v.to_str().unwrap()) {
        Some(user) if user != "cookie" => (StatusCode::OK, [("x-user", user.to_owned())]).into_response(),
        Some(_) => (StatusCode::OK, [("set-cookie", "s=1")]).into_response(),
        None => StatusCode::UNAUTHORIZED.into_response(),
    };
    let server = Server::start(Router::new().route("/", any(verify))).await;
    let rest = "principal_header = 'x-user'\nresponse_headers = ['x-user']\nanswer_headers = ['set-cookie']";
    for cache in [
        "cache = '10s'",
        "cache = { ttl = '10s', key = ['header Authorization', 'cookie session', 'client_ip'] }",
    ] {
        let (method, layer) = method(&format!("url = '{}/'\n{cache}\n{rest}", server.url));
        for (headers, expected, asked) in [
            (&[("authorization", "ada")][..], "ada", 1),
            (&[("authorization", "ada")], "ada", 1),
            (&[("authorization", "bob")], "bob", 2),
            (&[("authorization", "ada")], "ada", 2),
            (&[], "401 Unauthorized", 3),
            (&[], "401 Unauthorized", 4),
            (&[("authorization", "cookie")], "-", 5),
            (&[("authorization", "cookie")], "-", 6),
            (&[("authorization", "ada"), ("cookie", "session=2")], "ada", 7),
        ] {
            let response = ask(&layer, get(headers)).await;
            assert_eq!(
                (outcome(&response).as_str(), method.asked()),
                (expected, asked),
                "{cache} {headers:?}"
            );
            if expected == "ada" {
                assert_eq!(
                    seen(&response).headers["x-user"],
                    "ada",
                    "remembered answers change the request too"
                );
            }
        }
    }
}

#[test]
fn settings_that_cannot_work_say_what_is_wrong() {
    for (toml, expected) in [
        ("url = ''", "`url`: it is missing"),
        ("url = 'http://auth/'\nresponse_headers = ['a b']", "`a b` cannot name a header"),
    ] {
        let settings: ForwardSettings = toml_edit::de::from_str(toml).unwrap();
        let error = ForwardMethod::new(&settings).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    for (toml, expected) in [
        ("cache = { key = ['body'] }", "`body` is nothing to remember answers by"),
        ("cache = 'soon'", "`soon` is no length of time"),
        ("cache = { ttl = '1s', keys = [] }", "unknown field `keys`"),
    ] {
        let error = toml_edit::de::from_str::<ForwardSettings>(toml).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}
