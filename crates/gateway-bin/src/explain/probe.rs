//! The request on its way through the stacks.

use super::authorization::{Authorization, authorization};
use super::recorder::Recorder;
use super::request::{Asked, Limits};
use crate::assemble::{Assembly, Observers};
use crate::config::{Config, Plan, RouteLimit, RoutePlan, ServicePlan, join};
use crate::hops;
use bytes::Bytes;
use gateway_auth::{OutboundCredentialsLayer, OutboundHeader, OutboundSettings};
use gateway_balance::{BalanceSettings, EndpointSet, RetrySettings, Strategy};
use gateway_core::units::Short;
use gateway_core::{ClientAddr, Endpoint, Problem};
use gateway_routing::{Explanation, Outcome};
use gateway_store::Store;
use http::header::AUTHORIZATION;
use http::{HeaderMap, Request, Response, StatusCode};
use serde::Serialize;
use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use tower::util::option_layer;
use tower::{Layer, ServiceExt, service_fn};

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
    /// Whether the client is sent to that target, before it meets a policy.
    pub(super) moved: bool,
    pub(super) client: Option<ClientAddr>,
    pub(super) explanation: Explanation,
    /// What `authorize` says of the caller.
    pub(super) authorization: Vec<Authorization>,
    /// What the limits of its route make of it.
    pub(super) counted: Vec<Counted>,
    /// Where its route has a cache: what that finds an answer by, if it is asked.
    pub(super) cached: Option<Option<String>>,
    pub(super) end: End,
}

/// What a limit makes of it.
#[derive(Debug, Serialize)]
pub(super) struct Counted {
    pub(super) limit: String,
    /// What it is counted under; nothing where the limit is not for it.
    pub(super) key: Option<String>,
    /// The tier whose limits it has to meet, where there are several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tier: Option<String>,
    /// How much is left there, where this process counts and knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) left: Option<u32>,
}

/// Where its way ended.
pub(super) enum End {
    /// At the service, which got this head. It says `host` where its own address is meant.
    Service { head: String, host: Endpoint },
    /// At the gateway's accounts.
    Accounts,
    /// At the gateway, which answered.
    Gateway { status: StatusCode, headers: HeaderMap },
}

impl End {
    /// What the gateway answered, or this where it asked the service.
    pub(super) fn status_or(&self, other: StatusCode) -> u16 {
        match self {
            Self::Gateway { status, .. } => status.as_u16(),
            Self::Service { .. } | Self::Accounts => other.as_u16(),
        }
    }
}

pub(super) async fn probe(config: &Config, asked: &Asked) -> io::Result<Probed> {
    let Config { settings, plan: in_force } = config;
    let limits = Limits { max_head: in_force.connections.max_head, max_headers: settings.server.max_headers };
    let (mut request, live) = match (asked.request(&limits), asked.request(&limits)) {
        (Ok(request), Ok(live)) => (request, live),
        (Err(problem), _) | (_, Err(problem)) => return Ok(Probed::Refused(problem)),
    };
    let recorder = Recorder::start().await?;
    let plan = Arc::new(harmless(config, asked, &request, &recorder.endpoint));
    let edge = Assembly::new(&plan, Observers::default()).edge(&plan);
    let moved = match edge.receive(&mut request, asked.client()) {
        Ok(moved) => moved.is_some() && !hops::is_ping(&request),
        Err(problem) => return Ok(Probed::Refused(problem)),
    };
    let asks = hops::preflighted(&request).filter(|_| !moved && edge.preflight(&mut request).is_some());
    // A browser that asks for leave is answered by the route of what it is to send.
    let method = asks.map(|asked| std::mem::replace(request.method_mut(), asked));
    let explanation = edge.routes.explain(&request);
    method.into_iter().for_each(|method| *request.method_mut() = method);
    let (target, client) = (request.uri().to_string(), request.extensions().get().copied());
    let (mut counted, mut authorized, mut cached) = (Vec::new(), Vec::new(), None);
    if let (Outcome::Found { index, params }, false) = (&explanation.outcome, moved) {
        let route = &in_force.routes[*index];
        if let Some(params) = params {
            request.extensions_mut().insert(params.clone());
        }
        // Those that count failures stand where nobody is recognised yet.
        let keys = |within: bool, request: &Request<_>| {
            let limits = route.rate_limits.iter().filter(|limit| limit.counts_failures != within);
            let counted = limits.map(|RouteLimit { name, layer, .. }| {
                let layer = layer.with_store(in_force.store.clone());
                let left = asked.live.then(|| layer.left_to(request)).flatten();
                Counted {
                    limit: name.clone(),
                    key: layer.key_of(request),
                    tier: layer.tier_of(request),
                    left,
                }
            });
            counted.collect::<Vec<_>>()
        };
        counted = keys(false, &request);
        if let Some(caller) = asked.caller.as_ref().filter(|_| route.auth.is_some()) {
            request.extensions_mut().insert(caller.clone());
        }
        counted.extend(keys(true, &request));
        authorized = authorization(route, asked.caller.as_ref(), &request);
        cached = cache_key(&plan, &plan.routes[*index], route, request.map(drop)).await;
    }
    let answer = match edge.call(live, asked.client()).await {
        Ok(answer) => answer,
        Err(never) => match never {},
    };
    let host = recorder.endpoint.clone();
    let end = match (recorder.finish().await, &explanation.outcome) {
        (Some(_), Outcome::Found { index, .. }) if in_force.routes[*index].identity => End::Accounts,
        (Some(head), _) => End::Service { head, host },
        (None, _) => End::Gateway { status: answer.status(), headers: answer.headers().clone() },
    };
    let authorization = authorized;
    let looked = Looked { target, moved, client, explanation, authorization, counted, cached, end };
    Ok(Probed::Looked(Box::new(looked)))
}

