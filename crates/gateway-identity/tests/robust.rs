//! What happens while the database is away, and under a flood of logins.
#![allow(clippy::unwrap_used)]

mod common;

use common::{ADMIN, ADMIN_PASSWORD, Face, Place, settings};
use gateway_core::units::{ByteSize, Timespan};
use gateway_identity::{Clock, Identity, IdentityError, IdentitySettings, Origin, PasswordSettings, Secret};
use gateway_testkit::PostgresServer;
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::timeout;

/// Longer than any request may wait, on a machine that has other things to do.
const DEADLINE: Duration = Duration::from_secs(10);

async fn renewed(face: &Face, refresh: &str) -> common::Answer {
    timeout(DEADLINE, face.refresh(refresh)).await.expect("an answer within the deadline")
}

/// Asks until the database is back.
async fn until_renewed(face: &Face, refresh: &str) -> String {
    for _ in 0..60 {
        let answer = renewed(face, refresh).await;
        if answer.status == 200 {
            return answer.text("refresh_token");
        }
        assert_eq!(answer.status, 503, "{}", answer.text);
    }
    panic!("the database is not found again");
}

#[tokio::test]
async fn a_database_that_is_away_is_a_503_in_time_and_is_found_again() {
    let mut server = PostgresServer::start();
    let place = Place::postgres(&server.url(), "away").await;
    let database_timeout = Timespan::secs(1);
    let face = Face::open(IdentitySettings { database_timeout, ..settings(&place) }).await;
    let (access, refresh, _) = face.login(ADMIN, ADMIN_PASSWORD).await;
    assert!(!face.identity.is_away());

    server.kill();
    for _ in 0..3 {
        let answer = renewed(&face, &refresh).await;
        assert_eq!((answer.status.as_u16(), &answer.body["code"]), (503, &json!("store-unavailable")));
        assert_eq!(answer.headers["retry-after"], "1");
        assert!(!answer.text.contains("127.0.0.1"), "{}", answer.text);
    }
    let me = timeout(DEADLINE, face.call("GET /auth/me", Some(&access), json!(null))).await.unwrap();
    assert_eq!(me.status, 503);
    assert!(face.upkeep.once().await.is_err());
    assert!(face.identity.is_away());
    assert_eq!(face.call("GET /.well-known/jwks.json", None, json!(null)).await.status, 200, "from memory");
    server.restart();
    let refresh = until_renewed(&face, &refresh).await;
    assert!(!face.identity.is_away());

    server.stall();
    assert_eq!(renewed(&face, &refresh).await.status, 503);
    server.resume();
    until_renewed(&face, &refresh).await;
}

/// SQLite rolls a transaction back by itself when the disk is full, and only the statement when something else is wrong.
#[tokio::test]
async fn what_sqlite_rolled_back_by_itself_keeps_nobody_from_writing() {
    let place = Place::sqlite();
    let face = Face::open(IdentitySettings { database_connections: 1, ..settings(&place) }).await;
    let credentials = json!({ "email": ADMIN, "password": ADMIN_PASSWORD });
    for end in ["ROLLBACK", "ABORT"] {
        let trigger = format!(
            "CREATE TRIGGER fails BEFORE INSERT ON identity_sessions BEGIN SELECT RAISE({end}, 'full'); END"
        );
        place.query(&trigger).await;
        for _ in 0..2 {
            let answer = timeout(DEADLINE, face.call("POST /auth/login", None, credentials.clone()));
            assert!(answer.await.expect("an answer within the deadline").status.is_server_error());
        }
        place.query("DROP TRIGGER fails").await;
    }
    face.login(ADMIN, ADMIN_PASSWORD).await;
}

#[tokio::test]
async fn a_database_that_cannot_be_opened_is_told_without_its_password() {
    for (database, why) in [
        (
            "postgres://ada:hunter2@127.0.0.1:1/none",
            "postgres://127.0.0.1:1/none: no connection within 200ms: ",
        ),
        ("postgres://ada:hunter2@127.0.0.1:1/none", "Connection refused"),
        ("postgres://ada:hunter2@[::/none", "no URL"),
        ("/nowhere/at/all.db", "/nowhere/at/all.db"),
    ] {
        let settings = IdentitySettings {
            database: Secret::new(database),
            database_timeout: Timespan::millis(200),
            ..IdentitySettings::default()
        };
        let error = Identity::builder(settings).open().await.map(drop).unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(shown.contains("the database of accounts cannot be opened"), "{shown}");
        assert!(shown.contains(why), "{shown}");
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}

/// One worker: whatever computes on it stops everything else.
#[tokio::test]
async fn a_flood_of_logins_leaves_the_workers_alone() {
    const LOGINS: u64 = 200;
    let place = Place::sqlite();
    let password = PasswordSettings {
        memory: ByteSize::kib(256),
        max_parallel: Some(1),
        max_queued: 200,
        ..settings(&place).password
    };
    let settings = IdentitySettings { password, database_timeout: Timespan::secs(30), ..settings(&place) };
    let (identity, _upkeep) = Identity::builder(settings).clock(Clock::manual()).open().await.unwrap();
    let before = identity.hashes_computed();
    let over = Arc::new(AtomicBool::new(false));
    let turns = Arc::new(AtomicU64::new(0));
    let other = tokio::spawn({
        let (identity, over, turns) = (identity.clone(), over.clone(), turns.clone());
        async move {
            // How many turns it had in the time of each hash.
            let mut turns_at_hash = vec![0; LOGINS as usize + 1];
            while !over.load(Ordering::Relaxed) {
                turns.fetch_add(1, Ordering::Relaxed);
                turns_at_hash[(identity.hashes_computed() - before) as usize] += 1;
                tokio::task::yield_now().await;
            }
            turns_at_hash
        }
    });
    let logins: Vec<_> = (0..LOGINS)
        .map(|i| {
            let identity = identity.clone();
            tokio::spawn(async move {
                let name = format!("name{i}@example.org");
                identity.login(&name, &Secret::new("wrong password"), &Origin::default()).await
            })
        })
        .collect();
    for login in logins {
        assert_eq!(login.await.unwrap().map(drop), Err(IdentityError::InvalidCredentials));
    }
    over.store(true, Ordering::Relaxed);
    let turns_at_hash = other.await.unwrap();
    assert_eq!(identity.hashes_computed() - before, LOGINS, "one each");
    // On the worker, a hash would leave the other task one turn at most; beside it there are many.
    let many = turns_at_hash.iter().filter(|turns| **turns > 2).count();
    assert!(many as u64 > LOGINS / 2, "{} turns: {turns_at_hash:?}", turns.load(Ordering::Relaxed));
}
