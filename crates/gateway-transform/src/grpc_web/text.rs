//! The text form's base64, piece by piece.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

/// Why a request's text is no base64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GrpcWebError {
    /// It holds something else than groups of four characters, the last ones of a group padded or not.
    #[error("the request's body is not base64, as its content type says it is")]
    NotBase64,
    /// It ends within a group of four.
    #[error("the request's base64 ends within a group of four characters")]
    CutOff,
}

/// A piece of an answer, padded to its end.
pub(super) fn encode(piece: &[u8]) -> Bytes {
    STANDARD.encode(piece).into()
}

/// Decodes base64 that is cut anywhere, and may be several padded texts put together.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Decoder {
    /// The beginning of a group whose end has not come yet.
    group: [u8; 4],
    held: usize,
}

impl Decoder {
    /// What the whole groups say that end in this piece.
    pub(super) fn decode(&mut self, mut text: &[u8]) -> Result<Bytes, GrpcWebError> {
        let mut bytes = Vec::with_capacity((self.held + text.len()) / 4 * 3);
        if self.held > 0 {
            let (start, rest) = text.split_at(text.len().min(4 - self.held));
            self.hold(start);
            if self.held < 4 {
                return Ok(Bytes::new());
            }
            put(self.group, &mut bytes)?;
            self.held = 0;
            text = rest;
        }
        let (groups, rest) = text.as_chunks();
        for group in groups {
            put(*group, &mut bytes)?;
        }
        self.hold(rest);
        Ok(bytes.into())
    }

    fn hold(&mut self, start: &[u8]) {
        self.group[self.held..self.held + start.len()].copy_from_slice(start);
        self.held += start.len();
    }

    /// Whether nothing is held that waits for the rest of its group.
    pub(super) fn is_between_groups(&self) -> bool {
        self.held == 0
    }

    /// No more text comes.
    pub(super) fn end(&mut self) -> Result<(), GrpcWebError> {
        match std::mem::take(&mut self.held) {
            0 => Ok(()),
            _ => Err(GrpcWebError::CutOff),
        }
    }
}

/// One group. A padded one may be followed by others, which no whole-text decoder takes.
fn put(group: [u8; 4], bytes: &mut Vec<u8>) -> Result<(), GrpcWebError> {
    let [a, b, c, d] = group.map(|character| VALUES[usize::from(character)]);
    let three = [a << 2 | b >> 4, b << 4 | c >> 2, c << 6 | d];
    let count = match group {
        _ if a | b | c | d < 64 => 3,
        [_, _, _, b'='] if a | b | c < 64 => 2,
        [_, _, b'=', b'='] if a | b < 64 => 1,
        _ => return Err(GrpcWebError::NotBase64),
    };
    bytes.extend_from_slice(&three[..count]);
    Ok(())
}

/// The six bits that a character stands for (RFC 4648 §4); 255 for none.
static VALUES: [u8; 256] = {
    let mut table = [u8::MAX; 256];
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut value = 0;
    while value < alphabet.len() {
        table[alphabet[value] as usize] = value as u8;
        value += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decode(pieces: &[&[u8]]) -> Result<Vec<u8>, GrpcWebError> {
        let mut decoder = Decoder::default();
        let mut bytes = Vec::new();
        for piece in pieces {
            bytes.extend(decoder.decode(piece)?);
        }
        decoder.end().map(|()| bytes)
    }

    #[test]
    fn text_is_decoded_or_refused() {
        use GrpcWebError::{CutOff, NotBase64};
        for (text, expected) in [
            ("", Ok(&b""[..])),
            ("aGk=", Ok(b"hi")),
            ("aA==aQ==", Ok(b"hi")),
            ("aGk=aGlo", Ok(b"hihih")),
            ("+/+/", Ok(b"\xfb\xff\xbf")),
            ("aGk", Err(CutOff)),
            ("aGk=aGlo0", Err(CutOff)),
            ("-_-_", Err(NotBase64)),
            ("aG k", Err(NotBase64)),
            ("a===", Err(NotBase64)),
            ("====", Err(NotBase64)),
            ("a=k=", Err(NotBase64)),
            ("aG=k", Err(NotBase64)),
            ("aGk=\r\n", Err(CutOff)),
            ("aGk=\r\n\r\n", Err(NotBase64)),
        ] {
            assert_eq!(decode(&[text.as_bytes()]), expected.map(<[u8]>::to_vec), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_encoded_in_pieces_and_cut_anywhere_is_decoded_unchanged(
            messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 0..8),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        ) {
            let text: Vec<u8> = messages.iter().flat_map(|message| encode(message)).collect();
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|cut| &text[cut[0]..cut[1]]).collect();
            prop_assert_eq!(decode(&pieces), Ok(messages.concat()));
        }

        #[test]
        fn any_text_is_decoded_as_a_whole_as_it_is_in_pieces(text in "[A-D=\\-]{0,24}", cut in 0..24_usize) {
            let text = text.as_bytes();
            let (start, end) = text.split_at(cut.min(text.len()));
            prop_assert_eq!(decode(&[start, end]), decode(&[text]));
        }
    }
}