/// What a route's cache finds an answer by: it stands behind who takes credentials and sets headers. The cache itself
/// is the one in force, and only asked for that.
async fn cache_key(
    plan: &Plan,
    harmless: &RoutePlan,
    in_force: &RoutePlan,
    request: Request<()>,
) -> Option<Option<String>> {
    let cache = in_force.cache.as_ref()?.layer.clone();
    let keyed = service_fn(move |request: Request<()>| {
        let mut answer = Response::new(Bytes::new());
        answer.extensions_mut().insert(cache.key_of(&request));
        std::future::ready(Ok::<_, Infallible>(answer))
    });
    let auth = harmless.auth.as_ref().and_then(|auth| plan.auth.layers.get(auth.layer));
    let service = option_layer(harmless.headers.clone()).layer(keyed);
    let answer = option_layer(auth.cloned()).layer(service).oneshot(request).await;
    let answer = match answer {
        Ok(answer) => answer,
        Err(never) => match never {},
    };
    Some(answer.extensions().get::<Option<String>>().cloned().flatten())
}

/// What stands in for the gateway's accounts.
const ACCOUNTS: &str = "the gateway's accounts";

/// The same plan without what asks or counts somebody, or fails on purpose, and with one endpoint for all services.
/// Credentials are taken out and put in where they are, but nobody looks at the former, and the latter are only named.
fn harmless<B>(config: &Config, asked: &Asked, request: &Request<B>, endpoint: &Endpoint) -> Plan {
    let mut plan = Plan::clone(&config.plan);
    plan.store = Store::memory();
    for layer in &mut plan.auth.layers {
        *layer = layer.unasked(asked.caller.as_ref());
    }
    plan.cache = None;
    plan.identity = None;
    for route in &mut plan.routes {
        (route.cache, route.invalidates, route.concurrency, route.fault) = (None, None, None, None);
        (route.circuit, route.fallback) = (None, None);
        (route.authorize, route.cedar) = (None, None);
        route.rate_limits.clear();
        if std::mem::take(&mut route.identity) {
            route.service = Some(ACCOUNTS.to_owned());
        }
    }
    for (name, service) in &mut plan.services {
        let host = service.connection.host;
        let settings = config.settings.services.get(name).and_then(|service| service.outbound.as_ref());
        let outbound = settings.map(|settings| shown(settings, name, request));
        *service = recorded(name, endpoint);
        service.connection.host = host;
        // What is shown is valid in a header, as its name was.
        service.outbound = outbound.and_then(|outbound| OutboundCredentialsLayer::new(&outbound).ok());
    }
    plan.services.insert(ACCOUNTS.to_owned(), recorded(ACCOUNTS, endpoint));
    plan
}

/// A service that is asked once, and not by any policy.
fn recorded(name: &str, endpoint: &Endpoint) -> ServicePlan {
    let retry = Short(RetrySettings { attempts: 1, ..RetrySettings::default() });
    let set = EndpointSet::new(name, vec![endpoint.clone()], Strategy::default());
    ServicePlan::plain(set, BalanceSettings { retry, ..BalanceSettings::default() })
}

/// The gateway's own credentials for a service, with where they are written in their place.
fn shown<B>(settings: &OutboundSettings, service: &str, request: &Request<B>) -> OutboundSettings {
    let value = Some(stand_in(&format!("{}.outbound", join("services", service))));
    let header = OutboundHeader { value, ..OutboundHeader::default() };
    match settings {
        OutboundSettings::Passthrough | OutboundSettings::Remove => settings.clone(),
        OutboundSettings::Header(own) => {
            OutboundSettings::Header(OutboundHeader { name: own.name.clone(), ..header })
        }
        OutboundSettings::TokenExchange(exchange)
            if exchange.optional && !request.headers().contains_key(AUTHORIZATION) =>
        {
            OutboundSettings::Remove
        }
        OutboundSettings::Basic(_)
        | OutboundSettings::ClientCredentials(_)
        | OutboundSettings::TokenExchange(_) => OutboundSettings::Header(header),
    }
}

/// What is shown for a credential that the gateway shows a service.
pub(super) fn stand_in(key: &str) -> String {
    format!("({key})")
}
