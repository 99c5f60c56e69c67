//! Answers as OpenAI's clients read them, with the proof in the vendor field `bizra`.

use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use crate::clock;
use crate::http::inference::{Generated, Tried};
use crate::http::openapi::forms::{
    AnyJson, EnvelopeIdText, FinishReasonName, RequestIdText, TierName,
};
use crate::http::openapi::shapes::Envelope;
use crate::http::preferences::Applied;
use crate::messages::inference_router::Answer;

/// What is asked of: each has its own shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Endpoint {
    /// `/v1/chat/completions`
    Chat,
    /// `/v1/completions`
    Completion,
}

impl Endpoint {
    /// The id of an answer to this request.
    pub(super) fn id(self, request_id: &str) -> String {
        let prefix = match self {
            Self::Chat => "chatcmpl",
            Self::Completion => "cmpl",
        };
        format!("{prefix}-{request_id}")
    }

    /// Where the prompt is in a request.
    pub(super) fn prompt_place(self) -> &'static str {
        match self {
            Self::Chat => "$.messages",
            Self::Completion => "$.prompt",
        }
    }
}

/// A whole answer, of either endpoint.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum Whole {
    Chat(ChatCompletion),
    Completion(TextCompletion),
}

/// The answer to a conversation.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct ChatCompletion {
    /// What every answer begins with.
    #[serde(flatten)]
    head: Head,
    /// The answer, of which there is one.
    choices: [ChatChoice; 1],
    /// Tokens as the model counted them.
    usage: Usage,
    /// How the answer came about, and the proof of it.
    bizra: Proof,
}

/// The continuation of a text.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct TextCompletion {
    /// What every answer begins with.
    #[serde(flatten)]
    head: Head,
    /// The text, of which there is one.
    choices: [TextChoice; 1],
    /// Tokens as the model counted them.
    usage: Usage,
    /// How the answer came about, and the proof of it.
    bizra: Proof,
}

/// What every answer begins with.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OpenAiHead, examples(json!({
    "id": "chatcmpl-5f0c9a1e7b3d4c2890ab12cd34ef5678",
    "object": "chat.completion",
    "created": 1_767_225_600,
    "model": "bizra-demo",
    "system_fingerprint": null,
})))]
pub(in crate::http) struct Head {
    /// Made of the request's id.
    id: String,
    /// What this is.
    object: &'static str,
    /// Seconds since the Unix epoch.
    created: u64,
    /// The model that answered.
    model: String,
    /// What identifies the model's bytes, if its backend reports it.
    #[schema(required)]
    system_fingerprint: Option<String>,
}

/// The answer to a conversation.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OpenAiChatChoice)]
pub(in crate::http) struct ChatChoice {
    /// Always 0.
    index: u32,
    /// What is said.
    message: Message,
    /// Always null.
    #[schema(value_type = Option<AnyJson>, required)]
    logprobs: Option<()>,
    /// Why it ended.
    #[schema(value_type = FinishReasonName)]
    finish_reason: &'static str,
}

/// What the assistant says.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OpenAiAnswer, examples(json!({
    "role": "assistant",
    "content": " the number of bytes.",
    "refusal": null,
})))]
pub(in crate::http) struct Message {
    /// Always `assistant`.
    role: &'static str,
    /// The text.
    content: String,
    /// Always null: what is refused is an error.
    #[schema(value_type = Option<AnyJson>, required)]
    refusal: Option<()>,
}

/// The continuation of a text.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OpenAiTextChoice)]
pub(in crate::http) struct TextChoice {
    /// Always 0.
    index: u32,
    /// What follows the prompt.
    #[schema(example = " the number of bytes.")]
    text: String,
    /// Always null.
    #[schema(value_type = Option<AnyJson>, required)]
    logprobs: Option<()>,
    /// Why it ended.
    #[schema(value_type = FinishReasonName)]
    finish_reason: &'static str,
}

/// Tokens as the model counted them.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[schema(as = OpenAiUsage)]
pub(in crate::http) struct Usage {
    /// Of the prompt.
    prompt_tokens: usize,
    /// Of the answer.
    completion_tokens: usize,
    /// Both.
    total_tokens: usize,
}

