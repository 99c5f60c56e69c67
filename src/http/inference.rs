//! Prompts and their answers.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::domain::inference::conversation::Form;
use crate::domain::inference::request::{self, RawRequest};
use crate::domain::inference::{Attempt, InferenceRequest, ModelInfo, Tier};
use crate::http::app::{App, Sender, Until};
use crate::http::body::Body;
use crate::http::error::ApiError;
use crate::http::openapi::forms::{
    EpochMs, FinishReasonName, RequestIdText, StopTexts, SubjectText, TierName,
};
use crate::http::openapi::shapes::Envelope;
use crate::http::preferences::{self, Applied};
use crate::http::request_id::RequestId;
use crate::http::router;
use crate::http::stream::{self, Named};
use crate::messages::inference_router::{Answer, InferenceMsg};

/// A prompt, and how to answer it.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[schema(as = InferenceGenerateRequest, examples(json!({
    "prompt": "The function returns",
    "max_tokens": 16,
    "temperature": 0.0,
})))]
pub(super) struct GenerateRequest {
    /// What to answer; not blank. Its characters and those of `system` together are limited.
    #[schema(pattern = "\\S")]
    prompt: String,
    /// Instructions that go before it.
    system: Option<String>,
    /// Whose preferences to tell the model, behind `system`; nobody's unless told otherwise.
    #[schema(value_type = Option<SubjectText>)]
    preferences_of: Option<String>,
    /// The most tokens to generate.
    max_tokens: Option<i64>,
    /// How freely tokens are chosen; 0 is greedy.
    #[schema(minimum = 0, maximum = 2)]
    temperature: Option<f64>,
    /// Mass of the nucleus that tokens are chosen from; 1 unless told otherwise.
    #[schema(exclusive_minimum = 0, maximum = 1)]
    top_p: Option<f64>,
    /// Makes the choice repeatable.
    #[schema(minimum = 0)]
    seed: Option<i64>,
    /// What ends the answer and is no part of it.
    #[schema(value_type = Option<StopTexts>)]
    stop: Option<Stop>,
    /// Where the model should run; by the prompt's form unless told otherwise. In any case of
    /// letters.
    #[schema(pattern = "^([Ee][Dd][Gg][Ee]|[Nn][Aa][Nn][Oo]|[Ll][Oo][Cc][Aa][Ll]|\
                        [Mm][Ee][Dd][Ii][Uu][Mm]|[Pp][Oo][Oo][Ll]|[Ll][Aa][Rr][Gg][Ee])$")]
    tier: Option<String>,
    /// Name of the model, as in `inference/models`; any unless told otherwise.
    #[schema(min_length = 1, max_length = 256, pattern = "^[^\\u0000-\\u001f\\u007f-\\u009f]+$")]
    model: Option<String>,
    /// Whether to send the text as it comes, as server-sent events.
    stream: Option<bool>,
}

/// One string or several.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Stop {
    One(String),
    Several(Vec<String>),
}

/// A proven answer.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Generated {
    /// Id of the request.
    #[schema(value_type = RequestIdText)]
    pub(super) request_id: String,
    /// The text, without prompt and stop string.
    #[schema(example = " the number of bytes.")]
    pub(super) text: String,
    /// Name of the model that made it.
    #[schema(example = "bizra-demo")]
    pub(super) model: String,
    /// Where it ran.
    #[schema(value_type = TierName)]
    pub(super) tier: &'static str,
    /// The tier that was asked for; null if none was.
    #[schema(value_type = Option<TierName>, required)]
    pub(super) requested_tier: Option<&'static str>,
    /// Whether a lower tier answered than was asked for.
    pub(super) degraded: bool,
    /// The backends that were tried, in order.
    pub(super) attempts: Vec<Tried>,
    /// Tokens of the prompt.
    pub(super) prompt_tokens: usize,
    /// Tokens of the text.
    pub(super) completion_tokens: usize,
    /// Whether these two are a guess.
    pub(super) tokens_estimated: bool,
    /// Why it ended.
    #[schema(value_type = FinishReasonName)]
    pub(super) finish_reason: &'static str,
    /// Milliseconds it took in all.
    #[schema(minimum = 0)]
    pub(super) duration_ms: f64,
    /// Milliseconds spent waiting for backends that had no room.
    #[schema(minimum = 0)]
    pub(super) queue_ms: f64,
    /// Milliseconds to the first token.
    #[schema(minimum = 0)]
    pub(super) ttft_ms: f64,
    /// Tokens of the text by second.
    #[schema(minimum = 0)]
    pub(super) tokens_per_second: f64,
    /// The preferences that the model was told; null unless they were asked for. They are part of the
    /// system text whose hash is in the proof.
    #[schema(required)]
    pub(super) preferences: Option<Applied>,
    /// The proof.
    #[schema(value_type = Envelope)]
    pub(super) envelope: Value,
}

