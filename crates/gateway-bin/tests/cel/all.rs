//! With the feature.

use super::EXE;
use gateway_testkit::{Client, Gateway, GatewayBuilder, Request};
use std::io::Write;
use std::process::{Command, Stdio};

const CONFIG: &str = r#"forwarded.trusted_proxies = ["127.0.0.0/8"]
[server]
listen = "127.0.0.1:@PORT@"
workers = 1
[admin]
listen = "127.0.0.1:@ADMIN@"

[[routes]]
name = "all"
path = "/api/*"
respond = "all"

[[routes]]
name = "gold"
path = "/api/*"
methods = ["GET"]
respond = "gold"
match.when = "request.headers['x-plan'] == '${PLAN}' && request.scheme == 'https' || request.query.plan.matches('^(gold|silver)$')"

[[routes]]
name = "near"
path = "/api/*"
respond = "near"
match.clients = ["10.0.0.0/8"]
match.when = '''
client.ip.startsWith('10.1.') &&
  ['eu', 'us'].exists(zone, request.cookies.zone == zone)
'''
"#;

fn gateway() -> GatewayBuilder {
    Gateway::builder(EXE).config(CONFIG).env("PLAN", "hunter2")
}

#[test]
fn an_expression_chooses_among_routes_and_what_fails_is_a_no() {
    let gateway = gateway().start();
    let ask = |method: &str, target: &str, headers: &[(&str, &str)]| {
        let request = Request::new(method, target).header("Host", "shop.example");
        let request = headers.iter().fold(request, |request, (name, value)| request.header(name, value));
        Client::new(gateway.addr()).send(&request).text()
    };
    let secure = ("X-Forwarded-Proto", "https");
    let from = |address: &'static str| ("X-Forwarded-For", address);
    for (method, target, headers, expected) in [
        ("GET", "/api/a", &[][..], "all"),
        ("GET", "/api/a", &[("X-Plan", "hunter2")], "all"),
        ("GET", "/api/a", &[("X-Plan", "hunter2"), secure], "gold"),
        ("GET", "/api/a", &[("X-Plan", "hunter2"), ("X-Plan", "hunter2"), secure], "all"),
        ("POST", "/api/a", &[("X-Plan", "hunter2"), secure], "all"),
        ("GET", "/api/a?plan=silver", &[], "gold"),
        ("GET", "/api/a?plan=iron&plan=gold", &[], "all"),
        ("GET", "/api/a?plan=%73ilver", &[from("10.1.2.3"), ("Cookie", "zone=eu")], "gold"),
        ("POST", "/api/a", &[from("10.1.2.3"), ("Cookie", "zone=eu")], "near"),
        ("POST", "/api/a", &[from("10.1.2.3"), ("Cookie", "zone=asia")], "all"),
        ("POST", "/api/a", &[from("10.1.2.3")], "all"),
        ("POST", "/api/a", &[from("10.2.2.3"), ("Cookie", "zone=eu")], "all"),
    ] {
        assert_eq!(ask(method, target, headers), expected, "{method} {target} {headers:?}");
    }
}

#[test]
fn routes_and_explanations_show_the_expression_and_not_its_secrets() {
    let checked = gateway().args(&["check"]).run();
    assert_eq!((checked.code, checked.stderr.as_str()), (Some(0), ""), "{}", checked.stdout);

    let shown = gateway().args(&["routes"]).run().stdout;
    for part in [
        "when request.headers['x-plan'] == '${PLAN}' && ",
        "when client.ip.startsWith('10.1.') && ['eu', 'us'].exists(zone, request.cookies.zone == zone)\n",
    ] {
        assert!(shown.contains(part), "no `{part}` in {shown}");
    }
    let json = gateway().args(&["routes", "--format", "json"]).run().stdout;
    assert!(json.contains("\"when\": \"request.headers['x-plan'] == '${PLAN}'"), "{json}");

    let args =
        ["explain", "GET", "http://shop.example/api/a", "--client", "10.1.0.1", "-H", "Cookie: zone=asia"];
    let explained = gateway().args(&args).run().stdout;
    for part in [
        "routes[0] takes it",
        "routes[1]  /api/*  `request.headers['x-plan'] == '${PLAN}' && ",
        "fails: No such key: plan",
        "zone == zone)",
        "is false",
    ] {
        assert!(explained.contains(part), "no `{part}` in {explained}");
    }
    for text in [shown, json, explained] {
        assert!(!text.contains("hunter2"), "{text}");
    }
}

