use super::failure::explained;
use super::topology::Topology;
use crate::{Event, RedisSettings};
use bytes::Bytes;
use deadpool_redis::redis::Value;
use deadpool_redis::redis::aio::{PubSubSink, PubSubStream};
use futures_util::StreamExt;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep_until, timeout};

/// The first pause before a new connection; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How often a silent connection is asked whether the server is still there: one that froze never closes it.
const PING_EVERY: Duration = Duration::from_secs(2);

/// The messages of a channel of a Redis, over a connection of its own.
pub(crate) struct RedisSubscription {
    topology: Arc<Topology>,
    settings: Arc<RedisSettings>,
    channel: String,
    link: Option<(PubSubSink, PubSubStream)>,
    pause: Duration,
    retry_at: Instant,
    ping_at: Instant,
    /// Whether the loss has been told.
    away: bool,
}

impl RedisSubscription {
    pub(crate) fn new(topology: Arc<Topology>, settings: Arc<RedisSettings>, channel: String) -> Self {
        let now = Instant::now();
        Self {
            topology,
            settings,
            channel,
            link: None,
            pause: FIRST_PAUSE,
            retry_at: now,
            ping_at: now,
            away: false,
        }
    }

    /// Whatever is waited for is in `self`, so that a call that is dropped loses nothing.
    pub(crate) async fn next(&mut self) -> Event {
        loop {
            let patience = *self.settings.connect_timeout;
            let Some((sink, stream)) = &mut self.link else {
                sleep_until(self.retry_at).await;
                match timeout(patience * self.topology.steps(), self.topology.subscribe(&self.channel)).await
                {
                    Ok(Ok(messages)) => {
                        self.connected(messages.split());
                        return Event::Gap;
                    }
                    Ok(Err(e)) => self.lost(&explained(&e)),
                    Err(_) => self.lost("no connection in time"),
                }
                continue;
            };
            tokio::select! {
                message = stream.next() => match message {
                    Some(message) => return Event::Message(Bytes::copy_from_slice(message.get_payload_bytes())),
                    None => self.lost("the connection was closed"),
                },
                () = sleep_until(self.ping_at) => match timeout(patience, sink.ping::<Value>()).await {
                    Ok(Ok(_)) => self.ping_at = Instant::now() + PING_EVERY,
                    Ok(Err(e)) => self.lost(&explained(&e)),
                    Err(_) => self.lost("no answer to a PING"),
                },
            }
        }
    }

    fn connected(&mut self, link: (PubSubSink, PubSubStream)) {
        self.link = Some(link);
        self.pause = FIRST_PAUSE;
        self.ping_at = Instant::now() + PING_EVERY;
        if std::mem::take(&mut self.away) {
            tracing::info!("Redis at {}: listens to `{}` again", self.settings.shown(), self.channel);
        }
    }

    fn lost(&mut self, why: &str) {
        self.link = None;
        // Somewhere in the second half of the pause, so that not all instances come at once.
        self.retry_at = Instant::now() + self.pause.mul_f64(0.5 + fastrand::f64() / 2.0);
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        if !std::mem::replace(&mut self.away, true) {
            let url = self.settings.shown();
            tracing::warn!("Redis at {url}: lost the channel `{}`: {why}; messages are missed", self.channel);
        }
    }
}

impl fmt::Debug for RedisSubscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisSubscription").field("channel", &self.channel).finish_non_exhaustive()
    }
}
