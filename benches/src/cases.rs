//! The cases: what is measured by time, by allocations and once by `cargo test`.

use crate::parts::{Answer, ask, now, request};
use bytes::BytesMut;
use gateway_auth::{JwtLayer, JwtSettings, mint};
use gateway_balance::{Balance, BalanceSettings, EndpointSet, Strategy};
use gateway_cache::{CacheLayer, CacheSettings, CacheStore};
use gateway_core::Endpoint;
use gateway_core::units::{ByteSize, Timespan};
use gateway_http1::{parse_request, parse_response, put_field, put_length};
use gateway_observe::{AccessLog, AccessLogSettings, Metrics, ObserveLayer, RouteLabels, prometheus};
use gateway_overload::{
    AdaptiveLimitLayer, AdaptiveSettings, AdmissionLayer, AdmissionSettings, ConcurrencyLimitLayer,
    ConcurrencySettings,
};
use gateway_ratelimit::{Algorithm, KeyedLimit, RateLimitLayer, RateLimitSettings, Rule};
use gateway_routing::{RouteMatch, RouteTable};
use gateway_server::{Drain, Limits, serve_connection};
use gateway_store::Store;
use gateway_transform::{
    CorrelationIdLayer, CorrelationIdSettings, CorsLayer, CorsSettings, ForwardedLayer, ForwardedSettings,
    HeaderRules, HeadersLayer, NormalizeSettings, SecurityHeadersLayer, SecurityHeadersSettings,
    StripPrefixLayer, normalize_path,
};
use http::{HeaderMap, HeaderValue, Method, Uri, header};
use serde_json::json;
use std::hint::black_box;
use std::rc::Rc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::LocalSet;
use tower::Layer;

/// Something that is done again and again.
pub struct Case {
    /// What it is about, such as `transform`.
    pub group: &'static str,
    /// Which of them.
    pub name: String,
    /// Does it once.
    pub run: Box<dyn FnMut()>,
}

impl std::fmt::Debug for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.group, self.name)
    }
}

fn case(group: &'static str, name: impl Into<String>, run: impl FnMut() + 'static) -> Case {
    Case { group, name: name.into(), run: Box::new(run) }
}

/// All of them. To be made and run within a tokio runtime that has a timer.
#[must_use]
pub fn cases() -> Vec<Case> {
    let groups = [routing, balance, http1, server, token, limit, cache, transform, observe, overload, store];
    groups.iter().flat_map(|group| group()).collect()
}

fn routing() -> Vec<Case> {
    let find = |count: usize| {
        let pattern = |i| RouteMatch::path(&format!("/api/service-{i}/*")).expect("a pattern");
        let table = RouteTable::build((0..count).map(|i| (pattern(i), i)).collect()).expect("no conflicts");
        let (path, headers) = (format!("/api/service-{}/items/42", count / 2), HeaderMap::new());
        case("route match", format!("{count} routes"), move || {
            black_box(table.look_up(&Method::GET, "shop.example", black_box(&path), &headers));
        })
    };
    [10, 1_000, 10_000].map(find).into()
}

fn balance() -> Vec<Case> {
    let set = |count: u16, strategy| {
        let endpoint = |i| Endpoint::parse(&format!("http://127.0.0.1:{}", 3000 + i)).expect("an endpoint");
        EndpointSet::new("bench", (0..count).map(endpoint).collect(), strategy)
    };
    let strategies =
        [Strategy::RoundRobin, Strategy::Random, Strategy::LeastRequest].map(|strategy| (8, strategy));
    let mut cases: Vec<_> = strategies
        .into_iter()
        .chain([(1_000, Strategy::RoundRobin), (1_000, Strategy::LeastRequest)])
        .map(|(count, strategy)| {
            let name = format!("pick, {strategy:?}, {count} endpoints");
            let set = set(count, strategy);
            case("balance", name, move || {
                black_box(set.pick_endpoint());
            })
        })
        .collect();
    let answer = Answer::of(128);
    let mut service =
        Balance::new(set(8, Strategy::RoundRobin), &BalanceSettings::default(), |_| answer.clone());
    cases.push(case("balance", "pick, budget and timeout", move || ask(&mut service, request(1))));
    cases
}

const ASKED: &[u8] =
    b"GET /api/items/42?page=2 HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: Mozilla/5.0\r\n\
    Accept: application/json\r\nAccept-Encoding: gzip, br\r\nOrigin: https://shop.example\r\n\r\n";
const ANSWERED: &[u8] = b"HTTP/1.1 200 OK\r\nServer: bench\r\nDate: Sat, 21 Nov 2026 03:00:00 GMT\r\n\
    Content-Type: application/json\r\nContent-Length: 128\r\n\r\n";

