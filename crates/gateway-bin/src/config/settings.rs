//! The configuration file as it is written: tables of the crates' own settings, put together.

mod auth;
mod names;
mod route;

pub(crate) use auth::{AUTH_KINDS, AuthSettings, RouteAuthSettings};
pub(crate) use names::Names;
pub(crate) use route::{Policies, PolicySet, RouteSettings};

use gateway_auth::{AssertionSettings, CedarSettings, OutboundSettings};
use gateway_balance::{BalanceSettings, HealthSettings, PolicySettings, RetrySettings, TimeoutSettings};
use gateway_core::units::{ByteSize, Scalar, Short, ShortForm, Switch, Timespan};
use gateway_core::{Network, ProblemFormat, ProxyStatus};
use gateway_identity::IdentitySettings;
use gateway_observe::AccessLogSettings;
use gateway_overload::{AdaptiveSettings, AdmissionSettings};
use gateway_ratelimit::RateLimitSettings;
use gateway_server::{Limits, ListenAddress};
use gateway_store::StoreSettings;
use gateway_transform::{ForwardedSettings, NormalizeSettings, UnderscoreHeaders, ViaSettings};
use gateway_upstream::UpstreamSettings;
use schemars::JsonSchema;
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::num::NonZeroUsize;

/// The whole configuration.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(title = "Gateway configuration")]
pub(crate) struct Settings {
    /// Where the schema of this file is, for editors. The gateway does not look at it.
    #[serde(rename = "$schema")]
    pub(crate) schema: Option<String>,
    /// Where clients connect, and what they may cost.
    pub(crate) server: ServerSettings,
    /// Where operators look. Off unless given.
    pub(crate) admin: Option<AdminSettings>,
    /// What the gateway says of itself, on standard error.
    pub(crate) log: LogSettings,
    /// One line per request: `false`, `true` (standard output), a file's path, or a table. Default: standard output.
    pub(crate) access_log: AccessLogSwitch,
    /// Request metrics at the admin listener's `/metrics`. Default true.
    pub(crate) metrics: Metrics,
    /// How the gateway's own answers look.
    pub(crate) errors: ErrorSettings,
    /// State shared between instances. Default: in memory.
    pub(crate) store: StoreSettings,
    /// One path for matching, policies and upstreams.
    pub(crate) normalize: NormalizeSettings,
    /// Which proxies in front of the gateway are believed, and what upstreams are told.
    pub(crate) forwarded: ForwardedSettings,
    /// Request headers with underscores, which some services take for dashes: `keep`, `delete` or `reject`.
    /// Default `keep`; those that say who calls are removed in any case.
    pub(crate) underscore_headers: UnderscoreHeaders,
    /// `Via` towards upstreams: `true`, a name, or a table. Default: none.
    pub(crate) via: Option<Short<ViaSettings>>,
    /// Whether answers say in `Server-Timing` how long the service took, in milliseconds, and how long the gateway: whoever
    /// can ask learns that. Default false.
    pub(crate) server_timing: bool,
    /// Where routes with a `cache` keep answers.
    pub(crate) cache: CacheStoreSettings,
    /// What all routes get unless they say otherwise.
    pub(crate) defaults: PolicySet,
    /// Upstream services by name.
    pub(crate) services: BTreeMap<String, ServiceSettings>,
    /// Ways to authenticate, by name.
    pub(crate) auth: AuthSettings,
    /// Policies in Cedar, by the name that `authorize.cedar` uses. Only in a gateway built with the feature `cedar`.
    pub(crate) cedar: BTreeMap<String, CedarSettings>,
    /// Accounts, sessions and the tokens they are given. Routes with `identity = true` serve them; `auth = "identity"`
    /// lets pass who has such a token. Off unless given; read at start.
    pub(crate) identity: Option<IdentitySettings>,
    /// Tokens that tell services with `assertion = true` who calls, signed by the gateway: `true`, the name of the issuer,
    /// or a table. Default `false`.
    pub(crate) assertion: Switch<AssertionSettings>,
    /// Rate limits by name: `"100/min"` or a table.
    pub(crate) rate_limits: BTreeMap<String, Short<RateLimitSettings>>,
    /// What some routes have in common, by name. A route's own settings come before its group's, those before
    /// [defaults].
    pub(crate) groups: BTreeMap<String, PolicySet>,
    /// The routes. The most specific one that matches wins, whatever their order.
    #[serde(deserialize_with = "in_one_go")]
    pub(crate) routes: Vec<RouteSettings>,
}

