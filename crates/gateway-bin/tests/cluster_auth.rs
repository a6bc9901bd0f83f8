//! Who is calling, on two gateways with one Redis and one PostgreSQL: what one learns both know, and neither needs the
//! other parts to go on.
#![allow(clippy::unwrap_used)]

use gateway_testkit::{
    Client, Gateway, Load, PostgresServer, Redis, Request, Response, Seen, Upstream, get, wait_until,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::thread::sleep;
use std::time::{Duration, Instant};

const EXE: &str = env!("CARGO_BIN_EXE_gateway");
const SOON: Duration = Duration::from_secs(20);
/// For how long Redis is frozen at least.
const FROZEN: Duration = Duration::from_secs(4);
/// What scheduling may add on a busy machine, on top of a deadline; with it, less than Redis is frozen.
const SLACK: Duration = Duration::from_secs(3);
/// Redis' deadline where it goes away.
const STORE: Duration = Duration::from_millis(100);
/// PostgreSQL's, where it does.
const DATABASE: Duration = Duration::from_secs(2);
/// How long a single change may take to be known on the other gateway while the machine is busy; most take far less.
const LATE: Duration = Duration::from_secs(3);
const PASSWORD: &str = "correct horse battery";
const KEY_SECRET: &str = "what the keys are encrypted with";
const SHARED_SECRET: &str = "a secret for tests, 32 bytes long";

fn gateway(upstream: &Upstream, tables: &str, routes: &str) -> Gateway {
    let config = format!(
        "access_log = \"@DIR@/access.log\"\n[server]\nlisten = \"127.0.0.1:@PORT@\"\nworkers = 2\n\
         watch = false\n[admin]\nlisten = \"127.0.0.1:@ADMIN@\"\n[services.a]\nendpoints = [\"{}\"]\n\
         {tables}\n{routes}",
        upstream.url()
    );
    Gateway::builder(EXE).config(&config).start()
}

fn store(redis: &Redis, timeout: Duration) -> String {
    format!("[store.redis]\nurl = \"{}\"\ntimeout = \"{}ms\"\n", redis.url(), timeout.as_millis())
}

/// Accounts whose passwords cost next to nothing, unless said otherwise. Where PostgreSQL is there all the time, no answer
/// of it is too late.
fn identity(postgres: &PostgresServer, password: &str) -> String {
    format!(
        "[identity]\ndatabase = \"{}\"\ndatabase_timeout = \"10s\"\n[identity.password]\n{password}\n\
         [identity.throttle]\nregistrations = 1000\n[identity.keys]\nsecret = \"{KEY_SECRET}\"\n",
        postgres.url()
    )
}

const CHEAP: &str = "memory = \"8KiB\"\niterations = 1";
const ACCOUNTS: &str = "[[routes]]\npath = \"/auth/*\"\nidentity = true\n\
                        [[routes]]\npath = \"/mine\"\nservice = \"a\"\nauth = \"identity\"\n";

fn with(addr: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)]) -> Response {
    let request = headers.iter().fold(Request::new(method, path), |request, (n, v)| request.header(n, v));
    Client::new(addr).send(&request)
}

fn bearer(addr: SocketAddr, path: &str, token: &str) -> Response {
    with(addr, "GET", path, &[("Authorization", &format!("Bearer {token}"))])
}

fn post(addr: SocketAddr, path: &str, body: &Value) -> Response {
    let request =
        Request::new("POST", path).header("Content-Type", "application/json").body(body.to_string());
    Client::new(addr).send(&request)
}

fn account(email: &str) -> Value {
    json!({ "email": email, "password": PASSWORD })
}

fn register(addr: SocketAddr, email: &str) {
    let answer = post(addr, "/auth/register", &account(email));
    assert_eq!(answer.status, 201, "{}", answer.text());
}

/// The access token and the refresh token of a new session.
fn login(addr: SocketAddr, email: &str) -> (String, String) {
    let answer = post(addr, "/auth/login", &account(email));
    assert_eq!(answer.status, 200, "{}", answer.text());
    let text = |name: &str| answer.json()[name].as_str().unwrap().to_owned();
    (text("access_token"), text("refresh_token"))
}

fn logout(addr: SocketAddr, token: &str) -> u16 {
    with(addr, "POST", "/auth/logout", &[("Authorization", &format!("Bearer {token}"))]).status
}

/// A token signed with a configured secret.
fn minted(gateway: &Gateway, claims: &[&str]) -> String {
    let mut command = std::process::Command::new(EXE);
    command.args(["token", "--auth", "shop", "--config"]).arg(gateway.dir().join("gateway.toml"));
    for claim in claims {
        command.args(["--claim", claim]);
    }
    String::from_utf8(command.output().unwrap().stdout).unwrap().trim().to_owned()
}

