//! Counts of quotas that outlive the process, in a file.

use crate::RateLimitLayer;
use crate::algorithm::State;
use crate::facts::{Facts, Scope};
use crate::key::{Key, KeyPart};
use crate::limiter::Limiter;
use crate::store::{Kept, Warmth};
use gateway_core::KeyedHash;
use http::Request;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What such a file begins with.
const MAGIC: &[u8; 8] = b"gwquota3";
/// Of a key: itself, for how long it is worth keeping, how many states.
const HEAD: usize = 16 + 2 * 8 + 1;
const STATE: usize = 24;

/// Writes a layer's counts when they have changed.
#[derive(Debug)]
pub(crate) struct Snapshots {
    limiter: Arc<Limiter>,
    path: PathBuf,
    written: Option<Vec<u8>>,
    /// Why they are not written, as the log says already.
    failing: Option<String>,
}

impl RateLimitLayer {
    pub(crate) fn snapshots(&self) -> Option<Snapshots> {
        let path = self.limiter.quota_file.clone().filter(|_| self.store.is_none())?;
        Some(Snapshots { limiter: self.limiter.clone(), path, written: None, failing: None })
    }

    /// This layer with the counts in its `quota_file`, where there is one. A file of other limits or of another
    /// version is passed over with a warning.
    ///
    /// # Errors
    /// The file is there and cannot be read, or its folder is not there.
    pub fn restored(&self) -> io::Result<Self> {
        let Some(Snapshots { path, .. }) = self.snapshots() else { return Ok(self.clone()) };
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let folder = path.parent().filter(|folder| *folder != Path::new(""));
                if let Some(missing) = folder.filter(|folder| !folder.is_dir()) {
                    let why = format!("there is no folder `{}` to write them to", missing.display());
                    return Err(io::Error::new(io::ErrorKind::NotFound, why));
                }
                return Ok(self.clone());
            }
            Err(error) => return Err(error),
        };
        let Some((hash, all)) = decode(&bytes, self.limiter.shape()) else {
            tracing::warn!(path = %path.display(), "the quota file is of other limits or damaged; quotas begin anew");
            return Ok(self.clone());
        };
        let mut limiter = (*self.limiter).clone();
        limiter.hash = hash;
        limiter.counts = Arc::new(crate::store::Counts::new(limiter.max_keys));
        limiter.counts.load(all);
        Ok(Self { limiter: Arc::new(limiter), ..self.clone() })
    }
}

impl Limiter {
    /// What must be the same for states to mean the same.
    fn shape(&self) -> u64 {
        use std::hash::{DefaultHasher, Hash, Hasher};
        let mut hasher = DefaultHasher::new();
        for plan in self.plans.iter() {
            plan.label.hash(&mut hasher);
            for rule in &plan.rules {
                (format!("{:?}", rule.kind), rule.period).hash(&mut hasher);
            }
        }
        format!("{:?}", self.by).hash(&mut hasher);
        hasher.finish()
    }
}

impl Snapshots {
    /// Writes beside the file, then takes its place, so that it is never half written.
    pub(crate) async fn write(&mut self) {
        let limiter = self.limiter.clone();
        let (path, written) = (self.path.clone(), self.written.take());
        let writing = tokio::task::spawn_blocking(move || {
            let bytes = encode(&limiter.hash, limiter.shape(), limiter.counts.dump(limiter.clock.now()));
            if written.as_ref() != Some(&bytes) {
                let beside = path.with_extension("new");
                std::fs::write(&beside, &bytes).and_then(|()| std::fs::rename(&beside, &path))?;
            }
            Ok::<_, io::Error>(bytes)
        });
        let result = writing.await.unwrap_or_else(|failed| Err(io::Error::other(failed)));
        self.tell(result.as_ref().err());
        self.written = result.ok();
    }

    /// A line for each change: a full disk is tried every few seconds, and may stay full all night.
    fn tell(&mut self, error: Option<&io::Error>) {
        let why = error.map(ToString::to_string);
        if why == self.failing {
            return;
        }
        let path = self.path.display();
        match &why {
            Some(why) => {
                tracing::warn!(%path, "quotas are not written: {why}; tried again every few seconds")
            }
            None => tracing::info!(%path, "quotas are written again"),
        }
        self.failing = why;
    }
}

/// A key that tells whether keys are made as they were when the file was written.
fn proof(hash: &KeyedHash) -> Key {
    let (request, scope) = (Request::new(()), Scope { route: Some("proof".into()), ..Scope::default() });
    crate::key::key(hash, &KeyPart::Route.into(), 0, &Facts::of(&request, &scope)).0
}

