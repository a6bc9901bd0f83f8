//! Everything at once: five services, the gateway, and what to try.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep, timeout};

/// Good for a demonstration, and for nothing else.
const DEMO_SECRET: &str = "a secret for demonstrations only, known to everybody";
const GATEWAY: &str = "127.0.0.1:8080";
const SERVICES: [(&str, &str, u16); 5] = [
    ("users", "user-service-1", 3002),
    ("users", "user-service-2", 3004),
    ("products", "product-service-1", 3001),
    ("products", "product-service-2", 3003),
    ("checkout", "checkout-service", 3005),
];

struct Running {
    name: String,
    child: Child,
    log: PathBuf,
}

/// Runs until Ctrl-C.
pub(crate) async fn run(gateway: Option<PathBuf>) -> Result<(), String> {
    let mut interrupt = signal(SignalKind::interrupt()).map_err(|e| e.to_string())?;
    let mut terminate = signal(SignalKind::terminate()).map_err(|e| e.to_string())?;
    let own = std::env::current_exe().map_err(|e| e.to_string())?;
    let gateway = gateway.unwrap_or_else(|| own.with_file_name("gateway"));
    if !gateway.is_file() {
        return Err(format!(
            "there is no gateway at {}; build it with `cargo build -p gateway-bin`, or name it with --gateway",
            gateway.display()
        ));
    }
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("gateway.toml");
    let dir = tempfile::tempdir().map_err(|e| format!("there is no temporary folder: {e}"))?;
    let mut demo = Demo { own, gateway, config, dir, running: Vec::new() };
    // One select over starting and watching: a signal during either ends both.
    let result = tokio::select! {
        message = demo.start_and_watch() => Err(message),
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
    };
    demo.stop().await;
    if result.is_ok() {
        println!("\nAll stopped.");
    }
    result
}

struct Demo {
    own: PathBuf,
    gateway: PathBuf,
    config: PathBuf,
    dir: tempfile::TempDir,
    running: Vec<Running>,
}

impl Demo {
    /// Ends only when something went wrong, with what it was.
    async fn start_and_watch(&mut self) -> String {
        match self.start().await {
            Ok(()) => self.watch().await,
            Err(message) => message,
        }
    }

    async fn start(&mut self) -> Result<(), String> {
        for (kind, name, port) in SERVICES {
            let mut command = Command::new(&self.own);
            let database = self.dir.path().join(format!("{kind}.db"));
            command.args([
                "service",
                kind,
                "--name",
                name,
                "--port",
                &port.to_string(),
                "--exit-with-parent",
            ]);
            command.arg("--database").arg(database);
            self.spawn(name, command, SocketAddr::from(([127, 0, 0, 1], port))).await?;
        }
        let mut command = self.gateway_command();
        command.arg("run");
        let addr = GATEWAY.parse().map_err(|_| "the gateway's address is not valid".to_owned())?;
        self.spawn("gateway", command, addr).await?;
        let routes = self.ask_gateway(&["routes"]).await?;
        let claims = ["token", "--auth", "shop", "--claim", "email=ada@example.com", "--expires", "1h"];
        let token = self.ask_gateway(&claims).await?;
        println!("{}", self.banner(&routes, token.trim()));
        Ok(())
    }

    fn gateway_command(&self) -> Command {
        let mut command = Command::new(&self.gateway);
        command.arg("--config").arg(&self.config).env("ACCESS_LOG", self.access_log());
        if std::env::var_os("JWT_SECRET").is_none() {
            command.env("JWT_SECRET", DEMO_SECRET);
        }
        command
    }

    fn access_log(&self) -> PathBuf {
        self.dir.path().join("access.log")
    }

