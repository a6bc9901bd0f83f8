//! Requests that go only to endpoints with a certain label.

use gateway_core::{Endpoint, cookie};
use http::HeaderName;
use http::request::Parts;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};

/// Sends requests only to endpoints with a label that the request asks for, such as a version (Envoy: subset load
/// balancing).
///
/// Each subset is balanced like a service of its own: with weights, priorities and panic among its endpoints. With
/// `maglev` each has a table of its own.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SubsetSettings {
    /// Which label of the endpoints' `metadata` is looked at.
    pub key: String,
    /// What says which value is asked for: `{ header = "X-Version" }` or `{ cookie = "version" }`. Default: nothing,
    /// it is always `value`.
    #[serde(default)]
    pub from: Option<SubsetFrom>,
    /// The value for requests that say none. Default: none.
    #[serde(default)]
    pub value: Option<String>,
    /// What becomes of requests without a value, or for whose value no endpoint can take requests: `"any"` endpoint
    /// takes them, `"none"` (503 `no-endpoint`), or `{ default = "v1" }`, those with this value. Default `"any"`.
    #[serde(default)]
    pub fallback: SubsetFallback,
}

/// What of a request says which subset it is for.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SubsetFrom {
    /// The first header of this name.
    #[serde(deserialize_with = "header")]
    Header(#[schemars(with = "String")] HeaderName),
    /// The cookie of this name.
    #[serde(deserialize_with = "cookie_name")]
    Cookie(String),
}

/// Who takes the requests that no subset takes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SubsetFallback {
    /// Any endpoint.
    #[default]
    Any,
    /// Nobody.
    None,
    /// The endpoints with this value.
    Default(String),
}

fn header<'de, D: Deserializer<'de>>(d: D) -> Result<HeaderName, D::Error> {
    let text = String::deserialize(d)?;
    let wrong = |_| format!("`{text}` is no header's name; expected one such as \"X-Version\"");
    text.parse().map_err(wrong).map_err(serde::de::Error::custom)
}

fn cookie_name<'de, D: Deserializer<'de>>(d: D) -> Result<String, D::Error> {
    let text = String::deserialize(d)?;
    if cookie::is_name(&text) {
        return Ok(text);
    }
    let message = format!("`{text}` cannot be the name of a cookie; expected letters, digits, `-` and `_`");
    Err(serde::de::Error::custom(message))
}

/// Which endpoints a request may go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    Any,
    /// Those of the subset at this index.
    Subset(usize),
    Nobody,
}

/// The values that there are endpoints for, found once.
#[derive(Debug)]
pub(crate) struct Subsets {
    settings: SubsetSettings,
    /// In order, for the search.
    values: Box<[Box<str>]>,
}

impl Subsets {
    pub(crate) fn new<'a>(settings: &SubsetSettings, endpoints: impl Iterator<Item = &'a Endpoint>) -> Self {
        let values = endpoints.filter_map(|endpoint| endpoint.metadata().get(&settings.key));
        let mut values: Vec<Box<str>> = values.map(|value| value.as_str().into()).collect();
        values.sort_unstable();
        values.dedup();
        Self { settings: settings.clone(), values: values.into() }
    }

    pub(crate) fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether an endpoint belongs to the subset at this index.
    pub(crate) fn holds(&self, subset: usize, endpoint: &Endpoint) -> bool {
        endpoint.metadata().get(&self.settings.key).is_some_and(|value| **value == *self.values[subset])
    }

    /// Where a request goes. `has_any` says whether a subset has endpoints that can take requests, none of which is
    /// ejected: rather than in a panic among a subset's own, requests go to the fallback, if there is one. Pure.
    pub(crate) fn choose(&self, head: Option<&Parts>, has_any: impl Fn(usize) -> bool) -> Choice {
        let said = self.settings.from.as_ref().zip(head).and_then(|(from, head)| from.value(head));
        let value = said.or(self.settings.value.as_deref().map(str::as_bytes));
        let found = value.and_then(|value| self.find(value));
        let subset = match &self.settings.fallback {
            _ if found.is_some_and(has_any) => found,
            SubsetFallback::Any => return Choice::Any,
            SubsetFallback::None => found,
            SubsetFallback::Default(value) => self.find(value.as_bytes()),
        };
        subset.map_or(Choice::Nobody, Choice::Subset)
    }

    fn find(&self, value: &[u8]) -> Option<usize> {
        self.values.binary_search_by(|known| known.as_bytes().cmp(value)).ok()
    }
}

