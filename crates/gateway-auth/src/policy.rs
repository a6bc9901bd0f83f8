use crate::policy::path::PublicPath;
use gateway_core::Mode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub(crate) mod path;

/// What becomes of a request, whatever the ways to recognise its caller.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AuthPolicy {
    /// `any`: one method that recognises the caller is enough. `all`: every one must; the caller is called as the first
    /// one says. Default `any`.
    pub require: Require,
    /// Lets requests without credentials pass as anonymous. Credentials that are there must be good all the same.
    /// Default `false`.
    pub optional: bool,
    /// `enforce`, or `report` to refuse nobody and only say so. Default `enforce`.
    pub mode: Mode,
    /// Paths that nobody is asked for credentials on, not even for good ones: `"/health"` for this path alone,
    /// `"/api/auth/*"` for `/api/auth` and all below, `"GET,HEAD /api/products/{id}"` for these methods. Default: none.
    pub public: Vec<PublicPath>,
}

/// How many methods must recognise the caller.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Require {
    /// The first that finds its credential decides.
    #[default]
    Any,
    /// All of them, such as a client certificate and a token.
    All,
}
