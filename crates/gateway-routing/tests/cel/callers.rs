//! What is seen of who calls.

use super::request;
use gateway_core::{AuthMethod, Principal};
use gateway_routing::{CallerWhen, When};
use http::Request;
use serde_json::json;

fn holds(text: &str, request: &Request<()>) -> bool {
    let when: CallerWhen = text.parse().unwrap_or_else(|mistakes| panic!("{text}: {mistakes}"));
    assert_eq!(when.as_str(), text);
    when.holds(request.method(), request.uri(), request.headers(), request.extensions())
}

fn known() -> Request<()> {
    let claims = json!({
        "plan": "gold", "seats": 12, "share": 0.5, "beta": true, "none": null,
        "roles": ["admin", "dev", 7, null], "scope": "read  write", "empty": [],
        "org": { "plan": "iron", "teams": ["a", "b"] }, "org.plan": "steel", "https://x/y": "z",
    });
    let mut request = request();
    let claims = claims.as_object().cloned().unwrap();
    request.extensions_mut().insert(Principal::new("ada", AuthMethod::ApiKey, claims));
    request
}

#[test]
fn claims_are_texts_and_lists_by_name_and_path() {
    let (known, nobody) = (known(), request());
    for (text, expected) in [
        ("principal.authenticated", true),
        ("principal.id == 'ada' && principal.method == 'api_key'", true),
        ("principal.claims.plan == 'gold' && request.headers['x-plan'] == 'gold'", true),
        ("int(principal.claims.seats) > 10 && principal.claims.seats == '12'", true),
        ("double(principal.claims.share) < 1.0 && bool(principal.claims.beta)", true),
        // A name of its own goes before a path.
        ("principal.claims.org.plan == 'steel' && principal.claims['org.plan'] == 'steel'", true),
        ("principal.claims['https://x/y'] == 'z'", true),
        ("has(principal.claims.plan) && 'plan' in principal.claims", true),
        ("has(principal.lists.org.teams) && !has(principal.claims.org.teams)", true),
        (
            "has(principal.claims.org.nothing) || has(principal.claims.none) || has(principal.claims.roles)",
            false,
        ),
        ("'admin' in principal.lists.roles && '7' in principal.lists.roles", true),
        ("principal.lists.org.teams == ['a', 'b'] && size(principal.lists.empty) == 0", true),
        (
            "principal.lists.scope.exists(one, one.startsWith('wr')) && principal.lists.scope[0] == 'read'",
            true,
        ),
        ("principal.lists.roles.size() == 3 && 'roles' in principal.lists", true),
        (
            "principal.claims.all(name, name != 'roles') && principal.lists.exists(name, name == 'roles')",
            true,
        ),
        ("principal.claims.exists(name, principal.claims[name] == 'gold')", true),
        // What is not there fails, and so does its opposite.
        ("principal.claims.nothing == 'a'", false),
        ("!(principal.claims.nothing == 'a')", false),
        ("principal.claims.roles == 'admin' || !(principal.claims.roles == 'admin')", false),
        ("principal.lists.scope[2] == 'x' || !(principal.lists.scope[2] == 'x')", false),
    ] {
        assert_eq!(holds(text, &known), expected, "{text}");
    }
    for (text, expected) in [
        ("principal.authenticated", false),
        ("!principal.authenticated && request.method == 'POST'", true),
        ("principal.id == '' || principal.method != ''", false),
        ("principal.claims.size() == 0 && principal.lists.size() == 0 && !has(principal.claims.plan)", true),
        ("principal.claims.plan == 'gold' || 'a' in principal.lists.roles", false),
        ("principal.claims.plan == 'gold' || request.path.startsWith('/a')", true),
    ] {
        assert_eq!(holds(text, &nobody), expected, "{text}");
    }
}

#[test]
fn mistakes_about_callers_have_their_places_too() {
    for (text, column, message, help) in [
        ("principal.claims.seats > 10", 24, "`>` is not for `string` and `int`", "`int(…)`"),
        ("principal.claim.plan == 'a'", 1, "no variable `principal.claim.plan`", "`principal.claims`"),
        ("principal.lists.roles == 'admin'", 23, "`==` is not for `list` of `string` and `string`", ""),
        ("'a' in principal.claims.roles", 5, "`in` is not for `string` and `string`", ""),
        ("principal == 'ada'", 1, "`principal` by itself is no variable", "principal.authenticated"),
        ("principal.id.x == 'a'", 1, "`principal.id` is `string` and has no `.x`", ""),
        ("[principal.lists] == []", 11, "lists of maps are not understood here", ""),
        ("principal.lists == principal.claims", 17, "not for `map` of lists and `map`", ""),
        ("principal.claims", 1, "the expression is `map`; expected `bool`", ""),
    ] {
        let mistakes = text.parse::<CallerWhen>().unwrap_err();
        let first = &mistakes.0[0];
        assert_eq!(first.column, column, "{text}: {mistakes}");
        assert!(first.message.contains(message), "{text}: {mistakes}");
        assert!(first.help.as_deref().unwrap_or_default().contains(help), "{text}: {mistakes}");
    }
    let mistakes = "principal.id == 'ada'".parse::<When>().unwrap_err();
    assert_eq!(mistakes.0.len(), 1);
    let said = mistakes.to_string();
    assert!(said.contains("no variable `principal.id` here; who calls is not known yet"), "{said}");
}
