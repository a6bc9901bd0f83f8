//! From one process to the next without a refused connection: listening sockets and readiness, as systemd has them
//! (`sd_listen_fds(3)`, `sd_notify(3)`).

use command_fds::{CommandFdExt, FdMapping};
use gateway_server::{InheritedError, ListenAddress, Socket, inherited_sockets};
use std::ffi::{OsStr, OsString};
use std::fs::Permissions;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process::{Child, Command};
use std::time::Duration;

/// What the admin listener's sockets are called among those handed over; all others are the server's.
const ADMIN: &str = "admin";
/// For which `server.listen` and `admin.listen` the process before this one has opened them; not set for those that
/// somebody else gave it.
const SERVER_LISTEN: &str = "HANDOVER_SERVER_LISTEN";
const ADMIN_LISTEN: &str = "HANDOVER_ADMIN_LISTEN";
/// Where whoever started this process hears of it.
const NOTIFY: &str = "NOTIFY_SOCKET";
/// Set by the process before this one, and with it where whoever started the first of them hears of it.
const HANDOVER: &str = "LISTEN_HANDOVER";
const SUPERVISOR: &str = "HANDOVER_NOTIFY_SOCKET";
/// How long the next process may take until it is ready.
const PATIENCE: Duration = Duration::from_secs(60);

/// Listening sockets for one purpose.
#[derive(Default)]
pub(crate) struct Sockets {
    pub(crate) all: Vec<Socket>,
    /// What settings they were opened for; `None` if the supervisor decides where to listen.
    asked: Option<ListenAddress>,
}

impl Sockets {
    /// Opens those that the settings ask for.
    pub(crate) fn open(listen: &ListenAddress, workers: usize) -> io::Result<Self> {
        Ok(Self { all: listen.listen(workers)?, asked: Some(listen.clone()) })
    }

    /// These, unless there are none or they were opened for settings that asked for another place.
    pub(crate) fn at(self, listen: &ListenAddress) -> Option<Self> {
        let are_there = match (&self.asked, listen) {
            (Some(ListenAddress::Unix { path: asked, .. }), ListenAddress::Unix { path, mode }) => {
                asked == path && std::fs::set_permissions(path, Permissions::from_mode(*mode)).is_ok()
            }
            (asked, listen) => asked.as_ref().is_none_or(|asked| asked == listen),
        };
        Some(self).filter(|sockets| are_there && !sockets.all.is_empty())
    }

    /// The same sockets over workers: each is accepted from, and no worker is idle.
    pub(crate) fn spread(&self, workers: usize) -> io::Result<Vec<Vec<Socket>>> {
        let count = self.all.len();
        let mut spread: Vec<_> = (0..workers).map(|_| Vec::new()).collect();
        for (i, socket) in self.all.iter().enumerate() {
            let share = workers.saturating_sub(i).div_ceil(count).max(1);
            for turn in 0..share {
                spread[(i + turn * count) % workers].push(socket.try_clone()?);
            }
        }
        Ok(spread)
    }
}

/// The listening sockets that this process was started with.
#[derive(Default)]
pub(crate) struct Inherited {
    pub(crate) server: Sockets,
    pub(crate) admin: Sockets,
}

/// Takes them over. To be called before there are other threads.
pub(crate) fn inherited() -> Result<Inherited, InheritedError> {
    let mut inherited = Inherited::default();
    for found in inherited_sockets()? {
        let sockets = if found.name == ADMIN { &mut inherited.admin } else { &mut inherited.server };
        sockets.all.push(found.socket);
    }
    let asked = |name| std::env::var_os(HANDOVER).and(std::env::var(name).ok())?.parse().ok();
    (inherited.server.asked, inherited.admin.asked) = (asked(SERVER_LISTEN), asked(ADMIN_LISTEN));
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

/// The listening sockets, for the process that comes after this one.
pub(crate) struct Handover {
    server: Sockets,
    admin: Sockets,
}

impl Handover {
    pub(crate) fn new(server: Sockets, admin: Sockets) -> Self {
        Self { server, admin }
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
        let (mut mappings, mut names) = (Vec::new(), Vec::new());
        for (sockets, name) in [(&self.server, "server"), (&self.admin, ADMIN)] {
            for socket in &sockets.all {
                // 0 to 2 are the standard streams; a process has no more than fits here.
                let child_fd = 3 + mappings.len() as i32;
                mappings.push(FdMapping { parent_fd: socket.as_fd().try_clone_to_owned()?, child_fd });
                names.push(name);
            }
        }
        for (sockets, name) in [(&self.server, SERVER_LISTEN), (&self.admin, ADMIN_LISTEN)] {
            match &sockets.asked {
                Some(asked) => command.env(name, asked.to_string()),
                None => command.env_remove(name),
            };
        }
        command
            .args(std::env::args_os().skip(1))
            .env(HANDOVER, "1")
            .env("LISTEN_FDS", names.len().to_string())
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
