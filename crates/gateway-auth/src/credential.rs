//! Where a credential stands in a request, and how it is taken out of it.

use crate::method::Head;
use gateway_core::cookie;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue, Uri, request};
use std::borrow::Cow;

/// The places of a credential, in the order they are looked at.
#[derive(Clone, Debug, Default)]
pub(crate) struct Places {
    pub(crate) header: Option<HeaderName>,
    pub(crate) query: Option<String>,
    pub(crate) cookie: Option<String>,
}

/// What stands in the places.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found<'a> {
    Nothing,
    One(Cow<'a, str>),
    /// Several in one place, or one that is no text.
    Unclear,
}

impl Places {
    pub(crate) fn find<'a>(&self, head: Head<'a>) -> Found<'a> {
        let header = self.header.as_ref().map(|name| {
            let values = head.headers.get_all(name).iter();
            one(values.map(|value| value.to_str().ok().map(|text| Cow::Borrowed(text.trim()))))
        });
        if let Some(found @ (Found::One(_) | Found::Unclear)) = header {
            return found;
        }
        if let (Some(name), Some(query)) = (&self.query, head.uri.query())
            && let found @ (Found::One(_) | Found::Unclear) = one(query_values(query, name).map(Some))
        {
            return found;
        }
        match &self.cookie {
            Some(name) => {
                one(cookies(head.headers, name)
                    .map(|value| std::str::from_utf8(value).ok().map(Cow::Borrowed)))
            }
            None => Found::Nothing,
        }
    }

    pub(crate) fn strip(&self, request: &mut request::Parts) {
        if let Some(name) = &self.header {
            request.headers.remove(name);
        }
        if let Some(name) = &self.query {
            strip_query(&mut request.uri, name);
        }
        if let Some(name) = &self.cookie {
            strip_cookie(&mut request.headers, name);
        }
    }
}

fn one<'a>(mut values: impl Iterator<Item = Option<Cow<'a, str>>>) -> Found<'a> {
    match (values.next(), values.next()) {
        (None, _) => Found::Nothing,
        (Some(Some(value)), None) => Found::One(value),
        _ => Found::Unclear,
    }
}

fn query_values<'a>(query: &'a str, name: &str) -> impl Iterator<Item = Cow<'a, str>> {
    let pairs = form_urlencoded::parse(query.as_bytes());
    pairs.filter_map(move |(key, value)| (key == name).then_some(value))
}

/// The values of a cookie, of which there may be several by one name.
pub(crate) fn cookies<'a>(headers: &'a HeaderMap, name: &str) -> impl Iterator<Item = &'a [u8]> {
    cookie::values(headers, name).map(cookie::unquoted)
}

/// The other parameters stay as they are, byte for byte.
pub(crate) fn strip_query(uri: &mut Uri, name: &str) {
    let Some(query) = uri.query() else { return };
    if query_values(query, name).next().is_none() {
        return;
    }
    let is_it = |pair: &str| form_urlencoded::parse(pair.as_bytes()).any(|(key, _)| key == name);
    let rest: Vec<&str> = query.split('&').filter(|pair| !is_it(pair)).collect();
    let target = match rest.is_empty() {
        true => uri.path().to_owned(),
        false => format!("{}?{}", uri.path(), rest.join("&")),
    };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = target.parse().ok();
    if let Ok(stripped) = Uri::from_parts(parts) {
        *uri = stripped;
    }
}

pub(crate) fn strip_cookie(headers: &mut HeaderMap, name: &str) {
    cookie::remove(headers, |pair| cookie::value_of(pair, name).is_some());
}

