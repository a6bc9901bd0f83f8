//! An answer as bytes: head, framing and pieces.

use super::io::Output;
use crate::date;
use bytes::{Bytes, BytesMut};
use gateway_core::Spliced;
use gateway_http1::{put_chunk_size, put_field, put_last_chunk, put_length};
use http::header::{CONNECTION, CONTENT_LENGTH, DATE, HeaderName, TRANSFER_ENCODING, UPGRADE};
use http::response::Parts;
use http::{Response, StatusCode};
use http_body::Frame;

/// How the client finds the end of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AnswerFraming {
    /// It has no body, whatever its headers say.
    None,
    Length(u64),
    Chunked,
    /// By the end of the connection: HTTP/1.0, and tunnels.
    UntilClose,
}

/// What the answer's head depends on besides itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    pub(crate) http_10: bool,
    pub(crate) head_only: bool,
}

impl AnswerFraming {
    pub(crate) fn of(status: StatusCode, asked: Asked, exact: Option<u64>) -> Self {
        if status == StatusCode::SWITCHING_PROTOCOLS {
            return Self::UntilClose;
        }
        if asked.head_only || is_bodiless(status) {
            return Self::None;
        }
        match exact {
            Some(length) => Self::Length(length),
            None if asked.http_10 => Self::UntilClose,
            None => Self::Chunked,
        }
    }
}

/// Whether answers with this status have no body, whatever was asked.
pub(crate) fn is_bodiless(status: StatusCode) -> bool {
    status.is_informational() || status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED
}

/// Writes the head. `length` is the body's, as far as it is known. Says whether the connection is kept: as `keep_alive`
/// says, unless the service asks for it to be closed.
pub(crate) fn put_head(
    out: &mut BytesMut,
    head: &Parts,
    framing: AnswerFraming,
    length: Option<u64>,
    asked: Asked,
    mut keep_alive: bool,
) -> bool {
    put_status(out, head.status);
    let switching = head.status == StatusCode::SWITCHING_PROTOCOLS;
    // Of an answer without a body it is information about what a GET would have had (RFC 9110 §8.6).
    let keeps_length = framing == AnswerFraming::None
        && !head.status.is_informational()
        && head.status != StatusCode::NO_CONTENT;
    let (mut has_date, mut has_length) = (false, false);
    for (name, value) in &head.headers {
        if *name == CONTENT_LENGTH {
            has_length = keeps_length;
            if !keeps_length {
                continue;
            }
        } else if *name == DATE {
            has_date = true;
        } else if is_for_this_connection(name) {
            keep_alive &= *name != CONNECTION || !value.as_bytes().eq_ignore_ascii_case(b"close");
            continue;
        }
        put_field(out, name, value);
    }
    match framing {
        AnswerFraming::Length(length) => put_length(out, length),
        AnswerFraming::Chunked => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
        AnswerFraming::None if keeps_length && !has_length && asked.head_only => {
            if let Some(length) = length.filter(|length| *length > 0) {
                put_length(out, length);
            }
        }
        AnswerFraming::None | AnswerFraming::UntilClose => {}
    }
    // Upstreams date theirs (RFC 9110 §6.6.1).
    if !has_date && !switching {
        date::now(|date| put_field(out, &DATE, date));
    }
    if switching {
        out.extend_from_slice(b"connection: upgrade\r\n");
        if let Some(protocol) = head.headers.get(UPGRADE) {
            put_field(out, &UPGRADE, protocol);
        }
    } else if !keep_alive {
        out.extend_from_slice(b"connection: close\r\n");
    } else if asked.http_10 {
        out.extend_from_slice(b"connection: keep-alive\r\n");
    }
    out.extend_from_slice(b"\r\n");
    keep_alive
}

/// Writes the head of an interim answer (RFC 9110 §15.2): it has no body, and says nothing of the connection.
pub(crate) fn put_interim(out: &mut BytesMut, answer: &Response<()>) {
    put_status(out, answer.status());
    for (name, value) in answer.headers() {
        if *name != CONTENT_LENGTH && !is_for_this_connection(name) {
            put_field(out, name, value);
        }
    }
    out.extend_from_slice(b"\r\n");
}

fn put_status(out: &mut BytesMut, status: StatusCode) {
    if status == StatusCode::OK {
        out.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
        return;
    }
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status.as_str().as_bytes());
    out.extend_from_slice(b" ");
    out.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Whether a header is said to the next hop alone (RFC 9110 §7.6.1).
pub(crate) fn is_for_this_connection(name: &HeaderName) -> bool {
    *name == CONNECTION
        || *name == TRANSFER_ENCODING
        || *name == UPGRADE
        || matches!(name.as_str(), "keep-alive" | "proxy-connection")
}

/// What a piece made of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Put {
    More,
    End,
    /// More than its length, or less: the client must not take it for whole, nor its rest for another answer.
    Broken,
}

/// Notes what of the body went past the output, which was empty, and puts in what did not.
pub(crate) fn put_spliced(output: &mut Output, framing: &mut AnswerFraming, spliced: Spliced) -> Put {
    let AnswerFraming::Length(left) = framing else { return Put::Broken };
    let Some(rest) = left.checked_sub(spliced.moved) else { return Put::Broken };
    *left = rest;
    if rest == 0 && spliced.rest.is_empty() {
        return Put::End;
    }
    put_frame(output, framing, Frame::data(spliced.rest))
}

/// Puts one frame of the body into the output, which must have room.
pub(crate) fn put_frame(output: &mut Output, framing: &mut AnswerFraming, frame: Frame<Bytes>) -> Put {
    let data = match frame.into_data() {
        Ok(data) if data.is_empty() => return Put::More,
        Ok(data) => data,
        Err(frame) => match framing {
            AnswerFraming::Chunked => {
                put_last_chunk(output.end(), &frame.into_trailers().unwrap_or_default());
                return Put::End;
            }
            AnswerFraming::Length(1..) => return Put::Broken,
            AnswerFraming::Length(0) | AnswerFraming::None | AnswerFraming::UntilClose => return Put::End,
        },
    };
    match framing {
        AnswerFraming::None => {}
        AnswerFraming::UntilClose => output.put(data, b""),
        AnswerFraming::Length(left) => {
            let Some(rest) = left.checked_sub(data.len() as u64) else { return Put::Broken };
            *left = rest;
            output.put(data, b"");
            if rest == 0 {
                return Put::End;
            }
        }
        AnswerFraming::Chunked => {
            put_chunk_size(output.end(), data.len());
            output.put(data, b"\r\n");
        }
    }
    Put::More
}
