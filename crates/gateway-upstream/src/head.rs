//! The head of an answer: parsed, checked for framing that all would read alike, and cleaned (RFC 9112 §6).

use bytes::BytesMut;
use http::header::{
    CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING,
};
use http::{Method, Response, StatusCode};
use std::cell::RefCell;
use std::mem::MaybeUninit;

const FEW_FIELDS: usize = 64;
const MAX_FIELDS: usize = 256;

/// How the body of an answer ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    None,
    Length(u64),
    Chunked,
    UntilClose,
}

#[derive(Debug)]
pub(crate) struct AnswerHead {
    pub(crate) response: Response<()>,
    pub(crate) framing: Framing,
    /// Whether the connection may be used again after the body.
    pub(crate) keep_alive: bool,
    /// Whether silence is normal in this body.
    pub(crate) event_stream: bool,
}

#[derive(Clone, Copy, Default)]
struct Span {
    start: u32,
    end: u32,
}

thread_local! {
    /// Where the fields of the head being parsed stand, so that no head needs its own list.
    static SPANS: RefCell<Vec<(Span, Span)>> = RefCell::new(Vec::with_capacity(FEW_FIELDS));
}

/// Parses the head at the start of `buffer` and takes it out; `None` while it is incomplete.
pub(crate) fn parse(
    buffer: &mut BytesMut,
    method: &Method,
    max_head: usize,
) -> Result<Option<AnswerHead>, &'static str> {
    SPANS.with_borrow_mut(|spans| {
        let mut few = [const { MaybeUninit::<httparse::Header<'_>>::uninit() }; FEW_FIELDS];
        let parsed = match parse_with(buffer, &mut few, spans) {
            Err(httparse::Error::TooManyHeaders) => {
                let mut many = vec![MaybeUninit::uninit(); MAX_FIELDS];
                parse_with(buffer, &mut many, spans)
            }
            parsed => parsed,
        };
        finish(parsed, spans, buffer, method, max_head)
    })
}

struct Parsed {
    length: usize,
    status: u16,
    http_10: bool,
}

/// Positions instead of slices, so that the values can share the buffer's memory.
fn parse_with<'b>(
    buffer: &'b [u8],
    fields: &mut [MaybeUninit<httparse::Header<'b>>],
    spans: &mut Vec<(Span, Span)>,
) -> Result<Option<Parsed>, httparse::Error> {
    let mut answer = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    let length = match config.parse_response_with_uninit_headers(&mut answer, buffer, fields)? {
        httparse::Status::Complete(length) => length,
        httparse::Status::Partial => return Ok(None),
    };
    let base = buffer.as_ptr() as usize;
    let span = |bytes: &[u8]| {
        let start = (bytes.as_ptr() as usize).wrapping_sub(base);
        // A head is at most `max_head` long, far below 4 GiB; an empty slice may point anywhere.
        if bytes.is_empty() {
            Span::default()
        } else {
            Span { start: start as u32, end: (start + bytes.len()) as u32 }
        }
    };
    spans.clear();
    spans.extend(answer.headers.iter().map(|f| (span(f.name.as_bytes()), span(f.value))));
    Ok(Some(Parsed { length, status: answer.code.unwrap_or(0), http_10: answer.version == Some(0) }))
}

fn finish(
    parsed: Result<Option<Parsed>, httparse::Error>,
    fields: &[(Span, Span)],
    buffer: &mut BytesMut,
    method: &Method,
    max_head: usize,
) -> Result<Option<AnswerHead>, &'static str> {
    let Parsed { length, status, http_10 } = match parsed {
        Ok(Some(parsed)) if parsed.length <= max_head => parsed,
        Ok(None) if buffer.len() < max_head => return Ok(None),
        Ok(_) => return Err("the answer's head is too large"),
        Err(httparse::Error::TooManyHeaders) => return Err("the answer has too many header fields"),
        Err(_) => return Err("the answer is not valid HTTP"),
    };
    let head = buffer.split_to(length).freeze();
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::from_u16(status).map_err(|_| "the answer's status is not valid")?;
    let headers = response.headers_mut();
    headers.reserve(fields.len());

    let mut content_length: Option<u64> = None;
    let mut chunked = false;
    let mut close = http_10;
    let mut nominated = Vec::new();
    let mut event_stream = false;
    for (name, value) in fields {
        let name = HeaderName::from_bytes(&head[name.start as usize..name.end as usize])
            .map_err(|_| "the answer has a header name that is not valid")?;
        let value = HeaderValue::from_maybe_shared(head.slice(value.start as usize..value.end as usize))
            .map_err(|_| "the answer has a header value that is not valid")?;
        if name == CONTENT_LENGTH {
            let length = content_length_of(&value)?;
            if content_length.is_some_and(|other| other != length) {
                return Err("the answer has two lengths");
            }
            if content_length.replace(length).is_some() {
                continue;
            }
        } else if name == TRANSFER_ENCODING {
            // Anything but a single `chunked` would need a decoder we do not have, or is an attack.
            if chunked || !value.as_bytes().eq_ignore_ascii_case(b"chunked") {
                return Err("the answer has a transfer encoding other than chunked");
            }
            chunked = true;
            continue;
        } else if name == CONNECTION {
            for token in tokens(&value) {
                if token.eq_ignore_ascii_case(b"close") {
                    close = true;
                } else if token.eq_ignore_ascii_case(b"keep-alive") {
                    close = false;
                } else {
                    nominated.extend(nominated_name(token));
                }
            }
            continue;
        } else if name == CONTENT_TYPE {
            event_stream = value.as_bytes().starts_with(b"text/event-stream");
        } else if is_hop_by_hop(name.as_str()) {
            continue;
        }
        headers.append(name, value);
    }
    if chunked && (content_length.is_some() || http_10) {
        return Err("the answer has both a length and a transfer encoding, or chunks in HTTP/1.0");
    }
    for name in nominated {
        headers.remove(name);
    }

    let bodiless = *method == Method::HEAD || matches!(status, 100..=199 | 204 | 304);
    let framing = match (bodiless, chunked, content_length) {
        (true, _, _) | (false, false, Some(0)) => Framing::None,
        (false, true, _) => Framing::Chunked,
        (false, false, Some(length)) => Framing::Length(length),
        (false, false, None) => Framing::UntilClose,
    };
    let keep_alive = !close && framing != Framing::UntilClose;
    Ok(Some(AnswerHead { response, framing, keep_alive, event_stream }))
}

