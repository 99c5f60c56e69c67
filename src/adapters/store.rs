//! The embedded store: the log of envelopes made here, the replay window, the standings of senders,
//! proposals with their decisions, patterns, and preferences.
//!
//! One thread writes. It takes what waits, at most 256 operations, into one transaction,
//! so that many callers share the cost of one flush to disk; a lone operation waits for nobody.
//! Nothing is acknowledged before its transaction is on disk. After the first write error the
//! store only reads: what a disk accepts after a failed flush is not known.
//!
//! The log is never shortened, so it ends where the disk does. Before that, when less is free than a
//! floor, envelopes, proposals, patterns and observations are refused while nonces are still written,
//! whose number is bounded.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::thread::JoinHandle;

use redb::backends::FileBackend;
use redb::{Database, Durability, ReadTransaction, ReadableDatabase, TableError, WriteTransaction};
use tokio::sync::oneshot;

use crate::domain::envelope::{EnvelopeId, Head, Page};
use crate::domain::replay::Nonce;

mod log;
mod patterns;
mod preferences;
mod proposals;
mod replay;
mod standings;
mod writer;

pub use patterns::{Loaded, Mended, PatternBatch, Written};
pub use proposals::{Decided, Decisions, Kept};
use writer::{Job, Op, Outcome, Waiting, write_all};

/// Name of the file in the data directory.
const FILE: &str = "node.redb";

/// Operations in one transaction: some milliseconds of work, well over what waits in practice.
const BATCH_MAX: usize = 256;

/// Bytes of envelopes and proposals in one transaction, unless a single one is larger.
const BATCH_BYTES_MAX: usize = 8 << 20;

/// Operations that wait for the writer; a few batches.
const WAITING_MAX: usize = 1024;

/// Memory for pages. The library's own default is a gibibyte.
const CACHE_BYTES: usize = 32 << 20;

/// Why the store did not do its part.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// It could not be opened.
    #[error("store {path}: {reason}")]
    Open {
        /// The file.
        path: String,
        /// What went wrong.
        reason: String,
    },
    /// It could not be read.
    #[error("store cannot be read: {0}")]
    Read(String),
    /// A write failed, this one or an earlier one; no more are accepted until the node restarts.
    #[error("store is read-only since a write failed: {0}")]
    ReadOnly(String),
    /// Too much waits to be written.
    #[error("store is busy: {WAITING_MAX} operations wait already")]
    Busy,
    /// So little of the disk is free that the log may not grow.
    #[error(
        "{free} bytes of the disk are free; below {free_min} no envelope is made, no proposal taken and \
         nothing learned"
    )]
    DiskFull {
        /// Bytes that are free.
        free: u64,
        /// The floor.
        free_min: u64,
    },
    /// It was closed.
    #[error("store is closed")]
    Closed,
}

/// What became of an envelope that was to be logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Appended {
    /// It is in the log.
    New,
    /// Another one has its id; this one is in the log, unchanged.
    Existing(Vec<u8>),
}

/// What became of a nonce that was to be recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// It is recorded.
    New,
    /// It was recorded before.
    Seen,
}

/// The replay window as it is on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replay {
    /// Nonces and when they expire, in milliseconds.
    pub nonces: Vec<(Nonce, i64)>,
    /// Up to which expiry nonces may have been forgotten.
    pub closed_until_ms: i64,
}

/// When the log may not grow any more.
struct Floor {
    free_bytes_min: u64,
    /// What may still be written; `None` if that cannot be told, which stops nothing.
    free_bytes: Box<dyn Fn() -> Option<u64> + Send>,
}

impl Floor {
    fn check(&self) -> Result<(), StoreError> {
        match (self.free_bytes)() {
            Some(free) if free < self.free_bytes_min => {
                Err(StoreError::DiskFull { free, free_min: self.free_bytes_min })
            }
            _ => Ok(()),
        }
    }
}

/// An open store. It is opened once and shared by everybody who uses it.
#[derive(Debug)]
pub struct Store {
    /// None once it is closed.
    db: RwLock<Option<Arc<Database>>>,
    queue: Mutex<Option<SyncSender<Job>>>,
    writer: Mutex<Option<JoinHandle<()>>>,
    /// Why nothing is written any more.
    broken: Arc<OnceLock<String>>,
    /// Operations that wait or are being written.
    waiting: Arc<AtomicU64>,
}

