//! The heads of requests and answers: parsed, checked for framing that all would read alike (RFC 9112 §6).

mod names;
mod request;
mod response;

pub(crate) use request::lines_end_in_crlf;
pub use request::{RequestError, RequestHead, parse_request};
pub use response::{ResponseHead, parse_response};

use bytes::Bytes;
use http::header::{HeaderName, HeaderValue};
use std::cell::RefCell;

/// As many header fields as nearly all heads have; more take an allocation.
const FEW_FIELDS: usize = 64;
/// Room for the fields that a gateway adds, so that its layers do not make the map grow.
const MORE_FIELDS: usize = 6;

/// How the end of a body is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is none.
    None,
    /// After this many bytes.
    Length(u64),
    /// By its chunks.
    Chunked,
    /// With the connection; answers only.
    UntilClose,
}

/// Where a piece of a head stands: positions instead of slices, so that values can share the buffer's memory.
#[derive(Clone, Copy, Debug, Default)]
struct Span {
    start: u32,
    end: u32,
}

impl Span {
    /// `piece` lies within `buffer`, or is empty. A head is far below 4 GiB.
    fn within(buffer: &[u8], piece: &[u8]) -> Self {
        if piece.is_empty() {
            return Self::default();
        }
        let start = (piece.as_ptr() as usize).wrapping_sub(buffer.as_ptr() as usize);
        Self { start: start as u32, end: (start + piece.len()) as u32 }
    }

    fn of(self, head: &[u8]) -> &[u8] {
        &head[self.start as usize..self.end as usize]
    }

    fn share(self, head: &Bytes) -> Bytes {
        head.slice(self.start as usize..self.end as usize)
    }
}

type Spans = Vec<(Span, Span)>;

thread_local! {
    /// Where the fields of the head being parsed stand, so that no head needs its own list.
    static SPANS: RefCell<Spans> = RefCell::new(Vec::with_capacity(FEW_FIELDS));
}

fn note(spans: &mut Spans, buffer: &[u8], fields: &[httparse::Header<'_>]) {
    spans.clear();
    let span = |piece: &[u8]| Span::within(buffer, piece);
    spans.extend(fields.iter().map(|field| (span(field.name.as_bytes()), span(field.value))));
}

fn field(head: &Bytes, (name, value): (Span, Span)) -> Option<(HeaderName, HeaderValue)> {
    let name = names::name(name.of(head))?;
    let value = HeaderValue::from_maybe_shared(value.share(head)).ok()?;
    Some((name, value))
}
