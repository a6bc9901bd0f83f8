//! Entries as bytes, for the second tier.
//!
//! | bytes | meaning |
//! |---|---|
//! | 1 | version, [`VERSION`] |
//! | 1 | flags: [`COMPRESSED`] |
//! | 8 | the first bytes of the SHA-256 of all that follows |
//! | … | the record, as LZ4 with its length in front if it is compressed |
//!
//! A record begins with its kind. What does not read as it should is no record: a miss.

use crate::entry::{Entry, body};
use crate::semantics::terms::Terms;
use aws_lc_rs::digest::{SHA256, digest};
use bytes::{BufMut, Bytes};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const VERSION: u8 = 1;
const COMPRESSED: u8 = 1;
const CHECKSUM: usize = 8;
/// Less is not worth it.
const COMPRESS_FROM: usize = 1024;
/// More is in no entry; what says so is not read.
const MAX_RECORD: usize = 256 << 20;

const VARY: u8 = 0;
const ENTRY: u8 = 1;

/// What is found by a key of the second tier.
#[derive(Debug)]
pub(crate) enum Record {
    /// Which headers the answers vary by: the key of each goes on with their values.
    Vary(Vec<HeaderName>),
    /// An answer.
    Entry(Box<Entry>),
}

pub(crate) fn encode_vary<'a>(names: impl Iterator<Item = &'a HeaderName>) -> Vec<u8> {
    let mut record = vec![VARY];
    let names: Vec<_> = names.collect();
    put_count(&mut record, names.len());
    names.iter().for_each(|name| put(&mut record, name.as_str().as_bytes()));
    seal(&record)
}

pub(crate) fn encode(entry: &Entry) -> Vec<u8> {
    let mut record = Vec::with_capacity(entry.size());
    record.push(ENTRY);
    put(&mut record, entry.key.as_bytes());
    put_count(&mut record, entry.url);
    record.put_u16(entry.status.as_u16());
    put_time(&mut record, entry.received.duration_since(UNIX_EPOCH).unwrap_or_default());
    let terms = &entry.terms;
    for time in [terms.lifetime, terms.initial_age, terms.stale_while_revalidate, terms.stale_if_error] {
        put_time(&mut record, time);
    }
    record.push(u8::from(terms.no_cache) | u8::from(terms.must_revalidate) << 1);
    put_count(&mut record, entry.tags.len());
    entry.tags.iter().for_each(|tag| put(&mut record, tag.as_bytes()));
    put_count(&mut record, entry.selected.len());
    for (name, value) in &entry.selected {
        put(&mut record, name.as_str().as_bytes());
        record.push(u8::from(value.is_some()));
        put(&mut record, value.as_deref().unwrap_or_default());
    }
    put_count(&mut record, entry.headers.len());
    for (name, value) in &entry.headers {
        put(&mut record, name.as_str().as_bytes());
        put(&mut record, value.as_bytes());
    }
    record.put_u64(entry.length);
    entry.body.iter().for_each(|chunk| record.extend_from_slice(chunk));
    seal(&record)
}

/// Reads what was written; `None` for anything else.
pub(crate) fn decode(bytes: &[u8]) -> Option<Record> {
    let [VERSION, flags, rest @ ..] = bytes else { return None };
    let (checksum, rest) = rest.split_at_checked(CHECKSUM)?;
    if digest(&SHA256, rest).as_ref().get(..CHECKSUM)? != checksum {
        return None;
    }
    let unpacked;
    let record = match *flags {
        0 => rest,
        COMPRESSED => {
            let length = u32::from_le_bytes(rest.get(..4)?.try_into().ok()?);
            if usize::try_from(length).ok()? > MAX_RECORD {
                return None;
            }
            unpacked = lz4_flex::block::decompress_size_prepended(rest).ok()?;
            &unpacked[..]
        }
        _ => return None,
    };
    let mut reader = Reader(record);
    let record = match reader.byte()? {
        VARY => Record::Vary((0..reader.count()?).map(|_| reader.name()).collect::<Option<_>>()?),
        ENTRY => Record::Entry(Box::new(reader.entry()?)),
        _ => return None,
    };
    reader.0.is_empty().then_some(record)
}

fn seal(record: &[u8]) -> Vec<u8> {
    let packed = (record.len() >= COMPRESS_FROM).then(|| lz4_flex::block::compress_prepend_size(record));
    let (flags, record) = match &packed {
        Some(packed) if packed.len() < record.len() => (COMPRESSED, &packed[..]),
        _ => (0, record),
    };
    let mut sealed = Vec::with_capacity(record.len() + CHECKSUM + 2);
    sealed.extend_from_slice(&[VERSION, flags]);
    sealed.extend_from_slice(&digest(&SHA256, record).as_ref()[..CHECKSUM]);
    sealed.extend_from_slice(record);
    sealed
}