/// Digits only (RFC 9110 §8.6): no sign, no list, no white space within.
fn content_length_of(value: &HeaderValue) -> Result<u64, &'static str> {
    let bytes = value.as_bytes();
    let wrong = "the answer's content length is no number";
    if bytes.is_empty() || !bytes.iter().all(u8::is_ascii_digit) {
        return Err(wrong);
    }
    std::str::from_utf8(bytes).ok().and_then(|text| text.parse().ok()).ok_or(wrong)
}

/// Removes the headers that `Connection` nominates as hop-by-hop, and itself (RFC 9110 §7.6.1).
///
/// To be called before a proxy adds headers of its own, which a client could otherwise nominate. Headers that are
/// always end-to-end, such as `Authorization`, stay.
pub fn remove_nominated(headers: &mut HeaderMap) {
    if headers.contains_key(CONNECTION) {
        for name in nominated_by(headers) {
            headers.remove(name);
        }
        headers.remove(CONNECTION);
    }
}

/// The request headers that `Connection` nominates as hop-by-hop. None for most requests.
pub(crate) fn nominated_by(headers: &HeaderMap) -> Vec<HeaderName> {
    headers.get_all(CONNECTION).iter().flat_map(tokens).filter_map(nominated_name).collect()
}

fn tokens(value: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    value.as_bytes().split(|b| *b == b',').map(<[u8]>::trim_ascii)
}

/// A nominated header is removed, unless it is one that is always end-to-end: nobody drops `Authorization` or
/// the forwarding headers by naming them in `Connection`.
fn nominated_name(token: &[u8]) -> Option<HeaderName> {
    if token.eq_ignore_ascii_case(b"close") || token.eq_ignore_ascii_case(b"keep-alive") {
        return None;
    }
    HeaderName::from_bytes(token).ok().filter(|name| !is_end_to_end(name.as_str()))
}

fn is_end_to_end(name: &str) -> bool {
    matches!(
        name,
        "authorization"
            | "cookie"
            | "set-cookie"
            | "host"
            | "content-length"
            | "content-type"
            | "content-encoding"
            | "cache-control"
            | "forwarded"
            | "via"
            | "date"
            | "expires"
            | "vary"
            | "etag"
            | "location"
            | "www-authenticate"
            | "retry-after"
    ) || name.starts_with("x-forwarded-")
        || name.starts_with("x-real-")
        || name.starts_with("x-user-")
        || name.starts_with("x-consumer-")
        || name.starts_with("x-authenticated-")
        || name.starts_with("x-internal-")
        || name == "request-user-id"
        || name.starts_with("access-control-")
}

/// Fields that mean one connection only, removed in both directions (RFC 9110 §7.6.1).
fn is_hop_by_hop(name: &str) -> bool {
    matches!(
        name,
        "connection" | "proxy-connection" | "keep-alive" | "te" | "trailer" | "transfer-encoding" | "upgrade"
    )
}

/// Whether a request header stays behind: hop-by-hop ones, and those that the encoder writes itself.
pub(crate) fn stays_behind(name: &str) -> bool {
    matches!(
        name,
        "host"
            | "content-length"
            | "expect"
            | "proxy-authorization"
            | "proxy-authenticate"
            | "http2-settings"
    ) || is_hop_by_hop(name)
}

