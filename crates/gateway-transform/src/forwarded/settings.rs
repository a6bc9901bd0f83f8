use ipnet::IpNet;
use schemars::JsonSchema;
use serde::Deserialize;

/// Which proxies in front of the gateway are believed, and what upstreams are told of the client.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ForwardedSettings {
    /// Networks whose `Forwarded`, `X-Forwarded-*` and `X-Real-IP` headers are believed and kept, such as
    /// `10.0.0.0/8`, or the address `192.0.2.7`. Default: none; what clients send of them is removed.
    #[serde(deserialize_with = "crate::networks::networks")]
    #[schemars(with = "Vec<String>")]
    pub trusted_proxies: Vec<IpNet>,
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

impl Default for ForwardedSettings {
    fn default() -> Self {
        Self {
            trusted_proxies: Vec::new(),
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
