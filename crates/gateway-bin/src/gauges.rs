//! What is counted where it happens, and told to the metrics only when they are read.

use crate::body_limit::BodyLimitLayer;
use crate::config::{LimitPlan, Plan, RoutePlan, ServicePlan};
use crate::live::View;
use crate::seats::Seats;
use arc_swap::ArcSwap;
use gateway_balance::{CircuitState, EndpointSet};
use gateway_core::{CacheResult, Mode};
use gateway_observe::{AccessLog, Metrics, snapshot};
use gateway_overload::Priority;
use std::collections::HashMap;
use std::sync::{Arc, Weak};

/// Where it is counted.
pub(crate) struct Gauges {
    pub(crate) view: Arc<ArcSwap<View>>,
    pub(crate) seats: Seats,
    pub(crate) log: Option<Weak<AccessLog>>,
}

impl Gauges {
    /// The metrics of what there is now: those of a route, a service or an endpoint go with it.
    pub(crate) fn render(&self) -> String {
        snapshot(|metrics| self.tell(metrics))
    }

    fn tell(&self, metrics: &Metrics) {
        let view = self.view.load();
        for set in &view.services {
            tell_service(metrics, set);
        }
        for route in &view.plan.routes {
            tell_limits(metrics, route, view.plan.store.is_shared());
        }
        tell_overload_of_routes(metrics, &view.plan.routes);
        tell_caches(metrics, &view.plan.routes);
        for (name, service) in &view.plan.services {
            tell_overload_of_service(metrics, name, service);
            if service.connection.max_connections.is_some() || view.plan.upstream_connections.is_some() {
                let refused = service.set.refused_by_connections();
                tell_refused(metrics, "connections", name, Mode::Enforce, refused);
            }
        }
        for (name, limit) in &view.plan.limits {
            tell_quota(metrics, name, limit);
        }
        tell_cache_store(metrics, &view.plan);
        tell_auth(metrics, &view.plan);
        self.tell_clients(metrics);
        if let Some(log) = self.log.as_ref().and_then(Weak::upgrade) {
            metrics.counter("gateway_access_log_dropped_total", Vec::new()).absolute(log.dropped());
        }
    }
}

impl Gauges {
    fn tell_clients(&self, metrics: &Metrics) {
        for (worker, taken) in self.seats.taken().enumerate() {
            let labels = vec![("worker", worker.to_string())];
            metrics.gauge("gateway_worker_connections", labels).set(taken as f64);
        }
        let doorway = self.seats.doorway();
        metrics.gauge("gateway_max_connections", Vec::new()).set(doorway.most() as f64);
        metrics.counter("gateway_max_connections_reached_total", Vec::new()).absolute(doorway.times_full());
        metrics.counter("gateway_connections_refused_total", Vec::new()).absolute(doorway.refused());
    }
}

fn tell_service(metrics: &Metrics, set: &EndpointSet) {
    let service = || ("service", set.name().to_owned());
    metrics.counter("gateway_upstream_retries_total", vec![service()]).absolute(set.retries());
    metrics.counter("gateway_upstream_hedges_total", vec![service()]).absolute(set.hedges());
    metrics.counter("gateway_upstream_hedges_won_total", vec![service()]).absolute(set.hedges_won());
    metrics.gauge("gateway_upstream_panic", vec![service()]).set(flag(set.is_panicking()));
    metrics.gauge("gateway_upstream_stuck", vec![service()]).set(flag(set.is_stuck()));
    metrics.gauge("gateway_upstream_circuit_open", vec![service()]).set(flag(is_open(set.circuit())));
    for state in set.states() {
        let labels = || vec![service(), ("endpoint", state.endpoint.to_string())];
        metrics.gauge("gateway_upstream_healthy", labels()).set(flag(state.healthy && !state.failing));
        metrics.gauge("gateway_upstream_in_flight", labels()).set(state.in_flight as f64);
        metrics.gauge("gateway_upstream_ejected", labels()).set(flag(state.ejected));
        metrics.counter("gateway_upstream_ejections_total", labels()).absolute(state.ejections);
        metrics.gauge("gateway_endpoint_circuit_open", labels()).set(flag(is_open(state.circuit)));
    }
}

/// Requests that a policy refused, or only would have: `name` is the route's or the service's.
fn tell_refused(metrics: &Metrics, policy: &str, name: &str, mode: Mode, count: u64) {
    let result = if mode == Mode::Report { "would_refuse" } else { "refused" };
    let labels = [("policy", policy), ("name", name), ("result", result)];
    let labels = labels.into_iter().map(|(label, value)| (label, value.to_owned())).collect();
    metrics.counter("gateway_overload_total", labels).absolute(count);
}

fn tell_overload_of_service(metrics: &Metrics, name: &str, service: &ServicePlan) {
    let labels = || vec![("service", name.to_owned())];
    let (set, policy) = (&service.set, service.set.policy());
    if policy.limits.max_requests.is_some() || policy.limits.max_requests_per_endpoint.is_some() {
        tell_refused(metrics, "limits", name, policy.limits.mode, set.refused_by_limits());
    }
    if policy.bulkhead.max_waiting > 0 {
        tell_refused(metrics, "bulkhead", name, policy.bulkhead.mode, set.refused_by_bulkhead());
    }
    if let Some(circuit) = policy.circuit.on() {
        tell_refused(metrics, "circuit", name, circuit.mode, set.refused_by_circuit());
    }
    if let Some(circuit) = policy.endpoint_circuit.on() {
        let refused = set.refused_by_endpoint_circuits();
        tell_refused(metrics, "endpoint-circuit", name, circuit.mode, refused);
    }
    if let Some(adaptive) = &service.adaptive {
        tell_refused(metrics, "adaptive", name, adaptive.mode(), adaptive.refused());
        metrics.gauge("gateway_adaptive_limit", labels()).set(f64::from(adaptive.limit()));
        metrics.gauge("gateway_adaptive_in_flight", labels()).set(f64::from(adaptive.in_flight()));
    }
    if let Some(admission) = &service.admission {
        let refused = Priority::ALL.map(|class| admission.refused(class)).iter().sum();
        tell_refused(metrics, "admission", name, admission.mode(), refused);
        for class in Priority::ALL {
            let labels = labels().into_iter().chain([("class", class.name().to_owned())]).collect();
            metrics.gauge("gateway_admission_shed_ratio", labels).set(admission.probability(class));
        }
    }
}