fn http1() -> Vec<Case> {
    let mut buffer = BytesMut::with_capacity(64 << 10);
    let parsed = case("http1", "parse a request, 5 fields", move || {
        buffer.extend_from_slice(ASKED);
        black_box(parse_request(&mut buffer, 64 << 10, 100).expect("a request").expect("all of it"));
    });
    let mut buffer = BytesMut::with_capacity(64 << 10);
    let answer = case("http1", "parse an answer, 4 fields", move || {
        buffer.extend_from_slice(ANSWERED);
        black_box(
            parse_response(&mut buffer, &Method::GET, 64 << 10).expect("an answer").expect("all of it"),
        );
    });
    let (mut out, fields) = (BytesMut::with_capacity(4096), request(1).headers().clone());
    let written = case("http1", "write a head, 4 fields and a length", move || {
        out.clear();
        fields.iter().for_each(|(name, value)| put_field(&mut out, name, value));
        put_length(&mut out, 128);
        black_box(&out);
    });
    vec![parsed, answer, written]
}

/// The server's codec over a pipe in memory; what is beside it is a task hop there and back.
fn server() -> Vec<Case> {
    let runtime = tokio::runtime::Handle::current();
    let local = LocalSet::new();
    let (mut client, io) = tokio::io::duplex(64 << 10);
    let limits = Rc::new(Limits::default());
    local.spawn_local(serve_connection(io, Answer::of(128), limits, Drain::default()));
    let mut buffer = vec![0; 4096];
    vec![case("server", "a request over HTTP/1.1, in memory", move || {
        let exchange = async {
            client.write_all(ASKED).await.expect("it listens");
            let mut length = 0;
            while !buffer[..length].ends_with(b"aaaa") {
                length += client.read(&mut buffer[length..]).await.expect("it answers");
            }
        };
        runtime.block_on(local.run_until(exchange));
    })]
}

fn token() -> Vec<Case> {
    let make = |(name, entries)| {
        let settings = JwtSettings {
            secret: Some("a secret for benchmarks, 32 bytes".into()),
            cache_entries: Some(entries),
            ..JwtSettings::default()
        };
        let token = mint(&settings, json!({ "sub": "ada", "exp": 4_102_444_800_u64 })).expect("a token");
        let bearer = HeaderValue::try_from(format!("Bearer {token}")).expect("a header");
        let mut service = JwtLayer::new(&settings, Store::memory()).expect("settings").layer(Answer::of(128));
        case("token", name, move || {
            let mut request = request(1);
            request.headers_mut().insert(header::AUTHORIZATION, bearer.clone());
            ask(&mut service, request);
        })
    };
    [("verified, HS256", 0), ("remembered", 1_000)].map(make).into()
}

/// So many that what is known of them does not fit a processor's caches. Where nothing is optimized there is no time to
/// tell.
const MANY: u32 = if cfg!(debug_assertions) { 100_000 } else { 1_000_000 };

/// A number below `count`, by chance (a linear congruential generator): what is asked for next is not near in memory.
fn any_below(count: u32, seed: &mut u64) -> u32 {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
    (((*seed >> 32) * u64::from(count)) >> 32) as u32
}

fn limit() -> Vec<Case> {
    let decide = |keys: u32| {
        let rule = Rule::new(&"1000000/s".parse().expect("a limit"), Algorithm::Gcra, Duration::ZERO);
        let limit = KeyedLimit::new(rule, keys as usize * 2);
        for key in 0..keys {
            assert!(!limit.decide(&key.to_be_bytes(), 1).is_refusal(), "the first of its key");
        }
        let mut seed = 1;
        case("limit", format!("decision alone, {keys} keys"), move || {
            black_box(limit.decide(&any_below(keys, &mut seed).to_be_bytes(), 1));
        })
    };
    let serve = |clients: u32| {
        let settings = RateLimitSettings {
            headers: false,
            max_keys: clients as usize * 2,
            ..RateLimitSettings::all("1000000/s".parse().expect("a limit"))
        };
        let mut service = RateLimitLayer::new("bench", &settings).expect("settings").layer(Answer::of(128));
        for client in 0..clients {
            ask(&mut service, request(client));
        }
        let mut next = 0u32;
        case("limit", format!("{clients} clients"), move || {
            // Every client in turn, but not one beside the other: 104 729 is prime.
            next = (next + 104_729) % clients;
            ask(&mut service, request(next));
        })
    };
    vec![decide(10_000), decide(MANY), serve(10_000), serve(MANY)]
}

fn cache() -> Vec<Case> {
    // What is asked for is there and fresh.
    let find = |count: u32| {
        let store = CacheStore::new(ByteSize::kib(1 << 20));
        let settings = CacheSettings::ttl(Timespan::secs(86_400));
        let layer = CacheLayer::new("bench", &settings, &store).expect("settings");
        let mut service = layer.clone().layer(Answer::of(128));
        let target = |i: u32| format!("/api/items/{i}?page=2").parse::<Uri>().expect("a target");
        for i in 0..count {
            let mut request = request(1);
            *request.uri_mut() = target(i);
            ask(&mut service, request);
        }
        // One request, as that of a client was read just now: what comes from memory is the answer. Its target is made anew,
        // which is measured too.
        let (mut request, mut seed) = (request(1), 1);
        case("cache", format!("key and hit alone, {count} answers"), move || {
            *request.uri_mut() = target(any_below(count, &mut seed));
            assert!(black_box(layer.fresh_for(&request)).is_some(), "it is stored");
        })
    };
    let make = |name, settings: Option<CacheSettings>| {
        let store = CacheStore::new(ByteSize::kib(16 << 10));
        let layer = CacheLayer::new("bench", &settings.unwrap_or_default(), &store).expect("settings");
        let mut service = layer.layer(Answer::of(1024));
        case("cache", name, move || ask(&mut service, request(1)))
    };
    vec![
        make("hit, 1 KiB", Some(CacheSettings::ttl(Timespan::secs(86_400)))),
        make("key and look-up, not to be stored", None),
        find(1),
        find(MANY / 10),
    ]
}

