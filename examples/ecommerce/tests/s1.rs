//! Reference system S1, line by line, through the compiled binary over sockets. The number of the line is in the
//! test's name. (What lines say of accounts alone has its tests in `gateway-identity`.)
#![allow(clippy::unwrap_used)]

#[path = "../../runner/tests/place/mod.rs"]
mod place;

use gateway_testkit::{
    Client, Gateway, Recorded, Redis, Reply, Request, Response, Upstream, Wire, get, scripted, wait_until,
    websocket_echo,
};
use place::{PASSWORD, Place, QUICK, call, changed, claims, everywhere, new_email, request, text};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(10);
const ROUTES: [&str; 4] = ["/api/products", "/api/orders", "/api/chat", "/api/generate"];

everywhere! {
    s1_02_signin_registers_an_account
    s1_03_login_answers_an_access_and_a_refresh_token
    s1_04_logout_ends_the_session_that_id_names
    s1_05_renew_answers_a_new_access_token
    s1_06_revoke_ends_one_session_by_id
    s1_13_all_routes_want_a_valid_token
    s1_14_all_routes_are_limited
    s1_15_all_routes_are_cached
    s1_20_a_revoked_session_can_no_longer_renew
    s1_21_users_are_kept_and_passwords_never_shown
    s1_22_both_tokens_belong_to_one_session
}

/// The example's own configuration, with its addresses changed to those of the test.
fn start(place: &Place<'_>, shop: &Shop) -> Gateway {
    start_with(place, shop, "100/min")
}

fn start_with(place: &Place<'_>, shop: &Shop, limit: &str) -> Gateway {
    let config = changed(
        include_str!("../gateway.toml"),
        &[
            ("\"http://127.0.0.1:4001\"", &format!("{:?}", shop.products.url())),
            ("\"http://127.0.0.1:4002\"", &format!("{:?}", shop.orders.url())),
            ("\"http://127.0.0.1:4003\"", &format!("\"http://{}\"", shop.chat)),
            ("0.0.0.0:8080", "127.0.0.1:@PORT@"),
            ("127.0.0.1:9901", "127.0.0.1:@ADMIN@"),
            ("${ACCESS_LOG:-access.log}", "@DIR@/access.log"),
            ("shop = \"100/min\"", &format!("shop = \"{limit}\"")),
        ],
    );
    place.builder().config(&(config + QUICK)).start()
}

/// The services; each numbers its answers.
struct Shop {
    products: Upstream,
    orders: Upstream,
    chat: SocketAddr,
    _chat: Upstream,
}

impl Shop {
    fn start() -> Self {
        let [products, orders, chat] = [(); 3].map(|()| {
            let count = AtomicUsize::new(0);
            Upstream::start(move |_: &Recorded| {
                Reply::new(200, &count.fetch_add(1, Ordering::SeqCst).to_string())
            })
        });
        Self { products, orders, chat: chat.addr(), _chat: chat }
    }

    fn with_chat(chat: SocketAddr) -> Self {
        Self { chat, ..Self::start() }
    }

    fn hits(&self) -> usize {
        self.products.hits() + self.orders.hits() + self._chat.hits()
    }
}

fn login(gateway: &Gateway, email: &str, password: &str) -> Response {
    call(gateway, "POST /api/auth/login", None, &json!({ "email": email, "password": password }))
}

fn signin(gateway: &Gateway) -> String {
    let email = new_email();
    let body = json!({ "email": email, "password": PASSWORD, "firstName": "Ada" });
    let answer = call(gateway, "POST /api/auth/signin", None, &body);
    assert_eq!(answer.status, 201, "{}\n{}", answer.text(), gateway.process().stderr());
    email
}

struct Session {
    access: String,
    refresh: String,
    id: String,
}

fn session(gateway: &Gateway, email: &str) -> Session {
    let answer = login(gateway, email, PASSWORD);
    assert_eq!(answer.status, 200, "{}\n{}", answer.text(), gateway.process().stderr());
    Session {
        access: text(&answer, "access_token"),
        refresh: text(&answer, "refresh_token"),
        id: text(&answer, "session_id"),
    }
}

