//! A body that comes in: kept for the store, and read by everyone who asked for it meanwhile.

mod reader;

use crate::CacheStore;
use crate::entry::{Entry, body, owned, with_length};
use crate::flight::{Landing, Lead};
use crate::wakers::Wakers;
use bytes::Bytes;
use gateway_core::BoxError;
use http::HeaderMap;
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
pub(crate) use reader::FillReader;
use std::collections::VecDeque;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Wake;
use std::time::Duration;
use tokio::time::Instant;

/// For how long those who read an answer that is too large to be stored wait for one who reads nothing of it.
const GRACE: Duration = Duration::from_secs(1);

/// Why a body that several share ended early.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SharedBodyError {
    /// The upstream failed.
    #[error("the answer of the upstream broke off: {0}")]
    Source(Arc<str>),
    /// It is larger than is stored, and this reader fell too far behind the others, or kept them waiting for a second.
    #[error("the answer is too large to be kept for a reader that is so slow")]
    LeftBehind,
}

/// A body that comes in. Whoever has read what there is asks the source for more, for all: so nobody has to wait for
/// a slow reader, and it goes on when the first who asked goes away.
pub(crate) struct Fill {
    state: Mutex<State>,
    wakers: Wakers,
}

struct State {
    source: Option<UnsyncBoxBody<Bytes, BoxError>>,
    chunks: VecDeque<Bytes>,
    /// The number of the first chunk that is still there: 0, unless it became too large to be stored.
    first: usize,
    /// Bytes in all, and those still there.
    total: u64,
    held: u64,
    max: u64,
    end: Option<Result<Option<HeaderMap>, SharedBodyError>>,
    readers: usize,
    /// How many chunks the first reader has read, for whom the others wait. `None` once it went away, or has kept
    /// them for too long.
    leader: Option<usize>,
    /// Where the first reader was when the others began to wait for it, and when.
    waits: Option<(usize, Instant)>,
    keep: Option<Keep>,
}

/// What becomes of the body when it is whole.
#[derive(Debug)]
pub(crate) struct Keep {
    pub(crate) store: CacheStore,
    /// All of the entry but its body.
    pub(crate) head: Arc<Entry>,
    /// How long it has to be.
    pub(crate) length: Option<u64>,
    /// How many purges there were when it was asked for.
    pub(crate) purges: u64,
    pub(crate) lead: Option<Lead>,
}

impl std::fmt::Debug for Fill {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fill").finish_non_exhaustive()
    }
}

/// The source has more.
impl Wake for Fill {
    fn wake(self: Arc<Self>) {
        self.wakers.wake();
    }
}

