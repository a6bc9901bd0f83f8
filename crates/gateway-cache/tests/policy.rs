//! What the operator says: settings, isolation, bypass, purges.
#![allow(clippy::unwrap_used)]

mod support;

use gateway_cache::{
    BypassSettings, CacheError, CacheLayer, CacheMethod, CacheSettings, CacheStore, Isolation, Mode, Purge,
    PurgeMode, PurgeSettings,
};
use gateway_core::units::{ByteSize, Short, Timespan};
use gateway_core::{AuthMethod, CacheResult, ClientAddr, Code, Principal, Problem};
use std::time::Duration;
use support::{World, answer, later, ok, request, world, world_on};

fn plain(settings: CacheSettings) -> World {
    world(settings, |call, _| async move { ok(&[], format!("{call}")) })
}

fn says(settings: CacheSettings, value: &'static str) -> World {
    world(settings, move |call, _| async move { ok(&[("cache-control", value)], format!("{call}")) })
}

#[test]
fn short_forms_and_tables_are_read_and_mistakes_named() {
    let read = |text: &str| {
        let found: Result<Short<CacheSettings>, _> = serde_json::from_str(text);
        found.map(|short| short.0).map_err(|error| error.to_string())
    };
    assert_eq!(read("\"30s\""), Ok(CacheSettings::ttl(Timespan::secs(30))));
    assert_eq!(read("true"), Ok(CacheSettings::default()));
    let table = read(
        r#"{"ttl": "1m", "override": true, "negative": {"404": "10s"}, "key": {"ignore_query": ["utm_*"]},
            "methods": ["GET"], "isolation": "shared", "purge": {"networks": ["10.0.0.0/8"]}, "mode": "report"}"#,
    )
    .unwrap();
    assert_eq!(
        (table.methods, table.isolation, table.mode),
        (vec![CacheMethod::Get], Isolation::Shared, Mode::Report)
    );
    for (text, part) in [
        ("false", "expected true, a length of time"),
        ("30", "expected true, a length of time"),
        (r#"{"tll": "1s"}"#, "unknown field `tll`"),
        (r#"{"methods": ["PUT"]}"#, "unknown variant `PUT`, expected one of `GET`, `HEAD`, `QUERY`, `POST`"),
    ] {
        let error = read(text).unwrap_err();
        assert!(error.contains(part), "{text}: {error}");
    }
}

#[tokio::test]
async fn settings_that_make_no_sense_are_refused() {
    let store = CacheStore::new(ByteSize::kib(512));
    let error = |change: fn(&mut CacheSettings)| {
        let mut settings = CacheSettings { max_entry: ByteSize::kib(1), ..CacheSettings::default() };
        change(&mut settings);
        CacheLayer::new("x", &settings, &store).unwrap_err()
    };
    let wrong = |key, found: &str| CacheError::Status { key, found: found.to_owned() };
    assert_eq!(error(|s| s.statuses = vec![206]), wrong("statuses", "206"));
    assert_eq!(error(|s| s.statuses = vec![416]), wrong("statuses", "416"));
    assert_eq!(error(|s| s.negative = [("412".into(), Timespan::secs(9))].into()), wrong("negative", "412"));
    assert_eq!(error(|s| s.statuses = vec![99]), wrong("statuses", "99"));
    assert_eq!(error(|s| s.negative = [("4xx".into(), Timespan::secs(1))].into()), wrong("negative", "4xx"));
    assert_eq!(error(|s| s.methods = vec![]), CacheError::NoMethods);
    for (methods, found) in [
        (&[CacheMethod::Post][..], "POST"),
        (&[CacheMethod::Head], "HEAD"),
        (&[CacheMethod::Query, CacheMethod::Post], "POST"),
    ] {
        let settings = CacheSettings { methods: methods.into(), ..CacheSettings::default() };
        let store = CacheStore::new(ByteSize::kib(64 << 10));
        assert_eq!(CacheLayer::new("x", &settings, &store).unwrap_err(), CacheError::NoGet { found });
    }
    assert_eq!(error(|s| s.r#override = true), CacheError::OverrideOfNothing);
    assert_eq!(error(|s| s.purge = Some(PurgeSettings::default())), CacheError::NoNetworks);
    let found = "except=(\"q\")".to_owned();
    assert_eq!(
        error(|s| s.key.no_vary_search = Some("except=(\"q\")".into())),
        CacheError::NoVarySearch { found }
    );
    let besides: [fn(&mut CacheSettings); 3] = [
        |s| s.key.query = Some(vec![]),
        |s| s.key.ignore_query = vec!["a".into()],
        |s| s.key.sort_query = true,
    ];
    for besides in besides {
        let mut settings = CacheSettings { max_entry: ByteSize::kib(1), ..CacheSettings::default() };
        settings.key.no_vary_search = Some("params".into());
        besides(&mut settings);
        let error = CacheLayer::new("x", &settings, &store).unwrap_err();
        assert_eq!(error, CacheError::NoVarySearchBesides);
    }
    let text = error(|s| s.max_entry = ByteSize::kib(1024)).to_string();
    assert_eq!(text, "`max_entry` is 1MiB, but the store holds no more than 512KiB");
    let text = error(|s| s.bypass.headers = vec!["x y".into()]).to_string();
    assert_eq!(text, "`bypass.headers`: `x y` is not the name of a header");
}

/// Reference S1-15, S2-15 and S4-36: `cache = "30s"` on a route whose service says nothing of caching.
#[tokio::test(start_paused = true)]
async fn s1_15_s2_15_s4_36_a_route_is_cached_for_so_long() {
    let world = plain(CacheSettings::ttl(Timespan::secs(30)));
    assert_eq!(world.get("/").await.cache(), "fwd=uri-miss; stored");
    later(29).await;
    assert_eq!(world.get("/").await.cache(), "hit; ttl=1");
    later(1).await;
    assert_eq!(world.get("/").await.text(), "1");
}

#[tokio::test(start_paused = true)]
async fn s1_15_each_authenticated_caller_has_a_copy_of_their_own() {
    let world = plain(CacheSettings::ttl(Timespan::secs(30)));
    let ask = async |who: &str| {
        let mut asked = request("GET", "/", &[("authorization", who), ("cookie", "sid=1")]);
        asked.extensions_mut().insert(Principal::new(who, AuthMethod::Jwt, serde_json::Map::new()));
        world.send(asked).await.unwrap().text().to_owned()
    };
    let found = [ask("alice").await, ask("bob").await, ask("alice").await, ask("bob").await];
    assert_eq!(found, ["0", "1", "0", "1"]);
    assert_eq!(world.get("/").await.text(), "2", "who says nothing gets nobody's answer");
    let mut unknown = request("GET", "/", &[]);
    unknown.extensions_mut().insert(Principal::new("", AuthMethod::Jwt, serde_json::Map::new()));
    assert_eq!(world.send(unknown).await.unwrap().cache(), "fwd=bypass");
}

#[tokio::test(start_paused = true)]
async fn other_authorization_only_with_leave_and_by_default_never_for_another() {
    for (value, isolation, to_same, to_other) in [
        ("max-age=60", Isolation::Principal, false, false),
        ("max-age=60", Isolation::Shared, false, false),
        ("max-age=60, public", Isolation::Principal, true, false),
        ("max-age=60, public", Isolation::Shared, true, true),
        ("max-age=60, must-revalidate", Isolation::Shared, true, true),
        ("s-maxage=60", Isolation::Principal, true, false),
        ("s-maxage=60", Isolation::Shared, true, true),
    ] {
        let world = says(CacheSettings { isolation, ..CacheSettings::default() }, value);
        let ask = async |who: &str| world.ask("GET", "/", &[("authorization", who)]).await.is_hit();
        ask("a").await;
        assert_eq!((ask("a").await, ask("b").await), (to_same, to_other), "{value} {isolation:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_cookies_may_have_shaped_is_not_shared_by_a_ttl() {
    let world = plain(CacheSettings::ttl(Timespan::secs(30)));
    let ask = async |world: &World, cookie: &str| world.ask("GET", "/", &[("cookie", cookie)]).await.is_hit();
    ask(&world, "sid=1").await;
    assert!(!ask(&world, "sid=2").await && world.store.is_empty());
    let mut settings = CacheSettings::ttl(Timespan::secs(30));
    settings.key.cookies = vec!["lang".into()];
    let world = plain(settings);
    ask(&world, "lang=de").await;
    assert!(ask(&world, "lang=de").await && !ask(&world, "lang=en").await);
    let world = says(CacheSettings::default(), "max-age=60");
    ask(&world, "sid=1").await;
    assert!(ask(&world, "sid=2").await, "the answer itself said so: other-cookie");
}

#[tokio::test(start_paused = true)]
async fn set_cookie_is_stored_only_if_asked() {
    for asked in [false, true] {
        let settings = CacheSettings { set_cookie: asked, ..CacheSettings::default() };
        let world = world(settings, |_, _| async {
            ok(&[("cache-control", "max-age=60"), ("set-cookie", "a=b")], "")
        });
        assert_eq!(world.get("/").await.header("set-cookie"), "a=b");
        assert_eq!(world.get("/").await.is_hit(), asked);
    }
}

#[tokio::test(start_paused = true)]
async fn failures_are_remembered_for_as_long_as_the_settings_say() {
    let settings =
        CacheSettings { negative: [("404".into(), Timespan::secs(10))].into(), ..CacheSettings::default() };
    let world = world(settings, |call, asked| async move {
        let status = if asked.uri.path() == "/missing" { 404 } else { 500 };
        Ok(answer(status, &[], format!("{call}")))
    });
    world.get("/missing").await;
    world.get("/broken").await;
    later(9).await;
    assert!(world.get("/missing").await.is_hit() && !world.get("/broken").await.is_hit());
    later(1).await;
    assert!(!world.get("/missing").await.is_hit());
}

#[tokio::test(start_paused = true)]
async fn some_requests_go_around_the_cache() {
    let bypass = BypassSettings { headers: vec!["X-Debug".into()], cookies: vec!["admin".into()] };
    let world = says(CacheSettings { bypass, ..CacheSettings::default() }, "max-age=60");
    for lines in [&[("x-debug", "1")][..], &[("cookie", "a=b; admin=1")]] {
        assert_eq!(world.ask("GET", "/", lines).await.cache(), "fwd=bypass");
        assert!(world.store.is_empty());
    }
    world.ask("GET", "/", &[("cookie", "nadmin=1")]).await;
    assert!(world.get("/").await.is_hit());
    assert_eq!(world.layer.count(CacheResult::Bypass), 2);
}

#[tokio::test(start_paused = true)]
async fn in_report_mode_nothing_is_answered_from_the_store() {
    let world = says(CacheSettings { mode: Mode::Report, ..CacheSettings::default() }, "max-age=60");
    assert_eq!(world.get("/").await.cache(), "fwd=uri-miss; stored");
    let got = world.get("/").await;
    assert_eq!((got.cache(), got.text()), ("fwd=bypass; stored; detail=would-hit", "1"));
}

#[tokio::test(start_paused = true)]
async fn cache_status_can_be_left_out_and_adds_to_that_of_others() {
    let world = says(CacheSettings { status_header: false, ..CacheSettings::default() }, "max-age=60");
    assert!(!world.get("/").await.headers.contains_key("cache-status"));
    assert!(!world.get("/").await.headers.contains_key("cache-status"));
    let world = support::world(CacheSettings::default(), |_, _| async {
        ok(&[("cache-control", "max-age=60"), ("cache-status", "origin; hit")], "")
    });
    world.get("/").await;
    let got = world.get("/").await;
    let all: Vec<_> = got.headers.get_all("cache-status").iter().collect();
    assert_eq!(all, ["origin; hit", "gateway; hit; ttl=60"]);
}

#[tokio::test(start_paused = true)]
async fn purge_by_those_who_may() {
    let purge = PurgeSettings { networks: vec!["10.0.0.0/8".parse().unwrap()] };
    let world =
        world(CacheSettings { purge: Some(purge), ..CacheSettings::default() }, |call, asked| async move {
            let tag = if asked.uri.path().starts_with("/red") { "red a" } else { "blue" };
            ok(
                &[("cache-control", "max-age=60, stale-while-revalidate=60"), ("surrogate-key", tag)],
                format!("{call}"),
            )
        });
    let send = async |from: &str, uri: &str, lines: &[(&str, &str)]| {
        let mut asked = request("PURGE", uri, lines);
        asked.extensions_mut().insert(ClientAddr(format!("{from}:1").parse().unwrap()));
        let got = world.send(asked).await.unwrap();
        (got.status.as_u16(), got.text().trim().to_owned())
    };
    for uri in ["/red/1", "/red/2", "/blue"] {
        world.get(uri).await;
    }
    assert_eq!(send("11.0.0.1", "/blue", &[]).await.0, 403);
    assert_eq!(world.ask("PURGE", "/blue", &[]).await.status, 403, "who is unknown may not");
    assert_eq!(send("10.0.0.1", "/blue", &[]).await, (200, "{\"purged\":1}".to_owned()));
    assert!(!world.get("/blue").await.is_hit());
    assert_eq!(
        send("10.0.0.1", "/", &[("surrogate-key", "red"), ("soft-purge", "1")]).await.1,
        "{\"purged\":2}"
    );
    let got = world.get("/red/1").await;
    assert_eq!((got.text(), got.cache()), ("0", "hit; ttl=0"), "stale, and refreshed in the background");
    assert_eq!(send("10.0.0.1", "/red/*", &[]).await.1, "{\"purged\":2}");
    assert!(world.get("/blue").await.is_hit());
    let asked = world.upstream.last();
    assert_eq!((asked.method.as_str(), world.upstream.calls()), ("GET", 5), "no PURGE reached the upstream");
}

#[tokio::test(start_paused = true)]
async fn a_purge_by_tag_reaches_the_layers_that_let_clients_purge_and_an_operators_all() {
    let store = CacheStore::new(ByteSize::kib(1 << 20));
    let purge = || Some(PurgeSettings { networks: vec!["10.0.0.0/8".parse().unwrap()] });
    let one = |name: &str, purge| {
        world_on(store.clone(), name, CacheSettings { purge, ..CacheSettings::default() }, |_, _| async {
            ok(&[("cache-control", "max-age=60"), ("surrogate-key", "red"), ("cache-tag", "round")], "")
        })
    };
    let (a, b, closed) = (one("a", purge()), one("b", purge()), one("closed", None));
    for tag in ["red", "round"] {
        for world in [&a, &b, &closed] {
            world.get("/").await;
        }
        let mut asked = request("PURGE", "/", &[("surrogate-key", tag)]);
        asked.extensions_mut().insert(ClientAddr("10.0.0.1:1".parse().unwrap()));
        assert_eq!(a.send(asked).await.unwrap().text().trim(), "{\"purged\":2}");
        assert!(!a.get("/").await.is_hit() && !b.get("/").await.is_hit());
        assert!(closed.get("/").await.is_hit());
    }
    assert_eq!(store.purge(&Purge::Tag("red".into()), PurgeMode::Remove), 3);
}

#[tokio::test(start_paused = true)]
async fn layers_share_a_store_but_no_answers_and_out_of_date_is_so_in_all() {
    let store = CacheStore::new(ByteSize::kib(1 << 20));
    let one = |name: &str| {
        world_on(store.clone(), name, CacheSettings::default(), |call, _| async move {
            ok(&[("cache-control", "max-age=60")], format!("{call}"))
        })
    };
    let (a, b) = (one("a"), one("b"));
    a.get("/").await;
    assert!(!b.get("/").await.is_hit());
    assert!(a.get("/").await.is_hit() && b.get("/").await.is_hit());
    b.ask("POST", "/", &[]).await;
    assert!(!a.get("/").await.is_hit());
    assert_eq!(store.purge(&Purge::Url("http://host/".into()), PurgeMode::Remove), 1);
}

#[tokio::test(start_paused = true)]
async fn urls_that_are_equal_by_no_vary_search_share_an_answer_and_a_purge() {
    let mut settings = CacheSettings::ttl(Timespan::secs(60));
    settings.key.no_vary_search = Some("key-order, params=(\"utm_source\")".into());
    let world = plain(settings);
    for (uri, expected) in [
        ("/?a=1&b=x%20y", "0"),
        ("/?utm_source=mail&b=x+y&a=1", "0"),
        ("/?a=1&b=x+y&c", "1"),
        ("/?a=2&b=x+y", "2"),
        ("/?utm_source=mail", "3"),
        ("/", "3"),
    ] {
        assert_eq!(world.get(uri).await.text(), expected, "{uri}");
    }
    world.ask("POST", "/?b=x+y&a=1&utm_source=z", &[]).await;
    assert_eq!(world.get("/?a=1&b=x%20y").await.text(), "5", "made out of date by what changed it");
}

#[tokio::test(start_paused = true)]
async fn the_layer_tells_how_long_a_request_would_be_answered_from_what_is_stored() {
    let world = says(CacheSettings::default(), "max-age=60");
    let fresh = |lines: &[(&str, &str)]| world.layer.fresh_for(&request("GET", "/", lines));
    assert_eq!(fresh(&[]), None, "nothing is stored yet");
    world.get("/").await;
    later(20).await;
    assert_eq!(fresh(&[]), Some(Duration::from_secs(40)));
    assert_eq!(world.layer.fresh_for(&request("HEAD", "/", &[])), Some(Duration::from_secs(40)));
    for line in [("cache-control", "no-cache"), ("cache-control", "min-fresh=50"), ("if-match", "\"a\"")] {
        assert_eq!(fresh(&[line]), None, "the upstream would be asked: {line:?}");
    }
    assert_eq!(world.layer.fresh_for(&request("POST", "/", &[])), None);
    later(40).await;
    assert_eq!(fresh(&[]), None, "it is stale");
    assert_eq!(world.upstream.calls(), 1, "nobody was asked to tell");
}

#[tokio::test]
async fn what_the_gateway_itself_answers_is_not_stored() {
    let negative = [("503".to_owned(), Timespan::secs(60))].into();
    let world = world(CacheSettings { negative, ..CacheSettings::default() }, |call, _| async move {
        let mut answer = answer(503, &[], format!("{call}"));
        if call == 0 {
            answer.extensions_mut().insert(Problem::new(Code::NoEndpoint));
        }
        Ok(answer)
    });
    assert_eq!(world.get("/").await.cache(), "fwd=uri-miss");
    assert_eq!(world.get("/").await.cache(), "fwd=uri-miss; stored", "what the service says is");
    assert_eq!(world.get("/").await.text(), "1");
}

#[tokio::test(start_paused = true)]
async fn what_is_fresh_for_less_than_a_second_is_a_hit_and_not_stale() {
    let world = plain(CacheSettings::ttl(Timespan::millis(500)));
    world.get("/").await;
    assert_eq!(world.get("/").await.cache(), "hit; ttl=1");
    let counts = [CacheResult::Hit, CacheResult::Stale].map(|result| world.layer.count(result));
    assert_eq!(counts, [1, 0]);
    later(1).await;
    assert!(!world.get("/").await.is_hit());
}
