//! The second tier: answers that instances share, and the purges that they tell each other.

use crate::CacheStore;
use crate::entry::Entry;
use crate::key::push_hex;
use crate::semantics::{conditional, vary};
use crate::store::codec::{Record, decode, encode, encode_vary};
use crate::store::purge::{Purge, PurgeMode, SKEW};
use aws_lc_rs::digest::{SHA256, digest};
use gateway_store::{Event, Store};
use http::HeaderMap;
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::mpsc;

/// Nothing stays longer, so that purges need not be remembered longer.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
/// For how long after it is stale an answer is kept that the upstream can be asked about.
const CHECKABLE: Duration = Duration::from_secs(60 * 60);
/// How many answers may wait to be written; more are left out.
const WRITES: usize = 256;
/// How often purges are told again that could not be told.
const RETRY: Duration = Duration::from_secs(1);
/// How many of them are kept; of more it is told that all is purged.
const MAX_PENDING: usize = 1000;
/// Where purges are told.
const CHANNEL: &str = "cache:purges";

/// The second tier as requests see it.
#[derive(Debug)]
pub(crate) struct Tier {
    store: Store,
    writes: mpsc::Sender<Arc<Entry>>,
    purges: mpsc::UnboundedSender<(Purge, PurgeMode)>,
}

/// What keeps a [`CacheStore`] and its second tier up to date: writes answers to it, tells other instances what is
/// purged here, and purges here what they tell. Has to [`run`](Self::run) in a task of its own.
#[derive(Debug)]
pub struct TierTask {
    cache: CacheStore,
    store: Store,
    writes: mpsc::Receiver<Arc<Entry>>,
    purges: mpsc::UnboundedReceiver<(Purge, PurgeMode)>,
    pending: VecDeque<Untold>,
    /// Who tells, so that nobody listens to itself.
    id: [u8; 16],
}

/// A purge that is still to be told.
#[derive(Debug)]
struct Untold {
    what: Purge,
    mode: PurgeMode,
    at: SystemTime,
    /// Whether those who listen were told.
    is_published: bool,
    /// Whether it stands in the second tier.
    is_stamped: bool,
}

pub(crate) type Lookup = Pin<Box<dyn Future<Output = Option<Arc<Entry>>> + Send>>;

pub(crate) struct Ends {
    writes: mpsc::Receiver<Arc<Entry>>,
    purges: mpsc::UnboundedReceiver<(Purge, PurgeMode)>,
    store: Store,
}

impl Tier {
    pub(crate) fn new(store: Store) -> (Self, Ends) {
        let (writes, writes_end) = mpsc::channel(WRITES);
        let (purges, purges_end) = mpsc::unbounded_channel();
        let ends = Ends { writes: writes_end, purges: purges_end, store: store.clone() };
        (Self { store, writes, purges }, ends)
    }

    /// The same over a connection of its own.
    pub(crate) fn per_worker(&self) -> Self {
        Self { store: self.store.per_worker(), writes: self.writes.clone(), purges: self.purges.clone() }
    }

    /// Has an answer written, if there is room.
    pub(crate) fn write(&self, entry: Arc<Entry>) {
        // Full: the upstream is asked once more by another instance. Closed: nobody runs the task.
        let _ = self.writes.try_send(entry);
    }

    /// Has a purge told.
    pub(crate) fn tell(&self, what: Purge, mode: PurgeMode) {
        let _ = self.purges.send((what, mode));
    }

