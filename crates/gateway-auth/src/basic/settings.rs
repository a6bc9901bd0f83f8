use gateway_core::units::{Scalar, Short, ShortForm, Timespan};
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// Users and their passwords (RFC 7617). Only over TLS: a password is as good as plain text.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BasicSettings {
    /// Users by name: `ada = "$2y$…"`, or a table with `hash`, `roles` and `scopes`.
    pub users: BTreeMap<String, Short<BasicUser>>,
    /// A file with further users, `NAME:HASH` a line, as `htpasswd -B` writes it; read again when it changes. One
    /// that cannot be read leaves the last good users. Default: none.
    pub file: Option<PathBuf>,
    /// How often the file is looked at. Default `5s`.
    pub reload: Timespan,
    /// What `WWW-Authenticate` calls the place, and browsers their users. Default `gateway`.
    pub realm: String,
    /// Takes `Authorization` out of requests before they reach the service. Default `true`.
    pub hide_credentials: bool,
    /// How long a password that was right is remembered, as a keyed hash, so that the next requests with it cost
    /// nothing; `0s` checks each time. Default `1m`.
    pub cache: Timespan,
    /// How many passwords are checked at once, on threads of their own. Default: half the processors, at least 1.
    pub max_parallel: Option<usize>,
    /// How many may wait to be checked; beyond that requests are answered 503. Default 64.
    pub max_queued: usize,
}

impl Default for BasicSettings {
    fn default() -> Self {
        Self {
            users: BTreeMap::new(),
            file: None,
            reload: Timespan::secs(5),
            realm: "gateway".to_owned(),
            hide_credentials: true,
            cache: Timespan::secs(60),
            max_parallel: None,
            max_queued: 64,
        }
    }
}

/// A user.
#[derive(Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BasicUser {
    /// The password's hash: bcrypt (`htpasswd -nB NAME`) or argon2id (`$argon2id$…`). Others are refused.
    pub hash: String,
    /// What the user is, as the claim `roles`. Default: nothing.
    pub roles: Vec<String>,
    /// What the user may do, as the claim `scope`. Default: nothing.
    pub scopes: Vec<String>,
}

/// Without the hash.
impl fmt::Debug for BasicUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BasicUser")
            .field("roles", &self.roles)
            .field("scopes", &self.scopes)
            .finish_non_exhaustive()
    }
}

impl ShortForm for BasicUser {
    const EXPECTED: &'static str = "the hash of a password such as \"$2y$…\", or a table";
    const TYPE: &'static str = "string";

    fn from_short(value: Scalar<'_>) -> Option<Result<Self, String>> {
        match value {
            Scalar::Text(hash) => Some(Ok(Self { hash: hash.to_owned(), ..Self::default() })),
            Scalar::Number(_) | Scalar::Switch(_) => None,
        }
    }
}
