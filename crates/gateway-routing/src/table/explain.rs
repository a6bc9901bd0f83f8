use super::{Match, RouteTable};
use crate::conditions::{cookie_values, query_values};
use crate::host::{HostKind, HostPattern, normal};
use crate::request::Head;
use crate::route::RouteMatch;
use crate::{Networks, ValueMatch};
use gateway_core::Captures;
use http::{HeaderValue, Method, Request};
use std::cmp::Reverse;
use std::fmt;
use std::net::IpAddr;

/// How a request found its route, or why it found none.
///
/// For people, not for the request path: every route is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// What the table answers.
    pub outcome: Outcome,
    /// Every route: first those whose host and path fit, in the order they are tried, then all others in their
    /// order of precedence. The first without refusals takes the request.
    pub candidates: Vec<Candidate>,
}

/// What the table answers to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A route takes it.
    Found {
        /// The route's place in the list the table was built from.
        index: usize,
        /// What stood in the place of its parameters, whether or not it asks for them; `None` if it has none.
        params: Option<Captures>,
    },
    /// Routes fit but for the method: 405.
    MethodNotAllowed {
        /// The methods that would be taken.
        allow: HeaderValue,
    },
    /// No route fits: 404.
    NotFound,
}

/// What one route makes of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The route's place in the list the table was built from.
    pub index: usize,
    /// All that keeps it from taking the request; nothing if it takes it, or would if no other came first.
    pub refusals: Vec<Refusal>,
}

/// One reason why a route does not take a request. Shown as a clause: ``the header `x-tenant` is missing;
/// expected `acme` ``.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// None of its hosts fits.
    Host {
        /// The request's host, without port.
        found: String,
        /// Those of the route.
        wanted: Vec<HostPattern>,
    },
    /// Its path does not fit.
    Path {
        /// The request's path.
        found: String,
        /// That of the route.
        wanted: String,
        /// What is nearly right.
        hint: Option<PathHint>,
    },
    /// It takes other methods.
    Method {
        /// The request's method.
        found: Method,
        /// Those of the route.
        wanted: Vec<Method>,
    },
    /// A value is missing or does not fit.
    Value {
        /// Where it was looked for.
        part: Part,
        /// Its name.
        name: String,
        /// The values of this name in the request, decoded.
        found: Vec<String>,
        /// What one of them, or with `not` none of them, must be.
        wanted: ValueMatch,
    },
    /// The client is not in its networks, or in those it excludes.
    Client {
        /// The client's address, if it is known.
        found: Option<IpAddr>,
        /// Where it must be, if not empty.
        within: Networks,
        /// Where it must not be.
        without: Networks,
    },
    /// Its expression does not hold.
    Expression {
        /// As it is written.
        wanted: String,
        /// What failed, if it could not be evaluated: a missing header, for instance.
        failed: Option<String>,
    },
}

/// A part of a request that holds values by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Header fields.
    Header,
    /// The query's parameters.
    Query,
    /// Cookies.
    Cookie,
}

/// How a path misses a pattern by little.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathHint {
    /// It fits but for upper and lower case.
    Case,
    /// It fits but for a slash at the end, which is there or is not.
    TrailingSlash,
    /// It goes on below an exact pattern, which `/*` at its end would take.
    Below,
}

impl Explanation {
    /// The candidates worth showing: those whose host and path fit, then those that only the host, or little in
    /// the path, keeps from it.
    pub fn nearest(&self) -> impl Iterator<Item = &Candidate> {
        self.candidates.iter().filter(|candidate| {
            let mut places = candidate.refusals.iter().filter(|refusal| refusal.is_of_place());
            match (places.next(), places.next()) {
                (None, _) | (Some(Refusal::Host { .. }), None) => true,
                (Some(Refusal::Path { hint, .. }), None) => hint.is_some(),
                _ => false,
            }
        })
    }
}

impl Refusal {
    /// Whether it is the host or the path, so that the route is not even tried.
    fn is_of_place(&self) -> bool {
        matches!(self, Self::Host { .. } | Self::Path { .. })
    }
}

impl<T> RouteTable<T> {
    /// Why a request finds the route it finds: the answer of [`find`](Self::find), and what every route makes of
    /// the request. Costs time in the number of routes.
    #[must_use]
    pub fn explain<B>(&self, request: &Request<B>) -> Explanation {
        let head = Head::of(request);
        let mut buffer = [0; 256];
        let host = &*normal(head.host, &mut buffer);
        let mut candidates: Vec<_> = self
            .compiled
            .routes
            .iter()
            .enumerate()
            .map(|(index, route)| {
                let refusals = refusals(route, host, &head);
                let untried = refusals.iter().any(Refusal::is_of_place);
                let place = (
                    untried,
                    Reverse(route.priority),
                    host_rank(route, Some(host)),
                    self.compiled.ranks[index],
                );
                (place, Candidate { index, refusals })
            })
            .collect();
        candidates.sort_by_key(|(place, _)| *place);
        let outcome = match self.find(request) {
            Match::Found(found) => Outcome::Found {
                index: found.index,
                params: self.compiled.routes[found.index].captured(&head),
            },
            Match::MethodNotAllowed { allow } => Outcome::MethodNotAllowed { allow },
            Match::NotFound => Outcome::NotFound,
        };
        Explanation { outcome, candidates: candidates.into_iter().map(|(_, candidate)| candidate).collect() }
    }
}

