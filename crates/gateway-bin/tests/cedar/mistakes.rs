//! What is said of policies that are wrong, and that good ones stay.

use super::*;
use gateway_testkit::{Signal, get, wait_until};
use serde_json::{Value, json};
use std::fs;

#[test]
fn every_mistake_is_told_at_once_with_file_line_column_and_policy() {
    let policies = "@id(\"fine\") permit(principal, action, resource);\n\
                    @id(\"typo\") permit(principal, action, resource)\n  when { principal.rolls.contains(\"x\") };\n\
                    @id(\"kind\") permit(principal, action, resource) when { context.time == \"now\" };\n\
                    @id(\"put\") permit(principal, action == Action::\"PUT\", resource);\n";
    let ended = files(&config("", ""), policies).args(&["check"]).run();
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    for part in [
        "orders.cedar:3:10: for policy `typo`, attribute `rolls`",
        "3 |   when { principal.rolls.contains(\"x\") };\n  |          ^^^^^^^^^^^^^^^",
        "did you mean `roles`?",
        "orders.cedar:4:56: policy `kind`: the types Long and String are not compatible",
        "orders.cedar:5:40: for policy `put`, unrecognized action `Action::\"PUT\"`",
    ] {
        assert!(ended.stderr.contains(part), "no `{part}` in {}", ended.stderr);
    }
    assert!(!ended.stderr.contains("`fine`"), "{}", ended.stderr);
    let run = files(&config("", ""), policies).run();
    assert_eq!(run.code, Some(2), "{}", run.stderr);
    assert!(
        run.stderr.contains("orders.cedar:3:10: ") && run.stderr.contains("3 mistakes"),
        "{}",
        run.stderr
    );

    let ended = files(&config("", ""), "@id(\"open\") permit(principal, action, resource)\nwhen { true")
        .args(&["check"])
        .run();
    for part in ["orders.cedar:2:", "policy `open`: unexpected end of input", "expected "] {
        assert!(ended.stderr.contains(part), "no `{part}` in {}", ended.stderr);
    }
}

#[test]
fn schema_entities_and_settings_have_their_places_too() {
    for (name, text, place, part) in [
        ("shop.cedarschema", "entity User {", "shop.cedarschema:1:14:", "expected"),
        (
            "shop.cedarschema",
            "entity User;\nentity Route;",
            "shop.cedarschema:1:8:",
            "`User` is not what the gateway shows",
        ),
        ("entities.json", "[{]", "entities.json:1:1:", ""),
        (
            "gateway.toml",
            "claims = [\"roles\"]",
            "gateway.toml:17:11:",
            "`roles` is an attribute of every principal already",
        ),
        (
            "gateway.toml",
            "schema = \"gone\"",
            "gateway.toml:15:10:",
            "gone cannot be read: No such file or directory",
        ),
        ("gateway.toml", "action = \"buy\"", "gateway.toml:20:10:", "the schema has no action `buy`"),
    ] {
        let mut written = config("", "");
        if name == "gateway.toml" {
            let key = text.split(' ').next().unwrap();
            let old = written.lines().find(|line| line.starts_with(&format!("{key} = "))).map(str::to_owned);
            written = match old {
                Some(old) => written.replacen(&old, text, 1),
                None => config(text, ""),
            };
        }
        let mut builder = files(&written, POLICIES);
        if name != "gateway.toml" {
            builder = builder.file(name, text);
        }
        let ended = builder.args(&["check"]).run();
        assert_eq!(ended.code, Some(2), "{text}: {}", ended.stderr);
        assert!(ended.stderr.contains(place) && ended.stderr.contains(part), "{text}: {}", ended.stderr);
    }
}

#[test]
fn programs_get_file_line_and_key_and_a_policy_that_never_applies_is_a_warning() {
    let policies =
        "permit(principal, action, resource);\npermit(principal, action, resource) when { 1 == 2 };\n";
    let ended = files(&config("", ""), policies).args(&["check", "--format", "json"]).run();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let found: Vec<Value> = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(found.len(), 1, "{}", ended.stdout);
    assert_eq!(
        (&found[0]["severity"], &found[0]["line"], &found[0]["key"]),
        (&json!("warning"), &json!(2), &json!("cedar.shop.policies[0]"))
    );
    assert!(found[0]["file"].as_str().unwrap().ends_with("orders.cedar"), "{}", ended.stdout);
    assert!(found[0]["message"].as_str().unwrap().contains("orders.cedar#policy1"), "{}", ended.stdout);
}

#[test]
fn policies_are_found_beside_the_configuration_wherever_the_process_stands() {
    let builder = files(&config("", ""), POLICIES);
    let config = builder.dir().join("gateway.toml").display().to_string();
    let checked = Command::new(EXE).args(["check", "--config", &config]).current_dir("/").output().unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
}

fn status(gateway: &Gateway) -> Value {
    get(gateway.admin(), "/config").json()
}

#[test]
fn changed_policies_come_into_force_and_wrong_ones_do_not() {
    let gateway = gateway("", "");
    let write = |policies: &str| fs::write(gateway.dir().join("orders.cedar"), policies).unwrap();
    let token = format!("Bearer {}", token(&gateway, &["sub=ada", "scope=read"]));
    let request = Request::get("/orders/1").header("Authorization", &token);
    let read = || Client::new(gateway.addr()).send(&request).status;
    assert_eq!(read(), 200);
    // Nobody touches the configuration, and nobody sends a signal.
    write("@id(\"closed\") forbid(principal, action, resource);");
    wait_until("the reload", SOON, || (status(&gateway)["reloads"] == 1).then_some(()));
    wait_until("the forbid", SOON, || (read() == 403).then_some(()));
    write(&POLICIES.replace("principal.scopes", "principal.scoops"));
    wait_until("the rejection", SOON, || (status(&gateway)["rejected"] == 1).then_some(()));
    let error = status(&gateway)["error"].as_str().unwrap().to_owned();
    assert!(error.contains("orders.cedar:3:") && error.contains("`readers`"), "{error}");
    assert_eq!(read(), 403, "what was in force stays");
    gateway.process().signal(Signal::SIGHUP);
    wait_until("the rejection", SOON, || (status(&gateway)["rejected"] == 2).then_some(()));
    assert_eq!(read(), 403);
    write(POLICIES);
    wait_until("the good ones", SOON, || (status(&gateway)["error"] == Value::Null).then_some(()));
    wait_until("the permit", SOON, || (read() == 200).then_some(()));
}
