//! Several limits on one route, in memory and on Redis, and what operators see of limits.
#![allow(clippy::unwrap_used)]

use gateway_testkit::{Client, Gateway, Redis, Reply, Request, Response, Upstream, daytime, get, wait_until};
use serde_json::{Value, json};
use std::time::Duration;

const EXE: &str = env!("CARGO_BIN_EXE_gateway");
const SOON: Duration = Duration::from_secs(10);
const QUOTA: &str = "[rate_limits.plan]\nquota = \"10/month\"\nkey = \"all\"\n";

fn gateway(upstream: &Upstream, tables: &str, limits: &str) -> Gateway {
    let config = format!(
        "access_log = \"@DIR@/access.log\"\n[server]\nlisten = \"127.0.0.1:@PORT@\"\nworkers = 2\n\
         [admin]\nlisten = \"127.0.0.1:@ADMIN@\"\n[services.a]\nendpoints = [\"{}\"]\n{tables}\n\
         [[routes]]\nname = \"shop\"\npath = \"/*\"\nservice = \"a\"\nrate_limit = {limits}\n",
        upstream.url()
    );
    Gateway::builder(EXE).config(&config).start()
}

fn store(redis: &Redis, timeout: &str) -> String {
    format!("[store.redis]\nurl = \"{}\"\ntimeout = \"{timeout}\"\n", redis.url())
}

fn of(gateway: &Gateway, tenant: &str) -> Response {
    Client::new(gateway.addr()).send(&Request::get("/").header("X-Tenant", tenant))
}

fn passed(gateway: &Gateway, tenant: &str, requests: usize) -> usize {
    (0..requests).filter(|_| of(gateway, tenant).status == 200).count()
}

/// What a series stands at; 0 where there is none.
fn metric(gateway: &Gateway, series: &str) -> u64 {
    let text = get(gateway.admin(), "/metrics").text();
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.map_or(0, |value| value.parse::<f64>().unwrap() as u64)
}

fn by_result(gateway: &Gateway, limit: &str) -> [u64; 3] {
    ["allowed", "limited", "would_limit"].map(|result| {
        let labels = format!("limit=\"{limit}\",route=\"shop\",result=\"{result}\"");
        metric(gateway, &format!("gateway_rate_limit_total{{{labels}}}"))
    })
}

/// The access log in the order in which requests came: each worker writes its own lines.
fn lines(gateway: &Gateway, count: usize) -> Vec<Value> {
    let mut lines = wait_until("the lines of the access log", SOON, || {
        Some(gateway.access_log()).filter(|lines| lines.len() >= count)
    });
    lines.sort_by_key(|line| line["time"].to_string());
    lines
}

#[test]
fn who_is_refused_by_one_limit_of_a_route_takes_from_none_of_the_others() {
    let (upstream, redis) = (Upstream::named("a"), Redis::start());
    let limits = |all: &str, tenant: &str| {
        format!(
            "[rate_limits.all]\nkey = \"all\"\nlimit = \"5/h\"\nlegacy_headers = true\n{all}\n\
             [rate_limits.tenant]\nkey = {{ header = \"X-Tenant\" }}\nlimit = \"2/h\"\nlegacy_headers = true\n{tenant}\n"
        )
    };
    let local = "shared = \"local\"";
    for (how, tables) in [
        ("in memory", limits("", "")),
        ("on Redis", store(&redis, "5s") + &limits("", "")),
        ("one here, one on Redis", store(&redis, "5s") + &limits("", local)),
        ("one on Redis, one here", store(&redis, "5s") + &limits(local, "")),
    ] {
        for (order, policy) in [
            ("[\"all\", \"tenant\"]", "\"all\";q=5;w=3600, \"tenant\";q=2;w=3600"),
            ("[\"tenant\", \"all\"]", "\"tenant\";q=2;w=3600, \"all\";q=5;w=3600"),
        ] {
            let _ = redis.command(&["FLUSHALL"]);
            let gateway = gateway(&upstream, &tables, order);
            let first = of(&gateway, "one");
            assert_eq!(first.status, 200);
            assert_eq!(first.header("ratelimit-policy"), Some(policy), "{how}, {order}");
            let told = first.header("ratelimit").unwrap();
            assert!(told.starts_with("\"tenant\";r=1;t="), "the tightest: {told} {how}, {order}");
            assert_eq!(first.header("x-ratelimit-limit"), Some("2"), "{how}, {order}");
            assert_eq!(passed(&gateway, "one", 10), 1, "{how}, {order}");
            let refused = of(&gateway, "one");
            assert_eq!(refused.status, 429);
            assert_eq!(refused.json()["code"], "rate-limited");
            assert_eq!(refused.header("ratelimit-policy"), Some(policy), "{how}, {order}");
            assert!(refused.header("ratelimit").unwrap().starts_with("\"tenant\";r=0;t="), "{how}, {order}");
            let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
            assert!((1790..=1800).contains(&wait), "{wait}: {how}, {order}");
            // Eleven refusals of the first tenant have taken nothing from what all have.
            assert_eq!(
                [passed(&gateway, "two", 10), passed(&gateway, "three", 10)],
                [2, 1],
                "{how}, {order}"
            );
            let refused = of(&gateway, "four");
            assert!(refused.header("ratelimit").unwrap().starts_with("\"all\";r=0;t="), "{how}, {order}");
            assert_eq!(refused.header("x-ratelimit-limit"), Some("5"), "{how}, {order}");
            assert_eq!(by_result(&gateway, "all")[0], 5, "{how}, {order}");
            assert_eq!(by_result(&gateway, "tenant"), [5, 18, 0], "{how}, {order}");
        }
    }
}

