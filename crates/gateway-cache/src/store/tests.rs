use super::*;
use crate::semantics::terms::Terms;
use bytes::Bytes;
use http::StatusCode;
use proptest::prelude::*;
use std::sync::atomic::AtomicBool;

fn entry(url: &str, rest: &str, bytes: usize, tags: &[&str]) -> Arc<Entry> {
    Arc::new(Entry {
        key: format!("{url}\0{rest}").into(),
        url: url.len(),
        status: StatusCode::OK,
        headers: HeaderMap::new(),
        body: Arc::new([Bytes::from(vec![0; bytes])]),
        length: bytes as u64,
        terms: Terms::default(),
        received: std::time::UNIX_EPOCH,
        selected: Vec::new(),
        tags: tags.iter().map(|tag| (*tag).into()).collect(),
        marked: AtomicBool::new(false),
    })
}

fn has(store: &CacheStore, url: &str, rest: &str) -> bool {
    matches!(store.find(url, &format!("{url}\0{rest}"), &HeaderMap::new()), Found::Entry(_))
}

#[tokio::test]
async fn a_purge_takes_what_it_names_whoever_asked_for_it() {
    let fill = || {
        let store = CacheStore::new(ByteSize::kib(64 << 10));
        store.insert(entry("http://a/x", "1", 10, &["red", "big"]), 0);
        store.insert(entry("http://a/x", "2", 10, &["red"]), 0);
        store.insert(entry("http://a/xy", "1", 10, &["blue"]), 0);
        store.insert(entry("http://b/x", "1", 10, &["red"]), 0);
        store
    };
    for (what, left) in [
        (Purge::Url("http://a/x".into()), 2),
        (Purge::Url("http://a/".into()), 4),
        (Purge::Prefix("http://a/x".into()), 1),
        (Purge::Tag("red".into()), 1),
        (Purge::Tag("re".into()), 4),
        (Purge::All, 0),
    ] {
        let store = fill();
        assert_eq!(store.purge(&what, PurgeMode::MarkStale), 4 - left, "{what:?}");
        assert_eq!(store.len(), 4, "a soft purge removes nothing");
        assert_eq!(store.purge(&what, PurgeMode::Remove), 4 - left, "{what:?}");
        assert_eq!(store.len(), left, "{what:?}");
        assert_eq!(store.purge(&what, PurgeMode::Remove), 0);
        store.purge(&Purge::All, PurgeMode::Remove);
        assert_eq!(store.used(), ByteSize(0), "{what:?}");
    }
}

#[tokio::test]
async fn what_was_asked_for_before_a_purge_is_not_stored_after_it() {
    let store = CacheStore::new(ByteSize::kib(64));
    let before = store.purges();
    store.purge(&Purge::Tag("red".into()), PurgeMode::Remove);
    assert!(!store.insert(entry("http://a/x", "1", 1, &["red"]), before));
    assert!(store.insert(entry("http://a/x", "1", 1, &["blue"]), before));
    assert!(store.insert(entry("http://a/x", "2", 1, &["red"]), store.purges()));
    for _ in 0..2000 {
        store.purge(&Purge::Tag("other".into()), PurgeMode::Remove);
    }
    assert!(
        !store.insert(entry("http://a/x", "3", 1, &[]), before),
        "nobody remembers what those purges were"
    );
}

#[tokio::test]
async fn what_is_used_outlives_what_is_not() {
    let store = CacheStore::new(ByteSize::kib(64));
    for i in 0..1000 {
        store.insert(entry("http://a/used", "1", 1000, &[]), 0);
        assert!(has(&store, "http://a/used", "1"), "after {i} others");
        store.insert(entry(&format!("http://a/{i}"), "1", 1000, &[]), 0);
        assert!(store.used() <= store.memory());
    }
    assert!(!store.insert(entry("http://a/large", "1", 100_000, &[]), 0));
    assert!(store.len() > 30, "{}", store.len());
}

proptest! {
    #[test]
    fn the_memory_is_never_more_than_it_may_be_and_comes_to_nothing_in_the_end(
        steps in proptest::collection::vec((0..20_u8, 0..3_u8, 0..6000_usize, 0..3_u8), 0..200),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let _inside = runtime.enter();
        let store = CacheStore::new(ByteSize::kib(16));
        let tags = ["a", "b", "c"];
        for (url, who, bytes, tag) in steps {
            let url = format!("http://h/{url}");
            if bytes < 500 {
                store.purge(&Purge::Tag(tags[usize::from(tag)].into()), PurgeMode::Remove);
            } else {
                let stored = entry(&url, &who.to_string(), bytes, &[tags[usize::from(tag)]]);
                prop_assert!(store.insert(stored, store.purges()));
            }
            prop_assert!(store.used() <= store.memory());
        }
        store.purge(&Purge::Prefix("http://h/".into()), PurgeMode::Remove);
        prop_assert_eq!((store.len(), store.used()), (0, ByteSize(0)));
    }
}
