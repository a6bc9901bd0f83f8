use crate::memory::MemorySubscription;
use crate::redis::RedisSubscription;
use bytes::Bytes;

/// What a [`Subscription`] tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Somebody published this.
    Message(Bytes),
    /// Messages may have been missed: from here on they arrive. Comes first of all, after every new connection, and
    /// when the listener was too slow. Who keeps something up to date by messages reads it anew now.
    Gap,
}

/// The messages of a channel, from [`Store::subscribe`](crate::Store::subscribe).
///
/// Nothing happens unless somebody asks for the [next](Self::next) event: run it in a task of its own.
///
/// ```no_run
/// use gateway_store::{Event, Store};
///
/// # async fn forget(_: &[u8]) {} async fn forget_all() {}
/// # async fn example(store: Store) {
/// let mut purges = store.subscribe("purge");
/// tokio::spawn(async move {
///     loop {
///         match purges.next().await {
///             Event::Message(tag) => forget(&tag).await,
///             Event::Gap => forget_all().await,
///         }
///     }
/// });
/// # }
/// ```
#[derive(Debug)]
pub struct Subscription(pub(crate) Source);

#[derive(Debug)]
pub(crate) enum Source {
    Memory(MemorySubscription),
    Redis(Box<RedisSubscription>),
}

impl Subscription {
    /// Waits for the next event, across any number of lost connections. Can be dropped half-way without losing one.
    pub async fn next(&mut self) -> Event {
        match &mut self.0 {
            Source::Memory(memory) => memory.next().await,
            Source::Redis(redis) => redis.next().await,
        }
    }
}
