use crate::client::settings::{ClientAssertion, ClientAuth};
use gateway_core::units::Timespan;
use gateway_fetch::FetchSettings;
use schemars::JsonSchema;
use serde::Deserialize;
use std::fmt;
use std::path::{Path, PathBuf};

/// What the gateway shows a service to be let in, whoever calls: one of these.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OutboundSettings {
    /// What the caller sent.
    #[default]
    Passthrough,
    /// Nothing: `Authorization` is taken out.
    Remove,
    /// A header that is always the same: `{ header = { value = "Bearer ${TOKEN}" } }`.
    Header(OutboundHeader),
    /// A user and a password (RFC 7617): `{ basic = { user = "gateway", password = "${PASSWORD}" } }`.
    Basic(OutboundBasic),
    /// A token of the gateway's own, from a token endpoint (RFC 6749 §4.4).
    ClientCredentials(ClientCredentials),
    /// A token for the caller's token, from a token endpoint (RFC 8693).
    TokenExchange(TokenExchange),
}

/// A header that is always the same.
#[derive(Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct OutboundHeader {
    /// Its name. Default `Authorization`.
    pub name: String,
    /// Its value. Write `"${NAME}"` to take it from the environment.
    pub value: Option<String>,
    /// A file with it; white space at its end does not count.
    pub value_file: Option<PathBuf>,
}

impl Default for OutboundHeader {
    fn default() -> Self {
        Self { name: "Authorization".to_owned(), value: None, value_file: None }
    }
}

/// A user and a password.
#[derive(Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct OutboundBasic {
    /// The user. Needed.
    pub user: String,
    /// The password. Write `"${NAME}"` to take it from the environment.
    pub password: Option<String>,
    /// A file with it; white space at its end does not count.
    pub password_file: Option<PathBuf>,
}

/// Who asks for tokens, and where.
#[derive(Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ClientCredentials {
    /// The token endpoint: `https://auth.example/oauth2/token`. Needed.
    pub url: String,
    /// The client's id. Needed.
    pub client_id: String,
    /// Its secret. Write `"${NAME}"` to take it from the environment.
    pub client_secret: Option<String>,
    /// A file with it; white space at its end does not count.
    pub client_secret_file: Option<PathBuf>,
    /// How the client proves who it is. Default `basic`.
    pub client_auth: ClientAuth,
    /// The token of `private_key_jwt` and `client_secret_jwt`.
    pub client_assertion: ClientAssertion,
    /// What the token is for. Default: what the endpoint gives unasked.
    pub scopes: Vec<String>,
    /// Whom the token is for, where the endpoint wants to know. Default: nobody in particular.
    pub audience: Option<String>,
    /// How long before its end a token is replaced, at most half of its life. Default `30s`.
    pub refresh_ahead: Timespan,
    /// How long a token is used that does not say when it ends. Default `5m`.
    pub default_ttl: Timespan,
    /// What requests are answered while there is no token. Default `unavailable`.
    pub on_failure: OnTokenFailure,
    /// What `Retry-After` says then. Default `1s`.
    pub retry_after: Timespan,
    /// How to get there: time-out, certificates.
    pub http: FetchSettings,
}

impl OutboundSettings {
    /// The files that are read once, when a layer is made.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let (own, client) = match self {
            Self::Passthrough | Self::Remove => (None, None),
            Self::Header(header) => (header.value_file.as_deref(), None),
            Self::Basic(basic) => (basic.password_file.as_deref(), None),
            Self::ClientCredentials(client) => (None, Some(client)),
            Self::TokenExchange(exchange) => (None, Some(&exchange.client)),
        };
        let of_client = client.into_iter().flat_map(|client| {
            let own = [&client.client_secret_file, &client.client_assertion.key_file];
            own.into_iter().filter_map(|file| file.as_deref()).chain(client.http.files())
        });
        own.into_iter().chain(of_client)
    }
}

impl Default for ClientCredentials {
    fn default() -> Self {
        Self {
            url: String::new(),
            client_id: String::new(),
            client_secret: None,
            client_secret_file: None,
            client_auth: ClientAuth::default(),
            client_assertion: ClientAssertion::default(),
            scopes: Vec::new(),
            audience: None,
            refresh_ahead: Timespan::secs(30),
            default_ttl: Timespan::secs(300),
            on_failure: OnTokenFailure::default(),
            retry_after: Timespan::secs(1),
            http: FetchSettings::default(),
        }
    }
}

/// How the caller's token becomes one for the service.
#[derive(Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TokenExchange {
    /// Who asks, and where, as for `client_credentials`.
    pub client: ClientCredentials,
    /// What kind of token callers have. Default `urn:ietf:params:oauth:token-type:access_token`.
    pub subject_token_type: String,
    /// What kind of token is wanted. Default: what the endpoint gives unasked.
    pub requested_token_type: Option<String>,
    /// The service the token is for, as a URL, where the endpoint wants to know. Default: none.
    pub resource: Option<String>,
    /// Whether requests without a bearer token pass, without `Authorization`. Default `false`: 401.
    pub optional: bool,
    /// How many tokens are remembered. Default 10 000.
    pub cache_entries: usize,
    /// How long a token that cannot be exchanged is remembered. Default `5s`.
    pub negative_cache: Timespan,
}

impl Default for TokenExchange {
    fn default() -> Self {
        Self {
            client: ClientCredentials::default(),
            subject_token_type: "urn:ietf:params:oauth:token-type:access_token".to_owned(),
            requested_token_type: None,
            resource: None,
            optional: false,
            cache_entries: 10_000,
            negative_cache: Timespan::secs(5),
        }
    }
}

/// What requests are answered while there is no token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnTokenFailure {
    /// 503 `auth-unavailable`.
    #[default]
    Unavailable,
    /// 502 `upstream-connect-failed`.
    BadGateway,
}

macro_rules! without_secrets {
    ($($name:ident: $($field:ident),*;)*) => {$(
        /// Without secrets.
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name))$(.field(stringify!($field), &self.$field))*.finish_non_exhaustive()
            }
        }
    )*};
}

without_secrets! {
    OutboundHeader: name;
    OutboundBasic: user;
    ClientCredentials: client_id, scopes, audience;
    TokenExchange: client, subject_token_type, requested_token_type;
}
