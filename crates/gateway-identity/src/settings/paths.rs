use crate::IdentitySettings;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which paths are served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Preset {
    /// `/auth/…` and `/users…`.
    #[default]
    Gateway,
    /// `/api/auth/signin`, `/api/auth/login`, `/api/auth/logout?id=`, `/api/tokens/renew`, `/api/tokens/revoke?id=`.
    S1,
    /// `/api/v1/login/access-token`, `/api/v1/login/refresh-token`, `/api/v1/users…`.
    S2,
}

macro_rules! paths {
    ($($(#[doc = $doc:literal])+ $name:ident: $gateway:literal, $s1:literal, $s2:literal;)+) => {
        /// Other paths than the preset's; an empty one turns an operation off.
        #[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields, default)]
        pub struct PathSettings {
            $($(#[doc = $doc])+ pub $name: Option<String>,)+
        }

        /// Where each operation is served: the preset's paths, and in place of them those that are configured. An
        /// empty one is not served.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct Paths {
            $($(#[doc = $doc])+ pub $name: String,)+
        }

        impl Paths {
            /// The paths of these settings.
            #[must_use]
            pub fn of(settings: &IdentitySettings) -> Self {
                $(let $name = settings.paths.$name.clone().unwrap_or_else(|| match settings.preset {
                    Preset::Gateway => $gateway,
                    Preset::S1 => $s1,
                    Preset::S2 => $s2,
                }.to_owned());)+
                Self { $($name,)+ }
            }

            fn all(&self) -> Vec<(&'static str, &str)> {
                vec![$((stringify!($name), self.$name.as_str()),)+]
            }
        }
    };
}

paths! {
    /// `POST`: opens an account. Default `"/auth/register"`.
    register: "/auth/register", "/api/auth/signin", "/api/v1/register";
    /// `POST`: begins a session. Default `"/auth/login"`.
    login: "/auth/login", "/api/auth/login", "/api/v1/login/access-token";
    /// `POST`: renews a session with its refresh token. Default `"/auth/refresh"`.
    refresh: "/auth/refresh", "/api/tokens/renew", "/api/v1/login/refresh-token";
    /// `POST`: ends the caller's session, or the one that `id` names, which the preset `s1` wants. Default
    /// `"/auth/logout"`.
    logout: "/auth/logout", "/api/auth/logout", "/api/v1/logout";
    /// `POST`: ends the session of a token (RFC 7009), or in the preset `s1` the one that `id` names. Default
    /// `"/auth/revoke"`.
    revoke: "/auth/revoke", "/api/tokens/revoke", "/api/v1/revoke";
    /// `GET`: the caller's sessions; `DELETE`: ends all; below it `/{id}`, `DELETE`: ends one. Default
    /// `"/auth/sessions"`.
    sessions: "/auth/sessions", "/api/auth/sessions", "/api/v1/sessions";
    /// `GET`, `PATCH`, `DELETE`: the caller's account. Default `"/auth/me"`.
    me: "/auth/me", "/api/auth/me", "/api/v1/users/me";
    /// `POST`: changes the caller's password. Default `"/auth/password"`.
    password: "/auth/password", "/api/auth/password", "/api/v1/password";
    /// `GET`, `POST`: all accounts, for administrators; below it `/{id}`, `GET`, `PUT`, `PATCH`, `DELETE`: one, and
    /// `/{id}/sessions`, `GET`, `DELETE`: its sessions. Default `"/users"`.
    users: "/users", "/api/users", "/api/v1/users";
    /// `GET`: the keys that tokens are verified with (RFC 7517). Default `"/.well-known/jwks.json"`.
    jwks: "/.well-known/jwks.json", "/.well-known/jwks.json", "/.well-known/jwks.json";
    /// `GET`: the issuer and where its keys are. Default `"/.well-known/openid-configuration"`.
    discovery: "/.well-known/openid-configuration", "/.well-known/openid-configuration",
        "/.well-known/openid-configuration";
    /// `GET`: this interface as an OpenAPI document. Default `"/openapi.json"`.
    openapi: "/openapi.json", "/openapi.json", "/openapi.json";
}

impl Paths {
    pub(super) fn check(&self) -> Result<(), String> {
        let served: Vec<_> = self.all().into_iter().filter(|(_, path)| !path.is_empty()).collect();
        for (i, (name, path)) in served.iter().enumerate() {
            let plain = |c: char| c.is_ascii_alphanumeric() || "/-._~".contains(c);
            if !path.starts_with('/') || path.ends_with('/') || !path.chars().all(plain) {
                return Err(format!(
                    "`paths.{name}` is `{path}`; expected a path such as `/auth/{name}`, of letters, digits and `-._~`"
                ));
            }
            if let Some((other, _)) = served[..i].iter().find(|(_, earlier)| earlier == path) {
                return Err(format!("`paths.{other}` and `paths.{name}` are both `{path}`"));
            }
        }
        Ok(())
    }
}
