use super::{FEW_FIELDS, Framing, MORE_FIELDS, SPANS, Span, Spans, field, note};
use crate::fields::{content_length, tokens};
use bytes::{Buf, Bytes, BytesMut};
use gateway_core::spare;
use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, HeaderValue, TRANSFER_ENCODING, UPGRADE};
use http::{Method, Request, Uri, Version};
use std::mem::MaybeUninit;

/// A request without its body, and what its head says about the connection.
#[derive(Debug)]
pub struct RequestHead {
    /// Method, target, version and all header fields as they came.
    pub request: Request<()>,
    /// Where its body ends.
    pub framing: Framing,
    /// Whether the client will use the connection again.
    pub keep_alive: bool,
    /// Whether the client waits for `100 Continue` before it sends its body.
    pub expects_continue: bool,
    /// The protocol it would change to, such as `websocket` (RFC 9110 §7.8). `h2c` is not one: RFC 9113 dropped it.
    pub upgrade: Option<HeaderValue>,
}

/// Why bytes are no request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestError {
    /// Not HTTP/1, or ambiguous; says how.
    Malformed(&'static str),
    /// The target is longer than the limit of a head, or than 65,534 bytes.
    TargetTooLong,
    /// The head is larger than its limit, or has more fields.
    HeadTooLarge,
}

/// Where more than this of a body came with its head, the head is copied: it lasts until the answer, and the memory of the
/// body, which has passed on by then, is to be used again while the processor has it in its cache.
const APART: usize = 4096;

struct Parsed {
    length: usize,
    method: Span,
    target: Span,
    http_10: bool,
}

