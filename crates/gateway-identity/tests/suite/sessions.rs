use crate::common::{ADMIN, ADMIN_PASSWORD, Face, PASSWORD, Place, settings};
use gateway_core::BoxError;
use gateway_core::units::{ByteSize, Timespan};
use gateway_identity::{
    Clock, Identity, IdentitySettings, Origin, PasswordSettings, RevocationSink, Revoked, Secret,
    ThrottleSettings, router,
};
use serde_json::{Value, json};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::{Duration, Instant};

const ADA: &str = "ada@example.org";

pub(crate) async fn a_replayed_refresh_token_ends_the_whole_family(place: Place) {
    let face = Face::open(settings(&place)).await;
    face.register(ADA).await;
    let (_, first, _) = face.login(ADA, PASSWORD).await;
    let (_, other, _) = face.login(ADA, PASSWORD).await;
    let answer = face.refresh(&first).await;
    let (access, second) = (answer.text("access_token"), answer.text("refresh_token"));
    face.clock.advance(Duration::from_millis(10_001));
    let replay = face.refresh(&first).await;
    assert_eq!(replay.status, 401);
    assert_eq!(replay.body["code"], "revoked-token");
    assert_eq!(face.refresh(&second).await.status, 401, "the rightful one is out too");
    assert_eq!(face.call("GET /auth/me", Some(&access), Value::Null).await.status, 401);
    assert_eq!(face.refresh(&other).await.status, 200, "another session is not concerned");

    // Within the grace, but after its successor was used: it cannot be the client that asked twice.
    let (_, first, _) = face.login(ADA, PASSWORD).await;
    let second = face.refresh(&first).await.text("refresh_token");
    assert_eq!(face.refresh(&second).await.status, 200);
    assert_eq!(face.refresh(&first).await.status, 401);
}

pub(crate) async fn concurrent_renewals_get_the_same_answer(place: Place) {
    let face = Face::open(settings(&place)).await;
    face.register(ADA).await;
    let (_, refresh, _) = face.login(ADA, PASSWORD).await;
    let token = Secret::new(refresh.clone());
    let asking: Vec<_> = (0..16)
        .map(|_| {
            let (identity, token) = (face.identity.clone(), token.clone());
            tokio::spawn(async move { identity.refresh(&token).await.unwrap().refresh_token })
        })
        .collect();
    let mut answers = Vec::new();
    for asked in asking {
        answers.push(asked.await.unwrap());
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]), "one successor for all");
    assert_ne!(answers[0], token);
    let tokens = place.query("SELECT hash FROM identity_refresh_tokens").await;
    assert_eq!(tokens.len(), 2, "the used one and its successor");
    assert!(!tokens.contains(&refresh), "tokens stand by their hash");
    face.clock.advance(Duration::from_secs(10));
    assert_eq!(face.refresh(&refresh).await.status, 200, "at the end of the grace");
    assert_eq!(face.refresh(answers[0].expose()).await.status, 200);
}

pub(crate) async fn own_sessions_are_listed_and_ended(place: Place) {
    let face = Face::open(settings(&place)).await;
    let id = face.register(ADA).await;
    let (_, _, first) = face.login(ADA, PASSWORD).await;
    face.clock.advance(Duration::from_secs(1));
    let (access, refresh, second) = face.login(ADA, PASSWORD).await;
    let list = face.call("GET /auth/sessions", Some(&access), Value::Null).await;
    assert_eq!(list.text("current"), second);
    let ids: Vec<_> = list.body["sessions"].as_array().unwrap().iter().map(|s| s["id"].clone()).collect();
    assert_eq!(ids, [json!(second), json!(first)], "the latest first");
    let shown = &list.body["sessions"][0];
    assert_eq!((&shown["user_agent"], &shown["address"]), (&json!("a test"), &json!("192.0.2.1")));

    let line = format!("DELETE /auth/sessions/{first}");
    assert_eq!(face.call(&line, Some(&access), Value::Null).await.status, 204);
    assert_eq!(face.call(&line, Some(&access), Value::Null).await.status, 204, "well ended");
    let (root, _, _) = face.login(ADMIN, ADMIN_PASSWORD).await;
    let list = face.call(&format!("GET /users/{id}/sessions"), Some(&root), Value::Null).await;
    assert_eq!(list.body["sessions"].as_array().unwrap().len(), 1);
    assert!(list.body.get("current").is_none());
    assert_eq!(face.call("DELETE /auth/sessions", Some(&access), Value::Null).await.status, 204);
    assert_eq!(face.refresh(&refresh).await.status, 401);
    let (access, _, _) = face.login(ADA, PASSWORD).await;
    assert_eq!(face.call("POST /auth/logout", Some(&access), Value::Null).await.status, 204);
    assert_eq!(face.call("POST /auth/logout", Some(&access), Value::Null).await.status, 401);
}

