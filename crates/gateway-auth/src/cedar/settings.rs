use crate::{Mode, OneOrMany};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};
use std::path::{Path, PathBuf};

/// Policies in Cedar, and what of a request they see. Relative paths are taken from the folder of the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CedarSettings {
    /// The file with the policies, or a list of files. Needed.
    #[serde(deserialize_with = "paths")]
    #[schemars(with = "OneOrMany")]
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
    /// Parameters of routes' paths that policies see: `id` of `/orders/{id}` as `context.params.id`, as it came,
    /// percent-encoded. Default: none, and there is no `context.params`.
    pub params: Vec<String>,
    /// What the action is called. Default: the request's method, `Action::"GET"`.
    pub action: Option<String>,
    /// Whether the policies are asked about callers that are not recognised, as `User::""`. Default `false`: 401.
    pub anonymous: bool,
    /// `enforce`, or `report` to refuse nobody and only say so; a route's `authorize.mode` comes before it. Default
    /// `enforce`.
    pub mode: Mode,
}

fn paths<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<PathBuf>, D::Error> {
    Ok(match OneOrMany::deserialize(d)? {
        OneOrMany::One(path) => vec![path.into()],
        OneOrMany::Many(paths) => paths.into_iter().map(PathBuf::from).collect(),
    })
}

impl CedarSettings {
    /// The same, with relative paths taken from a folder.
    #[must_use]
    pub fn within(&self, folder: &Path) -> Self {
        Self {
            policies: self.policies.iter().map(|path| folder.join(path)).collect(),
            // A path that is missing stays so.
            schema: if self.schema == Path::new("") { PathBuf::new() } else { folder.join(&self.schema) },
            entities: self.entities.as_ref().map(|path| folder.join(path)),
            ..self.clone()
        }
    }

    /// The files that it is read from.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.policies.iter().chain([&self.schema]).chain(&self.entities).map(PathBuf::as_path)
    }
}
