//! One worker's edge, put together from the plan. The order of a route's layers is read from below: the last is
//! the first to see a request.

use crate::config::{Plan, RoutePlan};
use crate::fallback::Refuse;
use crate::panic::CatchPanicLayer;
use crate::stack::{Edge, RouteService, Stack};
use bytes::Bytes;
use gateway_auth::JwtLayer;
use gateway_balance::Balance;
use gateway_core::BoxError;
use gateway_observe::{Lines, Metrics, ObserveLayer, RouteLabels};
use gateway_routing::RouteTable;
use gateway_upstream::HttpUpstream;
use http_body::Body;
use std::collections::BTreeMap;
use std::rc::Rc;
use tower::Layer;
use tower::util::option_layer;

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

/// The edge of one worker: its own pools and connections, with limits, health and verified tokens shared.
pub(crate) fn edge<B>(plan: &Plan, observers: &Observers) -> Edge<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    let worker = Worker {
        plan,
        observers,
        balances: plan
            .services
            .iter()
            .map(|(name, service)| {
                let connect =
                    |endpoint: &_| HttpUpstream::new(Clone::clone(endpoint), service.connection.clone());
                (name.as_str(), Balance::new(service.set.clone(), &service.balancing, connect))
            })
            .collect(),
        jwt: plan.jwt.iter().map(|(name, layer)| (name.as_str(), layer.per_worker())).collect(),
    };
    let routes = plan.routes.iter().filter_map(|route| Some((route.matches.clone(), worker.stack(route)?)));
    Edge {
        // Checked when the plan was made: there are no conflicts.
        routes: RouteTable::build(routes.collect()).unwrap_or_else(|_| RouteTable::empty()),
        fallback: worker.fallback(),
        normalize: plan.normalize,
        max_head: plan.max_head,
        identity_headers: Plan::identity_headers(),
    }
}

struct Worker<'p> {
    plan: &'p Plan,
    observers: &'p Observers,
    balances: BTreeMap<&'p str, Balance<HttpUpstream>>,
    jwt: BTreeMap<&'p str, JwtLayer>,
}

impl Worker<'_> {
    fn stack<B>(&self, route: &RoutePlan) -> Option<Rc<dyn RouteService<B>>>
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<BoxError>,
    {
        let labels = RouteLabels { endpoint: route.name.clone(), service: route.service.clone() };
        let auth = route.auth.as_deref().and_then(|name| self.jwt.get(name)).cloned();
        let service = self.balances.get(route.service.as_str())?.clone();
        let service = option_layer(route.strip.as_ref().map(|(_, layer)| layer.clone())).layer(service);
        let service = self.plan.forwarded.layer(service);
        let service = option_layer(route.headers.clone()).layer(service);
        let service = option_layer(route.default_headers.clone()).layer(service);
        let service = option_layer(route.rate_limit.as_ref().map(|(_, layer)| layer.clone())).layer(service);
        let service = option_layer(auth).layer(service);
        let service = option_layer(route.security_headers.clone()).layer(service);
        let service = option_layer(route.cors.clone()).layer(service);
        let service = CatchPanicLayer.layer(service);
        let service = self.plan.problems.layer(service);
        let service = self.observers.layer(labels).layer(service);
        let service = option_layer(route.correlation_id.clone()).layer(service);
        Some(Rc::new(Stack::new(service)))
    }

    /// What answers requests that no route takes: counted, logged and shown like all others.
    fn fallback<B>(&self) -> Rc<dyn RouteService<B>>
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<BoxError>,
    {
        let labels = RouteLabels { endpoint: "unmatched".to_owned(), service: String::new() };
        let service = self.plan.problems.layer(Refuse::new());
        let service = self.observers.layer(labels).layer(service);
        let service = option_layer(self.plan.correlation_id.clone()).layer(service);
        Rc::new(Stack::new(service))
    }
}