impl Store {
    /// Opens or makes `node.redb` (mode 0600) in the data directory. No envelope is logged while
    /// less than `free_bytes_min` of its file system is free. The first time that a store of an
    /// earlier version is opened, every envelope in it is read once.
    ///
    /// # Errors
    /// [`StoreError::Open`] with the file's name, also if another process has it open.
    pub fn open(data_dir: &Path, free_bytes_min: u64) -> Result<Self, StoreError> {
        let path = data_dir.join(FILE);
        let fail = |reason: String| StoreError::Open { path: path.display().to_string(), reason };
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(|error| fail(error.to_string()))?;
        let file = FileBackend::new(file).map_err(|error| fail(error.to_string()))?;
        let db = Database::builder()
            .set_cache_size(CACHE_BYTES)
            .create_with_backend(file)
            .map_err(|error| fail(error.to_string()))?;
        // The file itself is durable only when its directory is.
        let synced = File::open(data_dir).and_then(|dir| dir.sync_all());
        synced.map_err(|error| fail(error.to_string()))?;
        let dir = data_dir.to_owned();
        let free_bytes = Box::new(move || free_bytes(&dir));
        Self::start(db, Floor { free_bytes_min, free_bytes }).map_err(fail)
    }

    fn start(db: Database, floor: Floor) -> Result<Self, String> {
        log::complete_index(&db)?;
        let db = Arc::new(db);
        let broken = Arc::new(OnceLock::new());
        let (queue, jobs) = sync_channel(WAITING_MAX);
        let writer = std::thread::Builder::new().name("store".to_owned()).spawn({
            let (db, broken) = (Arc::clone(&db), Arc::clone(&broken));
            move || write_all(&db, &jobs, &broken, &floor)
        });
        let writer = writer.map_err(|error| error.to_string())?;
        let (queue, writer) = (Mutex::new(Some(queue)), Mutex::new(Some(writer)));
        Ok(Self { db: RwLock::new(Some(db)), queue, writer, broken, waiting: Arc::default() })
    }

    /// Logs an envelope with its head, unless its id is in the log. Answers when the log is on disk.
    ///
    /// # Errors
    /// [`StoreError`]; it is then not known to be on disk.
    pub async fn append_envelope(&self, head: Head, json: Vec<u8>) -> Result<Appended, StoreError> {
        match self.submit(Op::Append { head, json }).await? {
            Outcome::Appended(appended) => Ok(appended),
            _ => Err(StoreError::Closed),
        }
    }

    /// Records a nonce and the content it came with, unless it is recorded, and removes those that
    /// expire up to `closed_until_ms`. Answers when that is on disk.
    ///
    /// # Errors
    /// As [`Store::append_envelope`].
    pub async fn record_nonce(
        &self,
        nonce: Nonce,
        content_hash: [u8; 32],
        expires_ms: i64,
        closed_until_ms: i64,
    ) -> Result<Recorded, StoreError> {
        let op = Op::Record { nonce, content_hash, expires_ms, closed_until_ms };
        match self.submit(op).await? {
            Outcome::Recorded(recorded) => Ok(recorded),
            _ => Err(StoreError::Closed),
        }
    }

    /// Answers when everything submitted before is on disk.
    ///
    /// # Errors
    /// As [`Store::append_envelope`].
    pub async fn flush(&self) -> Result<(), StoreError> {
        self.submit(Op::Flush).await.map(|_| ())
    }

    /// Looks up a logged envelope. Reads the disk: not for a thread that must not wait.
    ///
    /// # Errors
    /// [`StoreError::Read`].
    pub fn find_envelope(&self, id: EnvelopeId) -> Result<Option<Vec<u8>>, StoreError> {
        self.read(|read| log::find(read, id))
    }

    /// Looks up the head of a logged envelope. Reads the disk.
    ///
    /// # Errors
    /// [`StoreError::Read`].
    pub fn find_head(&self, id: EnvelopeId) -> Result<Option<Head>, StoreError> {
        self.read(|read| log::head(read, id))
    }

    /// Lists a page of the log, newest first. Reads the disk.
    ///
    /// # Errors
    /// [`StoreError::Read`].
    pub fn page(&self, page: &Page) -> Result<Vec<Head>, StoreError> {
        self.read(|read| log::page(read, page))
    }

