//! The embedded store: the log of envelopes made here, the replay window, and the standings of
//! senders.
//!
//! One thread writes. It takes what waits, at most 256 operations, into one transaction,
//! so that many callers share the cost of one flush to disk; a lone operation waits for nobody.
//! Nothing is acknowledged before its transaction is on disk. After the first write error the
//! store only reads: what a disk accepts after a failed flush is not known.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;

use redb::backends::FileBackend;
use redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition, TableError};
use tokio::sync::oneshot;

use crate::domain::envelope::EnvelopeId;
use crate::domain::replay::Nonce;
use crate::domain::trust::Change;

mod standings;

/// Name of the file in the data directory.
const FILE: &str = "node.redb";

/// Operations in one transaction: some milliseconds of work, well over what waits in practice.
const BATCH_MAX: usize = 256;

/// Bytes of envelopes in one transaction, unless a single one is larger.
const BATCH_BYTES_MAX: usize = 8 << 20;

/// Operations that wait for the writer; a few batches.
const WAITING_MAX: usize = 1024;

/// Memory for pages. The library's own default is a gibibyte.
const CACHE_BYTES: usize = 32 << 20;

/// Expired nonces removed in one transaction, so that a long pause does not make it a long one.
const EXPIRED_MAX: usize = 512;

/// Envelope id to the envelope's JSON.
const ENVELOPES: TableDefinition<'_, &[u8; 16], &[u8]> = TableDefinition::new("envelopes");
/// Public key and envelope id to when it expires, in milliseconds.
const NONCES: TableDefinition<'_, &[u8; 48], i64> = TableDefinition::new("nonces");
/// The same by expiry.
const EXPIRIES: TableDefinition<'_, (i64, &[u8; 48]), ()> = TableDefinition::new("nonce_expiries");
const META: TableDefinition<'_, &str, i64> = TableDefinition::new("meta");
const CLOSED_UNTIL: &str = "replay_closed_until_ms";

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

#[derive(Debug)]
enum Op {
    Append { id: EnvelopeId, json: Vec<u8> },
    Record { nonce: Nonce, expires_ms: i64, closed_until_ms: i64 },
    Stand(Change),
    Flush,
}

#[derive(Debug)]
enum Outcome {
    Appended(Appended),
    Recorded(Recorded),
    Stood,
    Flushed,
}

#[derive(Debug)]
struct Job {
    op: Op,
    reply: oneshot::Sender<Result<Outcome, StoreError>>,
}

/// An open store. It is opened once and shared by everybody who uses it.
#[derive(Debug)]
pub struct Store {
    db: Arc<Database>,
    queue: Mutex<Option<SyncSender<Job>>>,
    writer: Mutex<Option<JoinHandle<()>>>,
    /// Why nothing is written any more.
    broken: Arc<OnceLock<String>>,
}

impl Store {
    /// Opens or makes `node.redb` (mode 0600) in the data directory.
    ///
    /// # Errors
    /// [`StoreError::Open`] with the file's name, also if another process has it open.
    pub fn open(data_dir: &Path) -> Result<Self, StoreError> {
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
        Self::start(db).map_err(|error| fail(error.to_string()))
    }

    fn start(db: Database) -> std::io::Result<Self> {
        let db = Arc::new(db);
        let broken = Arc::new(OnceLock::new());
        let (queue, jobs) = sync_channel(WAITING_MAX);
        let writer = std::thread::Builder::new().name("store".to_owned()).spawn({
            let (db, broken) = (Arc::clone(&db), Arc::clone(&broken));
            move || write_all(&db, &jobs, &broken)
        })?;
        let (queue, writer) = (Mutex::new(Some(queue)), Mutex::new(Some(writer)));
        Ok(Self { db, queue, writer, broken })
    }

    /// Logs an envelope, unless its id is in the log. Answers when the log is on disk.
    ///
    /// # Errors
    /// [`StoreError`]; it is then not known to be on disk.
    pub async fn append_envelope(
        &self,
        id: EnvelopeId,
        json: Vec<u8>,
    ) -> Result<Appended, StoreError> {
        match self.submit(Op::Append { id, json }).await? {
            Outcome::Appended(appended) => Ok(appended),
            Outcome::Recorded(_) | Outcome::Stood | Outcome::Flushed => Err(StoreError::Closed),
        }
    }