#[test]
fn a_limit_on_failures_and_one_on_requests_tell_of_the_tightest() {
    let upstream = Upstream::named("a");
    let tables = "[rate_limits.guesses]\nlimit = \"1/h\"\ncount = \"failures\"\n[rate_limits.calls]\nlimit = \"3/h\"\n";
    let gateway = gateway(&upstream, tables, "[\"guesses\", \"calls\"]");
    let answers = [(); 4].map(|()| get(gateway.addr(), "/"));
    assert_eq!(answers.each_ref().map(|answer| answer.status), [200, 200, 200, 429]);
    for answer in &answers {
        let policy = answer.header("ratelimit-policy");
        assert_eq!(policy, Some("\"guesses\";q=1;w=3600, \"calls\";q=3;w=3600"));
    }
    let told = answers.each_ref().map(|answer| answer.header("ratelimit").unwrap());
    assert!(told[0].starts_with("\"guesses\";r=0;"), "{told:?}");
    assert!(told[3].starts_with("\"calls\";r=0;"), "a refusal is the tightest: {told:?}");
}

#[test]
fn the_short_list_holds_several_windows_and_a_mistake_names_the_one_that_is_wrong() {
    let upstream = Upstream::named("a");
    let gateway = gateway(&upstream, "[rate_limits]\nshop = [\"2/min\", \"1000/h burst 50\"]\n", "\"shop\"");
    let answers = [(); 3].map(|()| get(gateway.addr(), "/"));
    assert_eq!(answers.each_ref().map(|answer| answer.status), [200, 200, 429]);
    let policy = answers[0].header("ratelimit-policy");
    assert_eq!(policy, Some("\"shop-min\";q=2;w=60, \"shop-h\";q=1000;w=3600"));
    let check = |limit: &str| {
        let config = format!(
            "[services.a]\nendpoints = [\"http://x\"]\n[rate_limits]\nshop = {limit}\n[[routes]]\npath = \"/*\"\n\
             service = \"a\"\nrate_limit = \"shop\"\n"
        );
        Gateway::builder(EXE).config(&config).args(&["check"]).run().stderr
    };
    for (limit, parts) in [
        (
            "[\"2/min\", \"50/fortnight\"]",
            ["number 2 of the list: `50/fortnight` is not a rate limit", ":4:"],
        ),
        ("[]", ["the list is empty; expected rates such as \"10/s\"", ":4:"]),
        ("[7]", ["`rate_limits.shop[0]` is the number 7; expected a text", ":4:9:"]),
        ("7", ["expected a rate such as \"100/min\", a list of rates, or a table", ":4:"]),
    ] {
        let said = check(limit);
        for part in parts {
            assert!(said.contains(part), "no `{part}` in\n{said}\nfor {limit}");
        }
        assert!(said.contains("\n1 mistake in the configuration"), "one and no other for {limit}:\n{said}");
    }
}

