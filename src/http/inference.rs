//! Prompts and their answers.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::domain::inference::{
    Attempt, FinishReason, InferenceRequest, ModelInfo, Sampling, Tier,
};
use crate::http::app::{App, Until};
use crate::http::body::Body;
use crate::http::error::ApiError;
use crate::http::request_id::RequestId;
use crate::http::stream;
use crate::messages::inference_router::{Answer, InferenceMsg};

/// Characters of a prompt with its system text: no model that runs on one node reads more, and
/// what does not fit the model at hand is refused there, by tokens.
const PROMPT_CHARS_MAX: usize = 400_000;

/// Tokens to generate unless told otherwise.
const TOKENS_DEFAULT: i64 = 512;

/// Tokens to generate at most, whatever the model's context.
const TOKENS_MAX: i64 = 131_072;

/// Strings that end the answer, and the characters of one.
const STOPS_MAX: usize = 8;
const STOP_CHARS_MAX: usize = 64;

/// Bytes of a model's name.
const MODEL_BYTES_MAX: usize = 256;

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
            tier: tier_name(attempt.tier),
            backend: attempt.backend,
            outcome: attempt.outcome,
            ms: milliseconds(attempt.elapsed),
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
            tier: tier_name(answer.tier),
            requested_tier: answer.requested_tier.map(tier_name),
            degraded: answer.is_degraded,
            attempts: answer.attempts.into_iter().map(Tried::from).collect(),
            prompt_tokens: generated.prompt_tokens,
            completion_tokens: tokens,
            finish_reason: match generated.finish_reason {
                FinishReason::Stop => "stop",
                FinishReason::Length => "length",
            },
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
    let request = Box::new(validated(request)?);
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

fn validated(request: GenerateRequest) -> Result<InferenceRequest, ApiError> {
    let system_chars = request.system.as_deref().map_or(0, |system| system.chars().count());
    check_prompt(&request.prompt, system_chars)?;
    let stop = match request.stop {
        None => vec![],
        Some(Stop::One(stop)) => vec![stop],
        Some(Stop::Several(stops)) => stops,
    };
    let is_stop = |stop: &String| (1..=STOP_CHARS_MAX).contains(&stop.chars().count());
    if stop.len() > STOPS_MAX || !stop.iter().all(is_stop) {
        let error = format!("at most {STOPS_MAX} strings of 1 to {STOP_CHARS_MAX} characters");
        return Err(out_of_range("stop", error));
    }
    let temperature = request.temperature.unwrap_or(0.7);
    if !(0.0..=2.0).contains(&temperature) {
        return Err(out_of_range("temperature", "temperature is 0 to 2".to_owned()));
    }
    if request.top_p.is_some_and(|top_p| !(top_p > 0.0 && top_p <= 1.0)) {
        return Err(out_of_range("top_p", "top_p is above 0 and at most 1".to_owned()));
    }
    let seed = request.seed.map(u64::try_from).transpose();
    let seed = seed.map_err(|_| out_of_range("seed", "seed is not negative".to_owned()))?;
    let model = request.model.filter(|model| !model.is_empty());
    if model.as_ref().is_some_and(|model| model.len() > MODEL_BYTES_MAX) {
        let error = format!("a model's name has at most {MODEL_BYTES_MAX} bytes");
        return Err(out_of_range("model", error));
    }
    Ok(InferenceRequest {
        prompt: request.prompt,
        system: request.system.filter(|system| !system.is_empty()),
        max_tokens: tokens(request.max_tokens)?,
        sampling: Sampling { temperature, top_p: request.top_p, seed },
        stop,
        tier: request.tier.as_deref().map(tier_of).transpose()?,
        model,
    })
}

fn check_prompt(prompt: &str, more_chars: usize) -> Result<(), ApiError> {
    if prompt.trim().is_empty() {
        return Err(ApiError::invalid("EMPTY_PROMPT", "the prompt is empty").details("$.prompt"));
    }
    let chars = prompt.chars().count().saturating_add(more_chars);
    if chars > PROMPT_CHARS_MAX {
        let error = format!("the prompt has {chars} characters; the most is {PROMPT_CHARS_MAX}");
        return Err(ApiError::invalid("PROMPT_TOO_LONG", error).details("$.prompt"));
    }
    Ok(())
}

fn tokens(given: Option<i64>) -> Result<usize, ApiError> {
    let tokens = given.unwrap_or(TOKENS_DEFAULT);
    if !(1..=TOKENS_MAX).contains(&tokens) {
        let error = format!("max_tokens is 1 to {TOKENS_MAX}, and no more than the context holds");
        return Err(out_of_range("max_tokens", error));
    }
    usize::try_from(tokens).map_err(|error| out_of_range("max_tokens", error.to_string()))
}

fn out_of_range(field: &str, error: String) -> ApiError {
    ApiError::invalid("OUT_OF_RANGE", error).details(format!("$.{field}"))
}

fn tier_of(name: &str) -> Result<Tier, ApiError> {
    let is = |names: [&str; 2]| names.iter().any(|known| name.eq_ignore_ascii_case(known));
    if is(["edge", "nano"]) {
        Ok(Tier::Edge)
    } else if is(["local", "medium"]) {
        Ok(Tier::Local)
    } else if is(["pool", "large"]) {
        Ok(Tier::Pool)
    } else {
        let error = "tier is edge (nano), local (medium) or pool (large)";
        Err(ApiError::invalid("UNKNOWN_TIER", error).details("$.tier"))
    }
}

