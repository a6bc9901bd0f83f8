//! The route table for people and programs.

use crate::config::{Plan, RoutePlan};
use serde::Serialize;

#[derive(Serialize)]
struct Row {
    name: String,
    hosts: Vec<String>,
    path: String,
    methods: Vec<String>,
    service: Option<String>,
    endpoints: Vec<String>,
    strip: Option<String>,
    auth: Vec<String>,
    rate_limit: Vec<String>,
    policies: Vec<String>,
}

fn rows(plan: &Plan) -> Vec<Row> {
    let service = |route: &RoutePlan| plan.services.get(route.service.as_deref()?);
    let endpoints = |route: &RoutePlan| match service(route) {
        Some(service) => service.set.states().map(|state| state.endpoint.to_string()).collect(),
        None => Vec::new(),
    };
    let row = |route: &RoutePlan| Row {
        name: route.name.clone(),
        hosts: route.matches.hosts.iter().map(ToString::to_string).collect(),
        path: route.matches.path.as_str().to_owned(),
        methods: route.matches.methods.iter().map(ToString::to_string).collect(),
        service: route.service.clone(),
        endpoints: endpoints(route),
        strip: route.strip.as_deref().map(|(prefix, _)| prefix.clone()),
        auth: route.auth.as_ref().map(|auth| auth.names.clone()).unwrap_or_default(),
        rate_limit: route.rate_limits.iter().map(|limit| limit.name.clone()).collect(),
        policies: route.policies(),
    };
    plan.routes.iter().map(row).collect()
}

/// As JSON.
pub(crate) fn json(plan: &Plan) -> String {
    // Texts and lists always serialise.
    serde_json::to_string_pretty(&rows(plan)).unwrap_or_default() + "\n"
}

/// As aligned columns, or as a table in Markdown.
pub(crate) fn table(plan: &Plan, markdown: bool) -> String {
    let header = ["HOST", "PATH", "METHODS", "SERVICE", "ENDPOINTS", "POLICIES"].map(str::to_owned);
    let any = |list: &[String], separator: &str| {
        if list.is_empty() { "*".to_owned() } else { list.join(separator) }
    };
    let mut lines = vec![header];
    for row in rows(plan) {
        let endpoints: Vec<String> = row.endpoints.iter().map(|url| url.replacen("http://", "", 1)).collect();
        lines.push([
            any(&row.hosts, " "),
            row.path,
            any(&row.methods, ","),
            row.service.unwrap_or_else(|| "-".to_owned()),
            endpoints.join(" "),
            row.policies.join(" "),
        ]);
    }
    if markdown {
        let line = |cells: &[String; 6]| format!("| {} |\n", cells.join(" | "));
        let rule = "|---|---|---|---|---|---|\n".to_owned();
        return lines
            .iter()
            .enumerate()
            .map(|(i, cells)| if i == 0 { line(cells) + &rule } else { line(cells) })
            .collect();
    }
    let width = |column: usize| lines.iter().map(|cells| cells[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..6).map(width).collect();
    let line = |cells: &[String; 6]| {
        let padded: Vec<String> =
            cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        padded.join("  ").trim_end().to_owned() + "\n"
    };
    lines.iter().map(line).collect()
}
