//! The layers in a plain service.
#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use gateway_core::units::Short;
use gateway_core::{Captures, RequestId, Scheme};
use gateway_transform::{
    CorrelationIdLayer, CorrelationIdSettings, CorsLayer, CorsSettings, HeaderRules, HeadersLayer,
    RedirectLayer, RedirectSettings, RewriteLayer, SecurityHeadersLayer, SecurityHeadersSettings,
    StripPrefixLayer, StripPrefixSettings, UnderscoreHeaders, UnderscoreHeadersLayer, ViaLayer, ViaSettings,
};
use http::{HeaderMap, Method, Request, Response, Version};
use http_body_util::{BodyExt, Full};
use serde_json::json;
use std::convert::Infallible;
use tower::{Layer, Service, ServiceExt, service_fn};

/// Sends a request through a layer to a service that answers with what it saw: `METHOD target` as its body, the
/// request's headers with `saw-` before their names, and `x-frame-options: SAMEORIGIN`.
async fn through<L>(layer: L, request: Request<()>) -> (Response<()>, String)
where
    L: Layer<tower::util::BoxCloneService<Request<()>, Response<Full<Bytes>>, Infallible>>,
    L::Service: Service<Request<()>, Response = Response<Full<Bytes>>, Error = Infallible>,
{
    let echo = service_fn(|request: Request<()>| async move {
        let mut response = Response::new(Full::from(format!("{} {}", request.method(), request.uri())));
        for (name, value) in request.headers() {
            let name = http::HeaderName::try_from(format!("saw-{name}")).unwrap();
            response.headers_mut().append(name, value.clone());
        }
        if let Some(id) = request.extensions().get::<RequestId>() {
            response.headers_mut().insert("saw-extension", id.as_header().clone());
        }
        response.headers_mut().insert("x-frame-options", "SAMEORIGIN".parse().unwrap());
        response
            .headers_mut()
            .insert("access-control-allow-origin", "https://upstream.example".parse().unwrap());
        Ok(response)
    });
    let response = layer.layer(tower::util::BoxCloneService::new(echo)).oneshot(request).await.unwrap();
    let (head, body) = response.into_parts();
    let body = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
    (Response::from_parts(head, ()), body)
}

fn all(headers: &HeaderMap, name: &str) -> String {
    headers.get_all(name).iter().map(|v| v.to_str().unwrap()).collect::<Vec<_>>().join("|")
}

#[tokio::test]
async fn s4_24_each_request_gets_an_id_upstream_in_the_extensions_and_in_the_answer() {
    let layer = CorrelationIdLayer::new(&CorrelationIdSettings::default()).unwrap();
    let request = Request::get("/").header("X-Correlation-ID", "chosen-by-the-client").body(()).unwrap();
    let (response, _) = through(layer, request).await;
    let id = all(response.headers(), "x-correlation-id");
    assert_eq!(id.len(), 36, "{id}");
    assert_eq!(all(response.headers(), "saw-x-correlation-id"), id);
    assert_eq!(all(response.headers(), "saw-extension"), id);

    let trusting = CorrelationIdSettings { trust_inbound: true, ..CorrelationIdSettings::default() };
    for (sent, kept) in [("abc-1", true), ("a b", false), ("", false)] {
        let layer = CorrelationIdLayer::new(&trusting).unwrap();
        let request = Request::get("/").header("X-Correlation-ID", sent).body(()).unwrap();
        let (response, _) = through(layer, request).await;
        assert_eq!(all(response.headers(), "x-correlation-id") == sent, kept, "{sent:?}");
    }
}

#[tokio::test]
async fn s3_24_cors_with_the_defaults_of_echo() {
    let layer = || CorsLayer::new(&CorsSettings::default()).unwrap();
    let preflight = Request::options("/")
        .header("Origin", "https://shop.example")
        .header("Access-Control-Request-Method", "PUT")
        .header("Access-Control-Request-Headers", "x-a, x-b")
        .body(())
        .unwrap();
    let (response, body) = through(layer(), preflight).await;
    assert_eq!((response.status().as_u16(), body.as_str()), (204, ""));
    assert_eq!(all(response.headers(), "access-control-allow-origin"), "*");
    assert_eq!(all(response.headers(), "access-control-allow-methods"), "GET,HEAD,PUT,PATCH,POST,DELETE");
    assert_eq!(all(response.headers(), "access-control-allow-headers"), "x-a, x-b");

    let (response, body) =
        through(layer(), Request::get("/x").header("Origin", "https://a").body(()).unwrap()).await;
    assert_eq!(body, "GET /x");
    assert_eq!(all(response.headers(), "access-control-allow-origin"), "*", "the upstream's own is replaced");

    let options = Request::builder().method(Method::OPTIONS).uri("/x").body(()).unwrap();
    assert_eq!(through(layer(), options).await.1, "OPTIONS /x", "an OPTIONS that is no preflight passes");
}

