//! What may be said to the identity actor, the only holder of the node's secret keys.

use bytes::Bytes;

use crate::domain::identity::{Claim, IdentityError, IdentityInfo, KeyUse, Signed, VerifyError};
use crate::messages::addr::{Message, Reply};

/// What may be said to the identity actor.
#[derive(Debug)]
pub enum IdentityMsg {
    /// Signs each message with the active key, in order.
    Sign {
        /// The domain the signatures are for.
        key_use: KeyUse,
        /// At most [`BATCH_MAX`].
        messages: Vec<Bytes>,
        /// Takes as many signatures as there were messages.
        reply: Reply<Result<Vec<Signed>, IdentityError>>,
    },
    /// Verifies each claim strictly, in order. A batch answers exactly what single calls would.
    Verify {
        /// At most [`BATCH_MAX`].
        claims: Vec<Claim>,
        /// Takes as many results as there were claims.
        reply: Reply<Vec<Result<(), VerifyError>>>,
    },
    /// Makes a key and keeps it; the former identities stay.
    Generate {
        /// The owner's name for it.
        label: Option<String>,
        /// Whether it signs from now on.
        activate: bool,
        /// Takes the new identity; never the secret.
        reply: Reply<Result<IdentityInfo, IdentityError>>,
    },
    /// Tells which identity signs.
    Active {
        /// Takes it.
        reply: Reply<IdentityInfo>,
    },
    /// Lists the keystore.
    List {
        /// Takes every identity, the active one first.
        reply: Reply<Vec<IdentityInfo>>,
    },
}

/// Messages or claims in one batch.
pub const BATCH_MAX: usize = 1024;

impl Message for IdentityMsg {
    fn kind(&self) -> &'static str {
        match self {
            Self::Sign { .. } => "sign",
            Self::Verify { .. } => "verify",
            Self::Generate { .. } => "generate",
            Self::Active { .. } => "active",
            Self::List { .. } => "list",
        }
    }

    /// Ed25519 signatures are deterministic, so signing twice is signing once.
    fn is_idempotent(&self) -> bool {
        !matches!(self, Self::Generate { .. })
    }

    fn is_abandoned(&self) -> bool {
        match self {
            Self::Sign { reply, .. } => reply.is_closed(),
            Self::Verify { reply, .. } => reply.is_closed(),
            Self::Generate { reply, .. } => reply.is_closed(),
            Self::Active { reply } => reply.is_closed(),
            Self::List { reply } => reply.is_closed(),
        }
    }
}
