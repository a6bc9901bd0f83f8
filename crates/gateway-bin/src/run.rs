//! The life of the process: listen, serve, and end without losing a request.

use crate::accounts::Accounts;
use crate::admin::{self, Admin};
use crate::assemble::Observers;
use crate::check::evicts;
use crate::config::{Config, ServerSettings};
use crate::descriptors;
use crate::diary::Diary;
use crate::doorway::Doorway;
use crate::gauges::{Gauges, flag};
use crate::handover::{self, Handover, Inherited, Sockets};
use crate::live::{Live, View, Watch, files_of};
use crate::seats::Seats;
use crate::server::{self, Orders};
use arc_swap::ArcSwap;
use gateway_observe::{AccessLog, ConnectionGauge, Metrics, prometheus};
use gateway_server::{ListenAddress, Socket};
use gateway_store::{Health, Store, StoreError};
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tracing_subscriber::filter::LevelFilter;

/// Why the gateway cannot run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    #[error("cannot listen on {address}: {why}; another address can be set as `{key}` in {config}")]
    Listen { address: String, why: String, key: &'static str, config: String },
    #[error("{0}; start it, mend `store.redis`, or set `store.redis.required = false` to start without it")]
    Store(StoreError),
    #[error(transparent)]
    AccessLog(#[from] gateway_observe::AccessLogError),
    #[error("cannot set up metrics: {0}")]
    Metrics(#[from] metrics_exporter_prometheus::BuildError),
    #[error(transparent)]
    Inherited(#[from] gateway_server::InheritedError),
    #[error("accounts cannot be opened: {0}")]
    Accounts(#[from] gateway_identity::OpenError),
    #[error("the operating system refused: {0}")]
    System(#[from] std::io::Error),
}

/// Runs until SIGTERM or SIGINT.
pub(crate) fn run(config: Config, path: &Path) -> Result<(), RunError> {
    let inherited = handover::inherited()?;
    let diary = start_logging(&config)?;
    let may_open = descriptors::raise();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = runtime.block_on(serve(config, path, inherited, may_open));
    // Without waiting for workers that a second signal gave up.
    runtime.shutdown_background();
    diary.flush(LAST_WORDS);
    result
}

/// How long the last lines of a log may take to be said, and to be written: nobody may read them.
const LAST_WORDS: Duration = Duration::from_secs(1);

fn start_logging(config: &Config) -> std::io::Result<Diary> {
    use crate::config::LogLevel;
    let level = match config.settings.log.level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
    };
    let diary = Diary::begin()?;
    // Fails only where there is one already, which then does as well.
    let _ = tracing_subscriber::fmt()
        .with_writer(diary.clone())
        .with_max_level(level)
        .with_target(false)
        .with_ansi(false)
        .try_init();
    // One line in the log; the place matters, the way there does not to an operator.
    let last = diary.clone();
    std::panic::set_hook(Box::new(move |panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!("panic at {place}: {}", panic.payload_as_str().unwrap_or("no message"));
        // It may be the last there is to say.
        last.flush(Duration::from_millis(100));
    }));
    Ok(diary)
}

async fn serve(config: Config, path: &Path, inherited: Inherited, may_open: usize) -> Result<(), RunError> {
    // From before anything that takes time: a change meanwhile counts.
    let mut files = Watch::new(&files_of(path, &config));
    let Config { settings, plan } = &config;
    let mut hangup = signal(SignalKind::hangup())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut upgrade = signal(SignalKind::user_defined2())?;
    let failed = |address: String, key| {
        move |error: std::io::Error| {
            let why = error.to_string();
            let why = why.split(" (os error").next().unwrap_or_default().to_owned();
            RunError::Listen { address, why, key, config: path.display().to_string() }
        }
    };
    let workers = settings.server.workers.or_else(|| std::thread::available_parallelism().ok());
    let workers = workers.map_or(1, NonZeroUsize::get);
    let listening = |inherited: Sockets, listen: &ListenAddress, workers, key| {
        let sockets = inherited.at(listen).map_or_else(|| Sockets::open(listen, workers), Ok);
        sockets.map_err(failed(listen.to_string(), key))
    };
    let sockets = listening(inherited.server, &settings.server.listen, workers, "server.listen")?;
    let admin_sockets = match &settings.admin {
        Some(admin) => listening(inherited.admin, &ListenAddress::Tcp(admin.listen), 1, "admin.listen")?,
        None => {
            if !inherited.admin.all.is_empty() {
                tracing::warn!("the sockets of the admin listener are not used: there is no [admin]");
            }
            Sockets::default()
        }
    };
    let address = sockets.all.first().map(Socket::address).unwrap_or_default();
    let (spread, spread_admin) = (sockets.spread(workers)?, admin_sockets.spread(1)?);
    let handover = Handover::new(sockets, admin_sockets);
    let most = settings.server.max_connections.map(NonZeroUsize::get);
    if most.is_some_and(|most| most >= descriptors::for_connections(may_open, workers)) {
        tracing::warn!(
            "`server.max_connections` leaves nothing for services and files: only {may_open} may be open (`ulimit -Hn`)"
        );
    }
    if settings.store.redis.as_ref().is_some_and(|redis| !redis.required) {
        // Nobody waits for it: clients connect already, and each policy knows what to do without.
        let store = plan.store.clone();
        tokio::spawn(async move {
            if let Err(error) = try_store(&store).await {
                tracing::warn!("starting without the store: {error}");
            }
        });
    } else {
        tokio::select! {
            tried = try_store(&plan.store) => tried.map_err(RunError::Store)?,
            () = asked_to_end(&mut terminate, &mut interrupt) => return Ok(()),
        }
    }
    let (metrics, handle) = match settings.metrics.0 {
        true => {
            let (recorder, handle) = prometheus()?;
            (Some(Metrics::new(recorder)), Some(handle))
        }
        false => (None, None),
    };
    let log = settings.access_log.0.on().map(AccessLog::open).transpose()?.map(Arc::new);

    let mut live = Live::begin(config, path, metrics.clone());
    if let Some(accounts) = live.config().plan.identity.as_ref().map(|plan| &plan.accounts) {
        let upkeep = tokio::select! {
            opened = accounts.open(live.view()) => opened?,
            () = asked_to_end(&mut terminate, &mut interrupt) => return Ok(()),
        };
        tokio::spawn(upkeep.run());
        revoke_missed(accounts, &live.view()).await;
    }
    let (end, ordered) = watch::channel(None);
    let ready = Arc::new(AtomicBool::new(true));
    let mut threads = Vec::new();
    let (seats, places) =
        Seats::for_workers(workers, Doorway::new(descriptors::for_clients(may_open, workers)));
    for ((number, sockets), place) in spread.into_iter().enumerate().zip(places) {
        let observers = Observers { metrics: metrics.clone(), lines: log.as_ref().map(|log| log.lines()) };
        let connections = metrics.as_ref().map_or_else(ConnectionGauge::noop, Metrics::connections);
        let orders = Orders { plan: live.plans(), end: ordered.clone() };
        threads.push(server::spawn_worker(
            format!("worker-{number}"),
            sockets,
            observers,
            connections,
            place,
            orders,
        )?);
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
    tokio::spawn(watch_store(live.config().plan.store.clone(), metrics.clone()));
    let (reload, mut reloads) = mpsc::channel(1);
    let (answering, answered) = watch::channel(());
    let weak_log = log.as_ref().map(Arc::downgrade);
    let gauges = Gauges { view: live.view(), seats, log: weak_log };
    let admin = Admin { view: live.view(), metrics: handle, gauges, ready: ready.clone(), reload };
    let admin = Arc::new(admin);
    for socket in spread_admin.into_iter().flatten() {
        let scheme = if matches!(socket, Socket::Tcp(_)) { "http://" } else { "" };
        tracing::info!("admin on {scheme}{}", socket.address());
        tokio::spawn(admin::serve(socket.into_listener()?, admin.clone(), answered.clone()));
    }
    drop((admin, answered));
    let routes = live.config().plan.routes.len();
    tracing::info!("listening on {address} with {workers} workers, {routes} routes");
    let most = most.unwrap_or_else(|| descriptors::for_clients(may_open, workers));
    tracing::info!("at most {most} clients at once; {may_open} files may be open");
    handover::tell_ready();

    let ending = loop {
        let watched = live.config().settings.server.watch;
        let (why, asked) = tokio::select! {
            _ = terminate.recv() => break Ending::Asked,
            _ = interrupt.recv() => break Ending::Asked,
            _ = upgrade.recv() => {
                tracing::info!("SIGUSR2: starting the next process");
                let started = tokio::select! {
                    started = handover.start_next() => started,
                    () = asked_to_end(&mut terminate, &mut interrupt) => {
                        tracing::info!("asked to end before the next process serves: it is ended, too");
                        break Ending::Asked;
                    }
                };
                match started {
                    Ok(()) => {
                        tracing::info!("the next process serves");
                        break Ending::HandedOver;
                    }
                    Err(error) => tracing::error!("the next process could not be started, this one stays: {error}"),
                }
                continue;
            }
            _ = hangup.recv() => ("SIGHUP", None),
            () = files.changed(), if watched => ("the file has changed", None),
            Some(asked) = reloads.recv() => ("an operator asked", Some(asked)),
        };
        files.look_again();
        let result = live.reload(why);
        files.follow(live.files());
        if let Some(asked) = asked {
            // Whoever asked may have gone.
            let _ = asked.send(result);
        }
    };
    // Whoever asks for another one, or has, is told that it is too late.
    drop(reloads);
    let ServerSettings { drain_timeout, drain_delay, .. } = live.config().settings.server;
    let mut at_once = false;
    match ending {
        // The next process answers there, and it is ready: nobody needs to notice anything.
        Ending::HandedOver => drop(answering),
        Ending::Asked => {
            ready.store(false, Ordering::Relaxed);
            if !drain_delay.is_zero() {
                tracing::info!("not ready any more; taking connections for another {drain_delay}");
                tokio::select! {
                    () = tokio::time::sleep(*drain_delay) => {}
                    () = asked_to_end(&mut terminate, &mut interrupt) => at_once = true,
                }
            }
        }
    }
    if !at_once {
        tracing::info!("draining: no new connections, {drain_timeout} for requests to finish");
    }
    // Whoever still holds a socket takes connections for it.
    drop(handover);
    // Nobody is left to listen only if every worker has ended already.
    let _ = end.send(Some(*drain_timeout));
    let mut ended =
        tokio::task::spawn_blocking(move || threads.into_iter().map(std::thread::JoinHandle::join).collect());
    let insisted = async {
        if at_once {
            return;
        }
        if ending == Ending::HandedOver {
            // Whoever asks now asks for what is under way.
            asked_to_end(&mut terminate, &mut interrupt).await;
        }
        asked_to_end(&mut terminate, &mut interrupt).await;
    };
    let ended: Vec<std::thread::Result<std::io::Result<()>>> = tokio::select! {
        ended = &mut ended => ended.unwrap_or_default(),
        () = insisted => {
            // What is given up has its line in the access log: it is written once the workers have let go of it.
            let _ = end.send(Some(Duration::ZERO));
            tokio::time::timeout(LAST_WORDS, ended).await.unwrap_or(Ok(Vec::new())).unwrap_or_default()
        }
    };
    for error in ended.into_iter().filter_map(|thread| thread.unwrap_or(Ok(())).err()) {
        tracing::error!("a worker failed: {error}");
    }
    live.finish().await;
    // The last lines are written when the last handle goes.
    drop(log);
    tracing::info!("stopped");
    Ok(())
}

/// Why a process ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// A signal said so.
    Asked,
    /// The next one serves.
    HandedOver,
}

/// Waits for SIGTERM or SIGINT.
async fn asked_to_end(terminate: &mut Signal, interrupt: &mut Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

/// Whether the store does what it is asked, and what is to be said of it once.
async fn try_store(store: &Store) -> Result<(), StoreError> {
    store.ping().await?;
    if let Some(lossy) = evicts(store).await {
        tracing::warn!("{lossy}; expected `noeviction`");
    }
    Ok(())
}

/// Has the tokens of sessions refused that ended before this process started.
async fn revoke_missed(accounts: &Accounts, view: &ArcSwap<View>) {
    let Some(identity) = accounts.identity() else { return };
    let missed = match identity.revoked_sessions().await {
        Ok(missed) => missed,
        Err(error) => return tracing::warn!("sessions that have ended are not known: {error}"),
    };
    for revoked in missed {
        for revocations in &view.load().revocations {
            // This process knows of it in any case; the others know by themselves.
            let _ = revocations.revoke_session(&revoked.session_id, Some(revoked.until)).await;
        }
    }
}

/// Tells whether the store does what it is asked, and asks it now and then: with no requests to serve nobody else would,
/// and what a request is refused is not told.
async fn watch_store(store: Store, metrics: Option<Metrics>) {
    const STILL: Duration = Duration::from_secs(2);
    const AGAIN: Duration = Duration::from_secs(1);
    if !store.is_shared() {
        return;
    }
    let gauge = metrics.map(|metrics| metrics.gauge("gateway_store_up", Vec::new()));
    let mut health = store.health();
    loop {
        let up = *health.borrow_and_update() == Health::Up;
        if let Some(gauge) = &gauge {
            gauge.set(flag(up));
        }
        tokio::select! {
            changed = health.changed() => match changed {
                Ok(()) => {}
                Err(_) => return,
            },
            () = tokio::time::sleep(if up { STILL } else { AGAIN }) => {
                // The answer shows in its health.
                let _ = store.probe().await;
            }
        }
    }
}