fn new_session(gateway: &Gateway) -> Session {
    session(gateway, &signin(gateway))
}

fn renew(gateway: &Gateway, refresh: &str) -> Response {
    call(gateway, "POST /api/tokens/renew", None, &json!({ "refreshToken": refresh }))
}

fn products(gateway: &Gateway, access: &str) -> Response {
    call(gateway, "GET /api/products", Some(access), &Value::Null)
}

/// Every refusal has the one shape (S1-24).
fn assert_refused(answer: &Response, status: u16, what: &str) {
    assert_eq!(answer.status, status, "{what}: {}", answer.text());
    assert!(answer.json()["message"].is_string(), "{what}: {}", answer.text());
}

mod lines {
    use super::*;

    pub(super) fn s1_02_signin_registers_an_account(place: &Place<'_>) {
        let shop = Shop::start();
        let gateway = start(place, &shop);
        let email = new_email();
        let body = json!({ "email": email, "password": PASSWORD, "firstName": "Ada", "profile": { "city": "London" } });
        let answer = call(&gateway, "POST /api/auth/signin", None, &body);
        assert_eq!(answer.status, 201, "{}", answer.text());
        assert_eq!(answer.json()["email"], email);
        assert_eq!(answer.json()["profile"], json!({ "firstName": "Ada", "city": "London" }));
        assert_refused(&call(&gateway, "POST /api/auth/signin", None, &body), 409, "a second time");
    }

    pub(super) fn s1_03_login_answers_an_access_and_a_refresh_token(place: &Place<'_>) {
        let shop = Shop::start();
        let gateway = start(place, &shop);
        let email = signin(&gateway);
        let session = session(&gateway, &email);
        assert_eq!((session.access.split('.').count(), session.refresh.len()), (3, 43));
        assert_eq!(products(&gateway, &session.access).status, 200);
        assert_refused(&login(&gateway, &email, "not the password"), 401, "a wrong password");
        assert_refused(&login(&gateway, "nobody@example.com", PASSWORD), 401, "nobody");
    }

    pub(super) fn s1_04_logout_ends_the_session_that_id_names(place: &Place<'_>) {
        let shop = Shop::start();
        let gateway = start(place, &shop);
        let session = new_session(&gateway);
        assert_eq!(products(&gateway, &session.access).status, 200);
        let access = Some(session.access.as_str());
        assert_refused(&call(&gateway, "POST /api/auth/logout", access, &Value::Null), 400, "without id");
        let line = format!("POST /api/auth/logout?id={}", session.id);
        assert_eq!(call(&gateway, &line, access, &Value::Null).status, 204);
        // On every worker, and whatever was cached.
        for _ in 0..8 {
            assert_refused(&products(&gateway, &session.access), 401, "after the logout");
        }
    }

    pub(super) fn s1_05_renew_answers_a_new_access_token(place: &Place<'_>) {
        let shop = Shop::start();
        let gateway = start(place, &shop);
        let session = new_session(&gateway);
        let answer = renew(&gateway, &session.refresh);
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_ne!(text(&answer, "access_token"), session.access);
        assert_eq!(products(&gateway, &text(&answer, "access_token")).status, 200);
        assert_refused(&renew(&gateway, "made up"), 401, "no such token");
    }

    pub(super) fn s1_06_revoke_ends_one_session_by_id(place: &Place<'_>) {
        let shop = Shop::start();
        let gateway = start(place, &shop);
        let email = signin(&gateway);
        let (one, other) = (session(&gateway, &email), session(&gateway, &email));
        let access = Some(one.access.as_str());
        assert_refused(&call(&gateway, "POST /api/tokens/revoke", access, &Value::Null), 400, "without id");
        let line = format!("POST /api/tokens/revoke?id={}", other.id);
        let eve = new_session(&gateway);
        assert_refused(&call(&gateway, &line, Some(&eve.access), &Value::Null), 404, "somebody else's");
        assert_eq!(call(&gateway, &line, access, &Value::Null).status, 204);
        assert_refused(&products(&gateway, &other.access), 401, "the revoked one");
        assert_eq!(products(&gateway, &one.access).status, 200, "the other one stays");
    }

