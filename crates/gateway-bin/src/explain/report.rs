//! An explanation for people and programs.

use super::Asked;
use super::authorization::Authorization;
use super::policies::{Policy, normalize, policies};
use super::probe::{Counted, End, Looked, Probed, stand_in};
use crate::config::{Checked, Plan, RoutePlan, join};
use gateway_core::Endpoint;
use gateway_routing::{Candidate, Explanation, Outcome, Refusal};
use http::StatusCode;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;

mod text;

pub(crate) use text::inline;

/// More than anybody reads at once.
const MOST_NEAR: usize = 10;

/// What becomes of a request.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    request: Shown,
    /// `found`, `method-not-allowed`, `no-route`, or the code of what the edge refused it for. With `status` 204 it is
    /// answered and not refused: it is `OPTIONS`.
    outcome: &'static str,
    /// What the gateway answers where no route takes it.
    status: Option<u16>,
    detail: Option<String>,
    allow: Option<String>,
    route: Option<RouteShown>,
    /// What stood in the place of the path's parameters.
    params: BTreeMap<String, String>,
    /// In the order in which they are tried: those whose host and path fit, or where no route takes the request
    /// the nearest.
    candidates: Vec<Tried>,
    policies: Vec<Policy>,
    /// What `authorize` says of a caller with the claims that were given.
    authorization: Vec<Authorization>,
    /// Under what the limits of its route count it.
    counted: Vec<Counted>,
    /// What its route's cache finds an answer by.
    cached: Option<Cached>,
    /// Whether the gateway's own accounts answer.
    accounts: bool,
    /// What the service gets.
    upstream: Option<Forwarded>,
    /// What the gateway answers itself, in the service's place.
    answer: Option<Answer>,
    service: Option<Service>,
}

#[derive(Debug, Serialize)]
struct Cached {
    /// Nothing where the cache is passed by.
    key: Option<String>,
}

#[derive(Debug, Serialize)]
struct Shown {
    method: String,
    /// As it was sent, and as routes and policies read it.
    target: String,
    read_as: String,
    host: String,
    /// Who connects, and on whose behalf.
    peer: String,
    client: String,
}

#[derive(Debug, Serialize)]
struct RouteShown {
    key: String,
    name: String,
    path: String,
    place: Option<String>,
}

#[derive(Debug, Serialize)]
struct Tried {
    key: String,
    path: String,
    /// Whether it is the one that takes the request.
    takes: bool,
    /// What keeps it from taking the request; nothing if it would, but comes later.
    refusals: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Forwarded {
    method: String,
    target: String,
    headers: Vec<(String, String)>,
}

#[derive(Debug, Serialize)]
struct Answer {
    status: u16,
    reason: &'static str,
    headers: Vec<(String, String)>,
}

#[derive(Debug, Serialize)]
struct Service {
    name: String,
    strategy: Value,
    endpoints: Vec<EndpointShown>,
}

#[derive(Debug, PartialEq, Serialize)]
pub(super) struct EndpointShown {
    url: String,
    weight: u32,
    priority: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    zone: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    metadata: BTreeMap<String, String>,
}

impl Report {
    pub(super) fn new(checked: &Checked, asked: &Asked, probed: Probed) -> Self {
        let peer = asked.client().ip().to_string();
        let mut report = Self {
            request: Shown {
                method: asked.method.clone(),
                target: asked.target.clone(),
                read_as: asked.target.clone(),
                host: asked.host.clone(),
                client: peer.clone(),
                peer,
            },
            outcome: "found",
            status: None,
            detail: None,
            allow: None,
            route: None,
            params: BTreeMap::new(),
            candidates: Vec::new(),
            policies: Vec::new(),
            authorization: Vec::new(),
            counted: Vec::new(),
            cached: None,
            accounts: false,
            upstream: None,
            answer: None,
            service: None,
        };
        match probed {
            Probed::Refused(problem) => {
                report.outcome = problem.code().name();
                report.status = Some(problem.code().status().as_u16());
                report.detail = problem.detail().map(str::to_owned);
            }
            Probed::Looked(looked) => {
                let Looked { target, moved, client, explanation, authorization, counted, cached, end } =
                    *looked;
                report.authorization = authorization;
                let shown = |key: String| checked.origin.conceal(&key).to_owned();
                report.counted = counted;
                for Counted { key, .. } in &mut report.counted {
                    *key = key.take().map(shown);
                }
                report.cached = cached.map(|key| Cached { key });
                report.request.read_as = target;
                if let Some(client) = client {
                    report.request.client = client.ip().to_string();
                }
                report.looked(checked, &explanation, end);
                if moved && report.is_taken() {
                    report.policies = vec![normalize(checked)];
                }
            }
        }
        report
    }

    pub(super) fn is_taken(&self) -> bool {
        self.route.is_some()
    }

