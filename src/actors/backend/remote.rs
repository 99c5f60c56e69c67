//! Generates with a model server. What is said to it is in `adapters::model_server`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, Semaphore, mpsc, watch};
use tokio_util::task::AbortOnDropHandle;
use tracing::{info, warn};

use crate::actor::{Actor, Failure, Turn};
use crate::actors::backend::answer;
use crate::adapters::model_server::configured::{Configured, SetupError};
use crate::adapters::model_server::{Kind, ModelServer};
use crate::adapters::upstream::{Description, Part, ServerError};
use crate::clock;
use crate::config;
use crate::domain::inference::estimate;
use crate::domain::inference::route::is_same_model;
use crate::domain::inference::{BackendError, Generated, InferenceRequest, ModelInfo, Stage, Tier};
use crate::messages::backend::BackendMsg;

/// A server as the rest of the node knows it.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its actor's name in the tree.
    pub name: String,
    /// Where its models count as running.
    pub tier: Tier,
    /// The model for requests that name none; otherwise its first.
    pub model: Option<String>,
    /// Requests that it is given at the same time.
    pub parallel: usize,
    /// Time between two looks at it.
    pub probe_pause: Duration,
    /// The section of the configuration that says where it is.
    pub section: String,
}

/// What outlives a restart of the actor: what the server was last seen to offer, and the places of
/// running requests.
#[derive(Clone, Debug)]
pub struct RemoteBackend {
    server: Arc<ModelServer>,
    settings: Arc<Settings>,
    places: Arc<Semaphore>,
    seen: Arc<watch::Sender<Seen>>,
    /// Asks for a probe at once.
    doubt: Arc<Notify>,
}

/// The outcome of the last probe.
#[derive(Clone, Debug, Default)]
struct Seen {
    models: Arc<[Description]>,
    /// When the server last listed them.
    at_ms: u64,
    sight: Sight,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Sight {
    /// No probe has ended yet.
    #[default]
    Unknown,
    Present,
    Absent {
        reason: String,
    },
}

impl RemoteBackend {
    /// A backend for `server`, looked for at every start and then once per pause.
    pub fn new(server: ModelServer, settings: Settings) -> Self {
        Self {
            server: Arc::new(server),
            places: Arc::new(Semaphore::new(settings.parallel)),
            settings: Arc::new(settings),
            seen: Arc::new(watch::Sender::new(Seen::default())),
            doubt: Arc::default(),
        }
    }

    /// Everyone that the configuration asks for.
    ///
    /// # Errors
    /// When the file with a key cannot be used, or an address is none.
    pub fn all_from_config(config: &config::Inference) -> Result<Vec<Self>, SetupError> {
        Configured::all(config).into_iter().map(Self::from_config).collect()
    }

    fn from_config(configured: Configured) -> Result<Self, SetupError> {
        let server = configured.client()?;
        let Configured { name, section, config, .. } = configured;
        let settings = Settings {
            name,
            tier: match config.tier {
                config::ServerTier::Local => Tier::Local,
                config::ServerTier::Pool => Tier::Pool,
            },
            model: config.model,
            parallel: config.parallel,
            probe_pause: Duration::from_secs(config.probe_seconds),
            section,
        };
        Ok(Self::new(server, settings))
    }

    /// Its actor's name in the tree.
    pub fn name(&self) -> &str {
        &self.settings.name
    }

    /// Where its models count as running.
    pub fn tier(&self) -> Tier {
        self.settings.tier
    }

    /// What kind of server it is, in one word.
    pub fn kind(&self) -> &'static str {
        self.server.kind().as_str()
    }

    /// Requests that it is given at the same time.
    pub fn parallel(&self) -> usize {
        self.settings.parallel
    }

    /// Looks for the server for ever.
    async fn watch(self) {
        if self.seen.borrow().sight != Sight::Unknown {
            // What was seen by the incarnation before serves those who wait for this one. They are
            // answered first: to connect takes longer than all the rest of a restart.
            tokio::time::sleep(FIRST_PROBE_PAUSE).await;
        }
        let mut skipped = 0;
        loop {
            // A server that answers is there. Some drop the answer when they are asked for models:
            // llama-cpp-python takes any request for a newer one.
            let is_answering = self.places.available_permits() < self.settings.parallel;
            let is_present = self.seen.borrow().sight == Sight::Present;
            if is_answering && is_present && skipped < PROBES_SKIPPED_MAX {
                skipped += 1;
            } else {
                skipped = 0;
                self.probe().await;
            }
            // Several doubts ask for one probe, and none can make probes follow without a pause.
            let _ = tokio::time::timeout(self.settings.probe_pause, self.doubt.notified()).await;
            tokio::time::sleep(PROBE_PAUSE_MIN).await;
        }
    }

