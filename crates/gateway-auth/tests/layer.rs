//! Several methods in one layer: who decides, what becomes of the rest, and what reaches the service.
#![allow(clippy::unwrap_used)]

mod ask;
mod keys;

use ask::{Seen, ask, get, outcome};
use bytes::Bytes;
use gateway_auth::{
    AuthLayer, AuthPolicy, Changes, Check, Head, JwtMethod, JwtSettings, Method, Mode, Passed, Refusal,
    Require, Unenforced, Verdict,
};
use gateway_core::{AuthMethod, Code, Principal, Problem, ProblemFormat, ProblemLayer};
use gateway_store::Store;
use http::{HeaderName, HeaderValue, Request, Response, request};
use http_body_util::{BodyExt, Full};
use keys::{SECRET, hs256, now};
use serde_json::json;
use std::convert::Infallible;
use std::sync::Arc;
use tower::{Layer, ServiceExt, service_fn};

/// Believes the header with its name: `NAME` passes as that, `bad` is refused, `other` is foreign.
#[derive(Debug)]
struct Word {
    header: HeaderName,
    challenge: HeaderValue,
    waits: bool,
}

fn word(name: &'static str, waits: bool) -> Arc<dyn Method> {
    let challenge = HeaderValue::try_from(format!("Word realm=\"{name}\"")).unwrap();
    Arc::new(Word { header: HeaderName::from_static(name), challenge, waits })
}

impl Method for Word {
    fn check(&self, head: Head<'_>) -> Check {
        let verdict = match head.headers.get(&self.header).map(|value| value.to_str().unwrap()) {
            None => Verdict::Absent,
            Some("bad") => Verdict::Refused(Problem::new(Code::InvalidCredentials).into()),
            Some("other") => {
                Verdict::Foreign(Problem::new(Code::InvalidToken).with_detail(self.header.to_string()).into())
            }
            Some("answer") => {
                let response = Response::builder().status(302).header("location", "/login");
                Verdict::Refused(Refusal::response(response.body(Bytes::from_static(b"go")).unwrap()))
            }
            Some(name) => {
                let mut changes = Changes::default();
                changes.request.append("x-user", HeaderValue::from_str(name).unwrap());
                changes.response.append("set-cookie", HeaderValue::from_static("a=b"));
                let principal = Principal::new(name, AuthMethod::ApiKey, Default::default());
                Verdict::Passed(Passed { principal: Some(principal), changes: Some(Box::new(changes)) })
            }
        };
        if self.waits {
            return Check::wait(async {
                tokio::task::yield_now().await;
                verdict
            });
        }
        Check::Done(verdict)
    }

    fn challenge(&self) -> Option<&HeaderValue> {
        Some(&self.challenge)
    }

    fn strips(&self) -> bool {
        true
    }

    fn strip(&self, request: &mut request::Parts) {
        request.headers.remove(&self.header);
        request.headers.remove("x-user");
    }
}

#[tokio::test]
async fn the_first_method_that_finds_its_credential_decides() {
    for (waits_a, waits_b) in [(false, false), (true, false), (false, true), (true, true)] {
        let layer = AuthLayer::new(vec![word("a", waits_a), word("b", waits_b)], &AuthPolicy::default());
        for (headers, expected) in [
            (&[][..], "missing-credentials"),
            (&[("a", "ada")], "ada"),
            (&[("b", "bob")], "bob"),
            (&[("a", "ada"), ("b", "bob")], "ada"),
            (&[("a", "ada"), ("b", "bad")], "ada"),
            (&[("a", "bad"), ("b", "bob")], "invalid-credentials"),
            (&[("a", "other"), ("b", "bob")], "bob"),
            (&[("a", "other"), ("b", "bad")], "invalid-credentials"),
            (&[("a", "other")], "invalid-token a"),
            (&[("a", "other"), ("b", "other")], "invalid-token a"),
            (&[("b", "other")], "invalid-token b"),
            (&[("b", "answer")], "302 Found"),
        ] {
            let response = ask(&layer, get(headers)).await;
            assert_eq!(outcome(&response), expected, "{headers:?}, waits: {waits_a} {waits_b}");
        }
    }
}

#[tokio::test]
async fn s2_20_a_401_challenges_for_every_method() {
    let settings = JwtSettings { secret: Some(SECRET.to_owned()), ..JwtSettings::default() };
    let jwt = Arc::new(JwtMethod::new(&settings, Store::memory()).unwrap());
    let layer = AuthLayer::new(vec![jwt, word("a", true)], &AuthPolicy::default());
    let response = ask(&layer, get(&[])).await;
    assert_eq!(response.status(), 401);
    let challenges: Vec<_> = response.headers().get_all("www-authenticate").iter().collect();
    assert_eq!(challenges, ["Bearer realm=\"gateway\"", "Word realm=\"a\""]);
}

