use super::credentials::{Credentials, certificates};
use crate::StoreError;
use crate::settings::{RedisSettings, SentinelSettings, Topology as Given, without_user};
use deadpool_redis::redis::aio::{MultiplexedConnection, PubSub};
use deadpool_redis::redis::cluster::{ClusterClient, ClusterClientBuilder};
use deadpool_redis::redis::cluster_async::ClusterConnection;
use deadpool_redis::redis::sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType};
use deadpool_redis::redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisError,
    TlsCertificates, TlsMode, Value,
};
use futures_util::future::select_ok;
use gateway_core::with_causes;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// How often a command is sent again inside a cluster, after a redirection or to a node that took over; the
/// operation's deadline mostly comes first.
const CLUSTER_RETRIES: u32 = 3;

/// The servers, and how to reach the right one.
#[derive(Debug)]
pub(crate) enum Topology {
    Single(Box<Client>),
    Sentinel(Box<Sentinel>),
    Cluster(Box<Cluster>),
}

#[derive(Debug)]
pub(crate) struct Sentinel {
    sentinels: Vec<ConnectionAddr>,
    master: String,
    database: i64,
    own: Credentials,
    servers: Credentials,
    tls: bool,
    certificates: Option<TlsCertificates>,
}

#[derive(Debug)]
pub(crate) struct Cluster {
    client: ClusterClient,
    nodes: Vec<Client>,
    /// Which of them is asked for the next subscription.
    next: AtomicUsize,
}

/// A connection that carries any number of operations at once. Cheap to clone.
#[derive(Clone)]
pub(super) enum Link {
    Single(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Topology {
    pub(super) fn new(settings: &RedisSettings) -> Result<Self, StoreError> {
        let servers = Credentials::read(
            settings.username.as_ref(),
            settings.password.as_ref(),
            settings.password_file.as_deref(),
            "redis",
        )?;
        for (name, time) in [("timeout", settings.timeout), ("connect_timeout", settings.connect_timeout)] {
            if time.is_zero() {
                return Err(StoreError::Settings(format!("`{name}` is 0s, so that nothing could be done")));
            }
        }
        let certificates = certificates(settings)?;
        match settings.topology()? {
            Given::Single(url) => {
                let info = servers.onto(connection_info(url)?);
                known(info.redis_settings().username(), info.redis_settings().password(), "redis")?;
                of_tls(certificates.as_ref(), [info.addr()], "`url` is")?;
                Ok(Self::Single(Box::new(client(url, info, certificates.as_ref())?)))
            }
            Given::Sentinel(sentinel) => {
                Sentinel::new(sentinel, servers, certificates).map(Box::new).map(Self::Sentinel)
            }
            Given::Cluster(urls) => Cluster::new(urls, &servers, certificates, *settings.connect_timeout)
                .map(Box::new)
                .map(Self::Cluster),
        }
    }

    /// How many connections are made one after the other until the right one is there.
    pub(super) fn steps(&self) -> u32 {
        match self {
            Self::Single(_) => 1,
            Self::Sentinel(_) | Self::Cluster(_) => 3,
        }
    }

    /// A connection for operations: to the server, to the present master, or to all nodes.
    pub(super) async fn connect(&self, timeout: Duration) -> Result<Link, RedisError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(timeout))
            // Every operation has its own deadline.
            .set_response_timeout(None);
        match self {
            Self::Single(client) => {
                client.get_multiplexed_async_connection_with_config(&config).await.map(Link::Single)
            }
            Self::Sentinel(sentinel) => {
                let master = sentinel.master().await?;
                master.get_multiplexed_async_connection_with_config(&config).await.map(Link::Single)
            }
            Self::Cluster(cluster) => cluster.client.get_async_connection().await.map(Link::Cluster),
        }
    }

    /// A connection for messages. In a cluster any node will do: what is published at one reaches all.
    pub(super) async fn subscribe(&self, channel: &str) -> Result<PubSub, RedisError> {
        let mut messages = match self {
            Self::Single(client) => client.get_async_pubsub().await?,
            Self::Sentinel(sentinel) => sentinel.master().await?.get_async_pubsub().await?,
            Self::Cluster(cluster) => cluster.node().get_async_pubsub().await?,
        };
        messages.subscribe(channel).await?;
        Ok(messages)
    }
}

