//! Gateways that share one Redis limit as one, and no request fails or waits for it when it is away.
#![allow(clippy::unwrap_used)]

use gateway_testkit::{
    Client, Gateway, Load, Redis, Reply, Request, Response, Seen, Upstream, daytime, get, wait_until,
};
use serde_json::json;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::thread::sleep;
use std::time::{Duration, Instant};

const EXE: &str = env!("CARGO_BIN_EXE_gateway");
const SOON: Duration = Duration::from_secs(10);
/// For how long Redis is frozen at least.
const FROZEN: Duration = Duration::from_secs(4);
/// What scheduling may add on a busy machine, on top of the store's deadline; with it, less than Redis is frozen.
const SLACK: Duration = Duration::from_secs(3);
/// Per second, and at once.
const RATE: usize = 100;

fn gateway(upstream: &Upstream, tables: &str, routes: &str) -> Gateway {
    let config = format!(
        "access_log = false\n[server]\nlisten = \"127.0.0.1:@PORT@\"\nworkers = 2\nwatch = false\n\
         [admin]\nlisten = \"127.0.0.1:@ADMIN@\"\n[services.a]\nendpoints = [\"{}\"]\n{tables}\n{routes}",
        upstream.url()
    );
    Gateway::builder(EXE).config(&config).start()
}

fn route(limit: &str) -> String {
    format!("[[routes]]\npath = \"/*\"\nservice = \"a\"\nrate_limit = {limit}\n")
}

fn store(redis: &Redis, timeout: &str) -> String {
    format!("[store.redis]\nurl = \"{}\"\ntimeout = \"{timeout}\"\n", redis.url())
}

/// Two on one Redis, all callers counted together.
fn pair(upstream: &Upstream, redis: &Redis, timeout: &str, limit: &str) -> [Gateway; 2] {
    let tables = store(redis, timeout) + "[rate_limits.shared]\nkey = \"all\"\n" + limit;
    [(); 2].map(|()| gateway(upstream, &tables, &route("\"shared\"")))
}

fn addrs(gateways: &[Gateway; 2]) -> [SocketAddr; 2] {
    [gateways[0].addr(), gateways[1].addr()]
}

/// Eight clients that send four times what the limit admits.
fn four_times(gateways: &[Gateway; 2]) -> Load {
    const CLIENTS: usize = 8;
    let every = Duration::from_secs_f64(CLIENTS as f64 / (4.0 * RATE as f64));
    Load::start(&addrs(gateways), CLIENTS, every, |_| Request::get("/"))
}

fn seconds() -> u64 {
    if std::env::var_os("GATEWAY_LONG").is_some() { 30 } else { 10 }
}

/// What the limit admits in a time: what comes at once, and the rate.
fn in_time(time: Duration) -> f64 {
    RATE as f64 * (1.0 + time.as_secs_f64())
}

/// What the limit admits at most while these were sent.
fn due(seen: &[Seen]) -> f64 {
    let first = seen.iter().map(|one| one.at).min().unwrap();
    let last = seen.iter().map(|one| one.at + one.took).max().unwrap();
    in_time(last.duration_since(first))
}

/// What it admits at least of what was sent: as an ideal limit does that sees each request at some time while it is under
/// way. What nobody asks for in time, because the machine stood still, is lost.
fn due_at_least(seen: &[Seen]) -> f64 {
    let ideal = |at: fn(&Seen) -> Instant| {
        let mut times: Vec<_> = seen.iter().map(at).collect();
        times.sort_unstable();
        let (mut last, mut left, mut admitted) = (times[0], RATE as f64, 0.0);
        for time in times {
            left = (left + RATE as f64 * time.duration_since(last).as_secs_f64()).min(RATE as f64);
            last = time;
            if left >= 1.0 {
                (left, admitted) = (left - 1.0, admitted + 1.0);
            }
        }
        admitted
    };
    f64::min(ideal(|one| one.at), ideal(|one| one.at + one.took))
}

fn code(answer: &Response) -> String {
    answer.json()["code"].as_str().unwrap_or_default().to_owned()
}

/// How many of so many requests are admitted.
fn admitted(addr: SocketAddr, requests: usize) -> usize {
    let mut client = Client::new(addr);
    (0..requests).filter(|_| client.send(&Request::get("/")).status == 200).count()
}

