//! A route as it is written, and the policies that it shares with groups and defaults.

use super::{Names, RouteAuthSettings};
use crate::body_limit::BodyLimitSettings;
use gateway_auth::{AuthorizeSettings, IdentityHeadersSettings};
use gateway_balance::{CircuitSettings, RouteRetrySettings, RouteTimeoutSettings};
use gateway_cache::CacheSettings;
use gateway_core::units::{Short, Switch};
use gateway_overload::{ConcurrencySettings, FaultSettings, Priority};
use gateway_routing::{HostPattern, MatchSettings, PathPattern};
use gateway_transform::{
    CorrelationIdSettings, CorsSettings, FallbackSettings, HeaderRules, MaintenanceSettings,
    RedirectSettings, RespondSettings, RewriteSettings, SecurityHeadersSettings, StripPrefixSettings,
};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};

/// Defines settings that hold policies, so that a route, a group and the defaults all take the same keys.
/// They are boxed: of many routes, most say nothing of most, and their settings are kept for the next reload.
macro_rules! with_policies {
    ($(#[$about:meta])* struct $name:ident { $($own:tt)* }) => {
        $(#[$about])*
        #[derive(Clone, Debug, Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields)]
        pub(crate) struct $name {
            $($own)*
            /// Who may call: the name of a way to authenticate, a list of names of which the first that applies decides,
            /// `"none"`, or a table. Default: anybody.
            pub(crate) auth: Option<Box<Short<RouteAuthSettings>>>,
            /// What callers must be allowed to: a scope, a list of scopes, `false`, or a table of rules. Default `false`.
            pub(crate) authorize: Option<Box<Switch<AuthorizeSettings>>>,
            /// Headers that tell the service who calls: `false` or a table. What clients send in them is taken away.
            /// Default `false`: none.
            pub(crate) identity_headers: Option<Box<Switch<IdentityHeadersSettings>>>,
            /// Who answers where the service does not: another service, then an answer of the gateway's own. `false` or
            /// a table. Default `false`: nobody.
            pub(crate) fallback: Option<Box<Switch<FallbackSettings>>>,
            /// The name of a rate limit, a list of names that must all have room and are asked in this order, or `"none"`.
            /// Default: none.
            pub(crate) rate_limit: Option<Box<Names>>,
            /// Answers are kept and given again (RFC 9111): `true`, how long those are fresh that say nothing of it, or
            /// a table. Default `false`.
            pub(crate) cache: Option<Box<Switch<CacheSettings>>>,
            /// The request's id, in a header: `true`, `false` or a table. Default `true`: `X-Correlation-ID`.
            pub(crate) correlation_id: Option<Box<Switch<CorrelationIdSettings>>>,
            /// Cross-origin requests: `true`, `false` or a table. Default `false`.
            pub(crate) cors: Option<Box<Switch<CorsSettings>>>,
            /// Whether browsers may call a service of gRPC by gRPC-Web, in binary and in base64. Default `false`.
            pub(crate) grpc_web: Option<bool>,
            /// Security headers in answers: `true`, `false` or a table. Default `false`.
            pub(crate) security_headers: Option<Box<Switch<SecurityHeadersSettings>>>,
            /// The most requests at once, for each route by itself: a number, `false` or a table. Default `false`: no
            /// limit.
            pub(crate) concurrency: Option<Box<Switch<ConcurrencySettings>>>,
            /// A circuit breaker for each route by itself: what fails on one is refused there, and the others go on.
            /// `true`, `false` or a table. Default `false`.
            pub(crate) circuit: Option<Box<Switch<CircuitSettings>>>,
            /// How long an answer may take here: `"2m"` in all, or a table. Not in [defaults], where it would come before what
            /// services say. Default: the service's `timeout`.
            pub(crate) timeout: Option<Box<Short<RouteTimeoutSettings>>>,
            /// What is tried again here: a number of attempts, 1 for no retry, or a table. Not in [defaults], either.
            /// Default: the service's `retry`.
            pub(crate) retry: Option<Box<Short<RouteRetrySettings>>>,
            /// How much its requests matter when not all can be served: `critical`, `default`, `sheddable` or `false`.
            /// Comes before the service's `admission.priority_header`. Default `false`: what that says.
            pub(crate) class: Option<Switch<Priority>>,
            /// Delays and failures on purpose: `false` or a table. Default `false`.
            pub(crate) fault: Option<Box<Switch<FaultSettings>>>,
            /// Answers 503 to all but some: `true` or a table. Default `false`.
            pub(crate) maintenance: Option<Box<Switch<MaintenanceSettings>>>,
            /// The largest request body, `false` or a table; over it the answer is 413. Default `false`: no limit.
            pub(crate) max_body: Option<Switch<BodyLimitSettings>>,
            /// Headers set, added and removed: those of [defaults] first, then those of the group, then the route's.
            #[serde(default)]
            pub(crate) headers: HeaderRules,
        }

        impl $name {
            /// What it says of policies.
            pub(crate) fn policies(&self) -> Policies<'_> {
                Policies {
                    auth: self.auth.as_deref().map(|auth| &auth.0),
                    authorize: self.authorize.as_deref(),
                    identity_headers: self.identity_headers.as_deref(),
                    fallback: self.fallback.as_deref(),
                    rate_limit: self.rate_limit.as_deref(),
                    cache: self.cache.as_deref(),
                    max_body: self.max_body,
                    correlation_id: self.correlation_id.as_deref(),
                    cors: self.cors.as_deref(),
                    grpc_web: self.grpc_web,
                    security_headers: self.security_headers.as_deref(),
                    concurrency: self.concurrency.as_deref(),
                    circuit: self.circuit.as_deref(),
                    timeout: self.timeout.as_deref().map(|timeout| &timeout.0),
                    retry: self.retry.as_deref().map(|retry| &retry.0),
                    class: self.class,
                    fault: self.fault.as_deref(),
                    maintenance: self.maintenance.as_deref(),
                    headers: &self.headers,
                }
            }
        }
    };
}

/// The policies of a route, a group or the defaults. `None` leaves the choice to whoever is more general.
#[derive(Clone, Copy)]
pub(crate) struct Policies<'a> {
    pub(crate) auth: Option<&'a RouteAuthSettings>,
    pub(crate) authorize: Option<&'a Switch<AuthorizeSettings>>,
    pub(crate) identity_headers: Option<&'a Switch<IdentityHeadersSettings>>,
    pub(crate) fallback: Option<&'a Switch<FallbackSettings>>,
    pub(crate) rate_limit: Option<&'a Names>,
    pub(crate) cache: Option<&'a Switch<CacheSettings>>,
    pub(crate) max_body: Option<Switch<BodyLimitSettings>>,
    pub(crate) correlation_id: Option<&'a Switch<CorrelationIdSettings>>,
    pub(crate) cors: Option<&'a Switch<CorsSettings>>,
    pub(crate) grpc_web: Option<bool>,
    pub(crate) security_headers: Option<&'a Switch<SecurityHeadersSettings>>,
    pub(crate) concurrency: Option<&'a Switch<ConcurrencySettings>>,
    pub(crate) circuit: Option<&'a Switch<CircuitSettings>>,
    pub(crate) timeout: Option<&'a RouteTimeoutSettings>,
    pub(crate) retry: Option<&'a RouteRetrySettings>,
    pub(crate) class: Option<Switch<Priority>>,
    pub(crate) fault: Option<&'a Switch<FaultSettings>>,
    pub(crate) maintenance: Option<&'a Switch<MaintenanceSettings>>,
    pub(crate) headers: &'a HeaderRules,
}

