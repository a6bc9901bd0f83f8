use crate::AuthMode;
use schemars::JsonSchema;
use serde::Deserialize;
use std::path::PathBuf;

/// Policies in Cedar, and what of a request they see.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CedarSettings {
    /// Files with policies. Needed.
    pub policies: Vec<PathBuf>,
    /// The file with the schema, in Cedar's own format, or in JSON if its name ends in `.json`. The policies must fit
    /// it. Needed.
    pub schema: PathBuf,
    /// A file with entities in Cedar's JSON: groups of users, of routes. Default: none.
    pub entities: Option<PathBuf>,
    /// Claims that policies see as attributes of the principal, by their names. Default: none.
    pub claims: Vec<String>,
    /// Headers that policies see, in lower case and with underscores: `X-Tenant` as `context.headers.x_tenant`.
    /// Default: none.
    pub headers: Vec<String>,
    /// What the action is called. Default: the request's method, `Action::"GET"`.
    pub action: Option<String>,
    /// Whether the policies are asked about callers that are not recognised, as `User::""`. Default `false`: 401.
    pub anonymous: bool,
    /// `enforce`, or `report` to refuse nobody and only say so. Default `enforce`.
    pub mode: AuthMode,
}
