//! Keeps memory and store alike. It outlives every incarnation of the actor, and so does work that
//! was begun with it.
//!
//! Changes wait in a queue. Whoever comes to the ledger first does all of those that wait, in memory
//! and then with one write, while more come in; so many share one flush to disk, and a lone one waits
//! for nobody. Recalls read a view of what was last on disk, which they hold by themselves: they wait
//! for no write. If the disk does not take a change, the ledger takes it back; if it is not known what
//! the disk has, the ledger is thrown away and read again.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use tokio::sync::{Mutex as AsyncMutex, Semaphore};
use tokio::time::Instant;
use tracing::{info, warn};

use super::job::{Job, Outcome, apply_all};
#[cfg(feature = "usearch")]
use super::mirrors::{Approximate, Mirrors};
use crate::adapters::store::{Loaded, PatternBatch, Store, StoreError, Written};
use crate::domain::embedding::{Embed, EmbedError};
use crate::domain::federation::ProposalId;
use crate::domain::pattern::index::Hit;
#[cfg(feature = "usearch")]
use crate::domain::pattern::index::Search;
use crate::domain::pattern::ledger::Ledger;
use crate::domain::pattern::view::{Figures, Near, Query, View};
use crate::domain::pattern::{BATCH_MAX, Bounds, Lesson, Page, PatternId, Position, Remembered};
use crate::messages::event::Events;
use crate::messages::pattern_memory::{MemoryError, Recalled};
use crate::metrics::PatternMeter;

/// Patterns whose recalls are counted between two writes. Beyond it they are found and not counted.
const USES_MAX: usize = 16_384;

/// Jobs done at once: their lessons are looked for among all patterns, which takes up to half a
/// millisecond each.
const JOBS_MAX: usize = BATCH_MAX;

/// What a keeper is made of.
#[derive(Clone, Debug)]
pub struct Parts {
    /// Where patterns are kept.
    pub store: Arc<Store>,
    /// Places texts that come without an embedding.
    pub embedder: Arc<dyn Embed>,
    /// How many patterns are held.
    pub bounds: Bounds,
    /// Searches and embeddings that are computed at once.
    pub computing_max: usize,
    /// The wall clock, in milliseconds since the Unix epoch: [`crate::clock::now_ms`] outside tests.
    pub now_ms: fn() -> i64,
    /// Where it tells of patterns.
    pub events: Events,
    /// Counts them.
    pub meter: PatternMeter,
}

/// Keeps memory and store alike.
#[derive(Debug)]
pub struct Keeper {
    parts: Parts,
    waiting: Mutex<VecDeque<(u64, Job)>>,
    /// The number of the last job that came.
    last: AtomicU64,
    desk: AsyncMutex<Desk>,
    view: ArcSwap<View>,
    uses: Mutex<HashMap<PatternId, (u64, i64)>>,
    computing: Semaphore,
    #[cfg(feature = "usearch")]
    mirrors: Option<Mirrors>,
}

/// What only one works with at a time.
#[derive(Debug, Default)]
struct Desk {
    /// None before it is read, and while it is not known what the disk has.
    ledger: Option<Ledger>,
    /// The number of the last job that was taken up.
    taken: u64,
}

impl Keeper {
    /// One that has read nothing yet.
    pub fn new(parts: Parts) -> Self {
        let view = ArcSwap::from_pointee(View::empty(parts.bounds));
        let computing = Semaphore::new(parts.computing_max.max(1));
        Self {
            parts,
            waiting: Mutex::default(),
            last: AtomicU64::new(0),
            desk: AsyncMutex::default(),
            view,
            uses: Mutex::default(),
            computing,
            #[cfg(feature = "usearch")]
            mirrors: None,
        }
    }

    /// The same with approximate indexes for embedders that have many patterns.
    #[cfg(feature = "usearch")]
    #[must_use]
    pub fn approximate(mut self, rules: Approximate) -> Self {
        self.mirrors = Some(Mirrors::new(rules, self.parts.meter.clone()));
        self
    }

    /// Reads the store, unless what is in memory is what it has.
    ///
    /// # Errors
    /// When the store cannot be read, or what it has is damaged.
    pub async fn open(&self) -> Result<(), StoreError> {
        let mut desk = self.desk.lock().await;
        self.read_if_needed(&mut desk).await?;
        #[cfg(feature = "usearch")]
        if let Some(mirrors) = &self.mirrors {
            mirrors.start();
            mirrors.show(self.view.load_full());
        }
        Ok(())
    }

