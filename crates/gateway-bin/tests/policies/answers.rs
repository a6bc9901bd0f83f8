//! The gateway's own answers.

use super::*;

#[test]
fn redirects_lead_to_another_scheme_path_or_host_and_keep_the_query() {
    let route = |path: &str, lines: &str| format!("[[routes]]\npath = \"{path}\"\n{lines}\n");
    let gateway = gateway(&[
        "forwarded.trusted_proxies = [\"127.0.0.0/8\"]\nrate_limits.few = \"1/h\"\ndefaults.rate_limit = \"few\"\n".to_owned(),
        route("/secure/*", "redirect = \"https\""),
        route("/to-path", "redirect = \"/new\""),
        route("/to-url", "redirect = \"https://other.example/x\""),
        route("/to-host/*", "redirect = \"https://other.example\""),
        route("/moved/*", "redirect = { path.replace_prefix = { from = \"/moved\", to = \"/here\" }, status = 301 }"),
        route("/bare/*", "redirect = { host = \"b.example\", keep_query = false, status = 307 }"),
        route("/same", "redirect = \"/same\"\nrespond = \"no loop\""),
    ].concat());
    for (target, status, location) in [
        ("/secure/a%20b?x=1&y", 308, "https://shop.example/secure/a%20b?x=1&y"),
        ("/to-path?x=1", 302, "http://shop.example/new?x=1"),
        ("/to-url?x=1", 302, "https://other.example/x?x=1"),
        ("/to-host/a/b?x=1", 302, "https://other.example/to-host/a/b?x=1"),
        ("/moved/a?x", 301, "http://shop.example/here/a?x"),
        ("/bare/a?x=1", 307, "http://b.example/bare/a"),
    ] {
        let answer = send(&gateway, &Request::get(target).header("Host", "shop.example"));
        assert_eq!((answer.status, answer.header("location")), (status, Some(location)), "{target}");
    }
    assert_eq!(get(gateway.addr(), "/same").text(), "no loop");
    // Behind a proxy that ends TLS, who is there already is not sent again; no service answers, so it is 404.
    let there = Request::get("/secure/x").header("X-Forwarded-Proto", "https");
    assert_eq!(send(&gateway, &there).header("location"), None);
}

