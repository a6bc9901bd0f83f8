use crate::{FetchError, FetchSettings};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use std::path::Path;
use std::sync::Arc;

pub(crate) fn config(settings: &FetchSettings) -> Result<ClientConfig, FetchError> {
    let tls = |error: rustls::Error| FetchError::Tls(error.to_string());
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(tls)?
        .with_root_certificates(roots(settings)?);
    match (&settings.client_certificate, &settings.client_key) {
        (None, None) => Ok(builder.with_no_client_auth()),
        (Some(chain), Some(key)) => {
            let chain = certificates("client_certificate", chain)?;
            let key = PrivateKeyDer::from_pem_file(key)
                .map_err(|error| wrong("client_key", key, format!("holds no private key: {error}")))?;
            builder.with_client_auth_cert(chain, key).map_err(tls)
        }
        _ => Err(FetchError::Tls("`client_certificate` and `client_key` belong together".to_owned())),
    }
}

/// Those of the file, or of the system. A system without any is no mistake: plain HTTP works all the same.
fn roots(settings: &FetchSettings) -> Result<RootCertStore, FetchError> {
    let mut roots = RootCertStore::empty();
    match &settings.ca_file {
        Some(path) => {
            for certificate in certificates("ca_file", path)? {
                let added = roots.add(certificate);
                added.map_err(|error| {
                    wrong("ca_file", path, format!("holds an unusable certificate: {error}"))
                })?;
            }
        }
        // Some systems carry a few that no longer parse.
        None => drop(roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs)),
    }
    Ok(roots)
}

fn certificates(key: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, FetchError> {
    let found = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match found {
        Ok(found) if found.is_empty() => Err(wrong(key, path, "holds no certificate".to_owned())),
        Ok(found) => Ok(found),
        Err(error) => Err(wrong(key, path, format!("cannot be read: {error}"))),
    }
}

fn wrong(key: &'static str, path: &Path, why: String) -> FetchError {
    FetchError::File { key, path: path.to_owned(), why }
}
