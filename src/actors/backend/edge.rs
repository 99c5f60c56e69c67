//! Generates with the models in this process. The engine is `adapters::edge`.

mod shelf;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use tokio::sync::{Semaphore, mpsc};
use tracing::info;

use crate::actor::{Actor, Failure, Turn};
use crate::actors::backend::answer;
use crate::actors::backend::edge::shelf::{Shelf, Standing};
use crate::adapters::edge::catalogue::{Catalogue, Seen};
use crate::adapters::edge::demo::{DEMO, DEMO_NOTE};
use crate::adapters::edge::generate::{Limits, generate_fitting};
use crate::adapters::edge::model::ModelSource;
use crate::clock;
use crate::config::{self, Engine};
use crate::domain::inference::{BackendError, Generated, InferenceRequest, ModelInfo, Tier};
use crate::machine;
use crate::messages::backend::BackendMsg;

/// Its name in the tree.
pub const NAME: &str = "edge";

/// Pieces of text between the engine and a slow reader. Then the engine waits.
const PIECES_MAX: usize = 32;

/// What outlives a restart of the actor: the models, and the places of running requests.
#[derive(Clone, Debug)]
pub struct EdgeBackend {
    shelf: Arc<Shelf>,
    limits: Limits,
    places: Arc<Semaphore>,
}

/// Which models there are, and what they may take.
#[derive(Clone, Debug)]
pub struct Setup {
    /// GGUF files, the default first; without any, the model inside the program is the default.
    pub models: Vec<PathBuf>,
    /// The data directory, in whose folder `models` there may be more of them.
    pub data_dir: Option<PathBuf>,
    /// What computes with them.
    pub engine: Engine,
    /// Bytes that the weights in memory may take together.
    pub memory_bytes: u64,
    /// Requests that compute at a time; further ones wait.
    pub parallel: usize,
    /// What one request may use.
    pub limits: Limits,
}

impl EdgeBackend {
    /// A backend for these models.
    pub fn with(setup: Setup) -> Self {
        let mut named: Vec<_> = setup.models.into_iter().map(ModelSource::Path).collect();
        if named.is_empty() {
            named.push(DEMO);
        }
        let catalogue = Catalogue::new(named, setup.data_dir);
        Self {
            shelf: Arc::new(Shelf::new(catalogue, setup.engine, setup.memory_bytes)),
            limits: setup.limits,
            places: Arc::new(Semaphore::new(setup.parallel)),
        }
    }

    /// A backend for the GGUF file at `path`, or for the model inside the program, whatever memory
    /// that takes. At most `parallel` requests compute at a time; further ones wait behind the
    /// address.
    pub fn new(path: Option<&Path>, parallel: usize, limits: Limits) -> Self {
        let models = path.map(Path::to_owned).into_iter().collect();
        let (engine, memory_bytes) = (Engine::default(), u64::MAX);
        Self::with(Setup { models, data_dir: None, engine, memory_bytes, parallel, limits })
    }

    /// What the configuration asks for, with the models in `data_dir`.
    pub fn from_config(config: &config::Edge, data_dir: PathBuf) -> Self {
        let memory_bytes = match config.memory_bytes {
            // The rest is for what requests remember, and for the rest of the machine.
            0 => {
                machine::read().memory_available().map_or(MEMORY_BYTES_BLIND, |bytes| bytes / 4 * 3)
            }
            bytes => bytes,
        };
        info!(actor = NAME, memory_bytes, "memory for models");
        let models = config.model.iter().chain(&config.models).cloned().collect();
        Self::with(Setup {
            models,
            data_dir: Some(data_dir),
            engine: config.engine,
            memory_bytes,
            parallel: config.parallel,
            limits: Limits::default(),
        })
    }