/// How the answer came about, and the proof of it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OpenAiProof)]
pub(in crate::http) struct Proof {
    /// Id of the request.
    #[schema(value_type = RequestIdText)]
    request_id: String,
    /// Where the model ran.
    #[schema(value_type = TierName)]
    tier: &'static str,
    /// The tier that was asked for; null if none was.
    #[schema(value_type = Option<TierName>, required)]
    requested_tier: Option<&'static str>,
    /// Whether a lower tier answered than was asked for.
    degraded: bool,
    /// The backends that were tried, in order.
    attempts: Vec<Tried>,
    /// Milliseconds it took in all.
    #[schema(minimum = 0)]
    duration_ms: f64,
    /// Milliseconds to the first token.
    #[schema(minimum = 0)]
    ttft_ms: f64,
    /// Tokens of the text by second.
    #[schema(minimum = 0)]
    tokens_per_second: f64,
    /// Whether the numbers of tokens are a guess.
    tokens_estimated: bool,
    /// The preferences that the model was told; null unless they were asked for.
    #[schema(required)]
    preferences: Option<Applied>,
    /// What the gates said, in short; the envelope has their receipts.
    #[schema(value_type = AnyJson)]
    gates: Value,
    /// Id of the envelope, as in the header `x-bizra-envelope`.
    #[schema(value_type = EnvelopeIdText)]
    envelope_id: String,
    /// The proof itself.
    #[schema(value_type = Envelope)]
    envelope: Value,
}

/// The parts of an answer, for whoever puts them together.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) text: String,
    pub(super) model: String,
    pub(super) fingerprint: Option<String>,
    pub(super) finish_reason: &'static str,
    pub(super) usage: Usage,
    pub(super) proof: Proof,
}

impl Parts {
    /// Of an answer, and of the preferences that its model was told.
    pub(super) fn of(answer: Answer, preferences: Option<Applied>) -> Self {
        let envelope_id = answer.envelope.id.to_string();
        let fingerprint = answer.generated.model_digest.clone();
        let answer = Generated::from(answer);
        let (prompt_tokens, completion_tokens) = (answer.prompt_tokens, answer.completion_tokens);
        let total_tokens = prompt_tokens.saturating_add(completion_tokens);
        Self {
            text: answer.text,
            model: answer.model,
            fingerprint,
            finish_reason: answer.finish_reason,
            usage: Usage { prompt_tokens, completion_tokens, total_tokens },
            proof: Proof {
                request_id: answer.request_id,
                tier: answer.tier,
                requested_tier: answer.requested_tier,
                degraded: answer.degraded,
                attempts: answer.attempts,
                duration_ms: answer.duration_ms,
                ttft_ms: answer.ttft_ms,
                tokens_per_second: answer.tokens_per_second,
                tokens_estimated: answer.tokens_estimated,
                preferences,
                gates: summary(&answer.envelope["gates"]),
                envelope_id,
                envelope: answer.envelope,
            },
        }
    }
}

/// Of each content that was judged: whether it passed, and its scores.
fn summary(gates: &Value) -> Value {
    let contents = gates.as_object().into_iter().flatten();
    let contents = contents.filter(|(_, receipt)| receipt.is_object()).map(|(content, receipt)| {
        let verdicts = receipt["gates"].as_array().into_iter().flatten();
        let scores = verdicts.filter_map(|verdict| {
            Some((verdict["gate"].as_str()?.to_owned(), verdict["score"].clone()))
        });
        let scores: Map<String, Value> = scores.collect();
        (content.clone(), json!({ "passed": receipt["passed"], "scores": scores }))
    });
    Value::Object(contents.collect())
}

/// A whole answer in the shape of this endpoint.
pub(super) fn whole(endpoint: Endpoint, parts: Parts) -> Whole {
    let Parts { text, model, fingerprint, finish_reason, usage, proof: bizra } = parts;
    let head = Head {
        id: endpoint.id(&bizra.request_id),
        object: match endpoint {
            Endpoint::Chat => "chat.completion",
            Endpoint::Completion => "text_completion",
        },
        created: created_s(),
        model,
        system_fingerprint: fingerprint,
    };
    let (index, logprobs) = (0, None);
    match endpoint {
        Endpoint::Chat => {
            let message = Message { role: "assistant", content: text, refusal: None };
            let choices = [ChatChoice { index, message, logprobs, finish_reason }];
            Whole::Chat(ChatCompletion { head, choices, usage, bizra })
        }
        Endpoint::Completion => {
            let choices = [TextChoice { index, text, logprobs, finish_reason }];
            Whole::Completion(TextCompletion { head, choices, usage, bizra })
        }
    }
}

/// Now, in the unit of this interface.
pub(super) fn created_s() -> u64 {
    clock::shown_ms() / 1000
}
