//! The one form of a path (`normalize`), and that routes, policies, the cache and services all go by it.
#![allow(clippy::unwrap_used)]

use gateway_testkit::{Client, Gateway, Reply, Request, Response, Upstream, Wire, get, wait_until};

const EXE: &str = env!("CARGO_BIN_EXE_gateway");
const URL: &str = "http://127.0.0.1:1";

/// `/admin` and what is below it needs a token, `/cart` is cached, all else is open.
fn config(upstream: &str, normalize: &str) -> String {
    format!(
        "access_log = \"@DIR@/access.log\"\n[normalize]\n{normalize}\n[server]\nlisten = \"127.0.0.1:@PORT@\"\nworkers = 1\n\
         [services.a]\nendpoints = [\"{upstream}\"]\n\
         [auth.jwt.staff]\nsecret = \"a secret for tests, 32 bytes long\"\n\
         [[routes]]\npath = \"/*\"\nservice = \"a\"\n\
         [[routes]]\npath = \"/admin\"\nservice = \"a\"\nauth = \"staff\"\n\
         [[routes]]\npath = \"/cart\"\nservice = \"a\"\ncache = \"10m\"\nmethods = [\"GET\"]\n"
    )
}

fn start(normalize: &str) -> (Upstream, Gateway) {
    let upstream = Upstream::start(|_| Reply::with(200, &[("Cache-Control", "max-age=600")], "a"));
    let gateway = Gateway::builder(EXE).config(&config(&upstream.url(), normalize)).start();
    (upstream, gateway)
}

fn location(answer: &Response) -> (u16, Option<&str>) {
    (answer.status, answer.header("location"))
}

/// What services were asked for, in order.
fn targets(upstream: &Upstream) -> Vec<String> {
    upstream.requests().into_iter().map(|request| request.target).collect()
}

#[test]
fn s0_06_a_slash_at_the_end_stays_unless_it_is_said_to_go() {
    let (upstream, gateway) = start("");
    for (target, status) in [("/admin", 401), ("/admin/", 200), ("/cart/?a=/", 200), ("/cart/?a=/", 200)] {
        assert_eq!(get(gateway.addr(), target).status, status, "{target}");
    }
    assert_eq!(targets(&upstream), ["/admin/", "/cart/?a=/", "/cart/?a=/"], "`/cart/` is not what is cached");
}

#[test]
fn s0_06_a_slash_that_is_stripped_is_gone_for_routes_policies_cache_and_services() {
    let (upstream, gateway) = start("trailing_slash = \"strip\"");
    for target in ["/admin", "/admin/", "/admin//", "//admin/.", "/admin/x/..", "/%61dmin/"] {
        assert_eq!(get(gateway.addr(), target).status, 401, "{target}");
    }
    for target in ["/cart/?a=/", "/cart?a=/", "/cart//?a=/", "/x/../cart/?a=/"] {
        assert_eq!(get(gateway.addr(), target).status, 200, "{target}");
    }
    assert_eq!(targets(&upstream), ["/cart?a=/"], "all of them are one answer of the cache");
    for target in ["/", "/?a", "/b/c/", "/b/?/"] {
        assert_eq!(get(gateway.addr(), target).status, 200, "{target}");
    }
    assert_eq!(targets(&upstream)[1..], ["/", "/?a", "/b/c", "/b?/"]);
}