impl Fill {
    /// A body that comes in, and its first reader.
    pub(crate) fn start<B>(body: B, keep: Keep, max: u64) -> (Arc<Self>, FillReader)
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let fill = Arc::new(Self {
            state: Mutex::new(State {
                source: Some(body.map_err(Into::into).boxed_unsync()),
                chunks: VecDeque::new(),
                first: 0,
                total: 0,
                held: 0,
                max,
                end: None,
                readers: 1,
                leader: Some(0),
                waits: None,
                keep: Some(keep),
            }),
            wakers: Wakers::default(),
        });
        fill.state().end_if_done();
        let reader = FillReader::new(fill.clone(), true);
        (fill, reader)
    }

    /// Lets those who wait read too.
    pub(crate) fn share(self: &Arc<Self>, head: &Arc<Entry>) {
        let state = self.state();
        if let Some(lead) = state.keep.as_ref().and_then(|keep| keep.lead.as_ref()) {
            lead.land(Landing::Fill(self.clone(), head.clone()));
        }
    }

    /// Another reader, from the start; `None` once it cannot be read whole.
    pub(crate) fn reader(self: &Arc<Self>) -> Option<FillReader> {
        let mut state = self.state();
        let is_live = state.source.is_some() || matches!(state.end, Some(Ok(_)));
        if state.first > 0 || !is_live {
            return None;
        }
        state.readers += 1;
        Some(FillReader::new(self.clone(), false))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Takes what the source gave.
    fn take(&mut self, frame: Option<Result<Frame<Bytes>, BoxError>>) {
        match frame {
            None => self.finish(None),
            Some(Err(error)) => {
                // Dropping the entry's place lets others ask for themselves.
                self.keep = None;
                self.source = None;
                self.end = Some(Err(SharedBodyError::Source(error.to_string().into())));
            }
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => self.take_data(data),
                Err(frame) => {
                    // What ends with trailers cannot be given again as it was.
                    self.keep = None;
                    self.finish(frame.into_trailers().ok());
                }
            },
        }
    }

    fn take_data(&mut self, data: Bytes) {
        let length = data.len() as u64;
        if length == 0 {
            return self.end_if_done();
        }
        self.total += length;
        self.held += length;
        self.chunks.push_back(data);
        if self.total > self.max
            && let Some(keep) = self.keep.take()
            && let Some(lead) = keep.lead
        {
            lead.land_alone();
        }
        if self.keep.is_none() {
            // From now on no more is held than has to be.
            while self.held > self.max && self.leader.is_none_or(|at| at > self.first) {
                let Some(chunk) = self.chunks.pop_front() else { break };
                self.held -= chunk.len() as u64;
                self.first += 1;
            }
        }
        self.end_if_done();
    }

    /// Ends when the source says that it has.
    fn end_if_done(&mut self) {
        if self.end.is_none() && self.source.as_ref().is_some_and(Body::is_end_stream) {
            self.finish(None);
        } else if self.keep.as_ref().is_some_and(|keep| keep.length == Some(self.total)) {
            // All that was announced: whoever reads may well stop here.
            self.store();
        }
    }

    fn finish(&mut self, trailers: Option<HeaderMap>) {
        self.source = None;
        self.end = Some(Ok(trailers));
        self.store();
    }

    /// Stores the body, if it is whole.
    fn store(&mut self) {
        let Some(keep) = self.keep.take() else { return };
        if keep.length.is_some_and(|length| length != self.total) {
            return;
        }
        let head = &keep.head;
        let entry = Arc::new(Entry {
            key: head.key.clone(),
            url: head.url,
            status: head.status,
            headers: with_length(owned(&head.headers), head.status, self.total),
            body: body(self.copied()),
            length: self.total,
            terms: head.terms,
            received: head.received,
            selected: head.selected.clone(),
            tags: head.tags.clone(),
            marked: AtomicBool::new(head.is_marked()),
        });
        keep.store.insert_in_all(entry, keep.purges);
    }

    /// What has come, in memory of its own: the pieces are parts of buffers that may be much larger.
    fn copied(&self) -> Bytes {
        let mut whole = Vec::with_capacity(usize::try_from(self.total).unwrap_or_default());
        self.chunks.iter().for_each(|chunk| whole.extend_from_slice(chunk));
        whole.into()
    }

    /// Whether more would be held than may be because the first reader is slow.
    fn is_full(&self) -> bool {
        self.keep.is_none() && self.held > self.max
    }

    /// Whether more would drive out what another reader may not have read yet.
    fn drives_out(&self) -> bool {
        self.keep.is_none() && self.total > self.max && self.readers > 1
    }

    /// Until when another reader waits for the first one, which alone has yet to read what is held; `None` where it
    /// need not wait.
    fn waits_until(&mut self) -> Option<Instant> {
        let at = self.leader.filter(|at| *at <= self.first && self.is_full())?;
        let now = Instant::now();
        let since = match self.waits {
            Some((place, since)) if place == at => since,
            _ => self.waits.insert((at, now)).1,
        };
        let until = since + GRACE;
        if until > now {
            return Some(until);
        }
        self.leader = None;
        None
    }
}
