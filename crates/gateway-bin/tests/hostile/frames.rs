//! HTTP/2 frames as bytes (RFC 9113 §4), and the little of HPACK (RFC 7541) that literals need.

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PUSH_PROMISE: u8 = 5;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const ACK: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
/// Of a request that is complete with its head.
pub(crate) const WHOLE: u8 = END_STREAM | END_HEADERS;
pub(crate) const PADDED: u8 = 8;
pub(crate) const PRIORITIZED: u8 = 0x20;

/// What a client begins with: the preface, and settings that change nothing.
pub(crate) fn preface() -> Vec<u8> {
    [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice(), &frame(SETTINGS, 0, 0, &[])].concat()
}

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A header block of literals that are not indexed, and not Huffman-coded.
pub(crate) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            put_length(&mut block, text.len());
            block.extend(text.as_bytes());
        }
    }
    block
}

/// An integer with a prefix of seven bits (RFC 7541 §5.1).
fn put_length(block: &mut Vec<u8>, length: usize) {
    if length < 127 {
        block.push(length as u8);
        return;
    }
    block.push(127);
    let mut left = length - 127;
    while left >= 128 {
        block.push((left % 128 + 128) as u8);
        left /= 128;
    }
    block.push(left as u8);
}

/// A GET of this path on a stream, with more fields.
pub(crate) fn request(stream: u32, path: &str, more: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, WHOLE, stream, &head("GET", path, more))
}

/// A POST whose body is still to come.
pub(crate) fn upload(stream: u32, more: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, stream, &head("POST", "/x", more))
}

fn head(method: &str, path: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let pseudo = [(":method", method), (":scheme", "http"), (":authority", "a"), (":path", path)];
    block(&[&pseudo, more].concat())
}

/// The status at the beginning of an answer's header block, as servers write it.
pub(crate) fn status(block: &[u8]) -> Option<u16> {
    // Updates of the table's size may come first.
    let start = block.iter().position(|b| b & 0xe0 != 0x20)?;
    match block[start..] {
        [byte @ 0x88..=0x8e, ..] => Some([200, 204, 206, 304, 400, 404, 500][usize::from(byte - 0x88)]),
        [0x48 | 0x08 | 0x18, 3, a, b, c, ..] => std::str::from_utf8(&[a, b, c]).ok()?.parse().ok(),
        [0x48 | 0x08 | 0x18, length, ref rest @ ..] if length & 0x80 != 0 => {
            huffman_digits(rest.get(..usize::from(length & 0x7f))?)
        }
        _ => None,
    }
}

/// Three digits (RFC 7541, appendix B): `0` to `2` have five bits, the others six.
fn huffman_digits(bytes: &[u8]) -> Option<u16> {
    let bits: Vec<u16> =
        bytes.iter().flat_map(|byte| (0..8).rev().map(move |i| u16::from(byte >> i & 1))).collect();
    let number = |bits: &[u16]| bits.iter().fold(0, |sum, bit| sum * 2 + bit);
    let (mut value, mut at) = (0, 0);
    for _ in 0..3 {
        let five = number(bits.get(at..at + 5)?);
        let digit = if five < 3 { five } else { number(bits.get(at..at + 6)?).checked_sub(0x19)? + 3 };
        at += if five < 3 { 5 } else { 6 };
        value = value * 10 + digit;
    }
    Some(value)
}
