//! Settings made into parts that can run: every layer, endpoint and route, or what is wrong with them.

mod auth;
mod balancing;
mod cache;
mod cedar;
mod chore;
mod contents;
mod groups;
mod identity;
mod levels;
mod limit;
mod planner;
mod route;
mod service;
mod shared;
mod zero;

pub(crate) use auth::AuthPlan;
pub(crate) use cache::CachePlan;
pub(crate) use cedar::{Cedar, of_policies};
pub(crate) use chore::Chore;
use identity::{AssertionPlan, IdentityPlan};
pub(crate) use levels::Levels;
pub(crate) use limit::{LimitPlan, RouteLimit};
pub(crate) use route::RoutePlan;
pub(crate) use service::ServicePlan;

use super::Config;
use super::load::{Mistake, Origin, Source};
use super::settings::{ServerSettings, Settings};
use crate::doorway::Doorway;
use auth::AuthLayers;
use gateway_auth::{HeaderNames, IdentityHeadersLayer};
use gateway_core::{Network, ProblemLayer};
use gateway_routing::RouteTable;
use gateway_server::Limits;
use gateway_store::Store;
use gateway_transform::{
    ClientIpLayer, CorrelationIdLayer, ForwardedLayer, NormalizeSettings, UnderscoreHeaders, ViaLayer,
};
use gateway_upstream::ConnectionLimit;
use http::HeaderName;
use planner::Planner;
use route::Shared;
use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;

/// What runs, shared by all workers.
#[derive(Clone)]
pub(crate) struct Plan {
    pub(crate) store: Store,
    pub(crate) problems: ProblemLayer,
    pub(crate) client_ip: ClientIpLayer,
    pub(crate) forwarded: ForwardedLayer,
    pub(crate) underscores: UnderscoreHeaders,
    pub(crate) via: Option<ViaLayer>,
    /// Whether answers tell of the time they took.
    pub(crate) server_timing: bool,
    pub(crate) normalize: NormalizeSettings,
    pub(crate) connections: Limits,
    /// Whose connections begin with a PROXY header.
    pub(crate) proxy_protocol: Arc<[Network]>,
    pub(crate) clients: ClientLimits,
    /// On the connections to all services.
    pub(crate) upstream_connections: Option<ConnectionLimit>,
    pub(crate) correlation_id: Option<CorrelationIdLayer>,
    pub(crate) services: BTreeMap<String, ServicePlan>,
    pub(crate) auth: AuthPlan,
    pub(crate) limits: BTreeMap<String, LimitPlan>,
    /// Policies by name, and the files that they were read from.
    pub(crate) cedar: BTreeMap<String, Cedar>,
    pub(crate) cedar_files: Vec<PathBuf>,
    /// Where the gateway was started with it.
    pub(crate) identity: Option<IdentityPlan>,
    pub(crate) assertions: Option<AssertionPlan>,
    /// Where a route has one.
    pub(crate) cache: Option<CachePlan>,
    pub(crate) routes: Vec<RoutePlan>,
    /// Where they are found, by their places.
    pub(crate) table: RouteTable<()>,
    /// What all this was read from, for whoever asks why.
    pub(crate) source: Option<Source>,
}

/// How many clients may be connected, where the configuration says so.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClientLimits {
    most: Option<usize>,
    of_address: Option<usize>,
}

impl ClientLimits {
    fn of(server: &ServerSettings) -> Self {
        let [most, of_address] = [server.max_connections, server.max_connections_per_address]
            .map(|most| most.map(NonZeroUsize::get));
        Self { most, of_address }
    }

    /// Has them hold from now on.
    pub(crate) fn apply(self, doorway: &Doorway) {
        doorway.allow(self.most, self.of_address);
    }
}

/// Headers that tell a service who is calling. From outside they are always removed.
const IDENTITY_HEADERS: [&str; 7] = [
    "x-user-id",
    "x-user-roles",
    "x-user-email",
    "x-consumer-id",
    "x-authenticated-userid",
    "request-user-id",
    "x-internal-assertion",
];

