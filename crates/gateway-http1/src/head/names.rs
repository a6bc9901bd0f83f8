//! Field names that were read before.
//!
//! All heads have nearly the same few names, in the same spelling. To look one up takes a third of the time that it
//! takes to check it again, and for names that [`http`] has no constant for it saves a copy of the text.

use http::header::HeaderName;
use std::cell::RefCell;

/// A power of two. With 64 bytes each they are 32 KiB per thread, of which only those in use are ever touched.
const SLOTS: usize = 512;
/// The longest name that is remembered.
const LONGEST: usize = 31;

/// A name, and how it was written: in one line of the processor's cache.
struct Known {
    name: HeaderName,
    written: [u8; LONGEST],
    length: u8,
}

thread_local! {
    /// Direct-mapped: a name has one slot, and whichever came last has it.
    static KNOWN: RefCell<Box<[Option<Known>]>> = RefCell::new((0..SLOTS).map(|_| None).collect());
}

/// The name that these bytes are, in lower case; `None` if they are none.
pub(super) fn name(written: &[u8]) -> Option<HeaderName> {
    if written.is_empty() || written.len() > LONGEST {
        return HeaderName::from_bytes(written).ok();
    }
    KNOWN.with_borrow_mut(|known| {
        let slot = &mut known[slot(written) % SLOTS];
        match slot {
            Some(known) if known.written[..usize::from(known.length)] == *written => Some(known.name.clone()),
            _ => {
                let name = HeaderName::from_bytes(written).ok()?;
                *slot = Some(Known::new(&name, written));
                Some(name)
            }
        }
    })
}

impl Known {
    /// `bytes` are no more than [`LONGEST`].
    fn new(name: &HeaderName, bytes: &[u8]) -> Self {
        let mut written = [0; LONGEST];
        written[..bytes.len()].copy_from_slice(bytes);
        #[allow(clippy::cast_possible_truncation, reason = "at most 31")]
        let length = bytes.len() as u8;
        Self { name: name.clone(), written, length }
    }
}

/// Where a name is kept: by its first and last bytes, which may overlap, and its length.
fn slot(written: &[u8]) -> usize {
    let half = |bytes: Option<&[u8; 4]>| bytes.map(|bytes| u64::from(u32::from_le_bytes(*bytes)));
    let (first, last) = match (written.first_chunk(), written.last_chunk()) {
        (Some(first), Some(last)) => (u64::from_le_bytes(*first), u64::from_le_bytes(*last)),
        _ => match (half(written.first_chunk()), half(written.last_chunk())) {
            (Some(first), Some(last)) => (first, last),
            _ => (written.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)), 0),
        },
    };
    // Fibonacci hashing: the upper bits of a product with 2⁶⁴/φ.
    let mixed = (first ^ last.rotate_left(29) ^ written.len() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> (64 - SLOTS.trailing_zeros())) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn usual_names_mostly_have_slots_of_their_own() {
        let names = [
            "Host",
            "User-Agent",
            "Accept",
            "Accept-Encoding",
            "Accept-Language",
            "Authorization",
            "Cookie",
            "Content-Type",
            "Content-Length",
            "Connection",
            "Cache-Control",
            "Referer",
            "Origin",
            "Pragma",
            "If-None-Match",
            "Sec-Fetch-Dest",
            "Sec-Fetch-Mode",
            "Sec-Fetch-Site",
            "sec-ch-ua",
            "sec-ch-ua-mobile",
            "sec-ch-ua-platform",
            "Upgrade-Insecure-Requests",
            "traceparent",
            "X-Request-Id",
            "X-Forwarded-For",
            "X-Forwarded-Proto",
            "X-Forwarded-Host",
            "Date",
            "Server",
            "Set-Cookie",
            "Vary",
            "ETag",
            "Last-Modified",
            "Transfer-Encoding",
            "Content-Encoding",
            "Strict-Transport-Security",
        ];
        let mut taken = names.map(|name| slot(name.as_bytes())).to_vec();
        taken.sort_unstable();
        taken.dedup();
        assert!(taken.len() >= names.len() - 3, "{} names have {} slots", names.len(), taken.len());
    }

    proptest! {
        #[test]
        fn a_name_is_the_same_whatever_was_read_before(names in prop::collection::vec("[a-zA-Z-]{0,40}|.{0,5}", 0..50)) {
            for text in names.iter().chain(&names) {
                prop_assert_eq!(name(text.as_bytes()), HeaderName::from_bytes(text.as_bytes()).ok());
            }
        }
    }
}