#[test]
fn every_mistake_is_told_at_once_with_its_place_in_the_file_and_in_the_expression() {
    let route =
        |when: &str| format!("[[routes]]\npath = \"/*\"\nrespond = \"ok\"\nmatch = {{ when = {when} }}\n");
    let config = [
        route("\"request.methd == 'GET' && request.path > 1\""),
        route("'''\ntrue &&\n  'é' == request.header['x']'''"),
        route("\"request.path\""),
        route("\"request.path == \\\"/\\\" && headers.size() > 1\""),
        route("\"request.path == '${WHO}' && x\""),
        route("\"request.path = '/'\""),
    ];
    let ended = Gateway::builder(EXE).config(&config.concat()).env("WHO", "hunter2").args(&["check"]).run();
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    for part in [
        "gateway.toml:4:19: `routes[0].match.when`, column 1: there is no variable `request.methd`",
        "                   ^^^^^^^^^^^^^ did you mean `request.method`?",
        "gateway.toml:4:58: `routes[0].match.when`, column 40: `>` is not for `string` and `int`",
        "gateway.toml:10:10: `routes[1].match.when`, line 2, column 10: there is no variable `request.header`",
        "gateway.toml:14:19: `routes[2].match.when`, column 1: the expression is `string`; expected `bool`",
        // As it is written there are characters more.
        "gateway.toml:18:18: `routes[3].match.when`, column 24: there is no variable `headers`",
        "`routes[4].match.when`: the expression cannot be used: column 30: there is no variable `x`",
        "gateway.toml:26:32: `routes[5].match.when`, column 14: `=` means nothing here",
        "7 mistakes in the configuration",
    ] {
        assert!(ended.stderr.contains(part), "no `{part}` in {}", ended.stderr);
    }
    assert!(!ended.stderr.contains("hunter2"), "{}", ended.stderr);
}

#[test]
fn expressions_are_conditions_to_the_check_and_to_logged_requests() {
    let route = |name: &str, more: &str| {
        format!("[[routes]]\nname = \"{name}\"\npath = \"/a\"\nrespond = \"{name}\"\n{more}\n")
    };
    let head = |when: &str| format!("match.when = \"{when}\"");
    let two = route("a", &head("request.query.a == '1'")) + &route("b", &head("request.query.a == '2'"));
    let checked = Gateway::builder(EXE).config(&two).args(&["check"]).run();
    assert_eq!((checked.code, checked.stderr.as_str()), (Some(0), ""));
    let same = two.replace("'2'", "'1'");
    let checked = Gateway::builder(EXE).config(&same).args(&["check"]).run();
    assert_eq!(checked.code, Some(2), "{}", checked.stderr);
    let hidden = route("a", "priority = 1") + &route("b", &head("request.query.a == '2'"));
    let checked = Gateway::builder(EXE).config(&hidden).args(&["check"]).run();
    assert!(checked.stderr.contains("is never used"), "{}", checked.stderr);

    let old = route("a", "");
    let new = old.clone() + &route("b", &head("request.query.a == '2' || has(request.headers.x)"));
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("old.toml"), old).unwrap();
    std::fs::write(dir.path().join("new.toml"), new).unwrap();
    let mut child = Command::new(EXE)
        .current_dir(dir.path())
        .args(["explain", "--diff", "old.toml", "new.toml"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"GET /a?a=1\nGET /a?a=2\n").unwrap();
    let told = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
    for part in ["1 of 2 requests change", "such as GET /a?a=2", "1 route looks at headers or cookies"] {
        assert!(told.contains(part), "no `{part}` in {told}");
    }
}

/// Keys `foo` and `bar`.
const KEYS: &str = r#"[[keys]]
id = "acme"
hash = "sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"
tier = "gold"
roles = ["dev", "eu"]

[[keys]]
id = "globex"
hash = "sha256:fcde2b2edba56bf408601fb721fe9b5c338d10ee429ea04fae5511b68fbf8fb9"
tier = "gold"
"#;

const TIERS: &str = r#"[server]
listen = "127.0.0.1:@PORT@"
workers = 1
[admin]
listen = "127.0.0.1:@ADMIN@"

[auth.api_keys.partners]
keys_file = "partners.toml"

