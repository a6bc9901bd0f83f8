use crate::StoreError;
use crate::settings::RedisSettings;
use deadpool_redis::redis::{ClientTlsConfig, ConnectionInfo, TlsCertificates};
use std::path::Path;

/// Who the gateway is to the servers, or to the sentinels.
#[derive(Clone, Default)]
pub(super) struct Credentials {
    pub(super) username: Option<String>,
    pub(super) password: Option<String>,
}

impl Credentials {
    /// `what` is the table of the settings, for messages.
    pub(super) fn read(
        username: Option<&String>,
        password: Option<&String>,
        file: Option<&Path>,
        what: &str,
    ) -> Result<Self, StoreError> {
        let password = match (password, file) {
            (Some(_), Some(_)) => {
                return Err(StoreError::Settings(format!(
                    "`{what}` has `password` and `password_file`; expected at most one of them"
                )));
            }
            (None, Some(file)) => {
                let text = String::from_utf8(read(file)?)
                    .map_err(|e| StoreError::File { path: file.into(), why: e.to_string() })?;
                Some(text.lines().next().unwrap_or_default().to_owned())
            }
            (password, None) => password.cloned(),
        };
        Ok(Self { username: username.cloned(), password })
    }

    /// What the settings say goes before what the URL says.
    pub(super) fn onto(&self, info: ConnectionInfo) -> ConnectionInfo {
        let mut redis = info.redis_settings().clone();
        if let Some(username) = &self.username {
            redis = redis.set_username(username);
        }
        if let Some(password) = &self.password {
            redis = redis.set_password(password);
        }
        info.set_redis_settings(redis)
    }

    /// Takes from a URL what the settings do not say.
    pub(super) fn fill(&mut self, info: &ConnectionInfo) {
        let redis = info.redis_settings();
        self.username = self.username.take().or_else(|| redis.username().map(str::to_owned));
        self.password = self.password.take().or_else(|| redis.password().map(str::to_owned));
    }
}

/// What the settings say of TLS, read from their files.
pub(super) fn certificates(settings: &RedisSettings) -> Result<Option<TlsCertificates>, StoreError> {
    let client_tls = match (&settings.client_certificate_file, &settings.client_key_file) {
        (None, None) => None,
        (Some(certificate), Some(key)) => {
            Some(ClientTlsConfig { client_cert: read(certificate)?, client_key: read(key)? })
        }
        (Some(_), None) => return Err(alone("client_certificate_file", "client_key_file")),
        (None, Some(_)) => return Err(alone("client_key_file", "client_certificate_file")),
    };
    let root_cert = settings.ca_file.as_deref().map(read).transpose()?;
    Ok((client_tls.is_some() || root_cert.is_some()).then_some(TlsCertificates { client_tls, root_cert }))
}

fn alone(found: &str, missing: &str) -> StoreError {
    StoreError::Settings(format!("`redis` has `{found}` without `{missing}`; expected both"))
}

fn read(path: &Path) -> Result<Vec<u8>, StoreError> {
    std::fs::read(path).map_err(|e| StoreError::File { path: path.into(), why: e.to_string() })
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("username", &self.username).finish_non_exhaustive()
    }
}
