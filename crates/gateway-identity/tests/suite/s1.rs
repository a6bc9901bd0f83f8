use crate::common::{ADMIN, ADMIN_PASSWORD, Face, PASSWORD, Place, claims, settings};
use gateway_identity::{IdentitySettings, Preset, ProfileSettings};
use serde_json::{Value, json};
use std::time::Duration;

async fn face(place: &Place) -> Face {
    Face::open(IdentitySettings { preset: Preset::S1, ..settings(place) }).await
}

async fn signin(face: &Face, email: &str) {
    let body = json!({ "email": email, "password": PASSWORD, "firstName": "Ada" });
    assert_eq!(face.call("POST /api/auth/signin", None, body).await.status, 201);
}

async fn login(face: &Face, email: &str, password: &str) -> (String, String, String) {
    let answer =
        face.call("POST /api/auth/login", None, json!({ "email": email, "password": password })).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    (answer.text("access_token"), answer.text("refresh_token"), answer.text("session_id"))
}

async fn renew(face: &Face, token: &str) -> crate::common::Answer {
    face.call("POST /api/tokens/renew", None, json!({ "refreshToken": token })).await
}

pub(crate) async fn s1_02_signin_registers_an_account_with_its_profile(place: Place) {
    let profile = ProfileSettings { required: vec!["firstName".into()], ..ProfileSettings::default() };
    let face = Face::open(IdentitySettings { preset: Preset::S1, profile, ..settings(&place) }).await;
    let body = json!({ "email": " Ada@Example.org ", "password": PASSWORD, "firstName": "Ada",
        "profile": { "city": "London" } });
    let answer = face.call("POST /api/auth/signin", None, body.clone()).await;
    assert_eq!(answer.status, 201, "{}", answer.text);
    assert_eq!(answer.body["email"], "Ada@Example.org");
    assert_eq!(answer.body["profile"], json!({ "firstName": "Ada", "city": "London" }));
    assert_eq!(answer.body["roles"], json!(["user"]));
    assert_eq!(answer.headers["location"], format!("/api/users/{}", answer.text("id")));

    let taken = json!({ "email": "ADA@example.ORG", "password": PASSWORD, "firstName": "Ada" });
    let answer = face.call("POST /api/auth/signin", None, taken).await;
    assert_eq!((answer.status.as_u16(), &answer.body), (409, &json!({ "message": "It is there already" })));

    let bad = json!({ "email": "ada", "password": "short" });
    let answer = face.call("POST /api/auth/signin", None, bad).await;
    assert_eq!(answer.status, 422, "{}", answer.text);
    let admin =
        json!({ "email": "eve@example.org", "password": PASSWORD, "firstName": "Eve", "roles": ["admin"] });
    assert_eq!(face.call("POST /api/auth/signin", None, admin).await.status, 403);
}

pub(crate) async fn s1_03_login_answers_an_access_and_a_refresh_token(place: Place) {
    let face = face(&place).await;
    signin(&face, "ada@example.org").await;
    let body = json!({ "email": "ada@example.org", "password": PASSWORD });
    let answer = face.call("POST /api/auth/login", None, body).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.body["token_type"], "Bearer");
    assert_eq!(answer.body["expires_in"], 900);
    assert_eq!(answer.headers["cache-control"], "no-store");
    assert_eq!(answer.text("access_token").split('.').count(), 3);
    assert_eq!(answer.text("refresh_token").len(), 43, "256 bits in base64");

    let wrong = json!({ "email": "ada@example.org", "password": "wrong password" });
    let answer = face.call("POST /api/auth/login", None, wrong).await;
    assert_eq!(answer.status, 401);
    assert_eq!(answer.headers["www-authenticate"], "Bearer");
}

pub(crate) async fn s1_04_logout_ends_the_session_that_id_names(place: Place) {
    let face = face(&place).await;
    signin(&face, "ada@example.org").await;
    let (access, refresh, session) = login(&face, "ada@example.org", PASSWORD).await;
    for line in ["POST /api/auth/logout", "POST /api/auth/logout?id="] {
        assert_eq!(face.call(line, Some(&access), Value::Null).await.status, 400, "{line}");
    }
    let line = format!("POST /api/auth/logout?id={session}");
    assert_eq!(face.call(&line, None, Value::Null).await.status, 401);
    assert_eq!(face.call(&line, Some(&access), Value::Null).await.status, 204);
    assert_eq!(renew(&face, &refresh).await.status, 401);
    let answer = face.call("GET /api/auth/me", Some(&access), Value::Null).await;
    assert_eq!(answer.status, 401, "the session of the token has ended");
}

