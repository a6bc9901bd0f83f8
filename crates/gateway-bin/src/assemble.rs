//! One worker's edge, put together from the plan. The order of a route's layers is read from below: the last is
//! the first to see a request.

use crate::accounts::Jwks;
use crate::config::{Plan, RouteLimit, RoutePlan};
use crate::end::{Answer, AnyBody, End, RequestStream, from_cache};
use crate::fallback::Refuse;
use crate::grpc_web::PerRequest;
use crate::panic::CatchPanicLayer;
use crate::stack::{Edge, RouteStack, Stack};
use gateway_auth::{AuthLayer, SignedBodyLayer};
use gateway_balance::Balance;
use gateway_core::Endpoint;
use gateway_observe::{Lines, Metrics, ObserveLayer, RouteLabels, ServerTimingLayer};
use gateway_ratelimit::{RateLimitLayer, RateLimitsLayer, SettleLayer};
use gateway_store::Store;
use gateway_transform::{FallbackLayer, FallbackSettings};
use gateway_upstream::{ConnectionLimits, HttpUpstream, UpstreamSettings, UpstreamTls};
use http::Request;
use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::convert::Infallible;
use std::rc::Rc;
use std::sync::Arc;
use tower::util::{BoxCloneSyncService, option_layer};
use tower::{Layer, Service, ServiceExt, service_fn};

/// What one worker observes with.
#[derive(Clone, Default)]
pub(crate) struct Observers {
    pub(crate) metrics: Option<Metrics>,
    pub(crate) lines: Option<Lines>,
}

impl Observers {
    /// The same, with the values of these query parameters left out of the log too.
    fn redacting(&self, names: &[String]) -> Self {
        Self { metrics: self.metrics.clone(), lines: self.lines.as_ref().map(|lines| lines.redacting(names)) }
    }

    fn layer(&self, labels: RouteLabels) -> ObserveLayer {
        ObserveLayer::new(labels, self.metrics.clone(), self.lines.clone())
    }
}

/// An endpoint's connections, and what they are made by.
#[derive(Clone)]
struct Connected {
    settings: UpstreamSettings,
    tls: Option<UpstreamTls>,
    upstream: HttpUpstream,
}

/// Makes a worker's edges, one after the other: connections to endpoints that stay outlive a reload.
pub(crate) struct Assembly {
    observers: Observers,
    /// This worker's own connection to the store.
    store: Store,
    upstreams: HashMap<String, Connected>,
}

impl Assembly {
    pub(crate) fn new(plan: &Plan, observers: Observers) -> Self {
        Self { observers, store: plan.store.per_worker(), upstreams: HashMap::new() }
    }

    /// Closes connections to services that nobody has used for their time: where no requests come, nobody else would.
    pub(crate) fn close_idle(&self) {
        self.upstreams.values().for_each(|connected| connected.upstream.close_idle());
    }

