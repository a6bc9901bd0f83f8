use schemars::JsonSchema;
use serde::Deserialize;
use std::path::PathBuf;

/// A version of TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize, JsonSchema)]
pub enum TlsVersion {
    /// RFC 5246.
    #[default]
    #[serde(rename = "1.2")]
    Tls12,
    /// RFC 8446.
    #[serde(rename = "1.3")]
    Tls13,
}

/// How TLS is spoken to `https` endpoints. Files are in PEM and read once, at the start.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TlsSettings {
    /// Certificates of the authorities to trust, in place of the system's. Default: those of the system.
    pub ca_file: Option<PathBuf>,
    /// The name that the upstream's certificate must be for, also sent as SNI. Default: the endpoint's host.
    pub server_name: Option<String>,
    /// Our own certificate with its chain, for upstreams that demand one. Needs `client_key`. Default: none.
    pub client_certificate: Option<PathBuf>,
    /// The private key of `client_certificate`.
    pub client_key: Option<PathBuf>,
    /// Whether the upstream's certificate is verified. `false` trusts whoever answers. Default true.
    pub verify: bool,
    /// The oldest version of TLS accepted: `1.2` or `1.3`. Default `1.2`.
    pub min_version: TlsVersion,
}

impl Default for TlsSettings {
    fn default() -> Self {
        Self {
            ca_file: None,
            server_name: None,
            client_certificate: None,
            client_key: None,
            verify: true,
            min_version: TlsVersion::Tls12,
        }
    }
}