    async fn read_if_needed(&self, desk: &mut Desk) -> Result<(), StoreError> {
        if let Some(ledger) = &desk.ledger {
            let held = ledger.view().revision;
            let kept = self.parts.store.beside(Store::pattern_revision).await?;
            if kept == held {
                return Ok(());
            }
            warn!(held, kept, "patterns in memory are not those on disk; they are read again");
            desk.ledger = None;
        }
        desk.ledger = Some(self.load().await?);
        Ok(())
    }

    /// Has a job done: when it returns, it is answered. It is done even if nobody waits for that any
    /// more, for others may wait for what is done with it.
    pub(super) async fn carry_out(self: &Arc<Self>, job: Job) {
        let number = {
            let mut waiting = unpoisoned(&self.waiting);
            let number = self.last.fetch_add(1, Ordering::Relaxed) + 1;
            waiting.push_back((number, job));
            number
        };
        let keeper = Arc::clone(self);
        let work = tokio::spawn(async move {
            let mut desk = keeper.desk.lock().await;
            while desk.taken < number {
                keeper.work(&mut desk).await;
            }
        });
        // A panic in it is logged where it happens; whoever waited finds the answer missing.
        let _ = work.await;
    }

    /// Writes down which patterns were recalled.
    pub(super) async fn note_uses(self: &Arc<Self>) {
        let uses = std::mem::take(&mut *unpoisoned(&self.uses));
        if uses.is_empty() {
            return;
        }
        let uses = uses.into_iter().map(|(id, (times, at_ms))| (id, times, at_ms)).collect();
        self.carry_out(Job::NoteUses(uses)).await;
    }

    /// The lessons, each at its position; an error for those that have none.
    pub(super) async fn placed(
        self: &Arc<Self>,
        lessons: Vec<Lesson>,
    ) -> Result<Vec<Lesson>, MemoryError> {
        if lessons.iter().all(|lesson| lesson.position().is_some()) {
            return Ok(lessons);
        }
        let embedder = Arc::clone(&self.parts.embedder);
        self.compute(move || {
            let place = |lesson: Lesson| match lesson.position() {
                Some(_) => Ok(lesson),
                None => {
                    let position = position(&*embedder, lesson.content())?;
                    Ok(lesson.at(position))
                }
            };
            lessons.into_iter().map(place).collect()
        })
        .await
    }

    /// Finds the patterns nearest to something, as of what was last on disk.
    pub(super) async fn recall(
        self: &Arc<Self>,
        query: Query,
    ) -> Result<Vec<Recalled>, MemoryError> {
        let keeper = Arc::clone(self);
        self.compute(move || keeper.recall_now(&query)).await
    }

    fn recall_now(&self, query: &Query) -> Result<Vec<Recalled>, MemoryError> {
        let began = Instant::now();
        let position = match &query.near {
            Near::Text(text) => position(&*self.parts.embedder, text)?,
            Near::Position(position) => position.clone(),
        };
        let hits = self.nearest(query, &position);
        let ids: Vec<PatternId> = hits.iter().map(|hit| hit.pattern.id).collect();
        let texts = self.parts.store.pattern_texts(&ids).map_err(failed)?;
        let recalled: Vec<Recalled> = hits
            .into_iter()
            .zip(texts)
            // What was forgotten meanwhile is gone.
            .filter_map(|(hit, content)| {
                let (pattern, similarity) = (hit.pattern, hit.similarity);
                Some(Recalled { pattern, content: content?, similarity })
            })
            .collect();
        let now_ms = (self.parts.now_ms)();
        let mut uses = unpoisoned(&self.uses);
        for Recalled { pattern, .. } in &recalled {
            if uses.len() < USES_MAX || uses.contains_key(&pattern.id) {
                let (times, at_ms) = uses.entry(pattern.id).or_default();
                (*times, *at_ms) = (*times + 1, now_ms);
            }
        }
        drop(uses);
        self.parts.meter.recalled(began.elapsed());
        Ok(recalled)
    }