    pub(super) fn s1_13_all_routes_want_a_valid_token(place: &Place<'_>) {
        let shop = Shop::start();
        let gateway = start(place, &shop);
        let session = new_session(&gateway);
        let cut = &session.access[..session.access.len() - 4];
        for route in ROUTES {
            for method in ["GET", "POST", "PUT", "DELETE"] {
                for token in [None, Some("made.up.token"), Some(cut), Some(session.refresh.as_str())] {
                    let answer = call(&gateway, &format!("{method} {route}/7"), token, &Value::Null);
                    assert_refused(&answer, 401, route);
                    assert!(answer.header("www-authenticate").unwrap().starts_with("Bearer"));
                }
            }
        }
        assert_eq!(shop.hits(), 0, "a service was asked without a good token");
        for route in ROUTES {
            let answer = call(&gateway, &format!("GET {route}/7"), Some(&session.access), &Value::Null);
            assert_eq!(answer.status, 200, "{route}: {}", answer.text());
        }
        let seen = shop.products.requests().pop().unwrap();
        assert_eq!(seen.header("x-user-id"), claims(&session.access)["sub"].as_str());
    }

    pub(super) fn s1_14_all_routes_are_limited(place: &Place<'_>) {
        let shop = Shop::start();
        let gateways = [start_with(place, &shop, "8/h"), start_with(place, &shop, "8/h")];
        let session = new_session(&gateways[0]);
        let ask = |gateway: &Gateway, route: &str| {
            call(gateway, &format!("GET {route}/1"), Some(&session.access), &Value::Null)
        };
        for (passed, route) in ROUTES.iter().cycle().take(8).enumerate() {
            // Where there is no Redis, an instance counts for itself.
            let gateway = if place.redis().is_some() { &gateways[passed % 2] } else { &gateways[0] };
            assert_eq!(ask(gateway, route).status, 200, "request {passed}");
        }
        for route in ROUTES {
            let answer = ask(&gateways[0], route);
            assert_refused(&answer, 429, route);
            assert!(answer.header("retry-after").is_some(), "{answer:?}");
        }
        let other = ask(&gateways[1], ROUTES[0]).status;
        assert_eq!(other, if place.redis().is_some() { 429 } else { 200 }, "the other instance");
        let eve = new_session(&gateways[0]);
        assert_eq!(products(&gateways[0], &eve.access).status, 200, "each caller for themselves");
    }

    pub(super) fn s1_15_all_routes_are_cached(place: &Place<'_>) {
        let shop = Shop::start();
        let gateways = [start(place, &shop), start(place, &shop)];
        let (ada, eve) = (new_session(&gateways[0]), new_session(&gateways[0]));
        for route in ROUTES {
            let get = |gateway: &Gateway, session: &Session| {
                call(gateway, &format!("GET {route}/9"), Some(&session.access), &Value::Null)
            };
            let first = get(&gateways[0], &ada);
            let second = get(&gateways[0], &ada);
            assert_eq!((first.status, second.text()), (200, first.text()), "{route}");
            assert!(second.header("cache-status").unwrap().starts_with("gateway; hit"), "{second:?}");
            assert_ne!(
                get(&gateways[0], &eve).text(),
                first.text(),
                "{route}: Ada's answers are not for Eve"
            );
            if place.redis().is_some() {
                let mut turn = 0;
                wait_until("the other instance to have it", SOON, || {
                    turn += 1;
                    // Who asks before it is in Redis keeps an answer of its own, so each time it is something new.
                    let line = format!("GET {route}/new-{turn}");
                    let [first, second] = gateways.each_ref().map(|gateway| {
                        let answer = call(gateway, &line, Some(&ada.access), &Value::Null);
                        std::thread::sleep(Duration::from_millis(20 * turn));
                        answer
                    });
                    second
                        .header("cache-status")?
                        .starts_with("gateway; hit")
                        .then(|| assert_eq!(second.text(), first.text()))
                });
            }
        }
    }

