//! What answers said of the queries of their paths (`No-Vary-Search`).

use super::search_variance::SearchVariance;
use hashbrown::HashMap;
use http::{HeaderMap, HeaderName};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

static NO_VARY_SEARCH: HeaderName = HeaderName::from_static("no-vary-search");

/// Of so many paths it is remembered; then the one that was learned first is forgotten.
const MOST_PATHS: usize = 1024;
/// Longer paths and rules are not learned.
const LONGEST: usize = 1024;

/// A rule as an answer said it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    /// As it was written: part of the keys that are made by it, so that those of other rules never meet them.
    text: Box<str>,
    variance: SearchVariance,
}

impl Rule {
    /// That of an answer; `None` where it says nothing of its query, or nothing that can be followed.
    fn of(headers: &HeaderMap) -> Option<Self> {
        let mut lines = headers.get_all(&NO_VARY_SEARCH).iter();
        let mut text = lines.next()?.to_str().ok()?.to_owned();
        for line in lines {
            // One field, whatever the number of its lines (RFC 9651 §4.2).
            text.push(',');
            text.push_str(line.to_str().ok()?);
        }
        let variance = SearchVariance::read(&text).filter(|_| text.len() <= LONGEST)?;
        Some(Self { text: text.into(), variance })
    }

    /// Adds to a key what counts of a query.
    pub(super) fn push(&self, text: &mut String, query: &str) {
        text.push_str(&self.text);
        text.push(super::SEPARATOR);
        self.variance.push(text, query);
    }
}

/// Whether an answer says something of its query.
pub(crate) fn is_told(headers: &HeaderMap) -> bool {
    headers.contains_key(&NO_VARY_SEARCH)
}

/// The rules of paths, each as the last stored answer of its path said it.
#[derive(Debug, Default)]
pub(crate) struct Learned {
    /// Whether there ever was one: until then nobody looks.
    any: AtomicBool,
    rules: RwLock<Rules>,
}

#[derive(Debug, Default)]
struct Rules {
    by_path: HashMap<Box<str>, Arc<Rule>>,
    /// The first that was learned in front. May hold some that were forgotten since.
    order: VecDeque<Box<str>>,
}

impl Learned {
    /// The rule of a path, a URL without its query.
    pub(super) fn rule(&self, path: &str) -> Option<Arc<Rule>> {
        if !self.any.load(Ordering::Relaxed) {
            return None;
        }
        self.rules.read().unwrap_or_else(PoisonError::into_inner).by_path.get(path).cloned()
    }

    /// Takes note of what an answer of a path says, and returns the rule that it is stored by.
    pub(super) fn learn(&self, path: &str, headers: &HeaderMap) -> Option<Arc<Rule>> {
        let said = Rule::of(headers).filter(|_| path.len() <= LONGEST);
        let known = self.rule(path);
        if said.as_ref() == known.as_deref() {
            return known;
        }
        let said = said.map(Arc::new);
        let mut rules = self.rules.write().unwrap_or_else(PoisonError::into_inner);
        match &said {
            Some(rule) => rules.insert(path, rule.clone()),
            None => drop(rules.by_path.remove(path)),
        }
        self.any.store(true, Ordering::Relaxed);
        said
    }
}

impl Rules {
    fn insert(&mut self, path: &str, rule: Arc<Rule>) {
        if let Some(known) = self.by_path.get_mut(path) {
            *known = rule;
            return;
        }
        while self.order.len() >= MOST_PATHS {
            let Some(first) = self.order.pop_front() else { break };
            self.by_path.remove(&first);
        }
        self.order.push_back(path.into());
        self.by_path.insert(path.into(), rule);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn says(lines: &[&str]) -> HeaderMap {
        lines.iter().map(|line| (NO_VARY_SEARCH.clone(), HeaderValue::from_str(line).unwrap())).collect()
    }

    #[test]
    fn the_last_answer_of_a_path_says_what_counts_of_its_queries() {
        let learned = Learned::default();
        assert!(learned.learn("http://a/x", &says(&[])).is_none());
        assert!(!learned.any.load(Ordering::Relaxed), "nobody looks as long as no answer says anything");
        let rule = learned.learn("http://a/x", &says(&["key-order", "params=(\"u\")"])).unwrap();
        assert_eq!(learned.rule("http://a/x").as_ref(), Some(&rule));
        assert_eq!(learned.rule("http://a/y"), None);
        let other = learned.learn("http://a/x", &says(&["params"])).unwrap();
        assert_ne!(other, rule);
        assert!(learned.learn("http://a/x", &says(&["nonsense"])).is_none());
        assert_eq!(learned.rule("http://a/x"), None);
    }

    #[test]
    fn no_more_is_remembered_than_there_is_room_for() {
        let learned = Learned::default();
        for i in 0..3 * MOST_PATHS {
            learned.learn(&format!("http://a/{i}"), &says(&["params"]));
            if i % 3 == 0 {
                learned.learn(&format!("http://a/{i}"), &says(&[]));
            }
        }
        let rules = learned.rules.read().unwrap();
        assert!(rules.by_path.len() <= MOST_PATHS && rules.order.len() <= MOST_PATHS);
        drop(rules);
        assert!(learned.rule(&format!("http://a/{}", 3 * MOST_PATHS - 1)).is_some());
        assert!(learned.rule("http://a/1").is_none());
        let long = "x".repeat(LONGEST);
        assert!(learned.learn(&format!("http://a/{long}"), &says(&["params"])).is_none());
        assert!(learned.learn("http://a/b", &says(&[&format!("params=(\"{long}\")")])).is_none());
    }
}
