//! The approximate indexes beside pattern memory, one for each embedder with many patterns.
//!
//! One thread makes and follows them, so that no recall and no lesson waits for it: it takes the newest
//! view, has each index follow it, and writes the files. Whoever recalls uses an index that is whole and
//! scans as long as there is none. Like the keeper it outlives the actor; it ends when the node does.

mod work;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwap;
use tracing::error;

use self::work::Worker;
use crate::adapters::usearch::Graph;
use crate::domain::embedding::EmbedderId;
use crate::domain::pattern::mirror::Mirror;
use crate::domain::pattern::view::View;
use crate::metrics::PatternMeter;

/// Rules for approximate indexes.
#[derive(Clone, Debug)]
pub struct Approximate {
    /// Above so many patterns of an embedder.
    pub above: u64,
    /// Their folder. It is made if there is none.
    pub dir: PathBuf,
    /// What has to be left of the disk when a file is written.
    pub free_bytes_min: u64,
    /// Searches that go on at once.
    pub searches_max: usize,
}

/// Those that are whole.
type InUse = Vec<(Arc<EmbedderId>, Arc<Mirror<Graph>>)>;

/// The approximate indexes, with the thread that keeps them; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Mirrors(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    rules: Approximate,
    meter: PatternMeter,
    in_use: ArcSwap<InUse>,
    desk: Mutex<Desk>,
    bell: Condvar,
    /// The number of the thread that is to run. One that has another number ends.
    run: AtomicU64,
}

#[derive(Debug, Default)]
struct Desk {
    /// The newest view that was not followed yet. An older one that still waits is of no interest.
    newest: Option<Arc<View>>,
    /// Counts how often memory was read again, after which numbers may name other patterns.
    epoch: u64,
    thread: Option<JoinHandle<()>>,
}

impl Mirrors {
    pub(super) fn new(rules: Approximate, meter: PatternMeter) -> Self {
        Self(Arc::new(Shared {
            rules,
            meter,
            in_use: ArcSwap::default(),
            desk: Mutex::default(),
            bell: Condvar::new(),
            run: AtomicU64::new(0),
        }))
    }

    /// Starts the thread, unless it runs.
    pub(super) fn start(&self) {
        let mut desk = self.0.desk();
        if desk.thread.as_ref().is_some_and(|thread| !thread.is_finished()) {
            return;
        }
        let shared = Arc::clone(&self.0);
        let run = shared.run.fetch_add(1, Ordering::SeqCst) + 1;
        let thread = std::thread::Builder::new().name("mirrors".to_owned());
        match thread.spawn(move || Worker::new(&shared, run).run()) {
            Ok(thread) => desk.thread = Some(thread),
            Err(error) => error!(%error, "no approximate index is made: there is no thread for it"),
        }
    }

    /// Shows what is held now.
    pub(super) fn show(&self, view: Arc<View>) {
        self.0.desk().newest = Some(view);
        self.0.bell.notify_one();
    }

    /// Gives up every index, because memory is read again.
    pub(super) fn give_up(&self) {
        let mut desk = self.0.desk();
        desk.epoch += 1;
        desk.newest = None;
        self.0.in_use.store(Arc::default());
    }

    /// The index of an embedder, if it has more than so many patterns and the index is whole.
    pub(super) fn of(&self, embedder: &EmbedderId, view: &View) -> Option<Arc<Mirror<Graph>>> {
        let in_use = self.0.in_use.load();
        let (_, mirror) = in_use.iter().find(|(id, _)| **id == *embedder)?;
        let len = view.index(embedder)?.len() as u64;
        (len > self.0.rules.above).then(|| Arc::clone(mirror))
    }

    /// Has the thread stop what it does, write the files and end; tells how to wait for that.
    pub(super) fn end(&self) -> Option<JoinHandle<()>> {
        let thread = self.0.desk().thread.take();
        self.0.end();
        thread
    }
}

impl Drop for Mirrors {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl Shared {
    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self) {
        self.run.fetch_add(1, Ordering::SeqCst);
        // With the desk in hand, so that the thread is not just about to wait.
        let _desk = self.desk();
        self.bell.notify_all();
    }

    fn runs(&self, run: u64) -> bool {
        self.run.load(Ordering::SeqCst) == run
    }

    /// Waits for a view that was not followed yet, at most so long; tells in which epoch.
    fn next(&self, run: u64, wait: Duration) -> (Option<Arc<View>>, u64) {
        let is_idle = |desk: &mut Desk| desk.newest.is_none() && self.runs(run);
        let waited = self.bell.wait_timeout_while(self.desk(), wait, is_idle);
        let (mut desk, _) = waited.unwrap_or_else(PoisonError::into_inner);
        (desk.newest.take(), desk.epoch)
    }

    /// Puts indexes to use, unless memory was read again meanwhile.
    fn put_to_use(&self, mirrors: InUse, epoch: u64) {
        let desk = self.desk();
        if desk.epoch == epoch {
            self.in_use.store(Arc::new(mirrors));
        }
    }
}