#[test]
fn a_limit_that_reports_is_seen_in_the_log_and_in_metrics_and_survives_a_reload() {
    let upstream = Upstream::named("a");
    let tables =
        "[rate_limits.new]\nlimit = \"2/h\"\nmode = \"report\"\n[rate_limits.old]\nlimit = \"4/h\"\n";
    let gateway = gateway(&upstream, tables, "[\"new\", \"old\"]");
    let statuses = [(); 5].map(|()| get(gateway.addr(), "/").status);
    assert_eq!(statuses, [200, 200, 200, 200, 429]);
    let said = |name: &str| -> Vec<String> {
        lines(&gateway, 5).iter().map(|line| line[name].as_str().unwrap_or("-").to_owned()).collect()
    };
    assert_eq!(said("would_limit"), ["-", "-", "new", "new", "-"]);
    assert_eq!(said("limited_by"), ["-", "-", "-", "-", "old"]);
    assert_eq!(by_result(&gateway, "new"), [2, 0, 2]);
    assert_eq!(by_result(&gateway, "old"), [4, 1, 0]);
    let store = get(gateway.admin(), "/metrics").text();
    assert!(!store.contains("gateway_rate_limit_without_store_total"), "there is none");
    // Nothing that counts ever goes back, whatever becomes of the limit's settings.
    let file = gateway.dir().join("gateway.toml");
    let config = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, config.replace("limit = \"4/h\"", "limit = \"8/d\"")).unwrap();
    let reloaded = Client::new(gateway.admin()).send(&Request::new("POST", "/reload"));
    assert_eq!(reloaded.status, 200, "{}", reloaded.text());
    wait_until("the new limit", SOON, || (get(gateway.addr(), "/").status == 200).then_some(()));
    let [allowed, limited, _] = by_result(&gateway, "old");
    assert!(allowed == 5 && limited >= 1, "{allowed} {limited}");
}

#[test]
fn what_is_decided_while_the_store_is_away_is_counted() {
    let (upstream, mut redis) = (Upstream::named("a"), Redis::start());
    let tables = store(&redis, "5s") + "[rate_limits.shared]\nlimit = \"100/h\"\n";
    let gateway = gateway(&upstream, &tables, "\"shared\"");
    let without = "gateway_rate_limit_without_store_total{limit=\"shared\",route=\"shop\"}";
    assert_eq!(passed(&gateway, "", 3), 3);
    assert_eq!((metric(&gateway, without), metric(&gateway, "gateway_store_up")), (0, 1));
    redis.kill();
    assert_eq!(passed(&gateway, "", 4), 4);
    assert_eq!((metric(&gateway, without), by_result(&gateway, "shared")), (4, [7, 0, 0]));
    wait_until("the store to be away", SOON, || (metric(&gateway, "gateway_store_up") == 0).then_some(()));
}

/// What all of them have told of at 80 and at 100 per cent.
fn events(gateways: &[Gateway]) -> [u64; 2] {
    ["80", "100"].map(|percent| {
        let series = format!("gateway_quota_events_total{{limit=\"plan\",percent=\"{percent}\"}}");
        gateways.iter().map(|gateway| metric(gateway, &series)).sum()
    })
}

#[test]
fn of_a_quota_that_nears_its_end_one_instance_tells_once_also_over_a_restart() {
    let (upstream, zone) = (Upstream::named("a"), daytime());
    for shared in ["exact", "leased"] {
        let redis = Redis::start();
        let tables = store(&redis, "5s") + QUOTA + &format!("shared = \"{shared}\"\ntimezone = \"{zone}\"\n");
        let start = || [(); 2].map(|()| gateway(&upstream, &tables, "\"plan\""));
        let gateways = start();
        let ask = |gateways: &[Gateway; 2], times: usize| {
            (0..times).for_each(|turn| drop(get(gateways[turn % 2].addr(), "/")));
        };
        ask(&gateways, 4);
        assert_eq!(events(&gateways), [0, 0], "{shared}");
        wait_until("80 %", SOON, || {
            ask(&gateways, 1);
            (events(&gateways)[0] > 0).then_some(())
        });
        // Shares are taken in the background.
        let told_before = events(&gateways);
        assert_eq!(told_before[0], 1, "{shared}");
        drop(gateways);
        let gateways = start();
        wait_until("100 %", SOON, || {
            ask(&gateways, 2);
            (events(&gateways)[1] + told_before[1] > 0).then_some(())
        });
        ask(&gateways, 10);
        let after = events(&gateways);
        assert_eq!([told_before[0] + after[0], told_before[1] + after[1]], [1, 1], "{shared}");
        let told = redis.keys("*:told:*");
        assert_eq!(told.len(), 2, "{told:?}");
        for key in told {
            let ttl = redis.command(&["PTTL", &key]);
            assert!(matches!(ttl, gateway_testkit::RedisValue::Int(1..)), "{key}: {ttl:?}");
        }
    }
}

