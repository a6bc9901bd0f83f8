//! Every mistake an operator can make gets a message that says what to do, and an exit code.
#![allow(clippy::unwrap_used)]

use gateway_testkit::{Finished, Gateway, Redis, Upstream, Wire, get, raw, wait_until};
use std::net::TcpListener;
use std::time::Duration;

const EXE: &str = env!("CARGO_BIN_EXE_gateway");

fn check(config: &str) -> Finished {
    Gateway::builder(EXE).config(config).args(&["check"]).run()
}

/// The message, which is all there is: no backtrace, no output.
fn refused(finished: &Finished, code: i32) -> &str {
    assert_eq!(finished.code, Some(code), "{}", finished.stderr);
    for sign in ["panicked", "backtrace", "RUST_BACKTRACE", "src/", "Error {"] {
        assert!(!finished.stderr.contains(sign), "{}", finished.stderr);
    }
    &finished.stderr
}

const GOOD: &str =
    "[services.a]\nendpoints = [\"http://127.0.0.1:1\"]\n[[routes]]\npath = \"/*\"\nservice = \"a\"\n";

#[test]
fn a_mistake_stands_where_its_value_does_with_what_was_found_and_expected() {
    const JWT: &str = "[auth.jwt.x]\nsecret = \"a secret for tests, 32 bytes long\"\n";
    let jwt = |line: &str| format!("{GOOD}{JWT}{line}\n");
    let limit = |lines: &str| format!("{GOOD}[rate_limits.x]\nlimit = \"7/s\"\n{lines}\n");
    let route = |line: &str| format!("{GOOD}{line}\n");
    let mut wrong = Vec::new();
    for (config, expected) in [
        // A list where a table belongs is not read as the table's values in some order.
        (format!("{GOOD}[[auth.jwt.x]]\n"), ":6:12: `auth.jwt.x` is a list; expected a table"),
        (
            route("cache = { bypass = [\"x\"] }"),
            ":6:20: `routes[0].cache.bypass` is a list; expected a table",
        ),
        (
            route("cache = { bypass = [] }"),
            ":6:20: `routes[0].cache.bypass` is an empty list; expected a table",
        ),
        (
            route("cache = { purge = [\"10.0.0.0/8\"] }"),
            ":6:19: `routes[0].cache.purge` is a list; expected a table",
        ),
        (
            format!("[server]\nlisten = \"0.0.0.0:9\"\n[admin]\nlisten = \"127.0.0.1:9\"\n{GOOD}"),
            ":4:10: `admin.listen` is 127.0.0.1:9, and `server.listen` is 0.0.0.0:9; expected another port",
        ),
        // What may be chosen is said to whoever writes no text at all, too.
        (route("[access_log]\nformat = true"), ":7:10: `access_log.format` is `true`; expected one of json,"),
        (jwt("revocation = true"), ":8:14: `auth.jwt.x.revocation` is `true`; expected one of push, strict"),
        // No number passes for nothing at all.
        (route("max_body = inf"), ":6:12: `routes[0].max_body`: `inf` is no size; expected"),
        (format!("[server]\nworkers = nan\n{GOOD}"), ":2:11: `server.workers` is the text \"NaN\"; expected"),
        // Names may hold what the words around them do.
        (route("\"a`b\" = 1"), ":6:1: unknown key `a`b` in routes[0]"),
        (
            format!("{GOOD}[admin]\nlisten = \"localhost:9000\"\n"),
            ":7:10: `admin.listen` is the text \"localhost:9000\"; expected an address and port such as",
        ),
        // What a check says of a key stands at the key, and what it says of a value at the value.
        (limit("max_keys = 0"), ":8:12: `rate_limits.x`: `max_keys` is 0"),
        (limit("replicas = 0"), ":8:12: `rate_limits.x`: `replicas` is 0"),
        (limit("key = { header = \"a b\" }"), ":8:18: `rate_limits.x`: `a b` is no name of a header"),
        (
            limit("count = \"failures\"\nstatuses = []"),
            ":9:12: `rate_limits.x`: `statuses` is empty, so that no answer would count; expected numbers",
        ),
        (route("cache = { statuses = [206] }"), ":6:22: `routes[0].cache.statuses`: `206` is no status"),
        (
            route("cache = { key = { headers = [\"a b\"] } }"),
            ":6:29: `routes[0].cache.key.headers`: `a b` is not the name of a header",
        ),
        (
            route("cache = { max_entry = \"1GiB\" }"),
            ":6:23: `routes[0].cache`: `max_entry` is 1GiB, but the store",
        ),
        (route("cache = { max_entry = \"0B\" }"), ":6:23: `routes[0].cache`: `max_entry` is 0"),
        (
            route("cache = { methods = [\"POST\"] }"),
            ":6:21: `routes[0].cache`: `methods` has `POST` but not `GET`",
        ),
        (
            route("cache = { methods = [\"QUERY\", \"HEAD\"] }"),
            ":6:21: `routes[0].cache`: `methods` has `HEAD` but not `GET`",
        ),
        (jwt("algorithms = [\"RS256\"]"), ":8:15: `auth.jwt.x`: `RS256` does not go with a secret"),
        (
            jwt("audience = []"),
            ":8:12: `auth.jwt.x.audience`: the list is empty, so that no token could pass",
        ),
        (
            format!("{GOOD}[auth.jwt.x]\nsecret_file = \"nope\"\n"),
            ":7:15: `auth.jwt.x`: cannot read `nope`: No such file",
        ),
        (
            format!("{GOOD}[auth.forward.x]\nurl = \"ftp://x\"\n"),
            ":7:7: `auth.forward.x`: `ftp://x` is not a URL",
        ),
        (
            format!(
                "{GOOD}[auth.api_keys.x]\nkeys = [{{ id = \"\", hash = \"sha256:{}\" }}]\n",
                "0".repeat(64)
            ),
            ":7:16: `auth.api_keys.x.keys[0].id`: it is empty; expected what the key is called",
        ),
        (
            format!("{GOOD}[auth.api_keys.x]\nquery = \"\"\n"),
            ":7:9: `auth.api_keys.x.query`: it is empty; expected a name",
        ),
        (
            format!("{GOOD}[auth.forward.x]\n"),
            ":6:15: `auth.forward.x`: `url`: it is missing; expected something like",
        ),
        (
            format!("{GOOD}[auth.signatures.x]\nkeys = [{{}}]\n"),
            ":7:9: `auth.signatures.x`: `keys[0].id`: it is empty; expected what signatures call the key",
        ),
        (
            format!("{GOOD}[store.redis]\nurl = \"redis://h\"\npassword_file = \"/nowhere/x\"\n"),
            ":8:17: `store.redis`: cannot use `/nowhere/x`: No such file",
        ),
        (
            format!("{GOOD}[store.memory]\nmax_keys = 0\n"),
            ":7:12: `store.memory.max_keys` is the number 0; expected a whole number of at least 1",
        ),
        (limit("") + "[groups.g]\nrate_limit = [\"x\", \"x\"]\n", ":10:20: `x` is listed twice"),
        (limit("") + "[defaults]\nrate_limit = [\"none\", \"x\"]\n", ":10:15: `none` stands alone"),
        (
            GOOD.replace(
                "[[routes]]",
                "[rate_limits]\nx = \"7/s\"\n[[routes]]\nrate_limit = [\"x\", \"none\"]",
            ),
            ":6:20: `none` stands alone",
        ),
        (
            GOOD.replace("[[routes]]", "timeout = \"500000000000y\"\n[[routes]]"),
            ":3:11: `services.a.timeout`: `500000000000y` is too long; expected at most 100 years",
        ),
        (
            limit("quota = \"7/day\"\nquota_file = \"/nowhere/x\""),
            ":9:14: `rate_limits.x.quota_file`: the quotas cannot be read: there is no folder `/nowhere`",
        ),
        // The words of libraries.
        (
            format!("{GOOD}[auth.mtls.x]\ntrusted_proxies = [\"10.0.0.0/99\"]\n"),
            ":7:20: `auth.mtls.x.trusted_proxies[0]`: `10.0.0.0/99` is no network; expected one such as",
        ),
        (
            jwt("audience = 7"),
            ":8:12: `auth.jwt.x.audience` is the number 7; expected a text or a list of texts",
        ),
        (
            route("rate_limit = 7"),
            ":6:14: `routes[0].rate_limit` is the number 7; expected a name or a list of names",
        ),
        (
            limit("replicas = 99999999999"),
            ":8:12: `rate_limits.x.replicas` is the number 99999999999; expected a whole number of at most 4294967295",
        ),
        (limit("key = { heder = \"a\" }"), ":8:9: `heder` is not a value of `rate_limits.x.key`"),
        (limit("key = []"), ":8:7: `rate_limits.x.key` is an empty list; expected `caller`"),
        (limit("limit = \"8/s\""), ":8:1: duplicate key `limit`"),
        // Names.
        (
            format!("{GOOD}[rate_limits]\n\"ü b\" = \"7/s\"\n"),
            ":7:9: `rate_limits.\"ü b\"`: `ü b` cannot name a limit",
        ),
        (
            format!("{GOOD}[auth.jwt.\"\"]\nsecret = \"a secret for tests, 32 bytes long\"\n"),
            ":6:11: the name of a way to authenticate is empty",
        ),
        // What would leave a route open that names `auth`.
        (
            route("auth = []"),
            ":6:8: `routes[0].auth`: the list is empty, so that nobody would be asked who they are",
        ),
        (route("auth = { methods = [] }"), ":6:20: `routes[0].auth` names no way to authenticate"),
        (route("auth = { public = [\"/x\"] }"), ":6:8: `routes[0].auth` names no way to authenticate"),
    ] {
        let finished = check(&config);
        let said = refused(&finished, 2);
        if !(said.contains(expected) && said.contains("\n1 mistake in the configuration")) {
            wrong.push(format!("no `{expected}` alone in {said}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_follows_from_a_mistake_is_no_mistake_of_its_own() {
    for (tables, part) in [
        ("[services.b]\nendpoints = [7]\n", "`services.b.endpoints[0]` is the number 7"),
        ("[rate_limits]\nx = [7, true]\n", "`rate_limits.x[1]` is `true`"),
        ("[rate_limits.x]\nlimit = 7\n", "`rate_limits.x.limit` is the number 7"),
        ("[rate_limits.x]\nlimit = [7]\n", "`rate_limits.x.limit[0]` is the number 7"),
        ("[rate_limits.x]\nlimt = \"7/s\"\n", "unknown key `limt`"),
        ("[auth.jwt.x]\nsecret = 7\n", "`auth.jwt.x.secret` is the number 7"),
        ("[auth.basic.x]\nfile = 7\n", "`auth.basic.x.file` is the number 7"),
        ("[auth.mtls.x]\ntrusted_proxies = [7]\n", "`auth.mtls.x.trusted_proxies[0]` is the number 7"),
    ] {
        let finished = check(&format!("{GOOD}{tables}"));
        let said = refused(&finished, 2);
        assert!(said.contains(part), "no `{part}` in {said}");
        let count = if tables.contains("true") { "2 mistakes" } else { "1 mistake" };
        assert!(said.contains(&format!("\n{count} in the configuration")), "{tables}: {said}");
    }
    let only = |route: &str| GOOD.replace("path = \"/*\"\nservice = \"a\"\n", route);
    for (config, part) in [
        (only("path = \"api\"\nservice = \"a\"\n"), "`routes[0].path`: `api` is not a path pattern"),
        (only("path = \"/*\"\nservice = [\"a\"]\n"), "`routes[0].service` is a list; expected a text"),
        (only("path = \"/*\"\nrespond = 7.5\n"), "`routes[0].respond`"),
        (GOOD.replace("[[routes]]", "[routes]"), "`routes` is a table; expected a list"),
        (
            format!("{GOOD}[rate_limits.x]\nlimit = \"1/s\"\nkey = {{ claim = \"sub\", header = \"X-A\" }}\n"),
            "`rate_limits.x.key` is a table; expected a table with one key",
        ),
        (format!("{GOOD}[admin]\nlisten = \"${{NO_SUCH}}\"\n"), "the environment variable NO_SUCH is not set"),
        // The name of one service begins as another's does.
        (
            "[services.a]\nendpoints = []\n[services.ab]\nendpoints = [\"http://x\"]\n[[routes]]\npath = \"/*\"\n\
             service = \"a\"\n"
                .to_owned(),
            "the service `a` has no endpoints",
        ),
    ] {
        let finished = check(&config);
        let said = refused(&finished, 2);
        assert!(said.contains(part), "no `{part}` in {said}");
        assert!(said.contains("\n1 mistake in the configuration"), "{config}: {said}");
    }
}

#[test]
fn every_kind_of_mistake_names_its_place_and_what_to_do() {
    let route = |lines: &str| format!("{GOOD}[[routes]]\n{lines}\n");
    for (config, parts) in [
        (
            format!("{GOOD}[server]\nlisen = \"x\"\n"),
            vec!["gateway.toml:7:1: unknown key `lisen` in server", "^^^^^ did you mean `listen`?"],
        ),
        (format!("{GOOD}[sever]\n"), vec!["gateway.toml:6:2: unknown key `sever`", "did you mean `server`?"]),
        (
            format!("{GOOD}[server]\nworkers = \"two\"\n"),
            vec![
                "gateway.toml:7:11: `server.workers` is the text \"two\"; expected a whole number of at least 1",
            ],
        ),
        (
            format!("{GOOD}[server]\nworkers = 0\n"),
            vec!["gateway.toml:7:11", "expected a whole number of at least 1"],
        ),
        (
            format!("{GOOD}[server]\nlisten = \"8080\"\n"),
            vec![
                "gateway.toml:7:10: `server.listen`",
                "`8080` is no address to listen on; expected `ADDRESS:PORT`",
            ],
        ),
        (
            format!("{GOOD}[server]\nmax_head = 65536\n"),
            vec!["`server.max_head` is the number 65536; expected a size with its unit, such as \"64KiB\""],
        ),
        (
            format!("{GOOD}[server]\ndrain_timeout = 5\n"),
            vec!["`server.drain_timeout` is the number 5; expected a length of time with its unit"],
        ),
        (
            format!("metrics = \"yes\"\n{GOOD}"),
            vec!["gateway.toml:1:11: `metrics` is the text \"yes\"; expected `true` or `false`"],
        ),
        (
            format!("access_log = 5\n{GOOD}"),
            vec!["`access_log` is the number 5; expected `true`, `false`, a file's path, or a table"],
        ),
        (route("path = \"/b\"\nservice = \"b\""), vec!["gateway.toml:8:11: there is no service `b`"]),
        (
            format!(
                "{GOOD}[services.products]\nendpoints = [\"http://x\"]\n[[routes]]\npath = \"/p\"\nservice = \"product\"\n"
            ),
            vec!["there is no service `product`", "did you mean `products`?"],
        ),
        (
            route("path = \"/*\"\nservice = \"a\""),
            vec![
                "gateway.toml:7:8: `/*` takes the same requests as routes[0], so this route is never used",
                "give one a `priority`",
            ],
        ),
        (
            route("path = \"/b\"\nservice = \"a\"\nauth = \"shop\""),
            vec!["there is no way to authenticate `shop`", "no [auth.jwt] or other way is defined"],
        ),
        (route("path = \"/b\"\nservice = \"a\"\nrate_limit = \"x\""), vec!["there is no rate limit `x`"]),
        (
            route("path = \"b\"\nservice = \"a\""),
            vec![
                "gateway.toml:7:8: `routes[1].path`: `b` is not a path pattern: it does not begin with a slash",
            ],
        ),
        (route("path = \"/b\""), vec!["gateway.toml:6:1: `service` is missing in routes[1]"]),
        (
            route("path = \"/b\"\nservice = \"a\"\nmethods = [\"get\"]"),
            vec!["`routes[1].methods[0]`: `get` is not a method; expected GET, POST, … in capitals"],
        ),
        (route("path = \"/b\"\nservice = \"a\"\nstrip = \"/b/\""), vec!["`/b/` is not a path prefix"]),
        (route("path = \"/b\"\nservice = \"a\"\nhosts = [\"http://x\"]"), vec!["`http://x` is not a host"]),
        (route("path = \"/b\"\nservice = \"a\"\ncors = { origins = [\"x\"] }"), vec!["`x` is not an origin"]),
        (
            route("path = \"/b\"\nservice = \"a\"\nheaders = { request = { set = { \"a b\" = \"c\" } } }"),
            vec!["`a b` is not a header name"],
        ),
        (
            format!("{GOOD}[services.b]\nendpoints = [\"127.0.0.1:1\"]\n"),
            vec![
                "gateway.toml:7:14: `services.b.endpoints[0]`: `127.0.0.1:1` is not an endpoint: it has no scheme",
            ],
        ),
        (format!("{GOOD}[services.b]\nendpoints = [\"ftp://x\"]\n"), vec!["`ftp://x` is not an endpoint"]),
        (format!("{GOOD}[services.b]\nendpoints = []\n"), vec!["the service `b` has no endpoints"]),
        (
            format!("{GOOD}[services.b]\nendpoints = [\"http://a\", \"http://A:80\"]\n"),
            vec!["http://A:80 is listed twice, the first time as http://a"],
        ),
        (
            format!("{GOOD}[services.b]\nendpoints = [\"http://x\"]\nbalance = \"round-robin\"\n"),
            vec!["`round-robin` is not a value of `services.b.balance`", "did you mean `round_robin`?"],
        ),
        (
            format!("{GOOD}[services.b]\nendpoints = [\"http://x\"]\nretry = 0\n"),
            vec!["0 attempts make no sense; expected 1 to 100"],
        ),
        (
            format!("{GOOD}[services.b]\nendpoints = [\"http://x\"]\nretry = {{ statuses = [503, 9999] }}\n"),
            vec![
                "gateway.toml:8:28: `services.b.retry.statuses[1]`: 9999 is not a status; expected 100 to 599",
            ],
        ),
        (
            format!("{GOOD}[services.b]\nendpoints = [\"http://x\"]\nretry = {{ backoff = \"soon\" }}\n"),
            vec!["`soon` is no backoff; expected \"100ms\", \"linear 100ms\" or \"none\""],
        ),
        (
            format!("{GOOD}[services.b]\nendpoints = [\"http://x\"]\nhealth = \"health\"\n"),
            vec!["`health` is no path"],
        ),
        (
            format!("{GOOD}[services.b]\nendpoints = [\"http://x\"]\nhealth = {{ path = \"/is it\" }}\n"),
            vec!["`/is it` is no path"],
        ),
        (
            format!("{GOOD}[auth.jwt.shop]\nsecret = \"${{NO_SUCH_SECRET}}\"\n"),
            vec![
                "gateway.toml:7:10: `auth.jwt.shop.secret`: the environment variable NO_SUCH_SECRET is not set",
            ],
        ),
        (format!("{GOOD}[auth.jwt.shop]\nsecret = \"short\"\n"), vec!["the secret is 5 bytes long"]),
        (
            format!("{GOOD}[auth.jwt.shop]\npublic_key_file = \"/nowhere.pem\"\n"),
            vec!["cannot read `/nowhere.pem`: No such file"],
        ),
        (
            format!("{GOOD}[auth.jwt.shop]\nsecret = \"${{file:/nowhere}}\"\n"),
            vec!["the file /nowhere cannot be read: No such file"],
        ),
        (
            format!("{GOOD}[rate_limits]\nx = \"lots\"\n"),
            vec![
                "gateway.toml:7:5: `rate_limits.x`: `lots` is not a rate limit; expected something like \"100/min\"",
            ],
        ),
        (format!("{GOOD}[rate_limits]\nx = {{}}\n"), vec!["it limits nothing"]),
        (
            format!("{GOOD}[errors]\nformat = \"xml\"\n"),
            vec!["`xml` is not a value of `errors.format`", "problem, message, detail"],
        ),
        (
            format!("{GOOD}[errors.overrides.no-rout]\ntext = \"x\"\n"),
            vec!["there is no code `no-rout`", "did you mean `no-route`?"],
        ),
        (
            format!("{GOOD}[errors.overrides.no-route]\nstatus = 200\n"),
            vec!["200 is not the status of an error"],
        ),
        (format!("{GOOD}[store.redis]\nurl = \"http://x\"\n"), vec!["`http://x` is not the URL of a Redis"]),
        ("[server]\n".to_owned(), vec!["there are no routes", "[[routes]]"]),
        (format!("{GOOD}[server\n"), vec!["gateway.toml:6:8: "]),
        (format!("{GOOD}x = 1\nx = 2\n"), vec!["gateway.toml:7:1: duplicate key"]),
    ] {
        let finished = check(&config);
        let message = refused(&finished, 2);
        for part in parts {
            assert!(message.contains(part), "no `{part}` in\n{message}\nfor\n{config}");
        }
        assert!(message.contains("1 mistake in the configuration"), "{message}\nfor\n{config}");
    }
}

#[test]
fn what_other_gateways_write_is_told_where_it_belongs_here() {
    let route = |line: &str| format!("{GOOD}{line}\n");
    let top = |lines: &str| format!("{lines}\n{GOOD}");
    let service = |line: &str| GOOD.replace("[[routes]]", &format!("{line}\n[[routes]]"));
    for (config, help) in [
        (route("health = \"/\""), "it is a key of a service, [services.NAME]"),
        (route("[defaults]\nhealth = \"/\""), "it is a key of a service, [services.NAME]"),
        (route("[groups.g]\nhealth = \"/\""), "it is a key of a service, [services.NAME]"),
        (route("weight = 3"), "it is a key of an endpoint, { url = \"…\" } in `endpoints`"),
        (service("circuit = true"), "it is a key of [services.NAME.balance]"),
        (service("connect_timeout = \"1s\""), "it is a key of [services.NAME.connection]"),
        (service("cors = true"), "it is a key of a route, [[routes]]"),
        (top("drain_delay = \"5s\""), "it is a key of [server]"),
        (route("[jwt.shop]\nsecret = \"x\""), "it is a key of [auth]"),
        (route("strip_prefix = \"/a\""), "did you mean `strip`?"),
        (top("[tls]\ncert = \"a.pem\""), "TLS is ended in front of the gateway, not by it"),
        (top("[server]\ntls = { cert = \"a.pem\" }"), "TLS is ended in front of the gateway, not by it"),
        (route("[auth.jwt]\nsecret = \"x\""), "a name stands before it: [auth.jwt.NAME]"),
        (top("[[groups]]\nname = \"x\""), "each has a name: [groups.NAME]"),
        (GOOD.replace("[[routes]]", "[routes.x]"), "write [[routes]]"),
        (route("hosts = \"shop.example\""), "write [\"shop.example\"]"),
        (route("rate_limit = \"100/min\""), "a limit has a name: `NAME = \"100/min\"` in [rate_limits]"),
    ] {
        let finished = check(&config);
        let message = refused(&finished, 2);
        assert!(message.contains(&format!("^ {help}")), "no `{help}` in\n{message}\nfor\n{config}");
        assert!(message.contains("1 mistake in the configuration"), "{message}\nfor\n{config}");
    }
}

#[test]
fn a_configuration_named_without_its_flag_is_answered_with_the_flag() {
    for args in [&["check", "my.toml"][..], &["my.toml"], &["routes", "my.yaml"]] {
        let finished = Gateway::builder(EXE).args(args).run();
        let message = refused(&finished, 2);
        let tip = format!("tip: name the configuration by '--config {}'", args[args.len() - 1]);
        assert!(message.contains(&tip), "{message}");
    }
}

#[test]
fn all_mistakes_are_named_in_one_go_in_the_order_of_the_file() {
    let finished = check(
        "metrics = 1\n[server]\nlisen = \"x\"\nworkers = \"two\"\n[services.a]\nendpoints = [\"x\", 5, \"y\"]\n\
         [[routes]]\npath = \"nowhere\"\nservice = \"a\"\n[[routes]]\npath = \"/x\"\nservice = \"b\"\nauth = \"c\"\n",
    );
    let message = refused(&finished, 2);
    let places: Vec<&str> =
        message.lines().filter_map(|line| line.split("gateway.toml:").nth(1)?.split(": ").next()).collect();
    assert_eq!(places, ["1:11", "3:1", "4:11", "6:14", "6:19", "6:22", "8:8", "12:11", "13:8"], "{message}");
    assert!(message.ends_with("9 mistakes in the configuration\n"), "{message}");
}

#[test]
fn yaml_and_json_are_read_and_their_mistakes_have_places_too() {
    let yaml =
        "services:\n  a:\n    endpoints: [\"http://127.0.0.1:1\"]\nroutes:\n  - path: /*\n    service: a\n";
    let json = r#"{ "services": { "a": { "endpoints": ["http://127.0.0.1:1"] } },
  "routes": [ { "path": "/*", "service": "a" } ] }"#;
    let check = |name: &str, text: &str| {
        Gateway::builder(EXE).file(name, text).args(&["check", "--config", name]).run()
    };
    for (name, text) in [("g.yaml", yaml), ("g.json", json)] {
        let finished = check(name, text);
        assert_eq!(finished.code, Some(0), "{}", finished.stderr);
        assert_eq!(finished.stdout, format!("{name}: no mistakes; 1 route to 1 service\n"));
        let wrong =
            check(name, &text.replace("service\": \"a", "servce\": \"a").replace("service: a", "servce: a"));
        let place = if name == "g.yaml" { "g.yaml:6:5" } else { "g.json:2:31" };
        let message = refused(&wrong, 2);
        assert!(message.contains(&format!("{place}: unknown key `servce` in routes[0]")), "{message}");
        assert!(message.contains("did you mean `service`?"), "{message}");
    }
    for (name, text) in
        [("g.yaml", "a: [1\n"), ("g.json", "{ \"a\": "), ("g.yaml", "just text\n"), ("g.ini", "")]
    {
        let finished = check(name, text);
        assert!(refused(&finished, 2).contains("1 mistake"), "{name} {text}: {}", finished.stderr);
    }
}

#[test]
fn a_file_that_cannot_be_read_is_named_with_the_reason() {
    for (args, part) in [
        (vec!["run", "--config", "missing.toml"], "missing.toml: the file cannot be read: No such file"),
        (vec!["check"], "gateway.toml: the file cannot be read: No such file"),
        (vec!["check", "--config", "/"], "/: the file cannot be read: Is a directory"),
        (vec!["chekc"], "unrecognized subcommand 'chekc'"),
    ] {
        let finished = Gateway::builder(EXE).args(&args).run();
        let message = refused(&finished, 2);
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn the_environment_is_over_the_file_and_its_mistakes_name_the_variable() {
    let build = || Gateway::builder(EXE).config(GOOD).args(&["check"]);
    let finished = build().env("GATEWAY_SERVER__LISTEN", "127.0.0.1:1").env("GATEWAY_METRICS", "false").run();
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    // What Kubernetes sets for a service called `gateway`.
    let kubernetes = [
        ("GATEWAY_PORT", "tcp://10.0.0.1:80"),
        ("GATEWAY_SERVICE_HOST", "10.0.0.1"),
        ("GATEWAY_SERVICE_PORT", "80"),
        ("GATEWAY_SERVICE_PORT_HTTP", "80"),
        ("GATEWAY_PORT_80_TCP", "tcp://10.0.0.1:80"),
        ("GATEWAY_PORT_80_TCP_ADDR", "10.0.0.1"),
        ("GATEWAY_PORT_80_TCP_PORT", "80"),
        ("GATEWAY_PORT_80_TCP_PROTO", "tcp"),
    ];
    let finished = kubernetes.iter().fold(build(), |build, (name, value)| build.env(name, value)).run();
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    let finished = build().env("GATEWAY_SERVER__WORKERS", "many").run();
    let message = refused(&finished, 2);
    assert!(
        message.contains("environment variable GATEWAY_SERVER__WORKERS: `server.workers` is the text"),
        "{message}"
    );
    let finished = build().env("GATEWAY_SERVER__LISEN", "x").run();
    let message = refused(&finished, 2);
    assert!(
        message.contains("GATEWAY_SERVER__LISEN") && message.contains("did you mean `listen`?"),
        "{message}"
    );
}

#[test]
fn a_secret_never_stands_in_a_message() {
    let config =
        format!("{GOOD}[server]\nworkers = \"${{THE_SECRET}}\"\n[rate_limits]\nx = \"${{THE_SECRET}}\"\n");
    let finished =
        Gateway::builder(EXE).config(&config).env("THE_SECRET", "hunter2hunter2").args(&["check"]).run();
    let message = refused(&finished, 2);
    assert!(!message.contains("hunter2"), "{message}");
    assert!(message.contains("${THE_SECRET}"), "{message}");
}

#[test]
fn no_secret_stands_in_what_is_said_of_it_wherever_that_is_found_out() {
    let service = |endpoints: &str| format!("[services.a]\nendpoints = [{endpoints}]\n");
    let redis = |line: &str| format!("{GOOD}[store.redis]\n{line}\n");
    for (secret, config, expected) in [
        // Without the scheme that it should have.
        ("user:hunter2@host:6379", redis("url = \"${S}\""), "`store.redis`: `host:6379` is not the URL"),
        (
            "user:hunter2@host:6379",
            redis("cluster = [\"${S}\"]"),
            "`store.redis`: `host:6379` is not the URL",
        ),
        ("hunter2@host", redis("url = \"redis://u:${S}:x\""), "is not the URL of a Redis"),
        ("http://u:hunter2@host", service("\"${S}\""), ":2:14: "),
        (
            "htp://u:hunter2@host",
            format!("{GOOD}[auth.jwt.x]\njwks_url = \"${{S}}\"\n"),
            ":7:12: `auth.jwt.x`: `${S}`",
        ),
        (
            "hunter2\nhunter2",
            format!("{GOOD}headers = {{ request = {{ set = {{ X-Key = \"Basic ${{S}}\" }} }} }}\n"),
            "${S}",
        ),
    ] {
        let finished = Gateway::builder(EXE).config(&config).env("S", secret).args(&["check"]).run();
        let message = refused(&finished, 2);
        assert!(!message.contains("hunter2"), "{message}");
        assert!(message.contains(expected), "{expected}: {message}");
    }
}

#[test]
fn a_secret_or_key_that_is_none_is_told_with_the_variable_or_file_that_it_is_of() {
    let client = "url = \"http://127.0.0.1:1\"\nclient_id = \"a\"\n";
    let introspection = format!("[auth.introspection.x]\n{client}");
    let oidc = "[auth.oidc.x]\nissuer = \"https://a.example\"\nclient_id = \"a\"\nclient_secret = \"b\"\n";
    let signature = "[auth.signatures.x]\n[[auth.signatures.x.keys]]\nid = \"a\"\n";
    let more = "[[auth.jwt.x.keys]]\nsecret = \"a secret for tests, 32 bytes long\"\n[[auth.jwt.x.keys]]\n";
    let by_key = "client_auth = \"private_key_jwt\"\n";
    for (config, parts) in [
        (
            "[auth.jwt.x]\nsecret = \"${NONE}\"\n".to_owned(),
            ["`auth.jwt.x.secret`: the secret is 0 bytes long; expected", "`${NONE}` is empty"],
        ),
        (
            "[auth.jwt.x]\nsecret = \"${file:@DIR@/none}\"\n".to_owned(),
            ["`auth.jwt.x.secret`: the secret is 0", "`${file:@DIR@/none}` is empty"],
        ),
        (
            "[auth.jwt.x]\npublic_key = \"${SHORT}\"\n".to_owned(),
            ["`auth.jwt.x.public_key`: the key is not the PEM of", "it is that of `${SHORT}`"],
        ),
        (
            "[auth.jwt.x]\nsecret_file = \"@DIR@/none\"\n".to_owned(),
            ["`auth.jwt.x.secret_file`: `@DIR@/none`: the secret is 0", ":7:15: "],
        ),
        (
            format!("{more}public_key_file = \"@DIR@/text\"\n"),
            ["`auth.jwt.x.keys[1].public_key_file`: `@DIR@/text`: the key is not the PEM of", ":9:19: "],
        ),
        (
            format!("{signature}secret = \"${{NONE}}\"\n"),
            ["`auth.signatures.x.keys[0].secret`: the secret is 0", "`${NONE}` is empty"],
        ),
        (
            format!("{signature}public_key_file = \"@DIR@/text\"\n"),
            ["`auth.signatures.x.keys[0].public_key_file`: `@DIR@/text`: the key is not the PEM", ":9:19: "],
        ),
        (
            format!("{introspection}client_secret = \"${{NONE}}\"\n"),
            ["`auth.introspection.x.client_secret`: it is empty; expected a secret", "`${NONE}` is empty"],
        ),
        (
            format!("{introspection}client_secret_file = \"@DIR@/none\"\n"),
            ["`auth.introspection.x.client_secret_file`: `@DIR@/none`: it is empty; expected", ":9:22: "],
        ),
        (
            format!("{introspection}{by_key}client_assertion = {{ key_file = \"@DIR@/text\" }}\n"),
            ["x.client_assertion.key_file`: `@DIR@/text`: it is no private key; expected PEM", ":10:33: "],
        ),
        (
            format!("{oidc}cookie_secret_file = \"@DIR@/none\"\n"),
            ["`auth.oidc.x.cookie_secret_file`: `@DIR@/none`: it is empty; expected a secret", ":10:22: "],
        ),
        (
            "[assertion]\nkey_file = \"@DIR@/text\"\n".to_owned(),
            ["`assertion.key_file`: `@DIR@/text`: it is no private key; expected PKCS #8 in PEM", ":7:12: "],
        ),
        (
            "[auth.basic.x]\nfile = \"@DIR@/none\"\n".to_owned(),
            ["`auth.basic.x.file`: `@DIR@/none`: it names nobody; expected lines of `NAME:HASH`", ":7:8: "],
        ),
        (
            "[services.a.outbound.header]\nname = \"X-Key\"\nvalue = \"${NONE}\"\n".to_owned(),
            ["`services.a.outbound.header.value`: it is empty; expected a secret", "`${NONE}` is empty"],
        ),
        (
            format!("[services.a.outbound.client_credentials]\n{client}client_secret = \"${{NONE}}\"\n"),
            ["`services.a.outbound.client_credentials.client_secret`: it is empty", "`${NONE}` is empty"],
        ),
        (
            "[services.a.balance]\nsticky.key = \"${NONE}\"\n".to_owned(),
            ["`services.a.balance.sticky.key`: it is empty; expected a secret", ":7:14: "],
        ),
        (
            "[identity]\nkeys = { secret = \"${NONE}\" }\n".to_owned(),
            ["`keys.secret` is 0 bytes long; expected at least 16", "`${NONE}` is empty"],
        ),
    ] {
        let builder = Gateway::builder(EXE).file("none", "\n").file("text", "a short text");
        let directory = builder.dir().display().to_string();
        let here = |text: &str| text.replace("@DIR@", &directory);
        let builder = builder.config(&format!("{GOOD}{config}")).env("NONE", "").env("SHORT", "a short text");
        let finished = builder.args(&["check"]).run();
        let message = refused(&finished, 2);
        for part in parts {
            assert!(message.contains(&here(part)), "{part}: {message}");
        }
        assert!(message.contains("1 mistake in the configuration"), "{message}");
        assert!(!message.contains("a short text"), "{message}");
    }
}

#[test]
fn what_a_variable_says_is_never_shown_and_is_a_text_where_that_is_wanted() {
    let redis = format!("{GOOD}[store.redis]\nurl = \"redis://127.0.0.1:1\"\nusername = \"u\"\n");
    let build = |name: &str, value: &str| Gateway::builder(EXE).config(&redis).env(name, value);
    for password in ["12345678", "true", "\"quoted\"", "{a=b}", "[x", "1.10"] {
        let finished = build("GATEWAY_STORE__REDIS__PASSWORD", password).args(&["check"]).run();
        assert_eq!(finished.code, Some(0), "{password}: {}", finished.stderr);
    }
    for (name, value, expected) in [
        ("GATEWAY_STORE__REDIS__REQUIRED", "hunter2", "`store.redis.required` is the text"),
        ("GATEWAY_STORE__REDIS__TIMEOUT", "87654321", "`store.redis.timeout`"),
        ("GATEWAY_STORE__MEMORY", "87654321", "`store.memory`"),
        ("GATEWAY_LOG__LEVEL", "hunter2hunter2", "is not a value of `log.level`"),
        ("GATEWAY_SERVICES__B__RETRY", "3", "`endpoints` is missing in services.b"),
    ] {
        let finished = build(name, value).env("GATEWAY_STORE__REDIS__PASSWORD", "x").args(&["check"]).run();
        let message = refused(&finished, 2);
        assert!(message.contains(&format!("environment variable {name}: ")), "{message}");
        assert!(message.contains(expected), "{message}");
        assert!(!message.contains("hunter2") && !message.contains("87654321"), "{message}");
    }
    // The case of a name in the file is not that of a variable's.
    let config = GOOD.replace("services.a", "services.Api").replace("\"a\"", "\"Api\"");
    let api = Gateway::builder(EXE).config(&config).env("GATEWAY_SERVICES__API__TIMEOUT", "2s");
    let finished = api.args(&["check"]).run();
    assert_eq!((finished.code, finished.stderr.as_str()), (Some(0), ""), "{}", finished.stdout);
}

#[test]
fn a_port_in_use_ends_with_1_and_names_the_setting() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    for (table, key) in [("server", "server.listen"), ("admin", "admin.listen")] {
        let more = if table == "admin" { "[server]\nlisten = \"127.0.0.1:@PORT@\"\n" } else { "" };
        let config = format!("{GOOD}{more}[{table}]\nlisten = \"{address}\"\n");
        let finished = Gateway::builder(EXE).config(&config).run();
        let message = refused(&finished, 1);
        let expected = format!(
            "cannot listen on {address}: Address already in use; another address can be set as `{key}`"
        );
        assert!(message.contains(&expected), "{message}");
    }
    // Another gateway, which shares its port among its workers, counts too.
    let upstream = Upstream::named("a");
    let config = format!(
        "[server]\nlisten = \"127.0.0.1:@PORT@\"\nworkers = 2\n[services.a]\nendpoints = [\"{}\"]\n\
         [[routes]]\npath = \"/*\"\nservice = \"a\"\n",
        upstream.url()
    );
    let first = Gateway::builder(EXE).config(&config).start();
    let second =
        Gateway::builder(EXE).config(&config.replace("@PORT@", &first.addr().port().to_string())).run();
    assert!(refused(&second, 1).contains("Address already in use"), "{}", second.stderr);
}

#[test]
fn an_unreachable_redis_ends_with_1_unless_it_is_not_required() {
    let port = gateway_testkit::free_port();
    let base = format!(
        "{GOOD}[server]\nlisten = \"127.0.0.1:@PORT@\"\n[store.redis]\nurl = \"redis://u:hunter2@127.0.0.1:{port}\"\n"
    );
    let finished = Gateway::builder(EXE).config(&base).run();
    let message = refused(&finished, 1);
    assert!(message.contains(&format!("Redis at redis://127.0.0.1:{port}: ")), "{message}");
    assert!(message.contains("mend `store.redis`") && !message.contains("hunter2"), "{message}");
    let gateway = Gateway::builder(EXE).config(&format!("{base}required = false\n")).start();
    assert_eq!(get(gateway.addr(), "/").status, 502, "it runs, and nobody listens upstream");
    let finished = gateway.stop();
    assert_eq!(finished.code, Some(0));
    assert!(finished.stderr.contains("starting without the store"), "{}", finished.stderr);
}

#[test]
fn a_redis_that_answers_and_refuses_is_told_at_the_start_and_while_it_runs() {
    let mut redis = Redis::start();
    let config = format!(
        "{GOOD}[server]\nlisten = \"127.0.0.1:@PORT@\"\n[admin]\nlisten = \"127.0.0.1:@ADMIN@\"\n\
         [store.redis]\nurl = \"{}\"\ntimeout = \"5s\"\nconnect_timeout = \"5s\"\n",
        redis.url()
    );
    let gateway = Gateway::builder(EXE).config(&config).start();
    let becomes = |what: &str, up: &str| {
        wait_until(what, Duration::from_secs(20), || {
            get(gateway.admin(), "/metrics").text().contains(up).then_some(())
        });
    };
    becomes("a good Redis", "\ngateway_store_up 1");
    let _ = redis.command(&["CONFIG", "SET", "maxmemory", "1"]);
    becomes("one without memory", "\ngateway_store_up 0");
    for (args, code) in [(vec!["check", "--connect"], 1), (vec![], 1)] {
        let finished = Gateway::builder(EXE).config(&config).args(&args).run();
        let message = refused(&finished, code);
        assert!(message.contains("refused: ") && message.contains("OOM"), "{args:?}: {message}");
    }
    let _ = redis.command(&["CONFIG", "SET", "maxmemory", "0"]);
    becomes("one with memory", "\ngateway_store_up 1");
    // Nobody asks but the gateway itself.
    redis.kill();
    becomes("none", "\ngateway_store_up 0");
    let said = gateway.stop().stderr;
    assert_eq!(said.matches("refuses what it is asked: ").count(), 1, "{said}");
    assert_eq!(said.matches("does what it is asked again").count(), 1, "{said}");
}

#[test]
fn an_access_log_that_cannot_be_opened_ends_with_1() {
    let config =
        format!("access_log = \"/nowhere/access.log\"\n{GOOD}[server]\nlisten = \"127.0.0.1:@PORT@\"\n");
    let finished = Gateway::builder(EXE).config(&config).run();
    let message = refused(&finished, 1);
    assert!(message.contains("cannot open the access log /nowhere/access.log: No such file"), "{message}");
}

#[test]
fn requests_that_cannot_be_taken_get_their_status_and_the_gateway_lives() {
    let upstream = Upstream::named("a");
    let config = format!(
        "[server]\nlisten = \"127.0.0.1:@PORT@\"\nheader_timeout = \"1s\"\n[services.a]\nendpoints = [\"{}\"]\n\
         [[routes]]\npath = \"/*\"\nservice = \"a\"\nmethods = [\"GET\", \"POST\"]\n",
        upstream.url()
    );
    let gateway = Gateway::builder(EXE).config(&config).start();
    let long = "x".repeat(100_000);
    let mut wrong = Vec::new();
    let many: String = (0..200).map(|i| format!("a{i}: b\r\n")).collect();
    for (what, request, status) in [
        ("no request", "hello\r\n\r\n".to_owned(), "400"),
        ("no host", "GET / HTTP/1.1\r\n\r\n".to_owned(), "400"),
        ("two hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n".to_owned(), "400"),
        ("a space before the colon", "GET / HTTP/1.1\r\nHost : a\r\n\r\n".to_owned(), "400"),
        ("a folded header", "GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n".to_owned(), "400"),
        (
            "two lengths",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab".to_owned(),
            "400",
        ),
        ("a signed length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\na".to_owned(), "400"),
        (
            "another encoding",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n".to_owned(),
            "400",
        ),
        ("an encoded slash", "GET /a%2Fb HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), "400"),
        ("an encoded zero", "GET /a%00 HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), "400"),
        ("a bad encoding", "GET /a%zz HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), "400"),
        ("another version", "GET / HTTP/9.9\r\nHost: a\r\n\r\n".to_owned(), "400"),
        ("a method that no route takes", "PUT / HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), "405"),
        ("a long target", format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n"), "414"),
        ("a large header", format!("GET / HTTP/1.1\r\nHost: a\r\nX: {long}\r\n\r\n"), "431"),
        ("many headers", format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n"), "431"),
    ] {
        let answer = raw(gateway.addr(), request.as_bytes());
        if !answer.starts_with(&format!("HTTP/1.1 {status} ")) {
            wrong.push(format!("{what}: {answer:?}, expected {status}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let mut wire = Wire::connect(gateway.addr());
    wire.send(b"GET / HTTP/1.1\r\nHost: a").unwrap();
    let late = String::from_utf8(wire.rest().unwrap()).unwrap();
    assert!(late.starts_with("HTTP/1.1 408 ") && late.contains("\"request-timeout\""), "{late}");
    assert_eq!(upstream.hits(), 0, "nothing of that may reach an upstream: {:?}", upstream.requests());
    let allowed =
        gateway_testkit::Client::new(gateway.addr()).send(&gateway_testkit::Request::new("PUT", "/"));
    assert_eq!(allowed.header("allow"), Some("GET, HEAD, POST"));
    assert_eq!(allowed.header("content-type"), Some("application/problem+json"));
    assert_eq!(allowed.json()["code"], "method-not-allowed");
    let asked =
        gateway_testkit::Client::new(gateway.addr()).send(&gateway_testkit::Request::new("OPTIONS", "/"));
    assert_eq!((asked.status, asked.header("allow")), (204, Some("GET, HEAD, POST")));
    assert_eq!(get(gateway.addr(), "/").text(), "a");
    assert!(!gateway.stop().stderr.contains("panic"));
}

#[test]
fn of_very_many_mistakes_the_first_are_told_and_that_they_are_not_all() {
    let routes = |wrong: usize| {
        let route = "[[routes]]\npath = \"/r/@\"\nservice = \"a\"\nmax_body = \"12 apples\"\n";
        (0..wrong).map(|i| route.replace('@', &i.to_string())).collect::<String>()
    };
    for (wrong, expected) in [(3, "\n3 mistakes in the"), (300, "\nthe first 200 mistakes in the")] {
        let started = std::time::Instant::now();
        let said = check(&format!("[services.a]\nendpoints = [\"http://127.0.0.1:1\"]\n{}", routes(wrong)));
        assert_eq!(said.code, Some(2));
        let last = said.stderr.lines().last();
        assert!(said.stderr.contains(expected), "{wrong}: {last:?}");
        assert!(started.elapsed().as_secs() < 20, "{wrong}: {:?}", started.elapsed());
    }
}
