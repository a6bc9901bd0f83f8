//! Scheme and authority of a URL, written one way.

use gateway_core::Scheme;
use http::Request;
use http::header::HOST;
use std::borrow::Cow;

/// Scheme and authority as all who mean the same write them: in lower case, without the default port.
pub(crate) fn origin(scheme: &str, authority: &str) -> String {
    let mut text = String::with_capacity(scheme.len() + authority.len() + 3);
    push_parts(&mut text, scheme, authority);
    text
}

/// The origin that a request is for.
pub(crate) fn origin_of<B>(request: &Request<B>) -> String {
    let mut text = String::with_capacity(64);
    push_origin(&mut text, request);
    text
}

pub(crate) fn push_origin<B>(text: &mut String, request: &Request<B>) {
    let scheme = match request.extensions().get::<Scheme>() {
        Some(scheme) => scheme.as_str(),
        None => request.uri().scheme_str().unwrap_or("http"),
    };
    let authority = match request.uri().authority() {
        Some(authority) => Cow::Borrowed(authority.as_str()),
        None => request.headers().get(HOST).map_or(Cow::Borrowed(""), |host| lossy(host.as_bytes())),
    };
    push_parts(text, scheme, &authority);
}

/// As [`String::from_utf8_lossy`], which looks at each byte by itself.
fn lossy(bytes: &[u8]) -> Cow<'_, str> {
    std::str::from_utf8(bytes).map_or_else(|_| String::from_utf8_lossy(bytes), Cow::Borrowed)
}

fn push_parts(text: &mut String, scheme: &str, authority: &str) {
    let start = text.len();
    text.push_str(scheme);
    text.push_str("://");
    // Nobody's name is part of the origin.
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let port = if scheme.eq_ignore_ascii_case("https") { ":443" } else { ":80" };
    text.push_str(host.strip_suffix(port).unwrap_or(host));
    text[start..].make_ascii_lowercase();
}
