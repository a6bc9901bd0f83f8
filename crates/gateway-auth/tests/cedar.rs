//! Policies in Cedar: what they see, what they decide, and what is said of bad ones.
#![cfg(feature = "cedar")]
#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use gateway_auth::{Cedar, CedarMistakes, CedarSettings, Head, Mode, Unenforced};
use gateway_core::{AuthMethod, ClientAddr, Code, PolicyDecision, Principal, Problem};
use http::{Request, Response};
use http_body_util::Full;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::fmt::Write;
use tempfile::TempDir;
use tower::{Layer, ServiceExt, service_fn};

const SCHEMA: &str = "
entity Team;
entity User in [Team] { id: String, method: String, roles: Set<String>, scopes: Set<String>, tenant?: String, level?: Long };
entity Route { path: String, service: String, host: String };
action read;
action GET, HEAD in [read] appliesTo {
    principal: User, resource: Route, context: { ip?: ipaddr, time: Long, headers: { x_tenant?: String } },
};
action POST, DELETE appliesTo {
    principal: User, resource: Route, context: { ip?: ipaddr, time: Long, headers: { x_tenant?: String } },
};
";

const POLICIES: &str = r#"
@id("readers")
permit(principal, action in Action::"read", resource) when { principal.scopes.contains("read") };

@id("editors")
permit(principal, action == Action::"POST", resource == Route::"orders")
when { principal.roles.contains("editor") && resource.service == "order-service" };

@id("team")
permit(principal in Team::"ops", action, resource);

@id("tenant")
permit(principal, action == Action::"DELETE", resource)
when { principal has tenant && context.headers has x_tenant && principal.tenant == context.headers.x_tenant };

@id("guests")
forbid(principal, action, resource) when { context has ip && context.ip.isInRange(ip("203.0.113.0/24")) };

forbid(principal, action, resource) when { resource.path like "/internal*" };
"#;

struct Files(TempDir);

