//! Reference system S4, line by line, through the compiled binary over sockets, with the example's own configuration.
//! The number of the line is in the test's name.
#![allow(clippy::unwrap_used)]

use gateway_testkit::{
    Client, Gateway, GatewayBuilder, Recorded, Redis, RedisValue, Reply, Request, Response,
};
use gateway_testkit::{Upstream, free_port, get, wait_until};
use serde_json::{Value, json};
use std::time::Duration;

const EXE: &str = env!("CARGO_BIN_EXE_gateway");
const EXAMPLE: &str = include_str!("../gateway.toml");
const SOON: Duration = Duration::from_secs(10);
const PARTNER: &str = "demo-key-of-a-partner";

/// S4's services. Each records what it is asked and answers with its name; users say whose a token is.
struct Platform {
    users: [Upstream; 2],
    orders: [Upstream; 2],
    inventory: [Upstream; 2],
    payments: Upstream,
    notifications: Upstream,
}

fn user_service(name: &'static str) -> Upstream {
    Upstream::start(move |request| match (request.target.as_str(), request.header("authorization")) {
        ("/api/v1/auth/me", Some("Bearer ada")) => user(&json!({ "id": 7, "roles": ["user", "admin"] })),
        ("/api/v1/auth/me", Some("Bearer eve")) => user(&json!({ "id": 8, "roles": ["user"] })),
        ("/api/v1/auth/me", _) => Reply::new(401, ""),
        _ => Reply::new(200, name),
    })
}

fn user(user: &Value) -> Reply {
    Reply::with(200, &[("Content-Type", "application/json")], &user.to_string())
}

impl Platform {
    fn start() -> Self {
        Self {
            users: ["user-service-1", "user-service-2"].map(user_service),
            orders: ["order-service-1", "order-service-2"].map(Upstream::named),
            inventory: ["inventory-service-1", "inventory-service-2"].map(Upstream::named),
            payments: Upstream::named("payment-service"),
            notifications: Upstream::named("notification-service"),
        }
    }

    /// The example's own configuration, told by the environment where its services are.
    fn builder(&self, redis: Option<&Redis>, changes: &[(&str, &str)]) -> GatewayBuilder {
        let own = [
            ("0.0.0.0:8000", "127.0.0.1:@PORT@"),
            ("127.0.0.1:9921", "127.0.0.1:@ADMIN@"),
            ("${ACCESS_LOG:-access.log}", "@DIR@/access.log"),
        ];
        let config = own.iter().chain(changes).fold(EXAMPLE.to_owned(), |text, (from, to)| {
            assert!(text.contains(from), "the example no longer holds {from}");
            text.replace(from, to)
        });
        let nowhere = format!("redis://127.0.0.1:{}", free_port());
        Gateway::builder(EXE)
            .config(&config)
            .env("USER_SERVICE_URL", &self.users[0].url())
            .env("USER_SERVICE_2_URL", &self.users[1].url())
            .env("ORDER_SERVICE_URL", &self.orders[0].url())
            .env("ORDER_SERVICE_2_URL", &self.orders[1].url())
            .env("INVENTORY_SERVICE_URL", &self.inventory[0].url())
            .env("INVENTORY_SERVICE_2_URL", &self.inventory[1].url())
            .env("PAYMENT_SERVICE_URL", &self.payments.url())
            .env("NOTIFICATION_SERVICE_URL", &self.notifications.url())
            .env("REDIS_URL", &redis.map_or(nowhere, Redis::url))
            // Nothing is counted elsewhere because this machine has other things to do.
            .env("GATEWAY_STORE__REDIS__TIMEOUT", "10s")
    }

    fn gateway(&self) -> Gateway {
        self.builder(None, &[]).start()
    }

    fn gateway_on(&self, redis: &Redis) -> Gateway {
        let gateway = self.builder(Some(redis), &[]).start();
        wait_until("Redis to be there", SOON, || {
            metrics(&gateway).contains("\ngateway_store_up 1").then_some(())
        });
        gateway
    }
}

/// What a service was asked by clients: health checks and questions about tokens left out.
fn asked(upstream: &Upstream) -> Vec<Recorded> {
    let own = |request: &Recorded| ["/health", "/api/v1/auth/me"].contains(&request.target.as_str());
    upstream.requests().into_iter().filter(|request| !own(request)).collect()
}

fn metrics(gateway: &Gateway) -> String {
    get(gateway.addr(), "/metrics").text()
}

