//! Requests for the same answer at the same time.
#![allow(clippy::unwrap_used)]

mod support;

use gateway_cache::CacheSettings;
use gateway_core::units::{ByteSize, Timespan};
use gateway_core::{AuthMethod, CacheResult, Principal};
use http_body_util::BodyExt;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use support::{World, answer, data, later, ok, request, settle, streamed, world};
use tokio::task::JoinHandle;

const FRESH: &[(&str, &str)] = &[("cache-control", "max-age=60")];

fn ask(world: &World, lines: &[(&str, &str)]) -> JoinHandle<support::Got> {
    let (world, request) = (world.clone(), request("GET", "/", lines));
    tokio::spawn(async move { world.send(request).await.unwrap() })
}

#[tokio::test(start_paused = true)]
async fn a_thousand_requests_at_once_make_one_of_the_upstream() {
    let world = world(CacheSettings::default(), |_, _| async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        ok(FRESH, "x".repeat(10_000))
    });
    let all: Vec<_> = (0..1000).map(|_| ask(&world, &[])).collect();
    let mut collapsed = 0;
    for one in all {
        let got = one.await.unwrap();
        assert_eq!((got.status.as_u16(), got.text().len()), (200, 10_000));
        collapsed += usize::from(got.cache() == "fwd=uri-miss; collapsed");
    }
    assert_eq!((world.upstream.calls(), collapsed), (1, 999));
    assert_eq!(world.layer.count(CacheResult::Collapsed), 999);
    assert!(world.get("/").await.is_hit());
}

