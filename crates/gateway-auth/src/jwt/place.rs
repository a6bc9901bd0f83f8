//! Where in a request its token is.

use crate::AuthError;
use crate::credential::{cookies, strip_cookie, strip_query};
use crate::jwt::settings::Place;
use crate::refusal::Refusal;
use gateway_core::percent;
use http::header::{AUTHORIZATION, HeaderName};
use http::{HeaderMap, Uri, request};

/// A good token is far smaller, and whoever sends a larger one wants us to hash it.
const MAX_TOKEN: usize = 16 * 1024;

/// The places where a token may be, in their order.
#[derive(Debug)]
pub(crate) struct Places(Vec<Spot>);

#[derive(Debug)]
enum Spot {
    Header { name: HeaderName, scheme: Option<Box<str>> },
    Cookie(Box<str>),
    Query(Box<str>),
}

impl Places {
    pub(crate) fn new(places: &[Place]) -> Result<Self, AuthError> {
        if places.is_empty() {
            return Ok(Self(vec![Spot::standard()]));
        }
        places.iter().map(Spot::new).collect::<Result<_, _>>().map(Self)
    }

    /// The headers among them.
    pub(crate) fn headers(&self) -> impl Iterator<Item = &HeaderName> {
        self.0.iter().filter_map(|spot| match spot {
            Spot::Header { name, .. } => Some(name),
            Spot::Cookie(_) | Spot::Query(_) => None,
        })
    }

    /// The query parameters among them.
    pub(crate) fn queries(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|spot| match spot {
            Spot::Query(name) => Some(&**name),
            Spot::Header { .. } | Spot::Cookie(_) => None,
        })
    }

    /// Takes out whatever stands in these places, but for what stands in a header under another scheme.
    pub(crate) fn strip(&self, request: &mut request::Parts) {
        for spot in &self.0 {
            match spot {
                Spot::Header { name, scheme } => {
                    let found = in_header(&request.headers, name, scheme.as_deref());
                    if !matches!(found, Err(Refusal::Missing | Refusal::Foreign(_))) {
                        request.headers.remove(name);
                    }
                }
                Spot::Cookie(name) => strip_cookie(&mut request.headers, name),
                Spot::Query(name) => strip_query(&mut request.uri, name),
            }
        }
    }

    /// The one token of a request. What stands in a header under another scheme may be for another method.
    pub(crate) fn find<'r>(&self, headers: &'r HeaderMap, uri: &'r Uri) -> Result<&'r str, Refusal> {
        let mut none = Refusal::Missing;
        for spot in &self.0 {
            match spot.find(headers, uri) {
                Err(Refusal::Missing) => {}
                Err(foreign @ Refusal::Foreign(_)) => none = foreign,
                found => return found,
            }
        }
        Err(none)
    }
}

impl Spot {
    fn standard() -> Self {
        Self::Header { name: AUTHORIZATION, scheme: Some("bearer".into()) }
    }

    fn new(place: &Place) -> Result<Self, AuthError> {
        Ok(match place {
            Place::Standard(_) => Self::standard(),
            Place::Header(place) => Self::Header {
                name: HeaderName::try_from(&place.header)
                    .map_err(|_| AuthError::Place(place.header.clone()))?,
                scheme: place.scheme.as_deref().filter(|scheme| !scheme.is_empty()).map(Box::from),
            },
            Place::Cookie(place) => Self::Cookie(named(&place.cookie)?),
            Place::Query(place) => Self::Query(named(&place.query)?),
        })
    }

    fn find<'r>(&self, headers: &'r HeaderMap, uri: &'r Uri) -> Result<&'r str, Refusal> {
        let token = match self {
            Self::Header { name, scheme } => in_header(headers, name, scheme.as_deref())?,
            Self::Cookie(name) => in_cookie(headers, name)?,
            Self::Query(name) => in_query(uri, name)?,
        };
        if token.is_empty() || token.len() > MAX_TOKEN {
            return Err(Refusal::Invalid("the token is empty or over 16 KiB"));
        }
        Ok(token)
    }
}

fn named(name: &str) -> Result<Box<str>, AuthError> {
    let good =
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic() && !b"=;&,\"".contains(&byte));
    if good { Ok(name.into()) } else { Err(AuthError::Place(name.to_owned())) }
}

fn in_header<'r>(
    headers: &'r HeaderMap,
    name: &HeaderName,
    scheme: Option<&str>,
) -> Result<&'r str, Refusal> {
    let mut values = headers.get_all(name).iter();
    let value = match (values.next(), values.next()) {
        (None, _) => return Err(Refusal::Missing),
        (Some(_), Some(_)) => {
            return Err(Refusal::Invalid(match *name {
                AUTHORIZATION => "there are several Authorization headers",
                _ => "there are several tokens",
            }));
        }
        (Some(value), None) => {
            value.to_str().map_err(|_| Refusal::Foreign("the token holds strange characters"))?
        }
    };
    let Some(scheme) = scheme else { return Ok(value.trim_matches(' ')) };
    let Some((seen, token)) = value.split_once(' ') else {
        let bare = value.eq_ignore_ascii_case(scheme);
        let why = "the Authorization header is not `Bearer` and a token";
        return Err(if bare { Refusal::Invalid(why) } else { Refusal::Foreign(why) });
    };
    if !seen.eq_ignore_ascii_case(scheme) {
        return Err(Refusal::Foreign("the authentication scheme is not Bearer"));
    }
    Ok(token.trim_matches(' '))
}

