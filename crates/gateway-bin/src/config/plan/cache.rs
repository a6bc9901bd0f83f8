//! Where answers are kept, for all routes.

use super::chore::Chore;
use super::{Planner, RoutePlan};
use crate::config::settings::CacheStoreSettings;
use gateway_auth::IdentityHeadersLayer;
use gateway_cache::{CacheLayer, CacheSettings, CacheStore, InvalidateLayer, Isolation};
use gateway_core::units::Switch;
use gateway_routing::RouteMatch;
use gateway_store::Store;
use http::HeaderName;
use http::header::FORWARDED;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

/// A store of answers that outlives reloads.
#[derive(Clone)]
pub(crate) struct CachePlan {
    pub(crate) store: CacheStore,
    /// Hears what other instances purge.
    pub(crate) chore: Option<Chore>,
}

/// A route's cache.
#[derive(Clone)]
pub(crate) struct RouteCache {
    settings: CacheSettings,
    unseen: Vec<HeaderName>,
    pub(crate) layer: CacheLayer,
}

impl RouteCache {
    pub(crate) fn stores_cookies(&self) -> bool {
        self.settings.set_cookie
    }
}

/// What stands between a route's cache and its service.
pub(super) struct Behind<'a> {
    pub(super) service: &'a str,
    pub(super) identity_headers: Option<&'a IdentityHeadersLayer>,
}

impl CachePlan {
    fn new(settings: &CacheStoreSettings, store: &Store) -> Self {
        if !settings.shared || !store.is_shared() {
            return Self { store: CacheStore::new(settings.memory), chore: None };
        }
        let (store, task) = CacheStore::with_tier(settings.memory, store.clone());
        Self { store, chore: Some(Chore::once(task.run())) }
    }
}

impl Planner<'_> {
    /// The store of answers, where a route has use for it.
    pub(super) fn cache(&mut self, store: &Store) -> Option<CachePlan> {
        let settings = self.settings;
        let sets = settings.routes.iter().map(|route| route.policies());
        let sets = sets.chain(settings.groups.values().map(|group| group.policies()));
        let mut sets = sets.chain([settings.defaults.policies()]);
        if !sets.any(|set| set.cache.is_some_and(|cache| cache.on().is_some())) {
            return None;
        }
        Some(self.previous_cache().unwrap_or_else(|| CachePlan::new(&settings.cache, store)))
    }

    /// The store of answers that goes on as it is.
    fn previous_cache(&self) -> Option<CachePlan> {
        let previous = self.previous?;
        previous.plan.cache.clone().filter(|_| previous.settings.cache == self.settings.cache)
    }

    /// The cache of a route; with the same settings as before it goes on counting.
    pub(super) fn route_cache(
        &mut self,
        (route, matches): (&str, &RouteMatch),
        key: &str,
        switch: &Switch<CacheSettings>,
        plan: Option<&CachePlan>,
        behind: &Behind<'_>,
    ) -> Option<Box<RouteCache>> {
        let (settings, plan) = (switch.on()?, plan?);
        let unseen = self.unseen(settings.isolation, behind);
        let earlier = self.previous_route(route, matches).and_then(|route| route.cache.as_ref());
        let store_kept = self.previous_cache().is_some();
        let is_same = |earlier: &RouteCache| earlier.settings == *settings && earlier.unseen == unseen;
        if let Some(same) = earlier.filter(|earlier| store_kept && is_same(earlier)) {
            return Some(same.clone());
        }
        let layer = self.noted(key, CacheLayer::new(&kept_as(route, matches), settings, &plan.store))?;
        let layer = layer.with_unseen(unseen.iter().cloned());
        Some(Box::new(RouteCache { settings: settings.clone(), unseen, layer }))
    }

    /// The headers that the service sees and the cache does not, where what they say is not in the key either.
    fn unseen(&self, isolation: Isolation, behind: &Behind<'_>) -> Vec<HeaderName> {
        let forwarded = &self.settings.forwarded;
        let mut names = Vec::new();
        names.extend(forwarded.x_forwarded.then(|| HeaderName::from_static("x-forwarded-for")));
        names.extend(forwarded.rfc7239.then_some(FORWARDED));
        if isolation == Isolation::Shared {
            names.extend(behind.identity_headers.iter().flat_map(|layer| layer.names()).cloned());
            let asserts = self.settings.services.get(behind.service).is_some_and(|service| service.assertion);
            let assertion = self.settings.assertion.on().filter(|_| asserts);
            names.extend(assertion.and_then(|assertion| assertion.header.parse::<HeaderName>().ok()));
        }
        names
    }
}

/// What the answers of a route are kept under. Routes of one name, which mostly is their path, may differ in what else
/// they ask of a request, and then others answer the same URL. Whatever the order of the routes, it stays the same: in
/// memory over reloads, in Redis for all instances.
fn kept_as(name: &str, matches: &RouteMatch) -> String {
    // All are named, so that what is added is thought of here. Hosts and paths are in the URL.
    let RouteMatch {
        headers,
        query,
        cookies,
        clients,
        not_clients,
        when,
        hosts: _,
        path: _,
        ignore_case: _,
        methods: _,
        priority: _,
        captures: _,
    } = matches;
    let asks = !headers.is_empty()
        || !query.is_empty()
        || !cookies.is_empty()
        || !clients.is_empty()
        || !not_clients.is_empty()
        || when.is_some();
    if !asks {
        return name.to_owned();
    }
    let mut hasher = DefaultHasher::new();
    (headers, query, cookies, clients, not_clients).hash(&mut hasher);
    when.as_ref().map(ToString::to_string).hash(&mut hasher);
    format!("{name}#{:016x}", hasher.finish())
}

/// Has routes without a cache, which may change what others of the same path answer, make it out of date there.
pub(super) fn invalidate_beside(routes: &mut [RoutePlan]) {
    let mut cached: HashMap<&str, Vec<(&RouteMatch, &CacheLayer)>> = HashMap::new();
    for route in &*routes {
        if let Some(cache) = &route.cache {
            let path = route.matches.path.as_str();
            cached.entry(path).or_default().push((&route.matches, &cache.layer));
        }
    }
    if cached.is_empty() {
        return;
    }
    let beside = |route: &RoutePlan| {
        let matches = &route.matches;
        let changes = matches.methods.is_empty() || matches.methods.iter().any(|method| !method.is_safe());
        if route.cache.is_some() || route.service.is_none() || !changes {
            return None;
        }
        let all = cached.get(matches.path.as_str())?;
        let mut caches = all.iter().filter(|(other, _)| may_share_host(matches, other)).peekable();
        caches.peek()?;
        Some(InvalidateLayer::of(caches.map(|(_, cache)| *cache)))
    };
    let layers: Vec<_> = routes.iter().map(beside).collect();
    for (route, layer) in routes.iter_mut().zip(layers) {
        route.invalidates = layer;
    }
}

/// Whether requests for the same host may come to both. Patterns that differ are taken for different hosts.
fn may_share_host(one: &RouteMatch, other: &RouteMatch) -> bool {
    one.hosts.is_empty() || other.hosts.is_empty() || one.hosts.iter().any(|host| other.hosts.contains(host))
}
