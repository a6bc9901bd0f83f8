//! Interim answers (1xx, RFC 9110 §15.2), such as `103 Early Hints` (RFC 8297), on their way from an upstream to the
//! client that still waits for the final one.
//!
//! The server of a request and whoever asks its upstream are one task: the server [`listen`]s while it polls for the
//! answer, and hears what is [`send`]t within that poll. So they need no channel, a request without interim answers pays
//! two writes to a thread's own memory for each poll, and no layer in between sees them. What is sent where nobody
//! listens is lost, as interim answers may be: in a task of its own, such as one that refreshes what a cache holds, and
//! for a client whose protocol knows none.
//!
//! ```
//! use gateway_core::{ClientAddr, interim};
//! use http::{Request, Response, StatusCode, header::LINK};
//!
//! let mut request = Request::get("/").body(()).unwrap();
//! request.extensions_mut().insert(ClientAddr(([192, 0, 2, 1], 4711).into()));
//! let (request, ()) = request.into_parts();
//! let hint = Response::builder().status(StatusCode::EARLY_HINTS).header(LINK, "</a.css>; rel=preload").body(()).unwrap();
//!
//! let ((), heard) = interim::listen(|| interim::send(&request, hint.clone()));
//! assert_eq!(heard[0].headers()[LINK], "</a.css>; rel=preload");
//! interim::send(&request, hint);
//! assert!(interim::listen(|| ()).1.is_empty());
//! ```

use crate::ClientAddr;
use http::request::Parts;
use http::{Response, StatusCode};
use std::cell::{Cell, RefCell};

/// Whether somebody listens on this thread, and has heard anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Listener {
    None,
    Silence,
    Heard,
}

thread_local! {
    static LISTENER: Cell<Listener> = const { Cell::new(Listener::None) };
    static HEARD: RefCell<Vec<Response<()>>> = const { RefCell::new(Vec::new()) };
}

/// Nobody listens once this is dropped, also where the poll panics.
struct Listening;

impl Drop for Listening {
    fn drop(&mut self) {
        LISTENER.set(Listener::None);
    }
}

/// Polls for an answer, and returns which interim answers came within that. Not to be called within itself.
pub fn listen<T>(poll: impl FnOnce() -> T) -> (T, Vec<Response<()>>) {
    LISTENER.set(Listener::Silence);
    let listening = Listening;
    let polled = poll();
    let heard = LISTENER.get() == Listener::Heard;
    drop(listening);
    (polled, if heard { HEARD.take() } else { Vec::new() })
}

/// Passes an interim answer to this request on, if its client waits for one.
///
/// Requests of the gateway's own, such as for keys or for health, have no [`ClientAddr`], and what is said to them is
/// nobody else's business. Nor are `100 Continue` and `101 Switching Protocols`: each hop says them for itself.
pub fn send(request: &Parts, answer: Response<()>) {
    let status = answer.status();
    let own = matches!(status, StatusCode::CONTINUE | StatusCode::SWITCHING_PROTOCOLS);
    if own || !status.is_informational() || request.extensions.get::<ClientAddr>().is_none() {
        return;
    }
    match LISTENER.get() {
        Listener::None => return,
        // What a poll left that panicked.
        Listener::Silence => HEARD.with_borrow_mut(Vec::clear),
        Listener::Heard => {}
    }
    LISTENER.set(Listener::Heard);
    HEARD.with_borrow_mut(|heard| heard.push(answer));
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    fn of_a_client() -> Parts {
        let mut request = Request::get("/").body(()).unwrap();
        request.extensions_mut().insert(ClientAddr(([192, 0, 2, 1], 4711).into()));
        request.into_parts().0
    }

    fn with(status: u16) -> Response<()> {
        Response::builder().status(status).body(()).unwrap()
    }

    fn heard(statuses: &[u16], request: &Parts) -> Vec<u16> {
        let ((), heard) = listen(|| statuses.iter().for_each(|status| send(request, with(*status))));
        heard.iter().map(|answer| answer.status().as_u16()).collect()
    }

    #[test]
    fn all_interim_answers_pass_in_order_but_those_that_each_hop_says_itself() {
        let statuses = [100, 103, 101, 102, 200, 104, 199, 404];
        assert_eq!(heard(&statuses, &of_a_client()), [103, 102, 104, 199]);
    }

    #[test]
    fn what_is_said_to_the_gateway_itself_is_nobody_elses() {
        let (own, ()) = Request::get("/keys").body(()).unwrap().into_parts();
        assert!(heard(&[103], &own).is_empty());
    }

    #[test]
    fn a_poll_that_panics_leaves_nothing_to_the_next() {
        let request = of_a_client();
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            listen(|| {
                send(&request, with(103));
                panic!("as a policy might");
            })
        }));
        assert!(panicked.is_err());
        send(&request, with(103));
        assert!(heard(&[], &request).is_empty());
        assert_eq!(heard(&[102], &request), [102]);
    }
}