fn code(answer: &Response) -> String {
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    body["code"].as_str().unwrap_or_default().to_owned()
}

/// Six clients that go on asking with a token.
fn load(gateways: &[Gateway], path: &'static str, token: &str) -> Load {
    let addrs: Vec<_> = gateways.iter().map(Gateway::addr).collect();
    let authorization = format!("Bearer {token}");
    Load::start(&addrs, 6, Duration::from_millis(25), move |_| {
        Request::get(path).header("Authorization", &authorization)
    })
}

/// One line of figures; fails where a request was not served.
fn all_served(what: &str, seen: &[Seen]) {
    let [median, p99, longest] = [0.5, 0.99, 1.0].map(|share| Seen::took(seen, share));
    println!("{what}: {} requests, median {median:?}, p99 {p99:?}, longest {longest:?}", seen.len());
    let other: Vec<_> = seen.iter().filter(|one| one.status != Some(200)).take(5).collect();
    let first = seen.iter().map(|one| one.at).min().unwrap();
    let at: Vec<_> = other.iter().map(|one| (one.client, one.at.duration_since(first), one.status)).collect();
    assert!(other.is_empty(), "{what}: {} of {} served; {at:?}", Seen::with(seen, 200), seen.len());
}

/// Ends them and searches all they wrote for what must not be there.
fn no_secret_was_written(gateways: impl IntoIterator<Item = Gateway>, secrets: &[&str]) {
    for gateway in gateways {
        let path = gateway.dir().join("access.log");
        let before = std::fs::read_to_string(&path).unwrap_or_default().len();
        assert_eq!(get(gateway.addr(), "/the-last-line").status, 404);
        let log = wait_until("the access log to be written", SOON, || {
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            (text.len() > before && text.contains("the-last-line")).then_some(text)
        });
        let finished = gateway.stop();
        for secret in secrets {
            assert!(secret.len() > 7, "`{secret}` could be anywhere");
            for (place, text) in [
                ("the access log", &log),
                ("standard error", &finished.stderr),
                ("standard output", &finished.stdout),
            ] {
                let line = text.lines().find(|line| line.contains(secret));
                assert_eq!(line, None, "a secret stands in {place}");
            }
        }
    }
}

#[test]
fn what_is_revoked_on_one_is_refused_on_the_other_within_a_second_under_load() {
    let (upstream, redis, postgres) = (Upstream::named("a"), Redis::start(), PostgresServer::start());
    // Redis is there all the time, so no answer of it is too late.
    let tables = store(&redis, Duration::from_secs(2))
        + &identity(&postgres, CHEAP)
        + &format!(
            "[auth.jwt.shop]\nsecret = \"{SHARED_SECRET}\"\nrevocation = \"push\"\n[auth.api_keys.partners]\n"
        );
    let routes = ACCOUNTS.to_owned()
        + "[[routes]]\npath = \"/pushed\"\nservice = \"a\"\nauth = \"shop\"\n\
           [[routes]]\npath = \"/keyed\"\nservice = \"a\"\nauth = \"partners\"\n";
    let gateways = [(); 2].map(|()| gateway(&upstream, &tables, &routes));
    let [one, other] = gateways.each_ref().map(Gateway::addr);
    register(one, "ada@example.org");
    let (mine, refresh) = login(one, "ada@example.org");
    let pushed = minted(&gateways[0], &["sub=ada"]);
    let loads = [load(&gateways, "/mine", &mine), load(&gateways, "/pushed", &pushed)];
    let mut secrets = vec![mine, refresh, pushed];
    let mut known = BTreeMap::<&str, Vec<Duration>>::new();
    let mut refused = |what: &'static str, since: Instant, ask: &dyn Fn() -> Response| {
        let answer = wait_until(what, SOON, || Some(ask()).filter(|answer| answer.status == 401));
        known.entry(what).or_default().push(since.elapsed());
        answer
    };
    for round in 0..10 {
        let (from, to) = if round % 2 == 0 { (one, other) } else { (other, one) };
        let (token, refresh) = login(from, "ada@example.org");
        let known = bearer(to, "/mine", &token);
        assert_eq!(known.status, 200, "{}", known.text());
        assert_eq!(logout(from, &token), 204);
        let answer = refused("logout", Instant::now(), &|| bearer(to, "/mine", &token));
        assert_eq!(code(&answer), "revoked-token");
        assert_eq!(bearer(from, "/mine", &token).status, 401);
        let renewed = post(to, "/auth/refresh", &json!({ "refresh_token": refresh }));
        assert_eq!(renewed.status, 401, "{}", renewed.text());
        secrets.extend([token, refresh]);

        let session = format!("session-{round}");
        let token = minted(&gateways[0], &["sub=eve", &format!("sid={session}")]);
        assert_eq!(bearer(other, "/pushed", &token).status, 200);
        let told = post(gateways[0].admin(), "/revoke", &json!({ "session": session }));
        assert_eq!(told.status, 200, "{}", told.text());
        refused("revocation by push", Instant::now(), &|| bearer(other, "/pushed", &token));
        secrets.push(token);

        let made = post(gateways[0].admin(), "/keys/partners", &json!({ "id": format!("key-{round}") }));
        let made = made.json()["key"].as_str().unwrap().to_owned();
        let keyed = |addr| with(addr, "GET", "/keyed", &[("X-API-Key", &made)]);
        let since = Instant::now();
        wait_until("the key at the other", SOON, || (keyed(other).status == 200).then_some(()));
        assert!(since.elapsed() < LATE, "{:?}", since.elapsed());
        let path = format!("/keys/partners/key-{round}");
        assert_eq!(with(gateways[0].admin(), "DELETE", &path, &[]).status, 200);
        refused("deletion of a key", Instant::now(), &|| keyed(other));
        secrets.push(made);
    }
    for (load, what) in loads.into_iter().zip(["sessions", "tokens"]) {
        all_served(what, &load.stop());
    }
    for (what, mut after) in known {
        after.sort_unstable();
        println!("{what}: refused on the other after {after:?}");
        // One of them may have had to wait for its turn on a busy machine.
        let (most, longest) = (after[after.len() * 4 / 5], after[after.len() - 1]);
        assert!(most < Duration::from_secs(1) && longest < LATE, "{what}: {after:?}");
    }
    let mut secrets: Vec<_> = secrets.iter().map(String::as_str).collect();
    secrets.extend([PASSWORD, KEY_SECRET, SHARED_SECRET]);
    no_secret_was_written(gateways, &secrets);
}

