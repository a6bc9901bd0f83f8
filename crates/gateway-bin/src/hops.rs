//! What the gateway answers to `OPTIONS` and `TRACE` in a service's place (RFC 9110 §7.6.2, §9.3.7; Fetch Standard §3.2).

use crate::fallback::Refusal;
use gateway_core::{Code, Problem};
use gateway_routing::{Match, RouteTable};
use http::header::{ACCESS_CONTROL_REQUEST_METHOD, ALLOW, HeaderMap, HeaderValue, MAX_FORWARDS, ORIGIN};
use http::{Method, Request};

/// What routes allow that take any method.
const ANY: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");

/// Whether it is `OPTIONS *`, which asks about the server and not about any path: a ping.
pub(crate) fn is_ping<B>(request: &Request<B>) -> bool {
    *request.method() == Method::OPTIONS && request.uri().path() == "*"
}

/// The method of the request that a browser asks leave for, if that is what it does.
pub(crate) fn preflighted<B>(request: &Request<B>) -> Option<Method> {
    let headers = request.headers();
    let asked =
        headers.get(ACCESS_CONTROL_REQUEST_METHOD).filter(|_| *request.method() == Method::OPTIONS)?;
    Method::from_bytes(asked.as_bytes()).ok().filter(|_| headers.contains_key(ORIGIN))
}

/// Counts this hop off the `Max-Forwards` of a request that a route takes. Where no hop is left, says what the gateway
/// answers, which then is the final recipient. Only `OPTIONS` and `TRACE` are counted.
pub(crate) fn count_off<B, T>(request: &mut Request<B>, routes: &RouteTable<T>) -> Option<Refusal> {
    if !matches!(*request.method(), Method::OPTIONS | Method::TRACE) {
        return None;
    }
    let left = hops(request.headers())?;
    let Some(left) = left.checked_sub(1) else { return Some(answer(request, routes)) };
    request.headers_mut().insert(MAX_FORWARDS, HeaderValue::from(left));
    None
}

/// How many hops are left; nothing if the header does not say one number. More than can be counted are very many.
fn hops(headers: &HeaderMap) -> Option<u64> {
    let mut values = headers.get_all(MAX_FORWARDS).iter();
    let value = values.next().filter(|_| values.next().is_none())?.to_str().ok()?;
    let is_number = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| value.parse().unwrap_or(u64::MAX))
}

/// `OPTIONS` is told what the path's routes allow. `TRACE` is refused, as the gateway shows nobody's headers.
fn answer<B, T>(request: &mut Request<B>, routes: &RouteTable<T>) -> Refusal {
    let method = request.method().clone();
    // A method that no route has by name: any that takes it takes all.
    *request.method_mut() = Method::from_bytes(b"-").unwrap_or_default();
    let allow = match routes.find(request) {
        Match::MethodNotAllowed { allow } => allow,
        Match::Found(_) | Match::NotFound => ANY,
    };
    *request.method_mut() = method;
    if *request.method() == Method::OPTIONS {
        return Refusal::Options(Some(allow));
    }
    let others = allow.to_str().unwrap_or_default().split(", ").filter(|method| *method != "TRACE");
    let allow = HeaderValue::try_from(others.collect::<Vec<_>>().join(", ")).unwrap_or(ANY);
    Refusal::Problem(Problem::new(Code::MethodNotAllowed).with_header(ALLOW, allow))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hops_are_one_number() {
        for (values, expected) in [
            (&["0"][..], Some(0)),
            (&["7"], Some(7)),
            (&["007"], Some(7)),
            (&["99999999999999999999999"], Some(u64::MAX)),
            (&[], None),
            (&[""], None),
            (&["+1"], None),
            (&["-1"], None),
            (&["1.0"], None),
            (&["1, 2"], None),
            (&["1", "2"], None),
        ] {
            let headers: HeaderMap =
                values.iter().map(|value| (MAX_FORWARDS, HeaderValue::from_static(value))).collect();
            assert_eq!(hops(&headers), expected, "{values:?}");
        }
    }
}
