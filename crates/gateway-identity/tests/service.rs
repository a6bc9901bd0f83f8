//! The face as a tower service, for bodies and answers of any type.
#![allow(clippy::unwrap_used)]

mod common;

use bytes::Bytes;
use common::{ADMIN, ADMIN_PASSWORD, Face, Place, settings};
use gateway_identity::{
    Caller, FirstAdmin, Identity, IdentityError, IdentityService, IdentitySettings, NewUser, OpenError,
    PathSettings, Registration, Secret,
};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt;
use tower::ServiceExt;

#[tokio::test]
async fn any_body_is_read_and_the_answer_is_made_of_bytes() {
    let place = Place::sqlite();
    let face = Face::open(settings(&place)).await;
    let service = IdentityService::new(&face.identity);
    assert_eq!(service.paths().login, "/auth/login");
    let body = json!({ "email": ADMIN, "password": ADMIN_PASSWORD }).to_string();
    let request = || Request::post("/auth/login").body(Full::new(Bytes::from(body.clone()))).unwrap();
    let response = service.clone().oneshot(request()).await.unwrap();
    assert_eq!(response.status(), 200);
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    let tokens: Value = serde_json::from_slice(&bytes).unwrap();
    assert!(tokens["access_token"].is_string());
    // As the gateway mounts it.
    let answer = service.clone().answer::<_, gateway_core::Body<Full<Bytes>>>(request()).await;
    assert_eq!(answer.status(), StatusCode::OK);
    let refused =
        service.oneshot(Request::get("/auth/me").body(Full::<Bytes>::default()).unwrap()).await.unwrap();
    let problem = refused.extensions().get::<gateway_core::Problem>().unwrap();
    assert_eq!(problem.code().name(), "missing-credentials", "layers further out can show it in their way");
}

#[tokio::test]
async fn paths_are_moved_and_turned_off_by_settings() {
    let place = Place::sqlite();
    let paths = PathSettings {
        login: Some("/enter".to_owned()),
        register: Some(String::new()),
        ..PathSettings::default()
    };
    let face = Face::open(IdentitySettings { paths, ..settings(&place) }).await;
    let body = json!({ "email": ADMIN, "password": ADMIN_PASSWORD });
    assert_eq!(face.call("POST /enter", None, body.clone()).await.status, 200);
    for line in ["POST /auth/login", "POST /auth/register"] {
        assert_eq!(face.call(line, None, body.clone()).await.status, 404, "{line}");
    }
    let document = face.call("GET /openapi.json", None, Value::Null).await;
    assert!(document.body["paths"].get("/enter").is_some());
    assert!(document.body["paths"].get("/auth/register").is_none());
}

#[tokio::test]
async fn only_the_owner_may_read_the_file() {
    let place = Place::sqlite();
    let _face = Face::open(settings(&place)).await;
    let mut seen = 0;
    for file in std::fs::read_dir(std::path::Path::new(&place.database).parent().unwrap()).unwrap() {
        let file = file.unwrap();
        let mode = file.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{:?}", file.path());
        seen += 1;
    }
    assert!(seen >= 2, "the database and its log");
}

#[tokio::test]
async fn closed_registration_is_for_administrators() {
    let place = Place::sqlite();
    let face = Face::open(IdentitySettings { registration: Registration::Closed, ..settings(&place) }).await;
    let body = json!({ "email": "ada@example.org", "password": "correct horse battery" });
    assert_eq!(face.call("POST /auth/register", None, body.clone()).await.status, 403);
    let (root, _, _) = face.login(ADMIN, ADMIN_PASSWORD).await;
    assert_eq!(face.call("POST /users", Some(&root), body).await.status, 201);
    let new = NewUser {
        email: "eve@example.org".to_owned(),
        password: Some(Secret::new("correct horse battery")),
        ..NewUser::default()
    };
    face.identity.create_user(&Caller::operator(), new.clone()).await.unwrap();
    let again = face.identity.create_user(&Caller::operator(), new).await;
    assert_eq!(again, Err(IdentityError::Taken { pointer: "/email" }));
}

#[tokio::test]
async fn settings_that_make_no_sense_are_named() {
    let place = Place::sqlite();
    let weak = FirstAdmin { email: ADMIN.to_owned(), password: Secret::new("short") };
    let settings = IdentitySettings { first_admin: Some(weak), ..settings(&place) };
    let error = Identity::builder(settings.clone()).open().await.map(drop).unwrap_err();
    assert!(matches!(error, OpenError::FirstAdmin(_)), "{error}");
    assert_eq!(error.to_string(), "`first_admin` cannot be made: /password must have at least 8 characters");
    let settings = IdentitySettings { issuer: String::new(), ..settings };
    let error = Identity::builder(settings).open().await.map(drop).unwrap_err();
    assert_eq!(error.to_string(), "`issuer` is empty; expected a URL or a name");
}
