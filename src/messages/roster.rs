//! Every address that the edge of the node may use.

use crate::messages::addr::Addr;
use crate::messages::audit::AuditMsg;
use crate::messages::consensus::ConsensusMsg;
use crate::messages::envelope::EnvelopeMsg;
use crate::messages::event::Events;
use crate::messages::gate_chain::GateChainMsg;
use crate::messages::gossip::GossipMsg;
use crate::messages::identity::IdentityMsg;
use crate::messages::inference_router::InferenceMsg;
use crate::messages::models::ModelsMsg;
use crate::messages::pattern_memory::PatternMemoryMsg;
use crate::messages::preferences::PreferencesMsg;
use crate::messages::supervisor::SupervisorMsg;

/// Who is who; cheap to clone.
#[derive(Clone, Debug)]
pub struct Roster {
    /// The root supervisor.
    pub supervisor: Addr<SupervisorMsg>,
    /// Holder of the keys.
    pub identity: Addr<IdentityMsg>,
    /// Judge of content.
    pub gate_chain: Addr<GateChainMsg>,
    /// Maker of proofs.
    pub envelope: Addr<EnvelopeMsg>,
    /// Keeper of the record of privileged calls.
    pub audit: Addr<AuditMsg>,
    /// The way to an answer.
    pub inference: Addr<InferenceMsg>,
    /// Who knows of other nodes.
    pub gossip: Addr<GossipMsg>,
    /// Who decides on proposals.
    pub consensus: Addr<ConsensusMsg>,
    /// Keeper of the models on disk.
    pub models: Addr<ModelsMsg>,
    /// Keeper of what was learned.
    pub pattern_memory: Addr<PatternMemoryMsg>,
    /// Who knows how people like to be answered.
    pub preferences: Addr<PreferencesMsg>,
    /// What happens in the node.
    pub events: Events,
}
