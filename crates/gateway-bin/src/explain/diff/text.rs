//! A difference as text.

use super::{Change, Difference, Place};
use crate::explain::report::inline;
use serde_json::Value;
use std::fmt;

/// More names than anybody reads in a line.
const MOST_NAMES: usize = 3;

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { requests, changed, changes, unread, notes, .. } = self;
        match (changes.len(), *requests) {
            (0, 0) => writeln!(f, "No requests were read")?,
            (0, requests) => writeln!(f, "None of {requests} requests changes")?,
            (1, requests) => writeln!(f, "{changed} of {requests} requests change, all in the same way")?,
            (ways, requests) => writeln!(f, "{changed} of {requests} requests change, in {ways} ways")?,
        }
        changes.iter().try_for_each(|change| write!(f, "\n{change}"))?;
        if !notes.is_empty() {
            writeln!(f)?;
        }
        notes.iter().try_for_each(|note| writeln!(f, "{note}"))?;
        unread.fmt(f)
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let many = |count: u64| if count == 1 { "1 request".to_owned() } else { format!("{count} requests") };
        let Self { from, to, routes, example, .. } = self;
        match (routes.len(), from == to || !routes.is_empty()) {
            (0, _) => writeln!(f, "{}: {from} → {to}", many(self.requests))?,
            _ => {
                let names: Vec<&str> = routes.iter().map(String::as_str).take(MOST_NAMES).collect();
                let more = routes.len().saturating_sub(MOST_NAMES);
                let more = if more > 0 { format!(" and {more} more routes") } else { String::new() };
                writeln!(f, "{}, still to {}{more}", many(self.requests), names.join(", "))?;
            }
        }
        let width = self.policies.iter().map(|policy| policy.name.len()).max().unwrap_or(0);
        for policy in &self.policies {
            writeln!(f, "  {:width$}  {} → {}", policy.name, shown(&policy.before), shown(&policy.after))?;
        }
        write!(f, "  such as {} {}", example.method, example.url)?;
        let host = example.host.as_ref().map(|host| format!(" at {host}"));
        let client = example.client.as_ref().map(|client| format!(" from {client}"));
        writeln!(f, "{}{}", host.unwrap_or_default(), client.unwrap_or_default())
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Some(name), Some(path)) = (&self.name, &self.path) else { return f.write_str(self.outcome) };
        write!(f, "{path}")?;
        if name != path {
            write!(f, " named `{name}`")?;
        }
        self.place.as_ref().map_or(Ok(()), |place| write!(f, " ({place})"))
    }
}

/// A name with what it stands for, or a value.
fn shown(value: &Value) -> String {
    let named = value.as_object().filter(|table| table.len() == 2);
    match named.and_then(|table| Some((table.get("name")?, table.get("is")?))) {
        Some((name, is)) => format!("{} = {}", inline(name), inline(is)),
        None if value.is_null() => "none".to_owned(),
        None => inline(value),
    }
}
