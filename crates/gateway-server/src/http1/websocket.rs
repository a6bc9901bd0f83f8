//! Where one WebSocket frame ends and the next begins, so that a tunnel can be ended in words the client understands.

use bytes::Bytes;

/// Close, with the status 1001 "going away" (RFC 6455 §5.5.1, §7.4.1); servers do not mask.
pub(crate) const GOING_AWAY: &[u8] = &[0x88, 0x02, 0x03, 0xe9];

const OPCODE: u8 = 0x0f;
const CLOSE: u8 = 0x08;
const MASKED: u8 = 0x80;
/// Opcode and length, a length of eight bytes more, a mask.
const MAX_HEADER: usize = 14;

/// Follows the frames that go by (RFC 6455 §5.2), looking at nothing but their headers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Frames {
    header: [u8; MAX_HEADER],
    /// How much of a header was seen. None between frames, and within a payload.
    seen: usize,
    /// What is left of the payload.
    left: u64,
    closes: bool,
}

impl Frames {
    pub(crate) fn is_between_frames(&self) -> bool {
        self.seen == 0 && self.left == 0
    }

    /// Whether a Close frame has gone by: the last one there is.
    pub(crate) fn has_closed(&self) -> bool {
        self.closes && self.is_between_frames()
    }

    /// Lets bytes go by.
    pub(crate) fn pass(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let took = self.pass_frame(bytes);
            bytes = &bytes[took..];
        }
    }

    /// Lets bytes go by as far as the end of the frame under way. Says how many that were: none between frames.
    pub(crate) fn pass_rest(&mut self, bytes: &Bytes) -> usize {
        if self.is_between_frames() { 0 } else { self.pass_frame(bytes) }
    }

    /// Takes one frame, or as much of it as is there.
    fn pass_frame(&mut self, bytes: &[u8]) -> usize {
        let mut took = 0;
        while self.left == 0 {
            let Some(byte) = bytes.get(took) else { return took };
            self.header[self.seen] = *byte;
            self.seen += 1;
            took += 1;
            if let Some(length) = payload_length(&self.header[..self.seen]) {
                self.closes |= self.header[0] & OPCODE == CLOSE;
                self.seen = 0;
                self.left = length;
                if length == 0 {
                    return took;
                }
            }
        }
        let here = usize::try_from(self.left).map_or(bytes.len() - took, |left| left.min(bytes.len() - took));
        self.left -= here as u64;
        took + here
    }
}

/// The payload's length, once the header is complete.
fn payload_length(header: &[u8]) -> Option<u64> {
    let second = *header.get(1)?;
    let mask = if second & MASKED != 0 { 4 } else { 0 };
    let (extended, length) = match second & !MASKED {
        126 => (2, u64::from(u16::from_be_bytes(header.get(2..4)?.try_into().ok()?))),
        127 => (8, u64::from_be_bytes(header.get(2..10)?.try_into().ok()?)),
        short => (0, u64::from(short)),
    };
    (header.len() == 2 + extended + mask).then_some(length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frame(opcode: u8, length: usize, masked: bool) -> Vec<u8> {
        let mask = if masked { MASKED } else { 0 };
        let mut frame = vec![0x80 | opcode];
        match length {
            0..126 => frame.push(mask | length as u8),
            126..65536 => {
                frame.push(mask | 126);
                frame.extend((length as u16).to_be_bytes());
            }
            _ => {
                frame.push(mask | 127);
                frame.extend((length as u64).to_be_bytes());
            }
        }
        if masked {
            frame.extend([1, 2, 3, 4]);
        }
        frame.resize(frame.len() + length, 0x88);
        frame
    }

    #[test]
    fn a_close_frame_is_noticed_when_it_is_complete() {
        let mut frames = Frames::default();
        frames.pass(&frame(2, 1000, false));
        assert!(!frames.has_closed() && frames.is_between_frames());
        frames.pass(&GOING_AWAY[..3]);
        assert!(!frames.has_closed());
        frames.pass(&GOING_AWAY[3..]);
        assert!(frames.has_closed());
    }

    proptest! {
        #[test]
        fn however_the_bytes_are_cut_frames_end_where_they_end(
            lengths in prop::collection::vec(prop_oneof![0usize..130, 65_530usize..65_540], 1..6),
            opcode in 0u8..3,
            masked: bool,
            cuts in prop::collection::vec(1usize..5000, 1..50),
        ) {
            let mut ends = vec![0];
            let mut wire = Vec::new();
            for length in lengths {
                wire.extend(frame(opcode, length, masked));
                ends.push(wire.len());
            }
            let (mut frames, mut at) = (Frames::default(), 0);
            for cut in cuts.iter().cycle() {
                let next = (at + cut).min(wire.len());
                frames.pass(&wire[at..next]);
                at = next;
                prop_assert_eq!(frames.is_between_frames(), ends.contains(&at), "at {}", at);
                prop_assert!(!frames.has_closed());
                if at == wire.len() {
                    break;
                }
            }
        }

        #[test]
        fn the_rest_of_a_frame_ends_with_the_frame(
            first in 0usize..70_000,
            second in 0usize..200,
            cut in 1usize..70_000,
        ) {
            let mut wire = frame(1, first, false);
            let (end, cut) = (wire.len(), cut.min(wire.len()));
            wire.extend(frame(1, second, false));
            let mut frames = Frames::default();
            frames.pass(&wire[..cut]);
            prop_assert_eq!(frames.pass_rest(&Bytes::copy_from_slice(&wire[cut..])), end - cut);
            prop_assert!(frames.is_between_frames());
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            Frames::default().pass(&bytes);
        }
    }
}