    fn nearest(&self, query: &Query, position: &Position) -> Vec<Hit> {
        let view = self.view.load_full();
        #[cfg(feature = "usearch")]
        if let Some(mirror) = self.mirrors.as_ref().and_then(|it| it.of(position.embedder(), &view))
        {
            let newest = || self.view.load_full();
            let look = |search: &Search<'_>| mirror.search(search, position.embedder(), &newest);
            if let Some(hits) = query.looked_for(position, look) {
                self.parts.meter.answered("approximate");
                return hits;
            }
            self.parts.meter.answered("fallback");
            return view.recall(query, position);
        }
        self.parts.meter.answered("exact");
        view.recall(query, position)
    }

    /// Stops what is done for approximate indexes, and writes down what there is of them.
    pub(super) async fn put_away(&self) {
        #[cfg(feature = "usearch")]
        if let Some(thread) = self.mirrors.as_ref().and_then(Mirrors::end) {
            // If it panicked, that is logged where it happened, and the file is the one before.
            let _ = tokio::task::spawn_blocking(|| thread.join()).await;
        }
    }

    /// Looks up a pattern on disk.
    pub(super) async fn find(&self, id: PatternId) -> Result<Option<Remembered>, MemoryError> {
        self.parts.store.beside(move |store| store.find_pattern(id)).await.map_err(failed)
    }

    /// Lists patterns on disk.
    pub(super) async fn list(&self, page: Page) -> Result<Vec<Remembered>, MemoryError> {
        self.parts.store.beside(move |store| store.patterns(&page)).await.map_err(failed)
    }

    /// How many are held.
    pub(super) fn count(&self) -> u64 {
        self.view.load().held.patterns
    }

    /// Counts what is held.
    pub(super) async fn figures(&self) -> Result<Figures, MemoryError> {
        let (view, now_ms) = (self.view.load_full(), (self.parts.now_ms)());
        self.compute(move || Ok(view.figures(now_ms))).await
    }

    /// Where a pattern lies.
    pub(super) async fn unit(&self, id: PatternId) -> Result<Vec<f32>, MemoryError> {
        let desk = self.desk.lock().await;
        let ledger = desk.ledger.as_ref().ok_or_else(|| unavailable("they are being read"))?;
        Ok(ledger.unit(id)?.to_vec())
    }

    /// Those that were put to the vote and not heard of since.
    pub(super) async fn proposed(&self) -> Vec<(PatternId, ProposalId)> {
        let desk = self.desk.lock().await;
        desk.ledger.as_ref().map(Ledger::proposed).unwrap_or_default()
    }