fn with(target: &str, header: (&str, &str)) -> Request {
    Request::get(target).header(header.0, header.1)
}

fn as_ada(target: &str) -> Request {
    with(target, ("Authorization", "Bearer ada"))
}

fn send(gateway: &Gateway, request: &Request) -> Response {
    Client::new(gateway.addr()).send(request)
}

/// Makes health checks frequent.
const OFTEN: (&str, &str) = ("interval = \"10s\"", "interval = \"50ms\"");

/// Sends so many over one connection, and tells how many were let through and how many were not.
fn passed(gateway: &Gateway, request: &Request, count: usize) -> (usize, usize) {
    let mut client = Client::new(gateway.addr());
    let statuses: Vec<u16> = (0..count).map(|_| client.send(request).status).collect();
    let of = |status| statuses.iter().filter(|seen| **seen == status).count();
    assert_eq!(of(200) + of(429), count, "{statuses:?}");
    (of(200), of(429))
}

#[test]
fn s4_14_public_endpoints_need_no_token() {
    let platform = Platform::start();
    let gateway = platform.gateway();
    for request in [
        Request::new("POST", "/api/v1/auth/login").body("{}"),
        Request::get("/api/v1/products/7"),
        Request::new("HEAD", "/api/v1/products"),
        Request::get("/health"),
        Request::get("/metrics"),
    ] {
        assert_eq!(send(&gateway, &request).status, 200, "{request:?}");
        let refused = request.header("Authorization", "Bearer nobody");
        assert_eq!(send(&gateway, &refused).status, 200, "{refused:?}: a bad token does not matter there");
    }
    assert_eq!(send(&gateway, &Request::new("POST", "/api/v1/products")).status, 401);
}

#[test]
fn s4_15_without_a_token_it_is_401_missing_token() {
    let platform = Platform::start();
    let gateway = platform.gateway();
    for path in
        ["users", "roles", "orders", "inventory/7", "payments", "transactions", "notifications", "email"]
    {
        let answer = get(gateway.addr(), &format!("/api/v1/{path}"));
        assert_eq!((answer.status, answer.json()), (401, json!({ "detail": "Missing token" })), "{path}");
    }
    assert!(asked(&platform.orders[0]).is_empty() && asked(&platform.payments).is_empty());
}

#[test]
fn s4_16_the_user_service_validates_tokens_and_is_believed_for_a_while() {
    let mut platform = Platform::start();
    let gateway = platform.gateway();
    let questions = |platform: &Platform| {
        platform.users[0].requests().iter().filter(|request| request.target == "/api/v1/auth/me").count()
    };
    for _ in 0..5 {
        assert_eq!(send(&gateway, &as_ada("/api/v1/orders")).status, 200);
        let answer = send(&gateway, &with("/api/v1/orders", ("Authorization", "Bearer mallory")));
        assert_eq!((answer.status, answer.json()), (401, json!({ "detail": "Invalid token" })));
    }
    assert_eq!(questions(&platform), 2, "one question for each token");

    // Closed, while it does not answer: only who is known already passes.
    platform.users[0].kill();
    assert_eq!(send(&gateway, &as_ada("/api/v1/orders")).status, 200);
    let answer = send(&gateway, &with("/api/v1/orders", ("Authorization", "Bearer eve")));
    assert_eq!(answer.status, 503, "{}", answer.text());
}

#[test]
fn s4_17_s4_25_later_stages_and_services_know_the_validated_user() {
    let (platform, redis) = (Platform::start(), Redis::start());
    let gateway = platform.gateway_on(&redis);
    let spoofed = |request: Request| {
        ["X-User-ID", "x-user-roles", "X_User_Id", "X-User_Roles"]
            .into_iter()
            .fold(request, |request, name| request.header(name, "root"))
    };
    let told = |upstream: &Upstream| -> Vec<(String, String)> {
        let last = asked(upstream).pop().unwrap().headers;
        let mut told: Vec<_> = last
            .into_iter()
            .map(|(name, value)| (name.to_lowercase().replace('_', "-"), value))
            .filter(|(name, _)| name.starts_with("x-user-"))
            .collect();
        told.sort();
        told
    };
    let own = |id: &str, roles: &str| {
        vec![("x-user-id".to_owned(), id.to_owned()), ("x-user-roles".to_owned(), roles.to_owned())]
    };
    assert_eq!(send(&gateway, &spoofed(as_ada("/api/v1/payments"))).status, 200);
    assert_eq!(told(&platform.payments), own("7", "user,admin"));
    let eve = with("/api/v1/payments", ("Authorization", "Bearer eve"));
    assert_eq!(send(&gateway, &spoofed(eve)).status, 200);
    assert_eq!(told(&platform.payments), own("8", "user"));
    // Where nobody is asked who they are, nobody says so either.
    assert_eq!(send(&gateway, &spoofed(Request::get("/api/v1/products"))).status, 200);
    assert_eq!(told(&platform.inventory[0]), []);

    // The limiter and the log.
    let key = |id: u8| format!("rate_limit:{{principal={id}}}:platform.authenticated");
    for id in [7, 8] {
        assert_eq!(redis.keys(&key(id)), [key(id)], "{:?}", redis.keys("*"));
    }
    for id in ["7", "8"] {
        wait_until("a line of the log that names the user", SOON, || {
            gateway.access_log().iter().any(|line| line["user_id"] == id).then_some(())
        });
    }
}

