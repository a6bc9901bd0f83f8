use crate::AuthError;
use crate::api_key::key::KeyHash;
use crate::api_key::settings::{ApiKeyEntry, ApiKeySettings, Date, KeysFile};
use crate::text::{unix_now, until};
use arc_swap::ArcSwap;
use gateway_core::{AuthMethod, Principal};
use gateway_store::{Event, Store, StoreError};
use hashbrown::HashMap;
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

/// The API keys of one name: from the settings, from a file, and those that are managed at run time. Clones share
/// them.
///
/// A managed key stands in the store under `api-key:NAME:HASH`, as JSON, and all instances hear of it on the channel
/// `api-keys:NAME`; it goes before one of the same hash in the settings or the file. Requests never ask the store:
/// [`KeyRing::keep_current`] keeps a copy, which stays good while the store is away.
#[derive(Clone, Debug)]
pub struct KeyRing(Arc<Ring>);

#[derive(Debug)]
struct Ring {
    name: Box<str>,
    store: Store,
    file: Option<PathBuf>,
    reload: Duration,
    /// Read by requests.
    known: ArcSwap<HashMap<KeyHash, Arc<Known>>>,
    /// What `known` is made of.
    sources: Mutex<Sources>,
}

#[derive(Debug, Default)]
struct Sources {
    configured: Vec<ApiKeyEntry>,
    file: Vec<ApiKeyEntry>,
    /// When the file was changed last, and how long it was.
    file_seen: Option<(SystemTime, u64)>,
    managed: Vec<ApiKeyEntry>,
    /// Disabled here while the store was away: what it says of them is old until it is told.
    untold: Vec<ApiKeyEntry>,
}

/// A key as requests see it.
#[derive(Debug)]
pub(crate) struct Known {
    entry: ApiKeyEntry,
    principal: Principal,
    not_before: f64,
    expires: f64,
    /// In seconds since 1970; 0 for never.
    last_used: AtomicU64,
}

/// One key of a [`KeyRing`] as [`KeyRing::list`] shows it.
#[derive(Clone, Debug)]
pub struct ListedKey {
    /// The key.
    pub entry: ApiKeyEntry,
    /// When this process saw it last, to the second; `None` if it has not. In seconds since 1970.
    pub last_used: Option<u64>,
}

impl Known {
    fn new(entry: ApiKeyEntry) -> Self {
        let mut claims: Map<String, Value> = entry.metadata.clone();
        let mut claim = |name: &str, value: Option<Value>| {
            // What the operator says of a key in its own fields is not overridden by its metadata.
            if let Some(value) = value {
                claims.insert(name.to_owned(), value);
            }
        };
        let id = entry.owner.as_ref().unwrap_or(&entry.id);
        claim("sub", Some(id.as_str().into()));
        claim("key_id", Some(entry.id.as_str().into()));
        claim("tier", entry.tier.as_deref().map(Value::from));
        claim("scope", (!entry.scopes.is_empty()).then(|| entry.scopes.join(" ").into()));
        claim("roles", (!entry.roles.is_empty()).then(|| entry.roles.clone().into()));
        Self {
            principal: Principal::new(id.clone(), AuthMethod::ApiKey, claims),
            not_before: entry.not_before.map_or(f64::NEG_INFINITY, Date::unix),
            expires: entry.expires.map_or(f64::INFINITY, Date::unix),
            last_used: AtomicU64::new(0),
            entry,
        }
    }

    /// Who it stands for at a time, or why it does not.
    pub(crate) fn verdict(&self, now: f64) -> Result<Principal, &'static str> {
        if self.entry.disabled {
            return Err("the API key is disabled");
        }
        if now >= self.expires {
            return Err("the API key has expired");
        }
        if now < self.not_before {
            return Err("the API key is not valid yet");
        }
        // Written once a second at most, so that cores do not fight over it.
        let second = now as u64;
        if self.last_used.load(Ordering::Relaxed) != second {
            self.last_used.store(second, Ordering::Relaxed);
        }
        Ok(self.principal.clone())
    }
}

impl KeyRing {
    /// The keys of the settings and of their file. The store is asked by [`KeyRing::load`] and
    /// [`KeyRing::keep_current`].
    ///
    /// # Errors
    /// The file cannot be used, or two keys have the same hash.
    pub fn new(name: &str, settings: &ApiKeySettings, store: Store) -> Result<Self, AuthError> {
        Self::made(name, settings, store, None)
    }

