use crate::common::{ADMIN, ADMIN_PASSWORD, Face, PASSWORD, Place, claims, settings};
use gateway_identity::{IdentitySettings, Preset};
use serde_json::{Value, json};
use std::time::Duration;

async fn face(place: &Place) -> Face {
    Face::open(IdentitySettings { preset: Preset::S2, ..settings(place) }).await
}

/// Logs in by the form of OAuth 2; access and refresh token.
async fn tokens(face: &Face, email: &str, password: &str) -> (String, String) {
    let form = format!(
        "grant_type=password&username={}&password={}&scope=",
        email.replace('@', "%40"),
        password.replace(' ', "+")
    );
    let answer = face.form("POST /api/v1/login/access-token", &form).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    (answer.text("access_token"), answer.text("refresh_token"))
}

pub(crate) async fn s2_02_tokens_are_fetched_by_the_oauth2_password_form(place: Place) {
    let face = face(&place).await;
    let (access, refresh) = tokens(&face, ADMIN, ADMIN_PASSWORD).await;
    assert_eq!(claims(&access)["email"], ADMIN);
    assert!(!refresh.is_empty());
    let form = "grant_type=implicit&username=a%40b.c&password=x";
    assert_eq!(face.form("POST /api/v1/login/access-token", form).await.status, 422);
}

pub(crate) async fn s2_03_an_expired_access_token_is_replaced_by_the_refresh_token(place: Place) {
    let face = face(&place).await;
    let (access, refresh) = tokens(&face, ADMIN, ADMIN_PASSWORD).await;
    face.clock.advance(Duration::from_secs(360 * 60));
    let answer = face.call("GET /api/v1/users/me", Some(&access), Value::Null).await;
    assert_eq!((answer.status.as_u16(), &answer.body), (401, &json!({ "detail": "JWT expired" })));
    let form = format!("grant_type=refresh_token&refresh_token={refresh}");
    let answer = face.form("POST /api/v1/login/refresh-token", &form).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let access = answer.text("access_token");
    assert_eq!(face.call("GET /api/v1/users/me", Some(&access), Value::Null).await.status, 200);
    // The token endpoint of OAuth 2 has both grants.
    let form = format!("grant_type=refresh_token&refresh_token={}", answer.text("refresh_token"));
    assert_eq!(face.form("POST /api/v1/login/access-token", &form).await.status, 200);
}

pub(crate) async fn s2_04_users_are_created_read_listed_changed_and_deleted(place: Place) {
    let face = face(&place).await;
    let (root, _) = tokens(&face, ADMIN, ADMIN_PASSWORD).await;
    let root = Some(root.as_str());
    let mut ids = Vec::new();
    for name in ["ada", "eve", "joe"] {
        face.clock.advance(Duration::from_millis(1));
        let body = json!({ "email": format!("{name}@example.org"), "username": name, "password": PASSWORD });
        let answer = face.call("POST /api/v1/users", root, body).await;
        assert_eq!(answer.status, 201, "{}", answer.text);
        ids.push(answer.text("id"));
    }
    let (ada, eve) = (format!("/api/v1/users/{}", ids[0]), format!("/api/v1/users/{}", ids[1]));

    let page = face.call("GET /api/v1/users?limit=2", root, Value::Null).await;
    assert_eq!(page.body["users"].as_array().unwrap().len(), 2);
    let line = format!("GET /api/v1/users?limit=2&after={}", page.text("next"));
    let page = face.call(&line, root, Value::Null).await;
    assert_eq!(page.body["users"][1]["username"], "joe");
    assert!(page.body.get("next").is_none(), "the last page");

    let (token, _) = tokens(&face, "Ada", PASSWORD).await;
    let token = Some(token.as_str());
    let patch = json!({ "profile": { "city": "London", "phone": "1" } });
    assert_eq!(face.call(&format!("PATCH {ada}"), token, patch).await.status, 200);
    let answer = face.call(&format!("PATCH {ada}"), token, json!({ "profile": { "phone": null } })).await;
    assert_eq!(answer.body["profile"], json!({ "city": "London" }));
    let answer = face.call(&format!("PUT {ada}"), token, json!({ "profile": { "zip": "1" } })).await;
    assert_eq!(answer.body["profile"], json!({ "zip": "1" }));
    let answer = face.call(&format!("GET {ada}"), token, Value::Null).await;
    assert_eq!((answer.status.as_u16(), answer.text("username").as_str()), (200, "ada"));

    for (line, body, status) in [
        ("GET /api/v1/users".to_owned(), Value::Null, 403),
        ("POST /api/v1/users".to_owned(), json!({}), 403),
        (format!("GET {eve}"), Value::Null, 403),
        (format!("PATCH {eve}"), json!({ "username": "x" }), 403),
        (format!("DELETE {eve}"), Value::Null, 403),
        (format!("PATCH {ada}"), json!({ "roles": ["admin"] }), 403),
        (format!("PATCH {ada}"), json!({ "disabled": false }), 403),
        (format!("PATCH {ada}"), json!({ "email": "EVE@example.org" }), 409),
        (format!("PATCH {ada}"), json!({ "username": "eve" }), 409),
        (format!("PATCH {ada}"), json!({ "username": "no spaces" }), 422),
    ] {
        assert_eq!(face.call(&line, token, body.clone()).await.status, status, "{line} {body}");
        assert_eq!(face.call(&line, None, body).await.status, 401, "{line}");
    }

    assert_eq!(face.call(&format!("DELETE {ada}"), token, Value::Null).await.status, 204);
    assert_eq!(face.call(&format!("GET {ada}"), token, Value::Null).await.status, 401);
    assert_eq!(face.call(&format!("GET {ada}"), root, Value::Null).await.status, 404);
    assert_eq!(face.call(&format!("DELETE {eve}"), root, Value::Null).await.status, 204);
}

pub(crate) async fn s2_20_answers_carry_the_words_of_s2(place: Place) {
    let face = face(&place).await;
    let body = json!({ "email": "ada@example.org", "password": PASSWORD });
    face.call("POST /api/v1/register", None, body).await;
    let (access, _) = tokens(&face, "ada@example.org", PASSWORD).await;
    let claims = claims(&access);
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 360 * 60);

    let answer = face.call("GET /api/v1/users", Some(&access), Value::Null).await;
    assert_eq!(answer.status, 403);
    assert_eq!(answer.body, json!({ "detail": "You are not allowed to access this scope." }));
    let answer = face.call("GET /api/v1/users", None, Value::Null).await;
    assert_eq!(answer.status, 401);
    assert!(answer.headers["www-authenticate"].to_str().unwrap().starts_with("Bearer"));
}
