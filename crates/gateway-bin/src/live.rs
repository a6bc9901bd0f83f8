//! The configuration in force, and how another takes its place.

use crate::chores::Chores;
use crate::config::{self, Config, Plan, ServicePlan, StartSettings};
use arc_swap::ArcSwap;
use gateway_auth::Revocations;
use gateway_balance::{EndpointSet, health_checks};
use gateway_observe::Metrics;
use gateway_upstream::{HttpUpstream, UpstreamTls};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How often the file is looked at. Two looks must see the same before it counts as changed.
const LOOK: Duration = Duration::from_millis(500);
/// For how many looks a file may be away, as it is while another takes its place. Then that is a change: the next start
/// would fail.
const AWAY: u32 = 10;

/// What the admin listener shows of the configuration in force.
pub(crate) struct View {
    pub(crate) services: Vec<EndpointSet>,
    /// Whose routes are rendered for whoever asks.
    pub(crate) plan: Arc<Plan>,
    pub(crate) revocations: Vec<Revocations>,
    pub(crate) status: Status,
}

/// How the last reload went.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Status {
    /// When the configuration in force was read, in seconds since 1970.
    pub(crate) loaded: u64,
    pub(crate) reloads: u64,
    pub(crate) rejected: u64,
    /// Why the last one was rejected; `None` if it was not.
    pub(crate) error: Option<String>,
}

/// The health checks of a service that run, and by what.
struct Checks {
    set: EndpointSet,
    tls: Option<UpstreamTls>,
    running: JoinHandle<()>,
}

impl Checks {
    fn is_of(&self, service: &ServicePlan) -> bool {
        service.has_certificates_of(self.tls.as_ref()) && self.set.is(&service.set)
    }
}

impl Drop for Checks {
    fn drop(&mut self) {
        self.running.abort();
    }
}

pub(crate) struct Live {
    path: PathBuf,
    config: Config,
    /// What this process goes by as long as it runs.
    started: StartSettings,
    plans: watch::Sender<Arc<Plan>>,
    view: Arc<ArcSwap<View>>,
    checks: BTreeMap<String, Checks>,
    chores: Chores,
    status: Status,
    metrics: Option<Metrics>,
    /// The files that reading it again reads.
    files: Vec<PathBuf>,
}

impl Live {
    /// Puts a configuration in force.
    pub(crate) fn begin(config: Config, path: &Path, metrics: Option<Metrics>) -> Self {
        let status = Status { loaded: unix_now(), ..Status::default() };
        let view = Arc::new(ArcSwap::from_pointee(View::of(&config, &status)));
        let (plans, _) = watch::channel(config.plan.clone());
        let (checks, chores) = Default::default();
        let (path, files) = (path.to_owned(), files_of(path, &config));
        let started = StartSettings::of(&config.settings);
        let mut live = Self { path, config, started, plans, view, checks, chores, status, metrics, files };
        live.check_health();
        live.chores.keep(live.config.plan.chores());
        live.count();
        live
    }

    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    pub(crate) fn view(&self) -> Arc<ArcSwap<View>> {
        self.view.clone()
    }

    /// For a worker: the plan in force, and those that follow.
    pub(crate) fn plans(&self) -> watch::Receiver<Arc<Plan>> {
        self.plans.subscribe()
    }

    /// The files whose change asks for a reload: the configuration, and those of policies.
    pub(crate) fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// Reads the file again. With a mistake in it, all stays as it is.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn reload(&mut self, why: &str) -> Result<(), String> {
        let result = match config::read(Some(&self.path), Some(&self.config)) {
            Ok(checked) => {
                for warning in checked.warnings.iter() {
                    tracing::warn!("{}", warning.line());
                }
                self.replace(checked.config);
                self.files = files_of(&self.path, &self.config);
                tracing::info!(
                    "{why}: {} is in force, {} routes",
                    self.path.display(),
                    self.config.plan.routes.len()
                );
                Ok(())
            }
            Err(mistakes) => {
                // Mending one that the configuration in force does not name yet counts as well.
                self.files = files_of(&self.path, &self.config);
                self.files.extend(mistakes.other_files().map(PathBuf::from));
                let mistakes = mistakes.to_string();
                tracing::error!(
                    "{why}: {} was rejected, what was in force stays: {mistakes}",
                    self.path.display()
                );
                self.status.rejected += 1;
                self.status.error = Some(mistakes.clone());
                Err(mistakes)
            }
        };
        self.view.store(Arc::new(View::of(&self.config, &self.status)));
        self.count();
        result
    }

    fn replace(&mut self, config: Config) {
        for key in self.started.differing_keys(&config.settings) {
            tracing::warn!("`{key}` has changed since the start, which takes a restart or an upgrade");
        }
        let before = std::mem::replace(&mut self.config, config);
        self.status =
            Status { loaded: unix_now(), reloads: self.status.reloads + 1, error: None, ..self.status };
        self.plans.send_replace(self.config.plan.clone());
        for (name, service) in &before.plan.services {
            let next = self.config.plan.services.get(name);
            let after = next.unwrap_or(service).drain_timeout;
            service.set.replaced_by(next.map(|next| &next.set), after);
        }
        self.check_health();
        self.chores.keep(self.config.plan.chores());
    }

    /// Has what goes on beside the requests finish.
    pub(crate) async fn finish(&mut self) {
        self.chores.finish().await;
    }

    /// Begins the health checks of services that are new or have changed, ends those of services that are gone.
    fn check_health(&mut self) {
        let mut before = std::mem::take(&mut self.checks);
        for (name, service) in &self.config.plan.services {
            let Some(health) = service.health.clone() else {
                // First, so that none of them is believed after that.
                drop(before.remove(name));
                service.set.end_checks();
                continue;
            };
            let checks = before.remove(name).filter(|checks| checks.is_of(service)).unwrap_or_else(|| {
                let (connection, tls) = (service.connection.clone(), service.tls.clone());
                let connect = move |endpoint: &_| {
                    HttpUpstream::with_tls(Clone::clone(endpoint), connection.clone(), tls.clone())
                };
                let running = tokio::spawn(health_checks(service.set.clone(), health, connect));
                Checks { set: service.set.clone(), tls: service.tls.clone(), running }
            });
            self.checks.insert(name.clone(), checks);
        }
    }

    fn count(&self) {
        let Some(metrics) = &self.metrics else { return };
        let Status { loaded, reloads, rejected, error } = &self.status;
        let result = |result: &str| vec![("result", result.to_owned())];
        metrics.counter("gateway_config_reloads_total", result("success")).absolute(*reloads);
        metrics.counter("gateway_config_reloads_total", result("failure")).absolute(*rejected);
        let successful = if error.is_none() { 1.0 } else { 0.0 };
        metrics.gauge("gateway_config_last_reload_successful", Vec::new()).set(successful);
        metrics.gauge("gateway_config_last_reload_success_timestamp_seconds", Vec::new()).set(*loaded as f64);
    }
}