/// RFC 6265 §5.4. Two of one name, where a domain above set its own, could be read in two ways.
fn in_cookie<'r>(headers: &'r HeaderMap, name: &str) -> Result<&'r str, Refusal> {
    let mut values = cookies(headers, name);
    let (first, second) = (values.next(), values.next());
    if second.is_some() {
        return Err(Refusal::Invalid("there are several cookies with a token"));
    }
    // What other cookies hold, Latin-1 say, is nothing to us.
    std::str::from_utf8(first.ok_or(Refusal::Missing)?)
        .map_err(|_| Refusal::Foreign("the token holds strange characters"))
}

/// RFC 6750 §2.3. A token needs no percent-encoding, so it is read as it stands.
fn in_query<'r>(uri: &'r Uri, name: &str) -> Result<&'r str, Refusal> {
    let mut found = None;
    for pair in uri.query().unwrap_or_default().split('&') {
        let Some((seen, value)) = pair.split_once('=') else { continue };
        // One that is spelled in another way is not overlooked.
        if *percent::decoded(seen) == *name.as_bytes() && found.replace(value).is_some() {
            return Err(Refusal::Invalid("there are several query parameters with a token"));
        }
    }
    found.ok_or(Refusal::Missing)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn find(places: Value, headers: &[(&str, &str)], uri: &str) -> Result<String, Refusal> {
        let places: Vec<Place> = serde_json::from_value(places).unwrap();
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
        }
        let uri = uri.parse().unwrap();
        Places::new(&places).unwrap().find(&map, &uri).map(str::to_owned)
    }

    #[test]
    fn a_token_is_only_looked_for_where_the_settings_say() {
        let everywhere = json!(["header", { "header": "X-Token" }, { "header": "X-Auth", "scheme": "Token" },
            { "cookie": "access" }, { "query": "access_token" }]);
        for (what, places, headers, uri, expected) in [
            ("the usual header", json!([]), vec![("authorization", "Bearer t")], "/", Ok("t")),
            ("no cookie by default", json!([]), vec![("cookie", "access=t")], "/", Err("missing")),
            ("no query by default", json!([]), vec![], "/?access_token=t", Err("missing")),
            ("another header", everywhere.clone(), vec![("x-token", " t ")], "/", Ok("t")),
            ("another scheme", everywhere.clone(), vec![("x-auth", "token t")], "/", Ok("t")),
            ("a cookie", everywhere.clone(), vec![("cookie", "a=1; access=t; b=2")], "/", Ok("t")),
            (
                "a cookie in a second header",
                everywhere.clone(),
                vec![("cookie", "a=1"), ("cookie", "access=t")],
                "/",
                Ok("t"),
            ),
            (
                "a cookie in quotes, beside a strange one",
                everywhere.clone(),
                vec![("cookie", "name=\u{e9}; access=\"t\"")],
                "/",
                Ok("t"),
            ),
            ("two cookies", everywhere.clone(), vec![("cookie", "access=t; access=u")], "/", Err("invalid")),
            (
                "a cookie that ends alike",
                everywhere.clone(),
                vec![("cookie", "my-access=t")],
                "/",
                Err("missing"),
            ),
            ("a query", everywhere.clone(), vec![], "/?a&b=1&access_token=t", Ok("t")),
            (
                "two parameters",
                everywhere.clone(),
                vec![],
                "/?access_token=t&access%5Ftoken=u",
                Err("invalid"),
            ),
            ("an empty one", everywhere.clone(), vec![], "/?access_token=", Err("invalid")),
            (
                "a cookie beside another scheme",
                everywhere.clone(),
                vec![("authorization", "Basic x"), ("cookie", "access=t")],
                "/",
                Ok("t"),
            ),
            (
                "another scheme only",
                everywhere.clone(),
                vec![("authorization", "Basic x")],
                "/",
                Err("foreign"),
            ),
            (
                "the first place counts",
                everywhere,
                vec![("authorization", "Bearer t"), ("cookie", "access=u")],
                "/?access_token=v",
                Ok("t"),
            ),
        ] {
            let seen = find(places, &headers, uri).map_err(|refusal| match refusal {
                Refusal::Missing => "missing",
                Refusal::Foreign(_) => "foreign",
                _ => "invalid",
            });
            assert_eq!(seen.as_deref().map_err(|e| *e), expected, "{what}");
        }
        for bad in [json!([{ "header": "a b" }]), json!([{ "cookie": "" }]), json!([{ "query": "a=b" }])] {
            let places: Vec<Place> = serde_json::from_value(bad).unwrap();
            assert!(Places::new(&places).is_err());
        }
        assert!(serde_json::from_value::<Place>(json!({ "header": "x", "other": 1 })).is_err());
    }
}
