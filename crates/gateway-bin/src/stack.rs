//! A route's stack of layers behind one box, and the edge that every request passes on its way to one.

use crate::end::{AnyBody, RequestStream};
use crate::fallback::Refusal;
use crate::hops;
use gateway_auth::HeaderNames;
use gateway_core::{ClientAddr, Code, Problem};
use gateway_observe::ObservedBody;
use gateway_routing::{Found, Match, RouteTable};
use gateway_transform::{
    ClientIpLayer, NormalizeSettings, UnderscoreHeaders, normalize_path, only_proxies_say,
};
use http::header::{ALLOW, CONNECTION, HOST};
use http::uri::PathAndQuery;
use http::{HeaderValue, Method, Request, Response, Uri, Version};
use std::borrow::Cow;
use std::cell::{OnceCell, RefCell};
use std::convert::Infallible;
use std::future::Future;
use std::net::Ipv6Addr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use tower::{Service, ServiceExt};

/// The body of every answer: of the gateway itself, or of an upstream, without a box.
pub(crate) type AnswerBody<B> = ObservedBody<AnyBody<B>>;

/// The one box of a request: the future of its route's stack.
pub(crate) type Answering<B> = Pin<Box<dyn Future<Output = Result<Response<AnswerBody<B>>, Infallible>>>>;

/// A stack of layers whose type is hidden: where the static types of the routes meet.
pub(crate) trait RouteService<B: RequestStream> {
    fn call(&self, request: Request<B>) -> Answering<B>;
}

/// One worker's copy of a route's stack. A worker is one thread, so that the stack is called in place, without
/// a clone per request.
pub(crate) struct Stack<S>(RefCell<S>);

impl<S> Stack<S> {
    pub(crate) fn new(service: S) -> Self {
        Self(RefCell::new(service))
    }
}

impl<S, B> RouteService<B> for Stack<S>
where
    S: Service<Request<B>, Response = Response<AnswerBody<B>>, Error = Infallible> + Clone + 'static,
    S::Future: 'static,
    B: RequestStream,
{
    fn call(&self, request: Request<B>) -> Answering<B> {
        let mut service = self.0.borrow_mut();
        match service.poll_ready(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(())) => {
                // First, so that the future is made where it stays.
                let place = Box::new_uninit();
                Box::into_pin(Box::write(place, service.call(request)) as _)
            }
            // No layer of ours waits here, but one may some day.
            Poll::Pending => Box::pin(service.clone().oneshot(request)),
        }
    }
}

/// The stack of a route, for one worker.
pub(crate) type RouteStack<B> = Rc<dyn RouteService<B>>;

/// A route in the table of an edge.
type FoundRoute<'t, B> = Found<'t, OnceCell<RouteStack<B>>>;

/// What one worker does with every request: make it unambiguous, find its route, hand it over.
pub(crate) struct Edge<B: RequestStream> {
    /// The stack of a route is made when its first request comes: of many routes, most are asked for seldom.
    pub(crate) routes: RouteTable<OnceCell<RouteStack<B>>>,
    /// Makes the stack of the route at this place.
    pub(crate) stacks: Box<dyn Fn(usize) -> Option<RouteStack<B>>>,
    /// Makes what answers in the place of the route at this place, and is counted and logged as that.
    pub(crate) stand_ins: Box<dyn Fn(usize) -> RouteStack<B>>,
    /// Whether the route at this place answers browsers that ask for leave (CORS).
    pub(crate) answers_preflights: Box<dyn Fn(usize) -> bool>,
    /// Answers what no route takes.
    pub(crate) fallback: RouteStack<B>,
    pub(crate) client_ip: ClientIpLayer,
    pub(crate) underscores: UnderscoreHeaders,
    pub(crate) normalize: NormalizeSettings,
    /// The largest head, in bytes. The server's own limit is that of its buffer, which is less exact.
    pub(crate) max_head: usize,
    /// Headers that only the gateway may set: whoever is outside does not say who they are.
    pub(crate) identity_headers: HeaderNames,
}

/// Where a client is to be sent, and what it asked for.
pub(crate) struct Moved {
    location: HeaderValue,
    asked: Uri,
}

