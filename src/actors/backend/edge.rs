//! Generates with a model in this process. The engine is `adapters::edge`.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use tokio::sync::{Semaphore, mpsc, watch};
use tracing::{info, warn};

use crate::actor::{Actor, Failure, Turn};
use crate::actors::backend::answer;
use crate::adapters::edge::demo::{DEMO, DEMO_NAME, DEMO_NOTE};
use crate::adapters::edge::generate::{Limits, generate};
use crate::adapters::edge::model::{EdgeModel, ModelSource};
use crate::clock;
use crate::config;
use crate::domain::inference::{BackendError, Generated, InferenceRequest, ModelInfo, Tier};
use crate::messages::backend::BackendMsg;

/// Its name in the tree.
pub const NAME: &str = "edge";

/// Pieces of text between the engine and a slow reader. Then the engine waits.
const PIECES_MAX: usize = 32;

/// What outlives a restart of the actor: the loaded model, and the places of running requests.
#[derive(Clone, Debug)]
pub struct EdgeBackend {
    source: Arc<ModelSource>,
    limits: Limits,
    model: Arc<watch::Sender<Load>>,
    places: Arc<Semaphore>,
}

/// How far the model is.
#[derive(Clone, Debug)]
enum Load {
    Waiting,
    Loading,
    Ready(EdgeModel),
    Broken { reason: String },
}

impl EdgeBackend {
    /// A backend for the GGUF file at `path`, or for the model inside the program. At most
    /// `parallel` requests compute at a time; further ones wait behind the address.
    pub fn new(path: Option<&Path>, parallel: usize, limits: Limits) -> Self {
        let source = path.map_or(DEMO, |path| ModelSource::Path(path.to_owned()));
        Self {
            source: Arc::new(source),
            limits,
            model: Arc::new(watch::Sender::new(Load::Waiting)),
            places: Arc::new(Semaphore::new(parallel)),
        }
    }

    /// What the configuration asks for.
    pub fn from_config(config: &config::Edge) -> Self {
        Self::new(config.model.as_deref(), config.parallel, Limits::default())
    }

    /// Begins to load the model unless it is there or on its way. A file that was missing or
    /// broken is tried again whenever the actor starts.
    fn load(&self) {
        let begins = self.model.send_if_modified(|load| {
            let begins = matches!(load, Load::Waiting | Load::Broken { .. });
            if begins {
                *load = Load::Loading;
            }
            begins
        });
        if !begins {
            return;
        }
        let (source, model) = (self.source.clone(), self.model.clone());
        tokio::spawn(async move {
            let began = Instant::now();
            let loaded = tokio::task::spawn_blocking(move || EdgeModel::load(&source)).await;
            let elapsed_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
            model.send_replace(match loaded {
                Ok(Ok(loaded)) => {
                    let facts = loaded.facts();
                    info!(
                        model = facts.name,
                        digest = facts.digest,
                        context = facts.context_length,
                        elapsed_ms,
                        "model loaded"
                    );
                    if facts.name == DEMO_NAME {
                        info!("the model is {DEMO_NOTE}");
                    }
                    Load::Ready(loaded)
                }
                Ok(Err(error)) => broken(error.to_string()),
                Err(_) => broken("the engine panicked over the model; is it a GGUF file?".into()),
            });
        });
    }

    /// The model, once it is loaded.
    async fn model(&self) -> Result<EdgeModel, BackendError> {
        let mut loads = self.model.subscribe();
        // The sender is ours, so the channel does not close.
        let load = loads.wait_for(|load| !matches!(load, Load::Waiting | Load::Loading)).await;
        match load.as_deref() {
            Ok(Load::Ready(model)) => Ok(model.clone()),
            Ok(Load::Broken { reason }) => Err(BackendError::Unavailable(reason.clone())),
            _ => Err(BackendError::Unavailable("the model is not loaded".into())),
        }
    }

    async fn generate(
        self,
        request: InferenceRequest,
        tokens: Option<mpsc::Sender<String>>,
    ) -> Result<Generated, BackendError> {
        let began = Instant::now();
        let model = self.model().await?;
        let name = &model.facts().name;
        if let Some(asked) = request.model.as_ref().filter(|asked| *asked != name) {
            let (model, available) = (asked.clone(), vec![name.clone()]);
            return Err(BackendError::UnknownModel { model, available });
        }
        let place = self.places.acquire_owned().await;
        let place = place.map_err(|_| BackendError::Cancelled)?;
        let waited = began.elapsed();

        let stop = StopOnDrop::default();
        let is_stopped = stop.0.clone();
        let (pieces, mut shown) = mpsc::channel::<String>(PIECES_MAX);
        let is_shown = tokens.is_some();
        let limits = self.limits;
        let work = tokio::task::spawn_blocking(move || {
            // Given back when the engine has really ended, so that no more than `parallel` compute.
            let _place = place;
            let mut show = |text: &str| {
                // Fails when the other side was dropped: the caller left or time is up.
                if is_shown && pieces.blocking_send(text.to_owned()).is_err() {
                    return ControlFlow::Break(());
                }
                ControlFlow::Continue(())
            };
            let should_stop = || is_stopped.load(Ordering::Relaxed);
            let mut request = request;
            let whole = generate(&model, &request, limits, &mut show, &should_stop);
            match whole {
                // Found before anything is computed: give what room there is.
                Err(BackendError::TooLong { tokens, context, .. })
                    if !request.is_length_asked && tokens < context =>
                {
                    request.max_tokens = context - tokens;
                    generate(&model, &request, limits, &mut show, &should_stop)
                }
                outcome => outcome,
            }
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
        Ok(generated)
    }

    fn info(&self) -> ModelInfo {
        let load = self.model.borrow().clone();
        let is_demo = matches!(*self.source, ModelSource::Embedded { .. });
        let name = match &*self.source {
            ModelSource::Embedded { name, .. } => (*name).to_owned(),
            ModelSource::Path(path) => path.display().to_string(),
        };
        let unavailable = ModelInfo {
            name,
            tier: Tier::Edge,
            backend: NAME.to_owned(),
            parameters: None,
            quantization: None,
            context_length: None,
            is_available: false,
            is_loaded: false,
            last_seen_ms: clock::shown_ms(),
            note: None,
        };
        match load {
            Load::Ready(model) => {
                let facts = model.facts();
                ModelInfo {
                    name: facts.name.clone(),
                    parameters: Some(facts.parameters),
                    quantization: Some(facts.quantization.clone()),
                    context_length: Some(facts.context_length.min(self.limits.context_tokens_max)),
                    is_available: true,
                    is_loaded: true,
                    note: is_demo.then(|| DEMO_NOTE.to_owned()),
                    ..unavailable
                }
            }
            Load::Broken { reason } => ModelInfo { note: Some(reason), ..unavailable },
            Load::Waiting | Load::Loading => {
                ModelInfo { note: Some("it is being loaded".into()), ..unavailable }
            }
        }
    }
}

fn broken(reason: String) -> Load {
    warn!(actor = NAME, reason, "no model, the node serves without");
    Load::Broken { reason }
}

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
        self.load();
        Ok(())
    }

    async fn handle(&self, message: BackendMsg, turn: Turn, (): &mut ()) -> Result<(), Failure> {
        match message {
            BackendMsg::Models { reply } => reply.send(vec![self.info()]),
            BackendMsg::Generate { request, tokens, deadline, reply } => {
                let work = self.clone().generate(request, tokens.clone());
                turn.spawn(answer(NAME, reply, tokens, deadline, work));
            }
        }
        Ok(())
    }
}
