//! An explanation as text.

use super::{Answer, Cached, Forwarded, Report, Service, Tried};
use crate::explain::authorization::Authorization;
use crate::explain::policies::Policy;
use crate::explain::probe::Counted;
use serde_json::Value;
use std::fmt;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let request = &self.request;
        writeln!(f, "{} {} at {} from {}", request.method, request.target, request.host, request.peer)?;
        if request.read_as != request.target {
            writeln!(f, "  read as {}", request.read_as)?;
        }
        if request.client != request.peer {
            writeln!(f, "  on behalf of {}, says a trusted proxy", request.client)?;
        }
        writeln!(f)?;
        match (&self.route, self.status.unwrap_or_default(), &self.allow) {
            (Some(route), ..) => {
                write!(f, "{} takes it: {}", route.key, route.path)?;
                let name = (route.name != route.path).then(|| format!(" named `{}`", route.name));
                let place = route.place.as_ref().map(|place| format!(" ({place})"));
                writeln!(f, "{}{}", name.unwrap_or_default(), place.unwrap_or_default())?;
            }
            (None, status, Some(allow)) => {
                writeln!(f, "No route takes it with this method: {status}, Allow: {allow}")?;
            }
            (None, status, None) if self.outcome == "no-route" => writeln!(f, "No route takes it: {status}")?,
            (None, status, None) => {
                let detail = self.detail.as_deref().unwrap_or(self.outcome);
                writeln!(
                    f,
                    "It is refused before routes are looked at: {status} {}: {detail}",
                    self.outcome
                )?;
            }
        }
        for (name, value) in &self.params {
            writeln!(f, "  {name} = {value}")?;
        }
        self.write_candidates(f)?;
        write_policies(f, &self.policies)?;
        if !self.authorization.is_empty() {
            let rows: Vec<_> = self.authorization.iter().map(Authorization::row).collect();
            write_table(f, "Whether this caller may", &rows)?;
        }
        if !self.counted.is_empty() {
            writeln!(f, "\nLimits, and what they count it under")?;
            let width = self.counted.iter().map(|counted| counted.limit.chars().count()).max().unwrap_or(0);
            for Counted { limit, key, tier, .. } in &self.counted {
                let key = key.as_deref().unwrap_or("nothing: it is not for this request");
                let tier = tier.as_ref().map(|tier| format!("  tier {tier}")).unwrap_or_default();
                writeln!(f, "  {limit:width$}  {key}{tier}")?;
            }
        }
        if let Some(Cached { key }) = &self.cached {
            let key = key
                .as_deref()
                .unwrap_or("nothing: the cache is passed by, or the body of the request counts");
            writeln!(f, "\nWhat its cache finds an answer by\n  {key}")?;
        }
        if self.accounts {
            writeln!(f, "\nThe gateway's own accounts answer, once it is let through")?;
        }
        self.upstream.as_ref().map_or(Ok(()), |upstream| write_upstream(f, upstream))?;
        self.answer.as_ref().map_or(Ok(()), |answer| write_answer(f, answer))?;
        match &self.service {
            Some(service) if self.answer.is_none() => write_service(f, service),
            _ => Ok(()),
        }
    }
}

impl Report {
    fn write_candidates(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.candidates.is_empty() {
            return match self.outcome {
                "no-route" => writeln!(f, "\nNo route comes near; `gateway routes` lists them all."),
                _ => Ok(()),
            };
        }
        let title = if self.is_taken() { "Routes, in the order they are tried" } else { "Nearest routes" };
        let verdict = |tried: &Tried| match tried.refusals.as_slice() {
            _ if tried.takes => "takes it".to_owned(),
            [] => "would take it, but comes later".to_owned(),
            refusals => refusals.join("; "),
        };
        let rows =
            self.candidates.iter().map(|tried| [tried.key.clone(), tried.path.clone(), verdict(tried)]);
        write_table(f, title, &rows.collect::<Vec<_>>())
    }
}

fn write_policies(f: &mut fmt::Formatter<'_>, policies: &[Policy]) -> fmt::Result {
    if policies.is_empty() {
        return Ok(());
    }
    let row = |policy: &Policy| {
        let value = match &policy.definition {
            Some(definition) => format!("{} = {}", inline(&policy.value), inline(definition)),
            None => inline(&policy.value),
        };
        [policy.name.to_owned(), policy.from.clone(), value]
    };
    write_table(f, "Policies, in the order it meets them", &policies.iter().map(row).collect::<Vec<_>>())
}

fn write_upstream(f: &mut fmt::Formatter<'_>, upstream: &Forwarded) -> fmt::Result {
    writeln!(
        f,
        "\nWhat the service gets, once it is let through\n  {} {}",
        upstream.method, upstream.target
    )?;
    upstream.headers.iter().try_for_each(|(name, value)| writeln!(f, "  {name}: {value}"))
}

fn write_answer(f: &mut fmt::Formatter<'_>, answer: &Answer) -> fmt::Result {
    writeln!(f, "\nThe gateway answers itself\n  {} {}", answer.status, answer.reason)?;
    answer.headers.iter().try_for_each(|(name, value)| writeln!(f, "  {name}: {value}"))
}

fn write_service(f: &mut fmt::Formatter<'_>, service: &Service) -> fmt::Result {
    writeln!(f, "\nService {}, {} over", service.name, service.strategy.as_str().unwrap_or_default())?;
    for endpoint in &service.endpoints {
        write!(f, "  {}", endpoint.url)?;
        if endpoint.weight != 1 {
            write!(f, " weight {}", endpoint.weight)?;
        }
        if endpoint.priority != 0 {
            write!(f, " priority {}", endpoint.priority)?;
        }
        writeln!(f)?;
    }
    Ok(())
}

/// Aligned columns under a title.
fn write_table(f: &mut fmt::Formatter<'_>, title: &str, rows: &[[String; 3]]) -> fmt::Result {
    writeln!(f, "\n{title}")?;
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let (first, second) = (width(0), width(1));
    rows.iter().try_for_each(|[a, b, c]| writeln!(f, "  {a:first$}  {b:second$}  {c}"))
}

/// A value as it would stand in a line of TOML.
pub(crate) fn inline(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::Object(table) => {
            let mut pairs: Vec<String> =
                table.iter().map(|(name, inner)| format!("{name} = {}", inline(inner))).collect();
            // Whether or not this build's tables keep the order in which they were written.
            pairs.sort_unstable();
            if pairs.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", pairs.join(", ")) }
        }
        Value::Array(list) => format!("[{}]", list.iter().map(inline).collect::<Vec<_>>().join(", ")),
        other => other.to_string(),
    }
}