/// As clients read it, with a capital.
fn tier_name(tier: Tier) -> &'static str {
    match tier {
        Tier::Edge => "Edge",
        Tier::Local => "Local",
        Tier::Pool => "Pool",
    }
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
            tier: tier_name(model.tier),
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
    check_prompt(&request.prompt, 0)?;
    let max_tokens = tokens(request.max_tokens)?;
    let ask = |reply| InferenceMsg::Recommend {
        prompt: request.prompt.clone(),
        max_tokens,
        is_latency_sensitive: request.latency_sensitive.unwrap_or(false),
        reply,
    };
    let recommendation = app.roster.inference.call(deadline, ask).await?;
    Ok(Json(Recommended {
        recommended_tier: tier_name(recommendation.tier),
        complexity: recommendation.complexity,
        reasoning: recommendation.reasoning,
        available: recommendation.available.into_iter().map(tier_name).collect(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::body::from_json;

    fn told(text: &str) -> Result<InferenceRequest, (u16, &'static str)> {
        let refused = |error: ApiError| (error.status().as_u16(), error.code());
        from_json(text.as_bytes()).and_then(validated).map_err(refused)
    }

    #[test]
    fn a_prompt_is_enough() {
        let request = told("{\"prompt\":\"\u{6f22}\u{5b57}\"}").unwrap();
        assert_eq!(request.max_tokens, 512);
        assert_eq!(request.sampling, Sampling { temperature: 0.7, top_p: None, seed: None });
        assert_eq!((request.tier, request.model, request.system), (None, None, None));
        let nulls = "{\"prompt\":\"a\",\"system\":null,\"tier\":null,\"stop\":null,\"seed\":null}";
        assert!(told(nulls).is_ok());
    }

    #[test]
    fn tiers_have_two_names_in_any_case() {
        for (name, tier) in [
            ("edge", Tier::Edge),
            ("NANO", Tier::Edge),
            ("Local", Tier::Local),
            ("medium", Tier::Local),
            ("pool", Tier::Pool),
            ("Large", Tier::Pool),
        ] {
            let request = told(&format!("{{\"prompt\":\"a\",\"tier\":\"{name}\"}}")).unwrap();
            assert_eq!(request.tier, Some(tier));
        }
        for name in ["", "cloud", "edge ", "\u{e9}dge"] {
            let told = told(&format!("{{\"prompt\":\"a\",\"tier\":\"{name}\"}}"));
            assert_eq!(told, Err((400, "UNKNOWN_TIER")), "{name:?}");
        }
    }

    #[test]
    fn what_is_out_of_range_is_refused() {
        for (fields, code) in [
            ("\"prompt\":\"\"", "EMPTY_PROMPT"),
            ("\"prompt\":\" \\n\u{3000}\"", "EMPTY_PROMPT"),
            ("\"prompt\":\"a\",\"max_tokens\":0", "OUT_OF_RANGE"),
            ("\"prompt\":\"a\",\"max_tokens\":-5", "OUT_OF_RANGE"),
            ("\"prompt\":\"a\",\"max_tokens\":9007199254740991", "OUT_OF_RANGE"),
            ("\"prompt\":\"a\",\"temperature\":-0.1", "OUT_OF_RANGE"),
            ("\"prompt\":\"a\",\"temperature\":2.1", "OUT_OF_RANGE"),
            ("\"prompt\":\"a\",\"top_p\":0", "OUT_OF_RANGE"),
            ("\"prompt\":\"a\",\"top_p\":1.1", "OUT_OF_RANGE"),
            ("\"prompt\":\"a\",\"seed\":-1", "OUT_OF_RANGE"),
            ("\"prompt\":\"a\",\"stop\":\"\"", "OUT_OF_RANGE"),
            ("\"prompt\":\"a\",\"stop\":[\"a\",\"\"]", "OUT_OF_RANGE"),
            (
                "\"prompt\":\"a\",\"stop\":[\"\",\"\",\"\",\"\",\"\",\"\",\"\",\"\",\"\"]",
                "OUT_OF_RANGE",
            ),
        ] {
            assert_eq!(told(&format!("{{{fields}}}")), Err((400, code)), "{fields}");
        }
        let long = "\u{e9}".repeat(PROMPT_CHARS_MAX + 1);
        let long = serde_json::json!({ "prompt": long }).to_string();
        assert_eq!(told(&long), Err((400, "PROMPT_TOO_LONG")));
        let halves = "\u{e9}".repeat(PROMPT_CHARS_MAX / 2 + 1);
        let halves = serde_json::json!({ "prompt": halves, "system": halves }).to_string();
        assert_eq!(told(&halves), Err((400, "PROMPT_TOO_LONG")));
        let stop = serde_json::json!({ "prompt": "a", "stop": "\u{e9}".repeat(65) }).to_string();
        assert_eq!(told(&stop), Err((400, "OUT_OF_RANGE")));
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
            assert_eq!(told(&format!("{{{fields}}}")), Err((422, "INVALID_FIELD")), "{fields}");
        }
    }

    #[test]
    fn the_ends_of_every_range_are_in_it() {
        for fields in [
            "\"max_tokens\":1",
            "\"temperature\":0",
            "\"temperature\":2",
            "\"top_p\":1",
            "\"seed\":0",
            "\"seed\":9007199254740991",
            "\"stop\":\"\\n\"",
            "\"stop\":[]",
        ] {
            assert!(told(&format!("{{\"prompt\":\"a\",{fields}}}")).is_ok(), "{fields}");
        }
    }
}
