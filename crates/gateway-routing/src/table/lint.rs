use super::cover::covers;
use super::{Compiled, RouteTable};
use crate::host::{HostKind, HostPattern};
use crate::route::RouteMatch;
use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;

/// A route that no request reaches, because another one always comes first.
///
/// Shown as a sentence: `route 3 is never used: route 1 takes all its requests and has a higher priority`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unreachable {
    /// The place of the route in the list the table was built from.
    pub route: usize,
    /// The place of the one that comes first.
    pub by: usize,
    /// Why it does.
    pub because: Because,
}

/// Why a route that takes all requests of another one comes before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Because {
    /// It has the higher priority.
    Priority,
    /// Its path is a prefix, and the other's an expression.
    PrefixBeforeExpression,
    /// It names more conditions, though they hold for every request of the other.
    Conditions,
    /// All else is equal, and it was written first.
    Order,
}

impl fmt::Display for Because {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Priority => "has a higher priority",
            Self::PrefixBeforeExpression => "is a prefix, which comes before regular expressions",
            Self::Conditions => "has more conditions, which hold for all of them",
            Self::Order => "is written first",
        })
    }
}

impl fmt::Display for Unreachable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { route, by, because } = self;
        write!(f, "route {route} is never used: route {by} takes all its requests and {because}")
    }
}

/// The routes with an expression that may take all that another takes: one of the same text, or one that takes all
/// that begins with a text.
struct Expressions<'r> {
    by_text: HashMap<&'r str, Vec<usize>>,
    /// By what their paths begin with, in lower case.
    sweeping: HashMap<String, Vec<usize>>,
    /// How long those are: as a rule few, of however many routes.
    lengths: BTreeSet<usize>,
}

impl<'r> Expressions<'r> {
    fn of(routes: &'r [Arc<RouteMatch>]) -> Self {
        let mut all = Self { by_text: HashMap::new(), sweeping: HashMap::new(), lengths: BTreeSet::new() };
        for (index, route) in routes.iter().enumerate().filter(|(_, route)| route.path.regex.is_some()) {
            all.by_text.entry(route.path.as_str()).or_default().push(index);
            if let Some(swept) = route.path.swept() {
                all.sweeping.entry(swept.to_ascii_lowercase()).or_default().push(index);
                all.lengths.insert(swept.len());
            }
        }
        all
    }

    fn as_wide_as(&self, route: &RouteMatch) -> Vec<usize> {
        let same = self.by_text.get(route.path.as_str());
        let mut found = same.cloned().unwrap_or_default();
        if !self.sweeping.is_empty() {
            let begin = route.path.beginning().to_ascii_lowercase();
            let fitting = self.lengths.iter().filter_map(|length| self.sweeping.get(begin.get(..*length)?));
            found.extend(fitting.flatten());
        }
        found
    }
}

impl<T> RouteTable<T> {
    /// The routes that no request reaches, because for each of their hosts another route takes all of their
    /// requests and comes first: by priority, as a prefix before an expression, or by order.
    ///
    /// What is listed is certain; what two routes take only together is not seen, nor what an expression implies,
    /// but of those that end in `.*`. A route with several hosts is listed once for each route that stands before it.
    #[must_use]
    pub fn lint(&self) -> Vec<Unreachable> {
        let routes = &self.compiled.routes;
        let mut found = Vec::new();
        let expressions = Expressions::of(routes);
        for (index, route) in routes.iter().enumerate() {
            let hosts: Vec<Option<&HostPattern>> =
                if route.hosts.is_empty() { vec![None] } else { route.hosts.iter().map(Some).collect() };
            let wide = expressions.as_wide_as(route);
            let by: Option<Vec<_>> =
                hosts.into_iter().map(|host| self.first_before(index, host, &wide)).collect();
            let mut by = by.unwrap_or_default();
            by.sort_unstable();
            by.dedup();
            found.extend(by.into_iter().map(|by| Unreachable {
                route: index,
                by,
                because: because(&routes[by], route),
            }));
        }
        found
    }

    /// A route that takes whatever this one takes of a host, and comes before it.
    fn first_before(&self, index: usize, host: Option<&HostPattern>, wide: &[usize]) -> Option<usize> {
        let Compiled { routes, ranks, groups } = &*self.compiled;
        let route = &routes[index];
        let known = route.path.regex.as_ref().map(|_| route.path.known_segments());
        let segments = known.as_deref().unwrap_or(&route.path.segments);
        let broader: Vec<HostPattern> = host.map(HostPattern::broader).unwrap_or_default();
        let before = |other: &usize| ranks[*other] < ranks[index] && covers(&routes[*other], route);
        let takes_host = |other: &&usize| {
            let other = &routes[**other];
            match host {
                _ if other.priority > route.priority && other.hosts.is_empty() => true,
                None => other.hosts.is_empty(),
                Some(host) if other.priority == route.priority => other.hosts.contains(host),
                Some(host) => {
                    let takes = |other: &HostPattern| broader.contains(other) || other.takes_all_of(host);
                    other.hosts.iter().any(takes)
                }
            }
        };
        if let Some(other) = wide.iter().filter(takes_host).copied().find(&before) {
            return Some(other);
        }
        for group in groups.iter().take_while(|group| group.priority >= route.priority) {
            let mut candidates = Vec::new();
            if group.priority == route.priority {
                // A narrower host comes before a broader one.
                let tree = host.map_or(group.any.as_ref(), |host| group.tree(host));
                candidates
                    .extend(tree.into_iter().flat_map(|tree| tree.covering(&group.nodes, segments, route)));
            } else {
                let trees = broader.iter().filter_map(|host| group.tree(host)).chain(&group.any);
                candidates.extend(trees.flat_map(|tree| tree.covering(&group.nodes, segments, route)));
                if let Some(host) = host.filter(|host| host.kind == HostKind::Exact) {
                    group.expressions.fitting(&host.name, |tree| {
                        candidates.extend(tree.covering(&group.nodes, segments, route));
                    });
                }
            }
            if let Some(other) = candidates.into_iter().find(&before) {
                return Some(other);
            }
        }
        None
    }
}

fn because(by: &RouteMatch, route: &RouteMatch) -> Because {
    let conditions = |route: &RouteMatch| super::order::conditions(route);
    if by.priority != route.priority {
        Because::Priority
    } else if by.path.regex.is_none() && route.path.regex.is_some() {
        Because::PrefixBeforeExpression
    } else if conditions(by) < conditions(route) {
        Because::Conditions
    } else {
        Because::Order
    }
}
