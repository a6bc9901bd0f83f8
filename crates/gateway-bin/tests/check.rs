//! `gateway check` warns of what is likely not meant, and says what cannot be reached.
#![allow(clippy::unwrap_used)]

use gateway_testkit::{Finished, Gateway, Redis, Upstream, free_port};
use serde_json::{Value, json};

const EXE: &str = env!("CARGO_BIN_EXE_gateway");

const GOOD: &str =
    "[services.a]\nendpoints = [\"http://127.0.0.1:1\"]\n[[routes]]\npath = \"/*\"\nservice = \"a\"\n";

fn check(config: &str, more: &[&str]) -> Finished {
    let args: Vec<&str> = ["check"].iter().chain(more).copied().collect();
    Gateway::builder(EXE).config(config).args(&args).run()
}

#[test]
fn a_service_that_only_a_fallback_names_is_used() {
    let b = "[services.b]\nendpoints = [\"http://127.0.0.1:1\"]\n";
    for config in [
        format!("{GOOD}fallback = {{ service = \"b\" }}\n{b}"),
        format!("{GOOD}{b}[defaults.fallback]\nservice = \"b\"\n"),
        format!("{GOOD}group = \"g\"\n{b}[groups.g.fallback]\nservice = \"b\"\n"),
    ] {
        let done = check(&config, &["--strict"]);
        assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""), "{config}");
    }
}

#[test]
fn what_a_limit_says_in_vain_is_a_warning_each() {
    for (line, why) in [
        ("lease = 5", "9: warning: `lease` changes nothing: shares are taken with `leased` only"),
        ("lease_ttl = \"9s\"", "13: warning: `lease_ttl` changes nothing: shares are taken"),
        ("timezone = \"+02:00\"", "12: warning: `timezone` changes nothing: only quotas go by the calendar"),
        ("quota_file = \"/tmp/x\"", "14: warning: `quota_file` changes nothing: only quotas"),
        (
            "max_delay = \"1s\"",
            "13: warning: `max_delay` changes nothing: only a leaky bucket has requests wait",
        ),
        ("shared = \"leased\"", "10: warning: `shared` changes nothing: only what a Redis keeps is shared"),
    ] {
        let config = format!("{GOOD}rate_limit = \"x\"\n[rate_limits.x]\nlimit = \"9/s\"\n{line}\n");
        let Finished { code, stderr, .. } = check(&config, &[]);
        assert!(stderr.starts_with(&format!("gateway: gateway.toml:9:{why}")), "{stderr}");
        assert!(code == Some(0) && stderr.ends_with("\n1 warning in the configuration\n"), "{stderr}");
    }
}