    pub(super) fn s1_20_a_revoked_session_can_no_longer_renew(place: &Place<'_>) {
        let shop = Shop::start();
        let gateways = [start(place, &shop), start(place, &shop)];
        let session = new_session(&gateways[0]);
        assert_eq!(products(&gateways[1], &session.access).status, 200, "both know each other's tokens");
        let line = format!("POST /api/tokens/revoke?id={}", session.id);
        assert_eq!(call(&gateways[0], &line, Some(&session.access), &Value::Null).status, 204);
        for gateway in &gateways {
            assert_refused(&renew(gateway, &session.refresh), 401, "a revoked session renews");
        }
        assert_refused(&products(&gateways[0], &session.access), 401, "the access token");
        if place.redis().is_some() {
            assert_refused(&products(&gateways[1], &session.access), 401, "the access token elsewhere");
        }
    }

    pub(super) fn s1_21_users_are_kept_and_passwords_never_shown(place: &Place<'_>) {
        let shop = Shop::start();
        let gateway = start(place, &shop);
        let email = signin(&gateway);
        let answers = [
            login(&gateway, &email, PASSWORD),
            call(&gateway, "GET /api/auth/me", Some(&session(&gateway, &email).access), &Value::Null),
            login(&gateway, &email, "a wrong password indeed"),
        ];
        let log = wait_until("the access log", SOON, || {
            let log = gateway.access_log();
            log.iter().any(|line| line["status"] == 401).then(|| format!("{log:?}"))
        });
        let said = gateway.stop();
        assert_eq!(said.code, Some(0), "{}", said.stderr);
        let mut shown = [log, said.stdout, said.stderr].concat();
        shown.extend(answers.iter().map(|answer| format!("{answer:?}{}", answer.text())));
        assert!(!shown.contains(PASSWORD) && !shown.contains("a wrong password indeed"), "{shown}");
        assert!(!shown.contains("$argon2"), "{shown}");
        if let Some(file) = place.file() {
            // And what is not yet moved there from the log.
            let kept =
                [file.to_owned(), format!("{file}-wal")].map(|file| std::fs::read(file).unwrap_or_default());
            let kept = String::from_utf8_lossy(&kept.concat()).into_owned();
            assert!(!kept.contains(PASSWORD) && kept.contains("$argon2id$"));
        }
        // It is still there when the gateway starts again.
        let again = start(place, &shop);
        assert_eq!(login(&again, &email, PASSWORD).status, 200);
    }

    pub(super) fn s1_22_both_tokens_belong_to_one_session(place: &Place<'_>) {
        let shop = Shop::start();
        let gateway = start(place, &shop);
        let email = signin(&gateway);
        let answer = login(&gateway, &email, PASSWORD);
        assert_eq!(
            (answer.json()["token_type"].as_str(), &answer.json()["expires_in"]),
            (Some("Bearer"), &json!(900))
        );
        let session = session(&gateway, &email);
        assert_eq!(claims(&session.access)["sid"], session.id);
        let renewed = renew(&gateway, &session.refresh);
        assert_eq!(text(&renewed, "session_id"), session.id);
        assert_eq!(claims(&text(&renewed, "access_token"))["sid"], session.id);
        let line = format!("POST /api/auth/logout?id={}", session.id);
        assert_eq!(call(&gateway, &line, Some(&session.access), &Value::Null).status, 204);
        assert_refused(&renew(&gateway, &text(&renewed, "refresh_token")), 401, "the refresh token");
        assert_refused(&products(&gateway, &text(&renewed, "access_token")), 401, "the access token");
    }
}