/// One backend that was tried.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Attempt, examples(json!({
    "tier": "Edge",
    "backend": "edge",
    "outcome": "ok",
    "ms": 41.5,
})))]
pub(super) struct Tried {
    /// The tier it serves.
    #[schema(value_type = TierName)]
    tier: &'static str,
    /// Its name.
    backend: String,
    /// What became of it.
    outcome: &'static str,
    /// Milliseconds it took.
    #[schema(minimum = 0)]
    ms: f64,
}

impl From<Attempt> for Tried {
    fn from(attempt: Attempt) -> Self {
        Self {
            tier: attempt.tier.as_str(),
            ms: attempt.elapsed_ms(),
            backend: attempt.backend,
            outcome: attempt.outcome,
        }
    }
}

impl From<Answer> for Generated {
    fn from(answer: Answer) -> Self {
        let generated = answer.generated;
        let tokens_per_second = generated.tokens_per_second().unwrap_or(0.0);
        Self {
            request_id: answer.request_id,
            text: generated.text,
            model: generated.model,
            tier: answer.tier.as_str(),
            requested_tier: answer.requested_tier.map(Tier::as_str),
            degraded: answer.is_degraded,
            attempts: answer.attempts.into_iter().map(Tried::from).collect(),
            prompt_tokens: generated.prompt_tokens,
            completion_tokens: generated.completion_tokens,
            tokens_estimated: generated.is_estimated,
            finish_reason: generated.finish_reason.as_str(),
            duration_ms: milliseconds(answer.elapsed),
            queue_ms: milliseconds(answer.queued),
            ttft_ms: milliseconds(generated.time_to_first_token),
            tokens_per_second: (tokens_per_second * 1e3).round() / 1e3,
            preferences: None,
            envelope: Value::clone(&answer.envelope.json),
        }
    }
}

/// Answers a prompt.
///
/// With a signed proof. `"stream": true` answers with server-sent events: `token` with
/// `{"text": ...}` for each piece, then `done` with what the whole answer would have been, or `error`
/// with what an error would have been; comments in between keep the connection open. The work ends
/// when the caller leaves.
#[utoipa::path(
    post,
    path = router::GENERATE,
    request_body = GenerateRequest,
    responses(
        (status = 200, content((Generated = "application/json"), (String = "text/event-stream"))),
        (status = 403, description = "The gates refused the prompt or the answer \
                                      (`REFUSED_BY_GATES`), or the host or origin is not allowed."),
        (status = 404, description = "There is no such model."),
    ),
)]
pub(super) async fn generate(
    State(app): State<App>,
    Until(deadline): Until,
    Sender(client): Sender,
    id: RequestId,
    Body(request): Body<GenerateRequest>,
) -> Result<Response, ApiError> {
    let is_stream = request.stream.unwrap_or(false);
    let preferences_of = request.preferences_of.clone();
    let mut request = Box::new(validated(request, &app.limits.prompts)?);
    let mut applied = None;
    if let Some(subject) = preferences_of {
        // What the node adds itself does not count as the caller's.
        let (place, system) = ("$.preferences_of", request.system.take());
        let (system, told) = preferences::behind(&app, deadline, place, &subject, system).await?;
        (request.system, applied) = (system, Some(told));
    }
    if is_stream {
        let named = Named { id: id.clone(), preferences: applied };
        return stream::generate(app, deadline, client, id, request, named).await;
    }
    let ask = |reply| InferenceMsg::Generate {
        request_id: id.as_str().to_owned(),
        client,
        request: request.clone(),
        tokens: None,
        deadline,
        reply,
    };
    let answer = app.roster.inference.call(deadline, ask).await??;
    Ok(Json(Generated { preferences: applied, ..(*answer).into() }).into_response())
}

