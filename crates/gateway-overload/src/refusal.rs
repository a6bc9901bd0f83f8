//! The one way in which these layers refuse.

use bytes::Bytes;
use gateway_core::{Code, Limited, Mode, Problem};
use http::header::{HeaderValue, RETRY_AFTER};
use http::{HeaderMap, Response};
use std::borrow::Cow;

/// Overload passes quickly or is someone else's to solve: a second is long enough not to make it worse.
const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("1");

/// What a policy makes of requests that are too many, told in their answers' extensions: for the access log.
pub(crate) fn told(policy: &str, mode: Mode) -> Limited {
    match mode {
        Mode::Enforce => Limited::By(policy.into()),
        Mode::Report => Limited::Would(policy.into()),
    }
}

pub(crate) fn refuse<R: From<Bytes>>(
    code: Code,
    detail: impl Into<Cow<'static, str>>,
    by: &Limited,
) -> Response<R> {
    let problem = Problem::new(code).with_detail(detail).with_header(RETRY_AFTER, RETRY_AFTER_SECONDS);
    let mut response = problem.into_response();
    response.extensions_mut().insert(by.clone());
    response
}

/// Says of an answer that it would have been a refusal; unless somebody further in has refused the request, or would have.
pub(crate) fn report<R>(response: &mut Response<R>, would: &Limited) {
    response.extensions_mut().get_or_insert_with(|| would.clone());
}

/// Whether the service below is in distress, by what it answered: 503 and 504 say that it is full or too slow.
pub(crate) fn is_drop(status: http::StatusCode) -> bool {
    matches!(status.as_u16(), 503 | 504)
}

/// Whether an answer counts as a success: everything below 500, as with Envoy.
pub(crate) fn is_success(status: http::StatusCode) -> bool {
    status.as_u16() < 500
}

/// The first value of a header as text.
pub(crate) fn header<'a>(headers: &'a HeaderMap, name: &http::HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}