pub(crate) async fn a_session_is_ended_by_its_owner_and_administrators_only(place: Place) {
    let face = Face::open(settings(&place)).await;
    let ada = face.register(ADA).await;
    face.register("eve@example.org").await;
    let (_, refresh, session) = face.login(ADA, PASSWORD).await;
    let (eve, _, _) = face.login("eve@example.org", PASSWORD).await;
    for (line, status) in [
        (format!("DELETE /auth/sessions/{session}"), 404),
        ("DELETE /auth/sessions/no-such-session".to_owned(), 404),
        (format!("POST /auth/logout?id={session}"), 404),
        (format!("POST /auth/revoke?id={session}"), 404),
        (format!("GET /users/{ada}/sessions"), 403),
        (format!("DELETE /users/{ada}/sessions"), 403),
    ] {
        assert_eq!(face.call(&line, Some(&eve), Value::Null).await.status, status, "{line}");
        assert_eq!(face.call(&line, None, Value::Null).await.status, 401, "{line}");
    }
    let answer = face.refresh(&refresh).await;
    assert_eq!(answer.status, 200, "nothing of that ended it");
    let (root, _, _) = face.login(ADMIN, ADMIN_PASSWORD).await;
    let line = format!("DELETE /users/{ada}/sessions");
    assert_eq!(face.call(&line, Some(&root), Value::Null).await.status, 204);
    assert_eq!(face.refresh(&answer.text("refresh_token")).await.status, 401);
}

pub(crate) async fn a_token_is_revoked_by_whoever_has_it(place: Place) {
    let face = Face::open(settings(&place)).await;
    face.register(ADA).await;
    for kind in ["refresh_token", "access_token"] {
        let (access, refresh, _) = face.login(ADA, PASSWORD).await;
        let token = if kind == "refresh_token" { &refresh } else { &access };
        let form = format!("token={token}&token_type_hint={kind}");
        assert_eq!(face.form("POST /auth/revoke", &form).await.status, 200, "{kind}");
        assert_eq!(face.refresh(&refresh).await.status, 401, "{kind}");
    }
    assert_eq!(face.form("POST /auth/revoke", "token=nonsense").await.status, 200, "RFC 7009 §2.2");
    assert_eq!(face.form("POST /auth/revoke", "").await.status, 422);
}

#[derive(Default)]
struct Heard {
    sessions: Mutex<Vec<Revoked>>,
    failing: bool,
}

impl RevocationSink for Heard {
    fn revoked<'a>(
        &'a self,
        revoked: &'a Revoked,
    ) -> Pin<Box<dyn Future<Output = Result<(), BoxError>> + Send + 'a>> {
        Box::pin(async move {
            self.sessions.lock().unwrap().push(revoked.clone());
            if self.failing { Err("nobody listens".into()) } else { Ok(()) }
        })
    }
}

