//! How large a request's body may be.

use crate::end::{Answer, RequestStream};
use futures_util::future::Either;
use gateway_core::units::{ByteSize, Scalar, ShortForm};
use gateway_core::{Code, Limited, Mode, Problem, Received, Refusals};
use http::Request;
use schemars::JsonSchema;
use serde::Deserialize;
use std::convert::Infallible;
use std::future::{Future, Ready, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tower::{Layer, Service};

/// The largest request body. Short form: `"1MiB"`, the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct BodyLimitSettings {
    /// How many bytes it may have at most.
    pub(crate) limit: ByteSize,
    /// `enforce`, or `report`: larger ones pass, and are counted in `gateway_overload_total` and told as `would_limit` in
    /// the access log. Of one whose client does not say how large it is, that is what was read when the answer begins.
    /// Default `enforce`.
    #[serde(default)]
    pub(crate) mode: Mode,
}

impl ShortForm for BodyLimitSettings {
    const EXPECTED: &'static str = "a size with its unit, such as \"64KiB\", or a table";
    const TYPE: &'static str = "string";
    fn from_short(value: Scalar<'_>) -> Option<Result<Self, String>> {
        let limit = ByteSize::from_short(value)?;
        Some(limit.map(|limit| Self { limit, mode: Mode::Enforce }))
    }
}

/// Answers 413 to a body that is larger: at once where its length is told, else as soon as it turns out.
#[derive(Clone, Debug)]
pub(crate) struct BodyLimitLayer {
    settings: BodyLimitSettings,
    /// Only whom it would refuse: other answers say so themselves.
    would_refuse: Arc<Refusals>,
}

impl BodyLimitLayer {
    /// `earlier` is that of the configuration before, whose count goes on.
    pub(crate) fn new(settings: BodyLimitSettings, earlier: Option<&Self>) -> Self {
        let would_refuse = earlier.map(|earlier| earlier.would_refuse.clone()).unwrap_or_default();
        Self { settings, would_refuse }
    }

    /// How many it would have refused, if it only reports.
    pub(crate) fn would_refuse(&self) -> Option<u64> {
        (self.settings.mode == Mode::Report).then(|| self.would_refuse.of(Mode::Report))
    }
}

impl<S> Layer<S> for BodyLimitLayer {
    type Service = BodyLimit<S>;

    fn layer(&self, inner: S) -> BodyLimit<S> {
        BodyLimit { inner, layer: self.clone() }
    }
}

#[derive(Clone)]
pub(crate) struct BodyLimit<S> {
    inner: S,
    layer: BodyLimitLayer,
}

type Answering<B> = Pin<Box<dyn Future<Output = Result<Answer<B>, Infallible>> + Send>>;

impl<S, B> Service<Request<B>> for BodyLimit<S>
where
    S: Service<Request<B>, Response = Answer<B>, Error = Infallible>,
    S::Future: Send + 'static,
    B: RequestStream,
{
    type Response = Answer<B>;
    type Error = Infallible;
    type Future = Either<Either<Ready<Result<Answer<B>, Infallible>>, S::Future>, Answering<B>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let BodyLimitSettings { limit, mode } = self.layer.settings;
        let most = limit.bytes();
        let told = request.body().size_hint().lower();
        if mode == Mode::Report {
            let received = request.extensions().get::<Received>().cloned();
            let would_refuse = self.layer.would_refuse.clone();
            let answering = self.inner.call(request);
            return Either::Right(Box::pin(async move {
                let mut answer = answering.await?;
                if told.max(received.map_or(0, |received| received.bytes())) > most {
                    would_refuse.count(Mode::Report);
                    answer.extensions_mut().get_or_insert_with(|| Limited::Would("max-body".into()));
                }
                Ok(answer)
            }));
        }
        if told > most {
            let detail = format!("the request body is larger than {most} bytes");
            let problem = Problem::new(Code::BodyTooLarge).with_detail(detail);
            return Either::Left(Either::Left(ready(Ok(problem.into_response()))));
        }
        request.body_mut().limit(most);
        Either::Left(Either::Right(self.inner.call(request)))
    }
}
