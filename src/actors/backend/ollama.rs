//! Generates with an Ollama server. What is said to it is in `adapters::ollama`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, mpsc, watch};
use tokio_util::task::AbortOnDropHandle;
use tracing::{info, warn};

use crate::actor::{Actor, Failure, Turn};
use crate::actors::backend::answer;
use crate::adapters::ollama::chat::Part;
use crate::adapters::ollama::{Description, Server, ServerError, Waits};
use crate::clock;
use crate::config;
use crate::domain::inference::route::is_same_model;
use crate::domain::inference::{BackendError, Generated, InferenceRequest, ModelInfo, Tier};
use crate::messages::backend::BackendMsg;

/// Its name in the tree.
pub const NAME: &str = "ollama";

/// What outlives a restart of the actor: what the server was last seen to offer.
#[derive(Clone, Debug)]
pub struct OllamaBackend {
    server: Arc<Server>,
    /// The model for requests that name none.
    model: Option<String>,
    probe_pause: Duration,
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

impl OllamaBackend {
    /// A backend for `server`, looked for at every start and then once per `probe_pause`.
    pub fn new(server: Server, model: Option<String>, probe_pause: Duration) -> Self {
        Self {
            server: Arc::new(server),
            model,
            probe_pause,
            seen: Arc::new(watch::Sender::new(Seen::default())),
            doubt: Arc::default(),
        }
    }

    /// What the configuration asks for.
    ///
    /// # Errors
    /// When the address is none.
    pub fn from_config(config: &config::Ollama) -> Result<Self, ServerError> {
        let probe = Duration::from_millis(config.probe_timeout_ms);
        let server = Server::new(&config.url, Waits { probe, ..Waits::default() })?;
        Ok(Self::new(server, config.model.clone(), Duration::from_secs(config.probe_seconds)))
    }

    /// Looks for the server for ever.
    async fn watch(self) {
        if self.seen.borrow().sight != Sight::Unknown {
            // What was seen by the incarnation before serves those who wait for this one. They are
            // answered first: to connect takes longer than all the rest of a restart.
            tokio::time::sleep(FIRST_PROBE_PAUSE).await;
        }
        loop {
            self.probe().await;
            // Several doubts ask for one probe, and none can make probes follow without a pause.
            let _ = tokio::time::timeout(self.probe_pause, self.doubt.notified()).await;
            tokio::time::sleep(PROBE_PAUSE_MIN).await;
        }
    }

    async fn probe(&self) {
        let before = self.seen.borrow().clone();
        let seen = match self.server.models(&before.models).await {
            Ok(models) => {
                if before.sight != Sight::Present {
                    let (url, models) = (self.server.url().as_str(), models.len());
                    info!(actor = NAME, url, models, "Ollama server found");
                }
                Seen { models: models.into(), at_ms: clock::shown_ms(), sight: Sight::Present }
            }
            Err(error) => {
                if before.sight == Sight::Present {
                    warn!(actor = NAME, %error, "Ollama server lost");
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
            return Err(self.absent(reason));
        }
        let by_name =
            |name: &str| seen.models.iter().find(|model| is_same_model(&model.name, name));
        if let Some(asked) = asked {
            return by_name(asked).ok_or_else(|| unknown(asked, seen));
        }
        let url = self.server.url();
        let chosen = match &self.model {
            Some(configured) => by_name(configured).ok_or_else(|| {
                format!("has no model {configured} (inference.ollama.model); pull it")
            }),
            None => seen
                .models
                .iter()
                .find(|model| model.can_chat)
                .ok_or_else(|| "has no model that answers prompts; pull one".to_owned()),
        };
        chosen.map_err(|reason| BackendError::Unavailable(format!("Ollama at {url} {reason}")))
    }

    fn absent(&self, reason: &str) -> BackendError {
        let url = self.server.url();
        let fix = "start it, or say where it is by OLLAMA_HOST or inference.ollama.url";
        BackendError::Unavailable(format!("Ollama at {url} {reason}; {fix}"))
    }

    async fn generate(
        self,
        request: InferenceRequest,
        tokens: Option<mpsc::Sender<String>>,
    ) -> Result<Generated, BackendError> {
        let began = Instant::now();
        let seen = self.seen().await;
        let model = self.choose(request.model.as_deref(), &seen)?;
        let fail = |error| self.failure(error, &seen);
        let mut chat = self.server.chat(&model.name, &request).await.map_err(fail)?;
        let mut text = String::new();
        let mut time_to_first_token = None;
        loop {
            match chat.next().await.map_err(fail)? {
                Part::Text(piece) => {
                    time_to_first_token.get_or_insert_with(|| began.elapsed());
                    text.push_str(&piece);
                    if let Some(tokens) = &tokens
                        && tokens.send(piece).await.is_err()
                    {
                        return Err(BackendError::Cancelled);
                    }
                }
                Part::End { prompt_tokens, completion_tokens, finish_reason } => {
                    let duration = began.elapsed();
                    return Ok(Generated {
                        text,
                        model: model.name.clone(),
                        model_digest: model.digest.clone(),
                        prompt_tokens,
                        completion_tokens,
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
        let backend = NAME.to_owned();
        match error {
            ServerError::Unreachable(_) => {
                self.doubt.notify_one();
                self.absent(&error.to_string())
            }
            ServerError::Busy => BackendError::Busy { backend },
            ServerError::Silent(_) => BackendError::Timeout { backend },
            ServerError::UnknownModel(model) => {
                self.doubt.notify_one();
                unknown(&model, seen)
            }
            ServerError::Refused(_) | ServerError::Unreadable(_) => {
                BackendError::Failed { backend, reason: format!("the server {error}") }
            }
        }
    }

    fn infos(seen: &Seen) -> Vec<ModelInfo> {
        let info = |model: &Description| ModelInfo {
            name: model.name.clone(),
            tier: Tier::Local,
            backend: NAME.to_owned(),
            parameters: model.parameters,
            quantization: model.quantization.clone(),
            context_length: model.context_length,
            is_available: seen.sight == Sight::Present && model.can_chat,
            // The server does not say without another question, so it is not claimed.
            is_loaded: false,
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

impl Actor for OllamaBackend {
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
                turn.spawn(async move { reply.send(Self::infos(&backend.seen().await)) });
            }
            BackendMsg::Generate { request, tokens, deadline, reply } => {
                let work = self.clone().generate(request, tokens.clone());
                turn.spawn(answer(NAME, reply, tokens, deadline, work));
            }
        }
        Ok(())
    }
}
