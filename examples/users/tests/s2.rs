//! Reference system S2, line by line, through the compiled binary over sockets. The number of the line is in the
//! test's name. (What lines say of accounts alone has its tests in `gateway-identity`.)
#![allow(clippy::unwrap_used)]

#[path = "../../runner/tests/place/mod.rs"]
mod place;

use gateway_testkit::{Client, Gateway, Recorded, Reply, Request, Response, Upstream, failing, get};
use place::{
    ADMIN, ADMIN_PASSWORD, EXE, PASSWORD, Place, QUICK, call, changed, claims, everywhere, new_email, text,
};
use serde_json::{Value, json};

everywhere! {
    s2_01_one_gateway_verifies_the_tokens_of_all_services
    s2_02_access_and_refresh_tokens_are_fetched
    s2_03_an_access_token_is_refreshed
    s2_04_users_are_created_listed_read_changed_and_deleted
    s2_08_a_service_that_does_not_answer_is_503
    s2_15_answers_are_cached_for_each_user
    s2_18_the_service_gets_a_token_that_the_gateway_signed
    s2_20_lives_words_and_headers_are_those_of_s2
}

#[test]
fn s2_10_the_gateway_listens_on_8001_and_describes_its_accounts() {
    assert!(include_str!("../gateway.toml").contains("listen = \"0.0.0.0:8001\""));
    let place = Place::alone();
    let gateway = start(&place, "http://127.0.0.1:1");
    let document = get(gateway.addr(), "/openapi.json").json();
    assert!(document["paths"]["/api/v1/login/access-token"]["post"].is_object(), "{document}");
}

#[test]
fn s2_12_the_http_file_exercises_every_endpoint_of_the_interface() {
    let place = Place::alone();
    let gateway = start(&place, "http://127.0.0.1:1");
    let document = get(gateway.addr(), "/openapi.json").json();
    let file = include_str!("../users.http");
    for path in
        ["register", "login/access-token", "login/refresh-token", "users/me", "users", "logout", "password"]
    {
        let path = format!("/api/v1/{path}");
        assert!(document["paths"][&path].is_object(), "{path} is not in {document}");
        assert!(file.contains(&format!("{{{{host}}}}{path}")), "{path} is not in users.http");
    }
}

/// The example's own configuration, with its addresses changed to those of the test.
fn start(place: &Place<'_>, tasks: &str) -> Gateway {
    let config = changed(
        include_str!("../gateway.toml"),
        &[
            ("http://127.0.0.1:8101", tasks),
            ("0.0.0.0:8001", "127.0.0.1:@PORT@"),
            ("127.0.0.1:9911", "127.0.0.1:@ADMIN@"),
            ("${ACCESS_LOG:-access.log}", "@DIR@/access.log"),
        ],
    );
    place.builder().config(&(config + QUICK)).start()
}

/// A service that answers every request with its number.
fn counting() -> Upstream {
    let count = std::sync::atomic::AtomicUsize::new(0);
    Upstream::start(move |_: &Recorded| {
        let number = count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        Reply::with(200, &[("Content-Type", "application/json")], &number.to_string())
    })
}

fn login(gateway: &Gateway, name: &str, password: &str) -> Response {
    let form = format!(
        "grant_type=password&username={}&password={}",
        name.replace('@', "%40"),
        password.replace(' ', "+")
    );
    let request = Request::new("POST", "/api/v1/login/access-token")
        .header("Content-Type", "application/x-www-form-urlencoded");
    Client::new(gateway.addr()).send(&request.body(form))
}

/// A new user: id, access token, refresh token.
fn user(gateway: &Gateway) -> (String, String, String) {
    let email = new_email();
    let answer =
        call(gateway, "POST /api/v1/register", None, &json!({ "email": email, "password": PASSWORD }));
    assert_eq!(answer.status, 201, "{}", answer.text());
    let id = text(&answer, "id");
    let tokens = login(gateway, &email, PASSWORD);
    assert_eq!(tokens.status, 200, "{}", tokens.text());
    (id, text(&tokens, "access_token"), text(&tokens, "refresh_token"))
}

fn admin(gateway: &Gateway) -> String {
    let answer = login(gateway, ADMIN, ADMIN_PASSWORD);
    assert_eq!(answer.status, 200, "{}", answer.text());
    text(&answer, "access_token")
}

mod lines {
    use super::*;