impl<B: RequestStream> Edge<B> {
    /// Answers one request of this client.
    pub(crate) fn call(&self, mut request: Request<B>, client: ClientAddr) -> Answering<B> {
        let moved = match self.receive(&mut request, client) {
            Ok(moved) => moved,
            Err(problem) => return self.refuse(request, Refusal::Problem(*problem)),
        };
        if hops::is_ping(&request) {
            return self.refuse(request, Refusal::Options(None));
        }
        if moved.is_none()
            && let Some(found) = self.preflight(&mut request)
        {
            return self.hand_over(&found, request);
        }
        match self.routes.find(&request) {
            Match::Found(found) => {
                if let Some(moved) = moved {
                    *request.uri_mut() = moved.asked;
                    return self.answer_for(found.index, request, Refusal::Moved(moved.location));
                }
                if let Some(refusal) = hops::count_off(&mut request, &self.routes) {
                    return self.answer_for(found.index, request, refusal);
                }
                if let Some(captures) = found.captures(&request) {
                    request.extensions_mut().insert(captures);
                }
                self.hand_over(&found, request)
            }
            Match::MethodNotAllowed { allow } if *request.method() == Method::OPTIONS => {
                self.refuse(request, Refusal::Options(Some(allow)))
            }
            Match::MethodNotAllowed { allow } => {
                let problem = Problem::new(Code::MethodNotAllowed).with_header(ALLOW, allow);
                self.refuse(request, Refusal::Problem(problem))
            }
            Match::NotFound => self.refuse(request, Refusal::Problem(Problem::new(Code::NoRoute))),
        }
    }