#[test]
fn s1_07_health_is_reported() {
    let shop = Shop::start();
    let place = Place::alone();
    let gateway = start(&place, &shop);
    let answer = get(gateway.addr(), "/api/health");
    assert_eq!((answer.status, answer.json()), (200, json!({ "status": "ok" })));
}

#[test]
fn s1_08_s1_09_s1_10_each_path_goes_to_its_service_whatever_the_method() {
    let shop = Shop::start();
    let place = Place::alone();
    let gateway = start(&place, &shop);
    let access = new_session(&gateway).access;
    for (method, hits) in [("GET", 1), ("POST", 2), ("PUT", 3), ("DELETE", 4)] {
        for (route, service) in ROUTES.iter().zip([&shop.products, &shop.orders, &shop._chat]) {
            let answer = call(&gateway, &format!("{method} {route}/1?a=b"), Some(&access), &Value::Null);
            assert_eq!(answer.status, 200, "{method} {route}");
            let seen = service.requests().pop().unwrap();
            assert_eq!(
                (seen.method.as_str(), seen.target.as_str()),
                (method, format!("{route}/1?a=b").as_str())
            );
            assert_eq!(service.hits(), hits);
        }
    }
}

#[test]
fn s1_11_s1_15_generated_texts_pass_as_they_come_and_are_never_cached() {
    let (chat, asked) = scripted();
    let place = Place::alone();
    let gateway = start(&place, &Shop::with_chat(chat));
    let access = new_session(&gateway).access;
    for _ in 0..2 {
        let mut client = Wire::connect(gateway.addr());
        let head = format!(
            "GET /api/generate?prompt=x HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {access}\r\n\r\n"
        );
        client.send(head.as_bytes()).unwrap();
        let mut service = asked.recv_timeout(SOON).unwrap();
        service
            .send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
            .unwrap();
        while client.line().unwrap().trim() != "" {}
        for word in ["data: one\n\n", "data: two\n\n", "data: six\n\n"] {
            let chunk = format!("{:x}\r\n{word}\r\n", word.len());
            service.send(chunk.as_bytes()).unwrap();
            // It is here before the next one is sent.
            let arrived = client.bytes(chunk.len()).unwrap();
            assert_eq!(String::from_utf8_lossy(&arrived), chunk);
        }
        service.send(b"0\r\n\r\n").unwrap();
        assert_eq!(client.bytes(5).unwrap(), b"0\r\n\r\n");
    }
}

#[test]
fn s1_12_other_methods_are_405_and_allow_says_which() {
    let shop = Shop::start();
    let place = Place::alone();
    let gateway = start(&place, &shop);
    let access = new_session(&gateway).access;
    for route in ROUTES {
        for method in ["PATCH", "PROPFIND", "OPTIONS"] {
            let answer = call(&gateway, &format!("{method} {route}/1"), Some(&access), &Value::Null);
            // `OPTIONS` asks for nothing but what is allowed.
            if method == "OPTIONS" {
                assert_eq!(answer.status, 204, "{}", answer.text());
            } else {
                assert_refused(&answer, 405, route);
            }
            let mut allowed: Vec<_> = answer.header("allow").unwrap().split(", ").collect();
            allowed.sort_unstable();
            assert_eq!(allowed, ["DELETE", "GET", "HEAD", "POST", "PUT"], "{route}");
        }
    }
}

#[test]
fn s1_23_s1_24_every_request_is_a_line_and_every_error_has_one_shape() {
    let mut shop = Shop::start();
    shop.products.kill();
    let place = Place::alone();
    let gateway = start_with(&place, &shop, "2/h");
    let session = new_session(&gateway);
    assert_refused(&products(&gateway, &session.access), 502, "of the proxy");
    assert_refused(&get(gateway.addr(), "/api/orders"), 401, "of authentication");
    assert_refused(&get(gateway.addr(), "/api/nothing"), 404, "of routing");
    products(&gateway, &session.access);
    assert_refused(&products(&gateway, &session.access), 429, "of the limiter");
    // Each worker writes its own lines, so the last request's may come before others'.
    let log = wait_until("the log", SOON, || Some(gateway.access_log()).filter(|log| log.len() >= 7));
    assert_eq!(log.len(), 7, "{log:?}");
    assert!(log.iter().any(|line| line["status"] == 429), "{log:?}");
}