fn validated(
    request: GenerateRequest,
    limits: &request::Limits,
) -> Result<InferenceRequest, ApiError> {
    let raw = RawRequest {
        prompt: request.prompt,
        system: request.system,
        history: Vec::new(),
        form: Form::Chat,
        max_tokens: unsigned("max_tokens", request.max_tokens)?,
        temperature: request.temperature,
        top_p: request.top_p,
        seed: unsigned("seed", request.seed)?,
        stop: match request.stop {
            None => vec![],
            Some(Stop::One(stop)) => vec![stop],
            Some(Stop::Several(stops)) => stops,
        },
        tier: request.tier,
        model: request.model,
    };
    Ok(raw.validate(limits)?)
}

/// A whole number that is not negative. Negative ones are read too, because they are out of range
/// and not of another type.
fn unsigned(field: &str, given: Option<i64>) -> Result<Option<u64>, ApiError> {
    given.map(u64::try_from).transpose().map_err(|_| {
        ApiError::invalid("OUT_OF_RANGE", format!("{field} is negative"))
            .details(format!("$.{field}"))
    })
}

/// To the microsecond.
fn milliseconds(time: std::time::Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

/// The models that were really seen.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Models {
    /// By backend.
    models: Vec<Model>,
}

/// A model that was really seen. What its backend does not tell is `null`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(examples(json!({
    "name": "bizra-demo",
    "tier": "Edge",
    "backend": "edge",
    "parameters": 2_400_000,
    "quantization": "Q8_0",
    "context_length": 512,
    "available": true,
    "loaded": true,
    "last_seen": 1_767_225_600_123_u64,
    "note": "a demo: it knows nothing",
})))]
pub(super) struct Model {
    /// Its name.
    name: String,
    /// Where it runs.
    #[schema(value_type = TierName)]
    tier: &'static str,
    /// What runs it.
    backend: String,
    /// How many parameters it has.
    #[schema(required)]
    parameters: Option<u64>,
    /// How they are stored.
    #[schema(required)]
    quantization: Option<String>,
    /// Tokens of prompt and answer together.
    #[schema(required)]
    context_length: Option<usize>,
    /// Whether it would answer now.
    available: bool,
    /// Whether it is in memory.
    loaded: bool,
    /// When it was last seen.
    #[schema(value_type = EpochMs)]
    last_seen: u64,
    /// What else there is to say of it.
    #[schema(required)]
    note: Option<String>,
}

impl From<ModelInfo> for Model {
    fn from(model: ModelInfo) -> Self {
        Self {
            name: model.name,
            tier: model.tier.as_str(),
            backend: model.backend,
            parameters: model.parameters,
            quantization: model.quantization,
            context_length: model.context_length,
            available: model.is_available,
            loaded: model.is_loaded,
            last_seen: model.last_seen_ms,
            note: model.note,
        }
    }
}

/// Lists the models.
///
/// Only what was really seen.
#[utoipa::path(get, path = router::MODELS, responses((status = 200, body = Models)))]
pub(super) async fn models(
    State(app): State<App>,
    Until(deadline): Until,
) -> Result<Json<Models>, ApiError> {
    let ask = |reply| InferenceMsg::Models { reply };
    let models = app.roster.inference.call(deadline, ask).await?;
    Ok(Json(Models { models: models.into_iter().map(Model::from).collect() }))
}

/// A prompt to place.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(examples(json!({ "prompt": "Prove that there are infinitely many primes." })))]
pub(super) struct TierRequest {
    /// What is to be answered; not blank.
    #[schema(pattern = "\\S")]
    prompt: String,
    /// The most tokens to generate.
    max_tokens: Option<i64>,
    /// Whether a quick answer matters more than a good one; no unless told otherwise.
    latency_sensitive: Option<bool>,
}

/// Where a prompt should go.
#[derive(Debug, Serialize, ToSchema)]
#[schema(examples(json!({
    "recommended_tier": "Local",
    "complexity": "complex",
    "reasoning": "asks for a proof",
    "available": ["Edge"],
})))]
pub(super) struct Recommended {
    /// The tier.
    #[schema(value_type = TierName)]
    recommended_tier: &'static str,
    /// How hard the prompt looks.
    #[schema(pattern = "^(simple|medium|complex|expert)$")]
    complexity: &'static str,
    /// Why.
    reasoning: String,
    /// Tiers that would serve it now.
    #[schema(value_type = Vec<TierName>)]
    available: Vec<&'static str>,
}

