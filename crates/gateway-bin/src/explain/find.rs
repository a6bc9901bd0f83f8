//! The route of a request by the live matcher, for many requests.

use super::Logged;
use super::request::{Asked, Limits};
use crate::assemble::{Assembly, Observers};
use crate::config::{Config, Plan};
use crate::hops;
use crate::stack::Edge;
use gateway_core::{Code, Problem};
use gateway_routing::{Match, RouteMatch, When};
use gateway_server::RequestBody;
use gateway_store::Store;
use http::{Method, Request};
use std::net::IpAddr;
use std::sync::Arc;

/// What takes a request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Fate {
    /// The route at this place.
    Route(usize),
    /// The gateway sends the client to the same path as it is normalised.
    Moved,
    /// The gateway refuses it with this code.
    Refused(&'static str),
    /// The gateway answers `OPTIONS` itself.
    Options,
}

/// What takes a request, and by what path.
#[derive(Clone, Debug)]
pub(crate) struct Finding {
    pub(crate) fate: Fate,
    /// As routes and the service see it; nothing where it was refused before that.
    pub(super) path: Option<String>,
}

impl Finding {
    /// Whether a route has to do with it.
    pub(super) fn is_taken(&self) -> bool {
        matches!(self.fate, Fate::Route(_) | Fate::Moved)
    }
}

/// Finds routes as live requests find theirs: by parser, edge and table.
pub(crate) struct Finder {
    edge: Edge<RequestBody>,
    limits: Limits,
}

impl Finder {
    pub(crate) fn new(config: &Config) -> Self {
        let Config { settings, plan } = config;
        let limits = Limits { max_head: plan.connections.max_head, max_headers: settings.server.max_headers };
        let mut plan = Plan::clone(plan);
        // Nobody is asked or counted. The ways to authenticate say what clients may not send.
        plan.store = Store::memory();
        plan.auth.layers.clear();
        plan.services.clear();
        let plan = Arc::new(plan);
        Self { edge: Assembly::new(&plan, Observers::default()).edge(&plan), limits }
    }

    pub(crate) fn find(&self, asked: &Asked) -> Finding {
        let refused = |problem: &Problem| {
            let fate = Fate::Refused(problem.code().name());
            Finding { fate, path: None }
        };
        let mut request = match asked.request(&self.limits) {
            Ok(request) => request,
            Err(problem) => return refused(&problem),
        };
        let moved = match self.edge.receive(&mut request, asked.client()) {
            Ok(moved) => moved.is_some(),
            Err(problem) => return refused(&problem),
        };
        let path = Some(request.uri().path().to_owned());
        Finding { fate: self.fate(&mut request, moved), path }
    }

    /// Of what the edge received.
    fn fate(&self, request: &mut Request<RequestBody>, moved: bool) -> Fate {
        if hops::is_ping(request) {
            return Fate::Options;
        }
        if !moved && let Some(found) = self.edge.preflight(request) {
            return Fate::Route(found.index);
        }
        match self.edge.routes.find(request) {
            Match::Found(_) if moved => Fate::Moved,
            Match::Found(found) => Fate::Route(found.index),
            Match::MethodNotAllowed { .. } if *request.method() == Method::OPTIONS => Fate::Options,
            Match::MethodNotAllowed { .. } => Fate::Refused(Code::MethodNotAllowed.name()),
            Match::NotFound => Fate::Refused(Code::NoRoute.name()),
        }
    }
}

/// What requests that find the same route have in common: method, host, path and, where routes look at it, client.
pub(crate) type Alike = (String, Option<String>, String, Option<IpAddr>);

/// What the routes of a configuration look at beyond method, host and path.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LooksAt {
    query: bool,
    client: bool,
    /// So many look at headers or cookies, which logs do not tell.
    pub(crate) untold: usize,
}

impl LooksAt {
    pub(crate) fn of(plan: &Plan) -> Self {
        let routes = || plan.routes.iter().map(|route| &*route.matches);
        let sees = |matches: &RouteMatch, names: &[&str]| {
            let variables = matches.when.as_ref().map(When::variables).unwrap_or_default();
            variables.iter().any(|variable| names.contains(variable))
        };
        let networks = |matches: &RouteMatch| !(matches.clients.is_empty() && matches.not_clients.is_empty());
        let untold = |matches: &RouteMatch| {
            !(matches.headers.is_empty() && matches.cookies.is_empty())
                || sees(matches, &["request.headers", "request.cookies"])
        };
        Self {
            query: routes().any(|matches| !matches.query.is_empty() || sees(matches, &["request.query"])),
            client: routes().any(|matches| networks(matches) || sees(matches, &["client.ip"])),
            untold: routes().filter(|matches| untold(matches)).count(),
        }
    }

    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            query: self.query || other.query,
            client: self.client || other.client,
            untold: self.untold.max(other.untold),
        }
    }

    /// What tells requests apart that may find different routes.
    pub(crate) fn key(self, logged: &Logged) -> Alike {
        let path = if self.query { &*logged.url } else { logged.url.split('?').next().unwrap_or_default() };
        let client = logged.client.filter(|_| self.client);
        (logged.method.clone(), logged.host.clone(), path.to_owned(), client)
    }

    /// What is to be said of that.
    pub(crate) fn note(self) -> Option<String> {
        let routes = match self.untold {
            0 => return None,
            1 => "1 route looks".to_owned(),
            many => format!("{many} routes look"),
        };
        Some(format!(
            "{routes} at headers or cookies, which logs do not tell: requests count as without them"
        ))
    }
}
