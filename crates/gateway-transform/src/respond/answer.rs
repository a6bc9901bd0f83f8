//! An answer made once and given many times.

use super::RespondSettings;
use crate::error::{self, TransformError};
use crate::headers::editable;
use bytes::Bytes;
use gateway_core::{Code, Problem};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderValue};
use http::{Response, StatusCode};
use std::path::Path;

#[derive(Debug)]
pub(crate) struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    pub(crate) fn new(settings: &RespondSettings, default: StatusCode) -> Result<Self, TransformError> {
        let status = match settings.status {
            None => default,
            Some(found) => StatusCode::from_u16(found)
                .ok()
                .filter(|status| (200..600).contains(&status.as_u16()))
                .ok_or(TransformError::Status(found))?,
        };
        let (kind, body) = match (&settings.text, &settings.json, &settings.file) {
            (None, None, None) => (None, Bytes::new()),
            (Some(text), None, None) => (Some("text/plain; charset=utf-8"), text.clone().into()),
            (None, Some(json), None) => (Some("application/json"), json.to_string().into()),
            (None, None, Some(path)) => (Some(kind(path)), read(path)?),
            _ => return Err(TransformError::RespondBody),
        };
        if !body.is_empty() && has_no_body(status) {
            return Err(TransformError::NoBody(status.as_u16()));
        }
        let mut headers = HeaderMap::new();
        if let Some(kind) = kind {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        }
        for (name, value) in &settings.headers {
            headers.insert(editable(name)?, error::value(name, value)?);
        }
        Ok(Self { status, headers, body })
    }

    /// A problem document for settings that name no body. Says whether that is all there is to say.
    pub(super) fn maintenance(settings: &RespondSettings) -> Result<(Self, bool), TransformError> {
        let mut answer = Self::new(settings, StatusCode::SERVICE_UNAVAILABLE)?;
        let unsaid = settings.text.is_none() && settings.json.is_none() && settings.file.is_none();
        let is_problem = unsaid
            && answer.status == StatusCode::SERVICE_UNAVAILABLE
            && !answer.headers.contains_key(CONTENT_TYPE);
        if unsaid && !has_no_body(answer.status) {
            let problem = serde_json::json!({
                "type": "urn:gateway:problem:maintenance",
                "title": "Down for maintenance",
                "status": answer.status.as_u16(),
                "code": "maintenance",
            });
            answer.body = problem.to_string().into();
            answer
                .headers
                .entry(CONTENT_TYPE)
                .or_insert(HeaderValue::from_static("application/problem+json"));
        }
        // Nobody keeps it for later: neither for long nor for others.
        answer.headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
        Ok((answer, is_problem))
    }

    /// The same in the words that the gateway has for it, for whoever cannot read the answer.
    pub(super) fn as_problem(&self) -> Problem {
        let headers = self.headers.iter().filter(|(name, _)| *name != CONTENT_TYPE);
        headers.fold(Problem::new(Code::Maintenance), |problem, (name, value)| {
            problem.with_header(name.clone(), value.clone())
        })
    }

    pub(super) fn headers_mut(&mut self) -> &mut HeaderMap {
        &mut self.headers
    }

    pub(crate) fn give<R: From<Bytes>>(&self) -> Response<R> {
        let mut response = Response::new(R::from(self.body.clone()));
        *response.status_mut() = self.status;
        response.headers_mut().clone_from(&self.headers);
        response
    }
}

/// RFC 9110 §15: what ends with its headers.
fn has_no_body(status: StatusCode) -> bool {
    matches!(status, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED)
}

fn read(path: &Path) -> Result<Bytes, TransformError> {
    let wrong =
        |error: std::io::Error| TransformError::File { path: path.to_owned(), why: error.to_string() };
    std::fs::read(path).map(Bytes::from).map_err(wrong)
}

fn kind(path: &Path) -> &'static str {
    let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
    match ending.to_ascii_lowercase().as_str() {
        "html" | "htm" => "text/html; charset=utf-8",
        "txt" => "text/plain; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "json" => "application/json",
        "xml" => "application/xml",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "ico" => "image/x-icon",
        _ => "application/octet-stream",
    }
}
