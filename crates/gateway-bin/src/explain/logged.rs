//! Requests as access logs tell of them, a line each.

use super::Asked;
use serde::Deserialize;
use std::net::{IpAddr, Ipv4Addr};

mod time;

pub(crate) use time::shown;

const EXPECTED: &str =
    "expected `METHOD URL`, a line of JSON with `method` and `uri`, or the common log format";

/// What a line says of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Logged {
    pub(crate) method: String,
    /// A URL, or only its path and query.
    pub(crate) url: String,
    pub(crate) host: Option<String>,
    pub(crate) client: Option<IpAddr>,
    /// Microseconds since 1970.
    pub(crate) time: Option<u64>,
    /// Who was authenticated.
    pub(crate) user: Option<String>,
    pub(crate) status: Option<u16>,
    /// The code of the gateway's own answer.
    pub(crate) reason: Option<String>,
}

/// Lines of our access log in any of its formats; what else they say does not matter.
#[derive(Deserialize)]
struct JsonLine {
    method: String,
    #[serde(alias = "url")]
    uri: String,
    #[serde(default)]
    host: Option<String>,
    #[serde(default, alias = "remote_ip", alias = "ip_address")]
    client: Option<String>,
    #[serde(default, alias = "timestamp")]
    time: Option<String>,
    #[serde(default, alias = "user_id")]
    user: Option<String>,
    #[serde(default, alias = "status_code")]
    status: Option<u16>,
    #[serde(default)]
    reason: Option<String>,
}

impl Logged {
    /// Reads a line; `None` if it is empty or a comment.
    ///
    /// # Errors
    /// Says what the line lacks.
    pub(crate) fn read(line: &str) -> Result<Option<Self>, String> {
        let line = line.trim();
        match line.as_bytes() {
            [] | [b'#', ..] => Ok(None),
            [b'{', ..] => Self::json(line).map(Some),
            _ => {
                Self::plain(line).or_else(|| Self::common(line)).map(Some).ok_or_else(|| EXPECTED.to_owned())
            }
        }
    }

    fn json(line: &str) -> Result<Self, String> {
        let read: JsonLine = serde_json::from_str(line).map_err(|error| error.to_string())?;
        let some = |text: Option<String>| text.filter(|text| !text.is_empty());
        Ok(Self {
            method: read.method,
            url: read.uri,
            host: some(read.host),
            client: read.client.and_then(|client| client.parse().ok()),
            time: read.time.as_deref().and_then(time::rfc3339),
            user: some(read.user),
            status: read.status,
            reason: some(read.reason),
        })
    }

    /// `GET http://shop.example/api`.
    fn plain(line: &str) -> Option<Self> {
        let mut words = line.split_ascii_whitespace();
        let (method, url) = (words.next()?, words.next()?);
        let ends = words.next().is_none_or(|version| version.starts_with("HTTP/")) && words.next().is_none();
        let is_method = method.bytes().all(|b| b.is_ascii_uppercase() || b == b'-');
        let is_url = url.starts_with('/') || url == "*" || url.contains("://");
        (ends && is_method && is_url).then(|| Self {
            method: method.to_owned(),
            url: url.to_owned(),
            ..Self::default()
        })
    }

    /// `192.0.2.1 - ada [10/Oct/2000:13:55:36 -0700] "GET /api HTTP/1.0" 200 2326`, whatever follows.
    fn common(line: &str) -> Option<Self> {
        let (who, rest) = line.split_once(" [")?;
        let (when, rest) = rest.split_once("] \"")?;
        let mut who = who.splitn(3, ' ');
        let (client, _, user) = (who.next()?, who.next()?, who.next()?);
        // A quote within is written `\"`.
        let end = rest.match_indices('"').find(|(at, _)| !rest[..*at].ends_with('\\'))?.0;
        let mut asked = rest[..end].split(' ');
        let (method, url) = (asked.next()?, asked.next()?);
        let status = rest[end + 1..].split_ascii_whitespace().next();
        Some(Self {
            method: method.to_owned(),
            url: url.to_owned(),
            client: client.parse().ok(),
            time: time::common(when),
            user: Some(user).filter(|user| *user != "-").map(str::to_owned),
            status: status.and_then(|status| status.parse().ok()),
            ..Self::default()
        })
    }

    /// The request, so far as the line tells.
    ///
    /// # Errors
    /// Says which part is none, and what was expected.
    pub(crate) fn asked(&self) -> Result<Asked, String> {
        let host: Vec<String> = self.host.iter().map(|host| format!("host: {host}")).collect();
        let client = self.client.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
        Asked::read(&self.method, &self.url, &host, client)
    }
}