#[test]
fn every_warning_has_its_place_and_leaves_the_exit_code_0() {
    let route = |lines: &str| format!("{GOOD}[[routes]]\n{lines}\n");
    let service = |lines: &str| {
        format!(
            "[services.a]\nendpoints = [\"http://x\"]\n{lines}\n[[routes]]\npath = \"/*\"\nservice = \"a\"\n"
        )
    };
    for (config, parts) in [
        (
            format!("{GOOD}name = \"x\"\n[[routes]]\nname = \"x\"\npath = \"/b\"\nservice = \"a\"\n"),
            vec!["8:8: warning: routes[0] is called `x`, too: logs and metrics do not tell them apart"],
        ),
        (
            route("path = \"/b/*\"\nservice = \"a\"\npriority = -1"),
            vec![
                "gateway.toml:7:8: warning: `/b/*` is never used: routes[0] takes all of its requests and has a higher priority",
                "^^^^^^ take it out, make it more specific, or give it a higher `priority`",
            ],
        ),
        (
            GOOD.replace("\"http://127.0.0.1:1\"", "{ url = \"http://x\", weight = 0 }"),
            vec![
                "gateway.toml:2:13: warning: every endpoint of `a` has the weight 0: its requests are answered 503",
            ],
        ),
        (
            service("balance = { hash_on = \"path\" }"),
            vec!["`hash_on` changes nothing: only the strategies `ring_hash` and `maglev` hash"],
        ),
        (
            service("balance = { sticky = \"home\" }") + "cache = \"5s\"\n",
            vec![
                "3:22: warning: the cache of routes[0] stores no answer that comes with its cookie",
                "take `sticky` or `cache` out",
            ],
        ),
        (
            service("balance = { sticky = \"home\" }") + "cache = { set_cookie = true }\n",
            vec!["the cache of routes[0] gives the cookie of one client to all"],
        ),
        (
            service("balance = { zone = \"eu\" }"),
            vec!["no endpoint of `a` is in the zone `eu`: none is preferred"],
        ),
        (
            service("balance = { subset = { key = \"version\", value = \"v2\" } }"),
            vec!["no endpoint of `a` has the label `version = \"v2\"`"],
        ),
        (
            service("retry = { hedge = \"50ms\" }"),
            vec!["`hedge` changes nothing: `a` has one endpoint, and a second is asked"],
        ),
        (
            GOOD.replace(
                "endpoints = [",
                "retry.hedge = \"5s\"\ntimeout.per_try = \"5s\"\nendpoints = [\"http://x\", ",
            ),
            vec!["2:15: warning: `hedge` changes nothing: an endpoint is given up after 5s"],
        ),
        (
            service("health = { kind = \"grpc\" }"),
            vec![
                "3:19: warning: every check fails: `grpc` needs HTTP/2, and `connection.protocol` of `a` is `auto`",
                "set `services.a.connection.protocol = \"http2\"`",
            ],
        ),
        (
            service("health = { kind = \"tcp\", path = \"/up\" }"),
            vec!["`path` changes nothing: checks of this kind do not look at it"],
        ),
        (
            service("health = { path = \"/up\", expect = \"PONG\" }"),
            vec!["`expect` changes nothing: checks of this kind do not look at it"],
        ),
        (
            service("balance = { subset = { key = \"version\" } }"),
            vec!["no request is for any label: give `from`, `value` or both"],
        ),
        (
            format!("[server]\nlisten = \"0.0.0.0:9\"\n{}", GOOD.replace("127.0.0.1:1", "127.0.0.1:9")),
            vec!["gateway.toml:4:14: warning: the gateway itself listens at http://127.0.0.1:9"],
        ),
        (
            format!("{GOOD}[services.b]\nendpoints = [\"http://x\"]\n"),
            vec![
                "gateway.toml:6:11: warning: no route uses the service `b`\n  |\n6 | [services.b]\n  |           ^\n",
            ],
        ),
        (
            format!(
                "{GOOD}[auth.jwt.shop]\nsecret = \"a secret for tests, 32 bytes long\"\naudience = \"a\"\n"
            ),
            vec!["gateway.toml:6:11: warning: no route uses the [auth.jwt] `shop`"],
        ),
        (
            format!("{GOOD}[rate_limits]\nx = \"1/s\"\n"),
            vec!["7:1: warning: no route uses the rate limit `x`"],
        ),
        (format!("{GOOD}[groups.\"a b\"]\n"), vec!["6:9: warning: no route uses the group `a b`"]),
        (
            format!(
                "{GOOD}auth = \"shop\"\n[auth.jwt.shop]\nsecret = \"a secret for tests, 32 bytes long\"\n"
            ),
            vec!["7:11: warning: `shop` takes tokens from any issuer and for any audience", "set `audience`"],
        ),
        (
            format!(
                "{GOOD}auth = \"partners\"\nrate_limit = \"known\"\n[auth.api_keys.partners]\n\
                 [rate_limits.known]\nanonymous = \"1/s\"\nauthenticated = \"2/s\"\n"
            ),
            vec![
                "9:14: warning: callers with an API key are not limited on `/*`: `known` says nothing of `api_key`",
                "give `api_key` too, or `limit` for every caller",
            ],
        ),
        (
            format!(
                "{GOOD}rate_limit = \"x\"\n[rate_limits.x.tiers]\nby = {{ claim = \"plan\" }}\n\
                 values = {{ gold = \"9/s\" }}\n"
            ),
            vec![
                "7:16: warning: `x` does not limit callers of no tier, such as all who are not authenticated",
                "give `limit` too, for all others",
            ],
        ),
        (
            format!("{GOOD}rate_limit = \"x\"\n[rate_limits.x]\nlimit_from = {{ claim = \"rate\" }}\n"),
            vec!["8:1: warning: `x` does not limit callers without the claim"],
        ),
        (
            format!("{GOOD}rate_limit = \"x\"\n[rate_limits.x]\nlimit = \"9/s\"\nstatuses = [401]\n"),
            vec![
                "9:12: warning: `statuses` changes nothing: every request counts, whatever its answer",
                "set `count = \"failures\"`",
            ],
        ),
        (
            service("timeout = { total = \"5s\", per_try = \"2s\" }\nretry = 3"),
            vec![
                "3:37: warning: 3 attempts of 2s may take 6s, but all of them together only 5s",
                "^^^^ raise",
            ],
        ),
        (
            service("timeout = { total = \"5s\", per_try = \"5s\" }\nretry = 1"),
            vec!["3:37: warning: `per_try` of 5s never ends an attempt"],
        ),
        (
            service("health = { path = \"/h\", interval = \"1s\" }"),
            vec!["3:10: warning: a health check may take 5s, and the next one is due after 1s"],
        ),
        (
            service("retry = { statuses = [503, 200] }"),
            vec!["3:28: warning: requests answered 200 are repeated, though they did not fail"],
        ),
        (
            service("[[routes]]\npath = \"/twice\"\nservice = \"a\"\nretry = { statuses = [200] }"),
            vec!["6:23: warning: requests answered 200 are repeated, though they did not fail"],
        ),
        (
            service("[[routes]]\npath = \"/slow\"\nservice = \"a\"\ntimeout = { per_try = \"1m\" }"),
            vec!["6:23: warning: `per_try` of 1m never ends an attempt: all of them together may take 15s"],
        ),
        (
            format!("{GOOD}cors = {{ credentials = true }}\n"),
            vec![
                "6:24: warning: any site may send requests with its visitors' cookies",
                "name the `origins`",
            ],
        ),
        (
            format!("{GOOD}[defaults.cors]\norigins = [\"https://a.example\", \"*\"]\ncredentials = true\n"),
            vec!["8:15: warning: any site may send"],
        ),
        (
            format!("{GOOD}[admin]\nlisten = \"0.0.0.0:1\"\n"),
            vec!["7:10: warning: the admin listener on 0.0.0.0:1 asks nobody who they are"],
        ),
        (
            format!("{GOOD}[forwarded]\ntrusted_proxies = [\"10.0.0.0/8\", \"::/0\"]\n"),
            vec!["7:34: warning: ::/0 is everybody"],
        ),
        (
            format!("{GOOD}[server]\nproxy_protocol = [\"192.0.2.7\", \"0.0.0.0/0\"]\n"),
            vec!["7:32: warning: 0.0.0.0/0 is everybody", "the networks of your own proxies"],
        ),
        (
            format!("{GOOD}[services.a.connection.tls]\nca_file = \"nowhere.pem\"\n"),
            vec!["warning: `tls` changes nothing: no endpoint of `a` is `https`"],
        ),
        (
            GOOD.replace("\"/*\"", "'~/b/.*'") + "[[routes]]\npath = '~/b/[0-9]+'\nservice = \"a\"\n",
            vec![
                "7:8: warning: `~/b/[0-9]+` is never used: routes[0] takes all of its requests and is written",
            ],
        ),
        (
            route("path = \"/b//{x}\"\nservice = \"a\""),
            vec![
                "7:8: warning: `/b//{x}` is never used: `normalize.merge_slashes` is on",
                "write one slash, or set `normalize.merge_slashes = false`",
            ],
        ),
        (
            route("path = \"/b/{x}/%2fy\"\nservice = \"a\""),
            vec![
                "7:8: warning: `/b/{x}/%2fy` is never used: requests for it are answered 400, as the path holds an encoded slash or backslash",
            ],
        ),
        (
            format!("{GOOD}grpc_web = true\n"),
            vec![
                "5:11: warning: `grpc_web` makes gRPC of what browsers send, but `a` is spoken to in HTTP/1.1: its `connection.protocol` is `auto`",
                "set `services.a.connection.protocol = \"http2\"`",
            ],
        ),
        (
            route("path = \"/s/*\"\nservice = \"a\"\nstrip = \"/other\""),
            vec!["9:9: warning: no path of `/s/*` begins with `/other`: all stay as they are"],
        ),
        (
            route(
                "path = \"/s/*\"\nservice = \"a\"\nrewrite.path.replace_prefix = { from = \"/S\", to = \"/t\" }",
            ),
            vec!["warning: no path of `/s/*` begins with `/S`: all stay as they are"],
        ),
        (
            route("path = \"/loop/*\"\nredirect.path.add_prefix = \"/loop\""),
            vec![
                "warning: it never ends: http://any.example/loop/x is sent to http://any.example/loop/loop/x",
                "give that path a route with a service",
            ],
        ),
        (
            route("path = \"/new\"\nredirect = \"/new\""),
            vec!["8:12: warning: it changes nothing: requests for `/new` are where it leads"],
        ),
        (
            route("path = \"/x\"\nhosts = [\"a.example\"]\nredirect = { host = \"a.example\" }"),
            vec!["warning: it changes nothing: requests for `/x` are where it leads"],
        ),
        (
            service("connection.tls.verify = false").replace("http://x", "https://x"),
            vec![
                "3:25: warning: nobody looks at the certificates of `a`",
                "name the authority that made them in `ca_file` instead",
            ],
        ),
        (
            service("retry = { attempts = 10, budget = 100 }"),
            vec!["3:35: warning: every request may have another attempt, and up to 10", "leave it at 20"],
        ),
        (
            format!("{GOOD}fault = {{ abort = 503 }}\n"),
            vec![
                "6:19: warning: every request is answered with an error on purpose",
                "set `percent`, or the `header` of requests that are to fail",
            ],
        ),
        (
            format!("{GOOD}respond = \"here\"\n"),
            vec![
                "5:11: warning: `a` is never asked: `respond` answers every request of this route",
                "take `service` or `respond` out",
            ],
        ),
        (
            format!("{GOOD}[forwarded]\ndepth = 2\n"),
            vec![
                "7:9: warning: whoever connects is taken for a proxy",
                "in `trusted_proxies`, if they are known",
            ],
        ),
    ] {
        let Finished { code, stdout, stderr } = check(&config, &[]);
        assert_eq!(code, Some(0), "{stderr}\nfor\n{config}");
        for part in parts {
            assert!(stderr.contains(part), "no `{part}` in\n{stderr}\nfor\n{config}");
        }
        assert!(stderr.ends_with("\n1 warning in the configuration\n"), "{stderr}\nfor\n{config}");
        assert!(stdout.starts_with("gateway.toml: no mistakes, 1 warning; "), "{stdout}");
        let strict = check(&config, &["--strict"]);
        assert_eq!((strict.code, strict.stdout.as_str()), (Some(2), ""), "{}", strict.stderr);
    }
}

