use socket2::{Domain, Socket, Type};
use std::net::{SocketAddr, UdpSocket};
use std::ops::Range;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Asks until there is an answer, and panics with what was waited for when there is none in time.
pub fn wait_until<T>(what: &str, timeout: Duration, mut ask: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(start.elapsed() < timeout, "waited {timeout:?} for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The `timezone` in which it is day now: what goes by the calendar goes on for hours. To be asked once in a test.
#[must_use]
pub fn daytime() -> &'static str {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let hour = now.as_secs() / 3600 % 24;
    if (6..18).contains(&hour) { "+00:00" } else { "+12:00" }
}

/// Below the range from which the system takes ports for outgoing connections and for who asks for any.
const PORTS: Range<u16> = 10_000..32_000;
/// How many ports a process takes for itself at a time.
const BLOCK: u16 = 100;

/// The ports that this process still may give out.
static OWN: Mutex<Range<u16>> = Mutex::new(0..0);

/// A port of the loopback address that nobody listens on, and that is given out once: not to another test, nor to
/// another process, nor by the system.
///
/// A gateway listens in a way that lets a second one listen there too, so that nobody would notice, but now and then one
/// would get the other's requests.
///
/// # Panics
/// No port is free.
#[must_use]
pub fn free_port() -> u16 {
    let mut own = OWN.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        let port = own.next().unwrap_or_else(|| {
            *own = block();
            own.next().expect("a block is not empty")
        });
        if is_free(port) {
            return port;
        }
    }
}

/// Whether nobody listens there. Looks without listening: a process that another test just starts has a copy of the
/// socket until it begins its program, and whoever is given the port could not listen there meanwhile.
fn is_free(port: u16) -> bool {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.set_reuse_address(true).expect("an option");
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], port)).into()).is_ok()
}

/// Ports that are this process's as long as it lives.
fn block() -> Range<u16> {
    for first in PORTS.step_by(usize::from(BLOCK)) {
        // The same port of UDP, which nothing else here uses, says whose the block is.
        if let Ok(taken) = UdpSocket::bind(("127.0.0.1", first)) {
            std::mem::forget(taken);
            return first..first + BLOCK;
        }
    }
    panic!("no free port in {PORTS:?}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_process_has_no_other_gets() {
        let (one, other) = (block(), block());
        assert!(one.end <= other.start, "{one:?} and {other:?}");
        assert_ne!(free_port(), free_port());
    }

    #[test]
    fn a_port_is_free_until_somebody_listens_there() {
        let addr = SocketAddr::from(([127, 0, 0, 1], free_port()));
        assert!(is_free(addr.port()));
        let _looking = {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            socket.set_reuse_address(true).unwrap();
            socket.bind(&addr.into()).unwrap();
            socket
        };
        let _listening = crate::upstream::listen(addr);
        assert!(!is_free(addr.port()));
    }
}
