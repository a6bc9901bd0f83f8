use crate::algorithm::calendar::{Calendar, Cycle};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};
use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

/// So many requests in a day, week or month of the calendar: `"10000/day"`, `"50000/week"`, `"1000000/month"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    count: u32,
    cycle: Cycle,
}

impl Quota {
    /// How many.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.count
    }

    /// In what: `day`, `week` or `month`.
    #[must_use]
    pub fn per(&self) -> &'static str {
        match self.cycle {
            Cycle::Day => "day",
            Cycle::Week => "week",
            Cycle::Month => "month",
        }
    }

    pub(crate) fn calendar(&self, zone: TimeZone) -> Calendar {
        Calendar { cycle: self.cycle, offset: zone.0 }
    }
}

impl FromStr for Quota {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("`{text}` is not a quota; expected something like \"10000/day\" or \"1000000/month\"");
        let (count, cycle) = text.trim().split_once('/').ok_or_else(wrong)?;
        let count = count.parse().map_err(|_| wrong())?;
        let cycle = match cycle {
            "d" | "day" => Cycle::Day,
            "w" | "week" => Cycle::Week,
            "month" => Cycle::Month,
            _ => return Err(wrong()),
        };
        if count == 0 {
            return Err(format!("`{text}` would let nothing through; the count must be at least 1"));
        }
        Ok(Self { count, cycle })
    }
}

impl fmt::Display for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.count, self.per())
    }
}

/// By whose calendar quotas begin: an offset from UTC, in seconds. Summer time is not known to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimeZone(i32);

impl FromStr for TimeZone {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no time zone; expected \"UTC\" or an offset such as \"+02:00\"");
        if matches!(text, "UTC" | "Z") {
            return Ok(Self(0));
        }
        let (sign, rest) = match text.split_at_checked(1) {
            Some(("+", rest)) => (1, rest),
            Some(("-", rest)) => (-1, rest),
            _ => return Err(wrong()),
        };
        let number = |part: &str, most: i32| {
            let digits = part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit());
            part.parse().ok().filter(|n: &i32| digits && *n <= most).ok_or_else(wrong)
        };
        let (hours, minutes) = rest.split_once(':').ok_or_else(wrong)?;
        Ok(Self(sign * (number(hours, 14)? * 3600 + number(minutes, 59)? * 60)))
    }
}

macro_rules! text_setting {
    ($type:ident, $example:literal) => {
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                Cow::<'_, str>::deserialize(d)?.parse().map_err(serde::de::Error::custom)
            }
        }
        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "examples": [$example] })
            }
            fn inline_schema() -> bool {
                true
            }
        }
    };
}
text_setting!(Quota, "10000/day");
text_setting!(TimeZone, "UTC");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotas_and_zones_are_read_and_mistakes_say_what_would_be_right() {
        for text in ["10000/day", "5/week", "1000000/month"] {
            assert_eq!(text.parse::<Quota>().unwrap().to_string(), text);
        }
        for text in ["", "10", "10/h", "-1/day", "x/day"] {
            assert!(text.parse::<Quota>().unwrap_err().contains("10000/day"), "{text}");
        }
        assert!("0/day".parse::<Quota>().unwrap_err().contains("nothing through"));
        for (text, seconds) in [("UTC", 0), ("Z", 0), ("+02:00", 7200), ("-03:30", -12_600)] {
            assert_eq!(text.parse::<TimeZone>().unwrap().0, seconds, "{text}");
        }
        for text in ["", "+2:00", "+0200", "Europe/Berlin", "+25:00", "+01:60"] {
            assert!(text.parse::<TimeZone>().unwrap_err().contains("+02:00"), "{text}");
        }
    }
}
