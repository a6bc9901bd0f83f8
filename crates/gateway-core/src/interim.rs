//! Interim answers (1xx, RFC 9110 §15.2), such as `103 Early Hints` (RFC 8297), on their way from an upstream to the
//! client that still waits for the final one.
//!
//! The server of a request and whoever asks its upstream are one task: the server [`listen`]s while it polls for the
//! answer, and [hears](Listening::heard) what is [`send`]t within that poll. So they need no channel, a request without
//! interim answers pays two writes to a thread's own memory for each poll, and no layer in between sees them. What is
//! sent where nobody listens is lost, as interim answers may be: in a task of its own, such as one that refreshes what a
//! cache holds, and for a client whose protocol knows none.
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
//! let listening = interim::listen();
//! interim::send(&request, hint.clone());
//! assert_eq!(listening.heard()[0].headers()[LINK], "</a.css>; rel=preload");
//! interim::send(&request, hint);
//! assert!(interim::listen().heard().is_empty());
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

/// What [`listen`] returns. Nobody listens once it is dropped, also where the poll panics.
#[derive(Debug)]
#[must_use = "nothing is heard once this is dropped"]
pub struct Listening(());

impl Listening {
    /// Which interim answers came since; nobody listens any more.
    #[must_use]
    pub fn heard(self) -> Vec<Response<()>> {
        match LISTENER.get() {
            Listener::Heard => HEARD.take(),
            Listener::None | Listener::Silence => Vec::new(),
        }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        LISTENER.set(Listener::None);
    }
}

/// Listens on this thread until what it returns is dropped: to be called before a poll for an answer, and not again before
/// that is over.
pub fn listen() -> Listening {
    LISTENER.set(Listener::Silence);
    Listening(())
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
        let listening = listen();
        statuses.iter().for_each(|status| send(request, with(*status)));
        listening.heard().iter().map(|answer| answer.status().as_u16()).collect()
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
            let _listening = listen();
            send(&request, with(103));
            panic!("as a policy might");
        }));
        assert!(panicked.is_err());
        send(&request, with(103));
        assert!(heard(&[], &request).is_empty());
        assert_eq!(heard(&[102], &request), [102]);
    }
}
