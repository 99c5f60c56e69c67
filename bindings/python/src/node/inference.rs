//! Prompts and their answers, whole or as they come.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use bizra_omega::domain::bytes::to_hex;
use bizra_omega::domain::inference::request::RawRequest;
use bizra_omega::domain::inference::{InferenceRequest, ModelInfo, Tier};
use bizra_omega::domain::rate::Client;
use bizra_omega::messages::inference_router::{self as router, InferenceMsg};
use pyo3::IntoPyObjectExt;
use pyo3::prelude::*;
use serde_json::{Value, json};
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::task::AbortHandle;

use super::answers::Json;
use super::call::{Answer, Call};
use super::input::unsigned;
use super::process;
use super::running::{Running, deadline, late};
use crate::error::{Error, Result, calmly};
use crate::input::random;

/// Pieces that wait for a slow reader; then the model waits with them. As many as over HTTP.
const PIECES_MAX: usize = 64;

/// The way to the inference router. Internal to this package: `bizra.Node.inference` wraps it.
#[pyclass(frozen, module = "bizra._native")]
pub(crate) struct InferencePort(pub(super) Running);

/// A prompt and how to answer it, as a dictionary with all of these keys.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct Prompt<'py> {
    prompt: String,
    system: Option<String>,
    max_tokens: Option<Bound<'py, PyAny>>,
    temperature: Option<f64>,
    top_p: Option<f64>,
    seed: Option<Bound<'py, PyAny>>,
    stop: Vec<String>,
    tier: Option<String>,
    model: Option<String>,
}

/// A prompt that can be served, under its name.
struct Asked {
    request_id: String,
    request: Box<InferenceRequest>,
}

#[pymethods]
impl InferencePort {
    /// Answers a prompt.
    fn generate(&self, prompt: Prompt<'_>, timeout: Option<f64>) -> PyResult<Call> {
        let until = deadline(timeout, self.0.facts.prompt)?;
        let Asked { request_id, request } = self.asked(prompt)?;
        let addr = self.0.roster.inference.clone();
        Ok(self.0.begin(&self.0.lanes.prompts, until, async move {
            let ask = |reply| InferenceMsg::Generate {
                request_id: request_id.clone(),
                client: here(),
                request: request.clone(),
                tokens: None,
                deadline: until,
                reply,
            };
            Ok(Json(told(&*addr.call(until, ask).await??)))
        })?)
    }

    /// Answers a prompt piece by piece.
    fn stream(&self, prompt: Prompt<'_>, timeout: Option<f64>) -> PyResult<StreamPort> {
        let until = deadline(timeout, self.0.facts.prompt)?;
        let Asked { request_id, request } = self.asked(prompt)?;
        let (addr, lane) = (self.0.roster.inference.clone(), Arc::clone(&self.0.lanes.prompts));
        let (sender, pieces) = mpsc::channel(PIECES_MAX);
        let (end, ended) = oneshot::channel();
        let generate = async move {
            let place = tokio::time::timeout_at(until.instant(), lane.acquire()).await;
            let _place = place.map_err(|_| late("no place for the call became free in time"))?;
            let ask = |reply| InferenceMsg::Generate {
                request_id: request_id.clone(),
                client: here(),
                request: request.clone(),
                tokens: Some(sender.clone()),
                deadline: until,
                reply,
            };
            Ok(told(&*addr.call(until, ask).await??))
        };
        let work = self.0.spawn_stream(generate, end)?;
        let tail = Tail { pieces, ended: Some(ended) };
        Ok(StreamPort { running: self.0.clone(), tail: Arc::new(Mutex::new(tail)), work })
    }

    /// Lists the models that were seen.
    fn models(&self, timeout: Option<f64>) -> PyResult<Call> {
        let until = deadline(timeout, self.0.facts.usual)?;
        let addr = self.0.roster.inference.clone();
        Ok(self.0.begin(&self.0.lanes.router, until, async move {
            let models = addr.call(until, |reply| InferenceMsg::Models { reply }).await?;
            Ok(Json(models.iter().map(shown).collect()))
        })?)
    }

    /// Recommends a tier.
    fn tier(
        &self,
        prompt: String,
        max_tokens: Option<Bound<'_, PyAny>>,
        latency_sensitive: bool,
        timeout: Option<f64>,
    ) -> PyResult<Call> {
        let max_tokens = unsigned("max_tokens", max_tokens.as_ref())?;
        let raw = RawRequest { prompt, max_tokens, ..RawRequest::default() };
        let InferenceRequest { prompt, max_tokens, .. } =
            calmly(|| Ok(raw.validate(&self.0.facts.prompts)?))?;
        let until = deadline(timeout, self.0.facts.usual)?;
        let addr = self.0.roster.inference.clone();
        Ok(self.0.begin(&self.0.lanes.router, until, async move {
            let ask = |reply| InferenceMsg::Recommend {
                prompt: prompt.clone(),
                max_tokens,
                is_latency_sensitive: latency_sensitive,
                reply,
            };
            let recommended = addr.call(until, ask).await?;
            let available: Vec<_> = recommended.available.into_iter().map(Tier::as_str).collect();
            Ok(Json(json!({
                "recommended_tier": recommended.tier.as_str(),
                "complexity": recommended.complexity,
                "reasoning": recommended.reasoning,
                "available": available,
            })))
        })?)
    }
}

