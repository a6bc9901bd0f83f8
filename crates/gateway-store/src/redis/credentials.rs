use crate::StoreError;
use crate::settings::RedisSettings;
use deadpool_redis::redis::{ClientTlsConfig, ConnectionInfo, TlsCertificates};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
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
                let first = text.lines().next().filter(|first| !first.is_empty());
                let empty = || StoreError::File {
                    path: file.into(),
                    why: "its first line is empty; expected the password there".to_owned(),
                };
                Some(first.ok_or_else(empty)?.to_owned())
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
            let client_key = read(key)?;
            if let Err(error) = PrivateKeyDer::from_pem_slice(&client_key) {
                let why = format!("there is no private key in it, in PEM: {error}");
                return Err(StoreError::File { path: key.clone(), why });
            }
            Some(ClientTlsConfig { client_cert: read_certificates(certificate)?, client_key })
        }
        (Some(_), None) => return Err(alone("client_certificate_file", "client_key_file")),
        (None, Some(_)) => return Err(alone("client_key_file", "client_certificate_file")),
    };
    let root_cert = settings.ca_file.as_deref().map(read_certificates).transpose()?;
    Ok((client_tls.is_some() || root_cert.is_some()).then_some(TlsCertificates { client_tls, root_cert }))
}

/// A file of which nothing would be used is not the one that was meant.
fn read_certificates(path: &Path) -> Result<Vec<u8>, StoreError> {
    let text = read(path)?;
    let found = CertificateDer::pem_slice_iter(&text).collect::<Result<Vec<_>, _>>();
    let why = match found {
        Ok(found) if !found.is_empty() => return Ok(text),
        Ok(_) => "there is no certificate in it, in PEM".to_owned(),
        Err(error) => format!("a certificate in it is not PEM: {error}"),
    };
    Err(StoreError::File { path: path.into(), why })
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
