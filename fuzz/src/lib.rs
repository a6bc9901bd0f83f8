//! What reads untrusted bytes, as functions that panic when something is wrong: more than that nothing panics,
//! each states what must hold of every input.

mod heads;
mod jwt;
mod rules;

pub use heads::{chunked, proxy_header, request_head, response_head};
pub use jwt::jwt;
pub use rules::{config, path, patterns, token};

/// What takes any bytes, and panics if it finds something wrong.
pub type Target = fn(&[u8]);

/// All targets, by the names of their folders in `corpus/`.
pub const TARGETS: [(&str, Target); 9] = [
    ("request_head", request_head),
    ("response_head", response_head),
    ("chunked", chunked),
    ("proxy_header", proxy_header),
    ("path", path),
    ("patterns", patterns),
    ("config", config),
    ("token", token),
    ("jwt", jwt),
];
