//! TLS towards upstreams: what is trusted, who we are, and failures in words.

mod unverified;

use crate::settings::{Protocol, TlsSettings, TlsVersion, UpstreamSettings};
use gateway_core::ProxyError;
use rustls::client::WantsClientCert;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{AlertDescription, CertificateError, ClientConfig, ConfigBuilder, RootCertStore};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use unverified::Unverified;

/// TLS for the `https` endpoints of one service: its files read and checked. Cheap to clone; clones share sessions.
///
/// Made once per service by [`load`](Self::load) and given to [`HttpUpstream::with_tls`](crate::HttpUpstream::with_tls).
#[derive(Clone, Debug)]
pub struct UpstreamTls {
    /// Offers what the settings' `protocol` says.
    preferred: Arc<ClientConfig>,
    /// Offers HTTP/1.1 only: for upgrades.
    http1: Arc<ClientConfig>,
    server_name: Option<ServerName<'static>>,
    /// A hash of what the files held.
    files: u64,
}

/// Why the TLS settings of an upstream cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file could not be read, or holds something else.
    #[error("`{key}`: `{path}` {why}")]
    File {
        /// The setting that names the file.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// No `ca_file`, and the system has no certificates either.
    #[error("the system trusts no certificate authority ({0}); expected `ca_file` to name some")]
    NoRoots(String),
    /// One of `client_certificate` and `client_key` without the other.
    #[error("`{0}` is missing: `client_certificate` and `client_key` belong together")]
    HalfIdentity(&'static str),
    /// The client certificate and its key do not fit, or are of a kind that is not supported.
    #[error("`client_certificate` and `client_key` cannot be used: {0}")]
    Identity(String),
    /// The name is neither a DNS name nor an IP address.
    #[error("`server_name`: `{0}` is neither a DNS name nor an IP address")]
    ServerName(String),
    /// The cryptography does not support what is asked for.
    #[error("TLS cannot be set up: {0}")]
    Setup(String),
}

impl UpstreamTls {
    /// Reads the files that [`UpstreamSettings::tls`] names, and the system's authorities where it names none.
    ///
    /// # Errors
    /// Says which setting is wrong, and how.
    pub fn load(settings: &UpstreamSettings) -> Result<Self, TlsError> {
        let tls = &settings.tls;
        let server_name = tls
            .server_name
            .clone()
            .map(|name| ServerName::try_from(name.clone()).map_err(|_| TlsError::ServerName(name)));
        let mut config = identified(trusting(tls)?, tls)?;
        let offer = |protocols: &[&str]| protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        config.alpn_protocols = offer(&["http/1.1"]);
        let http1 = Arc::new(config.clone());
        let preferred = match settings.protocol {
            Protocol::Http1 => http1.clone(),
            Protocol::Http2 => {
                config.alpn_protocols = offer(&["h2"]);
                Arc::new(config)
            }
            Protocol::Auto => {
                config.alpn_protocols = offer(&["h2", "http/1.1"]);
                Arc::new(config)
            }
        };
        Ok(Self { preferred, http1, server_name: server_name.transpose()?, files: hash_of_files(tls) })
    }

    /// Whether the files held the same when both were read: if not, there are other certificates to use.
    #[must_use]
    pub fn has_files_of(&self, other: &Self) -> bool {
        self.files == other.files
    }

    pub(crate) fn config(&self, http1_only: bool) -> Arc<ClientConfig> {
        if http1_only { self.http1.clone() } else { self.preferred.clone() }
    }

    /// The name that the certificate of this host must be for.
    pub(crate) fn server_name(&self, host: &str) -> Option<ServerName<'static>> {
        self.server_name.clone().or_else(|| ServerName::try_from(host.to_owned()).ok())
    }
}

fn hash_of_files(settings: &TlsSettings) -> u64 {
    let mut hasher = DefaultHasher::new();
    for path in [&settings.ca_file, &settings.client_certificate, &settings.client_key] {
        // They were readable a moment ago.
        path.as_ref().and_then(|path| std::fs::read(path).ok()).hash(&mut hasher);
    }
    hasher.finish()
}

type Builder<State> = ConfigBuilder<ClientConfig, State>;

fn trusting(settings: &TlsSettings) -> Result<Builder<WantsClientCert>, TlsError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone());
    let builder = match settings.min_version {
        TlsVersion::Tls12 => {
            builder.with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        }
        TlsVersion::Tls13 => builder.with_protocol_versions(&[&rustls::version::TLS13]),
    };
    let builder = builder.map_err(|e| TlsError::Setup(e.to_string()))?;
    if !settings.verify {
        return Ok(unverifying(builder, &provider));
    }
    let mut roots = RootCertStore::empty();
    if let Some(path) = &settings.ca_file {
        for certificate in certificates("ca_file", path)? {
            let added = roots.add(certificate);
            added.map_err(|e| wrong_file("ca_file", path, format!("holds an unusable certificate: {e}")))?;
        }
    } else {
        let found = rustls_native_certs::load_native_certs();
        // Some systems carry a few that no longer parse.
        if roots.add_parsable_certificates(found.certs).0 == 0 {
            let why = found.errors.first().map_or_else(|| "none found".to_owned(), ToString::to_string);
            return Err(TlsError::NoRoots(why));
        }
    }
    Ok(builder.with_root_certificates(roots))
}