#[test]
fn tokens_are_verified_and_given_while_redis_is_killed_stalled_and_restarted() {
    let (upstream, mut redis, postgres) = (Upstream::named("a"), Redis::start(), PostgresServer::start());
    let tables = store(&redis, STORE) + &identity(&postgres, CHEAP);
    let gateways = [(); 2].map(|()| gateway(&upstream, &tables, ACCOUNTS));
    let [one, other] = gateways.each_ref().map(Gateway::addr);
    register(one, "ada@example.org");
    let (mine, _) = login(one, "ada@example.org");
    let (ended, _) = login(one, "ada@example.org");
    assert_eq!(logout(one, &ended), 204);
    for addr in [one, other] {
        wait_until("the logout", SOON, || (bearer(addr, "/mine", &ended).status == 401).then_some(()));
    }
    let load = load(&gateways, "/mine", &mine);
    let mut tokens = vec![mine.clone(), ended.clone()];
    for how in ["killed", "stalled"] {
        sleep(Duration::from_secs(1));
        if how == "killed" {
            redis.kill()
        } else {
            redis.stall()
        }
        for addr in [one, other] {
            let (token, _) = login(addr, "ada@example.org");
            assert_eq!(bearer(addr, "/mine", &token).status, 200, "{how}: a new session");
            assert_eq!(bearer(addr, "/mine", &ended).status, 401, "{how}: known to be over");
            tokens.push(token);
        }
        sleep(FROZEN);
        if how == "killed" {
            redis.restart()
        } else {
            redis.resume()
        }
        sleep(Duration::from_secs(2));
        for addr in [one, other] {
            assert_eq!(bearer(addr, "/mine", &ended).status, 401, "{how}: still over when Redis is back");
        }
        let (token, _) = login(one, "ada@example.org");
        assert_eq!(logout(one, &token), 204);
        let since = Instant::now();
        wait_until("the other to know", SOON, || {
            (bearer(other, "/mine", &token).status == 401).then_some(())
        });
        println!("{how}: known to the other {:?} after a logout", since.elapsed());
        assert!(since.elapsed() < LATE, "{how}: {:?}", since.elapsed());
        tokens.push(token);
    }
    let seen = load.stop();
    all_served("Redis away twice", &seen);
    assert!(Seen::took(&seen, 1.0) < STORE + SLACK, "longest {:?}", Seen::took(&seen, 1.0));
    let mut secrets: Vec<_> = tokens.iter().map(String::as_str).collect();
    secrets.extend([PASSWORD, KEY_SECRET]);
    no_secret_was_written(gateways, &secrets);
}