    fn looked(&mut self, checked: &Checked, explanation: &Explanation, end: End) {
        let plan = &checked.config.plan;
        let tried = |candidate: &Candidate, takes: bool| Tried {
            key: format!("routes[{}]", candidate.index),
            path: plan.routes[candidate.index].matches.path.as_str().to_owned(),
            takes,
            refusals: candidate
                .refusals
                .iter()
                .map(|refusal| told(refusal, &plan.routes[candidate.index]))
                .collect(),
        };
        let near =
            || explanation.nearest().take(MOST_NEAR).map(|candidate| tried(candidate, false)).collect();
        match &explanation.outcome {
            Outcome::Found { index, params } => {
                let route = &plan.routes[*index];
                let key = format!("routes[{index}]");
                self.route = Some(RouteShown {
                    place: checked.origin.place(&key),
                    key,
                    name: route.name.clone(),
                    path: route.matches.path.as_str().to_owned(),
                });
                if let Some(params) = params {
                    // Of several of one name it is the first that counts.
                    for (name, value) in params.iter() {
                        self.params.entry(name.to_owned()).or_insert_with(|| value.to_owned());
                    }
                }
                let fitting = explanation.candidates.iter().take_while(|candidate| fits_place(candidate));
                self.candidates =
                    fitting.map(|candidate| tried(candidate, candidate.index == *index)).collect();
                self.policies = policies(checked, *index);
                self.service = service(checked, route);
                self.ended(checked, route, end);
            }
            Outcome::MethodNotAllowed { allow } => {
                self.outcome = "method-not-allowed";
                // Whoever asks with `OPTIONS` what is allowed is told.
                self.status = Some(end.status_or(StatusCode::METHOD_NOT_ALLOWED));
                self.allow = allow.to_str().ok().map(str::to_owned);
                self.candidates = near();
            }
            Outcome::NotFound => {
                self.outcome = "no-route";
                // `OPTIONS *` is answered without a route.
                self.status = Some(end.status_or(StatusCode::NOT_FOUND));
                self.candidates = near();
            }
        }
    }

    fn ended(&mut self, checked: &Checked, route: &RoutePlan, end: End) {
        let origin = &checked.origin;
        match end {
            End::Accounts => self.accounts = true,
            End::Service { head, host } => {
                let mut lines = head.lines();
                let mut first = lines.next().unwrap_or_default().split(' ').map(str::to_owned);
                let own = self.service.as_ref().and_then(|service| service.endpoints.first());
                let own = own.map_or("", |endpoint| endpoint.url.trim_start_matches("http://"));
                let headers = lines.filter_map(|line| line.split_once(": ")).map(|(name, value)| {
                    let value =
                        if name == "host" && value == host.authority().as_str() { own } else { value };
                    (name.to_owned(), origin.conceal(value).to_owned())
                });
                let headers = headers.chain(assertion(&checked.config.plan, route));
                self.upstream = Some(Forwarded {
                    method: first.next().unwrap_or_default(),
                    target: first.next().unwrap_or_default(),
                    headers: headers.collect(),
                });
            }
            End::Gateway { status, headers } => {
                let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
                let headers = headers.iter().map(|(name, value)| (name.to_string(), text(value)));
                let headers =
                    headers.map(|(name, value)| (name, origin.conceal(&value).to_owned())).collect();
                let reason = status.canonical_reason().unwrap_or_default();
                self.answer = Some(Answer { status: status.as_u16(), reason, headers });
            }
        }
    }
}

/// The token that the gateway signs for a route's service, named in its place.
fn assertion(plan: &Plan, route: &RoutePlan) -> Option<(String, String)> {
    let name = route.service.as_ref()?;
    plan.services.get(name)?.assertion.then_some(())?;
    let header = plan.assertions.as_ref()?.assertions.header();
    Some((header.to_string(), stand_in(&format!("{}.assertion", join("services", name)))))
}

/// The endpoints of a route's service, those of which there is nothing else to say by their addresses.
pub(super) fn endpoints(checked: &Checked, route: &RoutePlan) -> Vec<Value> {
    let service = service(checked, route);
    let shown = |endpoint: EndpointShown| {
        let plain = EndpointShown::of(&Endpoint::parse(&endpoint.url).ok()?);
        // Texts and numbers always serialise.
        if plain == endpoint {
            Some(Value::String(endpoint.url))
        } else {
            serde_json::to_value(endpoint).ok()
        }
    };
    service.into_iter().flat_map(|service| service.endpoints).filter_map(shown).collect()
}

impl EndpointShown {
    fn of(endpoint: &Endpoint) -> Self {
        Self {
            url: endpoint.to_string(),
            weight: endpoint.weight(),
            priority: endpoint.priority(),
            zone: endpoint.zone().map(str::to_owned),
            metadata: endpoint.metadata().clone(),
        }
    }
}

fn service(checked: &Checked, route: &RoutePlan) -> Option<Service> {
    if !route.asks_service() {
        return None;
    }
    let name = route.service.as_ref()?;
    let endpoints = checked.config.plan.services.get(name)?.set.states();
    let endpoints = endpoints.map(|state| EndpointShown::of(&state.endpoint));
    let strategy = checked.config.settings.services.get(name)?.balance.strategy;
    Some(Service {
        name: name.clone(),
        strategy: serde_json::to_value(strategy).unwrap_or_default(),
        endpoints: endpoints.collect(),
    })
}

/// A refusal as a clause; an expression with its variables as they are written.
fn told(refusal: &Refusal, route: &RoutePlan) -> String {
    match (refusal, &route.when) {
        (Refusal::Expression { failed, .. }, Some(when)) => {
            Refusal::Expression { wanted: when.to_string(), failed: failed.clone() }.to_string()
        }
        _ => refusal.to_string(),
    }
}

/// Whether a route is tried at all.
fn fits_place(candidate: &Candidate) -> bool {
    !candidate.refusals.iter().any(|refusal| matches!(refusal, Refusal::Host { .. } | Refusal::Path { .. }))
}