pub(crate) async fn s1_05_renew_answers_a_new_access_token(place: Place) {
    let face = face(&place).await;
    signin(&face, "ada@example.org").await;
    let (access, refresh, _) = login(&face, "ada@example.org", PASSWORD).await;
    let answer = renew(&face, &refresh).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_ne!(answer.text("access_token"), access);
    assert_ne!(answer.text("refresh_token"), refresh);
    // In the header, with an empty body.
    let next = answer.text("refresh_token");
    assert_eq!(face.call("POST /api/tokens/renew", Some(&next), Value::Null).await.status, 200);
    for (token, status) in [("", 422), ("nonsense", 401), (access.as_str(), 401)] {
        assert_eq!(renew(&face, token).await.status, status, "{token}");
    }
}

pub(crate) async fn s1_06_revoke_ends_one_session_by_id(place: Place) {
    let face = face(&place).await;
    signin(&face, "ada@example.org").await;
    signin(&face, "eve@example.org").await;
    let (access, kept, _) = login(&face, "ada@example.org", PASSWORD).await;
    let (_, ended, id) = login(&face, "ada@example.org", PASSWORD).await;
    let (eve, _, _) = login(&face, "eve@example.org", PASSWORD).await;
    let line = format!("POST /api/tokens/revoke?id={id}");
    assert_eq!(face.call("POST /api/tokens/revoke", Some(&access), Value::Null).await.status, 400);
    assert_eq!(face.call(&line, None, Value::Null).await.status, 401);
    assert_eq!(face.call(&line, Some(&eve), Value::Null).await.status, 404, "somebody else's");
    assert_eq!(face.call(&line, Some(&access), Value::Null).await.status, 204);
    assert_eq!(renew(&face, &ended).await.status, 401);
    let kept = renew(&face, &kept).await;
    assert_eq!(kept.status, 200);
    let (root, _, _) = login(&face, ADMIN, ADMIN_PASSWORD).await;
    let line = format!("POST /api/tokens/revoke?id={}", kept.text("session_id"));
    assert_eq!(face.call(&line, Some(&root), Value::Null).await.status, 204, "an administrator may");
}

pub(crate) async fn s1_20_an_ended_or_expired_session_cannot_be_renewed(place: Place) {
    let face = face(&place).await;
    signin(&face, "ada@example.org").await;
    let (access, refresh, id) = login(&face, "ada@example.org", PASSWORD).await;
    let revoke = format!("POST /api/tokens/revoke?id={id}");
    assert_eq!(face.call(&revoke, Some(&access), Value::Null).await.status, 204);
    assert_eq!(renew(&face, &refresh).await.status, 401);
    let rows = place.query("SELECT id FROM identity_sessions WHERE revoked_at IS NOT NULL").await;
    assert_eq!(rows, [id]);

    let (_, refresh, _) = login(&face, "ada@example.org", PASSWORD).await;
    face.clock.advance(Duration::from_secs(30 * 86_400 - 1));
    let answer = renew(&face, &refresh).await;
    assert_eq!(answer.status, 200, "a second before its end");
    face.clock.advance(Duration::from_secs(30 * 86_400));
    assert_eq!(renew(&face, &answer.text("refresh_token")).await.status, 401);
    // However often it is used, a session ends after 90 days.
    let (_, mut refresh, _) = login(&face, "ada@example.org", PASSWORD).await;
    for day in (29..90).step_by(29) {
        face.clock.advance(Duration::from_secs(29 * 86_400));
        let answer = renew(&face, &refresh).await;
        assert_eq!(answer.status, 200, "day {day}");
        refresh = answer.text("refresh_token");
    }
    face.clock.advance(Duration::from_secs(3 * 86_400));
    assert_eq!(renew(&face, &refresh).await.status, 401);
}

pub(crate) async fn s1_21_passwords_are_kept_as_hashes_and_never_answered(place: Place) {
    let face = face(&place).await;
    signin(&face, "ada@example.org").await;
    let (access, _, _) = login(&face, "ada@example.org", PASSWORD).await;
    let stored = place.query("SELECT password FROM identity_users WHERE email = 'ada@example.org'").await;
    assert!(stored[0].starts_with("$argon2id$v=19$m=8,t=1,p=1$"), "{}", stored[0]);
    let answer = face.call("GET /api/auth/me", Some(&access), Value::Null).await;
    assert_eq!(answer.status, 200);
    assert!(answer.body.get("password").is_none() && !answer.text.contains("argon2"), "{}", answer.text);
}

pub(crate) async fn s1_22_both_tokens_are_bound_to_one_session(place: Place) {
    let face = face(&place).await;
    signin(&face, "ada@example.org").await;
    let (access, refresh, session) = login(&face, "ada@example.org", PASSWORD).await;
    let first = claims(&access);
    assert_eq!(first["sid"], session);
    let answer = renew(&face, &refresh).await;
    assert_eq!(answer.text("session_id"), session);
    let second = claims(&answer.text("access_token"));
    assert_eq!((&second["sid"], &second["sub"]), (&first["sid"], &first["sub"]));
    assert_ne!(second["jti"], first["jti"]);
    assert_eq!(first["exp"].as_i64().unwrap() - first["iat"].as_i64().unwrap(), 900, "short");
    assert_eq!(answer.body["refresh_expires_in"], 30 * 86_400, "long");
}
