//! How a node takes part in a federation, and what it decides there.

use bizra_omega::domain::consensus::{fault_tolerance, needed};
use bizra_omega::domain::federation::{
    Draft, Outcome, PAGE_MAX, Page, Proposal, ProposalId, Record,
};
use bizra_omega::messages::consensus::ConsensusMsg;
use bizra_omega::messages::gossip::GossipMsg;
use bizra_omega::messages::identity::IdentityMsg;
use pyo3::prelude::*;
use serde_json::{Value, json};

use super::answers::Json;
use super::call::Call;
use super::failure::wrong;
use super::input::page_limit;
use super::running::{Running, deadline};
use crate::error::{Error, Family, Result};

/// The way to the actors gossip and consensus. Internal to this package: `bizra.Node.federation`
/// wraps it.
#[pyclass(frozen, module = "bizra._native")]
pub(crate) struct FederationPort(pub(super) Running);

#[pymethods]
impl FederationPort {
    /// Tells how the node takes part, and how far the decisions are.
    fn status(&self, timeout: Option<f64>) -> PyResult<Call> {
        let until = deadline(timeout, self.0.facts.usual)?;
        let roster = self.0.roster.clone();
        Ok(self.0.begin(&self.0.lanes.consensus, until, async move {
            let (view, standing, active) = tokio::join!(
                roster.gossip.call(until, |reply| GossipMsg::View { reply }),
                roster.consensus.call(until, |reply| ConsensusMsg::Standing { reply }),
                roster.identity.call(until, |reply| IdentityMsg::Active { reply }),
            );
            let (view, standing, active) = (view?, standing??, active?);
            Ok(Json(json!({
                "connected": view.is_connected,
                "mode": view.mode,
                "node_id": active.node_id.to_hex(),
                "listen_addrs": view.listen_addrs,
                "gossip_port": view.port,
                "peers": view.peers.len(),
                "peer_list": view.peers,
                "gossip_round": view.round,
                "consensus_height": standing.height,
                "pattern_count": standing.patterns,
                "pending_count": standing.pending,
                "validators": standing.validators,
                "fault_tolerance": fault_tolerance(standing.validators),
                "quorum": needed(standing.validators),
            })))
        })?)
    }

    /// Lists the other nodes that are known.
    fn peers(&self, timeout: Option<f64>) -> PyResult<Call> {
        let until = deadline(timeout, self.0.facts.usual)?;
        let addr = self.0.roster.gossip.clone();
        Ok(self.0.begin(&self.0.lanes.gossip, until, async move {
            let view = addr.call(until, |reply| GossipMsg::View { reply }).await?;
            Ok(Json(json!(view.peers)))
        })?)
    }

    /// Puts a pattern to the vote. Without a source it is this node's own.
    fn propose(
        &self,
        pattern_id: String,
        pattern_embedding: Vec<f64>,
        confidence: f64,
        content: Option<String>,
        source_node: Option<String>,
        timeout: Option<f64>,
    ) -> PyResult<Call> {
        let until = deadline(timeout, self.0.facts.usual)?;
        let (consensus, identity) =
            (self.0.roster.consensus.clone(), self.0.roster.identity.clone());
        Ok(self.0.begin(&self.0.lanes.consensus, until, async move {
            let source_node = match source_node {
                Some(source_node) => source_node,
                None => {
                    let ask = |reply| IdentityMsg::Active { reply };
                    identity.call(until, ask).await?.node_id.to_hex()
                }
            };
            let draft = Draft { pattern_id, pattern_embedding, source_node, confidence, content };
            let proposal = Box::new(Proposal::new(draft)?);
            let ask = |reply| ConsensusMsg::Propose { proposal: proposal.clone(), reply };
            decided(&consensus.call(until, ask).await??)
        })?)
    }

    /// Follows a proposal; None if it is not kept.
    fn proposal(&self, id: &str, timeout: Option<f64>) -> PyResult<Call> {
        let id = proposal_id("proposal_id", id)?;
        let until = deadline(timeout, self.0.facts.usual)?;
        let addr = self.0.roster.consensus.clone();
        Ok(self.0.begin(&self.0.lanes.consensus, until, async move {
            let record = addr.call(until, |reply| ConsensusMsg::Find { id, reply }).await??;
            Ok(Json(record.map_or(Value::Null, |record| record.to_json())))
        })?)
    }

    /// Lists the proposals that are kept, newest first, without embeddings and contents.
    fn proposals(&self, limit: i64, after: Option<&str>, timeout: Option<f64>) -> PyResult<Call> {
        let limit = page_limit(limit, PAGE_MAX)?;
        let after = after.map(|after| proposal_id("after", after)).transpose()?;
        let page = Page { limit, after };
        let until = deadline(timeout, self.0.facts.usual)?;
        let addr = self.0.roster.consensus.clone();
        Ok(self.0.begin(&self.0.lanes.consensus, until, async move {
            let records = addr.call(until, |reply| ConsensusMsg::List { page, reply }).await??;
            Ok(Json(records.iter().map(Record::head_json).collect()))
        })?)
    }
}

/// What became of a proposal; an error if the gates refused it.
pub(super) fn decided(record: &Record) -> Result<Json> {
    let told = json!({
        "proposal_id": record.id().to_string(),
        "status": record.status(),
        "mode": "solo",
        "quorum_needed": record.quorum_needed(),
        "votes_received": record.votes_received(),
        "height": record.height(),
    });
    let Outcome::Rejected { code, reason } = &record.outcome else { return Ok(Json(told)) };
    let details = json!({ "proposal": told, "receipt": record.gates });
    let refused = Error::new(Family::GateRejected, reason.clone());
    Err(refused.code(code.clone()).details(details))
}

fn proposal_id(argument: &str, text: &str) -> Result<ProposalId> {
    let form = "a proposal id is prop_ and 64 lower-case hex digits";
    ProposalId::from_text(text).ok_or_else(|| wrong(argument, "INVALID_HEX", form))
}
