//! Times as logs write them, in microseconds since 1970.

use gateway_core::civil;

/// `2024-01-15T10:30:00.123456789Z`, or with an offset such as `+01:00` (RFC 3339).
pub(super) fn rfc3339(text: &str) -> Option<u64> {
    let (date, rest) = text.split_once(['T', 't', ' '])?;
    let mut date = date.splitn(3, '-');
    let (year, month, day) =
        (date.next()?.parse().ok()?, date.next()?.parse().ok()?, date.next()?.parse().ok()?);
    let offset_at = rest.find(['Z', 'z', '+', '-'])?;
    let (clock, offset) = rest.split_at(offset_at);
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, ""));
    let offset = match offset {
        "Z" | "z" => 0,
        offset => offset_seconds(&offset.replace(':', ""))?,
    };
    let micros: String = fraction.chars().chain("000000".chars()).take(6).collect();
    micros_since_1970(days(year, month, day)?, seconds(clock)? - offset, micros.parse().ok()?)
}

/// `15/Jan/2024:10:30:00 +0000`.
pub(super) fn common(text: &str) -> Option<u64> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (moment, offset) = text.split_once(' ')?;
    let (date, clock) = moment.split_once(':')?;
    let mut date = date.splitn(3, '/');
    let (day, month, year) = (date.next()?.parse().ok()?, date.next()?, date.next()?.parse().ok()?);
    let month = MONTHS.iter().position(|name| *name == month)?;
    let days = days(year, u8::try_from(month).ok()? + 1, day)?;
    micros_since_1970(days, seconds(clock)? - offset_seconds(offset)?, 0)
}

/// The same to the millisecond, by RFC 3339.
pub(crate) fn shown(micros: u64) -> String {
    let (days, of_day) = (micros / 86_400_000_000, micros / 1000 % 86_400_000);
    let (year, month, day) = civil::date(days.cast_signed());
    let (seconds, millis) = (of_day / 1000, of_day % 1000);
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hours:02}:{minutes:02}:{seconds:02}.{millis:03}Z")
}

fn days(year: i64, month: u8, day: u8) -> Option<i64> {
    let fits = (1970..10_000).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day);
    fits.then(|| civil::days(year, month, day))
}

/// `10:30:00` in seconds.
fn seconds(clock: &str) -> Option<i64> {
    let mut parts = clock.splitn(3, ':').map(str::parse::<u8>);
    let (hours, minutes, seconds) = (parts.next()?.ok()?, parts.next()?.ok()?, parts.next()?.ok()?);
    let fits = hours < 24 && minutes < 60 && seconds <= 60;
    fits.then(|| i64::from(hours) * 3600 + i64::from(minutes) * 60 + i64::from(seconds))
}

/// `+0100` in seconds.
fn offset_seconds(text: &str) -> Option<i64> {
    let sign = match text.as_bytes() {
        [b'+', _, _, _, _] => 1,
        [b'-', _, _, _, _] => -1,
        _ => return None,
    };
    let number: i64 = text.get(1..)?.parse::<u16>().ok()?.into();
    Some(sign * (number / 100 * 3600 + number % 100 * 60))
}

fn micros_since_1970(days: i64, seconds: i64, micros: u64) -> Option<u64> {
    u64::try_from(days * 86_400 + seconds).ok()?.checked_mul(1_000_000)?.checked_add(micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_shown_as_they_are_read() {
        for text in [
            "1970-01-01T00:00:00.000Z",
            "2000-02-29T23:59:59.500Z",
            "2023-12-31T00:00:00.001Z",
            "2024-03-01T12:00:00.000Z",
        ] {
            assert_eq!(rfc3339(text).map(shown).as_deref(), Some(text));
        }
    }

    #[test]
    fn times_are_read_with_their_offsets() {
        for (text, expected) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2000-02-29T23:59:59.5Z", Some(951_868_799_500_000)),
            ("2024-01-15T11:30:00.123456789+01:00", Some(1_705_314_600_123_456)),
            ("2024-01-15 02:30:00-08:00", Some(1_705_314_600_000_000)),
            ("2024-13-15T10:30:00Z", None),
            ("2024-01-15T10:30Z", None),
            ("2024-01-15T10:30:00", None),
            ("yesterday", None),
        ] {
            assert_eq!(rfc3339(text), expected, "{text}");
        }
        for (text, expected) in [
            ("10/Oct/2000:13:55:36 -0700", Some(971_211_336_000_000)),
            ("31/Dec/1999:23:59:60 +0000", Some(946_684_800_000_000)),
            ("10/Okt/2000:13:55:36 -0700", None),
            ("10/Oct/2000:13:55:36", None),
            ("10/Oct/2000:13:55:36 +é0", None),
        ] {
            assert_eq!(common(text), expected, "{text}");
        }
    }
}
