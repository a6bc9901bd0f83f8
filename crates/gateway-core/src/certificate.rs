use std::sync::Arc;

/// Request extension: the certificate that the client proved to own when the connection was made, set by the
/// listener that verified it. Absent where none was shown.
///
/// Cheap to clone: one is made per connection and shared by its requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate(Arc<Certificate>);

/// What a [`ClientCertificate`] says. All of it was signed by an authority that the listener trusts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Certificate {
    /// The subject as RFC 4514 writes it: `CN=orders,O=Shop`.
    pub subject: Option<String>,
    /// The subject alternative names of type DNS.
    pub dns: Vec<String>,
    /// The subject alternative names of type URI; a SPIFFE id is one.
    pub uris: Vec<String>,
    /// The subject alternative names of type e-mail.
    pub emails: Vec<String>,
    /// The SHA-256 of the certificate in DER, in lower-case hexadecimal.
    pub fingerprint: Option<String>,
}

impl ClientCertificate {
    /// A verified certificate.
    #[must_use]
    pub fn new(certificate: Certificate) -> Self {
        Self(Arc::new(certificate))
    }

    /// Its SPIFFE id, such as `spiffe://shop.example/orders`: the one URI with that scheme. `None` if there are
    /// several, which the SPIFFE X.509-SVID standard (§2) forbids.
    #[must_use]
    pub fn spiffe_id(&self) -> Option<&str> {
        let mut ids = self.0.uris.iter().filter(|uri| uri.starts_with("spiffe://"));
        match (ids.next(), ids.next()) {
            (Some(id), None) => Some(id),
            _ => None,
        }
    }
}

impl std::ops::Deref for ClientCertificate {
    type Target = Certificate;
    fn deref(&self) -> &Certificate {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spiffe_id_is_the_only_one() {
        let of = |uris: &[&str]| {
            let uris = uris.iter().map(ToString::to_string).collect();
            let certificate = ClientCertificate::new(Certificate { uris, ..Certificate::default() });
            certificate.spiffe_id().map(str::to_owned)
        };
        assert_eq!(of(&["https://a", "spiffe://x/a"]).as_deref(), Some("spiffe://x/a"));
        assert_eq!(of(&["spiffe://x/a", "spiffe://x/b"]), None);
        assert_eq!(of(&["https://a"]), None);
    }
}