#[test]
fn what_is_as_it_should_be_is_not_warned_of() {
    let fine = format!(
        "[server]\nlisten = \"0.0.0.0:80\"\n[admin]\nlisten = \"127.0.0.1:9901\"\n\
         [forwarded]\ntrusted_proxies = [\"10.0.0.0/8\"]\n\
         [auth.jwt.shop]\nsecret = \"a secret for tests, 32 bytes long\"\nissuer = \"shop\"\n\
         [rate_limits]\nx = \"1/s\"\n[defaults]\nrate_limit = \"x\"\ncors = true\n[groups.g]\nauth = \"shop\"\n\
         cors = {{ origins = [\"https://a.example\"], credentials = true }}\n{GOOD}group = \"g\"\n\
         [services.b]\nendpoints = [\"http://x\"]\ntimeout = {{ total = \"6s\", per_try = \"2s\" }}\nretry = 3\n\
         health = \"/health\"\nbalance = {{ strategy = \"maglev\", hash_on = \"param id\" }}\n\
         connection.protocol = \"http2\"\n[[routes]]\npath = \"/b/{{id}}\"\nservice = \"b\"\ngrpc_web = true\n\
         redirect = \"https\"\nfault = {{ abort = {{ status = 503, percent = 10 }} }}\n\
         [[routes]]\npath = \"/S/*\"\ncase_sensitive = false\nservice = \"b\"\nstrip = \"/s\"\n\
         [[routes]]\npath = \"/s/plain\"\nredirect = \"https\"\n\
         [[routes]]\npath = \"/old/{{id}}\"\nredirect.path = \"/b/{{id}}\"\n\
         [[routes]]\npath = \"/up/*\"\nredirect.path.add_prefix = \"/b\"\n\
         [[routes]]\npath = \"/*\"\nhosts = [\"*.a.example\", \"a.example\"]\nredirect = \"https://a.example:8443\"\n"
    );
    let finished = check(&fine, &["--strict"]);
    assert_eq!((finished.code, finished.stderr.as_str()), (Some(0), ""));
    assert_eq!(finished.stdout, "gateway.toml: no mistakes; 7 routes to 2 services\n");
}