#[tokio::test]
async fn with_credentials_or_a_list_the_origin_is_named_and_strangers_get_nothing() {
    let settings: CorsSettings = serde_json::from_value(json!({
        "origins": ["https://shop.example", "https://*.partner.example"], "credentials": true, "max_age": "10m",
    }))
    .unwrap();
    for (origin, allowed) in [
        ("https://shop.example", true),
        ("https://a.partner.example", true),
        ("https://partner.example", false),
        ("http://shop.example", false),
        ("https://shop.example.evil", false),
        ("https://evil/.partner.example", false),
        ("null", false),
    ] {
        let request = Request::get("/").header("Origin", origin).body(()).unwrap();
        let (response, _) = through(CorsLayer::new(&settings).unwrap(), request).await;
        let seen = all(response.headers(), "access-control-allow-origin");
        assert_eq!(seen, if allowed { origin } else { "" }, "{origin}");
        assert_eq!(all(response.headers(), "vary"), "Origin");
        assert_eq!(
            all(response.headers(), "access-control-allow-credentials"),
            if allowed { "true" } else { "" }
        );
    }
    let any = CorsSettings { credentials: true, ..CorsSettings::default() };
    let request = Request::get("/").header("Origin", "https://x").body(()).unwrap();
    let (response, _) = through(CorsLayer::new(&any).unwrap(), request).await;
    assert_eq!(all(response.headers(), "access-control-allow-origin"), "https://x", "S0-28: never `*`");
}

#[tokio::test]
async fn origins_are_compared_as_browsers_write_them() {
    for (written, origin, allowed) in [
        ("HTTPS://Shop.Example", "https://shop.example", true),
        ("https://a.example:443", "https://a.example", true),
        ("http://a.example:80", "http://a.example", true),
        ("http://a.example:443", "http://a.example", false),
        ("http://a.example:443", "http://a.example:443", true),
        ("https://*.A.example:443", "https://b.a.example", true),
        ("https://*.a.example:8443", "https://b.a.example:8443", true),
        ("https://*.a.example:8443", "https://b.a.example", false),
        ("http://[::1]:3000", "http://[::1]:3000", true),
        ("capacitor://localhost", "capacitor://localhost", true),
        ("null", "null", true),
    ] {
        let settings: CorsSettings = serde_json::from_value(json!({ "origins": [written] })).unwrap();
        let request = Request::get("/").header("Origin", origin).body(()).unwrap();
        let (response, _) = through(CorsLayer::new(&settings).unwrap(), request).await;
        let seen = all(response.headers(), "access-control-allow-origin");
        assert_eq!(seen, if allowed { origin } else { "" }, "{written} {origin}");
    }
}

#[tokio::test]
async fn s4_26_security_headers_are_there_and_the_upstreams_own_stay() {
    let (response, _) =
        through(SecurityHeadersLayer::new(&SecurityHeadersSettings::default()).unwrap(), Request::new(()))
            .await;
    assert_eq!(all(response.headers(), "x-content-type-options"), "nosniff");
    assert_eq!(all(response.headers(), "x-xss-protection"), "1; mode=block");
    assert_eq!(all(response.headers(), "x-frame-options"), "SAMEORIGIN");
    let firm = SecurityHeadersSettings { overrides: true, ..SecurityHeadersSettings::default() };
    let (response, _) = through(SecurityHeadersLayer::new(&firm).unwrap(), Request::new(())).await;
    assert_eq!(all(response.headers(), "x-frame-options"), "DENY");
}

