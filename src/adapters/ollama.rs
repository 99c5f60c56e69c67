//! An Ollama server: which models it has, chat with one of them, or a text that it continues.
//!
//! Models are listed and described through ollama-rs, and requests are its types. The answer's
//! stream is read here: ollama-rs 0.3 drops a chunk that ends inside a character, prints what it
//! cannot read to standard error, and skips the errors that a server reports inside a stream.

pub mod chat;
pub mod frames;

use std::time::Duration;

use ollama_rs::Ollama;
use ollama_rs::error::OllamaError;
use ollama_rs::models::LocalModel;
use reqwest::{Client, Response, StatusCode, Url, redirect};
use serde::Deserialize;

use crate::adapters::ollama::chat::{Chat, body, path};
use crate::adapters::ollama::frames::FrameError;
use crate::domain::inference::InferenceRequest;

/// Models that are looked at; a server with more lists its newest first.
const MODELS_MAX: usize = 256;

/// Bytes of a list or a description. A description holds a licence and a vocabulary's facts.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Bytes of an error that are read, and characters of it that are repeated.
const ERROR_BYTES_MAX: usize = 4096;
const ERROR_CHARS_MAX: usize = 300;

/// How long the server may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waits {
    /// Until a connection stands.
    pub connect: Duration,
    /// Until it has listed its models.
    pub probe: Duration,
    /// Until the first piece of an answer; the server may have to load the model first.
    pub first_token: Duration,
    /// Between two pieces of an answer.
    pub between_tokens: Duration,
}

impl Default for Waits {
    /// 2 s for what a healthy server does in milliseconds; 30 s to load a model from disk; 15 s
    /// without a token is a server that hangs.
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(2),
            probe: Duration::from_secs(2),
            first_token: Duration::from_secs(30),
            between_tokens: Duration::from_secs(15),
        }
    }
}

/// Why the server gave no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ServerError {
    /// No connection, or it broke before the answer began.
    #[error("cannot be reached: {0}")]
    Unreachable(String),
    /// It has too much to do.
    #[error("is busy")]
    Busy,
    /// It does not have the model.
    #[error("has no model {0}")]
    UnknownModel(String),
    /// It was silent for too long.
    #[error("was silent for {} s", .0.as_secs())]
    Silent(Duration),
    /// It refused or failed, and said why.
    #[error("answered: {0}")]
    Refused(String),
    /// Its answer cannot be read.
    #[error("sent what cannot be read: {0}")]
    Unreadable(String),
}

impl From<FrameError> for ServerError {
    fn from(error: FrameError) -> Self {
        match error {
            FrameError::Reported(message) => Self::Refused(clip(&message)),
            other => Self::Unreadable(other.to_string()),
        }
    }
}

/// A model as the server describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// Its name, with tag.
    pub name: String,
    /// When its files last changed, as the server writes it: a description is good until then.
    pub modified_at: String,
    /// What identifies its files, if reported.
    pub digest: Option<String>,
    /// Number of weights, if reported.
    pub parameters: Option<u64>,
    /// Name of the weights' number format, if reported.
    pub quantization: Option<String>,
    /// Tokens of context, if reported.
    pub context_length: Option<usize>,
    /// Whether it answers prompts. Older servers do not report it; then it is taken to.
    pub can_chat: bool,
}

/// A client of one server.
#[derive(Clone, Debug)]
pub struct Server {
    url: Url,
    client: Client,
    ollama: Ollama,
    waits: Waits,
}

impl Server {
    /// A client of the server at `url`, an `http` URL without a path. Connects to nothing yet.
    ///
    /// # Errors
    /// When `url` is none, or the HTTP client cannot be made.
    pub fn new(url: &str, waits: Waits) -> Result<Self, ServerError> {
        let url: Url = url
            .parse()
            .map_err(|error| ServerError::Unreachable(format!("{url:?} is no address: {error}")))?;
        let client = Client::builder()
            .connect_timeout(waits.connect)
            .redirect(redirect::Policy::none())
            // The address was chosen by the operator; the environment must not send prompts
            // elsewhere.
            .no_proxy()
            .build()
            .map_err(|error| ServerError::Unreachable(reason_of(&error)))?;
        let ollama = Ollama::builder().url(url.clone()).reqwest_client(client.clone()).build();
        Ok(Self { url, client, ollama, waits })
    }

    /// Its address.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Lists its models and describes those that are not in `known` or changed since.
    ///
    /// # Errors
    /// When it does not answer in [`Waits::probe`], or not as an Ollama server does.
    pub async fn models(&self, known: &[Description]) -> Result<Vec<Description>, ServerError> {
        let listed = self.within_probe(self.ollama.list_local_models()).await?;
        let mut digests: Option<Vec<Tag>> = None;
        let mut models = Vec::with_capacity(listed.len().min(MODELS_MAX));
        for model in listed.into_iter().take(MODELS_MAX) {
            let is_same =
                |old: &&Description| old.name == model.name && old.modified_at == model.modified_at;
            if let Some(old) = known.iter().find(is_same) {
                models.push(old.clone());
                continue;
            }
            if digests.is_none() {
                digests = Some(self.tags().await?);
            }
            let tag = digests.iter().flatten().find(|tag| tag.name == model.name);
            models.push(self.describe(model, tag).await?);
        }
        Ok(models)
    }

