//! What a request's answer is found by.

pub(crate) mod learned;
mod origin;
mod search_variance;
mod target;

use crate::query::{Asks, is_query};
use crate::settings::{CacheError, CacheSettings, Isolation};
use aws_lc_rs::digest::{SHA256, digest};
use gateway_core::{Principal, cookie};
use http::header::{AUTHORIZATION, COOKIE};
use http::{HeaderMap, HeaderName, Request, Uri};
use learned::{Learned, Rule};
use origin::push_origin;
pub(crate) use origin::{origin, origin_of};
use std::sync::Arc;
use target::TargetRules;

/// What stands between the parts of a key, and in none of them: no URL and no header holds it.
pub(crate) const SEPARATOR: char = '\0';

/// What the settings say of the key.
#[derive(Clone, Debug)]
pub(crate) struct KeyRules {
    name: Box<str>,
    target: TargetRules,
    /// Where answers say what of the query counts.
    learned: Option<Arc<Learned>>,
    headers: Vec<HeaderName>,
    cookies: Vec<String>,
    isolation: Isolation,
}

/// A request's key: the URL first, so that all answers of a URL are found by it, whoever asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) text: String,
    /// How much of it is the URL.
    pub(crate) url: usize,
    /// Where the part begins that a learned rule makes of the query; its length where there is no such rule.
    tail: usize,
    /// That rule.
    rule: Option<Arc<Rule>>,
    /// It says who asks: by `Authorization`, or as a principal.
    pub(crate) identified: bool,
    /// Who asks is part of the key.
    pub(crate) isolated: bool,
    /// It has cookies that are not part of the key.
    pub(crate) cookies: bool,
}

impl Key {
    pub(crate) fn url(&self) -> &str {
        &self.text[..self.url]
    }

    /// Whether an answer said what of its query counts.
    pub(crate) fn is_by_rule(&self) -> bool {
        self.rule.is_some()
    }
}

pub(crate) fn header_names(key: &'static str, names: &[String]) -> Result<Vec<HeaderName>, CacheError> {
    let read = |name: &String| name.parse().map_err(|_| CacheError::Header { key, found: name.clone() });
    names.iter().map(read).collect()
}

impl KeyRules {
    pub(crate) fn new(name: &str, settings: &CacheSettings) -> Result<Self, CacheError> {
        let key = &settings.key;
        Ok(Self {
            name: name.into(),
            target: TargetRules::new(key)?,
            learned: key.learn_no_vary_search.then(Arc::default),
            headers: header_names("key.headers", &key.headers)?,
            cookies: key.cookies.clone(),
            isolation: settings.isolation,
        })
    }

    /// The key of a request; `None` if it comes from somebody of whom nobody knows who it is, or is a `QUERY` of which
    /// nobody knows what it asks for.
    pub(crate) fn key<B>(&self, request: &Request<B>) -> Option<Key> {
        let mut text = String::with_capacity(128);
        push_origin(&mut text, request);
        let rule = match &self.learned {
            Some(learned) => {
                target::push_path(&mut text, request.uri());
                let rule = learned.rule(&text);
                if rule.is_none() {
                    target::push_query(&mut text, request.uri());
                }
                rule
            }
            None => {
                self.target.push(&mut text, request.uri());
                None
            }
        };
        let url = text.len();
        text.push(SEPARATOR);
        text.push_str(&self.name);
        for name in &self.headers {
            for value in request.headers().get_all(name) {
                text.push(SEPARATOR);
                text.push_str(name.as_str());
                text.push('=');
                push_bytes(&mut text, value.as_bytes());
            }
        }
        for name in &self.cookies {
            for value in cookies(request.headers()).filter(|(n, _)| *n == name.as_bytes()).map(|(_, v)| v) {
                text.push(SEPARATOR);
                text.push(';');
                text.push_str(name);
                text.push('=');
                push_bytes(&mut text, value);
            }
        }
        if is_query(request.method()) {
            let Asks(digest) = request.extensions().get()?;
            text.push(SEPARATOR);
            text.push('q');
            push_hex(&mut text, digest);
        }
        let principal = request.extensions().get::<Principal>();
        let credentials = request.headers().get(AUTHORIZATION);
        let identified = principal.is_some() || credentials.is_some();
        let isolated = identified && self.isolation == Isolation::Principal;
        if isolated {
            if let Some(principal) = principal {
                if principal.id().is_empty() {
                    return None;
                }
                let issuer = principal.claim("iss").and_then(|issuer| issuer.as_str()).unwrap_or_default();
                text.push(SEPARATOR);
                // Lengths, as names may hold anything.
                let (id, method) = (principal.id(), principal.method());
                text.push_str(&format!("p{method:?}:{}:{issuer}:{}:{id}", issuer.len(), id.len()));
            }
            for credentials in request.headers().get_all(AUTHORIZATION) {
                text.push(SEPARATOR);
                text.push('a');
                // Of several tokens of one principal each may have other rights; and no key tells a secret.
                push_hex(&mut text, digest(&SHA256, credentials.as_bytes()).as_ref());
            }
        }
        let with_cookies = request.headers().contains_key(COOKIE)
            && cookies(request.headers()).any(|(name, _)| !self.cookies.iter().any(|n| n.as_bytes() == name));
        let tail = text.len();
        push_by_rule(&mut text, rule.as_deref(), request.uri());
        Some(Key { text, url, tail, rule, identified, isolated, cookies: with_cookies })
    }

