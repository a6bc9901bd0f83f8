//! Rules on who may pass, how and from where.
#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use gateway_auth::{AuthorizeLayer, AuthorizeSettings, BasicMethod, BasicSettings, Method, Unenforced};
use gateway_core::units::Short;
use gateway_core::{AuthMethod, ClientAddr, Code, Principal, Problem, ProblemFormat, ProblemLayer};
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use std::convert::Infallible;
use std::sync::Arc;
use tower::{Layer, ServiceExt, service_fn};

fn rules(rules: Value) -> Result<AuthorizeLayer, String> {
    let settings: Short<AuthorizeSettings> =
        serde_json::from_value(rules).map_err(|error| error.to_string())?;
    AuthorizeLayer::new(&settings).map_err(|error| error.to_string())
}

fn ada(claims: Value) -> Option<Principal> {
    let Value::Object(claims) = claims else { panic!("not a table: {claims}") };
    Some(Principal::new("ada", AuthMethod::Jwt, claims))
}

fn request(method: &str, caller: Option<Principal>) -> Request<()> {
    let mut request = Request::builder().method(method).uri("/orders").body(()).unwrap();
    if let Some(caller) = caller {
        request.extensions_mut().insert(caller);
    }
    request
}

async fn ask(layer: &AuthorizeLayer, request: Request<()>) -> Response<Full<Bytes>> {
    let service =
        layer.layer(service_fn(|_| async { Ok::<_, Infallible>(Response::new(Full::<Bytes>::default())) }));
    ProblemLayer::new(ProblemFormat::Detail).layer(service).oneshot(request).await.unwrap()
}

/// `passes`, or code and detail of the refusal.
async fn outcome(layer: &AuthorizeLayer, request: Request<()>) -> String {
    let response = ask(layer, request).await;
    match response.extensions().get::<Problem>() {
        None => "passes".to_owned(),
        Some(problem) => {
            format!("{} {}", problem.code().name(), problem.detail().unwrap_or_default()).trim().to_owned()
        }
    }
}

const PASSES: &str = "passes";
const NOBODY: &str = "missing-credentials";
const SCOPE: &str = "insufficient-scope";
const ROLE: &str = "forbidden a role is missing";
const CLAIM: &str = "forbidden a claim is not what it must be";

#[tokio::test]
async fn rules_on_callers_hold_or_say_what_is_missing() {
    for (rule, claims, expected) in [
        (json!("a"), json!({ "scope": "a b" }), PASSES),
        (json!("a c"), json!({ "scope": "a b" }), SCOPE),
        (json!(["a", "b"]), json!({ "scp": ["b", "a"] }), PASSES),
        (json!(["a", "b"]), json!({}), SCOPE),
        (json!({ "scopes": "a c", "scopes_match": "any" }), json!({ "scope": "c" }), PASSES),
        (json!({ "scopes": "a c", "scopes_match": "any" }), json!({ "scope": "d" }), SCOPE),
        (json!({ "scopes": "a", "scopes_claim": "perms" }), json!({ "perms": ["a"], "scope": "" }), PASSES),
        (json!({ "scopes": "a", "scopes_claim": "perms" }), json!({ "scope": "a" }), SCOPE),
        (json!({ "scopes": "read" }), json!({ "scope": "reader read:all" }), SCOPE),
        (json!({ "roles": ["x", "y"] }), json!({ "roles": ["y"] }), PASSES),
        (json!({ "roles": ["x", "y"], "roles_match": "all" }), json!({ "roles": ["y"] }), ROLE),
        (json!({ "roles": "x", "roles_claim": "r.shop" }), json!({ "r": { "shop": ["x"] } }), PASSES),
        (json!({ "roles": "x", "roles_claim": "r.shop" }), json!({ "roles": "x" }), ROLE),
        (json!({ "roles": "x", "scopes": "a" }), json!({}), ROLE),
        (json!({ "claims": { "a.b": "x" } }), json!({ "a": { "b": "x" } }), PASSES),
        (json!({ "claims": { "a.b": "x" } }), json!({ "a": { "b": "y" } }), CLAIM),
        (json!({ "claims": { "t": "x", "l": { "min": 3 } } }), json!({ "t": "x", "l": 2 }), CLAIM),
        (json!({ "principals": ["bob", "ada"] }), json!({}), PASSES),
        (json!({ "principals": ["bob"] }), json!({}), "forbidden not for this caller"),
        (json!({ "authenticated": true }), json!({}), PASSES),
    ] {
        let layer = rules(rule.clone()).unwrap();
        assert_eq!(outcome(&layer, request("GET", ada(claims.clone()))).await, expected, "{rule} {claims}");
        assert_eq!(outcome(&layer, request("GET", None)).await, NOBODY, "{rule}");
    }
}