/// Whether a field may stand in a trailer section: nothing that frames, routes or authenticates (RFC 9110 §6.5.1).
pub(crate) fn may_be_trailer(name: &HeaderName) -> bool {
    let name = name.as_str();
    !stays_behind(name) && !is_end_to_end(name) && name != "content-range"
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse_text(text: &str) -> Result<Option<AnswerHead>, &'static str> {
        parse(&mut BytesMut::from(text), &Method::GET, 1024)
    }

    #[test]
    fn framing_is_read_as_rfc_9112_says_or_the_answer_is_refused() {
        let ok = |framing, keep_alive| Ok((framing, keep_alive));
        for (head, expected) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", ok(Framing::Length(5), true)),
            ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", ok(Framing::None, true)),
            ("HTTP/1.1 200\r\nContent-Length: 5\r\n\r\n", ok(Framing::Length(5), true)),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n",
                ok(Framing::Length(5), true),
            ),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n", ok(Framing::Chunked, true)),
            ("HTTP/1.1 200 OK\r\n\r\n", ok(Framing::UntilClose, false)),
            ("HTTP/1.1 204 No Content\r\n\r\n", ok(Framing::None, true)),
            ("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", ok(Framing::None, true)),
            (
                "HTTP/1.1 200 OK\r\nConnection: x, CLOSE\r\nContent-Length: 1\r\n\r\n",
                ok(Framing::Length(1), false),
            ),
            ("HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n", ok(Framing::Length(1), false)),
            (
                "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\n",
                ok(Framing::Length(1), true),
            ),
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", Err("two lengths")),
            ("HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\n", Err("no number")),
            ("HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\n", Err("no number")),
            ("HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n", Err("no number")),
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", Err("both")),
            ("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", Err("HTTP/1.0")),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", Err("other than chunked")),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
                Err("other than"),
            ),
            ("HTTP/1.1 200 OK\r\nA: b\r\n folded\r\n\r\n", Err("not valid HTTP")),
            ("HTTP/1.1 200 OK\r\nA : b\r\n\r\n", Err("not valid HTTP")),
            ("HTTP/2 200 OK\r\n\r\n", Err("not valid HTTP")),
            ("HTTP/1.1 99 Odd\r\n\r\n", Err("not valid HTTP")),
            ("SSH-2.0-OpenSSH_9.2\r\n", Err("not valid HTTP")),
        ] {
            match (parse_text(head), expected) {
                (Ok(Some(seen)), Ok(expected)) => {
                    assert_eq!((seen.framing, seen.keep_alive), expected, "{head:?}")
                }
                (Err(e), Err(part)) => assert!(e.contains(part), "{head:?}: {e}"),
                (seen, _) => panic!("{head:?}: {seen:?}"),
            }
        }
    }

    #[test]
    fn an_incomplete_head_waits_and_an_endless_one_is_refused() {
        assert!(parse_text("HTTP/1.1 200 OK\r\nA: b\r\n").unwrap().is_none());
        let endless = format!("HTTP/1.1 200 OK\r\nA: {}", "x".repeat(2000));
        assert_eq!(parse_text(&endless).unwrap_err(), "the answer's head is too large");
        let fields: String = (0..300).map(|i| format!("a{i}: b\r\n")).collect();
        let many = format!("HTTP/1.1 200 OK\r\n{fields}\r\n");
        let error = parse(&mut BytesMut::from(&*many), &Method::GET, 65536).unwrap_err();
        assert_eq!(error, "the answer has too many header fields");
    }

    #[test]
    fn more_fields_than_usual_still_come_through() {
        let fields: String = (0..200).map(|i| format!("a{i}: b\r\n")).collect();
        let text = format!("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n{fields}\r\n");
        let head = parse(&mut BytesMut::from(&*text), &Method::GET, 65536).unwrap().unwrap();
        assert_eq!(head.response.headers().len(), 201);
    }

    #[test]
    fn hop_by_hop_headers_go_and_end_to_end_ones_stay_even_when_nominated() {
        let head = parse_text(
            "HTTP/1.1 200 OK\r\nConnection: x-secret, set-cookie\r\nX-Secret: 1\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n\
             Keep-Alive: timeout=5\r\nContent-Length: 1\r\n\r\n",
        )
        .unwrap()
        .unwrap();
        let headers = head.response.headers();
        let mut names: Vec<_> = headers.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        assert_eq!(names, ["content-length", "set-cookie", "set-cookie"]);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&mut BytesMut::from(&*bytes), &Method::GET, 256);
            let mut after = BytesMut::from("HTTP/1.1 200 OK\r\n");
            after.extend_from_slice(&bytes);
            let _ = parse(&mut after, &Method::GET, 256);
        }
    }
}