/// One line of figures; fails where a request got neither an answer of the service nor 429.
fn summary(what: &str, seen: &[Seen]) -> String {
    let mut line = format!("{what}: {} sent", seen.len());
    let (good, limited) = (Seen::with(seen, 200), Seen::with(seen, 429));
    let _ = write!(line, ", {good} admitted, {limited} refused");
    for (name, share) in [("median", 0.5), ("p99", 0.99), ("longest", 1.0)] {
        let _ = write!(line, ", {name} {:?}", Seen::took(seen, share));
    }
    println!("{line}");
    let other: Vec<_> = seen.iter().filter(|one| !matches!(one.status, Some(200 | 429))).collect();
    assert!(other.is_empty(), "{line}; not served: {other:?}");
    line
}

#[test]
fn two_gateways_at_four_times_the_limit_admit_it_within_one_percent() {
    let (upstream, redis) = (Upstream::named("a"), Redis::start());
    let gateways = pair(&upstream, &redis, "2s", "limit = \"100/s\"\nshared = \"exact\"\n");
    let load = four_times(&gateways);
    sleep(Duration::from_secs(seconds()));
    let seen = load.stop();
    let (line, least, most) = (summary("exact", &seen), due_at_least(&seen), due(&seen));
    let admitted = Seen::with(&seen, 200) as f64;
    let off = |due: f64| (admitted / due - 1.0) * 100.0;
    println!("exact: {least:.0} to {most:.0} due, off by {:+.2} % and {:+.2} %", off(least), off(most));
    assert!(Seen::with(&seen, 429) > RATE, "too few were sent to tell: {line}");
    assert!(0.99 * least <= admitted && admitted <= 1.01 * most, "{line}, {least:.0} to {most:.0} due");
    assert_eq!(upstream.hits(), Seen::with(&seen, 200), "who is refused does not reach the service");
    let keys = redis.keys("*rate_limit*");
    assert!(!keys.is_empty(), "counted in Redis");
    for key in keys {
        let ttl = redis.command(&["PTTL", &key]);
        assert!(matches!(ttl, gateway_testkit::RedisValue::Int(1..)), "{key}: {ttl:?}");
    }
}

#[test]
fn two_gateways_that_lease_pass_at_most_one_lease_each_beyond_the_limit() {
    const LEASE: f64 = 5.0;
    let (upstream, redis) = (Upstream::named("a"), Redis::start());
    let limit = "limit = \"100/s\"\nshared = \"leased\"\nlease = 5\n";
    let gateways = pair(&upstream, &redis, "2s", limit);
    let load = four_times(&gateways);
    sleep(Duration::from_secs(seconds()));
    let seen = load.stop();
    let (line, least, due) = (summary("leased", &seen), due_at_least(&seen), due(&seen));
    let admitted = Seen::with(&seen, 200) as f64;
    println!("leased: {due:.0} due, {:+.0} beyond it, at most +{:.0} stated", admitted - due, 2.0 * LEASE);
    assert!(admitted <= due + 2.0 * LEASE, "{line}, {due:.0} due");
    assert!(admitted >= 0.95 * least, "what is due is given: {line}, {least:.0} due");
}

