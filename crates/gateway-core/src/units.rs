//! Settings with units in their values, and short forms of tables.
//!
//! ```
//! use gateway_core::units::{ByteSize, Timespan};
//! #[derive(serde::Deserialize)]
//! struct Settings { timeout: Timespan, limit: ByteSize }
//! let s: Settings = serde_json::from_str(r#"{"timeout": "1m 30s", "limit": "64KiB"}"#).unwrap();
//! assert_eq!(s.timeout.as_secs(), 90);
//! assert_eq!(s.limit.bytes(), 65536);
//! ```

mod short;
pub use short::{Scalar, Short, ShortForm, Switch};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, Error, Unexpected, Visitor};
use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

/// A length of time in settings, written with its unit: `"250ms"`, `"5s"`, `"1m 30s"`, `"1h"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timespan(pub Duration);

impl Timespan {
    /// Nothing that may be waited for, counted or kept lasts longer; clocks end some time after it.
    const MOST: Duration = Duration::from_secs(100 * 31_557_600);

    /// Seconds, for defaults.
    #[must_use]
    pub const fn secs(secs: u64) -> Self {
        Self(Duration::from_secs(secs))
    }

    /// Milliseconds, for defaults.
    #[must_use]
    pub const fn millis(millis: u64) -> Self {
        Self(Duration::from_millis(millis))
    }
}

impl std::ops::Deref for Timespan {
    type Target = Duration;
    fn deref(&self) -> &Duration {
        &self.0
    }
}

impl fmt::Display for Timespan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", humantime::format_duration(self.0))
    }
}

impl std::str::FromStr for Timespan {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        // Months, and hardly ever meant: they are a keystroke away from minutes.
        if text.split(|c: char| !c.is_alphabetic()).any(|unit| unit == "M") {
            return Err(format!(
                "`{text}` is no length of time: `M` is no unit; expected `m` for minutes, or `months`"
            ));
        }
        match humantime::parse_duration(text) {
            Ok(time) if time <= Self::MOST => Ok(Self(time)),
            Ok(_) | Err(humantime::DurationError::NumberOverflow) => {
                Err(format!("`{text}` is too long; expected at most 100 years"))
            }
            Err(_) => Err(format!(
                "`{text}` is no length of time; expected a number with its unit, such as \"250ms\", \"5s\" or \"1m 30s\""
            )),
        }
    }
}

/// A number of bytes in settings, written with its unit: `"512B"`, `"64KiB"`, `"10MiB"`, `"1GiB"`; `KB`, `MB`
/// and `GB` are powers of 1000.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

impl ByteSize {
    /// KiB, for defaults.
    #[must_use]
    pub const fn kib(kib: u64) -> Self {
        Self(kib * 1024)
    }

    /// As a number.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, name) in [(1u64 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")] {
            if self.0 >= unit && self.0.is_multiple_of(unit) {
                return write!(f, "{}{name}", self.0 / unit);
            }
        }
        write!(f, "{}B", self.0)
    }
}

impl std::str::FromStr for ByteSize {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "`{text}` is no size; expected a number with its unit, such as \"512B\", \"64KiB\" or \"10MiB\""
            )
        };
        let text = text.trim();
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let number: u64 = text[..digits].parse().map_err(|_| wrong())?;
        let unit = match text[digits..].trim() {
            "B" => 1,
            "KB" | "kB" => 1000,
            "MB" => 1_000_000,
            "GB" => 1_000_000_000,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            _ => return Err(wrong()),
        };
        number.checked_mul(unit).map(Self).ok_or_else(wrong)
    }
}

/// Only so that it may stand in a [`Switch`]: it has no table.
impl ShortForm for ByteSize {
    const EXPECTED: &'static str = "a size with its unit, such as \"64KiB\"";
    const TYPE: &'static str = "string";
    fn from_short(value: Scalar<'_>) -> Option<Result<Self, String>> {
        match value {
            Scalar::Text(text) => Some(text.parse()),
            Scalar::Number(_) | Scalar::Switch(_) => None,
        }
    }
}

struct FromText<T>(&'static str, std::marker::PhantomData<T>);

impl<T: std::str::FromStr<Err = String>> Visitor<'_> for FromText<T> {
    type Value = T;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }
    fn visit_i64<E: Error>(self, number: i64) -> Result<T, E> {
        Err(E::invalid_type(Unexpected::Signed(number), &self))
    }
}

macro_rules! text_setting {
    ($type:ty, $name:literal, $expecting:literal, $example:literal) => {
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                d.deserialize_any(FromText($expecting, std::marker::PhantomData))
            }
        }
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }
        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                $name.into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "description": $expecting, "examples": [$example] })
            }
            fn inline_schema() -> bool {
                true
            }
        }
    };
}
text_setting!(Timespan, "Timespan", "a length of time with its unit, such as \"5s\"", "5s");
text_setting!(ByteSize, "ByteSize", "a size with its unit, such as \"64KiB\"", "64KiB");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_their_units_and_shown_the_same() {
        for (text, bytes, shown) in [
            ("0B", 0, "0B"),
            ("64KiB", 65536, "64KiB"),
            ("10 MB", 10_000_000, "10000000B"),
            ("1GiB", 1 << 30, "1GiB"),
        ] {
            let size: ByteSize = text.parse().unwrap();
            assert_eq!((size.bytes(), size.to_string().as_str()), (bytes, shown), "{text}");
        }
        for text in ["", "64", "KiB", "-1B", "1.5MiB", "99999999999GiB", "1XB"] {
            assert!(text.parse::<ByteSize>().unwrap_err().contains("64KiB"), "{text}");
        }
    }

    #[test]
    fn a_size_can_be_switched_off() {
        let read = |text: &str| serde_json::from_str::<Switch<ByteSize>>(text).map_err(|e| e.to_string());
        assert_eq!(read("false"), Ok(Switch::Off));
        assert_eq!(read(r#""64KiB""#), Ok(Switch::On(ByteSize::kib(64))));
        for text in ["true", "64", "{}"] {
            assert!(read(text).unwrap_err().contains("expected a size with its unit"), "{text}");
        }
    }

    #[test]
    fn times_that_cannot_be_meant_are_refused() {
        for (text, why) in [
            ("500000000000y", "at most 100 years"),
            ("101y", "at most 100 years"),
            ("99999999999999999999s", "at most 100 years"),
            ("30M", "`m` for minutes"),
            ("1h 30M", "`m` for minutes"),
            ("5", "no length of time"),
        ] {
            let error = text.parse::<Timespan>().unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
        for (text, secs) in [("100y", 3_155_760_000), ("2months", 5_260_032), ("1m 30s", 90)] {
            assert_eq!(text.parse::<Timespan>().map(|time| time.as_secs()), Ok(secs), "{text}");
        }
    }

    #[test]
    fn a_number_without_a_unit_is_refused_by_name() {
        let error = serde_json::from_str::<Timespan>("5").unwrap_err().to_string();
        assert!(error.contains("expected a length of time with its unit"), "{error}");
        let error = serde_json::from_str::<Timespan>("\"5 parsecs\"").unwrap_err().to_string();
        assert!(error.contains("`5 parsecs` is no length of time"), "{error}");
    }
}
