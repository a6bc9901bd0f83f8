//! How long the client will wait, and how the endpoint is told what is left of that.

use crate::settings::TimeoutSettings;
use gateway_core::Grpc;
use http::header::{HeaderName, HeaderValue};
use http::request::Parts;
use http::{HeaderMap, Method};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};
use std::borrow::Cow;
use std::time::Duration;
use tokio::time::Instant;

/// gRPC over HTTP/2, "Requests": up to eight digits and a unit.
const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// The name of a header whose value is a number of milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MillisHeader(HeaderName);

impl std::str::FromStr for MillisHeader {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse::<HeaderName>() {
            Ok(name) if name == GRPC_TIMEOUT => {
                Err("`grpc-timeout` has a format of its own and is always heeded; expected another header"
                    .to_owned())
            }
            Ok(name) => Ok(Self(name)),
            Err(_) => {
                Err(format!("`{text}` is no header's name; expected one such as \"x-request-timeout-ms\""))
            }
        }
    }
}

impl<'de> Deserialize<'de> for MillisHeader {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for MillisHeader {
    fn schema_name() -> Cow<'static, str> {
        "MillisHeader".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "the name of a header whose value is a number of milliseconds",
            "examples": ["x-request-timeout-ms"],
        })
    }
    fn inline_schema() -> bool {
        true
    }
}

/// When the client gives up, by its own account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ClientDeadline {
    grpc: Option<Instant>,
    header: Option<Instant>,
}

impl ClientDeadline {
    /// What the request says. What cannot be read says nothing, as in Envoy; see [`clean`](Self::clean).
    pub(crate) fn of(head: &Parts, settings: &TimeoutSettings, now: Instant) -> Self {
        // Every gRPC call is a POST; others are not searched.
        let grpc = || {
            let value = head.headers.get(GRPC_TIMEOUT).filter(|_| Grpc::of(&head.headers).is_some())?;
            now.checked_add(parse_grpc(value.as_bytes())?)
        };
        let header = |MillisHeader(name): &MillisHeader| {
            let millis = head.headers.get(name)?.to_str().ok()?.trim().parse().ok()?;
            now.checked_add(Duration::from_millis(millis))
        };
        Self {
            grpc: if head.method == Method::POST { grpc() } else { None },
            header: settings.deadline_header.as_ref().and_then(header),
        }
    }

    /// Takes a `grpc-timeout` away that cannot be read, or is far beyond the clock: the endpoint is to know of no deadline
    /// that the gateway does not.
    pub(crate) fn clean(self, head: &mut Parts) {
        if self.grpc.is_none()
            && head.method == Method::POST
            && head.headers.contains_key(GRPC_TIMEOUT)
            && Grpc::of(&head.headers).is_some()
        {
            head.headers.remove(GRPC_TIMEOUT);
        }
    }

    /// The earlier one.
    pub(crate) fn end(self) -> Option<Instant> {
        match (self.grpc, self.header) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (one, other) => one.or(other),
        }
    }

    /// Has the headers say what is left. The gateway's own limits stay out of it: they end with the answer's head,
    /// the client's holds for the body too.
    pub(crate) fn tell(self, headers: &mut HeaderMap, settings: &TimeoutSettings, now: Instant) {
        if let Some(end) = self.grpc {
            headers.insert(GRPC_TIMEOUT, format_grpc(end.saturating_duration_since(now)));
        }
        if let (Some(end), Some(MillisHeader(name))) = (self.header, &settings.deadline_header) {
            headers.insert(name, millis(end.saturating_duration_since(now)));
        }
    }
}

/// Tells the endpoint how long the gateway will wait for its answer's head.
pub(crate) fn tell_budget(headers: &mut HeaderMap, MillisHeader(name): &MillisHeader, left: Duration) {
    headers.insert(name, millis(left));
}

/// Rounded down, but never to 0, which some take for "without limit".
fn millis(left: Duration) -> HeaderValue {
    HeaderValue::from(u64::try_from(left.as_millis()).unwrap_or(u64::MAX).max(1))
}

fn parse_grpc(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if !(1..=8).contains(&digits.len()) || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = digits.iter().fold(0, |number, digit| number * 10 + u64::from(digit - b'0'));
    Some(match unit {
        b'H' => Duration::from_secs(number * 3600),
        b'M' => Duration::from_secs(number * 60),
        b'S' => Duration::from_secs(number),
        b'm' => Duration::from_millis(number),
        b'u' => Duration::from_micros(number),
        b'n' => Duration::from_nanos(number),
        _ => return None,
    })
}

