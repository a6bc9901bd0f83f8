//! The memory of heads that were used up, kept for the next ones.
//!
//! Every request and every answer needs a header map, and nearly every request a map of extensions: to make and to free
//! them is most of what a head costs the allocator. Whoever is done with one may give it back here; whoever begins one
//! takes it from here. Nothing depends on either: what is not given back is freed, what is not there is made.

use http::{Extensions, HeaderMap, request};
use std::cell::RefCell;

/// How many maps a thread keeps: as many as requests are mostly on their way at once.
const KEPT: usize = 32;
/// The most fields that a map has room for to be kept, so that one large head does not hold its memory for ever.
const ROOM: usize = 48;

#[derive(Default)]
struct Spare {
    headers: Vec<HeaderMap>,
    extensions: Vec<Extensions>,
}

thread_local! {
    static SPARE: RefCell<Spare> = RefCell::default();
}

/// An empty header map with room for so many fields.
///
/// ```
/// use gateway_core::spare;
/// use http::{HeaderValue, header::HOST};
///
/// let mut headers = spare::headers(8);
/// headers.insert(HOST, HeaderValue::from_static("shop.example"));
/// spare::give_headers(headers);
/// assert!(spare::headers(8).is_empty());
/// ```
#[must_use]
pub fn headers(room: usize) -> HeaderMap {
    let spare = SPARE.try_with(|spare| spare.borrow_mut().headers.pop());
    let mut headers = spare.ok().flatten().unwrap_or_default();
    headers.reserve(room);
    headers
}

/// Empty extensions.
#[must_use]
pub fn extensions() -> Extensions {
    let spare = SPARE.try_with(|spare| spare.borrow_mut().extensions.pop());
    spare.ok().flatten().unwrap_or_default()
}

/// Takes a header map that is of no more use. What is in it is dropped now.
pub fn give_headers(mut headers: HeaderMap) {
    // The further values of a field that is there many times have memory of their own, which the capacity does not tell.
    if !(1..=ROOM).contains(&headers.capacity()) || headers.len() > ROOM {
        return;
    }
    // Before the thread's own are borrowed: values may be anything.
    headers.clear();
    let _ = SPARE.try_with(|spare| {
        let kept = &mut spare.borrow_mut().headers;
        if kept.len() < KEPT {
            kept.push(headers);
        }
    });
}

/// Takes what a request's head holds, which is of no more use. It is dropped now.
pub fn give_request(head: &mut request::Parts) {
    give_headers(std::mem::take(&mut head.headers));
    let mut extensions = std::mem::take(&mut head.extensions);
    // Those that never held anything have no memory.
    if extensions.is_empty() {
        return;
    }
    extensions.clear();
    let _ = SPARE.try_with(|spare| {
        let kept = &mut spare.borrow_mut().extensions;
        if kept.len() < KEPT {
            kept.push(extensions);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderValue, Request, header};

    #[test]
    fn what_was_given_back_is_empty_and_keeps_its_room() {
        let mut request = Request::get("/").header("host", "a").header("x-long", "b").body(()).unwrap();
        request.headers_mut().reserve(20);
        request.extensions_mut().insert(7_u32);
        give_request(&mut request.into_parts().0);
        let map = headers(1);
        assert!(map.is_empty() && map.capacity() >= 20, "{} fields have room", map.capacity());
        assert!(extensions().get::<u32>().is_none());
    }

    #[test]
    fn a_large_head_s_memory_is_not_kept() {
        give_headers(HeaderMap::with_capacity(1000));
        let mut repeated = HeaderMap::new();
        for _ in 0..100 {
            repeated.append(header::ACCEPT, HeaderValue::from_static("a"));
        }
        give_headers(repeated);
        assert_eq!(headers(0).capacity(), 0);
    }

    #[test]
    fn no_more_is_kept_than_is_of_use() {
        for _ in 0..3 * KEPT {
            let mut map = HeaderMap::with_capacity(4);
            map.insert(header::HOST, HeaderValue::from_static("a"));
            give_headers(map);
        }
        SPARE.with_borrow(|spare| assert_eq!(spare.headers.len(), KEPT));
    }
}