    async fn describe(
        &self,
        model: LocalModel,
        tag: Option<&Tag>,
    ) -> Result<Description, ServerError> {
        let show = self.within_probe(self.ollama.show_model_info(model.name.clone())).await;
        // A model that was removed since, or that the server cannot describe, is still listed.
        let show = match show {
            Ok(show) => Some(show),
            Err(ServerError::Refused(_) | ServerError::Unreadable(_)) => None,
            Err(error) => return Err(error),
        };
        let fact = |suffix: &str| {
            let facts = &show.as_ref()?.model_info;
            facts.iter().find(|(key, _)| key.ends_with(suffix))?.1.as_u64()
        };
        let capabilities = show.as_ref().map(|show| show.capabilities.as_slice());
        let can_chat = match capabilities {
            None | Some([]) => true,
            Some(capabilities) => capabilities.iter().any(|word| word == "completion"),
        };
        Ok(Description {
            digest: tag.and_then(|tag| tag.digest.clone()).filter(|digest| is_digest(digest)),
            parameters: fact("general.parameter_count"),
            quantization: tag
                .and_then(|tag| tag.details.quantization_level.clone())
                .filter(|level| !level.is_empty() && level.len() <= 32),
            context_length: fact(".context_length").and_then(|tokens| tokens.try_into().ok()),
            can_chat,
            name: model.name,
            modified_at: model.modified_at,
        })
    }

    /// What ollama-rs leaves out of the list: digests and number formats.
    async fn tags(&self) -> Result<Vec<Tag>, ServerError> {
        let read = async {
            let answer = self.client.get(format!("{}api/tags", self.url)).send().await?;
            Ok(read_at_most(answer, ANSWER_BYTES_MAX).await)
        };
        let bytes = self.within_probe(read).await??;
        let tags: Tags = serde_json::from_slice(&bytes)
            .map_err(|error| ServerError::Unreadable(error.to_string()))?;
        Ok(tags.models)
    }

    /// Begins to answer `request` with `model`.
    ///
    /// # Errors
    /// When the server is not there, refuses, or is silent for [`Waits::first_token`].
    pub async fn chat(&self, model: &str, request: &InferenceRequest) -> Result<Chat, ServerError> {
        let wait = self.waits.first_token;
        let url = format!("{}{}", self.url, path(request.form));
        let send = self.client.post(url).json(&body(model, request));
        let answer = match tokio::time::timeout(wait, send.send()).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => return Err(ServerError::Unreachable(reason_of(&error))),
            Err(_) => return Err(ServerError::Silent(wait)),
        };
        let status = answer.status();
        if status.is_success() {
            return Ok(Chat::new(answer, self.waits, request.max_tokens));
        }
        let text = tokio::time::timeout(wait, read_at_most(answer, ERROR_BYTES_MAX));
        let text = text.await.ok().and_then(Result::ok).unwrap_or_default();
        Err(refusal(status, model, &text))
    }

    async fn within_probe<T>(
        &self,
        call: impl Future<Output = Result<T, OllamaError>>,
    ) -> Result<T, ServerError> {
        match tokio::time::timeout(self.waits.probe, call).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(OllamaError::ReqwestError(error))) => {
                Err(ServerError::Unreachable(reason_of(&error)))
            }
            Ok(Err(OllamaError::JsonError(error))) => {
                Err(ServerError::Unreadable(error.to_string()))
            }
            Ok(Err(error)) => Err(ServerError::Refused(clip(&error.to_string()))),
            Err(_) => Err(ServerError::Silent(self.waits.probe)),
        }
    }
}

#[derive(Debug, Deserialize)]
struct Tags {
    models: Vec<Tag>,
}

#[derive(Debug, Deserialize)]
struct Tag {
    name: String,
    digest: Option<String>,
    #[serde(default)]
    details: Details,
}

#[derive(Debug, Default, Deserialize)]
struct Details {
    quantization_level: Option<String>,
}

fn refusal(status: StatusCode, model: &str, text: &[u8]) -> ServerError {
    #[derive(Deserialize)]
    struct Reported {
        error: String,
    }
    let reason = match serde_json::from_slice(text) {
        Ok(Reported { error }) => clip(&error),
        Err(_) => format!("status {}", status.as_u16()),
    };
    match status {
        StatusCode::NOT_FOUND => ServerError::UnknownModel(model.to_owned()),
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => ServerError::Busy,
        StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT => ServerError::Unreachable(reason),
        _ => ServerError::Refused(reason),
    }
}

/// Reads a body, and refuses one that is longer than it may be.
async fn read_at_most(mut answer: Response, bytes_max: usize) -> Result<Vec<u8>, ServerError> {
    let mut bytes = Vec::new();
    loop {
        let chunk = answer.chunk().await;
        let chunk = chunk.map_err(|error| ServerError::Unreachable(reason_of(&error)))?;
        let Some(chunk) = chunk else { return Ok(bytes) };
        bytes.extend_from_slice(&chunk);
        if bytes.len() > bytes_max {
            return Err(ServerError::Unreadable(format!("more than {bytes_max} bytes")));
        }
    }
}

/// The innermost cause: reqwest's own text only says that a request failed, and to whom.
fn reason_of(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    clip(&cause.to_string())
}

/// A text of the server, short and on one line.
fn clip(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(ERROR_CHARS_MAX).collect()
}

fn is_digest(text: &str) -> bool {
    (1..=128).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b':')
}
