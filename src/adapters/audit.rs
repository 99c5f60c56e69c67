//! The files of the audit record: `audit.log`, the full ones before it, and the anchor.
//!
//! One thread writes. It takes what waits, at most 256 records, into one write and one flush, so
//! that many callers share the cost of the disk; a lone record waits for nobody. Nothing is
//! acknowledged before it is on disk, and nothing is built on a write that failed: the file is read
//! anew, and what was not acknowledged is cut off, before the next one. Records that were
//! acknowledged and are no longer there are not replaced: then nothing is recorded any more.
//!
//! A full file is renamed and the chain goes on in a fresh one. Of the full ones the newest are
//! kept; the anchor then says where the oldest begins.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::domain::audit::{Call, Event, Problem};

use files::Log;

mod files;

/// Records in one write.
const BATCH_MAX: usize = 256;

/// Records that wait for the writer; a few batches.
const WAITING_MAX: usize = 1024;

/// After a failure the files are read anew before the next write, but not more often than this.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// Why something is not on record.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Records that were written are changed or gone.
    #[error(
        "{}:{line}: {problem}; look with `bizra audit verify`, and to begin a new chain move every \
         audit file elsewhere",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The line.
        line: u64,
        /// What is wrong there.
        problem: Problem,
    },
    /// The files end too early.
    #[error(
        "{}: ends with record {found}, and record {known} was written; look with `bizra audit \
         verify`, and to begin a new chain move every audit file elsewhere",
        path.display()
    )]
    Short {
        /// The file.
        path: PathBuf,
        /// The last record that is there.
        found: u64,
        /// The last record that was written.
        known: u64,
    },
    /// There are records, and not what says how many there must be.
    #[error(
        "{}: is missing although there are records; to begin a new chain move every audit file \
         elsewhere",
        path.display()
    )]
    Unanchored {
        /// The anchor's file.
        path: PathBuf,
    },
    /// Something else than the node wrote to the file or moved it away.
    #[error("{}: was changed by something else than the node", path.display())]
    Disturbed {
        /// The file.
        path: PathBuf,
    },
    /// An earlier write failed, and it is too early to try again.
    #[error("an earlier write failed: {0}")]
    Broken(String),
    /// Too much waits to be written.
    #[error("{WAITING_MAX} records wait already")]
    Busy,
    /// The writer has ended.
    #[error("the writer has ended")]
    Ended,
}

/// How large the files become.
#[derive(Clone, Copy, Debug)]
pub struct FileLimits {
    /// Bytes of a file; one that would become larger is full. Default 8 MiB, some 25,000 records:
    /// it is read whole at the start, in a fraction of a second.
    pub file_bytes_max: u64,
    /// Full files that are kept. Default 15: with the one that is written, 128 MiB.
    pub archives_max: usize,
}

impl Default for FileLimits {
    fn default() -> Self {
        Self { file_bytes_max: 8 << 20, archives_max: 15 }
    }
}

struct Job {
    call: Call,
    reply: oneshot::Sender<Result<u64, AuditError>>,
}

#[derive(Debug)]
struct Writer {
    queue: SyncSender<Job>,
    thread: JoinHandle<()>,
}

/// The audit record of a data directory. There is one, shared by every incarnation of its actor.
#[derive(Debug)]
pub struct AuditLog {
    dir: PathBuf,
    limits: FileLimits,
    now_ms: fn() -> i64,
    writer: Mutex<Option<Writer>>,
}

impl AuditLog {
    /// The record in this directory; nothing is opened yet. `now_ms` is the wall clock.
    pub fn new(dir: &Path, limits: FileLimits, now_ms: fn() -> i64) -> Self {
        Self { dir: dir.to_owned(), limits, now_ms, writer: Mutex::new(None) }
    }

    /// Opens the files and starts the writer, unless one is at work. Waits for the disk.
    ///
    /// # Errors
    /// When the files cannot be used or are damaged.
    pub fn start(&self) -> Result<(), AuditError> {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        if writer.as_ref().is_some_and(|writer| !writer.thread.is_finished()) {
            return Ok(());
        }
        let log = Log::open(&self.dir, self.limits, self.now_ms)?;
        let (queue, jobs) = sync_channel(WAITING_MAX);
        let thread = std::thread::Builder::new()
            .name("audit".to_owned())
            .spawn(move || write_all(log, &jobs))
            .map_err(|source| AuditError::Io { path: self.dir.clone(), source })?;
        *writer = Some(Writer { queue, thread });
        Ok(())
    }

    /// Records a call and answers with its number when that is on disk.
    ///
    /// # Errors
    /// [`AuditError`]; the call is then not on record.
    pub async fn append(&self, call: Call) -> Result<u64, AuditError> {
        let (reply, recorded) = oneshot::channel();
        {
            let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
            let writer = writer.as_ref().ok_or(AuditError::Ended)?;
            writer.queue.try_send(Job { call, reply }).map_err(|error| match error {
                TrySendError::Full(_) => AuditError::Busy,
                TrySendError::Disconnected(_) => AuditError::Ended,
            })?;
        }
        recorded.await.map_err(|_| AuditError::Ended)?
    }

    /// Whether the writer has ended, which it does only by a fault in it.
    pub fn has_ended(&self) -> bool {
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        writer.as_ref().is_none_or(|writer| writer.thread.is_finished())
    }

    /// Writes what waits and ends the writer. Waits for the disk.
    pub fn close(&self) {
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Writer { queue, thread }) = writer {
            drop(queue);
            // If it panicked, those who waited for it have been told already.
            let _ = thread.join();
        }
    }
}

impl Drop for AuditLog {
    fn drop(&mut self) {
        self.close();
    }
}

fn write_all(mut log: Log, jobs: &Receiver<Job>) {
    let mut failed: Option<(Instant, String)> = None;
    while let Ok(first) = jobs.recv() {
        let mut batch = vec![first];
        while batch.len() < BATCH_MAX
            && let Ok(job) = jobs.try_recv()
        {
            batch.push(job);
        }
        let outcome = match &failed {
            Some((at, reason)) if at.elapsed() < RETRY_PAUSE => {
                Err(AuditError::Broken(reason.clone()))
            }
            Some(_) => log.reopen().and_then(|()| write(&mut log, &batch)),
            None => write(&mut log, &batch),
        };
        match outcome {
            Ok(mut seq) => {
                failed = None;
                for job in batch {
                    // Who waited may have left; what is recorded is recorded.
                    let _ = job.reply.send(Ok(seq));
                    seq += 1;
                }
            }
            Err(error) => {
                let reason = error.to_string();
                if !matches!(error, AuditError::Broken(_)) {
                    failed = Some((Instant::now(), reason.clone()));
                }
                for job in batch {
                    let _ = job.reply.send(Err(AuditError::Broken(reason.clone())));
                }
            }
        }
    }
}

/// Writes the batch and answers with the number of its first record.
fn write(log: &mut Log, batch: &[Job]) -> Result<u64, AuditError> {
    let events: Vec<Event> = batch.iter().map(|job| Event::Call(job.call.clone())).collect();
    log.append(&events)
}

#[cfg(test)]
mod tests;