/// In the smallest unit, from microseconds on, whose number has no more than eight digits; rounded down.
fn format_grpc(left: Duration) -> HeaderValue {
    const MOST: u128 = 99_999_999;
    let seconds = u128::from(left.as_secs());
    let units =
        [(left.as_micros().max(1), 'u'), (left.as_millis(), 'm'), (seconds, 'S'), (seconds / 60, 'M')];
    let fits = units.into_iter().find(|(number, _)| *number <= MOST);
    let (number, unit) = fits.unwrap_or(((seconds / 3600).min(MOST), 'H'));
    // Digits and a letter are always a header's value.
    HeaderValue::try_from(format!("{number}{unit}")).unwrap_or(HeaderValue::from_static("1u"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn grpc_timeouts_are_read_in_all_units_and_nothing_else_is() {
        for (text, expected) in [
            ("2H", Some(Duration::from_secs(7200))),
            ("2M", Some(Duration::from_secs(120))),
            ("10S", Some(Duration::from_secs(10))),
            ("250m", Some(Duration::from_millis(250))),
            ("99999999u", Some(Duration::from_micros(99_999_999))),
            ("0n", Some(Duration::ZERO)),
            ("100000000n", None),
            ("S", None),
            ("10", None),
            ("10s", None),
            ("-1S", None),
            ("1.5S", None),
            ("", None),
        ] {
            assert_eq!(parse_grpc(text.as_bytes()), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_told_is_never_more_than_is_left_and_close_to_it(nanos in 1_000..u64::MAX) {
            let left = Duration::from_nanos(nanos);
            let told = parse_grpc(format_grpc(left).as_bytes()).unwrap();
            prop_assert!(told <= left);
            prop_assert!(left - told < left / 100_000 + Duration::from_micros(1), "{told:?} of {left:?}");
        }

        #[test]
        fn any_bytes_can_be_read(value in prop::collection::vec(any::<u8>(), 0..12)) {
            let _ = parse_grpc(&value);
        }
    }

    #[test]
    fn the_earlier_deadline_counts_and_each_header_is_told_its_own() {
        let settings = TimeoutSettings {
            deadline_header: Some("x-timeout".parse().unwrap()),
            ..TimeoutSettings::default()
        };
        let request = |method: Method, content_type: &str| {
            let request = http::Request::builder().method(method).header("content-type", content_type);
            let request = request.header("grpc-timeout", "10S").header("x-timeout", "2000");
            request.body(()).unwrap().into_parts().0
        };
        let now = Instant::now();
        let mut head = request(Method::POST, "application/grpc");
        let deadline = ClientDeadline::of(&head, &settings, now);
        assert_eq!(deadline.end(), Some(now + Duration::from_secs(2)));
        deadline.tell(&mut head.headers, &settings, now + Duration::from_millis(500));
        assert_eq!(
            (&head.headers["grpc-timeout"], &head.headers["x-timeout"]),
            (&"9500000u".parse().unwrap(), &"1500".parse().unwrap())
        );
        let head = request(Method::POST, "application/json");
        assert_eq!(ClientDeadline::of(&head, &settings, now).grpc, None, "it is not gRPC");
        let unset = TimeoutSettings::default();
        assert_eq!(ClientDeadline::of(&head, &unset, now).end(), None);
    }

    #[test]
    fn a_grpc_timeout_that_is_none_is_not_passed_on() {
        for (value, content_type, stays) in [
            ("10S", "application/grpc", true),
            ("10s", "application/grpc+proto", false),
            ("", "application/grpc", false),
            ("100000000n", "application/grpc", false),
            ("10s", "application/json", true),
        ] {
            let request = http::Request::post("/").header("content-type", content_type);
            let mut head = request.header("grpc-timeout", value).body(()).unwrap().into_parts().0;
            ClientDeadline::of(&head, &TimeoutSettings::default(), Instant::now()).clean(&mut head);
            assert_eq!(head.headers.contains_key("grpc-timeout"), stays, "{value} of {content_type}");
        }
    }

    #[test]
    fn a_header_is_named_or_refused_by_name() {
        for (name, part) in [("a b", "`a b` is no header's name"), ("grpc-timeout", "a format of its own")] {
            assert!(name.parse::<MillisHeader>().unwrap_err().contains(part), "{name}");
        }
    }
}
