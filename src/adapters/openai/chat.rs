//! One answer of an OpenAI server: what is asked, and the parts that come back.

use std::time::Duration;

use reqwest::Response;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::adapters::openai::chunk::{Chunk, Usage, read_answer, read_event};
use crate::adapters::upstream::{
    ANSWER_BYTES_MAX, Part, ServerError, TEXT_BYTES_MAX, Waits, read_at_most, reason_of,
};
use crate::domain::inference::conversation::{Form, Message};
use crate::domain::inference::{FinishReason, InferenceRequest};
use crate::domain::sse::{Event, Events};

/// What may still come after the reason why the answer ended, such as its numbers. The text is
/// whole by then, so nothing is lost if it does not.
const NUMBERS_WAIT: Duration = Duration::from_secs(2);

/// For the end of a stream whose last event was read, so that its connection can be used again.
const DRAIN_WAIT: Duration = Duration::from_secs(1);

/// Bytes of one event. It holds one token's text and at the end a page of numbers.
const EVENT_BYTES_MAX: usize = 256 * 1024;

/// An answer on its way. Dropping it closes the connection, which makes the server stop.
#[derive(Debug)]
pub struct Chat {
    answer: Option<Response>,
    events: Events,
    waits: Waits,
    has_begun: bool,
    finish: Option<FinishReason>,
    usage: Usage,
    text_bytes: usize,
}

impl Chat {
    /// The answer that comes as events.
    pub(super) fn streamed(answer: Response, waits: Waits) -> Self {
        Self {
            answer: Some(answer),
            events: Events::new(EVENT_BYTES_MAX),
            waits,
            has_begun: false,
            finish: None,
            usage: Usage::default(),
            text_bytes: 0,
        }
    }

    /// The next part. Nothing follows [`Part::End`].
    ///
    /// # Errors
    /// When the connection breaks, the server reports an error or is silent for too long, or the
    /// answer ends without saying that it is whole.
    pub async fn next(&mut self) -> Result<Part, ServerError> {
        let mut until = Instant::now() + self.wait();
        loop {
            while let Some(event) = self.events.read().map_err(|error| self.unreadable(&error))? {
                // Comments, which servers send to keep a connection open, are no sign of progress.
                until = Instant::now() + self.waits.between_tokens;
                if let Some(part) = self.part(&event)? {
                    return Ok(part);
                }
            }
            let Some(answer) = &mut self.answer else { return self.cut() };
            if self.finish.is_some() {
                until = until.min(Instant::now() + NUMBERS_WAIT);
            }
            match tokio::time::timeout_at(until, answer.chunk()).await {
                Ok(Ok(Some(bytes))) => {
                    self.events.push(&bytes).map_err(|error| self.unreadable(&error))?;
                }
                Ok(Ok(None)) => {
                    self.answer = None;
                    let last = self.events.end().map_err(|error| self.unreadable(&error))?;
                    let part = last.map(|event| self.part(&event)).transpose()?;
                    if let Some(part) = part.flatten() {
                        return Ok(part);
                    }
                }
                // Whole already; only its numbers are missing.
                Ok(Err(_)) | Err(_) if self.finish.is_some() => return self.cut(),
                Ok(Err(error)) => return Err(self.broken(reason_of(&error))),
                Err(_) if self.has_begun => return Err(ServerError::Stalled(self.wait())),
                Err(_) => return Err(ServerError::Silent(self.wait())),
            }
        }
    }

    fn wait(&self) -> Duration {
        if self.has_begun { self.waits.between_tokens } else { self.waits.first_token }
    }

