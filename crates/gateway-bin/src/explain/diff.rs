//! `gateway explain --diff`: which of the logged requests take another route or meet other policies by another
//! configuration. Policies differ if they are written otherwise, or if a file that they name says something else.

use super::find::{Fate, Finder, LooksAt};
use super::logged::{Logged, Unread};
use super::policies::{normalize, policies};
use super::report::endpoints;
use crate::config::Checked;
use contents::{Contents, FileRead};
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::{BTreeSet, HashMap};
use std::io::{self, BufRead};
use std::rc::Rc;

mod contents;
mod text;

/// What changes.
#[derive(Debug, Serialize)]
pub(crate) struct Difference {
    /// Those that were read.
    requests: u64,
    /// Those of them that differ in what routes look at.
    distinct: u64,
    /// Those that take another route or meet other policies.
    changed: u64,
    /// The most requests first.
    changes: Vec<Change>,
    unread: Unread,
    notes: Vec<String>,
}

/// Requests that all change in the same way.
#[derive(Debug, Serialize)]
struct Change {
    requests: u64,
    distinct: u64,
    /// Of the example, as of all if the route changes.
    from: Place,
    to: Place,
    /// The names of the routes that they take, where the route does not change.
    routes: BTreeSet<String>,
    /// What differs on the way.
    policies: Vec<PolicyChange>,
    example: Example,
}

/// Where a request ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Place {
    /// `found`, `moved` where the client is sent to the normal path, `options` where the gateway tells the methods, or
    /// the code that it is refused with.
    outcome: &'static str,
    name: Option<String>,
    path: Option<String>,
    /// Where the route is written.
    place: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
struct PolicyChange {
    /// Of the policy, or of a file that it names, such as `auth file`.
    name: String,
    /// `null` where there is none.
    before: Value,
    after: Value,
}

#[derive(Debug, Serialize)]
struct Example {
    method: String,
    url: String,
    host: Option<String>,
    client: Option<String>,
}

/// What one configuration makes of requests.
struct Side<'a> {
    checked: &'a Checked,
    finder: Finder,
    /// By route, as every request of it meets them.
    ways: HashMap<usize, Rc<Way>>,
    /// By outcome, where no route takes them.
    nowhere: HashMap<&'static str, Rc<Way>>,
    contents: Contents,
}

/// A place and the policies on the way to it.
struct Way {
    place: Place,
    policies: Vec<(&'static str, Value)>,
    files: Vec<FileRead>,
}

impl<'a> Side<'a> {
    fn new(checked: &'a Checked) -> Self {
        Self {
            checked,
            finder: Finder::new(&checked.config),
            ways: HashMap::new(),
            nowhere: HashMap::new(),
            contents: Contents::default(),
        }
    }