#[tokio::test]
async fn header_rules_remove_then_set_then_append_in_both_directions() {
    let rules: HeaderRules = serde_json::from_value(json!({
        "request": { "remove": ["x-a"], "set": { "X-B": "new" }, "append": { "X-C": "2" } },
        "response": { "remove": ["x-frame-options"], "set": { "X-D": "4" } },
    }))
    .unwrap();
    let request =
        Request::get("/").header("x-a", "1").header("x-b", "old").header("x-c", "1").body(()).unwrap();
    let (response, _) = through(HeadersLayer::new(&rules).unwrap(), request).await;
    let headers = response.headers();
    let seen = ["saw-x-a", "saw-x-b", "saw-x-c", "x-frame-options", "x-d"].map(|name| all(headers, name));
    assert_eq!(seen, ["", "new", "1|2", "", "4"]);
}

#[tokio::test]
async fn s3_05_the_service_does_not_see_the_prefix_but_is_told_of_it() {
    let layer = StripPrefixLayer::new("/api/users").unwrap();
    let (response, body) = through(layer, Request::get("/api/users/123?a=1&a=2").body(()).unwrap()).await;
    assert_eq!(body, "GET /123?a=1&a=2");
    assert_eq!(all(response.headers(), "saw-x-forwarded-prefix"), "/api/users");
    let silent = json!({ "prefix": "/api/users", "forward_prefix": false });
    let silent: Short<StripPrefixSettings> = serde_json::from_value(silent).unwrap();
    let short: Short<StripPrefixSettings> = serde_json::from_value(json!("/api/users")).unwrap();
    assert_eq!((short.prefix.as_str(), short.forward_prefix), ("/api/users", true));
    let silent = StripPrefixLayer::from_settings(&silent).unwrap();
    let (response, body) = through(silent, Request::get("/api/users/123").body(()).unwrap()).await;
    assert_eq!((body.as_str(), all(response.headers(), "saw-x-forwarded-prefix").as_str()), ("GET /123", ""));
}

#[tokio::test]
async fn rewrites_change_path_host_and_query_or_refuse() {
    let rewrite = |json| RewriteLayer::new(&serde_json::from_value(json).unwrap()).unwrap();
    let all_of_it = json!({
        "path": { "regex": { "match": "/users/([^/]*)", "to": "/people/.{1}" } },
        "host": "people.internal:8080",
        "query": { "remove": ["token"], "append": { "v": "2" } },
    });
    for (uri, expected) in [
        ("/users/ann?token=x&a=%2f", "GET /people/.ann?a=%2f&v=2"),
        ("/users/ann", "GET /people/.ann?v=2"),
        ("/other?token=x", "GET /other?v=2"),
        ("http://shop.example/users/ann", "GET http://people.internal:8080/people/.ann?v=2"),
    ] {
        let request = Request::get(uri).header("host", "shop.example").body(()).unwrap();
        let (response, body) = through(rewrite(all_of_it.clone()), request).await;
        assert_eq!(
            (body.as_str(), all(response.headers(), "saw-host").as_str()),
            (expected, "people.internal:8080")
        );
    }
    let (response, body) = through(rewrite(all_of_it), Request::get("/users/.").body(()).unwrap()).await;
    assert_eq!(response.status(), 400, "{body}");
    assert!(body.contains("the path cannot be rewritten: the path holds a dot segment"), "{body}");
    assert_eq!(all(response.headers(), "saw-host"), "", "the service is not asked");

    let (_, body) =
        through(rewrite(json!({ "path": "/status" })), Request::get("/x?a=1").body(()).unwrap()).await;
    assert_eq!(body, "GET /status?a=1");
    let (_, body) =
        through(rewrite(json!({ "query": { "remove": ["a"] } })), Request::get("/x?a=1").body(()).unwrap())
            .await;
    assert_eq!(body, "GET /x");
    let wrong = serde_json::from_value(json!({ "host": "a@b" })).unwrap();
    assert!(RewriteLayer::new(&wrong).unwrap_err().to_string().contains("`a@b` is not a host"));
}

#[tokio::test]
async fn a_redirect_answers_for_the_service_until_the_client_is_there() {
    let layer = || RedirectLayer::new(&RedirectSettings::https()).unwrap();
    let request = || Request::get("/x?a=1").header("host", "shop.example").body(()).unwrap();
    let (response, body) = through(layer(), request()).await;
    assert_eq!((response.status().as_u16(), body.as_str()), (308, ""));
    assert_eq!(all(response.headers(), "location"), "https://shop.example/x?a=1");
    let mut secure = request();
    secure.extensions_mut().insert(Scheme::Https);
    assert_eq!(through(layer(), secure).await.1, "GET /x?a=1");
    let (response, body) = through(layer(), Request::get("/x").body(()).unwrap()).await;
    assert_eq!(response.status(), 400);
    assert!(body.contains("the request has no host"), "{body}");
}

