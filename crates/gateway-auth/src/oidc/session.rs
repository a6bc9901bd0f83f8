//! What a browser's session holds, and how long it lasts: decisions over values and a time.

use crate::OidcSettings;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A session, as it is sealed into cookies. Times are seconds since 1970. Names are short: the browser sends them
/// with every request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Session {
    #[serde(rename = "c")]
    pub(crate) claims: Map<String, Value>,
    /// When the login was.
    #[serde(rename = "b")]
    pub(crate) began: f64,
    /// When the last request was, roughly.
    #[serde(rename = "s")]
    pub(crate) seen: f64,
    #[serde(rename = "a", default, skip_serializing_if = "Option::is_none")]
    pub(crate) access: Option<Access>,
    #[serde(rename = "r", default, skip_serializing_if = "Option::is_none")]
    pub(crate) refresh_token: Option<String>,
    /// For the logout only.
    #[serde(rename = "i", default, skip_serializing_if = "Option::is_none")]
    pub(crate) id_token: Option<String>,
}

/// The times of an access token. The token itself is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Access {
    /// When it is refreshed.
    #[serde(rename = "d")]
    pub(crate) due: f64,
    #[serde(rename = "e")]
    pub(crate) ends: f64,
}

/// What becomes of a session now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Good,
    /// Good, and the browser is to be told that it was used.
    Used,
    /// To be refreshed first.
    Due,
    Ended,
}

/// In seconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) lifetime: f64,
    pub(crate) idle: f64,
    pub(crate) refresh_before: f64,
}

impl Limits {
    pub(crate) fn of(settings: &OidcSettings) -> Self {
        Self {
            lifetime: settings.lifetime.as_secs_f64(),
            idle: settings.idle.as_secs_f64(),
            refresh_before: settings.refresh_before.as_secs_f64(),
        }
    }

    /// When an access token is refreshed that is good for so long: never before half its time.
    pub(crate) fn access(&self, lives: f64, now: f64) -> Access {
        Access { due: now + (lives - self.refresh_before).max(lives / 2.0), ends: now + lives }
    }

    /// Whole seconds until a session ends at the latest.
    pub(crate) fn remaining(&self, session: &Session, now: f64) -> u64 {
        (session.began + self.lifetime - now).max(0.0) as u64
    }

    pub(crate) fn state(&self, session: &Session, now: f64) -> State {
        if now >= session.began + self.lifetime || now >= session.seen + self.idle {
            return State::Ended;
        }
        match session.access {
            Some(access) if session.refresh_token.is_some() && now >= access.due => State::Due,
            // Often enough for the idle time to be nearly exact, and not with every answer.
            _ if now >= session.seen + self.idle / 10.0 => State::Used,
            _ => State::Good,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_ends_by_age_or_idleness_and_is_refreshed_shortly_before_its_token_ends() {
        let limits = Limits { lifetime: 1000.0, idle: 100.0, refresh_before: 60.0 };
        let session = |seen, lives: Option<f64>, refresh: bool| Session {
            claims: Map::new(),
            began: 0.0,
            seen,
            access: lives.map(|lives| limits.access(lives, 0.0)),
            refresh_token: refresh.then(|| "r".to_owned()),
            id_token: None,
        };
        for (session, now, expected) in [
            (session(0.0, None, false), 0.0, State::Good),
            (session(0.0, None, false), 9.9, State::Good),
            (session(0.0, None, false), 10.0, State::Used),
            (session(0.0, None, false), 99.9, State::Used),
            (session(0.0, None, false), 100.0, State::Ended),
            (session(999.0, None, false), 999.9, State::Good),
            (session(999.0, None, false), 1000.0, State::Ended),
            (session(235.0, Some(300.0), true), 239.9, State::Good),
            (session(235.0, Some(300.0), true), 240.0, State::Due),
            (session(235.0, Some(300.0), false), 240.0, State::Good),
            (session(0.0, Some(10.0), true), 4.9, State::Good),
            (session(0.0, Some(10.0), true), 5.0, State::Due),
            (session(0.0, Some(10.0), true), 100.0, State::Ended),
        ] {
            assert_eq!(limits.state(&session, now), expected, "{session:?} at {now}");
        }
    }
}
