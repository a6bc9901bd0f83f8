use super::status::StatusRanges;
use gateway_core::units::{Scalar, ShortForm, Timespan};
use http::{HeaderName, HeaderValue, Method};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;
use std::num::NonZeroU16;

/// Active health checks: each endpoint is asked at an interval. Short form: the path, `"/health"`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HealthSettings {
    /// What is tried: `http` (a request), `tcp` (a connection) or `grpc` (`grpc.health.v1.Health/Check`, for services
    /// whose `connection.protocol` is HTTP/2). Default `http`.
    pub kind: HealthCheck,
    /// `http`: what is asked for. Default `/`.
    pub path: String,
    /// `http`: the method. Default `GET`.
    #[serde(deserialize_with = "method")]
    pub method: String,
    /// `http` and `grpc`: what the `Host` says. Default: the endpoint's host and port.
    #[serde(deserialize_with = "host")]
    pub host: Option<String>,
    /// `http` and `grpc`: further headers.
    #[serde(deserialize_with = "headers")]
    pub headers: BTreeMap<String, String>,
    /// Another port than the endpoint's, such as that of a management listener. Default: the endpoint's.
    pub port: Option<NonZeroU16>,
    /// The time between two checks of an endpoint. Default `5s`.
    pub interval: Timespan,
    /// Up to how much is added to the interval at random, so that several gateways do not ask all at once. Default
    /// `0s`.
    pub jitter: Timespan,
    /// The interval while nobody sends the service requests; the first check after that has it as well. Default: the
    /// same as `interval`.
    pub no_traffic_interval: Option<Timespan>,
    /// How long an answer may take. Default `5s`.
    pub timeout: Timespan,
    /// `http`: the statuses that mean healthy: `200`, `"200-299"`, or a list of those. Default 200.
    pub status: StatusRanges,
    /// `http`: what the answer's body must contain, within its first 64 KiB. Default: anything.
    pub body: Option<String>,
    /// `tcp`: what is sent. Default: nothing.
    pub send: Option<String>,
    /// `tcp`: what must be in what comes back, within its first 64 KiB. Default: a connection is enough.
    pub expect: Option<String>,
    /// `grpc`: which of the server's services is asked about. Default: the server as a whole.
    pub service: String,
    /// Failed checks in a row until an endpoint is taken out. Default 3 (HAProxy: `fall`).
    pub fall: u32,
    /// Good checks in a row until it is taken back. Default 2 (HAProxy: `rise`).
    pub rise: u32,
}

/// What an active health check tries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HealthCheck {
    /// A request that must be answered with certain statuses.
    #[default]
    Http,
    /// A connection, over which something may be said and heard.
    Tcp,
    /// The gRPC health checking protocol, whose answer must be `SERVING`.
    Grpc,
}

impl Default for HealthSettings {
    fn default() -> Self {
        Self {
            kind: HealthCheck::Http,
            path: "/".to_owned(),
            method: "GET".to_owned(),
            host: None,
            headers: BTreeMap::new(),
            port: None,
            interval: Timespan::secs(5),
            jitter: Timespan::secs(0),
            no_traffic_interval: None,
            timeout: Timespan::secs(5),
            status: StatusRanges::default(),
            body: None,
            send: None,
            expect: None,
            service: String::new(),
            fall: 3,
            rise: 2,
        }
    }
}

impl ShortForm for HealthSettings {
    const EXPECTED: &'static str = "the path to check such as \"/health\", or a table";
    const TYPE: &'static str = "string";
    fn from_short(value: Scalar<'_>) -> Option<Result<Self, String>> {
        let Scalar::Text(path) = value else { return None };
        Some(Ok(Self { path: path.to_owned(), ..Self::default() }))
    }
}

fn method<'de, D: Deserializer<'de>>(d: D) -> Result<String, D::Error> {
    let text = String::deserialize(d)?;
    match Method::from_bytes(text.as_bytes()) {
        Ok(_) => Ok(text),
        Err(_) => {
            let message = format!("`{text}` is no method; expected one such as \"GET\" or \"HEAD\"");
            Err(serde::de::Error::custom(message))
        }
    }
}

fn host<'de, D: Deserializer<'de>>(d: D) -> Result<Option<String>, D::Error> {
    let text = Option::<String>::deserialize(d)?;
    match &text {
        Some(host) if host.parse::<http::uri::Authority>().is_err() => {
            let message = format!("`{host}` is no host; expected one such as \"users.example:8080\"");
            Err(serde::de::Error::custom(message))
        }
        _ => Ok(text),
    }
}

fn headers<'de, D: Deserializer<'de>>(d: D) -> Result<BTreeMap<String, String>, D::Error> {
    let headers = BTreeMap::<String, String>::deserialize(d)?;
    for (name, value) in &headers {
        if name.parse::<HeaderName>().is_err() || HeaderValue::from_str(value).is_err() {
            let message =
                format!("`{name}: {value}` is no header; expected a name and a value without line breaks");
            return Err(serde::de::Error::custom(message));
        }
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use gateway_core::units::Short;

    #[test]
    fn a_check_is_a_path_or_a_table_and_mistakes_are_named() {
        let read = |text: &str| {
            serde_json::from_str::<Short<HealthSettings>>(text).map(|s| s.0).map_err(|e| e.to_string())
        };
        let short = read("\"/health\"").unwrap();
        assert_eq!(
            (short.path.as_str(), short.method.as_str(), short.kind),
            ("/health", "GET", HealthCheck::Http)
        );
        assert_eq!((short.interval, short.timeout), (Timespan::secs(5), Timespan::secs(5)));
        assert_eq!((short.fall, short.rise, short.status.to_string().as_str()), (3, 2, "200"));
        let tcp = read(r#"{"kind": "tcp", "send": "PING\r\n", "expect": "PONG", "port": 6380}"#).unwrap();
        assert_eq!(
            (tcp.kind, tcp.send.as_deref(), tcp.path.as_str()),
            (HealthCheck::Tcp, Some("PING\r\n"), "/")
        );
        let http = read(
            r#"{"path": "/up", "method": "HEAD", "host": "users:81", "headers": {"X-Check": "1"}, "status": ["200-299", 401],
                "body": "ok", "jitter": "1s", "no_traffic_interval": "60s"}"#,
        );
        assert_eq!(http.unwrap().headers["X-Check"], "1");
        for (text, part) in [
            (r#"{"method": "G T"}"#, "`G T` is no method; expected"),
            (r#"{"host": "a b"}"#, "`a b` is no host; expected"),
            (r#"{"headers": {"a b": "c"}}"#, "`a b: c` is no header; expected"),
            (r#"{"port": 0}"#, "expected a nonzero"),
            (r#"{"kind": "udp"}"#, "expected one of `http`, `tcp`, `grpc`"),
            (r#"{"status": 99}"#, "`99` is no status"),
            ("5", "expected the path to check"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
