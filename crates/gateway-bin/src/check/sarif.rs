//! Findings as SARIF 2.1.0 (OASIS), which code hosts show beside the lines.

use crate::config::Mistake;
use serde_json::{Map, Value, json};

const SCHEMA: &str = "https://json.schemastore.org/sarif-2.1.0.json";

/// One run with these findings.
pub(super) fn sarif<'m>(findings: impl Iterator<Item = &'m Mistake>) -> Value {
    // What programs are told of a finding, in other words.
    let results =
        findings.filter_map(|finding| Some(result(serde_json::to_value(finding).ok()?.as_object()?)));
    let results: Vec<Value> = results.collect();
    let rule =
        |level: &str, what: &str| json!({ "id": rule_id(level), "shortDescription": { "text": what } });
    let rules = [
        rule("error", "What is wrong with the configuration"),
        rule("warning", "What is likely not what was meant"),
    ];
    let driver = json!({ "name": "gateway", "version": env!("CARGO_PKG_VERSION"), "rules": rules });
    json!({
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{ "tool": { "driver": driver }, "results": results }],
    })
}

fn rule_id(level: &str) -> String {
    format!("configuration-{level}")
}

fn result(finding: &Map<String, Value>) -> Value {
    let text = |name: &str| finding.get(name).and_then(Value::as_str);
    let level = text("severity").filter(|severity| *severity == "warning").unwrap_or("error");
    let message = match (text("message").unwrap_or_default(), text("help")) {
        (message, Some(help)) => format!("{message} ({help})"),
        (message, None) => message.to_owned(),
    };
    let mut result = json!({ "ruleId": rule_id(level), "level": level, "message": { "text": message } });
    if let Some(file) = text("file") {
        let mut place = json!({ "artifactLocation": { "uri": file } });
        if let Some(line) = finding.get("line").filter(|line| line.is_u64()) {
            place["region"] = json!({ "startLine": line });
            if let Some(column) = finding.get("column").filter(|column| column.is_u64()) {
                place["region"]["startColumn"] = column.clone();
            }
        }
        result["locations"] = json!([{ "physicalLocation": place }]);
    }
    if let Some(key) = text("key") {
        result["properties"] = json!({ "key": key });
    }
    result
}
