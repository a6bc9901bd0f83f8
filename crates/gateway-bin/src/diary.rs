//! What the gateway says of itself on standard error, written by a thread of its own.
//!
//! Whoever reads it may be slow, have stopped or be gone, and the disk behind it may be full: none of that may hold up a
//! request or the end of the process. Lines for which there is no room are counted, and the number is told as soon as
//! lines can be written again. Of each kind of line only so many are written in a second, for what every request says
//! fills the disk.

use gateway_observe::WholeLines;
use std::collections::HashMap;
use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tracing::callsite::Identifier;
use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

/// How many bytes may wait to be written.
const ROOM: usize = 1024 * 1024;
/// How many lines of a kind, those of one place in the program, are written within [`PERIOD`].
const OF_A_KIND: u32 = 20;
const PERIOD: Duration = Duration::from_secs(1);

/// Cheap to clone; clones write to the same place.
#[derive(Clone, Debug)]
pub(crate) struct Diary(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// Told when there is something to write.
    news: Condvar,
    /// Told when all is written.
    written: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: Vec<u8>,
    writing: bool,
    /// How many lines were not written since this was last told.
    lost: u64,
    kinds: HashMap<Identifier, Kind>,
}

/// What one place in the program has said lately.
#[derive(Debug)]
struct Kind {
    since: Instant,
    lines: u32,
    /// The first line that was left out, and how many there were.
    left_out: Option<(Vec<u8>, u64)>,
}

impl Diary {
    /// Begins to write to standard error.
    ///
    /// # Errors
    /// There is no thread for it.
    pub(crate) fn begin() -> io::Result<Self> {
        let diary = Self(Arc::default());
        let shared = diary.0.clone();
        std::thread::Builder::new().name("log".to_owned()).spawn(move || shared.write_to(io::stderr()))?;
        Ok(diary)
    }

    /// Waits until all is written, for so long at most.
    pub(crate) fn flush(&self, patience: Duration) {
        let mut state = self.0.lock();
        state.settle(None);
        self.0.news.notify_one();
        let busy = |state: &mut State| state.writing || !state.waiting.is_empty();
        drop(self.0.written.wait_timeout_while(state, patience, busy));
    }

    fn say(&self, line: &[u8], kind: Option<&Identifier>, now: Instant) {
        let mut state = self.0.lock();
        if kind.is_none_or(|kind| state.may_say(kind, line, now)) {
            state.append(line);
            self.0.news.notify_one();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_to(&self, out: impl Write) {
        let mut out = WholeLines::new(out);
        loop {
            let mut state = self.lock();
            loop {
                state.settle(Some(Instant::now()));
                if !state.waiting.is_empty() {
                    break;
                }
                // What is left out asks for nobody: it is told when a period is over.
                state = self.news.wait_timeout(state, PERIOD).unwrap_or_else(PoisonError::into_inner).0;
            }
            let bytes = std::mem::take(&mut state.waiting);
            state.writing = true;
            drop(state);
            let (lost, result) = out.write(&bytes);
            let mut state = self.lock();
            state.writing = false;
            state.lost += lost;
            let lost = if result.is_ok() { std::mem::take(&mut state.lost) } else { 0 };
            self.written.notify_all();
            drop(state);
            if lost > 0 {
                tracing::warn!("{lost} lines of this log were lost: it could not be written, or not in time");
            }
        }
    }
}

impl State {
    fn append(&mut self, line: &[u8]) {
        if self.waiting.len() + line.len() > ROOM {
            self.lost += 1;
        } else {
            self.waiting.extend_from_slice(line);
        }
    }

    /// Whether a line of this kind is to be written; one that is not is counted.
    fn may_say(&mut self, kind: &Identifier, line: &[u8], now: Instant) -> bool {
        let new = || Kind { since: now, lines: 0, left_out: None };
        let kind = self.kinds.entry(kind.clone()).or_insert_with(new);
        let mut before = None;
        if now.duration_since(kind.since) >= PERIOD {
            before = std::mem::replace(kind, new()).left_out;
        }
        let may = kind.lines < OF_A_KIND;
        if may {
            kind.lines += 1;
        } else {
            kind.left_out.get_or_insert_with(|| (line.to_owned(), 0)).1 += 1;
        }
        if let Some(before) = before {
            self.tell(before);
        }
        may
    }

    /// Tells what was left out in periods that are over; in all of them without a time.
    fn settle(&mut self, now: Option<Instant>) {
        let over = |kind: &&mut Kind| now.is_none_or(|now| now.duration_since(kind.since) >= PERIOD);
        let told: Vec<_> =
            self.kinds.values_mut().filter(over).filter_map(|kind| kind.left_out.take()).collect();
        for left_out in told {
            self.tell(left_out);
        }
    }

    fn tell(&mut self, (mut line, count): (Vec<u8>, u64)) {
        if count > 1 {
            line.truncate(line.trim_ascii_end().len());
            line.extend_from_slice(format!(" ({} more like this)\n", count - 1).as_bytes());
        }
        self.append(&line);
    }
}

/// Who signs in and out is a record, and `debug` is there to see everything.
fn is_limited(metadata: &Metadata<'_>) -> bool {
    let record = *metadata.level() == Level::INFO && metadata.target().starts_with("gateway_identity");
    *metadata.level() <= Level::INFO && !record
}

/// Takes one line.
pub(crate) struct Line<'a> {
    diary: &'a Diary,
    kind: Option<Identifier>,
}

impl<'a> MakeWriter<'a> for Diary {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line { diary: self, kind: None }
    }

    fn make_writer_for(&'a self, metadata: &Metadata<'_>) -> Line<'a> {
        Line { diary: self, kind: is_limited(metadata).then(|| metadata.callsite()) }
    }
}

impl Write for Line<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.diary.say(line, self.kind.as_ref(), Instant::now());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// A place in the program.
    fn somewhere() -> Identifier {
        let span =
            tracing::subscriber::with_default(tracing_subscriber::registry(), || tracing::info_span!("a"));
        span.metadata().unwrap().callsite()
    }

    fn waiting(diary: &Diary) -> String {
        String::from_utf8(std::mem::take(&mut diary.0.lock().waiting)).unwrap()
    }

    #[test]
    fn of_a_kind_twenty_lines_a_second_are_written_and_the_others_counted() {
        let diary = Diary(Arc::default());
        let (kind, now) = (somewhere(), Instant::now());
        for n in 0..1000 {
            diary.say(format!("line {n}\n").as_bytes(), Some(&kind), now);
        }
        let said = waiting(&diary);
        assert!(said.starts_with("line 0\n") && said.ends_with("line 19\n"), "{said}");
        diary.0.lock().settle(Some(now));
        assert_eq!(waiting(&diary), "", "the second is not over");
        diary.0.lock().settle(Some(now + PERIOD));
        assert_eq!(waiting(&diary), "line 20 (979 more like this)\n");
        diary.say(b"again\n", Some(&kind), now + PERIOD);
        assert_eq!(waiting(&diary), "again\n");
    }

    #[test]
    fn lines_without_a_kind_are_all_written_and_what_has_no_room_is_counted() {
        let diary = Diary(Arc::default());
        for _ in 0..100 {
            diary.say(b"a login\n", None, Instant::now());
        }
        assert_eq!(waiting(&diary).lines().count(), 100);
        let long = vec![b'x'; ROOM / 2];
        for _ in 0..5 {
            diary.say(&long, None, Instant::now());
        }
        assert_eq!((waiting(&diary).len(), diary.0.lock().lost), (ROOM, 3));
    }
}
