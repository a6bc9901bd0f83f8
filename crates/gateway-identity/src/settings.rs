use crate::Secret;
use gateway_core::ProblemFormat;
use gateway_core::units::{ByteSize, Timespan};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Map;
use std::collections::BTreeMap;

mod keys;
mod password;
mod paths;
mod throttle;
pub use keys::{KeySettings, SigningAlgorithm};
pub use password::PasswordSettings;
pub use paths::{PathSettings, Paths, Preset};
pub use throttle::ThrottleSettings;

/// Accounts, sessions and tokens.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct IdentitySettings {
    /// Where accounts, sessions and keys are kept: the path of an SQLite file, which is made where it is missing and
    /// only its owner may read, or `"postgres://user:password@host/database"`. Default `"identity.db"`.
    pub database: Secret,
    /// How long a request may wait for the database before it is answered 503 `store-unavailable`. Default `2s`.
    pub database_timeout: Timespan,
    /// How many connections are held to the database at most. Default 8.
    pub database_connections: u32,
    /// Which paths are served: `gateway`, `s1` or `s2`. Default `gateway`.
    pub preset: Preset,
    /// Other paths than the preset's.
    pub paths: PathSettings,
    /// How errors are shown: `problem`, `message` or `detail`. Default: by the preset, `problem`, `message` (`s1`) or
    /// `detail` (`s2`).
    pub errors: Option<ProblemFormat>,
    /// What `iss` says: the URL under which `/.well-known/openid-configuration` is reached, or a name, and then there is
    /// no such document. Default `"gateway"`.
    pub issuer: String,
    /// What `aud` says. Default: nothing.
    pub audience: Option<String>,
    /// Further claims, by where their values come from: `email`, `username` or `profile.NAME`. Default: none.
    pub claims: BTreeMap<String, String>,
    /// How long an access token is good. Default `15m`, `6h` in the preset `s2`.
    pub access_token_lifetime: Option<Timespan>,
    /// How long a refresh token is good while it is not used. Default `30days`.
    pub refresh_token_lifetime: Timespan,
    /// How long a session may be renewed, however often it is used. Default `90days`.
    pub session_lifetime: Timespan,
    /// How long after a renewal the same refresh token still gets the same answer, for clients that ask twice at once
    /// or lost the answer. Later use of it ends the session. Default `10s`.
    pub reuse_grace: Timespan,
    /// Who may open an account: `open`, anybody, or `closed`, administrators. Default `open`.
    pub registration: Registration,
    /// The roles of accounts that registered themselves. Default `["user"]`.
    pub default_roles: Vec<String>,
    /// The role that may do everything with all accounts. Default `"admin"`.
    pub admin_role: String,
    /// An administrator, made at the start where no account has this address. Default: none.
    pub first_admin: Option<FirstAdmin>,
    /// What may stand in an account's profile.
    pub profile: ProfileSettings,
    /// What passwords must be, and how they are kept.
    pub password: PasswordSettings,
    /// How guessing is slowed down.
    pub throttle: ThrottleSettings,
    /// How access tokens are signed.
    pub keys: KeySettings,
}

impl Default for IdentitySettings {
    fn default() -> Self {
        Self {
            database: Secret::new("identity.db"),
            database_timeout: Timespan::secs(2),
            database_connections: 8,
            preset: Preset::default(),
            paths: PathSettings::default(),
            errors: None,
            issuer: "gateway".to_owned(),
            audience: None,
            claims: BTreeMap::new(),
            access_token_lifetime: None,
            refresh_token_lifetime: Timespan::secs(30 * 86_400),
            session_lifetime: Timespan::secs(90 * 86_400),
            reuse_grace: Timespan::secs(10),
            registration: Registration::default(),
            default_roles: vec!["user".to_owned()],
            admin_role: "admin".to_owned(),
            first_admin: None,
            profile: ProfileSettings::default(),
            password: PasswordSettings::default(),
            throttle: ThrottleSettings::default(),
            keys: KeySettings::default(),
        }
    }
}

impl IdentitySettings {
    /// How long an access token is good: as configured, or as the preset has it.
    #[must_use]
    pub fn access_token_lifetime(&self) -> Timespan {
        self.access_token_lifetime.unwrap_or(match self.preset {
            Preset::Gateway | Preset::S1 => Timespan::secs(15 * 60),
            // S2-20.
            Preset::S2 => Timespan::secs(360 * 60),
        })
    }

    /// How errors are shown: as configured, or as the preset has it.
    #[must_use]
    pub fn errors(&self) -> ProblemFormat {
        self.errors.unwrap_or(match self.preset {
            Preset::Gateway => ProblemFormat::Problem,
            Preset::S1 => ProblemFormat::Message,
            Preset::S2 => ProblemFormat::Detail,
        })
    }

