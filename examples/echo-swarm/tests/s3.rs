//! Reference system S3, line by line, through the compiled binary over sockets. The number of the line is in the
//! test's name. (Lines about parts that have their own tests are there too: S3-04, 05, 06, 08, 12, 13, 15 to 20,
//! 22, 23 and 24 in the crates; S3-27 in `services.rs`.)
#![allow(clippy::unwrap_used)]

use gateway_testkit::{
    Client, Fault, Gateway, Recorded, Redis, RedisValue, Reply, Request, Response, Upstream, failing, get,
    wait_until,
};
use serde_json::json;
use std::collections::HashMap;
use std::process::Command;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

const EXE: &str = env!("CARGO_BIN_EXE_gateway");
const SECRET: &str = "a secret for tests, 32 bytes long";

/// S3's services, each an upstream that answers with its name and records what it is asked.
struct Swarm {
    users: [Upstream; 2],
    products: [Upstream; 2],
    checkout: Upstream,
}

impl Swarm {
    fn start() -> Self {
        Self {
            users: ["user-service-1", "user-service-2"].map(Upstream::named),
            products: ["product-service-1", "product-service-2"].map(Upstream::named),
            checkout: Upstream::named("checkout-service"),
        }
    }

    /// The example's own configuration, with its addresses changed to those of the test.
    fn config(&self, more: &str) -> String {
        let example = include_str!("../gateway.toml");
        let replaced = [
            ("http://127.0.0.1:3002", self.users[0].url()),
            ("http://127.0.0.1:3004", self.users[1].url()),
            ("http://127.0.0.1:3001", self.products[0].url()),
            ("http://127.0.0.1:3003", self.products[1].url()),
            ("http://127.0.0.1:3005", self.checkout.url()),
            ("0.0.0.0:8080", "127.0.0.1:@PORT@".to_owned()),
            ("127.0.0.1:9901", "127.0.0.1:@ADMIN@".to_owned()),
            ("${ACCESS_LOG:-access.log}", "@DIR@/access.log".to_owned()),
            ("browsing = \"20/min\"", "browsing = \"100000/min\"".to_owned()),
        ];
        let text = replaced.iter().fold(example.to_owned(), |text, (from, to)| {
            assert!(text.contains(from), "the example no longer holds {from}");
            text.replace(from, to)
        });
        text + more
    }

    fn gateway(&self) -> Gateway {
        self.gateway_with("")
    }

    fn gateway_with(&self, more: &str) -> Gateway {
        Gateway::builder(EXE).env("JWT_SECRET", SECRET).config(&self.config(more)).start()
    }
}

fn token(gateway: &Gateway, expires: &str, email: &str) -> String {
    let minted = Command::new(EXE)
        .args([
            "token",
            "--auth",
            "shop",
            "--expires",
            expires,
            "--claim",
            &format!("email={email}"),
            "--config",
        ])
        .arg(gateway.dir().join("gateway.toml"))
        .env("JWT_SECRET", SECRET)
        .output()
        .unwrap();
    assert!(minted.status.success(), "{minted:?}");
    String::from_utf8(minted.stdout).unwrap().trim().to_owned()
}

fn checkout(gateway: &Gateway, authorization: &str) -> Response {
    Client::new(gateway.addr()).send(&Request::get("/api/checkout/1").header("Authorization", authorization))
}

#[test]
fn s3_01_it_listens_on_8080() {
    assert!(include_str!("../gateway.toml").contains("listen = \"0.0.0.0:8080\""));
    let shown = Gateway::builder(EXE).args(&["schema"]).run();
    assert!(shown.stdout.contains("Default `127.0.0.1:8080`"), "the default port is not 8080");
}

