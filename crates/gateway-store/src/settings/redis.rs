use crate::StoreError;
use gateway_core::units::Timespan;
use schemars::JsonSchema;
use serde::Deserialize;
use std::fmt;
use std::path::PathBuf;

/// A Redis (or Valkey): exactly one of `url`, `sentinel` and `cluster`.
///
/// URLs are `redis://[user:password@]HOST[:PORT][/DATABASE]`, or `rediss://…` for TLS, which always verifies the
/// server's certificate.
#[derive(Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RedisSettings {
    /// One server.
    #[serde(default)]
    pub url: Option<String>,
    /// A master with replicas, watched by sentinels that promote another when it fails.
    #[serde(default)]
    pub sentinel: Option<SentinelSettings>,
    /// Some nodes of a cluster, by URL; they tell of the others.
    #[serde(default)]
    pub cluster: Option<Vec<String>>,
    /// User of the servers' access control list. Default: that of the URL, or none.
    #[serde(default)]
    pub username: Option<String>,
    /// Password. Default: that of the URL, or none.
    #[serde(default)]
    pub password: Option<String>,
    /// File with the password in its first line, instead of `password`.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
    /// PEM file with the certificates of those that signed the servers', for `rediss://`. Default: the system's.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// PEM file with the certificate that the gateway shows to the servers; needs `client_key_file`.
    #[serde(default)]
    pub client_certificate_file: Option<PathBuf>,
    /// PEM file with the key of that certificate.
    #[serde(default)]
    pub client_key_file: Option<PathBuf>,
    /// How long one operation may take, the wait for a connection included; requests wait for it. Default `20ms`.
    #[serde(default = "twenty_millis")]
    pub timeout: Timespan,
    /// How long a connection may take to be made; three times that with sentinels and in a cluster, where it takes
    /// several. Default `1s`.
    #[serde(default = "one_second")]
    pub connect_timeout: Timespan,
    /// What all keys and channels begin with. Default `gateway:`.
    #[serde(default = "gateway")]
    pub prefix: String,
    /// Whether the gateway refuses to start while the server is away, or refuses what is asked of it. Default true.
    #[serde(default = "yes")]
    pub required: bool,
}

/// Sentinels, and the master they watch.
#[derive(Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SentinelSettings {
    /// The sentinels: `redis://HOST[:26379]`. With `rediss://` the master is reached by TLS too.
    pub urls: Vec<String>,
    /// The name under which they know the master. Default `mymaster`.
    pub master: Option<String>,
    /// User of the sentinels' own access control list. Default: none.
    pub username: Option<String>,
    /// Password of the sentinels themselves, not of the servers they watch. Default: none.
    pub password: Option<String>,
    /// File with that password in its first line, instead of `password`.
    pub password_file: Option<PathBuf>,
    /// The database of the master. Default 0.
    pub database: u32,
}

