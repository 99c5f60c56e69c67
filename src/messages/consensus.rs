//! What may be said to the consensus actor, which decides on proposals.

use crate::domain::federation::{Page, Proposal, ProposalId, Record};
use crate::domain::reject::RejectCode;
use crate::messages::addr::{Message, Reply};

/// What may be said to the consensus actor.
#[derive(Debug)]
pub enum ConsensusMsg {
    /// Has a proposal judged, keeps it, and puts it to the vote. The same proposal again is the same
    /// one: what became of it is the answer.
    Propose {
        /// What is proposed.
        proposal: Box<Proposal>,
        /// Takes the record once it is on disk: decided, refused, or pending if no decision came in
        /// time.
        reply: Reply<Result<Record, ConsensusError>>,
    },
    /// Looks up a proposal.
    Find {
        /// Its id.
        id: ProposalId,
        /// Takes its record, if it is kept.
        reply: Reply<Result<Option<Record>, ConsensusError>>,
    },
    /// Lists the proposals that are kept, newest first.
    List {
        /// Which of them.
        page: Page,
        /// Takes their records.
        reply: Reply<Result<Vec<Record>, ConsensusError>>,
    },
    /// Tells how far the decisions are.
    Standing {
        /// Takes it.
        reply: Reply<Result<Standing, ConsensusError>>,
    },
}

/// How far the decisions are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Decisions made since the first, which is the number of the last.
    pub height: u64,
    /// Patterns that a decision speaks for that is kept.
    pub patterns: u64,
    /// Proposals that wait for a decision.
    pub pending: u64,
    /// Who votes.
    pub validators: usize,
}

/// Why a proposal was not taken, or nothing could be told of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConsensusError {
    /// The gates refused it for now: nothing was kept.
    #[error("{reason}")]
    Refused {
        /// The gate's code.
        code: RejectCode,
        /// In words.
        reason: String,
    },
    /// The disk has no room.
    #[error("{0}")]
    DiskFull(String),
    /// As many proposals wait for a decision as may.
    #[error("{max} proposals wait for a decision, as many as may")]
    Crowded {
        /// The limit.
        max: u64,
    },
    /// The keys, the gates or the store did not do their part.
    #[error("proposals cannot be dealt with at present: {0}")]
    Unavailable(String),
}

impl Message for ConsensusMsg {
    fn kind(&self) -> &'static str {
        match self {
            Self::Propose { .. } => "propose",
            Self::Find { .. } => "find",
            Self::List { .. } => "list",
            Self::Standing { .. } => "standing",
        }
    }

    /// A proposal is named by what it says, so proposing twice is proposing once.
    fn is_idempotent(&self) -> bool {
        true
    }

    fn is_abandoned(&self) -> bool {
        match self {
            Self::Propose { reply, .. } => reply.is_closed(),
            Self::Find { reply, .. } => reply.is_closed(),
            Self::List { reply, .. } => reply.is_closed(),
            Self::Standing { reply } => reply.is_closed(),
        }
    }
}
