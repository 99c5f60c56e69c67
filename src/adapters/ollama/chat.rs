//! One answer of an Ollama server: what is asked, and the parts that come back.

use ollama_rs::generation::chat::request::ChatMessageRequest;
use ollama_rs::generation::chat::{ChatMessage, MessageRole};
use ollama_rs::generation::completion::request::GenerationRequest;
use ollama_rs::models::ModelOptions;
use reqwest::Response;
use serde_json::{Value, json};

use crate::adapters::ollama::frames::{Frame, FrameError, Frames};
use crate::adapters::upstream::{Part, ServerError, Waits, reason_of};
use crate::domain::inference::conversation::{Form, Message, Role};
use crate::domain::inference::{FinishReason, InferenceRequest};

/// An answer on its way. Dropping it closes the connection, which makes the server stop.
#[derive(Debug)]
pub struct Chat {
    answer: Response,
    frames: Frames,
    waits: Waits,
    has_begun: bool,
    max_tokens: usize,
}

impl Chat {
    /// The answer that begins with `answer`.
    pub(super) fn new(answer: Response, waits: Waits, max_tokens: usize) -> Self {
        Self { answer, frames: Frames::default(), waits, has_begun: false, max_tokens }
    }

    /// The next part. Nothing follows [`Part::End`].
    ///
    /// # Errors
    /// When the connection breaks, the server reports an error or is silent for too long, or the
    /// answer ends without its last frame: then nobody knows whether it is whole.
    pub async fn next(&mut self) -> Result<Part, ServerError> {
        loop {
            while let Some(frame) = self.frames.read()? {
                if let Some(part) = self.part(frame) {
                    return Ok(part);
                }
            }
            let wait =
                if self.has_begun { self.waits.between_tokens } else { self.waits.first_token };
            match tokio::time::timeout(wait, self.answer.chunk()).await {
                Ok(Ok(Some(bytes))) => self.frames.push(&bytes)?,
                Ok(Ok(None)) => match self.frames.end() {
                    Err(error @ FrameError::Cut) => return Err(self.broken(error.to_string())),
                    ended => ended?,
                },
                Ok(Err(error)) => {
                    return Err(self.broken(reason_of(&error)));
                }
                Err(_) if self.has_begun => return Err(ServerError::Stalled(wait)),
                Err(_) => return Err(ServerError::Silent(wait)),
            }
        }
    }

    /// A connection that breaks before anything came is a server that is not there.
    fn broken(&self, reason: String) -> ServerError {
        if self.has_begun {
            ServerError::BrokenOff(reason)
        } else {
            ServerError::Unreachable(reason)
        }
    }

    fn part(&mut self, frame: Frame) -> Option<Part> {
        self.has_begun = true;
        match frame {
            Frame::Text(text) => (!text.is_empty()).then_some(Part::Text(text)),
            Frame::End { prompt_tokens, completion_tokens, reason } => {
                let is_full = match reason.as_deref() {
                    Some(reason) => reason == "length",
                    // Servers before 0.1.43 do not say.
                    None => completion_tokens.is_some_and(|count| count >= self.max_tokens),
                };
                let finish_reason = if is_full { FinishReason::Length } else { FinishReason::Stop };
                Some(Part::End { prompt_tokens, completion_tokens, finish_reason })
            }
        }
    }
}

/// Where the server takes requests of this form, below `api/`.
pub(super) const fn path(form: Form) -> &'static str {
    match form {
        Form::Chat => "chat",
        Form::Completion => "generate",
    }
}

/// The request as the server reads it.
pub(super) fn body(model: &str, request: &InferenceRequest) -> Value {
    let options = options(request);
    let mut body = match request.form {
        Form::Chat => {
            let messages = request.messages();
            let message = |said: Message<'_>| ChatMessage::new(role(said.role), said.text.into());
            let messages = messages.map(message).collect();
            json!(ChatMessageRequest::new(model.to_owned(), messages).options(options))
        }
        // Raw: the model's template stays out of it.
        Form::Completion => {
            let prompt = request.prompt.as_str();
            json!(GenerationRequest::new(model.to_owned(), prompt).raw(true).options(options))
        }
    };
    body["stream"] = true.into();
    // Otherwise the server silently drops the beginning of what does not fit its context.
    body["truncate"] = false.into();
    body["shift"] = false.into();
    body
}

fn role(role: Role) -> MessageRole {
    match role {
        Role::System => MessageRole::System,
        Role::User => MessageRole::User,
        Role::Assistant => MessageRole::Assistant,
    }
}

fn options(request: &InferenceRequest) -> ModelOptions {
    let sampling = &request.sampling;
    let mut options = ModelOptions::default()
        .temperature(sampling.temperature as f32)
        .num_predict(i32::try_from(request.max_tokens).unwrap_or(i32::MAX));
    if let Some(top_p) = sampling.top_p {
        let top_p = top_p as f32;
        options = options.top_p(top_p);
    }
    if let Some(seed) = sampling.seed {
        // ollama-rs has 32 bits for it, the server 64.
        options = options.extra("seed", seed);
    }
    if !request.stop.is_empty() {
        options = options.stop(request.stop.clone());
    }
    options
}
