use gateway_core::once;
use http::header::{HeaderName, HeaderValue};
use http::{Request, Response};
use pin_project_lite::pin_project;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
use tower::{Layer, Service};

static SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// Response extension: how long the service took until the head of its answer.
#[derive(Clone, Copy, Debug)]
struct ServiceTime(Duration);

/// Says in `Server-Timing` (W3C Server Timing) where the time until an answer's head went, in milliseconds:
/// `service;dur=12.345, gateway;dur=0.321`. Browsers show it beside the request, and give it to their pages.
///
/// It stands twice: [`around_service`](Self::around_service) next to the service, outside of retries, and
/// [`around_all`](Self::around_all) outside of the layers whose time is to count as the gateway's. Answers that no
/// service gave have no `service`. What the service says of itself stays before it.
///
/// Whoever can ask learns how long things take: leave it out where that is nobody's business.
#[derive(Clone, Copy, Debug)]
pub struct ServerTimingLayer(Place);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Service,
    All,
}

impl ServerTimingLayer {
    /// Takes the service's time.
    #[must_use]
    pub fn around_service() -> Self {
        Self(Place::Service)
    }

    /// Takes the time of all, and tells.
    #[must_use]
    pub fn around_all() -> Self {
        Self(Place::All)
    }
}

impl<S> Layer<S> for ServerTimingLayer {
    type Service = ServerTiming<S>;
    fn layer(&self, inner: S) -> ServerTiming<S> {
        ServerTiming { inner, place: self.0 }
    }
}

/// The service of [`ServerTimingLayer`].
#[derive(Clone, Debug)]
pub struct ServerTiming<S> {
    inner: S,
    place: Place,
}

impl<S, B, R> Service<Request<B>> for ServerTiming<S>
where
    S: Service<Request<B>, Response = Response<R>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ServerTimingFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let start = Instant::now();
        ServerTimingFuture { inner: self.inner.call(request), start, place: self.place }
    }
}

pin_project! {
    /// The future of [`ServerTiming`].
    #[derive(Debug)]
    pub struct ServerTimingFuture<F> {
        #[pin]
        inner: F,
        start: Instant,
        place: Place,
    }
}

impl<F, R, E> Future for ServerTimingFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let mut response = ready!(this.inner.poll(cx))?;
        let took = this.start.elapsed();
        match this.place {
            Place::Service => drop(response.extensions_mut().insert(ServiceTime(took))),
            Place::All => {
                let service = response.extensions().get().map(|ServiceTime(service)| *service);
                if let Some(told) = told(took, service) {
                    response.headers_mut().append(SERVER_TIMING.clone(), told);
                }
            }
        }
        Poll::Ready(Ok(response))
    }
}

/// What is not the service's time is the gateway's.
fn told(all: Duration, service: Option<Duration>) -> Option<HeaderValue> {
    let millis = |time: Duration| time.as_secs_f64() * 1000.0;
    let own = millis(all.saturating_sub(service.unwrap_or_default()));
    let text = match service {
        Some(service) => format!("service;dur={:.3}, gateway;dur={own:.3}", millis(service)),
        None => format!("gateway;dur={own:.3}"),
    };
    HeaderValue::try_from(text).ok().map(once)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;
    use tower::{ServiceExt, service_fn};

    #[test]
    fn times_are_milliseconds_and_what_is_not_the_services_is_the_gateways() {
        let micros = Duration::from_micros;
        for (all, service, expected) in [
            (micros(12_666), Some(micros(12_345)), "service;dur=12.345, gateway;dur=0.321"),
            (micros(70), None, "gateway;dur=0.070"),
            (micros(1), Some(micros(2)), "service;dur=0.002, gateway;dur=0.000"),
        ] {
            assert_eq!(told(all, service).unwrap(), expected);
        }
    }

    #[tokio::test]
    async fn an_answer_tells_of_its_service_after_what_that_said_itself() {
        let service = service_fn(|_: Request<()>| async {
            Ok::<_, Infallible>(Response::builder().header("server-timing", "db;dur=1").body(()).unwrap())
        });
        let timed = ServerTimingLayer::around_all().layer(ServerTimingLayer::around_service().layer(service));
        let answer = timed.oneshot(Request::new(())).await.unwrap();
        let told: Vec<_> = answer.headers().get_all("server-timing").iter().collect();
        assert_eq!(told[0], "db;dur=1");
        let own = told[1].to_str().unwrap();
        assert!(own.starts_with("service;dur=0.") && own.contains(", gateway;dur=0."), "{own}");
    }

    #[tokio::test]
    async fn an_answer_without_a_service_tells_of_the_gateway_alone() {
        let own = service_fn(|_: Request<()>| async { Ok::<_, Infallible>(Response::new(())) });
        let answer = ServerTimingLayer::around_all().layer(own).oneshot(Request::new(())).await.unwrap();
        assert!(answer.headers()["server-timing"].to_str().unwrap().starts_with("gateway;dur=0."));
    }
}
