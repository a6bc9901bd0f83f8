use gateway_core::units::{Scalar, Short, ShortForm};
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::BTreeMap;

/// What the upstream is asked instead of what the client asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RewriteSettings {
    /// Another path, in which `{id}` stands for what the route captured by that name, and `{*}` for the rest below a
    /// prefix. Default: the client's own.
    pub path: Option<Short<PathRewrite>>,
    /// Another `Host`, such as `shop.internal:8080` or `{tenant}.internal`. Default: the client's own.
    pub host: Option<String>,
    /// Changes to the query.
    pub query: QueryEdits,
}

/// Another path; exactly one of these. Short form: the whole path, such as `"/v2/status"`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PathRewrite {
    /// This path, whatever it was.
    pub full: Option<String>,
    /// Put before the path: `/v2` makes `/v2/users` of `/users`.
    pub add_prefix: Option<String>,
    /// One prefix for another. Other paths stay.
    pub replace_prefix: Option<ReplacePrefix>,
    /// What a regular expression makes of it. Paths that do not match stay.
    pub regex: Option<RegexRewrite>,
}

impl ShortForm for PathRewrite {
    const EXPECTED: &'static str = "a path such as \"/v2/status\", or a table";
    const TYPE: &'static str = "string";
    fn from_short(value: Scalar<'_>) -> Option<Result<Self, String>> {
        match value {
            Scalar::Text(path) => Some(Ok(Self { full: Some(path.to_owned()), ..Self::default() })),
            Scalar::Number(_) | Scalar::Switch(_) => None,
        }
    }
}

/// One prefix for another.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReplacePrefix {
    /// What goes: `/api/users`. It ends at a segment: `/api/usersX` stays.
    pub from: String,
    /// What comes: `/users`, or `/` for nothing.
    pub to: String,
}

/// What a regular expression makes of a path.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RegexRewrite {
    /// An expression that matches the whole path, such as `/users/(?<id>[0-9]+)(/.*)?`. In the syntax of the
    /// `regex` crate, which takes linear time for any of them.
    #[serde(rename = "match")]
    pub pattern: String,
    /// The path it becomes, with groups by number or name: `/people/{id}{2}`. Other names stand for what the route
    /// captured.
    pub to: String,
}

/// Changes to a query; first `remove`, then `set`, then `append`. What is not named stays byte for byte.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct QueryEdits {
    /// Names of parameters to remove.
    pub remove: Vec<String>,
    /// Parameters to set, in place of any that are there. Written plainly: the gateway encodes them.
    /// `{id}` stands for what the route captured.
    pub set: BTreeMap<String, String>,
    /// Parameters to add to those that are there.
    pub append: BTreeMap<String, String>,
}
