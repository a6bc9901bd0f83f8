//! The route table for people and programs.

use crate::config::{Checked, Levels, RoutePlan, join};
use crate::explain::{inline, without_secrets};
use serde::Serialize;
use serde_json::Value;

#[derive(Serialize)]
struct Row {
    name: String,
    hosts: Vec<String>,
    path: String,
    case_sensitive: bool,
    methods: Vec<String>,
    /// What else a request must be, as it is written: what variables stand for may be a secret.
    #[serde(rename = "match")]
    matches: Option<Value>,
    when: Option<String>,
    priority: i32,
    service: Option<String>,
    endpoints: Vec<String>,
    strip: Option<String>,
    auth: Vec<String>,
    rate_limit: Vec<String>,
    policies: Vec<String>,
}

/// In the order in which they are tried.
fn rows(checked: &Checked) -> Vec<Row> {
    let plan = &checked.config.plan;
    let service = |route: &RoutePlan| plan.services.get(route.service.as_deref()?);
    let endpoints = |route: &RoutePlan| match service(route) {
        Some(service) => service.set.states().map(|state| state.endpoint.to_string()).collect(),
        None => Vec::new(),
    };
    let row = |index: usize| {
        let route = &plan.routes[index];
        Row {
            name: route.name.clone(),
            hosts: route.matches.hosts.iter().map(ToString::to_string).collect(),
            path: route.matches.path.as_str().to_owned(),
            case_sensitive: !route.matches.ignore_case,
            methods: route.matches.methods.iter().map(ToString::to_string).collect(),
            matches: checked.origin.written(&format!("routes[{index}].match")).cloned(),
            when: route.when.as_deref().map(str::to_owned),
            priority: route.matches.priority,
            service: route.service.clone(),
            endpoints: endpoints(route),
            strip: route.strip.as_deref().map(|(prefix, _)| prefix.clone()),
            auth: route.auth.as_ref().map(|auth| auth.names.clone()).unwrap_or_default(),
            rate_limit: route.rate_limits.iter().map(|limit| limit.name.clone()).collect(),
            policies: route.policies(),
        }
    };
    plan.table.precedence().into_iter().map(row).collect()
}

/// As JSON.
pub(crate) fn json(checked: &Checked) -> String {
    // Texts and lists always serialise.
    serde_json::to_string_pretty(&rows(checked)).unwrap_or_default() + "\n"
}

/// As aligned columns.
pub(crate) fn table(checked: &Checked) -> String {
    let lines = cells(checked);
    let width = |column: usize| lines.iter().map(|cells| cells[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..COLUMNS.len()).map(width).collect();
    let line = |cells: &Cells| {
        let padded: Vec<String> =
            cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        padded.join("  ").trim_end().to_owned() + "\n"
    };
    lines.iter().map(line).collect()
}

/// As tables in Markdown: the routes, who may call them, and how often, as it is written and without keys.
pub(crate) fn markdown(checked: &Checked) -> String {
    let (settings, plan) = (&checked.config.settings, &checked.config.plan);
    let written = |key: &str| checked.origin.written(key).map(|value| inline(&without_secrets(value)));
    let mut text = rows_of("Routes", &cells(checked).into_iter().map(Vec::from).collect::<Vec<_>>());

    let mut callers: Vec<(String, Vec<String>)> = Vec::new();
    for (index, route) in plan.routes.iter().enumerate().filter(|(_, route)| route.auth.is_some()) {
        let levels = Levels::of(settings, index, &settings.routes[index]);
        let (key, _) = levels.first("auth", |policies| policies.auth.map(drop));
        let auth = written(&key).unwrap_or_default();
        match callers.iter_mut().find(|(known, _)| *known == auth) {
            Some((_, names)) => names.push(route.name.clone()),
            None => callers.push((auth, vec![route.name.clone()])),
        }
    }
    let callers = callers.into_iter().map(|(auth, names)| vec![names.join(" "), auth]);
    let methods = settings.auth.kinds().flat_map(|(kind, names)| {
        let key = |name: &str| join(&format!("auth.{kind}"), name);
        let row = |name| Some(vec![String::from(name), String::from(kind), written(&key(name))?]);
        names.into_iter().filter_map(row).collect::<Vec<_>>()
    });
    let limits = settings.rate_limits.keys();
    let limits = limits.filter_map(|name| Some(vec![name.clone(), written(&join("rate_limits", name))?]));
    for (title, header, rows) in [
        ("Who may call", vec!["ROUTES", "AUTH"], callers.collect::<Vec<_>>()),
        ("Ways to authenticate", vec!["NAME", "KIND", "SETTINGS"], methods.collect()),
        ("Rate limits", vec!["NAME", "SETTINGS"], limits.collect()),
    ] {
        if !rows.is_empty() {
            let header = header.into_iter().map(str::to_owned).collect();
            text.push('\n');
            text.push_str(&rows_of(title, &std::iter::once(header).chain(rows).collect::<Vec<_>>()));
        }
    }
    text
}

/// A table of Markdown with its title; the first row is its header.
fn rows_of(title: &str, rows: &[Vec<String>]) -> String {
    let mut text = format!("## {title}\n\n");
    for (i, cells) in rows.iter().enumerate() {
        let cells: Vec<String> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
        text.push_str(&format!("| {} |\n", cells.join(" | ")));
        if i == 0 {
            text.push_str(&format!("|{}\n", "---|".repeat(cells.len())));
        }
    }
    text
}

const COLUMNS: [&str; 7] = ["HOST", "PATH", "METHODS", "SERVICE", "ENDPOINTS", "POLICIES", "CONDITIONS"];

type Cells = [String; COLUMNS.len()];

fn cells(checked: &Checked) -> Vec<Cells> {
    let any = |list: &[String], separator: &str| {
        if list.is_empty() { "*".to_owned() } else { list.join(separator) }
    };
    let mut lines = vec![COLUMNS.map(str::to_owned)];
    for row in rows(checked) {
        let endpoints: Vec<String> = row.endpoints.iter().map(|url| url.replacen("http://", "", 1)).collect();
        let conditions = conditions(&row).join(", ");
        lines.push([
            any(&row.hosts, " "),
            row.path,
            any(&row.methods, ","),
            row.service.unwrap_or_else(|| "-".to_owned()),
            endpoints.join(" "),
            row.policies.join(" "),
            conditions,
        ]);
    }
    lines
}

/// What else tells its requests from those of other routes.
fn conditions(row: &Row) -> Vec<String> {
    let mut all = Vec::new();
    all.extend((row.priority != 0).then(|| format!("priority {}", row.priority)));
    all.extend((!row.case_sensitive).then(|| "any case".to_owned()));
    for (part, wanted) in row.matches.iter().filter_map(Value::as_object).flatten() {
        all.extend((part != "when").then(|| format!("{part} {}", inline(wanted))));
    }
    // In one line.
    all.extend(
        row.when
            .as_ref()
            .map(|when| format!("when {}", when.lines().map(str::trim).collect::<Vec<_>>().join(" "))),
    );
    all
}
