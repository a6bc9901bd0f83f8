mod output;

use crate::line::{self, Record};
use crate::settings::AccessLogSettings;
use output::Output;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

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
/// interval. When the disk is too slow, lines are dropped and counted: requests never wait for the log. A file that
/// was moved away, as by logrotate, is followed by a new one of its name within a second.
#[derive(Debug)]
pub struct AccessLog {
    shared: Arc<Shared>,
    stop: Sender<()>,
    writer: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    settings: AccessLogSettings,
    buffers: Mutex<Vec<Arc<Buffer>>>,
    dropped: AtomicU64,
    failing: AtomicBool,
}

#[derive(Debug, Default)]
struct Buffer(Mutex<Vec<u8>>);

impl Buffer {
    fn lock(&self) -> MutexGuard<'_, Vec<u8>> {
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
            failing: AtomicBool::new(false),
        });
        let (stop, stopped) = channel();
        let writing = shared.clone();
        let writer = std::thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || writing.write_until(&stopped, output))
            .map_err(AccessLogError::Thread)?;
        Ok(Self { shared, stop, writer: Some(writer) })
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

    /// How many lines were dropped because they could not be written in time.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }

    /// Writes what is left and ends the thread.
    pub fn close(mut self) {
        self.finish();
    }

    fn finish(&mut self) {
        let _ = self.stop.send(());
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        self.finish();
    }
}

impl Shared {
    fn write_until(&self, stopped: &Receiver<()>, mut output: Output) {
        let mut batch = Vec::new();
        loop {
            let last = stopped.recv_timeout(*self.settings.flush) != Err(RecvTimeoutError::Timeout);
            let buffers = self.buffers.lock().unwrap_or_else(PoisonError::into_inner).clone();
            for buffer in buffers {
                // Swapped, so that the worker goes on with the room of the batch before.
                std::mem::swap(&mut *buffer.lock(), &mut batch);
                if !batch.is_empty() {
                    self.report(output.write(&batch));
                    batch.clear();
                }
            }
            if last {
                return;
            }
        }
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
        let mut buffer = self.buffer.lock();
        if buffer.len() as u64 >= settings.buffer.bytes() {
            self.shared.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        line::write(&mut buffer, record, settings.format, &self.redact);
    }
}