#[tokio::test]
async fn groups_combine() {
    let x = json!({ "roles": "x" });
    let s = json!({ "scopes": "s" });
    for (rule, claims, known, nobody) in [
        (json!({ "any": [x, s] }), json!({ "scope": "s" }), PASSES, NOBODY),
        (json!({ "any": [x, s] }), json!({}), SCOPE, NOBODY),
        (json!({ "any": [x, { "roles": "y" }] }), json!({}), ROLE, NOBODY),
        (json!({ "all": [x, s] }), json!({ "roles": "x" }), SCOPE, NOBODY),
        (json!({ "all": [x, s] }), json!({ "roles": "x", "scope": "s" }), PASSES, NOBODY),
        (json!({ "not": x }), json!({}), PASSES, NOBODY),
        (json!({ "not": x }), json!({ "roles": "x" }), "forbidden what the caller is rules it out", NOBODY),
        (json!({ "not": { "not": x } }), json!({ "roles": "x" }), PASSES, NOBODY),
        (json!({ "any": [{ "networks": ["127.0.0.1"] }, x] }), json!({}), ROLE, NOBODY),
        (
            json!({ "any": [{ "not": x }, { "all": [s] }] }),
            json!({ "roles": "x", "scope": "s" }),
            PASSES,
            NOBODY,
        ),
    ] {
        let layer = rules(rule.clone()).unwrap();
        assert_eq!(outcome(&layer, request("GET", ada(claims.clone()))).await, known, "{rule} {claims}");
        assert_eq!(outcome(&layer, request("GET", None)).await, nobody, "{rule}");
    }
}

#[tokio::test]
async fn methods_have_rules_of_their_own_and_head_goes_by_get() {
    let layer = rules(json!({
        "methods": { "GET": { "roles": "reader" }, "post,PUT": { "roles": "editor" }, "*": { "roles": "admin" } }
    }))
    .unwrap();
    for (method, role) in
        [("GET", "reader"), ("HEAD", "reader"), ("POST", "editor"), ("PUT", "editor"), ("PATCH", "admin")]
    {
        for has in ["reader", "editor", "admin"] {
            let expected = if has == role { PASSES } else { ROLE };
            assert_eq!(
                outcome(&layer, request(method, ada(json!({ "roles": has })))).await,
                expected,
                "{method}"
            );
        }
        assert_eq!(outcome(&layer, request(method, None)).await, NOBODY, "{method}");
    }
    let layer = rules(json!({ "methods": { "GET": {}, "*": { "authenticated": true } } })).unwrap();
    assert_eq!(outcome(&layer, request("GET", None)).await, PASSES);
    assert_eq!(outcome(&layer, request("DELETE", None)).await, NOBODY);
}

#[tokio::test]
async fn addresses_and_user_agents_are_asked_of_anonymous_callers_too() {
    let address = "forbidden not from this address";
    let agent = "forbidden not with this user agent";
    for (rule, client, user_agent, expected) in [
        (json!({ "networks": ["10.0.0.0/8"] }), Some("10.1.1.1:1"), "", PASSES),
        (json!({ "networks": ["10.0.0.0/8"] }), Some("[::ffff:10.1.1.1]:1"), "", PASSES),
        (json!({ "networks": ["10.0.0.0/8"] }), Some("11.1.1.1:1"), "", address),
        (json!({ "networks": ["10.0.0.0/8"] }), None, "", address),
        (json!({ "deny_networks": ["10.0.0.0/8"] }), Some("10.1.1.1:1"), "", address),
        (json!({ "deny_networks": ["10.0.0.0/8"] }), Some("11.1.1.1:1"), "", PASSES),
        (json!({ "deny_networks": ["10.0.0.0/8"] }), None, "", address),
        (
            json!({ "networks": ["10.0.0.0/8"], "deny_networks": ["10.0.0.9"] }),
            Some("10.0.0.9:1"),
            "",
            address,
        ),
        (json!({ "user_agents": ["mozilla"] }), None, "Mozilla/5.0", PASSES),
        (json!({ "user_agents": ["mozilla"] }), None, "", agent),
        (json!({ "deny_user_agents": ["curl", "BOT"] }), None, "GoogleBot/2", agent),
        (json!({ "deny_user_agents": ["curl"] }), None, "", PASSES),
    ] {
        let layer = rules(rule.clone()).unwrap();
        let mut request = request("GET", None);
        if let Some(client) = client {
            request.extensions_mut().insert(ClientAddr(client.parse().unwrap()));
        }
        if !user_agent.is_empty() {
            request.headers_mut().insert("user-agent", user_agent.parse().unwrap());
        }
        assert_eq!(outcome(&layer, request).await, expected, "{rule} {client:?} {user_agent}");
    }
}

