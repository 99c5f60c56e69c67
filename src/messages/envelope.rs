//! What may be said to the envelope actor: sealing, checking, the log and the replay window.

use bytes::Bytes;

use crate::domain::envelope::{Draft, EnvelopeId, Head, Page, Report, SealError, Sealed};
use crate::domain::identity::PublicKey;
use crate::messages::addr::{Message, Reply};

/// What may be said to the envelope actor.
#[derive(Debug)]
pub enum EnvelopeMsg {
    /// Seals a draft, logs it durably, then answers. The draft carries its own id and time, so
    /// that asking again gives the same envelope and one log entry.
    Create {
        /// What to seal.
        draft: Box<Draft>,
        /// Takes the envelope once it is on disk.
        reply: Reply<Result<Sealed, SealError>>,
    },
    /// Checks an envelope as it came, without recording anything.
    Verify {
        /// The bytes as received, at most 2 MiB.
        bytes: Bytes,
        /// Takes the outcome.
        reply: Reply<Report>,
    },
    /// Checks many, in order, each exactly as [`EnvelopeMsg::Verify`] would.
    VerifyMany {
        /// At most [`BATCH_MAX`], with [`BATCH_BYTES_MAX`] bytes in all; more are all refused.
        items: Vec<Bytes>,
        /// Takes as many outcomes as there were items.
        reply: Reply<Vec<Report>>,
    },
    /// Checks an envelope and records its nonce durably, so that it is accepted once.
    Consume {
        /// The bytes as received, at most 2 MiB.
        bytes: Bytes,
        /// Takes the outcome once the nonce is on disk.
        reply: Reply<Report>,
    },
    /// Looks up an envelope that was made here.
    Find {
        /// Its id.
        id: EnvelopeId,
        /// Takes it, if this node made it.
        reply: Reply<Result<Option<Sealed>, SealError>>,
    },
    /// Lists the envelopes that were made here, newest first.
    Log {
        /// Which of them.
        page: Page,
        /// Takes what the log knows of each.
        reply: Reply<Result<Vec<Head>, SealError>>,
    },
    /// Tells who would seal an envelope now, and whether it could be logged.
    Issuer {
        /// Takes it.
        reply: Reply<Result<Issuer, SealError>>,
    },
}

/// Who seals envelopes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issuer {
    /// The key that signs now.
    pub active: PublicKey,
    /// Every key of this node.
    pub known: Vec<PublicKey>,
    /// Whether the log takes writes.
    pub is_ready: bool,
}

/// Envelopes in one batch.
pub const BATCH_MAX: usize = 1024;

/// Bytes in one batch: as many envelopes of ordinary size, or some dozens of the largest.
pub const BATCH_BYTES_MAX: usize = 64 << 20;

impl Message for EnvelopeMsg {
    fn kind(&self) -> &'static str {
        match self {
            Self::Create { .. } => "create",
            Self::Verify { .. } => "verify",
            Self::VerifyMany { .. } => "verify_many",
            Self::Consume { .. } => "consume",
            Self::Find { .. } => "find",
            Self::Log { .. } => "log",
            Self::Issuer { .. } => "issuer",
        }
    }

    /// Consuming twice is a replay, which is the point of it.
    fn is_idempotent(&self) -> bool {
        !matches!(self, Self::Consume { .. })
    }

    fn is_abandoned(&self) -> bool {
        match self {
            Self::Create { reply, .. } => reply.is_closed(),
            Self::Verify { reply, .. } => reply.is_closed(),
            Self::VerifyMany { reply, .. } => reply.is_closed(),
            Self::Consume { reply, .. } => reply.is_closed(),
            Self::Find { reply, .. } => reply.is_closed(),
            Self::Log { reply, .. } => reply.is_closed(),
            Self::Issuer { reply } => reply.is_closed(),
        }
    }
}