#[tokio::test]
async fn s0_20_where_it_is_optional_no_credential_passes_and_a_bad_one_does_not() {
    let policy = AuthPolicy { optional: true, ..AuthPolicy::default() };
    let layer = AuthLayer::new(vec![word("a", false), word("b", true)], &policy);
    for (headers, expected) in [
        (&[][..], "-"),
        (&[("b", "bob")], "bob"),
        (&[("a", "bad")], "invalid-credentials"),
        (&[("a", "other")], "invalid-token a"),
    ] {
        assert_eq!(outcome(&ask(&layer, get(headers)).await), expected, "{headers:?}");
    }
}

#[tokio::test]
async fn s4_14_s0_16_public_paths_ask_for_nothing_and_still_take_no_spoofed_identity() {
    let public = ["/api/auth/*", "GET,POST /payments/callback"].map(|path| path.parse().unwrap());
    let policy = AuthPolicy { public: public.to_vec(), ..AuthPolicy::default() };
    let layer = AuthLayer::new(vec![word("a", false)], &policy);
    for (method, path, expected) in [
        ("POST", "/api/auth/login", "-"),
        ("POST", "/payments/callback", "-"),
        ("GET", "/payments/callback", "-"),
        ("PUT", "/payments/callback", "missing-credentials"),
        ("GET", "/orders", "missing-credentials"),
        ("GET", "/api/auth/../../orders", "missing-credentials"),
    ] {
        let request = Request::builder().method(method).uri(path).header("x-user", "root");
        let response = ask(&layer, request.body(()).unwrap()).await;
        assert_eq!(outcome(&response), expected, "{method} {path}");
        if let Some(Seen { headers, .. }) = response.extensions().get() {
            assert!(!headers.contains_key("x-user"), "{method} {path}: {headers:?}");
        }
    }
    let bad = Request::get("/api/auth/login").header("a", "bad").body(()).unwrap();
    assert_eq!(outcome(&ask(&layer, bad).await), "-", "not even bad ones are looked at");
}

#[tokio::test]
async fn in_report_mode_all_pass_and_what_would_have_happened_is_noted() {
    let policy = AuthPolicy { mode: Mode::Report, ..AuthPolicy::default() };
    let layer = AuthLayer::new(vec![word("a", false), word("b", true)], &policy);
    for (headers, id, expected) in [
        (&[][..], "-", Some((401, Some(Code::MissingCredentials)))),
        (&[("a", "bad"), ("x-user", "root")], "-", Some((401, Some(Code::InvalidCredentials)))),
        (&[("b", "other")], "-", Some((401, Some(Code::InvalidToken)))),
        (&[("b", "answer")], "-", Some((302, None))),
        (&[("b", "bob")], "bob", None),
    ] {
        let response = ask(&layer, get(headers)).await;
        assert_eq!(outcome(&response), id, "{headers:?}");
        let noted = response.extensions().get::<Unenforced>().map(|u| (u.status.as_u16(), u.code));
        assert_eq!(noted, expected, "{headers:?}");
        let seen = &ask::seen(&response).headers;
        let user = seen.get("x-user").map(|user| user.to_str().unwrap());
        assert_eq!(user, (id != "-").then_some(id), "a spoofed copy reached the service");
    }
}

#[tokio::test]
async fn what_a_method_changes_reaches_the_service_and_the_client() {
    for waits in [false, true] {
        let layer = AuthLayer::new(vec![word("a", waits), word("b", false)], &AuthPolicy::default());
        let headers = [("a", "ada"), ("b", "bob"), ("x-user", "root"), ("x-user", "admin")];
        let response = ask(&layer, get(&headers)).await;
        let seen = &ask::seen(&response).headers;
        assert_eq!(seen.get_all("x-user").iter().collect::<Vec<_>>(), ["ada"]);
        assert!(!seen.contains_key("a") && !seen.contains_key("b"), "credentials are hidden: {seen:?}");
        assert_eq!(response.headers()["set-cookie"], "a=b");
        assert_eq!(response.extensions().get::<Principal>().unwrap().id(), "ada", "the log needs it");
    }
}

