//! What of a query counts, learned from answers (`No-Vary-Search`).
#![allow(clippy::unwrap_used)]

mod support;

use gateway_cache::{CacheSettings, CacheStore, Purge, PurgeMode};
use gateway_core::units::ByteSize;
use proptest::prelude::*;
use std::sync::{Arc, Mutex};
use support::{World, answer, ok, request, streamed, world, world_on};

const RULE: (&str, &str) = ("no-vary-search", "key-order, params=(\"utm\")");
const FRESH: (&str, &str) = ("cache-control", "max-age=60");

fn learning() -> CacheSettings {
    let mut settings = CacheSettings::default();
    settings.key.learn_no_vary_search = true;
    settings
}

/// An upstream that says this rule, and its own query in the body.
fn saying(rule: &'static str) -> World {
    world(learning(), move |_, head| async move {
        ok(&[FRESH, ("no-vary-search", rule)], head.uri.query().unwrap_or("-").to_owned())
    })
}

#[tokio::test]
async fn an_answer_says_which_queries_of_its_path_are_the_same() {
    let world = saying("key-order, params=(\"utm\")");
    assert!(!world.get("/s?b=1&a=2&utm=x").await.is_hit());
    for uri in ["/s?b=1&a=2&utm=x", "/s?a=2&b=1", "/s?utm=y&b=%31&a=2"] {
        let got = world.get(uri).await;
        assert!(got.is_hit(), "{uri}: {}", got.cache());
        assert_eq!(got.text(), "b=1&a=2&utm=x");
    }
    for uri in ["/s?a=2&b=2", "/s?a=2", "/s", "/other?a=2&b=1"] {
        assert!(!world.get(uri).await.is_hit(), "{uri}");
    }
}

#[tokio::test]
async fn without_the_setting_the_header_is_the_clients() {
    let world = world(CacheSettings::default(), |_, _| async { ok(&[FRESH, RULE], "a") });
    world.get("/s?a=1").await;
    assert!(!world.get("/s?a=1&utm=x").await.is_hit());
    assert_eq!(world.get("/s?a=1").await.header("no-vary-search"), RULE.1);
}

#[tokio::test]
async fn a_rule_is_gone_once_an_answer_no_longer_says_it() {
    let world = world(learning(), |call, head| async move {
        let rule = ["params=(\"utm\")", "params=(\"b\")", ""][call.min(2)];
        ok(&[FRESH, ("no-vary-search", rule)], format!("{call} {}", head.uri.query().unwrap_or("-")))
    });
    assert_eq!(world.get("/s?a=1&utm=x").await.text(), "0 a=1&utm=x");
    assert_eq!(world.get("/s?a=1").await.text(), "0 a=1&utm=x");
    // A miss by the first rule, whose answer says another one.
    assert_eq!(world.get("/s?a=2&b=1").await.text(), "1 a=2&b=1");
    assert_eq!(world.get("/s?a=2&b=2").await.text(), "1 a=2&b=1");
    assert_eq!(world.get("/s?a=3").await.text(), "2 a=3");
    assert_eq!(world.get("/s?a=3&b=1").await.text(), "3 a=3&b=1", "all counts again");
}

#[tokio::test(start_paused = true)]
async fn a_purge_of_any_query_takes_all_that_is_stored_by_a_rule_for_its_path() {
    for what in [
        Purge::Url("http://host/s?utm=z&a=1".into()),
        Purge::Url("http://host/s".into()),
        Purge::Prefix("http://host/s?".into()),
        Purge::Prefix("http://host/".into()),
    ] {
        let world = saying("params=(\"utm\")");
        world.get("/s?a=1&utm=x").await;
        assert!(world.get("/s?a=1").await.is_hit());
        assert_eq!(world.store.purge(&what, PurgeMode::Remove), 1, "{what:?}");
        assert!(!world.get("/s?a=1").await.is_hit(), "{what:?}");
    }
    // And so does what changes something.
    let world = saying("params=(\"utm\")");
    world.get("/s?a=1&utm=x").await;
    assert_eq!(world.ask("POST", "/s?a=1&utm=y", &[]).await.status, 200);
    assert!(!world.get("/s?a=1").await.is_hit());
}

#[tokio::test]
async fn what_was_stored_before_a_rule_and_purged_by_its_url_does_not_come_back_after_it() {
    let world = world(learning(), |call, _| async move {
        ok(&[FRESH, ("no-vary-search", if call == 1 { "params" } else { "" })], call.to_string())
    });
    assert_eq!(world.get("/s?a=1").await.text(), "0");
    assert_eq!(world.get("/s?a=2").await.text(), "1", "from now on no query counts");
    world.store.purge(&Purge::Url("http://host/s?a=1".into()), PurgeMode::Remove);
    assert_eq!(world.get("/s?b").await.text(), "2", "and again all do");
    assert_eq!(world.get("/s?a=1").await.text(), "3");
}

