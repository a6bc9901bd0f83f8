//! The types of an expression's parts, and what operators and functions make of them.

use std::fmt;

/// A type. All of them are known when an expression is read.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    Bool,
    Int,
    Uint,
    Double,
    Text,
    /// Of texts by texts.
    Map,
    /// Of lists of texts by texts.
    Lists,
    /// Of elements of one type, or empty.
    List(Option<Box<Kind>>),
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool => f.write_str("`bool`"),
            Self::Int => f.write_str("`int`"),
            Self::Uint => f.write_str("`uint`"),
            Self::Double => f.write_str("`double`"),
            Self::Text => f.write_str("`string`"),
            Self::Map => f.write_str("`map`"),
            Self::Lists => f.write_str("`map` of lists"),
            Self::List(None) => f.write_str("an empty `list`"),
            Self::List(Some(element)) => write!(f, "`list` of {element}"),
        }
    }
}

/// What an expression is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// A request.
    Request,
    /// A request, and who sends it.
    Caller,
}

/// A variable's name and type.
pub(super) type Variable = (&'static str, Kind);

impl Scope {
    /// What can be asked for.
    pub(super) fn variables(self) -> impl Iterator<Item = &'static Variable> {
        let of_callers = if self == Self::Caller { OF_CALLERS.as_slice() } else { &[] };
        OF_REQUESTS.iter().chain(of_callers)
    }
}

const OF_CALLERS: [Variable; 5] = [
    ("principal.authenticated", Kind::Bool),
    ("principal.claims", Kind::Map),
    ("principal.id", Kind::Text),
    ("principal.lists", Kind::Lists),
    ("principal.method", Kind::Text),
];

const OF_REQUESTS: [Variable; 8] = [
    ("client.ip", Kind::Text),
    ("request.cookies", Kind::Map),
    ("request.headers", Kind::Map),
    ("request.host", Kind::Text),
    ("request.method", Kind::Text),
    ("request.path", Kind::Text),
    ("request.query", Kind::Map),
    ("request.scheme", Kind::Text),
];

/// What can be called, and how.
pub(super) const FUNCTIONS: [(&str, &str); 19] = [
    ("all", "names.all(name, name != 'a')"),
    ("bool", "bool('true')"),
    ("contains", "text.contains('part')"),
    ("double", "double('1.5')"),
    ("endsWith", "text.endsWith('end')"),
    ("exists", "names.exists(name, name == 'a')"),
    ("exists_one", "names.exists_one(name, name == 'a')"),
    ("filter", "names.filter(name, name != 'a')"),
    ("has", "has(request.headers.host)"),
    ("int", "int('1')"),
    ("lowerAscii", "text.lowerAscii()"),
    ("map", "names.map(name, name + 'a')"),
    ("matches", "text.matches('v[0-9]+')"),
    ("size", "size(text)"),
    ("startsWith", "text.startsWith('start')"),
    ("string", "string(1)"),
    ("uint", "uint('1')"),
    ("upperAscii", "text.upperAscii()"),
    ("existsOne", "names.existsOne(name, name == 'a')"),
];

/// Those that the parser makes loops and questions of, if they are called as they should be.
pub(super) const MACROS: [&str; 7] = ["all", "exists", "existsOne", "exists_one", "filter", "has", "map"];

impl Kind {
    fn is_number(&self) -> bool {
        matches!(self, Self::Int | Self::Uint | Self::Double)
    }

    /// The type of what is of either type.
    pub(super) fn joined(&self, other: &Self) -> Option<Self> {
        match (self, other) {
            (Self::List(None), Self::List(_)) => Some(other.clone()),
            (Self::List(_), Self::List(None)) => Some(self.clone()),
            (Self::List(Some(one)), Self::List(Some(two))) => {
                Some(Self::List(Some(Box::new(one.joined(two)?))))
            }
            _ => (self == other).then(|| self.clone()),
        }
    }

    /// Whether they can be equal.
    fn compares_with(&self, other: &Self) -> bool {
        (self.is_number() && other.is_number())
            || (!self.is_map() && self.joined(other).is_some_and(|both| !both.has_maps()))
    }

    /// Whether it has something by names.
    pub(super) fn is_map(&self) -> bool {
        self.of_key().is_some()
    }

    /// The type of what it has by names.
    pub(super) fn of_key(&self) -> Option<Self> {
        match self {
            Self::Map => Some(Self::Text),
            Self::Lists => Some(Self::List(Some(Box::new(Self::Text)))),
            _ => None,
        }
    }

    fn has_maps(&self) -> bool {
        match self {
            Self::Map | Self::Lists => true,
            Self::List(Some(element)) => element.has_maps(),
            _ => false,
        }
    }

    /// What a call gives of a target, if there is one, and arguments of these types. `None` if it is not for them.
    pub(super) fn of_call(name: &str, on_target: bool, of: &[Self]) -> Option<Self> {
        use Kind::{Bool, Double, Int, List, Lists, Map, Text, Uint};
        if on_target {
            return match (name, of) {
                ("contains" | "startsWith" | "endsWith", [Text, Text]) => Some(Bool),
                ("lowerAscii" | "upperAscii", [Text]) => Some(Text),
                ("size", [Text | Map | Lists | List(_)]) => Some(Int),
                _ => None,
            };
        }
        match (name, of) {
            ("_?_:_", [Bool, one, other]) => one.joined(other),
            ("_&&_" | "_||_", [Bool, Bool]) | ("!_" | "@not_strictly_false", [Bool]) => Some(Bool),
            ("_==_" | "_!=_", [one, other]) => one.compares_with(other).then_some(Bool),
            ("_<_" | "_<=_" | "_>_" | "_>=_", [one, other]) => {
                let ordered = (one.is_number() && other.is_number()) || (*one == Text && *other == Text);
                ordered.then_some(Bool)
            }
            ("_+_", [Text, Text]) => Some(Text),
            ("_+_", [one @ List(_), other @ List(_)]) => one.joined(other),
            ("_%_", [Double, Double]) => None,
            ("_+_" | "_-_" | "_*_" | "_/_" | "_%_", [one, other]) => {
                (one.is_number() && one == other).then(|| one.clone())
            }
            ("-_", [Int]) => Some(Int),
            ("-_", [Double]) => Some(Double),
            ("@in", [one, List(element)]) => {
                element.as_ref().is_none_or(|element| one.compares_with(element)).then_some(Bool)
            }
            ("@in", [Text, Map | Lists]) => Some(Bool),
            ("_[_]", [of @ (Map | Lists), Text]) => of.of_key(),
            ("_[_]", [List(Some(element)), Int]) => Some((**element).clone()),
            ("size", [Text | Map | Lists | List(_)]) => Some(Int),
            ("int", [Int | Uint | Double | Text]) => Some(Int),
            ("uint", [Int | Uint | Double | Text]) => Some(Uint),
            ("double", [Int | Uint | Double | Text]) => Some(Double),
            ("string", [Bool | Int | Uint | Double | Text]) => Some(Text),
            ("bool", [Bool | Text]) => Some(Bool),
            _ => None,
        }
    }
}
