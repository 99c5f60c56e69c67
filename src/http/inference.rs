//! Prompts and their answers.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::domain::inference::conversation::Form;
use crate::domain::inference::request::{self, RawRequest};
use crate::domain::inference::{Attempt, InferenceRequest, ModelInfo, Tier};
use crate::http::app::{App, Until};
use crate::http::body::Body;
use crate::http::error::ApiError;
use crate::http::request_id::RequestId;
use crate::http::stream;
use crate::messages::inference_router::{Answer, InferenceMsg};

/// `POST /inference/generate`
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct GenerateRequest {
    prompt: String,
    system: Option<String>,
    /// 1 to what the model's context holds, and 512 unless told otherwise.
    max_tokens: Option<i64>,
    /// 0 (greedy) to 2, and 0.7 unless told otherwise.
    temperature: Option<f64>,
    /// Mass of the nucleus, above 0, at most 1.
    top_p: Option<f64>,
    /// Makes the choice repeatable.
    seed: Option<i64>,
    /// At most 8 strings, any of which ends the answer.
    stop: Option<Stop>,
    /// `edge`, `local` or `pool` (or `nano`, `medium`, `large`), in any case.
    tier: Option<String>,
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
#[derive(Debug, Serialize)]
pub(super) struct Generated {
    request_id: String,
    text: String,
    model: String,
    tier: &'static str,
    requested_tier: Option<&'static str>,
    /// Whether a lower tier answered than was asked for.
    degraded: bool,
    attempts: Vec<Tried>,
    prompt_tokens: usize,
    completion_tokens: usize,
    /// Whether these two are a guess.
    tokens_estimated: bool,
    finish_reason: &'static str,
    duration_ms: f64,
    ttft_ms: f64,
    tokens_per_second: f64,
    /// The proof.
    envelope: Value,
}

/// One backend that was tried.
#[derive(Debug, Serialize)]
struct Tried {
    tier: &'static str,
    backend: String,
    outcome: &'static str,
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
        let seconds = generated.duration.as_secs_f64();
        let tokens = generated.completion_tokens;
        #[expect(clippy::cast_precision_loss, reason = "token counts are far below 2^53")]
        let tokens_per_second = if seconds > 0.0 { tokens as f64 / seconds } else { 0.0 };
        Self {
            request_id: answer.request_id,
            text: generated.text,
            model: generated.model,
            tier: answer.tier.as_str(),
            requested_tier: answer.requested_tier.map(Tier::as_str),
            degraded: answer.is_degraded,
            attempts: answer.attempts.into_iter().map(Tried::from).collect(),
            prompt_tokens: generated.prompt_tokens,
            completion_tokens: tokens,
            tokens_estimated: generated.is_estimated,
            finish_reason: generated.finish_reason.as_str(),
            duration_ms: milliseconds(answer.elapsed),
            ttft_ms: milliseconds(generated.time_to_first_token),
            tokens_per_second: (tokens_per_second * 1e3).round() / 1e3,
            envelope: Value::clone(&answer.envelope.json),
        }
    }
}

pub(super) async fn generate(
    State(app): State<App>,
    Until(deadline): Until,
    id: RequestId,
    Body(request): Body<GenerateRequest>,
) -> Result<Response, ApiError> {
    let is_stream = request.stream.unwrap_or(false);
    let request = Box::new(validated(request, &app.limits.prompts)?);
    if is_stream {
        return stream::generate(app, deadline, id, request).await;
    }
    let ask = |reply| InferenceMsg::Generate {
        request_id: id.as_str().to_owned(),
        request: request.clone(),
        tokens: None,
        deadline,
        reply,
    };
    let answer = app.roster.inference.call(deadline, ask).await??;
    Ok(Json(Generated::from(*answer)).into_response())
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

/// `GET /inference/models`
#[derive(Debug, Serialize)]
pub(super) struct Models {
    models: Vec<Model>,
}

/// A model that was really seen. What its backend does not tell is `null`.
#[derive(Debug, Serialize)]
struct Model {
    name: String,
    tier: &'static str,
    backend: String,
    parameters: Option<u64>,
    quantization: Option<String>,
    context_length: Option<usize>,
    available: bool,
    loaded: bool,
    /// Milliseconds since the Unix epoch.
    last_seen: u64,
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

pub(super) async fn models(
    State(app): State<App>,
    Until(deadline): Until,
) -> Result<Json<Models>, ApiError> {
    let ask = |reply| InferenceMsg::Models { reply };
    let models = app.roster.inference.call(deadline, ask).await?;
    Ok(Json(Models { models: models.into_iter().map(Model::from).collect() }))
}

/// `POST /inference/tier`
#[derive(Debug, Deserialize)]
pub(super) struct TierRequest {
    prompt: String,
    max_tokens: Option<i64>,
    latency_sensitive: Option<bool>,
}

/// Where a prompt should go.
#[derive(Debug, Serialize)]
pub(super) struct Recommended {
    recommended_tier: &'static str,
    /// `simple`, `medium`, `complex` or `expert`.
    complexity: &'static str,
    reasoning: String,
    /// Tiers that would serve it now.
    available: Vec<&'static str>,
}

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