#[test]
fn s3_02_s3_03_s3_04_each_path_goes_to_its_service_whatever_the_method() {
    let swarm = Swarm::start();
    let gateway = swarm.gateway();
    let bearer = format!("Bearer {}", token(&gateway, "1h", "ada@example.com"));
    let mut client = Client::new(gateway.addr());
    for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"] {
        for (path, service) in [
            ("/api/users/1", "user-service"),
            ("/api/products/1", "product-service"),
            ("/api/checkout/1", "checkout-service"),
            ("/api/Checkout/1", "checkout-service"),
            ("/API/CHECKOUT", "checkout-service"),
        ] {
            let answer = client.send(&Request::new(method, path).header("Authorization", &bearer));
            assert_eq!(answer.status, 200, "{method} {path}");
            assert!(
                method == "HEAD" || answer.text().starts_with(service),
                "{method} {path}: {}",
                answer.text()
            );
        }
    }
    assert_eq!(get(gateway.addr(), "/api/Users/1").status, 404, "others mind their case");
}

#[test]
fn s3_05_s3_06_s3_09_the_service_sees_the_request_without_the_prefix_and_otherwise_whole() {
    let swarm = Swarm::start();
    let gateway = swarm.gateway();
    let mut client = Client::new(gateway.addr());
    let mut seen_by_users = |request: Request| -> Recorded {
        let before = swarm.users.iter().map(Upstream::hits).collect::<Vec<_>>();
        assert_eq!(client.send(&request).status, 200);
        let (upstream, before) =
            swarm.users.iter().zip(before).find(|(u, before)| u.hits() > *before).unwrap();
        upstream.requests()[before].clone()
    };
    for (target, expected) in [
        ("/api/users/123", "/123"),
        ("/api/users", "/"),
        ("/api/users/", "/"),
        ("/api/users?a=1&a=2&b=%2F", "/?a=1&a=2&b=%2F"),
        ("/api/users/x%20y/z?q", "/x%20y/z?q"),
        ("/api//users/./a/../123", "/123"),
    ] {
        assert_eq!(seen_by_users(Request::get(target)).target, expected, "{target}");
    }
    let body = (0..=255u8).cycle().take(100_000).collect::<Vec<_>>();
    let sent = Request::new("PUT", "/api/users/7")
        .header("X-Custom", "a")
        .header("X-Custom", "b")
        .header("Connection", "X-Hop")
        .header("X-Hop", "1")
        .header("X-User-ID", "root")
        .header("X-Forwarded-For", "1.2.3.4")
        .body(body.clone());
    let seen = seen_by_users(sent);
    assert_eq!((seen.method.as_str(), seen.target.as_str()), ("PUT", "/7"));
    assert_eq!(seen.body, body, "the body has changed");
    let custom: Vec<_> = seen.headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case("x-custom")).collect();
    assert_eq!(custom.len(), 2, "{:?}", seen.headers);
    assert_eq!(
        (seen.header("x-hop"), seen.header("connection"), seen.header("x-user-id")),
        (None, None, None)
    );
    assert_eq!((seen.header("x-forwarded-for"), seen.header("host")), (Some("127.0.0.1"), Some("test")));

    let chunked = "POST /api/users HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n\
                   5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n";
    let before: usize = swarm.users.iter().map(Upstream::hits).sum();
    assert!(gateway_testkit::raw(gateway.addr(), chunked.as_bytes()).starts_with("HTTP/1.1 200"));
    let all: Vec<_> = swarm.users.iter().flat_map(Upstream::requests).collect();
    assert_eq!(all.len(), before + 1);
    assert!(all.iter().any(|seen| seen.body == b"hello world"), "a chunked body was not passed on");
}

#[test]
fn s3_07_a_service_is_added_by_configuration_alone() {
    let (swarm, reviews) = (Swarm::start(), Upstream::named("reviews"));
    let more = format!(
        "\n[services.reviews]\nendpoints = [\"{}\"]\n[[routes]]\npath = \"/api/reviews/*\"\nservice = \"reviews\"\n",
        reviews.url()
    );
    let gateway = swarm.gateway_with(&more);
    assert_eq!(get(gateway.addr(), "/api/reviews/1").text(), "reviews");
}