impl View {
    fn of(config: &Config, status: &Status) -> Self {
        let plan = &config.plan;
        Self {
            services: plan.services.values().map(|service| service.set.clone()).collect(),
            plan: config.plan.clone(),
            revocations: plan.auth.revocations(),
            status: status.clone(),
        }
    }
}

fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// What a configuration is read from.
pub(crate) fn files_of(path: &Path, config: &Config) -> Vec<PathBuf> {
    [path.to_owned()].into_iter().chain(config.plan.cedar_files.iter().cloned()).collect()
}

/// What tells whether a file has changed, also where it is replaced by a link to another (Kubernetes).
type Seen = Option<(SystemTime, u64, u64)>;

/// Waits until one of some files has changed and stays as it is for a moment.
pub(crate) struct Watch {
    files: Vec<(PathBuf, Seen)>,
}

impl Watch {
    pub(crate) fn new(files: &[PathBuf]) -> Self {
        Self { files: files.iter().map(|path| (path.clone(), look(path))).collect() }
    }

    /// What is there now counts as seen: it is about to be read.
    pub(crate) fn look_again(&mut self) {
        for (path, seen) in &mut self.files {
            *seen = look(path);
        }
    }

    /// From now on these.
    pub(crate) fn follow(&mut self, files: &[PathBuf]) {
        let seen = |path: &PathBuf| self.files.iter().find(|(known, _)| known == path).map(|(_, seen)| *seen);
        self.files =
            files.iter().map(|path| (path.clone(), seen(path).unwrap_or_else(|| look(path)))).collect();
    }

    pub(crate) async fn changed(&mut self) {
        let mut last: Vec<Seen> = self.files.iter().map(|(_, seen)| *seen).collect();
        let mut away = vec![0; last.len()];
        loop {
            tokio::time::sleep(LOOK).await;
            let now: Vec<Seen> = self.files.iter().map(|(path, _)| look(path)).collect();
            let mut changed = false;
            for ((((_, seen), now), last), away) in self.files.iter_mut().zip(&now).zip(&last).zip(&mut away)
            {
                *away = if now.is_none() { *away + 1 } else { 0 };
                let settled = if now.is_none() { *away >= AWAY } else { now == last };
                if settled && now != seen {
                    *seen = *now;
                    changed = true;
                }
            }
            if changed {
                return;
            }
            last = now;
        }
    }
}

fn look(path: &Path) -> Seen {
    use std::os::unix::fs::MetadataExt;
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len(), metadata.ino()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_was_read_for_another_reason_has_not_changed() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("gateway.toml");
        std::fs::write(&file, "1").unwrap();
        let mut watch = Watch::new(std::slice::from_ref(&file));
        std::fs::write(&file, "12").unwrap();
        watch.look_again();
        watch.follow(std::slice::from_ref(&file));
        let soon = Duration::from_secs(60);
        assert!(tokio::time::timeout(soon, watch.changed()).await.is_err(), "it would be read again");
        std::fs::write(&file, "123").unwrap();
        tokio::time::timeout(soon, watch.changed()).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_that_stays_away_has_changed_and_once_more_when_it_is_back() {
        let folder = tempfile::tempdir().unwrap();
        let (file, never) = (folder.path().join("gateway.toml"), folder.path().join("never.cedar"));
        std::fs::write(&file, "1").unwrap();
        let mut watch = Watch::new(&[file.clone(), never]);
        std::fs::remove_file(&file).unwrap();
        assert!(
            tokio::time::timeout(Duration::from_secs(4), watch.changed()).await.is_err(),
            "it may come back"
        );
        tokio::time::timeout(Duration::from_secs(6), watch.changed()).await.unwrap();
        assert!(
            tokio::time::timeout(Duration::from_secs(60), watch.changed()).await.is_err(),
            "it is told once"
        );
        std::fs::write(&file, "1").unwrap();
        tokio::time::timeout(Duration::from_secs(6), watch.changed()).await.unwrap();
    }
}
