use gateway_core::units::{Scalar, ShortForm};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

/// What the service is told of the caller, in headers that only the gateway sets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct IdentityHeadersSettings {
    /// The headers of a known system, besides those of `headers`. Default: none.
    pub preset: Option<IdentityPreset>,
    /// Claims by header: `{ "X-User-ID" = "sub", "X-Roles" = { claim = "roles", separator = "," } }`.
    pub headers: BTreeMap<String, HeaderSource>,
    /// Headers that are taken out of requests and not set. Default: none.
    pub strip: Vec<String>,
    /// Whether the service sees `Authorization`: `keep` or `remove`. Default `keep`.
    pub authorization: AuthorizationHeader,
}

impl ShortForm for IdentityHeadersSettings {
    const EXPECTED: &'static str = "`false`, or a table with `preset` or `headers`";
    const TYPE: &'static str = "boolean";
    fn from_short(_: Scalar<'_>) -> Option<Result<Self, String>> {
        None
    }
}

/// Headers that services of a known system read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum IdentityPreset {
    /// `user_id` and `role`: the claims of these names.
    S0,
    /// `request-user-id`: the caller's id.
    S2,
    /// `X-User-ID`: the caller's id, and `X-User-Roles`: its roles, with commas and without spaces.
    S4,
}

impl IdentityPreset {
    pub(crate) fn headers(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::S0 => &[("user_id", "user_id"), ("role", "role")],
            Self::S2 => &[("request-user-id", "@id")],
            Self::S4 => &[("x-user-id", "@id"), ("x-user-roles", "@roles")],
        }
    }
}

/// What becomes of `Authorization`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AuthorizationHeader {
    /// The service sees it as it came.
    #[default]
    Keep,
    /// It ends at the gateway.
    Remove,
}

/// Where a header's value comes from: the name or path of a claim, or `@id`, `@roles`, `@scopes` or `@method` of the
/// principal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderSource {
    /// The claim's name or path, `address.country`; or `@id`, who the caller is, `@roles`, `@scopes`, or `@method`, how
    /// it was proved. `sub` is the id where there is no such claim.
    pub claim: String,
    /// What stands between several values. Default `,`.
    pub separator: String,
}

impl HeaderSource {
    /// A claim, several values separated by commas.
    #[must_use]
    pub fn claim(claim: impl Into<String>) -> Self {
        Self { claim: claim.into(), separator: ",".to_owned() }
    }
}

/// The table.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SourceTable {
    /// The claim's name or path, or `@id`, `@roles`, `@scopes`, `@method`.
    claim: String,
    /// What stands between several values. Default `,`.
    #[serde(default = "comma")]
    separator: String,
}

fn comma() -> String {
    ",".to_owned()
}

struct SourceVisitor;

impl<'de> Visitor<'de> for SourceVisitor {
    type Value = HeaderSource;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a claim such as \"sub\", or a table such as `{ claim = \"roles\", separator = \",\" }`")
    }
    fn visit_str<E>(self, claim: &str) -> Result<HeaderSource, E> {
        Ok(HeaderSource::claim(claim))
    }
    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<HeaderSource, A::Error> {
        let SourceTable { claim, separator } = SourceTable::deserialize(MapAccessDeserializer::new(map))?;
        Ok(HeaderSource { claim, separator })
    }
}

impl<'de> Deserialize<'de> for HeaderSource {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_any(SourceVisitor)
    }
}

impl JsonSchema for HeaderSource {
    fn schema_name() -> Cow<'static, str> {
        "HeaderSource".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let table = generator.subschema_for::<SourceTable>();
        json_schema!({ "anyOf": [{ "type": "string", "description": "a claim" }, table] })
    }
}
