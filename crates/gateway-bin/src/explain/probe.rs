//! The request on its way through the stacks.

use super::authorization::{Authorization, authorization};
use super::recorder::Recorder;
use super::request::{Asked, Limits};
use crate::assemble::{Assembly, Observers};
use crate::config::{AuthPlan, Config, Plan};
use crate::hops;
use gateway_balance::{BalanceSettings, EndpointSet, RetrySettings, Strategy};
use gateway_core::units::Short;
use gateway_core::{ClientAddr, Endpoint, Problem};
use gateway_routing::{Explanation, Outcome};
use gateway_server::RequestBody;
use gateway_store::Store;
use gateway_upstream::UpstreamSettings;
use http::{HeaderMap, StatusCode};
use std::io;
use std::sync::Arc;

/// What became of the request.
pub(super) enum Probed {
    /// The edge refused it before any route was looked for.
    Refused(Box<Problem>),
    /// Routes were looked at.
    Looked(Box<Looked>),
}

/// What routes made of a request.
pub(super) struct Looked {
    /// The target that they were looked up by.
    pub(super) target: String,
    pub(super) client: Option<ClientAddr>,
    pub(super) explanation: Explanation,
    /// What `authorize` says of the caller.
    pub(super) authorization: Vec<Authorization>,
    /// The limits of its route, and what they count it under; nothing where one does not apply.
    pub(super) counted: Vec<(String, Option<String>)>,
    pub(super) end: End,
}

/// Where its way ended.
pub(super) enum End {
    /// At the service, which got this head. It says `host` where its own address is meant.
    Service { head: String, host: Endpoint },
    /// At the gateway, which answered.
    Gateway { status: StatusCode, headers: HeaderMap },
}

impl End {
    /// What the gateway answered, or this where it asked the service.
    pub(super) fn status_or(&self, other: StatusCode) -> u16 {
        match self {
            Self::Gateway { status, .. } => status.as_u16(),
            Self::Service { .. } => other.as_u16(),
        }
    }
}

pub(super) async fn probe(config: &Config, asked: &Asked) -> io::Result<Probed> {
    let Config { settings, plan } = config;
    let limits = Limits { max_head: plan.connections.max_head, max_headers: settings.server.max_headers };
    let (mut request, live) = match (asked.request(&limits), asked.request(&limits)) {
        (Ok(request), Ok(live)) => (request, live),
        (Err(problem), _) | (_, Err(problem)) => return Ok(Probed::Refused(problem)),
    };
    let recorder = Recorder::start().await?;
    let in_force = plan;
    let plan = Arc::new(harmless(in_force, &recorder.endpoint));
    let edge = Assembly::new(&plan, Observers::default()).edge::<RequestBody>(&plan);
    if let Err(problem) = edge.receive(&mut request, asked.client()) {
        return Ok(Probed::Refused(problem));
    }
    let asks = hops::preflighted(&request).filter(|_| edge.preflight(&mut request).is_some());
    // A browser that asks for leave is answered by the route of what it is to send.
    let method = asks.map(|asked| std::mem::replace(request.method_mut(), asked));
    let explanation = edge.routes.explain(&request);
    method.into_iter().for_each(|method| *request.method_mut() = method);
    let mut counted = Vec::new();
    let authorization = match &explanation.outcome {
        Outcome::Found { index, params } => {
            if let Some(caller) = &asked.caller {
                request.extensions_mut().insert(caller.clone());
            }
            let limits = &in_force.routes[*index].rate_limits;
            counted = limits.iter().map(|limit| (limit.name.clone(), limit.layer.key_of(&request))).collect();
            if let Some(params) = params {
                request.extensions_mut().insert(params.clone());
            }
            authorization(&in_force.routes[*index], asked.caller.as_ref(), &request)
        }
        Outcome::MethodNotAllowed { .. } | Outcome::NotFound => Vec::new(),
    };
    let target = request.uri().to_string();
    let client = request.extensions().get().copied();
    let answer = match edge.call(live, asked.client()).await {
        Ok(answer) => answer,
        Err(never) => match never {},
    };
    let host = recorder.endpoint.clone();
    let end = match recorder.finish().await {
        Some(head) => End::Service { head, host },
        None => End::Gateway { status: answer.status(), headers: answer.headers().clone() },
    };
    Ok(Probed::Looked(Box::new(Looked { target, client, explanation, authorization, counted, end })))
}

/// The same plan without what asks or counts somebody, or fails on purpose, and with one endpoint for all services.
fn harmless(plan: &Plan, endpoint: &Endpoint) -> Plan {
    let mut plan = plan.clone();
    plan.store = Store::memory();
    plan.auth = AuthPlan::default();
    plan.cache = None;
    plan.identity = None;
    for route in &mut plan.routes {
        (route.auth, route.cache, route.concurrency, route.fault) = (None, None, None, None);
        route.circuit = None;
        (route.authorize, route.cedar) = (None, None);
        (route.identity_headers, route.fallback) = (None, None);
        route.rate_limits.clear();
    }
    for (name, service) in &mut plan.services {
        service.set = EndpointSet::new(name, vec![endpoint.clone()], Strategy::default());
        let retry = Short(RetrySettings { attempts: 1, ..RetrySettings::default() });
        service.balancing = BalanceSettings { retry, ..BalanceSettings::default() };
        service.connection =
            UpstreamSettings { host: service.connection.host, ..UpstreamSettings::default() };
        (service.adaptive, service.admission, service.outbound) = (None, None, None);
        service.assertion = false;
    }
    plan
}