/// Of routes that share a name, the sums.
fn tell_overload_of_routes(metrics: &Metrics, routes: &[RoutePlan]) {
    let mut refused = HashMap::<_, u64>::new();
    let (mut taken, mut open) = (HashMap::<_, (u64, u64)>::new(), HashMap::<_, bool>::new());
    let mut faulty = HashMap::<_, u64>::new();
    for route in routes {
        let name = route.name.as_str();
        if let Some((_, limit)) = route.concurrency.as_deref() {
            *refused.entry(("concurrency", name, limit.mode())).or_default() += limit.refused();
            let (in_flight, waiting) = taken.entry(name).or_default();
            *in_flight += limit.in_flight();
            *waiting += limit.waiting();
        }
        if let Some(count) = route.max_body.as_ref().and_then(BodyLimitLayer::would_refuse) {
            *refused.entry(("max-body", name, Mode::Report)).or_default() += count;
        }
        if let Some((_, circuit)) = route.circuit.as_deref() {
            *refused.entry(("route-circuit", name, circuit.mode())).or_default() += circuit.refused();
            *open.entry(name).or_default() |= is_open(circuit.state());
        }
        if let Some(fault) = &route.fault {
            *faulty.entry(name).or_default() += fault.injected();
        }
    }
    for ((policy, name, mode), count) in refused {
        tell_refused(metrics, policy, name, mode, count);
    }
    let labels = |name: &str| vec![("route", name.to_owned())];
    for (name, (in_flight, waiting)) in taken {
        metrics.gauge("gateway_concurrency_in_flight", labels(name)).set(in_flight as f64);
        metrics.gauge("gateway_concurrency_waiting", labels(name)).set(waiting as f64);
    }
    for (name, open) in open {
        metrics.gauge("gateway_route_circuit_open", labels(name)).set(flag(open));
    }
    for (name, count) in faulty {
        metrics.counter("gateway_faults_injected_total", labels(name)).absolute(count);
    }
}

/// `shared` where the limits' counts stand in a store, which may be away.
fn tell_limits(metrics: &Metrics, route: &RoutePlan, shared: bool) {
    for limit in &route.rate_limits {
        let labels = || vec![("limit", limit.name.clone()), ("route", route.name.clone())];
        let counts = limit.layer.counts();
        for (result, count) in
            [("allowed", counts.allowed), ("limited", counts.limited), ("would_limit", counts.would_limit)]
        {
            let labels = labels().into_iter().chain([("result", result.to_owned())]).collect();
            metrics.counter("gateway_rate_limit_total", labels).absolute(count);
        }
        if let Some(unsettled) = limit.layer.unsettled() {
            metrics.counter("gateway_rate_limit_unsettled_total", labels()).absolute(unsettled);
        }
        if shared {
            let counter = metrics.counter("gateway_rate_limit_without_store_total", labels());
            counter.absolute(counts.without_store);
        }
    }
}

/// Of routes that share a name, the sums.
fn tell_caches(metrics: &Metrics, routes: &[RoutePlan]) {
    let mut sums = HashMap::<_, u64>::new();
    for route in routes {
        let Some(cache) = &route.cache else { continue };
        for result in CacheResult::ALL {
            *sums.entry((route.name.as_str(), result.name())).or_default() += cache.layer.count(result);
        }
    }
    for ((name, result), count) in sums {
        let labels = vec![("route", name.to_owned()), ("result", result.to_owned())];
        metrics.counter("gateway_cache_total", labels).absolute(count);
    }
}

fn tell_quota(metrics: &Metrics, name: &str, limit: &LimitPlan) {
    let Some(counts) = limit.layer.quota_counts() else { return };
    for (percent, count) in [("80", counts.at_80), ("100", counts.at_100)] {
        let labels = vec![("limit", name.to_owned()), ("percent", percent.to_owned())];
        metrics.counter("gateway_quota_events_total", labels).absolute(count);
    }
}

fn tell_cache_store(metrics: &Metrics, plan: &Plan) {
    if let Some(cache) = &plan.cache {
        metrics.gauge("gateway_cache_bytes", Vec::new()).set(cache.store.used().bytes() as f64);
        metrics.gauge("gateway_cache_entries", Vec::new()).set(cache.store.len() as f64);
    }
}

/// Whether those answer who decide about credentials.
fn tell_auth(metrics: &Metrics, plan: &Plan) {
    for (name, plan) in &plan.auth.methods {
        if let Some(answered) = plan.method.answered() {
            metrics.gauge("gateway_auth_up", vec![("auth", name.clone())]).set(flag(answered));
        }
    }
    if let Some(identity) = plan.identity.as_ref().and_then(|plan| plan.accounts.identity()) {
        metrics.gauge("gateway_accounts_up", Vec::new()).set(flag(!identity.is_away()));
    }
}

/// As metrics say yes and no.
pub(crate) fn flag(on: bool) -> f64 {
    f64::from(u8::from(on))
}

pub(crate) fn is_open(circuit: CircuitState) -> bool {
    circuit == CircuitState::Open
}
