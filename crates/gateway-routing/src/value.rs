use crate::regex::Expression;
use gateway_core::units::{Scalar, ShortForm};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;
use std::borrow::Cow;
use std::fmt;

/// What the value of a header, a query parameter or a cookie must be.
///
/// Where a request has several values of one name, one that fits is enough. [`not`](Self::not) is the exact
/// opposite: none of them may fit, and a request without any takes it too.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ValueMatch {
    pub(crate) test: ValueTest,
    pub(crate) not: bool,
}

/// One way to look at a value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum ValueTest {
    Present,
    Exact(String),
    Prefix(String),
    Suffix(String),
    Contains(String),
    Regex(Expression),
    /// From the first to the last, both included.
    Range(i64, i64),
}

impl ValueMatch {
    /// Any value at all.
    #[must_use]
    pub fn present() -> Self {
        ValueTest::Present.into()
    }

    /// This value, upper and lower case being different.
    #[must_use]
    pub fn exact(value: impl Into<String>) -> Self {
        ValueTest::Exact(value.into()).into()
    }

    /// A value that begins with this.
    #[must_use]
    pub fn prefix(value: impl Into<String>) -> Self {
        ValueTest::Prefix(value.into()).into()
    }

    /// A value that ends with this.
    #[must_use]
    pub fn suffix(value: impl Into<String>) -> Self {
        ValueTest::Suffix(value.into()).into()
    }

    /// A value with this in it.
    #[must_use]
    pub fn contains(value: impl Into<String>) -> Self {
        ValueTest::Contains(value.into()).into()
    }

    /// A value that fits the expression from its beginning to its end. Matching takes time linear in the
    /// value's length; there are no look-arounds and no back-references.
    ///
    /// # Errors
    /// Says what is wrong with the expression, or that it is too large (256 KiB compiled).
    pub fn regex(text: &str) -> Result<Self, String> {
        let expression = Expression::new(text).map_err(|why| {
            format!("`{text}` is not a regular expression: {why}; expected one such as \"v[0-9]+\"")
        })?;
        Ok(ValueTest::Regex(expression).into())
    }

    /// A whole number in this range, both ends included. What is no number is in no range.
    #[must_use]
    pub fn range(range: std::ops::RangeInclusive<i64>) -> Self {
        ValueTest::Range(*range.start(), *range.end()).into()
    }

    /// The opposite.
    #[must_use]
    #[expect(clippy::should_implement_trait, reason = "`!` would hide what is only read once")]
    pub fn not(mut self) -> Self {
        self.not = !self.not;
        self
    }

    /// Whether these values, all those of one name, are taken.
    pub(crate) fn takes<'v, V: AsRef<[u8]> + 'v>(&self, mut values: impl Iterator<Item = V>) -> bool {
        values.any(|value| self.test.takes(value.as_ref())) != self.not
    }
}

impl From<ValueTest> for ValueMatch {
    fn from(test: ValueTest) -> Self {
        Self { test, not: false }
    }
}

impl ValueTest {
    pub(crate) fn takes(&self, value: &[u8]) -> bool {
        match self {
            Self::Present => true,
            Self::Exact(text) => value == text.as_bytes(),
            Self::Prefix(text) => value.starts_with(text.as_bytes()),
            Self::Suffix(text) => value.ends_with(text.as_bytes()),
            Self::Contains(text) => {
                text.is_empty() || value.windows(text.len()).any(|window| window == text.as_bytes())
            }
            Self::Regex(expression) => expression.regex.is_match(value),
            Self::Range(first, last) => std::str::from_utf8(value)
                .ok()
                .and_then(|text| text.parse().ok())
                .is_some_and(|number: i64| (*first..=*last).contains(&number)),
        }
    }
}