[rate_limits.api]
limit = "1/h"
[rate_limits.api.tiers]
values = { gold = "3/h", reads = "2/h" }
by.expressions = [
  { tier = "gold", when = "principal.claims.tier == '${PLAN}' && 'eu' in principal.lists.roles" },
  { tier = "reads", when = "!principal.authenticated && request.method == 'GET'" },
]

[[routes]]
path = "/*"
respond = "ok"
auth = { methods = ["partners"], optional = true }
rate_limit = "api"
"#;

fn tiers(config: &str) -> GatewayBuilder {
    Gateway::builder(EXE).config(config).file("partners.toml", KEYS).env("PLAN", "gold")
}

#[test]
fn an_expression_chooses_the_tier_of_a_limit_and_what_fails_does_not_hold() {
    let gateway = tiers(TIERS).start();
    let passed = |method: &str, key: Option<&str>| {
        let request = Request::new(method, "/");
        let request = key.iter().fold(request, |request, key| request.header("X-API-Key", key));
        let answers: Vec<_> = (0..5).map(|_| Client::new(gateway.addr()).send(&request)).collect();
        assert!(answers.iter().all(|answer| [200, 429].contains(&answer.status)), "{}", answers[0].text());
        let policy = answers[0].header("ratelimit-policy").unwrap().to_owned();
        (answers.iter().filter(|answer| answer.status == 200).count(), policy)
    };
    let of = |count: usize| (count, format!("\"api\";q={count};w=3600"));
    assert_eq!(passed("GET", Some("foo")), of(3));
    // It has no roles, and nobody asks whether it is authenticated.
    assert_eq!(passed("GET", Some("bar")), of(1));
    assert_eq!(passed("GET", None), of(2));
    // Another tier is another count.
    assert_eq!(passed("POST", None), of(1));
}

#[test]
fn explain_says_of_which_tier_a_request_is() {
    let said = |args: &[&str]| {
        let args = [&["explain"], args].concat();
        let said = tiers(TIERS).args(&args).run();
        assert_eq!(said.code, Some(0), "{}", said.stderr);
        said.stdout
    };
    let claims = ["--claim", "sub=ada", "--claim", "tier=gold", "--claim", "roles=[\"eu\"]"];
    let gold = said(&[&["POST", "/"], &claims[..]].concat());
    assert!(gold.contains("  api  principal=ada  tier gold\n"), "{gold}");
    let reads = said(&["GET", "/", "--format", "json"]);
    let reads: serde_json::Value = serde_json::from_str(&reads).unwrap();
    assert_eq!(reads["counted"][0]["tier"], "reads", "{reads}");
    let none = said(&["POST", "/"]);
    assert!(none.contains("  api  ip=127.0.0.1\n"), "{none}");
}

#[test]
fn mistakes_in_tiers_are_told_with_their_places() {
    let with = |tier: &str, when: &str| {
        let (before, rest) = TIERS.split_once("  { tier = \"gold\"").unwrap();
        let rest = rest.split_once('\n').unwrap().1;
        let ended =
            tiers(&format!("{before}  {{ tier = {tier}, when = {when} }},\n{rest}")).args(&["check"]).run();
        assert_eq!(ended.code, Some(2), "{}", ended.stderr);
        ended.stderr
    };
    let key = "rate_limits.api.tiers.by.expressions[0]";
    for (tier, when, parts) in [
        (
            "\"gold\"",
            "\"principal.claims.seats > 3\"",
            [
                format!("gateway.toml:15:51: `{key}.when`, column 24: `>` is not for `string` and `int`"),
                "of a text `int(…)` makes a number".to_owned(),
            ],
        ),
        (
            "\"gold\"",
            "\"principal.id == '${PLAN}' && principal.nme == ''\"",
            [
                format!("gateway.toml:15:27: `{key}.when`: the expression cannot be used: column 27"),
                "did you mean `principal.id`?".to_owned(),
            ],
        ),
        (
            "\"gld\"",
            "\"true\"",
            [
                "`tiers.by.expressions[0].tier` is `gld`, which is neither".to_owned(),
                "gateway.toml:15:12".to_owned(),
            ],
        ),
        (
            "1",
            "\"true\"",
            [format!("`{key}.tier` is the number 1; expected a text"), "gateway.toml:15:12".to_owned()],
        ),
    ] {
        let said = with(tier, when);
        for part in parts {
            assert!(said.contains(&part), "no `{part}` in {said}");
        }
        assert!(said.contains("1 mistake in the configuration"), "{said}");
    }
}
