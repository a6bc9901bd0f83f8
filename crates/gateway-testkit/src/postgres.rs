use crate::{Process, free_port, wait_until};
use nix::sys::signal::Signal;
use nix::unistd::{Uid, User, chown};
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

const HINT: &str =
    "are PostgreSQL's `initdb` and `postgres` installed and in PATH? `scripts/test.sh` installs them";
/// Whom PostgreSQL, which does not run as root, is run as where the tests are.
const USERS: [&str; 2] = ["postgres", "nobody"];

/// A real PostgreSQL server, its data in a temporary folder.
#[derive(Debug)]
pub struct PostgresServer {
    process: Option<Process>,
    port: u16,
    dir: tempfile::TempDir,
}

impl PostgresServer {
    /// Makes an empty database cluster, starts a server on it and waits until it answers.
    ///
    /// # Panics
    /// It cannot be started.
    #[must_use]
    pub fn start() -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        if let Some(user) = other_user() {
            chown(dir.path(), Some(user.uid), Some(user.gid)).expect("root may give folders away");
        }
        let mut postgres = Self { process: None, port: free_port(), dir };
        let mut initdb = postgres.command("initdb");
        initdb.args(["--username=postgres", "--auth=trust", "--no-sync", "--no-locale", "--encoding=UTF8"]);
        initdb.arg("-D").arg(postgres.data());
        let mut initdb = Process::start(&mut initdb, HINT);
        let status = initdb.wait(Duration::from_secs(60));
        assert!(status.success(), "initdb failed: {}{}", initdb.stdout(), initdb.stderr());
        postgres.restart();
        postgres
    }

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    /// Kills it, as a crash would.
    pub fn kill(&mut self) {
        if let Some(process) = self.process.take() {
            // The parent alone: its children notice, and the data is for the next one to recover.
            drop(process);
            let port = self.port;
            wait_until("PostgreSQL to be gone", Duration::from_secs(10), || {
                TcpStream::connect(("127.0.0.1", port)).is_err().then_some(())
            });
        }
    }

    /// Starts it again on the same port, with the data it had.
    ///
    /// # Panics
    /// It cannot be started.
    pub fn restart(&mut self) {
        self.kill();
        // Children of a killed server hold its memory for a moment, and a new one refuses to start meanwhile.
        let process = wait_until("PostgreSQL to start", Duration::from_secs(30), || self.try_start());
        self.process = Some(process);
    }

    fn try_start(&self) -> Option<Process> {
        let mut command = self.command("postgres");
        command.arg("-D").arg(self.data()).args(["-p", &self.port.to_string(), "-h", "127.0.0.1", "-k", ""]);
        // Crashes are of the process, not of the machine.
        command.args(["-c", "fsync=off", "-c", "max_connections=200"]);
        let mut process = Process::start(&mut command, HINT);
        let answers = wait_until("PostgreSQL to answer", Duration::from_secs(30), || {
            if process.try_wait().is_some() {
                return Some(false);
            }
            // It says so once recovery is over; connections before that are refused.
            process.stderr().contains("ready to accept connections").then_some(true)
        });
        if !answers {
            let said = process.stderr();
            assert!(said.contains("lock file") || said.contains("shared memory"), "postgres ended: {said}");
        }
        answers.then_some(process)
    }

    /// Stops it from answering, as a frozen machine would: the server and what it has started for each connection.
    pub fn stall(&self) {
        self.signal(Signal::SIGSTOP);
    }

    /// Lets it answer again.
    pub fn resume(&self) {
        self.signal(Signal::SIGCONT);
    }

    /// To the server and its children.
    fn signal(&self, signal: Signal) {
        let process = self.process.as_ref().expect("a running PostgreSQL");
        let children = format!("/proc/{0}/task/{0}/children", process.id());
        let children = std::fs::read_to_string(children).unwrap_or_default();
        process.signal(signal);
        for child in children.split_whitespace().filter_map(|pid| pid.parse().ok()) {
            // One that has ended meanwhile needs no signal.
            let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(child), signal);
        }
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.dir.path()).env("LC_ALL", "C");
        if let Some(user) = other_user() {
            command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
        }
        command
    }
}

/// As whom PostgreSQL runs, if not as ourselves.
fn other_user() -> Option<User> {
    if !Uid::effective().is_root() {
        return None;
    }
    let user = USERS.iter().find_map(|name| User::from_name(name).ok().flatten());
    Some(user.unwrap_or_else(|| panic!("PostgreSQL does not run as root, and there is no user of {USERS:?}")))
}
