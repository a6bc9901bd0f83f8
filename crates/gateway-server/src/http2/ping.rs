//! Whether a silent client is still there.

use crate::http1::{Timer, Wait};
use h2::{Ping, PingPong};
use std::cell::Cell;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Instant;

/// How long a connection may be silent before it is asked whether it is still there, and how long it may take to say so.
const INTERVAL: Duration = Duration::from_secs(30);
const TIMEOUT: Duration = Duration::from_secs(20);

/// When the client was heard last: anything is a sign of life.
#[derive(Clone, Debug)]
pub(super) struct Heard(Rc<Cell<Instant>>);

impl Heard {
    pub(super) fn now() -> Self {
        Self(Rc::new(Cell::new(Instant::now())))
    }

    pub(super) fn note(&self) {
        self.0.set(Instant::now());
    }

    pub(super) fn last(&self) -> Instant {
        self.0.get()
    }
}

/// Asks a silent client with PING (RFC 9113 §6.7).
pub(super) struct Pings {
    ping_pong: PingPong,
    heard: Heard,
    /// When the client was asked what it has not answered.
    asked: Option<Instant>,
    timer: Timer,
}

impl Pings {
    pub(super) fn new(ping_pong: PingPong, heard: Heard) -> Self {
        Self { ping_pong, heard, asked: None, timer: Timer::default() }
    }

    /// Resolves when the client is gone. To be called before the connection is polled, which sends the PING.
    pub(super) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.asked.is_none() {
            self.timer.set(Wait::Idle, INTERVAL);
        }
        while self.timer.poll(cx).is_ready() {
            let (now, heard) = (Instant::now(), self.heard.last());
            self.asked = self.asked.filter(|asked| heard < *asked);
            if self.asked.is_some() {
                return Poll::Ready(());
            }
            if let Some(left) =
                INTERVAL.checked_sub(now.saturating_duration_since(heard)).filter(|left| !left.is_zero())
            {
                self.timer.set(Wait::Idle, left);
                continue;
            }
            // Answered long ago: whoever says anything else is there, too.
            let _ = self.ping_pong.poll_pong(cx);
            // Refused where an earlier one is still to be answered: that will do.
            let _ = self.ping_pong.send_ping(Ping::opaque());
            self.asked = Some(now);
            self.timer.set(Wait::Pong, TIMEOUT);
        }
        Poll::Pending
    }
}
