//! Gateways that share limits, answers and purges over Redis as operators run it: in a cluster, with sentinels, with TLS
//! and a user of its own. (One plain server: `cluster_limits.rs` and `cluster_cache.rs`.)
#![allow(clippy::unwrap_used)]

use gateway_testkit::{
    Authority, Client, Gateway, Redis, RedisCluster, RedisSentinel, Reply, Request, Response, Upstream,
    free_port, get, wait_until,
};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(20);
/// What the limit admits, of both gateways together.
const ADMITTED: usize = 10;

fn upstream() -> Upstream {
    Upstream::start(|request| {
        let fields = [("Cache-Control", "public, max-age=600"), ("Surrogate-Key", "things")];
        Reply::with(200, &fields, &request.target)
    })
}

/// Two on the store that these lines describe.
fn pair(upstream: &Upstream, redis: &str) -> [Gateway; 2] {
    let config = format!(
        "access_log = false\n[server]\nlisten = \"127.0.0.1:@PORT@\"\nworkers = 2\nwatch = false\n\
         [admin]\nlisten = \"127.0.0.1:@ADMIN@\"\n[store.redis]\ntimeout = \"5s\"\n{redis}\n\
         [rate_limits.shared]\nlimit = \"{ADMITTED}/h\"\nkey = {{ header = \"X-Caller\" }}\n\
         [services.a]\nendpoints = [\"{}\"]\n\
         [[routes]]\npath = \"/limited\"\nservice = \"a\"\nrate_limit = \"shared\"\n\
         [[routes]]\npath = \"/*\"\nservice = \"a\"\ncache = {{ purge = {{ networks = [\"127.0.0.1/32\"] }} }}\n",
        upstream.url()
    );
    [(); 2].map(|()| Gateway::builder(env!("CARGO_BIN_EXE_gateway")).config(&config).start())
}

/// How many of twice as many as the limit admits pass, sent to both in turn.
fn admitted(gateways: &[Gateway; 2], caller: &str) -> usize {
    let answers = (0..2 * ADMITTED).map(|turn| {
        let request = Request::get("/limited").header("X-Caller", caller);
        Client::new(gateways[turn % 2].addr()).send(&request)
    });
    let statuses: Vec<_> = answers.map(|answer| answer.status).collect();
    assert!(statuses.iter().all(|status| [200, 429].contains(status)), "{statuses:?}");
    statuses.into_iter().filter(|status| *status == 200).count()
}

fn is_hit(answer: &Response) -> bool {
    answer.header("cache-status").is_some_and(|status| status.contains("; hit"))
}

/// What one has, the other answers with: written behind the answer, so it may take a moment.
fn is_shared(gateways: &[Gateway; 2], upstream: &Upstream, name: &str) {
    let mut turn = 0;
    let path = wait_until("a hit at the other", SOON, || {
        turn += 1;
        let path = format!("/{name}/{turn}");
        assert!(!is_hit(&get(gateways[0].addr(), &path)));
        std::thread::sleep(Duration::from_millis(20 * turn));
        let before = upstream.hits();
        (is_hit(&get(gateways[1].addr(), &path)) && upstream.hits() == before).then_some(path)
    });
    let purge = Request::new("PURGE", "/").header("Surrogate-Key", "things");
    assert_eq!(Client::new(gateways[1].addr()).send(&purge).status, 200);
    wait_until("the purge to reach the first", SOON, || {
        (!is_hit(&get(gateways[0].addr(), &path))).then_some(())
    });
}

fn all_is_shared(gateways: &[Gateway; 2], upstream: &Upstream) {
    assert_eq!(admitted(gateways, "ada"), ADMITTED);
    is_shared(gateways, upstream, "first");
}

fn list(urls: &[String]) -> String {
    format!("[{}]", urls.iter().map(|url| format!("\"{url}\"")).collect::<Vec<_>>().join(", "))
}

#[test]
fn gateways_share_a_cluster_and_one_of_its_nodes_may_restart() {
    let (upstream, mut cluster) = (upstream(), RedisCluster::start());
    let gateways = pair(&upstream, &format!("cluster = {}", list(&cluster.urls())));
    all_is_shared(&gateways, &upstream);
    cluster.nodes[0].kill();
    // Whether a caller's count was on it or not: all are answered.
    for caller in ["b", "c", "d", "e"] {
        admitted(&gateways, caller);
    }
    cluster.nodes[0].restart();
    cluster.wait_until_whole();
    let mut turn = 0;
    wait_until("one count for both again", SOON, || {
        turn += 1;
        (admitted(&gateways, &format!("back{turn}")) == ADMITTED).then_some(())
    });
}

#[test]
fn gateways_share_what_sentinels_watch_and_go_on_after_a_fail_over() {
    let (upstream, mut group) = (upstream(), RedisSentinel::start());
    let sentinel =
        format!("sentinel = {{ urls = [\"{}\"], master = \"{}\" }}", group.url(), RedisSentinel::MASTER);
    let gateways = pair(&upstream, &sentinel);
    all_is_shared(&gateways, &upstream);
    group.servers[0].kill();
    admitted(&gateways, "meanwhile");
    group.wait_for_master(1);
    let mut turn = 0;
    wait_until("one count for both on the new master", SOON, || {
        turn += 1;
        (admitted(&gateways, &format!("after{turn}")) == ADMITTED).then_some(())
    });
    is_shared(&gateways, &upstream, "after");
}

#[test]
fn gateways_share_over_tls_as_the_user_that_the_docs_grant() {
    let authority = Authority::of(&["localhost", "client"]);
    let file = |name: &str| authority.file(name).display().to_string();
    let port = free_port();
    let tls = |option: &'static str, value: &str| [option.to_owned(), value.to_owned()];
    let arguments = [
        tls("--tls-port", &port.to_string()),
        tls("--tls-cert-file", &file("localhost.pem")),
        tls("--tls-key-file", &file("localhost.key")),
        tls("--tls-ca-cert-file", &file("ca.pem")),
        tls("--tls-auth-clients", "yes"),
    ];
    let arguments: Vec<_> = arguments.iter().flatten().map(String::as_str).collect();
    let redis = Redis::start_with(&arguments);
    let docs = include_str!("../../../docs/operations.md");
    let granted = docs.lines().find(|line| line.starts_with("ACL SETUSER gateway ")).unwrap();
    // Only a cluster's servers know that command.
    let granted = granted.replace("PASSWORD", "secret").replace(" +cluster|slots", "");
    let answer = format!("{:?}", redis.command(&granted.split(' ').collect::<Vec<_>>()));
    assert!(answer.contains("OK"), "{answer}");

    let settings = format!(
        "url = \"rediss://localhost:{port}\"\nusername = \"gateway\"\npassword = \"secret\"\nca_file = \"{}\"\n\
         client_certificate_file = \"{}\"\nclient_key_file = \"{}\"",
        file("ca.pem"),
        file("client.pem"),
        file("client.key")
    );
    let upstream = upstream();
    let gateways = pair(&upstream, &settings);
    all_is_shared(&gateways, &upstream);
    // Whether Redis forgets keys early may stay its secret; all else is granted.
    let log = format!("{:?}", redis.command(&["ACL", "LOG"]));
    let mut refused = log.split("Text(\"count\")").filter(|entry| entry.contains("Text(\"command\")"));
    assert!(refused.all(|entry| entry.contains("Text(\"config|get\")")), "{log}");
}
