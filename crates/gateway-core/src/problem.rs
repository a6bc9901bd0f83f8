use crate::{Code, FailureKind, ProxyError, RequestId};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, Response, StatusCode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// How problems are shown to clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ProblemFormat {
    /// RFC 9457: `application/problem+json` with `type`, `title`, `status`, `detail`, `instance`, `code`.
    #[default]
    Problem,
    /// `{"message":"…"}` and a newline: the format of Echo.
    Message,
    /// `{"detail":"…"}`: the format of FastAPI.
    Detail,
}

/// An answer that the gateway itself gives, and why: RFC 9457 with a stable [`Code`].
///
/// [`Problem::into_response`] makes a complete answer that also carries the problem in its extensions, where
/// [`ProblemLayer`](crate::ProblemLayer) finds it to show it in another format, and the access log to name the
/// cause.
#[derive(Clone, Debug)]
pub struct Problem {
    code: Code,
    status: StatusCode,
    detail: Option<Cow<'static, str>>,
    proxy_error: Option<ProxyError>,
    headers: HeaderMap,
}

impl Problem {
    /// A problem with nothing to say beyond its code.
    #[must_use]
    pub fn new(code: Code) -> Self {
        Self { code, status: code.status(), detail: None, proxy_error: None, headers: HeaderMap::new() }
    }

    /// What a client is told whose request body could not be read to its end, for this reason.
    #[must_use]
    pub fn of_request_body(error: &(dyn std::error::Error + 'static)) -> Self {
        match FailureKind::of_request_body(error) {
            FailureKind::BodyTooLarge => Self::new(Code::BodyTooLarge),
            FailureKind::BodyTimedOut => Self::new(Code::RequestTimeout),
            _ => Self::new(Code::BadRequest).with_detail("the request body broke off"),
        }
    }

    /// Answers with another status than the code's own.
    #[must_use]
    pub fn with_status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    /// Says what happened in this very case. Clients see it: no secrets, no internal host names.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<Cow<'static, str>>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Says more exactly than the code does what RFC 9209 calls it: an unknown host, say, where the code says that
    /// there is no connection.
    #[must_use]
    pub fn with_proxy_error(mut self, error: ProxyError) -> Self {
        self.proxy_error = Some(error);
        self
    }

    /// Adds a header to the answer, such as `Retry-After`.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.append(name, value);
        self
    }

    /// Why.
    #[must_use]
    pub fn code(&self) -> Code {
        self.code
    }

    /// What it is answered with unless the operator says otherwise.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// What happened in this very case, if there is more to say than the code does.
    #[must_use]
    pub fn detail(&self) -> Option<&str> {
        self.detail.as_deref()
    }

    /// What RFC 9209 calls it.
    #[must_use]
    pub fn proxy_error(&self) -> ProxyError {
        self.proxy_error.unwrap_or(self.code.proxy_error())
    }

    /// The answer as `application/problem+json`.
    #[must_use]
    pub fn into_response<B: From<Bytes>>(self) -> Response<B> {
        let body = self.body(ProblemFormat::Problem, self.status, None, None);
        let mut response = Response::new(B::from(body));
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers.clone();
        if !has_no_content(self.status) {
            response.headers_mut().insert(CONTENT_TYPE, content_type(ProblemFormat::Problem));
        }
        response.extensions_mut().insert(self);
        response
    }

    /// The body in one of the formats, if the status has one. `text` takes the place of the format's own words.
    pub(crate) fn body(
        &self,
        format: ProblemFormat,
        status: StatusCode,
        text: Option<&str>,
        instance: Option<&RequestId>,
    ) -> Bytes {
        #[derive(Serialize)]
        struct Document<'a> {
            r#type: String,
            title: &'a str,
            status: u16,
            detail: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            instance: Option<&'a str>,
            code: &'a str,
        }
        let own = |preset: &'static str| match self.code {
            // The transport's words say more than the preset's (S3-13).
            Code::UpstreamConnectFailed | Code::UpstreamReset | Code::UpstreamProtocolError => {
                self.detail().unwrap_or(preset)
            }
            _ => preset,
        };
        if has_no_content(status) {
            return Bytes::new();
        }
        match format {
            ProblemFormat::Problem => json(&Document {
                r#type: format!("urn:gateway:problem:{}", self.code.name()),
                title: self.code.title(),
                status: status.as_u16(),
                detail: text.or(self.detail()).unwrap_or(self.code.title()),
                instance: instance.map(RequestId::as_str),
                code: self.code.name(),
            }),
            ProblemFormat::Message => {
                let mut body =
                    json(&serde_json::json!({ "message": text.unwrap_or_else(|| own(self.code.message())) }))
                        .to_vec();
                body.push(b'\n');
                body.into()
            }
            ProblemFormat::Detail => {
                json(&serde_json::json!({ "detail": text.unwrap_or_else(|| self.code.detail()) }))
            }
        }
    }
}

/// Answers that may have no body (RFC 9110 §6.4.1 and §15.3.6).
pub(crate) fn has_no_content(status: StatusCode) -> bool {
    matches!(status.as_u16(), 204 | 205 | 304)
}

pub(crate) fn content_type(format: ProblemFormat) -> HeaderValue {
    HeaderValue::from_static(match format {
        ProblemFormat::Problem => "application/problem+json",
        ProblemFormat::Message | ProblemFormat::Detail => "application/json",
    })
}

fn json<T: Serialize>(value: &T) -> Bytes {
    // Strings and numbers always serialise.
    serde_json::to_vec(value).unwrap_or_default().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(problem: &Problem, format: ProblemFormat) -> String {
        String::from_utf8(problem.body(format, problem.code().status(), None, None).to_vec()).unwrap()
    }

    #[test]
    fn s3_16_the_message_format_is_exactly_43_bytes_for_a_missing_header() {
        let text = body(&Problem::new(Code::MissingCredentials), ProblemFormat::Message);
        assert_eq!(text, "{\"message\":\"Missing Authorization header\"}\n");
        assert_eq!(text.len(), 43);
    }

    #[test]
    fn the_three_formats_say_the_same_code_in_their_own_words() {
        let problem = Problem::new(Code::InvalidToken).with_detail("the signature does not match");
        assert_eq!(body(&problem, ProblemFormat::Message), "{\"message\":\"Invalid token\"}\n");
        assert_eq!(body(&problem, ProblemFormat::Detail), "{\"detail\":\"Invalid JWT token\"}");
        assert_eq!(
            body(&problem, ProblemFormat::Problem),
            r#"{"type":"urn:gateway:problem:invalid-token","title":"The token is not valid","status":401,"detail":"the signature does not match","code":"invalid-token"}"#
        );
    }

    #[test]
    fn s3_13_the_message_of_an_upstream_failure_is_the_transport_error() {
        let problem = Problem::new(Code::UpstreamConnectFailed).with_detail("connection refused");
        assert_eq!(body(&problem, ProblemFormat::Message), "{\"message\":\"connection refused\"}\n");
    }
}
