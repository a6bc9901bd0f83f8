//! Finding a number in what was kept of a body.

use serde_json::Value;

/// The number at a JSON pointer: in the whole body; in the last event that has it; or, where the beginning of a body
/// was cut off, the last number under the pointer's last name.
pub(super) fn find(bytes: &[u8], path: &str, events: bool, cut: bool) -> Option<u32> {
    if events {
        let lines = bytes.rsplit(|b| matches!(b, b'\n' | b'\r'));
        return lines.filter_map(|line| line.strip_prefix(b"data:")).find_map(|data| at(data, path));
    }
    if cut { last_named(bytes, path.rsplit('/').next()?) } else { at(bytes, path) }
}

fn at(json: &[u8], path: &str) -> Option<u32> {
    let value: Value = serde_json::from_slice(json).ok()?;
    whole(value.pointer(path)?)
}

/// Fractions count as one more.
fn whole(value: &Value) -> Option<u32> {
    let number = value.as_u64().or_else(|| {
        let number = value.as_f64()?.ceil();
        (0.0..=f64::from(u32::MAX)).contains(&number).then_some(number as u64)
    })?;
    Some(u32::try_from(number).unwrap_or(u32::MAX))
}

fn last_named(bytes: &[u8], name: &str) -> Option<u32> {
    let quoted = format!("\"{name}\"");
    let places = (0..bytes.len().saturating_sub(quoted.len())).rev();
    let mut after = places.filter_map(|i| bytes[i..].strip_prefix(quoted.as_bytes()));
    after.find_map(|rest| {
        let rest = rest.trim_ascii_start().strip_prefix(b":")?.trim_ascii_start();
        let end = rest.iter().position(|b| !b.is_ascii_digit())?;
        str::from_utf8(&rest[..end]).ok()?.parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATH: &str = "/usage/total_tokens";

    #[test]
    fn a_number_is_found_wherever_it_stands() {
        let json = r#"{"id":1,"usage":{"total_tokens":42,"x":1}}"#;
        let stream = "data: {\"d\":\"a\"}\n\ndata: {\"usage\":{\"total_tokens\":7}}\r\n\r\ndata: [DONE]\n\n";
        for (body, events, cut, found) in [
            (json, false, false, Some(42)),
            (stream, true, false, Some(7)),
            (&stream[3..], true, true, Some(7)),
            (&json[5..], false, true, Some(42)),
            (r#"_tokens" : 3 , "total_tokens" : 9 }"#, false, true, Some(9)),
            (r#"{"usage":{"total_tokens":1.2}}"#, false, false, Some(2)),
            (r#"{"usage":{"total_tokens":-1}}"#, false, false, None),
            (r#"{"usage":{"total_tokens":"9"}}"#, false, false, None),
            (r#"{"usage":{"total_tok"#, false, false, None),
            ("", false, false, None),
            ("", true, true, None),
        ] {
            assert_eq!(find(body.as_bytes(), PATH, events, cut), found, "{body}");
        }
    }
}
