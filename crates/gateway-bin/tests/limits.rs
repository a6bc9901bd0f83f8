//! Several limits on one route, in memory and on Redis, and what operators see of limits.
#![allow(clippy::unwrap_used)]

use gateway_testkit::{Client, Gateway, Redis, Request, Response, Upstream, get, wait_until};
use serde_json::Value;
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
    let upstream = Upstream::named("a");
    for shared in ["exact", "leased"] {
        let redis = Redis::start();
        let tables = store(&redis, "5s") + QUOTA + &format!("shared = \"{shared}\"\n");
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
