use crate::{Client, Process, Request, Signal, free_port, wait_until};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// How long an end may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long a start may take: what is not optimized reads tens of thousands of routes for many seconds on a busy machine.
const START: Duration = Duration::from_secs(60);

/// The gateway as a process, with a configuration of its own.
#[derive(Debug)]
pub struct Gateway {
    process: Process,
    addr: SocketAddr,
    admin: SocketAddr,
    dir: tempfile::TempDir,
}

/// How a process ended.
#[derive(Debug)]
pub struct Finished {
    /// Its exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
}

/// What a gateway is started with.
#[derive(Debug)]
pub struct GatewayBuilder {
    exe: PathBuf,
    args: Vec<String>,
    env: Vec<(String, String)>,
    dir: tempfile::TempDir,
    port: u16,
    admin: u16,
}

impl Gateway {
    /// Prepares the executable, in tests `env!("CARGO_BIN_EXE_gateway")`.
    ///
    /// # Panics
    /// There is no temporary folder.
    #[must_use]
    pub fn builder(exe: &str) -> GatewayBuilder {
        GatewayBuilder {
            exe: exe.into(),
            args: Vec::new(),
            env: Vec::new(),
            dir: tempfile::tempdir().expect("a temporary folder"),
            port: free_port(),
            admin: free_port(),
        }
    }

    /// Where clients connect: the port that took the place of `@PORT@`.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Where operators look: the port that took the place of `@ADMIN@`.
    #[must_use]
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// The folder that took the place of `@DIR@`.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The process.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Every line of `@DIR@/access.log` so far.
    ///
    /// # Panics
    /// A line is no JSON.
    #[must_use]
    pub fn access_log(&self) -> Vec<serde_json::Value> {
        let text = std::fs::read_to_string(self.dir.path().join("access.log")).unwrap_or_default();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")))
            .collect()
    }

    /// Asks it to end, as an operator would, and waits for that.
    ///
    /// # Panics
    /// It does not end.
    pub fn stop(mut self) -> Finished {
        self.process.signal(Signal::SIGTERM);
        finished(&mut self.process)
    }
}

impl Drop for Gateway {
    /// A test that fails shows what the gateway said.
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "the gateway on {} said:\n{}{}",
                self.addr,
                self.process.stdout(),
                self.process.stderr()
            );
        }
    }
}

fn finished(process: &mut Process) -> Finished {
    let code = process.wait(PATIENCE).code();
    Finished { code, stdout: process.stdout(), stderr: process.stderr() }
}

impl GatewayBuilder {
    /// Writes `gateway.toml`; `@PORT@`, `@ADMIN@` and `@DIR@` are replaced.
    #[must_use]
    pub fn config(self, text: &str) -> Self {
        self.file("gateway.toml", text)
    }

    /// Writes a file beside it, with the same replacements.
    ///
    /// # Panics
    /// It cannot be written.
    #[must_use]
    pub fn file(self, name: &str, text: &str) -> Self {
        let text = text
            .replace("@PORT@", &self.port.to_string())
            .replace("@ADMIN@", &self.admin.to_string())
            .replace("@DIR@", &self.dir.path().display().to_string());
        std::fs::write(self.dir.path().join(name), text).expect("a temporary file");
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Gives arguments in place of `run --config gateway.toml`.
    #[must_use]
    pub fn args(mut self, args: &[&str]) -> Self {
        self.args = args.iter().map(|arg| (*arg).to_owned()).collect();
        self
    }

    /// Where its files are.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The port that takes the place of `@PORT@`.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Starts it and waits until it takes connections.
    ///
    /// # Panics
    /// It ends, or does not.
    #[must_use]
    pub fn start(self) -> Gateway {
        let (addr, admin) = (self.addr(self.port), self.addr(self.admin));
        let with_admin = std::fs::read_to_string(self.dir.path().join("gateway.toml"))
            .is_ok_and(|text| text.contains(&self.admin.to_string()));
        let (mut process, dir) = self.spawn();
        wait_until("the gateway to listen", START, || {
            if let Some(status) = process.try_wait() {
                process.wait(PATIENCE);
                panic!("the gateway ended with {status}:\n{}{}", process.stdout(), process.stderr());
            }
            TcpStream::connect(addr).ok()?;
            // One that ends again may reset the connection: why is said above.
            let ready = || {
                Client::new(admin).try_send(&Request::get("/readyz")).is_ok_and(|answer| answer.status == 200)
            };
            (!with_admin || ready()).then_some(())
        });
        Gateway { process, addr, admin, dir }
    }

    /// Starts it and waits until it ends by itself.
    ///
    /// # Panics
    /// It goes on.
    #[must_use]
    pub fn run(self) -> Finished {
        let (mut process, _dir) = self.spawn();
        finished(&mut process)
    }

    fn addr(&self, port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    fn spawn(self) -> (Process, tempfile::TempDir) {
        let mut command = Command::new(&self.exe);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("GATEWAY_") {
                command.env_remove(name);
            }
        }
        command.current_dir(self.dir.path()).envs(self.env.iter().map(|(n, v)| (n, v)));
        // As an operator has it.
        command.env_remove("RUST_BACKTRACE");
        if self.args.is_empty() {
            command.args(["run", "--config", "gateway.toml"]);
        } else {
            command.args(&self.args);
        }
        (Process::start(&mut command, "the gateway's executable is missing"), self.dir)
    }
}