#[test]
fn s4_18_s4_22_a_user_has_1000_requests_an_hour_and_no_more() {
    let (platform, redis) = (Platform::start(), Redis::start());
    let gateway = platform.gateway_on(&redis);
    let ada = as_ada("/api/v1/payments");
    assert_eq!(passed(&gateway, &ada, 1000), (1000, 0));
    let refused = send(&gateway, &ada);
    assert_eq!((refused.status, refused.json()), (429, json!({ "detail": "Rate limit exceeded" })));
    let wait: u32 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((3500..=3600).contains(&wait), "{wait}");
    assert_eq!(asked(&platform.payments).len(), 1000);
    // All routes together, each user alone.
    assert_eq!(send(&gateway, &as_ada("/api/v1/orders")).status, 429);
    assert_eq!(send(&gateway, &with("/api/v1/orders", ("Authorization", "Bearer eve"))).status, 200);
}

#[test]
fn s4_19_s4_22_without_a_user_it_is_100_an_hour() {
    let (platform, redis) = (Platform::start(), Redis::start());
    let gateway = platform.gateway_on(&redis);
    let login = Request::new("POST", "/api/v1/auth/login");
    assert_eq!(passed(&gateway, &login, 101), (100, 1));
    let refused = send(&gateway, &login);
    assert_eq!((refused.status, refused.json()), (429, json!({ "detail": "Rate limit exceeded" })));
    assert_eq!(send(&gateway, &as_ada("/api/v1/orders")).status, 200, "users have a limit of their own");
}

#[test]
fn s4_20_an_api_key_has_10000_an_hour() {
    let (platform, redis) = (Platform::start(), Redis::start());
    let gateway = platform.gateway_on(&redis);
    let answer = send(&gateway, &with("/api/v1/payments", ("X-API-Key", PARTNER)));
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(answer.header("ratelimit-policy").unwrap().contains(";q=10000;w=3600"), "{answer:?}");
    assert!(answer.header("ratelimit").unwrap().contains(";r=9999;"), "{answer:?}");
    // More than any other tier has.
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let partner = with("/api/v1/payments", ("X-API-Key", PARTNER));
                assert_eq!(passed(&gateway, &partner, 275), (275, 0));
            });
        }
    });
    let answer = send(&gateway, &with("/api/v1/payments", ("X-API-Key", PARTNER)));
    assert!(answer.header("ratelimit").unwrap().contains(";r=8898;"), "each is counted once: {answer:?}");
    assert_eq!(send(&gateway, &with("/api/v1/payments", ("X-API-Key", "made up"))).status, 401);
}

#[test]
fn s4_21_each_caller_has_a_key_in_redis_that_never_lives_for_ever() {
    let (platform, redis) = (Platform::start(), Redis::start());
    let gateway = platform.gateway_on(&redis);
    let partner = with("/api/v1/orders", ("X-API-Key", PARTNER));
    for request in [as_ada("/api/v1/orders"), partner, Request::get("/api/v1/products")] {
        assert_eq!(send(&gateway, &request).status, 200);
    }
    let mut keys = redis.keys("rate_limit:*");
    keys.sort();
    assert_eq!(keys.len(), 3, "{keys:?}");
    for (key, tier) in keys.iter().zip(["anonymous", "authenticated", "api_key"]) {
        assert!(keys.iter().any(|key| key.ends_with(&format!("}}:platform.{tier}"))), "{tier}: {keys:?}");
        assert!(key.starts_with("rate_limit:{"), "{key}");
        let RedisValue::Int(left) = redis.command(&["PTTL", key]) else {
            panic!("{key} has no time to live")
        };
        assert!((3_500_000..=3_601_000).contains(&left), "{key} lives {left} ms");
    }
    assert!(keys.contains(&"rate_limit:{ip=127.0.0.1}:platform.anonymous".to_owned()), "{keys:?}");
}