fn put_count(record: &mut Vec<u8>, count: usize) {
    record.put_u32(u32::try_from(count).unwrap_or(u32::MAX));
}

fn put(record: &mut Vec<u8>, bytes: &[u8]) {
    put_count(record, bytes.len());
    record.extend_from_slice(bytes);
}

fn put_time(record: &mut Vec<u8>, time: Duration) {
    record.put_u64(u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }
    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }
    fn number(&mut self) -> Option<u64> {
        self.take(8)?.try_into().ok().map(u64::from_be_bytes)
    }
    fn count(&mut self) -> Option<usize> {
        let count = self.take(4)?.try_into().ok().map(u32::from_be_bytes)?;
        usize::try_from(count).ok()
    }
    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = self.count()?;
        self.take(length)
    }
    fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.bytes()?).ok()
    }
    fn name(&mut self) -> Option<HeaderName> {
        HeaderName::from_bytes(self.bytes()?).ok()
    }
    fn time(&mut self) -> Option<Duration> {
        self.number().map(Duration::from_millis)
    }

    fn entry(&mut self) -> Option<Entry> {
        let key = self.text()?;
        let url = self.count()?;
        key.get(..url)?;
        let status = self.take(2)?.try_into().ok().map(u16::from_be_bytes)?;
        let received: SystemTime = UNIX_EPOCH.checked_add(self.time()?)?;
        let mut terms = Terms {
            lifetime: self.time()?,
            initial_age: self.time()?,
            stale_while_revalidate: self.time()?,
            stale_if_error: self.time()?,
            ..Terms::default()
        };
        let flags = self.byte()?;
        terms.no_cache = flags & 1 != 0;
        terms.must_revalidate = flags & 2 != 0;
        let tags = (0..self.count()?).map(|_| self.text().map(Into::into)).collect::<Option<_>>()?;
        let selected = (0..self.count()?)
            .map(|_| {
                let (name, is_some) = (self.name()?, self.byte()? == 1);
                let value = self.bytes()?;
                Some((name, is_some.then(|| value.into())))
            })
            .collect::<Option<_>>()?;
        let mut headers = HeaderMap::new();
        for _ in 0..self.count()? {
            headers.try_append(self.name()?, HeaderValue::from_bytes(self.bytes()?).ok()?).ok()?;
        }
        let length = self.number()?;
        let whole = Bytes::copy_from_slice(self.take(usize::try_from(length).ok()?)?);
        Some(Entry {
            key: key.into(),
            url,
            status: StatusCode::from_u16(status).ok()?,
            headers,
            body: body(whole),
            length,
            terms,
            received,
            selected,
            tags,
            marked: AtomicBool::new(false),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entry(body: Vec<u8>) -> Entry {
        Entry {
            key: "http://a/x\0n".into(),
            url: 10,
            status: StatusCode::NOT_FOUND,
            headers: HeaderMap::from_iter([
                (http::header::VARY, HeaderValue::from_static("a")),
                (http::header::ETAG, HeaderValue::from_static("\"b\"")),
            ]),
            length: body.len() as u64,
            body: [Bytes::from(body)].into(),
            terms: Terms { lifetime: Duration::from_millis(1500), must_revalidate: true, ..Terms::default() },
            received: UNIX_EPOCH + Duration::from_millis(1_234_567),
            selected: vec![
                (HeaderName::from_static("a"), Some(b"1".as_slice().into())),
                (HeaderName::from_static("b"), None),
            ],
            tags: vec!["red".into()],
            marked: AtomicBool::new(false),
        }
    }

    proptest! {
        #[test]
        fn an_entry_reads_as_it_was_written_and_nothing_else_reads(
            body in proptest::collection::vec(0..4_u8, 0..5000), at in any::<prop::sample::Index>(), bit in 0..8_u8,
        ) {
            let written = encode(&entry(body.clone()));
            let Some(Record::Entry(read)) = decode(&written) else { panic!("it does not read") };
            let original = entry(body);
            prop_assert_eq!(read.body.concat(), original.body.concat());
            prop_assert_eq!(&read.headers, &original.headers);
            prop_assert_eq!(&read.selected, &original.selected);
            prop_assert_eq!(&read.tags, &original.tags);
            prop_assert_eq!(
                (&read.key, read.url, read.status, read.length, read.terms, read.received),
                (&original.key, original.url, original.status, original.length, original.terms, original.received)
            );
            let mut broken = written.clone();
            broken[at.index(written.len())] ^= 1 << bit;
            prop_assert!(decode(&broken).is_none());
            prop_assert!(decode(&written[..at.index(written.len())]).is_none());
        }

        #[test]
        fn anything_at_all_is_read_without_harm(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&bytes);
            let _ = decode(&seal(&bytes));
        }
    }

    #[test]
    fn what_is_large_is_compressed() {
        assert!(encode(&entry(vec![7; 100_000])).len() < 2_000);
    }
}