#[test]
fn s3_08_round_robin_starts_at_the_first_and_is_exact_under_concurrency() {
    let swarm = Swarm::start();
    let gateway = swarm.gateway();
    let names: Vec<_> = (0..4).map(|_| get(gateway.addr(), "/api/products").text()).collect();
    assert_eq!(names, ["product-service-1", "product-service-2", "product-service-1", "product-service-2"]);
    assert_eq!(get(gateway.addr(), "/api/users").text(), "user-service-1", "each service has its own turn");

    let before = swarm.products.each_ref().map(Upstream::hits);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut client = Client::new(gateway.addr());
                (0..50).for_each(|_| assert_eq!(client.send(&Request::get("/api/products")).status, 200));
            });
        }
    });
    let hits = [0, 1].map(|i| swarm.products[i].hits() - before[i]);
    assert_eq!(hits, [200, 200]);
}

#[test]
fn s3_10_the_answer_comes_back_as_it_was() {
    let upstream = Upstream::start(|_| {
        Reply::with(
            418,
            &[("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"), ("X-Y", "z"), ("Keep-Alive", "timeout=5")],
            "tea",
        )
    });
    let swarm = Swarm::start();
    let more = format!(
        "\n[services.tea]\nendpoints = [\"{}\"]\n[[routes]]\npath = \"/tea\"\nservice = \"tea\"\n",
        upstream.url()
    );
    let gateway = swarm.gateway_with(&more);
    let answer = get(gateway.addr(), "/tea");
    assert_eq!((answer.status, answer.text().as_str(), answer.header("x-y")), (418, "tea", Some("z")));
    assert_eq!(answer.all("set-cookie"), ["a=1", "b=2"]);
    assert_eq!(answer.header("keep-alive"), None);
}

/// A gateway with one service of these endpoints, three attempts, and the given timeouts.
fn retrying(endpoints: &[String], timeout: &str) -> Gateway {
    let config = format!(
        "access_log = \"@DIR@/access.log\"\n[server]\nlisten = \"127.0.0.1:@PORT@\"\n[admin]\nlisten = \"127.0.0.1:@ADMIN@\"\n\
         [errors]\nformat = \"message\"\n[services.a]\nendpoints = {endpoints:?}\ntimeout = {timeout}\n\
         retry = {{ attempts = 3, backoff = \"linear 100ms\" }}\n[[routes]]\npath = \"/*\"\nservice = \"a\"\n"
    );
    Gateway::builder(EXE).config(&config).start()
}

fn nobody() -> String {
    format!("http://127.0.0.1:{}", gateway_testkit::free_port())
}

#[test]
fn s3_11_s3_14_a_slow_instance_is_left_for_another() {
    let (slow, fast) = (Upstream::named("slow"), Upstream::named("fast"));
    slow.stall();
    let gateway = retrying(&[slow.url(), fast.url()], "{ total = \"20s\", per_try = \"1s\" }");
    let start = Instant::now();
    assert_eq!(get(gateway.addr(), "/").text(), "fast");
    assert!(start.elapsed() >= Duration::from_secs(1), "{:?}", start.elapsed());
    assert_eq!(slow.hits(), 1);
}

#[test]
fn s3_11_an_answer_that_takes_too_long_is_504() {
    let slow = Upstream::named("slow");
    slow.stall();
    let gateway = retrying(&[slow.url()], "\"300ms\"");
    let answer = get(gateway.addr(), "/");
    assert_eq!(answer.status, 504, "{}", answer.text());
}

#[test]
fn s3_12_s3_13_three_attempts_with_growing_waits_and_then_502_with_the_error() {
    let gateway = retrying(&[nobody(), nobody()], "\"20s\"");
    let took = [(); 2].map(|()| {
        let start = Instant::now();
        let answer = get(gateway.addr(), "/");
        let took = start.elapsed();
        assert_eq!((answer.status, answer.text().as_str()), (502, "{\"message\":\"connection refused\"}\n"));
        took.as_millis()
    });
    // One of them may have had to wait for its turn on a busy machine.
    let (quick, slow) = (took[0].min(took[1]), took[0].max(took[1]));
    assert!((300..1500).contains(&quick) && slow >= 300, "100 + 200 ms of waiting took {took:?} ms");
    let metrics = get(gateway.admin(), "/metrics").text();
    assert!(metrics.contains("gateway_upstream_retries_total{service=\"a\"} 4"), "{metrics}");
}