#[test]
fn findings_are_listed_as_json() {
    let list = |config: &str, code: i32| -> Value {
        let finished = check(config, &["--format", "json"]);
        assert_eq!((finished.code, finished.stderr.as_str()), (Some(code), ""));
        serde_json::from_str(&finished.stdout).unwrap()
    };
    assert_eq!(list(GOOD, 0), json!([]));
    assert_eq!(
        list(&format!("{GOOD}[groups.g]\n[admin]\nlisten = \"0.0.0.0:1\"\n"), 0),
        json!([
            {
                "severity": "warning", "message": "no route uses the group `g`", "file": "gateway.toml",
                "line": 6, "column": 9, "variable": null, "key": "groups.g", "help": null
            },
            {
                "severity": "warning", "file": "gateway.toml", "line": 8, "column": 10, "variable": null,
                "message": "the admin listener on 0.0.0.0:1 asks nobody who they are, and is not only for this machine",
                "key": "admin.listen", "help": "listen on 127.0.0.1, or let only operators reach it"
            },
        ])
    );
    assert_eq!(
        list(&format!("{GOOD}[server]\nlisen = 1\n"), 2),
        json!([{
            "severity": "error", "message": "unknown key `lisen` in server", "file": "gateway.toml",
            "line": 7, "column": 1, "variable": null, "key": "server.lisen", "help": "did you mean `listen`?"
        }])
    );
    let finished = Gateway::builder(EXE)
        .config(GOOD)
        .env("GATEWAY_SERVER__WORKERS", "many")
        .args(&["check", "--format", "json"])
        .run();
    let list: Value = serde_json::from_str(&finished.stdout).unwrap();
    assert_eq!(list[0]["variable"], "GATEWAY_SERVER__WORKERS");
    assert_eq!((&list[0]["file"], &list[0]["key"]), (&Value::Null, &json!("server.workers")));
}

