//! What gRPC-Web changes in the heads of requests and answers.

use bytes::Bytes;
use gateway_core::Grpc;
use http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue, TE, TRAILER};
use http::{Method, Request};

const NATIVE: &str = "application/grpc";
const BINARY: &str = "application/grpc-web";
const TEXT: &str = "application/grpc-web-text";

/// How a body is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Frames as they are.
    Binary,
    /// Frames in base64.
    Text,
}

impl Form {
    /// The form of a request's body, if it is one of gRPC-Web.
    pub(super) fn of<B>(request: &Request<B>) -> Option<Self> {
        let form = match Grpc::of(request.headers())? {
            Grpc::Native => return None,
            Grpc::Web => Self::Binary,
            Grpc::WebText => Self::Text,
        };
        (*request.method() == Method::POST).then_some(form)
    }

    /// The form that the client of such a request takes: the first that its `Accept` names, else that of its request.
    pub(super) fn accepted(self, headers: &HeaderMap) -> Self {
        let ranges =
            headers.get_all(ACCEPT).iter().flat_map(|list| list.as_bytes().split(|byte| *byte == b','));
        ranges.map(<[u8]>::trim_ascii).find_map(Self::of_range).unwrap_or(self)
    }

    fn of_range(range: &[u8]) -> Option<Self> {
        let named = |kind: &str| {
            let (start, rest) = range.split_at_checked(kind.len())?;
            let ends = matches!(rest.first(), None | Some(b'+' | b';' | b' '));
            (start.eq_ignore_ascii_case(kind.as_bytes()) && ends).then_some(())
        };
        let text = named(TEXT).map(|()| Self::Text);
        text.or_else(|| named(BINARY).map(|()| Self::Binary))
    }

    fn content_type(self) -> &'static str {
        match self {
            Self::Binary => BINARY,
            Self::Text => TEXT,
        }
    }
}

/// Makes a request of this form one of gRPC.
pub(super) fn to_grpc(headers: &mut HeaderMap, form: Form) {
    if let Some(kind) = headers.get_mut(CONTENT_TYPE) {
        *kind = renamed(kind, form.content_type(), NATIVE);
    }
    headers.insert(TE, HeaderValue::from_static("trailers"));
    if form == Form::Text {
        headers.remove(CONTENT_LENGTH);
    }
}

/// Makes an answer of gRPC one of this form. Says whether it was one of gRPC: what is not stays as it is.
pub(super) fn to_web(headers: &mut HeaderMap, form: Form) -> bool {
    if Grpc::of(headers) != Some(Grpc::Native) {
        return false;
    }
    if let Some(kind) = headers.get_mut(CONTENT_TYPE) {
        *kind = renamed(kind, NATIVE, form.content_type());
    }
    headers.remove(CONTENT_LENGTH);
    headers.remove(TRAILER);
    true
}

/// A content type that begins with the one name, with the other instead: `+proto` and the like stay.
fn renamed(value: &HeaderValue, from: &'static str, to: &'static str) -> HeaderValue {
    let rest = value.as_bytes().get(from.len()..).unwrap_or_default();
    // A part of a header's value is always one.
    HeaderValue::from_maybe_shared(Bytes::from([to.as_bytes(), rest].concat()))
        .unwrap_or(HeaderValue::from_static(to))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderName;

    fn headers(fields: &[(HeaderName, &'static str)]) -> HeaderMap {
        let fields = fields.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value)));
        HeaderMap::from_iter(fields)
    }

    #[test]
    fn a_post_of_grpc_web_has_a_form_and_nothing_else_has() {
        for (method, kind, expected) in [
            ("POST", "application/grpc-web", Some(Form::Binary)),
            ("POST", "application/grpc-web+proto", Some(Form::Binary)),
            ("POST", "application/grpc-web-text", Some(Form::Text)),
            ("POST", "Application/gRPC-Web-Text+proto", Some(Form::Text)),
            ("POST", "application/grpc", None),
            ("POST", "application/grpc-webs", None),
            ("POST", "application/json", None),
            ("GET", "application/grpc-web", None),
            ("OPTIONS", "application/grpc-web-text", None),
        ] {
            let request = Request::builder().method(method).header(CONTENT_TYPE, kind).body(()).unwrap();
            assert_eq!(Form::of(&request), expected, "{method} {kind}");
        }
        assert_eq!(Form::of(&Request::post("/").body(()).unwrap()), None);
    }

    #[test]
    fn the_answer_has_the_form_that_accept_names_first_or_else_the_requests_own() {
        for (accept, of_binary, of_text) in [
            ("*/*", Form::Binary, Form::Text),
            ("application/grpc-web-text", Form::Text, Form::Text),
            ("application/grpc-web-text+proto;q=1", Form::Text, Form::Text),
            ("application/json, Application/grpc-web+proto", Form::Binary, Form::Binary),
            ("application/grpc-web, application/grpc-web-text", Form::Binary, Form::Binary),
            ("application/grpc-web-textual", Form::Binary, Form::Text),
            ("", Form::Binary, Form::Text),
        ] {
            let headers = headers(&[(ACCEPT, accept)]);
            let found = (Form::Binary.accepted(&headers), Form::Text.accepted(&headers));
            assert_eq!(found, (of_binary, of_text), "{accept}");
        }
        assert_eq!(Form::Text.accepted(&HeaderMap::new()), Form::Text);
    }

    #[test]
    fn heads_change_their_names_and_keep_what_stands_behind() {
        for (web, form, native) in [
            ("application/grpc-web", Form::Binary, "application/grpc"),
            ("application/grpc-web+proto", Form::Binary, "application/grpc+proto"),
            ("application/grpc-web-text", Form::Text, "application/grpc"),
            ("application/grpc-web-text+proto", Form::Text, "application/grpc+proto"),
            (
                "application/grpc-web-text+json; charset=utf-8",
                Form::Text,
                "application/grpc+json; charset=utf-8",
            ),
        ] {
            let mut request = headers(&[(CONTENT_TYPE, web), (CONTENT_LENGTH, "8")]);
            to_grpc(&mut request, form);
            assert_eq!(
                (&request[CONTENT_TYPE], &request[TE]),
                (&native.parse().unwrap(), &"trailers".parse().unwrap())
            );
            assert_eq!(request.contains_key(CONTENT_LENGTH), form == Form::Binary, "{web}");
            let mut answer =
                headers(&[(CONTENT_TYPE, native), (CONTENT_LENGTH, "8"), (TRAILER, "grpc-status")]);
            assert!(to_web(&mut answer, form));
            assert_eq!(answer, headers(&[(CONTENT_TYPE, web)]));
        }
    }

    #[test]
    fn an_answer_that_is_not_grpc_stays_as_it_is() {
        for kind in ["application/json", "text/html", "application/grpc-web"] {
            let mut answer = headers(&[(CONTENT_TYPE, kind), (CONTENT_LENGTH, "8")]);
            assert!(!to_web(&mut answer, Form::Text));
            assert_eq!(answer, headers(&[(CONTENT_TYPE, kind), (CONTENT_LENGTH, "8")]));
        }
    }
}
