//! What the service is asked.

use super::*;

#[test]
fn strip_and_rewrite_make_the_path_the_host_and_the_query_that_the_service_sees() {
    let upstream = Upstream::named("a");
    let route =
        |path: &str, lines: &str| format!("[[routes]]\npath = \"{path}\"\nservice = \"a\"\n{lines}\n");
    let gateway = in_front_of(
        &upstream,
        &[
            route("/strip/*", "strip = \"/strip\""),
            route("/quiet/*", "strip = { prefix = \"/quiet\", forward_prefix = false }"),
            route("/full/*", "rewrite.path = \"/v2/status\""),
            route("/add/*", "rewrite.path.add_prefix = \"/v2\""),
            route("/old/*", "rewrite.path.replace_prefix = { from = \"/old\", to = \"/new\" }"),
            route("/gone/*", "rewrite.path.replace_prefix = { from = \"/gone\", to = \"/\" }"),
            route(
                "/Any/*",
                "case_sensitive = false\nrewrite.path.replace_prefix = { from = \"/any\", to = \"/one\" }",
            ),
            route(
                "/moved/*",
                "case_sensitive = false\nredirect.path.replace_prefix = { from = \"/moved\", to = \"/add\" }",
            ),
            route("/both/*", "strip = \"/both\"\nrewrite.path.add_prefix = \"/internal\""),
            route("/host/*", "rewrite.host = \"shop.internal:8080\""),
            route(
                "/query/*",
                "rewrite.query = { remove = [\"token\"], set = { v = \"a b\" }, append = { tag = \"x&y\" } }",
            ),
        ]
        .concat(),
    );
    for (target, expected) in [
        ("/strip/a%20b?q=%2F", "/a%20b?q=%2F"),
        ("/strip", "/"),
        ("/quiet/x", "/x"),
        ("/full/x?q=1", "/v2/status?q=1"),
        ("/add/x", "/v2/add/x"),
        ("/old/x/y?z", "/new/x/y?z"),
        ("/old", "/new"),
        ("/gone/x", "/x"),
        ("/gone", "/"),
        ("/ANY/X", "/one/X"),
        ("/both/x", "/internal/x"),
        ("/host/x", "/host/x"),
        ("/query/x?token=1&v=1&tag=0&w=%41", "/query/x?tag=0&w=%41&v=a%20b&tag=x%26y"),
        ("/query/x", "/query/x?v=a%20b&tag=x%26y"),
    ] {
        let answer = get(gateway.addr(), target);
        let seen = upstream.requests().pop().unwrap();
        let plus = seen.target.replace('+', "%20");
        assert_eq!((answer.status, plus.as_str()), (200, expected), "{target}");
        let told = seen.header("x-forwarded-prefix");
        assert_eq!(told.is_some(), target.starts_with("/strip") || target.starts_with("/both"), "{target}");
        let host = if target.starts_with("/host") { "shop.internal:8080" } else { "test" };
        assert_eq!((seen.header("host"), seen.header("x-forwarded-host")), (Some(host), Some("test")));
    }
    let moved = get(gateway.addr(), "/MOVED/x");
    assert_eq!((moved.status, moved.header("location")), (302, Some("http://test/add/x")));
}

#[test]
fn via_is_told_where_it_is_wanted() {
    for (via, upstream_sees, client_sees) in [
        ("", None, None),
        ("via = true\n", Some("1.1 gateway"), None),
        ("via = \"edge\"\n", Some("1.1 edge"), None),
        ("via = { pseudonym = \"edge\", request = false, response = true }\n", None, Some("1.1 edge")),
    ] {
        let upstream = Upstream::named("a");
        let gateway = in_front_of(&upstream, &format!("{via}[[routes]]\npath = \"/*\"\nservice = \"a\"\n"));
        let answer = get(gateway.addr(), "/");
        assert_eq!(upstream.requests()[0].header("via"), upstream_sees, "{via}");
        assert_eq!(answer.header("via"), client_sees, "{via}");
    }
    let upstream = Upstream::named("a");
    let gateway = in_front_of(&upstream, "via = true\n[[routes]]\npath = \"/*\"\nservice = \"a\"\n");
    let _ = send(&gateway, &Request::get("/").header("Via", "1.0 fred"));
    let seen = upstream.requests().pop().unwrap();
    let all: Vec<&str> = seen
        .headers
        .iter()
        .filter(|(name, _)| name.eq_ignore_ascii_case("via"))
        .map(|(_, v)| v.as_str())
        .collect();
    assert_eq!(all.join(", "), "1.0 fred, 1.1 gateway");
}

#[test]
fn headers_with_underscores_are_kept_deleted_or_refused() {
    for (policy, status, seen) in
        [("", 200, Some("1")), ("keep", 200, Some("1")), ("delete", 200, None), ("reject", 400, None)]
    {
        let upstream = Upstream::named("a");
        let policy =
            if policy.is_empty() { String::new() } else { format!("underscore_headers = \"{policy}\"\n") };
        let gateway =
            in_front_of(&upstream, &format!("{policy}[[routes]]\npath = \"/*\"\nservice = \"a\"\n"));
        let answer = send(
            &gateway,
            &Request::get("/").header("X_Custom", "1").header("X_User_ID", "root").header("X-Ok", "1"),
        );
        assert_eq!(answer.status, status, "{policy}{}", answer.text());
        if status == 400 {
            assert!(answer.text().contains("x_custom"), "{}", answer.text());
            assert_eq!(upstream.hits(), 0);
            continue;
        }
        let request = upstream.requests().pop().unwrap();
        assert_eq!((request.header("x_custom"), request.header("x-ok")), (seen, Some("1")), "{policy}");
        assert_eq!(request.header("x_user_id"), None, "{policy}: nobody says who they are");
    }
}