    async fn probe(&self) {
        let before = self.seen.borrow().clone();
        let seen = match self.server.models(&before.models).await {
            Ok(models) => {
                if before.sight != Sight::Present {
                    let (url, models) = (self.server.url(), models.len());
                    info!(actor = self.name(), url, models, "model server found");
                }
                Seen { models: models.into(), at_ms: clock::shown_ms(), sight: Sight::Present }
            }
            Err(error) => {
                if before.sight == Sight::Present {
                    warn!(actor = self.name(), %error, "model server lost");
                }
                Seen { sight: Sight::Absent { reason: error.to_string() }, ..before }
            }
        };
        self.seen.send_replace(seen);
    }

    /// What was seen, after the first look.
    async fn seen(&self) -> Seen {
        let mut seen = self.seen.subscribe();
        // The sender is ours, so the channel does not close.
        let seen = seen.wait_for(|seen| seen.sight != Sight::Unknown).await;
        seen.map(|seen| seen.clone()).unwrap_or_default()
    }

    /// The model to ask.
    fn choose<'s>(
        &self,
        asked: Option<&str>,
        seen: &'s Seen,
    ) -> Result<&'s Description, BackendError> {
        if let Sight::Absent { reason } = &seen.sight {
            return Err(BackendError::Unavailable(self.absence(reason)));
        }
        let by_name =
            |name: &str| seen.models.iter().find(|model| is_same_model(&model.name, name));
        if let Some(asked) = asked {
            return by_name(asked).ok_or_else(|| unknown(asked, seen));
        }
        let section = &self.settings.section;
        let chosen = match &self.settings.model {
            Some(configured) => by_name(configured)
                .ok_or_else(|| format!("has no model {configured} ({section}.model); pull it")),
            None => seen
                .models
                .iter()
                .find(|model| model.can_chat)
                .ok_or_else(|| "has no model that answers prompts; pull one".to_owned()),
        };
        chosen.map_err(|reason| BackendError::Unavailable(format!("{} {reason}", self.title())))
    }

    fn title(&self) -> String {
        format!("{} at {}", self.server.kind().title(), self.server.url())
    }

    fn absence(&self, reason: &str) -> String {
        let section = &self.settings.section;
        let or = if self.name() == Kind::Ollama.as_str() { "OLLAMA_HOST or " } else { "" };
        let fix = format!("start it, or say where it is by {or}{section}.url");
        format!("{} {reason}; {fix}", self.title())
    }

    async fn generate(
        self,
        request: InferenceRequest,
        tokens: Option<mpsc::Sender<String>>,
    ) -> Result<Generated, BackendError> {
        let began = Instant::now();
        let seen = self.seen().await;
        let model = self.choose(request.model.as_deref(), &seen)?;
        let place = self.places.acquire().await;
        let _place = place.map_err(|_| BackendError::Cancelled)?;
        let fail = |error| self.failure(error, &seen);
        let mut answer = self.server.answer(&model.name, &request).await.map_err(fail)?;
        let mut text = String::new();
        let mut pieces = 0;
        let mut time_to_first_token = None;
        loop {
            match answer.next().await.map_err(fail)? {
                Part::Text(piece) => {
                    time_to_first_token.get_or_insert_with(|| began.elapsed());
                    text.push_str(&piece);
                    pieces += 1;
                    // The next piece is taken from the server when this one was taken from here.
                    if let Some(tokens) = &tokens
                        && tokens.send(piece).await.is_err()
                    {
                        return Err(BackendError::Cancelled);
                    }
                }
                Part::End { prompt_tokens, completion_tokens, finish_reason } => {
                    let duration = began.elapsed();
                    return Ok(Generated {
                        is_estimated: prompt_tokens.is_none() || completion_tokens.is_none(),
                        prompt_tokens: prompt_tokens
                            .unwrap_or_else(|| estimate::prompt_tokens(&request)),
                        completion_tokens: completion_tokens
                            .unwrap_or_else(|| estimate::answer_tokens(&text, pieces)),
                        text,
                        model: model.name.clone(),
                        model_digest: model.digest.clone(),
                        engine: None,
                        finish_reason,
                        time_to_first_token: time_to_first_token.unwrap_or(duration),
                        duration,
                    });
                }
            }
        }
    }

    /// What the router is told of a failure of the server.
    fn failure(&self, error: ServerError, seen: &Seen) -> BackendError {
        let backend = self.name().to_owned();
        match error {
            ServerError::Unreachable(_) => {
                self.doubt.notify_one();
                BackendError::Unreachable(self.absence(&error.to_string()))
            }
            ServerError::TurnedAway { status, retry_after } => {
                BackendError::TurnedAway { backend, status, retry_after }
            }
            ServerError::Silent(_) => BackendError::Timeout { backend, stage: Stage::FirstToken },
            ServerError::Stalled(_) => {
                BackendError::Timeout { backend, stage: Stage::BetweenTokens }
            }
            ServerError::Rejected { status, reason } => {
                BackendError::Rejected { backend, status, reason }
            }
            ServerError::UnknownModel(model) => {
                self.doubt.notify_one();
                unknown(&model, seen)
            }
            ServerError::BrokenOff(_) => {
                self.doubt.notify_one();
                BackendError::BrokenOff { backend, reason: format!("the server {error}") }
            }
            ServerError::Refused(_) | ServerError::Unreadable(_) => {
                BackendError::Failed { backend, reason: format!("the server {error}") }
            }
        }
    }

    fn infos(&self, seen: &Seen) -> Vec<ModelInfo> {
        let info = |model: &Description| ModelInfo {
            name: model.name.clone(),
            tier: self.tier(),
            backend: self.name().to_owned(),
            parameters: model.parameters,
            quantization: model.quantization.clone(),
            context_length: model.context_length,
            is_available: seen.sight == Sight::Present && model.can_chat,
            is_loaded: seen.sight == Sight::Present && model.is_loaded,
            last_seen_ms: seen.at_ms,
            note: match &seen.sight {
                Sight::Absent { reason } => Some(format!("the server {reason}")),
                _ if !model.can_chat => Some("it does not answer prompts".to_owned()),
                _ => None,
            },
        };
        seen.models.iter().map(info).collect()
    }
}

