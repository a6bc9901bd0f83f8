//! Ways to authenticate, and how routes use them.

use gateway_auth::{
    ApiKeySettings, AuthPolicy, BasicSettings, ForwardSettings, IntrospectionSettings, JwtSettings, Mode,
    MtlsSettings, OidcSettings, PublicPath, Require, SignatureSettings,
};
use gateway_core::units::{Scalar, ShortForm};
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::BTreeMap;

/// Ways to authenticate, by kind and name. A name stands for one of them, whatever its kind.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct AuthSettings {
    /// JSON Web Tokens, by the name that routes use.
    pub(crate) jwt: BTreeMap<String, JwtSettings>,
    /// API keys.
    pub(crate) api_keys: BTreeMap<String, ApiKeySettings>,
    /// Names and passwords (RFC 7617).
    pub(crate) basic: BTreeMap<String, BasicSettings>,
    /// Tokens that somebody else is asked about (RFC 7662).
    pub(crate) introspection: BTreeMap<String, IntrospectionSettings>,
    /// A service that is asked about every request, as Traefik's forward authentication. It always decides: in a list
    /// it comes last.
    pub(crate) forward: BTreeMap<String, ForwardSettings>,
    /// Logins of browsers at an OpenID provider. Routes that use one must also match its callback and logout paths.
    pub(crate) oidc: BTreeMap<String, OidcSettings>,
    /// Client certificates.
    pub(crate) mtls: BTreeMap<String, MtlsSettings>,
    /// Signed requests: HTTP Message Signatures (RFC 9421) and Standard Webhooks.
    pub(crate) signatures: BTreeMap<String, SignatureSettings>,
}

/// The kinds of ways to authenticate, as the tables under `[auth]` are called.
pub(crate) const AUTH_KINDS: [&str; 8] =
    ["jwt", "api_keys", "basic", "introspection", "forward", "oidc", "mtls", "signatures"];

impl AuthSettings {
    /// Every kind and the names it has.
    pub(crate) fn kinds(&self) -> impl Iterator<Item = (&'static str, Vec<&str>)> {
        fn names<T>(of: &BTreeMap<String, T>) -> Vec<&str> {
            of.keys().map(String::as_str).collect()
        }
        let names = [
            names(&self.jwt),
            names(&self.api_keys),
            names(&self.basic),
            names(&self.introspection),
            names(&self.forward),
            names(&self.oidc),
            names(&self.mtls),
            names(&self.signatures),
        ];
        AUTH_KINDS.into_iter().zip(names)
    }
}

/// Who may call. Short forms: the name of a way to authenticate, a list of such names, or `"none"`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RouteAuthSettings {
    /// Names of ways to authenticate: the first whose credential a request has decides.
    pub(crate) methods: Vec<String>,
    /// `any`, or `all` where every one of them must recognise the caller. Default `any`.
    pub(crate) require: Require,
    /// Lets requests without credentials pass as anonymous. Credentials that are there must be good all the same.
    /// Default false.
    pub(crate) optional: bool,
    /// `enforce`, or `report` to refuse nobody and only say so. Default `enforce`.
    pub(crate) mode: Mode,
    /// Paths that nobody is asked for credentials on, read as a route's `path` is: `"/health"`, `"/api/auth/*"` (that is
    /// `/api/auth` too), `"GET,HEAD /api/products/{id}"`. A `*` within the last segment stands for any rest:
    /// `"/api/auth*"` is `/api/authors` too. Default: none.
    pub(crate) public: Vec<PublicPath>,
}

impl RouteAuthSettings {
    fn of(methods: Vec<String>) -> Self {
        Self { methods, ..Self::default() }
    }

    pub(crate) fn policy(&self) -> AuthPolicy {
        AuthPolicy {
            require: self.require,
            optional: self.optional,
            mode: self.mode,
            public: self.public.clone(),
        }
    }
}

impl ShortForm for RouteAuthSettings {
    const EXPECTED: &'static str = "the name of a way to authenticate, a list of names, or a table";
    const TYPE: &'static str = "string";
    const ALSO: &'static [&'static str] = &["array"];

    fn from_short(value: Scalar<'_>) -> Option<Result<Self, String>> {
        match value {
            Scalar::Text("none") => Some(Ok(Self::default())),
            Scalar::Text(name) => Some(Ok(Self::of(vec![name.to_owned()]))),
            Scalar::Number(_) | Scalar::Switch(_) => None,
        }
    }

    fn from_list(names: Vec<String>) -> Option<Result<Self, String>> {
        if names.is_empty() {
            let wrong = "the list is empty, so that nobody would be asked who they are; expected names of ways to \
                         authenticate, or \"none\"";
            return Some(Err(wrong.to_owned()));
        }
        Some(Ok(Self::of(names)))
    }
}

#[cfg(test)]
mod tests {
    use gateway_auth::{Head, PublicPath};
    use gateway_routing::{Match, PathPattern, RouteMatch, RouteTable};
    use http::Request;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_public_path_is_read_as_the_path_of_a_route_is(
            pattern in "(/([ab]|\\{i\\}|\\{j\\})){0,3}(/\\*|/)?",
            path in "(/[ab]?){1,5}",
        ) {
            let (Ok(public), Ok(route)) = (pattern.parse::<PublicPath>(), pattern.parse::<PathPattern>()) else {
                return Ok(());
            };
            // What services may read in several ways is never public by a pattern.
            prop_assume!(!path.contains("//"));
            let request = Request::builder().uri(path.as_str()).body(()).unwrap();
            let table = RouteTable::build(vec![(RouteMatch::new(route), ())]).unwrap();
            let routed = matches!(table.find(&request), Match::Found(_));
            prop_assert_eq!(public.matches(Head::of(&request)), routed, "{} of {}", path, pattern);
        }
    }
}
