//! What may be said to the gate-chain actor, which judges content under the constitution.

use std::sync::Arc;

use crate::domain::constitution::{Constitution, ConstitutionError};
use crate::domain::gate::{GateInput, Receipt};
use crate::domain::profile::Profile;
use crate::messages::addr::{Message, Reply};

/// What may be said to the gate-chain actor.
#[derive(Debug)]
pub enum GateChainMsg {
    /// Judges each input, in order, and changes nothing: no sender is punished. A batch answers
    /// exactly what single calls would.
    Check {
        /// The gates to run.
        profile: Profile,
        /// At most [`BATCH_MAX`].
        inputs: Vec<GateInput>,
        /// Takes as many receipts as there were inputs.
        reply: Reply<Vec<Receipt>>,
    },
    /// Judges what a known sender sent, and carries out the penalties of the constitution on it.
    /// They are on disk before the answer.
    Admit {
        /// The gates to run.
        profile: Profile,
        /// What was sent, with its sender among the facts.
        input: Box<GateInput>,
        /// Takes the receipt.
        reply: Reply<Receipt>,
    },
    /// Tells what is enforced.
    Constitution {
        /// Takes the document in force.
        reply: Reply<Arc<Constitution>>,
    },
    /// Reads the constitution's file again and enforces it from the next judgement on; what is
    /// being judged is judged by the one before.
    Reload {
        /// Takes the document in force afterwards.
        reply: Reply<Result<Arc<Constitution>, ReloadError>>,
    },
}

/// Why the constitution stays what it was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReloadError {
    /// It is built in.
    #[error("the constitution is the one built in; name a file in gates.constitution")]
    BuiltIn,
    /// The file cannot be read.
    #[error("{0}")]
    File(String),
    /// The file holds no valid document, or none that may follow.
    #[error(transparent)]
    Document(#[from] ConstitutionError),
}

/// Inputs in one batch.
pub const BATCH_MAX: usize = 1024;

impl Message for GateChainMsg {
    fn kind(&self) -> &'static str {
        match self {
            Self::Check { .. } => "check",
            Self::Admit { .. } => "admit",
            Self::Constitution { .. } => "constitution",
            Self::Reload { .. } => "reload",
        }
    }

    /// Admitting twice would punish twice.
    fn is_idempotent(&self) -> bool {
        !matches!(self, Self::Admit { .. })
    }

    fn is_abandoned(&self) -> bool {
        match self {
            Self::Check { reply, .. } => reply.is_closed(),
            Self::Admit { reply, .. } => reply.is_closed(),
            Self::Constitution { reply } => reply.is_closed(),
            Self::Reload { reply } => reply.is_closed(),
        }
    }
}