fn encode(hash: &KeyedHash, shape: u64, mut all: Vec<Kept>) -> Vec<u8> {
    all.sort_unstable_by_key(|(key, ..)| *key);
    let mut bytes = Vec::with_capacity(64 + all.len() * (HEAD + STATE));
    bytes.extend(MAGIC);
    for secret in hash.secrets() {
        bytes.extend(secret.to_le_bytes());
    }
    bytes.extend(proof(hash).to_le_bytes());
    bytes.extend(shape.to_le_bytes());
    for (key, Warmth { whole_at, rank }, states) in all {
        bytes.extend(key.to_le_bytes());
        bytes.extend(whole_at.to_le_bytes());
        bytes.extend(rank.to_le_bytes());
        bytes.push(states.len() as u8);
        for State { at, used, before } in states {
            for number in [at, used, before] {
                bytes.extend(number.to_le_bytes());
            }
        }
    }
    bytes
}

fn decode(bytes: &[u8], shape: u64) -> Option<(KeyedHash, Vec<Kept>)> {
    let mut rest = bytes.strip_prefix(MAGIC)?;
    let mut secrets = [0; 2];
    for secret in &mut secrets {
        *secret = number(&mut rest)?;
    }
    let hash = KeyedHash::from_secrets(secrets);
    if key(&mut rest)? != proof(&hash) || number(&mut rest)? != shape {
        return None;
    }
    let mut all = Vec::new();
    while !rest.is_empty() {
        let key = key(&mut rest)?;
        let warmth = Warmth { whole_at: number(&mut rest)?, rank: number(&mut rest)? };
        let (count, after) = rest.split_first()?;
        rest = after;
        let mut states = Vec::with_capacity(usize::from(*count));
        for _ in 0..*count {
            let (at, used, before) = (number(&mut rest)?, number(&mut rest)?, number(&mut rest)?);
            // Larger ones are none of ours, and would not fit the arithmetic.
            if at.max(used).max(before) > 1 << 53 {
                return None;
            }
            states.push(State { at, used, before });
        }
        all.push((key, warmth, states));
    }
    Some((hash, all))
}

fn number(rest: &mut &[u8]) -> Option<u64> {
    let (bytes, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(u64::from_le_bytes(*bytes))
}

fn key(rest: &mut &[u8]) -> Option<Key> {
    let (bytes, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(Key::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RateLimitSettings;
    use proptest::prelude::*;
    use std::sync::Mutex;
    use tracing::span::{Attributes, Id, Record};
    use tracing::{Event, Level, Metadata, Subscriber};

    /// How grave the lines of the log are.
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<Level>>>);

    impl Subscriber for Lines {
        fn enabled(&self, metadata: &Metadata<'_>) -> bool {
            metadata.target().starts_with("gateway_ratelimit")
        }
        fn new_span(&self, _: &Attributes<'_>) -> Id {
            Id::from_u64(1)
        }
        fn record(&self, _: &Id, _: &Record<'_>) {}
        fn record_follows_from(&self, _: &Id, _: &Id) {}
        fn event(&self, event: &Event<'_>) {
            self.0.lock().unwrap().push(*event.metadata().level());
        }
        fn enter(&self, _: &Id) {}
        fn exit(&self, _: &Id) {}
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_written_is_told_of_once_and_once_when_it_can() {
        let lines = Lines::default();
        let _logging = tracing::subscriber::set_default(lines.clone());
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("away").join("quotas");
        let settings = serde_json::json!({ "quota": "3/month", "quota_file": file });
        let settings: RateLimitSettings = serde_json::from_value(settings).unwrap();
        let mut snapshots = RateLimitLayer::new("demo", &settings).unwrap().snapshots().unwrap();
        for _ in 0..3 {
            snapshots.write().await;
        }
        assert_eq!(*lines.0.lock().unwrap(), [Level::WARN]);
        std::fs::create_dir(file.parent().unwrap()).unwrap();
        for _ in 0..3 {
            snapshots.write().await;
        }
        assert_eq!(*lines.0.lock().unwrap(), [Level::WARN, Level::INFO]);
        assert!(file.exists());
    }

    #[test]
    fn what_is_written_is_read_and_only_by_the_same_limits() {
        let hash = KeyedHash::default();
        let warmth = Warmth { whole_at: 9, rank: 8 };
        let all = vec![
            (7, warmth, vec![State { at: 1, used: 2, before: 3 }; 2]),
            (8, warmth, vec![State::default()]),
        ];
        let bytes = encode(&hash, 5, all.clone());
        assert_eq!(decode(&bytes, 5), Some((hash, all)));
        assert_eq!(decode(&bytes, 6), None);
        assert_eq!(decode(&bytes[..bytes.len() - 1], 5), None);
        let mut other = bytes.clone();
        other[10] ^= 1;
        assert_eq!(decode(&other, 5), None, "other secrets make other keys");
    }

    proptest! {
        #[test]
        fn damaged_files_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), magic: bool) {
            let bytes = if magic { [MAGIC.as_slice(), &bytes].concat() } else { bytes };
            let _ = decode(&bytes, 1);
        }
    }
}
