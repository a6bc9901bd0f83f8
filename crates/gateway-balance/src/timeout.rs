//! Until when a request, and each of its attempts, must have been answered: pure decisions.

use crate::client_deadline::ClientDeadline;
use crate::failure::Failure;
use crate::settings::TimeoutSettings;
use http::request::Parts;
use std::time::Duration;
use tokio::time::Instant;

/// The time that one request has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Time {
    pub(crate) client: ClientDeadline,
    total: Duration,
    per_try: Option<Duration>,
    total_end: Instant,
}

/// What cuts an attempt off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limit {
    /// The gateway's own timeout, as long as this.
    Own(Duration),
    /// The client's deadline.
    Client,
}

impl From<Limit> for Failure {
    fn from(limit: Limit) -> Self {
        match limit {
            Limit::Own(limit) => Self::Timeout(limit),
            Limit::Client => Self::ClientDeadline,
        }
    }
}

impl Time {
    pub(crate) fn of(head: &Parts, settings: &TimeoutSettings, now: Instant) -> Self {
        Self {
            client: ClientDeadline::of(head, settings, now),
            total: *settings.total,
            per_try: settings.per_try.map(|limit| limit.0),
            total_end: now + *settings.total,
        }
    }

    /// The same for a request in whose duration the client had a part until `moved`: while it sends its body, only
    /// its own deadline runs.
    pub(crate) fn since(self, moved: Option<Instant>) -> Self {
        let total_end = moved.map_or(self.total_end, |moved| self.total_end.max(moved + self.total));
        Self { total_end, ..self }
    }

    /// When all attempts must be over.
    pub(crate) fn end(&self) -> Instant {
        self.client.end().map_or(self.total_end, |end| end.min(self.total_end))
    }

    /// When the attempt that begins now must be over, and why.
    pub(crate) fn limit(&self, now: Instant) -> (Instant, Limit) {
        let (own_end, limit) = match self.per_try {
            Some(limit) if now + limit < self.total_end => (now + limit, limit),
            _ => (self.total_end, self.total),
        };
        match self.client.end() {
            Some(end) if end < own_end => (end, Limit::Client),
            _ => (own_end, Limit::Own(limit)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_that_a_client_takes_for_its_body_counts_against_nobody_but_the_client() {
        let now = Instant::now();
        let after = |secs| now + Duration::from_secs(secs);
        let settings = TimeoutSettings { per_try: Some("2s".parse().unwrap()), ..TimeoutSettings::default() };
        let head = http::Request::post("/").body(()).unwrap().into_parts().0;
        let time = Time::of(&head, &settings, now);
        for (moved, end) in [(None, 15), (Some(0), 15), (Some(1), 16), (Some(100), 115)] {
            assert_eq!(time.since(moved.map(after)).end(), after(end), "{moved:?}");
        }
        let limit = Limit::Own(Duration::from_secs(2));
        assert_eq!(time.since(Some(after(100))).limit(after(100)), (after(102), limit));
        let settings = TimeoutSettings {
            deadline_header: Some("x-timeout".parse().unwrap()),
            ..TimeoutSettings::default()
        };
        let head = http::Request::post("/").header("x-timeout", "5000").body(()).unwrap().into_parts().0;
        let time = Time::of(&head, &settings, now).since(Some(after(100)));
        assert_eq!(time.limit(after(100)), (after(5), Limit::Client));
    }

    #[test]
    fn the_shortest_limit_counts_and_is_the_one_that_is_named() {
        let now = Instant::now();
        let own = |secs| Limit::Own(Duration::from_secs(secs));
        for (per_try, client, at, ends, limit) in [
            (None, None, 0, 15, own(15)),
            (Some("2s"), None, 0, 2, own(2)),
            (Some("2s"), None, 14, 15, own(15)),
            (Some("2s"), Some("1000"), 0, 1, Limit::Client),
            (Some("2s"), Some("5000"), 0, 2, own(2)),
            (Some("2s"), Some("5000"), 4, 5, Limit::Client),
            (None, Some("60000"), 0, 15, own(15)),
        ] {
            let settings = TimeoutSettings {
                per_try: per_try.map(|text| text.parse().unwrap()),
                deadline_header: Some("x-timeout".parse().unwrap()),
                ..TimeoutSettings::default()
            };
            let mut request = http::Request::get("/");
            if let Some(millis) = client {
                request = request.header("x-timeout", millis);
            }
            let head = request.body(()).unwrap().into_parts().0;
            let time = Time::of(&head, &settings, now);
            let after = |secs| now + Duration::from_secs(secs);
            assert_eq!(time.limit(after(at)), (after(ends), limit), "{per_try:?} {client:?} at {at}");
        }
    }
}