    pub(super) fn s2_01_one_gateway_verifies_the_tokens_of_all_services(place: &Place<'_>) {
        let tasks = counting();
        let gateway = start(place, &tasks.url());
        let (_, access, _) = user(&gateway);
        for token in [None, Some("no.such.token"), Some(&access[..access.len() - 4])] {
            for line in ["GET /api/v1/tasks", "POST /api/v1/tasks/7", "GET /api/v1/tasks/all"] {
                assert_eq!(call(&gateway, line, token, &Value::Null).status, 401, "{line} {token:?}");
            }
        }
        assert_eq!(tasks.hits(), 0, "the service was asked without a good token");
        assert_eq!(call(&gateway, "GET /api/v1/tasks", Some(&access), &Value::Null).status, 200);
        assert_eq!(call(&gateway, "POST /api/v1/tasks/7", Some(&access), &json!({})).status, 200);
        assert_eq!(tasks.hits(), 2);

        // A session that has ended takes its tokens with it.
        assert_eq!(call(&gateway, "POST /api/v1/logout", Some(&access), &Value::Null).status, 204);
        assert_eq!(call(&gateway, "POST /api/v1/tasks/7", Some(&access), &json!({})).status, 401);
    }

    pub(super) fn s2_02_access_and_refresh_tokens_are_fetched(place: &Place<'_>) {
        let gateway = start(place, "http://127.0.0.1:1");
        let (id, access, refresh) = user(&gateway);
        assert_eq!(claims(&access)["sub"], id);
        assert_eq!(refresh.len(), 43, "256 bits in base64");
        let wrong = login(&gateway, ADMIN, "not the password");
        let unknown = login(&gateway, "nobody@example.com", "not the password");
        assert_eq!((wrong.status, unknown.status), (401, 401));
        assert_eq!(wrong.text(), unknown.text(), "both say the same");
    }

    pub(super) fn s2_03_an_access_token_is_refreshed(place: &Place<'_>) {
        let tasks = counting();
        let gateway = start(place, &tasks.url());
        let (_, access, refresh) = user(&gateway);
        let line = "POST /api/v1/login/refresh-token";
        let answer = call(&gateway, line, None, &json!({ "refresh_token": refresh }));
        assert_eq!(answer.status, 200, "{}", answer.text());
        let renewed = text(&answer, "access_token");
        assert_ne!(renewed, access);
        assert_eq!(call(&gateway, "GET /api/v1/tasks", Some(&renewed), &Value::Null).status, 200);
        let answer = call(&gateway, line, None, &json!({ "refresh_token": "made up" }));
        assert_eq!(answer.status, 401, "{}", answer.text());
    }

    pub(super) fn s2_04_users_are_created_listed_read_changed_and_deleted(place: &Place<'_>) {
        let gateway = start(place, "http://127.0.0.1:1");
        let root = admin(&gateway);
        let root = Some(root.as_str());
        let (email, other) = (new_email(), new_email());
        let new = json!({ "email": email, "password": PASSWORD, "profile": { "city": "London" } });
        let created = call(&gateway, "POST /api/v1/users", root, &new);
        assert_eq!(created.status, 201, "{}", created.text());
        let line = |method: &str| format!("{method} /api/v1/users/{}", text(&created, "id"));
        assert_eq!(created.header("location"), line("").strip_prefix(' '));

        let listed = call(&gateway, "GET /api/v1/users?limit=500", root, &Value::Null);
        assert!(listed.text().contains(&email), "{}", listed.text());
        let read = call(&gateway, &line("GET"), root, &Value::Null);
        assert_eq!((read.status, &read.json()["profile"]["city"]), (200, &json!("London")));
        let changed =
            call(&gateway, &line("PUT"), root, &json!({ "email": other, "profile": { "city": "Rome" } }));
        assert_eq!(changed.status, 200, "{}", changed.text());
        assert_eq!(
            (text(&changed, "email"), &changed.json()["profile"]["city"]),
            (other.clone(), &json!("Rome"))
        );
        assert_eq!(login(&gateway, &other, PASSWORD).status, 200);
        assert_eq!(call(&gateway, &line("DELETE"), root, &Value::Null).status, 204);
        assert_eq!(call(&gateway, &line("GET"), root, &Value::Null).status, 404);
        assert_eq!(login(&gateway, &other, PASSWORD).status, 401);
    }

    pub(super) fn s2_08_a_service_that_does_not_answer_is_503(place: &Place<'_>) {
        let (closing, _) = failing(gateway_testkit::Fault::AcceptThenClose);
        let nobody = gateway_testkit::free_port();
        for service in [format!("http://127.0.0.1:{nobody}"), format!("http://{closing}")] {
            let gateway = start(place, &service);
            let (_, access, _) = user(&gateway);
            let answer = call(&gateway, "GET /api/v1/tasks", Some(&access), &Value::Null);
            assert_eq!(answer.status, 503, "{}", answer.text());
            assert_eq!(answer.json(), json!({ "detail": "Service is unavailable." }));
        }
    }

