//! What a `POST` answers, kept for `GET` (RFC 9110 §9.3.3).
#![allow(clippy::unwrap_used)]

mod support;

use gateway_cache::{CacheMethod, CacheSettings, Purge, PurgeMode};
use support::{World, answer, ok, streamed, world};

const FRESH: (&str, &str) = ("cache-control", "max-age=60");
const HERE: (&str, &str) = ("content-location", "/x?a=1");

fn with_post() -> CacheSettings {
    let methods = vec![CacheMethod::Get, CacheMethod::Head, CacheMethod::Post];
    CacheSettings { methods, ..CacheSettings::default() }
}

fn answering(settings: CacheSettings, status: u16, lines: &'static [(&'static str, &'static str)]) -> World {
    world(
        settings,
        move |call, head| async move { Ok(answer(status, lines, format!("{} {call}", head.method))) },
    )
}

#[tokio::test]
async fn rfc_9110_9_3_3_a_post_leaves_its_answer_for_get_if_it_says_so() {
    let world = answering(with_post(), 200, &[FRESH, HERE]);
    world.get("/x?a=1").await;
    let posted = world.ask("POST", "/x?a=1", &[("content-length", "3")]).await;
    assert_eq!((posted.text(), posted.cache()), ("POST 1", "fwd=method; stored"));
    let got = world.get("/x?a=1").await;
    assert_eq!((got.text(), got.cache()), ("POST 1", "hit; ttl=60"));
    assert!(world.ask("HEAD", "/x?a=1", &[]).await.is_hit());
    let again = world.ask("POST", "/x?a=1", &[]).await;
    assert_eq!(again.text(), "POST 2", "no POST is ever answered from the cache");
    assert_eq!(world.get("/x?a=1").await.text(), "POST 2");
}

#[tokio::test]
async fn an_answer_to_a_post_that_does_not_say_all_of_it_is_not_kept() {
    let by_ttl = CacheSettings { ttl: Some("1m".parse().unwrap()), ..with_post() };
    for (settings, status, lines) in [
        (CacheSettings::default(), 200, &[FRESH, HERE][..]),
        (with_post(), 200, &[FRESH]),
        (with_post(), 200, &[FRESH, ("content-location", "/x?a=2")]),
        (with_post(), 200, &[FRESH, ("content-location", "/x")]),
        (with_post(), 200, &[FRESH, ("content-location", "http://other/x?a=1")]),
        (with_post(), 200, &[FRESH, HERE, HERE]),
        (with_post(), 201, &[FRESH, HERE]),
        (with_post(), 404, &[FRESH, HERE]),
        (by_ttl.clone(), 200, &[HERE]),
        (by_ttl, 200, &[HERE, ("etag", "\"1\"")]),
        (with_post(), 200, &[HERE, ("cache-control", "no-store, max-age=60")]),
        (with_post(), 200, &[HERE, ("cache-control", "private, max-age=60")]),
        (with_post(), 200, &[FRESH, HERE, ("set-cookie", "a=b")]),
        (with_post(), 200, &[FRESH, HERE, ("vary", "*")]),
    ] {
        let world = answering(settings, status, lines);
        let posted = world.ask("POST", "/x?a=1", &[]).await;
        assert_eq!(posted.cache(), "fwd=method", "{status} {lines:?}");
        let got = world.get("/x?a=1").await;
        assert_eq!(got.text(), "GET 1", "{status} {lines:?}");
    }
}

#[tokio::test]
async fn who_asked_and_what_the_answer_varies_by_count_as_ever() {
    let world = answering(with_post(), 200, &[FRESH, HERE, ("vary", "accept")]);
    world.ask("POST", "/x?a=1", &[("accept", "text/plain"), ("authorization", "a")]).await;
    assert_eq!(world.get("/x?a=1").await.text(), "GET 1", "of somebody else");
    world.ask("POST", "/x?a=1", &[("accept", "text/plain")]).await;
    assert_eq!(world.ask("GET", "/x?a=1", &[("accept", "text/html")]).await.text(), "GET 3");
    assert!(world.ask("GET", "/x?a=1", &[("accept", "text/html")]).await.is_hit());
    assert_eq!(world.ask("GET", "/x?a=1", &[("accept", "text/plain")]).await.text(), "POST 2");
}

#[tokio::test]
async fn a_purge_while_the_post_is_under_way_keeps_its_answer_out() {
    let (sender, waiting) = tokio::sync::oneshot::channel::<()>();
    let waiting = std::sync::Arc::new(std::sync::Mutex::new(Some(waiting)));
    let world = world(with_post(), move |call, _| {
        let waiting = waiting.lock().unwrap().take();
        async move {
            if let Some(waiting) = waiting {
                waiting.await.unwrap();
            }
            ok(&[FRESH, HERE], call.to_string())
        }
    });
    let posting = tokio::spawn({
        let world = world.clone();
        async move { world.ask("POST", "/x?a=1", &[]).await }
    });
    while world.upstream.calls() == 0 {
        tokio::task::yield_now().await;
    }
    world.store.purge(&Purge::Url("http://host/x?a=1".into()), PurgeMode::Remove);
    sender.send(()).unwrap();
    assert_eq!(posting.await.unwrap().text(), "0");
    assert_eq!(world.get("/x?a=1").await.text(), "1");
}

#[tokio::test]
async fn an_answer_to_a_post_that_breaks_off_is_not_kept() {
    let (sender, broken) = streamed(&[FRESH, HERE]);
    let broken = std::sync::Arc::new(std::sync::Mutex::new(Some(broken)));
    let world = world(with_post(), move |_, _| {
        let broken = broken.lock().unwrap().take();
        async move { broken.map_or_else(|| ok(&[FRESH], "whole"), Ok) }
    });
    sender.send(Ok(http_body::Frame::data("ha".into()))).unwrap();
    sender.send(Err(std::io::Error::other("gone"))).unwrap();
    assert!(world.ask("POST", "/x?a=1", &[]).await.body.is_err());
    assert_eq!(world.get("/x?a=1").await.text(), "whole");
}