pub(crate) async fn the_sink_hears_of_every_end_and_a_failing_one_changes_nothing(place: Place) {
    for failing in [false, true] {
        let heard = Arc::new(Heard { failing, ..Heard::default() });
        let clock = Clock::manual();
        let builder = Identity::builder(settings(&place)).revocations(heard.clone()).clock(clock.clone());
        let (identity, upkeep) = builder.open().await.unwrap();
        let face = Face { router: router(&identity), identity, upkeep, clock };
        let email = format!("{failing}@example.org");
        let user = face.register(&email).await;
        let (access, _, by_logout) = face.login(&email, PASSWORD).await;
        assert_eq!(face.call("POST /auth/logout", Some(&access), Value::Null).await.status, 204);
        let (_, used, by_replay) = face.login(&email, PASSWORD).await;
        face.refresh(&used).await;
        face.clock.advance(Duration::from_secs(11));
        assert_eq!(face.refresh(&used).await.status, 401);
        let (access, _, by_removal) = face.login(&email, PASSWORD).await;
        assert_eq!(face.call("DELETE /auth/me", Some(&access), Value::Null).await.status, 204);

        let heard = heard.sessions.lock().unwrap().clone();
        let ids: Vec<_> = heard.iter().map(|revoked| revoked.session_id.as_str()).collect();
        assert_eq!(ids, [&by_logout, &by_replay, &by_removal]);
        assert!(heard.iter().all(|revoked| revoked.user_id == user));
        let listed = face.identity.revoked_sessions().await.unwrap();
        let own: Vec<_> = listed.into_iter().filter(|revoked| revoked.user_id == user).collect();
        assert_eq!(own, heard, "who missed it can ask");
        face.clock.advance(Duration::from_secs(900));
        assert_eq!(face.identity.revoked_sessions().await.unwrap(), [], "no token of theirs is good");
    }
}

/// Asks a future so often, and then no more.
async fn polled<F: Future>(times: usize, future: F) -> Option<F::Output> {
    let mut future = Box::pin(future);
    let mut left = times;
    std::future::poll_fn(|cx| match (future.as_mut().poll(cx), left) {
        (Poll::Ready(output), _) => Poll::Ready(Some(output)),
        (Poll::Pending, 0) => Poll::Ready(None),
        (Poll::Pending, _) => {
            left -= 1;
            Poll::Pending
        }
    })
    .await
}

pub(crate) async fn whoever_goes_away_leaves_nothing_half_done(place: Place) {
    let heard = Arc::new(Heard::default());
    let builder = Identity::builder(settings(&place)).revocations(heard.clone()).clock(Clock::manual());
    let (identity, _upkeep) = builder.open().await.unwrap();
    let origin = Origin::default();
    let mut gone = 0;
    for times in 0..30 {
        let tokens = identity.login(ADMIN, &Secret::new(ADMIN_PASSWORD), &origin).await.unwrap();
        let caller = identity.authenticate(tokens.access_token.expose()).await.unwrap();
        let ended = polled(times, identity.end_session(&caller, &tokens.session_id)).await;
        gone += usize::from(ended.is_none());
    }
    assert!(gone > 0, "nobody went away");
    // What stands in the database is told, whenever whoever asked for it went away.
    for _ in 0..1000 {
        let listed = identity.revoked_sessions().await.unwrap().len();
        if listed == heard.sessions.lock().unwrap().len() {
            return;
        }
        tokio::task::yield_now().await;
    }
    let told = heard.sessions.lock().unwrap().len();
    panic!("{told} were told of {:?}", identity.revoked_sessions().await);
}

pub(crate) async fn guessing_slows_down_and_is_forgotten(place: Place) {
    let face = Face::open(settings(&place)).await;
    face.register(ADA).await;
    let wrong = json!({ "email": ADA, "password": "wrong password" });
    let right = json!({ "email": "ADA@example.org", "password": PASSWORD });
    for attempt in 1..=6 {
        let status = face.call("POST /auth/login", None, wrong.clone()).await.status;
        assert_eq!(status, 401, "attempt {attempt}");
    }
    let mut waits = Vec::new();
    for _ in 0..12 {
        let answer = face.call("POST /auth/login", None, right.clone()).await;
        assert_eq!(answer.status, 429, "not even the right one");
        assert_eq!(answer.body["code"], "rate-limited");
        let wait: u64 = answer.headers["retry-after"].to_str().unwrap().parse().unwrap();
        waits.push(wait);
        face.clock.advance(Duration::from_secs(wait));
        assert_eq!(face.call("POST /auth/login", None, wrong.clone()).await.status, 401);
    }
    assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900], "nobody is locked out for good");
    face.clock.advance(Duration::from_secs(900));
    assert_eq!(face.call("POST /auth/login", None, right.clone()).await.status, 200);
    // A success forgets the failures of the account.
    for _ in 0..5 {
        assert_eq!(face.call("POST /auth/login", None, wrong.clone()).await.status, 401);
    }
    face.clock.advance(Duration::from_secs(3600));
    for _ in 0..5 {
        assert_eq!(face.call("POST /auth/login", None, wrong.clone()).await.status, 401, "an hour forgets");
    }
    assert_eq!(face.call("POST /auth/login", None, right).await.status, 200);
}

