//! An Ollama server: which models it has, chat with one of them, or a text that it continues.
//!
//! Models are listed and described through ollama-rs, and requests are its types. The answer's
//! stream is read here: ollama-rs 0.3 drops a chunk that ends inside a character, prints what it
//! cannot read to standard error, and skips the errors that a server reports inside a stream.

pub mod chat;
pub mod embed;
pub mod frames;
mod lines;
pub mod pull;

use ollama_rs::Ollama;
use ollama_rs::error::OllamaError;
use ollama_rs::models::LocalModel;
use reqwest::{Client, Response, Url};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::adapters::ollama::chat::{Chat, body, path};
use crate::adapters::ollama::frames::FrameError;
use crate::adapters::upstream::{
    self, ANSWER_BYTES_MAX, Access, Description, MODELS_MAX, ServerError, Waits, clip, is_name,
    read_at_most, reason_of, refusal,
};
use crate::domain::inference::InferenceRequest;

impl From<FrameError> for ServerError {
    fn from(error: FrameError) -> Self {
        match error {
            FrameError::Reported(message) => Self::Refused(clip(&message)),
            other => Self::Unreadable(other.to_string()),
        }
    }
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
    /// A client of the server at `url`. Connects to nothing yet.
    ///
    /// # Errors
    /// When `url` is none, or the HTTP client cannot be made.
    pub fn new(url: &str, waits: Waits, access: &Access) -> Result<Self, ServerError> {
        let no_address = |error: &dyn std::fmt::Display| {
            ServerError::Unreachable(format!("{url:?} is no address: {error}"))
        };
        let mut url: Url = url.parse().map_err(|error| no_address(&error))?;
        url.set_path(&format!("{}/", url.path().trim_end_matches('/')));
        let client = upstream::client(waits, access)?;
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
        let mut tags: Option<Vec<Tag>> = None;
        let loaded = self.loaded().await;
        let is_loaded = |name: &str| loaded.iter().any(|tag| tag.name == name);
        let mut models = Vec::with_capacity(listed.len().min(MODELS_MAX));
        let listed = listed.into_iter().filter(|model| is_name(&model.name));
        for model in listed.take(MODELS_MAX) {
            let is_same =
                |old: &&Description| old.name == model.name && old.modified_at == model.modified_at;
            if let Some(old) = known.iter().find(is_same) {
                models.push(Description { is_loaded: is_loaded(&old.name), ..old.clone() });
                continue;
            }
            if tags.is_none() {
                tags = Some(self.get::<Tags>("tags").await?.models);
            }
            let tag = tags.iter().flatten().find(|tag| tag.name == model.name);
            let is_loaded = is_loaded(&model.name);
            models.push(Description { is_loaded, ..self.describe(model, tag).await? });
        }
        Ok(models)
    }

    /// What is in the server's memory. Servers before 0.1.33 do not say, and a server that does not
    /// answer this is not absent for it.
    async fn loaded(&self) -> Vec<Tag> {
        self.get::<Tags>("ps").await.map(|tags| tags.models).unwrap_or_default()
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
            Err(
                ServerError::Refused(_)
                | ServerError::Rejected { .. }
                | ServerError::UnknownModel(_)
                | ServerError::Unreadable(_),
            ) => None,
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
            is_loaded: false,
            name: model.name,
            modified_at: model.modified_at,
        })
    }

    /// Asks for what ollama-rs does not ask for, or leaves out of what it gives: digests, number
    /// formats, loaded models.
    async fn get<T: DeserializeOwned>(&self, what: &str) -> Result<T, ServerError> {
        let read = async {
            let answer = self.client.get(format!("{}api/{what}", self.url)).send().await?;
            Ok(match answer.status().is_success() {
                true => read_at_most(answer, ANSWER_BYTES_MAX).await,
                false => Err(refusal(answer, "", self.waits.probe).await),
            })
        };
        let bytes = self.within_probe(read).await??;
        serde_json::from_slice(&bytes).map_err(|error| ServerError::Unreadable(error.to_string()))
    }

    /// Begins to answer `request` with `model`.
    ///
    /// # Errors
    /// When the server is not there, refuses, or is silent for [`Waits::first_token`].
    pub async fn chat(&self, model: &str, request: &InferenceRequest) -> Result<Chat, ServerError> {
        let answer = self.post(path(request.form), &body(model, request)).await?;
        if answer.status().is_success() {
            return Ok(Chat::new(answer, self.waits, request.max_tokens));
        }
        Err(refusal(answer, model, self.waits.probe).await)
    }

    async fn post(&self, what: &str, body: &serde_json::Value) -> Result<Response, ServerError> {
        let wait = self.waits.first_token;
        let send = self.client.post(format!("{}api/{what}", self.url)).json(body);
        match tokio::time::timeout(wait, send.send()).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(ServerError::Unreachable(reason_of(&error))),
            Err(_) => Err(ServerError::Silent(wait)),
        }
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

fn is_digest(text: &str) -> bool {
    (1..=128).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b':')
}
