use crate::OneOrMany;
use crate::client::settings::{ClientAssertion, ClientAuth};
use gateway_core::units::Timespan;
use gateway_fetch::FetchSettings;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::{Path, PathBuf};

/// Who is asked about tokens, and how long the answers are believed.
#[derive(Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct IntrospectionSettings {
    /// Where to ask: `https://auth.example/oauth2/introspect`. Needed.
    pub url: String,
    /// How to ask. Default `rfc7662`.
    pub protocol: IntrospectionProtocol,
    /// Who asks. Default: nobody, for endpoints that let all in from here.
    pub client_id: Option<String>,
    /// The password of `client_id`. Write `"${NAME}"` to take it from the environment.
    pub client_secret: Option<String>,
    /// A file with that password; white space at its end does not count.
    pub client_secret_file: Option<PathBuf>,
    /// How `client_id` proves who it is. Default `basic`.
    pub client_auth: ClientAuth,
    /// The token of `private_key_jwt` and `client_secret_jwt`.
    pub client_assertion: ClientAssertion,
    /// What `aud` must hold; one or a list, of which one is enough. Default: anything.
    pub audience: Option<OneOrMany>,
    /// The claims of which the first that is there is the principal's id: a text or a number. Default `sub`,
    /// `username`, `id`, `email`, `client_id`.
    pub principal: Vec<String>,
    /// How long a good token is believed without asking again, at most: its own `exp` counts too. A token that is
    /// revoked passes that long. Default `1m`; `0s` asks for each request.
    pub cache: Timespan,
    /// How long a bad token is remembered. Default `5s`.
    pub negative_cache: Timespan,
    /// How many tokens are remembered. Default 100 000.
    pub cache_entries: usize,
    /// What happens while nobody answers. Default `deny`.
    pub on_failure: OnIntrospectionFailure,
    /// How much longer than `cache` a good token is believed while nobody answers, with `on_failure = "stale"`.
    /// Default `5m`.
    pub stale: Timespan,
    /// Takes `Authorization` out of requests before they reach the service. Default `false`.
    pub hide_credentials: bool,
    /// What `WWW-Authenticate` calls the place. Default `gateway`.
    pub realm: String,
    /// How to get there: time-out, certificates.
    pub http: FetchSettings,
}

impl IntrospectionSettings {
    /// The files that are read once, when a method is made.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let own = [&self.client_secret_file, &self.client_assertion.key_file];
        own.into_iter().filter_map(|file| file.as_deref()).chain(self.http.files())
    }
}

impl Default for IntrospectionSettings {
    fn default() -> Self {
        Self {
            url: String::new(),
            protocol: IntrospectionProtocol::default(),
            client_id: None,
            client_secret: None,
            client_secret_file: None,
            client_auth: ClientAuth::default(),
            client_assertion: ClientAssertion::default(),
            audience: None,
            principal: ["sub", "username", "id", "email", "client_id"].map(str::to_owned).to_vec(),
            cache: Timespan::secs(60),
            negative_cache: Timespan::secs(5),
            cache_entries: 100_000,
            on_failure: OnIntrospectionFailure::default(),
            stale: Timespan::secs(300),
            hide_credentials: false,
            realm: "gateway".to_owned(),
            http: FetchSettings::default(),
        }
    }
}

/// Without the secret.
impl fmt::Debug for IntrospectionSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IntrospectionSettings").field("protocol", &self.protocol).finish_non_exhaustive()
    }
}

/// How somebody is asked about a token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum IntrospectionProtocol {
    /// The token is posted as a form; the answer says `active` and the claims (RFC 7662).
    #[default]
    Rfc7662,
    /// A `GET` with the token in `Authorization: Bearer`, as to OpenID Connect's UserInfo or to a user service: the
    /// answer is 2xx with the user as JSON; 400, 401, 403 or 404 mean a bad token.
    Userinfo,
}

/// What happens to requests while nobody answers about their tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnIntrospectionFailure {
    /// They are answered 503 `auth-unavailable`.
    #[default]
    Deny,
    /// Those whose token was good lately pass, for as long as `stale`; others are answered 503.
    Stale,
}
