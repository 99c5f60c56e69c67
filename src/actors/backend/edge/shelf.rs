//! The models of the edge backend: which there are, and which of them are in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};
use tracing::{info, warn};

use crate::actors::backend::edge::NAME;
use crate::adapters::edge::catalogue::{Catalogue, Seen, Stamp};
use crate::adapters::edge::demo::{DEMO_NAME, DEMO_NOTE};
use crate::adapters::edge::model::{EdgeModel, KnownDigest, ModelSource};
use crate::adapters::models::{Hold, hold};
use crate::config::Engine;
use crate::domain::inference::BackendError;
use crate::domain::inference::resident::{NoRoom, Residents};

/// What was seen of files counts for so long, unless their folder changes or a model is asked for that
/// was not seen.
const LOOK_PAUSE: Duration = Duration::from_secs(5);

/// Names of what is not there make it look no more often than this.
const LOOK_PAUSE_MIN: Duration = Duration::from_millis(200);

/// Models, in memory and not. Outlives the actor.
#[derive(Debug)]
pub(super) struct Shelf {
    catalogue: Arc<Catalogue>,
    engine: Engine,
    state: Mutex<State>,
    /// A use has ended.
    freed: Notify,
    /// Held while room is waited for, so that who came first is served first.
    turnstile: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct State {
    seen: Arc<[Seen]>,
    seen_at: Option<Instant>,
    /// The state of their folder then.
    folder: Option<Stamp>,
    residents: Residents<Key>,
    loads: BTreeMap<Key, watch::Sender<Load>>,
    /// Keeps the files of models in memory from being removed from the model store.
    holds: BTreeMap<Key, Hold>,
    /// Why models could not be loaded, until their files change or the actor starts anew.
    broken: BTreeMap<Key, String>,
    digests: BTreeMap<Stamp, KnownDigest>,
}

/// A file in one state, or a model inside the program.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    title: String,
    stamp: Option<Stamp>,
}

/// How far a model is.
#[derive(Clone, Debug)]
enum Load {
    Loading,
    Ready(EdgeModel),
    Broken(String),
}

/// Where a model stands, for those who ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// On disk.
    Shelved,
    /// On its way into memory.
    Loading,
    /// In memory.
    Loaded,
    /// It cannot be loaded.
    Broken(String),
}

/// A use of a model, which keeps it in memory until it is dropped.
#[derive(Debug)]
pub(super) struct Lease {
    pub(super) model: EdgeModel,
    _held: Held,
}

/// Ends the use when it is dropped.
#[derive(Debug)]
struct Held {
    shelf: Arc<Shelf>,
    key: Key,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.shelf.state().residents.release(&self.key);
        self.shelf.freed.notify_waiters();
    }
}

