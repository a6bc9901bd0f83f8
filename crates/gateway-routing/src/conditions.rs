use crate::ValueMatch;
use gateway_core::cookie;
use gateway_core::percent::form_decoded;
use http::{HeaderMap, HeaderName};
use std::borrow::Cow;

/// A header field a request must have, or must not.
///
/// Each field line is one value; lines are not joined and lists not split.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HeaderMatch {
    /// Its name.
    pub name: HeaderName,
    /// What its value must be.
    pub value: ValueMatch,
}

/// A query parameter a request must have, or must not.
///
/// Names and values are compared percent-decoded, `+` being a space; a parameter without `=` has an empty value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct QueryMatch {
    /// Its name, decoded; upper and lower case are different.
    pub name: String,
    /// What its value must be.
    pub value: ValueMatch,
}

/// A cookie a request must have, or must not.
///
/// Values are taken as sent, without the quotes around them (RFC 6265 §4.2.1).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CookieMatch {
    /// Its name; upper and lower case are different.
    pub name: String,
    /// What its value must be.
    pub value: ValueMatch,
}

impl HeaderMatch {
    /// This header must be there.
    #[must_use]
    pub fn present(name: HeaderName) -> Self {
        Self { name, value: ValueMatch::present() }
    }

    /// This header must have this value.
    #[must_use]
    pub fn exact(name: HeaderName, value: impl Into<String>) -> Self {
        Self { name, value: ValueMatch::exact(value) }
    }

    pub(crate) fn takes(&self, headers: &HeaderMap) -> bool {
        self.value.takes(headers.get_all(&self.name).iter())
    }
}

impl QueryMatch {
    pub(crate) fn takes(&self, query: Option<&str>) -> bool {
        self.value.takes(query_values(query, &self.name))
    }
}

impl CookieMatch {
    pub(crate) fn takes(&self, headers: &HeaderMap) -> bool {
        self.value.takes(cookie_values(headers, &self.name))
    }
}

/// The names and values of a query's parameters, decoded.
#[cfg(feature = "cel")]
pub(crate) fn query_pairs(query: Option<&str>) -> impl Iterator<Item = (Cow<'_, [u8]>, Cow<'_, [u8]>)> {
    query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (form_decoded(name), form_decoded(value))
    })
}

/// The values of a query's parameter, decoded.
pub(crate) fn query_values<'q>(query: Option<&'q str>, name: &str) -> impl Iterator<Item = Cow<'q, [u8]>> {
    query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()).filter_map(move |pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (*form_decoded(key) == *name.as_bytes()).then(|| form_decoded(value))
    })
}

/// The values of a cookie, of which there may be several by one name.
pub(crate) fn cookie_values<'h>(headers: &'h HeaderMap, name: &str) -> impl Iterator<Item = &'h [u8]> {
    cookie::values(headers, name).map(cookie::unquoted)
}

/// The names and values of all cookies.
#[cfg(feature = "cel")]
pub(crate) fn cookie_pairs(headers: &HeaderMap) -> impl Iterator<Item = (&[u8], &[u8])> {
    cookie::pairs(headers).filter_map(|pair| {
        let equals = pair.iter().position(|b| *b == b'=')?;
        Some((&pair[..equals], cookie::unquoted(&pair[equals + 1..])))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use http::header::COOKIE;

    #[test]
    fn query_values_are_found_by_name_and_decoded() {
        let query = Some("a=1&b&%61=x%20y+z&&a=%zz%4&A=2&aa=3&=4");
        for (name, expected) in [
            ("a", vec!["1", "x y z", "%zz%4"]),
            ("b", vec![""]),
            ("A", vec!["2"]),
            ("c", vec![]),
            ("", vec!["4"]),
        ] {
            let seen: Vec<_> =
                query_values(query, name).map(|v| String::from_utf8(v.into_owned()).unwrap()).collect();
            assert_eq!(seen, expected, "{name}");
        }
        assert_eq!(query_values(None, "").count(), 0);
    }

    #[test]
    fn cookies_are_found_in_all_fields_without_their_quotes() {
        let mut headers = HeaderMap::new();
        for field in ["a=1; b=\"x y\";ab=2;  a==3", "a=4", "; a; =5;"] {
            headers.append(COOKIE, HeaderValue::from_static(field));
        }
        for (name, expected) in
            [("a", vec!["1", "=3", "4"]), ("b", vec!["x y"]), ("ab", vec!["2"]), ("x", vec![])]
        {
            let seen: Vec<_> =
                cookie_values(&headers, name).map(|v| String::from_utf8_lossy(v).into_owned()).collect();
            assert_eq!(seen, expected, "{name}");
        }
    }
}