    /// Whether an envelope of this id and content was consumed and has not expired. Reads the disk.
    ///
    /// # Errors
    /// [`StoreError::Read`].
    pub fn is_consumed(&self, id: EnvelopeId, content: &[u8; 32]) -> Result<bool, StoreError> {
        self.read(|read| replay::is_consumed(read, id, content))
    }

    /// Reads the replay window, at most `nonces_max` of the nonces that live longest; if there are
    /// more, it is closed up to the expiry of the others. Reads the disk.
    ///
    /// # Errors
    /// [`StoreError::Read`].
    pub fn load_replay(&self, nonces_max: usize) -> Result<Replay, StoreError> {
        self.read(|read| replay::load(read, nonces_max))
    }

    /// Reads on a thread that may wait for the disk.
    ///
    /// # Errors
    /// Those of `read`, and [`StoreError::Read`] if it panics.
    pub async fn beside<T: Send + 'static>(
        self: &Arc<Self>,
        read: impl FnOnce(&Self) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let store = Arc::clone(self);
        let read = tokio::task::spawn_blocking(move || read(&store)).await;
        read.map_err(|error| StoreError::Read(error.to_string()))?
    }

    fn read<T>(
        &self,
        read: impl FnOnce(&ReadTransaction) -> Result<T, redb::Error>,
    ) -> Result<T, StoreError> {
        let begun = {
            let db = self.db.read().unwrap_or_else(PoisonError::into_inner);
            db.as_ref().ok_or(StoreError::Closed)?.begin_read().map_err(redb::Error::from)
        };
        begun.and_then(|begun| read(&begun)).map_err(|error| match error {
            redb::Error::DatabaseClosed => StoreError::Closed,
            error => StoreError::Read(error.to_string()),
        })
    }

    /// Writes what waits, then gives up the file: another may open it when this returns, whoever still
    /// holds this store. Waits for the disk. A read that goes on meanwhile ends with
    /// [`StoreError::Closed`].
    pub fn close(&self) {
        self.stop_writing();
        drop(self.db.write().unwrap_or_else(PoisonError::into_inner).take());
    }

    /// Writes what waits and then nothing more; reading goes on. Waits for the disk.
    pub fn stop_writing(&self) {
        drop(self.queue.lock().unwrap_or_else(PoisonError::into_inner).take());
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(writer) = writer {
            // If it panicked, those who waited for it have been told already.
            let _ = writer.join();
        }
    }

    /// Whether writes are refused since one failed, and why.
    pub fn broken(&self) -> Option<&str> {
        self.broken.get().map(String::as_str)
    }

    /// Operations that wait for the writer or are being written.
    pub fn waiting(&self) -> u64 {
        self.waiting.load(Ordering::Relaxed)
    }

    async fn submit(&self, op: Op) -> Result<Outcome, StoreError> {
        let (reply, outcome) = oneshot::channel();
        {
            let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
            let queue = queue.as_ref().ok_or(StoreError::Closed)?;
            let job = Job { op, reply, _waiting: Waiting::new(&self.waiting) };
            queue.try_send(job).map_err(|error| match error {
                TrySendError::Full(_) => StoreError::Busy,
                TrySendError::Disconnected(_) => StoreError::Closed,
            })?;
        }
        outcome.await.map_err(|_| StoreError::Closed)?
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.close();
    }
}

/// What an ordinary user may still write in the file system of `path`, in bytes; `None` if the system
/// does not tell.
pub fn free_bytes(path: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(path).ok()?;
    stat.f_bavail.checked_mul(stat.f_frsize)
}

/// A transaction that is on disk when it is committed.
fn durable(db: &Database) -> Result<WriteTransaction, redb::Error> {
    let mut write = db.begin_write()?;
    write.set_durability(Durability::Immediate)?;
    // A second flush now, and no walk through the whole file after a crash.
    write.set_quick_repair(true);
    Ok(write)
}

/// A table that nothing was ever written to does not exist yet.
fn unless_absent<T>(opened: Result<T, TableError>) -> Result<Option<T>, redb::Error> {
    match opened {
        Ok(table) => Ok(Some(table)),
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests;
