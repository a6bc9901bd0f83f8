//! Reference system S0, line by line, through the compiled binary over sockets, with the example's own configuration.
//! The number of the line is in the test's name.
#![allow(clippy::unwrap_used)]

use gateway_testkit::{Client, Fault, Gateway, GatewayBuilder, Recorded, Reply, Request, Response};
use gateway_testkit::{Signal, Upstream, failing, free_port, get, raw, scripted, wait_until};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const EXE: &str = env!("CARGO_BIN_EXE_gateway");
const EXAMPLE: &str = include_str!("../gateway.toml");
const SECRET: &str = "a secret for tests, 32 bytes long";
const SOON: Duration = Duration::from_secs(10);
/// `JWT_EXPIRE_TIME`.
const WEEK: u64 = 604_800;

/// S0's services. Each answers with its name and records what it is asked.
struct Shop {
    auth: Upstream,
    products: Upstream,
    orders: Upstream,
    payments: Upstream,
}

impl Shop {
    fn start() -> Self {
        Self {
            auth: Upstream::named("auth"),
            products: Upstream::named("products"),
            orders: Upstream::named("orders"),
            payments: Upstream::named("payments"),
        }
    }

    /// The example's own configuration, told by the environment where its services are.
    fn builder(&self, changes: &[(&str, &str)]) -> GatewayBuilder {
        let own = [
            ("0.0.0.0:8000", "127.0.0.1:@PORT@"),
            ("127.0.0.1:9931", "127.0.0.1:@ADMIN@"),
            ("${ACCESS_LOG:-access.log}", "@DIR@/access.log"),
        ];
        let config = own.iter().chain(changes).fold(EXAMPLE.to_owned(), |text, (from, to)| {
            assert!(text.contains(from), "the example no longer holds {from}");
            text.replace(from, to)
        });
        Gateway::builder(EXE)
            .config(&config)
            .env("JWT_SECRET", SECRET)
            .env("AUTH_SERVICE_URL", &self.auth.url())
            .env("PRODUCT_SERVICE_URL", &self.products.url())
            .env("ORDER_SERVICE_URL", &self.orders.url())
            .env("PAYMENT_SERVICE_URL", &self.payments.url())
    }

    fn gateway(&self) -> Gateway {
        self.builder(&[]).start()
    }