/// How many decisions were made without the store so far, on both.
fn without_store(gateways: &[Gateway; 2]) -> f64 {
    let metrics = gateways.each_ref().map(|gateway| get(gateway.admin(), "/metrics").text());
    let lines = metrics.iter().flat_map(|text| text.lines());
    let counted = lines.filter(|line| line.starts_with("gateway_rate_limit_without_store_total"));
    counted.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

/// For how long decisions are still made without the store, once it is there again.
fn until_back(gateways: &[Gateway; 2]) -> Duration {
    // In this time a client that is under load asks ten times and more.
    const QUIET: Duration = Duration::from_millis(250);
    let started = Instant::now();
    let mut decided = without_store(gateways);
    wait_until("decisions by the store", SOON, || {
        sleep(QUIET);
        let now = without_store(gateways);
        (std::mem::replace(&mut decided, now) >= now).then_some(())
    });
    started.elapsed().saturating_sub(QUIET)
}

/// The bound of docs/rate-limiting.md, "While Redis is away", and not more: what is due all the time; for each time that
/// Redis goes, one burst of all instances together and the rate until the last of them counts by it again; a lease each;
/// and whatever a busy machine made an instance decide by itself in between, because Redis did not answer in time.
#[test]
fn through_a_killed_and_a_stalled_redis_no_request_fails_or_waits_and_the_stated_bound_holds() {
    for (shared, leases) in [("exact", 0.0), ("leased", 2.0 * 5.0)] {
        let deadline = Duration::from_millis(50);
        let (upstream, mut redis) = (Upstream::named("a"), Redis::start());
        let limit = format!("limit = \"100/s\"\nshared = \"{shared}\"\nreplicas = 2\n");
        let gateways = pair(&upstream, &redis, "50ms", &limit);
        let load = four_times(&gateways);
        let phase = Duration::from_secs(if seconds() > 10 { 5 } else { 2 });
        let burst = RATE as f64;
        let (mut away, mut between) = (0.0, 0.0);
        let mut calm = without_store(&gateways);
        sleep(phase);
        for how in ["killed", "stalled"] {
            between += without_store(&gateways) - calm;
            if how == "killed" {
                redis.kill()
            } else {
                redis.stall()
            }
            sleep(FROZEN);
            if how == "killed" {
                redis.restart()
            } else {
                redis.resume()
            }
            let returning = until_back(&gateways);
            println!("{shared}: {how}, back for all after {returning:?}");
            away += burst + RATE as f64 * returning.as_secs_f64();
            calm = without_store(&gateways);
            sleep(phase);
        }
        between += without_store(&gateways) - calm;
        let seen = load.stop();
        let (line, least, due) = (summary(shared, &seen), due_at_least(&seen), due(&seen));
        let admitted = Seen::with(&seen, 200) as f64;
        let most = due + away + leases + between;
        println!(
            "{shared}: {due:.0} due, {:+.0} beyond it, at most {:+.0} stated: {away:.0} for two times without Redis, \
             {leases:.0} leased, {between:.0} decided without it in between",
            admitted - due,
            most - due
        );
        assert!(Seen::took(&seen, 1.0) < deadline + SLACK, "{line}");
        let most_took = Seen::took(&seen, 0.9);
        assert!(most_took < deadline + Duration::from_millis(150), "most wait for nothing: {line}");
        assert!(admitted <= most, "limited all the time: {line}, {due:.0} due, at most {most:.0}");
        assert!(admitted >= 0.8 * least, "what is due is given: {line}, {least:.0} due");
        // And it is one limit again.
        sleep(Duration::from_millis(1500));
        let (started, before) = (Instant::now(), without_store(&gateways));
        let again: usize = gateways.iter().map(|gateway| self::admitted(gateway.addr(), 150)).sum();
        println!("{shared}: {again} admitted of 300 at once afterwards");
        // What is due in the time that it takes, and a lease each.
        let due = RATE as f64 * (1.0 + started.elapsed().as_secs_f64()) + leases;
        let alone = without_store(&gateways) - before;
        assert!(again >= RATE / 2 && again as f64 <= due + alone, "{shared}: {again} of 300, {due:.0} due");
    }
}

/// With the default deadline, at a start too: at most one request of a worker waits for it, once in a second.
#[test]
fn whatever_is_wrong_with_redis_decisions_take_no_longer_than_its_deadline() {
    const REQUESTS: usize = 200;
    let deadline = Duration::from_millis(20);
    let (upstream, redis) = (Upstream::named("a"), Redis::start());
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    for (how, url) in [
        ("it accepts and says nothing", format!("redis://{}", silent.local_addr().unwrap())),
        ("nobody listens", format!("redis://127.0.0.1:{}", gateway_testkit::free_port())),
        ("no such name", "redis://redis.invalid".to_owned()),
        ("it stalls", redis.url()),
    ] {
        let started = Instant::now();
        let tables = format!(
            "[store.redis]\nurl = \"{url}\"\nconnect_timeout = \"60s\"\nrequired = false\n\
             [rate_limits.all]\nkey = \"all\"\nlimit = \"{REQUESTS}/s\"\nshared = \"exact\"\n"
        );
        let free = "[[routes]]\npath = \"/free\"\nservice = \"a\"\n";
        let gateway = gateway(&upstream, &tables, &(route("\"all\"") + free));
        let start = started.elapsed();
        let mut client = Client::new(gateway.addr());
        if how == "it stalls" {
            client.send(&Request::get("/"));
            redis.stall();
        }
        // In turn with those that no limit counts, which say how busy the machine is.
        let (mut took, mut free) = (Vec::new(), Vec::new());
        for _ in 0..REQUESTS {
            for (path, took) in [("/", &mut took), ("/free", &mut free)] {
                let asked = Instant::now();
                let status = client.send(&Request::get(path)).status;
                assert!(matches!(status, 200 | 429), "{how}: {status}");
                took.push(asked.elapsed());
            }
        }
        took.sort();
        free.sort();
        let (quick, longest, unlimited) = (took[REQUESTS / 4], took[REQUESTS - 1], free[REQUESTS / 4]);
        println!(
            "{how}: up after {start:?}, a quarter in {quick:?}, {unlimited:?} without a limit, the longest {longest:?}"
        );
        assert!(start < Duration::from_secs(30), "{how}: the start waits for no connection: {start:?}");
        assert!(quick < unlimited + deadline / 2, "{how}: they wait for nothing: {quick:?}, {unlimited:?}");
        assert!(longest < deadline + SLACK, "{how}: the longest {longest:?}");
    }
    redis.resume();
}

#[test]
fn while_redis_is_away_the_limit_is_local_or_none_or_nobody_passes() {
    let (upstream, mut redis) = (Upstream::named("a"), Redis::start());
    let tables = store(&redis, "50ms");
    let gateways = ["local", "allow", "deny"].map(|way| {
        let limit = format!(
            "[rate_limits.{way}]\nkey = \"all\"\nlimit = \"20/h\"\nreplicas = 2\non_store_failure = \"{way}\"\n"
        );
        gateway(&upstream, &format!("{tables}{limit}"), &route(&format!("\"{way}\"")))
    });
    let [local, allow, deny] = gateways.each_ref().map(Gateway::addr);
    for addr in [local, allow] {
        assert_eq!(get(addr, "/").status, 200);
    }
    // A worker's first connection may take longer than the store's deadline.
    let first = wait_until("the limit in Redis", SOON, || {
        Some(get(deny, "/").status).filter(|status| *status != 503)
    });
    assert_eq!(first, 200);
    for how in ["killed", "stalled"] {
        if how == "killed" {
            redis.kill()
        } else {
            redis.stall()
        }
        let started = Instant::now();
        let refused = get(deny, "/");
        assert_eq!((refused.status, code(&refused).as_str()), (503, "store-unavailable"), "{how}");
        assert!(started.elapsed() < Duration::from_millis(50) + SLACK, "{how}: {:?}", started.elapsed());
        let (own, all, none) = (admitted(local, 30), admitted(allow, 30), admitted(deny, 30));
        println!("{how}: of 30, local admits {own}, allow {all}, deny {none}");
        assert_eq!((all, none), (30, 0), "{how}");
        // Half of 20 is the share of one of two; less what was taken before.
        assert!(if how == "killed" { (8..=10).contains(&own) } else { own <= 10 }, "{how}: {own}");
        if how == "killed" {
            redis.restart()
        } else {
            redis.resume()
        }
        wait_until("the limit in Redis", SOON, || {
            let answer = get(deny, "/");
            (answer.status != 503).then_some(())
        });
    }
}

#[test]
fn a_quota_goes_on_after_a_restart_of_the_gateway() {
    let (upstream, dir) = (Upstream::named("a"), tempfile::tempdir().unwrap());
    let file = dir.path().join("quotas");
    let limit = format!(
        "[rate_limits.paid]\nquota = \"5/month\"\ntimezone = \"{}\"\nquota_file = \"{}\"\n",
        daytime(),
        file.display()
    );
    let first = gateway(&upstream, &limit, &route("\"paid\""));
    assert_eq!(admitted(first.addr(), 3), 3);
    assert_eq!(first.stop().code, Some(0));
    let second = gateway(&upstream, &limit, &route("\"paid\""));
    assert_eq!(admitted(second.addr(), 10), 2, "three were used before");
    let refused = get(second.addr(), "/");
    assert_eq!((refused.status, code(&refused).as_str()), (429, "quota-exceeded"));
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=31 * 86_400).contains(&wait), "{wait}");
}

