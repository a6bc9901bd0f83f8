//! HTTP/1.1 on the wire, for both sides of a proxy: pure functions over buffers, without I/O.
//!
//! Strict by RFC 9112: a message that two implementations could read differently is an error, never a guess.
//! Header values share the memory of the buffer they were read into. Each thread remembers the field names that it read
//! last, as they are written, and keeps the header maps that were used up ([`gateway_core::spare`]).
//!
//! ```
//! use bytes::BytesMut;
//! use gateway_http1::{parse_request, Framing};
//!
//! let mut buffer = BytesMut::from("POST /a HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 5\r\n\r\nhello");
//! let head = parse_request(&mut buffer, 65536, 100).unwrap().expect("it is complete");
//! assert_eq!((head.request.uri().path(), head.framing), ("/a", Framing::Length(5)));
//! assert_eq!(&buffer[..], b"hello");
//! ```

mod chunked;
mod encode;
mod fields;
mod head;
mod read_size;

pub use chunked::{ChunkDecoder, Decoded};
pub use encode::{put_chunk_size, put_field, put_last_chunk, put_length};
pub use fields::{may_be_trailer, nominated_by, remove_nominated, stays_behind};
pub use head::{Framing, RequestError, RequestHead, ResponseHead, parse_request, parse_response};
pub use read_size::{READ, ReadSize};