#[test]
fn s3_12_requests_that_may_have_been_processed_are_not_repeated() {
    for fault in [Fault::ResetBeforeResponse, Fault::AcceptThenClose, Fault::ResetInHead, Fault::Garbage] {
        let (addr, seen) = failing(fault);
        let gateway = retrying(&[format!("http://{addr}")], "\"20s\"");
        let mut client = Client::new(gateway.addr());
        let answer = client.send(&Request::new("POST", "/").body("order"));
        assert_eq!((answer.status, seen.load(Ordering::SeqCst)), (502, 1), "{fault:?}: a POST");
        let answer = client.send(&Request::get("/"));
        assert_eq!((answer.status, seen.load(Ordering::SeqCst)), (502, 4), "{fault:?}: a GET, three times");
    }
}

#[test]
fn s3_12_the_body_is_sent_again_with_each_attempt() {
    let good = Upstream::named("good");
    let gateway = retrying(&[nobody(), good.url()], "\"20s\"");
    let mut client = Client::new(gateway.addr());
    for _ in 0..4 {
        let answer = client.send(&Request::new("POST", "/").body("an order"));
        assert_eq!((answer.status, answer.text().as_str()), (200, "good"));
    }
    assert!(good.requests().iter().all(|request| request.body == b"an order"));
}

#[test]
fn s3_14_instances_are_killed_and_come_back_and_no_request_is_lost() {
    let mut swarm = Swarm::start();
    let soon_back =
        "[services.products]\nbalance = { outlier = { ejection_time = \"100ms\", jitter = \"0s\" } }\n";
    let config = swarm.config("").replacen("[services.products]\n", soon_back, 1);
    let gateway = Gateway::builder(EXE).env("JWT_SECRET", SECRET).config(&config).start();
    let ask = |n: usize| -> HashMap<String, usize> {
        let mut client = Client::new(gateway.addr());
        let mut names = HashMap::new();
        for _ in 0..n {
            let answer = client.send(&Request::get("/api/products"));
            assert_eq!(answer.status, 200, "{}", answer.text());
            *names.entry(answer.text()).or_default() += 1;
        }
        names
    };
    assert_eq!(ask(6).len(), 2);
    swarm.products[0].kill();
    assert_eq!(ask(6), HashMap::from([("product-service-2".to_owned(), 6)]));
    swarm.products[0].restart();
    wait_until("the instance that came back to take its share", Duration::from_secs(10), || {
        (ask(2).len() == 2).then_some(())
    });
    // Idle connections that are closed behind the gateway's back cost nothing either.
    for upstream in &swarm.products {
        upstream.close_connections();
    }
    assert_eq!(ask(6).len(), 2);
}

#[test]
fn s3_15_s3_16_s3_17_s3_18_checkout_wants_a_bearer_token() {
    let swarm = Swarm::start();
    let gateway = swarm.gateway();
    let good = token(&gateway, "1h", "ada@example.com");
    assert_eq!(checkout(&gateway, &format!("Bearer {good}")).text(), "checkout-service");

    let missing = get(gateway.addr(), "/api/checkout");
    assert_eq!((missing.status, missing.body.len()), (401, 43));
    assert_eq!(missing.text(), "{\"message\":\"Missing Authorization header\"}\n");
    assert_eq!(missing.header("www-authenticate"), Some("Bearer realm=\"gateway\""));

    let expired = token(&gateway, "0s", "ada@example.com");
    let forged = format!("{good}x");
    for authorization in [
        good.clone(),
        format!("Basic {good}"),
        format!("Bearer {forged}"),
        format!("Bearer {expired}"),
        "Bearer".into(),
    ] {
        let answer = checkout(&gateway, &authorization);
        assert_eq!(
            (answer.status, answer.text().as_str()),
            (401, "{\"message\":\"Invalid token\"}\n"),
            "{authorization}"
        );
        assert!(answer.header("www-authenticate").unwrap().contains("error=\"invalid_token\""));
    }
    assert_eq!(swarm.checkout.hits(), 1, "the service was asked without a good token");
}