#[test]
fn a_quota_in_redis_is_one_for_all_and_outlives_them() {
    let (upstream, redis) = (Upstream::named("a"), Redis::start());
    let limit = format!("quota = \"5/month\"\ntimezone = \"{}\"\n", daytime());
    let gateways = pair(&upstream, &redis, "2s", &limit);
    assert_eq!(gateways.each_ref().map(|gateway| admitted(gateway.addr(), 2)), [2, 2]);
    drop(gateways);
    let gateways = pair(&upstream, &redis, "2s", &limit);
    assert_eq!(gateways.each_ref().map(|gateway| admitted(gateway.addr(), 2)), [1, 0]);
}

#[test]
fn answers_tell_what_is_left_in_new_fields_and_old_ones() {
    let upstream = Upstream::named("a");
    let limits = "[rate_limits.told]\nlimit = \"2/h\"\nlegacy_headers = true\n\
                  [rate_limits.silent]\nlimit = \"1/h\"\nheaders = false\nretry_after = false\n";
    let routes = "[[routes]]\npath = \"/told\"\nservice = \"a\"\nrate_limit = \"told\"\n\
                  [[routes]]\npath = \"/silent\"\nservice = \"a\"\nrate_limit = \"silent\"\n";
    let gateway = gateway(&upstream, limits, routes);
    let answers = [(); 3].map(|()| get(gateway.addr(), "/told"));
    for (answer, (status, left)) in answers.iter().zip([(200, 1), (200, 0), (429, 0)]) {
        assert_eq!(answer.status, status);
        assert_eq!(answer.header("ratelimit-policy"), Some("\"told\";q=2;w=3600"));
        let told = answer.header("ratelimit").unwrap();
        assert!(told.starts_with(&format!("\"told\";r={left};t=")), "{told}");
        assert_eq!(answer.header("x-ratelimit-limit"), Some("2"));
        assert_eq!(answer.header("x-ratelimit-remaining"), Some(left.to_string().as_str()));
        let reset: u64 = answer.header("x-ratelimit-reset").unwrap().parse().unwrap();
        assert!(reset <= 3600, "{reset}");
    }
    assert_eq!(answers[1].header("retry-after"), None);
    let wait: u64 = answers[2].header("retry-after").unwrap().parse().unwrap();
    assert!((1790..=1800).contains(&wait), "half an hour brings one: {wait}");
    assert_eq!(code(&answers[2]), "rate-limited");

    assert_eq!(get(gateway.addr(), "/silent").status, 200);
    let silent = get(gateway.addr(), "/silent");
    assert_eq!(silent.status, 429);
    let said = silent.headers.iter().find(|(name, _)| {
        let name = name.to_ascii_lowercase();
        name.contains("ratelimit") || name == "retry-after"
    });
    assert_eq!(said, None);
}

