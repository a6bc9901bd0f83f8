//! The request on its way out: the head as bytes, the body piece by piece.

use super::connection::Connection;
use bytes::{Buf, Bytes, BytesMut};
use gateway_core::{BoxError, Upgrade};
use gateway_http1::{nominated_by, put_chunk_size, put_field, put_last_chunk, put_length, stays_behind};
use http::header::{CONNECTION, HOST, HeaderMap, HeaderName, HeaderValue, TE};
use http::request::Parts;
use http::{Method, header};
use http_body::Body;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// Writes the request line and headers. `host` takes the place of the client's own.
pub(crate) fn encode_head(
    head: &Parts,
    host: Option<&HeaderValue>,
    framing: BodyFraming,
    out: &mut BytesMut,
) {
    out.extend_from_slice(head.method.as_str().as_bytes());
    out.extend_from_slice(b" ");
    let target = head.uri.path_and_query().map_or("/", |target| target.as_str());
    // `*` stands for the server as a whole and is the one target without a slash (RFC 9112 §3.2.4).
    out.extend_from_slice(target.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\nhost: ");
    let host = host.or_else(|| head.headers.get(HOST)).map(HeaderValue::as_bytes);
    let host = host.unwrap_or_else(|| head.uri.authority().map_or("", |a| a.as_str()).as_bytes());
    out.extend_from_slice(host);
    out.extend_from_slice(b"\r\n");
    let begin = out.len();
    let mut seen = put_fields(&head.headers, &[], out);
    if seen.nominates {
        // Rare, above all behind a layer that has removed them already: worth no look-up for all others.
        let nominated = nominated_by(&head.headers);
        if !nominated.is_empty() {
            out.truncate(begin);
            seen = put_fields(&head.headers, &nominated, out);
        }
    }
    if seen.takes_trailers && framing != BodyFraming::Tunnel {
        // Whoever sends `TE` nominates it (RFC 9110 §10.1.4).
        out.extend_from_slice(b"connection: te\r\nte: trailers\r\n");
    }
    match framing {
        BodyFraming::None => {}
        BodyFraming::Tunnel => {
            if let Some(Upgrade(protocol)) = head.extensions.get() {
                out.extend_from_slice(b"connection: upgrade\r\n");
                put_field(out, &header::UPGRADE, protocol);
            }
        }
        BodyFraming::Length(length) => put_length(out, length),
        BodyFraming::Chunked => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
    }
    out.extend_from_slice(b"\r\n");
}

/// What was seen among the fields that stay behind.
struct Seen {
    /// Whether there is a `Connection`.
    nominates: bool,
    takes_trailers: bool,
}

/// Writes the fields that pass on, without those that are nominated.
fn put_fields(headers: &HeaderMap, nominated: &[HeaderName], out: &mut BytesMut) -> Seen {
    let mut seen = Seen { nominates: false, takes_trailers: false };
    for (name, value) in headers {
        if stays_behind(name.as_str()) {
            seen.nominates |= name == CONNECTION;
            seen.takes_trailers |= name == TE && asks_for_trailers(value);
        } else if !nominated.contains(name) {
            put_field(out, name, value);
        }
    }
    seen
}

/// Whether a `TE` header says that trailers are understood: the one thing in it that passes a proxy, as with Go's.
pub(crate) fn asks_for_trailers(te: &HeaderValue) -> bool {
    te.as_bytes().split(|b| *b == b',').any(|token| token.trim_ascii().eq_ignore_ascii_case(b"trailers"))
}

/// How the request's body is delimited on the wire, whatever the client used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyFraming {
    None,
    Length(u64),
    Chunked,
    /// Bytes of another protocol, sent once the upstream has agreed to it.
    Tunnel,
}

impl BodyFraming {
    pub(crate) fn of<B: Body>(head: &Parts, body: &B) -> Self {
        if head.extensions.get::<Upgrade>().is_some() {
            return Self::Tunnel;
        }
        if body.is_end_stream() {
            // A method that usually has a body says so when it has none (RFC 9110 §8.6).
            let expects_body = matches!(head.method, Method::POST | Method::PUT | Method::PATCH);
            return if expects_body || head.headers.contains_key(header::CONTENT_LENGTH) {
                Self::Length(0)
            } else {
                Self::None
            };
        }
        body.size_hint().exact().map_or(Self::Chunked, Self::Length)
    }
}

/// How much of a chunked body may wait to be written before more is taken from the client.
const MAX_LEAD: usize = 64 * 1024;

/// A body being sent: driven by whoever waits for the answer.
#[derive(Debug)]
pub(crate) struct Upload<B> {
    /// Bytes to write before `chunk`: the head, a chunk's size line, the end of the one before.
    lead: BytesMut,
    chunk: Bytes,
    body: Option<B>,
    framing: BodyFraming,
    sent: u64,
    /// Whether the end of a tunnel is still to be told.
    shut_down: bool,
    /// Whether TLS may hold something back.
    unflushed: bool,
}

#[derive(Debug)]
pub(crate) enum UploadError {
    /// The client's body broke off, or is not as long as it said.
    Body(BoxError),
    /// The upstream does not take it.
    Connection,
}

