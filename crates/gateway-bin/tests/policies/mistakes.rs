//! Mistakes in what the others test.

use super::*;
use gateway_testkit::Finished;

fn check(config: &str) -> Finished {
    Gateway::builder(EXE).config(config).args(&["check"]).run()
}

#[test]
fn mistakes_in_routes_name_their_place_and_what_is_expected() {
    let good =
        "[services.a]\nendpoints = [\"http://127.0.0.1:1\"]\n[[routes]]\npath = \"/*\"\nservice = \"a\"\n";
    // Those of a route stand in line 6.
    for (line, parts) in [
        (
            "match.header.x = \"1\"",
            vec!["toml:6:7: unknown key `header` in routes[0].match", "did you mean `headers`?"],
        ),
        ("match.headers.\"x y\" = \"1\"", vec!["toml:6:", "`x y` is not the name of a header"]),
        ("match.query.v = { regex = \"(\" }", vec!["toml:6:", "`(` is not a regular expression"]),
        (
            "match.query.v = { at_leest = 2 }",
            vec!["toml:6:", "unknown key `at_leest`", "did you mean `at_least`?"],
        ),
        ("match.query.v = { exact = \"1\", prefix = \"2\" }", vec!["toml:6:17", "2 tests in one place"]),
        ("match.clients = [\"home\"]", vec!["toml:6:", "`home` is no network"]),
        ("hosts = [\"a.*.b\"]", vec!["toml:6:", "`a.*.b`"]),
        ("hosts = []", vec!["toml:6:", "the list is empty; name at least one, or leave it out to take any"]),
        (
            "methods = []",
            vec!["toml:6:", "the list is empty; name at least one, or leave it out to take any"],
        ),
        ("methods = [\"*\"]", vec!["toml:6:", "`*` is not a method; leave `methods` out to take any"]),
        ("max_body = true", vec!["toml:6:12", "expected a size with its unit, such as \"64KiB\""]),
        ("class = \"urgent\"", vec!["toml:6:", "`urgent`"]),
        ("fallback = true", vec!["toml:6:12", "expected `false`, or a table with `service` or `respond`"]),
        ("headers.request.remove = [\"Host\"]", vec!["toml:6:", "`Host` is changed by `rewrite.host`"]),
        (
            "headers.response.set.x-id = \"{id}\"",
            vec!["toml:6:", "in answers write `{{id}}` for the text `{id}`"],
        ),
        ("correlation_id = { header = \"Host\" }", vec!["toml:6:", "`Host` is changed by `rewrite.host`"]),
        ("match.clients = [\"::ffff:10.0.0.0/90\"]", vec!["toml:6:", "is wider than all of IPv4"]),
        ("group = \"api\"", vec!["toml:6:9: there is no group `api`", "no group is defined"]),
        ("strip = 5", vec!["toml:6:9", "expected a prefix such as \"/api/users\", or a table"]),
        ("rewrite.path = \"v2\"", vec!["toml:6:", "`v2` is not a path"]),
        (
            "rewrite.path = { full = \"/a\", add_prefix = \"/b\" }",
            vec!["toml:6:", "expected exactly one of `full`"],
        ),
        (
            "rewrite.path.regex = { match = \"/(\", to = \"/\" }",
            vec!["toml:6:", "`/(` is not a regular expression: unclosed group\n"],
        ),
        (
            "rewrite.path.regex = { match = \"/(a)\", to = \"/{2}\" }",
            vec!["toml:6:", "`/{2}` is no path with groups"],
        ),
        ("rewrite.host = \"a b\"", vec!["toml:6:", "`a b` is not a host"]),
        ("redirect = \"ftp://x\"", vec!["toml:6:12", "`ftp://x` is no redirect; expected \"https\", a path"]),
        (
            "redirect = { status = 301 }",
            vec!["toml:6:", "at least one of `scheme`, `host`, `port` and `path`"],
        ),
        (
            "redirect = { scheme = \"https\", status = 200 }",
            vec!["toml:6:", "200 is not the status of a redirect"],
        ),
        ("respond = 99", vec!["toml:6:11", "99 is not a status; expected 200 to 599"]),
        ("respond = { text = \"a\", json = 1 }", vec!["toml:6:", "only one of `text`, `json` and `file`"]),
        ("respond = { file = \"/no/such.html\" }", vec!["toml:6:", "`/no/such.html` cannot be read"]),
        ("respond = { status = 204, text = \"x\" }", vec!["toml:6:", "status 204 has no body"]),
        (
            "maintenance = { exempt = [\"home\"] }",
            vec!["toml:6:", "`home` is no network; expected one such as"],
        ),
        ("maintenance = \"yes\"", vec!["toml:6:15", "expected `true`, or a table"]),
        ("concurrency = 0", vec!["toml:6:15", "`max` is 0; expected 1 to 1000000"]),
        ("concurrency = \"many\"", vec!["toml:6:15", "expected a number of requests, or a table"]),
        ("concurrency = { max = 5, key = \"user\" }", vec!["toml:6:", "`user`"]),
        ("fault = {}", vec!["toml:6:9", "it injects nothing: give `delay`, `abort` or `rate`"]),
        ("fault = { abort = 99 }", vec!["toml:6:", "`abort.status` is 99; expected 200 to 599"]),
        (
            "fault = { abort = { percent = 101 } }",
            vec!["toml:6:", "`abort.percent` is 101; expected 0 to 100"],
        ),
        ("fault = { delay = \"long\" }", vec!["toml:6:", "`long`"]),
    ] {
        let said = check(&format!("{good}{line}\n"));
        assert_eq!(said.code, Some(2), "{line}: {}", said.stderr);
        for part in parts {
            assert!(said.stderr.contains(part), "{line}: no `{part}` in\n{}", said.stderr);
        }
    }
}

