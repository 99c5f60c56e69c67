//! What may be said to the gate-chain actor, which judges content under the constitution.

use std::sync::Arc;

use crate::domain::constitution::Constitution;
use crate::domain::gate::{GateInput, Profile, Receipt};
use crate::messages::addr::{Message, Reply};

/// What may be said to the gate-chain actor.
#[derive(Debug)]
pub enum GateChainMsg {
    /// Judges each input, in order. A batch answers exactly what single calls would.
    Check {
        /// The gates to run.
        profile: Profile,
        /// At most [`BATCH_MAX`].
        inputs: Vec<GateInput>,
        /// Takes as many receipts as there were inputs.
        reply: Reply<Vec<Receipt>>,
    },
    /// Tells what is enforced.
    Constitution {
        /// Takes the document in force.
        reply: Reply<Arc<Constitution>>,
    },
}

/// Inputs in one batch.
pub const BATCH_MAX: usize = 1024;

impl Message for GateChainMsg {
    fn kind(&self) -> &'static str {
        match self {
            Self::Check { .. } => "check",
            Self::Constitution { .. } => "constitution",
        }
    }

    fn is_idempotent(&self) -> bool {
        true
    }

    fn is_abandoned(&self) -> bool {
        match self {
            Self::Check { reply, .. } => reply.is_closed(),
            Self::Constitution { reply } => reply.is_closed(),
        }
    }
}
