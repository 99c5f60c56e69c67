//! What may be said to the gossip actor, which knows of other nodes.

use crate::domain::gossip::View;
use crate::messages::addr::{Message, Reply};

/// What may be said to the gossip actor.
#[derive(Debug)]
pub enum GossipMsg {
    /// Tells what there is to know of the network.
    View {
        /// Takes it.
        reply: Reply<View>,
    },
}

impl Message for GossipMsg {
    fn kind(&self) -> &'static str {
        match self {
            Self::View { .. } => "view",
        }
    }

    fn is_idempotent(&self) -> bool {
        true
    }

    fn is_abandoned(&self) -> bool {
        match self {
            Self::View { reply } => reply.is_closed(),
        }
    }
}