/// For a request to this host, or to any: the smaller is tried first; routes for any host come last.
pub(super) fn host_rank(
    route: &RouteMatch,
    host: Option<&str>,
) -> (bool, Option<(HostKind, Reverse<usize>)>) {
    let rank = |pattern: &HostPattern| {
        // Expressions are tried all alike, however long.
        let length = if pattern.kind == HostKind::Expression { 0 } else { pattern.name.len() };
        (pattern.kind, Reverse(length))
    };
    let fits = |pattern: &&HostPattern| host.is_some_and(|host| pattern.matches(host));
    let fitting = route.hosts.iter().filter(fits).map(rank).min();
    (route.hosts.is_empty(), fitting.or_else(|| route.hosts.iter().map(rank).min()))
}

fn refusals(route: &RouteMatch, host: &str, head: &Head<'_>) -> Vec<Refusal> {
    let mut refusals = Vec::new();
    if !route.hosts.is_empty() && !route.hosts.iter().any(|pattern| pattern.matches(host)) {
        refusals.push(Refusal::Host { found: host.to_owned(), wanted: route.hosts.clone() });
    }
    if !route.path.takes(head.path, route.ignore_case) {
        refusals.push(Refusal::Path {
            found: head.path.to_owned(),
            wanted: route.path.as_str().to_owned(),
            hint: path_hint(route, head.path),
        });
    }
    if !route.takes_method(head.method) {
        refusals.push(Refusal::Method { found: head.method.clone(), wanted: route.methods.clone() });
    }
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    for wanted in route.headers.iter().filter(|wanted| !wanted.takes(head.headers)) {
        let found = head.headers.get_all(&wanted.name).iter().map(|value| text(value.as_bytes()));
        refusals.push(value(Part::Header, wanted.name.as_str(), found, &wanted.value));
    }
    for wanted in route.query.iter().filter(|wanted| !wanted.takes(head.query)) {
        let found = query_values(head.query, &wanted.name).map(|value| text(&value));
        refusals.push(value(Part::Query, &wanted.name, found, &wanted.value));
    }
    for wanted in route.cookies.iter().filter(|wanted| !wanted.takes(head.headers)) {
        let found = cookie_values(head.headers, &wanted.name).map(text);
        refusals.push(value(Part::Cookie, &wanted.name, found, &wanted.value));
    }
    if !route.takes_client(head) {
        let (within, without) = (route.clients.clone(), route.not_clients.clone());
        refusals.push(Refusal::Client { found: head.client(), within, without });
    }
    if let Some(when) = &route.when
        && let Some(failed) = when.refuses(head)
    {
        refusals.push(Refusal::Expression { wanted: when.as_str().to_owned(), failed });
    }
    refusals
}

fn value(part: Part, name: &str, found: impl Iterator<Item = String>, wanted: &ValueMatch) -> Refusal {
    Refusal::Value { part, name: name.to_owned(), found: found.collect(), wanted: wanted.clone() }
}

fn path_hint(route: &RouteMatch, path: &str) -> Option<PathHint> {
    let pattern = &route.path;
    let other_end = path.strip_suffix('/').map_or_else(|| format!("{path}/"), str::to_owned);
    if pattern.takes(path, true) {
        Some(PathHint::Case)
    } else if pattern.takes(&other_end, route.ignore_case) {
        Some(PathHint::TrailingSlash)
    } else if pattern.regex.is_none() && !pattern.segments.is_empty() && {
        let mut slashes = path.match_indices('/').skip(1);
        slashes.any(|(slash, _)| pattern.takes(&path[..slash], route.ignore_case))
    } {
        Some(PathHint::Below)
    } else {
        None
    }
}

impl fmt::Display for PathHint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Case => "it fits but for upper and lower case",
            Self::TrailingSlash => "it fits but for the slash at the end",
            Self::Below => "it is below, which only a pattern that ends in `/*` takes",
        })
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Header => "header",
            Self::Query => "query parameter",
            Self::Cookie => "cookie",
        })
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |texts: &mut dyn Iterator<Item = String>| {
            texts.map(|text| format!("`{text}`")).collect::<Vec<_>>().join(", ")
        };
        match self {
            Self::Host { found, wanted } => {
                let wanted = list(&mut wanted.iter().map(ToString::to_string));
                write!(f, "the host is `{found}`; expected {wanted}")?;
                if found.len() > HostPattern::LONGEST {
                    write!(f, " (no host has more than {} characters)", HostPattern::LONGEST)?;
                }
                Ok(())
            }
            Self::Path { found, wanted, hint } => {
                write!(f, "the path is `{found}`; expected `{wanted}`")?;
                hint.map_or(Ok(()), |hint| write!(f, " ({hint})"))
            }
            Self::Method { found, wanted } => {
                write!(
                    f,
                    "the method is {found}; expected {}",
                    list(&mut wanted.iter().map(Method::to_string))
                )
            }
            Self::Value { part, name, found, wanted } if found.is_empty() => {
                write!(f, "the {part} `{name}` is missing; expected {wanted}")
            }
            Self::Value { part, name, found, wanted } => {
                write!(f, "the {part} `{name}` is {}; expected {wanted}", list(&mut found.iter().cloned()))
            }
            Self::Client { found, within, without } => {
                match found {
                    Some(address) => write!(f, "the client is {address}; expected one")?,
                    None => f.write_str("the client is unknown; expected one")?,
                }
                if !within.is_empty() {
                    write!(f, " in {within}")?;
                }
                let and = if within.is_empty() { "" } else { " and" };
                if without.is_empty() { Ok(()) } else { write!(f, "{and} not in {without}") }
            }
            Self::Expression { wanted, failed: None } => write!(f, "`{wanted}` is false"),
            Self::Expression { wanted, failed: Some(failed) } => write!(f, "`{wanted}` fails: {failed}"),
        }
    }
}
