//! Where decisions are told.

use super::*;
use serde_json::{Value, json};

#[test]
fn the_access_log_says_what_was_decided_and_by_which_policies() {
    let config = config("", "") + "[[routes]]\nname = \"free\"\npath = \"/free\"\nrespond = \"ok\"\n";
    let gateway = files(&config, POLICIES).start();
    for (method, path, claims, decision, policies) in [
        ("GET", "/orders/1", &["sub=olga", "scope=read"][..], json!("allow"), json!(["ops", "readers"])),
        ("POST", "/orders/1", &["sub=ada"], json!("deny"), json!([])),
        (
            "GET",
            "/orders/internal",
            &["sub=ada", "scope=read"],
            json!("deny"),
            json!(["orders.cedar#policy7"]),
        ),
        ("GET", "/orders/1", &["sub=ada", "scope=read", "level=\"x\""], json!("error"), json!([])),
        ("GET", "/orders/1", &[], Value::Null, Value::Null),
        ("GET", "/free", &[], Value::Null, Value::Null),
    ] {
        let lines = gateway.access_log().len();
        let status = ask(&gateway, method, path, claims, &[]).status;
        let mut line = logged(&gateway, lines + 1).pop().unwrap();
        if let Some(policies) = line["policies"].as_array_mut() {
            policies.sort_by_key(ToString::to_string);
        }
        assert_eq!((&line["decision"], &line["policies"]), (&decision, &policies), "{line}");
        assert_eq!(line["status"], status);
        let is_told = line.as_object().unwrap().contains_key("decision");
        assert_eq!(is_told, !decision.is_null(), "only where policies were asked: {line}");
    }
}

#[test]
fn explain_names_the_policy_that_decides() {
    let explain = |args: &[&str]| {
        let args: Vec<&str> = ["explain"].iter().chain(args).copied().collect();
        let ended = files(&config("", ""), POLICIES).args(&args).run();
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        ended.stdout
    };
    let text = explain(&["GET", "/orders/1", "--claim", "sub=ada", "--claim", "scope=read"]);
    let said = "Whether this caller may\n  cedar \"shop\"  allow  by the policy `readers`\n";
    assert!(text.contains(said), "{text}");
    assert!(text.contains("{ cedar = \"shop\" } = { claims = [\"tenant\", \"level\"]"), "{text}");
    let text = explain(&["DELETE", "/tenants/acme", "--claim", "sub=ada", "--claim", "tenant=acme"]);
    assert!(text.contains("allow  by the policy `own-tenant`"), "parameters count: {text}");
    let text = explain(&["GET", "/orders/1", "--client", "203.0.113.1", "--claim", "scope=read"]);
    assert!(text.contains("deny  by the policy `guests`"), "{text}");
    let text = explain(&["POST", "/orders/1", "--claim", "sub=ada"]);
    assert!(text.contains("deny  no policy permits it"), "{text}");
    let text = explain(&["GET", "/orders/1", "--claim", "scope=read", "--claim", "level=x"]);
    assert!(text.contains("cedar \"shop\"  error  ") && text.contains("level"), "{text}");
    let text = explain(&["GET", "/orders/1"]);
    assert!(!text.contains("Whether this caller may"), "nobody in particular: {text}");
}

#[test]
fn the_admin_listener_explains_by_claims_as_the_command_does() {
    let gateway = gateway("", "");
    let asked = json!({ "method": "GET", "url": "/orders/1", "claims": { "sub": "ada", "scope": "read" } });
    let request = Request::new("POST", "/explain").body(asked.to_string());
    let answer = Client::new(gateway.admin()).send(&request);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let said = answer.json();
    let expected = json!([{
        "by": "cedar", "name": "shop", "decision": "allow", "reason": null, "policies": ["readers"], "errors": [],
    }]);
    assert_eq!(said["authorization"], expected);
    let args =
        ["explain", "GET", "/orders/1", "--claim", "sub=ada", "--claim", "scope=read", "--format", "json"];
    let ended = files(&config("", ""), POLICIES).args(&args).run();
    let same: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(same["authorization"], expected);
    assert!(logged_now(&gateway).is_empty(), "nothing is counted");
}

#[test]
fn explain_asks_rules_too() {
    let config = "[[routes]]\npath = \"/*\"\nrespond = \"ok\"\nauthorize = { scopes = [\"read\"], roles = \"staff\" }\n";
    for (claims, said) in [
        (&["scope=read", "roles=staff"][..], "rules  allow"),
        (&["scope=read"], "rules  deny  forbidden: a role is missing"),
        (&["roles=staff"], "rules  deny  insufficient-scope"),
    ] {
        let claims = claims.iter().flat_map(|claim| ["--claim", claim]);
        let args: Vec<&str> = ["explain", "GET", "/"].into_iter().chain(claims).collect();
        let ended = Gateway::builder(EXE).config(config).args(&args).run();
        assert!(ended.stdout.contains(said), "{}{}", ended.stdout, ended.stderr);
    }
}

#[test]
fn explain_diff_says_where_policies_read_from_the_same_names_say_something_else() {
    let dir = tempfile::tempdir().unwrap();
    let config = "[services.a]\nendpoints = [\"http://127.0.0.1:1\"]\n\
                  [auth.jwt.shop]\nsecret = \"a secret for tests, 32 bytes long\"\n\
                  [cedar.shop]\npolicies = [\"orders.cedar\"]\nschema = \"shop.cedarschema\"\n\
                  claims = [\"tenant\", \"level\"]\nheaders = [\"X-Tenant\"]\nparams = [\"tenant\"]\n\
                  [[routes]]\nname = \"orders\"\npath = \"/orders/*\"\nservice = \"a\"\nauth = \"shop\"\n\
                  authorize = { cedar = \"shop\" }\n[[routes]]\npath = \"/free\"\nservice = \"a\"\n";
    let changed = format!("{POLICIES}\n@id(\"all\")\npermit(principal, action, resource);\n");
    for (side, policies) in [("old", POLICIES), ("new", &changed)] {
        let side = dir.path().join(side);
        std::fs::create_dir(&side).unwrap();
        std::fs::write(side.join("gateway.toml"), config).unwrap();
        std::fs::write(side.join("orders.cedar"), policies).unwrap();
        std::fs::write(side.join("shop.cedarschema"), SCHEMA).unwrap();
    }
    std::fs::write(dir.path().join("requests"), "GET /orders/1\nGET /free\n").unwrap();
    let diff = |old: &str, new: &str| {
        let requests = std::fs::File::open(dir.path().join("requests")).unwrap();
        let mut command = Command::new(EXE);
        command.current_dir(dir.path()).args(["explain", "--diff", old, new]).stdin(requests);
        let ended = command.output().unwrap();
        let text = String::from_utf8(ended.stdout).unwrap();
        assert!(ended.stderr.is_empty(), "{}", String::from_utf8_lossy(&ended.stderr));
        (ended.status.code(), text)
    };
    let lines = POLICIES.lines().count();
    let expected = format!(
        "1 of 2 requests change, all in the same way\n\n1 request, still to orders\n  authorize file  \
         {{ lines = {lines}, name = \"orders.cedar\", only_here = 0 }} → \
         {{ lines = {}, name = \"orders.cedar\", only_here = 3 }}\n  such as GET /orders/1\n",
        lines + 3
    );
    assert_eq!(diff("old/gateway.toml", "new/gateway.toml"), (Some(1), expected));
    let same = diff("old/gateway.toml", "old/gateway.toml");
    assert_eq!(same, (Some(0), "None of 2 requests changes\n".to_owned()));
}