    /// Starts a child and waits until it answers.
    async fn spawn(&mut self, name: &str, mut command: Command, addr: SocketAddr) -> Result<(), String> {
        if TcpStream::connect(addr).await.is_ok() {
            return Err(format!("{name} cannot start: something else listens on {addr} already"));
        }
        let log = self.dir.path().join(format!("{name}.log"));
        let file = File::create(&log).map_err(|e| e.to_string())?;
        let errors = file.try_clone().map_err(|e| e.to_string())?;
        // Services end when this pipe closes, however this program ends. In a group of their own, so that Ctrl-C
        // reaches only this program, which stops them in order.
        command.stdin(Stdio::piped()).stdout(file).stderr(errors).process_group(0).kill_on_drop(true);
        let child = command.spawn().map_err(|e| format!("{name} cannot start: {e}"))?;
        self.running.push(Running { name: name.to_owned(), child, log });
        let deadline = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(addr).await.is_err() {
            if let Some(running) = self.running.last_mut()
                && let Ok(Some(status)) = running.child.try_wait()
            {
                return Err(running.ended(status));
            }
            if Instant::now() > deadline {
                return Err(format!("{name} did not answer on {addr} within 20 s"));
            }
            sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    async fn ask_gateway(&self, args: &[&str]) -> Result<String, String> {
        let output =
            self.gateway_command().args(args).kill_on_drop(true).output().await.map_err(|e| e.to_string())?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Tells of children that end; without the gateway there is nothing left to show.
    async fn watch(&mut self) -> String {
        loop {
            sleep(Duration::from_millis(200)).await;
            let mut at = 0;
            while at < self.running.len() {
                match self.running[at].child.try_wait() {
                    Ok(Some(status)) => {
                        let running = self.running.remove(at);
                        if running.name == "gateway" {
                            return running.ended(status);
                        }
                        println!("({} has ended: {status})", running.name);
                    }
                    _ => at += 1,
                }
            }
        }
    }

    /// The gateway first, so that its last requests still find their services.
    async fn stop(&mut self) {
        while let Some(mut running) = self.running.pop() {
            if let Some(id) = running.child.id().and_then(|id| i32::try_from(id).ok()) {
                let _ = kill(Pid::from_raw(id), Signal::SIGTERM);
            }
            if timeout(Duration::from_secs(15), running.child.wait()).await.is_err() {
                let _ = running.child.kill().await;
            }
        }
    }

    fn banner(&self, routes: &str, token: &str) -> String {
        let victim = self.running.iter().find(|running| running.name == "product-service-1");
        let victim = victim.and_then(|running| running.child.id()).unwrap_or(0);
        let log = self.access_log();
        format!(
            "
The gateway listens on http://localhost:8080, in front of five services:

{routes}
Try, in another terminal:

  # Round robin: product-service-1 and -2 take turns.
  for i in 1 2 3 4; do curl -si localhost:8080/api/products | grep -i x-instance; done

  # One user, through the same prefix; then a new one.
  curl -s localhost:8080/api/users/1
  curl -si localhost:8080/api/users -d '{{\"Name\":\"Eve\",\"Email\":\"eve@example.com\"}}'

  # Checkout wants a token: 401, and with one 200.
  curl -si localhost:8080/api/checkout
  TOKEN={token}
  curl -si localhost:8080/api/checkout -H \"Authorization: Bearer $TOKEN\"

  # Revoke it, and it is worth nothing.
  curl -s localhost:9901/revoke -d \"$TOKEN\"
  curl -si localhost:8080/api/checkout -H \"Authorization: Bearer $TOKEN\"

  # A limit: /api/users takes 20 a minute; then it is 429 with Retry-After.
  for i in $(seq 25); do curl -so /dev/null -w '%{{http_code}} ' localhost:8080/api/users; done; echo

  # A retry: kill product-service-1, and every request still gets its answer from the other.
  kill {victim}
  for i in 1 2 3 4; do curl -si localhost:8080/api/products | grep -i x-instance; done

  # What was counted, how the services are, and what was logged.
  curl -s localhost:9901/metrics | grep http_requests_total
  curl -s localhost:9901/health
  tail {log}

Ctrl-C ends it all.",
            log = log.display()
        )
    }
}

impl Running {
    /// How it ended, with its last words.
    fn ended(&self, status: std::process::ExitStatus) -> String {
        let words = std::fs::read_to_string(&self.log).unwrap_or_default();
        format!("{} has ended ({status}):\n{}", self.name, words.trim_end())
    }
}
