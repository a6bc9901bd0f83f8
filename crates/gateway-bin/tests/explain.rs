//! `gateway explain` says what a live request would find, by the same code.
#![allow(clippy::unwrap_used)]

use gateway_testkit::{Finished, Gateway, Upstream, raw};
use serde_json::{Value, json};

const EXE: &str = env!("CARGO_BIN_EXE_gateway");

const CONFIG: &str = r#"[forwarded]
trusted_proxies = ["10.0.0.0/8"]

[defaults]
cors = true
correlation_id = { trust_inbound = true }
headers = { request = { set = { "x-key" = "${THE_KEY}" } } }

[services.users]
endpoints = ["http://127.0.0.1:3002", { url = "http://127.0.0.1:3004", weight = 2, priority = 1 }]
timeout = "5s"
balance = "least_request"

[services.orders]
endpoints = ["http://orders.internal:3005"]
connection = { host = "endpoint" }

[auth.jwt.shop]
secret = "a secret for tests, 32 bytes long"
audience = "shop"

[rate_limits]
browsing = "20/min"

[groups.api]
auth = "shop"

[[routes]]
path = "/api/*"
service = "users"

[[routes]]
name = "one-user"
path = "/api/users/{id}"
service = "users"
strip = "/api"
group = "api"
rate_limit = "browsing"
methods = ["GET"]

[[routes]]
path = "/api/users/{id}"
service = "users"
methods = ["POST"]
match = { headers = { "x-tenant" = "acme" } }

[[routes]]
path = "~/v(?P<version>[0-9]+)/orders"
service = "orders"
methods = ["GET"]

[[routes]]
path = "/old/*"
hosts = ["shop.example"]
redirect = "https"
"#;

/// With an id, so that none is made up.
fn explain(args: &[&str]) -> Finished {
    let all: Vec<&str> = ["explain", "-H", "X-Correlation-ID: c1"].iter().chain(args).copied().collect();
    Gateway::builder(EXE).config(CONFIG).env("THE_KEY", "hunter2hunter2").args(&all).run()
}

fn said(args: &[&str], code: i32) -> String {
    let finished = explain(args);
    assert_eq!((finished.code, finished.stderr.as_str()), (Some(code), ""), "{}", finished.stdout);
    finished.stdout
}

