use crate::client::settings::{ClientAssertion, ClientAuth};
use crate::jwt::settings::{JwksSettings, OneOrMany};
use gateway_core::units::Timespan;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

/// How browsers log in at an OpenID provider, and for how long.
///
/// The route that asks for the login must also match `callback_path`, `login_path` and `logout_path`, and not list
/// them under `public`: the gateway answers them itself. At the provider the client needs
/// `https://HOST/oauth2/callback` as a redirect URI, and what `post_logout` says as a post-logout redirect URI.
#[derive(Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct OidcSettings {
    /// The provider, exactly as it calls itself: `https://login.example/realms/shop`. All else is found by
    /// `/.well-known/openid-configuration` below it. Needed.
    pub issuer: String,
    /// Who the gateway is at the provider. Needed.
    pub client_id: String,
    /// The password of `client_id`. Write `"${NAME}"` to take it from the environment. Default: none, for a public
    /// client, which PKCE protects.
    pub client_secret: Option<String>,
    /// A file with that password; white space at its end does not count.
    pub client_secret_file: Option<PathBuf>,
    /// How `client_id` proves who it is. Default: with its secret, in the way that the provider takes.
    pub client_auth: Option<ClientAuth>,
    /// The token of `private_key_jwt` and `client_secret_jwt`.
    pub client_assertion: ClientAssertion,
    /// What is asked for. Add `offline_access` where the provider wants it for sessions that are refreshed. Default
    /// `["openid", "profile", "email"]`.
    pub scopes: Vec<String>,
    /// Further parameters of the redirect to the provider: `{ prompt = "select_account", audience = "shop" }`.
    /// Default: none.
    pub parameters: BTreeMap<String, String>,
    /// How browsers see the gateway: `https://shop.example`. Default: by the request's host, and its scheme as the
    /// connection or a trusted proxy has it.
    pub external_url: Option<String>,
    /// Where the provider sends browsers back to. Default `/oauth2/callback`.
    pub callback_path: String,
    /// Where a page may send browsers to log in, and come back to `?return_to=/path`. Needed only where the route
    /// lets anonymous callers pass. Default `/oauth2/login`.
    pub login_path: String,
    /// Where a page sends browsers to log out, here and at the provider (OpenID Connect RP-Initiated Logout 1.0).
    /// Default `/oauth2/logout`.
    pub logout_path: String,
    /// Where they go from there: a path of this site, or a URL. Default `/`.
    pub post_logout: String,
    /// The cookies.
    pub cookie: SessionCookie,
    /// What the cookies are encrypted with: 32 bytes or more; one or a list, of which the first encrypts and all
    /// decrypt, so that a new one is put before the old one for as long as `lifetime`. Write `"${NAME}"` to take it
    /// from the environment. Needed, or `cookie_secret_file`.
    pub cookie_secret: Option<OneOrMany>,
    /// A file with such secrets, one a line.
    pub cookie_secret_file: Option<PathBuf>,
    /// How long a session lasts after the login, at most. Default `12h`.
    pub lifetime: Timespan,
    /// How long it lasts without a request. Default `1h`.
    pub idle: Timespan,
    /// How long a login may take. Default `10m`.
    pub login_timeout: Timespan,
    /// How long before the access token ends the session is refreshed, where the provider gave a refresh token.
    /// Default `60s`.
    pub refresh_before: Timespan,
    /// The claims of the ID token that the session keeps, as far as they are there. Default `sub`, `sid`, `name`,
    /// `preferred_username`, `email`, `email_verified`, `groups`, `roles`, `realm_access`.
    pub claims: Vec<String>,
    /// Whether claims are also asked for at the provider's UserInfo endpoint, at the login. Default `false`.
    pub userinfo: bool,
    /// The claims of which the first that is there is the principal's id. Default `["sub"]`.
    pub principal: Vec<String>,
    /// How far clocks may be apart, at most `60s`. Default `30s`.
    pub leeway: Timespan,
    /// What `WWW-Authenticate` calls the place. Default `gateway`.
    pub realm: String,
    /// How the provider's keys and configuration are read.
    pub jwks: JwksSettings,
}

/// The cookies of a session.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SessionCookie {
    /// The name; further ones begin with it. Default `__Host-gateway_session` where browsers accept that: `secure`,
    /// no `domain`, `path = "/"`; else `gateway_session`.
    pub name: Option<String>,
    /// The domain whose hosts all get it. Default: this host only.
    pub domain: Option<String>,
    /// The path below which it is sent. Default `/`.
    pub path: String,
    /// Whether it is sent from other sites' pages. Default `lax`.
    pub same_site: SameSite,
    /// Whether it is sent over HTTPS only. Default `true`.
    pub secure: bool,
}

/// Whether a cookie is sent with requests that come from other sites' pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SameSite {
    /// Only when a browser goes to the site, as by a link, and as back from the provider: `strict` would not let it.
    #[default]
    Lax,
    /// Always, as for a page shown within another site's. Other sites can then make requests as the user.
    None,
}

impl Default for SessionCookie {
    fn default() -> Self {
        Self { name: None, domain: None, path: "/".to_owned(), same_site: SameSite::Lax, secure: true }
    }
}

impl OidcSettings {
    /// The files that are read once, when a method is made.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let own = [&self.client_secret_file, &self.cookie_secret_file, &self.client_assertion.key_file];
        own.into_iter().filter_map(|file| file.as_deref()).chain(self.jwks.fetch.files())
    }
}

impl Default for OidcSettings {
    fn default() -> Self {
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Self {
            issuer: String::new(),
            client_id: String::new(),
            client_secret: None,
            client_secret_file: None,
            client_auth: None,
            client_assertion: ClientAssertion::default(),
            scopes: list(&["openid", "profile", "email"]),
            parameters: BTreeMap::new(),
            external_url: None,
            callback_path: "/oauth2/callback".to_owned(),
            login_path: "/oauth2/login".to_owned(),
            logout_path: "/oauth2/logout".to_owned(),
            post_logout: "/".to_owned(),
            cookie: SessionCookie::default(),
            cookie_secret: None,
            cookie_secret_file: None,
            lifetime: Timespan::secs(12 * 3600),
            idle: Timespan::secs(3600),
            login_timeout: Timespan::secs(600),
            refresh_before: Timespan::secs(60),
            claims: list(&[
                "sub",
                "sid",
                "name",
                "preferred_username",
                "email",
                "email_verified",
                "groups",
                "roles",
                "realm_access",
            ]),
            userinfo: false,
            principal: list(&["sub"]),
            leeway: Timespan::secs(30),
            realm: "gateway".to_owned(),
            jwks: JwksSettings::default(),
        }
    }
}

/// Without the secrets.
impl fmt::Debug for OidcSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OidcSettings")
            .field("issuer", &self.issuer)
            .field("client_id", &self.client_id)
            .finish_non_exhaustive()
    }
}
