use gateway_core::units::{ByteSize, Timespan};
use schemars::JsonSchema;
use serde::Deserialize;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

/// As many requests as Envoy has at once on their way to one cluster (`max_requests`).
const MAX_CONNECTIONS: NonZeroUsize = NonZeroUsize::new(1024).unwrap();

/// How the gateway asks others on the side. Files are in PEM and read once.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FetchSettings {
    /// How long an answer may take in all, connecting included. Default `5s`.
    pub timeout: Timespan,
    /// How many connections are open at most; whoever comes on top waits for one, within `timeout`. So one who does not
    /// answer cannot take all files that the gateway may open. Default 1024.
    pub max_connections: NonZeroUsize,
    /// The largest answer that is read. Default `1MiB`.
    pub max_body: ByteSize,
    /// Certificates of the authorities to trust, in place of the system's. Default: those of the system.
    pub ca_file: Option<PathBuf>,
    /// Our own certificate with its chain, for servers that demand one. Needs `client_key`. Default: none.
    pub client_certificate: Option<PathBuf>,
    /// The private key of `client_certificate`.
    pub client_key: Option<PathBuf>,
}

impl FetchSettings {
    /// The files that are read, once.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        [&self.ca_file, &self.client_certificate, &self.client_key]
            .into_iter()
            .filter_map(|file| file.as_deref())
    }
}

impl Default for FetchSettings {
    fn default() -> Self {
        Self {
            timeout: Timespan::secs(5),
            max_connections: MAX_CONNECTIONS,
            max_body: ByteSize::kib(1024),
            ca_file: None,
            client_certificate: None,
            client_key: None,
        }
    }
}
