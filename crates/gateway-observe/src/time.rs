//! Times and durations as text, without allocation.

use gateway_core::civil;
use std::cell::Cell;
use std::io::Write;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The date and time of one second, such as `2024-01-15T10:30:00`.
pub(crate) type Second = [u8; 19];

/// A time in UTC.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Utc {
    pub(crate) second: Second,
    pub(crate) nanos: u32,
}

impl Utc {
    /// What the system's clock says now. It is asked once a second of a thread's lines, and each of them is as much
    /// later as has passed since.
    pub(crate) fn at(now: Instant) -> Self {
        thread_local! {
            static ASKED: Cell<Option<(Instant, Duration)>> = const { Cell::new(None) };
            /// The second that was written last: there are many lines in one.
            static LAST: Cell<(u64, Second)> = const { Cell::new((0, *b"1970-01-01T00:00:00")) };
        }
        let passed = |(asked, said)| Some((now.checked_duration_since(asked)?, said));
        let since = match ASKED.get().and_then(passed) {
            Some((passed, said)) if passed < Duration::from_secs(1) => said + passed,
            _ => {
                let said = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                ASKED.set(Some((now, said)));
                said
            }
        };
        let (mut seconds, mut text) = LAST.get();
        if seconds != since.as_secs() {
            (seconds, text) = (since.as_secs(), write_second(since.as_secs()));
            LAST.set((seconds, text));
        }
        Self { second: text, nanos: since.subsec_nanos() }
    }
}

fn write_second(unix: u64) -> Second {
    let (days, time) = (unix / 86_400, unix % 86_400);
    let (year, month, day) = civil::date(days.cast_signed());
    let mut text = *b"0000-00-00T00:00:00";
    let mut put = |at: usize, width: usize, mut value: u64| {
        for i in (at..at + width).rev() {
            text[i] = b'0' + (value % 10) as u8;
            value /= 10;
        }
    };
    put(0, 4, year.unsigned_abs());
    put(5, 2, month.into());
    put(8, 2, day.into());
    put(11, 2, time / 3600);
    put(14, 2, time / 60 % 60);
    put(17, 2, time % 60);
    text
}

/// A duration as Go writes it: `45.167µs`, `612.585291ms`, `1m3.5s`.
#[must_use]
pub fn format_go_duration(nanos: u64) -> String {
    let mut text = Vec::new();
    write_go_duration(&mut text, nanos);
    String::from_utf8(text).unwrap_or_default()
}

pub(crate) fn write_go_duration(into: &mut Vec<u8>, nanos: u64) {
    let (unit, name): (u64, &str) = match nanos {
        0 => return into.extend_from_slice(b"0s"),
        1..1_000 => (1, "ns"),
        1_000..1_000_000 => (1_000, "µs"),
        1_000_000..1_000_000_000 => (1_000_000, "ms"),
        _ => (1_000_000_000, "s"),
    };
    let mut whole = nanos / unit;
    if whole >= 60 && name == "s" {
        // Writing to a vector does not fail.
        if whole >= 3600 {
            let _ = write!(into, "{}h", whole / 3600);
        }
        let _ = write!(into, "{}m", whole / 60 % 60);
        whole %= 60;
    }
    into.extend_from_slice(itoa::Buffer::new().format(whole).as_bytes());
    let fraction = nanos % unit;
    if fraction > 0 {
        let mut digits = [b'0'; 9];
        let (mut rest, digits) = (fraction, &mut digits[..unit.ilog10() as usize]);
        for digit in digits.iter_mut().rev() {
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        let last = digits.iter().rposition(|digit| *digit != b'0').unwrap_or(0);
        into.push(b'.');
        into.extend_from_slice(&digits[..=last]);
    }
    into.extend_from_slice(name.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_as_far_apart_as_their_requests() {
        let (now, quarter) = (Instant::now(), Duration::from_millis(250));
        let (first, later) = (Utc::at(now), Utc::at(now + quarter));
        let between = (later.nanos + 1_000_000_000 - first.nanos) % 1_000_000_000;
        assert_eq!(between, quarter.subsec_nanos());
    }

    #[test]
    fn s3_22_durations_are_written_as_go_writes_them() {
        for (nanos, text) in [
            (0, "0s"),
            (1, "1ns"),
            (999, "999ns"),
            (1_000, "1µs"),
            (45_167, "45.167µs"),
            (612_585_291, "612.585291ms"),
            (100_000_000, "100ms"),
            (1_500_000_000, "1.5s"),
            (60_000_000_000, "1m0s"),
            (3_723_500_000_000, "1h2m3.5s"),
        ] {
            assert_eq!(format_go_duration(nanos), text);
        }
    }

    #[test]
    fn dates_are_right_through_leap_years() {
        for (unix, text) in [
            (0, "1970-01-01T00:00:00"),
            (951_782_399, "2000-02-28T23:59:59"),
            (951_782_400, "2000-02-29T00:00:00"),
            (1_705_314_600, "2024-01-15T10:30:00"),
            (1_709_164_800, "2024-02-29T00:00:00"),
            (4_107_542_399, "2100-02-28T23:59:59"),
            (4_107_542_400, "2100-03-01T00:00:00"),
        ] {
            assert_eq!(std::str::from_utf8(&write_second(unix)), Ok(text));
        }
    }
}
