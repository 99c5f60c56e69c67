//! What may be said to the inference router, which turns a prompt into a proven answer.

use std::time::Duration;

use tokio::sync::mpsc;

use crate::domain::envelope::Sealed;
use crate::domain::inference::{
    Attempt, Generated, InferenceError, InferenceRequest, ModelInfo, Tier,
};
use crate::domain::rate::Client;
use crate::messages::addr::{Deadline, Message, Reply};

/// An answer and its proof.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Names the request in logs and in the envelope.
    pub request_id: String,
    /// The tier asked for.
    pub requested_tier: Option<Tier>,
    /// The tier that answered.
    pub tier: Tier,
    /// Whether a lower tier answered than was asked for.
    pub is_degraded: bool,
    /// Every backend that was tried, in order.
    pub attempts: Vec<Attempt>,
    /// Time spent waiting for backends that had no room.
    pub queued: Duration,
    /// What was generated.
    pub generated: Generated,
    /// From the request's arrival at the router to the sealed answer.
    pub elapsed: Duration,
    /// The proof.
    pub envelope: Sealed,
}

/// Which tier a prompt should go to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recommendation {
    /// The tier.
    pub tier: Tier,
    /// `simple`, `medium`, `complex` or `expert`.
    pub complexity: &'static str,
    /// Why, in words.
    pub reasoning: String,
    /// Tiers that would serve a request now.
    pub available: Vec<Tier>,
}

/// How a backend does.
#[derive(Clone, Debug, PartialEq)]
pub struct BackendInfo {
    /// Its name.
    pub name: String,
    /// What it is: `edge`, `ollama` and the like.
    pub kind: &'static str,
    /// Where its models run.
    pub tier: Tier,
    /// The worst of its breakers: `closed`, `half_open` or `open`.
    pub breaker: &'static str,
    /// Requests that it works on at most.
    pub parallel: usize,
    /// Requests that it works on.
    pub running: usize,
    /// Requests that wait for it.
    pub queued: usize,
    /// The time to the first token that half of its recent answers did not exceed.
    pub first_token_p50: Option<Duration>,
    /// The same of 95 in a hundred.
    pub first_token_p95: Option<Duration>,
    /// The last failure that was its own.
    pub last_error: Option<LastError>,
}

/// When a backend failed last, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastError {
    /// In one word, as in `attempts`.
    pub class: &'static str,
    /// How long ago.
    pub age: Duration,
}

/// What may be said to the inference router.
#[derive(Debug)]
pub enum InferenceMsg {
    /// Judges the prompt, generates, judges the answer and seals it.
    Generate {
        /// Names the request; drawn by the caller, so that asking again makes the same envelope.
        request_id: String,
        /// Who asks. Work that has to wait is taken in turns, one of each client.
        client: Client,
        /// What to answer.
        request: Box<InferenceRequest>,
        /// Takes the text piece by piece as it comes.
        tokens: Option<mpsc::Sender<String>>,
        /// When nobody waits any more.
        deadline: Deadline,
        /// Takes the proven answer.
        reply: Reply<Result<Box<Answer>, InferenceError>>,
    },
    /// Lists every model that was really seen.
    Models {
        /// Takes them, edge first.
        reply: Reply<Vec<ModelInfo>>,
    },
    /// Tells how each backend does.
    Backends {
        /// Takes them, in the order in which they are configured.
        reply: Reply<Vec<BackendInfo>>,
    },
    /// Says which tier a prompt should go to, without generating.
    Recommend {
        /// The prompt.
        prompt: String,
        /// The most tokens wanted.
        max_tokens: usize,
        /// Whether a quick answer is worth more than a good one.
        is_latency_sensitive: bool,
        /// Takes the recommendation.
        reply: Reply<Recommendation>,
    },
}

impl Message for InferenceMsg {
    fn kind(&self) -> &'static str {
        match self {
            Self::Generate { .. } => "generate",
            Self::Models { .. } => "models",
            Self::Backends { .. } => "backends",
            Self::Recommend { .. } => "recommend",
        }
    }

    /// Text that was streamed cannot be taken back; a whole can be generated again.
    fn is_idempotent(&self) -> bool {
        !matches!(self, Self::Generate { tokens: Some(_), .. })
    }

    fn is_abandoned(&self) -> bool {
        match self {
            Self::Generate { reply, .. } => reply.is_closed(),
            Self::Models { reply } => reply.is_closed(),
            Self::Backends { reply } => reply.is_closed(),
            Self::Recommend { reply, .. } => reply.is_closed(),
        }
    }
}