/// Looks that are left out one after another while a server answers: five minutes, so that one that
/// is always at work is looked at nevertheless.
const PROBES_SKIPPED_MAX: u32 = 10;

/// Before a fresh incarnation looks for a server that was looked for before.
const FIRST_PROBE_PAUSE: Duration = Duration::from_millis(5);

/// A server that drops connections is looked at once a second, not in a loop.
const PROBE_PAUSE_MIN: Duration = Duration::from_secs(1);

fn unknown(asked: &str, seen: &Seen) -> BackendError {
    BackendError::UnknownModel {
        model: asked.to_owned(),
        available: seen.models.iter().map(|model| model.name.clone()).collect(),
    }
}

impl Actor for RemoteBackend {
    type Msg = BackendMsg;
    /// Ends with the incarnation.
    type State = AbortOnDropHandle<()>;
    const STARTS_AT_ONCE: bool = true;

    async fn start(&self) -> Result<Self::State, Failure> {
        Ok(AbortOnDropHandle::new(tokio::spawn(self.clone().watch())))
    }

    async fn handle(
        &self,
        message: BackendMsg,
        turn: Turn,
        _: &mut Self::State,
    ) -> Result<(), Failure> {
        match message {
            BackendMsg::Models { reply } => {
                let backend = self.clone();
                turn.spawn(async move { reply.send(backend.infos(&backend.seen().await)) });
            }
            BackendMsg::Generate { request, tokens, deadline, reply } => {
                let (name, backend) = (self.name().to_owned(), self.clone());
                turn.spawn(async move {
                    let work = backend.generate(request, tokens.clone());
                    answer(&name, reply, tokens, deadline, work).await;
                });
            }
        }
        Ok(())
    }
}