/// Recommends a tier.
///
/// By the form of the prompt; nothing is generated.
#[utoipa::path(
    post,
    path = router::TIER,
    request_body = TierRequest,
    responses((status = 200, body = Recommended)),
)]
pub(super) async fn tier(
    State(app): State<App>,
    Until(deadline): Until,
    Body(request): Body<TierRequest>,
) -> Result<Json<Recommended>, ApiError> {
    let raw = RawRequest {
        prompt: request.prompt,
        max_tokens: unsigned("max_tokens", request.max_tokens)?,
        ..RawRequest::default()
    };
    let InferenceRequest { prompt, max_tokens, .. } = raw.validate(&app.limits.prompts)?;
    let ask = |reply| InferenceMsg::Recommend {
        prompt: prompt.clone(),
        max_tokens,
        is_latency_sensitive: request.latency_sensitive.unwrap_or(false),
        reply,
    };
    let recommendation = app.roster.inference.call(deadline, ask).await?;
    Ok(Json(Recommended {
        recommended_tier: recommendation.tier.as_str(),
        complexity: recommendation.complexity,
        reasoning: recommendation.reasoning,
        available: recommendation.available.into_iter().map(Tier::as_str).collect(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::body::from_json;

    fn told(text: &str) -> Result<InferenceRequest, (u16, &'static str, Value)> {
        from_json(text.as_bytes())
            .and_then(|request| validated(request, &request::Limits::default()))
            .map_err(|error| {
                (error.status().as_u16(), error.code(), error.to_json("")["details"].clone())
            })
    }

    #[test]
    fn a_prompt_is_enough() {
        let request = told("{\"prompt\":\"\u{6f22}\u{5b57}\"}").unwrap();
        assert_eq!((request.max_tokens, request.sampling.temperature), (512, 0.7));
        let nulls = "{\"prompt\":\"a\",\"system\":null,\"tier\":null,\"stop\":null,\"seed\":null}";
        assert!(told(nulls).is_ok());
    }

    #[test]
    fn a_stop_is_one_string_or_several() {
        assert_eq!(told("{\"prompt\":\"a\",\"stop\":\"x\"}").unwrap().stop, ["x"]);
        assert_eq!(told("{\"prompt\":\"a\",\"stop\":[\"x\",\"y\"]}").unwrap().stop, ["x", "y"]);
    }

    #[test]
    fn what_is_out_of_range_is_refused_with_its_field() {
        for (field, value, code) in [
            ("prompt", "\" \\n\"", "EMPTY_PROMPT"),
            ("max_tokens", "0", "OUT_OF_RANGE"),
            ("max_tokens", "-5", "OUT_OF_RANGE"),
            ("max_tokens", "9007199254740991", "OUT_OF_RANGE"),
            ("temperature", "2.1", "OUT_OF_RANGE"),
            ("top_p", "0", "OUT_OF_RANGE"),
            ("seed", "-1", "OUT_OF_RANGE"),
            ("stop", "\"\"", "OUT_OF_RANGE"),
            ("tier", "\"\u{e9}dge\"", "UNKNOWN_TIER"),
            ("model", "\"\"", "OUT_OF_RANGE"),
        ] {
            let prompt = if field == "prompt" { "" } else { "\"prompt\":\"a\"," };
            let refused = told(&format!("{{{prompt}\"{field}\":{value}}}")).unwrap_err();
            assert_eq!(refused, (400, code, format!("$.{field}").into()), "{value}");
        }
        let long = serde_json::json!({ "prompt": "\u{e9}".repeat(100_000) }).to_string();
        assert_eq!(told(&long).unwrap_err().1, "PROMPT_TOO_LONG");
    }

    #[test]
    fn what_has_another_type_is_unprocessable() {
        for fields in [
            "",
            "\"prompt\":1",
            "\"prompt\":null",
            "\"prompt\":\"a\",\"max_tokens\":1.5",
            "\"prompt\":\"a\",\"max_tokens\":\"5\"",
            "\"prompt\":\"a\",\"temperature\":\"0.7\"",
            "\"prompt\":\"a\",\"stop\":[1]",
            "\"prompt\":\"a\",\"tier\":1",
            "\"prompt\":\"a\",\"stream\":\"yes\"",
        ] {
            let (status, code, _) = told(&format!("{{{fields}}}")).unwrap_err();
            assert_eq!((status, code), (422, "INVALID_FIELD"), "{fields}");
        }
    }
}
