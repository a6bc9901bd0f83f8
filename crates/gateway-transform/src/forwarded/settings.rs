use gateway_core::Network;
use schemars::JsonSchema;
use serde::Deserialize;
use std::net::SocketAddr;
use std::num::NonZeroU32;

/// Which proxies in front of the gateway are believed, and what upstreams are told of the client.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ForwardedSettings {
    /// Networks whose `Forwarded`, `X-Forwarded-*` and `X-Real-IP` headers are believed and kept, such as
    /// `10.0.0.0/8`, or the address `192.0.2.7`. Default: none; what clients send of them is removed.
    pub trusted_proxies: Vec<Network>,
    /// How many proxies stand in front of the gateway, where their addresses are not known: the client is the address
    /// that the furthest of them saw, at this place from the right, whatever the others are. 1 is the last address of
    /// `X-Forwarded-For`, 2 the one before it; of fewer, the first. With `trusted_proxies`, who connects must still be
    /// one of them; without, whoever connects is believed: let nobody but the proxies reach the gateway. Too large a
    /// number, and clients say who they are. Default: none, the first address that is not in `trusted_proxies`.
    pub depth: Option<NonZeroU32>,
    /// Where trusted proxies say who the client is. Name the one header that yours write: a proxy passes on
    /// whatever a client wrote into the others. Default `auto`.
    pub client_from: ClientFrom,
    /// Whether upstreams get `X-Forwarded-For`, `X-Forwarded-Proto` and `X-Forwarded-Host`. Default true.
    pub x_forwarded: bool,
    /// Whether upstreams get `X-Forwarded-Port` too: the port the client asked, as Traefik tells it and Envoy does
    /// when told to. Default false.
    pub port: bool,
    /// Whether upstreams get the `Forwarded` of RFC 7239. Default false: few services read it.
    pub rfc7239: bool,
}

impl ForwardedSettings {
    /// Whether this peer is a proxy that is believed.
    pub(crate) fn trusts(&self, peer: SocketAddr) -> bool {
        // Without known addresses, all that is known is that there are proxies.
        if self.trusted_proxies.is_empty() {
            self.depth.is_some()
        } else {
            self.trusted_proxies.iter().any(|network| network.contains(peer.ip()))
        }
    }
}

impl Default for ForwardedSettings {
    fn default() -> Self {
        Self {
            trusted_proxies: Vec::new(),
            depth: None,
            client_from: ClientFrom::Auto,
            x_forwarded: true,
            port: false,
            rfc7239: false,
        }
    }
}

/// The header in which trusted proxies say who the client is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClientFrom {
    /// `X-Forwarded-For`, or `Forwarded` where there is none.
    #[default]
    Auto,
    /// `X-Forwarded-For`.
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
    /// `X-Real-IP`, as nginx is often set up to write it.
    XRealIp,
    /// Nowhere: the client is who connects.
    Peer,
}

impl ClientFrom {
    /// Whether trusted proxies write this header, if they write the one that is named: `Forwarded`, or all of
    /// `X-Forwarded-*`. What they do not write is their client's.
    pub(crate) fn is_of(self, name: &str) -> bool {
        match self {
            Self::Auto | Self::Peer => true,
            Self::Forwarded => name == "forwarded",
            Self::XForwardedFor | Self::XRealIp => name != "forwarded",
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{ForwardedSettings, MaintenanceSettings};

    #[test]
    fn an_address_is_a_network_of_one_and_a_mistake_is_named() {
        let read =
            |text: &str| serde_json::from_str::<ForwardedSettings>(text).map(|read| read.trusted_proxies);
        let both = read(r#"{"trusted_proxies": ["10.0.0.0/8", "192.0.2.7", "::1"]}"#).unwrap();
        assert_eq!(
            both.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["10.0.0.0/8", "192.0.2.7/32", "::1/128"]
        );
        let error = read(r#"{"trusted_proxies": ["home"]}"#).unwrap_err().to_string();
        assert!(error.contains("`home` is no network; expected one such as \"10.0.0.0/8\""), "{error}");
        let exempt =
            serde_json::from_str::<MaintenanceSettings>(r#"{"exempt": ["192.0.2.7"]}"#).unwrap().exempt;
        assert_eq!(exempt.len(), 1);
    }
}
