use crate::authorize::claim::ClaimRule;
use crate::{Mode, OneOrMany};
use gateway_core::Network;
use gateway_core::units::{Scalar, ShortForm};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// Who may pass. All that is given must hold; a group must say something.
///
/// A text or a list in place of the table are the `scopes`: `authorize = ["orders:read"]`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AuthorizeSettings {
    /// Any caller who is recognised, whoever it is. All rules about callers imply it. Default `false`.
    pub authenticated: bool,
    /// What the token must have been issued for: the words of a text, or a list. Default: anything.
    pub scopes: Option<OneOrMany>,
    /// Whether `all` scopes are needed, or `any` of them. Default `all`.
    pub scopes_match: Option<Matching>,
    /// The claim that holds the scopes, by its name or path. Default: `scope` and `scp`.
    pub scopes_claim: Option<String>,
    /// What the caller must be: the words of a text, or a list. Default: anything.
    pub roles: Option<OneOrMany>,
    /// Whether `all` roles are needed, or `any` of them. Default `any`.
    pub roles_match: Option<Matching>,
    /// The claim that holds the roles, by its name or path: `resource_access.shop.roles`. Default: `roles`, `role`
    /// and `realm_access.roles`.
    pub roles_claim: Option<String>,
    /// What claims must be, by name or path: `{ tenant = "acme", "address.country" = ["DE", "AT"], level = { min = 3 } }`.
    pub claims: BTreeMap<String, ClaimRule>,
    /// The ids of those who may pass. Default: anyone's.
    pub principals: Vec<String>,
    /// The addresses that may pass: `["10.0.0.0/8", "192.0.2.7"]`. Default: any.
    #[serde(deserialize_with = "networks")]
    pub networks: Vec<Network>,
    /// Addresses that may not. Default: none.
    #[serde(deserialize_with = "networks")]
    pub deny_networks: Vec<Network>,
    /// Parts of `User-Agent`, in any case, of which one must be there. Default: anything.
    pub user_agents: Vec<String>,
    /// Parts of `User-Agent`, in any case, of which none may be there: `["curl", "bot"]`. Default: none.
    pub deny_user_agents: Vec<String>,
    /// Further rules for requests with these methods: `{ "POST,PUT" = { roles = "editor" } }`; `*` for all that are not
    /// named. `HEAD` goes by `GET` unless it is named. An empty table asks for nothing more.
    pub methods: BTreeMap<String, AuthorizeSettings>,
    /// Groups that must all hold.
    pub all: Vec<AuthorizeSettings>,
    /// Groups of which one must hold.
    pub any: Vec<AuthorizeSettings>,
    /// A group that must not hold. Who is not recognised is still asked for credentials if it is about callers.
    pub not: Option<Box<AuthorizeSettings>>,
    /// The name of policies in `[cedar]` that must permit it too; they are asked last. Only at the top. Default: none.
    pub cedar: Option<String>,
    /// `enforce`, or `report` to refuse nobody and only say so. Only at the top. Default `enforce`.
    pub mode: Option<Mode>,
    /// What `WWW-Authenticate` calls the place where no method of authentication says so. Only at the top. Default
    /// `gateway`.
    pub realm: Option<String>,
}

/// Mostly addresses stand here, so that is what was expected.
fn networks<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<Network>, D::Error> {
    let read = |text: &Cow<'_, str>| {
        text.parse().map_err(|_| {
            serde::de::Error::custom(format!(
                "`{text}` is no address; expected an address such as `192.0.2.7`, or a range such as `10.0.0.0/8`"
            ))
        })
    };
    Vec::<Cow<'_, str>>::deserialize(d)?.iter().map(read).collect()
}

impl AuthorizeSettings {
    /// The name of the policies in Cedar, and what the rules say beside them, if anything.
    ///
    /// [`AuthorizeLayer`](crate::AuthorizeLayer) does not know policies by name, and takes no rules with `cedar`: take
    /// them apart, and put a `CedarLayer` behind it.
    #[must_use]
    pub fn apart(&self) -> (Option<&str>, Option<Self>) {
        let rules = Self { cedar: None, ..self.clone() };
        let is_empty = Self { mode: None, realm: None, ..rules.clone() } == Self::default();
        (self.cedar.as_deref(), (self.cedar.is_none() || !is_empty).then_some(rules))
    }
}

/// How many of several are needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Matching {
    /// Every one.
    All,
    /// One.
    Any,
}

impl ShortForm for AuthorizeSettings {
    const EXPECTED: &'static str = "a scope such as \"orders:read\", a list of scopes, or a table";
    const TYPE: &'static str = "string";
    const ALSO: &'static [&'static str] = &["array"];

    fn from_short(value: Scalar<'_>) -> Option<Result<Self, String>> {
        match value {
            Scalar::Text(scopes) => {
                Some(Ok(Self { scopes: Some(OneOrMany::One(scopes.to_owned())), ..Self::default() }))
            }
            _ => None,
        }
    }

    fn from_list(scopes: Vec<String>) -> Option<Result<Self, String>> {
        Some(Ok(Self { scopes: Some(OneOrMany::Many(scopes)), ..Self::default() }))
    }
}
