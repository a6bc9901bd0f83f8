//! Path and query of a URL, as far as they tell one answer from another.

use super::search_variance::SearchVariance;
use crate::settings::{CacheError, KeySettings};
use gateway_core::percent;
use http::uri::Uri;
use std::borrow::Cow;

/// What of a query counts.
#[derive(Clone, Debug)]
pub(crate) enum TargetRules {
    /// All of it, as it stands.
    Whole,
    /// Some parameters, as they stand.
    Named { only: Option<Vec<String>>, ignored: Vec<String>, sorted: bool },
    /// As `No-Vary-Search` has it.
    Variance(SearchVariance),
}

impl TargetRules {
    pub(crate) fn new(key: &KeySettings) -> Result<Self, CacheError> {
        if key.query.is_some() && !key.ignore_query.is_empty() {
            return Err(CacheError::Query);
        }
        let is_named = key.query.is_some() || !key.ignore_query.is_empty() || key.sort_query;
        if key.learn_no_vary_search && (is_named || key.no_vary_search.is_some()) {
            return Err(CacheError::LearnBesides);
        }
        if let Some(found) = &key.no_vary_search {
            if is_named {
                return Err(CacheError::NoVarySearchBesides);
            }
            let wrong = || CacheError::NoVarySearch { found: found.clone() };
            return Ok(Self::Variance(SearchVariance::read(found).ok_or_else(wrong)?));
        }
        if !is_named {
            return Ok(Self::Whole);
        }
        let (only, ignored) = (key.query.clone(), key.ignore_query.clone());
        Ok(Self::Named { only, ignored, sorted: key.sort_query })
    }

    /// Adds path and query to a key.
    pub(crate) fn push(&self, text: &mut String, uri: &Uri) {
        push_path(text, uri);
        let Some(query) = uri.query() else { return };
        match self {
            Self::Whole => push_query(text, uri),
            Self::Variance(variance) => variance.push(text, query),
            Self::Named { only, ignored, sorted } => {
                let counts = |part: &&str| match only {
                    Some(only) => is_of(only, &name(part)),
                    None => !is_of(ignored, &name(part)),
                };
                let mut parts: Vec<&str> = query.split('&').filter(counts).collect();
                if *sorted {
                    // Stable: of one name, the order may well count.
                    parts.sort_by_cached_key(|part| name(part));
                }
                for (i, part) in parts.iter().enumerate() {
                    text.push(if i == 0 { '?' } else { '&' });
                    text.push_str(part);
                }
            }
        }
    }
}

/// Adds the path.
pub(super) fn push_path(text: &mut String, uri: &Uri) {
    let path = uri.path();
    text.push_str(if path.is_empty() { "/" } else { path });
}

/// Adds the query as it stands.
pub(super) fn push_query(text: &mut String, uri: &Uri) {
    if let Some(query) = uri.query() {
        text.push('?');
        text.push_str(query);
    }
}

/// The name of a parameter as services read it: spelt otherwise, one that counts would reach the service and not the key,
/// and its answer be stored for those who did not send it.
fn name(part: &str) -> Cow<'_, [u8]> {
    percent::form_decoded(part.split('=').next().unwrap_or_default())
}

fn is_of(names: &[String], name: &[u8]) -> bool {
    names.iter().any(|known| match known.strip_suffix('*') {
        Some(start) => name.starts_with(start.as_bytes()),
        None => name == known.as_bytes(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn query_parameters_count_as_the_settings_say() {
        let url = |change: fn(&mut KeySettings), uri: &str| {
            let mut settings = KeySettings::default();
            change(&mut settings);
            let mut text = String::new();
            TargetRules::new(&settings).unwrap().push(&mut text, &uri.parse().unwrap());
            text
        };
        assert_eq!(url(|_| {}, "/?b=1&a=2"), "/?b=1&a=2");
        assert_eq!(url(|key| key.sort_query = true, "/?b=2&a=2&b=1"), "/?a=2&b=2&b=1");
        assert_eq!(url(|key| key.query = Some(vec!["b".into()]), "/?b=1&a=2"), "/?b=1");
        assert_eq!(url(|key| key.ignore_query = vec!["utm_*".into()], "/?utm_x=1&a=2&utm"), "/?a=2&utm");
        assert_eq!(url(|key| key.ignore_query = vec!["a".into()], "/?a"), "/");
        // However a name is spelt, what the service reads is part of the key.
        assert_eq!(url(|key| key.query = Some(vec!["b c".into()]), "/?%62+c=1&a=2&b%20c"), "/?%62+c=1&b%20c");
        assert_eq!(url(|key| key.ignore_query = vec!["utm_*".into()], "/?%75tm%5Fx=1&a=2"), "/?a=2");
        let both = ["/?b=1&%62=2", "/?%62=2&b=1"].map(|uri| url(|key| key.sort_query = true, uri));
        assert_ne!(both[0], both[1], "of one name, the order counts");
        let rule = |key: &mut KeySettings| key.no_vary_search = Some("key-order, params=(\"a\")".into());
        assert_eq!(url(rule, "/?c&b=1&a=2"), "/?b=1&c=");
        assert_eq!(url(rule, "/x"), url(rule, "/x?a"));
    }
}