#[test]
fn who_comes_beyond_the_limit_is_held_by_all_instances_and_over_restarts() {
    let (upstream, redis) = (Upstream::named("a"), Redis::start());
    let gateways = pair(&upstream, &redis, "5s", "limit = \"3/s\"\npenalty = \"1h\"\n");
    let refused = wait_until("a refusal", SOON, || {
        Some(get(gateways[0].addr(), "/")).filter(|answer| answer.status == 429)
    });
    let wait = |answer: &Response| answer.header("retry-after").unwrap().parse::<u64>().unwrap();
    assert_eq!((code(&refused).as_str(), wait(&refused)), ("rate-limited", 3600));
    assert!(refused.header("ratelimit").unwrap().starts_with("\"shared\";r=0;t=3600"));
    // The limit itself has room again.
    sleep(Duration::from_millis(1100));
    let [first, second] = gateways;
    drop(first);
    let [third, _] = pair(&upstream, &redis, "5s", "limit = \"3/s\"\npenalty = \"1h\"\n");
    for gateway in [&second, &third] {
        let held = get(gateway.addr(), "/");
        assert_eq!(held.status, 429);
        assert!((3500..=3599).contains(&wait(&held)), "{} s", wait(&held));
    }
}

#[test]
fn failed_logins_are_counted_on_all_instances_and_good_ones_are_not() {
    let upstream = Upstream::start(|request| match request.header("x-password") {
        Some("right") => Reply::new(200, "welcome"),
        _ => Reply::new(401, "no"),
    });
    let redis = Redis::start();
    let tables = store(&redis, "2s") + "[rate_limits.logins]\nlimit = \"3/h\"\ncount = \"failures\"\n";
    let gateways = [(); 2].map(|()| gateway(&upstream, &tables, &route("\"logins\"")));
    let login = |of: usize, password: &str| {
        let request = Request::new("POST", "/login").header("X-Password", password);
        Client::new(gateways[of].addr()).send(&request).status
    };
    for turn in 0..6 {
        assert_eq!(login(turn % 2, "right"), 200, "good ones are free");
    }
    for turn in 0..3 {
        assert_eq!(login(turn % 2, "guess"), 401);
        // Failures are told to Redis in the background.
        sleep(Duration::from_millis(300));
    }
    for of in 0..2 {
        wait_until("the guesses to be known", SOON, || (login(of, "right") == 429).then_some(()));
    }
    let hits = upstream.hits();
    assert_eq!((login(0, "guess"), login(1, "guess")), (429, 429));
    assert_eq!(upstream.hits(), hits, "guesses no longer reach the service");
}