/// A key of the API key method `partners` with these properties.
fn key(gateway: &Gateway, what: &Value) -> String {
    let request = Request::new("POST", "/keys/partners").body(what.to_string());
    let made = Client::new(gateway.admin()).send(&request);
    assert_eq!(made.status, 201, "{}", made.text());
    made.json()["key"].as_str().unwrap().to_owned()
}

#[test]
fn who_leases_has_shares_by_their_own_limit_whatever_others_have() {
    let (upstream, redis) = (Upstream::named("a"), Redis::start());
    let tiers = "[rate_limits.by.tiers]\nby = { claim = \"tier\" }\nvalues = { free = \"10/min\", gold = \"60000/h\" }\n";
    let from = "[rate_limits.by]\nlimit_from = { claim = \"rate\" }\nanonymous = \"10/min\"\n";
    for table in [format!("[rate_limits.by]\nSHARED\n{tiers}"), format!("{from}SHARED\n")] {
        let limits = table.replace("SHARED", "shared = \"leased\"");
        let tables = store(&redis, "5s") + "[auth.api_keys.partners]\n" + &limits;
        let gateway = gateway(&upstream, &tables, "\"by\"\nauth = \"partners\"");
        let gold = key(&gateway, &json!({ "id": "gold", "tier": "gold", "metadata": { "rate": "60000/h" } }));
        // Fewer than a lease, as fast as they go: none has to wait until Redis has been asked.
        let mut client = Client::new(gateway.addr());
        let request = Request::get("/").header("X-API-Key", &gold);
        let statuses: Vec<u16> = (0..400).map(|_| client.send(&request).status).collect();
        let count = |wanted: u16| statuses.iter().filter(|status| **status == wanted).count();
        // Where the key has just come with a connection that did not know it yet, that is 401.
        assert_eq!(count(429), 0, "of 400 with 60000/h: {limits}");
        assert!(count(200) > 300, "{statuses:?}");
    }
}

#[test]
fn a_flood_of_strangers_gives_nobody_fresh_credit() {
    let (upstream, redis) = (Upstream::named("a"), Redis::start());
    let limits = "[rate_limits.each]\nkey = { header = \"X-Tenant\" }\nlimit = \"10/d\"\nlease = 1\n\
                  max_keys = 32\nshared = \"leased\"\n";
    let gateway = gateway(&upstream, &(store(&redis, "5s") + limits), "\"each\"");
    let mut all = 0;
    wait_until("the limit to be used up", SOON, || {
        let answer = of(&gateway, "busy");
        all += usize::from(answer.status == 200);
        (answer.header("retry-after").unwrap_or("1") != "1").then_some(())
    });
    for round in 0..3 {
        let strangers = (0..300).map(|i| of(&gateway, &format!("{round}-{i}")).status);
        assert_eq!(strangers.filter(|status| *status != 200).count(), 0, "who has all left passes");
        all += passed(&gateway, "busy", 5);
    }
    assert!(all <= 11, "{all} of 10, and a lease of 1");
}

#[test]
fn what_an_answer_does_not_say_is_charged_as_missing() {
    let answer = |request: &gateway_testkit::Recorded| {
        let usage = "{\"usage\":{\"total_tokens\":30}}";
        match request.target.as_str() {
            "/silent" => Reply::new(200, "{}"),
            "/late" => Reply::new(200, usage).after(Duration::from_secs(60)),
            // A service that does as it is told.
            _ if request.header("accept-encoding").is_some_and(|codings| codings.contains("gzip")) => {
                Reply::with(200, &[("Content-Encoding", "gzip")], "\u{1f}packed")
            }
            _ => Reply::new(200, usage),
        }
    };
    let limits = "[rate_limits.tokens]\nlimit = \"1000/d\"\ncost = 10\nkey = { header = \"X-Tenant\" }\n\
                  settle = { json = \"/usage/total_tokens\", missing = 200 }\n";
    let upstream = Upstream::start(answer);
    let gateway = gateway(&upstream, limits, "\"tokens\"");
    let unsettled =
        || metric(&gateway, "gateway_rate_limit_unsettled_total{limit=\"tokens\",route=\"shop\"}");
    let left = |tenant: &str| {
        let answer = of(&gateway, tenant);
        let left = answer.header("ratelimit").unwrap().split(';').find_map(|part| part.strip_prefix("r="));
        left.unwrap().parse::<u32>().unwrap() + 10
    };
    let ask = |path: &str| Request::get(path).header("X-Tenant", path).header("Accept-Encoding", "gzip");
    for (path, taken, missing) in [("/said", 30, 0), ("/silent", 200, 1)] {
        assert_eq!(Client::new(gateway.addr()).send(&ask(path)).status, 200, "{path}");
        wait_until("the final cost", SOON, || (left(path) <= 1000 - taken).then_some(()));
        assert_eq!(unsettled(), missing, "{path}");
    }
    // The client hangs up before the answer.
    let late = std::net::TcpStream::connect(gateway.addr()).unwrap();
    let text = "GET /late HTTP/1.1\r\nHost: test\r\nX-Tenant: late\r\n\r\n";
    std::io::Write::write_all(&mut &late, text.as_bytes()).unwrap();
    let arrived = || upstream.requests().iter().any(|request| request.target == "/late");
    wait_until("the request at the service", SOON, || arrived().then_some(()));
    drop(late);
    wait_until("what is missing to be counted", SOON, || (unsettled() == 2).then_some(()));
    assert!(left("late") <= 800);
}