    /// The edge of a plan: its own pools and connections, with limits, health and verified tokens shared.
    pub(crate) fn edge<B: RequestStream>(&mut self, plan: &Arc<Plan>) -> Edge<B> {
        let mut used = HashMap::new();
        let mut balances = HashMap::new();
        for (name, service) in &plan.services {
            let settings = &service.connection;
            let known = RefCell::new((&mut self.upstreams, &mut used));
            let connect = |endpoint: &Endpoint| {
                let (upstreams, used) = &mut *known.borrow_mut();
                let key = format!("{name} {endpoint}");
                let kept = upstreams.remove(&key);
                let kept = kept.filter(|kept| {
                    kept.settings == *settings && service.has_certificates_of(kept.tls.as_ref())
                });
                let connected = kept.unwrap_or_else(|| {
                    let (settings, tls) = (settings.clone(), service.tls.clone());
                    let limits = ConnectionLimits {
                        endpoint: service.limit_of(endpoint),
                        total: plan.upstream_connections.clone(),
                    };
                    let upstream =
                        HttpUpstream::sharing(endpoint.clone(), settings.clone(), tls.clone(), limits);
                    Connected { settings, tls, upstream }
                });
                used.insert(key, connected.clone());
                connected.upstream
            };
            let mut balance = Balance::new(service.set.clone(), &service.balancing, connect);
            if self.observers.lines.is_none() {
                // Only the access log asks which endpoint it was.
                balance = balance.without_endpoint_names();
            }
            balances.insert(name.clone(), balance);
        }
        self.upstreams = used;
        let auth = plan.auth.layers.iter().map(|layer| layer.with_store(&self.store)).collect();
        let worker = Rc::new(Worker {
            plan: plan.clone(),
            observers: self.observers.redacting(&plan.auth.secret_queries()),
            balances,
            auth,
            store: self.store.clone(),
        });
        let (preflights, stand_ins) = (worker.clone(), worker.clone());
        Edge {
            routes: plan.table.map(|_, ()| OnceCell::new()),
            fallback: worker.refusing("unmatched", ""),
            answers_preflights: Box::new(move |index| preflights.plan.routes[index].cors.is_some()),
            stand_ins: Box::new(move |index| {
                let route = &stand_ins.plan.routes[index];
                stand_ins.refusing(&route.name, route.service.as_deref().unwrap_or_default())
            }),
            stacks: Box::new(move |index| worker.stack(&worker.plan.routes[index])),
            client_ip: plan.client_ip.clone(),
            underscores: plan.underscores,
            normalize: plan.normalize,
            max_head: plan.connections.max_head,
            identity_headers: plan.identity_headers(),
        }
    }
}

/// What stacks are made of, when their first request comes.
struct Worker {
    plan: Arc<Plan>,
    observers: Observers,
    balances: HashMap<String, Balance<HttpUpstream>>,
    /// By their place in the plan, over this worker's own connection to the store.
    auth: Vec<AuthLayer>,
    store: Store,
}

/// A service in a box, for the policies that few routes have.
type Guarded<B> = BoxCloneSyncService<Request<B>, Answer<B>, Infallible>;

impl Worker {
    /// The layers of a route, the last to see a request first.
    fn stack<B>(&self, route: &RoutePlan) -> Option<RouteStack<B>>
    where
        B: RequestStream,
    {
        let service = self.end(route)?;
        let service = option_layer(route.strip.as_deref().map(|(_, layer)| layer.clone())).layer(service);
        let service = self.plan.forwarded.layer(service);
        let asserts = route.service.as_deref().is_some_and(|name| self.asserts(name));
        if !route.has_few_route_policies() && !asserts {
            return Some(self.outside(route, self.asked(route, service)));
        }
        let mut service: Guarded<B> = BoxCloneSyncService::new(service);
        let name = route.service.as_deref().unwrap_or_default();
        if let Some(plan) = self.plan.assertions.as_ref().filter(|_| self.asserts(name)) {
            service = BoxCloneSyncService::new(plan.assertions.layer(&route.name, name).layer(service));
        }
        if let Some(headers) = &route.identity_headers {
            service = BoxCloneSyncService::new(headers.layer(service));
        }
        if let Some(cache) = &route.cache {
            let mut layer = cache.layer.per_worker();
            if self.observers.lines.is_none() {
                layer = layer.without_results();
            }
            let cached = layer.layer(service);
            let cached = cached.map_response(|answer| answer.map(from_cache));
            service = BoxCloneSyncService::new(option_layer(cache.layer.query()).layer(cached));
        }
        service = BoxCloneSyncService::new(option_layer(route.invalidates.clone()).layer(service));
        // Another service was asked further in; what the cache still has comes before an answer that says nothing.
        if let Some(said) = route.fallback.as_deref().and_then(FallbackSettings::only_respond) {
            let layer = FallbackLayer::<Guarded<B>>::new(&said, None).ok()?;
            service = BoxCloneSyncService::new(layer.layer(service));
        }
        service = BoxCloneSyncService::new(option_layer(route.headers.clone()).layer(service));
        service = self.limited(service, route, route.limits_within());
        if let Some(cedar) = &route.cedar {
            service = BoxCloneSyncService::new(cedar.layer.layer(service));
        }
        if let Some(authorize) = &route.authorize {
            service = BoxCloneSyncService::new(authorize.layer(service));
        }
        if let Some(auth) = self.auth_of(route) {
            service = BoxCloneSyncService::new(auth.layer(service));
            if auth.reads_bodies() {
                service = BoxCloneSyncService::new(SignedBodyLayer::new(&auth).layer(service));
            }
        }
        if route.rate_limits.iter().any(|limit| limit.layer.settles_bodies()) {
            let settled = SettleLayer.layer(service);
            service = BoxCloneSyncService::new(settled.map_response(|answer| answer.map(AnyBody::boxed)));
        }
        let outside = route.rate_limits.iter().filter(|limit| limit.counts_failures);
        service = self.limited(service, route, outside);
        let service = option_layer(route.max_body.clone()).layer(service);
        let service = option_layer(route.redirect.clone()).layer(service);
        let service = option_layer(route.maintenance.clone()).layer(service);
        Some(self.outside(route, BoxCloneSyncService::new(service)))
    }

