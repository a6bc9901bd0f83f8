use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use tempfile::TempDir;

static NUMBER: AtomicUsize = AtomicUsize::new(0);

/// A certificate authority, and a directory for what it signs: `ca.pem`, and `NAME.pem` and `NAME.key` for each name.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    directory: TempDir,
}

impl Authority {
    /// One that signed a certificate for each of these names.
    ///
    /// # Panics
    /// Files cannot be written.
    #[must_use]
    pub fn of(names: &[&str]) -> Self {
        let mut params = CertificateParams::default();
        // Its own name: a trusted namesake would be told apart by the signature only.
        let name = format!("authority {}", NUMBER.fetch_add(1, Ordering::Relaxed));
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        let directory = TempDir::new().expect("a directory");
        std::fs::write(directory.path().join("ca.pem"), certificate.pem()).expect("a file");
        let authority = Self { issuer: Issuer::new(params, key), directory };
        for name in names {
            authority.issue(name, |_| {});
        }
        authority
    }

    /// Signs another one, after a change such as an end in the past.
    ///
    /// # Panics
    /// The name is none, or files cannot be written.
    pub fn issue(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) {
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        change(&mut params);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        std::fs::write(self.file(&format!("{name}.pem")), certificate.pem()).expect("a file");
        std::fs::write(self.file(&format!("{name}.key")), key.serialize_pem()).expect("a file");
    }

    /// Where a file of this name is, or would be.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}
