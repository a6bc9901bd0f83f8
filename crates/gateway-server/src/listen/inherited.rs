//! Sockets that were opened before this process began (systemd's `sd_listen_fds(3)`): none is refused a connection
//! while it restarts, and it needs no right to open port 80.

use super::Socket;
use listenfd::ListenFd;
use std::io;

/// Set by an earlier gateway that hands its sockets over, and does not know the next one's process number.
const HANDOVER: &str = "LISTEN_HANDOVER";

/// A listening socket that the process was started with.
#[derive(Debug)]
pub struct InheritedSocket {
    /// Its `FileDescriptorName=`; systemd's default is the name of the socket unit. `unknown` where it has none.
    pub name: String,
    /// The socket.
    pub socket: Socket,
}

/// Why the sockets that the process was started with are of no use.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InheritedError {
    /// One is no TCP or Unix stream socket.
    #[error("the inherited socket {number} (`{name}`) is no TCP or Unix stream socket: {why}")]
    Kind {
        /// Counted from 0.
        number: usize,
        /// Its name.
        name: String,
        /// What the system says.
        why: io::Error,
    },
    /// One does not listen.
    #[error(
        "the inherited socket {number} (`{name}`) does not listen; expected a stream socket with `Accept=no`"
    )]
    NotListening {
        /// Counted from 0.
        number: usize,
        /// Its name.
        name: String,
    },
}

/// Takes over the sockets that the process was started with, as `LISTEN_PID`, `LISTEN_FDS` and `LISTEN_FDNAMES` say,
/// or an earlier gateway (`LISTEN_HANDOVER` in place of `LISTEN_PID`).
/// None where they are not meant for this process.
///
/// To be called once, before there are other threads: it removes the variables, for they are not for children.
///
/// # Errors
/// One of them cannot be listened on.
pub fn inherited_sockets() -> Result<Vec<InheritedSocket>, InheritedError> {
    // `listenfd` also takes sockets without it, from whoever set `LISTEN_FDS`.
    let handed_over = std::env::var_os(HANDOVER).is_some();
    if !is_for(std::process::id(), std::env::var("LISTEN_PID").ok().as_deref(), handed_over) {
        return Ok(Vec::new());
    }
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut sockets = ListenFd::from_env();
    (0..sockets.len())
        .map(|number| {
            let name = name(&names, number).to_owned();
            let tcp = sockets.take_tcp_listener(number).map(|tcp| tcp.map(Socket::Tcp));
            let taken =
                tcp.or_else(|_| sockets.take_unix_listener(number).map(|unix| unix.map(Socket::Unix)));
            match taken {
                Ok(Some(socket)) if socket.is_listening() => Ok(InheritedSocket { name, socket }),
                Ok(_) => Err(InheritedError::NotListening { number, name }),
                Err(why) => Err(InheritedError::Kind { number, name, why }),
            }
        })
        .collect()
}

fn is_for(process: u32, listen_pid: Option<&str>, handed_over: bool) -> bool {
    match listen_pid {
        Some(pid) => pid.parse() == Ok(process),
        None => handed_over,
    }
}

fn name(names: &str, number: usize) -> &str {
    names.split(':').nth(number).filter(|name| !name.is_empty()).unwrap_or("unknown")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_are_taken_only_by_the_process_they_are_meant_for() {
        for (pid, expected) in [(Some("7"), true), (Some("8"), false), (Some(""), false), (None, false)] {
            assert_eq!(is_for(7, pid, false), expected, "{pid:?}");
        }
    }

    #[test]
    fn an_earlier_gateway_need_not_know_the_process_number() {
        for (pid, expected) in [(Some("7"), true), (Some("8"), false), (None, true)] {
            assert_eq!(is_for(7, pid, true), expected, "{pid:?}");
        }
    }

    #[test]
    fn each_has_its_name_or_none() {
        for (number, expected) in [(0, "web"), (1, "unknown"), (2, "admin"), (3, "unknown")] {
            assert_eq!(name("web::admin", number), expected);
        }
        assert_eq!(name("", 0), "unknown");
    }
}