impl Link {
    pub(super) async fn query(&mut self, command: &Cmd) -> Result<Value, RedisError> {
        match self {
            Self::Single(connection) => command.query_async(connection).await,
            Self::Cluster(connection) => command.query_async(connection).await,
        }
    }
}

impl Sentinel {
    fn new(
        settings: &SentinelSettings,
        servers: Credentials,
        certificates: Option<TlsCertificates>,
    ) -> Result<Self, StoreError> {
        let mut own = Credentials::read(
            settings.username.as_ref(),
            settings.password.as_ref(),
            settings.password_file.as_deref(),
            "redis.sentinel",
        )?;
        let mut sentinels = Vec::with_capacity(settings.urls.len());
        for url in &settings.urls {
            let info = connection_info(url)?;
            if info.redis_settings().db() != 0 {
                let why = "sentinels have no databases; that of the master is `sentinel.database`";
                return Err(wrong_url(url, why.to_owned()));
            }
            own.fill(&info);
            sentinels.push(info.addr().clone());
        }
        known(servers.username.as_deref(), servers.password.as_deref(), "redis")?;
        known(own.username.as_deref(), own.password.as_deref(), "redis.sentinel")?;
        if settings.master().is_empty() {
            return Err(StoreError::Settings(
                "`sentinel.master` is empty; expected the name under which the sentinels know it".to_owned(),
            ));
        }
        let tls = sentinels.iter().all(is_tls);
        if !tls && sentinels.iter().any(is_tls) {
            return Err(StoreError::Settings(
                "`redis.sentinel.urls` has both redis:// and rediss://; expected one kind".to_owned(),
            ));
        }
        of_tls(certificates.as_ref(), &sentinels, "`sentinel.urls` are")?;
        let sentinel = Self {
            sentinels,
            master: settings.master().to_owned(),
            database: settings.database.into(),
            own,
            servers,
            tls,
            certificates,
        };
        sentinel
            .client(&sentinel.sentinels)
            .map_err(|e| StoreError::Settings(format!("`redis.sentinel`: {}", with_causes(&e))))?;
        Ok(sentinel)
    }

    fn client(&self, sentinels: &[ConnectionAddr]) -> Result<SentinelClient, RedisError> {
        let mut builder =
            SentinelClientBuilder::new(sentinels.iter().cloned(), &self.master, SentinelServerType::Master)?
                .set_client_to_redis_db(self.database);
        if self.tls {
            builder = builder.set_client_to_redis_tls_mode(TlsMode::Secure);
        }
        if let Some(certificates) = self.certificates.as_ref().filter(|_| self.tls) {
            builder = builder
                .set_client_to_redis_certificates(certificates.clone())
                .set_client_to_sentinel_certificates(certificates.clone());
        }
        if let Some(username) = &self.servers.username {
            builder = builder.set_client_to_redis_username(username);
        }
        if let Some(password) = &self.servers.password {
            builder = builder.set_client_to_redis_password(password);
        }
        if let Some(username) = &self.own.username {
            builder = builder.set_client_to_sentinel_username(username);
        }
        if let Some(password) = &self.own.password {
            builder = builder.set_client_to_sentinel_password(password);
        }
        builder.build()
    }

    /// Asks the sentinels anew, all at once, so that none that is frozen makes the others wait; and the server whether
    /// it thinks so too.
    async fn master(&self) -> Result<Client, RedisError> {
        let asked = self.sentinels.iter().map(|sentinel| {
            Box::pin(async move { self.client(std::slice::from_ref(sentinel))?.async_get_client().await })
        });
        select_ok(asked).await.map(|(master, _)| master)
    }
}

