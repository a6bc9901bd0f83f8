use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};
use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// So many requests in so much time, written `"100/min"`, `"1000/h burst 50"`, `"5/10s"`.
///
/// The burst is how many may come at once; it is the whole count unless said otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    count: u32,
    period: Duration,
    burst: u32,
}

impl Limit {
    /// How many requests in a period.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.count
    }

    /// The period.
    #[must_use]
    pub fn period(&self) -> Duration {
        self.period
    }

    /// How many at once.
    #[must_use]
    pub fn burst(&self) -> u32 {
        self.burst
    }

    pub(crate) fn of(count: u32, period: Duration, burst: u32) -> Self {
        Self { count, period, burst }
    }

    /// The period as it is written: `s`, `min`, `10s`.
    pub(crate) fn per(&self) -> Cow<'static, str> {
        match self.period.as_secs() {
            1 => "s".into(),
            60 => "min".into(),
            3600 => "h".into(),
            86_400 => "d".into(),
            seconds => format!("{seconds}s").into(),
        }
    }
}

impl FromStr for Limit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "`{text}` is not a rate limit; expected something like \"100/min\", \"20/s\" or \"1000/h burst 50\""
            )
        };
        let mut words = text.split_whitespace();
        let (count, period) = words.next().and_then(|rate| rate.split_once('/')).ok_or_else(wrong)?;
        let count: u32 = count.parse().map_err(|_| wrong())?;
        let digits = period.find(|c: char| !c.is_ascii_digit()).unwrap_or(period.len());
        let times: u64 = if digits == 0 { 1 } else { period[..digits].parse().map_err(|_| wrong())? };
        let unit: u64 = match &period[digits..] {
            "s" | "sec" | "second" => 1,
            "m" | "min" | "minute" => 60,
            "h" | "hour" => 3600,
            "d" | "day" => 86_400,
            _ => return Err(wrong()),
        };
        let burst = match (words.next(), words.next(), words.next()) {
            (None, ..) => count,
            (Some("burst"), Some(burst), None) => burst.parse().map_err(|_| wrong())?,
            _ => return Err(wrong()),
        };
        // A period over a year is a typing error, and would not fit the arithmetic.
        let seconds = times.checked_mul(unit).filter(|s| (1..=366 * 86_400).contains(s)).ok_or_else(wrong)?;
        if count == 0 || burst == 0 {
            return Err(format!("`{text}` would let nothing through; count and burst must be at least 1"));
        }
        Ok(Self { count, period: Duration::from_secs(seconds), burst })
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.count, self.per())?;
        if self.burst == self.count { Ok(()) } else { write!(f, " burst {}", self.burst) }
    }
}

impl<'de> Deserialize<'de> for Limit {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Cow::<'_, str>::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Limit {
    fn schema_name() -> Cow<'static, str> {
        "Limit".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "examples": ["100/min", "1000/h burst 50"] })
    }
    fn inline_schema() -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_and_shown_the_same() {
        for (text, count, seconds, burst) in [
            ("100/min", 100, 60, 100),
            ("20/s", 20, 1, 20),
            ("1000/h burst 50", 1000, 3600, 50),
            ("5/10s", 5, 10, 5),
            ("10000/d", 10000, 86_400, 10000),
        ] {
            let limit: Limit = text.parse().unwrap();
            assert_eq!((limit.count, limit.period.as_secs(), limit.burst), (count, seconds, burst), "{text}");
            assert_eq!(limit.to_string(), text);
        }
    }

    #[test]
    fn what_is_no_limit_says_what_would_be() {
        for text in [
            "",
            "100",
            "100/",
            "/min",
            "x/min",
            "1/fortnight",
            "1/min burst",
            "1/min bust 3",
            "1/0s",
            "-1/s",
            "1/999999d",
        ] {
            assert!(text.parse::<Limit>().unwrap_err().contains("100/min"), "{text}");
        }
        for text in ["0/min", "5/min burst 0"] {
            assert!(text.parse::<Limit>().unwrap_err().contains("nothing through"), "{text}");
        }
    }
}
