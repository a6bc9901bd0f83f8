//! Networks as they are written in settings.

use ipnet::IpNet;
use serde::{Deserialize, Deserializer};
use std::net::IpAddr;

/// Networks such as `10.0.0.0/8`, and addresses such as `192.0.2.7`, which are networks of one.
pub(crate) fn networks<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<IpNet>, D::Error> {
    let read = |text: &String| {
        let network = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        network.map_err(|_| {
            let message = format!(
                "`{text}` is no network; expected one such as \"10.0.0.0/8\", or an address such as \"192.0.2.7\""
            );
            serde::de::Error::custom(message)
        })
    };
    Vec::<String>::deserialize(d)?.iter().map(read).collect()
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
