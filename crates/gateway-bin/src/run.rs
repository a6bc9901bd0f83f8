//! The life of the process: listen, serve, and end without losing a request.

use crate::admin::{self, Admin};
use crate::assemble::{Observers, edge};
use crate::config::{Config, Plan};
use crate::routes;
use crate::server::{self, End};
use gateway_balance::health_checks;
use gateway_observe::{AccessLog, ConnectionGauge, Metrics, prometheus};
use gateway_server::Limits;
use gateway_upstream::HttpUpstream;
use metrics_exporter_prometheus::PrometheusHandle;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing_subscriber::filter::LevelFilter;

/// Why the gateway cannot run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    #[error("cannot listen on {address}: {why}; another address can be set as `{key}` in {config}")]
    Listen { address: SocketAddr, why: String, key: &'static str, config: String },
    #[error(
        "{0}; start it, mend `store.redis.url`, or set `store.redis.required = false` to start without it"
    )]
    Store(gateway_store::StoreError),
    #[error(transparent)]
    AccessLog(#[from] gateway_observe::AccessLogError),
    #[error("cannot set up metrics: {0}")]
    Metrics(#[from] metrics_exporter_prometheus::BuildError),
    #[error("the operating system refused: {0}")]
    System(#[from] std::io::Error),
}

/// Runs until SIGTERM or SIGINT.
pub(crate) fn run(config: &Config, path: &Path) -> Result<(), RunError> {
    start_logging(config);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = runtime.block_on(serve(config, path));
    // Without waiting for workers that a second signal gave up.
    runtime.shutdown_background();
    result
}

fn start_logging(config: &Config) {
    use crate::config::LogLevel;
    let level = match config.settings.log.level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
    };
    // Fails only where there is one already, which then does as well.
    let _ = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_max_level(level)
        .with_target(false)
        .with_ansi(false)
        .try_init();
    // One line in the log; the place matters, the way there does not to an operator.
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!("panic at {place}");
    }));
}

async fn serve(config: &Config, path: &Path) -> Result<(), RunError> {
    let Config { settings, plan } = config;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let failed = |address, key| {
        move |error: std::io::Error| {
            let why = error.to_string();
            let why = why.split(" (os error").next().unwrap_or_default().to_owned();
            RunError::Listen { address, why, key, config: path.display().to_string() }
        }
    };
    let workers = settings.server.workers.or_else(|| std::thread::available_parallelism().ok());
    let workers = workers.map_or(1, NonZeroUsize::get);
    let address = settings.server.listen;
    let listeners = server::listen(address, workers).map_err(failed(address, "server.listen"))?;
    let admin_listener = match &settings.admin {
        None => None,
        Some(admin) => {
            Some(TcpListener::bind(admin.listen).await.map_err(failed(admin.listen, "admin.listen"))?)
        }
    };
    if let Err(error) = plan.store.ping().await {
        if settings.store.redis.as_ref().is_some_and(|redis| redis.required) {
            return Err(RunError::Store(error));
        }
        tracing::warn!("starting without the store: {error}");
    }
    let (metrics, handle) = match settings.metrics.0 {
        true => {
            let (recorder, handle) = prometheus()?;
            (Some(Metrics::new(recorder)), Some(handle))
        }
        false => (None, None),
    };
    let log = settings.access_log.0.on().map(AccessLog::open).transpose()?.map(Arc::new);

    let limits = Limits {
        header_timeout: *settings.server.header_timeout,
        max_head: plan.max_head,
        max_headers: settings.server.max_headers,
        ..Limits::default()
    };
    let (drain, draining) = watch::channel(false);
    let ready = Arc::new(AtomicBool::new(true));
    let mut threads = Vec::new();
    for (number, listener) in listeners.into_iter().enumerate() {
        let observers = Observers { metrics: metrics.clone(), lines: log.as_ref().map(|log| log.lines()) };
        let connections = metrics.as_ref().map_or_else(ConnectionGauge::noop, Metrics::connections);
        let plan = plan.clone();
        threads.push(server::spawn_worker(
            format!("worker-{number}"),
            listener,
            move || edge(&plan, &observers),
            limits,
            connections,
            End { signal: draining.clone(), timeout: *settings.server.drain_timeout },
        )?);
    }
    for service in plan.services.values() {
        if let Some(health) = service.health.clone() {
            let connection = service.connection.clone();
            let connect = move |endpoint: &_| HttpUpstream::new(Clone::clone(endpoint), connection.clone());
            tokio::spawn(health_checks(service.set.clone(), health, connect));
        }
    }
    if let Some(handle) = handle.clone() {
        tokio::spawn(async move {
            let mut ticks = tokio::time::interval(Duration::from_secs(5));
            loop {
                ticks.tick().await;
                handle.run_upkeep();
            }
        });
    }
    if let (Some(listener), Some(settings)) = (admin_listener, &settings.admin) {
        tracing::info!("admin on http://{}", settings.listen);
        let admin = admin(config, handle, metrics, log.clone(), ready.clone());
        tokio::spawn(admin::serve(listener, Arc::new(admin)));
    }
    tracing::info!("listening on http://{address} with {workers} workers, {} routes", plan.routes.len());

    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("draining: no new connections, {} for requests to finish", settings.server.drain_timeout);
    ready.store(false, Ordering::Relaxed);
    // Nobody is left to listen only if every worker has ended already.
    let _ = drain.send(true);
    let ended =
        tokio::task::spawn_blocking(move || threads.into_iter().map(std::thread::JoinHandle::join).collect());
    let ended: Vec<std::thread::Result<std::io::Result<()>>> = tokio::select! {
        ended = ended => ended.unwrap_or_default(),
        _ = terminate.recv() => Vec::new(),
        _ = interrupt.recv() => Vec::new(),
    };
    for error in ended.into_iter().filter_map(|thread| thread.unwrap_or(Ok(())).err()) {
        tracing::error!("a worker failed: {error}");
    }
    // The last lines are written when the last handle goes.
    drop(log);
    tracing::info!("stopped");
    Ok(())
}

fn admin(
    config: &Config,
    handle: Option<PrometheusHandle>,
    metrics: Option<Metrics>,
    log: Option<Arc<AccessLog>>,
    ready: Arc<AtomicBool>,
) -> Admin {
    let plan: &Plan = &config.plan;
    let services: Vec<_> = plan.services.values().map(|service| service.set.clone()).collect();
    let sets = services.clone();
    let log = log.map(|log| Arc::downgrade(&log));
    let refresh = move || {
        let Some(metrics) = &metrics else { return };
        for set in &sets {
            let service = || ("service", set.name().to_owned());
            metrics.counter("gateway_upstream_retries_total", vec![service()]).absolute(set.retries());
            for state in set.states() {
                let labels = || vec![service(), ("endpoint", state.endpoint.to_string())];
                metrics.gauge("gateway_upstream_healthy", labels()).set(f64::from(u8::from(state.healthy)));
                metrics.gauge("gateway_upstream_in_flight", labels()).set(state.in_flight as f64);
            }
        }
        if let Some(log) = log.as_ref().and_then(std::sync::Weak::upgrade) {
            metrics.counter("gateway_access_log_dropped_total", Vec::new()).absolute(log.dropped());
        }
    };
    Admin {
        services,
        metrics: handle,
        refresh: Box::new(refresh),
        routes: routes::json(config),
        revocations: plan.jwt.values().map(gateway_auth::JwtLayer::revocations).collect(),
        ready,
    }
}
