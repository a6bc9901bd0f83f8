use crate::Mode;
use crate::gate::{GateFuture, Leave};
use crate::layer::{AuthLayer, Step};
use crate::method::{Head, Passed, Refusal};
use bytes::Bytes;
use gateway_core::{Code, Principal, Unenforced, take_ready};
use http::{HeaderMap, Request, Response};
use std::task::{Context, Poll};
use tower::Service;

/// The service of [`AuthLayer`].
#[derive(Clone, Debug)]
pub struct Auth<S> {
    pub(crate) inner: S,
    pub(crate) layer: AuthLayer,
}

impl<S, B, R> Service<Request<B>> for Auth<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    B: Send + 'static,
    R: From<Bytes> + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = GateFuture<S::Future, R, Note>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    #[allow(clippy::async_yields_async, reason = "the gate polls what is yielded in its place")]
    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (asked, verdict) = match self.layer.ask(Head::of(&request)) {
            Step::Done(decision) => return act(&self.layer, &mut self.inner, request, decision),
            Step::Wait(asked, verdict) => (asked, verdict),
        };
        let mut inner = take_ready(&mut self.inner);
        let layer = self.layer.clone();
        GateFuture::waiting(async move {
            let mut step = Step::Wait(asked, verdict);
            let decision = loop {
                match step {
                    Step::Done(decision) => break decision,
                    Step::Wait(asked, verdict) => {
                        let verdict = verdict.await;
                        step = layer.resume(asked, verdict, Head::of(&request));
                    }
                }
            };
            act(&layer, &mut inner, request, decision)
        })
    }
}

/// Passes the request on, or answers it.
fn act<S, B, R>(
    layer: &AuthLayer,
    inner: &mut S,
    request: Request<B>,
    decision: Result<Passed, Refusal>,
) -> GateFuture<S::Future, R, Note>
where
    S: Service<Request<B>, Response = Response<R>>,
    R: From<Bytes>,
{
    let (passed, unenforced) = match (decision, layer.mode()) {
        (Ok(passed), _) => (passed, None),
        (Err(refusal), Mode::Report) if !refusal.is_in_any_mode() => {
            (Passed::default(), Some(report(&refusal)))
        }
        (Err(refusal), Mode::Enforce | Mode::Report) => {
            return GateFuture::refused(refusal.into_response());
        }
    };
    let mut request = strip(layer, request);
    let mut headers = None;
    if let Some(changes) = passed.changes {
        for (name, value) in &changes.request {
            request.headers_mut().append(name, value.clone());
        }
        headers = (!changes.response.is_empty()).then(|| Box::new(changes.response));
    }
    if let Some(principal) = &passed.principal {
        request.extensions_mut().insert(principal.clone());
    }
    let note = Note { principal: passed.principal, headers, unenforced };
    GateFuture::passed(inner.call(request), note)
}

fn strip<B>(layer: &AuthLayer, request: Request<B>) -> Request<B> {
    if layer.strippers().is_empty() {
        return request;
    }
    let (mut parts, body) = request.into_parts();
    for method in layer.strippers() {
        method.strip(&mut parts);
    }
    Request::from_parts(parts, body)
}

fn report(refusal: &Refusal) -> Unenforced {
    let unenforced = Unenforced { status: refusal.status(), code: refusal.code() };
    let code = unenforced.code.map_or("-", Code::name);
    tracing::info!(code, status = unenforced.status.as_u16(), "a request passes that `enforce` would refuse");
    unenforced
}

/// What the answer is to carry.
pub struct Note {
    principal: Option<Principal>,
    headers: Option<Box<HeaderMap>>,
    unenforced: Option<Unenforced>,
}

impl Leave for Note {
    fn leave<R>(&mut self, response: &mut Response<R>) {
        if let Some(principal) = self.principal.take() {
            response.extensions_mut().insert(principal);
        }
        if let Some(unenforced) = self.unenforced.take() {
            response.extensions_mut().insert(unenforced);
        }
        for (name, value) in self.headers.take().as_deref().into_iter().flatten() {
            response.headers_mut().append(name, value.clone());
        }
    }
}