impl Plan {
    /// Adds what is wrong to the mistakes; `None` if something is.
    pub(crate) fn new(
        settings: &Settings,
        origin: &Origin,
        previous: Option<&Config>,
        mistakes: &mut Vec<Mistake>,
    ) -> Option<Self> {
        let before = mistakes.len();
        let mut planner = Planner::new(settings, origin, previous, mistakes);
        let services = planner.services();
        let store = planner.store();
        let at_hand = store.clone().unwrap_or_else(Store::memory);
        let mut auth = planner.auth(&at_hand);
        let limits = planner.limits(&at_hand);
        let cedar = planner.cedar();
        let cedar_files = planner.cedar_files();
        let cache = planner.cache(&at_hand);
        let identity = planner.identity(&at_hand, &mut auth.methods);
        let assertions = planner.assertions(&at_hand);
        let problems = planner.problems();
        let correlation_id = planner.default_correlation_id();
        let via = settings.via.as_ref().and_then(|via| planner.noted("via", ViaLayer::new(via)));
        let mut shared = Shared {
            auth: &auth,
            auth_layers: AuthLayers::default(),
            limits: &limits,
            cedar: &cedar,
            cache: cache.as_ref(),
            correlation_id: correlation_id.as_ref(),
            unnamed: HashMap::new(),
        };
        // Large ones, and many: a list that grows would be copied again and again.
        let mut routes = Vec::with_capacity(settings.routes.len());
        for (i, route) in settings.routes.iter().enumerate() {
            routes.extend(planner.route(i, route, &mut shared));
        }
        cache::invalidate_beside(&mut routes);
        auth.layers = shared.auth_layers.into_layers();
        planner.shared_policies(&cedar);
        planner.captured(&routes);
        let table = planner.table(&routes);
        planner.listeners();
        planner.server_has_limits();
        planner.access_log_has_time();
        if settings.routes.is_empty() && mistakes.len() == before && !origin.is_known_wrong("routes") {
            let hint = "add at least one, such as\n\n    [[routes]]\n    path = \"/api/users/*\"\n    service = \"users\"\n";
            mistakes.push(origin.mistake("routes", "there are no routes").with_help(hint));
        }
        (mistakes.len() == before).then_some(())?;
        Some(Self {
            store: store?,
            problems,
            client_ip: ClientIpLayer::new(&settings.forwarded),
            forwarded: ForwardedLayer::new(&settings.forwarded).of_cleaned(),
            underscores: settings.underscore_headers,
            via,
            server_timing: settings.server_timing,
            normalize: settings.normalize,
            connections: settings.server.limits(),
            proxy_protocol: settings.server.proxy_protocol.clone().into(),
            clients: ClientLimits::of(&settings.server),
            upstream_connections: match previous {
                // Connections live on, and with them what counts them.
                Some(previous) => previous.plan.upstream_connections.clone(),
                None => settings.server.max_upstream_connections.map(ConnectionLimit::new),
            },
            correlation_id,
            services,
            auth,
            limits,
            cedar,
            cedar_files,
            identity,
            assertions,
            cache,
            routes,
            table: table?,
            source: origin.source(),
        })
    }

    /// What is to be done beside the requests.
    pub(crate) fn chores(&self) -> impl Iterator<Item = &Chore> {
        let auth = self.auth.methods.values().filter_map(|method| method.chore.as_ref());
        let limits = self.limits.values().filter_map(|limit| limit.chore.as_ref());
        let cache = self.cache.iter().filter_map(|cache| cache.chore.as_ref());
        let assertions = self.assertions.iter().map(|plan| &plan.chore);
        auth.chain(limits).chain(cache).chain(assertions)
    }

    /// Headers that only the gateway may set.
    pub(crate) fn identity_headers(&self) -> HeaderNames {
        let of_routes = self.routes.iter().filter_map(|route| route.identity_headers.as_ref());
        let of_routes = of_routes.flat_map(IdentityHeadersLayer::names).cloned();
        let of_assertions = self.assertions.iter().map(|plan| plan.assertions.header().clone());
        let fixed = IDENTITY_HEADERS.into_iter().map(HeaderName::from_static);
        let mut names = HeaderNames::of(fixed.chain(of_routes).chain(of_assertions));
        names.extend(self.auth.headers());
        names
    }
}
