//! Whether what a configuration names can be reached from here, now.

use crate::config::{Checked, Mistake, Severity, join};
use futures_util::future::join_all;
use gateway_core::Endpoint;
use gateway_store::Store;
use std::time::Duration;
use tokio::net::TcpStream;

/// How long a connection may take; who is slower is of no use to a client either.
const PATIENCE: Duration = Duration::from_secs(1);

/// What cannot be reached. A store that is not required, and an endpoint whose requests others take over, are
/// warnings; all else is needed.
pub(super) async fn connect(checked: &Checked) -> Vec<Mistake> {
    let (store, services) = tokio::join!(store(checked), services(checked));
    store.into_iter().chain(services).collect()
}

async fn store(checked: &Checked) -> Option<Mistake> {
    let config = &checked.config;
    let Err(error) = config.plan.store.ping().await else {
        let found = checked.origin.warning_of("store.redis", evicts(&config.plan.store).await?);
        return Some(found.with_help("set it to `noeviction`, with memory to spare"));
    };
    let found = checked.origin.warning_of("store.redis", error.to_string());
    Some(match config.settings.store.redis.as_ref().is_some_and(|redis| redis.required) {
        true => found.with_severity(Severity::Failure).with_help("start it, or mend `store.redis`"),
        false => found.with_help("it is not required: the gateway starts without it"),
    })
}

/// What is lost with a server that forgets what it was told, if this one is such.
pub(crate) async fn evicts(store: &Store) -> Option<String> {
    let policy = store.evicts().await?;
    Some(format!(
        "Redis has `maxmemory-policy {policy}`: when its memory is full, revoked tokens may pass, and good ones be \
         refused as revoked"
    ))
}

async fn services(checked: &Checked) -> Vec<Mistake> {
    let plan = &checked.config.plan;
    let services = plan.services.iter().map(|(name, service)| async move {
        let endpoints: Vec<Endpoint> = service.set.states().map(|state| state.endpoint).collect();
        let failures = join_all(endpoints.iter().map(reach)).await;
        let alone = failures.iter().all(Option::is_some);
        let used = plan.routes.iter().any(|route| route.service.as_ref() == Some(name));
        let list = join(&join("services", name), "endpoints");
        let found = failures.into_iter().zip(endpoints).enumerate().filter_map(|(i, (why, endpoint))| {
            let message = format!("{endpoint} cannot be reached: {}", why?);
            let found = checked.origin.warning(&format!("{list}[{i}]"), message);
            Some(match (alone, used) {
                (true, true) => found
                    .with_severity(Severity::Failure)
                    .with_help(format!("no endpoint of `{name}` can be reached")),
                (true, false) => found.with_help("no route uses its service"),
                (false, _) => found.with_help(format!("other endpoints of `{name}` can be")),
            })
        });
        found.collect::<Vec<_>>()
    });
    join_all(services).await.into_iter().flatten().collect()
}

/// Why a connection cannot be made; `None` if it can.
async fn reach(endpoint: &Endpoint) -> Option<String> {
    match tokio::time::timeout(PATIENCE, TcpStream::connect((endpoint.host(), endpoint.port()))).await {
        Ok(Ok(_)) => None,
        Ok(Err(error)) => {
            let why = error.to_string();
            Some(why.split(" (os error").next().unwrap_or_default().to_owned())
        }
        Err(_) => Some("no connection within 1s".to_owned()),
    }
}
