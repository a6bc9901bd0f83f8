//! Digests of bodies (RFC 9530).

use aws_lc_rs::digest::{SHA256, SHA512, digest};
use sfv::{Dictionary, ListEntry, Parser};

/// Whether a `Content-Digest` is that of the body: each algorithm that is neither unknown nor broken must say so,
/// and there must be one.
pub(crate) fn is_of(field: &str, body: &[u8]) -> Result<(), &'static str> {
    let digests: Dictionary =
        Parser::new(field).parse().map_err(|_| "the Content-Digest is not a dictionary (RFC 9530)")?;
    let mut checked = false;
    for (name, value) in &digests {
        let algorithm = match name.as_str() {
            "sha-256" => &SHA256,
            "sha-512" => &SHA512,
            _ => continue,
        };
        let ListEntry::Item(item) = value else { return Err("the Content-Digest holds a list") };
        let told = item.bare_item.as_byte_sequence().ok_or("the Content-Digest holds no bytes")?;
        if digest(algorithm, body).as_ref() != told {
            return Err("the Content-Digest is not that of the body");
        }
        checked = true;
    }
    if checked { Ok(()) } else { Err("the Content-Digest has neither `sha-256` nor `sha-512`") }
}
