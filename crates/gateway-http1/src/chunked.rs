//! The decoder of chunked bodies (RFC 9112 §7.1): pure, over a buffer, without I/O.

use crate::head::lines_end_in_crlf;
use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};

/// A chunk's size line, extensions included, is rarely over 20 bytes; more than this is an attack.
const MAX_SIZE_LINE: usize = 4096;
const MAX_TRAILERS: usize = 16 * 1024;
const MAX_TRAILER_FIELDS: usize = 64;

/// Decodes a chunked body piece by piece. A body that ends badly is never mistaken for one that ended.
#[derive(Debug, Default)]
pub struct ChunkDecoder {
    state: State,
}

#[derive(Clone, Copy, Debug, Default)]
enum State {
    #[default]
    Size,
    Data(u64),
    DataEnd,
    Trailers,
    Done,
}

/// What was next in a chunked body.
#[derive(Debug)]
pub enum Decoded {
    /// The buffer holds no complete piece.
    NeedMore,
    /// A piece of data, which may be less than its chunk.
    Data(Bytes),
    /// The end, with what stood in the trailer section.
    End(HeaderMap),
}

impl ChunkDecoder {
    /// How many bytes of data are surely still to come: what is worth reading at once.
    #[must_use]
    pub fn remaining(&self) -> u64 {
        match self.state {
            State::Data(left) => left,
            _ => 0,
        }
    }

    /// Takes the next piece out of the buffer.
    ///
    /// # Errors
    /// What is wrong with the body.
    pub fn decode(&mut self, buffer: &mut BytesMut) -> Result<Decoded, &'static str> {
        loop {
            match self.state {
                State::Size => {
                    let Some(end) = line_end(buffer, MAX_SIZE_LINE, "a chunk's size line is too long")?
                    else {
                        return Ok(Decoded::NeedMore);
                    };
                    let size = chunk_size(&buffer[..end])?;
                    buffer.advance(end + 2);
                    self.state = if size == 0 { State::Trailers } else { State::Data(size) };
                }
                State::Data(_) if buffer.is_empty() => return Ok(Decoded::NeedMore),
                State::Data(left) => {
                    let here = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
                    let left = left - here as u64;
                    self.state = if left == 0 { State::DataEnd } else { State::Data(left) };
                    return Ok(Decoded::Data(buffer.split_to(here).freeze()));
                }
                State::DataEnd if buffer.len() < 2 => return Ok(Decoded::NeedMore),
                State::DataEnd => {
                    if &buffer[..2] != b"\r\n" {
                        return Err("a chunk is longer than its size");
                    }
                    buffer.advance(2);
                    self.state = State::Size;
                }
                State::Trailers => {
                    let Some(trailers) = trailers(buffer)? else { return Ok(Decoded::NeedMore) };
                    self.state = State::Done;
                    return Ok(Decoded::End(trailers));
                }
                State::Done => return Ok(Decoded::End(HeaderMap::new())),
            }
        }
    }
}

/// The position of the next CRLF. A line feed alone ends no line: others might read it differently.
fn line_end(buffer: &[u8], max: usize, too_long: &'static str) -> Result<Option<usize>, &'static str> {
    match buffer.iter().take(max).position(|b| *b == b'\n') {
        Some(0) => Err("a line ends without CR"),
        Some(at) if buffer[at - 1] != b'\r' => Err("a line ends without CR"),
        Some(at) => Ok(Some(at - 1)),
        None if buffer.len() >= max => Err(too_long),
        None => Ok(None),
    }
}

fn chunk_size(line: &[u8]) -> Result<u64, &'static str> {
    let digits = line.iter().position(|b| !b.is_ascii_hexdigit()).unwrap_or(line.len());
    let (size, rest) = line.split_at(digits);
    let white = rest.iter().take_while(|b| matches!(b, b' ' | b'\t')).count();
    let is_extension = rest.get(white).is_none_or(|b| *b == b';');
    let is_text = |b: &u8| *b == b'\t' || !b.is_ascii_control();
    if size.is_empty() || !is_extension || !rest.iter().all(is_text) {
        return Err("a chunk's size is no hexadecimal number");
    }
    // Only hex digits are left, so it is UTF-8 and the error can only be overflow.
    std::str::from_utf8(size)
        .ok()
        .and_then(|digits| u64::from_str_radix(digits, 16).ok())
        .ok_or("a chunk's size is too large")
}

