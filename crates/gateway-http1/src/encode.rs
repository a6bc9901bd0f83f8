//! Small pieces of a message as bytes.

use crate::fields::may_be_trailer;
use bytes::BytesMut;
use http::header::{HeaderMap, HeaderName, HeaderValue};

/// Writes one header field.
pub fn put_field(out: &mut BytesMut, name: &HeaderName, value: &HeaderValue) {
    let (name, value) = (name.as_str().as_bytes(), value.as_bytes());
    out.reserve(name.len() + value.len() + 4);
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Writes `content-length`.
pub fn put_length(out: &mut BytesMut, length: u64) {
    out.extend_from_slice(b"content-length: ");
    out.extend_from_slice(itoa::Buffer::new().format(length).as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Writes a chunk's size line (RFC 9112 §7.1); its data and a CRLF follow.
pub fn put_chunk_size(out: &mut BytesMut, size: usize) {
    let mut digits = [0u8; 16];
    let (mut at, mut left) = (digits.len(), size);
    loop {
        at -= 1;
        digits[at] = b"0123456789abcdef"[left & 15];
        left >>= 4;
        if left == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
    out.extend_from_slice(b"\r\n");
}

/// Writes the end of a chunked body, with those trailers that may be trailers (RFC 9110 §6.5.1).
pub fn put_last_chunk(out: &mut BytesMut, trailers: &HeaderMap) {
    out.extend_from_slice(b"0\r\n");
    for (name, value) in trailers.iter().filter(|(name, _)| may_be_trailer(name)) {
        put_field(out, name, value);
    }
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_written_in_hexadecimal() {
        for size in [0, 1, 9, 10, 15, 16, 255, 4096, 65535, usize::MAX] {
            let mut out = BytesMut::new();
            put_chunk_size(&mut out, size);
            assert_eq!(out, format!("{size:x}\r\n"));
        }
    }
}