impl<B> Upload<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    pub(crate) fn new(lead: BytesMut, framing: BodyFraming, body: B) -> Self {
        let body = (!body.is_end_stream()).then_some(body);
        Self { lead, chunk: Bytes::new(), body, framing, sent: 0, shut_down: false, unflushed: false }
    }

    /// What is left of a head that no body follows yet.
    pub(crate) fn bodiless(lead: BytesMut) -> Self {
        let framing = BodyFraming::None;
        Self { lead, chunk: Bytes::new(), body: None, framing, sent: 0, shut_down: false, unflushed: false }
    }

    pub(crate) fn is_done(&self) -> bool {
        self.lead.is_empty()
            && self.chunk.is_empty()
            && self.body.is_none()
            && !self.shut_down
            && !self.unflushed
    }

    /// Sends until all is sent, or something has to be waited for.
    pub(crate) fn poll_send(
        &mut self,
        connection: &mut Connection,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), UploadError>> {
        loop {
            // The next piece first, so that it goes out in one call with what is already waiting.
            let room = self.chunk.is_empty() && self.lead.len() < MAX_LEAD;
            let waiting = room && self.body.is_some() && self.poll_fill(cx)?.is_pending();
            if self.lead.is_empty() && self.chunk.is_empty() {
                if self.unflushed {
                    ready!(connection.poll_flush(cx)).map_err(|_| UploadError::Connection)?;
                    self.unflushed = false;
                }
                if self.shut_down {
                    ready!(connection.poll_shutdown(cx)).map_err(|_| UploadError::Connection)?;
                    self.shut_down = false;
                }
                return if waiting { Poll::Pending } else { Poll::Ready(Ok(())) };
            }
            let written = connection.poll_write(cx, &self.lead, &self.chunk);
            let written = ready!(written).map_err(|_| UploadError::Connection)?;
            self.unflushed = true;
            let of_lead = written.min(self.lead.len());
            self.lead.advance(of_lead);
            self.chunk.advance(written - of_lead);
        }
    }

    /// Takes the next piece of the body, if there is one at hand.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Result<Poll<()>, UploadError> {
        let Some(body) = self.body.as_mut() else { return Ok(Poll::Ready(())) };
        loop {
            let frame = match Pin::new(&mut *body).poll_frame(cx) {
                Poll::Pending => return Ok(Poll::Pending),
                Poll::Ready(None) => {
                    self.finish(&HeaderMap::new())?;
                    return Ok(Poll::Ready(()));
                }
                Poll::Ready(Some(frame)) => frame.map_err(|e| UploadError::Body(e.into()))?,
            };
            match frame.into_data() {
                Ok(data) if data.is_empty() => {}
                Ok(data) => {
                    self.sent += data.len() as u64;
                    if let BodyFraming::Length(length) = self.framing
                        && self.sent > length
                    {
                        return Err(UploadError::Body("the request body is longer than it said".into()));
                    }
                    if self.framing == BodyFraming::Chunked {
                        put_chunk_size(&mut self.lead, data.len());
                        self.lead.extend_from_slice(&data);
                        self.lead.extend_from_slice(b"\r\n");
                    } else {
                        self.chunk = data;
                        if body.is_end_stream() {
                            self.finish(&HeaderMap::new())?;
                        }
                    }
                    return Ok(Poll::Ready(()));
                }
                Err(frame) => {
                    let trailers = frame.into_trailers().unwrap_or_default();
                    self.finish(&trailers)?;
                    return Ok(Poll::Ready(()));
                }
            }
        }
    }

    fn finish(&mut self, trailers: &HeaderMap) -> Result<(), UploadError> {
        self.body = None;
        match self.framing {
            BodyFraming::Length(length) if self.sent != length => {
                return Err(UploadError::Body("the request body is shorter than it said".into()));
            }
            BodyFraming::None | BodyFraming::Length(_) => {}
            BodyFraming::Tunnel => self.shut_down = true,
            BodyFraming::Chunked => put_last_chunk(&mut self.lead, trailers),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    fn encoded(request: Request<()>, host: Option<&str>) -> String {
        let (head, ()) = request.into_parts();
        let mut out = BytesMut::new();
        let host = host.map(|h| HeaderValue::from_str(h).unwrap());
        encode_head(&head, host.as_ref(), BodyFraming::None, &mut out);
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[test]
    fn the_head_goes_out_without_what_is_for_this_connection_only() {
        let request = Request::get("/a?b=1&b=2")
            .header("Host", "shop.example")
            .header("Connection", "keep-alive, X-Hop, Authorization, Host, X-Forwarded-For")
            .header("X-Hop", "1")
            .header("Authorization", "Bearer x")
            .header("X-Forwarded-For", "192.0.2.1")
            .header("TE", "gzip, Trailers")
            .header("Upgrade", "h2c")
            .header("Transfer-Encoding", "chunked")
            .header("Content-Length", "5")
            .header("Accept", "a")
            .header("Accept", "b")
            .body(())
            .unwrap();
        assert_eq!(
            encoded(request, None),
            "GET /a?b=1&b=2 HTTP/1.1\r\nhost: shop.example\r\nauthorization: Bearer x\r\n\
             x-forwarded-for: 192.0.2.1\r\naccept: a\r\naccept: b\r\nconnection: te\r\nte: trailers\r\n\r\n"
        );
    }

    #[test]
    fn a_change_of_protocol_is_asked_for_anew() {
        let mut request = Request::get("/ws").header("Host", "a").body(()).unwrap();
        request.extensions_mut().insert(Upgrade(HeaderValue::from_static("websocket")));
        let (head, ()) = request.into_parts();
        let mut out = BytesMut::new();
        encode_head(&head, None, BodyFraming::Tunnel, &mut out);
        assert_eq!(out, "GET /ws HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n");
    }

    #[test]
    fn the_host_can_be_the_endpoints_own() {
        let request = Request::get("/").header("Host", "shop.example").body(()).unwrap();
        assert_eq!(encoded(request, Some("10.0.0.1:80")), "GET / HTTP/1.1\r\nhost: 10.0.0.1:80\r\n\r\n");
    }
}
