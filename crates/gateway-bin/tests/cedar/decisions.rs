//! What policies decide.

use super::*;

#[test]
fn policies_decide_by_caller_action_route_and_context() {
    let gateway = gateway("", "");
    let read = &["sub=ada", "scope=read"][..];
    for (method, path, claims, headers, status) in [
        ("GET", "/orders/1", read, &[][..], 200),
        ("HEAD", "/orders/1", read, &[], 200),
        ("POST", "/orders/1", read, &[], 403),
        ("PURGE", "/orders/1", read, &[], 403),
        ("POST", "/orders/1", &["sub=ada", r#"roles=["x","editor"]"#], &[], 200),
        // A forbid comes before every permit.
        ("GET", "/orders/internal/1", read, &[], 403),
        ("GET", "/orders/1", read, &[("X-Forwarded-For", "203.0.113.9")], 403),
        ("GET", "/orders/1", read, &[("X-Forwarded-For", "192.0.2.9")], 200),
        ("GET", "/orders/1", &["sub=ada", "scope=read", "level=-7"], &[], 403),
        // Claims, parameters and headers.
        ("DELETE", "/tenants/acme", &["sub=ada", "tenant=acme"], &[], 200),
        ("DELETE", "/tenants/other", &["sub=ada", "tenant=acme"], &[], 403),
        ("DELETE", "/orders/1", &["sub=ada", "tenant=acme"], &[("X-Tenant", "acme")], 200),
        ("DELETE", "/orders/1", &["sub=ada"], &[("X-Tenant", "acme")], 403),
        // Groups of callers and of routes.
        ("DELETE", "/orders/1", &["sub=olga"], &[], 200),
        ("DELETE", "/tenants/acme", &["sub=olga"], &[], 403),
        ("DELETE", "/orders/1", &["sub=ada", r#"groups=["ops"]"#], &[], 403),
        // Nobody.
        ("GET", "/orders/1", &[], &[], 401),
    ] {
        let answer = ask(&gateway, method, path, claims, headers);
        assert_eq!(answer.status, status, "{method} {path} {claims:?} {headers:?}: {}", answer.text());
    }
}

#[test]
fn a_policy_that_cannot_be_evaluated_and_a_claim_of_another_kind_are_a_no() {
    let gateway = gateway("", "");
    for (level, status) in
        [("1", 200), ("9223372036854775807", 403), ("\"1\"", 403), ("[1]", 403), ("1.5", 403)]
    {
        let answer =
            ask(&gateway, "GET", "/orders/1", &["sub=ada", "scope=read", &format!("level={level}")], &[]);
        assert_eq!(answer.status, status, "{level}: {}", answer.text());
        if status == 403 {
            let body = answer.text();
            assert_eq!(answer.json()["detail"], "a policy could not be evaluated", "{body}");
            for secret in ["suspended", "level", "9223372036854775807"] {
                assert!(!body.contains(secret), "{body}");
            }
        }
    }
}

#[test]
fn rules_beside_the_policies_must_hold_too() {
    let gateway = files(
        &config("", "").replace(
            "authorize = { cedar = \"shop\" }\n\n",
            "authorize = { cedar = \"shop\", roles = \"staff\" }\n",
        ),
        POLICIES,
    )
    .start();
    let of = |claims: &[&str]| ask(&gateway, "GET", "/orders/1", claims, &[]).status;
    assert_eq!(of(&["sub=ada", "scope=read"]), 403);
    assert_eq!(of(&["sub=ada", "roles=staff"]), 403);
    assert_eq!(of(&["sub=ada", "roles=staff", "scope=read"]), 200);
}

#[test]
fn in_report_mode_all_pass_whether_the_policies_or_the_route_say_so() {
    let of_route =
        config("", "").replacen("{ cedar = \"shop\" }", "{ cedar = \"shop\", mode = \"report\" }", 1);
    for (config, other) in [(config("mode = \"report\"", ""), 200), (of_route, 403)] {
        let gateway = files(&config, POLICIES).start();
        assert_eq!(ask(&gateway, "POST", "/orders/1", &["sub=ada"], &[]).status, 200);
        assert_eq!(ask(&gateway, "POST", "/tenants/x", &["sub=ada"], &[]).status, other);
        let line = logged(&gateway, 2).remove(0);
        assert_eq!((&line["status"], &line["decision"]), (&200.into(), &"deny".into()), "{line}");
    }
}

#[test]
fn policies_may_be_asked_about_nobody() {
    let policies = "@id(\"all\") permit(principal == User::\"\", action == Action::\"GET\", resource);";
    let gateway = files(&config("anonymous = true", ""), policies).start();
    assert_eq!(ask(&gateway, "GET", "/orders/1", &[], &[]).status, 200);
    assert_eq!(ask(&gateway, "POST", "/orders/1", &[], &[]).status, 403);
    assert_eq!(ask(&gateway, "GET", "/orders/1", &["sub=ada"], &[]).status, 403);
}
