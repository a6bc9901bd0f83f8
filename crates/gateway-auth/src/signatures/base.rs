//! What of a request is signed, as text (RFC 9421 §2).

use crate::forward::key::host;
use crate::method::Head;
use crate::signatures::verdict::bad;
use gateway_core::Scheme;
use http::HeaderMap;
use sfv::{FieldType, InnerList, Item, ListEntry};
use std::borrow::Cow;
use std::fmt::Write;

/// More than any client has a reason for.
const MAX_COMPONENTS: usize = 64;

/// What a signature covers: a component's name, and how it is written with its parameters.
pub(crate) struct Covered<'a>(Vec<(&'a str, &'a Item, String)>);

impl<'a> Covered<'a> {
    pub(crate) fn new(list: &'a InnerList) -> Result<Self, Cow<'static, str>> {
        if list.items.len() > MAX_COMPONENTS {
            return bad("the signature covers more than 64 components");
        }
        let mut covered: Vec<(&str, &Item, String)> = Vec::with_capacity(list.items.len());
        for item in &list.items {
            let Some(name) = item.bare_item.as_string() else {
                return bad("the signature covers something that is no text");
            };
            let written = item.serialize();
            // §2: each once.
            if covered.iter().any(|(_, _, known)| *known == written) {
                return bad(format!("the signature covers {written} twice"));
            }
            covered.push((name.as_str(), item, written));
        }
        Ok(Self(covered))
    }

    /// Whether it covers the component as a whole.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(known, item, _)| *known == name && item.params.is_empty())
    }

    /// The signature base (§2.5).
    pub(crate) fn base(&self, list: &InnerList, head: Head<'_>) -> Result<String, Cow<'static, str>> {
        let mut base = String::with_capacity(512);
        for (name, item, written) in &self.0 {
            let value = match *name {
                "@query-param" => query_param(item, head)?,
                _ if !item.params.is_empty() => {
                    return bad(format!("the signature covers {written}, which cannot be checked here"));
                }
                name => value(name, head)?,
            };
            // Writing to a text never fails.
            let _ = writeln!(base, "{written}: {value}");
        }
        let params = vec![ListEntry::InnerList(list.clone())].serialize().unwrap_or_default();
        let _ = write!(base, "\"@signature-params\": {params}");
        Ok(base)
    }
}

/// The value of a component without parameters.
fn value<'a>(name: &str, head: Head<'a>) -> Result<Cow<'a, str>, Cow<'static, str>> {
    let path = match head.uri.path() {
        "" => "/",
        path => path,
    };
    let query = head.uri.query().unwrap_or_default();
    let scheme = || head.extensions.get::<Scheme>().copied().unwrap_or_default().as_str();
    Ok(match name {
        "@method" => head.method.as_str().into(),
        "@path" => path.into(),
        "@query" => format!("?{query}").into(),
        "@scheme" => scheme().into(),
        "@authority" => authority(head, scheme())?.into(),
        "@request-target" => head.uri.path_and_query().map_or("/", |target| target.as_str()).into(),
        "@target-uri" => {
            let target = head.uri.path_and_query().map_or("/", |target| target.as_str());
            format!("{}://{}{target}", scheme(), authority(head, scheme())?).into()
        }
        name if name.starts_with('@') => {
            return bad(format!("the signature covers `{name}`, which no request has"));
        }
        name => field(name, head.headers)?,
    })
}

/// §2.2.3: in lower case, without the scheme's own port.
fn authority(head: Head<'_>, scheme: &str) -> Result<String, Cow<'static, str>> {
    let Ok(host) = std::str::from_utf8(host(head)) else { return bad("the host is no text") };
    let host = host.to_ascii_lowercase();
    let port = if scheme == "https" { ":443" } else { ":80" };
    Ok(host.strip_suffix(port).map_or_else(|| host.clone(), str::to_owned))
}

/// §2.1: all values of a header, with a comma between.
pub(crate) fn field<'a>(name: &str, headers: &'a HeaderMap) -> Result<Cow<'a, str>, Cow<'static, str>> {
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return bad(format!("the signature covers `{name}`, which is not in lower case"));
    }
    let mut values = headers.get_all(name).iter().map(|value| value.to_str().map(str::trim));
    let text = |value| match value {
        Ok(value) => Ok(value),
        Err(_) => bad(format!("the header `{name}` is signed and holds strange characters")),
    };
    let Some(first) = values.next() else {
        return bad(format!("the header `{name}` is signed and missing"));
    };
    let mut all = Cow::Borrowed(text(first)?);
    for value in values {
        let all = all.to_mut();
        all.push_str(", ");
        all.push_str(text(value)?);
    }
    Ok(all)
}

/// §2.2.8: one parameter of the query, decoded and encoded again.
fn query_param(item: &Item, head: Head<'_>) -> Result<Cow<'static, str>, Cow<'static, str>> {
    let name = match (item.params.len(), item.params.get("name").and_then(|name| name.as_string())) {
        (1, Some(name)) => name.as_str(),
        _ => return bad("the signature covers `@query-param` without a `name`, or with more than that"),
    };
    let pairs = form_urlencoded::parse(head.uri.query().unwrap_or_default().as_bytes());
    let mut values = pairs.filter(|(key, _)| encoded(key) == name).map(|(_, value)| encoded(&value));
    match (values.next(), values.next()) {
        (Some(value), None) => Ok(value.into()),
        _ => bad(format!("the query parameter `{name}` is signed and not there once")),
    }
}

/// By the percent-encode set of forms (WHATWG URL), with `%20` for a space.
fn encoded(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut out, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'*' | b'-' | b'.' | b'_' => out.push(char::from(byte)),
            _ => {
                let _ = write!(out, "%{byte:02X}");
            }
        }
        out
    })
}
