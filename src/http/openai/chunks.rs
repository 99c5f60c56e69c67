//! A streamed answer in chunks, as OpenAI's clients read it.
//!
//! First a chunk with the role, then the text, then one with the reason why it ended and with the
//! proof in `bizra`, then the usage if it was asked for, then `[DONE]`. The model that answers is
//! known at the end: until then chunks name the one that was asked for.

use axum::response::sse::Event;
use serde_json::{Value, json};

use crate::http::error::ApiError;
use crate::http::openai::placed;
use crate::http::openai::shape::{Endpoint, Parts, created_s};
use crate::http::openai::told;
use crate::http::preferences::Applied;
use crate::http::request_id::RequestId;
use crate::http::stream::{Spelling, line};
use crate::messages::inference_router::Answer;

/// What follows the last chunk.
const DONE: &str = "[DONE]";

/// Spells an answer in chunks.
#[derive(Debug)]
pub(super) struct Chunks {
    endpoint: Endpoint,
    id: String,
    created_s: u64,
    model: String,
    has_usage: bool,
    has_begun: bool,
    preferences: Option<Applied>,
}

impl Chunks {
    /// For an answer to this request. `model` is the one that was asked for, `preferences` what it is
    /// told.
    pub(super) fn new(
        endpoint: Endpoint,
        request_id: &RequestId,
        model: String,
        has_usage: bool,
        preferences: Option<Applied>,
    ) -> Self {
        let id = endpoint.id(request_id.as_str());
        let (created_s, has_begun) = (created_s(), false);
        Self { endpoint, id, created_s, model, has_usage, has_begun, preferences }
    }

    /// The chunk that says who speaks, unless it is out. Texts are continued by nobody.
    fn begin(&mut self) -> Option<Event> {
        let is_first = !std::mem::replace(&mut self.has_begun, true);
        let delta = json!({ "role": "assistant", "content": "" });
        (is_first && self.endpoint == Endpoint::Chat)
            .then(|| event(&self.chunk(self.choice(delta, "", None))))
    }

    /// What is new: of a conversation by `delta`, of a text by `text`.
    fn choice(&self, delta: Value, text: &str, finish_reason: Option<&str>) -> Value {
        let new = match self.endpoint {
            Endpoint::Chat => ("delta", delta),
            Endpoint::Completion => ("text", text.into()),
        };
        let mut choice = json!({ "index": 0, "logprobs": null, "finish_reason": finish_reason });
        choice[new.0] = new.1;
        json!([choice])
    }

    fn chunk(&self, choices: Value) -> Value {
        let mut chunk = json!({
            "id": self.id,
            "object": match self.endpoint {
                Endpoint::Chat => "chat.completion.chunk",
                Endpoint::Completion => "text_completion",
            },
            "created": self.created_s,
            "model": self.model,
            "system_fingerprint": null,
            "choices": choices,
        });
        // Whoever asked for the usage is told in every chunk that it is still to come.
        if self.has_usage {
            chunk["usage"] = Value::Null;
        }
        chunk
    }
}

impl Spelling for Chunks {
    fn piece(&mut self, text: String) -> Vec<Event> {
        let begin = self.begin();
        let choice = self.choice(json!({ "content": text }), &text, None);
        begin.into_iter().chain([event(&self.chunk(choice))]).collect()
    }

    fn done(&mut self, answer: Answer) -> Vec<Event> {
        let mut events: Vec<Event> = self.begin().into_iter().collect();
        let parts = Parts::of(answer, self.preferences.take());
        self.model = parts.model;
        let mut last = self.chunk(self.choice(json!({}), "", Some(parts.finish_reason)));
        last["system_fingerprint"] = parts.fingerprint.clone().into();
        last["bizra"] = json!(parts.proof);
        events.push(event(&last));
        if self.has_usage {
            let mut usage = self.chunk(json!([]));
            usage["system_fingerprint"] = parts.fingerprint.into();
            usage["usage"] = json!(parts.usage);
            events.push(event(&usage));
        }
        events.push(Event::default().data(DONE));
        events
    }

    fn broken(&mut self, error: ApiError) -> Vec<Event> {
        vec![event(&told::to_json(&placed(error, self.endpoint)))]
    }
}

fn event(data: &Value) -> Event {
    Event::default().data(line(data))
}