#[test]
fn s1_25_without_redis_or_a_database_the_start_fails_clearly() {
    for (name, value, said) in [
        ("GATEWAY_STORE__REDIS__URL", "redis://127.0.0.1:1", "127.0.0.1:1"),
        ("DATABASE_URL", "postgres://nobody@127.0.0.1:1/none", "the database of accounts cannot be opened"),
    ] {
        let place = Place::alone();
        let config = include_str!("../gateway.toml")
            .replace("0.0.0.0:8080", "127.0.0.1:@PORT@")
            .replace("127.0.0.1:9901", "127.0.0.1:@ADMIN@");
        let ended = place.builder().env(name, value).config(&config).run();
        assert_ne!(ended.code, Some(0));
        assert!(ended.stderr.contains(said), "{name}: {}", ended.stderr);
    }
}

#[test]
fn s1_26_a_websocket_of_the_chat_passes_with_a_token_and_only_with_one() {
    let place = Place::alone();
    let gateway = start(&place, &Shop::with_chat(websocket_echo()));
    let access = new_session(&gateway).access;
    let open = |authorization: &str| {
        let mut wire = Wire::connect(gateway.addr());
        let head = format!(
            "GET /api/chat/room HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n{authorization}\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        wire.send(head.as_bytes()).unwrap();
        let answer = wire.answer("GET").unwrap();
        (wire, answer)
    };
    assert_refused(&open("").1, 401, "without a token");
    let (mut wire, answer) = open(&format!("Authorization: Bearer {access}\r\n"));
    assert_eq!(answer.status, 101, "{answer:?}");
    // A masked text of two bytes, and the echo of it.
    wire.send(&[0x81, 0x82, 0, 0, 0, 0, b'h', b'i']).unwrap();
    assert_eq!(wire.bytes(4).unwrap(), [0x81, 2, b'h', b'i']);
}

#[test]
fn limits_and_revocations_go_on_when_redis_comes_back() {
    let mut redis = Redis::start();
    let port = redis.port();
    let shop = Shop::start();
    let place = Place::alone();
    let config = place.builder().env("GATEWAY_STORE__REDIS__URL", &format!("redis://127.0.0.1:{port}"));
    let text = changed(
        include_str!("../gateway.toml"),
        &[
            ("\"http://127.0.0.1:4001\"", &format!("{:?}", shop.products.url())),
            ("0.0.0.0:8080", "127.0.0.1:@PORT@"),
            ("127.0.0.1:9901", "127.0.0.1:@ADMIN@"),
            ("${ACCESS_LOG:-access.log}", "@DIR@/access.log"),
            ("shop = \"100/min\"", "shop = \"100000/min\""),
        ],
    );
    let gateway = config.config(&(text + QUICK)).start();
    let ada = new_session(&gateway);
    assert_eq!(products(&gateway, &ada.access).status, 200);
    redis.kill();
    for _ in 0..5 {
        let answer = Client::new(gateway.addr())
            .send(&request("GET /api/products/away", Some(&ada.access), &Value::Null).header("X-Away", "1"));
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    redis.restart();
    wait_until("the counts to be in Redis again", SOON, || {
        assert_eq!(products(&gateway, &ada.access).status, 200);
        (!redis.keys("gateway:rate_limit:*").is_empty()).then_some(())
    });
    let line = format!("POST /api/auth/logout?id={}", ada.id);
    assert_eq!(call(&gateway, &line, Some(&ada.access), &Value::Null).status, 204);
    assert_refused(&products(&gateway, &ada.access), 401, "after the logout");
    assert_eq!(Client::new(gateway.addr()).send(&Request::get("/api/health")).status, 200);
}
