//! What may be said to an inference backend, whatever runs behind it.

use tokio::sync::mpsc;

use crate::domain::inference::{BackendError, Generated, InferenceRequest, ModelInfo};
use crate::messages::addr::{Deadline, Message, Reply};

/// What may be said to a backend.
#[derive(Debug)]
pub enum BackendMsg {
    /// Generates text. The work ends early when the reply port or `tokens` closes.
    Generate {
        /// What to generate.
        request: InferenceRequest,
        /// Takes the text piece by piece as it comes; `None` if only the whole is wanted.
        tokens: Option<mpsc::Sender<String>>,
        /// When nobody waits any more.
        deadline: Deadline,
        /// Takes the whole.
        reply: Reply<Result<Generated, BackendError>>,
    },
    /// Tells which models were seen.
    Models {
        /// Takes them.
        reply: Reply<Vec<ModelInfo>>,
    },
}

impl Message for BackendMsg {
    fn kind(&self) -> &'static str {
        match self {
            Self::Generate { .. } => "generate",
            Self::Models { .. } => "models",
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
        }
    }
}
