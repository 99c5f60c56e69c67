//! What may be said to the identity actor, the only holder of the node's secret keys.

use bytes::Bytes;

use crate::domain::id::NodeId;
use crate::domain::identity::{
    Claim, IdentityError, IdentityInfo, KeyUse, Rotated, Signed, VerifyError,
};
use crate::domain::passphrase::Passphrase;
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
    /// Lets another identity of the keystore sign from now on.
    Activate {
        /// Which one.
        id: NodeId,
        /// Takes it, active.
        reply: Reply<Result<IdentityInfo, IdentityError>>,
    },
    /// Puts a new key in the place of the active one, which signs no more.
    Rotate {
        /// The owner's name for it; that of the old one if none is given.
        label: Option<String>,
        /// When, in milliseconds since the Unix epoch, for the record.
        at_ms: i64,
        /// Takes the new identity and the record that both keys signed.
        reply: Reply<Result<Rotated, IdentityError>>,
    },
    /// Encrypts an identity so that it can leave the node; the secret itself never does.
    Export {
        /// Which one.
        id: NodeId,
        /// What opens the export.
        passphrase: Passphrase,
        /// Takes the export, the bytes of a file.
        reply: Reply<Result<Bytes, IdentityError>>,
    },
    /// Takes in an identity that was exported. It does not sign until it is activated.
    Import {
        /// The export.
        export: Bytes,
        /// What opens it.
        passphrase: Passphrase,
        /// The owner's name for it; that of the export if none is given.
        label: Option<String>,
        /// Takes the identity.
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
            Self::Activate { .. } => "activate",
            Self::Rotate { .. } => "rotate",
            Self::Export { .. } => "export",
            Self::Import { .. } => "import",
            Self::Active { .. } => "active",
            Self::List { .. } => "list",
        }
    }

    /// Ed25519 signatures are deterministic, so signing twice is signing once. A second export is
    /// another file with the same identity in it. What makes a key is not said twice, nor is an
    /// import, whose second answer would be that it is there already.
    fn is_idempotent(&self) -> bool {
        match self {
            Self::Generate { .. } | Self::Rotate { .. } | Self::Import { .. } => false,
            Self::Sign { .. }
            | Self::Verify { .. }
            | Self::Activate { .. }
            | Self::Export { .. }
            | Self::Active { .. }
            | Self::List { .. } => true,
        }
    }

    fn is_abandoned(&self) -> bool {
        match self {
            Self::Sign { reply, .. } => reply.is_closed(),
            Self::Verify { reply, .. } => reply.is_closed(),
            Self::Generate { reply, .. } => reply.is_closed(),
            Self::Activate { reply, .. } => reply.is_closed(),
            Self::Rotate { reply, .. } => reply.is_closed(),
            Self::Export { reply, .. } => reply.is_closed(),
            Self::Import { reply, .. } => reply.is_closed(),
            Self::Active { reply } => reply.is_closed(),
            Self::List { reply } => reply.is_closed(),
        }
    }
}
