//! What an answer's envelope says.

use serde_json::{Value, json};

use crate::clock;
use crate::domain::digest::domain_separated_digest;
use crate::domain::envelope::{Draft, EnvelopeId};
use crate::domain::gate::Receipt;
use crate::domain::inference::{Attempt, Generated, InferenceError, InferenceRequest, Tier};

/// An answer is checked when it comes or never; an hour is the longest an envelope lives.
const TTL_S: u32 = 3600;

/// Everything an envelope of an answer is made from.
#[derive(Debug)]
pub(super) struct Proof<'a> {
    pub(super) request_id: &'a str,
    pub(super) request: &'a InferenceRequest,
    pub(super) tier: Tier,
    pub(super) is_degraded: bool,
    pub(super) attempts: &'a [Attempt],
    pub(super) generated: &'a Generated,
    /// Of the prompt, then of the system text if there is one.
    pub(super) input: &'a [Receipt],
    pub(super) output: &'a [Receipt],
}

impl Proof<'_> {
    /// The draft, with an id and a time of its own: drawn once, so that the envelope actor may be
    /// asked again.
    pub(super) fn draft(&self) -> Result<Draft, InferenceError> {
        let Some(receipt) = self.output.first() else {
            return Err(InferenceError::Failed("the gates gave no verdict".into()));
        };
        Ok(Draft {
            id: envelope_id(self.request_id)?,
            timestamp_ms: clock::now_ms().max(0),
            ttl_s: TTL_S,
            audience: None,
            provenance: Vec::new(),
            constitution: receipt.constitution_digest(),
            gates: Some(self.gates()),
            payload: self.payload(),
        })
    }

    fn gates(&self) -> Value {
        json!({
            "input": self.input.first().map(Receipt::to_json),
            "system": self.input.get(1).map(Receipt::to_json),
            "output": self.output.first().map(Receipt::to_json),
        })
    }

    /// Prompt and system text are named by hash: who has them can check, nobody else can read.
    fn payload(&self) -> Value {
        let Self { request, generated, .. } = self;
        let asked = asked(request);
        json!({
            "type": "inference",
            "request_id": self.request_id,
            "prompt_hash": asked["prompt_hash"],
            "system_hash": asked["system_hash"],
            "parameters": asked["parameters"],
            "model": generated.model,
            "model_digest": generated.model_digest,
            "tier": self.tier.as_str(),
            "requested_tier": request.tier.map(Tier::as_str),
            "degraded": self.is_degraded,
            "attempts": self.attempts.iter().map(attempt).collect::<Vec<_>>(),
            "text": generated.text,
            "prompt_tokens": generated.prompt_tokens,
            "completion_tokens": generated.completion_tokens,
            "finish_reason": generated.finish_reason.as_str(),
        })
    }
}

/// What was asked for, as a proof records it.
pub(super) fn asked(request: &InferenceRequest) -> Value {
    let hash = |text: &String| domain_separated_digest(text.as_bytes()).to_hex();
    json!({
        "prompt_hash": hash(&request.prompt),
        "system_hash": request.system.as_ref().map(hash),
        "parameters": {
            "max_tokens": request.max_tokens,
            "temperature": request.sampling.temperature,
            "top_p": request.sampling.top_p,
            "seed": request.sampling.seed,
            "stop": request.stop,
            "model": request.model,
        },
    })
}

fn attempt(attempt: &Attempt) -> Value {
    json!({
        "tier": attempt.tier.as_str(),
        "backend": attempt.backend,
        "outcome": attempt.outcome,
        "ms": attempt.elapsed_ms(),
    })
}

/// Random, and bound to the request. A request's id alone would not do: callers may choose it, and
/// two envelopes must not share a nonce.
fn envelope_id(request_id: &str) -> Result<EnvelopeId, InferenceError> {
    let mut drawn = [0; 16];
    getrandom::fill(&mut drawn)
        .map_err(|error| InferenceError::Failed(format!("no randomness: {error}")))?;
    let digest = domain_separated_digest(&[request_id.as_bytes(), &drawn].concat());
    let mut id = [0; 16];
    id.copy_from_slice(&digest.as_bytes()[..16]);
    Ok(EnvelopeId(id))
}