#[test]
fn s4_23_three_gateways_let_pass_what_one_would() {
    let (platform, redis) = (Platform::start(), Redis::start());
    let gateways = [(); 3].map(|()| platform.gateway_on(&redis));
    let counts = std::thread::scope(|scope| {
        let threads = gateways
            .each_ref()
            .map(|gateway| scope.spawn(|| passed(gateway, &Request::new("POST", "/api/v1/auth/login"), 60)));
        threads.map(|thread| thread.join().unwrap())
    });
    let all: usize = counts.iter().map(|(passed, _)| passed).sum();
    assert_eq!(all, 100, "{counts:?}");
    assert!(counts.iter().all(|(passed, _)| *passed > 0), "{counts:?}");
}

#[test]
fn s4_36_answers_are_kept_in_redis_for_all_gateways() {
    let (platform, redis) = (Platform::start(), Redis::start());
    let gateways = [(); 2].map(|()| platform.gateway_on(&redis));
    let first = get(gateways[0].addr(), "/api/v1/products/7");
    assert_eq!(first.text(), "inventory-service-1");
    wait_until("the answer to be in Redis", SOON, || (!redis.keys("cache:*").is_empty()).then_some(()));
    for gateway in &gateways {
        let again = get(gateway.addr(), "/api/v1/products/7");
        assert_eq!(again.text(), "inventory-service-1");
        assert!(again.header("cache-status").unwrap().starts_with("gateway; hit"), "{again:?}");
    }
    let hits = platform.inventory.iter().map(|upstream| asked(upstream).len()).sum::<usize>();
    assert_eq!(hits, 1, "the service was asked again");
    // Only where the configuration says so.
    for _ in 0..2 {
        assert_eq!(send(&gateways[0], &as_ada("/api/v1/payments")).header("cache-status"), None);
    }
    assert_eq!(asked(&platform.payments).len(), 2);
}

#[test]
fn s4_01_health_says_how_each_service_is() {
    let platform = Platform::start();
    let gateway = platform.gateway();
    let answer = get(gateway.addr(), "/health");
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
    let report = answer.json();
    assert_eq!(report["status"], "healthy");
    for service in ["user", "order", "inventory", "payment", "notification"] {
        assert_eq!(report["services"][format!("{service}-service")], "healthy", "{report}");
    }
    assert!(report["version"].as_str().unwrap().split('.').count() == 3, "{report}");
    let time = report["timestamp"].as_str().unwrap();
    assert_eq!((time.len(), &time[10..11], &time[19..]), (20, "T", "Z"), "{time}");
}

#[test]
fn s4_02_s4_31_a_service_without_a_healthy_instance_degrades_and_the_gateway_lives() {
    let mut platform = Platform::start();
    let gateway = platform.builder(None, &[OFTEN]).start();
    platform.orders.iter_mut().for_each(Upstream::kill);
    wait_until("the service to be unhealthy", SOON, || {
        let report = get(gateway.addr(), "/health").json();
        (report["status"] == "degraded" && report["services"]["order-service"] == "unhealthy").then_some(())
    });
    let report = get(gateway.addr(), "/health");
    assert_eq!((report.status, &report.json()["services"]["user-service"]), (200, &json!("healthy")));
    assert_eq!(get(gateway.admin(), "/livez").status, 200);
    let answer = send(&gateway, &as_ada("/api/v1/orders"));
    assert_eq!((answer.status, answer.json()), (503, json!({ "detail": "Service unavailable" })));
    assert_eq!(send(&gateway, &as_ada("/api/v1/payments")).status, 200);
}

