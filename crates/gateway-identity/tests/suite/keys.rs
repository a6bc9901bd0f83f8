use crate::common::{ADMIN, ADMIN_PASSWORD, Face, Place, claims, settings, verify};
use gateway_identity::{Clock, Identity, IdentitySettings, KeySettings, Rotation, Secret, SigningAlgorithm};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

async fn token(face: &Face) -> String {
    face.login(ADMIN, ADMIN_PASSWORD).await.0
}

fn kids(jwks: &Value) -> Vec<String> {
    jwks["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
}

pub(crate) async fn tokens_verify_with_the_published_keys(place: Place) {
    let claims =
        BTreeMap::from([("mail".to_owned(), "email".to_owned()), ("city".into(), "profile.city".into())]);
    let settings = IdentitySettings { claims, audience: Some("shop".to_owned()), ..settings(&place) };
    for algorithm in [SigningAlgorithm::ES256, SigningAlgorithm::EdDSA, SigningAlgorithm::RS256] {
        let keys = KeySettings { algorithm, ..settings.keys.clone() };
        let face = Face::open(IdentitySettings { keys, ..settings.clone() }).await;
        // The key of the algorithm before goes on until it is replaced.
        face.identity.rotate_keys(Rotation::Now).await.unwrap();
        let token = token(&face).await;
        let jwks = face.call("GET /.well-known/jwks.json", None, Value::Null).await;
        assert_eq!(jwks.body, *face.identity.jwks());
        let mut broken = token.clone();
        let last = if broken.pop() == Some('A') { 'Q' } else { 'A' };
        broken.push(last);
        assert!(verify(&broken, &jwks.body).is_err() || algorithm != SigningAlgorithm::RS256);
        // The audience is asked for by services.
        let read = crate::common::claims(&token);
        assert_eq!((&read["aud"], &read["mail"]), (&json!("shop"), &json!(ADMIN)));
        assert!(read.get("city").is_none(), "what the account does not have is not claimed");
        assert_eq!(read["roles"], json!(["user", "admin"]));
        let caller = face.identity.authenticate(&token).await.unwrap();
        assert!(caller.is_admin());
        let discovery = face.call("GET /.well-known/openid-configuration", None, Value::Null).await;
        assert_eq!(discovery.body["issuer"], "https://id.example.org");
        assert_eq!(discovery.body["jwks_uri"], "https://id.example.org/.well-known/jwks.json");
    }
}

pub(crate) async fn keys_rotate_with_overlap(place: Place) {
    let face = Face::open(settings(&place)).await;
    let mut changes = face.identity.watch_jwks();
    let old = token(&face).await;
    face.clock.advance(Duration::from_secs(90 * 86_400 - 1));
    face.upkeep.once().await.unwrap();
    assert_eq!(kids(&face.identity.jwks()).len(), 1, "a second before its age");
    assert!(!changes.has_changed().unwrap());
    face.clock.advance(Duration::from_secs(1));
    let last_of_old = token(&face).await;
    face.upkeep.once().await.unwrap();
    assert!(changes.has_changed().unwrap(), "verifiers in this process are told");
    let jwks = changes.borrow_and_update().clone();
    assert_eq!(kids(&jwks).len(), 2);
    let ahead = token(&face).await;
    let kid = |token: &str| jsonwebtoken::decode_header(token).unwrap().kid.unwrap();
    assert_eq!(kid(&ahead), kid(&old), "published, and not used yet");
    face.clock.advance(Duration::from_secs(60));
    let new = token(&face).await;
    assert_ne!(kid(&new), kid(&old));
    for token in [&old, &last_of_old, &ahead, &new] {
        verify(token, &jwks).unwrap();
    }
    assert!(face.identity.authenticate(&last_of_old).await.is_ok(), "still good");
    face.clock.advance(Duration::from_secs(900 + 60 + 30));
    face.upkeep.once().await.unwrap();
    assert_eq!(kids(&face.identity.jwks()).len(), 2, "its last token may just be over");
    face.clock.advance(Duration::from_secs(1));
    face.upkeep.once().await.unwrap();
    assert_eq!(kids(&face.identity.jwks()), [kid(&new)]);
    // By command.
    face.identity.rotate_keys(Rotation::Planned).await.unwrap();
    face.identity.rotate_keys(Rotation::Planned).await.unwrap();
    assert_eq!(kids(&face.identity.jwks()).len(), 2, "one is on its way already");
}

pub(crate) async fn a_compromised_key_ends_all_its_tokens(place: Place) {
    let face = Face::open(settings(&place)).await;
    let (old, refresh, _) = face.login(ADMIN, ADMIN_PASSWORD).await;
    let before = kids(&face.identity.jwks());
    face.identity.rotate_keys(Rotation::Compromised).await.unwrap();
    let after = kids(&face.identity.jwks());
    assert!(after.len() == 1 && after != before);
    assert!(face.identity.authenticate(&old).await.is_err());
    assert_eq!(face.refresh(&refresh).await.status, 200, "sessions go on with new tokens");
}

pub(crate) async fn keys_survive_a_restart_and_are_sealed(place: Place) {
    let clock = Clock::manual();
    let first = Face::open_at(settings(&place), clock.clone()).await;
    let token = token(&first).await;
    let jwks = first.identity.jwks();
    drop(first);
    let again = Face::open_at(settings(&place), clock.clone()).await;
    assert_eq!(*again.identity.jwks(), *jwks);
    assert!(again.identity.authenticate(&token).await.is_ok());
    let private = place.query("SELECT private FROM identity_signing_keys").await;
    assert!(private[0].starts_with("a256gcm."), "sealed");
    for (secret, shown) in [
        (Some("another secret of bytes"), "was encrypted with another `keys.secret`"),
        (None, "there is no `keys.secret`"),
    ] {
        let keys = KeySettings { secret: secret.map(Secret::new), ..KeySettings::default() };
        let opened = Identity::builder(IdentitySettings { keys, ..settings(&place) }).open().await;
        let error = opened.map(drop).unwrap_err().to_string();
        assert!(error.contains(shown), "{error}");
    }
    assert_eq!(claims(&token)["iss"], "https://id.example.org");
}

pub(crate) async fn instances_at_once_make_one_key(place: Place) {
    // The schema first: that SQLite has no lock for.
    drop(Face::open(settings(&place)).await);
    place.query("DELETE FROM identity_signing_keys RETURNING kid").await;
    let clock = Clock::manual();
    let opening: Vec<_> = (0..4)
        .map(|_| {
            let (settings, clock) = (settings(&place), clock.clone());
            tokio::spawn(async move { Identity::builder(settings).clock(clock).open().await.unwrap().0 })
        })
        .collect();
    let mut sets = Vec::new();
    for opened in opening {
        sets.push(opened.await.unwrap().jwks());
    }
    assert_eq!(kids(&sets[0]).len(), 1);
    assert!(sets.iter().all(|set| *set == sets[0]), "{sets:?}");
}

pub(crate) async fn an_instance_learns_of_anothers_key(place: Place) {
    let clock = Clock::manual();
    let (a, b) =
        (Face::open_at(settings(&place), clock.clone()).await, Face::open_at(settings(&place), clock).await);
    let old = kids(&a.identity.jwks());
    a.identity.rotate_keys(Rotation::Now).await.unwrap();
    let token = token(&a).await;
    let kid = jsonwebtoken::decode_header(&token).unwrap().kid.unwrap();
    assert!(!old.contains(&kid), "the later of two keys of the same time signs");
    assert_eq!(kids(&b.identity.jwks()).len(), 1, "not told yet");
    assert!(b.identity.authenticate(&token).await.is_ok(), "an unknown key makes it ask");
    assert_eq!(*b.identity.jwks(), *a.identity.jwks());
    let (_, refresh, session) = a.login(ADMIN, ADMIN_PASSWORD).await;
    let answer = b.refresh(&refresh).await;
    assert_eq!(answer.text("session_id"), session, "sessions are everybody's");
}
