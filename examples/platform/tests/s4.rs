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
            gateway.access_log().iter().any(|line| line["user"] == id).then_some(())
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
