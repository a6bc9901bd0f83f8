//! Digests as text, and the time as a number.

use aws_lc_rs::digest::{SHA256, digest};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub(crate) fn sha256(text: &str) -> String {
    hex(digest(&SHA256, text.as_bytes()).as_ref())
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Seconds since 1970.
pub(crate) fn unix_now() -> f64 {
    unix(SystemTime::now())
}

pub(crate) fn unix(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

/// The time from now to an end, at most some thirty years.
pub(crate) fn until(end: f64, now: f64) -> Duration {
    Duration::try_from_secs_f64((end - now).clamp(0.0, 1e9)).unwrap_or_default()
}
