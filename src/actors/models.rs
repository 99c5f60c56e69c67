//! Brings models to this machine and keeps them: pulls run beside the actor and outlive it, at most
//! two at a time. The rules are in `domain::model_store`, the work in `adapters::models`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Semaphore;
use tokio::task::AbortHandle;
use tracing::{info, warn};

use crate::actor::{Actor, Failure, Turn};
use crate::adapters::models::download::pull;
use crate::adapters::models::hub::{Hub, Waits};
use crate::adapters::models::{ModelStore, ModelStoreError, Stop, catalogue};
use crate::clock;
use crate::config::Config;
use crate::domain::model_store::catalogue::{Catalogue, Entry};
use crate::domain::model_store::index::IndexError;
use crate::domain::model_store::listing::{Listing, ModelsError, Removed, Verified};
use crate::domain::model_store::pulls::{Begun, PullInfo, PullState, Pulls, RUNNING_MAX};
use crate::domain::model_store::{ModelName, Progress, Stage};
use crate::messages::addr::{Deadline, Reply, unless_abandoned};
use crate::messages::event::{Event, Events, ModelEvent};
use crate::messages::models::ModelsMsg;
use crate::metrics::PullMeter;

/// The actor's name.
pub const NAME: &str = "models";

/// What outlives a restart of the actor: the store, and the pulls that run.
#[derive(Clone, Debug)]
pub struct Models {
    store: ModelStore,
    catalogue: Arc<Catalogue>,
    /// The hub, or why its address cannot be used, which is told to whoever pulls.
    hub: Result<Hub, String>,
    work: Arc<Work>,
}

/// The pulls, shared by all incarnations and by the tasks that carry them out.
#[derive(Debug)]
struct Work {
    pulls: Mutex<Pulls>,
    tasks: Mutex<BTreeMap<String, AbortHandle>>,
    places: Semaphore,
    events: Events,
    meter: PullMeter,
}

impl Models {
    /// Over `store`, pulling what `catalogue` has from `hub`.
    pub fn new(
        store: ModelStore,
        catalogue: Catalogue,
        hub: Result<Hub, ModelStoreError>,
        events: Events,
        meter: PullMeter,
    ) -> Self {
        let work = Work {
            pulls: Mutex::default(),
            tasks: Mutex::default(),
            places: Semaphore::new(RUNNING_MAX),
            events,
            meter,
        };
        Self {
            store,
            catalogue: Arc::new(catalogue),
            hub: hub.map_err(|error| error.to_string()),
            work: Arc::new(work),
        }
    }

    /// What the configuration asks for.
    ///
    /// # Errors
    /// When the catalogue cannot be read.
    pub fn from_config(
        config: &Config,
        events: Events,
        meter: PullMeter,
    ) -> Result<Self, ModelStoreError> {
        let models = &config.inference.models;
        let store = ModelStore::new(&config.node.data_dir, config.store.free_bytes_min);
        let catalogue = catalogue(models.catalogue.as_deref())?;
        let token = models.token.expose();
        let hub = Hub::new(&models.endpoint, token, models.offline, Waits::default());
        Ok(Self::new(store, catalogue, hub, events, meter))
    }

    fn begin(&self, name: &ModelName) -> Result<PullInfo, ModelsError> {
        let Some(entry) = self.catalogue.find(name) else {
            return Err(told(self.store.unknown(name.as_str(), &self.catalogue)));
        };
        let hub = self.hub.clone().map_err(ModelsError::Failed)?;
        let begun = self.work.pulls().begin(name, entry.bytes, clock::shown_ms())?;
        let info = match begun {
            Begun::Same(info) => return Ok(info),
            Begun::New(info) => info,
        };
        info!(model = %name, pull = info.id, "a model is pulled");
        self.work.meter.began();
        self.work.tell(&info);
        let (work, store, entry) = (Arc::clone(&self.work), self.store.clone(), entry.clone());
        let id = info.id.clone();
        // The task may end before its handle is kept, and forgets it then; so the lock comes first.
        let mut tasks = self.work.tasks();
        let task = tokio::spawn(work.carry_out(id.clone(), store, hub, entry));
        tasks.insert(id, task.abort_handle());
        Ok(info)
    }

    fn cancel(&self, id: &str) -> Result<PullInfo, ModelsError> {
        let now = clock::shown_ms();
        let ended = self.work.pulls().end(id, PullState::Cancelled, None, now);
        if let Some(info) = ended {
            self.work.tell_end(&info);
        }
        let task = self.work.tasks().remove(id);
        if let Some(task) = task {
            task.abort();
        }
        self.find(id)
    }

    fn find(&self, id: &str) -> Result<PullInfo, ModelsError> {
        let id: String = id.chars().take(64).collect();
        let found = self.work.pulls().find(&id);
        found.ok_or_else(|| ModelsError::Unknown(format!("no pull {id:?} is known")))
    }

    fn list(&self) -> Result<Listing, ModelsError> {
        Ok(Listing {
            models: self.store.list(&self.catalogue).map_err(told)?,
            free_bytes: self.store.free_bytes(),
            pulls: self.work.pulls().all(),
        })
    }

    fn verify(&self, name: Option<&ModelName>, stop: &Stop) -> Result<Vec<Verified>, ModelsError> {
        let verified = self.store.verify(name, stop, &|_| {}).map_err(told)?;
        for found in &verified {
            self.work.events.publish(Event::Model(ModelEvent::Verified(found.clone())));
        }
        Ok(verified)
    }