impl Files {
    fn new(schema: &str, policies: &str) -> Self {
        let files = Self(TempDir::new().unwrap());
        files.put("schema.cedarschema", schema);
        files.put("orders.cedar", policies);
        files.put("entities.json", r#"[{ "uid": { "type": "User", "id": "olga" }, "attrs": {}, "parents": [{ "type": "Team", "id": "ops" }] }]"#);
        files
    }

    fn put(&self, name: &str, text: &str) {
        std::fs::write(self.0.path().join(name), text).unwrap();
    }

    fn settings(&self) -> CedarSettings {
        CedarSettings {
            policies: vec![self.0.path().join("orders.cedar")],
            schema: self.0.path().join("schema.cedarschema"),
            claims: vec!["tenant".into(), "level".into()],
            headers: vec!["X-Tenant".into()],
            ..CedarSettings::default()
        }
    }
}

fn request(method: &str, path: &str, id: &str, claims: Value) -> Request<()> {
    let mut request = Request::builder().method(method).uri(path).body(()).unwrap();
    if !id.is_empty() {
        let Value::Object(claims) = claims else { panic!("not a table: {claims}") };
        request.extensions_mut().insert(Principal::new(id, AuthMethod::Jwt, claims));
    }
    request
}

async fn ask(cedar: &Cedar, request: Request<()>) -> Response<Full<Bytes>> {
    let passed = service_fn(|_| async { Ok::<_, Infallible>(Response::new(Full::<Bytes>::default())) });
    cedar.layer("orders", "order-service").layer(passed).oneshot(request).await.unwrap()
}

/// Status, and the policies that decided.
fn outcome(response: &Response<Full<Bytes>>) -> (u16, Vec<String>) {
    let decision = response.extensions().get::<PolicyDecision>();
    (response.status().as_u16(), decision.map_or(Vec::new(), |decision| decision.policies.clone()))
}

#[tokio::test]
async fn policies_see_caller_action_route_and_context() {
    let files = Files::new(SCHEMA, POLICIES);
    let cedar = Cedar::load(&files.settings()).unwrap();
    let read = || json!({ "scope": "read" });
    for (method, path, claims, headers, ip, expected) in [
        ("GET", "/a", read(), "", "", (200, vec!["readers"])),
        ("HEAD", "/a", read(), "", "", (200, vec!["readers"])),
        ("POST", "/a", read(), "", "", (403, vec![])),
        ("PURGE", "/a", read(), "", "", (403, vec![])),
        ("POST", "/a", json!({ "roles": ["x", "editor"] }), "", "", (200, vec!["editors"])),
        ("GET", "/internal/a", read(), "", "", (403, vec!["orders.cedar#policy5"])),
        ("DELETE", "/a", json!({ "tenant": "acme" }), "acme", "", (200, vec!["tenant"])),
        ("DELETE", "/a", json!({ "tenant": "acme" }), "other", "", (403, vec![])),
        ("DELETE", "/a", json!({}), "acme", "", (403, vec![])),
        ("GET", "/a", read(), "", "203.0.113.9:1", (403, vec!["guests"])),
        ("GET", "/a", read(), "", "[2001:db8::1]:1", (200, vec!["readers"])),
    ] {
        let mut request = request(method, path, "ada", claims.clone());
        if !headers.is_empty() {
            request.headers_mut().insert("x-tenant", headers.parse().unwrap());
        }
        if !ip.is_empty() {
            request.extensions_mut().insert(ClientAddr(ip.parse().unwrap()));
        }
        let found = outcome(&ask(&cedar, request).await);
        assert_eq!(
            found,
            (expected.0, expected.1.into_iter().map(str::to_owned).collect()),
            "{method} {path} {claims} {ip}"
        );
    }
}

#[tokio::test]
async fn users_are_in_the_groups_of_the_entities_file() {
    let files = Files::new(SCHEMA, POLICIES);
    let settings = CedarSettings { entities: Some(files.0.path().join("entities.json")), ..files.settings() };
    // The attributes that the schema wants come with each request, and not from the file.
    let error = Cedar::load(&settings).unwrap_err().to_string();
    assert!(error.contains("entities.json"), "{error}");
    let attrs = r#"{ "id": "olga", "method": "", "roles": [], "scopes": [] }"#;
    files.put("entities.json", &format!(r#"[{{ "uid": {{ "type": "User", "id": "olga" }}, "attrs": {attrs}, "parents": [{{ "type": "Team", "id": "ops" }}] }}]"#));
    let cedar = Cedar::load(&settings).unwrap();
    assert_eq!(
        outcome(&ask(&cedar, request("DELETE", "/", "olga", json!({}))).await),
        (200, vec!["team".to_owned()])
    );
    assert_eq!(outcome(&ask(&cedar, request("DELETE", "/", "ada", json!({}))).await).0, 403);
    let found = ask(&cedar, request("HEAD", "/", "ada", json!({ "scope": "read" }))).await;
    assert_eq!(outcome(&found), (200, vec!["readers".to_owned()]), "the groups of actions are there too");
}

#[tokio::test]
async fn nobody_is_asked_for_credentials_unless_policies_are_to_decide() {
    let files = Files::new(SCHEMA, "permit(principal == User::\"\", action == Action::\"GET\", resource);");
    let nobody = || request("GET", "/", "", json!({}));
    let response = ask(&Cedar::load(&files.settings()).unwrap(), nobody()).await;
    assert_eq!(response.status(), 401);
    assert!(response.headers().contains_key("www-authenticate"));
    let settings = CedarSettings { anonymous: true, ..files.settings() };
    assert_eq!(ask(&Cedar::load(&settings).unwrap(), nobody()).await.status(), 200);
}

#[tokio::test]
async fn a_policy_that_cannot_be_evaluated_is_a_no() {
    let policies = "permit(principal, action, resource); forbid(principal, action, resource) when { principal has level && principal.level + 1 > 5 };";
    let files = Files::new(SCHEMA, policies);
    let cedar = Cedar::load(&files.settings()).unwrap();
    for (level, status) in [(json!(1), 200), (json!(7), 403), (json!("7"), 403), (json!(i64::MAX), 403)] {
        let response = ask(&cedar, request("GET", "/", "ada", json!({ "level": level }))).await;
        assert_eq!(response.status(), status, "{level}");
        assert_eq!(
            response.extensions().get::<Problem>().map(Problem::code),
            (status == 403).then_some(Code::Forbidden)
        );
    }
}

#[tokio::test]
async fn in_report_mode_all_pass_and_the_decision_is_noted() {
    let files = Files::new(SCHEMA, POLICIES);
    let cedar = Cedar::load(&CedarSettings { mode: Mode::Report, ..files.settings() }).unwrap();
    let response = ask(&cedar, request("GET", "/internal", "ada", json!({ "scope": "read" }))).await;
    assert_eq!(outcome(&response), (200, vec!["orders.cedar#policy5".to_owned()]));
    assert_eq!(response.extensions().get::<Unenforced>().unwrap().code, Some(Code::Forbidden));
    let response = ask(&cedar, request("GET", "/", "ada", json!({ "scope": "read" }))).await;
    assert!(response.extensions().get::<Unenforced>().is_none());
}

#[tokio::test]
async fn parameters_of_the_path_are_shown_by_their_names() {
    let schema = SCHEMA
        .replace("headers: { x_tenant?: String }", "headers: { x_tenant?: String }, params: { id?: String }");
    let files = Files::new(
        &schema,
        "permit(principal, action, resource) when { context.params has id && context.params.id == \"7\" };",
    );
    let cedar = Cedar::load(&CedarSettings { params: vec!["id".into()], ..files.settings() }).unwrap();
    for (id, status) in [("7", 200), ("8", 403), ("", 403)] {
        let mut request = request("GET", "/", "ada", json!({}));
        if !id.is_empty() {
            let captures = [("id", id), ("other", "7")].map(|(name, value)| (name.into(), value.to_owned()));
            request.extensions_mut().insert(captures.into_iter().collect::<gateway_core::Captures>());
        }
        assert_eq!(ask(&cedar, request).await.status(), status, "{id}");
    }
}

#[test]
fn every_mistake_is_told_at_once_and_names_its_policy() {
    let policies = "@id(\"a\") permit(principal, action, resource) when { principal.rolls == 1 };\n\
                    permit(principal, action, resource) when { context.tim == 1 };";
    let schema =
        SCHEMA.replace("time: Long", "time: String").replace("id: String, method: String", "id: String");
    let files = Files::new(&schema, policies);
    let settings = CedarSettings { action: Some("buy".into()), ..files.settings() };
    let CedarMistakes(mistakes) = Cedar::load(&settings).unwrap_err();
    let seen: Vec<_> = mistakes.iter().map(|m| (m.key.as_str(), m.policy.as_deref())).collect();
    for expected in [
        ("policies[0]", Some("a")),
        ("policies[0]", Some("orders.cedar#policy1")),
        ("schema", None),
        ("action", None),
    ] {
        assert!(seen.contains(&expected), "{expected:?} is not in {mistakes:#?}");
    }
    let text = CedarMistakes(mistakes).to_string();
    for part in [
        "`User` is not what the gateway shows",
        "the context of Action::\"GET\" is not what",
        "did you mean `roles`?",
    ] {
        assert!(text.contains(part), "no `{part}` in {text}");
    }
}

#[test]
fn what_has_not_changed_is_not_made_again() {
    let files = Files::new(SCHEMA, POLICIES);
    let cedar = Cedar::load(&files.settings()).unwrap();
    assert!(cedar.reload(&files.settings()).unwrap().is(&cedar));
    assert!(!cedar.reload(&CedarSettings { anonymous: true, ..files.settings() }).unwrap().is(&cedar));
    files.put("orders.cedar", "permit(principal, action, resource);");
    assert!(!cedar.reload(&files.settings()).unwrap().is(&cedar));
    files.put("orders.cedar", "permit(principal, action, resource)");
    assert!(cedar.reload(&files.settings()).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Whatever else permits it, and whatever the claim is: only a number that the policies can reckon with may pass.
    #[test]
    fn what_cannot_be_evaluated_never_passes(level in claim(), method in "[A-Z]{1,6}") {
        let policies = "permit(principal, action, resource);\n\
                        forbid(principal, action, resource) when { principal has level && principal.level * 2 > 10 };";
        let files = Files::new(SCHEMA, policies);
        let cedar = Cedar::load(&files.settings()).unwrap();
        let caller = Principal::new("ada", AuthMethod::Jwt, [("level".to_owned(), level.clone())].into_iter().collect());
        let request = Request::builder().method(method.as_str()).uri("/").body(()).unwrap();
        let decision = cedar.layer("orders", "a").decide(Some(&caller), Head::of(&request));
        let is_known = ["GET", "HEAD", "POST", "DELETE"].contains(&method.as_str());
        let may = match level.as_i64() {
            Some(number) => number.checked_mul(2).is_some_and(|twice| twice <= 10),
            // As if it were not there. Fractions and what is too large cannot be judged.
            None => level.is_null(),
        };
        prop_assert!(!decision.allowed || may, "{} {}: {:?}", method, level, decision);
        prop_assert!(!is_known || decision.allowed == may, "{} {}: {:?}", method, level, decision);
    }
}

fn claim() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (-20i64..20).prop_map(Value::from),
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<f32>().prop_filter("a number", |f| f.is_finite() && f.fract() != 0.0).prop_map(Value::from),
        "[0-9a-z]{0,4}".prop_map(Value::from),
        Just(json!([7])),
        Just(json!({ "a": 1 })),
    ]
}

#[test]
fn mistakes_are_told_with_file_line_and_column() {
    for (schema, policies, place, part) in [
        (
            SCHEMA,
            "permit(principal, action, resource)\nwhen { true",
            "orders.cedar:2:",
            "unexpected end of input",
        ),
        (SCHEMA, "permit(\n  principal, action == Action::\"PUT\", resource);", "orders.cedar:", "PUT"),
        (
            SCHEMA,
            "permit(principal, action, resource);\npermit(principal, action, resource)\n  when { principal.role == \"x\" };",
            "orders.cedar:3:10",
            "attribute `role`",
        ),
        ("entity User {", POLICIES, "schema.cedarschema:1:", "unexpected end of input"),
        (
            SCHEMA,
            "@id(\"a\") permit(principal, action, resource); @id(\"a\") permit(principal, action, resource);",
            "orders.cedar",
            "duplicate",
        ),
        (SCHEMA, "permit(principal == ?principal, action, resource);", "orders.cedar", "is a template"),
    ] {
        let files = Files::new(schema, policies);
        let error = Cedar::load(&files.settings()).unwrap_err().to_string();
        assert!(error.contains(place) && error.contains(part), "{policies}: {error}");
    }
    let files = Files::new(SCHEMA, POLICIES);
    let none = CedarSettings { policies: Vec::new(), ..files.settings() };
    assert!(Cedar::load(&none).unwrap_err().to_string().contains("nobody could pass"));
    let own = CedarSettings { claims: vec!["roles".into()], ..files.settings() };
    assert!(
        Cedar::load(&own)
            .unwrap_err()
            .to_string()
            .contains("`roles` is an attribute of every principal already")
    );
}

#[tokio::test]
async fn of_a_hundred_policies_the_right_one_decides() {
    let mut policies = String::new();
    for i in 0..100 {
        writeln!(
            policies,
            "@id(\"p{i}\") permit(principal, action == Action::\"GET\", resource == Route::\"orders\") when {{ principal.roles.contains(\"r{i}\") }};"
        )
        .unwrap();
    }
    let files = Files::new(SCHEMA, &policies);
    let cedar = Cedar::load(&files.settings()).unwrap();
    for i in [0, 42, 99] {
        let found = ask(&cedar, request("GET", "/", "ada", json!({ "roles": [format!("r{i}")] }))).await;
        assert_eq!(outcome(&found), (200, vec![format!("p{i}")]));
    }
    assert_eq!(outcome(&ask(&cedar, request("GET", "/", "ada", json!({ "roles": ["r100"] }))).await).0, 403);
}

/// Heads are read when the policies are loaded, not with each request: that must make no difference.
#[tokio::test]
async fn a_policy_applies_to_the_actions_and_routes_of_its_head_and_to_no_others() {
    let groups = "entity Area; entity Team; entity User in [Team] { id: String, method: String, roles: Set<String>, scopes: Set<String>, tenant?: String, level?: Long };
        entity Route in [Area] { path: String, service: String, host: String };
        action any; action read in [any];
        type Seen = { ip?: ipaddr, time: Long, headers: { x_tenant?: String } };
        action GET in [read] appliesTo { principal: User, resource: Route, context: Seen };
        action POST appliesTo { principal: User, resource: Route, context: Seen };";
    let entities = r#"[{ "uid": { "type": "Route", "id": "orders" }, "attrs": { "path": "", "service": "", "host": "" }, "parents": [{ "type": "Area", "id": "shop" }] },
        { "uid": { "type": "Area", "id": "shop" }, "attrs": {}, "parents": [] }]"#;
    for (head, get_orders, post_orders, get_users) in [
        ("action, resource", true, true, true),
        (r#"action == Action::"GET", resource"#, true, false, true),
        (r#"action in [Action::"POST", Action::"read"], resource"#, true, true, true),
        (r#"action in Action::"any", resource"#, true, false, true),
        (r#"action, resource == Route::"orders""#, true, true, false),
        (r#"action, resource in Area::"shop""#, true, true, false),
        (r#"action, resource in Route::"users""#, false, false, true),
        (r#"action, resource is Route"#, true, true, true),
        (r#"action == Action::"POST", resource is Route in Area::"shop""#, false, true, false),
    ] {
        let files = Files::new(groups, &format!("permit(principal, {head});"));
        files.put("entities.json", entities);
        let entities = Some(files.0.path().join("entities.json"));
        let cedar = Cedar::load(&CedarSettings { entities, ..files.settings() }).unwrap();
        for (method, route, expected) in
            [("GET", "orders", get_orders), ("POST", "orders", post_orders), ("GET", "users", get_users)]
        {
            let request = request(method, "/", "ada", json!({}));
            let decided = cedar.layer(route, "s").decide(request.extensions().get(), Head::of(&request));
            assert_eq!((decided.allowed, decided.errors), (expected, vec![]), "{head}: {method} {route}");
        }
        let unknown = request("PATCH", "/", "ada", json!({}));
        let decided = cedar.layer("orders", "s").decide(unknown.extensions().get(), Head::of(&unknown));
        assert_eq!(decided.allowed, !head.contains("Action") && get_orders, "{head}: PATCH");
    }
}

/// Only what policies look at is shown to them, where no claim has to be held against the schema.
#[tokio::test]
async fn each_attribute_is_there_for_the_policy_that_looks_at_it() {
    for condition in [
        r#"principal.id == "ada""#,
        r#"principal.method == "jwt""#,
        r#"principal.roles.contains("editor")"#,
        r#"principal.scopes.containsAll(["read", "write"])"#,
        r#"resource.path == "/orders/7""#,
        r#"resource.service == "order-service""#,
        r#"resource.host == "shop.example""#,
        r#"context has ip && context.ip.isIpv4()"#,
        "context.time > 1700000000",
        r#"context.headers has x_tenant && context.headers.x_tenant == "a""#,
        r#"[context] == [context] && context has ip && context.ip.isInRange(ip("192.0.2.0/24"))"#,
    ] {
        let files =
            Files::new(SCHEMA, &format!("permit(principal, action, resource) when {{ {condition} }};"));
        let cedar = Cedar::load(&CedarSettings { claims: vec![], ..files.settings() }).unwrap();
        let mut request =
            request("GET", "/orders/7", "ada", json!({ "roles": ["editor"], "scope": "read write" }));
        request.headers_mut().insert("host", "shop.example".parse().unwrap());
        request.headers_mut().insert("x-tenant", "a".parse().unwrap());
        request.extensions_mut().insert(ClientAddr("192.0.2.7:4711".parse().unwrap()));
        let decided =
            cedar.layer("orders", "order-service").decide(request.extensions().get(), Head::of(&request));
        assert_eq!((decided.allowed, decided.errors), (true, vec![]), "{condition}");
    }
}
