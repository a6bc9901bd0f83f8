//! Messages on the wire.

use bytes::BytesMut;
use gateway_http1::{
    ChunkDecoder, Decoded, Framing, may_be_trailer, parse_request, parse_response, put_chunk_size,
    put_last_chunk,
};
use gateway_server::{MAX_PROXY_HEADER, Proxied, ProxyHeader, parse_proxy_header};
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, Method};

const MAX_HEAD: usize = 16 * 1024;
const MAX_FIELDS: usize = 100;

/// A request's head is whole, refused or unfinished; what is taken is a head by every reading of it, what follows it
/// stays, and how the bytes were cut makes no difference.
pub fn request_head(data: &[u8]) {
    // Limits as tight as they come: these must not make a difference but in what is refused.
    let _ = parse_request(&mut BytesMut::from(data), 64, 2);
    let mut buffer = BytesMut::from(data);
    let whole = parse_request(&mut buffer, MAX_HEAD, MAX_FIELDS);
    let Ok(Some(head)) = &whole else {
        if let Ok(None) = whole {
            assert_eq!(buffer, data, "what is unfinished stays");
        }
        return;
    };
    assert!(data.ends_with(&buffer), "what follows the head stays");
    let taken = &data[..data.len() - buffer.len()];
    assert!(taken.len() <= MAX_HEAD);
    let headers = head.request.headers();
    has_clean_fields(headers);
    let (lengths, encodings) =
        (headers.get_all(CONTENT_LENGTH).iter().count(), headers.get_all(TRANSFER_ENCODING).iter().count());
    assert!(lengths + encodings <= 1, "the body's end could be read in two ways: {headers:?}");
    assert_eq!(head.framing == Framing::Chunked, encodings == 1);
    let start = taken.iter().position(|byte| !matches!(byte, b'\r' | b'\n')).unwrap_or(0);
    ends_lines_in_crlf(&taken[start..]);
    let target = head.request.uri();
    assert!(target.path().starts_with('/') || target.path() == "*", "{target:?}");

    for end in cuts(taken.len()) {
        let early = parse_request(&mut BytesMut::from(&taken[..end]), MAX_HEAD, MAX_FIELDS);
        assert!(matches!(early, Ok(None)), "the first {end} bytes are {early:?}");
    }
}

/// Like [`request_head`], for the answer to any method.
pub fn response_head(data: &[u8]) {
    for method in [Method::GET, Method::HEAD] {
        let _ = parse_response(&mut BytesMut::from(data), &method, 64);
        let mut buffer = BytesMut::from(data);
        let Ok(Some(head)) = parse_response(&mut buffer, &method, MAX_HEAD) else { continue };
        assert!(data.ends_with(&buffer), "what follows the head stays");
        has_clean_fields(head.response.headers());
        assert!(!head.response.headers().contains_key(TRANSFER_ENCODING));
        let status = head.response.status().as_u16();
        let bodiless = method == Method::HEAD || matches!(status, 100 | 102..=199 | 204 | 304);
        assert!(!bodiless || matches!(head.framing, Framing::None | Framing::UntilClose));
        assert!(!head.keep_alive || head.framing != Framing::UntilClose, "its end is the connection's");
    }
}

/// A chunked body gives the same data and comes to the same end whether it arrives at once or byte by byte, and what
/// was decoded can be encoded and decoded again.
pub fn chunked(data: &[u8]) {
    let (whole, end) = decode(std::iter::once(data));
    let (pieces, other_end) = decode(data.chunks(1));
    assert_eq!(whole, pieces, "the data depends on how it was cut");
    assert_eq!(end.is_ok(), other_end.is_ok(), "{end:?} at once, {other_end:?} byte by byte");
    let (Ok(Some((trailers, left))), Ok(Some((_, other_left)))) = (end, other_end) else { return };
    // Of single bytes, those that follow the end were not even fed.
    assert!(other_left == 0 && data.len() >= left);
    assert!(trailers.keys().all(may_be_trailer));
    let mut again = BytesMut::new();
    if !whole.is_empty() {
        put_chunk_size(&mut again, whole.len());
        again.extend_from_slice(&whole);
        again.extend_from_slice(b"\r\n");
    }
    put_last_chunk(&mut again, &trailers);
    let (decoded, end) = decode(std::iter::once(&again[..]));
    assert_eq!(decoded, whole);
    let Ok(Some((decoded, 0))) = end else { panic!("{again:?} is {end:?}") };
    assert_eq!(decoded, trailers);
}

/// A PROXY header is whole, refused or unfinished; what follows a whole one makes no difference, and its beginning
/// alone says nothing yet.
pub fn proxy_header(data: &[u8]) {
    let Ok(ProxyHeader::Complete(proxied, length)) = parse_proxy_header(data) else { return };
    assert!(length <= data.len().min(MAX_PROXY_HEADER));
    if let Proxied::Tcp { source, destination } = proxied {
        assert_eq!(source.is_ipv4(), destination.is_ipv4(), "{source} and {destination}");
    }
    let alone = parse_proxy_header(&data[..length]);
    assert!(
        matches!(alone, Ok(header) if header == ProxyHeader::Complete(proxied, length)),
        "alone: {alone:?}"
    );
    for end in cuts(length) {
        let early = parse_proxy_header(&data[..end]);
        assert!(matches!(early, Ok(ProxyHeader::Partial)), "the first {end} bytes are {early:?}");
    }
}

/// The trailers and how many bytes follow them; `None` if the body goes on.
type End = Result<Option<(HeaderMap, usize)>, &'static str>;

fn decode<'d>(pieces: impl Iterator<Item = &'d [u8]>) -> (Vec<u8>, End) {
    let (mut decoder, mut buffer, mut data) = (ChunkDecoder::default(), BytesMut::new(), Vec::new());
    for piece in pieces {
        buffer.extend_from_slice(piece);
        loop {
            match decoder.decode(&mut buffer) {
                Ok(Decoded::NeedMore) => break,
                Ok(Decoded::Data(bytes)) => data.extend_from_slice(&bytes),
                Ok(Decoded::End(trailers)) => return (data, Ok(Some((trailers, buffer.len())))),
                Err(why) => return (data, Err(why)),
            }
        }
    }
    (data, Ok(None))
}

fn has_clean_fields(headers: &HeaderMap) {
    for (name, value) in headers {
        assert!(!name.as_str().is_empty());
        let bytes = value.as_bytes();
        assert!(!bytes.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)), "{name}: {value:?}");
        assert_eq!(bytes.trim_ascii(), bytes, "{name}: {value:?}");
    }
}

fn ends_lines_in_crlf(head: &[u8]) {
    for (at, byte) in head.iter().enumerate() {
        match byte {
            b'\n' => assert!(at > 0 && head[at - 1] == b'\r', "a bare LF at {at}"),
            b'\r' => assert_eq!(head.get(at + 1), Some(&b'\n'), "a bare CR at {at}"),
            _ => {}
        }
    }
}

/// Some places within so many bytes.
fn cuts(length: usize) -> impl Iterator<Item = usize> {
    (0..length).step_by(length / 16 + 1).chain(length.checked_sub(1))
}