    /// Computes on the threads for that, as many at once as there may be.
    async fn compute<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, MemoryError> + Send + 'static,
    ) -> Result<T, MemoryError> {
        // It is never closed.
        let _place = self.computing.acquire().await.map_err(unavailable)?;
        tokio::task::spawn_blocking(work).await.map_err(unavailable)?
    }

    /// Does the jobs that wait, as many as go together.
    async fn work(&self, desk: &mut Desk) {
        let mut jobs = self.take_jobs();
        let Some((last, _)) = jobs.last() else { return };
        desk.taken = *last;
        let mut ledger = match desk.ledger.take() {
            Some(ledger) => ledger,
            None => match self.load().await {
                Ok(ledger) => ledger,
                Err(error) => return self.fail(jobs, &failed(error)),
            },
        };
        loop {
            let now_ms = (self.parts.now_ms)();
            let applied = tokio::task::spawn_blocking(move || {
                let outcomes = apply_all(&jobs, &mut ledger, now_ms);
                let (rows, revision) = ledger.take_rows();
                let batch = (!rows.is_empty()).then(|| PatternBatch::of(&rows, revision));
                (jobs, outcomes, ledger, batch, revision)
            });
            // If it panicked, the ledger is gone and those who waited hear of it by their address.
            let Ok((done, outcomes, kept, batch, revision)) = applied.await else { return };
            ledger = kept;
            let written = match batch {
                None => {
                    self.answer(done, outcomes);
                    break;
                }
                Some(Ok(batch)) => self.parts.store.write_patterns(batch).await,
                Some(Err(error)) => Err(error),
            };
            match written {
                Ok(Written::Done) => {
                    ledger.settle(revision);
                    self.show(&ledger);
                    self.answer(done, outcomes);
                    break;
                }
                Ok(Written::Behind(kept)) => {
                    warn!(kept, "patterns in memory are not those on disk; they are read again");
                    return self.fail(done, &unavailable("they are being read again"));
                }
                Err(error @ StoreError::DiskFull { .. }) => {
                    ledger.undo();
                    // What makes nothing larger is done all the same.
                    let (growth, rest) = done.into_iter().partition(|(_, job)| job.is_growth());
                    self.fail(growth, &failed(error));
                    jobs = rest;
                    if jobs.is_empty() {
                        break;
                    }
                }
                Err(error @ (StoreError::Busy | StoreError::Closed)) => {
                    ledger.undo();
                    self.fail(done, &failed(error));
                    break;
                }
                // Whether it is on disk is not known, so neither is what is in memory.
                Err(error) => return self.fail(done, &failed(error)),
            }
        }
        desk.ledger = Some(ledger);
    }

    fn take_jobs(&self) -> Vec<(u64, Job)> {
        let mut waiting = unpoisoned(&self.waiting);
        let (mut jobs, mut lessons) = (Vec::new(), 0);
        while let Some((_, job)) = waiting.front() {
            lessons += job.lessons();
            if jobs.len() >= JOBS_MAX || (lessons > BATCH_MAX && !jobs.is_empty()) {
                break;
            }
            jobs.extend(waiting.pop_front());
        }
        jobs
    }

    fn answer(&self, jobs: Vec<(u64, Job)>, outcomes: Vec<Outcome>) {
        for ((_, job), outcome) in jobs.into_iter().zip(outcomes) {
            job.answer(outcome, &self.parts.meter, &self.parts.events);
        }
    }

    fn fail(&self, jobs: Vec<(u64, Job)>, error: &MemoryError) {
        for (_, job) in jobs {
            job.fail(error.clone(), &self.parts.meter);
        }
    }

    /// Lets everybody see what is on disk now.
    fn show(&self, ledger: &Ledger) {
        let view = ledger.view();
        self.parts.meter.holds(view.held.patterns, view.held.bytes);
        let view = Arc::new(view);
        self.view.store(Arc::clone(&view));
        #[cfg(feature = "usearch")]
        if let Some(mirrors) = &self.mirrors {
            mirrors.show(view);
        }
    }

    /// Reads every pattern from disk, after putting right what is not whole.
    async fn load(&self) -> Result<Ledger, StoreError> {
        let began = Instant::now();
        #[cfg(feature = "usearch")]
        if let Some(mirrors) = &self.mirrors {
            mirrors.give_up();
        }
        let mut loaded = self.load_once().await?;
        if !loaded.1.is_whole {
            let mended = self.parts.store.mend_patterns().await?;
            warn!(
                removed = mended.removed,
                stray = mended.stray,
                completed = mended.completed,
                "the tables of patterns did not agree and were put right"
            );
            loaded = self.load_once().await?;
        }
        let (mut ledger, Loaded { revision, .. }) = loaded;
        ledger.settle(revision);
        self.show(&ledger);
        let patterns = ledger.view().held.patterns;
        if patterns > 0 {
            let elapsed_ms = began.elapsed().as_millis();
            info!(patterns, revision, elapsed_ms, "the patterns were read");
        }
        Ok(ledger)
    }

    async fn load_once(&self) -> Result<(Ledger, Loaded), StoreError> {
        let bounds = self.parts.bounds;
        let load = move |store: &Store| {
            let mut ledger = Ledger::new(bounds);
            let loaded = store.load_patterns(|pattern, unit| {
                ledger.restore(pattern, unit).map_err(|error| error.to_string())
            })?;
            Ok((ledger, loaded))
        };
        self.parts.store.beside(load).await
    }
}

/// Where the node's embedder sees a text.
fn position(embedder: &dyn Embed, text: &str) -> Result<Position, MemoryError> {
    let numbers = embedder.embed(text).map_err(|error| match error {
        EmbedError::Failed(_) => unavailable(error),
        error => MemoryError::Embedding(error.to_string()),
    })?;
    // What it gives is a vector of its own dimension.
    Position::of_embedded(embedder.id(), &numbers).map_err(unavailable)
}

pub(super) fn failed(error: StoreError) -> MemoryError {
    match error {
        StoreError::DiskFull { .. } => MemoryError::DiskFull(error.to_string()),
        error => unavailable(error),
    }
}

pub(super) fn unavailable(error: impl std::fmt::Display) -> MemoryError {
    MemoryError::Unavailable(error.to_string())
}

/// What is guarded is whole whoever panicked while holding it.
fn unpoisoned<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