    /// Whether answers say what of the query counts.
    pub(crate) fn learns(&self) -> bool {
        self.learned.is_some()
    }

    /// Learns from an answer that is to be stored what of the queries of its path counts. Returns the key to store it
    /// under, if that is not the one it was asked for by.
    pub(crate) fn learn(&self, key: &Key, uri: &Uri, answer: &HeaderMap) -> Option<Key> {
        let path = key.url().split('?').next().unwrap_or_default();
        let rule = self.learned.as_ref()?.learn(path, answer);
        if rule == key.rule {
            return None;
        }
        let mut text = path.to_owned();
        if rule.is_none() {
            target::push_query(&mut text, uri);
        }
        let url = text.len();
        text.push_str(&key.text[key.url..key.tail]);
        let tail = text.len();
        push_by_rule(&mut text, rule.as_deref(), uri);
        Some(Key { text, url, tail, rule, ..key.clone() })
    }

    /// The URL of a request's key, for a purge.
    pub(crate) fn url<B>(&self, request: &Request<B>) -> String {
        let mut text = String::with_capacity(128);
        push_origin(&mut text, request);
        self.target.push(&mut text, request.uri());
        text
    }

    /// The URL of a target at an origin, for a purge; `None` if it is none.
    pub(crate) fn url_at(&self, origin: &str, target: &str) -> Option<String> {
        let mut text = origin.to_owned();
        self.target.push(&mut text, &target.parse().ok()?);
        Some(text)
    }
}

/// What a learned rule makes of the query. It is no part of the URL, so that a purge of any query finds all of them.
fn push_by_rule(text: &mut String, rule: Option<&Rule>, uri: &Uri) {
    if let Some(rule) = rule {
        text.push(SEPARATOR);
        text.push('?');
        rule.push(text, uri.query().unwrap_or_default());
    }
}

/// The cookies of a request.
pub(crate) fn cookies(headers: &HeaderMap) -> impl Iterator<Item = (&[u8], &[u8])> {
    cookie::pairs(headers).map(|pair| match pair.iter().position(|byte| *byte == b'=') {
        Some(at) => (&pair[..at], &pair[at + 1..]),
        None => (pair, &[][..]),
    })
}

/// Bytes as text: what is not ASCII as hexadecimal digits.
fn push_bytes(text: &mut String, bytes: &[u8]) {
    match std::str::from_utf8(bytes) {
        Ok(plain) if !plain.starts_with('%') => text.push_str(plain),
        _ => {
            text.push('%');
            push_hex(text, bytes);
        }
    }
}