impl Cluster {
    fn new(
        urls: &[String],
        servers: &Credentials,
        certificates: Option<TlsCertificates>,
        connect_timeout: Duration,
    ) -> Result<Self, StoreError> {
        let wrong = |e: RedisError| StoreError::Settings(format!("`redis.cluster`: {}", with_causes(&e)));
        let infos: Vec<ConnectionInfo> = urls
            .iter()
            .map(|url| {
                let info = servers.onto(connection_info(url)?);
                known(info.redis_settings().username(), info.redis_settings().password(), "redis")?;
                match info.redis_settings().db() {
                    0 => Ok(info),
                    _ => Err(wrong_url(url, "a cluster has no databases".to_owned())),
                }
            })
            .collect::<Result<_, StoreError>>()?;
        of_tls(certificates.as_ref(), infos.iter().map(ConnectionInfo::addr), "`cluster` is")?;
        let nodes = urls
            .iter()
            .zip(&infos)
            .map(|(url, info)| client(url, info.clone(), certificates.as_ref()))
            .collect::<Result<_, _>>()?;
        let mut builder = ClusterClientBuilder::new(infos)
            .retries(CLUSTER_RETRIES)
            // Milliseconds.
            .min_retry_wait(1)
            .max_retry_wait(5)
            .connection_timeout(connect_timeout)
            .response_timeout(connect_timeout)
            .overall_response_timeout(None);
        if let Some(certificates) = certificates {
            builder = builder.certs(certificates);
        }
        Ok(Self { client: builder.build().map_err(wrong)?, nodes, next: AtomicUsize::new(0) })
    }

    fn node(&self) -> &Client {
        &self.nodes[self.next.fetch_add(1, Ordering::Relaxed) % self.nodes.len()]
    }
}

fn client(
    url: &str,
    info: ConnectionInfo,
    certificates: Option<&TlsCertificates>,
) -> Result<Client, StoreError> {
    let client = match certificates {
        None => Client::open(info),
        Some(certificates) => Client::build_with_tls(info, certificates.clone()),
    };
    client.map_err(|e| wrong_url(url, with_causes(&e)))
}

/// Certificates that nobody would look at are not what an operator believes to have.
fn of_tls<'a>(
    certificates: Option<&TlsCertificates>,
    addresses: impl IntoIterator<Item = &'a ConnectionAddr>,
    what: &str,
) -> Result<(), StoreError> {
    match certificates {
        Some(_) if !addresses.into_iter().all(is_tls) => Err(StoreError::Settings(format!(
            "`redis` has certificates, but {what} without TLS; expected rediss://"
        ))),
        _ => Ok(()),
    }
}

/// A user without a password would not be told to the servers.
fn known(username: Option<&str>, password: Option<&str>, what: &str) -> Result<(), StoreError> {
    match (username, password) {
        (Some(_), None) => Err(StoreError::Settings(format!(
            "`{what}` has `username` without `password` or `password_file`; expected both"
        ))),
        _ => Ok(()),
    }
}

fn connection_info(url: &str) -> Result<ConnectionInfo, StoreError> {
    let ignored = url.split_once('?').filter(|_| url.starts_with("redis://") || url.starts_with("rediss://"));
    let ignored = ignored.map(|(_, query)| query.split(['=', '#']).next().unwrap_or_default());
    if let Some(name) = ignored.filter(|name| *name != "protocol") {
        return Err(wrong_url(url, format!("`{name}` is not looked at; a database is named by `/3`")));
    }
    let info = url.into_connection_info().map_err(|e| wrong_url(url, with_causes(&e)))?;
    match info.addr() {
        ConnectionAddr::TcpTls { insecure: true, .. } => {
            Err(wrong_url(url, "certificates are always verified; name the signer in `ca_file`".to_owned()))
        }
        ConnectionAddr::TcpTls { .. } => {
            // Which of rustls' back ends is used must be clear to the Redis client too. Fails where it is already.
            let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
            Ok(info)
        }
        _ => Ok(info),
    }
}

fn wrong_url(url: &str, why: String) -> StoreError {
    StoreError::Url { url: without_user(url), why }
}

fn is_tls(address: &ConnectionAddr) -> bool {
    matches!(address, ConnectionAddr::TcpTls { .. })
}