/// What is only read at start.
#[derive(Clone)]
pub(crate) struct StartSettings {
    listen: ListenAddress,
    workers: Option<NonZeroUsize>,
    max_upstream: Option<NonZeroUsize>,
    admin: Option<SocketAddr>,
    level: LogLevel,
    access_log: AccessLogSwitch,
    metrics: Metrics,
    store: StoreSettings,
    identity: Option<IdentitySettings>,
}

impl StartSettings {
    pub(crate) fn of(settings: &Settings) -> Self {
        Self {
            listen: settings.server.listen.clone(),
            workers: settings.server.workers,
            max_upstream: settings.server.max_upstream_connections,
            admin: settings.admin.as_ref().map(|admin| admin.listen),
            level: settings.log.level,
            access_log: settings.access_log.clone(),
            metrics: settings.metrics,
            store: settings.store.clone(),
            identity: settings.identity.clone(),
        }
    }

    /// The keys that other settings have different.
    pub(crate) fn differing_keys(&self, settings: &Settings) -> Vec<&'static str> {
        let other = Self::of(settings);
        let differs = [
            ("server.listen", self.listen != other.listen),
            ("server.workers", self.workers != other.workers),
            ("server.max_upstream_connections", self.max_upstream != other.max_upstream),
            ("admin.listen", self.admin != other.admin),
            ("log.level", self.level != other.level),
            ("access_log", self.access_log != other.access_log),
            ("metrics", self.metrics != other.metrics),
            ("store", self.store != other.store),
            ("identity", self.identity != other.identity),
        ];
        differs.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key).collect()
    }
}

/// Reads a list into memory that is taken once. Serde takes at most 1 MiB at first and then doubles it, which copies a
/// list of many routes again and again.
fn in_one_go<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    /// A hint beyond this is not believed.
    const MOST: usize = 1 << 17;
    struct List<T>(PhantomData<T>);
    impl<'de, T: Deserialize<'de>> Visitor<'de> for List<T> {
        type Value = Vec<T>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a sequence")
        }
        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<T>, A::Error> {
            let mut list = Vec::with_capacity(seq.size_hint().unwrap_or(0).min(MOST));
            while let Some(element) = seq.next_element()? {
                list.push(element);
            }
            Ok(list)
        }
    }
    deserializer.deserialize_seq(List(PhantomData))
}

/// The access log, on by default.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(transparent)]
pub(crate) struct AccessLogSwitch(pub(crate) Switch<AccessLogSettings>);

impl Default for AccessLogSwitch {
    fn default() -> Self {
        Self(Switch::On(AccessLogSettings::default()))
    }
}

/// A switch that is on by default.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(transparent)]
pub(crate) struct Metrics(pub(crate) bool);

impl Default for Metrics {
    fn default() -> Self {
        Self(true)
    }
}

/// Where clients connect, and what they may cost.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ServerSettings {
    /// Address and port, or `unix:/path/of.sock` (`unix:/path/of.sock,mode=0666`). Default `127.0.0.1:8080`.
    #[serde(deserialize_with = "listen_address")]
    #[schemars(with = "String")]
    pub(crate) listen: ListenAddress,
    /// Networks of load balancers whose connections begin with a PROXY protocol header (v1 or v2), which says who
    /// the client is: `10.0.0.0/8`, or the address `192.0.2.7`. Default: none.
    pub(crate) proxy_protocol: Vec<Network>,
    /// Threads that serve requests, each with its own connections. Default: one per core.
    pub(crate) workers: Option<NonZeroUsize>,
    /// How many clients may be connected at once, to all workers together; the next wait until one leaves. Default: half of
    /// the files that the process may have open (`ulimit -Hn`), less 32 and 8 for each worker.
    pub(crate) max_connections: Option<NonZeroUsize>,
    /// How many connections one address may have at once (IPv6: one /64); the next are closed. Behind `proxy_protocol` that
    /// is the client's address. Default: any number.
    pub(crate) max_connections_per_address: Option<NonZeroUsize>,
    /// How many connections there may be to all endpoints of all services together; beside them
    /// `services.NAME.connection.max_connections` holds for each endpoint. Read at start. Default: any number.
    pub(crate) max_upstream_connections: Option<NonZeroUsize>,
    /// How long a client may take to send a request's head; then 408. Default `10s`.
    pub(crate) header_timeout: Timespan,
    /// The largest request head; over it the answer is 431. Default `64KiB`.
    pub(crate) max_head: ByteSize,
    /// The most header fields in a request; over it the answer is 431. Default 100.
    pub(crate) max_headers: usize,
    /// How long requests may take to finish at shutdown. Default `10s`.
    pub(crate) drain_timeout: Timespan,
    /// How long connections are still accepted at shutdown after `/readyz` has begun to say no, so that a load
    /// balancer can notice. Default `0s`.
    pub(crate) drain_delay: Timespan,
    /// Whether the configuration is read again when its file changes. Default true; SIGHUP always does.
    pub(crate) watch: bool,
    /// How long a kept-alive connection may idle. Default `60s`.
    pub(crate) idle_timeout: Timespan,
    /// How long a client may send nothing of a body that is waited for; then 408. Calls of gRPC have `tunnel_timeout`, and
    /// once their answer has begun as long as they like. Default `30s`.
    pub(crate) body_timeout: Timespan,
    /// How much of a body a client must send in each second in which it is waited for, on average; one that is behind
    /// by all of `body_timeout` is answered 408. Calls of gRPC, and bodies whose answer has begun, are exempt. `0B` has
    /// silence alone count. Default `240B` (Kestrel's).
    pub(crate) min_body_rate: ByteSize,
    /// How long a client may take nothing of its answer; then it is disconnected. Default `30s`.
    pub(crate) write_timeout: Timespan,
    /// How long a WebSocket or other tunnel may be silent in both directions, the client of a gRPC call that has no answer
    /// yet, and an answer over HTTP/1.1 whose client has sent 32 KiB or more behind its request. Default `5m`.
    pub(crate) tunnel_timeout: Timespan,
    /// How long a WebSocket or other tunnel may last, whatever goes through it, by chance up to a tenth less; then a
    /// WebSocket is sent Close 1001 and has 5 s to end, and any other tunnel is closed. Default: as long as both sides
    /// like.
    pub(crate) tunnel_max_age: Option<Timespan>,
    /// The most requests at once on one HTTP/2 connection. Default 100.
    pub(crate) max_streams: u32,
}

