//! Brings a model of the catalogue: asks, goes on after what breaks, and takes in only what has the
//! digest that was promised.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout};

use crate::adapters::models::hub::{Hub, Missed, Opened, reason_of};
use crate::adapters::models::index::Arrival;
use crate::adapters::models::inspect::inspect;
use crate::adapters::models::part::{Part, Stop};
use crate::adapters::models::verify::condition;
use crate::adapters::models::{Installed, ModelStore, ModelStoreError, STRIDE};
use crate::domain::model_store::catalogue::Entry;
use crate::domain::model_store::listing::Condition;
use crate::domain::model_store::transfer::{FAILURES_MAX, Pace, pause};
use crate::domain::model_store::{Progress, Stage};

/// Time between two looks whether another process has ended to bring the same file.
const LOCK_PAUSE: Duration = Duration::from_millis(200);

/// Hears of progress, from any thread.
pub type Teller = Arc<dyn Fn(Progress) + Send + Sync>;

/// One pull: what it needs all the way.
struct Pull {
    store: ModelStore,
    hub: Hub,
    entry: Entry,
    now_ms: u64,
    tell: Teller,
    stop: Stop,
    deadline: Instant,
}

/// Brings the model of `entry` from `hub`, unless it is here whole. What came of it before is gone on
/// with; dropping the future keeps what came so far.
///
/// # Errors
/// See [`ModelStoreError`]; nothing is installed then.
pub async fn pull(
    store: &ModelStore,
    hub: &Hub,
    entry: &Entry,
    now_ms: u64,
    tell: Teller,
) -> Result<Installed, ModelStoreError> {
    let stop = Stop::default();
    // Work on other threads ends with this future.
    let _guard = stop.on_drop();
    let total = hub.waits().total;
    let pull = Pull {
        store: store.clone(),
        hub: hub.clone(),
        entry: entry.clone(),
        now_ms,
        tell,
        stop,
        deadline: Instant::now() + total,
    };
    match tokio::time::timeout_at(pull.deadline, pull.run()).await {
        Ok(outcome) => outcome,
        Err(_) => Err(ModelStoreError::TooSlow(total.as_secs())),
    }
}

impl Pull {
    async fn run(&self) -> Result<Installed, ModelStoreError> {
        self.blocking(|pull| pull.store.expect(&pull.entry.name, &pull.entry.sha256)).await?;
        let mut part = loop {
            if let Some(installed) = self.blocking(Self::find).await? {
                return Ok(installed);
            }
            // Whoever brings the file now may end with it, or without.
            if let Some(part) = self.blocking(Self::open).await? {
                break part;
            }
            self.tell(Stage::Waiting, 0, None);
            tokio::time::sleep(LOCK_PAUSE).await;
        };
        // It may have come while its lock was waited for.
        if let Some(installed) = self.blocking(Self::find).await? {
            let _ = part.discard();
            return Ok(installed);
        }
        let mut may_restart = true;
        loop {
            part = self.fill(part).await?;
            let was_resumed = part.is_resumed;
            let found = part.sha256();
            if found == self.entry.sha256 {
                return self.with(part, Self::finish).await;
            }
            // What came in several answers may be of several versions; what came in one is wrong.
            if was_resumed && may_restart {
                may_restart = false;
                part = self.with(part, |_, mut part| part.restart().map(|()| part)).await?;
                continue;
            }
            self.with(part, |_, part| part.discard()).await?;
            return Err(ModelStoreError::Digest { found, expected: self.entry.sha256 });
        }
    }

    /// The model, if it is here whole: its file is hashed, and one that is damaged is not here.
    fn find(&self) -> Result<Option<Installed>, ModelStoreError> {
        let Entry { sha256, bytes, .. } = self.entry;
        let blob = self.store.blob(&sha256);
        if !blob.exists() {
            return Ok(None);
        }
        let tell = |bytes| self.tell(Stage::Checking, bytes, None);
        match condition(&blob, bytes, &sha256, &self.stop, &tell)? {
            Condition::Ok => {}
            Condition::Damaged { .. } | Condition::Missing => return Ok(None),
        }
        let facts = inspect(&blob).map_err(|reason| self.no_model(reason))?;
        self.store.take_in(&blob, self.arrival(facts)).map(Some)
    }

