//! What routes have in common.

use super::*;

#[test]
fn a_routes_settings_come_before_its_groups_and_those_before_the_defaults() {
    let upstream = Upstream::named("a");
    let gateway = in_front_of(
        &upstream,
        "rate_limits.few = \"2/h\"\n\
         [defaults]\nsecurity_headers = true\n[defaults.headers.request.set]\nx-from = \"defaults\"\nx-default = \"1\"\n\
         [groups.api]\nrate_limit = \"few\"\nsecurity_headers = { frame_options = \"SAMEORIGIN\" }\nmaintenance = true\n\
         concurrency = 1\nfault = { abort = 418 }\n\
         [groups.api.headers.request.set]\nx-from = \"group\"\nx-group = \"1\"\n\
         [[routes]]\npath = \"/plain\"\nservice = \"a\"\n\
         [[routes]]\npath = \"/closed\"\nservice = \"a\"\ngroup = \"api\"\n\
         [[routes]]\npath = \"/limited\"\nservice = \"a\"\ngroup = \"api\"\nmaintenance = false\nfault = false\n\
         headers.request.set.x-from = \"route\"\n\
         [[routes]]\npath = \"/free\"\nservice = \"a\"\ngroup = \"api\"\nmaintenance = false\nrate_limit = \"none\"\n\
         security_headers = false\nfault = false\nconcurrency = false\ncorrelation_id = false\n\
         [[routes]]\npath = \"/fault\"\nservice = \"a\"\ngroup = \"api\"\nmaintenance = false\nrate_limit = \"none\"\n",
    );
    let addr = gateway.addr();
    let header = |name: &str| upstream.requests().last().unwrap().header(name).map(str::to_owned);

    let plain = get(addr, "/plain");
    assert_eq!((plain.status, plain.header("x-frame-options")), (200, Some("DENY")));
    assert_eq!((header("x-from").as_deref(), header("x-group")), (Some("defaults"), None));

    assert_eq!(get(addr, "/closed").status, 503, "taken over from the group");

    let limited = [(); 3].map(|()| get(addr, "/limited"));
    assert_eq!(limited.each_ref().map(|answer| answer.status), [200, 200, 429]);
    assert_eq!(limited[0].header("x-frame-options"), Some("SAMEORIGIN"));
    assert_eq!(header("x-from").as_deref(), Some("route"), "the last to set it is the route");
    assert_eq!((header("x-group").as_deref(), header("x-default").as_deref()), (Some("1"), Some("1")));

    let free = [(); 4].map(|()| get(addr, "/free"));
    assert!(free.iter().all(|answer| answer.status == 200));
    assert_eq!((free[0].header("x-frame-options"), free[0].header("x-correlation-id")), (None, None));
    assert_eq!(get(addr, "/fault").status, 418);

    let routes = get(gateway.admin(), "/routes").json();
    let policies = |path: &str| {
        let route = routes.as_array().unwrap().iter().find(|route| route["path"] == path).unwrap();
        route["policies"].to_string()
    };
    assert!(policies("/fault").contains("concurrency") && !policies("/free").contains("concurrency"));
}

#[test]
fn what_stands_in_the_defaults_can_be_switched_off_by_a_route() {
    let upstream = Upstream::named("a");
    let route =
        |path: &str, lines: &str| format!("[[routes]]\npath = \"{path}\"\nservice = \"a\"\n{lines}\n");
    let off = "max_body = false\nclass = false\nidentity_headers = false\nfallback = false\n";
    let gateway = in_front_of(
        &upstream,
        &[
            "[defaults]\nmax_body = \"4B\"\nclass = \"sheddable\"\n\
             identity_headers = { headers = { X-User = \"@id\" } }\nfallback = { respond = 410 }\n"
                .to_owned(),
            route("/on", ""),
            route("/off", off),
        ]
        .concat(),
    );
    let routes = get(gateway.admin(), "/routes").json();
    let policies = |path: &str| {
        let route = routes.as_array().unwrap().iter().find(|route| route["path"] == path).unwrap();
        route["policies"].to_string()
    };
    let (on, off) = (policies("/on"), policies("/off"));
    for policy in ["max-body", "class=sheddable", "identity-headers", "fallback"] {
        assert!(on.contains(policy) && !off.contains(policy), "{policy}: {on} and {off}");
    }
    let posted = |path: &str| send(&gateway, &Request::new("POST", path).body(b"hello".to_vec())).status;
    assert_eq!((posted("/on"), posted("/off")), (413, 200));
}
