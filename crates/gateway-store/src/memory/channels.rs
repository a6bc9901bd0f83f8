use crate::Event;
use bytes::Bytes;
use hashbrown::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

/// How many messages wait for a slow listener before it misses the oldest.
const BACKLOG: usize = 1024;

/// Channels by name; only those that somebody listens to.
#[derive(Debug, Default)]
pub(crate) struct Channels(Mutex<HashMap<Box<str>, broadcast::Sender<Bytes>>>);

/// The messages of a channel of this process.
#[derive(Debug)]
pub(crate) struct MemorySubscription {
    messages: broadcast::Receiver<Bytes>,
    new: bool,
    /// Holds the sending side.
    _channels: Arc<Channels>,
}

impl Channels {
    pub(crate) fn publish(&self, channel: &str, message: &[u8]) {
        let mut channels = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(sender) = channels.get(channel) else { return };
        if sender.send(Bytes::copy_from_slice(message)).is_err() {
            // Nobody listens any more.
            channels.remove(channel);
        }
    }

    pub(crate) fn subscribe(self: &Arc<Self>, channel: &str) -> MemorySubscription {
        let mut channels = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        channels.retain(|_, sender| sender.receiver_count() > 0);
        let sender = channels.entry(channel.into()).or_insert_with(|| broadcast::channel(BACKLOG).0);
        MemorySubscription { messages: sender.subscribe(), new: true, _channels: self.clone() }
    }
}

impl MemorySubscription {
    pub(crate) async fn next(&mut self) -> Event {
        if std::mem::take(&mut self.new) {
            return Event::Gap;
        }
        match self.messages.recv().await {
            Ok(message) => Event::Message(message),
            Err(RecvError::Lagged(_)) => Event::Gap,
            // Not while the channels are held.
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_listener_of_a_channel_gets_every_message_after_a_gap() {
        let channels = Arc::new(Channels::default());
        channels.publish("a", b"nobody listens");
        let (mut one, mut two) = (channels.subscribe("a"), channels.subscribe("a"));
        let mut other = channels.subscribe("b");
        channels.publish("a", b"1");
        channels.publish("b", b"2");
        for (listener, message) in [(&mut one, "1"), (&mut two, "1"), (&mut other, "2")] {
            assert_eq!(listener.next().await, Event::Gap);
            assert_eq!(listener.next().await, Event::Message(message.into()));
        }
        drop((one, two));
        channels.publish("a", b"nobody listens any more");
        assert_eq!(channels.0.lock().unwrap().len(), 1, "a channel without listeners costs nothing");
    }

    #[tokio::test]
    async fn a_slow_listener_sees_a_gap_and_the_newest_messages() {
        let channels = Arc::new(Channels::default());
        let mut slow = channels.subscribe("a");
        assert_eq!(slow.next().await, Event::Gap);
        for n in 0..=BACKLOG {
            channels.publish("a", n.to_string().as_bytes());
        }
        assert_eq!(slow.next().await, Event::Gap);
        assert_eq!(slow.next().await, Event::Message("1".into()));
    }
}