#[test]
fn while_postgres_is_away_tokens_are_verified_and_logins_are_told_so_in_time() {
    let (upstream, redis, mut postgres) = (Upstream::named("a"), Redis::start(), PostgresServer::start());
    let timeout = format!("database_timeout = \"{DATABASE:?}\"");
    let tables =
        store(&redis, STORE) + &identity(&postgres, CHEAP).replace("database_timeout = \"10s\"", &timeout);
    let gateways = [(); 2].map(|()| gateway(&upstream, &tables, ACCOUNTS));
    let [one, other] = gateways.each_ref().map(Gateway::addr);
    register(one, "ada@example.org");
    let (mine, refresh) = login(one, "ada@example.org");
    let load = load(&gateways, "/mine", &mine);
    for how in ["killed", "stalled"] {
        sleep(Duration::from_millis(500));
        if how == "killed" {
            postgres.kill()
        } else {
            postgres.stall()
        }
        for addr in [one, other, one] {
            let since = Instant::now();
            let answer = post(addr, "/auth/login", &account("ada@example.org"));
            let took = since.elapsed();
            println!("{how}: login answered {} {} after {took:?}", answer.status, code(&answer));
            assert_eq!((answer.status, code(&answer).as_str()), (503, "store-unavailable"), "{how}");
            assert!(took < DATABASE + SLACK, "{how}: {took:?}");
        }
        if how == "killed" {
            postgres.restart()
        } else {
            postgres.resume()
        }
        for addr in [one, other] {
            wait_until("logins to work again", SOON, || {
                let answer = post(addr, "/auth/login", &account("ada@example.org"));
                (answer.status == 200).then_some(())
            });
        }
    }
    let renewed = post(other, "/auth/refresh", &json!({ "refresh_token": refresh }));
    assert_eq!(renewed.status, 200, "a session from before lives on: {}", renewed.text());
    all_served("PostgreSQL away twice", &load.stop());
    no_secret_was_written(gateways, &[&mine, &refresh, PASSWORD, KEY_SECRET]);
}

#[test]
fn a_flood_of_logins_does_not_stop_what_is_proxied() {
    const LOGINS: usize = 60;
    let (upstream, postgres) = (Upstream::named("a"), PostgresServer::start());
    // About what a hash costs when it is not compiled for debugging.
    let password = "memory = \"1MiB\"\niterations = 1\nmax_parallel = 1\nmax_queued = 400";
    // All come from one address, for one account.
    let tables = identity(&postgres, password)
        .replace("registrations = 1000", "account_attempts = 1000\naddress_attempts = 1000");
    let gateway = gateway(&upstream, &tables, ACCOUNTS);
    let addr = gateway.addr();
    register(addr, "ada@example.org");
    let (mine, _) = login(addr, "ada@example.org");
    let load = load(std::slice::from_ref(&gateway), "/mine", &mine);
    sleep(Duration::from_secs(3));
    let quiet = load.seen();
    let started = Instant::now();
    let logins: Vec<_> = (0..LOGINS)
        .map(|_| std::thread::spawn(move || post(addr, "/auth/login", &account("ada@example.org")).status))
        .collect();
    let statuses: Vec<_> = logins.into_iter().map(|login| login.join().unwrap()).collect();
    let took = started.elapsed();
    let seen = load.stop();
    let (_, during): (Vec<_>, Vec<_>) = seen.iter().copied().partition(|one| one.at < started);
    let good = statuses.iter().filter(|status| **status == 200).count();
    let rate = |seen: usize, time: Duration| seen as f64 / time.as_secs_f64();
    println!(
        "{good} of {LOGINS} logins in {took:?}; proxied before: {:.0}/s, median {:?}, p99 {:?}; during: {:.0}/s, \
         median {:?}, p99 {:?}; the median is {:.1} times as long",
        rate(quiet.len(), Duration::from_secs(3)),
        Seen::took(&quiet, 0.5),
        Seen::took(&quiet, 0.99),
        rate(during.len(), took),
        Seen::took(&during, 0.5),
        Seen::took(&during, 0.99),
        Seen::took(&during, 0.5).as_secs_f64() / Seen::took(&quiet, 0.5).as_secs_f64(),
    );
    // Where the machine has other work, some wait too long for their turn and are told so.
    assert!(good > 0 && statuses.iter().all(|status| matches!(status, 200 | 503)), "{statuses:?}");
    all_served("proxied", &seen);
    assert!(rate(during.len(), took) > 0.1 * rate(quiet.len(), Duration::from_secs(3)), "it went on");
    no_secret_was_written([gateway], &[&mine, PASSWORD, KEY_SECRET]);
}