    async fn generate(
        self,
        request: InferenceRequest,
        tokens: Option<mpsc::Sender<String>>,
    ) -> Result<Generated, BackendError> {
        let began = Instant::now();
        // Before a place: what cannot be answered waits for nothing.
        let seen = self.shelf.find(request.model.as_deref()).await?;
        let place = self.places.acquire_owned().await;
        let place = place.map_err(|_| BackendError::Cancelled)?;
        let lease = self.shelf.take(&seen).await?;
        let waited = began.elapsed();

        let stop = StopOnDrop::default();
        let is_stopped = stop.0.clone();
        let (pieces, mut shown) = mpsc::channel::<String>(PIECES_MAX);
        let is_shown = tokens.is_some();
        let limits = self.limits;
        let work = tokio::task::spawn_blocking(move || {
            // Given back when the engine has really ended, so that no more than `parallel` compute
            // and no model in use makes room for another.
            let (_place, lease) = (place, lease);
            let mut show = |text: &str| {
                // Fails when the other side was dropped: the caller left or time is up.
                if is_shown && pieces.blocking_send(text.to_owned()).is_err() {
                    return ControlFlow::Break(());
                }
                ControlFlow::Continue(())
            };
            let should_stop = || is_stopped.load(Ordering::Relaxed);
            generate_fitting(&lease.model, &request, limits, &mut show, &should_stop)
        });
        if let Some(tokens) = tokens {
            while let Some(piece) = shown.recv().await {
                if tokens.send(piece).await.is_err() {
                    return Err(BackendError::Cancelled);
                }
            }
        }
        let mut generated = work.await.map_err(|_| BackendError::Failed {
            backend: NAME.to_owned(),
            reason: "the engine panicked; the log says where".into(),
        })??;
        generated.time_to_first_token += waited;
        generated.duration += waited;
        // As it is listed: another model here may have the same name of its own.
        generated.model = seen.name;
        Ok(generated)
    }

    fn info(&self, seen: Seen, standing: Standing) -> ModelInfo {
        let is_demo = matches!(seen.source, ModelSource::Embedded { .. });
        let peek = seen.peek.ok();
        let context = peek.as_ref().map(|peek| peek.context_length);
        ModelInfo {
            name: seen.name,
            tier: Tier::Edge,
            backend: NAME.to_owned(),
            parameters: peek.as_ref().map(|peek| peek.parameters),
            quantization: peek.map(|peek| peek.quantization),
            context_length: context.map(|tokens| tokens.min(self.limits.context_tokens_max)),
            is_available: !matches!(standing, Standing::Broken(_)),
            is_loaded: standing == Standing::Loaded,
            last_seen_ms: clock::shown_ms(),
            note: match standing {
                Standing::Broken(reason) => Some(reason),
                Standing::Loading => Some("it is being loaded".into()),
                _ => is_demo.then(|| DEMO_NOTE.to_owned()),
            },
        }
    }
}

/// Bytes for models where the system does not say how many are free: a small model.
const MEMORY_BYTES_BLIND: u64 = 2 << 30;

/// Tells the engine to stop when the request is dropped, whyever that is.
#[derive(Debug, Default)]
struct StopOnDrop(Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Actor for EdgeBackend {
    type Msg = BackendMsg;
    type State = ();
    const STARTS_AT_ONCE: bool = true;

    async fn start(&self) -> Result<(), Failure> {
        self.shelf.open();
        Ok(())
    }

    async fn handle(&self, message: BackendMsg, turn: Turn, (): &mut ()) -> Result<(), Failure> {
        match message {
            BackendMsg::Models { reply } => {
                let backend = self.clone();
                turn.spawn(async move {
                    let listed = backend.shelf.list().await.into_iter();
                    reply.send(listed.map(|(seen, at)| backend.info(seen, at)).collect());
                });
            }
            BackendMsg::Generate { request, tokens, deadline, reply } => {
                let work = self.clone().generate(request, tokens.clone());
                turn.spawn(answer(NAME, reply, tokens, deadline, work));
            }
        }
        Ok(())
    }
}