/// What follows a scheme in the one `Authorization` header; [`Found::Nothing`] for another scheme.
pub(crate) fn authorization<'a>(headers: &'a HeaderMap, scheme: &str) -> Found<'a> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = match (values.next(), values.next()) {
        (None, _) => return Found::Nothing,
        (Some(_), Some(_)) => return Found::Unclear,
        (Some(value), None) => value.as_bytes(),
    };
    let (begin, rest) = value.split_at(scheme.len().min(value.len()));
    match rest.split_first() {
        _ if !begin.eq_ignore_ascii_case(scheme.as_bytes()) => Found::Nothing,
        Some((b' ', rest)) => match std::str::from_utf8(rest) {
            Ok(rest) if rest.trim().is_empty() => Found::Unclear,
            Ok(rest) => Found::One(Cow::Borrowed(rest.trim())),
            Err(_) => Found::Unclear,
        },
        Some(_) => Found::Nothing,
        None => Found::Unclear,
    }
}

/// A challenge of this scheme and realm for `WWW-Authenticate`, with whatever follows.
pub(crate) fn challenge(scheme: &'static str, realm: &str, rest: &str) -> HeaderValue {
    let realm = realm.replace(['"', '\\'], "'");
    let value = HeaderValue::try_from(format!("{scheme} realm=\"{realm}\"{rest}"));
    value.unwrap_or(HeaderValue::from_static(scheme))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;
    use http::header::COOKIE;

    fn places() -> Places {
        let header = Some(HeaderName::from_static("x-api-key"));
        Places { header, query: Some("api_key".into()), cookie: Some("key".into()) }
    }

    #[test]
    fn a_credential_is_found_in_its_places_and_taken_out_of_all() {
        for (uri, headers, found, stripped) in [
            ("/a?b=1", &[][..], Found::Nothing, "/a?b=1 "),
            ("/a?b=1", &[("x-api-key", " k ")], Found::One("k".into()), "/a?b=1 "),
            ("/a?api_key=q&b=%31", &[], Found::One("q".into()), "/a?b=%31 "),
            ("/a?api%5Fkey=q%2B", &[], Found::One("q+".into()), "/a "),
            (
                "/a?api_key=q",
                &[("x-api-key", "k"), ("cookie", "key=c; x=1")],
                Found::One("k".into()),
                "/a x=1",
            ),
            ("/a", &[("cookie", "x=1; key=\"c\""), ("cookie", "y=2")], Found::One("c".into()), "/a x=1; y=2"),
            ("/a", &[("cookie", "key=c")], Found::One("c".into()), "/a "),
            ("/a?api_key=q&api_key=r", &[], Found::Unclear, "/a "),
            ("/a", &[("x-api-key", "k"), ("x-api-key", "l")], Found::Unclear, "/a "),
            (
                "/a?api_keys=q",
                &[("cookie", "keys=c; akey=d")],
                Found::Nothing,
                "/a?api_keys=q keys=c; akey=d",
            ),
        ] {
            let mut request = Request::get(uri);
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            let request = request.body(()).unwrap();
            assert_eq!(places().find(Head::of(&request)), found, "{uri} {headers:?}");
            let (mut parts, ()) = request.into_parts();
            places().strip(&mut parts);
            let cookie = parts.headers.get(COOKIE).map_or("", |value| value.to_str().unwrap());
            assert_eq!(format!("{} {cookie}", parts.uri), stripped, "{uri} {headers:?}");
            assert!(!parts.headers.contains_key("x-api-key"));
        }
    }

    #[test]
    fn an_authorization_is_of_its_scheme_in_any_case_or_none_of_ours() {
        for (values, found) in [
            (&[][..], Found::Nothing),
            (&["Basic YTpi"], Found::One("YTpi".into())),
            (&["bAsIc   YTpi "], Found::One("YTpi".into())),
            (&["Bearer YTpi"], Found::Nothing),
            (&["Basically x"], Found::Nothing),
            (&["Bas"], Found::Nothing),
            (&["Basic"], Found::Unclear),
            (&["Basic "], Found::Unclear),
            (&["Basic YTpi", "Bearer x"], Found::Unclear),
        ] {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(AUTHORIZATION, HeaderValue::from_static(value));
            }
            assert_eq!(authorization(&headers, "Basic"), found, "{values:?}");
        }
    }
}
