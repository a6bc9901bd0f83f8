//! From one process to the next without a refused connection: listening sockets and readiness, as systemd has them
//! (`sd_listen_fds(3)`, `sd_notify(3)`).

use command_fds::{CommandFdExt, FdMapping};
use gateway_server::{InheritedError, Socket, inherited_sockets};
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process::{Child, Command};
use std::time::Duration;

/// What the admin listener's socket is called among those handed over; all others are the server's.
const ADMIN: &str = "admin";
/// Where whoever started this process hears of it.
const NOTIFY: &str = "NOTIFY_SOCKET";
/// Set by the process before this one, and with it where whoever started the first of them hears of it.
const HANDOVER: &str = "LISTEN_HANDOVER";
const SUPERVISOR: &str = "HANDOVER_NOTIFY_SOCKET";
/// How long the next process may take until it is ready.
const PATIENCE: Duration = Duration::from_secs(60);

/// The listening sockets that this process was started with.
#[derive(Default)]
pub(crate) struct Inherited {
    pub(crate) server: Vec<Socket>,
    pub(crate) admin: Option<std::net::TcpListener>,
}

/// Takes them over. To be called before there are other threads.
pub(crate) fn inherited() -> Result<Inherited, InheritedError> {
    let mut inherited = Inherited::default();
    for found in inherited_sockets()? {
        match found.socket {
            Socket::Tcp(socket) if found.name == ADMIN => inherited.admin = Some(socket),
            socket => inherited.server.push(socket),
        }
    }
    Ok(inherited)
}

/// Tells whoever started this process, systemd or the process before, that it serves.
pub(crate) fn tell_ready() {
    let told = std::env::var_os(NOTIFY).map_or(Ok(()), |socket| tell(&socket, "READY=1"));
    if let Err(error) = told {
        tracing::warn!("cannot tell {NOTIFY} that all is ready: {error}");
    }
}

/// Tells systemd that from now on this process is the service, and the end of that before is not its end.
fn tell_main(process: u32) {
    let told = supervisor().map_or(Ok(()), |socket| tell(&socket, &format!("MAINPID={process}")));
    if let Err(error) = told {
        tracing::warn!("cannot tell {NOTIFY} which process serves: {error}");
    }
}

/// Where systemd hears of this process, whichever it is in a row.
fn supervisor() -> Option<OsString> {
    let name = if std::env::var_os(HANDOVER).is_some() { SUPERVISOR } else { NOTIFY };
    std::env::var_os(name)
}

fn tell(socket: &OsStr, text: &str) -> io::Result<()> {
    let address = match socket.as_bytes() {
        // No file, but a name (unix(7)).
        #[cfg(target_os = "linux")]
        [b'@', name @ ..] => <SocketAddr as std::os::linux::net::SocketAddrExt>::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(socket)?,
    };
    UnixDatagram::unbound()?.send_to_addr(text.as_bytes(), &address).map(drop)
}

/// Copies of the listening sockets, for the process that comes after this one.
pub(crate) struct Handover {
    sockets: Vec<(OwnedFd, &'static str)>,
}

impl Handover {
    pub(crate) fn new(server: &[Socket], admin: Option<&tokio::net::TcpListener>) -> io::Result<Self> {
        let mut sockets = Vec::new();
        for socket in server {
            let copy = match socket {
                Socket::Tcp(socket) => socket.as_fd().try_clone_to_owned()?,
                Socket::Unix(socket) => socket.as_fd().try_clone_to_owned()?,
            };
            sockets.push((copy, "server"));
        }
        if let Some(admin) = admin {
            sockets.push((admin.as_fd().try_clone_to_owned()?, ADMIN));
        }
        Ok(Self { sockets })
    }

    /// Starts this program's file, which may be another version by now, with the same arguments and the sockets, and
    /// waits until it serves. If it does not, or nobody waits any longer, it is ended, and nothing has changed.
    pub(crate) async fn start_next(&self) -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("ready");
        let ready = tokio::net::UnixDatagram::bind(&path)?;
        let mut next = Next(Some(self.command(&path)?.spawn()?));
        let told = async {
            let mut text = [0; 64];
            let length = ready.recv(&mut text).await?;
            if text[..length].starts_with(b"READY=1") {
                Ok(())
            } else {
                Err(io::Error::other("it said nonsense"))
            }
        };
        tokio::select! {
            told = tokio::time::timeout(PATIENCE, told) => {
                told.unwrap_or_else(|_| Err(io::Error::other("it was not ready in time")))?;
            }
            ended = next.ended() => {
                return Err(io::Error::other(format!("it ended with {ended}; its output says why")));
            }
        }
        if let Some(process) = next.serves() {
            tell_main(process);
        }
        Ok(())
    }

    fn command(&self, ready: &std::path::Path) -> io::Result<Command> {
        let program = std::env::current_exe()?;
        // What Linux says of a file that was replaced; the new one has the name.
        let program = program.to_string_lossy();
        let program = program.strip_suffix(" (deleted)").unwrap_or(&program);
        let mut command = Command::new(program);
        let mut mappings = Vec::new();
        for (i, (socket, _)) in self.sockets.iter().enumerate() {
            // 0 to 2 are the standard streams; a process has no more than fits here.
            mappings.push(FdMapping { parent_fd: socket.try_clone()?, child_fd: 3 + i as i32 });
        }
        let names: Vec<&str> = self.sockets.iter().map(|(_, name)| *name).collect();
        command
            .args(std::env::args_os().skip(1))
            .env(HANDOVER, "1")
            .env("LISTEN_FDS", self.sockets.len().to_string())
            .env("LISTEN_FDNAMES", names.join(":"))
            .env_remove("LISTEN_PID")
            .env(NOTIFY, ready);
        match supervisor() {
            Some(socket) => command.env(SUPERVISOR, socket),
            None => command.env_remove(SUPERVISOR),
        };
        command.fd_mappings(mappings).map_err(io::Error::other)?;
        Ok(command)
    }
}

/// The next process, which is ended with this unless it serves.
struct Next(Option<Child>);

impl Next {
    async fn ended(&mut self) -> String {
        loop {
            match self.0.as_mut().map(Child::try_wait) {
                Some(Ok(Some(status))) => return status.to_string(),
                Some(Err(error)) => return error.to_string(),
                Some(Ok(None)) | None => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }

    /// Lets it live on. Returns its number.
    fn serves(mut self) -> Option<u32> {
        self.0.take().map(|process| process.id())
    }
}

impl Drop for Next {
    fn drop(&mut self) {
        if let Some(process) = &mut self.0 {
            // It may have ended by itself.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}