#[tokio::test(start_paused = true)]
async fn who_waits_is_streamed_the_body_as_it_comes_and_no_one_waits_for_a_slow_reader() {
    let (sender, response) = streamed(FRESH);
    let response = Arc::new(Mutex::new(Some(response)));
    let world = world(CacheSettings::default(), move |_, _| {
        let response = response.clone();
        async move { Ok(response.lock().unwrap().take().unwrap()) }
    });
    let first = world.head(request("GET", "/", &[])).await.unwrap();
    let mut second = world.head(request("GET", "/", &[])).await.unwrap();
    sender.send(data("one ")).unwrap();
    // The first reads nothing at all.
    let frame = second.frame().await.unwrap().unwrap();
    assert_eq!(frame.into_data().unwrap(), "one ");
    sender.send(data("two")).unwrap();
    drop(sender);
    assert_eq!(second.collect().await.unwrap().to_bytes(), "two");
    assert_eq!(first.collect().await.unwrap().to_bytes(), "one two");
    assert_eq!(world.get("/").await.text(), "one two");
    assert_eq!(world.upstream.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_private_reaches_no_one_else() {
    for lines in [
        &[("cache-control", "private, max-age=60")][..],
        &[("cache-control", "no-store")],
        &[("cache-control", "max-age=60"), ("set-cookie", "sid=1")],
        &[("cache-control", "max-age=60"), ("vary", "*")],
        &[("cache-control", "no-cache"), ("etag", "\"a\"")],
        &[],
    ] {
        let lines: Vec<_> = lines.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        let world = world(CacheSettings::default(), move |call, _| {
            let lines = lines.clone();
            async move {
                tokio::time::sleep(Duration::from_secs(1)).await;
                let lines: Vec<_> = lines.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
                ok(&lines, format!("for {call}"))
            }
        });
        let all: Vec<_> = (0..10).map(|_| ask(&world, &[])).collect();
        let mut bodies = std::collections::BTreeSet::new();
        for one in all {
            bodies.insert(one.await.unwrap().text().to_owned());
        }
        assert_eq!((bodies.len(), world.upstream.calls()), (10, 10));
        // Known by now: nobody waits in a row.
        let start = tokio::time::Instant::now();
        let all: Vec<_> = (0..10).map(|_| ask(&world, &[])).collect();
        for one in all {
            one.await.unwrap();
        }
        assert_eq!(start.elapsed(), Duration::from_secs(1));
    }
}

#[tokio::test(start_paused = true)]
async fn callers_who_say_who_they_are_never_share() {
    let world = world(CacheSettings::default(), |call, _| async move {
        tokio::time::sleep(Duration::from_secs(1)).await;
        ok(&[("cache-control", "public, max-age=60")], format!("for {call}"))
    });
    let mut all = Vec::new();
    for who in ["alice", "bob"] {
        for _ in 0..2 {
            let mut asked = request("GET", "/", &[]);
            asked.extensions_mut().insert(Principal::new(who, AuthMethod::ApiKey, serde_json::Map::new()));
            let world = world.clone();
            all.push(tokio::spawn(async move { world.send(asked).await.unwrap() }));
        }
    }
    all.push(ask(&world, &[("authorization", "Basic eDp5")]));
    all.push(ask(&world, &[]));
    let mut bodies = Vec::new();
    for one in all {
        bodies.push(one.await.unwrap().text().to_owned());
    }
    assert_eq!(bodies, ["for 0", "for 0", "for 1", "for 1", "for 2", "for 3"]);
}

#[tokio::test(start_paused = true)]
async fn each_variant_is_fetched_once() {
    let world = world(CacheSettings::default(), |_, asked| async move {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let language = asked.headers["accept-language"].to_str().unwrap().to_owned();
        ok(&[("cache-control", "max-age=60"), ("vary", "accept-language")], language)
    });
    let ask_in = |language: &'static str| ask(&world, &[("accept-language", language)]);
    let all: Vec<_> =
        (0..30).map(|i| (["de", "en", "fr"][i % 3], ask_in(["de", "en", "fr"][i % 3]))).collect();
    for (language, one) in all {
        assert_eq!(one.await.unwrap().text(), language);
    }
    assert_eq!(world.upstream.calls(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_failure_lets_everyone_ask_for_themselves() {
    let world = world(CacheSettings::default(), |call, _| async move {
        tokio::time::sleep(Duration::from_secs(1)).await;
        if call == 0 { Err("it broke".into()) } else { ok(FRESH, "fine") }
    });
    let lead = {
        let world = world.clone();
        tokio::spawn(async move { world.send(request("GET", "/", &[])).await })
    };
    settle().await;
    let others: Vec<_> = (0..5).map(|_| ask(&world, &[])).collect();
    assert_eq!(lead.await.unwrap().unwrap_err(), "it broke");
    for one in others {
        assert_eq!(one.await.unwrap().text(), "fine");
    }
    assert_eq!(world.upstream.calls(), 6);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_breaks_off_breaks_off_for_all_and_is_not_stored() {
    for (length, breaks) in [(false, true), (true, false), (true, true)] {
        let world = world(CacheSettings::default(), move |call, _| async move {
            let lines = if length { [FRESH[0], ("content-length", "100")].to_vec() } else { FRESH.to_vec() };
            let (sender, response) = streamed(&lines);
            sender.send(data(format!("{call} part"))).unwrap();
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_secs(1)).await;
                if breaks {
                    let _ = sender.send(Err(std::io::Error::other("reset")));
                }
            });
            Ok(response)
        });
        let (first, second) = (ask(&world, &[]), ask(&world, &[]));
        let (first, second) = (first.await.unwrap(), second.await.unwrap());
        if breaks {
            assert!(first.body.unwrap_err().contains("reset"));
            assert!(second.body.unwrap_err().contains("reset"));
        } else {
            assert_eq!((first.text(), second.text()), ("0 part", "0 part"));
        }
        assert_eq!(world.upstream.calls(), 1);
        assert!(!world.get("/").await.is_hit());
        assert_eq!(world.store.len(), 0, "length {length}, breaks {breaks}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_waits_too_long_asks_for_itself() {
    let settings = CacheSettings { collapse_timeout: Timespan::secs(2), ..CacheSettings::default() };
    let world = world(settings, |call, _| async move {
        tokio::time::sleep(Duration::from_secs(if call == 0 { 60 } else { 1 })).await;
        ok(FRESH, format!("{call}"))
    });
    let start = tokio::time::Instant::now();
    let (slow, quick) = (ask(&world, &[]), ask(&world, &[]));
    assert_eq!(quick.await.unwrap().text(), "1");
    assert_eq!(start.elapsed(), Duration::from_secs(3));
    assert_eq!(slow.await.unwrap().text(), "0");
}

#[tokio::test(start_paused = true)]
async fn another_takes_the_place_of_a_leader_who_goes_away_before_the_head() {
    let world = world(CacheSettings::default(), |call, _| async move {
        tokio::time::sleep(Duration::from_secs(2)).await;
        ok(FRESH, format!("{call}"))
    });
    let lead = ask(&world, &[]);
    settle().await;
    let others: Vec<_> = (0..10).map(|_| ask(&world, &[])).collect();
    settle().await;
    lead.abort();
    for one in others {
        assert_eq!(one.await.unwrap().text(), "1");
    }
    assert_eq!(world.upstream.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_body_goes_on_for_those_who_wait_when_the_leader_goes_away() {
    let (sender, response) = streamed(FRESH);
    let response = Arc::new(Mutex::new(Some(response)));
    let world = world(CacheSettings::default(), move |_, _| {
        let response = response.clone();
        async move { Ok(response.lock().unwrap().take().unwrap()) }
    });
    let first = world.head(request("GET", "/", &[])).await.unwrap();
    let second = ask(&world, &[]);
    sender.send(data("one ")).unwrap();
    settle().await;
    drop(first);
    sender.send(data("two")).unwrap();
    drop(sender);
    assert_eq!(second.await.unwrap().text(), "one two");
    assert!(world.get("/").await.is_hit());
}

#[tokio::test(start_paused = true)]
async fn what_nobody_reads_is_stored_if_it_has_come_and_given_up_if_not() {
    let (sender, response) = streamed(FRESH);
    let response = Arc::new(Mutex::new(vec![response]));
    let world = world(CacheSettings::default(), move |_, _| {
        let response = response.clone();
        async move { Ok(response.lock().unwrap().pop().unwrap_or_else(|| answer(200, FRESH, "all of it"))) }
    });
    let first = world.head(request("GET", "/", &[])).await.unwrap();
    sender.send(data("one ")).unwrap();
    drop(first);
    assert!(sender.is_closed(), "the upstream is told that nobody reads");
    assert_eq!(world.store.len(), 0);
    drop(world.head(request("GET", "/", &[])).await.unwrap());
    assert_eq!(world.get("/").await.text(), "all of it");
    assert_eq!(world.upstream.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_turns_out_too_large_reaches_all_but_is_not_stored_nor_held() {
    let settings = CacheSettings { max_entry: ByteSize(100), ..CacheSettings::default() };
    let (sender, response) = streamed(FRESH);
    let response = Arc::new(Mutex::new(Some(response)));
    let world = world(settings, move |_, _| {
        let response = response.lock().unwrap().take();
        async move { response.map_or_else(|| ok(FRESH, "other"), Ok) }
    });
    let mut first = world.head(request("GET", "/", &[])).await.unwrap();
    let mut second = world.head(request("GET", "/", &[])).await.unwrap();
    for i in 0..100 {
        sender.send(data(format!("{i:50}"))).unwrap();
        for reader in [&mut first, &mut second] {
            let frame = reader.frame().await.unwrap().unwrap();
            assert_eq!(frame.into_data().unwrap(), format!("{i:50}"));
        }
    }
    // The second stops; the first goes on.
    for i in 0..100 {
        sender.send(data(format!("{i:50}"))).unwrap();
        assert!(first.frame().await.unwrap().is_ok());
    }
    let error = second.frame().await.unwrap().unwrap_err();
    assert!(error.to_string().contains("so slow"), "{error}");
    drop(sender);
    assert!(first.frame().await.is_none());
    assert_eq!(world.store.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_long_for_a_leader_that_reads_nothing() {
    let settings = CacheSettings { max_entry: ByteSize(100), ..CacheSettings::default() };
    for reads in [false, true] {
        let (sender, response) = streamed(FRESH);
        let response = Arc::new(Mutex::new(Some(response)));
        let world = world(settings.clone(), move |_, _| {
            let response = response.lock().unwrap().take();
            async move { response.map_or_else(|| ok(FRESH, "other"), Ok) }
        });
        let mut first = world.head(request("GET", "/", &[])).await.unwrap();
        let second = world.head(request("GET", "/", &[])).await.unwrap();
        let third = world.head(request("GET", "/", &[])).await.unwrap();
        tokio::spawn(async move {
            for i in 0..20 {
                tokio::time::sleep(Duration::from_millis(10)).await;
                sender.send(data(format!("{i:50}"))).unwrap();
            }
        });
        let start = tokio::time::Instant::now();
        let (second, third) = (tokio::spawn(second.collect()), tokio::spawn(third.collect()));
        let mut read = 0;
        while reads && read < 20 {
            // Slow, but it does read on: the others wait for it.
            tokio::time::sleep(Duration::from_millis(900)).await;
            let frame = first.frame().await.unwrap().unwrap();
            assert_eq!(frame.into_data().unwrap(), format!("{read:50}"));
            read += 1;
        }
        for one in [second, third] {
            let all = tokio::time::timeout(Duration::from_secs(60), one).await.expect("it goes on");
            let all = all.unwrap().unwrap().to_bytes();
            assert_eq!(all.len(), 20 * 50, "reads: {reads}");
        }
        if reads {
            assert!(first.frame().await.is_none());
        } else {
            let took = start.elapsed();
            assert!((Duration::from_secs(1)..Duration::from_millis(1200)).contains(&took), "{took:?}");
            let error = first.frame().await.unwrap().unwrap_err();
            assert!(error.to_string().contains("so slow"), "{error}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn who_asks_after_a_purge_gets_what_is_fetched_after_it() {
    let world = world(CacheSettings::default(), |call, _| async move {
        tokio::time::sleep(Duration::from_secs(1)).await;
        ok(FRESH, format!("{call}"))
    });
    let before = ask(&world, &[]);
    settle().await;
    world.store.purge(&gateway_cache::Purge::Prefix("http://host/".into()), gateway_cache::PurgeMode::Remove);
    let after = ask(&world, &[]);
    assert_eq!((before.await.unwrap().text(), after.await.unwrap().text()), ("0", "1"));
    assert_eq!(world.get("/").await.text(), "1", "what was asked for before is not stored");
}

#[tokio::test(start_paused = true)]
async fn revalidations_are_collapsed_too() {
    let world = world(CacheSettings::default(), |call, asked| async move {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let lines = [("cache-control", "max-age=10"), ("etag", "\"a\"")];
        if call == 0 {
            return ok(&lines, "body");
        }
        assert_eq!(asked.headers["if-none-match"], "\"a\"");
        Ok(answer(304, &lines, ""))
    });
    world.get("/").await;
    later(20).await;
    let all: Vec<_> = (0..10).map(|_| ask(&world, &[])).collect();
    for one in all {
        assert_eq!(one.await.unwrap().text(), "body");
    }
    assert_eq!(world.upstream.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn s1_11_events_and_calls_pass_at_once_and_are_not_held() {
    let (sender, response) = streamed(&[FRESH[0], ("content-type", "text/event-stream")]);
    let response = Arc::new(Mutex::new(Some(response)));
    let world = world(CacheSettings::default(), move |_, _| {
        let response = response.clone();
        async move { Ok(response.lock().unwrap().take().unwrap()) }
    });
    let mut events = world.head(request("GET", "/", &[])).await.unwrap();
    sender.send(data("data: 1\n\n")).unwrap();
    assert_eq!(events.frame().await.unwrap().unwrap().into_data().unwrap(), "data: 1\n\n");
    drop(sender);
    assert!(events.frame().await.is_none());
    assert_eq!(world.store.len(), 0);
}