#[test]
fn s0_06_a_client_is_sent_to_the_path_without_its_slash_where_a_route_takes_that() {
    let (upstream, gateway) = start("trailing_slash = \"redirect\"");
    let mut client = Client::new(gateway.addr());
    for (target, expected) in [
        ("/b/c/", "/b/c"),
        ("/b//c//?a=%2F&b=/", "/b/c?a=%2F&b=/"),
        ("/b/?", "/b?"),
        ("//evil.example/", "/evil.example"),
        ("/%2e%2e//evil.example/%2e", "/evil.example"),
        ("http://other.example/b/", "/b"),
        ("/admin/", "/admin"),
        ("/b/x/..", "/b"),
    ] {
        let answer = client.send(&Request::get(target));
        assert_eq!(location(&answer), (308, Some(expected)), "{target}");
        let there = client.send(&Request::get(expected));
        assert_eq!(there.header("location"), None, "{target} leads on to {expected}");
    }
    let logged = wait_until("the log", std::time::Duration::from_secs(10), || {
        gateway.access_log().into_iter().find(|line| line["status"] == 308)
    });
    assert_eq!((&logged["uri"], &logged["route"]), (&"/b/c/".into(), &"/*".into()), "as it was asked for");
    // Method and body stay, so they are to be sent again.
    let post = Request::new("POST", "/b/").body("hello");
    assert_eq!(location(&client.send(&post)), (308, Some("/b")));
    assert_eq!(location(&client.send(&Request::get("/"))), (200, None));
    assert_eq!(location(&client.send(&Request::new("POST", "/cart/"))), (308, Some("/cart")));
    let seen = targets(&upstream);
    let mut paths = seen.iter().filter_map(|target| target.split('?').next());
    assert!(paths.all(|path| path == "/" || !path.ends_with('/')), "{seen:?}");

    let url = format!("http://{}/b/", gateway.addr());
    for (version, expected) in [("--http1.1", "a 200"), ("--http2-prior-knowledge", " 308")] {
        // This curl does not follow where it would ask twice over one connection without TLS.
        let follows = if version == "--http1.1" { "-L" } else { "-s" };
        let args = ["-s", version, follows, "--max-time", "20", "-w", " %{http_code}", &url];
        let seen = std::process::Command::new("curl").args(args).output().expect("curl; install it");
        assert_eq!(String::from_utf8_lossy(&seen.stdout), expected, "{version}");
    }
}

#[test]
fn two_slashes_that_stay_lead_to_no_other_host() {
    let (_upstream, gateway) = start("trailing_slash = \"redirect\"\nmerge_slashes = false");
    let mut wire = Wire::connect(gateway.addr());
    wire.send(b"GET //evil.example/ HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert_eq!(location(&wire.answer("GET").unwrap()), (308, Some("/.//evil.example")));
    wire.send(b"GET /.//evil.example HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert_eq!(location(&wire.answer("GET").unwrap()), (200, None));
}

#[test]
fn who_asks_why_is_told() {
    for (rule, expected) in [
        ("keep", "routes[0] takes it: /*"),
        ("strip", "routes[1] takes it: /admin"),
        ("redirect", "308 Permanent Redirect\n  location: /admin"),
    ] {
        let config = config(URL, &format!("trailing_slash = \"{rule}\""));
        let done = Gateway::builder(EXE).config(&config).args(&["explain", "GET", "/admin/"]).run();
        assert!(done.code == Some(0) && done.stdout.contains(expected), "{rule}: {}", done.stdout);
    }
    let unknown = config(URL, "trailing_slash = \"add\"");
    let done = Gateway::builder(EXE).config(&unknown).args(&["check"]).run();
    assert!(done.code == Some(2) && done.stderr.contains("`add`"), "{:?} {}", done.code, done.stderr);
}

#[test]
fn a_route_whose_slash_never_comes_is_warned_of() {
    let route = "[[routes]]\npath = \"/docs/{page}/\"\nservice = \"a\"\n";
    for (rule, warned) in [("keep", false), ("strip", true), ("redirect", true)] {
        let config = config(URL, &format!("trailing_slash = \"{rule}\"")) + route;
        let done = Gateway::builder(EXE).config(&config).args(&["check"]).run();
        let warning = format!(
            "`/docs/{{page}}/` is never used: `normalize.trailing_slash` is `{rule}`, so that no path ends with a slash"
        );
        assert_eq!(done.code, Some(0), "{}", done.stderr);
        assert_eq!(done.stderr.contains(&warning), warned, "{rule}: {}", done.stderr);
    }
}