#[test]
fn findings_are_listed_as_sarif() {
    let run = |config: &str, code: i32| -> Value {
        let finished = check(config, &["--format", "sarif"]);
        assert_eq!((finished.code, finished.stderr.as_str()), (Some(code), ""));
        let log: Value = serde_json::from_str(&finished.stdout).unwrap();
        assert_eq!(
            (&log["version"], &log["runs"][0]["tool"]["driver"]["name"]),
            (&json!("2.1.0"), &json!("gateway"))
        );
        log["runs"][0]["results"].clone()
    };
    assert_eq!(run(GOOD, 0), json!([]));
    assert_eq!(
        run(&format!("{GOOD}[server]\nlisen = 1\n"), 2),
        json!([{
            "ruleId": "configuration-error", "level": "error",
            "message": { "text": "unknown key `lisen` in server (did you mean `listen`?)" },
            "locations": [{ "physicalLocation": {
                "artifactLocation": { "uri": "gateway.toml" }, "region": { "startLine": 7, "startColumn": 1 }
            } }],
            "properties": { "key": "server.lisen" }
        }])
    );
    let warned = run(&format!("{GOOD}[groups.g]\n"), 0);
    assert_eq!(
        (&warned[0]["level"], &warned[0]["ruleId"]),
        (&json!("warning"), &json!("configuration-warning"))
    );
}