impl InferencePort {
    fn asked(&self, prompt: Prompt<'_>) -> PyResult<Asked> {
        let raw = RawRequest {
            max_tokens: unsigned("max_tokens", prompt.max_tokens.as_ref())?,
            seed: unsigned("seed", prompt.seed.as_ref())?,
            prompt: prompt.prompt,
            system: prompt.system,
            temperature: prompt.temperature,
            top_p: prompt.top_p,
            stop: prompt.stop,
            tier: prompt.tier,
            model: prompt.model,
            ..RawRequest::default()
        };
        let request = calmly(|| Ok(Box::new(raw.validate(&self.0.facts.prompts)?)))?;
        Ok(Asked { request_id: to_hex(&random::<16>()?), request })
    }
}

/// Whose turn it is among those who wait for a model: a program is one client.
fn here() -> Client {
    IpAddr::V4(Ipv4Addr::LOCALHOST).into()
}

/// An answer, as the HTTP interface tells it.
fn told(answer: &router::Answer) -> Value {
    let generated = &answer.generated;
    let milliseconds = |time: std::time::Duration| (time.as_secs_f64() * 1e6).round() / 1e3;
    let tokens_per_second = generated.tokens_per_second().unwrap_or(0.0);
    let attempts = answer.attempts.iter().map(|attempt| {
        json!({
            "tier": attempt.tier.as_str(),
            "backend": attempt.backend,
            "outcome": attempt.outcome,
            "ms": attempt.elapsed_ms(),
        })
    });
    json!({
        "request_id": answer.request_id,
        "text": generated.text,
        "model": generated.model,
        "tier": answer.tier.as_str(),
        "requested_tier": answer.requested_tier.map(Tier::as_str),
        "degraded": answer.is_degraded,
        "attempts": attempts.collect::<Value>(),
        "prompt_tokens": generated.prompt_tokens,
        "completion_tokens": generated.completion_tokens,
        "tokens_estimated": generated.is_estimated,
        "finish_reason": generated.finish_reason.as_str(),
        "duration_ms": milliseconds(answer.elapsed),
        "queue_ms": milliseconds(answer.queued),
        "ttft_ms": milliseconds(generated.time_to_first_token),
        "tokens_per_second": (tokens_per_second * 1e3).round() / 1e3,
        "envelope": *answer.envelope.json,
    })
}

fn shown(model: &ModelInfo) -> Value {
    json!({
        "name": model.name,
        "tier": model.tier.as_str(),
        "backend": model.backend,
        "parameters": model.parameters,
        "quantization": model.quantization,
        "context_length": model.context_length,
        "available": model.is_available,
        "loaded": model.is_loaded,
        "last_seen": model.last_seen_ms,
        "note": model.note,
    })
}

/// What of a stream was not taken yet.
struct Tail {
    pieces: mpsc::Receiver<String>,
    ended: Option<oneshot::Receiver<Result<Value>>>,
}

/// A piece of the text, or the whole answer at its end.
enum Piece {
    Text(String),
    End(Value),
}

impl Answer for Piece {
    fn make(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        match self {
            Self::Text(text) => text.into_py_any(py),
            Self::End(answer) => Json(answer).make(py),
        }
    }
}

/// An answer as it comes. Internal to this package. Dropping it ends the work.
#[pyclass(frozen, module = "bizra._native")]
pub(crate) struct StreamPort {
    running: Running,
    tail: Arc<Mutex<Tail>>,
    work: AbortHandle,
}

#[pymethods]
impl StreamPort {
    /// The next piece as a text, or the whole answer as a dictionary after the last.
    fn next(&self) -> PyResult<Call> {
        // What is there already needs no task.
        if let Ok(mut tail) = self.tail.try_lock()
            && let Ok(text) = tail.pieces.try_recv()
        {
            return Ok(self.running.answered(Piece::Text(text))?);
        }
        let tail = Arc::clone(&self.tail);
        Ok(self.running.spawn(async move {
            let mut tail = tail.lock().await;
            if let Some(text) = tail.pieces.recv().await {
                return Ok(Piece::Text(text));
            }
            let over = || Error::internal("the stream is over");
            let ended = tail.ended.take().ok_or_else(over)?.await;
            // Cancelled, or the node stopped.
            ended.map_err(|_| process::stopped())?.map(Piece::End)
        })?)
    }

    /// Ends the work.
    fn close(&self) {
        if self.running.is_ours() {
            self.work.abort();
        }
    }
}

impl Drop for StreamPort {
    fn drop(&mut self) {
        self.close();
        if !self.running.is_ours() {
            // What the runtime shares with threads that are not here must not be touched.
            std::mem::forget((Arc::clone(&self.tail), self.work.clone()));
        }
    }
}
