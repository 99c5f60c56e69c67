//! Standard error, written by a thread of its own.
//!
//! Whoever logs puts a line into a queue and goes on: a terminal that was stopped, or a service
//! manager that does not read, must not stop the node. What the queue does not hold is dropped and
//! counted; the next line that can be written says how many were.

use std::io::{self, Write};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::ThreadId;
use std::time::Duration;

use tracing::warn;

/// Lines that wait, however short.
const LINES_MAX: usize = 8192;

/// Bytes that wait: some three thousand requests, a second of a busy node.
const BYTES_MAX: usize = 1 << 20;

/// Pause after a write, in which lines gather. Waking a thread and a call of the system for each
/// line cost a busy node a third of its requests; so it is five hundred times a second at most, and a
/// line is seen 2 ms later.
const GATHER: Duration = Duration::from_millis(2);

/// The most that is written in one piece.
const PIECE_BYTES_MAX: usize = 64 * 1024;

/// How often it is looked whether lines were dropped.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The queue of this process, which has one standard error.
static QUEUE: OnceLock<Queue> = OnceLock::new();

/// Whose lines alone are taken from now on.
static LAST_SPEAKER: OnceLock<ThreadId> = OnceLock::new();

/// Lines dropped by this process.
static DROPPED: AtomicU64 = AtomicU64::new(0);

#[derive(Debug)]
struct Queue {
    jobs: SyncSender<Job>,
    bytes: AtomicUsize,
}

enum Job {
    Line(Vec<u8>),
    /// Answered when everything before it is written.
    Flush(SyncSender<()>),
}

/// What a logger writes its lines to, each in one piece.
#[derive(Clone, Copy, Debug)]
pub struct LogWriter(&'static Queue);

impl LogWriter {
    /// The writer of this process. Its thread is started by the first to ask.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn start() -> io::Result<Self> {
        if let Some(queue) = QUEUE.get() {
            return Ok(Self(queue));
        }
        let (jobs, waiting) = sync_channel(LINES_MAX);
        let queue = QUEUE.get_or_init(|| Queue { jobs, bytes: AtomicUsize::new(0) });
        let thread = std::thread::Builder::new().name("log".to_owned());
        thread.spawn(move || write_all(&waiting, &queue.bytes))?;
        Ok(Self(queue))
    }
}

impl Write for LogWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if LAST_SPEAKER.get().is_some_and(|speaker| *speaker != std::thread::current().id()) {
            return Ok(line.len());
        }
        let waiting = self.0.bytes.fetch_add(line.len(), Ordering::Relaxed);
        let has_room = waiting + line.len() <= BYTES_MAX;
        if !has_room || self.0.jobs.try_send(Job::Line(line.to_vec())).is_err() {
            self.0.bytes.fetch_sub(line.len(), Ordering::Relaxed);
            DROPPED.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// From now on only lines of this thread are taken: it says why the program ends, which is to be the
/// last line, whatever the tasks it takes down have to say.
pub fn have_the_last_word() {
    let _ = LAST_SPEAKER.set(std::thread::current().id());
}

/// Lines that were dropped so far.
pub fn lines_dropped() -> u64 {
    DROPPED.load(Ordering::Relaxed)
}

/// Waits until what was logged before is written, for so long at most.
pub fn flush(wait: Duration) {
    let Some(queue) = QUEUE.get() else { return };
    let (done, written) = sync_channel(1);
    // A full queue is one that nobody reads, or that is read now: a moment decides.
    let until = std::time::Instant::now() + wait;
    let mut job = Job::Flush(done);
    while let Err(TrySendError::Full(back)) = queue.jobs.try_send(job) {
        if std::time::Instant::now() >= until {
            return;
        }
        job = back;
        std::thread::sleep(Duration::from_millis(5));
    }
    let _ = written.recv_timeout(until.saturating_duration_since(std::time::Instant::now()));
}

fn write_all(waiting: &Receiver<Job>, bytes: &AtomicUsize) {
    let mut told = 0;
    let mut piece = Vec::new();
    loop {
        match waiting.recv_timeout(LOOK_EVERY) {
            Ok(job) => {
                let done = gather(job, waiting, &mut piece);
                // Who closed standard error wants to hear nothing.
                let _ = io::stderr().lock().write_all(&piece);
                bytes.fetch_sub(piece.len(), Ordering::Relaxed);
                piece.clear();
                match done {
                    Some(done) => _ = done.try_send(()),
                    None => std::thread::sleep(GATHER),
                }
            }
            Err(RecvTimeoutError::Timeout) => {
                let dropped = lines_dropped();
                if dropped > told {
                    warn!(
                        lines = dropped - told,
                        "log lines were dropped: nobody read them in time"
                    );
                    told = dropped;
                }
            }
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// Takes the lines that wait, up to a piece, or up to whoever waits for them to be written.
fn gather(first: Job, waiting: &Receiver<Job>, piece: &mut Vec<u8>) -> Option<SyncSender<()>> {
    let mut next = Some(first);
    while let Some(job) = next {
        match job {
            Job::Line(line) => piece.extend_from_slice(&line),
            Job::Flush(done) => return Some(done),
        }
        next = if piece.len() < PIECE_BYTES_MAX { waiting.try_recv().ok() } else { None };
    }
    None
}