pub(crate) async fn an_address_that_guesses_many_names_slows_down(place: Place) {
    let throttle = ThrottleSettings { address_attempts: 3, ..ThrottleSettings::default() };
    let face = Face::open(IdentitySettings { throttle, ..settings(&place) }).await;
    face.register(ADA).await;
    for name in 0..4 {
        let body = json!({ "username": format!("name{name}"), "password": "wrong password" });
        assert_eq!(face.call("POST /auth/login", None, body).await.status, 401);
    }
    let body = json!({ "email": ADA, "password": PASSWORD });
    assert_eq!(face.call("POST /auth/login", None, body.clone()).await.status, 429);
    face.clock.advance(Duration::from_secs(1));
    for _ in 0..20 {
        let status = face.call("POST /auth/login", None, body.clone()).await.status;
        assert_eq!(status, 200, "successes do not count");
    }
}

pub(crate) async fn unknown_names_and_wrong_passwords_cost_and_say_the_same(place: Place) {
    let face = Face::open(settings(&place)).await;
    face.register(ADA).await;
    let mut seen = Vec::new();
    for (login, password) in [(ADA, "wrong password"), ("nobody@example.org", PASSWORD), ("nobody", PASSWORD)]
    {
        let before = face.identity.hashes_computed();
        let body = json!({ "username": login, "password": password });
        let answer = face.call("POST /auth/login", None, body).await;
        let hashes = face.identity.hashes_computed() - before;
        seen.push((hashes, answer.status, answer.headers, answer.text));
    }
    assert_eq!(seen[0].0, 1);
    assert!(seen.iter().all(|one| *one == seen[0]), "{seen:?}");
}

pub(crate) async fn an_account_from_before_costs_no_less_than_none(place: Place) {
    let face = Face::open(settings(&place)).await;
    face.register(ADA).await;
    let more = PasswordSettings { memory: ByteSize::kib(16 << 10), ..settings(&place).password };
    let face = Face::open(IdentitySettings { password: more, ..settings(&place) }).await;
    let (mut known, mut unknown) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        for (login, times) in [(ADA, &mut known), ("nobody@example.org", &mut unknown)] {
            let body = json!({ "email": login, "password": "wrong password" });
            let began = Instant::now();
            assert_eq!(face.call("POST /auth/login", None, body).await.status, 401);
            times.push(began.elapsed());
        }
    }
    // A thousandth of the work, if its own parameters were all.
    assert!(*known.iter().min().unwrap() * 10 > *unknown.iter().min().unwrap(), "{known:?} {unknown:?}");
}

pub(crate) async fn guesses_by_address_and_by_name_count_together(place: Place) {
    let throttle = ThrottleSettings { account_attempts: 4, ..ThrottleSettings::default() };
    let face = Face::open(IdentitySettings { throttle, ..settings(&place) }).await;
    let body = json!({ "email": ADA, "username": "ada", "password": PASSWORD });
    assert_eq!(face.call("POST /auth/register", None, body).await.status, 201);
    for login in [ADA, "ada", ADA, "ada", ADA] {
        let body = json!({ "username": login, "password": "wrong password" });
        assert_eq!(face.call("POST /auth/login", None, body).await.status, 401);
    }
    for login in [ADA, "ada"] {
        let body = json!({ "username": login, "password": PASSWORD });
        assert_eq!(face.call("POST /auth/login", None, body).await.status, 429, "{login}");
    }
}

