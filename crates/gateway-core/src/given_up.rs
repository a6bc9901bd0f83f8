//! Where a request was when it was given up, and by whom: mostly its client has gone.
//!
//! A future that is dropped answers nobody. Whoever drops it [`listen`]s meanwhile, and what it holds may [`say`] at which
//! endpoint it was: both are on one thread, and a request that ends in an answer pays a look at the thread's own memory.
//!
//! ```
//! use gateway_core::{Endpoint, given_up};
//!
//! let endpoint = Endpoint::parse("http://10.0.0.1:3001").unwrap();
//! assert_eq!(given_up::listen(|| given_up::say(&endpoint)).unwrap().name(), "10.0.0.1:3001");
//! given_up::say(&endpoint);
//! assert!(given_up::listen(|| ()).is_none());
//! ```

use crate::Endpoint;
use std::cell::{Cell, RefCell};

thread_local! {
    static LISTENS: Cell<bool> = const { Cell::new(false) };
    static SAID: RefCell<Option<Endpoint>> = const { RefCell::new(None) };
    static CUTS: Cell<bool> = const { Cell::new(false) };
}

/// Nobody listens once this is dropped, also where what is given up panics.
struct Listening;

impl Drop for Listening {
    fn drop(&mut self) {
        LISTENS.set(false);
    }
}

/// Gives a request up, and returns at which endpoint it was, if at any. Not to be called within itself.
pub fn listen(give_up: impl FnOnce()) -> Option<Endpoint> {
    SAID.take();
    LISTENS.set(true);
    let listening = Listening;
    give_up();
    drop(listening);
    SAID.take()
}

/// Says that a request that may just be given up is at this endpoint.
pub fn say(endpoint: &Endpoint) {
    if LISTENS.get() {
        SAID.set(Some(endpoint.clone()));
    }
}

/// From now on it is the gateway that gives up whatever still goes on on this thread: it ends, and its time to drain is up.
pub fn cut_off() {
    CUTS.set(true);
}

/// Whether the gateway itself gives up what is given up on this thread now.
#[must_use]
pub fn is_cut_off() -> bool {
    CUTS.get()
}