    pub(super) fn s2_15_answers_are_cached_for_each_user(place: &Place<'_>) {
        let tasks = counting();
        let gateway = start(place, &tasks.url());
        let ((_, ada, _), (_, eve, _)) = (user(&gateway), user(&gateway));
        let get = |token: &str| call(&gateway, "GET /api/v1/tasks", Some(token), &Value::Null);
        let (first, second) = (get(&ada), get(&ada));
        assert_eq!((first.text().as_str(), second.text().as_str()), ("0", "0"));
        assert!(second.header("cache-status").unwrap().starts_with("gateway; hit"), "{second:?}");
        assert_eq!(get(&eve).text(), "1", "somebody else's answers are not for Eve");
        // Who changes something sees what it changed.
        assert_eq!(call(&gateway, "POST /api/v1/tasks", Some(&ada), &json!({})).text(), "2");
        assert_eq!(get(&ada).text(), "3");
        // Without a token there is nothing, cached or not.
        assert_eq!(call(&gateway, "GET /api/v1/tasks", None, &Value::Null).status, 401);
        if let Some(redis) = place.redis() {
            assert!(redis.keys("gateway:cache:*").len() >= 2, "{:?}", redis.keys("*"));
        }
    }

    pub(super) fn s2_18_the_service_gets_a_token_that_the_gateway_signed(place: &Place<'_>) {
        let tasks = counting();
        let gateway = start(place, &tasks.url());
        let (id, access, _) = user(&gateway);
        let forged = place::request("GET /api/v1/tasks", Some(&access), &Value::Null)
            .header("X-Internal-Assertion", "forged");
        assert_eq!(Client::new(gateway.addr()).send(&forged).status, 200);
        let seen = tasks.requests().pop().unwrap();
        let assertions: Vec<_> = seen
            .headers
            .iter()
            .filter(|(name, _)| name.eq_ignore_ascii_case("x-internal-assertion"))
            .collect();
        assert_eq!(assertions.len(), 1, "{:?}", seen.headers);
        let assertion = &assertions[0].1;
        let said = claims(assertion);
        assert_eq!(
            (&said["sub"], &said["aud"], &said["iss"]),
            (&json!(id), &json!("tasks"), &json!("gateway"))
        );

        // Somebody who knows nothing but where the keys are verifies it.
        let verifier = format!(
            "server.listen = \"127.0.0.1:@PORT@\"\naccess_log = false\n\
             [auth.jwt.internal]\njwks_url = \"http://{}/.well-known/jwks.json\"\naudience = \"tasks\"\n\
             [[routes]]\npath = \"/\"\nrespond = \"verified\"\nauth = \"internal\"\n",
            gateway.addr()
        );
        let verifier = Gateway::builder(EXE).config(&verifier).start();
        let show = |token: &str| call(&verifier, "GET /", Some(token), &Value::Null);
        let answer = show(assertion);
        assert_eq!((answer.status, answer.text().as_str()), (200, "verified"), "{}", answer.text());
        assert_eq!(show(&access).status, 401, "a user's own token is not for the service");
        assert_eq!(show(&assertion[..assertion.len() - 4]).status, 401);
    }

    pub(super) fn s2_20_lives_words_and_headers_are_those_of_s2(place: &Place<'_>) {
        let tasks = Upstream::start(|_| Reply::raw(b"SMTP nonsense\r\n\r\n", true));
        assert!(include_str!("../gateway.toml").contains("timeout = \"59s\""));
        let gateway = start(place, &tasks.url());
        let (_, access, _) = user(&gateway);
        let said = claims(&access);
        assert_eq!(said["exp"].as_u64().unwrap() - said["iat"].as_u64().unwrap(), 360 * 60);

        let answer = call(&gateway, "GET /api/v1/tasks", None, &Value::Null);
        assert_eq!(answer.status, 401);
        assert!(answer.header("www-authenticate").unwrap().starts_with("Bearer"), "{answer:?}");
        let not_allowed = json!({ "detail": "You are not allowed to access this scope." });
        for line in ["GET /api/v1/users", "GET /api/v1/tasks/all"] {
            let answer = call(&gateway, line, Some(&access), &Value::Null);
            assert_eq!((answer.status, answer.json()), (403, not_allowed.clone()), "{line}");
        }
        let answer = call(&gateway, "GET /api/v1/tasks", Some(&access), &Value::Null);
        assert_eq!((answer.status, answer.json()), (500, json!({ "detail": "Service error." })));

        let tasks = counting();
        let gateway = start(place, &tasks.url());
        let (id, access, _) = user(&gateway);
        let spoofed = place::request("GET /api/v1/tasks", Some(&access), &Value::Null);
        let spoofed = spoofed.header("request-user-id", "root").header("Request_User_Id", "root");
        assert_eq!(Client::new(gateway.addr()).send(&spoofed).status, 200);
        let seen = tasks.requests().pop().unwrap();
        let told: Vec<_> = seen
            .headers
            .iter()
            .filter(|(name, _)| name.replace('_', "-").eq_ignore_ascii_case("request-user-id"))
            .map(|(_, value)| value.as_str())
            .collect();
        assert_eq!(told, [id]);
        assert_eq!(call(&gateway, "GET /api/v1/tasks/all", Some(&admin(&gateway)), &Value::Null).status, 200);
    }
}