#[tokio::test]
async fn s2_20_a_wrong_role_or_scope_is_answered_in_the_words_of_s2() {
    for (rule, code, challenge) in [
        (json!({ "roles": "admin" }), Code::Forbidden, None),
        (
            json!(["orders:read", "orders:write"]),
            Code::InsufficientScope,
            Some("Bearer error=\"insufficient_scope\", scope=\"orders:read orders:write\""),
        ),
    ] {
        let response = ask(&rules(rule).unwrap(), request("GET", ada(json!({ "role": "customer" })))).await;
        assert_eq!(response.status(), 403);
        assert_eq!(response.extensions().get::<Problem>().unwrap().code(), code);
        let found =
            response.headers().get("www-authenticate").map(|value| value.to_str().unwrap().to_owned());
        assert_eq!(found.as_deref(), challenge);
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, "{\"detail\":\"You are not allowed to access this scope.\"}");
    }
}

#[tokio::test]
async fn a_401_asks_for_what_the_methods_take() {
    let layer = rules(json!({ "roles": "x", "realm": "shop" })).unwrap();
    let challenges = async |layer: &AuthorizeLayer| {
        let response = ask(layer, request("GET", None)).await;
        assert_eq!(response.status(), 401);
        response.headers()["www-authenticate"].to_str().unwrap().to_owned()
    };
    assert_eq!(challenges(&layer).await, "Bearer realm=\"shop\"");
    let settings: BasicSettings = serde_json::from_value(json!({
        "users": { "ada": "$2y$04$abcdefghijklmnopqrstuuu5Qm0yQJxMdUcI8FQp5nKqZPVvFcLlK" }
    }))
    .unwrap();
    let basic = BasicMethod::new(&settings).unwrap();
    let layer = layer.with_challenges_of(&[Arc::new(basic) as Arc<dyn Method>]);
    assert!(challenges(&layer).await.starts_with("Basic "));
}

#[tokio::test]
async fn in_report_mode_all_pass_and_what_would_have_happened_is_noted() {
    let layer = rules(json!({ "scopes": "a", "mode": "report" })).unwrap();
    for (caller, expected) in [
        (None, Some((401, Some(Code::MissingCredentials)))),
        (ada(json!({})), Some((403, Some(Code::InsufficientScope)))),
        (ada(json!({ "scope": "a" })), None),
    ] {
        let response = ask(&layer, request("GET", caller)).await;
        assert_eq!(response.status(), 200);
        let noted = response.extensions().get::<Unenforced>().map(|u| (u.status.as_u16(), u.code));
        assert_eq!(noted, expected);
    }
}

#[test]
fn rules_that_make_no_sense_are_refused_with_their_place() {
    for (rule, part) in [
        (json!({}), "`authorize`: it says nothing"),
        (json!({ "any": [{}] }), "`any[0]`: it says nothing"),
        (json!({ "not": {} }), "`not`: it says nothing"),
        (
            json!({ "any": [{ "roles": "x" }, { "all": [{ "mode": "report" }] }] }),
            "`any[1].all[0].mode`: it stands in a group",
        ),
        (json!({ "roles": [] }), "`roles`: there is nothing in it"),
        (json!(""), "`scopes`: there is nothing in it"),
        (json!({ "methods": { "G T": {} } }), "`G T` is no method"),
        (json!({ "methods": { "get": {}, "GET": {} } }), "`GET` is named twice"),
        (
            json!({ "methods": { "GET": { "claims": { "l": {} } } } }),
            "`methods.GET.claims.l`: the table is empty",
        ),
        (json!({ "networks": ["10.0.0"] }), "`10.0.0` is no address"),
        (json!({ "deny_user_agents": [""] }), "a part is empty"),
        (json!({ "role": "x" }), "unknown field `role`"),
        (json!(7), "expected a scope such as"),
    ] {
        let error = rules(rule.clone()).unwrap_err();
        assert!(error.contains(part), "{rule}: {error}");
    }
}

#[test]
fn policies_by_name_are_taken_apart_and_never_overlooked() {
    let read = |rules: Value| serde_json::from_value::<AuthorizeSettings>(rules).unwrap();
    let both = read(json!({ "cedar": "shop", "roles": "staff", "mode": "report" }));
    let error = AuthorizeLayer::new(&both).unwrap_err().to_string();
    assert!(error.contains("`cedar`: policies stand beside the rules"), "{error}");
    let (name, rules) = both.apart();
    assert_eq!(name, Some("shop"));
    assert!(AuthorizeLayer::new(&rules.unwrap()).is_ok());
    for (rules, name, has_rules) in [
        (json!({ "cedar": "shop" }), Some("shop"), false),
        (json!({ "cedar": "shop", "mode": "report" }), Some("shop"), false),
        (json!({ "roles": "a" }), None, true),
        (json!({}), None, true),
    ] {
        let rules = read(rules);
        let (found, left) = rules.apart();
        assert_eq!((found, left.is_some()), (name, has_rules), "{rules:?}");
    }
    let nested = read(json!({ "any": [{ "cedar": "shop" }] }));
    let error = AuthorizeLayer::new(&nested).unwrap_err().to_string();
    assert!(error.contains("`any[0].cedar`: it stands in a group"), "{error}");
}
