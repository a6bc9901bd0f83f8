//! Where a token stands in a store that is asked each time.

use super::marks::signed_part;
use crate::text::sha256;

pub(crate) struct Keys {
    pub(crate) state: String,
    pub(crate) seen: String,
}

impl Keys {
    pub(crate) fn new(namespace: &str, token: &str) -> Self {
        let hash = sha256(signed_part(token));
        // Braces keep both on the same node of a cluster.
        let state = format!("token:{namespace}:{{{hash}}}:state");
        let seen = format!("token:{namespace}:{{{hash}}}:seen");
        Self { state, seen }
    }
}