#[tokio::test(start_paused = true)]
async fn a_304_that_says_another_rule_is_not_used_for_queries_that_it_tells_apart() {
    let world = world(learning(), |call, head| async move {
        let tag = ("etag", "\"1\"");
        match call {
            0 => ok(&[("cache-control", "no-cache"), tag, ("no-vary-search", "params")], "first"),
            1 => {
                assert_eq!(head.headers["if-none-match"], "\"1\"");
                Ok(answer(304, &[FRESH, tag, ("no-vary-search", "params=(\"utm\")")], ""))
            }
            _ => ok(&[FRESH, ("no-vary-search", "params=(\"utm\")")], "second"),
        }
    });
    world.get("/s?a=1").await;
    assert_eq!(world.get("/s?a=2").await.text(), "first", "the upstream said that it still is right");
    assert_eq!(world.get("/s?a=2").await.text(), "second");
    assert!(world.get("/s?a=2&utm=x").await.is_hit());
    assert!(!world.get("/s?a=3").await.is_hit());
}

#[tokio::test(start_paused = true)]
async fn who_waited_by_an_old_rule_is_not_given_what_the_new_one_tells_apart() {
    let (sender, later) = streamed(&[FRESH]);
    let later = Arc::new(Mutex::new(Some(later)));
    let world = world(learning(), move |call, head| {
        let later = later.clone();
        async move {
            match call {
                0 => ok(&[("cache-control", "max-age=1"), ("no-vary-search", "params")], "old"),
                1 => {
                    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
                    Ok(later.lock().unwrap().take().unwrap())
                }
                _ => ok(&[FRESH], head.uri.query().unwrap_or_default().to_owned()),
            }
        }
    });
    world.get("/s?a=1").await;
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    sender.send(Ok(http_body::Frame::data("a=2".into()))).unwrap();
    drop(sender);
    let (first, second) = tokio::join!(world.get("/s?a=2"), world.get("/s?a=3"));
    assert_eq!((first.text(), second.text()), ("a=2", "a=3"));
}

#[tokio::test]
async fn instances_share_what_is_stored_by_a_rule_once_both_know_it() {
    let store = CacheStore::new(ByteSize::kib(1 << 20));
    let one = |store: &CacheStore| {
        world_on(store.clone(), "n", learning(), |_, head| async move {
            ok(&[FRESH, RULE], head.uri.query().unwrap_or("-").to_owned())
        })
    };
    let (first, second) = (one(&store), one(&store));
    first.get("/s?a=1&utm=x").await;
    assert!(!second.get("/s?a=1&utm=y").await.is_hit(), "it has not learned it yet");
    assert!(second.get("/s?utm=z&a=1").await.is_hit());
    assert!(first.get("/s?a=1").await.is_hit());
}

#[test]
fn two_ways_to_say_what_counts_are_a_mistake() {
    let mut settings = learning();
    settings.key.sort_query = true;
    let error = gateway_cache::CacheLayer::new("n", &settings, &CacheStore::new(ByteSize::kib(1 << 10)));
    assert_eq!(error.unwrap_err(), gateway_cache::CacheError::LearnBesides);
}

const RULES: [&str; 6] =
    ["", "params", "params=(\"a\")", "params, except=(\"a\")", "key-order", "key-order, params=(\"b\")"];

/// What of a query counts by a rule: the draft's comparison, plainly.
fn meant(rule: &str, query: &str) -> Vec<String> {
    let mut pairs: Vec<String> =
        query.split('&').filter(|pair| !pair.is_empty()).map(str::to_owned).collect();
    pairs.retain(|pair| match rule {
        "params" => false,
        "params=(\"a\")" => !pair.starts_with('a'),
        "params, except=(\"a\")" => pair.starts_with('a'),
        "key-order, params=(\"b\")" => !pair.starts_with('b'),
        _ => true,
    });
    if rule.starts_with("key-order") {
        pairs.sort_by_key(|pair| pair[..1].to_owned());
    }
    pairs
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn nobody_is_answered_what_the_rule_of_that_very_answer_tells_apart(
        steps in prop::collection::vec((0..RULES.len(), "([ab]=[12](&[ab]=[12]){0,2})?", prop::bool::weighted(0.1)), 1..24),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let rules: Vec<usize> = steps.iter().map(|(rule, ..)| *rule).collect();
            let asked = Arc::new(Mutex::new(0));
            let now = asked.clone();
            let world = world(learning(), move |_, head| {
                let rule = RULES[rules[*now.lock().unwrap()]];
                async move {
                    let body = format!("{rule}|{}", head.uri.query().unwrap_or_default());
                    ok(&[FRESH, ("no-vary-search", rule)], body)
                }
            });
            for (step, (_, query, purges)) in steps.iter().enumerate() {
                *asked.lock().unwrap() = step;
                let uri = if query.is_empty() { "/s".to_owned() } else { format!("/s?{query}") };
                if *purges {
                    world.store.purge(&Purge::Url(format!("http://host{uri}")), PurgeMode::Remove);
                }
                let got = world.send(request("GET", &uri, &[])).await.unwrap();
                prop_assert!(!(*purges && got.is_hit()), "{} came back after a purge", uri);
                let (rule, of) = got.text().split_once('|').unwrap();
                prop_assert_eq!(meant(rule, of), meant(rule, query), "{} was answered with {} by {}", uri, of, rule);
            }
            Ok(())
        })?;
    }
}
