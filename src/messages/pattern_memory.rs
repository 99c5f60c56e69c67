//! What may be said to the pattern-memory actor, which keeps what the node has learned.

use std::sync::Arc;

use crate::domain::federation::{ProposalError, Record};
use crate::domain::pattern::feedback::Opinion;
use crate::domain::pattern::ledger::Learned;
use crate::domain::pattern::view::{Figures, Query};
use crate::domain::pattern::{Lesson, Page, Pattern, PatternError, PatternId, Remembered};
use crate::messages::addr::{Message, Reply};
use crate::messages::consensus::ConsensusError;

/// What may be said to the pattern-memory actor.
#[derive(Debug)]
pub enum PatternMemoryMsg {
    /// Learns lessons, in order, each by itself. What was learned is on disk when it is answered.
    Learn {
        /// At most [`crate::domain::pattern::BATCH_MAX`].
        lessons: Vec<Lesson>,
        /// Takes what became of each.
        reply: Reply<Result<Vec<Result<Learned, PatternError>>, MemoryError>>,
    },
    /// Finds the patterns nearest to something, as of what was last on disk.
    Recall {
        /// What is asked.
        query: Box<Query>,
        /// Takes them, the nearest first.
        reply: Reply<Result<Vec<Recalled>, MemoryError>>,
    },
    /// Looks up a pattern.
    Find {
        /// Its id.
        id: PatternId,
        /// Takes it, if it is held.
        reply: Reply<Result<Option<Remembered>, MemoryError>>,
    },
    /// Lists patterns, newest first.
    List {
        /// Which of them.
        page: Page,
        /// Takes them.
        reply: Reply<Result<Vec<Remembered>, MemoryError>>,
    },
    /// Counts what is held.
    Stats {
        /// Takes the figures.
        reply: Reply<Result<Figures, MemoryError>>,
    },
    /// Tells how many are held.
    Count {
        /// Takes the number.
        reply: Reply<u64>,
    },
    /// Takes note of what somebody says of a pattern.
    Feedback {
        /// Which one.
        id: PatternId,
        /// What is said, and who signed it.
        opinion: Opinion,
        /// Takes the pattern as it is then.
        reply: Reply<Result<Changed, MemoryError>>,
    },
    /// Keeps a pattern from being let go to make room, or no longer.
    Pin {
        /// Which one.
        id: PatternId,
        /// Whether it is kept.
        is_pinned: bool,
        /// Takes the pattern as it is then.
        reply: Reply<Result<Changed, MemoryError>>,
    },
    /// Removes a pattern with all that belongs to it.
    Forget {
        /// Which one.
        id: PatternId,
        /// Takes the pattern as it was.
        reply: Reply<Result<Changed, MemoryError>>,
    },
    /// Puts a candidate to the vote. It is elevated when a decision says so.
    Elevate {
        /// Which one.
        id: PatternId,
        /// Takes the pattern, and what became of its proposal.
        reply: Reply<Result<Elevated, MemoryError>>,
    },
}

/// A pattern that was recalled.
#[derive(Clone, Debug, PartialEq)]
pub struct Recalled {
    /// The pattern.
    pub pattern: Arc<Pattern>,
    /// What it says.
    pub content: String,
    /// Cosine, -1 to 1.
    pub similarity: f32,
}

/// A pattern that was changed.
#[derive(Clone, Debug, PartialEq)]
pub struct Changed {
    /// As it is now; as it was, if it is gone.
    pub pattern: Arc<Pattern>,
    /// Whether anything was changed. What was said before in the same words is not counted twice.
    pub is_counted: bool,
}

/// A pattern that was put to the vote.
#[derive(Clone, Debug, PartialEq)]
pub struct Elevated {
    /// As it is now.
    pub pattern: Arc<Pattern>,
    /// What became of its proposal; none if the record of an earlier decision is no longer kept.
    pub record: Option<Box<Record>>,
}

/// Why something was not done.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum MemoryError {
    /// It breaks a rule of patterns.
    #[error(transparent)]
    Pattern(#[from] PatternError),
    /// It cannot be proposed as it is.
    #[error(transparent)]
    Proposal(#[from] ProposalError),
    /// It could not be put to the vote.
    #[error(transparent)]
    Consensus(#[from] ConsensusError),
    /// The disk has no room.
    #[error("{0}")]
    DiskFull(String),
    /// The text could not be embedded.
    #[error("the text cannot be embedded: {0}")]
    Embedding(String),
    /// The store or another actor did not do its part.
    #[error("patterns cannot be dealt with at present: {0}")]
    Unavailable(String),
}

impl Message for PatternMemoryMsg {
    fn kind(&self) -> &'static str {
        match self {
            Self::Learn { .. } => "learn",
            Self::Recall { .. } => "recall",
            Self::Find { .. } => "find",
            Self::List { .. } => "list",
            Self::Stats { .. } => "stats",
            Self::Count { .. } => "count",
            Self::Feedback { .. } => "feedback",
            Self::Pin { .. } => "pin",
            Self::Forget { .. } => "forget",
            Self::Elevate { .. } => "elevate",
        }
    }

    /// Learning the same again changes nothing, nor does a signed feedback. One that is not signed
    /// would count twice, and what is forgotten is not found again.
    fn is_idempotent(&self) -> bool {
        match self {
            Self::Feedback { opinion, .. } => opinion.signer().is_some(),
            Self::Forget { .. } => false,
            _ => true,
        }
    }

    fn is_abandoned(&self) -> bool {
        match self {
            Self::Learn { reply, .. } => reply.is_closed(),
            Self::Recall { reply, .. } => reply.is_closed(),
            Self::Find { reply, .. } => reply.is_closed(),
            Self::List { reply, .. } => reply.is_closed(),
            Self::Stats { reply } => reply.is_closed(),
            Self::Count { reply } => reply.is_closed(),
            Self::Feedback { reply, .. } | Self::Pin { reply, .. } | Self::Forget { reply, .. } => {
                reply.is_closed()
            }
            Self::Elevate { reply, .. } => reply.is_closed(),
        }
    }
}
