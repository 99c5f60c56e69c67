//! What may be said to the audit actor, which keeps the record of privileged calls.

use crate::domain::audit::Call;
use crate::messages::addr::{Message, Reply};

/// Why a call is not on record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotRecorded(pub String);

/// What may be said to the audit actor.
#[derive(Debug)]
pub enum AuditMsg {
    /// Records a privileged call before it takes effect.
    Record {
        /// The call.
        call: Call,
        /// Takes the record's number when it is on disk.
        reply: Reply<Result<u64, NotRecorded>>,
    },
}

impl Message for AuditMsg {
    fn kind(&self) -> &'static str {
        match self {
            Self::Record { .. } => "record",
        }
    }

    /// A call that is recorded twice was still made once: both records have its request id.
    fn is_idempotent(&self) -> bool {
        true
    }

    fn is_abandoned(&self) -> bool {
        match self {
            Self::Record { reply, .. } => reply.is_closed(),
        }
    }
}
