use crate::request::Head;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};
use std::borrow::Cow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

#[cfg(not(feature = "cel"))]
mod absent;
mod caller;
#[cfg(feature = "cel")]
mod check;
#[cfg(feature = "cel")]
mod claims;
#[cfg(feature = "cel")]
mod fields;
#[cfg(feature = "cel")]
mod kind;
#[cfg(feature = "cel")]
mod map;
#[cfg(feature = "cel")]
mod parse;
#[cfg(feature = "cel")]
mod program;
#[cfg(feature = "cel")]
mod variables;

#[cfg(not(feature = "cel"))]
use absent::{Program, Scope};
pub use caller::CallerWhen;
#[cfg(feature = "cel")]
use kind::Scope;
#[cfg(feature = "cel")]
use program::Program;

/// An expression that must hold for a route to take a request, in the Common Expression Language
/// (<https://cel.dev>): for what headers, query, cookies and networks by themselves cannot say, such as one *or* the
/// other. Needs the feature `cel`; without it every text is a mistake that says so.
///
/// ```
/// # #[cfg(feature = "cel")] fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use gateway_routing::{Match, RouteMatch, RouteTable, When};
///
/// let when: When = "request.headers['x-plan'] == 'gold' || client.ip.startsWith('10.')".parse()?;
/// let gold = RouteMatch { when: Some(when), ..RouteMatch::path("/api/*")? };
/// let table = RouteTable::build(vec![(gold, "gold"), (RouteMatch::path("/api/*")?, "all")])?;
/// for (plan, expected) in [("gold", "gold"), ("iron", "all")] {
///     let request = http::Request::get("/api/users").header("x-plan", plan).body(())?;
///     let Match::Found(found) = table.find(&request) else { panic!("no route") };
///     assert_eq!(*found.route, expected);
/// }
///
/// let mistakes = "request.methd == 'GET' && request.path > 1".parse::<When>().unwrap_err();
/// assert_eq!(mistakes.0.len(), 2);
/// assert_eq!((mistakes.0[0].column, mistakes.0[1].column), (1, 40));
/// assert_eq!(mistakes.0[0].help.as_deref(), Some("did you mean `request.method`?"));
/// # Ok(()) }
/// # #[cfg(not(feature = "cel"))] fn main() {}
/// ```
///
/// | variable | type | what it is |
/// |---|---|---|
/// | `request.method` | string | such as `'GET'` |
/// | `request.scheme` | string | `'http'`, or `'https'` ([`gateway_core::Scheme`]) |
/// | `request.host` | string | in lower case, without port and trailing dot |
/// | `request.path` | string | as it is matched, percent-encoded |
/// | `request.query` | map of strings | the query's parameters by name, both decoded; of several of one name the first |
/// | `request.headers` | map of strings | header fields by their names in lower case; several of one name are joined by `, ` |
/// | `request.cookies` | map of strings | cookies by name, without quotes; of several of one name the first |
/// | `client.ip` | string | the client's address ([`gateway_core::ClientAddr`]) |
///
/// Of these only what an expression comes to ask for is looked up.
///
/// | | |
/// |---|---|
/// | operators | `==` `!=` `<` `<=` `>` `>=` `in` `&&` `\|\|` `!` `?:` `+` `-` `*` `/` `%` `[]` |
/// | of strings | `contains`, `startsWith`, `endsWith`, `matches`, `lowerAscii`, `upperAscii`, `size` |
/// | conversions | `int`, `uint`, `double`, `string`, `bool` |
/// | maps, lists | `'x-plan' in request.headers`, `has(request.query.page)`, `size` |
/// | loops over the elements of a list, or the names in a map | `all`, `exists`, `exists_one`, `filter`, `map` |
///
/// Types are known when the expression is read, and so are its mistakes: an unknown name, an operator between types
/// that it is not for, a result that is no `bool`. What can fail with a request only, such as a header that is not
/// there, a text that is no number or an unknown client, is a condition that does not hold. As ever in CEL
/// `a || b` holds if either does, though the other fails.
///
/// An expression cannot take long: there is at most 4 KiB of it, regular expressions are written out and in linear
/// time, and at most two loops are nested, one of them over what a request brings. `matches` finds its regular
/// expression anywhere in a text; as elsewhere in this crate it sees bytes (`\w` and `(?i)` know ASCII only).
/// Bytes, `null`, maps in braces, messages, times and optional values are left out.
///
/// Equal to one of the same text.
#[derive(Clone)]
pub struct When(Program);

/// What is wrong with an expression.
///
/// Shown as a clause: ``column 1: there is no variable `request.methd`; did you mean `request.method`?``
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WhenMistake {
    /// In which line of the expression, from 1.
    pub line: usize,
    /// At which character of the line, from 1.
    pub column: usize,
    /// How many characters are meant, at least 1.
    pub length: usize,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
}

/// All that is wrong with an expression, in the order of its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WhenMistakes(pub Vec<WhenMistake>);

impl When {
    /// The most bytes of an expression's text.
    pub const LONGEST: usize = 4096;

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.text()
    }

    /// The variables of the table above that it names, sorted.
    #[must_use]
    pub fn variables(&self) -> &[&'static str] {
        self.0.variables()
    }

    /// Whether it holds. What fails does not.
    pub(crate) fn takes(&self, head: &Head<'_>) -> bool {
        self.0.ask(head, |holds| holds.unwrap_or(false))
    }

    /// Why it does not hold: `None` if it does, `Some(None)` if it is false, else what failed.
    pub(crate) fn refuses(&self, head: &Head<'_>) -> Option<Option<String>> {
        self.0.ask(head, |holds| match holds {
            Ok(true) => None,
            Ok(false) => Some(None),
            Err(error) => Some(Some(error.to_string())),
        })
    }
}

impl FromStr for When {
    type Err = WhenMistakes;

    fn from_str(text: &str) -> Result<Self, WhenMistakes> {
        Program::new(text, Scope::Request).map(Self).map_err(WhenMistakes)
    }
}

impl fmt::Debug for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("When").field(&self.as_str()).finish()
    }
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl PartialEq for When {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for When {}

impl Hash for When {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl fmt::Display for WhenMistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line > 1 {
            write!(f, "line {}, ", self.line)?;
        }
        write!(f, "column {}: {}", self.column, self.message)?;
        self.help.as_ref().map_or(Ok(()), |help| write!(f, "; {help}"))
    }
}

impl fmt::Display for WhenMistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the expression cannot be used")?;
        for (at, mistake) in self.0.iter().enumerate() {
            write!(f, "{}{mistake}", if at == 0 { ": " } else { "; " })?;
        }
        Ok(())
    }
}

impl std::error::Error for WhenMistakes {}

impl<'de> Deserialize<'de> for When {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for When {
    fn schema_name() -> Cow<'static, str> {
        "When".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "examples": ["request.headers['x-plan'] == 'gold'"] })
    }
    fn inline_schema() -> bool {
        true
    }
}