#[test]
fn callers_have_the_limit_of_their_tier_on_all_instances() {
    let (upstream, redis) = (Upstream::named("a"), Redis::start());
    let tables = store(&redis, "2s")
        + "[auth.api_keys.partners]\n[rate_limits.plans]\nanonymous = \"2/h\"\napi_key = \"4/h\"\n\
           [rate_limits.plans.tiers]\nby = { claim = \"tier\" }\nvalues = { gold = \"8/h\" }\n\
           [rate_limits.plans.exempt]\nprincipals = [\"ours\"]\n";
    let routes = route("\"plans\"") + "auth = { methods = [\"partners\"], optional = true }\n";
    let gateways = [(); 2].map(|()| gateway(&upstream, &tables, &routes));
    let key = |what: serde_json::Value| {
        let request = Request::new("POST", "/keys/partners").body(what.to_string());
        let made = Client::new(gateways[0].admin()).send(&request);
        assert_eq!(made.status, 201, "{}", made.text());
        let key = made.json()["key"].as_str().unwrap().to_owned();
        wait_until("the key at the other", SOON, || {
            let request = Request::new("OPTIONS", "/").header("X-API-Key", &key);
            (Client::new(gateways[1].addr()).send(&request).status != 401).then_some(())
        });
        key
    };
    for (who, what, expected) in [
        ("anonymous", None, 2),
        ("known", Some(json!({ "id": "plain" })), 4),
        ("gold", Some(json!({ "id": "rich", "tier": "gold" })), 8),
        ("exempt", Some(json!({ "id": "ours" })), 24),
    ] {
        let key = what.map(key);
        // What was asked to see whether the key is known there counts too.
        let before = if matches!(who, "known" | "gold") { 1 } else { 0 };
        let mut passed = 0;
        for turn in 0..24 {
            let mut request = Request::get("/");
            if let Some(key) = &key {
                request = request.header("X-API-Key", key);
            }
            passed += usize::from(Client::new(gateways[turn % 2].addr()).send(&request).status == 200);
        }
        println!("{who}: {passed} of 24, {before} before");
        assert_eq!(passed, expected - before, "{who}");
    }
}

#[test]
fn a_limit_that_only_reports_refuses_nobody_and_says_what_is_left() {
    let (upstream, redis) = (Upstream::named("a"), Redis::start());
    let limit = "limit = \"3/h\"\nmode = \"report\"\n";
    let gateways = pair(&upstream, &redis, "2s", limit);
    assert_eq!(gateways.each_ref().map(|gateway| admitted(gateway.addr(), 5)), [5, 5]);
    for gateway in &gateways {
        let answer = get(gateway.addr(), "/");
        let told = answer.header("ratelimit").unwrap();
        assert!(told.starts_with("\"shared\";r=0;"), "{told}");
        assert_eq!(answer.header("retry-after"), None);
    }
}

#[test]
fn of_several_limits_on_a_route_all_must_have_room() {
    let (upstream, redis) = (Upstream::named("a"), Redis::start());
    let tables = store(&redis, "2s")
        + "[rate_limits.all]\nkey = \"all\"\nlimit = \"6/h\"\n\
           [rate_limits.tenant]\nkey = { header = \"X-Tenant\" }\nlimit = [\"4/h\", \"100/d\"]\n";
    let gateways = [(); 2].map(|()| gateway(&upstream, &tables, &route("[\"tenant\", \"all\"]")));
    let passed = |tenant: &str| {
        let sent = (0..10).map(|turn| {
            let request = Request::get("/").header("X-Tenant", tenant);
            Client::new(gateways[turn % 2].addr()).send(&request).status
        });
        sent.filter(|status| *status == 200).count()
    };
    assert_eq!((passed("one"), passed("two"), passed("three")), (4, 2, 0));
}