impl fmt::Display for ValueMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let not = if self.not { "not " } else { "" };
        match &self.test {
            ValueTest::Present if self.not => f.write_str("none"),
            ValueTest::Present => f.write_str("any value"),
            ValueTest::Exact(text) => write!(f, "{not}`{text}`"),
            ValueTest::Prefix(text) => write!(f, "{not}`{text}…`"),
            ValueTest::Suffix(text) => write!(f, "{not}`…{text}`"),
            ValueTest::Contains(text) => write!(f, "{not}`…{text}…`"),
            ValueTest::Regex(expression) => write!(f, "{not}`~{}`", expression.text),
            ValueTest::Range(i64::MIN, last) => write!(f, "{not}a number up to {last}"),
            ValueTest::Range(first, i64::MAX) => write!(f, "{not}a number from {first}"),
            ValueTest::Range(first, last) => write!(f, "{not}a number from {first} to {last}"),
        }
    }
}

/// What a value must be, as it is written: one test, which `not` turns round.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ValueSettings {
    /// `true`: any value; `false`: none. Short form: `true` or `false`.
    pub present: Option<bool>,
    /// This value, upper and lower case being different. Short form: the text, or a number.
    pub exact: Option<String>,
    /// How the value begins.
    pub prefix: Option<String>,
    /// How the value ends.
    pub suffix: Option<String>,
    /// What is somewhere in the value.
    pub contains: Option<String>,
    /// A regular expression for the whole value, in linear time, without look-around and back-references. At
    /// most 256 KiB compiled.
    pub regex: Option<String>,
    /// The value is a whole number, and at least this. May stand together with `at_most`.
    pub at_least: Option<i64>,
    /// The value is a whole number, and at most this. May stand together with `at_least`.
    pub at_most: Option<i64>,
    /// Turns the test round: no value may pass it, and a request without any is taken. Default false.
    pub not: bool,
}

const TESTS: &str = "`present`, `exact`, `prefix`, `suffix`, `contains`, `regex`, `at_least`, `at_most`";

impl TryFrom<ValueSettings> for ValueMatch {
    type Error = String;

    fn try_from(settings: ValueSettings) -> Result<Self, String> {
        let ValueSettings { present, exact, prefix, suffix, contains, regex, at_least, at_most, not } =
            settings;
        let part = |name: &str, text: String| match text.is_empty() {
            true => Err(format!(
                "`{name}` is empty, which fits every value; expected a text, or `present = true`"
            )),
            false => Ok(text),
        };
        let mut tests = Vec::new();
        if let Some(present) = present {
            tests.push(if present { Self::present() } else { Self::present().not() });
        }
        tests.extend(exact.map(Self::exact));
        if let Some(text) = prefix {
            tests.push(Self::prefix(part("prefix", text)?));
        }
        if let Some(text) = suffix {
            tests.push(Self::suffix(part("suffix", text)?));
        }
        if let Some(text) = contains {
            tests.push(Self::contains(part("contains", text)?));
        }
        if let Some(text) = regex {
            tests.push(Self::regex(&text)?);
        }
        if at_least.is_some() || at_most.is_some() {
            let (first, last) = (at_least.unwrap_or(i64::MIN), at_most.unwrap_or(i64::MAX));
            if first > last {
                return Err(format!("no number is at least {first} and at most {last}"));
            }
            tests.push(Self::range(first..=last));
        }
        match (tests.pop(), tests.len()) {
            (Some(test), 0) => Ok(if not { test.not() } else { test }),
            (None, _) => Err(format!("there is nothing to look for; expected one of {TESTS}")),
            (Some(_), others) => Err(format!("{} tests in one place; expected one of {TESTS}", others + 1)),
        }
    }
}

impl<'de> Deserialize<'de> for ValueMatch {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        ValueSettings::deserialize(d)?.try_into().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for ValueMatch {
    fn schema_name() -> Cow<'static, str> {
        ValueSettings::schema_name()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        ValueSettings::json_schema(generator)
    }
}

impl ShortForm for ValueMatch {
    const EXPECTED: &'static str = "a value, `true` (there), `false` (not there), or a table";
    const TYPE: &'static str = "string";
    const ALSO: &'static [&'static str] = &["integer", "boolean"];

    fn from_short(value: Scalar<'_>) -> Option<Result<Self, String>> {
        Some(Ok(match value {
            Scalar::Text(text) => Self::exact(text),
            Scalar::Number(number) => Self::exact(number.to_string()),
            Scalar::Switch(true) => Self::present(),
            Scalar::Switch(false) => Self::present().not(),
        }))
    }
}

#[cfg(test)]
mod tests;