#[test]
fn s3_19_s3_20_without_redis_tokens_are_remembered_and_revoked_in_memory() {
    let swarm = Swarm::start();
    let gateway = swarm.gateway();
    let token = token(&gateway, "1h", "ada@example.com");
    let bearer = format!("Bearer {token}");
    assert_eq!(checkout(&gateway, &bearer).status, 200);
    assert_eq!(checkout(&gateway, &bearer).status, 200);
    let revoked = Client::new(gateway.admin()).send(&Request::new("POST", "/revoke").body(token));
    assert_eq!((revoked.status, revoked.text().as_str()), (200, "revoked\n"));
    // On every worker.
    for _ in 0..8 {
        assert_eq!(checkout(&gateway, &bearer).status, 401);
    }
}

#[test]
fn s3_19_s3_20_s3_26_with_redis_tokens_are_remembered_and_revoked_by_all_instances() {
    let (swarm, redis) = (Swarm::start(), Redis::start());
    let more = format!("\n[store.redis]\nurl = \"{}\"\ntimeout = \"5s\"\n", redis.url());
    let (a, b) = (swarm.gateway_with(&more), swarm.gateway_with(&more));
    for how in ["flag", "delete", "admin"] {
        let token = token(&a, "1h", how);
        let bearer = format!("Bearer {token}");
        assert_eq!((checkout(&a, &bearer).status, checkout(&b, &bearer).status), (200, 200), "{how}");
        let holds = |key: &String| matches!(redis.command(&["GET", key]), RedisValue::Text(text) if text.contains(how));
        let state = redis.keys("gateway:token:*:state").into_iter().find(holds).unwrap();
        let RedisValue::Int(ttl) = redis.command(&["TTL", &state]) else { panic!() };
        assert!((3500..=3600).contains(&ttl), "the entry lives {ttl} s, the token an hour");
        match how {
            "flag" => drop(redis.command(&["SET", &state, "revoked", "KEEPTTL"])),
            "delete" => drop(redis.command(&["DEL", &state])),
            _ => assert_eq!(
                Client::new(b.admin()).send(&Request::new("POST", "/revoke").body(token)).status,
                200
            ),
        }
        assert_eq!((checkout(&a, &bearer).status, checkout(&b, &bearer).status), (401, 401), "{how}");
    }
}

#[test]
fn s3_20_while_redis_is_away_requests_go_on_and_when_it_is_back_so_do_revocations() {
    let (swarm, mut redis) = (Swarm::start(), Redis::start());
    let gateway = swarm.gateway_with(&format!("\n[store.redis]\nurl = \"{}\"\n", redis.url()));
    let bearer = format!("Bearer {}", token(&gateway, "1h", "ada"));
    assert_eq!(checkout(&gateway, &bearer).status, 200);
    redis.stall();
    let start = Instant::now();
    for _ in 0..10 {
        assert_eq!(checkout(&gateway, &bearer).status, 200);
    }
    let took = start.elapsed();
    redis.resume();
    assert!(took < Duration::from_secs(5), "ten requests waited {took:?} for a frozen Redis");
    redis.kill();
    assert_eq!(checkout(&gateway, &bearer).status, 200);
    redis.restart();
    wait_until("the token to be entered again", Duration::from_secs(10), || {
        assert_eq!(checkout(&gateway, &bearer).status, 200);
        (redis.keys("gateway:token:*").len() == 2).then_some(())
    });
}