with_policies! {
    /// What all routes, or those of a group, get unless they say otherwise.
    #[derive(Default)]
    struct PolicySet {}
}

with_policies! {
    /// One route: what it matches, where it goes, and what happens on the way.
    struct RouteSettings {
        /// What it is called in logs and metrics. Default: its path.
        pub(crate) name: Option<String>,
        /// `/exact`, `/prefix/*` (ends at a segment), `/users/{id}`, or a regular expression after `~`.
        pub(crate) path: PathPattern,
        /// Whether upper and lower case in the path differ. Default true.
        #[serde(default = "yes")]
        pub(crate) case_sensitive: bool,
        /// `shop.example`, `*.shop.example` or `www.*`. Default: any.
        #[serde(default, deserialize_with = "some")]
        #[schemars(length(min = 1))]
        pub(crate) hosts: Vec<HostPattern>,
        /// Such as `["GET", "POST"]`; GET takes HEAD too. Default: any.
        #[serde(default, deserialize_with = "some")]
        #[schemars(length(min = 1))]
        pub(crate) methods: Vec<String>,
        /// What else a request must have: headers, query parameters, cookies, a client's network.
        #[serde(default, rename = "match")]
        pub(crate) matches: MatchSettings,
        /// Before all other rules of precedence. Default 0.
        #[serde(default)]
        pub(crate) priority: i32,
        /// The service that answers. Needed unless `redirect`, `respond`, `identity` or `jwks` does.
        pub(crate) service: Option<String>,
        /// The prefix that the service does not see: a text, or a table.
        pub(crate) strip: Option<Box<Short<StripPrefixSettings>>>,
        /// Another path, host or query towards the service.
        pub(crate) rewrite: Option<Box<RewriteSettings>>,
        /// Sends the client elsewhere: `"https"`, a path, a URL, or a table.
        pub(crate) redirect: Option<Box<Short<RedirectSettings>>>,
        /// An answer of the gateway's own: a text, a status, or a table.
        pub(crate) respond: Option<Box<Short<RespondSettings>>>,
        /// Whether the keys of the gateway's own tokens answer, as a JWK set: those of [identity] and of [assertion].
        /// Default false.
        #[serde(default)]
        pub(crate) jwks: bool,
        /// Whether the gateway's own accounts answer: registration, login and the rest of [identity]. Default false.
        #[serde(default)]
        pub(crate) identity: bool,
        /// The name of a group whose settings the route takes over.
        pub(crate) group: Option<String>,
    }
}

impl RouteSettings {
    /// What it is called.
    pub(crate) fn name(&self) -> &str {
        self.name.as_deref().unwrap_or_else(|| self.path.as_str())
    }
}

fn yes() -> bool {
    true
}

/// A list that says something: whoever empties one of what may come hardly means everything.
fn some<'de, T: Deserialize<'de>, D: Deserializer<'de>>(d: D) -> Result<Vec<T>, D::Error> {
    let list = Vec::deserialize(d)?;
    if list.is_empty() {
        return Err(serde::de::Error::custom(
            "the list is empty; name at least one, or leave it out to take any",
        ));
    }
    Ok(list)
}