pub(crate) async fn a_login_on_its_way_ends_with_the_password_it_was_made_with(place: Place) {
    // One hash at a time, in the order they were asked for, and each long enough for all to be asked.
    let slow = PasswordSettings {
        memory: ByteSize::kib(8 << 10),
        max_parallel: Some(1),
        max_queued: 100,
        ..settings(&place).password
    };
    let face = Face::open(IdentitySettings { password: slow, ..settings(&place) }).await;
    face.register(ADA).await;
    let (admin, ..) = face.login(ADMIN, ADMIN_PASSWORD).await;
    let id = place.query("SELECT id FROM identity_users WHERE email = 'ada@example.org'").await.remove(0);
    let (line, change) =
        (format!("PATCH /users/{id}"), json!({ "password": "another password", "roles": ["reader"] }));
    let reset = face.call(&line, Some(&admin), change);
    let login = || face.call("POST /auth/login", None, json!({ "email": ADA, "password": PASSWORD }));
    // Before the new password is hashed, the old one is looked up by those that wait behind it.
    let (reset, a, b, c, d) = tokio::join!(reset, login(), login(), login(), login());
    assert_eq!(reset.status, 200, "{}", reset.text);
    for answer in [a, b, c, d] {
        if answer.status == 200 {
            let access = answer.text("access_token");
            assert_eq!(face.call("GET /auth/me", Some(&access), Value::Null).await.status, 401);
            assert_eq!(face.refresh(&answer.text("refresh_token")).await.status, 401);
        } else {
            assert_eq!(answer.body["code"], "invalid-credentials", "{}", answer.text);
        }
    }
    face.login(ADA, "another password").await;
}

pub(crate) async fn names_with_a_nul_are_nobodys(place: Place) {
    let face = Face::open(settings(&place)).await;
    let (admin, ..) = face.login(ADMIN, ADMIN_PASSWORD).await;
    let body = json!({ "email": "a\0@b", "password": PASSWORD });
    assert_eq!(face.call("POST /auth/login", None, body).await.status, 401);
    for path in ["/users?after=%00", "/users/%00"] {
        let answer = face.call(&format!("GET {path}"), Some(&admin), Value::Null).await;
        assert!(answer.status.as_u16() < 500, "{path}: {} {}", answer.status, answer.text);
    }
}

pub(crate) async fn a_login_rehashes_when_the_parameters_grew(place: Place) {
    const HASH: &str = "SELECT password FROM identity_users WHERE email = 'ada@example.org'";
    let face = Face::open(settings(&place)).await;
    face.register(ADA).await;
    let weak = place.query(HASH).await;
    let more = PasswordSettings { iterations: 2, ..settings(&place).password };
    let face = Face::open(IdentitySettings { password: more, ..settings(&place) }).await;
    let wrong = json!({ "email": ADA, "password": "wrong password" });
    assert_eq!(face.call("POST /auth/login", None, wrong).await.status, 401);
    assert_eq!(place.query(HASH).await, weak, "a wrong password changes nothing");
    face.login(ADA, PASSWORD).await;
    let strong = place.query(HASH).await;
    assert!(strong[0].contains("t=2"), "{strong:?}");
    face.login(ADA, PASSWORD).await;
    assert_eq!(place.query(HASH).await, strong, "once");
    // With less it stays as it is.
    let face = Face::open(settings(&place)).await;
    face.login(ADA, PASSWORD).await;
    assert_eq!(place.query(HASH).await, strong);
}

pub(crate) async fn a_new_password_ends_the_other_sessions(place: Place) {
    let face = Face::open(settings(&place)).await;
    let id = face.register(ADA).await;
    let (_, other, _) = face.login(ADA, PASSWORD).await;
    let (access, own, _) = face.login(ADA, PASSWORD).await;
    let new = "another horse battery";
    for (current, new, status) in
        [("wrong password", new, 401), (PASSWORD, "short", 422), (PASSWORD, new, 204)]
    {
        let body = json!({ "current_password": current, "new_password": new });
        assert_eq!(face.call("POST /auth/password", Some(&access), body).await.status, status, "{new}");
    }
    assert_eq!(face.refresh(&other).await.status, 401);
    let own = face.refresh(&own).await;
    assert_eq!(own.status, 200);
    let (root, _, _) = face.login(ADMIN, ADMIN_PASSWORD).await;
    let body = json!({ "password": PASSWORD });
    assert_eq!(face.call(&format!("PATCH /users/{id}"), Some(&root), body).await.status, 200);
    assert_eq!(face.refresh(&own.text("refresh_token")).await.status, 401, "set by an administrator");
    face.login(ADA, PASSWORD).await;
}

