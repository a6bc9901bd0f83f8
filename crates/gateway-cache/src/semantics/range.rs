//! Parts of a stored answer (RFC 9110 §14).

use super::conditional::if_range_holds;
use http::HeaderMap;
use http::header::{IF_RANGE, RANGE};
use std::ops::Range;

/// Which part of a stored answer is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// All of it: no range, several, none that is understood, or of another version.
    Whole,
    /// These bytes.
    Bytes(Range<u64>),
    /// None that exists.
    Unsatisfiable,
}

/// Which part of a complete answer of this length the request asks for.
pub(crate) fn part(request: &HeaderMap, stored: &HeaderMap, length: u64) -> Part {
    let mut lines = request.get_all(RANGE).iter();
    let (Some(range), None) = (lines.next(), lines.next()) else { return Part::Whole };
    if request.get(IF_RANGE).is_some_and(|value| !if_range_holds(value, stored)) {
        return Part::Whole;
    }
    let Some(range) = range.to_str().ok().and_then(|text| read(text, length)) else { return Part::Whole };
    if range.is_empty() { Part::Unsatisfiable } else { Part::Bytes(range) }
}

/// One range in bytes; empty if there are none such. `None` for what is not understood, which is ignored.
fn read(text: &str, length: u64) -> Option<Range<u64>> {
    let (unit, range) = text.split_once('=')?;
    let range = range.trim();
    if !unit.trim().eq_ignore_ascii_case("bytes") || range.contains(',') {
        return None;
    }
    let number = |text: &str| {
        let is_number = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        // More than there can be, all the same.
        is_number.then(|| text.parse::<u64>().unwrap_or(u64::MAX))
    };
    let (first, last) = range.split_once('-')?;
    if first.is_empty() {
        let suffix = number(last)?;
        return Some(length.saturating_sub(suffix)..length);
    }
    let first = number(first)?;
    let end = if last.is_empty() { length } else { number(last)?.saturating_add(1).min(length) };
    if !last.is_empty() && number(last)? < first {
        return None;
    }
    Some(if first < length { first..end } else { 0..0 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use http::header::ETAG;

    #[test]
    fn rfc_9110_14_1_2_one_range_is_taken_and_what_is_not_understood_ignored() {
        for (text, expected) in [
            ("bytes=0-1", Part::Bytes(0..2)),
            ("BYTES=0-1", Part::Bytes(0..2)),
            ("bytes=1-", Part::Bytes(1..10)),
            ("bytes=-1", Part::Bytes(9..10)),
            ("bytes=-99", Part::Bytes(0..10)),
            ("bytes=5-99", Part::Bytes(5..10)),
            ("bytes=9-99999999999999999999999", Part::Bytes(9..10)),
            ("bytes=10-", Part::Unsatisfiable),
            ("bytes=-0", Part::Unsatisfiable),
            ("bytes=5-4", Part::Whole),
            ("bytes=0-1,3-4", Part::Whole),
            ("bytes=a-b", Part::Whole),
            ("bytes=-", Part::Whole),
            ("lines=0-1", Part::Whole),
            ("bytes", Part::Whole),
        ] {
            let request = HeaderMap::from_iter([(RANGE, HeaderValue::from_static(text))]);
            assert_eq!(part(&request, &HeaderMap::new(), 10), expected, "{text}");
        }
    }

    #[test]
    fn a_range_of_another_version_is_the_whole() {
        let stored = HeaderMap::from_iter([(ETAG, HeaderValue::from_static("\"a\""))]);
        let ask = |tag| {
            HeaderMap::from_iter([
                (RANGE, HeaderValue::from_static("bytes=0-1")),
                (IF_RANGE, HeaderValue::from_static(tag)),
            ])
        };
        assert_eq!(part(&ask("\"a\""), &stored, 10), Part::Bytes(0..2));
        assert_eq!(part(&ask("\"b\""), &stored, 10), Part::Whole);
    }
}