    fn open(&self) -> Result<Option<Part>, ModelStoreError> {
        let Some(mut part) = Part::open(&self.store, &self.entry.sha256)? else { return Ok(None) };
        let tell = |bytes| self.tell(Stage::Checking, bytes, None);
        part.take_up(self.entry.bytes, &self.stop, &tell)?;
        Ok(Some(part))
    }

    /// Asks until the file is whole.
    async fn fill(&self, mut part: Part) -> Result<Part, ModelStoreError> {
        let total = self.entry.bytes;
        let mut failures = 0;
        while part.bytes() < total {
            if self.hub.is_offline() {
                return Err(ModelStoreError::Offline(self.entry.name.clone()));
            }
            let needed = total - part.bytes();
            part =
                self.with(part, move |pull, part| pull.store.room(needed).map(|()| part)).await?;
            let before = part.bytes();
            let from = part.bytes();
            let etag = part.etag().map(str::to_owned);
            let opened = self.hub.open(&self.entry.path(), from, total, etag.as_deref()).await;
            let (reason, after) = match opened {
                Ok(opened) => match self.receive(part, opened).await? {
                    (received, None) => {
                        part = received;
                        continue;
                    }
                    (received, Some(reason)) => {
                        part = received;
                        (reason, None)
                    }
                },
                Err(Missed::Restart) => {
                    part = self.with(part, |_, mut part| part.restart().map(|()| part)).await?;
                    ("the hub has no such part".to_owned(), None)
                }
                Err(Missed::Retry { reason, after }) => (reason, after),
                Err(Missed::Fatal(error)) => return Err(error),
            };
            // A trickle is no progress, or it would be waited for until the end of time.
            let is_progress = part.bytes().saturating_sub(before) >= self.hub.waits().pace_bytes;
            failures = if is_progress { 1 } else { failures + 1 };
            let Some(wait) = pause(failures, self.hub.waits().pause, chance(), after) else {
                return Err(ModelStoreError::Exhausted { tries: FAILURES_MAX, reason });
            };
            self.tell(Stage::Pausing, part.bytes(), Some(reason));
            tokio::time::sleep(wait).await;
            if part.bytes() > 0 {
                part.is_resumed = true;
            }
        }
        Ok(part)
    }

    /// Takes what comes; with the reason when it ends before the file does. What came is kept.
    async fn receive(
        &self,
        mut part: Part,
        opened: Opened,
    ) -> Result<(Part, Option<String>), ModelStoreError> {
        let Opened { mut response, is_appended, etag } = opened;
        part = self
            .with(part, move |_, mut part| {
                if !is_appended {
                    part.restart()?;
                }
                part.set_etag(etag.as_deref())?;
                Ok(part)
            })
            .await?;
        let (total, waits) = (self.entry.bytes, *self.hub.waits());
        let began = Instant::now();
        let mut pace = Pace::new(waits.pace, waits.pace_bytes, Duration::ZERO);
        let mut waiting = Vec::with_capacity(STRIDE);
        loop {
            let here = part.bytes() + waiting.len() as u64;
            self.tell(Stage::Downloading, here, None);
            let piece = timeout(waits.idle, response.chunk()).await;
            let ended = match piece {
                Ok(Ok(Some(piece))) => {
                    if piece.len() as u64 > total - here {
                        self.with(part, |_, part| part.discard()).await?;
                        return Err(ModelStoreError::TooMuch(total));
                    }
                    waiting.extend_from_slice(&piece);
                    let is_fast = pace.count(piece.len() as u64, began.elapsed());
                    (!is_fast).then(|| "it comes too slowly".to_owned())
                }
                Ok(Ok(None)) if here == total => None,
                Ok(Ok(None)) => Some("it ended early".to_owned()),
                Ok(Err(error)) => Some(reason_of(&error)),
                Err(_) => Some(format!("nothing came for {} s", waits.idle.as_secs_f64())),
            };
            let is_whole = part.bytes() + waiting.len() as u64 == total;
            if waiting.len() >= STRIDE || ended.is_some() || is_whole {
                let piece = std::mem::replace(&mut waiting, Vec::with_capacity(STRIDE));
                part =
                    self.with(part, move |_, mut part| part.append(&piece).map(|()| part)).await?;
            }
            if is_whole {
                return self.end(part, response).await.map(|part| (part, None));
            }
            if ended.is_some() {
                return Ok((part, ended));
            }
        }
    }

