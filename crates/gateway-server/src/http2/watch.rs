//! What the h2 crate answers by itself: requests that never come to be one, and the end of connections.
//!
//! It says nothing of them but to the client. So the frames that pass are looked at, as far as it takes to know which
//! requests begin, and which of them are refused or reset before they were handed over.

use gateway_core::{Code, Problem};
use h2::Reason;
use std::collections::VecDeque;

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
/// The flag of the frame that a head ends with.
const END_HEADERS: u8 = 4;
/// How the h2 crate explains to a client that its head is far too large.
const TOO_LARGE: [&[u8]; 2] = [b"header_list_way_too_large", b"too_many_continuations"];
/// The least bytes that a target beyond 65,534 of them, the most that it takes for one, is packed into (RFC 7541: five
/// bits for each).
const LONG_TARGET: usize = 65_535 * 5 / 8;
/// How many heads are remembered. More are there only if nobody takes them, such as those that come after GOAWAY.
const MAX_HEADS: usize = 256;

/// Watches one connection.
#[derive(Debug)]
pub(super) struct Watch {
    input: Frames,
    output: Frames,
    /// The latest stream that the client has opened.
    latest: u32,
    /// How far the head is that came last.
    head: Progress,
    /// Requests that were not handed over yet.
    heads: VecDeque<Head>,
    /// How the connection is ended, if for what the client did.
    ended: Option<Problem>,
}

/// How far a request's head has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// It is there; so are trailers, which are their body's affair.
    Whole,
    /// Its last frame has begun.
    Last,
    /// Further frames are to come.
    More,
}

#[derive(Debug)]
struct Head {
    stream: u32,
    /// As it came, packed.
    size: usize,
    refused: Option<Refused>,
}

#[derive(Clone, Copy, Debug)]
enum Refused {
    /// By an answer: there is only one.
    TooLarge,
    Reset(Reason),
}

impl Watch {
    /// A connection that begins with the client's preface.
    pub(super) fn new() -> Self {
        Self {
            input: Frames::after(crate::http1::HTTP2_PREFACE.len()),
            output: Frames::after(0),
            latest: 0,
            head: Progress::Whole,
            heads: VecDeque::new(),
            ended: None,
        }
    }

    /// So much came from the client.
    pub(super) fn read(&mut self, bytes: &[u8]) {
        let Self { input, latest, head, heads, .. } = self;
        input.pass(bytes, |frame| match frame.kind {
            HEADERS if frame.stream > *latest => {
                *latest = frame.stream;
                *head = frame.progress();
                if heads.len() == MAX_HEADS {
                    heads.pop_front();
                }
                heads.push_back(Head { stream: frame.stream, size: frame.length, refused: None });
            }
            CONTINUATION => {
                if *head == Progress::More {
                    *head = frame.progress();
                }
                if let Some(head) = heads.back_mut().filter(|head| head.stream == frame.stream) {
                    head.size += frame.length;
                }
            }
            // It does not want to know.
            RST_STREAM => heads.retain(|head| head.stream != frame.stream),
            _ => {}
        });
        if *head == Progress::Last && input.skip == 0 {
            *head = Progress::Whole;
        }
    }

    /// Whether a request's head has begun and is not there. Nothing else can come before the rest of it does.
    pub(super) fn is_within_head(&self) -> bool {
        self.head != Progress::Whole
    }

    /// So much went to the client.
    pub(super) fn written(&mut self, bytes: &[u8]) {
        let Self { output, heads, ended, .. } = self;
        output.pass(bytes, |frame| {
            let refused = match frame.kind {
                HEADERS => Refused::TooLarge,
                RST_STREAM => Refused::Reset(frame.reason(0)),
                GOAWAY => {
                    if frame.reason(4) != Reason::NO_ERROR {
                        ended.get_or_insert_with(|| end(frame));
                    }
                    return;
                }
                _ => return,
            };
            if let Some(head) = heads.iter_mut().find(|head| head.stream == frame.stream) {
                head.refused.get_or_insert(refused);
            }
        });
    }

    /// This request was handed over: what becomes of it is known.
    pub(super) fn handed_over(&mut self, stream: u32) {
        self.heads.retain(|head| head.stream != stream);
    }

    /// What the client was refused meanwhile, once all requests were handed over that can be.
    pub(super) fn refused(&mut self) -> Vec<Problem> {
        let mut all: Vec<_> = self.ended.take().into_iter().collect();
        self.heads.retain(|head| {
            all.extend(head.problem());
            head.refused.is_none()
        });
        all
    }
}

impl Head {
    fn problem(&self) -> Option<Problem> {
        match self.refused? {
            Refused::TooLarge => Some(Problem::new(Code::HeadersTooLarge)),
            // More streams at once than it may: as it was told, none of them was looked at.
            Refused::Reset(Reason::REFUSED_STREAM) => None,
            Refused::Reset(Reason::PROTOCOL_ERROR) if self.size >= LONG_TARGET => {
                Some(Problem::new(Code::UriTooLong))
            }
            Refused::Reset(reason) => {
                let detail = format!("it is no request: the HTTP/2 stream is reset ({reason:?})");
                Some(Problem::new(Code::BadRequest).with_detail(detail))
            }
        }
    }
}

