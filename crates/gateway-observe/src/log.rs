mod output;

use crate::line::{self, Record};
use crate::settings::AccessLogSettings;
use output::Output;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long the last lines may take to be written. Whoever reads them may have stopped, and nobody ends while a pipe is
/// full.
const LAST_LINES: Duration = Duration::from_secs(3);

/// Why there is no access log.
#[derive(Debug, thiserror::Error)]
pub enum AccessLogError {
    /// The file cannot be opened.
    #[error("cannot open the access log {path}: {source}")]
    Open {
        /// Its path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is no thread for it.
    #[error("cannot start the access log's thread: {0}")]
    Thread(io::Error),
}

/// An access log, written by a thread of its own.
///
/// Requests only append to a buffer of their worker ([`AccessLog::lines`]); the thread collects the buffers at an
/// interval. When the disk is too slow or cannot be written, lines are dropped and counted: requests never wait for the
/// log. A file that was moved away, as by logrotate, is followed by a new one of its name within a second.
///
/// Dropped, it writes what is left; for three seconds at most, as a pipe that nobody reads may take nothing ever again.
#[derive(Debug)]
pub struct AccessLog {
    shared: Arc<Shared>,
    /// Gone once it is to end.
    stop: Option<Sender<()>>,
    /// Ends with the thread. In a lock only to be shared.
    written: Mutex<Receiver<()>>,
}

#[derive(Debug)]
struct Shared {
    settings: AccessLogSettings,
    buffers: Mutex<Vec<Arc<Buffer>>>,
    dropped: AtomicU64,
    /// How many lines are being written.
    under_way: AtomicU64,
    failing: AtomicBool,
}

#[derive(Debug, Default)]
struct Buffer(Mutex<Batch>);

/// Lines that wait.
#[derive(Debug, Default)]
struct Batch {
    bytes: Vec<u8>,
    lines: u64,
}

impl Buffer {
    fn lock(&self) -> MutexGuard<'_, Batch> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AccessLog {
    /// Opens the log and starts its thread.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn open(settings: &AccessLogSettings) -> Result<Self, AccessLogError> {
        let output = Output::open(settings.path.as_deref())?;
        let shared = Arc::new(Shared {
            settings: settings.clone(),
            buffers: Mutex::default(),
            dropped: AtomicU64::new(0),
            under_way: AtomicU64::new(0),
            failing: AtomicBool::new(false),
        });
        let (stop, stopped) = channel();
        let (writes, written) = channel();
        let writing = shared.clone();
        std::thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || {
                let _writes: Sender<()> = writes;
                writing.write_until(&stopped, output);
            })
            .map_err(AccessLogError::Thread)?;
        Ok(Self { shared, stop: Some(stop), written: Mutex::new(written) })
    }

    /// Where one worker puts its lines. Others may use it too, but would meet at its lock.
    #[must_use]
    pub fn lines(&self) -> Lines {
        let buffer = Arc::new(Buffer::default());
        self.shared.buffers.lock().unwrap_or_else(PoisonError::into_inner).push(buffer.clone());
        Lines {
            redact: self.shared.settings.redact_query.clone().into(),
            shared: self.shared.clone(),
            buffer,
        }
    }

    /// How many lines were dropped because they could not be written, or not in time.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }

    /// Writes what is left and ends the thread.
    pub fn close(self) {}
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        self.stop = None;
        let written = self.written.get_mut().unwrap_or_else(PoisonError::into_inner);
        if written.recv_timeout(LAST_LINES) == Err(RecvTimeoutError::Timeout) {
            let lost = self.shared.waiting();
            tracing::error!(
                "the access log was not written within {LAST_LINES:?}: its last {lost} lines are lost"
            );
        }
    }
}

impl Shared {
    fn write_until(&self, stopped: &Receiver<()>, mut output: Output) {
        let mut batch = Batch::default();
        loop {
            let last = stopped.recv_timeout(*self.settings.flush) != Err(RecvTimeoutError::Timeout);
            let buffers = self.buffers.lock().unwrap_or_else(PoisonError::into_inner).clone();
            for buffer in buffers {
                let mut waiting = buffer.lock();
                // Swapped, so that the worker goes on with the room of the batch before.
                std::mem::swap(&mut *waiting, &mut batch);
                self.under_way.store(batch.lines, Ordering::Relaxed);
                drop(waiting);
                if batch.lines > 0 {
                    let (lost, result) = output.write(&batch.bytes);
                    self.dropped.fetch_add(lost, Ordering::Relaxed);
                    self.report(result);
                    batch.bytes.clear();
                    batch.lines = 0;
                    self.under_way.store(0, Ordering::Relaxed);
                }
            }
            if last {
                return;
            }
        }
    }

    /// How many lines are not written yet.
    fn waiting(&self) -> u64 {
        let buffers = self.buffers.lock().unwrap_or_else(PoisonError::into_inner);
        buffers.iter().map(|buffer| buffer.lock().lines).sum::<u64>() + self.under_way.load(Ordering::Relaxed)
    }

    /// Says so once when writing begins to fail, and once when it works again.
    fn report(&self, written: io::Result<()>) {
        let failing = written.is_err();
        if self.failing.swap(failing, Ordering::Relaxed) != failing {
            match written {
                Ok(()) => tracing::info!("the access log is written again"),
                Err(error) => tracing::warn!("the access log cannot be written: {error}"),
            }
        }
    }
}

/// Where lines go. Cheap to clone; clones share one buffer.
#[derive(Clone, Debug)]
pub struct Lines {
    shared: Arc<Shared>,
    buffer: Arc<Buffer>,
    /// Query parameters whose values are left out.
    redact: Arc<[String]>,
}

impl Lines {
    /// The same buffer, for lines without the values of these query parameters too.
    #[must_use]
    pub fn redacting(&self, names: &[String]) -> Self {
        let redact = self.redact.iter().chain(names).cloned().collect();
        Self { shared: self.shared.clone(), buffer: self.buffer.clone(), redact }
    }

    pub(crate) fn wants(&self, status: u16) -> bool {
        status >= self.shared.settings.min_status
    }

    pub(crate) fn write(&self, record: &Record<'_>) {
        let settings = &self.shared.settings;
        let mut batch = self.buffer.lock();
        if batch.bytes.len() as u64 >= settings.buffer.bytes() {
            self.shared.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        line::write(&mut batch.bytes, record, settings.format, &self.redact);
        batch.lines += 1;
    }
}