    /// Whoever asks is recognised, and limited.
    fn asked<B, S>(
        &self,
        route: &RoutePlan,
        service: S,
    ) -> impl Service<Request<B>, Response = Answer<B>, Error = Infallible, Future: Send + 'static>
    + Clone
    + Send
    + Sync
    + 'static
    + use<B, S>
    where
        B: RequestStream,
        S: Service<Request<B>, Response = Answer<B>, Error = Infallible> + Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
    {
        let auth = self.auth_of(route);
        let limit = route.limits_within().next().map(|limit| self.limit(limit));
        let service = option_layer(route.headers.clone()).layer(service);
        let service = option_layer(limit).layer(service);
        option_layer(auth).layer(service)
    }

    /// A layer that takes the time, where answers tell of it.
    fn timed(&self, layer: impl FnOnce() -> ServerTimingLayer) -> Option<ServerTimingLayer> {
        self.plan.server_timing.then(layer)
    }

    fn auth_of(&self, route: &RoutePlan) -> Option<AuthLayer> {
        self.auth.get(route.auth.as_ref()?.layer).cloned()
    }

    /// Whether requests to a service carry a token that says who calls.
    fn asserts(&self, service: &str) -> bool {
        self.plan.services.get(service).is_some_and(|service| service.assertion)
    }

    /// A limit over this worker's own connection to the store.
    fn limit(&self, limit: &RouteLimit) -> RateLimitLayer {
        limit.layer.with_store(self.store.clone())
    }