fn end(frame: &Frame<'_>) -> Problem {
    if frame.payload.get(8..).is_some_and(|why| TOO_LARGE.contains(&why)) {
        return Problem::new(Code::HeadersTooLarge);
    }
    let detail = format!("the HTTP/2 connection is ended ({:?})", frame.reason(4));
    Problem::new(Code::BadRequest).with_detail(detail)
}

/// The head of a frame, and what is of interest of the rest (RFC 9113 §4.1).
struct Frame<'a> {
    length: usize,
    kind: u8,
    flags: u8,
    stream: u32,
    payload: &'a [u8],
}

impl Frame<'_> {
    /// How far the head is once all of this frame has come.
    fn progress(&self) -> Progress {
        if self.flags & END_HEADERS == 0 { Progress::More } else { Progress::Last }
    }

    /// The reason that stands there in its payload.
    fn reason(&self, at: usize) -> Reason {
        let four = self.payload.get(at..).and_then(|rest| rest.first_chunk());
        four.map_or(Reason::NO_ERROR, |four| u32::from_be_bytes(*four).into())
    }
}

/// Finds frames in what passes by.
#[derive(Debug)]
struct Frames {
    /// How much is to be passed over before the next.
    skip: usize,
    /// What came of it.
    part: [u8; Self::MOST],
    length: usize,
}

impl Frames {
    const HEAD: usize = 9;
    /// With as much of a payload as is looked at.
    const MOST: usize = Self::HEAD + 8 + 25;

    fn after(skip: usize) -> Self {
        Self { skip, part: [0; Self::MOST], length: 0 }
    }

    fn pass(&mut self, mut bytes: &[u8], mut seen: impl FnMut(&Frame<'_>)) {
        while !bytes.is_empty() {
            if self.skip > 0 {
                let here = self.skip.min(bytes.len());
                self.skip -= here;
                bytes = &bytes[here..];
                continue;
            }
            let wanted = self.wanted();
            let here = (wanted - self.length).min(bytes.len());
            self.part[self.length..self.length + here].copy_from_slice(&bytes[..here]);
            self.length += here;
            bytes = &bytes[here..];
            if self.length < wanted || self.wanted() > wanted {
                continue;
            }
            let [a, b, c, kind, flags, d, e, f, g, ..] = self.part;
            let length = u32::from_be_bytes([0, a, b, c]) as usize;
            let stream = u32::from_be_bytes([d, e, f, g]) & 0x7fff_ffff;
            seen(&Frame { length, kind, flags, stream, payload: &self.part[Self::HEAD..self.length] });
            self.skip = length - (self.length - Self::HEAD);
            self.length = 0;
        }
    }

    /// How much of it is to be gathered, as far as that is known.
    fn wanted(&self) -> usize {
        let [a, b, c, kind, ..] = self.part;
        if self.length < Self::HEAD || !matches!(kind, RST_STREAM | GOAWAY) {
            return Self::HEAD;
        }
        (Self::HEAD + u32::from_be_bytes([0, a, b, c]) as usize).min(Self::MOST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What is seen of bytes that come in such pieces.
    fn seen(mut bytes: &[u8], pieces: &[usize]) -> Vec<(usize, u8, u32, Vec<u8>)> {
        let (mut frames, mut all) = (Frames::after(0), Vec::new());
        let mut note = |frame: &Frame<'_>| {
            all.push((frame.length, frame.kind, frame.stream, frame.payload.to_vec()));
        };
        for piece in pieces {
            let (now, later) = bytes.split_at((*piece).min(bytes.len()));
            frames.pass(now, &mut note);
            bytes = later;
        }
        frames.pass(bytes, &mut note);
        all
    }

    proptest! {
        #[test]
        fn frames_are_seen_alike_however_they_are_cut(
            frames in prop::collection::vec((0_u8..12, any::<u32>(), prop::collection::vec(any::<u8>(), 0..80)), 0..12),
            pieces in prop::collection::vec(0_usize..40, 0..40),
        ) {
            let mut wire = Vec::new();
            for (kind, stream, payload) in &frames {
                wire.extend([0, 0, payload.len() as u8, *kind, 0]);
                wire.extend(stream.to_be_bytes());
                wire.extend(payload);
            }
            let whole = seen(&wire, &[]);
            prop_assert_eq!(&seen(&wire, &pieces), &whole);
            prop_assert_eq!(whole.len(), frames.len());
            for ((kind, stream, payload), seen) in frames.iter().zip(&whole) {
                prop_assert_eq!((payload.len(), *kind, stream & 0x7fff_ffff), (seen.0, seen.1, seen.2));
                prop_assert!(payload.starts_with(&seen.3));
            }
        }

        #[test]
        fn whatever_comes_is_taken(bytes in prop::collection::vec(any::<u8>(), 0..400), pieces in prop::collection::vec(0_usize..40, 0..20)) {
            let mut watch = Watch::new();
            let mut rest = &bytes[..];
            for piece in pieces {
                let (now, later) = rest.split_at(piece.min(rest.len()));
                watch.read(now);
                watch.written(now);
                rest = later;
            }
            watch.refused();
        }
    }
}