impl Shelf {
    /// The models of `catalogue`, of which at most so many bytes are in memory, loaded for `engine`.
    pub(super) fn new(catalogue: Catalogue, engine: Engine, memory_bytes: u64) -> Self {
        let state = State {
            seen: Arc::from([]),
            seen_at: None,
            folder: None,
            residents: Residents::new(memory_bytes),
            loads: BTreeMap::new(),
            holds: BTreeMap::new(),
            broken: BTreeMap::new(),
            digests: BTreeMap::new(),
        };
        Self {
            catalogue: Arc::new(catalogue),
            engine,
            state: Mutex::new(state),
            freed: Notify::new(),
            turnstile: tokio::sync::Mutex::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to load the default model, and gives those that were broken another try.
    pub(super) fn open(self: &Arc<Self>) {
        self.state().broken.clear();
        let shelf = Arc::clone(self);
        tokio::spawn(async move {
            match shelf.find(None).await {
                // What went wrong later is told where it went wrong.
                Ok(seen) => _ = shelf.take(&seen).await,
                Err(error) => warn!(actor = NAME, %error, "no model, the node serves without"),
            }
        });
    }

    /// All models, the default first, and where each stands.
    pub(super) async fn list(&self) -> Vec<(Seen, Standing)> {
        let seen = self.look(LOOK_PAUSE).await;
        let state = self.state();
        let standing = |seen: &Seen| {
            let key = Key::of(seen);
            if let Some(reason) = state.broken.get(&key) {
                return Standing::Broken(reason.clone());
            }
            match state.loads.get(&key).map(|load| load.borrow().clone()) {
                Some(Load::Ready(_)) => Standing::Loaded,
                Some(Load::Loading) => Standing::Loading,
                Some(Load::Broken(reason)) => Standing::Broken(reason),
                None => match &seen.peek {
                    Ok(_) => Standing::Shelved,
                    Err(reason) => Standing::Broken(reason.clone()),
                },
            }
        };
        seen.iter().map(|seen| (seen.clone(), standing(seen))).collect()
    }

    /// The model of this name, or the default.
    ///
    /// # Errors
    /// When there is none, or its file cannot be used.
    pub(super) async fn find(&self, asked: Option<&str>) -> Result<Seen, BackendError> {
        let is_asked = |seen: &&Seen| match asked {
            Some(name) => seen.name == name,
            None => Some(&seen.source) == self.catalogue.default_source(),
        };
        let mut seen = self.look(LOOK_PAUSE).await;
        // It may have come since.
        if seen.iter().find(is_asked).is_none_or(|seen| seen.peek.is_err()) {
            seen = self.look(LOOK_PAUSE_MIN).await;
        }
        let Some(found) = seen.iter().find(is_asked) else {
            let model = asked.unwrap_or_default().to_owned();
            let available = seen.iter().filter(|seen| seen.peek.is_ok());
            let available = available.map(|seen| seen.name.clone()).collect();
            return Err(BackendError::UnknownModel { model, available });
        };
        match &found.peek {
            Ok(_) => Ok(found.clone()),
            Err(reason) => Err(BackendError::Unavailable(reason.clone())),
        }
    }

    /// A use of a model that was found; loads it, if need be when others make room.
    ///
    /// # Errors
    /// When it cannot be loaded, or never fits.
    pub(super) async fn take(self: &Arc<Self>, seen: &Seen) -> Result<Lease, BackendError> {
        let key = Key::of(seen);
        let mut load = {
            let _first = self.turnstile.lock().await;
            loop {
                let mut freed = std::pin::pin!(self.freed.notified());
                // From here on, a use that ends is noticed.
                freed.as_mut().enable();
                match self.begin(&key, seen) {
                    Ok(load) => break load,
                    Err(NoRoom::Now { .. }) => freed.await,
                    Err(error @ NoRoom::Never { .. }) => {
                        let fix = "choose a smaller model or raise inference.edge.memory_bytes";
                        let said = format!("model {}: {error}; {fix}", seen.name);
                        return Err(BackendError::Unavailable(said));
                    }
                }
            }
        };
        let held = Held { shelf: Arc::clone(self), key };
        let ended = load.wait_for(|load| !matches!(load, Load::Loading)).await;
        match ended.as_deref() {
            Ok(Load::Ready(model)) => Ok(Lease { model: model.clone(), _held: held }),
            Ok(Load::Broken(reason)) => Err(BackendError::Unavailable(reason.clone())),
            _ => Err(BackendError::Unavailable(format!("model {} was not loaded", seen.name))),
        }
    }

    /// Begins a use, and the load if there is none yet.
    fn begin(self: &Arc<Self>, key: &Key, seen: &Seen) -> Result<watch::Receiver<Load>, NoRoom> {
        let mut state = self.state();
        if let Some(reason) = state.broken.get(key) {
            return Ok(watch::Sender::new(Load::Broken(reason.clone())).subscribe());
        }
        let bytes = seen.peek.as_ref().map_or(0, |peek| peek.weights_bytes);
        let gone = state.residents.admit(key.clone(), bytes)?;
        let put_away = |key| (state.loads.remove(&key), state.holds.remove(&key), key);
        let gone: Vec<_> = gone.into_iter().map(put_away).collect();
        let (load, is_new) = match state.loads.get(key) {
            Some(load) => (load.subscribe(), false),
            None => {
                let load = watch::Sender::new(Load::Loading);
                let receiver = load.subscribe();
                state.loads.insert(key.clone(), load);
                (receiver, true)
            }
        };
        drop(state);
        for (_, _, key) in &gone {
            info!(actor = NAME, model = key.title, "model put away, to make room");
        }
        // Gigabytes are given back here, not under the lock.
        drop(gone);
        if is_new {
            let (shelf, key, source) = (Arc::clone(self), key.clone(), seen.source.clone());
            tokio::spawn(async move { shelf.load(key, source).await });
        }
        Ok(load)
    }

    async fn load(self: Arc<Self>, key: Key, source: ModelSource) {
        let began = Instant::now();
        let engine = self.engine;
        let known = key.stamp.and_then(|stamp| self.state().digests.get(&stamp).cloned());
        let loaded = tokio::task::spawn_blocking(move || {
            let held = match &source {
                ModelSource::Path(path) => hold(path).ok(),
                ModelSource::Embedded { .. } => None,
            };
            let loaded = EdgeModel::load_again(&source, engine, known.as_ref());
            loaded.map(|loaded| (loaded, held)).map_err(|error| error.to_string())
        });
        let loaded = loaded.await.unwrap_or_else(|_| {
            Err("the engine panicked over the model; is it a GGUF file?".to_owned())
        });
        let mut state = self.state();
        match loaded {
            Ok(((model, digest), held)) => {
                let facts = model.facts();
                info!(
                    model = facts.name,
                    digest = facts.digest,
                    context = facts.context_length,
                    elapsed_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
                    resident_bytes = state.residents.bytes(),
                    "model loaded"
                );
                if facts.name == DEMO_NAME && key.stamp.is_none() {
                    info!("the model is {DEMO_NOTE}");
                }
                state.remember(digest);
                if let Some(held) = held {
                    state.holds.insert(key.clone(), held);
                }
                if let Some(load) = state.loads.get(&key) {
                    load.send_replace(Load::Ready(model));
                }
            }
            Err(reason) => {
                warn!(actor = NAME, reason, "no model, the node serves without");
                state.residents.remove(&key);
                if let Some(load) = state.loads.remove(&key) {
                    load.send_replace(Load::Broken(reason.clone()));
                }
                state.broken.insert(key, reason);
                drop(state);
                self.freed.notify_waiters();
            }
        }
    }

    /// What there is, looked at no longer than `pause` ago.
    async fn look(&self, pause: Duration) -> Arc<[Seen]> {
        let known = {
            let state = self.state();
            let is_recent = state.seen_at.is_some_and(|at| at.elapsed() < pause);
            is_recent.then_some(state.folder)
        };
        let catalogue = Arc::clone(&self.catalogue);
        // The folder changes with every model that is pulled, imported or removed, which shows at once.
        let looked = tokio::task::spawn_blocking(move || {
            let folder = catalogue.folder();
            (known != Some(folder)).then(|| (folder, catalogue.look()))
        });
        let looked = looked.await;
        let mut state = self.state();
        if let Ok(Some((folder, seen))) = looked {
            state.seen = seen.into();
            state.seen_at = Some(Instant::now());
            state.folder = folder;
            state.forget();
        }
        Arc::clone(&state.seen)
    }
}

impl State {
    fn remember(&mut self, digest: Option<KnownDigest>) {
        if let Some(digest) = digest {
            self.digests.insert(digest.stamp, digest);
        }
    }

    /// Drops what was known of files that are no longer there.
    fn forget(&mut self) {
        let seen = Arc::clone(&self.seen);
        let is_there = |stamp: &Stamp| seen.iter().any(|seen| seen.stamp == Some(*stamp));
        self.digests.retain(|stamp, _| is_there(stamp));
        self.broken.retain(|key, _| key.stamp.is_none_or(|stamp| is_there(&stamp)));
    }
}

impl Key {
    fn of(seen: &Seen) -> Self {
        Self { title: seen.source.title(), stamp: seen.stamp }
    }
}