    /// The answer to a request, if the second tier has one; a tier that fails, or is slow, has none.
    pub(crate) fn find(&self, key: &str, url: usize, request: &HeaderMap) -> Lookup {
        let (store, key, request) = (self.store.clone(), Box::<str>::from(key), request.clone());
        Box::pin(async move {
            let (first, all, of_url) = (key_of(&key), ALL.to_owned(), stamp_of('u', &key[..url]));
            let found = store.get(&[&first, &all, &of_url]).await.ok()?;
            let [found, all, of_url] = <[_; 3]>::try_from(found).ok()?;
            let mut stamps = vec![all, of_url];
            let entry = match decode(&found?)? {
                Record::Entry(entry) => entry,
                Record::Vary(names) => {
                    let variant = variant_of(&key, &vary::select(names, &request));
                    let found = store.get(&[&variant]).await.ok()?.pop()?;
                    let Record::Entry(entry) = decode(&found?)? else { return None };
                    entry
                }
            };
            // A hash may be of two keys, at least in theory.
            if entry.key != key || !vary::matches(&entry.selected, &request) {
                return None;
            }
            if !entry.tags.is_empty() {
                let keys: Vec<_> = entry.tags.iter().map(|tag| stamp_of('t', tag)).collect();
                let keys: Vec<_> = keys.iter().map(String::as_str).collect();
                stamps.extend(store.get(&keys).await.ok()?);
            }
            for stamp in stamps.into_iter().flatten() {
                let (at, mode) = read_stamp(&stamp)?;
                if entry.received <= at + SKEW {
                    match mode {
                        PurgeMode::Remove => return None,
                        PurgeMode::MarkStale => entry.marked.store(true, Ordering::Relaxed),
                    }
                }
            }
            Some(Arc::from(entry))
        })
    }
}

impl TierTask {
    pub(crate) fn new(cache: CacheStore, ends: Ends) -> Self {
        let mut id = [0; 16];
        // Without randomness an instance listens to itself, too: more work, but no harm.
        let _ = aws_lc_rs::rand::fill(&mut id);
        Self {
            cache,
            store: ends.store,
            writes: ends.writes,
            purges: ends.purges,
            pending: VecDeque::new(),
            id,
        }
    }

    /// Runs until it is dropped.
    pub async fn run(mut self) {
        let mut told = self.store.subscribe(CHANNEL);
        let mut retry = tokio::time::interval(RETRY);
        retry.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                Some((what, mode)) = self.purges.recv() => {
                    self.note(what, mode);
                    self.tell().await;
                }
                event = told.next() => self.hear(&event),
                Some(entry) = self.writes.recv() => self.write(&entry).await,
                _ = retry.tick() => self.tell().await,
            }
        }
    }

    fn note(&mut self, what: Purge, mode: PurgeMode) {
        let at = self.cache.clock().now();
        let (what, mode) = if self.pending.len() >= MAX_PENDING {
            self.pending.clear();
            self.cache.log().note(Purge::All, PurgeMode::Remove, Some(at));
            (Purge::All, PurgeMode::Remove)
        } else {
            (what, mode)
        };
        self.pending.push_back(Untold { what, mode, at, is_published: false, is_stamped: false });
    }

    /// Tells purges in both ways, in each in order until one cannot be told: a server that refuses to write may still
    /// reach those who listen. They come first, and go by when they have heard of it until it stands in the second tier.
    async fn tell(&mut self) {
        let (mut reaches, mut writes) = (true, true);
        for Untold { what, mode, at, is_published, is_stamped } in &mut self.pending {
            if !*is_published && reaches {
                reaches = self.store.publish(CHANNEL, &message(&self.id, what, *mode)).await.is_ok();
                *is_published = reaches;
            }
            if !*is_stamped && writes {
                let key = match what {
                    Purge::Url(url) => stamp_of('u', url),
                    Purge::Tag(tag) => stamp_of('t', tag),
                    // By prefix the second tier knows nothing: all that it has is as if purged.
                    Purge::Prefix(_) | Purge::All => ALL.to_owned(),
                };
                writes = self.store.set(&key, &stamp(*at, *mode), LONGEST + CHECKABLE).await.is_ok();
                *is_stamped = writes;
            }
        }
        self.pending.retain(|untold| !(untold.is_published && untold.is_stamped));
    }

    fn hear(&self, event: &Event) {
        match event {
            Event::Message(message) => {
                if let Some((what, mode)) = read_message(&self.id, message) {
                    self.cache.purge_here(&what, mode);
                }
            }
            // Something may have been purged: all is asked about before it is used again.
            Event::Gap => self.cache.distrust(),
        }
    }

    async fn write(&self, entry: &Entry) {
        let Some(ttl) = ttl(entry, self.cache.clock().now()) else { return };
        let key = key_of(&entry.key);
        // What fails is logged by the store, and otherwise only a miss.
        if entry.selected.is_empty() {
            let _ = self.store.set(&key, &encode(entry), ttl).await;
            return;
        }
        let names = encode_vary(entry.selected.iter().map(|(name, _)| name));
        if self.store.set(&variant_of(&entry.key, &entry.selected), &encode(entry), ttl).await.is_ok() {
            let _ = self.store.set(&key, &names, LONGEST).await;
        }
    }
}