    fn remove(&self, name: &ModelName, is_forced: bool) -> Result<Removed, ModelsError> {
        let removed = self.store.remove(name, &self.catalogue, is_forced).map_err(told)?;
        info!(model = %name, bytes_freed = removed.bytes_freed, "a model was removed");
        self.work.events.publish(Event::Model(ModelEvent::Removed { name: name.clone() }));
        Ok(removed)
    }
}

impl Work {
    /// A table of plain values is whole whoever panicked over it.
    fn pulls(&self) -> MutexGuard<'_, Pulls> {
        self.pulls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tasks(&self) -> MutexGuard<'_, BTreeMap<String, AbortHandle>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, info: &PullInfo) {
        self.events.publish(Event::Model(ModelEvent::Pull(info.clone())));
    }

    fn tell_end(&self, info: &PullInfo) {
        self.meter.ended(info.state.as_str());
        self.tell(info);
    }

    fn end(&self, id: &str, state: PullState, reason: Option<String>) {
        let ended = self.pulls().end(id, state, reason, clock::shown_ms());
        if let Some(info) = ended {
            self.tell_end(&info);
        }
        self.tasks().remove(id);
    }

    async fn carry_out(self: Arc<Self>, id: String, store: ModelStore, hub: Hub, entry: Entry) {
        // However the task ends, its pull does.
        let ending = Ending { work: Arc::clone(&self), id: id.clone() };
        let Ok(_place) = self.places.acquire().await else { return };
        let (work, told_id) = (Arc::clone(&self), id.clone());
        let tell = move |progress: Progress| {
            let news = work.pulls().progress(&told_id, progress, clock::shown_ms());
            if let Some(info) = news {
                work.tell(&info);
            }
        };
        // It waits no more, also while what is here already is looked at.
        tell(Progress::of(Stage::Checking, 0, entry.bytes));
        let now_ms = clock::shown_ms();
        match pull(&store, &hub, &entry, now_ms, Arc::new(tell)).await {
            Ok(installed) => {
                info!(model = installed.name, sha256 = installed.sha256, "a model is installed");
                self.end(&id, PullState::Done, None);
            }
            Err(error) => {
                warn!(model = %entry.name, %error, "a model was not pulled");
                self.end(&id, PullState::Failed, Some(error.to_string()));
            }
        }
        drop(ending);
    }
}

/// Ends a pull whose task panicked or was ended.
struct Ending {
    work: Arc<Work>,
    id: String,
}

impl Drop for Ending {
    fn drop(&mut self) {
        let reason = "the work ended without a result; the log says where".to_owned();
        self.work.end(&self.id, PullState::Failed, Some(reason));
    }
}

/// What the store says, as it is told.
fn told(error: ModelStoreError) -> ModelsError {
    let text = error.to_string();
    match error {
        ModelStoreError::Unknown { .. } => ModelsError::Unknown(text),
        ModelStoreError::InUse(_)
        | ModelStoreError::Coming(_)
        | ModelStoreError::Index(IndexError::Taken { .. } | IndexError::Full) => {
            ModelsError::Conflict(text)
        }
        ModelStoreError::NoRoom(_) => ModelsError::NoRoom(text),
        ModelStoreError::Cancelled => ModelsError::Cancelled,
        _ => ModelsError::Failed(text),
    }
}

/// Runs `work`, which blocks, and answers; it is told to stop when nobody waits any more.
async fn answer<T: Send + 'static>(
    mut reply: Reply<Result<T, ModelsError>>,
    deadline: Deadline,
    work: impl FnOnce(&Stop) -> Result<T, ModelsError> + Send + 'static,
) {
    let stop = Stop::default();
    let _guard = stop.on_drop();
    let working = async move {
        let working = tokio::task::spawn_blocking(move || work(&stop));
        match tokio::time::timeout_at(deadline.instant(), working).await {
            Ok(Ok(done)) => done,
            Ok(Err(_)) => Err(ModelsError::Failed("the work panicked; the log says where".into())),
            Err(_) => Err(ModelsError::Cancelled),
        }
    };
    if let Some(done) = unless_abandoned(&mut reply, working).await {
        reply.send(done);
    }
}

impl Actor for Models {
    type Msg = ModelsMsg;
    /// Everything is on disk, or in the tasks.
    type State = ();
    const STARTS_AT_ONCE: bool = true;

    async fn start(&self) -> Result<(), Failure> {
        Ok(())
    }

    async fn handle(&self, message: ModelsMsg, turn: Turn, (): &mut ()) -> Result<(), Failure> {
        let (this, deadline) = (self.clone(), turn.deadline());
        match message {
            ModelsMsg::List { reply } => turn.spawn(answer(reply, deadline, move |_| this.list())),
            ModelsMsg::Pull { name, reply } => reply.send(self.begin(&name)),
            ModelsMsg::Find { id, reply } => reply.send(self.find(&id)),
            ModelsMsg::Cancel { id, reply } => reply.send(self.cancel(&id)),
            ModelsMsg::Verify { name, reply } => {
                turn.spawn(answer(reply, deadline, move |stop| this.verify(name.as_ref(), stop)));
            }
            ModelsMsg::Remove { name, is_forced, reply } => {
                turn.spawn(answer(reply, deadline, move |_| this.remove(&name, is_forced)));
            }
        }
        Ok(())
    }

    /// Pulls end with the node; what came of them is kept.
    async fn stop(&self, (): &mut (), is_told: bool) {
        if is_told {
            let open: Vec<String> = self.work.tasks().keys().cloned().collect();
            for id in open {
                let _ = self.cancel(&id);
            }
        }
    }
}
