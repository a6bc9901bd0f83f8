//! Which keys there are, and when one takes the place of another: arithmetic on points in time, in seconds since 1970.

use crate::assertion::key::{PublicKey, SigningKey};
use std::sync::Arc;

/// The keys at one time. A new ring is made where they change.
#[derive(Clone, Debug)]
pub(crate) struct Ring {
    pub(crate) current: Arc<SigningKey>,
    /// Since when `current` signs.
    since: f64,
    /// Published, and not used yet.
    next: Option<Arc<SigningKey>>,
    /// Own keys that sign no more; until when they are published.
    retired: Vec<(PublicKey, f64)>,
    /// Keys of other instances; until when they are published.
    learned: Vec<(PublicKey, f64)>,
}

/// How keys grow old, in seconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ages {
    pub(crate) rotate: f64,
    pub(crate) announce: f64,
    pub(crate) overlap: f64,
}

impl Ring {
    pub(crate) fn new(key: SigningKey, now: f64) -> Self {
        Self { current: Arc::new(key), since: now, next: None, retired: Vec::new(), learned: Vec::new() }
    }

    /// The ring at a later time; `None` where it is the same. `generate` is asked for a key when one is due; without
    /// one, all stays as it is.
    pub(crate) fn step<E>(
        &self,
        ages: Ages,
        now: f64,
        generate: impl FnOnce() -> Result<SigningKey, E>,
    ) -> Result<Option<Self>, E> {
        let age = now - self.since;
        let announced = age >= ages.rotate - ages.announce;
        let due = age >= ages.rotate;
        let ended = self.retired.iter().chain(&self.learned).any(|(_, end)| *end <= now);
        if !(due || ended || (announced && self.next.is_none())) {
            return Ok(None);
        }
        let mut ring = self.clone();
        ring.retired.retain(|(_, end)| now < *end);
        ring.learned.retain(|(_, end)| now < *end);
        match ring.next.take() {
            Some(next) if due => ring.replace(next, now, ages.overlap),
            Some(next) => ring.next = Some(next),
            // One that is due and was not announced, after a sleep of the machine say, is announced first all the same.
            None if announced => {
                ring.next = Some(Arc::new(generate()?));
                ring.since = ring.since.max(now - ages.rotate + ages.announce);
            }
            None => {}
        }
        Ok(Some(ring))
    }

    /// Signs with another key from now on.
    pub(crate) fn replace(&mut self, key: Arc<SigningKey>, now: f64, overlap: f64) {
        let old = std::mem::replace(&mut self.current, key);
        self.retired.retain(|(known, _)| known.kid != old.public.kid && known.kid != self.current.public.kid);
        self.retired.push((old.public.clone(), now + overlap));
        self.since = now;
    }

    /// Takes keys of other instances in, to be published until `end` at least.
    pub(crate) fn learn(&mut self, keys: impl IntoIterator<Item = PublicKey>, end: f64) {
        for key in keys {
            if self.own().any(|own| own.kid == key.kid) {
                continue;
            }
            match self.learned.iter_mut().find(|(known, _)| known.kid == key.kid) {
                Some((_, known)) => *known = known.max(end),
                None => self.learned.push((key, end)),
            }
        }
    }

    /// The keys that this instance signs with, will, or did.
    pub(crate) fn own(&self) -> impl Iterator<Item = &PublicKey> {
        let next = self.next.as_ref().map(|next| &next.public);
        let retired = self.retired.iter().map(|(key, _)| key);
        std::iter::once(&self.current.public).chain(next).chain(retired)
    }

    /// All keys that may have signed something that is still good, the own ones first.
    pub(crate) fn public(&self) -> impl Iterator<Item = &PublicKey> {
        self.own().chain(self.learned.iter().map(|(key, _)| key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::AssertionAlgorithm;

    const AGES: Ages = Ages { rotate: 1000.0, announce: 100.0, overlap: 300.0 };

    fn key() -> SigningKey {
        SigningKey::generate(AssertionAlgorithm::EdDSA).unwrap()
    }

    fn at(ring: &mut Ring, now: f64) -> (String, usize) {
        if let Some(next) = ring.step(AGES, now, || Ok::<_, ()>(key())).unwrap() {
            *ring = next;
        }
        (ring.current.public.kid.clone(), ring.public().count())
    }

    #[test]
    fn a_key_is_announced_then_used_then_kept_and_then_forgotten() {
        let mut ring = Ring::new(key(), 0.0);
        let first = ring.current.public.kid.clone();
        assert_eq!(at(&mut ring, 899.0), (first.clone(), 1));
        assert_eq!(at(&mut ring, 900.0), (first.clone(), 2), "the next is published");
        let announced = ring.public().nth(1).unwrap().kid.clone();
        assert_eq!(at(&mut ring, 999.0), (first.clone(), 2));
        assert_eq!(
            at(&mut ring, 1000.0),
            (announced.clone(), 2),
            "the announced one signs, the first is kept"
        );
        assert!(ring.public().any(|key| key.kid == first));
        assert_eq!(at(&mut ring, 1299.0), (announced.clone(), 2));
        assert_eq!(at(&mut ring, 1300.0), (announced.clone(), 1));
        assert_eq!(at(&mut ring, 1900.0).1, 2);
        assert_ne!(at(&mut ring, 2000.0).0, announced);
    }

    #[test]
    fn after_a_long_sleep_a_key_is_announced_before_it_is_used() {
        let mut ring = Ring::new(key(), 0.0);
        let first = ring.current.public.kid.clone();
        assert_eq!(at(&mut ring, 5000.0), (first.clone(), 2));
        assert_eq!(at(&mut ring, 5099.0), (first.clone(), 2));
        assert_ne!(at(&mut ring, 5101.0).0, first);
    }

    #[test]
    fn keys_of_others_are_published_as_long_as_they_are_heard_of_and_some_time_more() {
        let mut ring = Ring::new(key(), 0.0);
        let (other, own) = (key().public, ring.current.public.clone());
        ring.learn([other.clone(), own.clone(), other.clone()], 50.0);
        assert_eq!(ring.public().collect::<Vec<_>>(), [&own, &other]);
        ring.learn([other.clone()], 60.0);
        assert_eq!(at(&mut ring, 59.0).1, 2);
        assert_eq!(at(&mut ring, 60.0).1, 1);
    }
}