#[test]
fn mistakes_in_services_and_at_the_top_name_their_place_and_what_is_expected() {
    let good =
        "[[routes]]\npath = \"/*\"\nservice = \"a\"\n[services.a]\nendpoints = [\"http://127.0.0.1:1\"]\n";
    for (line, parts) in [
        (
            "balance = \"fastest\"",
            vec![
                "toml:6:11: `fastest` is not a value of `services.a.balance`",
                "the values are round_robin, random",
            ],
        ),
        (
            "balance = { outliers = \"off\" }",
            vec!["toml:6:13: unknown key `outliers`", "did you mean `outlier`?"],
        ),
        (
            "balance = { outlier = \"loud\" }",
            vec!["toml:6:", "`loud` is no mode; expected \"eject\", \"report\", \"off\""],
        ),
        ("balance = { panic = 101 }", vec!["toml:6:", "`101` is no percentage"]),
        (
            "balance = { hash_on = \"header\" }",
            vec!["toml:6:", "`header` is nothing to hash on; expected `client_ip`"],
        ),
        ("balance = { bounded_load = 99 }", vec!["toml:6:", "`99` is no load factor"]),
        ("balance = { sticky = \"a b\" }", vec!["toml:6:", "`a b` cannot be the name of a cookie"]),
        (
            "balance = { limits = { max_requests = 0 } }",
            vec!["toml:6:39", "is the number 0; expected a whole number of at least 1"],
        ),
        ("balance = { circuit = \"on\" }", vec!["toml:6:", "expected true, false or a table"]),
        ("adaptive = \"magic\"", vec!["toml:6:12", "`magic` is no algorithm; expected `gradient2`"]),
        ("adaptive = { min = 50, max = 10 }", vec!["toml:6:", "`min` is 50"]),
        ("admission = { success_rate = 2.0 }", vec!["toml:6:", "`success_rate` is 2"]),
        ("admission = { priority_header = \"x-p\" }", vec!["toml:6:", "`trusted` names no network"]),
        ("retry = { attempts = 0 }", vec!["toml:6:", "`attempts` is 0; expected 1 to 100"]),
        ("timeout = \"0s\"", vec!["toml:6:", "`total` is 0s; expected more"]),
        ("timeout = { per_try = \"0s\" }", vec!["toml:6:", "`per_try` is 0s; expected more"]),
        ("connection = { connect_timeout = \"0s\" }", vec!["toml:6:", "`connect_timeout` is 0s"]),
        ("balance = { circuit = { open = \"0s\" } }", vec!["toml:6:", "`open` is 0s; expected more"]),
        ("retry = 0", vec!["toml:6:9", "0 attempts make no sense; expected 1 to 100"]),
    ] {
        let said = check(&format!("{good}{line}\n"));
        assert_eq!(said.code, Some(2), "{line}: {}", said.stderr);
        for part in parts {
            assert!(said.stderr.contains(part), "{line}: no `{part}` in\n{}", said.stderr);
        }
    }
    for (line, parts) in [
        ("server.tunnel_max_age = \"0s\"", vec!["toml:1:", "`tunnel_max_age`"]),
        ("server.max_streams = 0", vec!["toml:1:", "`max_streams` is 0; expected at least 1"]),
        ("server.body_timeout = \"0s\"", vec!["toml:1:", "`body_timeout` is 0s; expected more"]),
        ("access_log = { flush = \"0s\" }", vec!["toml:1:", "`flush` is under 1ms; expected 1ms or more"]),
        ("defaults.circuit = { window = \"0s\" }", vec!["toml:1:", "`window` is 0s; expected more"]),
        ("groups.g.timeout = \"0s\"", vec!["toml:1:", "`total` is 0s; expected more"]),
        ("groups.g.retry = { attempts = 0 }", vec!["toml:1:", "`attempts` is 0; expected 1 to 100"]),
        ("groups.g.retry = { statuses = [99] }", vec!["toml:1:", "99 is not a status"]),
        ("groups.g.retry = { budget = 50 }", vec!["toml:1:20", "unknown key `budget`"]),
        (
            "defaults.timeout = \"1m\"",
            vec!["toml:1:", "would come before what their services say", "in services, groups or routes"],
        ),
        ("via = \"a b\"", vec!["toml:1:7", "`a b` is not a name for Via"]),
        ("underscore_headers = \"drop\"", vec!["toml:1:22", "`drop` is not a value", "keep, delete, reject"]),
        (
            "forwarded.trusted_proxies = [\"home\"]",
            vec!["toml:1:", "`home` is no network; expected one such as"],
        ),
        (
            "forwarded.client_from = \"cookie\"",
            vec!["toml:1:25", "`cookie` is not a value", "x_forwarded_for"],
        ),
    ] {
        let said = check(&format!("{line}\n{good}"));
        assert_eq!(said.code, Some(2), "{line}: {}", said.stderr);
        for part in parts {
            assert!(said.stderr.contains(part), "{line}: no `{part}` in\n{}", said.stderr);
        }
    }
}

#[test]
fn mistakes_in_a_group_are_found_where_they_stand_and_without_a_route_in_it() {
    for (line, part) in [
        ("concurrency = 0", "toml:2:15: `groups.api.concurrency`"),
        ("rate_limit = \"few\"", "toml:2:14: there is no rate limit `few`"),
        ("fault = {}", "toml:2:9: `groups.api.fault`"),
        ("fault = true", "toml:2:9: `groups.api.fault` is `true`; expected `false`, or a table"),
        ("headers.request.set = { \"a b\" = \"c\" }", "`a b` is not a header name"),
    ] {
        for member in ["group = \"api\"\n", ""] {
            let said = check(&format!(
                "[groups.api]\n{line}\n[services.a]\nendpoints = [\"http://127.0.0.1:1\"]\n[[routes]]\npath = \"/*\"\n\
                 service = \"a\"\n{member}"
            ));
            assert_eq!(said.code, Some(2), "{member}{line}: {}", said.stderr);
            assert!(said.stderr.contains(part), "{member}{line}: no `{part}` in\n{}", said.stderr);
            assert!(said.stderr.contains("\n1 mistake in"), "said once: {}", said.stderr);
        }
    }
}