#[tokio::test]
async fn headers_with_underscores_pass_go_or_are_refused() {
    for (policy, status, seen) in
        [("keep", 200, ["1", "2|3"]), ("delete", 200, ["1", ""]), ("reject", 400, ["", ""])]
    {
        let policy: UnderscoreHeaders = serde_json::from_value(json!(policy)).unwrap();
        let request =
            Request::get("/").header("x-a", "1").header("x_a", "2").header("x_a", "3").body(()).unwrap();
        let (response, body) = through(UnderscoreHeadersLayer::new(policy), request).await;
        assert_eq!(response.status().as_u16(), status, "{policy:?}");
        assert_eq!(["saw-x-a", "saw-x_a"].map(|name| all(response.headers(), name)), seen, "{policy:?}");
        assert_eq!(body.contains("the header `x_a` has an underscore"), status == 400, "{body}");
        let plain = Request::get("/").header("x-a", "1").body(()).unwrap();
        assert_eq!(through(UnderscoreHeadersLayer::new(policy), plain).await.0.status(), 200);
    }
}

#[tokio::test]
async fn via_is_added_to_what_others_wrote_in_the_version_that_came() {
    let layer = |json| ViaLayer::new(&serde_json::from_value::<Short<ViaSettings>>(json).unwrap()).unwrap();
    let request = || Request::get("/").version(Version::HTTP_2).header("via", "1.1 cdn").body(()).unwrap();
    let (response, _) = through(layer(json!(true)), request()).await;
    assert_eq!(all(response.headers(), "saw-via"), "1.1 cdn|2.0 gateway");
    assert_eq!(all(response.headers(), "via"), "");
    let (response, _) =
        through(layer(json!({ "pseudonym": "edge-1", "request": false, "response": true })), request()).await;
    assert_eq!(all(response.headers(), "saw-via"), "1.1 cdn");
    assert_eq!(all(response.headers(), "via"), "1.1 edge-1");
    let spaced = ViaSettings { pseudonym: "a b".to_owned(), ..ViaSettings::default() };
    assert!(ViaLayer::new(&spaced).unwrap_err().to_string().contains("`a b` is not a name for Via"));
}

#[test]
fn settings_that_make_no_layer_name_what_is_wrong() {
    let rules = |json| HeadersLayer::new(&serde_json::from_value(json).unwrap()).unwrap_err().to_string();
    let cors = |json| CorsLayer::new(&serde_json::from_value(json).unwrap()).unwrap_err().to_string();
    let id = |header: &str| {
        let settings =
            CorrelationIdSettings { header: header.to_owned(), ..CorrelationIdSettings::default() };
        CorrelationIdLayer::new(&settings).unwrap_err().to_string()
    };
    for (error, part) in [
        (rules(json!({ "request": { "set": { "a b": "x" } } })), "`a b` is not a header name"),
        (rules(json!({ "request": { "set": { "a": "x\ny" } } })), "the value of `a` holds characters"),
        (rules(json!({ "response": { "remove": ["Content-Length"] } })), "rules cannot change it"),
        (
            rules(json!({ "response": { "set": { "x-id": "/{id}" } } })),
            "in answers write `{{id}}` for the text `{id}`",
        ),
        (rules(json!({ "request": { "set": { "Host": "x" } } })), "changed by `rewrite.host`"),
        (rules(json!({ "request": { "append": { "host": "x" } } })), "changed by `rewrite.host`"),
        (rules(json!({ "request": { "remove": ["Host"] } })), "changed by `rewrite.host`"),
        (rules(json!({ "request": { "set": { "Expect": "x" } } })), "`Expect` frames a message or"),
        (rules(json!({ "request": { "set": { "Proxy-Authorization": "x" } } })), "rules cannot change it"),
        (rules(json!({ "request": { "set": { "Proxy-Connection": "x" } } })), "rules cannot change it"),
        (id("Host"), "changed by `rewrite.host`"),
        (id("Content-Length"), "rules cannot change it"),
        (id("a b"), "`a b` is not a header name"),
        (cors(json!({ "methods": ["G T"] })), "`G T` is not an HTTP method"),
        (
            cors(json!({ "methods": ["get"] })),
            "`get` is not an HTTP method; expected GET, POST, … in capitals",
        ),
        (
            cors(json!({ "headers": ["*"], "credentials": true })),
            "`*` in `headers` stands for all only without",
        ),
        (
            cors(json!({ "methods": ["*"], "credentials": true })),
            "`*` in `methods` stands for all only without",
        ),
        (cors(json!({ "origins": ["https://a:b"] })), "is not an origin"),
        (cors(json!({ "origins": ["https://a@b"] })), "is not an origin"),
        (cors(json!({ "origins": ["https://a/"] })), "is not an origin"),
        (cors(json!({ "origins": ["https://*."] })), "is not an origin"),
        (cors(json!({ "origins": ["https://bücher.example"] })), "is not an origin"),
        (cors(json!({ "origins": ["shop.example"] })), "`shop.example` is not an origin"),
        (cors(json!({ "origins": ["https://a.*.b"] })), "is not an origin"),
        (cors(json!({ "expose_headers": ["a b"] })), "`a b` is not a header name"),
    ] {
        assert!(error.contains(part), "{error}");
    }
}