#[test]
fn with_connect_what_cannot_be_reached_is_named() {
    let (up, down) = (Upstream::named("a"), free_port());
    let config = |endpoints: &str, more: &str| {
        format!(
            "[services.a]\nendpoints = [{endpoints}]\n[[routes]]\npath = \"/*\"\nservice = \"a\"\n{more}\n"
        )
    };
    let (up, down) = (format!("\"{}\"", up.url()), format!("\"http://127.0.0.1:{down}\""));
    let down_url = down.trim_matches('"');
    let redis = format!("[store.redis]\nurl = \"redis://u:hunter2@{}\"", &down_url["http://".len()..]);

    let all = check(&config(&up, ""), &["--connect"]);
    assert_eq!((all.code, all.stderr.as_str()), (Some(0), ""));

    let one = check(&config(&format!("{up}, {down}"), ""), &["--connect"]);
    assert_eq!(one.code, Some(0), "{}", one.stderr);
    assert!(
        one.stderr.contains(&format!("warning: {down_url} cannot be reached: Connection refused\n")),
        "{}",
        one.stderr
    );
    assert!(one.stderr.contains("other endpoints of `a` can be"), "{}", one.stderr);

    let none = check(&config(&down, ""), &["--connect"]);
    assert_eq!((none.code, none.stdout.as_str()), (Some(1), ""), "{}", none.stderr);
    let first = format!("gateway: gateway.toml:2:14: {down_url} cannot be reached: Connection refused\n");
    assert!(none.stderr.starts_with(&first), "{}", none.stderr);
    assert!(none.stderr.ends_with("\n1 needed connection cannot be made\n"), "{}", none.stderr);

    let store = check(&config(&up, &redis), &["--connect"]);
    assert_eq!(store.code, Some(1), "{}", store.stderr);
    assert!(store.stderr.contains("gateway.toml:6:8: Redis at redis://127.0.0.1:"), "{}", store.stderr);
    assert!(!store.stderr.contains("hunter2"), "{}", store.stderr);

    let optional = check(&config(&up, &format!("{redis}\nrequired = false")), &["--connect"]);
    assert_eq!(optional.code, Some(0), "{}", optional.stderr);
    assert!(optional.stderr.contains("warning: Redis at"), "{}", optional.stderr);

    for (policy, warned) in [("volatile-ttl", true), ("noeviction", false)] {
        let server = Redis::start_with(&["--maxmemory", "50mb", "--maxmemory-policy", policy]);
        let redis = format!("[store.redis]\nurl = \"{}\"\ntimeout = \"5s\"", server.url());
        let store = check(&config(&up, &redis), &["--connect"]);
        assert_eq!(store.code, Some(0), "{}", store.stderr);
        let said =
            store.stderr.contains("warning: Redis has `maxmemory-policy volatile-ttl`: when its memory");
        assert_eq!(said, warned, "{policy}: {}", store.stderr);
    }
}

#[test]
fn the_gateway_starts_with_warnings_and_says_them_in_a_line_each() {
    let upstream = Upstream::named("a");
    let config = format!(
        "[server]\nlisten = \"127.0.0.1:@PORT@\"\n[services.a]\nendpoints = [\"{}\"]\n[groups.g]\n\
         [[routes]]\npath = \"/*\"\nservice = \"a\"\n",
        upstream.url()
    );
    let finished = Gateway::builder(EXE).config(&config).start().stop();
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    let line = "gateway: gateway.toml:5:9: warning: no route uses the group `g`\n";
    assert!(finished.stderr.starts_with(line), "{}", finished.stderr);
}
