//! Generates an answer, token by token.

use std::ops::ControlFlow;
use std::time::Instant;

use crate::adapters::edge::engine;
use crate::adapters::edge::model::EdgeModel;
use crate::adapters::edge::sampler::Sampler;
use crate::adapters::edge::session::PassError;
use crate::domain::inference::{BackendError, FinishReason, Generated, InferenceRequest};
use crate::domain::text_stream::TextStream;

/// What this backend is called in errors and attempts.
pub const BACKEND: &str = "edge";

/// What one request may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most tokens of prompt and answer together, if the model takes more. Bounds the memory
    /// of a session.
    pub context_tokens_max: usize,
    /// Tokens of the prompt that are passed at once. More is faster until the caches overflow,
    /// and takes memory for their attention to all before them.
    pub prefill_chunk_tokens: usize,
}

impl Default for Limits {
    /// 8,192 tokens, for which a model of half a billion weights takes 200 MiB and one of seven
    /// billion 2 GiB, in chunks of 256.
    fn default() -> Self {
        Self { context_tokens_max: 8192, prefill_chunk_tokens: 256 }
    }
}

/// Answers `request`; blocks until the answer is whole.
///
/// `on_text` takes the text piece by piece as soon as it is certain; the pieces together are
/// [`Generated::text`]. `should_stop` is asked as [`Session::pass`](crate::adapters::edge::session::Session::pass)
/// says, and means that the caller left or its time is up. The seed is the request's, otherwise one from the system.
///
/// # Errors
/// [`BackendError::TooLong`] if prompt and `max_tokens` exceed the context,
/// [`BackendError::Cancelled`] if `should_stop` or `on_text` said so, [`BackendError::Failed`] if
/// there is nothing to generate or the model is broken.
pub fn generate(
    model: &EdgeModel,
    request: &InferenceRequest,
    limits: Limits,
    on_text: &mut dyn FnMut(&str) -> ControlFlow<()>,
    should_stop: &dyn Fn() -> bool,
) -> Result<Generated, BackendError> {
    let started = Instant::now();
    if request.prompt.trim().is_empty() {
        return Err(failed("the prompt is empty"));
    }
    if request.max_tokens == 0 {
        return Err(failed("max_tokens is 0"));
    }
    let prompt = model.prompt_tokens(request).map_err(failed)?;
    let context = model.facts().context_length.min(limits.context_tokens_max);
    let capacity = prompt.len().saturating_add(request.max_tokens);
    if capacity > context {
        let (tokens, max_tokens) = (prompt.len(), request.max_tokens);
        return Err(BackendError::TooLong { tokens, max_tokens, context });
    }
    let seed = match request.sampling.seed {
        Some(seed) => seed,
        None => getrandom::u64().map_err(failed)?,
    };
    let mut sampler = Sampler::new(&request.sampling, seed);
    let mut session = model.session(capacity).map_err(pass_failed)?;
    let mut answer =
        Answer { stream: TextStream::new(&request.stop), text: String::new(), on_text };

    let mut input = prompt.as_slice();
    let mut token;
    let mut completion_tokens = 0;
    let mut time_to_first_token = None;
    let mut finish_reason = FinishReason::Length;
    while completion_tokens < request.max_tokens {
        let logits =
            session.pass(input, limits.prefill_chunk_tokens, should_stop).map_err(pass_failed)?;
        let choice = sampler.choose(&logits);
        token = [choice.ok_or_else(|| failed("the model computes no numbers; it is broken"))?];
        time_to_first_token.get_or_insert_with(|| started.elapsed());
        if model.vocabulary().is_end(token[0]) {
            finish_reason = FinishReason::Stop;
            break;
        }
        completion_tokens += 1;
        if answer.push(model.vocabulary().bytes(token[0]))? {
            finish_reason = FinishReason::Stop;
            break;
        }
        input = &token;
    }
    let (text, is_stopped) = answer.finish()?;
    let duration = started.elapsed();
    Ok(Generated {
        text,
        model: model.facts().name.clone(),
        model_digest: Some(model.facts().digest.clone()),
        prompt_tokens: prompt.len(),
        completion_tokens,
        is_estimated: false,
        engine: Some(engine::id(model.engine()).to_owned()),
        finish_reason: if is_stopped { FinishReason::Stop } else { finish_reason },
        time_to_first_token: time_to_first_token.unwrap_or(duration),
        duration,
    })
}

/// As [`generate`]; a request whose length nobody asked for gets what room the model has.
///
/// # Errors
/// As [`generate`].
pub fn generate_fitting(
    model: &EdgeModel,
    request: &InferenceRequest,
    limits: Limits,
    on_text: &mut dyn FnMut(&str) -> ControlFlow<()>,
    should_stop: &dyn Fn() -> bool,
) -> Result<Generated, BackendError> {
    match generate(model, request, limits, on_text, should_stop) {
        // Found before anything is computed.
        Err(BackendError::TooLong { tokens, context, .. })
            if !request.is_length_asked && tokens < context =>
        {
            let shorter = InferenceRequest { max_tokens: context - tokens, ..request.clone() };
            generate(model, &shorter, limits, on_text, should_stop)
        }
        outcome => outcome,
    }
}

/// The text so far, and who takes it.
struct Answer<'f> {
    stream: TextStream,
    text: String,
    on_text: &'f mut dyn FnMut(&str) -> ControlFlow<()>,
}

impl Answer<'_> {
    /// Whether a stop string came.
    fn push(&mut self, bytes: &[u8]) -> Result<bool, BackendError> {
        let step = self.stream.push(bytes);
        self.show(&step.text)?;
        Ok(step.is_stopped)
    }

    fn show(&mut self, text: &str) -> Result<(), BackendError> {
        self.text.push_str(text);
        if !text.is_empty() && (self.on_text)(text).is_break() {
            return Err(BackendError::Cancelled);
        }
        Ok(())
    }

    /// The whole text, and whether a stop string ended it.
    fn finish(mut self) -> Result<(String, bool), BackendError> {
        let last = std::mem::replace(&mut self.stream, TextStream::new(&[])).finish();
        self.show(&last.text)?;
        Ok((self.text, last.is_stopped))
    }
}

fn failed(reason: impl ToString) -> BackendError {
    BackendError::Failed { backend: BACKEND.to_owned(), reason: reason.to_string() }
}

fn pass_failed(error: PassError) -> BackendError {
    match error {
        PassError::Stopped => BackendError::Cancelled,
        other => failed(other),
    }
}