    /// After the last byte nothing may come.
    async fn end(
        &self,
        part: Part,
        mut response: reqwest::Response,
    ) -> Result<Part, ModelStoreError> {
        match timeout(self.hub.waits().idle, response.chunk()).await {
            Ok(Ok(Some(piece))) if !piece.is_empty() => {
                self.with(part, |_, part| part.discard()).await?;
                Err(ModelStoreError::TooMuch(self.entry.bytes))
            }
            // Whether it says that it ends matters no more: every byte is here.
            _ => {
                self.tell(Stage::Downloading, part.bytes(), None);
                Ok(part)
            }
        }
    }

    /// The digest is right. It still may be no model.
    fn finish(&self, part: Part) -> Result<Installed, ModelStoreError> {
        part.sync()?;
        let facts = match inspect(part.path()) {
            Ok(facts) => facts,
            Err(reason) => {
                part.discard()?;
                return Err(self.no_model(reason));
            }
        };
        let installed = self.store.take_in(part.path(), self.arrival(facts))?;
        part.leave();
        Ok(installed)
    }

    fn arrival(&self, facts: super::inspect::Facts) -> Arrival {
        Arrival {
            name: self.entry.name.clone(),
            sha256: self.entry.sha256,
            bytes: self.entry.bytes,
            facts,
            licence: Some(self.entry.licence.clone()),
            source: self.entry.source(),
            now_ms: self.now_ms,
        }
    }

    fn no_model(&self, reason: String) -> ModelStoreError {
        ModelStoreError::NotAModel { what: self.entry.name.to_string(), reason }
    }

    fn tell(&self, stage: Stage, bytes: u64, reason: Option<String>) {
        (self.tell)(Progress { stage, bytes, total: self.entry.bytes, reason });
    }

    /// What threads work with.
    fn share(&self) -> Self {
        Self {
            store: self.store.clone(),
            hub: self.hub.clone(),
            entry: self.entry.clone(),
            now_ms: self.now_ms,
            tell: Arc::clone(&self.tell),
            stop: self.stop.clone(),
            deadline: self.deadline,
        }
    }

    /// Runs `work` where it may block.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, ModelStoreError> + Send + 'static,
    ) -> Result<T, ModelStoreError> {
        let shared = self.share();
        let done = spawn_blocking(move || work(&shared)).await;
        done.map_err(|_| ModelStoreError::Panicked)?
    }

    async fn with<T: Send + 'static>(
        &self,
        part: Part,
        work: impl FnOnce(&Self, Part) -> Result<T, ModelStoreError> + Send + 'static,
    ) -> Result<T, ModelStoreError> {
        self.blocking(move |pull| work(pull, part)).await
    }
}

/// Random in [0, 1]; the middle if the system has no randomness, since nothing depends on it.
fn chance() -> f64 {
    let mut random = [0; 4];
    match getrandom::fill(&mut random) {
        Ok(()) => f64::from(u32::from_le_bytes(random)) / f64::from(u32::MAX),
        Err(_) => 0.5,
    }
}