fn transform() -> Vec<Case> {
    let mut strip = StripPrefixLayer::new("/api").expect("a prefix").layer(Answer::of(128));
    let mut forwarded = ForwardedLayer::new(&ForwardedSettings::default()).layer(Answer::of(128));
    let correlation = CorrelationIdLayer::new(&CorrelationIdSettings::default()).expect("settings");
    let mut correlation = correlation.layer(Answer::of(128));
    let mut cors = CorsLayer::new(&CorsSettings::default()).expect("settings").layer(Answer::of(128));
    let security = SecurityHeadersLayer::new(&SecurityHeadersSettings::default()).expect("settings");
    let mut security = security.layer(Answer::of(128));
    let rules: HeaderRules = serde_json::from_value(json!({
        "request": { "remove": ["x-debug"], "set": { "x-tenant": "shop" } },
        "response": { "set": { "x-served-by": "gateway" } },
    }))
    .expect("rules");
    let mut headers = HeadersLayer::new(&rules).expect("rules").layer(Answer::of(128));
    let normalize = NormalizeSettings::default();
    let mut nothing = Answer::of(128);
    vec![
        case("transform", "nothing: what asking costs by itself", move || ask(&mut nothing, request(1))),
        case("transform", "normalize a path", move || {
            black_box(normalize_path(black_box("/api/items/42"), &normalize).expect("a path"));
        }),
        case("transform", "strip a prefix", move || ask(&mut strip, request(1))),
        case("transform", "forwarded headers", move || ask(&mut forwarded, request(1))),
        case("transform", "correlation id", move || ask(&mut correlation, request(1))),
        case("transform", "CORS", move || ask(&mut cors, request(1))),
        case("transform", "security headers", move || ask(&mut security, request(1))),
        case("transform", "header rules", move || ask(&mut headers, request(1))),
    ]
}

fn observe() -> Vec<Case> {
    let log = AccessLogSettings { path: Some("/dev/null".into()), ..AccessLogSettings::default() };
    let log = AccessLog::open(&log).expect("a log");
    let metrics = || Some(Metrics::new(prometheus().expect("a recorder").0));
    let labels = RouteLabels { endpoint: "/api/*".into(), service: "bench".into() };
    let mut counted = ObserveLayer::new(labels.clone(), metrics(), None).layer(Answer::of(128));
    let mut written = ObserveLayer::new(labels, metrics(), Some(log.lines())).layer(Answer::of(128));
    vec![
        case("observe", "metrics", move || ask(&mut counted, request(1))),
        case("observe", "metrics and a line of the log", move || {
            let _open = &log;
            ask(&mut written, request(1));
        }),
    ]
}

fn overload() -> Vec<Case> {
    let concurrency = |settings: ConcurrencySettings| {
        ConcurrencyLimitLayer::new(&settings).expect("settings").layer(Answer::of(128))
    };
    let mut all = concurrency(ConcurrencySettings::all(100));
    let by_client = json!({ "max": 100, "key": "client_ip" });
    let mut by_client = concurrency(serde_json::from_value(by_client).expect("settings"));
    let adaptive = AdaptiveLimitLayer::new(&AdaptiveSettings::default()).expect("settings");
    let mut adaptive = adaptive.layer(Answer::of(128));
    let admission = AdmissionLayer::new(&AdmissionSettings::default()).expect("settings");
    let mut admission = admission.layer(Answer::of(128));
    vec![
        case("overload", "concurrency, of all", move || ask(&mut all, request(1))),
        case("overload", "concurrency, of each client", move || ask(&mut by_client, request(1))),
        case("overload", "adaptive limit", move || ask(&mut adaptive, request(1))),
        case("overload", "admission", move || ask(&mut admission, request(1))),
    ]
}

fn store() -> Vec<Case> {
    let store = Store::memory();
    let keys: Vec<_> = (0..10_000).map(|i| format!("token:{i}")).collect();
    for key in &keys {
        now(store.set(key, b"valid", Duration::from_secs(86_400))).expect("memory");
    }
    let mut next = 0;
    vec![case("store", "get from memory, 10 000 keys", move || {
        next = (next + 7_919) % keys.len();
        black_box(now(store.get(&[&keys[next]])).expect("memory"));
    })]
}