    /// What is wrong with the values, each alone being well-formed, with the key that it is about.
    ///
    /// # Errors
    /// The first mistake.
    pub fn check(&self) -> Result<(), String> {
        const RESERVED: [&str; 10] =
            ["iss", "sub", "aud", "exp", "nbf", "iat", "jti", "sid", "roles", "email"];
        if self.issuer.is_empty() {
            return Err("`issuer` is empty; expected a URL or a name".to_owned());
        }
        if self.database_connections == 0 {
            return Err("`database_connections` is 0; expected at least 1".to_owned());
        }
        for (claim, source) in &self.claims {
            if RESERVED.contains(&claim.as_str()) {
                return Err(format!("`claims.{claim}` is always there; expected another name"));
            }
            let known = matches!(source.as_str(), "email" | "username")
                || source.strip_prefix("profile.").is_some_and(|field| !field.is_empty());
            if !known {
                return Err(format!(
                    "`claims.{claim}` is `{source}`; expected `email`, `username` or `profile.NAME`"
                ));
            }
        }
        let lifetimes = [
            ("access_token_lifetime", self.access_token_lifetime()),
            ("refresh_token_lifetime", self.refresh_token_lifetime),
            ("session_lifetime", self.session_lifetime),
        ];
        for (key, lifetime) in lifetimes {
            if lifetime.as_secs() == 0 {
                return Err(format!("`{key}` is {lifetime}; expected at least 1s"));
            }
        }
        self.password.check()?;
        self.throttle.check()?;
        self.keys.check()?;
        Paths::of(self).check()
    }
}

/// Who may open an account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Registration {
    /// Anybody.
    #[default]
    Open,
    /// Administrators.
    Closed,
}

/// An administrator that is there from the start.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FirstAdmin {
    /// The address to log in with.
    pub email: String,
    /// The password to begin with. Write `"${NAME}"` to take it from the environment.
    pub password: Secret,
}

/// What may stand in an account's profile, a JSON object.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ProfileSettings {
    /// The fields that may be there. Default: any.
    pub allowed: Option<Vec<String>>,
    /// The fields that must be there. Default: none.
    pub required: Vec<String>,
    /// How long it may be as JSON. Default `16KiB`.
    pub max_size: ByteSize,
}

impl Default for ProfileSettings {
    fn default() -> Self {
        Self { allowed: None, required: Vec::new(), max_size: ByteSize::kib(16) }
    }
}

impl ProfileSettings {
    /// What is wrong with a profile: the JSON pointer of the field, and why.
    pub(crate) fn violations(
        &self,
        profile: &Map<String, serde_json::Value>,
    ) -> impl Iterator<Item = (String, String)> {
        let pointer = |field: &str| format!("/profile/{}", field.replace('~', "~0").replace('/', "~1"));
        let missing =
            self.required.iter().filter(|field| profile.get(*field).is_none_or(serde_json::Value::is_null));
        let missing = missing.map(|field| (pointer(field), "is required".to_owned())).collect::<Vec<_>>();
        let unknown = profile.keys().filter(|field| {
            self.allowed
                .as_ref()
                .is_some_and(|allowed| !allowed.contains(field) && !self.required.contains(field))
        });
        let unknown = unknown.map(|field| (pointer(field), "is not a field".to_owned())).collect::<Vec<_>>();
        let size = serde_json::to_string(profile).map_or(0, |text| text.len() as u64);
        let large = (size > self.max_size.bytes()).then(|| {
            (
                "/profile".to_owned(),
                format!("is {} long; at most {} are allowed", ByteSize(size), self.max_size),
            )
        });
        missing.into_iter().chain(unknown).chain(large)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_make_sense_and_mistakes_are_named() {
        assert_eq!(IdentitySettings::default().check(), Ok(()));
        for (text, part) in [
            (r#"{"issuer": ""}"#, "`issuer` is empty"),
            (r#"{"claims": {"sub": "email"}}"#, "`claims.sub` is always there"),
            (r#"{"claims": {"name": "nick"}}"#, "is `nick`; expected `email`, `username` or `profile.NAME`"),
            (r#"{"access_token_lifetime": "0s"}"#, "`access_token_lifetime` is 0s"),
            (r#"{"password": {"iterations": 0}}"#, "`password.iterations` is 0"),
            (r#"{"keys": {"secret": "short"}}"#, "`keys.secret` is 5 bytes long"),
            (
                r#"{"paths": {"login": "/same", "refresh": "/same"}}"#,
                "`paths.login` and `paths.refresh` are both `/same`",
            ),
            (r#"{"paths": {"login": "no"}}"#, "`paths.login` is `no`; expected"),
        ] {
            let settings: IdentitySettings = serde_json::from_str(text).unwrap();
            let error = settings.check().unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn settings_do_not_show_their_secrets() {
        let text = r#"{"database": "postgres://u:hunter2@h/d", "keys": {"secret": "hunter2 hunter2 hunter2"},
            "first_admin": {"email": "a@b.c", "password": "hunter2"}}"#;
        let settings: IdentitySettings = serde_json::from_str(text).unwrap();
        assert!(!format!("{settings:?}").contains("hunter2"));
    }

    #[test]
    fn s2_20_an_access_token_of_the_preset_lives_360_minutes() {
        let settings = IdentitySettings { preset: Preset::S2, ..IdentitySettings::default() };
        assert_eq!(settings.access_token_lifetime().as_secs(), 360 * 60);
    }
}