#[test]
fn s3_21_an_unknown_service_is_404() {
    let swarm = Swarm::start();
    let gateway = swarm.gateway();
    for path in ["/api/nothing", "/", "/api/productsX", "/api"] {
        let answer = get(gateway.addr(), path);
        assert_eq!(
            (answer.status, answer.text().as_str()),
            (404, "{\"message\":\"Service not found\"}\n"),
            "{path}"
        );
    }
}

#[test]
fn s3_22_each_request_is_one_line_of_json() {
    let swarm = Swarm::start();
    let gateway = swarm.gateway();
    let mut client = Client::new(gateway.addr());
    let answer =
        client.send(&Request::new("POST", "/api/users/7?a=1").header("User-Agent", "curl/8").body("12345"));
    client.send(&Request::get("/api/checkout"));
    let log = wait_until("two lines", Duration::from_secs(5), || {
        Some(gateway.access_log()).filter(|lines| lines.len() == 2)
    });
    let said = |name: &str| log[0][name].clone();
    assert_eq!(said("id"), answer.header("x-request-id").unwrap());
    assert_eq!(
        (said("remote_ip"), said("host"), said("method")),
        ("127.0.0.1".into(), "test".into(), "POST".into())
    );
    assert_eq!((said("uri"), said("user_agent")), ("/api/users/7?a=1".into(), "curl/8".into()));
    assert_eq!((said("status"), said("error")), (200.into(), "".into()));
    assert_eq!((said("bytes_in"), said("bytes_out")), (5.into(), 14.into()));
    assert!(said("latency").as_u64().unwrap() > 0 && said("latency_human").as_str().unwrap().ends_with('s'));
    let time = said("time").as_str().unwrap().to_owned();
    assert!(time.len() == 30 && time.ends_with('Z') && &time[10..11] == "T", "{time}");
    assert_eq!(log[1]["error"], json!({ "code": 401, "message": "Missing Authorization header" }));
    assert_eq!(log[1]["bytes_out"], 43);
}

#[test]
fn s3_24_cors_with_the_defaults_of_echo() {
    let swarm = Swarm::start();
    let gateway = swarm.gateway();
    let preflight = Request::new("OPTIONS", "/api/checkout")
        .header("Origin", "https://shop.example")
        .header("Access-Control-Request-Method", "PUT");
    let answer = Client::new(gateway.addr()).send(&preflight);
    assert_eq!((answer.status, answer.body.len()), (204, 0), "a preflight needs no token");
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    assert_eq!(answer.header("access-control-allow-methods"), Some("GET,HEAD,PUT,PATCH,POST,DELETE"));
    let refused =
        Client::new(gateway.addr()).send(&Request::get("/api/checkout").header("Origin", "https://a"));
    assert_eq!((refused.status, refused.header("access-control-allow-origin")), (401, Some("*")));
}

#[test]
fn s3_25_the_stack_file_names_every_service_of_the_swarm_configuration() {
    let stack = include_str!("../stack.yml");
    let config = include_str!("../gateway.swarm.toml");
    for service in [
        "user-service-1",
        "user-service-2",
        "product-service-1",
        "product-service-2",
        "checkout-service",
        "redis",
    ] {
        assert!(stack.contains(&format!("\n  {service}:")), "{service} is not in the stack");
        assert!(config.contains(&format!("{service}:")), "{service} is not in the configuration");
    }
    assert!(stack.contains("driver: overlay"));
    let checked = Gateway::builder(EXE)
        .file("gateway.toml", &config.replace("${file:/run/secrets/jwt-secret}", SECRET))
        .args(&["check"])
        .run();
    assert_eq!(checked.code, Some(0), "{}", checked.stderr);
}

#[test]
fn s3_25_service_names_are_resolved() {
    let swarm = Swarm::start();
    let config = swarm.config("").replace("http://127.0.0.1:", "http://localhost:");
    let gateway = Gateway::builder(EXE).env("JWT_SECRET", SECRET).config(&config).start();
    assert_eq!(get(gateway.addr(), "/api/users").text(), "user-service-1");
}
