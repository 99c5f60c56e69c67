//! What an answer's envelope says.

use serde_json::{Value, json};

use crate::clock;
use crate::domain::digest::domain_separated_digest;
use crate::domain::envelope::{Draft, EnvelopeId};
use crate::domain::gate::Receipt;
use crate::domain::inference::conversation::Form;
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
    /// Of the prompt, then of the system text if there is one, then of the history if it has any.
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
            payload: self.payload()?,
        })
    }

    /// What was judged: the prompt as `input`, the system text, the history (the texts of its turns
    /// with empty lines between; absent if nothing was said before), the answer as `output`.
    fn gates(&self) -> Value {
        let mut input = self.input.iter().map(Receipt::to_json);
        let prompt = input.next();
        let system = self.request.system.as_ref().and_then(|_| input.next());
        let output = self.output.first().map(Receipt::to_json);
        let mut gates = json!({ "input": prompt, "system": system, "output": output });
        if let Some(history) = input.next() {
            gates["history"] = history;
        }
        gates
    }

    /// Prompt, system text and history are named by hash: who has them can check, nobody else can
    /// read.
    fn payload(&self) -> Result<Value, InferenceError> {
        let Self { request, generated, .. } = self;
        let mut asked = asked(request)?;
        let mut payload = json!({
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
            "tokens_estimated": generated.is_estimated,
            "engine": generated.engine,
            "finish_reason": generated.finish_reason.as_str(),
        });
        for key in [HISTORY_HASH, FORM] {
            if let Some(value) = asked.get_mut(key) {
                payload[key] = value.take();
            }
        }
        Ok(payload)
    }
}

/// The hash of the earlier turns ([`InferenceRequest::history_digest`]); absent if there are none.
const HISTORY_HASH: &str = "history_hash";
/// `completion` for a text that was continued as it is; absent for a chat.
const FORM: &str = "form";

/// What was asked for, as a proof records it. `prompt_hash` and `system_hash` are the
/// domain-separated digests of the texts.
///
/// # Errors
/// None that a request could cause.
pub(super) fn asked(request: &InferenceRequest) -> Result<Value, InferenceError> {
    let hash = |text: &String| domain_separated_digest(text.as_bytes()).to_hex();
    let history = request.history_digest();
    let history = history.map_err(|error| InferenceError::Failed(error.to_string()))?;
    let mut asked = json!({
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
    });
    if let Some(history) = history {
        asked[HISTORY_HASH] = history.to_hex().into();
    }
    if request.form == Form::Completion {
        asked[FORM] = request.form.as_str().into();
    }
    Ok(asked)
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::domain::inference::conversation::Turn;
    use crate::domain::inference::request::{Limits, RawRequest};

    fn recorded(raw: RawRequest) -> Value {
        let raw = RawRequest { prompt: "why?".into(), ..raw };
        asked(&raw.validate(&Limits::default()).unwrap()).unwrap()
    }

    #[test]
    fn a_single_question_is_recorded_with_no_word_of_conversations() {
        let bare = recorded(RawRequest::default());
        let keys: BTreeSet<&str> = bare.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(keys, BTreeSet::from(["parameters", "prompt_hash", "system_hash"]));
    }

    #[test]
    fn what_was_said_before_and_the_form_are_recorded() {
        let history = vec![Turn::user("what?"), Turn::assistant("that.")];
        let conversation = recorded(RawRequest { history, ..RawRequest::default() });
        let turns = "inference-history-v1:[{\"role\":\"user\",\"text\":\"what?\"},\
                     {\"role\":\"assistant\",\"text\":\"that.\"}]";
        let hash = domain_separated_digest(turns.as_bytes()).to_hex();
        assert_eq!(conversation["history_hash"], hash);
        assert!(!conversation.to_string().contains("that."));
        let continued = recorded(RawRequest { form: Form::Completion, ..RawRequest::default() });
        assert_eq!(continued["form"], "completion");
        assert_eq!(continued["prompt_hash"], conversation["prompt_hash"]);
    }
}