pub(crate) fn push_hex(text: &mut String, bytes: &[u8]) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        text.push(char::from(HEX[usize::from(byte >> 4)]));
        text.push(char::from(HEX[usize::from(byte & 15)]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gateway_core::{AuthMethod, Scheme};
    use proptest::prelude::*;

    fn rules(change: impl FnOnce(&mut CacheSettings)) -> KeyRules {
        let mut settings = CacheSettings::default();
        change(&mut settings);
        KeyRules::new("n", &settings).unwrap()
    }

    fn get(uri: &str, lines: &[(&str, &str)]) -> Request<()> {
        let mut request = Request::get(uri);
        for (name, value) in lines {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap()
    }

    #[test]
    fn one_url_in_several_spellings_has_one_key() {
        let rules = rules(|_| {});
        let expected = "http://host/a?b=c\0n";
        for request in [
            get("/a?b=c", &[("host", "HOST")]),
            get("/a?b=c", &[("host", "host:80")]),
            get("http://Host/a?b=c", &[]),
            get("http://user@host:80/a?b=c", &[("host", "other")]),
        ] {
            assert_eq!(&*rules.key(&request).unwrap().text, expected, "{request:?}");
        }
        let mut tls = get("/a", &[("host", "host:443")]);
        tls.extensions_mut().insert(Scheme::Https);
        assert_eq!(rules.key(&tls).unwrap().url(), "https://host/a");
    }

    #[test]
    fn who_is_identified_has_a_key_of_their_own() {
        let rules = rules(|_| {});
        let with = |id: &str, method, issuer: &str, token: &str| {
            let mut request = get("/", &[("authorization", token)]);
            let claims = serde_json::json!({ "iss": issuer }).as_object().unwrap().clone();
            request.extensions_mut().insert(Principal::new(id, method, claims));
            request
        };
        let all = [
            get("/", &[]),
            get("/", &[("authorization", "a")]),
            get("/", &[("authorization", "b")]),
            with("1", AuthMethod::Jwt, "x", "a"),
            with("2", AuthMethod::Jwt, "x", "a"),
            with("1", AuthMethod::ApiKey, "x", "a"),
            with("1", AuthMethod::Jwt, "y", "a"),
            with("1", AuthMethod::Jwt, "x", "b"),
        ];
        let keys: std::collections::BTreeSet<_> =
            all.iter().map(|request| rules.key(request).unwrap().text).collect();
        assert_eq!(keys.len(), all.len(), "{keys:?}");
        assert!(keys.iter().all(|key| !key.contains("\0aa")), "no credentials in keys: {keys:?}");
        assert_eq!(rules.key(&with("", AuthMethod::Jwt, "x", "a")), None);
    }

    #[test]
    fn chosen_headers_and_cookies_count_and_others_are_remembered() {
        let rules = rules(|s| {
            s.key.headers = vec!["X-Tenant".into()];
            s.key.cookies = vec!["lang".into()];
        });
        let key = |lines: &[(&str, &str)]| rules.key(&get("/", lines)).unwrap();
        assert_ne!(key(&[("x-tenant", "a")]), key(&[("x-tenant", "b")]));
        assert_ne!(key(&[("cookie", "lang=de")]).text, key(&[("cookie", "lang=en")]).text);
        assert_eq!(key(&[("cookie", "lang=de; sid=1")]).text, key(&[("cookie", "sid=2; lang=de")]).text);
        assert!(key(&[("cookie", "lang=de; sid=1")]).cookies && !key(&[("cookie", "lang=de")]).cookies);
    }

    proptest! {
        #[test]
        fn different_chosen_headers_never_share_a_key(a in "[ -~\\x80-\\xff]{0,6}", b in "[ -~\\x80-\\xff]{0,6}") {
            let rules = rules(|s| s.key.headers = vec!["a".into(), "b".into()]);
            let request = |first: &str, second: &str| {
                let mut request = get("/", &[]);
                for (name, value) in [("a", first), ("b", second)] {
                    let value = http::HeaderValue::from_bytes(value.as_bytes()).unwrap();
                    request.headers_mut().insert(name.parse::<HeaderName>().unwrap(), value);
                }
                rules.key(&request).unwrap().text
            };
            prop_assert_eq!(request(&a, &b) == request(&b, &a), a == b);
        }
    }
}