    /// Its services by the names that paths have.
    fn named(&self) -> [(&str, &Upstream); 4] {
        [
            ("auth", &self.auth),
            ("products", &self.products),
            ("orders", &self.orders),
            ("payments", &self.payments),
        ]
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// A token with these claims, signed with this secret.
fn token(secret: &str, claims: &[&str]) -> String {
    let args =
        ["token", "--auth", "shop"].into_iter().chain(claims.iter().flat_map(|claim| ["--claim", claim]));
    let args: Vec<&str> = args.collect();
    let minted = Gateway::builder(EXE).config(EXAMPLE).env("JWT_SECRET", secret).args(&args).run();
    assert_eq!(minted.code, Some(0), "{}", minted.stderr);
    minted.stdout.trim().to_owned()
}

/// The token of user 7, a customer, issued so many seconds ago.
fn issued_ago(seconds: u64) -> String {
    token(SECRET, &["user_id=7", "role=customer", &format!("timestamp={}", now() - seconds)])
}

fn bearer(request: Request, token: &str) -> Request {
    request.header("Authorization", &format!("Bearer {token}"))
}

fn send(gateway: &Gateway, request: &Request) -> Response {
    Client::new(gateway.addr()).send(request)
}

fn last(upstream: &Upstream) -> Recorded {
    upstream.requests().pop().unwrap()
}

#[test]
fn s0_01_s0_02_s0_03_s0_04_s0_05_each_service_sees_its_requests_without_the_prefix() {
    let shop = Shop::start();
    let gateway = shop.gateway();
    let token = issued_ago(0);
    for (name, upstream) in shop.named() {
        for rest in ["/api/v1/things/7?a=1&a=2&b=%2F", "/api/v1/", "/api"] {
            let answer = send(&gateway, &bearer(Request::get(&format!("/{name}{rest}")), &token));
            assert_eq!((answer.status, answer.text().as_str()), (200, name), "/{name}{rest}");
            assert_eq!(last(upstream).target, rest);
        }
    }
    assert_eq!(get(gateway.addr(), "/payments/callback/provider?id=1").text(), "payments");
    assert_eq!(last(&shop.payments).target, "/callback/provider?id=1");
}

#[test]
fn s0_06_paths_have_one_form_before_anything_looks_at_them() {
    let shop = Shop::start();
    let gateway = shop.gateway();
    for (target, seen) in [
        ("//products///api//v1//7", "/api/v1/7"),
        ("/products/api/./v1/x/../7", "/api/v1/7"),
        ("/orders/api/../../products/api/7", "/api/7"),
        ("/products/api/v1/%37/", "/api/v1/7/"),
    ] {
        let answer = get(gateway.addr(), target);
        assert_eq!((answer.status, answer.text().as_str()), (200, "products"), "{target}");
        assert_eq!(last(&shop.products).target, seen, "{target}");
    }
    // No other form leads past the token.
    for target in ["/products/api/../../orders/api/7", "//orders/api/7", "/orders/%61pi/7"] {
        assert_eq!(get(gateway.addr(), target).status, 401, "{target}");
    }
    assert_eq!(get(gateway.addr(), "/products/api/v1%2F..%2F..%2Forders").status, 400);
    assert_eq!(shop.orders.hits(), 0);
}

#[test]
fn s0_07_one_connection_serves_many_requests() {
    let shop = Shop::start();
    let gateway = shop.gateway();
    let mut client = Client::new(gateway.addr());
    for i in 0..50 {
        let request = if i % 2 == 0 {
            Request::get("/products/api/v1/7")
        } else {
            Request::new("POST", "/products/api/v1").body("{}")
        };
        assert_eq!(client.send(&request).status, 200);
    }
    assert_eq!((shop.products.hits(), shop.products.connections()), (50, 1));
}

#[test]
fn s0_08_at_shutdown_requests_end_and_connections_are_closed_in_order() {
    let shop = Shop::start();
    let (addr, requests) = scripted();
    let gateway = shop.builder(&[]).env("PRODUCT_SERVICE_URL", &format!("http://{addr}")).start();
    let (to, admin) = (gateway.addr(), gateway.admin());
    let asking = std::thread::spawn(move || get(to, "/products/api/v1/7"));
    let mut exchange = requests.recv_timeout(SOON).unwrap();
    gateway.process().signal(Signal::SIGTERM);
    wait_until("the gateway to drain", SOON, || (get(admin, "/readyz").status == 503).then_some(()));
    exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlate").unwrap();
    assert_eq!(asking.join().unwrap().text(), "late");
    let ended = gateway.stop();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    // The end of the connection, not a reset.
    let end = exchange.bytes(1).unwrap_err();
    assert_eq!(end.kind(), std::io::ErrorKind::UnexpectedEof, "{end}");
}

#[test]
fn s0_09_the_token_is_passed_on() {
    let shop = Shop::start();
    let gateway = shop.gateway();
    let token = issued_ago(0);
    for (name, upstream) in shop.named() {
        assert_eq!(send(&gateway, &bearer(Request::get(&format!("/{name}/api/v1/7")), &token)).status, 200);
        assert_eq!(
            last(upstream).header("authorization"),
            Some(format!("Bearer {token}").as_str()),
            "{name}"
        );
    }
}

#[test]
fn s0_10_health_is_ok() {
    let shop = Shop::start();
    let answer = get(shop.gateway().addr(), "/health");
    assert_eq!((answer.status, answer.json()), (200, json!({ "status": "ok" })));
    assert_eq!(answer.header("content-type"), Some("application/json"));
}

#[test]
fn s0_11_documents_of_services_are_chosen_on_a_page_and_need_no_token() {
    let shop = Shop::start();
    let gateway = shop.gateway();
    let page = get(gateway.addr(), "/docs");
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    for (name, upstream) in shop.named() {
        let path = format!("/{name}/docs");
        assert!(page.text().contains(&format!("href=\"{path}\"")), "{}", page.text());
        for method in ["GET", "HEAD"] {
            assert_eq!(send(&gateway, &Request::new(method, &path)).status, 200, "{method} {path}");
            let seen = last(upstream);
            assert_eq!((seen.method.as_str(), seen.target.as_str()), (method, "/docs"));
        }
        assert_eq!(send(&gateway, &Request::new("POST", &path)).status, 405);
    }
}

#[test]
fn s0_12_interfaces_are_found_by_their_path_and_by_the_page_that_asks() {
    let shop = Shop::start();
    let gateway = shop.gateway();
    for (name, upstream) in shop.named() {
        let by_path = Request::get(&format!("/docs/{name}/openapi.json"));
        let by_page =
            Request::get("/openapi.json").header("Referer", &format!("http://shop.example/{name}/docs"));
        for request in [by_path, by_page] {
            assert_eq!(send(&gateway, &request).text(), name, "{request:?}");
            assert_eq!(last(upstream).target, "/openapi.json");
        }
    }
    for request in [
        Request::get("/openapi.json"),
        Request::get("/openapi.json").header("Referer", "http://shop.example/wishes/docs"),
        Request::get("/docs/wishes/openapi.json"),
    ] {
        assert_eq!(send(&gateway, &request).status, 404, "{request:?}");
    }
}

#[test]
fn s0_13_only_what_is_public_leads_to_a_service() {
    let shop = Shop::start();
    let gateway = shop.gateway();
    let token = issued_ago(0);
    for path in [
        "/",
        "/api/v1/7",
        "/auth",
        "/auth/internal",
        "/products/metrics",
        "/orders/admin",
        "/payments",
        "/authX/docs",
    ] {
        let answer = send(&gateway, &bearer(Request::get(path), &token));
        assert_eq!((answer.status, answer.json()), (404, json!({ "detail": "Not Found" })), "{path}");
    }
    assert!(shop.named().iter().all(|(_, upstream)| upstream.hits() == 0));
    let (compose, image) = (include_str!("../compose.yml"), include_str!("../Dockerfile"));
    assert_eq!(compose.matches("ports:").count(), 1, "only the gateway is published");
    assert!(compose.contains("ports: [\"8000:8000\"]") && image.contains("EXPOSE 8000"));
    for service in ["auth", "product", "order", "payment"] {
        assert!(
            compose.contains(&format!("\n  {service}-service:\n")),
            "{service} is not in the compose file"
        );
        assert!(EXAMPLE.contains(&format!("http://{service}-service:8000")));
    }
}

#[test]
fn s0_14_seven_methods_pass_and_no_others() {
    let shop = Shop::start();
    let gateway = shop.gateway();
    let token = issued_ago(0);
    for (name, upstream) in shop.named() {
        let request = |method: &str| bearer(Request::new(method, &format!("/{name}/api/v1/7")), &token);
        for method in ["GET", "HEAD", "POST", "PATCH", "PUT", "DELETE", "OPTIONS"] {
            assert_eq!(send(&gateway, &request(method)).status, 200, "{method} {name}");
            assert_eq!(last(upstream).method, method);
        }
        for method in ["PROPFIND", "TRACE", "OPTION"] {
            let answer = send(&gateway, &request(method));
            let allow = answer.header("allow").unwrap_or_default();
            assert_eq!((answer.status, allow.contains("OPTIONS")), (405, true), "{method} {name}: {allow}");
        }
        assert_eq!(upstream.hits(), 7);
    }
}

#[test]
fn s0_15_an_unknown_service_is_404_without_a_body() {
    let shop = Shop::start();
    let gateway = shop.gateway();
    for request in [Request::get("/wishes/api/v1/7"), Request::new("POST", "/wishes/api").body("{}")] {
        let answer = send(&gateway, &request);
        assert_eq!((answer.status, answer.body.len()), (404, 0), "{request:?}");
    }
}

#[test]
fn s0_16_s0_17_auth_products_and_callbacks_need_no_token_and_all_else_does() {
    let shop = Shop::start();
    let gateway = shop.gateway();
    for request in [
        Request::new("POST", "/auth/api/v1/login").body("{}"),
        Request::get("/products/api/v1/7"),
        Request::get("/payments/callback/provider"),
        Request::new("POST", "/payments/callback/provider").body("paid=1"),
    ] {
        assert_eq!(send(&gateway, &request).status, 200, "{request:?}");
    }
    let hits = shop.payments.hits();
    for path in ["/orders/api/v1/7", "/payments/api/v1/7", "/orders/api", "/payments/callback/../api/v1/7"] {
        for method in ["GET", "POST", "DELETE"] {
            let answer = send(&gateway, &Request::new(method, path));
            assert_eq!(
                (answer.status, answer.json()),
                (401, json!({ "detail": "JWT token required" })),
                "{method} {path}"
            );
        }
    }
    assert_eq!((shop.orders.hits(), shop.payments.hits()), (0, hits));
    // Callbacks do not know our tokens, so that what they send in that place is theirs.
    let theirs = bearer(Request::get("/payments/callback/provider"), "of the provider");
    assert_eq!(send(&gateway, &theirs).status, 200);
    assert_eq!(last(&shop.payments).header("authorization"), Some("Bearer of the provider"));
    assert_eq!(send(&gateway, &Request::new("PUT", "/payments/callback/provider")).status, 405);
}

#[test]
fn s0_18_s0_20_a_bad_token_is_refused_wherever_one_is_looked_at() {
    let shop = Shop::start();
    let gateway = shop.gateway();
    let good = issued_ago(0);
    let fresh = format!("timestamp={}", now());
    let (head, signature) = good.rsplit_once('.').unwrap();
    let none = format!("eyJhbGciOiJub25lIn0.{}.", head.split_once('.').unwrap().1);
    let bad = [
        "made.up.token".to_owned(),
        token("another secret, as long as the first", &["user_id=7", &fresh]),
        format!("{head}.{}", signature.chars().rev().collect::<String>()),
        none,
        token(SECRET, &["user_id=7"]),
    ];
    for path in ["/orders/api/v1/7", "/payments/api/v1/7", "/auth/api/v1/7", "/products/api/v1/7"] {
        for token in &bad {
            let answer = send(&gateway, &bearer(Request::get(path), token));
            assert_eq!(
                (answer.status, answer.json()),
                (401, json!({ "detail": "Invalid JWT token" })),
                "{path} {token}"
            );
        }
        assert_eq!(send(&gateway, &bearer(Request::get(path), &good)).status, 200, "{path}");
    }
    assert!(shop.named().iter().all(|(_, upstream)| upstream.hits() == 1));
}

#[test]
fn s0_19_a_token_is_good_for_a_time_from_its_timestamp() {
    let shop = Shop::start();
    let gateway = shop.gateway();
    let ask =
        |gateway: &Gateway, token: &str| send(gateway, &bearer(Request::get("/orders/api/v1/7"), token));
    assert_eq!(ask(&gateway, &issued_ago(WEEK - 60)).status, 200);
    let old = issued_ago(WEEK + 1);
    for path in ["/orders/api/v1/7", "/products/api/v1/7"] {
        let answer = send(&gateway, &bearer(Request::get(path), &old));
        assert_eq!((answer.status, answer.json()), (401, json!({ "detail": "JWT expired" })), "{path}");
    }
    let gateway = shop.builder(&[]).env("JWT_EXPIRE_TIME", "120").start();
    assert_eq!((ask(&gateway, &issued_ago(60)).status, ask(&gateway, &issued_ago(121)).status), (200, 401));
}

#[test]
fn s0_21_claims_are_told_in_headers_that_clients_cannot_send() {
    let shop = Shop::start();
    let gateway = shop.gateway();
    let told = |upstream: &Upstream| -> Vec<(String, String)> {
        let mut told: Vec<_> = last(upstream)
            .headers
            .into_iter()
            .map(|(name, value)| (name.to_lowercase().replace('-', "_"), value))
            .filter(|(name, _)| name == "user_id" || name == "role")
            .collect();
        told.sort();
        told
    };
    let spoofed = |path: &str| {
        ["user_id", "USER_ID", "user-id", "role", "Role"]
            .into_iter()
            .fold(Request::get(path), |request, name| request.header(name, "root"))
    };
    let own = [("role".to_owned(), "customer".to_owned()), ("user_id".to_owned(), "7".to_owned())];
    let token = issued_ago(0);
    for (name, upstream) in shop.named() {
        let path = format!("/{name}/api/v1/7");
        assert_eq!(send(&gateway, &bearer(spoofed(&path), &token)).status, 200);
        assert_eq!(told(upstream), own, "{path}");
    }
    for (path, upstream) in [
        ("/products/api/v1/7", &shop.products),
        ("/auth/api/v1/login", &shop.auth),
        ("/payments/callback/provider", &shop.payments),
        ("/orders/docs", &shop.orders),
    ] {
        assert_eq!(send(&gateway, &spoofed(path)).status, 200);
        assert_eq!(told(upstream), [], "{path}");
    }
}

#[test]
fn s0_22_requests_and_answers_pass_whole_and_without_what_belongs_to_a_connection() {
    let mut shop = Shop::start();
    shop.products = Upstream::start(|_| {
        let headers =
            [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"), ("X-Y", "z"), ("Keep-Alive", "timeout=5")];
        Reply::with(418, &headers, "tea")
    });
    let gateway = shop.gateway();
    let body = (0..=255u8).cycle().take(100_000).collect::<Vec<_>>();
    let request = Request::new("PATCH", "/products/api/v1/7?tag=a&tag=b&q=%20")
        .header("X-Custom", "1")
        .header("X-Custom", "2")
        .header("Connection", "X-Hop")
        .header("X-Hop", "1")
        .header("TE", "gzip")
        .body(body.clone());
    let answer = send(&gateway, &request);
    assert_eq!((answer.status, answer.text().as_str(), answer.header("x-y")), (418, "tea", Some("z")));
    assert_eq!((answer.all("set-cookie"), answer.header("keep-alive")), (vec!["a=1", "b=2"], None));
    let seen = last(&shop.products);
    assert_eq!((seen.method.as_str(), seen.target.as_str()), ("PATCH", "/api/v1/7?tag=a&tag=b&q=%20"));
    assert_eq!((seen.header("x-hop"), seen.header("connection"), seen.header("te")), (None, None, None));
    let custom = seen.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("x-custom"));
    assert_eq!(custom.map(|(_, value)| value.as_str()).collect::<Vec<_>>(), ["1", "2"]);
    assert_eq!((seen.header("content-length"), seen.body == body), (Some("100000"), true));

    let chunked = "POST /products/api/v1 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n\
                   5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n";
    assert!(raw(gateway.addr(), chunked.as_bytes()).starts_with("HTTP/1.1 418"));
    assert_eq!(last(&shop.products).body, b"hello world");
}

#[test]
fn s0_23_s0_24_a_service_that_fails_or_takes_too_long_is_502() {
    assert_eq!(EXAMPLE.matches("\ntimeout = \"10s\"\n").count(), 4);
    let shop = Shop::start();
    let (closing, _) = failing(Fault::AcceptThenClose);
    let (garbage, _) = failing(Fault::Garbage);
    let nobody = free_port();
    let gateway = shop
        .builder(&[("timeout = \"10s\"", "timeout = \"500ms\"")])
        .env("AUTH_SERVICE_URL", &format!("http://127.0.0.1:{nobody}"))
        .env("PRODUCT_SERVICE_URL", &format!("http://{closing}"))
        .env("ORDER_SERVICE_URL", &format!("http://{garbage}"))
        .start();
    shop.payments.stall();
    let token = issued_ago(0);
    for (name, _) in shop.named() {
        let answer = send(&gateway, &bearer(Request::get(&format!("/{name}/api/v1/7")), &token));
        assert_eq!((answer.status, answer.json()), (502, json!({ "detail": "Bad Gateway" })), "{name}");
    }
    shop.payments.resume();
}

#[test]
fn s0_25_there_are_no_more_connections_to_a_service_or_to_all_than_configured() {
    assert_eq!(EXAMPLE.matches("\nconnection.max_connections = 100\n").count(), 4);
    let to_each = ("connection.max_connections = 100", "connection.max_connections = 2");
    let to_all = ("max_upstream_connections = 500", "max_upstream_connections = 3");
    for (change, services, most) in [(to_each, &["products"][..], 2), (to_all, &["products", "auth"], 3)] {
        let (busy, busiest) = <(Arc<AtomicUsize>, Arc<AtomicUsize>)>::default();
        let counting = || {
            let (busy, busiest) = (busy.clone(), busiest.clone());
            Upstream::start(move |_| {
                busiest.fetch_max(busy.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                std::thread::sleep(Duration::from_millis(5));
                busy.fetch_sub(1, Ordering::SeqCst);
                Reply::new(200, "")
            })
        };
        let shop = Shop { products: counting(), auth: counting(), ..Shop::start() };
        // Of all workers together.
        let gateway = shop.builder(&[change]).env("GATEWAY_SERVER__WORKERS", "4").start();
        std::thread::scope(|scope| {
            for service in services.iter().cycle().take(12) {
                let (mut client, path) = (Client::new(gateway.addr()), format!("/{service}/api/v1/7"));
                scope.spawn(move || {
                    (0..10).for_each(|_| assert_eq!(client.send(&Request::get(&path)).status, 200));
                });
            }
        });
        assert_eq!(shop.products.hits() + shop.auth.hits(), 120);
        let busiest = busiest.load(Ordering::SeqCst);
        assert!((2..=most).contains(&busiest), "{change:?}: {busiest}");
    }
}

#[test]
fn s0_28_any_origin_may_ask_with_credentials_and_is_named() {
    let shop = Shop::start();
    let gateway = shop.gateway();
    let origin = "https://shop.example";
    for method in ["GET", "POST", "PATCH", "PUT", "DELETE"] {
        let preflight = Request::new("OPTIONS", "/orders/api/v1/7")
            .header("Origin", origin)
            .header("Access-Control-Request-Method", method)
            .header("Access-Control-Request-Headers", "Authorization, X-Anything");
        let answer = send(&gateway, &preflight);
        assert_eq!(answer.status, 204, "a preflight needs no token");
        assert_eq!(answer.all("access-control-allow-origin"), [origin]);
        assert_eq!(answer.header("access-control-allow-credentials"), Some("true"));
        let methods = answer.header("access-control-allow-methods").unwrap();
        assert!(methods.split(',').any(|allowed| allowed.trim() == method), "{methods}");
        let headers = answer.header("access-control-allow-headers").unwrap();
        assert!(headers.to_lowercase().contains("x-anything"), "{headers}");
    }
    for path in ["/products/api/v1/7", "/orders/api/v1/7", "/health"] {
        let answer = send(&gateway, &Request::get(path).header("Origin", origin));
        assert_eq!(answer.all("access-control-allow-origin"), [origin], "{path} {}", answer.status);
        assert!(
            answer.all("vary").iter().any(|vary| vary.eq_ignore_ascii_case("origin")),
            "{path}: {answer:?}"
        );
    }
}

#[test]
fn s0_29_the_environment_says_where_services_are_and_what_tokens_are_signed_with() {
    assert!(EXAMPLE.contains("listen = \"0.0.0.0:8000\""));
    let routes = |env: &[(&str, &str)]| {
        let builder = Gateway::builder(EXE).config(EXAMPLE).args(&["routes"]).env("JWT_SECRET", SECRET);
        let shown = env.iter().fold(builder, |builder, (name, value)| builder.env(name, value)).run();
        assert_eq!(shown.code, Some(0), "{}", shown.stderr);
        shown.stdout
    };
    let (plain, elsewhere) = (
        routes(&[]),
        routes(&[
            ("AUTH_SERVICE_URL", "http://auth.internal:1"),
            ("PRODUCT_SERVICE_URL", "http://product.internal:2"),
            ("ORDER_SERVICE_URL", "http://order.internal:3"),
            ("PAYMENT_SERVICE_URL", "http://payment.internal:4"),
        ]),
    );
    for (number, service) in ["auth", "product", "order", "payment"].into_iter().enumerate() {
        assert!(plain.contains(&format!(" {service}-service:8000 ")), "{plain}");
        assert!(elsewhere.contains(&format!(" {service}.internal:{} ", number + 1)), "{elsewhere}");
    }
    let without = Gateway::builder(EXE).config(EXAMPLE).args(&["check"]).run();
    assert_eq!(without.code, Some(2));
    assert!(without.stderr.contains("JWT_SECRET"), "{}", without.stderr);
}

#[test]
fn s0_30_each_request_is_logged_with_its_service() {
    let shop = Shop::start();
    let gateway = shop.gateway();
    assert_eq!(get(gateway.addr(), "/products/api/v1/7?x=1").status, 200);
    let line = wait_until("a line of the log", SOON, || gateway.access_log().pop());
    let said = ["service", "uri", "route", "upstream", "status"].map(|name| line[name].clone());
    let endpoint = shop.products.addr().to_string();
    assert_eq!(
        Value::from(said.to_vec()),
        json!(["product-service", "/products/api/v1/7?x=1", "/products/api/*", endpoint, 200])
    );
}