    /// The ring of this name with other settings, after a reload say. It knows the managed keys that this one knows:
    /// what was revoked is not good until the store was asked, nor while it is away.
    ///
    /// # Errors
    /// As of [`KeyRing::new`].
    pub fn succeed(&self, settings: &ApiKeySettings, store: Store) -> Result<Self, AuthError> {
        Self::made(&self.0.name, settings, store, Some(self))
    }

    fn made(
        name: &str,
        settings: &ApiKeySettings,
        store: Store,
        before: Option<&Self>,
    ) -> Result<Self, AuthError> {
        let mut sources = Sources { configured: settings.keys.clone(), ..Sources::default() };
        if let Some(before) = before {
            let before = before.sources();
            sources.managed = before.managed.clone();
            sources.untold = before.untold.clone();
        }
        if let Some(path) = &settings.keys_file {
            sources.file_seen = seen(path);
            sources.file = read(path)?;
        }
        for (at, entry) in sources.configured.iter().enumerate() {
            entry.check_id().map_err(|why| AuthError::setting(format!("keys[{at}].id"), why))?;
        }
        let all = sources.configured.iter().chain(&sources.file);
        let mut hashes: Vec<_> = all.map(|entry| (entry.hash, &entry.id)).collect();
        hashes.sort_unstable();
        if let Some(pair) = hashes.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(AuthError::SameKey(pair[0].1.clone(), pair[1].1.clone()));
        }
        let ring = Self(Arc::new(Ring {
            name: name.into(),
            store,
            file: settings.keys_file.clone(),
            reload: *settings.reload,
            // When its keys were last used goes on as well.
            known: before.map_or_else(ArcSwap::default, |before| ArcSwap::new(before.0.known.load_full())),
            sources: Mutex::new(sources),
        }));
        ring.publish();
        Ok(ring)
    }

    pub(crate) fn find(&self, hash: &KeyHash) -> Option<Arc<Known>> {
        self.0.known.load().get(hash).cloned()
    }

    /// Makes what requests see from the sources. Later sources go before earlier ones.
    fn publish(&self) {
        let sources = self.sources();
        let old = self.0.known.load();
        let managed = sources.managed.iter().chain(&sources.untold);
        let all = sources.configured.iter().chain(&sources.file).chain(managed);
        let fresh = all.map(|entry| {
            let same = old.get(&entry.hash).filter(|known| known.entry == *entry);
            (entry.hash, same.cloned().unwrap_or_else(|| Arc::new(Known::new(entry.clone()))))
        });
        self.0.known.store(Arc::new(fresh.collect()));
    }

    fn sources(&self) -> std::sync::MutexGuard<'_, Sources> {
        self.0.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn prefix(&self) -> String {
        format!("api-key:{}:", self.0.name)
    }

    fn channel(&self) -> String {
        format!("api-keys:{}", self.0.name)
    }

    /// Every key, sorted by id. Keys themselves are known to nobody.
    #[must_use]
    pub fn list(&self) -> Vec<ListedKey> {
        let known = self.0.known.load();
        let mut keys: Vec<_> = known
            .values()
            .map(|known| ListedKey {
                entry: known.entry.clone(),
                last_used: Some(known.last_used.load(Ordering::Relaxed)).filter(|second| *second > 0),
            })
            .collect();
        keys.sort_unstable_by(|a, b| (&a.entry.id, a.entry.hash).cmp(&(&b.entry.id, b.entry.hash)));
        keys
    }

    /// Adds a key, or replaces the one with its hash, here at once and on all instances within a moment.
    ///
    /// # Errors
    /// The store is away: nothing has changed.
    pub async fn add(&self, entry: &ApiKeyEntry) -> Result<(), StoreError> {
        self.write(entry).await?;
        self.announce().await
    }

    /// Disables every key with this id, wherever it comes from; returns how many. Those of settings and file stay
    /// disabled as long as the store remembers.
    ///
    /// # Errors
    /// The store is away: they are disabled here, and still good on other instances. [`KeyRing::load`] tells the store
    /// later.
    pub async fn revoke(&self, id: &str) -> Result<usize, StoreError> {
        // Here at once, even if the store is away; whoever asks again then tells it.
        let revoked = self.disable(id);
        self.tell().await?;
        Ok(revoked)
    }

    /// Disables every good key with this id, and returns how many of that id the store is yet to be told of.
    fn disable(&self, id: &str) -> usize {
        let good = self.list().into_iter().map(|key| key.entry);
        let good = good.filter(|entry| entry.id == id && !entry.disabled);
        let mut sources = self.sources();
        sources.untold.extend(good.map(|entry| ApiKeyEntry { disabled: true, ..entry }));
        let untold = sources.untold.iter().filter(|entry| entry.id == id).count();
        drop(sources);
        self.publish();
        untold
    }

    /// Tells the store, and by it the others, what it was not told.
    async fn tell(&self) -> Result<(), StoreError> {
        let untold = self.sources().untold.clone();
        for entry in &untold {
            self.write(entry).await?;
        }
        if untold.is_empty() { Ok(()) } else { self.announce().await }
    }

    async fn write(&self, entry: &ApiKeyEntry) -> Result<(), StoreError> {
        let end = entry.expires.map_or(f64::INFINITY, Date::unix);
        let json = serde_json::to_vec(entry).unwrap_or_default();
        let key = format!("{}{}", self.prefix(), entry.hash);
        self.0.store.set(&key, &json, until(end, unix_now())).await?;
        self.take(entry.clone());
        Ok(())
    }

    fn take(&self, entry: ApiKeyEntry) {
        let mut sources = self.sources();
        sources.managed.retain(|other| other.hash != entry.hash);
        sources.untold.retain(|other| other.hash != entry.hash);
        sources.managed.push(entry);
        drop(sources);
        self.publish();
    }

    async fn announce(&self) -> Result<(), StoreError> {
        self.0.store.publish(&self.channel(), b"changed").await
    }

    /// Tells the store what was revoked while it was away, and reads the managed keys from it.
    ///
    /// # Errors
    /// The store is away: the last known keys stay.
    pub async fn load(&self) -> Result<(), StoreError> {
        self.tell().await?;
        let keys = self.0.store.scan(&self.prefix()).await?;
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        let values = if keys.is_empty() { Vec::new() } else { self.0.store.get(&keys).await? };
        let mut managed = Vec::new();
        for (key, value) in keys.iter().zip(values) {
            match value.map(|value| serde_json::from_slice(&value)) {
                Some(Ok(entry)) => managed.push(entry),
                Some(Err(error)) => tracing::warn!(key, %error, "an API key in the store cannot be read"),
                // It expired meanwhile.
                None => {}
            }
        }
        self.sources().managed = managed;
        self.publish();
        Ok(())
    }

    /// Reads the file if it has changed; returns whether it did. One that cannot be used is said so in the log, and
    /// the last good keys stay.
    pub fn reread(&self) -> bool {
        let Some(path) = &self.0.file else { return false };
        let now = seen(path);
        if self.sources().file_seen == now {
            return false;
        }
        match read(path) {
            Ok(keys) => {
                self.sources().file = keys;
                tracing::info!(name = &*self.0.name, path = %path.display(), "API keys were read again");
            }
            Err(error) => {
                tracing::error!(name = &*self.0.name, %error, "the last good API keys stay");
            }
        }
        self.sources().file_seen = now;
        self.publish();
        true
    }

    /// Follows the file and the store for ever: run it in a task of its own.
    pub async fn keep_current(self) {
        let mut news = self.0.store.subscribe(&self.channel());
        let mut tick = tokio::time::interval(self.0.reload.max(Duration::from_millis(100)));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut stale = false;
        loop {
            tokio::select! {
                _ = tick.tick() => {
                    self.reread();
                    stale |= !self.sources().untold.is_empty();
                }
                // A gap comes first of all, and whenever messages may have been missed.
                Event::Message(_) | Event::Gap = news.next() => stale = true,
            }
            if stale {
                match self.load().await {
                    Ok(()) => stale = false,
                    Err(error) => tracing::warn!(name = &*self.0.name, %error, "managed API keys may be old"),
                }
            }
        }
    }
}

fn seen(path: &Path) -> Option<(SystemTime, u64)> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

fn read(path: &Path) -> Result<Vec<ApiKeyEntry>, AuthError> {
    let text =
        std::fs::read_to_string(path).map_err(|source| AuthError::File { path: path.to_owned(), source })?;
    let file: Result<KeysFile, String> = match path.extension().is_some_and(|end| end == "toml") {
        true => toml_edit::de::from_str(&text).map_err(|error| error.to_string()),
        false => serde_json::from_str(&text).map_err(|error| error.to_string()),
    };
    let named = |file: KeysFile| {
        let check = |(at, entry): (usize, &ApiKeyEntry)| {
            entry.check_id().map_err(|why| format!("`keys[{at}].id`: {why}"))
        };
        file.keys.iter().enumerate().try_for_each(check)?;
        Ok(file.keys)
    };
    file.and_then(named).map_err(|why| AuthError::Content { path: path.to_owned(), why })
}