fn listen_address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ListenAddress, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(serde::de::Error::custom)
}

impl ServerSettings {
    /// What one client connection may cost.
    pub(crate) fn limits(&self) -> Limits {
        Limits {
            max_head: usize::try_from(self.max_head.bytes()).unwrap_or(usize::MAX),
            max_headers: self.max_headers,
            header_timeout: *self.header_timeout,
            idle_timeout: *self.idle_timeout,
            body_timeout: *self.body_timeout,
            min_body_rate: self.min_body_rate.bytes(),
            write_timeout: *self.write_timeout,
            tunnel_timeout: *self.tunnel_timeout,
            tunnel_max_age: self.tunnel_max_age.map(|age| *age),
            max_streams: self.max_streams,
        }
    }
}

impl Default for ServerSettings {
    fn default() -> Self {
        Self {
            listen: ListenAddress::Tcp(SocketAddr::from(([127, 0, 0, 1], 8080))),
            proxy_protocol: Vec::new(),
            workers: None,
            max_connections: None,
            max_connections_per_address: None,
            max_upstream_connections: None,
            header_timeout: Timespan::secs(10),
            max_head: ByteSize::kib(64),
            max_headers: 100,
            drain_timeout: Timespan::secs(10),
            drain_delay: Timespan::secs(0),
            watch: true,
            idle_timeout: Timespan::secs(60),
            body_timeout: Timespan::secs(30),
            min_body_rate: ByteSize(240),
            write_timeout: Timespan::secs(30),
            tunnel_timeout: Timespan::secs(300),
            tunnel_max_age: None,
            max_streams: 100,
        }
    }
}

/// Where routes with a `cache` keep answers.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct CacheStoreSettings {
    /// How much answers may take up in memory, for all routes together. Default `64MiB`.
    pub(crate) memory: ByteSize,
    /// Whether they are also kept in Redis, where there is one, for all instances. Default true.
    pub(crate) shared: bool,
}

impl Default for CacheStoreSettings {
    fn default() -> Self {
        Self { memory: ByteSize::kib(64 * 1024), shared: true }
    }
}

/// Where operators look: `/livez` `/readyz` `/health` `/metrics` `/routes` `/revoke`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AdminSettings {
    /// Address and port; keep it away from clients. No default.
    #[schemars(with = "String")]
    pub(crate) listen: SocketAddr,
}

/// What the gateway says of itself.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct LogSettings {
    /// The least level that is shown. Default `info`.
    pub(crate) level: LogLevel,
}

/// A log level.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogLevel {
    /// Failures of the gateway itself.
    #[serde(alias = "ERROR")]
    Error,
    /// What an operator should look at.
    #[serde(alias = "WARN", alias = "WARNING")]
    Warn,
    /// Changes of state.
    #[default]
    #[serde(alias = "INFO")]
    Info,
    /// Much.
    #[serde(alias = "DEBUG")]
    Debug,
}