fn unverifying(
    builder: Builder<rustls::WantsVerifier>,
    provider: &Arc<CryptoProvider>,
) -> Builder<WantsClientCert> {
    builder.dangerous().with_custom_certificate_verifier(Arc::new(Unverified::new(provider.clone())))
}

fn identified(builder: Builder<WantsClientCert>, settings: &TlsSettings) -> Result<ClientConfig, TlsError> {
    match (&settings.client_certificate, &settings.client_key) {
        (None, None) => Ok(builder.with_no_client_auth()),
        (Some(_), None) => Err(TlsError::HalfIdentity("client_key")),
        (None, Some(_)) => Err(TlsError::HalfIdentity("client_certificate")),
        (Some(chain), Some(key_file)) => {
            let chain = certificates("client_certificate", chain)?;
            let key = PrivateKeyDer::from_pem_file(key_file).map_err(|e| {
                wrong_file("client_key", key_file, format!("holds no private key: {}", pem(&e)))
            })?;
            builder.with_client_auth_cert(chain, key).map_err(|e| TlsError::Identity(e.to_string()))
        }
    }
}

fn certificates(key: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    let found: Vec<_> = read.map_err(|e| wrong_file(key, path, format!("cannot be used: {}", pem(&e))))?;
    if found.is_empty() {
        return Err(wrong_file(key, path, "holds no certificate in PEM".to_owned()));
    }
    Ok(found)
}

fn wrong_file(key: &'static str, path: &Path, why: String) -> TlsError {
    TlsError::File { key, path: path.to_owned(), why }
}

fn pem(error: &rustls::pki_types::pem::Error) -> String {
    use rustls::pki_types::pem::Error;
    match error {
        Error::Io(e) => crate::http1::describe(e),
        Error::NoItemsFound => "nothing of the kind in PEM".to_owned(),
        other => other.to_string(),
    }
}

/// The TLS failure within an I/O error, if that is what it is.
fn tls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

/// What failed in TLS, without names: it may be shown to clients.
pub(crate) fn describe_tls(error: &io::Error) -> Option<String> {
    use CertificateError as C;
    let text = match tls_error(error)? {
        rustls::Error::InvalidCertificate(why) => match why {
            C::UnknownIssuer => "its certificate is not from an authority that is trusted here",
            C::BadSignature => "its certificate is not signed by the authority that it names",
            C::NotValidForName | C::NotValidForNameContext { .. } => "its certificate is for another name",
            C::Expired | C::ExpiredContext { .. } => "its certificate has expired",
            C::NotValidYet | C::NotValidYetContext { .. } => "its certificate is not valid yet",
            C::Revoked => "its certificate was revoked",
            C::InvalidPurpose | C::InvalidPurposeContext { .. } => "its certificate is not meant for servers",
            other => return Some(format!("its certificate is not valid: {other}")),
        },
        rustls::Error::AlertReceived(alert) => match alert {
            AlertDescription::CertificateRequired => "it demands a client certificate",
            AlertDescription::ProtocolVersion => "it speaks no TLS version that is accepted here",
            AlertDescription::NoApplicationProtocol => "it does not speak this version of HTTP",
            AlertDescription::HandshakeFailure => "it refused the TLS handshake",
            refusal if is_identity_alert(*refusal) => "it refused our client certificate",
            other => return Some(format!("it broke off TLS: {other:?}")),
        },
        rustls::Error::InvalidMessage(_) => "it does not speak TLS",
        other => return Some(format!("TLS failed: {other}")),
    };
    Some(text.to_owned())
}

/// What RFC 9209 calls what failed in TLS.
pub(crate) fn tls_cause(error: &io::Error) -> Option<ProxyError> {
    Some(match tls_error(error)? {
        rustls::Error::InvalidCertificate(_) => ProxyError::TlsCertificateError,
        rustls::Error::AlertReceived(_) => ProxyError::TlsAlertReceived,
        _ => ProxyError::TlsProtocolError,
    })
}

/// A TLS failure with its words in place of its type, which does not survive the way through HTTP/2.
pub(crate) fn in_words(error: io::Error) -> io::Error {
    let refused = matches!(tls_error(&error), Some(rustls::Error::AlertReceived(alert))
        if *alert == AlertDescription::CertificateRequired || is_identity_alert(*alert));
    let kind = if refused { io::ErrorKind::PermissionDenied } else { error.kind() };
    describe_tls(&error).map_or(error, |words| io::Error::new(kind, words))
}

/// Whether the upstream refused who we are, before it took any request: in TLS 1.3 that is only learned by reading,
/// for our side of the handshake ends first.
pub(crate) fn is_refusal(error: &io::Error) -> bool {
    // No read of a socket fails so by itself.
    error.kind() == io::ErrorKind::PermissionDenied
}

/// RFC 8446 §6.2.
fn is_identity_alert(alert: AlertDescription) -> bool {
    matches!(
        alert,
        AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied
    )
}
