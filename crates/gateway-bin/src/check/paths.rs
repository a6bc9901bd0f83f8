//! Where paths lead: prefixes that none of a route's has, and redirects that send nobody anywhere.

use crate::config::{Mistake, Origin, Plan, Settings};
use bytes::Bytes;
use gateway_core::Scheme;
use gateway_routing::Match;
use gateway_transform::PathRewrite;
use http::header::{HOST, LOCATION};
use http::{Request, Response, Uri};
use http_body_util::Full;
use std::convert::Infallible;
use std::task::{Context, Poll, Waker};
use tower::{Layer, Service, service_fn};

/// Browsers follow no more redirects in a row (Fetch Standard §4.4).
const MOST_HOPS: usize = 20;

/// Prefixes that are to be taken off or replaced, and that no path of their route begins with.
pub(super) fn without_prefix(settings: &Settings, plan: &Plan, origin: &Origin) -> Vec<Mistake> {
    let mut found = Vec::new();
    for (i, (route, plan)) in settings.routes.iter().zip(&plan.routes).enumerate() {
        let replaced = |path: Option<&PathRewrite>| Some(path?.replace_prefix.as_ref()?.from.clone());
        let rewrite = route.rewrite.as_ref().and_then(|rewrite| rewrite.path.as_ref());
        // What is stripped first is no part of the path that is rewritten.
        let rewrite = rewrite.filter(|_| route.strip.is_none());
        let redirect = route.redirect.as_ref().and_then(|redirect| redirect.path.as_ref());
        let prefixes = [
            ("strip", route.strip.as_ref().map(|strip| strip.prefix.clone())),
            ("rewrite.path", replaced(rewrite.map(|path| &path.0))),
            ("redirect.path", replaced(redirect.map(|path| &path.0))),
        ];
        for (key, prefix) in prefixes {
            let Some(prefix) = prefix.filter(|prefix| !plan.matches.may_begin_with(prefix)) else { continue };
            let path = plan.matches.path.as_str();
            let message = format!("no path of `{path}` begins with `{prefix}`: all stay as they are");
            found.push(origin.warning(&format!("routes[{i}].{key}"), message));
        }
    }
    found
}

/// Redirects that lead on for ever, and those of the only path that a route takes to itself.
pub(super) fn endless_redirects(plan: &Plan, origin: &Origin) -> Vec<Mistake> {
    let mut found = Vec::new();
    for (i, route) in plan.routes.iter().enumerate().filter(|(_, route)| route.redirect.is_some()) {
        let urls = samples(plan, i);
        let key = format!("routes[{i}].redirect");
        let path = route.matches.path.as_str();
        let takes_one_path = !path.ends_with('*') && !path.contains('{');
        let hops = |url: &Uri| std::iter::successors(Some(url.clone()), |url| next(plan, url)).skip(1);
        if let Some(url) = urls.iter().find(|url| hops(url).nth(MOST_HOPS).is_some()) {
            let to = next(plan, url).unwrap_or_default();
            let message = format!("it never ends: {url} is sent to {to}, and that is sent on again");
            let help = "lead to where no redirect is, or give that path a route with a service";
            found.push(origin.warning(&key, message).with_help(help));
        } else if takes_one_path && !urls.is_empty() && urls.iter().all(|url| next(plan, url).is_none()) {
            let message = format!("it changes nothing: requests for `{path}` are where it leads");
            found.push(origin.warning(&key, message).with_help("lead elsewhere"));
        }
    }
    found
}

/// URLs that this route takes, as far as they are plain to see: one of each of its hosts and schemes.
fn samples(plan: &Plan, route: usize) -> Vec<Uri> {
    let matches = &plan.routes[route].matches;
    let path = matches.path.as_str();
    let hosts: Vec<String> = matches.hosts.iter().map(ToString::to_string).collect();
    let hosts = if hosts.is_empty() { vec!["any.example".to_owned()] } else { hosts };
    if path.starts_with('~') || hosts.iter().any(|host| host.starts_with('~')) {
        return Vec::new();
    }
    let segment = |part| if part == "*" || str::starts_with(part, "{") { "x" } else { part };
    let path = path.split('/').map(segment).collect::<Vec<_>>().join("/");
    let url =
        |scheme: &str, host: &str| format!("{scheme}://{}{path}", host.replace('*', "any")).parse().ok();
    let urls = hosts.iter().flat_map(|host| ["http", "https"].map(|scheme| url(scheme, host)));
    // Some other route may take it, or none where conditions are asked for.
    let is_taken = |url: &Uri| matches!(plan.table.find(&request(url)), Match::Found(f) if f.index == route);
    urls.flatten().filter(is_taken).collect()
}

/// Where a client is sent that asks for this URL.
fn next(plan: &Plan, url: &Uri) -> Option<Uri> {
    let mut request = request(url);
    let Match::Found(found) = plan.table.find(&request) else { return None };
    let redirect = plan.routes[found.index].redirect.as_ref()?;
    if let Some(captures) = found.captures(&request) {
        request.extensions_mut().insert(captures);
    }
    let served = service_fn(|_| async { Ok::<_, Infallible>(Response::new(Full::<Bytes>::default())) });
    let answer = std::pin::pin!(redirect.layer(served).call(request));
    // Nothing waits there.
    let Poll::Ready(Ok(answer)) = answer.poll(&mut Context::from_waker(Waker::noop())) else { return None };
    answer.headers().get(LOCATION)?.to_str().ok()?.parse().ok()
}

/// A request as the edge hands it on.
fn request(url: &Uri) -> Request<()> {
    let mut request = Request::new(());
    let host = url.authority().and_then(|authority| authority.as_str().parse().ok());
    host.map(|host| request.headers_mut().insert(HOST, host));
    *request.uri_mut() = url.path_and_query().cloned().map_or_else(Uri::default, Uri::from);
    let is_tls = url.scheme() == Some(&http::uri::Scheme::HTTPS);
    request.extensions_mut().insert(if is_tls { Scheme::Https } else { Scheme::Http });
    request
}