#[test]
fn answers_of_the_gateways_own_are_a_text_json_a_status_or_a_file() {
    let config = "[[routes]]\npath = \"/text\"\nrespond = \"pong\"\n\
         [[routes]]\npath = \"/json\"\nrespond = { json = { a = [1, true, \"x\"] }, status = 201, headers = { cache-control = \"no-store\" } }\n\
         [[routes]]\npath = \"/status\"\nrespond = 204\n\
         [[routes]]\npath = \"/gone\"\nrespond = 410\n\
         [[routes]]\npath = \"/file\"\nrespond = { file = \"page.html\" }\n\
         [[routes]]\npath = \"/absolute\"\nrespond = { file = \"@DIR@/page.html\", headers = { content-type = \"text/x\" } }\n";
    let gateway =
        Gateway::builder(EXE).file("page.html", "<p>hi").config(&format!("{FRAME}{config}")).start();
    for (path, status, kind, body) in [
        ("/text", 200, Some("text/plain; charset=utf-8"), "pong"),
        ("/json", 201, Some("application/json"), r#"{"a":[1,true,"x"]}"#),
        ("/status", 204, None, ""),
        ("/gone", 410, None, ""),
        ("/file", 200, Some("text/html; charset=utf-8"), "<p>hi"),
        ("/absolute", 200, Some("text/x"), "<p>hi"),
    ] {
        let answer = get(gateway.addr(), path);
        assert_eq!(
            (answer.status, answer.header("content-type"), answer.text().as_str()),
            (status, kind, body),
            "{path}"
        );
    }
    assert_eq!(get(gateway.addr(), "/json").header("cache-control"), Some("no-store"));
    let head = Client::new(gateway.addr()).send(&Request::new("HEAD", "/text"));
    assert_eq!((head.status, head.header("content-length")), (200, Some("4")));
}

#[test]
fn answers_say_where_their_time_went_if_that_is_wanted() {
    let upstream = Upstream::named("a");
    let routes =
        "[[routes]]\npath = \"/a\"\nservice = \"a\"\n[[routes]]\npath = \"/own\"\nrespond = \"own\"\n";
    for (setting, tells) in [("", false), ("server_timing = true\n", true)] {
        let gateway = in_front_of(&upstream, &format!("{setting}{routes}"));
        for (path, status, begin) in
            [("/a", 200, "service;dur="), ("/own", 200, "gateway;dur="), ("/none", 404, "gateway;dur=")]
        {
            let answer = get(gateway.addr(), path);
            let told = answer.header("server-timing");
            assert_eq!(answer.status, status, "{path}");
            assert_eq!(told.is_some_and(|told| told.starts_with(begin)), tells, "{path}: {told:?}");
            assert_eq!(told.is_some_and(|told| told.contains("gateway;dur=")), tells, "{path}: {told:?}");
        }
    }
}

#[test]
fn maintenance_answers_503_to_all_but_the_exempt() {
    let upstream = Upstream::named("a");
    let gateway = in_front_of(
        &upstream,
        "forwarded.trusted_proxies = [\"127.0.0.0/8\"]\n\
         [[routes]]\npath = \"/*\"\nservice = \"a\"\nmaintenance = { exempt = [\"10.0.0.0/8\"], retry_after = \"90500ms\" }\n\
         [[routes]]\npath = \"/short\"\nservice = \"a\"\nmaintenance = true\n\
         [[routes]]\npath = \"/page\"\nservice = \"a\"\nmaintenance = { retry_after = \"0s\", answer = { text = \"back soon\", status = 200 } }\n",
    );
    let closed = get(gateway.addr(), "/");
    assert_eq!((code(&closed), closed.header("retry-after")), ((503, "maintenance".to_owned()), Some("91")));
    assert_eq!(get(gateway.addr(), "/short").header("retry-after"), Some("300"));
    let page = get(gateway.addr(), "/page");
    assert_eq!((page.status, page.header("retry-after"), page.text().as_str()), (200, None, "back soon"));
    // Who speaks gRPC is told in its words, also where a page is spelled out.
    for path in ["/short", "/page"] {
        let call = Request::new("POST", path).header("Content-Type", "application/grpc").body("");
        let answer = send(&gateway, &call);
        assert_eq!((answer.status, answer.header("grpc-status")), (200, Some("14")), "{path}");
    }
    assert_eq!(
        closed.header("proxy-status"),
        Some("gateway; error=proxy_internal_response; details=\"maintenance\"")
    );
    let reasons = wait_until("five lines", SOON, || {
        let log = gateway.access_log();
        (log.len() == 5).then(|| log.iter().filter(|line| line["reason"] == "maintenance").count())
    });
    assert_eq!(reasons, 4, "all but the page that is spelled out");
    assert_eq!(upstream.hits(), 0);
    let exempt = Request::get("/").header("X-Forwarded-For", "10.0.0.7");
    assert_eq!(text(&gateway, &exempt), "a");
    assert_eq!(send(&gateway, &Request::get("/").header("X-Forwarded-For", "11.0.0.7")).status, 503);
}

#[test]
fn a_fault_is_told_from_a_failure_of_the_service() {
    let upstream = Upstream::named("a");
    let gateway = in_front_of(
        &upstream,
        "[[routes]]\npath = \"/*\"\nservice = \"a\"\nfault = { abort = 502 }\n\
         [[routes]]\npath = \"/nothing\"\nservice = \"a\"\nfault = { abort = 204 }\n",
    );
    let aborted = get(gateway.addr(), "/");
    assert_eq!(code(&aborted), (502, "fault-injected".to_owned()));
    assert_eq!(
        aborted.header("proxy-status"),
        Some("gateway; error=proxy_internal_response; details=\"fault-injected\"")
    );
    let call = Request::new("POST", "/").header("Content-Type", "application/grpc").body("");
    let answer = send(&gateway, &call);
    assert_eq!((answer.status, answer.header("grpc-status")), (200, Some("14")));
    let nothing = get(gateway.addr(), "/nothing");
    assert_eq!((nothing.status, nothing.header("content-type"), nothing.text().as_str()), (204, None, ""));
    wait_until("the lines", SOON, || {
        let log = gateway.access_log();
        (log.len() == 3)
            .then(|| assert!(log.iter().all(|line| line["reason"] == "fault-injected"), "{log:?}"))
    });
    let metrics = get(gateway.admin(), "/metrics").text();
    let counted = r#"status="502",service="a",code="fault-injected"} 1"#;
    assert!(metrics.contains(counted), "no `{counted}` in\n{metrics}");
    assert_eq!(upstream.hits(), 0);
}