/// Parses the head at the start of `buffer` and takes it out; `None` while it is incomplete.
///
/// Strict where others may read the same bytes differently: every line ends in CRLF, no folded fields, no space
/// before a colon, one length or one `chunked` and never both (RFC 9112 §2.2, §5, §6).
///
/// # Errors
/// What is wrong with it. The connection is of no further use then.
pub fn parse_request(
    buffer: &mut BytesMut,
    max_head: usize,
    max_fields: usize,
) -> Result<Option<RequestHead>, RequestError> {
    SPANS.with_borrow_mut(|spans| {
        let mut few = [const { MaybeUninit::<httparse::Header<'_>>::uninit() }; FEW_FIELDS];
        let parsed = match scan(buffer, &mut few, spans) {
            Err(httparse::Error::TooManyHeaders) if max_fields > FEW_FIELDS => {
                let mut many = vec![MaybeUninit::uninit(); max_fields];
                scan(buffer, &mut many, spans)
            }
            parsed => parsed,
        };
        let parsed = match parsed {
            Ok(Some(parsed)) if parsed.length <= max_head && spans.len() <= max_fields => parsed,
            Ok(None) if buffer.len() < max_head => return Ok(None),
            Ok(None) if !buffer.trim_ascii_start().contains(&b'\n') => {
                return Err(RequestError::TargetTooLong);
            }
            Ok(Some(Parsed { target, .. })) if (target.end - target.start) as usize > max_head / 2 => {
                return Err(RequestError::TargetTooLong);
            }
            Ok(_) | Err(httparse::Error::TooManyHeaders) => return Err(RequestError::HeadTooLarge),
            Err(error) => return Err(RequestError::Malformed(words(error))),
        };
        take(buffer, &parsed, spans).map(Some)
    })
}

fn words(error: httparse::Error) -> &'static str {
    match error {
        httparse::Error::HeaderName => "the request has a header name that is not valid",
        httparse::Error::HeaderValue => "the request has a header value that is not valid",
        httparse::Error::NewLine => "the request has a line that does not end in CRLF",
        httparse::Error::Token => "the request line is not valid",
        httparse::Error::Version => "the request's version is not HTTP/1.0 or HTTP/1.1",
        _ => "the request is not valid HTTP",
    }
}

fn scan<'b>(
    buffer: &'b [u8],
    fields: &mut [MaybeUninit<httparse::Header<'b>>],
    spans: &mut Spans,
) -> Result<Option<Parsed>, httparse::Error> {
    let mut request = httparse::Request::new(&mut []);
    let length = match request.parse_with_uninit_headers(buffer, fields)? {
        httparse::Status::Complete(length) => length,
        httparse::Status::Partial => return Ok(None),
    };
    let span = |piece: Option<&str>| Span::within(buffer, piece.unwrap_or_default().as_bytes());
    note(spans, buffer, request.headers);
    Ok(Some(Parsed {
        length,
        method: span(request.method),
        target: span(request.path),
        http_10: request.version == Some(0),
    }))
}

fn take(buffer: &mut BytesMut, parsed: &Parsed, fields: &Spans) -> Result<RequestHead, RequestError> {
    use RequestError::Malformed;
    if !lines_end_in_crlf(&buffer[parsed.method.start as usize..parsed.length]) {
        return Err(Malformed(words(httparse::Error::NewLine)));
    }
    let head = if buffer.len() - parsed.length > APART {
        let head = Bytes::copy_from_slice(&buffer[..parsed.length]);
        buffer.advance(parsed.length);
        head
    } else {
        buffer.split_to(parsed.length).freeze()
    };
    let mut request = Request::new(());
    *request.method_mut() =
        Method::from_bytes(parsed.method.of(&head)).map_err(|_| Malformed("the method is not valid"))?;
    if *request.method() == Method::CONNECT {
        return Err(Malformed("CONNECT is for forward proxies"));
    }
    // `http` takes targets of up to 65,534 bytes.
    if parsed.target.end - parsed.target.start > 65_534 {
        return Err(RequestError::TargetTooLong);
    }
    // `http` cuts it off; other servers take it for a part of the path (RFC 9112 §3.2 has no such target).
    if parsed.target.of(&head).contains(&b'#') {
        return Err(Malformed("the request's target has a fragment"));
    }
    *request.uri_mut() = Uri::from_maybe_shared(parsed.target.share(&head))
        .ok()
        .filter(|uri| {
            let is_asterisk = || uri.path_and_query().is_some_and(|target| target.as_str() == "*");
            let is_origin = || parsed.target.of(&head).starts_with(b"/");
            let is_http = |s: &str| s.eq_ignore_ascii_case("http") || s.eq_ignore_ascii_case("https");
            let is_absolute = || uri.scheme_str().is_some_and(is_http) && uri.authority().is_some();
            is_origin() || is_absolute() || is_asterisk()
        })
        .ok_or(Malformed("the request's target is not valid"))?;
    if parsed.http_10 {
        *request.version_mut() = Version::HTTP_10;
    }
    *request.extensions_mut() = spare::extensions();
    *request.headers_mut() = spare::headers(fields.len() + MORE_FIELDS);
    let headers = request.headers_mut();
    let mut length: Option<u64> = None;
    let (mut chunked, mut close, mut upgrades) = (false, parsed.http_10, false);
    let (mut expects_continue, mut protocol, mut h2c) = (false, None, false);
    for at in fields {
        let (name, value) =
            field(&head, *at).ok_or(Malformed("the request has a header that is not valid"))?;
        if name == CONTENT_LENGTH {
            let said = content_length(&value).ok_or(Malformed("the content length is no number"))?;
            if length.is_some_and(|other| other != said) {
                return Err(Malformed("the request has two lengths"));
            }
            if length.replace(said).is_some() {
                continue;
            }
        } else if name == TRANSFER_ENCODING {
            if chunked || !value.as_bytes().eq_ignore_ascii_case(b"chunked") {
                return Err(Malformed("the request has a transfer encoding other than chunked"));
            }
            chunked = true;
        } else if name == CONNECTION {
            for token in tokens(&value) {
                close |= token.eq_ignore_ascii_case(b"close");
                close &= !(parsed.http_10 && token.eq_ignore_ascii_case(b"keep-alive"));
                upgrades |= token.eq_ignore_ascii_case(b"upgrade");
            }
        } else if name == EXPECT {
            expects_continue = value.as_bytes().eq_ignore_ascii_case(b"100-continue");
        } else if name == UPGRADE {
            // Also as one of several: a tunnel of HTTP/2 would pass by every policy.
            h2c |= tokens(&value).any(|token| token.eq_ignore_ascii_case(b"h2c"));
            protocol = Some(value.clone());
        }
        headers.append(name, value);
    }
    if chunked && (length.is_some() || parsed.http_10) {
        return Err(Malformed(
            "the request has both a length and a transfer encoding, or chunks in HTTP/1.0",
        ));
    }
    let framing = match (chunked, length) {
        (true, _) => Framing::Chunked,
        (false, None | Some(0)) => Framing::None,
        (false, Some(length)) => Framing::Length(length),
    };
    let upgrade = protocol.filter(|_| upgrades && !h2c && framing == Framing::None && !parsed.http_10);
    let expects_continue = expects_continue && framing != Framing::None && !parsed.http_10;
    Ok(RequestHead { request, framing, keep_alive: !close, expects_continue, upgrade })
}

/// A line feed alone ends a line for some and not for others; that is how requests are smuggled.
pub(crate) fn lines_end_in_crlf(head: &[u8]) -> bool {
    memchr::memchr_iter(b'\n', head).all(|at| at > 0 && head[at - 1] == b'\r')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<Option<RequestHead>, RequestError> {
        parse_request(&mut BytesMut::from(text), 1024, 100)
    }

    #[test]
    fn the_memory_of_a_large_body_is_not_held_by_its_head() {
        for (length, apart) in [(APART, false), (APART + 1, true)] {
            let head = format!("POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
            let mut buffer = BytesMut::from(head.as_bytes());
            buffer.extend_from_slice(&vec![b'x'; length]);
            let head = parse_request(&mut buffer, 1024, 100).unwrap().unwrap();
            assert_eq!(head.request.headers()["host"], "a");
            let body = buffer.split_to(length).freeze();
            drop(buffer);
            assert_eq!((body.len(), body.is_unique()), (length, apart));
        }
    }

    #[test]
    fn framing_is_read_as_rfc_9112_says_or_the_request_is_refused() {
        let ok = |framing, keep_alive| Ok((framing, keep_alive));
        for (head, expected) in [
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", ok(Framing::None, true)),
            ("\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", ok(Framing::None, true)),
            ("POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\n", ok(Framing::Length(5), true)),
            ("POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n", ok(Framing::None, true)),
            (
                "POST / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n",
                ok(Framing::Length(5), true),
            ),
            ("POST / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n", ok(Framing::Chunked, true)),
            ("GET / HTTP/1.1\r\nConnection: x, CLOSE\r\n\r\n", ok(Framing::None, false)),
            ("GET / HTTP/1.0\r\n\r\n", ok(Framing::None, false)),
            ("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", ok(Framing::None, true)),
            ("OPTIONS * HTTP/1.1\r\n\r\n", ok(Framing::None, true)),
            ("GET http://a/b?c HTTP/1.1\r\n\r\n", ok(Framing::None, true)),
            ("POST / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", Err("two lengths")),
            ("POST / HTTP/1.1\r\nContent-Length: 5, 5\r\n\r\n", Err("no number")),
            ("POST / HTTP/1.1\r\nContent-Length: +5\r\n\r\n", Err("no number")),
            ("POST / HTTP/1.1\r\nContent-Length: 0x5\r\n\r\n", Err("no number")),
            ("POST / HTTP/1.1\r\nContent-Length:\r\n\r\n", Err("no number")),
            ("POST / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n", Err("no number")),
            ("POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", Err("both")),
            ("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", Err("HTTP/1.0")),
            ("POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", Err("other than chunked")),
            ("POST / HTTP/1.1\r\nTransfer-Encoding: xchunked\r\n\r\n", Err("other than chunked")),
            (
                "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
                Err("other"),
            ),
            ("POST / HTTP/1.1\r\nTransfer-Encoding : chunked\r\n\r\n", Err("header name")),
            ("POST / HTTP/1.1\r\nA: b\r\n folded\r\n\r\n", Err("header name")),
            ("GET / HTTP/1.1\nHost: a\n\n", Err("CRLF")),
            ("GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n", Err("CRLF")),
            ("GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n", Err("header value")),
            ("GET / HTTP/1.1\r\nHost: a\0\r\n\r\n", Err("header value")),
            ("GET / HTTP/2.0\r\n\r\n", Err("version")),
            ("GET /\r\n\r\n", Err("not valid")),
            ("GET  / HTTP/1.1\r\n\r\n", Err("not valid")),
            ("GET a HTTP/1.1\r\n\r\n", Err("target")),
            ("GET a:80 HTTP/1.1\r\n\r\n", Err("target")),
            ("GET ftp://a/x HTTP/1.1\r\n\r\n", Err("target")),
            ("GET /a?b#c HTTP/1.1\r\n\r\n", Err("fragment")),
            ("GET ://a/x HTTP/1.1\r\n\r\n", Err("target")),
            ("CONNECT a:443 HTTP/1.1\r\n\r\n", Err("forward")),
            ("G@T / HTTP/1.1\r\n\r\n", Err("not valid")),
        ] {
            match (parse(head), expected) {
                (Ok(Some(seen)), Ok(expected)) => {
                    assert_eq!((seen.framing, seen.keep_alive), expected, "{head:?}");
                }
                (Err(RequestError::Malformed(e)), Err(part)) => assert!(e.contains(part), "{head:?}: {e}"),
                (seen, _) => panic!("{head:?}: {seen:?}"),
            }
        }
    }

    #[test]
    fn what_the_client_expects_of_the_connection_is_read() {
        let head = parse("GET /ws HTTP/1.1\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n");
        assert_eq!(head.unwrap().unwrap().upgrade.unwrap(), "websocket");
        for (head, continues) in [
            ("GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n", false),
            ("GET / HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n", false),
            ("GET / HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: websocket, H2C\r\n\r\n", false),
            ("GET / HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: h2c\r\nUpgrade: websocket\r\n\r\n", false),
            ("GET / HTTP/1.0\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", false),
            ("GET / HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: x\r\nContent-Length: 1\r\n\r\n", false),
            ("GET / HTTP/1.1\r\nExpect: 100-continue\r\n\r\n", false),
            ("GET / HTTP/1.1\r\nExpect: 100-Continue\r\nContent-Length: 1\r\n\r\n", true),
        ] {
            let seen = parse(head).unwrap().unwrap();
            assert_eq!((seen.upgrade, seen.expects_continue), (None, continues), "{head:?}");
        }
    }

    #[test]
    fn limits_are_told_apart_and_an_incomplete_head_waits() {
        assert!(parse("GET / HTTP/1.1\r\nA: b\r\n").unwrap().is_none());
        let long = "x".repeat(2000);
        assert_eq!(parse(&format!("GET /{long}")).unwrap_err(), RequestError::TargetTooLong);
        assert_eq!(parse(&format!("GET /{long} HTTP/1.1\r\n\r\n")).unwrap_err(), RequestError::TargetTooLong);
        assert_eq!(parse(&format!("GET / HTTP/1.1\r\nA: {long}")).unwrap_err(), RequestError::HeadTooLarge);
        let fields = |n: usize| (0..n).map(|i| format!("a{i}: b\r\n")).collect::<String>();
        for (n, max, fits) in [(90, 100, true), (101, 100, false), (20, 10, false), (10, 10, true)] {
            let text = format!("GET / HTTP/1.1\r\n{}\r\n", fields(n));
            let seen = parse_request(&mut BytesMut::from(&*text), 65536, max);
            assert_eq!(seen.map(|head| head.unwrap().request.headers().len()).ok(), fits.then_some(n));
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse_request(&mut BytesMut::from(&*bytes), 256, 10);
            let mut after = BytesMut::from("GET / HTTP/1.1\r\n");
            after.extend_from_slice(&bytes);
            let _ = parse_request(&mut after, 256, 10);
        }

        #[test]
        fn what_was_cut_into_pieces_is_parsed_as_the_whole(cut in 0usize..60) {
            let text = "POST /a?b HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc";
            let mut buffer = BytesMut::from(&text[..cut.min(text.len())]);
            let first = parse_request(&mut buffer, 1024, 10).unwrap();
            if first.is_none() {
                buffer.extend_from_slice(&text.as_bytes()[cut.min(text.len())..]);
                let head = parse_request(&mut buffer, 1024, 10).unwrap().unwrap();
                prop_assert_eq!(head.framing, Framing::Length(3));
                prop_assert_eq!(&buffer[..], b"abc");
            }
        }
    }
}