#[tokio::test]
async fn a_token_of_another_issuer_is_left_to_the_next_method_and_an_expired_one_is_not() {
    let of = |secret: &str| {
        let settings = JwtSettings { secret: Some(secret.to_owned()), ..JwtSettings::default() };
        Arc::new(JwtMethod::new(&settings, Store::memory()).unwrap()) as Arc<dyn Method>
    };
    let policy = AuthPolicy::default();
    let layer =
        AuthLayer::new(vec![of("another secret, also long enough"), of(SECRET), word("a", false)], &policy);
    let bearer = |claims| format!("Bearer {}", hs256(&claims));
    let good = bearer(json!({ "sub": "ada", "exp": now() + 60 }));
    let old = bearer(json!({ "sub": "ada", "exp": now() - 60 }));
    for (headers, expected) in [
        (&[("authorization", good.as_str())][..], "ada"),
        (&[("authorization", &old)], "expired-token"),
        (&[("authorization", &old), ("a", "bob")], "expired-token"),
        (
            &[("authorization", "Bearer opaque")],
            "invalid-token the token is not made of three parts of base64url",
        ),
        (&[("authorization", "Bearer opaque"), ("a", "bob")], "bob"),
        (&[("authorization", "Basic YTpi"), ("a", "bob")], "bob"),
    ] {
        assert_eq!(outcome(&ask(&layer, get(headers)).await), expected, "{headers:?}");
    }
}

#[tokio::test]
async fn where_all_are_required_every_method_must_pass_and_the_first_names_the_caller() {
    for (waits_a, waits_b) in [(false, false), (true, false), (false, true), (true, true)] {
        for optional in [false, true] {
            let policy = AuthPolicy { require: Require::All, optional, ..AuthPolicy::default() };
            let layer = AuthLayer::new(vec![word("a", waits_a), word("b", waits_b)], &policy);
            for (headers, expected) in [
                (&[][..], if optional { "-" } else { "missing-credentials" }),
                (&[("a", "ada")], "missing-credentials"),
                (&[("b", "bob")], "missing-credentials"),
                (&[("a", "ada"), ("b", "bob")], "ada"),
                (&[("a", "ada"), ("b", "bad")], "invalid-credentials"),
                (&[("a", "ada"), ("b", "other")], "invalid-token b"),
                (&[("a", "other"), ("b", "bob")], "invalid-token a"),
                (&[("b", "bad")], "invalid-credentials"),
            ] {
                let response = ask(&layer, get(headers)).await;
                assert_eq!(
                    outcome(&response),
                    expected,
                    "{headers:?}, waits: {waits_a} {waits_b}, {optional}"
                );
                if expected == "ada" {
                    let seen = &ask::seen(&response).headers;
                    assert_eq!(seen.get_all("x-user").iter().collect::<Vec<_>>(), ["ada", "bob"]);
                }
            }
        }
    }
}

#[tokio::test]
async fn s0_17_s0_18_the_words_of_a_refusal_are_those_of_the_preset() {
    let settings = JwtSettings { secret: Some(SECRET.to_owned()), ..JwtSettings::default() };
    let jwt = Arc::new(JwtMethod::new(&settings, Store::memory()).unwrap());
    let auth = AuthLayer::new(vec![jwt], &AuthPolicy::default());
    for (headers, expected) in [
        (&[][..], r#"{"detail":"JWT token required"}"#),
        (&[("authorization", "Bearer bad")], r#"{"detail":"Invalid JWT token"}"#),
    ] {
        let inner =
            service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(Full::<Bytes>::default())));
        let service = ProblemLayer::new(ProblemFormat::Detail).layer(auth.layer(inner));
        let response = service.oneshot(get(headers)).await.unwrap();
        assert_eq!(response.status(), 401);
        assert!(response.headers().contains_key("www-authenticate"));
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, expected);
    }
}

#[test]
fn what_may_be_a_credential_is_not_shown() {
    let request = Request::get("/a?token=secret").header("authorization", "Bearer secret").body(()).unwrap();
    let mut changes = Changes::default();
    changes.request.append("authorization", HeaderValue::from_static("secret"));
    let passed = Passed { principal: None, changes: Some(Box::new(changes)) };
    let shown = format!("{:?} {:?}", Head::of(&request), Verdict::Passed(passed));
    assert!(shown.contains("authorization") && !shown.contains("secret"), "{shown}");
}

#[tokio::test]
async fn unasked_everybody_passes_as_who_is_named_and_loses_what_the_methods_take() {
    let policy = AuthPolicy { require: Require::All, ..AuthPolicy::default() };
    let layer = AuthLayer::new(vec![word("a", false), word("b", true)], &policy);
    let ada = Principal::new("ada", AuthMethod::Jwt, Default::default());
    for (caller, expected) in [(None, "-"), (Some(&ada), "ada")] {
        let layer = layer.unasked(caller).with_store(&Store::memory());
        for headers in [&[][..], &[("a", "bad")], &[("a", "bob"), ("b", "other"), ("x-user", "eve")]] {
            let response = ask(&layer, get(headers)).await;
            assert_eq!(outcome(&response), expected, "{headers:?}");
            let seen = response.extensions().get::<Seen>().unwrap();
            assert!(seen.headers.is_empty(), "{headers:?}: {:?}", seen.headers);
        }
    }
}
