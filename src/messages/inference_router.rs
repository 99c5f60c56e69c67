//! What may be said to the inference router, which turns a prompt into a proven answer.

use std::time::Duration;

use tokio::sync::mpsc;

use crate::domain::envelope::Sealed;
use crate::domain::inference::{
    Attempt, Generated, InferenceError, InferenceRequest, ModelInfo, Tier,
};
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

/// What may be said to the inference router.
#[derive(Debug)]
pub enum InferenceMsg {
    /// Judges the prompt, generates, judges the answer and seals it.
    Generate {
        /// Names the request; drawn by the caller, so that asking again makes the same envelope.
        request_id: String,
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
            Self::Recommend { reply, .. } => reply.is_closed(),
        }
    }
}
