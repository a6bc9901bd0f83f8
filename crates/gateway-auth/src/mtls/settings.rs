use gateway_core::Network;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How callers are recognised by a client certificate.
///
/// Certificates that were shown to the gateway itself are taken as its listener verified them. Those that a proxy in
/// front has verified are read from its header.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MtlsSettings {
    /// The header in which trusted proxies say what certificate they were shown, in Envoy's format
    /// (`By=…;Hash=…;Subject="…";URI=…;DNS=…`). Of several elements the last one counts, which is the proxy's own.
    /// Default `x-forwarded-client-cert`.
    pub header: String,
    /// The networks of those proxies. From all others the header is removed, and not believed. Default: none.
    pub trusted_proxies: Vec<Network>,
    /// Who may pass; if it is empty, everybody with a verified certificate.
    pub allow: AllowedCertificates,
    /// What the principal is called by. Default `auto`.
    pub principal: CertificateName,
    /// Takes the header out of requests before they reach the service. Default `true`.
    pub hide_credentials: bool,
}

impl Default for MtlsSettings {
    fn default() -> Self {
        Self {
            header: "x-forwarded-client-cert".to_owned(),
            trusted_proxies: Vec::new(),
            allow: AllowedCertificates::default(),
            principal: CertificateName::default(),
            hide_credentials: true,
        }
    }
}

/// Certificates that may pass. One match in any of the lists is enough.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AllowedCertificates {
    /// SPIFFE ids: `spiffe://shop.example/orders`, or `spiffe://shop.example/*` for all that begin so.
    pub spiffe: Vec<String>,
    /// Alternative names of type DNS: `orders.shop.example`, or `*.shop.example` for all that end so.
    pub dns: Vec<String>,
    /// Subjects exactly as they are written: `CN=orders,O=Shop`.
    pub subjects: Vec<String>,
    /// SHA-256 fingerprints in hexadecimal, with or without colons.
    pub fingerprints: Vec<String>,
}

/// What of a certificate is a principal's id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CertificateName {
    /// The first that is there of the SPIFFE id, the first DNS name, the subject and the fingerprint.
    #[default]
    Auto,
    /// The SPIFFE id.
    Spiffe,
    /// The first alternative name of type DNS.
    Dns,
    /// The subject.
    Subject,
    /// The SHA-256 fingerprint.
    Fingerprint,
}