pub(crate) async fn a_disabled_account_has_no_way_in(place: Place) {
    let face = Face::open(settings(&place)).await;
    let id = face.register(ADA).await;
    let (access, refresh, _) = face.login(ADA, PASSWORD).await;
    let (root, _, _) = face.login(ADMIN, ADMIN_PASSWORD).await;
    let line = format!("PATCH /users/{id}");
    assert_eq!(face.call(&line, Some(&root), json!({ "disabled": true })).await.status, 200);
    assert_eq!(face.call("GET /auth/me", Some(&access), Value::Null).await.status, 401);
    assert_eq!(face.refresh(&refresh).await.status, 401);
    let body = json!({ "email": ADA, "password": PASSWORD });
    let answer = face.call("POST /auth/login", None, body).await;
    assert_eq!((answer.status.as_u16(), &answer.body["code"]), (401, &json!("invalid-credentials")));
    assert_eq!(face.call(&line, Some(&root), json!({ "disabled": false })).await.status, 200);
    face.login(ADA, PASSWORD).await;
}

pub(crate) async fn mistakes_are_answered_as_documented(place: Place) {
    let face = Face::open(settings(&place)).await;
    let (root, _, _) = face.login(ADMIN, ADMIN_PASSWORD).await;
    let json_type = "application/json";
    for (line, token, kind, body, status, code) in [
        ("POST /auth/register", None, json_type, "{".to_owned(), 400, "bad-request"),
        ("POST /auth/register", None, json_type, "{}".to_owned(), 422, "invalid-request"),
        ("POST /auth/register", None, "text/xml", "<x/>".to_owned(), 415, "unsupported-media-type"),
        ("POST /auth/register", None, json_type, " ".repeat(65_537), 413, "body-too-large"),
        ("GET /auth/login", None, json_type, String::new(), 405, "method-not-allowed"),
        ("GET /nowhere", None, json_type, String::new(), 404, "no-route"),
        ("GET /auth/me", None, json_type, String::new(), 401, "missing-credentials"),
        ("GET /auth/me", Some("a.b.c"), json_type, String::new(), 401, "invalid-token"),
        ("GET /users/nobody", Some(root.as_str()), json_type, String::new(), 404, "not-found"),
        ("GET /users?limit=0", Some(root.as_str()), json_type, String::new(), 422, "invalid-request"),
    ] {
        let answer = face.send(line, token, kind, body).await;
        assert_eq!((answer.status.as_u16(), answer.body["code"].as_str().unwrap()), (status, code), "{line}");
        assert_eq!(answer.headers["content-type"], "application/problem+json", "{line}");
    }
    let body = json!({ "email": "x", "password": "short", "username": "a b", "roles": "admin" });
    let answer = face.call("POST /auth/register", None, body).await;
    assert_eq!(answer.text("detail"), "/roles must be a list of texts");
    let body = json!({ "email": "x", "password": "short", "username": "a b" });
    let detail = face.call("POST /auth/register", None, body).await.text("detail");
    for pointer in ["/email is not", "/username must", "/password must have at least 8"] {
        assert!(detail.contains(pointer), "{detail}");
    }
    let document = face.call("GET /openapi.json", None, Value::Null).await;
    assert!(document.body["openapi"].as_str().unwrap().starts_with("3."));
    let login = &document.body["paths"]["/auth/login"]["post"];
    let content = &login["requestBody"]["content"]["application/json"]["schema"]["$ref"];
    assert_eq!(content, "#/components/schemas/Login");
}

pub(crate) async fn old_rows_are_cleared_away(place: Place) {
    let refresh_token_lifetime = Timespan::secs(3600);
    let face = Face::open(IdentitySettings { refresh_token_lifetime, ..settings(&place) }).await;
    face.register(ADA).await;
    let (access, _, _) = face.login(ADA, PASSWORD).await;
    face.login(ADA, PASSWORD).await;
    face.call("POST /auth/logout", Some(&access), Value::Null).await;
    let count = async |table: &str| place.query(&format!("SELECT CAST(COUNT(*) AS TEXT) FROM {table}")).await;
    face.upkeep.once().await.unwrap();
    assert_eq!(count("identity_sessions").await, ["2"]);
    face.clock.advance(Duration::from_secs(2 * 86_400));
    face.upkeep.once().await.unwrap();
    assert_eq!(count("identity_sessions").await, ["1"], "the ended one is gone");
    assert_eq!(count("identity_refresh_tokens").await, ["0"], "all are over");
    assert_eq!(count("identity_throttles").await, ["0"]);
    face.clock.advance(Duration::from_secs(91 * 86_400));
    face.upkeep.once().await.unwrap();
    assert_eq!(count("identity_sessions").await, ["0"]);
}