#[test]
fn a_request_that_is_taken_shows_its_whole_way() {
    let args = [
        "GET",
        "http://shop.example//api/users/./7?q=1",
        "--client",
        "10.0.0.1",
        "-H",
        "X-Forwarded-For: 192.0.2.1",
        "-H",
        "X-User-ID: somebody else",
    ];
    let expected = r#"GET //api/users/./7?q=1 at shop.example from 10.0.0.1
  read as /api/users/7?q=1
  on behalf of 192.0.2.1, says a trusted proxy

routes[1] takes it: /api/users/{id} named `one-user` (gateway.toml:32:1)
  id = 7

Routes, in the order they are tried
  routes[2]  /api/users/{id}  the method is GET; expected `POST`; the header `x-tenant` is missing; expected `acme`
  routes[1]  /api/users/{id}  takes it
  routes[0]  /api/*           would take it, but comes later

Policies, in the order it meets them
  correlation_id  defaults.correlation_id  { trust_inbound = true }
  cors            defaults.cors            true
  auth            groups.api.auth          "shop" = { audience = "shop" }
  rate_limit      routes[1].rate_limit     "browsing" = "20/min"
  headers         defaults.headers         { request = { set = { x-key = "${THE_KEY}" } } }
  forwarded       forwarded                { trusted_proxies = ["10.0.0.0/8"] }
  strip           routes[1].strip          "/api"
  timeout         services.users.timeout   "5s"
  retry           default                  2
  balance         services.users.balance   "least_request"

Limits, and what they count it under
  browsing  ip=192.0.2.1

What the service gets, once it is let through
  GET /users/7?q=1
  host: shop.example
  x-correlation-id: c1
  x-forwarded-for: 192.0.2.1, 10.0.0.1
  x-key: ${THE_KEY}
  x-forwarded-proto: http
  x-forwarded-host: shop.example
  x-forwarded-prefix: /api

Service users, least_request over
  http://127.0.0.1:3002
  http://127.0.0.1:3004 weight 2 priority 1
"#;
    assert_eq!(said(&args, 0), expected);
}

#[test]
fn a_service_that_sees_its_own_host_is_shown_that() {
    let expected = r#"GET /v2/orders at localhost from 127.0.0.1

routes[3] takes it: ~/v(?P<version>[0-9]+)/orders (gateway.toml:47:1)
  version = 2

Routes, in the order they are tried
  routes[3]  ~/v(?P<version>[0-9]+)/orders  takes it

Policies, in the order it meets them
  correlation_id  defaults.correlation_id     { trust_inbound = true }
  cors            defaults.cors               true
  headers         defaults.headers            { request = { set = { x-key = "${THE_KEY}" } } }
  forwarded       forwarded                   { trusted_proxies = ["10.0.0.0/8"] }
  timeout         default                     "15s"
  retry           default                     2
  connection      services.orders.connection  { host = "endpoint" }
  balance         default                     "round_robin"

What the service gets, once it is let through
  GET /v2/orders
  host: orders.internal:3005
  x-correlation-id: c1
  x-key: ${THE_KEY}
  x-forwarded-for: 127.0.0.1
  x-forwarded-proto: http
  x-forwarded-host: localhost

Service orders, round_robin over
  http://orders.internal:3005
"#;
    assert_eq!(said(&["GET", "/v2/orders"], 0), expected);
}

#[test]
fn what_the_gateway_answers_itself_is_shown() {
    let expected = r#"GET /old/x?a=b at shop.example from 127.0.0.1

routes[4] takes it: /old/* (gateway.toml:52:1)
  * = x

Routes, in the order they are tried
  routes[4]  /old/*  takes it

Policies, in the order it meets them
  correlation_id  defaults.correlation_id  { trust_inbound = true }
  cors            defaults.cors            true
  redirect        routes[4].redirect       "https"
  headers         defaults.headers         { request = { set = { x-key = "${THE_KEY}" } } }
  forwarded       forwarded                { trusted_proxies = ["10.0.0.0/8"] }

The gateway answers itself
  308 Permanent Redirect
  location: https://shop.example/old/x?a=b
  access-control-allow-origin: *
  x-correlation-id: c1
"#;
    assert_eq!(said(&["GET", "http://shop.example/old/x?a=b"], 0), expected);
}

#[test]
fn what_no_route_takes_shows_the_nearest_and_ends_with_1() {
    for (method, url, expected) in [
        (
            "POST",
            "/v2/orders",
            "POST /v2/orders at localhost from 127.0.0.1\n\n\
             No route takes it with this method: 405, Allow: GET, HEAD\n\n\
             Nearest routes\n  routes[3]  ~/v(?P<version>[0-9]+)/orders  the method is POST; expected `GET`\n",
        ),
        (
            "OPTIONS",
            "/v2/orders",
            "OPTIONS /v2/orders at localhost from 127.0.0.1\n\n\
             No route takes it with this method: 204, Allow: GET, HEAD\n\n\
             Nearest routes\n  routes[3]  ~/v(?P<version>[0-9]+)/orders  the method is OPTIONS; expected `GET`\n",
        ),
        (
            "OPTIONS",
            "*",
            "OPTIONS * at localhost from 127.0.0.1\n\nNo route takes it: 204\n\n\
             No route comes near; `gateway routes` lists them all.\n",
        ),
        (
            "GET",
            "http://api.example/old/x",
            "GET /old/x at api.example from 127.0.0.1\n\nNo route takes it: 404\n\n\
             Nearest routes\n  routes[4]  /old/*  the host is `api.example`; expected `shop.example`\n",
        ),
        (
            "GET",
            "/Api/x",
            "GET /Api/x at localhost from 127.0.0.1\n\nNo route takes it: 404\n\n\
             Nearest routes\n  routes[0]  /api/*  the path is `/Api/x`; expected `/api/*` (it fits but for upper and lower case)\n",
        ),
        (
            "GET",
            "/nowhere",
            "GET /nowhere at localhost from 127.0.0.1\n\nNo route takes it: 404\n\n\
             No route comes near; `gateway routes` lists them all.\n",
        ),
        (
            "GET",
            "/a%2Fb",
            "GET /a%2Fb at localhost from 127.0.0.1\n\nIt is refused before routes are looked at: \
             400 bad-request: the path holds an encoded slash or backslash\n",
        ),
        (
            "CONNECT",
            "/",
            "CONNECT / at localhost from 127.0.0.1\n\nIt is refused before routes are looked at: \
             400 bad-request: CONNECT is for forward proxies\n",
        ),
    ] {
        assert_eq!(said(&[method, url], 1), expected);
    }
}

#[test]
fn programs_get_the_same_as_json() {
    let read = |args: &[&str], code| -> Value { serde_json::from_str(&said(args, code)).unwrap() };
    let found = read(&["POST", "/api/users/7", "-H", "X-Tenant: acme", "--format", "json"], 0);
    assert_eq!(found["outcome"], "found");
    assert_eq!(
        found["route"],
        json!({ "key": "routes[2]", "name": "/api/users/{id}", "path": "/api/users/{id}", "place": "gateway.toml:41:1" })
    );
    assert_eq!(found["params"], json!({ "id": "7" }));
    assert_eq!(found["candidates"][0]["refusals"], json!([]));
    assert_eq!(found["upstream"]["target"], "/api/users/7");
    assert_eq!(
        found["policies"][1],
        json!({ "name": "cors", "value": true, "definition": null, "from": "defaults.cors", "place": "gateway.toml:5:8" })
    );
    assert_eq!(found["service"]["endpoints"][1]["weight"], 2);
    let ada = ["GET", "/api/users/7", "--claim", "sub=ada", "--format", "json"];
    assert_eq!(read(&ada, 0)["counted"], json!([{ "limit": "browsing", "key": "principal=ada" }]));
    let lost = read(&["GET", "/nowhere", "--format", "json"], 1);
    assert_eq!((&lost["outcome"], &lost["status"]), (&json!("no-route"), &json!(404)));
}

#[test]
fn the_service_of_a_running_gateway_gets_just_that() {
    let upstream = Upstream::named("a");
    let config = format!(
        "[server]\nlisten = \"127.0.0.1:@PORT@\"\n[services.a]\nendpoints = [\"{}\"]\n[[routes]]\n\
         path = \"/a/{{id}}\"\nservice = \"a\"\nstrip = \"/a\"\nrewrite = {{ path = \"/b/7\" }}\n\
         headers = {{ request = {{ remove = [\"x-gone\"], append = {{ \"x-more\" = \"1\" }} }} }}\n\
         concurrency = 5\n[via]\npseudonym = \"edge\"\n[defaults]\ncorrelation_id = {{ trust_inbound = true }}\n",
        upstream.url()
    );
    let gateway = Gateway::builder(EXE).config(&config).start();
    let answer = raw(
        gateway.addr(),
        b"POST /a/./1?x=y HTTP/1.1\r\nHost: shop.example\r\nX-Correlation-ID: c1\r\nX-Gone: 1\r\n\
          X-User-Roles: admin\r\nConnection: close, x-hop\r\nX-Hop: 1\r\nContent-Length: 0\r\n\r\n",
    );
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let live = upstream.requests().remove(0);
    let finished = Gateway::builder(EXE)
        .config(&config)
        .args(&[
            "explain",
            "POST",
            "http://shop.example/a/./1?x=y",
            "--format",
            "json",
            "--header",
            "X-Correlation-ID: c1",
            "--header",
            "X-Gone: 1",
            "--header",
            "X-User-Roles: admin",
            "--header",
            "Connection: close, x-hop",
            "--header",
            "X-Hop: 1",
        ])
        .run();
    let explained: Value = serde_json::from_str(&finished.stdout).unwrap();
    let pairs = |headers: &Value| -> Vec<(String, String)> {
        let mut pairs: Vec<(String, String)> = serde_json::from_value(headers.clone()).unwrap();
        pairs.sort();
        pairs
    };
    assert_eq!(explained["upstream"]["target"], json!(live.target));
    assert_eq!(pairs(&explained["upstream"]["headers"]), pairs(&json!(live.headers)));
    assert_eq!(upstream.hits(), 1, "explaining sends nothing to a service");
}

#[test]
fn a_change_of_protocols_is_passed_on() {
    let args = ["GET", "/api/x", "-H", "Connection: upgrade", "-H", "Upgrade: websocket"];
    let text = said(&args, 0);
    assert!(text.contains("  connection: upgrade\n  upgrade: websocket\n"), "{text}");
}

#[test]
fn what_is_no_request_is_named_and_ends_with_2() {
    for (args, part) in [
        (vec!["get", "/"], "`get` is not a method; expected GET, POST, … in capitals"),
        (vec!["GET", "shop.example/api"], "`shop.example/api` is not a URL; expected one such as"),
        (vec!["GET", "ftp://shop.example/"], "`ftp://shop.example/` is not a URL"),
        (vec!["GET", "/", "-H", "nonsense"], "`nonsense` is not a header; expected `NAME: VALUE`"),
        (vec!["GET", "/", "--client", "home"], "invalid value 'home' for '--client <IP>'"),
    ] {
        let finished = explain(&args);
        assert_eq!(finished.code, Some(2), "{}", finished.stderr);
        assert!(finished.stderr.contains(part), "no `{part}` in {}", finished.stderr);
    }
}

#[test]
fn no_secret_is_shown() {
    let text = said(&["GET", "/api/users/7"], 0) + &said(&["GET", "/api/users/7", "--format", "json"], 0);
    for secret in ["hunter2", "a secret for tests"] {
        assert!(!text.contains(secret), "{text}");
    }
}

/// A service, and a route that says what it is to be explained.
fn explained(config: &str, args: &[&str]) -> Value {
    let all: Vec<&str> = ["explain", "--format", "json"].iter().chain(args).copied().collect();
    let finished = Gateway::builder(EXE).config(config).args(&all).run();
    assert_eq!(
        (finished.code, finished.stderr.as_str()),
        (Some(0), ""),
        "{}\nfor\n{config}",
        finished.stdout
    );
    serde_json::from_str(&finished.stdout).unwrap()
}

/// What the service gets in a header.
fn upstream<'v>(said: &'v Value, name: &str) -> Option<&'v str> {
    let headers = said["upstream"]["headers"].as_array().unwrap();
    headers.iter().find(|pair| pair[0] == name)?[1].as_str()
}

fn names(said: &Value) -> Vec<&str> {
    said["policies"].as_array().unwrap().iter().map(|policy| policy["name"].as_str().unwrap()).collect()
}

#[test]
fn credentials_are_shown_as_the_service_gets_them_and_those_of_the_gateway_are_only_named() {
    const KEY: &str = "[auth.api_keys.k]\nkeys = []\n";
    let config = |service: &str, route: &str, more: &str| {
        format!(
            "[services.up]\nendpoints = [\"http://127.0.0.1:1\"]\n{service}\n[[routes]]\npath = \"/*\"\nservice = \"up\"\n\
             {route}\n{more}"
        )
    };
    let client =
        "client_id = \"gw\", client_secret = \"hunter2hunter2\", url = \"https://idp.example/token\"";
    let sent = ["GET", "/", "-H", "Authorization: Bearer zzz", "-H", "X-API-Key: yyy"];
    for (service, authorization) in [
        ("outbound = \"remove\"".to_owned(), None),
        ("outbound = \"passthrough\"".to_owned(), Some("Bearer zzz")),
        (
            "outbound = { basic = { user = \"gw\", password = \"hunter2hunter2\" } }".to_owned(),
            Some("(services.up.outbound)"),
        ),
        (
            "outbound = { header = { value = \"Bearer hunter2hunter2\" } }".to_owned(),
            Some("(services.up.outbound)"),
        ),
        (format!("outbound = {{ client_credentials = {{ {client} }} }}"), Some("(services.up.outbound)")),
        (
            format!("outbound = {{ token_exchange = {{ client = {{ {client} }} }} }}"),
            Some("(services.up.outbound)"),
        ),
    ] {
        let said = explained(&config(&service, "", ""), &sent);
        assert_eq!(upstream(&said, "authorization"), authorization, "{service}");
        assert_eq!(upstream(&said, "x-api-key"), Some("yyy"), "no route takes it");
        assert!(names(&said).contains(&"outbound"), "{said}");
        assert!(!said.to_string().contains("hunter2"), "{said}");
    }
    let said = explained(&config("", "auth = \"k\"", KEY), &sent);
    assert_eq!((upstream(&said, "x-api-key"), upstream(&said, "authorization")), (None, Some("Bearer zzz")));
    let shown = KEY.replace("keys =", "hide_credentials = false\nkeys =");
    let said = explained(&config("", "auth = \"k\"", &shown), &sent);
    assert_eq!(upstream(&said, "x-api-key"), Some("yyy"));

    let told =
        "auth = \"k\"\nidentity_headers = { headers = { x-who = \"sub\" }, authorization = \"remove\" }";
    let more = format!("{KEY}[assertion]\nissuer = \"https://gw.example\"\n");
    let args =
        [&sent[..], &["--claim", "sub=ada", "-H", "X-Who: eve", "-H", "X-Internal-Assertion: eve"]].concat();
    let said = explained(&config("assertion = true", told, &more), &args);
    assert_eq!((upstream(&said, "x-who"), upstream(&said, "authorization")), (Some("ada"), None), "{said}");
    assert_eq!(upstream(&said, "x-internal-assertion"), Some("(services.up.assertion)"));
    assert!(names(&said).contains(&"assertion"), "{said}");
}

#[test]
fn policies_stand_in_the_order_in_which_a_request_meets_them() {
    let config = "[services.up]\nendpoints = [\"http://127.0.0.1:1\"]\n[auth.api_keys.staff]\n\
        [rate_limits]\nfew = \"2/s\"\nmore = \"3/s\"\nwrong = { limit = \"5/min\", count = \"failures\" }\n\
        [defaults]\ncorrelation_id = false\nmax_body = \"1KiB\"\n\
        [[routes]]\npath = \"/*\"\nservice = \"up\"\nauth = \"staff\"\nrate_limit = [\"few\", \"wrong\", \"more\"]\n\
        fallback = { respond = \"later\" }\ncache = \"30s\"\n\
        [[routes]]\npath = \"/b\"\nservice = \"up\"\nfallback = { service = \"up\" }\ncircuit = true\n";
    let said = explained(config, &["POST", "/", "-H", "Content-Length: 1024"]);
    let order = ["max_body", "rate_limit", "auth", "rate_limit", "fallback", "cache", "forwarded"];
    assert_eq!(names(&said)[..7], order, "{said}");
    let limit = |index: usize| (&said["policies"][index]["value"], &said["policies"][index]["definition"]);
    assert_eq!(limit(1), (&json!("wrong"), &json!({ "limit": "5/min", "count": "failures" })));
    assert_eq!(limit(3), (&json!(["few", "more"]), &json!(["2/s", "3/s"])));
    assert_eq!(upstream(&said, "content-length"), Some("1024"), "a body that is announced: {said}");
    let counted: Vec<&str> =
        said["counted"].as_array().unwrap().iter().map(|limit| limit["limit"].as_str().unwrap()).collect();
    assert_eq!(counted, ["wrong", "few", "more"]);

    let said = explained(config, &["POST", "/", "-H", "Content-Length: 1025"]);
    assert_eq!((&said["answer"]["status"], &said["upstream"]), (&json!(413), &Value::Null), "{said}");
    let said = explained(config, &["GET", "/b"]);
    assert_eq!(names(&said)[..4], ["max_body", "forwarded", "fallback", "circuit"], "{said}");

    let listed = Gateway::builder(EXE).config(config).args(&["routes"]).run().stdout;
    for order in [
        "max-body rate-limit=wrong auth=staff rate-limit=few|more fallback cache\n",
        "max-body fallback circuit\n",
    ] {
        assert!(listed.contains(order), "no {order} in {listed}");
    }
}

#[test]
fn the_timeout_and_the_retries_that_are_told_are_those_that_hold_on_the_route() {
    let config = "[services.up]\nendpoints = [\"http://127.0.0.1:1\"]\n\
        timeout = { total = \"5s\", per_try = \"1s\", deadline_header = \"x-left\" }\n\
        retry = { attempts = 3, hedge = \"p95\" }\n[groups.slow]\ntimeout = \"2m\"\nretry = 1\n\
        [[routes]]\npath = \"/*\"\nservice = \"up\"\n\
        [[routes]]\npath = \"/slow\"\nservice = \"up\"\ngroup = \"slow\"\n\
        [[routes]]\npath = \"/once\"\nservice = \"up\"\ngroup = \"slow\"\n\
        timeout = { per_try = \"3s\" }\nretry = { attempts = 1, hedge = false }\n";
    for (path, timeout, retry) in [
        (
            "/",
            ("services.up.timeout", json!({ "total": "5s", "per_try": "1s", "deadline_header": "x-left" })),
            ("services.up.retry", json!({ "attempts": 3, "hedge": "p95" })),
        ),
        (
            "/slow",
            ("groups.slow.timeout", json!({ "total": "2m", "deadline_header": "x-left" })),
            ("groups.slow.retry", json!({ "attempts": 1, "hedge": "p95" })),
        ),
        (
            "/once",
            ("routes[2].timeout", json!({ "total": "5s", "per_try": "3s", "deadline_header": "x-left" })),
            ("routes[2].retry", json!(1)),
        ),
    ] {
        let said = explained(config, &["GET", path]);
        let policies = said["policies"].as_array().unwrap();
        for (name, (from, value)) in [("timeout", timeout), ("retry", retry)] {
            let told: Vec<_> = policies.iter().filter(|policy| policy["name"] == name).collect();
            assert_eq!(told.len(), 1, "{path}: {said}");
            assert_eq!((&told[0]["from"], &told[0]["value"]), (&json!(from), &value), "{path}");
        }
    }
    let listed = Gateway::builder(EXE).config(config).args(&["routes"]).run().stdout;
    assert!(listed.contains("timeout=2m retry=1\n") && listed.contains("timeout=5s retry=1\n"), "{listed}");
}

#[test]
fn accounts_captures_cache_keys_and_moves_are_told() {
    let config = "[services.up]\nendpoints = [\"http://127.0.0.1:1\"]\n[identity]\n[auth.jwt.shop]\n\
        secret = \"a secret for tests, 32 bytes long\"\naudience = \"shop\"\n[normalize]\ntrailing_slash = \"redirect\"\n\
        [[routes]]\npath = \"/auth/*\"\nidentity = true\n\
        [[routes]]\npath = \"/files/{kind}/*\"\nhosts = [\"~(?<tenant>[a-z]+)\\\\.shop\\\\.example\"]\nservice = \"up\"\n\
        rewrite = { path = \"/{tenant}/{kind}/{*}\" }\n\
        [[routes]]\npath = \"/cached\"\nservice = \"up\"\nauth = \"shop\"\ncache = { key = { headers = [\"x-lang\"] } }\n";
    let said = explained(config, &["POST", "/auth/login"]);
    assert_eq!((&said["accounts"], &said["answer"]), (&json!(true), &Value::Null), "{said}");
    assert_eq!(names(&said).last(), Some(&"identity"));

    let said = explained(config, &["GET", "http://acme.shop.example/files/a/b/c"]);
    assert_eq!(said["params"], json!({ "*": "b/c", "kind": "a", "tenant": "acme" }));
    assert_eq!(said["upstream"]["target"], "/acme/a/b/c");
    assert_eq!(said["cached"], Value::Null);

    let key = |args: &[&str]| {
        let said = explained(
            config,
            &[&["GET", "http://shop.example/cached?b=1", "-H", "X-Lang: de"], args].concat(),
        );
        said["cached"]["key"].as_str().map(str::to_owned)
    };
    assert_eq!(key(&[]).unwrap(), "http://shop.example/cached?b=1 /cached x-lang=de");
    let of_ada = key(&["--claim", "sub=ada"]).unwrap();
    assert!(of_ada.starts_with(&key(&[]).unwrap()) && of_ada.ends_with(":ada"), "{of_ada}");
    assert_eq!(key(&["-H", "Content-Length: 1"]), None, "what has a body goes by the cache");

    let said = explained(config, &["GET", "http://shop.example/cached/?a=b"]);
    assert_eq!(said["answer"]["status"], 308, "{said}");
    assert_eq!((names(&said), &said["cached"]), (vec!["normalize"], &Value::Null), "it meets no other");
}