#[tokio::test]
async fn captures_reach_the_services_path_query_host_and_headers() {
    let captured = |path: &str, pairs: &[(&str, &str)]| {
        let mut request = Request::get(path).header("host", "shop.example").header("x-user", "spoofed");
        let captures: Captures =
            pairs.iter().map(|(name, value)| ((*name).into(), (*value).to_owned())).collect();
        request.extensions_mut().unwrap().insert(captures);
        request.body(()).unwrap()
    };
    let rewrite = RewriteLayer::new(
        &serde_json::from_value(json!({
            "path": "/{tenant}/{*}", "host": "{tenant}.internal:8080", "query": { "set": { "id": "{id}" } },
        }))
        .unwrap(),
    )
    .unwrap();
    let mut names: Vec<_> = rewrite.placeholders().collect();
    names.sort_unstable();
    assert_eq!(names, ["*", "id", "tenant", "tenant"]);
    let pairs = [("tenant", "acme"), ("id", "a%2Fb"), ("*", "x/y")];
    let (response, body) = through(rewrite.clone(), captured("/u/x/y", &pairs)).await;
    assert_eq!(body, "GET /acme/x/y?id=a%2Fb");
    assert_eq!(all(response.headers(), "saw-host"), "acme.internal:8080");
    let (response, _) = through(rewrite, captured("/u/x/y", &[("tenant", "a%2f")])).await;
    assert_eq!(response.status(), 400, "no host has a slash");

    let rules: HeaderRules = serde_json::from_value(json!({
        "request": { "set": { "x-user": "u-{id}", "x-json": "{\"a\":1}", "x-plain": "{{id}}" }, "append": { "x-rest": "/{*}" } },
        "response": { "set": { "x-literal": "{{id}}", "x-object": "{\"id\":1}" } },
    }))
    .unwrap();
    let headers = HeadersLayer::new(&rules).unwrap();
    assert_eq!(headers.placeholders().collect::<Vec<_>>(), ["id", "*"]);
    let (response, _) = through(headers.clone(), captured("/", &pairs)).await;
    for (name, expected) in [
        ("saw-x-user", "u-a%2Fb"),
        ("saw-x-json", "{\"a\":1}"),
        ("saw-x-plain", "{id}"),
        ("saw-x-rest", "/x/y"),
        ("x-literal", "{id}"),
        ("x-object", "{\"id\":1}"),
    ] {
        assert_eq!(all(response.headers(), name), expected, "{name}");
    }
    let (response, _) = through(headers.clone(), captured("/", &[("id", "a\nb")])).await;
    assert_eq!(
        all(response.headers(), "saw-x-user"),
        "",
        "no line break in a header, nor what the client sent"
    );
    let rewritten = HeadersLayer::in_turn(&[headers.clone(), headers]).unwrap();
    let (response, _) = through(rewritten, captured("/", &pairs)).await;
    assert_eq!(all(response.headers(), "saw-x-rest"), "/x/y|/x/y");
}