#[test]
fn each_kind_of_limit_and_key_lets_pass_what_it_says() {
    let upstream = Upstream::named("a");
    let trusted = "[forwarded]\ntrusted_proxies = [\"127.0.0.1/32\"]\n[auth.api_keys.partners]\n";
    let from = |ip: &str, path: &str| Request::get(path).header("X-Forwarded-For", ip);
    let same = || vec![from("192.0.2.1", "/"); 4];
    let of_paths = |paths: [&str; 4]| paths.map(|path| from("192.0.2.1", path)).to_vec();
    for (limit, requests, expected) in [
        ("limit = \"2/d\"\nalgorithm = \"token_bucket\"", same(), [200, 200, 429, 429]),
        ("limit = \"4/d burst 1\"\nalgorithm = \"token_bucket\"", same(), [200, 429, 429, 429]),
        // Who would wait for too long is refused.
        ("limit = \"2/d\"\nalgorithm = \"leaky_bucket\"\nmax_delay = \"1ms\"", same(), [200, 429, 429, 429]),
        // Each waits for its turn.
        ("limit = \"20/s\"\nalgorithm = \"leaky_bucket\"\nmax_delay = \"1m\"", same(), [200; 4]),
        ("limit = \"2/d\"\nalgorithm = \"fixed_window\"", same(), [200, 200, 429, 429]),
        ("limit = \"2/d\"\nalgorithm = \"sliding_window\"", same(), [200, 200, 429, 429]),
        (
            "limit = \"2/d\"\nkey = \"client_ip\"",
            ["2001:db8::1", "2001:db8::2:1", "2001:db8:0:0:ffff::", "2001:db8:0:1::1"]
                .map(|ip| from(ip, "/"))
                .to_vec(),
            [200, 200, 429, 200],
        ),
        (
            "limit = \"1/d\"\nkey = \"path\"",
            of_paths(["/a", "/%61?x", "/b", "/x/../b"]),
            [200, 429, 200, 429],
        ),
        (
            "limit = \"1/d\"\nkey = [\"method\", { capture = \"*\" }]",
            vec![
                from("192.0.2.1", "/a"),
                from("192.0.2.2", "/a"),
                Request::new("DELETE", "/a"),
                from("192.0.2.1", "/b"),
            ],
            [200, 429, 200, 200],
        ),
    ] {
        let tables = format!("{trusted}[rate_limits.one]\n{limit}\n");
        let gateway = gateway(&upstream, &tables, "\"one\"");
        let mut client = Client::new(gateway.addr());
        let seen: Vec<u16> = requests.iter().map(|request| client.send(request).status).collect();
        assert_eq!(seen, expected, "{limit}");
    }
    let from_claims =
        "[auth.api_keys.partners]\n[rate_limits.one]\nlimit_from = { claim = \"rate\", per = \"d\" }\n";
    let gateway = gateway(&upstream, from_claims, "\"one\"\nauth = \"partners\"");
    for (what, expected) in [
        (json!({ "id": "one", "metadata": { "rate": 1 } }), [200, 429, 429]),
        (json!({ "id": "two", "metadata": { "rate": "2/h" } }), [200, 200, 429]),
        (json!({ "id": "none" }), [200, 200, 200]),
    ] {
        let request = Request::get("/").header("X-API-Key", &key(&gateway, &what));
        let mut client = Client::new(gateway.addr());
        assert_eq!([(); 3].map(|()| client.send(&request).status), expected, "{what}");
    }
}
