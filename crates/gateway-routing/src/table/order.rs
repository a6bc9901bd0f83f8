use super::Conflict;
use crate::path::Segment;
use crate::route::RouteMatch;
use hashbrown::{HashMap, HashSet};
use std::borrow::Cow;
use std::cmp::{Ordering, Reverse};
use std::fmt::Debug;
use std::sync::Arc;

const PREFIX: u8 = 2;
const REGEX: u8 = 3;

/// Precedence among routes that take the same request, but for host: the smaller wins, and of equal ones the first.
pub(super) fn compare(a: &RouteMatch, b: &RouteMatch) -> Ordering {
    let priority = b.priority.cmp(&a.priority);
    priority
        .then_with(|| kinds(a).cmp(kinds(b)))
        .then_with(|| a.methods.is_empty().cmp(&b.methods.is_empty()))
        .then_with(|| conditions(a).cmp(&conditions(b)))
}

/// Segment by segment: a literal, a parameter, the end of a prefix; and last an expression.
fn kinds(route: &RouteMatch) -> impl Iterator<Item = u8> {
    let segments = route.path.segments.iter().map(|s| u8::from(matches!(s, Segment::Param(_))));
    let end = match (&route.path.regex, route.path.prefix) {
        (Some(_), _) => REGEX,
        (None, true) => PREFIX,
        (None, false) => 0,
    };
    segments.chain([end])
}

/// The more a route asks for, the earlier it is tried.
pub(super) fn conditions(route: &RouteMatch) -> impl Ord + use<> {
    let networks = usize::from(!route.clients.is_empty()) + usize::from(!route.not_clients.is_empty());
    Reverse((route.headers.len(), route.query.len(), route.cookies.len(), networks, route.when.is_some()))
}

/// Equal but for what was registered: the same requests, and no rule says who wins.
pub(super) fn conflicts(routes: &[Arc<RouteMatch>]) -> Vec<Conflict> {
    let mut known: HashMap<_, usize> = HashMap::new();
    let mut seen: HashMap<_, usize> = HashMap::new();
    let mut conflicts = Vec::new();
    for (second, route) in routes.iter().enumerate() {
        let shape: Vec<_> = route
            .path
            .segments
            .iter()
            .map(|segment| match segment {
                Segment::Literal(text) if route.ignore_case => Some(Cow::Owned(text.to_ascii_lowercase())),
                Segment::Literal(text) => Some(Cow::Borrowed(text.as_str())),
                Segment::Param(_) => None,
            })
            .collect();
        let path = (shape, &route.path.regex, route.path.prefix, route.ignore_case, route.priority);
        let conditions = (
            set(&route.methods),
            set(&route.headers),
            set(&route.query),
            set(&route.cookies),
            &route.clients,
            &route.not_clients,
            &route.when,
        );
        let next = known.len();
        let kind = *known.entry((path, conditions)).or_insert(next);
        let any = route.hosts.is_empty().then_some(None);
        let mut own: Option<HashSet<_>> = (route.hosts.len() > 1).then(HashSet::new);
        for host in route.hosts.iter().map(Some).chain(any) {
            if own.as_mut().is_some_and(|own| !own.insert(host)) {
                // Named twice.
                continue;
            }
            match seen.get(&(host, kind)) {
                Some(first) => conflicts.push(Conflict { first: *first, second }),
                None => drop(seen.insert((host, kind), second)),
            }
        }
    }
    conflicts.sort_unstable_by_key(|conflict| (conflict.second, conflict.first));
    conflicts.dedup();
    conflicts
}

/// The same for the same things in whatever order.
fn set<C: Debug + PartialEq>(list: &[C]) -> Vec<&C> {
    let mut list: Vec<_> = list.iter().collect();
    list.sort_by_cached_key(|one| format!("{one:?}"));
    list.dedup();
    list
}
