use crate::table::{Match, RouteTable};
use bytes::Bytes;
use gateway_core::{Code, Problem};
use http::header::ALLOW;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use pin_project_lite::pin_project;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tower::Service;
use tower::util::Oneshot;

/// Sends each request to the service of its route.
///
/// Answers 404 `no-route`, 405 `method-not-allowed` with `Allow`, or 204 with `Allow` to an `OPTIONS` that no route
/// takes and without to `OPTIONS *`, which no route is asked for (RFC 9110 §9.3.7). Puts
/// [`Captures`](gateway_core::Captures) into the request's extensions when the route has parameters. Differs from
/// axum's router in that routes match by host and headers too, and fall back to the next best.
#[derive(Debug)]
pub struct Dispatch<S>(Arc<RouteTable<S>>);

impl<S> Dispatch<S> {
    /// Dispatches over this table.
    #[must_use]
    pub fn new(table: RouteTable<S>) -> Self {
        Self(Arc::new(table))
    }
}

impl<S> Clone for Dispatch<S> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<S, B, R> Service<Request<B>> for Dispatch<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone,
    R: From<Bytes>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = DispatchFuture<S, B>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        // Which route has to be ready is known only with the request; its clone is made ready in the future.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        if *request.method() == Method::OPTIONS && request.uri().path() == "*" {
            return DispatchFuture { kind: Kind::Options { allow: None } };
        }
        let problem = match self.0.find(&request) {
            Match::Found(found) => {
                let route = found.route.clone();
                if let Some(captures) = found.captures(&request) {
                    request.extensions_mut().insert(captures);
                }
                return DispatchFuture { kind: Kind::Route { future: Oneshot::new(route, request) } };
            }
            Match::MethodNotAllowed { allow } if request.method() == Method::OPTIONS => {
                return DispatchFuture { kind: Kind::Options { allow: Some(allow) } };
            }
            Match::MethodNotAllowed { allow } => {
                Problem::new(Code::MethodNotAllowed).with_header(ALLOW, allow)
            }
            Match::NotFound => Problem::new(Code::NoRoute),
        };
        DispatchFuture { kind: Kind::Refused { problem: Some(problem) } }
    }
}

pin_project! {
    /// The future of [`Dispatch`].
    pub struct DispatchFuture<S: Service<Request<B>>, B> {
        #[pin]
        kind: Kind<S, B>,
    }
}

pin_project! {
    #[project = KindProj]
    enum Kind<S: Service<Request<B>>, B> {
        Route { #[pin] future: Oneshot<S, Request<B>> },
        Refused { problem: Option<Problem> },
        Options { allow: Option<HeaderValue> },
    }
}

impl<S, B, R> Future for DispatchFuture<S, B>
where
    S: Service<Request<B>, Response = Response<R>>,
    R: From<Bytes>,
{
    type Output = Result<Response<R>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().kind.project() {
            KindProj::Route { future } => future.poll(cx),
            KindProj::Refused { problem } => {
                let problem = problem.take().unwrap_or_else(|| Problem::new(Code::NoRoute));
                Poll::Ready(Ok(problem.into_response()))
            }
            KindProj::Options { allow } => {
                let mut response = Response::new(R::from(Bytes::new()));
                *response.status_mut() = StatusCode::NO_CONTENT;
                response.headers_mut().extend(allow.take().map(|allow| (ALLOW, allow)));
                Poll::Ready(Ok(response))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RouteMatch;
    use std::convert::Infallible;
    use tower::{ServiceExt, service_fn};

    #[tokio::test]
    async fn what_no_route_takes_is_404_405_or_for_options_204() {
        let service = service_fn(|_: Request<()>| async { Ok::<_, Infallible>(Response::new(Bytes::new())) });
        let with = |path: &str, methods: &[Method]| {
            (RouteMatch { methods: methods.to_vec(), ..RouteMatch::path(path).unwrap() }, service)
        };
        let routes = vec![with("/a", &[Method::GET]), with("/b", &[Method::OPTIONS])];
        let dispatch = Dispatch::new(RouteTable::build(routes).unwrap());
        for (method, path, status, allow) in [
            ("GET", "/a", 200, None),
            ("PUT", "/a", 405, Some("GET, HEAD")),
            ("OPTIONS", "/a", 204, Some("GET, HEAD")),
            ("OPTIONS", "/b", 200, None),
            ("OPTIONS", "/c", 404, None),
            ("OPTIONS", "*", 204, None),
            ("GET", "*", 404, None),
        ] {
            let request = Request::builder().method(method).uri(path).body(()).unwrap();
            let response = dispatch.clone().oneshot(request).await.unwrap();
            let seen = response.headers().get(ALLOW).map(|allow| allow.to_str().unwrap());
            assert_eq!((response.status().as_u16(), seen), (status, allow), "{method} {path}");
        }
    }
}