    /// Records a nonce, unless it is recorded, and removes those that expire up to
    /// `closed_until_ms`. Answers when that is on disk.
    ///
    /// # Errors
    /// As [`Store::append_envelope`].
    pub async fn record_nonce(
        &self,
        nonce: Nonce,
        expires_ms: i64,
        closed_until_ms: i64,
    ) -> Result<Recorded, StoreError> {
        match self.submit(Op::Record { nonce, expires_ms, closed_until_ms }).await? {
            Outcome::Recorded(recorded) => Ok(recorded),
            Outcome::Appended(_) | Outcome::Stood | Outcome::Flushed => Err(StoreError::Closed),
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
        let find = || -> Result<Option<Vec<u8>>, redb::Error> {
            let read = self.db.begin_read()?;
            let Some(table) = unless_absent(read.open_table(ENVELOPES))? else { return Ok(None) };
            Ok(table.get(&id.0)?.map(|json| json.value().to_vec()))
        };
        find().map_err(|error| StoreError::Read(error.to_string()))
    }

    /// Reads the replay window. Reads the disk: not for a thread that must not wait.
    ///
    /// # Errors
    /// [`StoreError::Read`].
    pub fn load_replay(&self) -> Result<Replay, StoreError> {
        let load = || -> Result<Replay, redb::Error> {
            let read = self.db.begin_read()?;
            let mut replay = Replay { nonces: Vec::new(), closed_until_ms: i64::MIN };
            if let Some(table) = unless_absent(read.open_table(META))?
                && let Some(closed) = table.get(CLOSED_UNTIL)?
            {
                replay.closed_until_ms = closed.value();
            }
            if let Some(table) = unless_absent(read.open_table(NONCES))? {
                for entry in table.iter()? {
                    let (key, expires_ms) = entry?;
                    replay.nonces.push((from_key(key.value()), expires_ms.value()));
                }
            }
            Ok(replay)
        };
        load().map_err(|error| StoreError::Read(error.to_string()))
    }

    /// Writes what waits and closes the writer; reading goes on. Waits for the disk.
    pub fn close(&self) {
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

    async fn submit(&self, op: Op) -> Result<Outcome, StoreError> {
        let (reply, outcome) = oneshot::channel();
        {
            let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
            let queue = queue.as_ref().ok_or(StoreError::Closed)?;
            queue.try_send(Job { op, reply }).map_err(|error| match error {
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

/// A table that nothing was ever written to does not exist yet.
fn unless_absent<T>(opened: Result<T, TableError>) -> Result<Option<T>, redb::Error> {
    match opened {
        Ok(table) => Ok(Some(table)),
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn write_all(db: &Database, jobs: &Receiver<Job>, broken: &OnceLock<String>) {
    while let Ok(first) = jobs.recv() {
        let mut bytes = size(&first.op);
        let mut batch = vec![first];
        while batch.len() < BATCH_MAX
            && bytes < BATCH_BYTES_MAX
            && let Ok(job) = jobs.try_recv()
        {
            bytes += size(&job.op);
            batch.push(job);
        }
        if broken.get().is_none() {
            let ops = batch.iter().map(|job| &job.op);
            match write(db, ops) {
                Ok(outcomes) => {
                    for (job, outcome) in batch.into_iter().zip(outcomes) {
                        // Who waited may have left; what is written is written.
                        let _ = job.reply.send(Ok(outcome));
                    }
                    continue;
                }
                Err(error) => _ = broken.set(error.to_string()),
            }
        }
        let reason = broken.get().cloned().unwrap_or_default();
        for job in batch {
            let _ = job.reply.send(Err(StoreError::ReadOnly(reason.clone())));
        }
    }
}

fn size(op: &Op) -> usize {
    match op {
        Op::Append { json, .. } => json.len(),
        Op::Record { .. } | Op::Stand(_) | Op::Flush => 0,
    }
}

fn write<'a>(
    db: &Database,
    ops: impl Iterator<Item = &'a Op>,
) -> Result<Vec<Outcome>, redb::Error> {
    let mut write = db.begin_write()?;
    write.set_durability(Durability::Immediate)?;
    // A second flush now, and no walk through the whole file after a crash.
    write.set_quick_repair(true);
    let mut outcomes = Vec::new();
    {
        let mut envelopes = write.open_table(ENVELOPES)?;
        let mut nonces = write.open_table(NONCES)?;
        let mut expiries = write.open_table(EXPIRIES)?;
        let mut standings = write.open_table(standings::STANDINGS)?;
        let mut closed = None;
        for op in ops {
            outcomes.push(match op {
                Op::Append { id, json } => {
                    let existing = envelopes.get(&id.0)?.map(|json| json.value().to_vec());
                    Outcome::Appended(match existing {
                        Some(existing) => Appended::Existing(existing),
                        None => {
                            envelopes.insert(&id.0, json.as_slice())?;
                            Appended::New
                        }
                    })
                }
                Op::Record { nonce, expires_ms, closed_until_ms } => {
                    let key = to_key(nonce);
                    closed = closed.max(Some(*closed_until_ms));
                    Outcome::Recorded(if nonces.get(&key)?.is_some() {
                        Recorded::Seen
                    } else {
                        nonces.insert(&key, expires_ms)?;
                        expiries.insert((*expires_ms, &key), ())?;
                        Recorded::New
                    })
                }
                Op::Stand(change) => {
                    standings::write(&mut standings, change)?;
                    Outcome::Stood
                }
                Op::Flush => Outcome::Flushed,
            });
        }
        if let Some(closed) = closed {
            let mut meta = write.open_table(META)?;
            let before = meta.get(CLOSED_UNTIL)?.map(|before| before.value());
            if before.is_none_or(|before| before < closed) {
                meta.insert(CLOSED_UNTIL, closed)?;
            }
            for _ in 0..EXPIRED_MAX {
                let first = expiries.first()?.map(|(key, _)| {
                    let (expires_ms, key) = key.value();
                    (expires_ms, *key)
                });
                let Some((expires_ms, key)) = first.filter(|first| first.0 <= closed) else {
                    break;
                };
                expiries.remove((expires_ms, &key))?;
                nonces.remove(&key)?;
            }
        }
    }
    write.commit()?;
    Ok(outcomes)
}

fn to_key(nonce: &Nonce) -> [u8; 48] {
    let mut key = [0; 48];
    key[..32].copy_from_slice(&nonce.public_key);
    key[32..].copy_from_slice(&nonce.id.0);
    key
}

fn from_key(key: &[u8; 48]) -> Nonce {
    let mut nonce = Nonce { public_key: [0; 32], id: EnvelopeId([0; 16]) };
    nonce.public_key.copy_from_slice(&key[..32]);
    nonce.id.0.copy_from_slice(&key[32..]);
    nonce
}

#[cfg(test)]
mod tests;
