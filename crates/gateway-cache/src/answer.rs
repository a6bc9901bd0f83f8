//! Answers from the store (RFC 9111 §4).

use crate::body::CacheBody;
use crate::engine::Engine;
use crate::entry::Entry;
use crate::fill::FillReader;
use crate::semantics::conditional::{is_conditional, is_not_modified};
use crate::semantics::range::{Part, part};
use crate::semantics::status::{Forward, Told};
use gateway_core::{Code, Problem, spare};
use http::header::{
    AGE, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderMap,
    HeaderValue,
};
use http::{Method, Response, StatusCode};
use std::time::Duration;

/// `Age`, `Cache-Status`, and what the layers around it may add.
const ADDED: usize = 6;

/// Answers a request from a stored answer: whole, in part, with its head alone, or with a 304.
pub(crate) fn from_entry<R>(
    entry: &Entry,
    method: &Method,
    request: &HeaderMap,
    age: Duration,
) -> Response<CacheBody<R>> {
    let mut response = head(entry, age);
    let headers = response.headers_mut();
    if entry.status == StatusCode::OK {
        if is_conditional(request) && is_not_modified(request, &entry.headers) {
            return not_modified(response);
        }
        if *method == Method::GET {
            match part(request, &entry.headers, entry.length) {
                Part::Whole => {}
                Part::Bytes(range) => {
                    let length = range.end - range.start;
                    let of = format!("bytes {}-{}/{}", range.start, range.end - 1, entry.length);
                    headers.insert(
                        CONTENT_RANGE,
                        HeaderValue::try_from(of).unwrap_or(HeaderValue::from_static("")),
                    );
                    headers.insert(CONTENT_LENGTH, length.into());
                    *response.status_mut() = StatusCode::PARTIAL_CONTENT;
                    *response.body_mut() = CacheBody::stored(entry.body.clone(), range);
                    return response;
                }
                Part::Unsatisfiable => {
                    let of = format!("bytes */{}", entry.length);
                    headers.insert(
                        CONTENT_RANGE,
                        HeaderValue::try_from(of).unwrap_or(HeaderValue::from_static("")),
                    );
                    headers.insert(CONTENT_LENGTH, 0.into());
                    headers.remove(CONTENT_TYPE);
                    headers.remove(CONTENT_ENCODING);
                    *response.status_mut() = StatusCode::RANGE_NOT_SATISFIABLE;
                    return response;
                }
            }
        }
    }
    if *method == Method::HEAD {
        return response;
    }
    *response.body_mut() = CacheBody::stored(entry.body.clone(), 0..entry.length);
    response
}

/// Answers a request from an answer whose body still comes in.
pub(crate) fn from_fill<R>(
    head: &Entry,
    reader: FillReader,
    request: &HeaderMap,
    age: Duration,
) -> Response<CacheBody<R>> {
    let mut response = self::head(head, age);
    if head.status == StatusCode::OK && is_conditional(request) && is_not_modified(request, &head.headers) {
        return not_modified(response);
    }
    *response.body_mut() = CacheBody::fill(reader, content_length(&head.headers));
    response
}

fn head<R>(entry: &Entry, age: Duration) -> Response<CacheBody<R>> {
    let mut response = Response::new(CacheBody::default());
    *response.status_mut() = entry.status;
    // With room for what is added on the way to the client, which a plain copy would have to be moved for.
    let mut headers = spare::headers(entry.headers.len() + ADDED);
    for (name, value) in &entry.headers {
        headers.append(name, value.clone());
    }
    headers.insert(AGE, number(age.as_secs()));
    *response.headers_mut() = headers;
    response
}

/// As `HeaderValue::from`, in memory of just that size.
fn number(number: u64) -> HeaderValue {
    let mut digits = itoa::Buffer::new();
    HeaderValue::from_str(digits.format(number)).unwrap_or(HeaderValue::from_static("0"))
}

/// Without what describes a body that is not sent (RFC 9110 §15.4.5).
pub(crate) fn not_modified<R>(mut response: Response<CacheBody<R>>) -> Response<CacheBody<R>> {
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    for name in [CONTENT_LENGTH, CONTENT_TYPE, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_RANGE] {
        response.headers_mut().remove(name);
    }
    *response.body_mut() = CacheBody::default();
    response
}

/// The client wants no answer but a stored one, and there is none (RFC 9111 §5.2.1.7).
pub(crate) fn not_cached<R>(engine: &Engine, why: Forward) -> Response<CacheBody<R>> {
    let mut response = Problem::new(Code::NotCached).into_response();
    let told = Told::Forwarded { why, upstream: None, stored: false, would_hit: false };
    engine.tell(&mut response, told);
    response
}

/// The length that the answer announces; `None` where it announces none, or several.
pub(crate) fn content_length(headers: &HeaderMap) -> Option<u64> {
    let mut lines = headers.get_all(CONTENT_LENGTH).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else { return None };
    line.to_str().ok()?.parse().ok()
}
