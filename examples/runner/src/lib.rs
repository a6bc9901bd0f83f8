//! Runs an example in one command: starts the gateway and other processes, says so when one ends, and ends them all, in
//! order, on Ctrl-C.
//!
//! [`Demo::run`] takes what the example does at its start: [`spawn`](Demo::spawn) its services or [`serve`] them,
//! [`start_gateway`](Demo::start_gateway), and print what to try. [`main`] is the program of an example that has nothing
//! else to be asked for, [`service_main`] that of one of its services by itself. Tests [`start`] a service.

mod shell;

pub use shell::{main, serve, service_main, start};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep, timeout};

/// How long a process may take until it answers. Debug builds on busy machines are slow.
const START: Duration = Duration::from_secs(20);
/// How long a process may take to end before it is killed. Longer than the gateway's own grace.
const END: Duration = Duration::from_secs(15);
const GATEWAY: &str = "gateway";

/// An example that runs.
#[derive(Debug)]
pub struct Demo {
    gateway: PathBuf,
    config: PathBuf,
    env: Vec<(String, String)>,
    dir: tempfile::TempDir,
    running: Vec<Running>,
}

#[derive(Debug)]
struct Running {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Demo {
    /// An example with this configuration. The gateway is the given executable, or the one beside this program.
    ///
    /// # Errors
    /// There is no such executable, or no temporary folder.
    pub fn new(config: impl Into<PathBuf>, gateway: Option<PathBuf>) -> Result<Self, String> {
        let beside = || std::env::current_exe().map(|own| own.with_file_name(GATEWAY));
        let gateway = gateway.map_or_else(beside, Ok).map_err(|error| error.to_string())?;
        if !gateway.is_file() {
            return Err(format!(
                "there is no gateway at {}; build it with `cargo build -p gateway-bin`, or name it with --gateway",
                gateway.display()
            ));
        }
        let dir = tempfile::tempdir().map_err(|error| format!("there is no temporary folder: {error}"))?;
        Ok(Self { gateway, config: config.into(), env: Vec::new(), dir, running: Vec::new() })
    }

    /// Gives the gateway an environment variable, unless this program has one of that name.
    pub fn default_env(&mut self, name: &str, value: &str) {
        if std::env::var_os(name).is_none() {
            self.env.push((name.to_owned(), value.to_owned()));
        }
    }

    /// Keeps what the gateway keeps in a file of this run, unless this program has the variable.
    pub fn default_file(&mut self, name: &str, file: &str) {
        let path = self.dir().join(file).display().to_string();
        self.default_env(name, &path);
    }

    /// A folder for this run: databases, logs. Gone afterwards.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The process of this name, while it runs.
    #[must_use]
    pub fn process(&self, name: &str) -> Option<u32> {
        self.running.iter().find(|running| running.name == name)?.child.id()
    }

    /// Starts everything and stays until Ctrl-C or `SIGTERM`, which may come during the start as well.
    ///
    /// # Errors
    /// Something could not start, or the gateway ended by itself.
    pub async fn run(
        mut self,
        start: impl AsyncFnOnce(&mut Self) -> Result<(), String>,
    ) -> Result<(), String> {
        let mut interrupt = signal(SignalKind::interrupt()).map_err(|error| error.to_string())?;
        let mut terminate = signal(SignalKind::terminate()).map_err(|error| error.to_string())?;
        let start_and_watch = async {
            match start(&mut self).await {
                Ok(()) => self.watch().await,
                Err(message) => message,
            }
        };
        let result = tokio::select! {
            message = start_and_watch => Err(message),
            _ = interrupt.recv() => Ok(()),
            _ = terminate.recv() => Ok(()),
        };
        self.stop().await;
        if result.is_ok() {
            println!("\nAll stopped.");
        }
        result
    }

    /// Starts the gateway and waits until it listens there.
    ///
    /// # Errors
    /// It ends, or does not listen; with what it said.
    pub async fn start_gateway(&mut self, addr: SocketAddr) -> Result<(), String> {
        let mut command = self.gateway_command();
        command.arg("run");
        self.spawn(GATEWAY, command, addr).await
    }

    /// What the gateway prints when called with these arguments.
    ///
    /// # Errors
    /// It fails; with what it said.
    pub async fn ask_gateway(&self, args: &[&str]) -> Result<String, String> {
        let output = self.gateway_command().args(args).kill_on_drop(true).output().await;
        let output = output.map_err(|error| error.to_string())?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn gateway_command(&self) -> Command {
        let mut command = Command::new(&self.gateway);
        command.arg("--config").arg(&self.config).envs(self.env.iter().map(|(name, value)| (name, value)));
        command.env("ACCESS_LOG", self.access_log());
        command
    }

    /// Where the gateway is told, by `ACCESS_LOG`, to write its access log.
    #[must_use]
    pub fn access_log(&self) -> PathBuf {
        self.dir().join("access.log")
    }

    /// Starts a process and waits until it listens. Its standard input closes when this program ends, however it does.
    ///
    /// # Errors
    /// The address is taken, or the process ends or does not listen; with what it said.
    pub async fn spawn(&mut self, name: &str, mut command: Command, addr: SocketAddr) -> Result<(), String> {
        if TcpStream::connect(addr).await.is_ok() {
            return Err(format!("{name} cannot start: something else listens on {addr} already"));
        }
        let log = self.dir().join(format!("{name}.log"));
        let file = File::create(&log).map_err(|error| error.to_string())?;
        let errors = file.try_clone().map_err(|error| error.to_string())?;
        // In a group of their own, so that Ctrl-C reaches only this program, which stops them in order.
        command.stdin(Stdio::piped()).stdout(file).stderr(errors).process_group(0).kill_on_drop(true);
        let child = command.spawn().map_err(|error| format!("{name} cannot start: {error}"))?;
        self.running.push(Running { name: name.to_owned(), child, log });
        let deadline = Instant::now() + START;
        while TcpStream::connect(addr).await.is_err() {
            if let Some(running) = self.running.last_mut()
                && let Ok(Some(status)) = running.child.try_wait()
            {
                return Err(running.ended(status));
            }
            if Instant::now() > deadline {
                return Err(format!("{name} did not answer on {addr} within {} s", START.as_secs()));
            }
            sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Tells of processes that end; without the gateway there is nothing left to show.
    async fn watch(&mut self) -> String {
        loop {
            sleep(Duration::from_millis(200)).await;
            let mut at = 0;
            while at < self.running.len() {
                match self.running[at].child.try_wait() {
                    Ok(Some(status)) => {
                        let running = self.running.remove(at);
                        if running.name == GATEWAY {
                            return running.ended(status);
                        }
                        println!("({} has ended: {status})", running.name);
                    }
                    _ => at += 1,
                }
            }
        }
    }

    /// The last one first: the gateway's last requests still find their services.
    async fn stop(&mut self) {
        while let Some(mut running) = self.running.pop() {
            if let Some(id) = running.child.id().and_then(|id| i32::try_from(id).ok()) {
                // It may have ended by itself meanwhile.
                let _ = kill(Pid::from_raw(id), Signal::SIGTERM);
            }
            if timeout(END, running.child.wait()).await.is_err() {
                let _ = running.child.kill().await;
            }
        }
    }
}

impl Running {
    /// How it ended, with its last words.
    fn ended(&self, status: ExitStatus) -> String {
        let words = std::fs::read_to_string(&self.log).unwrap_or_default();
        format!("{} has ended ({status}):\n{}", self.name, words.trim_end())
    }
}