    fn way(&mut self, fate: &Fate) -> Rc<Way> {
        let checked = self.checked;
        let outcome = match *fate {
            Fate::Route(index) => {
                let contents = &mut self.contents;
                let way = self.ways.entry(index);
                return way.or_insert_with(|| Rc::new(Way::of(checked, index, contents))).clone();
            }
            Fate::Refused(outcome) => outcome,
            Fate::Moved => "moved",
            Fate::Options => "options",
        };
        let way = self.nowhere.entry(outcome).or_insert_with(|| {
            let place = Place { outcome, name: None, path: None, place: None };
            Rc::new(Way { place, policies: Vec::new(), files: Vec::new() })
        });
        way.clone()
    }
}

impl Way {
    fn of(checked: &Checked, index: usize, contents: &mut Contents) -> Self {
        let route = &checked.config.plan.routes[index];
        let mut all: Vec<(&'static str, Value)> = Vec::new();
        let mut files = Vec::new();
        for policy in policies(checked, index) {
            files.extend(policy.files.into_iter().map(|file| contents.read(policy.name, file)));
            let value = match policy.definition {
                Some(definition) => json!({ "name": policy.value, "is": definition }),
                None => policy.value,
            };
            // Headers are written at several levels, and all count.
            match all.iter_mut().find(|(name, _)| *name == policy.name) {
                Some((_, Value::Array(values))) => values.push(value),
                Some((_, one)) => *one = Value::Array(vec![one.take(), value]),
                None => all.push((policy.name, value)),
            }
        }
        if let (Some(name), true) = (&route.service, route.asks_service()) {
            all.push(("service", json!(name)));
            all.push(("endpoints", json!(endpoints(checked, route))));
        }
        let place = Place {
            outcome: "found",
            name: Some(route.name.clone()),
            path: Some(route.matches.path.as_str().to_owned()),
            place: checked.origin.place(&format!("routes[{index}]")),
        };
        Self { place, policies: all, files }
    }

    fn is_found(&self) -> bool {
        self.place.name.is_some()
    }

    fn is_same_place(&self, other: &Self) -> bool {
        let of = |way: &Self| (way.place.outcome, way.place.name.clone(), way.place.path.clone());
        of(self) == of(other)
    }

    fn changes(&self, after: &Self) -> Vec<PolicyChange> {
        let value = |way: &Self, name: &str| {
            way.policies
                .iter()
                .find(|(known, _)| *known == name)
                .map_or(Value::Null, |(_, value)| value.clone())
        };
        let only_after =
            after.policies.iter().filter(|(name, _)| !self.policies.iter().any(|(known, _)| known == name));
        let names = self.policies.iter().chain(only_after).map(|(name, _)| *name);
        let change = |name: &str| PolicyChange {
            name: name.to_owned(),
            before: value(self, name),
            after: value(after, name),
        };
        let changes = names.map(change).filter(|change| change.before != change.after);
        changes.chain(contents::changes(&self.files, &after.files)).collect()
    }
}

/// Compares what two configurations make of requests, a line each.
///
/// # Errors
/// The lines cannot be read.
pub(crate) fn diff(old: &Checked, new: &Checked, lines: impl BufRead) -> io::Result<Difference> {
    let looks_at = LooksAt::of(&old.config.plan).and(LooksAt::of(&new.config.plan));
    let mut difference = Difference {
        requests: 0,
        distinct: 0,
        changed: 0,
        changes: Vec::new(),
        unread: Unread::default(),
        notes: looks_at.note().into_iter().collect(),
    };
    let (mut old, mut new) = (Side::new(old), Side::new(new));
    // By what is alike: the place of its change among `changes`.
    let mut known = HashMap::new();
    let mut groups = HashMap::new();
    for (number, line) in lines.split(b'\n').enumerate() {
        let line = line?;
        let line = String::from_utf8_lossy(&line);
        let logged = match Logged::read(&line) {
            Ok(Some(logged)) => logged,
            Ok(None) => continue,
            Err(why) => {
                difference.unread.note(|| format!("line {}", number + 1), &line, why);
                continue;
            }
        };
        let key = looks_at.key(&logged);
        if let Some(change) = known.get(&key) {
            difference.requests += 1;
            difference.count(*change);
            continue;
        }
        let asked = match logged.asked() {
            Ok(asked) => asked,
            Err(why) => {
                difference.unread.note(|| format!("line {}", number + 1), &line, why);
                continue;
            }
        };
        difference.requests += 1;
        difference.distinct += 1;
        let found = (old.finder.find(&asked), new.finder.find(&asked));
        let (before, after) = (old.way(&found.0.fate), new.way(&found.1.fate));
        // Of what meets no policies, that all are missing says nothing.
        let both = before.is_found() && after.is_found();
        let mut policies = if both { before.changes(&after) } else { Vec::new() };
        if found.0.path != found.1.path && (found.0.is_taken() || found.1.is_taken()) {
            let (before, after) = (normalize(old.checked).value, normalize(new.checked).value);
            policies.push(PolicyChange { name: "normalize".to_owned(), before, after });
        }
        let stays = before.is_same_place(&after);
        let change = (!stays || !policies.is_empty()).then(|| {
            let places = (!stays).then(|| {
                json!([
                    before.place.name,
                    before.place.path,
                    after.place.name,
                    after.place.path,
                    before.place.outcome,
                    after.place.outcome
                ])
            });
            *groups.entry(json!([places, policies]).to_string()).or_insert_with(|| {
                difference.changes.push(Change {
                    requests: 0,
                    distinct: 0,
                    from: before.place.clone(),
                    to: after.place.clone(),
                    routes: BTreeSet::new(),
                    policies,
                    example: Example::of(&logged),
                });
                difference.changes.len() - 1
            })
        });
        if let Some(change) = change.and_then(|change| difference.changes.get_mut(change)) {
            change.distinct += 1;
            change.routes.extend(before.place.name.clone().filter(|_| stays));
        }
        difference.count(change);
        known.insert(key, change);
    }
    difference.changes.sort_by_key(|change| std::cmp::Reverse(change.requests));
    Ok(difference)
}

impl Difference {
    pub(crate) fn is_none(&self) -> bool {
        self.changed == 0
    }

    /// Whether there were lines, and none of them could be read.
    pub(crate) fn is_unread(&self) -> bool {
        self.requests == 0 && !self.unread.is_empty()
    }

    fn count(&mut self, change: Option<usize>) {
        if let Some(change) = change.and_then(|change| self.changes.get_mut(change)) {
            change.requests += 1;
            self.changed += 1;
        }
    }
}

impl Example {
    fn of(logged: &Logged) -> Self {
        Self {
            method: logged.method.clone(),
            url: logged.url.clone(),
            host: logged.host.clone(),
            client: logged.client.map(|client| client.to_string()),
        }
    }
}