/// How many lines could not be read, with the first of them.
#[derive(Debug, Default, serde::Serialize)]
pub(crate) struct Unread {
    lines: u64,
    examples: Vec<UnreadLine>,
}

#[derive(Debug, serde::Serialize)]
struct UnreadLine {
    place: String,
    text: String,
    why: String,
}

impl Unread {
    /// More than this are only counted.
    const EXAMPLES: usize = 3;
    /// Of longer lines, the beginning is shown.
    const SHOWN: usize = 120;

    pub(crate) fn is_empty(&self) -> bool {
        self.lines == 0
    }

    pub(crate) fn note(&mut self, place: impl FnOnce() -> String, line: &str, why: String) {
        self.lines += 1;
        if self.examples.len() < Self::EXAMPLES {
            let text = line.trim().chars().take(Self::SHOWN).collect();
            self.examples.push(UnreadLine { place: place(), text, why });
        }
    }
}

impl std::fmt::Display for Unread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.lines {
            0 => return Ok(()),
            1 => writeln!(f, "\n1 line was not read")?,
            many => writeln!(f, "\n{many} lines were not read, such as")?,
        }
        self.examples
            .iter()
            .try_for_each(|UnreadLine { place, text, why }| writeln!(f, "  {place}: `{text}`: {why}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_every_format_are_read() {
        let at = |second: u64| Some(second * 1_000_000);
        let request = |method: &str, url: &str| Logged {
            method: method.to_owned(),
            url: url.to_owned(),
            ..Logged::default()
        };
        let client: Option<IpAddr> = "192.0.2.7".parse().ok();
        let text = |text: &str| Some(text.to_owned());
        for (line, expected) in [
            ("GET /a?b=c", request("GET", "/a?b=c")),
            ("POST http://shop.example/a HTTP/1.1", request("POST", "http://shop.example/a")),
            (
                r#"{"time":"2024-01-15T10:30:00.001000020Z","id":null,"client":"192.0.2.7","method":"GET","host":"","uri":"/a","route":"/a/*","service":"a","upstream":null,"status":429,"reason":"rate-limited","user":"ada","duration_ms":0.045,"bytes_in":0,"bytes_out":5,"user_agent":"curl"}"#,
                Logged {
                    client,
                    time: Some(1_705_314_600_001_000),
                    user: text("ada"),
                    status: Some(429),
                    reason: text("rate-limited"),
                    ..request("GET", "/a")
                },
            ),
            (
                r#"{"time":"2024-01-15T11:30:00+01:00","id":"","remote_ip":"192.0.2.7","host":"h:80","method":"PUT","uri":"/a","user_agent":"","status":200,"error":"","latency":45167,"latency_human":"45µs","bytes_in":0,"bytes_out":5}"#,
                Logged {
                    client,
                    host: text("h:80"),
                    time: at(1_705_314_600),
                    status: Some(200),
                    ..request("PUT", "/a")
                },
            ),
            (
                r#"192.0.2.7 - - [15/Jan/2024:10:30:00 +0000] "GET /a?x=\"y HTTP/1.0" 200 2326"#,
                Logged { client, time: at(1_705_314_600), status: Some(200), ..request("GET", "/a?x=\\\"y") },
            ),
            (
                r#"proxy.example - a b [15/Jan/2024:03:30:00 -0700] "GET /a HTTP/1.0" 401 - "-" "curl""#,
                Logged {
                    time: at(1_705_314_600),
                    user: text("a b"),
                    status: Some(401),
                    ..request("GET", "/a")
                },
            ),
        ] {
            assert_eq!(Logged::read(line).unwrap(), Some(expected), "{line}");
        }
        for line in ["", "  ", "# yesterday"] {
            assert_eq!(Logged::read(line), Ok(None), "{line}");
        }
    }

    #[test]
    fn what_is_no_line_says_what_would_be() {
        for (line, part) in [
            ("hello", "expected `METHOD URL`"),
            ("GET", "expected `METHOD URL`"),
            ("{\"method\":\"GET\"}", "missing field `uri`"),
            ("{\"method\"", "EOF"),
            ("a - - [x] \"", "expected `METHOD URL`"),
        ] {
            let why = Logged::read(line).unwrap_err();
            assert!(why.contains(part), "{line}: {why}");
        }
    }
}
