//! One worker's edge, put together from the plan. The order of a route's layers is read from below: the last is
//! the first to see a request.

use crate::config::{Plan, RoutePlan};
use crate::end::{Answer, AnyBody, End, RequestStream};
use crate::fallback::Refuse;
use crate::panic::CatchPanicLayer;
use crate::stack::{Edge, RouteService, Stack};
use gateway_auth::AuthLayer;
use gateway_balance::Balance;
use gateway_core::Endpoint;
use gateway_observe::{Lines, Metrics, ObserveLayer, RouteLabels};
use gateway_store::Store;
use gateway_upstream::{HttpUpstream, UpstreamSettings, UpstreamTls};
use http::Request;
use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::convert::Infallible;
use std::rc::Rc;
use std::sync::Arc;
use tower::util::{BoxCloneSyncService, option_layer};
use tower::{Layer, Service, ServiceExt};

/// What one worker observes with.
#[derive(Clone, Default)]
pub(crate) struct Observers {
    pub(crate) metrics: Option<Metrics>,
    pub(crate) lines: Option<Lines>,
}

impl Observers {
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

impl Connected {
    fn is_by(&self, settings: &UpstreamSettings, tls: Option<&UpstreamTls>) -> bool {
        let same_files = match (&self.tls, tls) {
            (None, None) => true,
            (Some(before), Some(now)) => now.has_files_of(before),
            _ => false,
        };
        same_files && self.settings == *settings
    }
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
                let kept = upstreams.remove(&key).filter(|kept| kept.is_by(settings, service.tls.as_ref()));
                let connected = kept.unwrap_or_else(|| {
                    let (settings, tls) = (settings.clone(), service.tls.clone());
                    let upstream = HttpUpstream::with_tls(endpoint.clone(), settings.clone(), tls.clone());
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
        let worker = Worker { plan: plan.clone(), observers: self.observers.clone(), balances, auth };
        Edge {
            routes: plan.table.map(|_, ()| OnceCell::new()),
            fallback: worker.fallback(),
            stacks: Box::new(move |index| worker.stack(&worker.plan.routes[index])),
            client_ip: plan.client_ip.clone(),
            underscores: plan.underscores,
            normalize: plan.normalize,
            max_head: plan.connections.max_head,
            identity_headers: Plan::identity_headers(),
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
}

impl Worker {
    /// The layers of a route, the last to see a request first.
    fn stack<B>(&self, route: &RoutePlan) -> Option<Rc<dyn RouteService<B>>>
    where
        B: RequestStream,
    {
        let auth = route.auth.as_ref().and_then(|auth| self.auth.get(auth.layer)).cloned();
        let service = self.end(route)?;
        let service = option_layer(route.strip.as_ref().map(|(_, layer)| layer.clone())).layer(service);
        let service = self.plan.forwarded.layer(service);
        let service = option_layer(route.headers.clone()).layer(service);
        let service = option_layer(route.rate_limit.as_ref().map(|(_, layer)| layer.clone())).layer(service);
        let service = option_layer(auth).layer(service);
        if route.redirect.is_none() && route.maintenance.is_none() && route.max_body.is_none() {
            return Some(self.outside(route, service));
        }
        let service = option_layer(route.max_body).layer(service);
        let service = option_layer(route.redirect.clone()).layer(service);
        let service = option_layer(route.maintenance.clone()).layer(service);
        Some(self.outside(route, BoxCloneSyncService::new(service)))
    }

    /// What every request of a route passes, whoever answers it.
    fn outside<B, S>(&self, route: &RoutePlan, service: S) -> Rc<dyn RouteService<B>>
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
        let service = self.observers.layer(labels).layer(service);
        let service = option_layer(route.correlation_id.clone()).layer(service);
        Rc::new(Stack::new(service))
    }

    /// Who answers: the service's endpoints, behind the policies that few routes have.
    fn end<B>(&self, route: &RoutePlan) -> Option<End<B>>
    where
        B: RequestStream,
    {
        let mut end = match (&route.respond, &route.service) {
            (Some(respond), _) => End::guarded(respond.layer(Refuse::new())),
            (None, Some(name)) => End::Balance(self.balances.get(name.as_str())?.clone()),
            (None, None) => End::guarded(Refuse::new()),
        };
        if let Some(service) = route.service.as_ref().and_then(|name| self.plan.services.get(name)) {
            if let Some(adaptive) = &service.adaptive {
                end = End::guarded(adaptive.layer(end));
            }
            if let Some(admission) = &service.admission {
                end = End::guarded(admission.layer(end));
            }
        }
        if let Some((_, concurrency)) = &route.concurrency {
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

    /// What answers requests that no route takes: counted, logged and shown like all others.
    fn fallback<B>(&self) -> Rc<dyn RouteService<B>>
    where
        B: RequestStream,
    {
        let labels = RouteLabels { endpoint: "unmatched".to_owned(), service: String::new() };
        let service = self.plan.problems.layer(Refuse::new());
        let service = self.observers.layer(labels).layer(service);
        let service = option_layer(self.plan.correlation_id.clone()).layer(service);
        Rc::new(Stack::new(service))
    }
}
