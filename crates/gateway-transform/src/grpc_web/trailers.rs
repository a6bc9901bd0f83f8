//! The trailers as the last frame of a body (PROTOCOL-WEB, "Message framing").

use bytes::{BufMut, Bytes, BytesMut};
use http::HeaderMap;

/// The most significant bit of a frame's flags: it holds trailers, not a message.
const TRAILERS: u8 = 0x80;

/// The trailers in a frame: its flags, its length in four bytes, and `name: value` line by line.
pub(super) fn frame(trailers: &HeaderMap) -> Bytes {
    let lines = trailers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4);
    let length: usize = lines.sum();
    let mut frame = BytesMut::with_capacity(5 + length);
    frame.put_u8(TRAILERS);
    // A trailer section of four gigabytes is refused long before.
    frame.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    for (name, value) in trailers {
        frame.put_slice(name.as_str().as_bytes());
        frame.put_slice(b": ");
        frame.put_slice(value.as_bytes());
        frame.put_slice(b"\r\n");
    }
    frame.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderName, HeaderValue};
    use proptest::prelude::*;

    /// As grpc-web's own client reads them.
    fn read(frame: &[u8]) -> Vec<(String, Vec<u8>)> {
        assert_eq!(frame[0], 0x80);
        let (length, lines) = frame[1..].split_at(4);
        assert_eq!(u32::from_be_bytes(length.try_into().unwrap()) as usize, lines.len());
        let lines = lines.strip_suffix(b"\r\n").unwrap_or(lines);
        let lines = lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let field = |line: &[u8]| {
            let colon = line.iter().position(|byte| *byte == b':').unwrap();
            let name = String::from_utf8(line[..colon].to_vec()).unwrap();
            (name, line[colon + 1..].trim_ascii().to_vec())
        };
        lines.map(field).collect()
    }

    #[test]
    fn the_trailers_stand_line_by_line_behind_flags_and_length() {
        let trailers = HeaderMap::from_iter([
            (HeaderName::from_static("grpc-status"), HeaderValue::from_static("0")),
            (HeaderName::from_static("grpc-message"), HeaderValue::from_static("")),
        ]);
        assert_eq!(frame(&trailers), &b"\x80\0\0\0\x20grpc-status: 0\r\ngrpc-message: \r\n"[..]);
        assert_eq!(frame(&HeaderMap::new()), &b"\x80\0\0\0\0"[..]);
    }

    proptest! {
        #[test]
        fn a_client_reads_the_trailers_that_were_written(
            fields in prop::collection::vec(("[a-z][a-z-]{0,8}", "([!-~]([ -~]{0,20}[!-~])?)?"), 0..6),
        ) {
            let field = |(name, value): &(String, String)| {
                (name.parse::<HeaderName>().unwrap(), value.parse::<HeaderValue>().unwrap())
            };
            let mut trailers = HeaderMap::new();
            for (name, value) in fields.iter().map(field) {
                trailers.append(name, value);
            }
            let written = trailers.iter().map(|(name, value)| (name.to_string(), value.as_bytes().to_vec()));
            prop_assert_eq!(read(&frame(&trailers)), written.collect::<Vec<_>>());
        }
    }
}
