//! What comes in a stream, described for those who read it. The contract test holds the streams of a
//! live node to it.
//!
//! OpenAPI 3.1 has no word for the single events of a stream, 3.2 has `itemSchema`; the document says
//! the same in `x-itemSchema`.
#![expect(dead_code, reason = "these describe values that are made elsewhere")]

use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::http::openai::shape::{Head, Proof, Usage};
use crate::http::openapi::forms::{AnyJson, FinishReasonName};
use crate::http::router;

/// A piece of a streamed text.
#[derive(Debug, ToSchema)]
#[schema(examples(json!({ "text": " the number" })))]
pub(in crate::http) struct Token {
    /// What is new.
    #[schema(min_length = 1)]
    text: String,
}

/// A part of a streamed answer to a conversation.
#[derive(Debug, ToSchema)]
pub(in crate::http) struct ChatCompletionChunk {
    /// What every answer begins with. The model is the one that was asked for until it is known which
    /// one answers.
    #[serde(flatten)]
    head: Head,
    /// What is new; none in the chunk with the usage.
    #[schema(max_items = 1)]
    choices: Vec<ChatChunkChoice>,
    /// Tokens as the model counted them, in the last chunk if `stream_options.include_usage` asks for
    /// them; null in those before, absent otherwise.
    usage: Option<Usage>,
    /// How the answer came about, and the proof of it; in the chunk with a `finish_reason` alone.
    bizra: Option<Proof>,
}

/// What is new of an answer.
#[derive(Debug, ToSchema)]
#[schema(as = OpenAiChatChunkChoice)]
pub(in crate::http) struct ChatChunkChoice {
    /// Always 0.
    index: u32,
    /// What is new.
    delta: Delta,
    /// Always null.
    #[schema(value_type = Option<AnyJson>, required)]
    logprobs: Option<()>,
    /// Why it ended; null until it does.
    #[schema(value_type = Option<FinishReasonName>, required)]
    finish_reason: Option<&'static str>,
}

/// What is new of what the assistant says; nothing in the chunk with a `finish_reason`.
#[derive(Debug, ToSchema)]
#[schema(as = OpenAiDelta, examples(json!({ "content": " the number" })))]
pub(in crate::http) struct Delta {
    /// `assistant`, in the first chunk alone.
    role: Option<String>,
    /// The text that is new.
    content: Option<String>,
}

/// A part of a streamed continuation of a text.
#[derive(Debug, ToSchema)]
pub(in crate::http) struct TextCompletionChunk {
    /// What every answer begins with. The model is the one that was asked for until it is known which
    /// one answers.
    #[serde(flatten)]
    head: Head,
    /// What is new; none in the chunk with the usage.
    #[schema(max_items = 1)]
    choices: Vec<TextChunkChoice>,
    /// Tokens as the model counted them, in the last chunk if `stream_options.include_usage` asks for
    /// them; null in those before, absent otherwise.
    usage: Option<Usage>,
    /// How the text came about, and the proof of it; in the chunk with a `finish_reason` alone.
    bizra: Option<Proof>,
}

/// What is new of a text.
#[derive(Debug, ToSchema)]
#[schema(as = OpenAiTextChunkChoice)]
pub(in crate::http) struct TextChunkChoice {
    /// Always 0.
    index: u32,
    /// What is new.
    #[schema(example = " the number")]
    text: String,
    /// Always null.
    #[schema(value_type = Option<AnyJson>, required)]
    logprobs: Option<()>,
    /// Why it ended; null until it does.
    #[schema(value_type = Option<FinishReasonName>, required)]
    finish_reason: Option<&'static str>,
}

/// Says what the events of each stream are.
pub(super) fn set(document: &mut Value) {
    let ours = [("token", "Token"), ("done", "Generated"), ("error", "ApiError")];
    let ours = ours.map(|(name, schema)| {
        let mut event = event(schema);
        event["required"] = json!(["event", "data"]);
        event["properties"]["event"] = json!({ "const": name });
        event
    });
    let chunks = |schema: &str| {
        let end = json!({ "required": ["data"], "properties": { "data": { "const": "[DONE]" } } });
        json!([event(schema), event("OpenAiError"), end])
    };
    for (path, events) in [
        (router::GENERATE, json!(ours)),
        (router::OPENAI_CHAT, chunks("ChatCompletionChunk")),
        (router::OPENAI_COMPLETIONS, chunks("TextCompletionChunk")),
    ] {
        let content = &mut document["paths"][path]["post"]["responses"]["200"]["content"];
        content["text/event-stream"]["x-itemSchema"] = json!({ "oneOf": events });
    }
}

/// An event whose data is JSON of this schema.
fn event(schema: &str) -> Value {
    json!({
        "required": ["data"],
        "properties": { "data": {
            "type": "string",
            "contentMediaType": "application/json",
            "contentSchema": { "$ref": format!("#/components/schemas/{schema}") },
        } },
    })
}