/// What of the three was given.
#[cfg_attr(not(feature = "redis"), allow(dead_code, reason = "nobody connects"))]
pub(crate) enum Topology<'a> {
    Single(&'a str),
    Sentinel(&'a SentinelSettings),
    Cluster(&'a [String]),
}

fn twenty_millis() -> Timespan {
    Timespan::millis(20)
}
fn one_second() -> Timespan {
    Timespan::secs(1)
}
fn gateway() -> String {
    "gateway:".to_owned()
}
fn yes() -> bool {
    true
}

impl RedisSettings {
    /// The server at this URL, everything else by default.
    #[must_use]
    pub fn new(url: &str) -> Self {
        Self { url: Some(url.to_owned()), ..Self::nowhere() }
    }

    /// The master that these sentinels watch, everything else by default.
    #[must_use]
    pub fn sentinel(urls: impl IntoIterator<Item = String>, master: &str) -> Self {
        let sentinel = SentinelSettings {
            urls: urls.into_iter().collect(),
            master: Some(master.to_owned()),
            ..SentinelSettings::default()
        };
        Self { sentinel: Some(sentinel), ..Self::nowhere() }
    }

    /// The cluster of these nodes, everything else by default.
    #[must_use]
    pub fn cluster(urls: impl IntoIterator<Item = String>) -> Self {
        Self { cluster: Some(urls.into_iter().collect()), ..Self::nowhere() }
    }

    fn nowhere() -> Self {
        Self {
            url: None,
            sentinel: None,
            cluster: None,
            username: None,
            password: None,
            password_file: None,
            ca_file: None,
            client_certificate_file: None,
            client_key_file: None,
            timeout: twenty_millis(),
            connect_timeout: one_second(),
            prefix: gateway(),
            required: yes(),
        }
    }

    pub(crate) fn topology(&self) -> Result<Topology<'_>, StoreError> {
        let empty = |what| StoreError::Settings(format!("{what} is empty; expected at least one URL"));
        match (&self.url, &self.sentinel, &self.cluster) {
            (Some(url), None, None) => Ok(Topology::Single(url)),
            (None, Some(sentinel), None) if sentinel.urls.is_empty() => Err(empty("`redis.sentinel.urls`")),
            (None, Some(sentinel), None) => Ok(Topology::Sentinel(sentinel)),
            (None, None, Some(nodes)) if nodes.is_empty() => Err(empty("`redis.cluster`")),
            (None, None, Some(nodes)) => Ok(Topology::Cluster(nodes)),
            (url, sentinel, cluster) => {
                let given = [
                    url.is_some().then_some("`url`"),
                    sentinel.is_some().then_some("`sentinel`"),
                    cluster.is_some().then_some("`cluster`"),
                ];
                let found = given.into_iter().flatten().collect::<Vec<_>>().join(" and ");
                let found = if found.is_empty() { "none".to_owned() } else { found };
                Err(StoreError::Settings(format!(
                    "`redis` has {found}; expected exactly one of `url`, `sentinel` and `cluster`"
                )))
            }
        }
    }

    /// Where it is, without users and passwords.
    pub(crate) fn shown(&self) -> String {
        let all = |urls: &[String]| urls.iter().map(|url| without_user(url)).collect::<Vec<_>>().join(", ");
        match (&self.url, &self.sentinel, &self.cluster) {
            (Some(url), ..) => without_user(url),
            (_, Some(sentinel), _) => format!("{} of sentinels {}", sentinel.master(), all(&sentinel.urls)),
            (_, _, Some(nodes)) => format!("cluster {}", all(nodes)),
            _ => "nowhere".to_owned(),
        }
    }
}

impl SentinelSettings {
    pub(crate) fn master(&self) -> &str {
        self.master.as_deref().unwrap_or("mymaster")
    }
}

/// The URL without user and password.
pub(crate) fn without_user(url: &str) -> String {
    let Some(at) = url.rfind('@') else { return url.to_owned() };
    // What is no URL may have a user and a password all the same.
    let scheme = url.find("://").filter(|end| *end < at).map_or("", |end| &url[..end + 3]);
    format!("{scheme}{}", &url[at + 1..])
}

/// Without passwords.
impl fmt::Debug for RedisSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisSettings")
            .field("at", &self.shown())
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

/// Without passwords.
impl fmt::Debug for SentinelSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let urls: Vec<_> = self.urls.iter().map(|url| without_user(url)).collect();
        f.debug_struct("SentinelSettings")
            .field("urls", &urls)
            .field("master", &self.master())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> RedisSettings {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn exactly_one_of_the_three_is_expected_and_what_was_found_is_named() {
        for (json, found) in [
            ("{}", "`redis` has none"),
            (r#"{"url": "redis://a", "cluster": ["redis://b"]}"#, "`redis` has `url` and `cluster`"),
            (
                r#"{"url": "redis://a", "sentinel": {"urls": ["redis://b"]}, "cluster": []}"#,
                "`redis` has `url` and `sentinel` and `cluster`",
            ),
            (r#"{"cluster": []}"#, "`redis.cluster` is empty"),
            (r#"{"sentinel": {"master": "m"}}"#, "`redis.sentinel.urls` is empty"),
        ] {
            let error = read(json).topology().err().unwrap().to_string();
            assert!(error.contains(found), "{json}: {error}");
        }
    }

    #[test]
    fn users_are_left_out_also_of_what_is_no_url() {
        for (url, shown) in [
            ("redis://u:p@h:1/2", "redis://h:1/2"),
            ("u:p@h:1", "h:1"),
            ("u:p@h?next=a://b", "h?next=a://b"),
            ("redis://h", "redis://h"),
            ("h", "h"),
        ] {
            assert_eq!(without_user(url), shown);
        }
    }

    #[test]
    fn no_password_is_shown() {
        for json in [
            r#"{"url": "rediss://u:secret@a:1", "password": "secret"}"#,
            r#"{"sentinel": {"urls": ["redis://u:secret@a"], "password": "secret"}}"#,
            r#"{"cluster": ["redis://u:secret@a", "redis://:secret@b"]}"#,
        ] {
            let settings = read(json);
            let shown = format!("{settings:?} {:?} {}", settings.sentinel, settings.shown());
            assert!(!shown.contains("secret"), "{shown}");
        }
    }
}
