//! Whether all that one thing takes another takes too. A wrong no costs a hint; a yes is always right.

use crate::path::Segment;
use crate::route::RouteMatch;
use crate::value::{ValueMatch, ValueTest};

/// Whether a route takes all requests that another takes, their hosts apart.
pub(super) fn covers(route: &RouteMatch, other: &RouteMatch) -> bool {
    path(route, other)
        && methods(route, other)
        && route.headers.iter().all(|own| {
            other.headers.iter().any(|given| given.name == own.name && implies(&given.value, &own.value))
        })
        && route.query.iter().all(|own| {
            other.query.iter().any(|given| given.name == own.name && implies(&given.value, &own.value))
        })
        && route.cookies.iter().all(|own| {
            other.cookies.iter().any(|given| given.name == own.name && implies(&given.value, &own.value))
        })
        && clients(route, other)
        // Nobody knows what else an expression implies.
        && (route.when.is_none() || route.when == other.when)
}

fn path(route: &RouteMatch, other: &RouteMatch) -> bool {
    if let Some(own) = &route.path.regex {
        // Not even the same expression without regard to case takes all it takes with it: `[^a]`.
        let same = route.ignore_case == other.ignore_case && other.path.regex.as_ref() == Some(own);
        return same || sweeps(route, other);
    }
    let known = other.path.regex.as_ref().map(|_| other.path.known_segments());
    let others = known.as_deref().unwrap_or(&other.path.segments);
    let own = &route.path.segments;
    let long_enough = if route.path.prefix {
        own.len() <= others.len()
    } else {
        own.len() == others.len() && !other.path.prefix && known.is_none()
    };
    long_enough
        && own.iter().zip(others).all(|pair| match pair {
            (Segment::Param(_), Segment::Param(_)) => true,
            (Segment::Param(_), Segment::Literal(text)) => !text.is_empty(),
            (Segment::Literal(_), Segment::Param(_)) => false,
            (Segment::Literal(own), Segment::Literal(text)) if route.ignore_case => {
                own.eq_ignore_ascii_case(text)
            }
            (Segment::Literal(own), Segment::Literal(text)) => {
                own == text && !(other.ignore_case && own.bytes().any(|b| b.is_ascii_alphabetic()))
            }
        })
}

/// Whether all paths of the other begin with what the one takes all paths below of: `/api/.*`.
fn sweeps(route: &RouteMatch, other: &RouteMatch) -> bool {
    let Some(swept) = route.path.swept() else { return false };
    other.path.beginning().get(..swept.len()).is_some_and(|begin| match route.ignore_case {
        true => begin.eq_ignore_ascii_case(swept),
        false => begin == swept && !(other.ignore_case && swept.bytes().any(|b| b.is_ascii_alphabetic())),
    })
}

fn methods(route: &RouteMatch, other: &RouteMatch) -> bool {
    route.methods.is_empty()
        || (!other.methods.is_empty() && other.methods.iter().all(|method| route.takes_method(method)))
}

fn clients(route: &RouteMatch, other: &RouteMatch) -> bool {
    let within = route.clients.is_empty()
        || (!other.clients.is_empty() && route.clients.contain_all_of(&other.clients));
    let without = route.not_clients.is_empty()
        || other.not_clients.contain_all_of(&route.not_clients)
        || (!other.clients.is_empty() && other.clients.are_apart_from(&route.not_clients));
    within && without
}

/// Whether values that fit the one always fit the other.
pub(super) fn implies(given: &ValueMatch, wanted: &ValueMatch) -> bool {
    match (given.not, wanted.not) {
        (false, false) => passes(&given.test, &wanted.test),
        (true, true) => passes(&wanted.test, &given.test),
        // One value that fits says nothing of the others, nor does one that does not.
        (false, true) | (true, false) => false,
    }
}

/// Whether a value that passes the one test always passes the other.
fn passes(given: &ValueTest, wanted: &ValueTest) -> bool {
    use ValueTest::{Contains, Exact, Prefix, Present, Range, Suffix};
    match (given, wanted) {
        (_, Present) => true,
        (Exact(value), wanted) => wanted.takes(value.as_bytes()),
        (Prefix(given), Prefix(wanted)) => given.starts_with(wanted),
        (Suffix(given), Suffix(wanted)) => given.ends_with(wanted),
        (Prefix(given) | Suffix(given) | Contains(given), Contains(wanted)) => given.contains(wanted),
        (Range(from, to), Range(first, last)) => first <= from && to <= last,
        (given, wanted) => given == wanted,
    }
}
