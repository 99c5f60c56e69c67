//! What may be said to the models actor, which brings models to this machine and keeps them.

use crate::domain::model_store::ModelName;
use crate::domain::model_store::listing::{Listing, ModelsError, Removed, Verified};
use crate::domain::model_store::pulls::PullInfo;
use crate::messages::addr::{Message, Reply};

/// What may be said to the models actor.
#[derive(Debug)]
pub enum ModelsMsg {
    /// Tells of every model, of the disk and of the latest pulls.
    List {
        /// Takes the listing.
        reply: Reply<Result<Listing, ModelsError>>,
    },
    /// Begins to bring a model of the catalogue, unless that is going on. Not waited for.
    Pull {
        /// Which one.
        name: ModelName,
        /// Takes the pull as it stands.
        reply: Reply<Result<PullInfo, ModelsError>>,
    },
    /// Tells how a pull stands.
    Find {
        /// Names it.
        id: String,
        /// Takes the pull.
        reply: Reply<Result<PullInfo, ModelsError>>,
    },
    /// Ends a pull. What came is kept, and a later pull goes on from there.
    Cancel {
        /// Names it.
        id: String,
        /// Takes the pull as it stands then.
        reply: Reply<Result<PullInfo, ModelsError>>,
    },
    /// Hashes installed models again, until nobody waits any more.
    Verify {
        /// Only this one.
        name: Option<ModelName>,
        /// Takes how each was found.
        reply: Reply<Result<Vec<Verified>, ModelsError>>,
    },
    /// Takes a name away, with its file if no other name needs it.
    Remove {
        /// Which one.
        name: ModelName,
        /// Also while a process uses it.
        is_forced: bool,
        /// Takes what that freed.
        reply: Reply<Result<Removed, ModelsError>>,
    },
}

impl Message for ModelsMsg {
    fn kind(&self) -> &'static str {
        match self {
            Self::List { .. } => "list",
            Self::Pull { .. } => "pull",
            Self::Find { .. } => "find",
            Self::Cancel { .. } => "cancel",
            Self::Verify { .. } => "verify",
            Self::Remove { .. } => "remove",
        }
    }

    /// A pull that is asked for twice is one pull. A removal would not find its model again.
    fn is_idempotent(&self) -> bool {
        !matches!(self, Self::Remove { .. })
    }

    fn is_abandoned(&self) -> bool {
        match self {
            Self::List { reply } => reply.is_closed(),
            // Asked for, whether or not somebody waits to hear that it began.
            Self::Pull { .. } | Self::Cancel { .. } => false,
            Self::Find { reply, .. } => reply.is_closed(),
            Self::Verify { reply, .. } => reply.is_closed(),
            Self::Remove { reply, .. } => reply.is_closed(),
        }
    }
}