impl SubsetFrom {
    fn value<'a>(&self, head: &'a Parts) -> Option<&'a [u8]> {
        match self {
            Self::Header(name) => head.headers.get(name).map(http::HeaderValue::as_bytes),
            Self::Cookie(name) => cookie::values(&head.headers, name).next(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;
    use std::collections::BTreeMap;

    fn read(text: &str) -> Result<SubsetSettings, String> {
        serde_json::from_str(text).map_err(|error| error.to_string())
    }

    fn subsets(text: &str) -> Subsets {
        let endpoint = |version: &str| {
            let labels = BTreeMap::from([("version".to_owned(), version.to_owned())]);
            Endpoint::parse("http://a").unwrap().with_metadata(labels)
        };
        let endpoints = ["v2", "v1", "v10", "v1"].map(endpoint);
        Subsets::new(&read(text).unwrap(), endpoints.iter().chain(&[Endpoint::parse("http://b").unwrap()]))
    }

    #[test]
    fn a_request_finds_its_subset_or_the_fallback() {
        use Choice::{Any, Nobody, Subset};
        let head = |version: Option<&str>| {
            let request =
                version.into_iter().fold(Request::get("/"), |r, version| r.header("x-version", version));
            request.body(()).unwrap().into_parts().0
        };
        let from = r#""key": "version", "from": {"header": "X-Version"}"#;
        for (rest, version, expected) in [
            ("", Some("v1"), Subset(0)),
            ("", Some("v10"), Subset(1)),
            ("", Some("v2"), Subset(2)),
            ("", Some("v3"), Any),
            ("", None, Any),
            (r#", "fallback": "none""#, Some("v3"), Nobody),
            (r#", "fallback": "none""#, None, Nobody),
            (r#", "fallback": {"default": "v1"}"#, None, Subset(0)),
            (r#", "fallback": {"default": "v9"}"#, None, Nobody),
            (r#", "value": "v2", "fallback": "none""#, None, Subset(2)),
            (r#", "value": "v2", "fallback": "none""#, Some("v3"), Nobody),
        ] {
            let subsets = subsets(&format!("{{{from}{rest}}}"));
            assert_eq!(subsets.choose(Some(&head(version)), |_| true), expected, "{rest} {version:?}");
        }
        for (fallback, expected) in [
            (r#""any""#, Any),
            // Nobody else may take them: it is for the subset's plan to say whether there is a panic.
            (r#""none""#, Subset(1)),
            (r#"{"default": "v2"}"#, Subset(2)),
            (r#"{"default": "v10"}"#, Subset(1)),
        ] {
            let subsets = subsets(&format!(r#"{{{from}, "fallback": {fallback}}}"#));
            let chosen = subsets.choose(Some(&head(Some("v10"))), |_| false);
            assert_eq!(chosen, expected, "{fallback}, and none of it is available");
        }
        let cookie = subsets(r#"{"key": "version", "from": {"cookie": "v"}}"#);
        let head = Request::get("/").header("cookie", "v=v10").body(()).unwrap().into_parts().0;
        assert_eq!((cookie.len(), cookie.choose(Some(&head), |_| true)), (3, Subset(1)));
        assert_eq!(cookie.choose(Some(&head), |subset| subset != 1), Any, "nobody of it can take requests");
        let fixed = subsets(r#"{"key": "version", "value": "v2"}"#);
        assert_eq!(fixed.choose(None, |_| true), Subset(2));
    }

    #[test]
    fn mistakes_are_named() {
        for (text, part) in [
            ("{}", "missing field `key`"),
            (r#"{"key": "a", "from": {"header": "a b"}}"#, "`a b` is no header's name; expected"),
            (r#"{"key": "a", "from": {"cookie": "a b"}}"#, "`a b` cannot be the name of a cookie"),
            (r#"{"key": "a", "from": {"path": "x"}}"#, "expected `header` or `cookie`"),
            (r#"{"key": "a", "fallback": "all"}"#, "expected one of `any`, `none`, `default`"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
