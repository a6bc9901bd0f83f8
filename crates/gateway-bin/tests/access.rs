//! Who may call, what services are told of them, and what operators change while it runs.
#![allow(clippy::unwrap_used)]

use gateway_testkit::{
    Client, Gateway, GatewayBuilder, Redis, Reply, Request, Response, Upstream, get, wait_until,
};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::time::Duration;

const EXE: &str = env!("CARGO_BIN_EXE_gateway");
const SECRET: &str = "a secret for tests, 32 bytes long";

fn builder(upstream: &Upstream, rest: &str) -> GatewayBuilder {
    let config = format!(
        "access_log = false\n{rest}\n[server]\nlisten = \"127.0.0.1:@PORT@\"\nworkers = 2\nwatch = false\n\
         [admin]\nlisten = \"127.0.0.1:@ADMIN@\"\n[services.a]\nendpoints = [\"{}\"]\nassertion = {}\n\
         [auth.jwt.shop]\nsecret = \"{SECRET}\"\n[auth.api_keys.partners]\n",
        upstream.url(),
        rest.contains("assertion"),
    );
    Gateway::builder(EXE).config(&config)
}

/// A gateway with these routes, which stand after all tables.
fn gateway(upstream: &Upstream, top: &str, routes: &str) -> Gateway {
    let builder = builder(upstream, top);
    let path = builder.dir().join("gateway.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text + routes).unwrap();
    builder.start()
}

fn token(gateway: &Gateway, claims: &[&str]) -> String {
    let config = gateway.dir().join("gateway.toml");
    let mut command = std::process::Command::new(EXE);
    command.args(["token", "--auth", "shop", "--config"]).arg(config);
    for claim in claims {
        command.args(["--claim", claim]);
    }
    String::from_utf8(command.output().unwrap().stdout).unwrap().trim().to_owned()
}

fn with(addr: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Response {
    let mut request = Request::get(path);
    for (name, value) in headers {
        request = request.header(name, value);
    }
    Client::new(addr).send(&request)
}

fn admin(gateway: &Gateway, method: &str, path: &str, body: &Value) -> (u16, Value) {
    let request = Request::new(method, path).body(body.to_string().as_bytes());
    let answer = Client::new(gateway.admin()).send(&request);
    (answer.status, serde_json::from_str(&answer.text()).unwrap_or(Value::Null))
}

fn unix_now() -> u64 {
    std::time::UNIX_EPOCH.elapsed().unwrap().as_secs()
}

fn code(answer: &Response) -> String {
    answer.json()["code"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn an_api_key_is_made_used_and_revoked_while_the_gateway_runs() {
    let upstream = Upstream::named("a");
    let route = "[[routes]]\npath = \"/*\"\nservice = \"a\"\nauth = [\"shop\", \"partners\"]\n";
    let gateway = gateway(&upstream, "", route);
    assert_eq!(code(&get(gateway.addr(), "/")), "missing-credentials");

    let (status, made) = admin(&gateway, "POST", "/keys/partners", &json!({ "id": "acme", "tier": "gold" }));
    assert_eq!(status, 201, "{made}");
    let key = made["key"].as_str().unwrap();
    assert_eq!(with(gateway.addr(), "/", &[("X-API-Key", key)]).status, 200);
    let bearer = format!("Bearer {}", token(&gateway, &["sub=ada"]));
    assert_eq!(
        with(gateway.addr(), "/", &[("Authorization", &bearer)]).status,
        200,
        "the other way is good too"
    );

    let (_, listed) = admin(&gateway, "GET", "/keys", &Value::Null);
    assert_eq!(listed["partners"][0]["id"], "acme");
    assert!(!listed.to_string().contains(key), "keys are told once");
    assert_eq!(
        admin(&gateway, "DELETE", "/keys/partners/acme", &Value::Null),
        (200, json!({ "revoked": 1 }))
    );
    assert_eq!(with(gateway.addr(), "/", &[("X-API-Key", key)]).status, 401);

    for (method, path, body, status) in [
        ("DELETE", "/keys/partners/acme", Value::Null, 404),
        ("POST", "/keys/nobody", json!({ "id": "x" }), 404),
        ("POST", "/keys/partners", json!({ "idd": "x" }), 400),
        ("POST", "/keys/partners", json!("x"), 400),
        ("POST", "/keys/partners", json!({ "id": "" }), 400),
        ("PUT", "/keys/partners", Value::Null, 405),
    ] {
        assert_eq!(admin(&gateway, method, path, &body).0, status, "{method} {path} {body}");
    }
}

#[test]
fn an_api_key_of_any_name_can_be_revoked() {
    let upstream = Upstream::named("a");
    let gateway = gateway(&upstream, "", "[[routes]]\npath = \"/*\"\nservice = \"a\"\nauth = \"partners\"\n");
    for (id, encoded) in [
        ("one two", "one%20two"),
        ("a/b", "a%2Fb"),
        ("a/../b", "a%2F..%2Fb"),
        ("Zoë", "Zo%C3%AB"),
        ("50%", "50%25"),
        ("a+b", "a+b"),
    ] {
        let (_, made) = admin(&gateway, "POST", "/keys/partners", &json!({ "id": id }));
        let key = [("X-API-Key", made["key"].as_str().unwrap())];
        assert_eq!(with(gateway.addr(), "/", &key).status, 200, "{id}");
        let revoked = admin(&gateway, "DELETE", &format!("/keys/partners/{encoded}"), &Value::Null);
        assert_eq!(revoked, (200, json!({ "revoked": 1 })), "{id}");
        assert_eq!(with(gateway.addr(), "/", &key).status, 401, "{id}");
    }
}

#[test]
fn rules_decide_what_a_known_caller_may_do() {
    let upstream = Upstream::named("a");
    let route = "[[routes]]\npath = \"/*\"\nservice = \"a\"\nauth = \"shop\"\n\
                 authorize = { scopes = [\"orders:read\"], methods = { POST = { roles = [\"admin\"] } } }\n";
    let gateway = gateway(&upstream, "", route);
    let bearer = |claims: &[&str]| format!("Bearer {}", token(&gateway, claims));
    let reader = bearer(&["sub=ada", "scope=orders:read"]);
    assert_eq!(with(gateway.addr(), "/", &[("Authorization", &reader)]).status, 200);

    let refused = with(gateway.addr(), "/", &[("Authorization", &bearer(&["sub=ada"]))]);
    assert_eq!((refused.status, code(&refused).as_str()), (403, "insufficient-scope"));
    let challenge = refused.header("www-authenticate").unwrap();
    assert!(
        challenge.contains("error=\"insufficient_scope\"") && challenge.contains("orders:read"),
        "{challenge}"
    );

    let post = |bearer: &str| {
        Client::new(gateway.addr()).send(&Request::new("POST", "/").header("Authorization", bearer))
    };
    assert_eq!(code(&post(&reader)), "forbidden");
    let admin = bearer(&["sub=eve", "scope=orders:read", "roles=[\"admin\"]"]);
    assert_eq!(post(&admin).status, 200);
    assert_eq!(upstream.hits(), 2);
}

#[test]
fn who_would_be_refused_is_in_the_log_and_in_metrics_while_auth_and_authorize_only_report() {
    let upstream = Upstream::named("a");
    let route = "[[routes]]\nname = \"new\"\npath = \"/*\"\nservice = \"a\"\n\
                 auth = { methods = [\"shop\"], mode = \"report\" }\n\
                 authorize = { scopes = [\"orders:read\"], mode = \"report\" }\n";
    let builder = builder(&upstream, "");
    let text = std::fs::read_to_string(builder.dir().join("gateway.toml")).unwrap();
    let text = text.replace("access_log = false", "access_log = \"@DIR@/access.log\"") + route;
    let gateway = builder.file("gateway.toml", &text).start();
    let bearer = |claims: &[&str]| format!("Bearer {}", token(&gateway, claims));
    let (good, poor) = (bearer(&["sub=ada", "scope=orders:read"]), bearer(&["sub=ada"]));
    let sent =
        [("/good", good.as_str()), ("/poor", &poor), ("/bad", "Bearer x.y.z"), ("/worse", "Bearer x.y.z")];
    for (path, bearer) in sent {
        assert_eq!(with(gateway.addr(), path, &[("Authorization", bearer)]).status, 200, "{path}");
    }
    assert_eq!(get(gateway.addr(), "/none").status, 200);

    let lines = wait_until("the lines of the access log", Duration::from_secs(10), || {
        Some(gateway.access_log()).filter(|lines| lines.len() >= 5)
    });
    let said = |path: &str| lines.iter().find(|line| line["uri"] == path).unwrap()["would_refuse"].clone();
    assert_eq!(said("/good"), Value::Null);
    assert_eq!(said("/poor"), "insufficient-scope");
    assert_eq!(said("/bad"), "invalid-token");
    assert_eq!(said("/none"), "missing-credentials");
    let metrics = get(gateway.admin(), "/metrics").text();
    for (status, code, count) in
        [(403, "insufficient-scope", 1), (401, "invalid-token", 2), (401, "missing-credentials", 1)]
    {
        let series = format!(
            "gateway_would_refuse_total{{route=\"new\",status=\"{status}\",code=\"{code}\"}} {count}\n"
        );
        assert!(metrics.contains(&series), "no {series}in\n{metrics}");
    }
}

#[test]
fn services_are_told_who_calls_by_the_gateway_alone() {
    let upstream = Upstream::named("a");
    let route = "[[routes]]\npath = \"/keys\"\njwks = true\n[[routes]]\npath = \"/*\"\nservice = \"a\"\n\
                 auth = { methods = [\"shop\"], optional = true }\nidentity_headers = { preset = \"s4\" }\n";
    let gateway = gateway(&upstream, "assertion = \"the-gateway\"", route);
    let bearer = format!("Bearer {}", token(&gateway, &["sub=7", "roles=[\"a\",\"b\"]"]));
    let spoofed = [("X-User-ID", "1"), ("X_User_Roles", "root"), ("X-Internal-Assertion", "forged")];
    with(gateway.addr(), "/", &spoofed);
    with(gateway.addr(), "/", &[&spoofed[..], &[("Authorization", &bearer)]].concat());

    let [anonymous, known] = upstream.requests().try_into().unwrap();
    assert_eq!((anonymous.header("x-user-id"), anonymous.header("x_user_roles")), (None, None));
    assert_eq!(known.header("x-user-id"), Some("7"));
    assert_eq!(known.header("x-user-roles"), Some("a,b"));
    let assertion = known.header("x-internal-assertion").unwrap();
    assert_eq!(assertion.split('.').count(), 3, "{assertion}");
    let keys = get(gateway.addr(), "/keys").json();
    assert_eq!((keys["keys"][0]["kty"].as_str(), keys["keys"][0].get("d")), (Some("EC"), None), "{keys}");
}

#[test]
fn what_a_forward_auth_service_says_is_not_said_by_clients_on_any_route() {
    let says = &[("X-Tenant", "acme"), ("X-Auth-Role", "user"), ("X-Who", "ada")];
    let (upstream, asked) = (Upstream::named("a"), Upstream::start(|_| Reply::with(200, says, "")));
    let more = format!(
        "[auth.forward.ask]\nurl = \"{}\"\nresponse_headers = [\"X-Tenant\", \"Authorization\"]\n\
         response_headers_prefix = \"x-auth-\"\nprincipal_header = \"X-Who\"\n\
         [auth.api_keys.other]\nheader = \"X-Auth-Key\"\nhide_credentials = false\n\
         [auth.mtls.certificates]\n\
         [[routes]]\npath = \"/asked/*\"\nservice = \"a\"\nauth = \"ask\"\n\
         [[routes]]\npath = \"/*\"\nservice = \"a\"\n",
        asked.url()
    );
    let gateway = gateway(&upstream, "", &more);
    let spoofed = [
        ("X-Tenant", "evil"),
        ("X_Tenant", "evil"),
        ("X-Auth-Role", "admin"),
        ("x_auth_role", "admin"),
        ("X-Who", "root"),
        ("X-Forwarded-Client-Cert", "Hash=1"),
        ("X-Auth-Key", "key"),
        ("Authorization", "Bearer of-the-client"),
    ];
    assert_eq!(with(gateway.addr(), "/free", &spoofed).status, 200);
    assert_eq!(with(gateway.addr(), "/asked/x", &spoofed).status, 200);

    let [free, told] = upstream.requests().try_into().unwrap();
    for (name, value) in spoofed {
        let expected = ["X-Auth-Key", "Authorization"].contains(&name).then_some(value);
        assert_eq!(free.header(&name.to_ascii_lowercase()), expected, "{name}");
    }
    let own = ["x-tenant", "x_tenant", "x-auth-role", "x_auth_role", "x-forwarded-client-cert"];
    let own = own.map(|name| told.header(name));
    assert_eq!(own, [Some("acme"), None, Some("user"), None, None]);
    let [question] = asked.requests().try_into().unwrap();
    assert_eq!(
        question.header("authorization"),
        Some("Bearer of-the-client"),
        "the service is shown credentials"
    );
}

#[test]
fn who_is_refused_by_a_forward_auth_service_is_told_apart_from_who_is_by_the_upstream() {
    let asked = Upstream::start(|request| match request.header("x-forwarded-uri") {
        Some("/asked/in") => Reply::with(200, &[], ""),
        Some("/asked/login") => Reply::with(302, &[("Location", "https://login.example/")], ""),
        _ => Reply::with(403, &[("X-Why", "no")], "not you"),
    });
    let upstream = Upstream::start(|_| Reply::with(403, &[], "nor you"));
    let config = format!(
        "access_log = \"@DIR@/access.log\"\n[server]\nlisten = \"127.0.0.1:@PORT@\"\nworkers = 1\n\
         [admin]\nlisten = \"127.0.0.1:@ADMIN@\"\n[services.a]\nendpoints = [\"{}\"]\n\
         [auth.forward.ask]\nurl = \"{}\"\n\
         [[routes]]\npath = \"/asked/*\"\nservice = \"a\"\nauth = \"ask\"\n",
        upstream.url(),
        asked.url()
    );
    let gateway = Gateway::builder(EXE).config(&config).start();

    let refused = get(gateway.addr(), "/asked/out");
    assert_eq!(
        (refused.status, refused.text().as_str()),
        (403, "not you"),
        "its answer is passed on as it is"
    );
    assert_eq!((refused.header("x-why"), refused.header("proxy-status")), (Some("no"), None));
    assert_eq!(get(gateway.addr(), "/asked/login").header("location"), Some("https://login.example/"));
    assert_eq!(get(gateway.addr(), "/asked/in").text(), "nor you");

    let said = wait_until("the lines", Duration::from_secs(20), || {
        Some(gateway.access_log()).filter(|lines| lines.len() == 3)
    });
    let said: Vec<_> = said
        .iter()
        .map(|line| (line["status"].as_u64(), line["reason"].as_str(), line["upstream"].is_null()))
        .collect();
    let expected = [
        (Some(403), Some("auth-refused"), true),
        (Some(302), Some("auth-refused"), true),
        (Some(403), None, false),
    ];
    assert_eq!(said, expected);
    let metrics = get(gateway.admin(), "/metrics").text();
    for counted in [r#"status="403",service="a",code="auth-refused"} 1"#, r#"status="403",service="a"} 1"#] {
        assert!(metrics.contains(counted), "no `{counted}` in\n{metrics}");
    }
}

#[test]
fn tokens_are_revoked_by_what_they_say() {
    let upstream = Upstream::named("a");
    let gateway = gateway(&upstream, "", "[[routes]]\npath = \"/*\"\nservice = \"a\"\nauth = \"shop\"\n");
    for (claim, what) in [
        ("sid=s1", json!({ "session": "s1" })),
        ("jti=t1", json!({ "id": "t1" })),
        ("sub=eve", json!({ "subject": "eve", "before": unix_now() + 30 })),
    ] {
        let bearer = format!("Bearer {}", token(&gateway, &[claim]));
        assert_eq!(with(gateway.addr(), "/", &[("Authorization", &bearer)]).status, 200, "{claim}");
        assert_eq!(admin(&gateway, "POST", "/revoke", &what).0, 200, "{what}");
        let refused = with(gateway.addr(), "/", &[("Authorization", &bearer)]);
        assert_eq!((refused.status, code(&refused).as_str()), (401, "revoked-token"), "{claim}");
    }
    let millis = 1000 * unix_now();
    for nothing in [
        json!({ "sesion": "x" }),
        json!({ "session": "" }),
        json!({ "id": "" }),
        json!({ "subject": "" }),
        json!({ "subject": "zz", "before": millis }),
        json!({ "subject": "zz", "before": u64::MAX }),
    ] {
        assert_eq!(admin(&gateway, "POST", "/revoke", &nothing).0, 400, "{nothing}");
    }
    let good = token(&gateway, &["sub=ada"]);
    for (body, status) in
        [("", 400), ("x", 400), ("a.b.c", 400), (&format!("Bearer {good}"), 400), (&good, 200)]
    {
        let request = Request::new("POST", "/revoke").body(body);
        assert_eq!(Client::new(gateway.admin()).send(&request).status, status, "{body}");
    }
}

fn reload(gateway: &Gateway, from: &str, to: &str) {
    let path = gateway.dir().join("gateway.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{text}");
    std::fs::write(&path, text.replacen(from, to, 1)).unwrap();
    let answer = Client::new(gateway.admin()).send(&Request::new("POST", "/reload"));
    assert_eq!(answer.status, 200, "{}", answer.text());
}

#[test]
fn what_was_revoked_stays_so_over_a_reload_of_its_settings() {
    let upstream = Upstream::named("a");
    let routes = "keys = []\n[[routes]]\npath = \"/*\"\nservice = \"a\"\nauth = [\"shop\", \"partners\"]\n";
    let gateway = gateway(&upstream, "", routes);
    let (_, made) = admin(&gateway, "POST", "/keys/partners", &json!({ "id": "acme" }));
    let key = made["key"].as_str().unwrap();
    let entry = format!("keys = [{{ id = \"acme\", hash = {} }}", made["hash"]);
    reload(&gateway, "keys = [", &entry);
    let token = token(&gateway, &["sub=ada"]);
    let bearer = format!("Bearer {token}");
    let ask = |header| with(gateway.addr(), "/", &[header]).status;
    assert_eq!((ask(("X-API-Key", key)), ask(("Authorization", &bearer))), (200, 200));

    assert_eq!(admin(&gateway, "DELETE", "/keys/partners/acme", &Value::Null).0, 200);
    let revoke = Request::new("POST", "/revoke").body(token.as_str());
    assert_eq!(Client::new(gateway.admin()).send(&revoke).status, 200);
    reload(
        &gateway,
        "[auth.api_keys.partners]\n",
        "realm = \"other\"\n[auth.api_keys.partners]\nrealm = \"other\"\n",
    );
    for _ in 0..20 {
        assert_eq!((ask(("X-API-Key", key)), ask(("Authorization", &bearer))), (401, 401));
    }
}

#[test]
fn secrets_in_files_are_read_again_by_a_reload() {
    let issuer = Upstream::start(|asked| {
        // gateway:two, in base64.
        let active = asked.header("authorization") == Some("Basic Z2F0ZXdheTp0d28=");
        Reply::new(200, &json!({ "active": active, "sub": "ada" }).to_string())
    });
    let upstream = Upstream::start(|asked| Reply::new(200, asked.header("x-key").unwrap_or("-")));
    let builder = builder(&upstream, "").file("key", "one").file("secret", "one");
    let (dir, url) = (builder.dir().display().to_string(), issuer.url());
    let more = format!(
        "[auth.introspection.asked]\nurl = \"{url}/\"\nclient_id = \"gateway\"\nnegative_cache = \"0s\"\n\
         client_secret_file = \"{dir}/secret\"\n[services.b]\nendpoints = [\"{}\"]\n\
         outbound = {{ header = {{ name = \"X-Key\", value_file = \"{dir}/key\" }} }}\n\
         [[routes]]\npath = \"/*\"\nservice = \"b\"\n[[routes]]\npath = \"/mine\"\nservice = \"b\"\nauth = \"asked\"\n",
        upstream.url()
    );
    let path = builder.dir().join("gateway.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text + &more).unwrap();
    let gateway = builder.start();
    let mine = || with(gateway.addr(), "/mine", &[("Authorization", "Bearer x")]);
    assert_eq!(get(gateway.addr(), "/").text(), "one");
    assert_eq!(mine().status, 401);

    for file in ["key", "secret"] {
        std::fs::write(gateway.dir().join(file), "two\n").unwrap();
    }
    reload(&gateway, "", "");
    assert_eq!(get(gateway.addr(), "/").text(), "two");
    assert_eq!(mine().status, 200);
}

#[test]
fn a_token_in_a_query_reaches_neither_the_service_nor_the_log() {
    let upstream = Upstream::start(|asked| Reply::new(200, &asked.target));
    let config = format!(
        "access_log = \"@DIR@/access.log\"\n[server]\nlisten = \"127.0.0.1:@PORT@\"\nwatch = false\n\
         [services.a]\nendpoints = [\"{}\"]\n[auth.jwt.shop]\nsecret = \"{SECRET}\"\nhide_credentials = true\n\
         from = [{{ query = \"tok\" }}]\n[[routes]]\npath = \"/*\"\nservice = \"a\"\nauth = \"shop\"\n",
        upstream.url()
    );
    let gateway = Gateway::builder(EXE).config(&config).start();
    let token = token(&gateway, &["sub=ada"]);
    for name in ["tok", "t%6Fk"] {
        let answer = get(gateway.addr(), &format!("/x?a=1&{name}={token}&b=2"));
        assert_eq!((answer.status, answer.text().as_str()), (200, "/x?a=1&b=2"));
    }
    let log = wait_until("both lines of the log", Duration::from_secs(20), || {
        let log = std::fs::read_to_string(gateway.dir().join("access.log")).unwrap_or_default();
        (log.lines().count() == 2).then_some(log)
    });
    assert!(log.contains("/x?a=1&tok=redacted&b=2") && !log.contains(&token), "{log}");
}

#[test]
fn a_logout_counts_for_all_who_verify_tokens_here_while_redis_is_away() {
    let (upstream, mut redis) = (Upstream::named("a"), Redis::start());
    // `aaa` is told first, and cannot pass it on.
    let config = format!(
        "access_log = false\n[server]\nlisten = \"127.0.0.1:@PORT@\"\nworkers = 2\nwatch = false\n\
         [store.redis]\nurl = \"{}\"\n[services.a]\nendpoints = [\"{}\"]\n\
         [auth.jwt.aaa]\nsecret = \"{SECRET}\"\n[identity]\ndatabase = \"@DIR@/accounts.db\"\n\
         [identity.password]\nmemory = \"8KiB\"\niterations = 1\n\
         [[routes]]\npath = \"/auth/*\"\nidentity = true\n\
         [[routes]]\npath = \"/mine\"\nservice = \"a\"\nauth = \"identity\"\n",
        redis.url(),
        upstream.url()
    );
    let gateway = Gateway::builder(EXE).config(&config).start();
    let post = |path: &str, headers: &[(&str, &str)], body: &str| {
        let request = headers.iter().fold(Request::new("POST", path), |request, (n, v)| request.header(n, v));
        Client::new(gateway.addr()).send(&request.body(body))
    };
    let account = json!({ "email": "ada@example.org", "password": "correct horse battery" }).to_string();
    let as_json = [("Content-Type", "application/json")];
    assert_eq!(post("/auth/register", &as_json, &account).status, 201);
    let session = post("/auth/login", &as_json, &account).json();
    let bearer = format!("Bearer {}", session["access_token"].as_str().unwrap());
    let bearer = [("Authorization", bearer.as_str())];
    redis.kill();
    assert_eq!(with(gateway.addr(), "/mine", &bearer).status, 200);
    assert_eq!(post("/auth/logout", &bearer, "").status, 204);
    let refused = with(gateway.addr(), "/mine", &bearer);
    assert_eq!((refused.status, code(&refused).as_str()), (401, "revoked-token"));
}

#[test]
fn what_an_operator_revokes_ends_the_sessions_of_accounts() {
    let upstream = Upstream::named("a");
    let config = format!(
        "access_log = false\n[server]\nlisten = \"127.0.0.1:@PORT@\"\nworkers = 2\nwatch = false\n\
         [admin]\nlisten = \"127.0.0.1:@ADMIN@\"\n[services.a]\nendpoints = [\"{}\"]\n\
         [auth.jwt.shop]\nsecret = \"{SECRET}\"\n[identity]\ndatabase = \"@DIR@/accounts.db\"\n\
         [identity.password]\nmemory = \"8KiB\"\niterations = 1\n\
         [[routes]]\npath = \"/auth/*\"\nidentity = true\n\
         [[routes]]\npath = \"/mine\"\nservice = \"a\"\nauth = \"identity\"\n",
        upstream.url()
    );
    let gateway = Gateway::builder(EXE).config(&config).start();
    let post = |path: &str, body: &Value| {
        let request = Request::new("POST", path).header("Content-Type", "application/json");
        Client::new(gateway.addr()).send(&request.body(body.to_string()))
    };
    let account = json!({ "email": "ada@example.org", "password": "correct horse battery" });
    let user = post("/auth/register", &account).json()["id"].clone();
    let renewed =
        |session: &Value| post("/auth/refresh", &json!({ "refresh_token": session["refresh_token"] })).status;
    let sessions = |session: &Value| {
        let bearer = format!("Bearer {}", session["access_token"].as_str().unwrap());
        with(gateway.addr(), "/auth/sessions", &[("Authorization", &bearer)]).status
    };
    let revoke = |body: &str| {
        let request = Request::new("POST", "/revoke").body(body);
        assert_eq!(Client::new(gateway.admin()).send(&request).status, 200, "{body}");
    };
    let hour_ago = unix_now() - 3600;
    type What = fn(&Value, &Value, u64) -> String;
    let whats: [(&str, What, bool); 6] = [
        ("a session", |session, _, _| json!({ "session": session["session_id"] }).to_string(), true),
        ("a token", |session, _, _| session["access_token"].as_str().unwrap().to_owned(), true),
        ("an account", |_, user, _| json!({ "subject": user }).to_string(), true),
        ("another's session", |_, _, _| json!({ "session": "01a1fe34" }).to_string(), false),
        ("another", |_, _, _| json!({ "subject": "bob" }).to_string(), false),
        ("what was before", |_, user, then| json!({ "subject": user, "before": then }).to_string(), false),
    ];
    for (what, said, ended) in whats {
        let session = post("/auth/login", &account).json();
        assert_eq!(sessions(&session), 200, "{what}");
        revoke(&said(&session, &user, hour_ago));
        let expected = if ended { (401, 401) } else { (200, 200) };
        assert_eq!((sessions(&session), renewed(&session)), expected, "{what}");
    }
}

#[test]
fn answers_are_cached_and_purged() {
    let upstream = Upstream::start(|_| Reply::with(200, &[("Surrogate-Key", "things")], "fresh"));
    let gateway = gateway(&upstream, "", "[[routes]]\npath = \"/*\"\nservice = \"a\"\ncache = \"60s\"\n");
    let url = "http://test/x";
    let ask = || get(gateway.addr(), "/x").header("cache-status").unwrap().to_owned();
    for what in [
        json!({ "url": url }),
        json!({ "url": "HTTP://Test:80/x" }),
        json!({ "prefix": "http://" }),
        json!({ "prefix": "http://TEST:80/" }),
        json!({ "tag": "things" }),
        json!({ "all": true }),
    ] {
        assert!(ask().contains("fwd=uri-miss"), "{what}");
        assert!(ask().contains("; hit"), "{what}");
        assert_eq!(admin(&gateway, "POST", "/purge", &what), (200, json!({ "purged": 1 })), "{what}");
    }
    assert!(ask().contains("fwd=uri-miss"));
    assert_eq!(admin(&gateway, "POST", "/purge", &json!({ "url": url, "all": true })).0, 400);
    for what in [json!({ "url": "/x" }), json!({ "url": "test/x" }), json!({ "prefix": "" })] {
        let (status, said) = admin(&gateway, "POST", "/purge", &what);
        assert_eq!(status, 400, "{what}");
        assert!(said["detail"].as_str().unwrap().contains("scheme and host"), "{said}");
    }
    let only = with(gateway.addr(), "/y", &[("Cache-Control", "only-if-cached")]);
    assert_eq!((only.status, code(&only).as_str()), (504, "not-cached"));
    let metrics = get(gateway.admin(), "/metrics").text();
    assert!(metrics.contains("gateway_cache_total{route=\"/*\",result=\"hit\"} 6"), "{metrics}");
}

#[test]
fn another_service_and_then_an_answer_of_its_own_take_the_place_of_one_that_fails() {
    let (mut first, mut second) = (Upstream::named("first"), Upstream::named("second"));
    let more = format!(
        "[services.b]\nendpoints = [\"{}\"]\n[[routes]]\npath = \"/*\"\nservice = \"a\"\n\
         fallback = {{ service = \"b\", respond = \"later\" }}\n",
        second.url()
    );
    let gateway = gateway(&first, "", &more);
    let put = || Client::new(gateway.addr()).send(&Request::new("PUT", "/").body(b"kept")).text();
    assert_eq!(put(), "first");
    first.kill();
    assert_eq!(put(), "second");
    assert_eq!(second.requests()[0].body, b"kept");
    second.kill();
    assert_eq!(put(), "later");
}

#[test]
fn what_cannot_work_is_refused_at_the_start() {
    let upstream = Upstream::named("a");
    for (route, parts) in [
        (
            "auth = [\"shop\", \"shob\"]\n",
            vec!["there is no way to authenticate `shob`", "did you mean `shop`?"],
        ),
        ("identity = true\n", vec!["there are no accounts: [identity] is missing"]),
        ("fallback = { service = \"z\" }\n", vec!["there is no service `z`"]),
        ("rate_limit = [\"none\", \"x\"]\n", vec!["there is no rate limit `x`"]),
        ("authorize = { scope = [\"x\"] }\n", vec!["unknown key `scope`", "did you mean `scopes`?"]),
        ("cache = { methods = [] }\n", vec!["`methods` is empty"]),
    ] {
        let builder = builder(&upstream, "");
        let path = builder.dir().join("gateway.toml");
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, format!("{text}[[routes]]\npath = \"/*\"\nservice = \"a\"\n{route}")).unwrap();
        let finished = builder.run();
        assert_eq!(finished.code, Some(2), "{route}{}", finished.stderr);
        for part in parts {
            assert!(finished.stderr.contains(part), "{route}no `{part}` in {}", finished.stderr);
        }
    }
}

#[test]
fn a_token_for_trying_things_out_says_what_its_way_asks_of_every_token() {
    let upstream = Upstream::named("a");
    let asks = "[auth.jwt.strict]\nsecret = \"a secret for tests, 32 bytes long\"\nissuer = \"https://id.example\"\n\
                audience = [\"shop-api\", \"shop-app\"]\ntyp = \"at+jwt\"\n";
    let gateway = gateway(&upstream, asks, "[[routes]]\npath = \"/*\"\nservice = \"a\"\nauth = \"strict\"\n");
    let mint = |more: &[&str]| {
        let mut command = std::process::Command::new(EXE);
        command.args(["token", "--config"]).arg(gateway.dir().join("gateway.toml")).args(more);
        command.output().unwrap()
    };
    for (claims, status) in [(&[][..], 200), (&["--claim", "aud=another"], 401)] {
        let made = mint(&[&["--auth", "strict"], claims].concat());
        let bearer = format!("Bearer {}", String::from_utf8(made.stdout).unwrap().trim());
        assert_eq!(with(gateway.addr(), "/", &[("Authorization", &bearer)]).status, status, "{claims:?}");
    }
    let unknown = String::from_utf8(mint(&["--auth", "nobody"]).stderr).unwrap();
    assert!(unknown.contains("there is no [auth.jwt] `nobody`; defined are shop, strict"), "{unknown}");
}