/// How the gateway's own answers look.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ErrorSettings {
    /// `problem` (RFC 9457, the default), `message` or `detail`.
    pub(crate) format: ProblemFormat,
    /// Which of them say why in `Proxy-Status` (RFC 9209): `off`, `failures` (status 500 and above, the default) or
    /// `all`.
    pub(crate) proxy_status: ProxyStatus,
    /// Another status or text for some codes, such as `no-route` (`gateway codes` lists them).
    pub(crate) overrides: BTreeMap<String, OverrideSettings>,
}

/// Another status or text for one code.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct OverrideSettings {
    /// The status, 400 to 599.
    pub(crate) status: Option<u16>,
    /// The text.
    pub(crate) text: Option<String>,
}

/// One upstream service.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ServiceSettings {
    /// Its instances: `"http://127.0.0.1:3001"`, or `{ url = "…", weight = 5 }`.
    pub(crate) endpoints: Vec<Short<EndpointSettings>>,
    /// How the next one is picked: `"round_robin"` and others, or a table. Default `round_robin`.
    #[serde(default)]
    pub(crate) balance: Short<PolicySettings>,
    /// How long an answer may take: `"5s"` in all, or a table. Default `15s`.
    #[serde(default)]
    pub(crate) timeout: Short<TimeoutSettings>,
    /// How long tunnels, event streams and gRPC calls may go on with an endpoint that a reload has taken out; then a
    /// WebSocket is sent Close 1001 and has 5 s to end, an event stream ends, and a call has status 14. Default `10m`.
    #[serde(default = "ten_minutes")]
    pub(crate) drain_timeout: Timespan,
    /// What is tried again: a number of attempts, or a table. Default 2 attempts.
    #[serde(default)]
    pub(crate) retry: Short<RetrySettings>,
    /// Active health checks: the path to ask for, or a table. Default: none.
    pub(crate) health: Option<Short<HealthSettings>>,
    /// As many requests at once as the service turns out to bear: `true`, the name of an algorithm, or a table.
    /// Default `false`.
    #[serde(default)]
    pub(crate) adaptive: Switch<AdaptiveSettings>,
    /// Refuses a share of the requests while too many fail, the least important first: `true` or a table.
    /// Default `false`.
    #[serde(default)]
    pub(crate) admission: Switch<AdmissionSettings>,
    /// How connections are made and kept.
    #[serde(default)]
    pub(crate) connection: UpstreamSettings,
    /// Whether requests carry a token of [assertion]. Default false.
    #[serde(default)]
    pub(crate) assertion: bool,
    /// The gateway's own credentials for the service: `"passthrough"`, `"remove"`, or a table. Default `passthrough`:
    /// `Authorization` is what the client sent.
    pub(crate) outbound: Option<OutboundSettings>,
    /// Whether clients are told which endpoint failed. Default false: only how.
    #[serde(default)]
    pub(crate) reveal_endpoints: bool,
}

impl ServiceSettings {
    pub(crate) fn balancing(&self) -> BalanceSettings {
        BalanceSettings {
            timeout: self.timeout.clone(),
            retry: self.retry.clone(),
            reveal_endpoints: self.reveal_endpoints,
        }
    }
}

/// One instance of a service. Short form: its URL.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EndpointSettings {
    /// `http://HOST[:PORT]`.
    pub(crate) url: String,
    /// Its share of the requests; 0 takes none. Default 1.
    #[serde(default = "one")]
    pub(crate) weight: u32,
    /// Lower ones are used first; the next take over as those fail (Envoy's priorities). Default 0.
    #[serde(default)]
    pub(crate) priority: u32,
    /// Where it runs; those in the zone that `balance.zone` names come first. Default: nowhere in particular.
    pub(crate) zone: Option<String>,
    /// What is known of it, such as `{ version = "v2" }`, for `balance.subset`.
    #[serde(default)]
    pub(crate) metadata: BTreeMap<String, String>,
}

fn one() -> u32 {
    1
}

/// Envoy's, for what a listener drains: most streams have ended by then, and who is left comes back at another endpoint.
fn ten_minutes() -> Timespan {
    Timespan::secs(600)
}

impl ShortForm for EndpointSettings {
    const EXPECTED: &'static str = "a URL such as \"http://127.0.0.1:3001\", or a table";
    const TYPE: &'static str = "string";
    fn from_short(value: Scalar<'_>) -> Option<Result<Self, String>> {
        match value {
            Scalar::Text(url) => Some(Ok(Self {
                url: url.to_owned(),
                weight: one(),
                priority: 0,
                zone: None,
                metadata: BTreeMap::new(),
            })),
            Scalar::Number(_) | Scalar::Switch(_) => None,
        }
    }
}