#[test]
fn s4_03_s4_04_s4_05_s4_06_s4_07_metrics_have_their_names_and_never_the_path() {
    let platform = Platform::start();
    let gateway = platform.gateway();
    for i in 0..30 {
        assert_eq!(send(&gateway, &as_ada(&format!("/api/v1/users/number-{i}?page={i}"))).status, 200);
        assert_eq!(get(gateway.addr(), &format!("/nothing/number-{i}")).status, 404);
    }
    assert_eq!(get(gateway.addr(), "/api/v1/orders/number-7").status, 401);
    let answer = get(gateway.addr(), "/metrics");
    assert!(answer.header("content-type").unwrap().starts_with("text/plain; version=0.0.4"), "{answer:?}");
    let metrics = answer.text();
    for line in [
        "# HELP http_requests_total Total number of HTTP requests",
        "# TYPE http_requests_total counter",
        "# HELP http_request_duration_seconds HTTP request duration in seconds",
        "# TYPE http_request_duration_seconds histogram",
        "# HELP http_active_connections Number of active HTTP connections",
        "# TYPE http_active_connections gauge",
        "http_requests_total{method=\"GET\",endpoint=\"/api/v1/users\",status=\"200\",service=\"user-service\"} 30",
        "http_request_duration_seconds_count{method=\"GET\",endpoint=\"/api/v1/users\",service=\"user-service\"} 30",
    ] {
        assert!(metrics.lines().any(|said| said == line), "no `{line}` in\n{metrics}");
    }
    assert!(!metrics.contains("number-"), "a path became a label:\n{metrics}");
    let connections = metrics.lines().find_map(|line| line.strip_prefix("http_active_connections "));
    assert!(connections.unwrap().parse::<f64>().unwrap() >= 1.0);
}

#[test]
fn s4_08_s4_09_s4_10_s4_11_s4_12_s4_13_each_path_goes_whole_to_its_service() {
    let platform = Platform::start();
    let gateway = platform.gateway();
    let mut client = Client::new(gateway.addr());
    for (path, service, instances) in [
        ("users", "user-service", &platform.users[..]),
        ("auth", "user-service", &platform.users),
        ("roles", "user-service", &platform.users),
        ("orders", "order-service", &platform.orders),
        ("order-items", "order-service", &platform.orders),
        ("inventory", "inventory-service", &platform.inventory),
        ("products", "inventory-service", &platform.inventory),
        ("payments", "payment-service", std::slice::from_ref(&platform.payments)),
        ("transactions", "payment-service", std::slice::from_ref(&platform.payments)),
        ("notifications", "notification-service", std::slice::from_ref(&platform.notifications)),
        ("email", "notification-service", std::slice::from_ref(&platform.notifications)),
    ] {
        for method in ["GET", "POST", "PUT", "DELETE"] {
            let target = format!("/api/v1/{path}/7/parts?{method}=1&x=%2F");
            let request = Request::new(method, &target).header("Authorization", "Bearer ada");
            let answer = client.send(&request);
            assert_eq!(answer.status, 200, "{method} {target}");
            assert!(answer.text().starts_with(service), "{method} {target}: {}", answer.text());
            let seen = |request: &Recorded| request.method == method && request.target == target;
            assert_eq!(instances.iter().flat_map(asked).filter(seen).count(), 1, "{method} {target}");
        }
        let bare = client.send(&as_ada(&format!("/api/v1/{path}")));
        assert!(bare.text().starts_with(service), "/api/v1/{path}: {}", bare.text());
    }
    for path in ["/api/v1/usersX", "/api/v1", "/api/v2/users", "/users"] {
        assert_eq!(client.send(&as_ada(path)).status, 404, "{path}");
    }
}

#[test]
fn s4_24_each_request_has_an_id_that_the_client_is_told_and_does_not_choose() {
    let platform = Platform::start();
    let gateway = platform.gateway();
    let mut ids = Vec::new();
    for request in [as_ada("/api/v1/payments"), as_ada("/api/v1/payments").header("X-Correlation-ID", "mine")]
    {
        let answer = send(&gateway, &request);
        let seen = asked(&platform.payments).pop().unwrap();
        let id = seen.header("x-correlation-id").unwrap().to_owned();
        assert_eq!(answer.all("x-correlation-id"), [id.as_str()]);
        let parts: Vec<&str> = id.split('-').collect();
        assert_eq!(parts.iter().map(|part| part.len()).collect::<Vec<_>>(), [8, 4, 4, 4, 12], "{id}");
        assert!(
            parts[2].starts_with('4') && parts[3].starts_with(['8', '9', 'a', 'b']),
            "{id} is of no version 4"
        );
        ids.push(id);
    }
    assert_ne!(ids[0], ids[1]);

    // One that came with the request is kept where that is configured, if it is harmless.
    let trusting = ("[defaults]\n", "[defaults]\ncorrelation_id = { trust_inbound = true }\n");
    let gateway = platform.builder(None, &[trusting]).start();
    let answer = send(&gateway, &as_ada("/api/v1/payments").header("X-Correlation-ID", "mine"));
    assert_eq!(answer.header("x-correlation-id"), Some("mine"));
    assert_eq!(asked(&platform.payments).pop().unwrap().header("x-correlation-id"), Some("mine"));
}