    fn part(&mut self, event: &Event) -> Result<Option<Part>, ServerError> {
        let delta = match read_event(event)? {
            // llama-cpp-python sends this and nothing else when it drops an answer for another
            // request, so that the end alone does not make a text whole.
            Chunk::Done => {
                let Some(finish) = self.finish else {
                    let reason = "the answer ended without saying why";
                    return Err(ServerError::Unreadable(reason.to_owned()));
                };
                self.drain();
                return Ok(Some(self.end(finish)));
            }
            Chunk::Delta(delta) => delta,
        };
        self.has_begun = true;
        self.finish = delta.finish.or(self.finish);
        if let Some(usage) = delta.usage {
            // Some servers count on in every event; the last count is the right one.
            self.usage = usage;
        }
        if delta.text.is_empty() {
            return Ok(None);
        }
        self.text_bytes += delta.text.len();
        if self.text_bytes > TEXT_BYTES_MAX {
            let reason = format!("a text with more than {TEXT_BYTES_MAX} bytes");
            return Err(ServerError::Unreadable(reason));
        }
        Ok(Some(Part::Text(delta.text)))
    }

    /// The stream ended without its last event. With the reason why the answer ended it is whole
    /// nevertheless; without, nobody knows.
    fn cut(&self) -> Result<Part, ServerError> {
        match self.finish {
            Some(finish) => Ok(self.end(finish)),
            None => Err(self.broken("the answer ended without its last event".to_owned())),
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

    fn unreadable(&self, error: &dyn std::fmt::Display) -> ServerError {
        ServerError::Unreadable(error.to_string())
    }

    fn end(&self, finish_reason: FinishReason) -> Part {
        let Usage { prompt_tokens, completion_tokens } = self.usage;
        Part::End { prompt_tokens, completion_tokens, finish_reason }
    }

    /// Reads to the end of a stream of which nothing is wanted any more.
    fn drain(&mut self) {
        let Some(mut answer) = self.answer.take() else { return };
        let rest = async move { while let Ok(Some(_)) = answer.chunk().await {} };
        tokio::spawn(tokio::time::timeout(DRAIN_WAIT, rest));
    }
}

/// A whole answer in one body, as its text and its end.
pub(super) async fn whole(answer: Response) -> Result<[Part; 2], ServerError> {
    let body = read_at_most(answer, ANSWER_BYTES_MAX).await?;
    let delta = read_answer(&body)?;
    if delta.text.len() > TEXT_BYTES_MAX {
        let reason = format!("a text with more than {TEXT_BYTES_MAX} bytes");
        return Err(ServerError::Unreadable(reason));
    }
    let Some(finish_reason) = delta.finish else {
        return Err(ServerError::Unreadable("an answer that does not say why it ended".to_owned()));
    };
    let Usage { prompt_tokens, completion_tokens } = delta.usage.unwrap_or_default();
    Ok([Part::Text(delta.text), Part::End { prompt_tokens, completion_tokens, finish_reason }])
}

/// Where the server takes requests of this form.
pub(super) const fn path(form: Form) -> &'static str {
    match form {
        Form::Chat => "chat/completions",
        Form::Completion => "completions",
    }
}

/// The request as the server reads it.
pub(super) fn body(model: &str, request: &InferenceRequest, how: How) -> Value {
    let sampling = &request.sampling;
    let mut body = json!({
        "model": model,
        "max_tokens": request.max_tokens,
        "temperature": sampling.temperature,
        "stream": how.streams,
    });
    match request.form {
        Form::Chat => {
            let message =
                |said: Message<'_>| json!({ "role": said.role.as_str(), "content": said.text });
            body["messages"] = request.messages().map(message).collect();
        }
        Form::Completion => body["prompt"] = json!(request.prompt),
    }
    if let Some(top_p) = sampling.top_p {
        body["top_p"] = top_p.into();
    }
    if let Some(seed) = sampling.seed {
        body["seed"] = seed.into();
    }
    if !request.stop.is_empty() {
        body["stop"] = json!(request.stop);
    }
    if how.streams && how.asks_for_usage {
        body["stream_options"] = json!({ "include_usage": true });
    }
    body
}

/// How an answer is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct How {
    pub(super) streams: bool,
    pub(super) asks_for_usage: bool,
}
