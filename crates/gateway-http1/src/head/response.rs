use super::{FEW_FIELDS, Framing, MORE_FIELDS, SPANS, Spans, field, note};
use crate::fields::{content_length, is_hop_by_hop, nominated_name, tokens};
use bytes::BytesMut;
use gateway_core::spare;
use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING, UPGRADE};
use http::{Method, Response, StatusCode};
use std::mem::MaybeUninit;

const MAX_FIELDS: usize = 256;

/// An answer without its body, and what its head says about the connection.
#[derive(Debug)]
pub struct ResponseHead {
    /// Status and headers, without those that are for this connection only.
    pub response: Response<()>,
    /// Where its body ends.
    pub framing: Framing,
    /// Whether the connection may be used again after the body.
    pub keep_alive: bool,
    /// Whether silence is normal in this body.
    pub event_stream: bool,
}

struct Parsed {
    length: usize,
    status: u16,
    http_10: bool,
}

/// Parses the head at the start of `buffer` and takes it out; `None` while it is incomplete.
///
/// # Errors
/// What is wrong with the answer to this `method`.
pub fn parse_response(
    buffer: &mut BytesMut,
    method: &Method,
    max_head: usize,
) -> Result<Option<ResponseHead>, &'static str> {
    SPANS.with_borrow_mut(|spans| {
        let mut few = [const { MaybeUninit::<httparse::Header<'_>>::uninit() }; FEW_FIELDS];
        let parsed = match scan(buffer, &mut few, spans) {
            Err(httparse::Error::TooManyHeaders) => {
                let mut many = vec![MaybeUninit::uninit(); MAX_FIELDS];
                scan(buffer, &mut many, spans)
            }
            parsed => parsed,
        };
        let parsed = match parsed {
            Ok(Some(parsed)) if parsed.length <= max_head => parsed,
            Ok(None) if buffer.len() < max_head => return Ok(None),
            Ok(_) => return Err("the answer's head is too large"),
            Err(httparse::Error::TooManyHeaders) => return Err("the answer has too many header fields"),
            Err(_) => return Err("the answer is not valid HTTP"),
        };
        take(buffer, &parsed, spans, method).map(Some)
    })
}

fn scan<'b>(
    buffer: &'b [u8],
    fields: &mut [MaybeUninit<httparse::Header<'b>>],
    spans: &mut Spans,
) -> Result<Option<Parsed>, httparse::Error> {
    let mut answer = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    let length = match config.parse_response_with_uninit_headers(&mut answer, buffer, fields)? {
        httparse::Status::Complete(length) => length,
        httparse::Status::Partial => return Ok(None),
    };
    note(spans, buffer, answer.headers);
    Ok(Some(Parsed { length, status: answer.code.unwrap_or(0), http_10: answer.version == Some(0) }))
}

fn take(
    buffer: &mut BytesMut,
    parsed: &Parsed,
    fields: &Spans,
    method: &Method,
) -> Result<ResponseHead, &'static str> {
    let Parsed { length, status, http_10 } = *parsed;
    let head = buffer.split_to(length).freeze();
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::from_u16(status).map_err(|_| "the answer's status is not valid")?;
    *response.headers_mut() = spare::headers(fields.len() + MORE_FIELDS);
    let headers = response.headers_mut();

    let mut said: Option<u64> = None;
    let (mut chunked, mut close, mut keep, mut event_stream) = (false, false, false, false);
    let mut nominated = Vec::new();
    for at in fields {
        let (name, value) = field(&head, *at).ok_or("the answer has a header that is not valid")?;
        if name == CONTENT_LENGTH {
            let length = content_length(&value).ok_or("the answer's content length is no number")?;
            if said.is_some_and(|other| other != length) {
                return Err("the answer has two lengths");
            }
            if said.replace(length).is_some() {
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
                    keep = true;
                } else {
                    nominated.extend(nominated_name(token));
                }
            }
            continue;
        } else if name == CONTENT_TYPE {
            event_stream = value.as_bytes().starts_with(b"text/event-stream");
        } else if is_hop_by_hop(name.as_str()) && !(name == UPGRADE && status == 101) {
            continue;
        }
        headers.append(name, value);
    }
    if chunked && (said.is_some() || http_10) {
        return Err("the answer has both a length and a transfer encoding, or chunks in HTTP/1.0");
    }
    for name in nominated.into_iter().filter(|name| name != UPGRADE || status != 101) {
        headers.remove(name);
    }

    let bodiless = *method == Method::HEAD || matches!(status, 100 | 102..=199 | 204 | 304);
    let framing = match (bodiless, chunked, said) {
        _ if status == 101 => Framing::UntilClose,
        (true, _, _) | (false, false, Some(0)) => Framing::None,
        (false, true, _) => Framing::Chunked,
        (false, false, Some(length)) => Framing::Length(length),
        (false, false, None) => Framing::UntilClose,
    };
    // A body that cannot be there may come all the same, and would be taken for the next answer.
    let overfull = status == 204 && (chunked || said.is_some_and(|length| length > 0));
    // Who says both, closes (RFC 9112 §9.3).
    let stays = !close && (keep || !http_10);
    let keep_alive = stays && !overfull && framing != Framing::UntilClose;
    Ok(ResponseHead { response, framing, keep_alive, event_stream })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse_text(text: &str) -> Result<Option<ResponseHead>, &'static str> {
        parse_response(&mut BytesMut::from(text), &Method::GET, 1024)
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
            ("HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", ok(Framing::None, true)),
            ("HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", ok(Framing::None, false)),
            ("HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n", ok(Framing::None, false)),
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
            (
                "HTTP/1.1 200 OK\r\nConnection: close\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\n",
                ok(Framing::Length(1), false),
            ),
            (
                "HTTP/1.0 200 OK\r\nConnection: close, keep-alive\r\nContent-Length: 1\r\n\r\n",
                ok(Framing::Length(1), false),
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
        let error = parse_response(&mut BytesMut::from(&*many), &Method::GET, 65536).unwrap_err();
        assert_eq!(error, "the answer has too many header fields");
    }

    #[test]
    fn more_fields_than_usual_still_come_through() {
        let fields: String = (0..200).map(|i| format!("a{i}: b\r\n")).collect();
        let text = format!("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n{fields}\r\n");
        let head = parse_response(&mut BytesMut::from(&*text), &Method::GET, 65536).unwrap().unwrap();
        assert_eq!(head.response.headers().len(), 201);
    }

    #[test]
    fn hop_by_hop_headers_go_and_end_to_end_ones_stay_even_when_nominated() {
        let head = parse_text(
            "HTTP/1.1 200 OK\r\nConnection: x-secret, set-cookie\r\nX-Secret: 1\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n\
             Keep-Alive: timeout=5\r\nProxy-Authenticate: Basic\r\nContent-Length: 1\r\n\r\n",
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
            let _ = parse_response(&mut BytesMut::from(&*bytes), &Method::GET, 256);
            let mut after = BytesMut::from("HTTP/1.1 200 OK\r\n");
            after.extend_from_slice(&bytes);
            let _ = parse_response(&mut after, &Method::GET, 256);
        }
    }
}