fn trailers(buffer: &mut BytesMut) -> Result<Option<HeaderMap>, &'static str> {
    if buffer.starts_with(b"\r\n") {
        buffer.advance(2);
        return Ok(Some(HeaderMap::new()));
    }
    let mut fields = [httparse::EMPTY_HEADER; MAX_TRAILER_FIELDS];
    match httparse::parse_headers(buffer, &mut fields) {
        Ok(httparse::Status::Complete((length, _))) if length > MAX_TRAILERS => {
            Err("the trailers are too large")
        }
        Ok(httparse::Status::Complete((length, _))) if !lines_end_in_crlf(&buffer[..length]) => {
            Err("a line ends without CR")
        }
        Ok(httparse::Status::Complete((length, fields))) => {
            let mut map = HeaderMap::with_capacity(fields.len());
            for field in fields {
                let name = HeaderName::from_bytes(field.name.as_bytes())
                    .map_err(|_| "a trailer's name is not valid")?;
                let value =
                    HeaderValue::from_bytes(field.value).map_err(|_| "a trailer's value is not valid")?;
                if crate::fields::may_be_trailer(&name) {
                    map.append(name, value);
                }
            }
            buffer.advance(length);
            Ok(Some(map))
        }
        Ok(httparse::Status::Partial) if buffer.len() < MAX_TRAILERS => Ok(None),
        Ok(httparse::Status::Partial) => Err("the trailers are too large"),
        Err(_) => Err("the trailers are not valid"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn run(pieces: &[&[u8]]) -> Result<(Vec<u8>, Option<HeaderMap>, usize), &'static str> {
        let (mut decoder, mut buffer, mut data) = (ChunkDecoder::default(), BytesMut::new(), Vec::new());
        for piece in pieces {
            buffer.extend_from_slice(piece);
            loop {
                match decoder.decode(&mut buffer)? {
                    Decoded::NeedMore => break,
                    Decoded::Data(bytes) => data.extend_from_slice(&bytes),
                    Decoded::End(trailers) => return Ok((data, Some(trailers), buffer.len())),
                }
            }
        }
        Ok((data, None, buffer.len()))
    }

    #[test]
    fn bodies_are_decoded_or_refused() {
        for (text, expected) in [
            ("5\r\nhello\r\n0\r\n\r\n", Ok("hello")),
            ("5;ext=\"a\"\r\nhello\r\n6\r\n world\r\n0\r\n\r\n", Ok("hello world")),
            ("5 \r\nhello\r\n0\r\n\r\n", Ok("hello")),
            ("0\r\n\r\n", Ok("")),
            ("00A\r\n0123456789\r\n0\r\n\r\n", Ok("0123456789")),
            ("5\nhello\r\n0\r\n\r\n", Err("without CR")),
            ("5\r\nhello!\r\n0\r\n\r\n", Err("longer than its size")),
            ("g\r\n", Err("hexadecimal")),
            ("-5\r\n", Err("hexadecimal")),
            ("+5\r\n", Err("hexadecimal")),
            ("0x5\r\n", Err("hexadecimal")),
            ("\r\n", Err("hexadecimal")),
            ("\n", Err("without CR")),
            ("5\r;\r\nhello", Err("hexadecimal")),
            ("10000000000000000\r\n", Err("too large")),
            ("5\x0c\r\nhello\r\n0\r\n\r\n", Err("hexadecimal")),
            ("5;a\0\r\nhello\r\n0\r\n\r\n", Err("hexadecimal")),
            ("0\r\nbad trailer\r\n\r\n", Err("trailers")),
            ("0\r\n\n", Err("without CR")),
            ("0\r\nX: y\n\r\n", Err("without CR")),
            ("0\r\nX: y\r\n\n", Err("without CR")),
        ] {
            match (run(&[text.as_bytes()]), expected) {
                (Ok((data, Some(_), 0)), Ok(body)) => assert_eq!(data, body.as_bytes(), "{text:?}"),
                (Err(e), Err(part)) => assert!(e.contains(part), "{text:?}: {e}"),
                (seen, _) => panic!("{text:?}: {seen:?}"),
            }
        }
    }

    #[test]
    fn endless_size_lines_and_trailers_are_cut_off() {
        let line = format!("5;{}", "x".repeat(MAX_SIZE_LINE));
        assert_eq!(run(&[line.as_bytes()]).unwrap_err(), "a chunk's size line is too long");
        let trailers = format!("0\r\nx: {}", "x".repeat(MAX_TRAILERS));
        for end in ["", "\r\n\r\n"] {
            let trailers = format!("{trailers}{end}");
            assert_eq!(run(&[trailers.as_bytes()]).unwrap_err(), "the trailers are too large");
        }
    }

    #[test]
    fn trailers_come_through_but_not_those_that_would_change_the_message() {
        let (_, trailers, _) =
            run(&[b"0\r\nGrpc-Status: 0\r\nContent-Length: 5\r\nTransfer-Encoding: x\r\n\r\n"]).unwrap();
        let trailers = trailers.unwrap();
        assert_eq!(trailers.get("grpc-status").unwrap(), "0");
        assert_eq!(trailers.len(), 1, "{trailers:?}");
    }

    proptest! {
        #[test]
        fn how_the_bytes_were_cut_makes_no_difference(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..50), 0..8),
            cut in 1usize..20,
        ) {
            let mut wire = Vec::new();
            for chunk in &chunks {
                wire.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                wire.extend_from_slice(chunk);
                wire.extend_from_slice(b"\r\n");
            }
            wire.extend_from_slice(b"0\r\n\r\n");
            let pieces: Vec<_> = wire.chunks(cut).collect();
            let (data, end, left) = run(&pieces).unwrap();
            prop_assert_eq!(data, chunks.concat());
            prop_assert!(end.is_some());
            prop_assert_eq!(left, 0);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = run(&[&bytes]);
        }
    }
}