/// For how long an answer is kept: while it is fresh, or may be used stale, or can be asked about.
fn ttl(entry: &Entry, now: SystemTime) -> Option<Duration> {
    let terms = &entry.terms;
    let checkable = if conditional::has_validator(&entry.headers) { CHECKABLE } else { Duration::ZERO };
    let stale = terms.stale_while_revalidate.max(terms.stale_if_error).max(checkable);
    let ttl = terms.lifetime.saturating_add(stale).checked_sub(entry.age(now))?.min(LONGEST);
    (!ttl.is_zero()).then_some(ttl)
}

const ALL: &str = "cache:purged:all";

fn hashed(start: &str, text: &[u8]) -> String {
    let mut key = start.to_owned();
    push_hex(&mut key, digest(&SHA256, text).as_ref());
    key
}

fn key_of(key: &str) -> String {
    hashed("cache:", key.as_bytes())
}

fn variant_of(key: &str, selected: &vary::Selected) -> String {
    hashed("cache:", format!("{key}\0{selected:?}").as_bytes())
}

/// Where it stands when something was last purged.
fn stamp_of(kind: char, text: &str) -> String {
    hashed(&format!("cache:purged:{kind}:"), text.as_bytes())
}

fn stamp(at: SystemTime, mode: PurgeMode) -> Vec<u8> {
    let millis = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let mut stamp = u64::try_from(millis).unwrap_or(u64::MAX).to_be_bytes().to_vec();
    stamp.push(u8::from(mode == PurgeMode::MarkStale));
    stamp
}

fn read_stamp(bytes: &[u8]) -> Option<(SystemTime, PurgeMode)> {
    let (millis, [mode]) = bytes.split_first_chunk::<8>()? else { return None };
    let at = UNIX_EPOCH.checked_add(Duration::from_millis(u64::from_be_bytes(*millis)))?;
    Some((at, if *mode == 1 { PurgeMode::MarkStale } else { PurgeMode::Remove }))
}

fn message(id: &[u8; 16], what: &Purge, mode: PurgeMode) -> Vec<u8> {
    let (kind, text) = match what {
        Purge::Url(url) => (b'u', url.as_str()),
        Purge::Prefix(start) => (b'p', start.as_str()),
        Purge::Tag(tag) => (b't', tag.as_str()),
        Purge::All => (b'a', ""),
    };
    let mut message = id.to_vec();
    message.extend_from_slice(&[u8::from(mode == PurgeMode::MarkStale), kind]);
    message.extend_from_slice(text.as_bytes());
    message
}

/// What another instance tells.
fn read_message(own: &[u8; 16], bytes: &[u8]) -> Option<(Purge, PurgeMode)> {
    let (id, [mode, kind, text @ ..]) = bytes.split_first_chunk::<16>()? else { return None };
    if id == own {
        return None;
    }
    let text = std::str::from_utf8(text).ok()?.to_owned();
    let what = match kind {
        b'u' => Purge::Url(text),
        b'p' => Purge::Prefix(text),
        b't' => Purge::Tag(text),
        b'a' => Purge::All,
        _ => return None,
    };
    Some((what, if *mode == 1 { PurgeMode::MarkStale } else { PurgeMode::Remove }))
}