    /// The route that answers a browser that asks for leave (CORS): the one that takes the request which is to follow, if
    /// it has an answer. It need not name `OPTIONS` among its methods.
    pub(crate) fn preflight(&self, request: &mut Request<B>) -> Option<FoundRoute<'_, B>> {
        let asked = hops::preflighted(request)?;
        let method = std::mem::replace(request.method_mut(), asked);
        let found = match self.routes.find(request) {
            Match::Found(found) if (self.answers_preflights)(found.index) => Some(found),
            _ => None,
        };
        *request.method_mut() = method;
        found
    }

    fn hand_over(&self, found: &FoundRoute<'_, B>, request: Request<B>) -> Answering<B> {
        let make = || (self.stacks)(found.index).unwrap_or_else(|| self.fallback.clone());
        found.route.get_or_init(make).call(request)
    }

    /// Makes a request what routes are looked up by: who the client is, one host and one path. Says where the client is
    /// to be sent if a route takes it, where that is not here.
    pub(crate) fn receive(
        &self,
        request: &mut Request<B>,
        client: ClientAddr,
    ) -> Result<Option<Box<Moved>>, Box<Problem>> {
        request.extensions_mut().insert(client);
        self.client_ip.apply(request);
        self.clean(request, client)
    }

    /// Answers what could not be read as a request. It shows in the log as `- *`.
    pub(crate) fn refuse_unread(&self, problem: Problem, client: ClientAddr) -> Answering<B>
    where
        B: Default,
    {
        let mut request = Request::new(B::default());
        *request.method_mut() = Method::from_bytes(b"-").unwrap_or_default();
        *request.uri_mut() = Uri::from_static("*");
        request.extensions_mut().insert(client);
        self.refuse(request, Refusal::Problem(problem))
    }

    /// Answers in the place of a route, before any of its policies.
    fn answer_for(&self, route: usize, mut request: Request<B>, refusal: Refusal) -> Answering<B> {
        request.extensions_mut().insert(refusal);
        (self.stand_ins)(route).call(request)
    }

    fn refuse(&self, mut request: Request<B>, refusal: Refusal) -> Answering<B> {
        request.extensions_mut().insert(refusal);
        self.fallback.call(request)
    }

    /// One host and one normalised path, the same for matching, policies and the upstream; and nothing that strangers
    /// may not say.
    fn clean(&self, request: &mut Request<B>, peer: ClientAddr) -> Result<Option<Box<Moved>>, Box<Problem>> {
        let bad = |detail: Cow<'static, str>| Box::new(Problem::new(Code::BadRequest).with_detail(detail));
        let mut hosts = request.headers().get_all(HOST).iter();
        match (hosts.next(), hosts.next()) {
            // RFC 9112 §3.2: exactly one, and the target's own authority comes before it.
            (_, Some(_)) => return Err(bad("the request has several Host headers".into())),
            (None, _) if request.version() == Version::HTTP_11 => {
                return Err(bad("the request has no Host header".into()));
            }
            (Some(host), _) if !is_host(host.as_bytes()) => {
                return Err(bad("the Host header is not a host".into()));
            }
            _ => {}
        }
        let (mut size, mut spoofed, mut nominates) = (0, Vec::new(), false);
        for (name, value) in request.headers() {
            size += name.as_str().len() + value.len() + 4;
            nominates |= *name == CONNECTION;
            if self.identity_headers.contains(name, request.extensions())
                || (only_proxies_say(name)
                    && !self.client_ip.believes_in(peer.0, name)
                    && !self.identity_headers.decides(name))
            {
                spoofed.push(name.clone());
            }
        }
        if size > self.max_head {
            return Err(Box::new(Problem::new(Code::HeadersTooLarge)));
        }
        for name in spoofed {
            request.headers_mut().remove(name);
        }
        self.underscores.apply(request.headers_mut())?;
        // Before any layer adds a header that the client could nominate for removal.
        if nominates {
            gateway_http1::remove_nominated(request.headers_mut());
        }
        if let Some(authority) = request.uri().authority() {
            let host = HeaderValue::from_str(authority.as_str())
                .ok()
                .filter(|host| !host.is_empty() && is_host(host.as_bytes()))
                .ok_or_else(|| bad("the target's authority is not a host".into()))?;
            let target = request.uri().path_and_query().cloned();
            request.headers_mut().insert(HOST, host);
            *request.uri_mut() = target.map_or_else(Uri::default, Uri::from);
        }
        // `http://host?query` and HTTP/2's `?query`, whose path is the root all the same (RFC 9112 §3.2.1).
        if let Some(target) = request.uri().path_and_query().filter(|target| target.as_str().starts_with('?'))
        {
            let target = PathAndQuery::try_from(format!("/{target}"));
            *request.uri_mut() = Uri::from(target.map_err(|_| bad("the target is not valid".into()))?);
        }
        let (path, query) = (request.uri().path(), request.uri().query());
        match normalize_path(path, &self.normalize) {
            Ok(Cow::Borrowed(_)) => Ok(None),
            Ok(Cow::Owned(normal)) => {
                let moved = self.normalize.redirect(path, &normal, query).and_then(|location| {
                    // What is valid in a target is valid in a header.
                    let location = HeaderValue::try_from(location).ok()?;
                    Some(Box::new(Moved { location, asked: request.uri().clone() }))
                });
                let target = match query {
                    Some(query) => format!("{normal}?{query}"),
                    None => normal,
                };
                let target = PathAndQuery::try_from(target)
                    .map_err(|_| bad("the path is not valid once normalised".into()))?;
                let mut parts = request.uri().clone().into_parts();
                parts.path_and_query = Some(target);
                *request.uri_mut() =
                    Uri::from_parts(parts).map_err(|_| bad("the target is not valid".into()))?;
                Ok(moved)
            }
            Err(error) => Err(bad(error.to_string().into())),
        }
    }
}

/// `host`, `host:port` or nothing (RFC 9110 §7.2). What a registered name may hold beyond letters, digits and
/// `-._~` is in no name that is in use, and read differently by everyone.
fn is_host(value: &[u8]) -> bool {
    let (host_is_good, port) = match value {
        [b'[', rest @ ..] => {
            let Some(end) = rest.iter().position(|b| *b == b']') else { return false };
            let address = std::str::from_utf8(&rest[..end]).unwrap_or_default();
            (address.parse::<Ipv6Addr>().is_ok(), &rest[end + 1..])
        }
        _ => {
            let end = value.iter().position(|b| !IS_NAMED[usize::from(*b)]).unwrap_or(value.len());
            (end > 0 || value.is_empty(), &value[end..])
        }
    };
    let digit = |port: u32, b: &u8| {
        let port = b.is_ascii_digit().then(|| port * 10 + u32::from(b - b'0'))?;
        (port <= u32::from(u16::MAX)).then_some(port)
    };
    let port_is_good = match port {
        [] => true,
        [b':', digits @ ..] => digits.iter().try_fold(0, digit).is_some(),
        _ => false,
    };
    host_is_good && port_is_good
}

/// What a registered name may hold: looked up, as every byte of every request's host is.
static IS_NAMED: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        let b = byte as u8;
        table[byte] = b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~');
        byte += 1;
    }
    table
};