#[test]
fn s4_26_answers_have_the_security_headers() {
    let platform = Platform::start();
    let gateway = platform.gateway();
    for request in [as_ada("/api/v1/orders"), Request::get("/api/v1/orders"), Request::get("/health")] {
        let answer = send(&gateway, &request);
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("x-xss-protection", "1; mode=block"),
        ] {
            assert_eq!(answer.all(name), [value], "{request:?}");
        }
    }
}

#[test]
fn s4_27_other_origins_may_ask_and_preflights_need_no_token() {
    let platform = Platform::start();
    let gateway = platform.gateway();
    let preflight = Request::new("OPTIONS", "/api/v1/orders")
        .header("Origin", "https://shop.example")
        .header("Access-Control-Request-Method", "DELETE")
        .header("Access-Control-Request-Headers", "Authorization");
    let answer = send(&gateway, &preflight);
    let words = |name: &str| {
        let list = answer.header(name).unwrap_or_default();
        list.split(',').map(|word| word.trim().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!((answer.status, words("access-control-allow-origin")), (204, vec!["*".to_owned()]));
    assert_eq!(words("access-control-allow-methods"), ["GET", "POST", "PUT", "DELETE", "OPTIONS"]);
    assert_eq!(words("access-control-allow-headers"), ["Content-Type", "Authorization"]);
    for request in [as_ada("/api/v1/orders"), Request::get("/api/v1/orders")] {
        let answer = send(&gateway, &request.header("Origin", "https://shop.example"));
        assert_eq!(answer.all("access-control-allow-origin"), ["*"], "{}", answer.status);
    }
}

#[test]
fn s4_28_s4_30_instances_take_turns_as_long_as_they_are_healthy() {
    let mut platform = Platform::start();
    let gateway = platform.builder(None, &[OFTEN]).start();
    let ask = |count: usize| (0..count).map(|_| send(&gateway, &as_ada("/api/v1/orders")).text()).collect();
    let names: Vec<String> = ask(4);
    assert_eq!(names, ["order-service-1", "order-service-2", "order-service-1", "order-service-2"]);
    let healthy = |url: &str, value: u8| {
        let line =
            format!("gateway_upstream_healthy{{service=\"order-service\",endpoint=\"{url}\"}} {value}");
        wait_until(&line, SOON, || metrics(&gateway).contains(&line).then_some(()));
    };
    // The last of the list goes, while it is its turn or not.
    let url = platform.orders[1].url();
    platform.orders[1].kill();
    healthy(&url, 0);
    let names: Vec<String> = ask(5);
    assert!(names.iter().all(|name| name == "order-service-1"), "{names:?}");
    platform.orders[1].restart();
    healthy(&url, 1);
    let names: Vec<String> = ask(4);
    assert_eq!(names.iter().filter(|name| *name == "order-service-2").count(), 2, "{names:?}");
}

#[test]
fn s4_29_checks_ask_for_health_in_the_background_and_only_200_is_healthy() {
    assert_eq!(EXAMPLE.matches("path = \"/health\", interval = \"10s\", timeout = \"5s\"").count(), 5);
    for status in [204, 301, 404, 500] {
        let mut platform = Platform::start();
        platform.payments = Upstream::start(move |request| match request.target.as_str() {
            "/health" => Reply::new(status, ""),
            _ => Reply::new(200, "payment-service"),
        });
        let gateway = platform.builder(None, &[OFTEN]).start();
        wait_until("the service to be unhealthy", SOON, || {
            let report = get(gateway.addr(), "/health").json();
            (report["services"]["payment-service"] == "unhealthy").then_some(())
        });
        let check = platform.payments.requests().pop().unwrap();
        assert_eq!((check.method.as_str(), check.target.as_str()), ("GET", "/health"), "{status}");
        assert_eq!(check.header("host"), platform.payments.url().strip_prefix("http://"));
        assert_eq!(asked(&platform.payments).len(), 0, "nobody asked for anything else");
    }
}

#[test]
fn s4_32_each_request_is_a_line_of_the_log() {
    let platform = Platform::start();
    let gateway = platform.gateway();
    let ada = as_ada("/api/v1/orders?page=2&token=secret").header("User-Agent", "curl/8");
    let answers = [send(&gateway, &ada), get(gateway.addr(), "/api/v1/orders")];
    for (answer, expected) in answers.iter().zip([
        json!(["GET", "http://test/api/v1/orders?page=2&token=redacted", 200, "7", "curl/8", "127.0.0.1"]),
        json!(["GET", "http://test/api/v1/orders", 401, null, "", "127.0.0.1"]),
    ]) {
        let line = wait_until("a line of the log", SOON, || {
            let is_it = |line: &Value| line["correlation_id"] == answer.header("x-correlation-id").unwrap();
            gateway.access_log().into_iter().find(is_it)
        });
        let said = ["method", "url", "status_code", "user_id", "user_agent", "ip_address"];
        assert_eq!(Value::from(said.map(|name| line[name].clone()).to_vec()), expected);
        assert_eq!((&line["message"], line["duration_ms"].is_f64()), (&json!("API Gateway Request"), true));
        let time = line["timestamp"].as_str().unwrap();
        assert!(&time[10..11] == "T" && time.ends_with('Z'), "{time}");
    }
}

/// What the gateway says of the example's own configuration, as containers have it.
fn said(args: &[&str], env: &[(&str, &str)]) -> String {
    let builder = Gateway::builder(EXE).config(EXAMPLE).args(args);
    let done = env.iter().fold(builder, |builder, (name, value)| builder.env(name, value)).run();
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    done.stdout
}

#[test]
fn s4_28_s4_33_the_environment_says_where_services_are() {
    let routes = said(&["routes"], &[]);
    for endpoints in [
        "user-service-1:8001 user-service-2:8001",
        "order-service-1:8002 order-service-2:8002",
        "inventory-service-1:8003 inventory-service-2:8003",
        " payment-service:8004",
        " notification-service:8005",
    ] {
        assert!(routes.contains(endpoints), "no `{endpoints}` in\n{routes}");
    }
    let env = [
        ("REDIS_URL", "redis://redis:6379"),
        ("USER_SERVICE_URL", "http://user-service:8001"),
        ("ORDER_SERVICE_URL", "http://order-service:8002"),
        ("INVENTORY_SERVICE_URL", "http://inventory-service:8003"),
        ("PAYMENT_SERVICE_URL", "http://payment-service:8004"),
        ("NOTIFICATION_SERVICE_URL", "http://notification-service:8005"),
        ("LOG_LEVEL", "INFO"),
    ];
    let routes = said(&["routes"], &env);
    for (_, url) in &env[1..6] {
        let endpoint = format!(" {}", url.strip_prefix("http://").unwrap());
        assert!(routes.contains(&endpoint), "no `{endpoint}` in\n{routes}");
    }
}

#[test]
fn s4_38_the_documents_say_routes_who_may_call_and_how_often() {
    let page = said(&["routes", "--format", "md"], &[]);
    for part in [
        "| * | /api/v1/users/* | * | user-service | user-service-1:8001 user-service-2:8001 |",
        "auth=users\\|partners rate-limit=platform",
        "## Who may call",
        "public = [\"/api/v1/auth/*\", ",
        "| users | introspection | { ",
        "protocol = \"userinfo\"",
        "| partners | api_keys | ",
        "| platform | { ",
        "authenticated = \"1000/h\"",
        "anonymous = \"100/h\"",
        "api_key = \"10000/h\"",
    ] {
        assert!(page.contains(part), "no `{part}` in\n{page}");
    }
    assert!(!page.contains("sha256:"), "a key is shown:\n{page}");
    // Each row has as many cells as its header.
    let cells = |line: &str| line.replace("\\|", "").matches('|').count();
    for table in page.split("\n\n").filter(|part| part.starts_with('|')) {
        let mut counts = table.lines().map(cells).collect::<Vec<_>>();
        counts.dedup();
        assert_eq!(counts.len(), 1, "{table}");
    }
    let routes: Value = serde_json::from_str(&said(&["routes", "--format", "json"], &[])).unwrap();
    let row = routes.as_array().unwrap().iter().find(|row| row["name"] == "/api/v1/products").unwrap();
    assert_eq!((&row["auth"], &row["rate_limit"]), (&json!(["users", "partners"]), &json!(["platform"])));
}

/// The names of metrics in a query, without what stands in its selectors and ranges.
fn names(query: &str) -> Vec<String> {
    let mut depth = 0;
    let outside = query.chars().map(|c| {
        depth += i32::from("{[".contains(c));
        let outside = depth == 0;
        depth -= i32::from("}]".contains(c));
        if outside { c } else { ' ' }
    });
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let ours = |word: &&str| word.starts_with("http_") || word.starts_with("gateway_");
    outside.collect::<String>().split(|c| !is_name(c)).filter(ours).map(str::to_owned).collect()
}

#[test]
fn s4_37_every_query_of_the_dashboard_names_a_metric_that_there_is() {
    assert_eq!(
        names("sum by (service) (rate(http_requests_total{status=~\"http_5..\"}[5m])) / gateway_store_up"),
        ["http_requests_total", "gateway_store_up"]
    );
    let (platform, redis) = (Platform::start(), Redis::start());
    let gateway = platform.gateway_on(&redis);
    assert_eq!(get(gateway.addr(), "/api/v1/products").status, 200);
    let metrics = metrics(&gateway);
    let known: Vec<(&str, &str)> =
        metrics.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect();
    let dashboard: Value = serde_json::from_str(include_str!("../grafana/gateway.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    assert!(panels.len() >= 6, "{} panels", panels.len());
    for panel in panels {
        for target in panel["targets"].as_array().unwrap() {
            let query = target["expr"].as_str().unwrap();
            let names = names(query);
            assert!(!names.is_empty(), "{} asks for nothing: {query}", panel["title"]);
            for name in names {
                let is_it = |(known, kind): &(&str, &str)| match *kind {
                    "histogram" => {
                        ["_bucket", "_sum", "_count"].map(|end| format!("{known}{end}")).contains(&name)
                    }
                    _ => *known == name,
                };
                assert!(known.iter().any(is_it), "{} asks for {name}, which there is not", panel["title"]);
            }
        }
    }
}

#[test]
fn s4_34_it_listens_on_8000_and_the_compose_file_has_every_service() {
    let (compose, image) = (include_str!("../compose.yml"), include_str!("../Dockerfile"));
    assert!(EXAMPLE.contains("listen = \"0.0.0.0:8000\"") && image.contains("EXPOSE 8000"));
    assert!(compose.contains("ports: [\"8000:8000\"]"));
    let routes = said(&["routes", "--format", "json"], &[]);
    let routes: Value = serde_json::from_str(&routes).unwrap();
    for row in routes.as_array().unwrap().iter().filter(|row| row["service"] != "gateway") {
        for endpoint in row["endpoints"].as_array().unwrap() {
            let endpoint = endpoint.as_str().unwrap().trim_start_matches("http://");
            let (name, port) = endpoint.split_once(':').unwrap();
            let command = format!(
                "\n  {name}:\n    image: gateway-platform\n    command: [\"platform-service\", \"{name}\", \"{port}\"]"
            );
            assert!(compose.contains(&command), "{name} is not in the compose file with port {port}");
        }
    }
}

#[test]
fn s4_35_three_replicas_under_load_stay_within_the_limits_of_the_deployment() {
    let manifest = include_str!("../kubernetes.yml");
    for part in [
        "replicas: 3",
        "containerPort: 8000",
        "secretKeyRef: { name: api-gateway-secrets",
        "requests: { memory: 256Mi, cpu: 250m }",
        "limits: { memory: 512Mi, cpu: 500m }",
        "httpGet: { path: /health, port: 8000 }\n            initialDelaySeconds: 30\n            periodSeconds: 10",
        "httpGet: { path: /health, port: 8000 }\n            initialDelaySeconds: 5\n            periodSeconds: 5",
        "type: LoadBalancer",
        "port: 80\n      targetPort: 8000",
    ] {
        assert!(manifest.contains(part), "no `{part}` in the manifest");
    }
    let (platform, redis) = (Platform::start(), Redis::start());
    let gateways = [(); 3].map(|()| platform.gateway_on(&redis));
    std::thread::scope(|scope| {
        for (number, gateway) in gateways.iter().cycle().take(6).enumerate() {
            scope.spawn(move || {
                let mut client = Client::new(gateway.addr());
                for i in 0..200 {
                    // Answers that are kept, and callers that are counted.
                    let request = with(&format!("/api/v1/orders/{number}/{i}"), ("X-API-Key", PARTNER));
                    assert_eq!(client.send(&request).status, 200);
                }
            });
        }
    });
    for gateway in &gateways {
        let held = gateway.process().memory();
        assert!(held < 256 << 20, "the gateway holds {held} bytes, more than the deployment asks for");
    }
}
