mod settings;

pub use settings::{FallbackOn, FallbackSettings};

use crate::error::TransformError;
use crate::respond::Answer;
use bytes::{Bytes, BytesMut};
use gateway_core::{Problem, take_ready};
use http::{Request, Response, StatusCode};
use http_body::Body;
use pin_project_lite::pin_project;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tower::util::Oneshot;
use tower::{Layer, Service, ServiceExt};

/// Asks another service when the first has no answer, and answers itself when that has none either.
///
/// Differs from retries in that it goes on to another service, once, and for whatever method: put it outside of
/// balancing and retries, and name what may be asked twice. A cache that answers with what is stale belongs between this
/// layer and the service.
///
/// A body of known length up to `max_body` is read whole before the first service is asked; a request with any other is
/// asked only once, and goes on to the static answer.
#[derive(Clone, Debug)]
pub struct FallbackLayer<A> {
    rule: Arc<Rule>,
    alternative: Option<A>,
}

#[derive(Debug)]
struct Rule {
    on: Vec<FallbackOn>,
    answer: Option<Answer>,
    max_body: u64,
}

impl<A> FallbackLayer<A> {
    /// A layer with these settings; what their `service` names is the alternative.
    ///
    /// # Errors
    /// Settings that fall back on nothing, and whatever is wrong with the static answer.
    pub fn new(settings: &FallbackSettings, alternative: Option<A>) -> Result<Self, TransformError> {
        if settings.on.is_empty() || (alternative.is_none() && settings.respond.is_none()) {
            return Err(TransformError::Fallback);
        }
        let answer = settings.respond.as_ref();
        let rule = Rule {
            on: settings.on.clone(),
            answer: answer.map(|answer| Answer::new(answer, StatusCode::OK)).transpose()?,
            max_body: settings.max_body.bytes(),
        };
        Ok(Self { rule: Arc::new(rule), alternative })
    }
}

impl Rule {
    fn takes<R>(&self, answer: &Response<R>) -> bool {
        let problem = answer.extensions().get::<Problem>();
        self.on.iter().any(|on| on.takes(answer.status(), problem))
    }
}

impl<S, A: Clone> Layer<S> for FallbackLayer<A> {
    type Service = Fallback<S, A>;
    fn layer(&self, inner: S) -> Fallback<S, A> {
        Fallback { inner, alternative: self.alternative.clone(), rule: self.rule.clone() }
    }
}

/// The service of [`FallbackLayer`].
#[derive(Clone, Debug)]
pub struct Fallback<S, A> {
    inner: S,
    alternative: Option<A>,
    rule: Arc<Rule>,
}

impl<S, A, B, R> Service<Request<B>> for Fallback<S, A>
where
    S: Service<Request<B>, Response = Response<R>> + Clone,
    A: Service<Request<B>, Response = Response<R>, Error = S::Error> + Clone,
    B: Body<Data = Bytes> + From<Bytes> + Unpin,
    R: From<Bytes>,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = FallbackFuture<S, A, B>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (rule, alternative) = (self.rule.clone(), self.alternative.clone());
        let length = request.body().size_hint().exact().filter(|length| *length <= self.rule.max_body);
        let kind = match (&alternative, length) {
            (Some(_), Some(0)) => {
                let spare = request_of(&parts_of(&request), Bytes::new());
                Kind::First { future: self.inner.call(request), spare: Some(spare) }
            }
            (Some(_), Some(length)) => {
                let inner = Some(take_ready(&mut self.inner));
                let read = BytesMut::with_capacity(usize::try_from(length).unwrap_or_default());
                Kind::Reads { request: Some(request), read, inner }
            }
            _ => Kind::First { future: self.inner.call(request), spare: None },
        };
        FallbackFuture { kind, alternative, rule }
    }
}

fn parts_of<B>(request: &Request<B>) -> Request<()> {
    let mut copy = Request::new(());
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.version_mut() = request.version();
    copy.headers_mut().clone_from(request.headers());
    copy.extensions_mut().clone_from(request.extensions());
    copy
}

fn request_of<B: From<Bytes>>(parts: &Request<()>, body: Bytes) -> Request<B> {
    parts_of(parts).map(|()| B::from(body))
}

pin_project! {
    /// The future of [`FallbackLayer`].
    pub struct FallbackFuture<S: Service<Request<B>>, A: Service<Request<B>>, B> {
        #[pin]
        kind: Kind<S, A, B>,
        alternative: Option<A>,
        rule: Arc<Rule>,
    }
}

pin_project! {
    #[project = KindProj]
    enum Kind<S: Service<Request<B>>, A: Service<Request<B>>, B> {
        Reads { request: Option<Request<B>>, read: BytesMut, inner: Option<S> },
        First { #[pin] future: S::Future, spare: Option<Request<B>> },
        Second { #[pin] future: Oneshot<A, Request<B>> },
    }
}

impl<S, A, B, R> Future for FallbackFuture<S, A, B>
where
    S: Service<Request<B>, Response = Response<R>>,
    A: Service<Request<B>, Response = Response<R>, Error = S::Error>,
    B: Body<Data = Bytes> + From<Bytes> + Unpin,
    R: From<Bytes>,
{
    type Output = Result<Response<R>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            let next = match this.kind.as_mut().project() {
                KindProj::Reads { request: waiting, read, inner } => {
                    let (Some(mut request), Some(mut service)) = (waiting.take(), inner.take()) else {
                        return Poll::Pending;
                    };
                    let whole = match Pin::new(request.body_mut()).poll_frame(cx) {
                        Poll::Pending => {
                            (*waiting, *inner) = (Some(request), Some(service));
                            return Poll::Pending;
                        }
                        Poll::Ready(Some(Ok(frame))) => {
                            if let Ok(data) = frame.into_data() {
                                read.extend_from_slice(&data);
                            }
                            request.body().is_end_stream()
                        }
                        Poll::Ready(None) => true,
                        // The client broke off, or sent what it may not: what was not read fails again, and says why.
                        Poll::Ready(Some(Err(_))) => {
                            let future = service.call(request);
                            this.kind.set(Kind::First { future, spare: None });
                            continue;
                        }
                    };
                    if !whole {
                        (*waiting, *inner) = (Some(request), Some(service));
                        continue;
                    }
                    let (body, parts) = (read.split().freeze(), request.map(drop));
                    let spare = Some(request_of(&parts, body.clone()));
                    Kind::First { future: service.call(parts.map(|()| B::from(body))), spare }
                }
                KindProj::First { future, spare } => {
                    let answer = ready!(future.poll(cx))?;
                    if !this.rule.takes(&answer) {
                        return Poll::Ready(Ok(answer));
                    }
                    match (spare.take(), this.alternative.take()) {
                        (Some(request), Some(service)) => Kind::Second { future: service.oneshot(request) },
                        _ => return Poll::Ready(Ok(last(this.rule, answer))),
                    }
                }
                KindProj::Second { future } => {
                    let answer = ready!(future.poll(cx))?;
                    let failed = this.rule.takes(&answer);
                    return Poll::Ready(Ok(if failed { last(this.rule, answer) } else { answer }));
                }
            };
            this.kind.set(next);
        }
    }
}

/// What is answered when nobody is left to ask.
fn last<R: From<Bytes>>(rule: &Rule, answer: Response<R>) -> Response<R> {
    rule.answer.as_ref().map_or(answer, Answer::give)
}