    /// Some of a route's limits, all or nothing. Where there are others, they tell clients of the tightest of all.
    fn limited<'a, B: RequestStream>(
        &self,
        service: Guarded<B>,
        route: &RoutePlan,
        limits: impl Iterator<Item = &'a RouteLimit>,
    ) -> Guarded<B> {
        let limits: Vec<_> = limits.map(|limit| self.limit(limit)).collect();
        match limits.as_slice() {
            [] => service,
            [only] if route.rate_limits.len() == 1 => BoxCloneSyncService::new(only.layer(service)),
            _ => BoxCloneSyncService::new(RateLimitsLayer::new(limits).layer(service)),
        }
    }

    /// What every request of a route passes, whoever answers it.
    fn outside<B, S>(&self, route: &RoutePlan, service: S) -> RouteStack<B>
    where
        B: RequestStream,
        S: Service<Request<B>, Response = Answer<B>, Error = Infallible> + Clone + 'static,
        S::Future: 'static,
    {
        let service_name = route.service.clone().unwrap_or_default();
        let labels = RouteLabels { endpoint: route.name.clone(), service: service_name };
        let service = option_layer(route.security_headers.clone()).layer(service);
        let service = option_layer(route.cors.clone()).layer(service);
        let service = CatchPanicLayer.layer(service);
        let service = self.plan.problems.layer(service);
        let service = option_layer(self.timed(ServerTimingLayer::around_all)).layer(service);
        let mut observe = self.observers.layer(labels);
        if route.cache.is_some() {
            observe = observe.with_cache();
        }
        let service = observe.layer(service);
        let service = option_layer(route.correlation_id.clone()).layer(service);
        Rc::new(Stack::new(service))
    }

    /// Who answers: the service's endpoints, behind the policies that few routes have.
    fn end<B>(&self, route: &RoutePlan) -> Option<End<B>>
    where
        B: RequestStream,
    {
        let accounts = self.plan.identity.as_ref().filter(|_| route.identity);
        let mut end = match (&route.respond, &route.service) {
            (Some(respond), _) => End::guarded(respond.layer(Refuse::new())),
            (None, _) if accounts.is_some() => End::guarded(accounts?.accounts.clone()),
            (None, _) if route.jwks => {
                let keys = Jwks { plan: self.plan.clone(), store: self.store.clone() };
                End::guarded(service_fn(move |_| keys.clone().answer()))
            }
            (None, Some(name)) if route.grpc_web => {
                let (plain, web) = (self.service(name, route)?, self.service(name, route)?);
                End::guarded(PerRequest::new(plain, web))
            }
            (None, Some(name)) => self.service(name, route)?,
            (None, None) => End::guarded(Refuse::new()),
        };
        if let Some(timed) = self.timed(ServerTimingLayer::around_service)
            && route.respond.is_none()
            && route.service.is_some()
        {
            end = End::guarded(timed.layer(end));
        }
        if let Some(class) = route.class {
            end = End::guarded(end.map_request(move |mut request: Request<B>| {
                request.extensions_mut().insert(class);
                request
            }));
        }
        if let Some((_, concurrency)) = route.concurrency.as_deref() {
            end = End::guarded(concurrency.layer(end).map_response(|answer| answer.map(AnyBody::boxed)));
        }
        if let Some(fault) = &route.fault {
            end = End::guarded(fault.layer(end).map_response(|answer| answer.map(AnyBody::boxed)));
        }
        if let Some(via) = &self.plan.via {
            end = End::guarded(via.layer(end));
        }
        if let Some(rewrite) = &route.rewrite {
            end = End::guarded(rewrite.layer(end));
        }
        Some(end)
    }

    /// A service's endpoints, and who is asked where they do not answer.
    fn service<B: RequestStream>(&self, name: &str, route: &RoutePlan) -> Option<End<B>> {
        let credentialed = |name: &str, balance: Balance<HttpUpstream>| {
            let end = End::Balance(balance);
            Some(match &self.plan.services.get(name)?.outbound {
                Some(outbound) => End::guarded(outbound.layer(end)),
                None => end,
            })
        };
        // What a service bears and how often it fails is its own, whoever stands in for it.
        let bounded = |name: &str, mut end: End<B>| {
            let service = self.plan.services.get(name)?;
            if let Some(adaptive) = &service.adaptive {
                end = End::guarded(adaptive.layer(end));
            }
            if let Some(admission) = &service.admission {
                end = End::guarded(admission.layer(end));
            }
            Some(end)
        };
        let mut balance = self.balances.get(name)?.clone();
        if let Some((_, circuit)) = route.circuit.as_deref() {
            balance = balance.with_circuit(circuit.clone());
        }
        if let Some(own) = &route.balancing {
            balance = balance.with_settings(own.clone());
        }
        let end = credentialed(name, balance)?;
        let end = bounded(name, end)?;
        let Some((fallback, other)) =
            route.fallback.as_deref().and_then(|to| Some((to, to.service.as_deref()?)))
        else {
            return Some(end);
        };
        let asked = FallbackSettings { respond: None, ..fallback.clone() };
        let other = bounded(other, credentialed(other, self.balances.get(other)?.clone())?)?;
        let layer = FallbackLayer::new(&asked, Some(other)).ok()?;
        Some(End::guarded(layer.layer(end)))
    }

    /// What answers with what the edge found: counted, logged and shown like all others.
    fn refusing<B>(&self, endpoint: &str, service: &str) -> RouteStack<B>
    where
        B: RequestStream,
    {
        let labels = RouteLabels { endpoint: endpoint.to_owned(), service: service.to_owned() };
        let service = self.plan.problems.layer(Refuse::new());
        let service = option_layer(self.timed(ServerTimingLayer::around_all)).layer(service);
        let service = self.observers.layer(labels).layer(service);
        let service = option_layer(self.plan.correlation_id.clone()).layer(service);
        Rc::new(Stack::new(service))
    }
}
