//! Shapes of proposals and their certificates, which the domain writes as JSON; as `shapes` are.
#![expect(dead_code, reason = "these describe values that are made elsewhere")]

use utoipa::ToSchema;

use crate::http::openapi::forms::{
    DigestHex, EmbeddingNumber, EpochMs, ModeName, NodeIdHex, ProposalIdText, ProposalStatusName,
    PublicKeyHex, ScoreNumber, SignatureHex, TimeText,
};
use crate::http::openapi::shapes::Receipt;

/// Another node, as it was seen.
#[derive(Debug, ToSchema)]
#[schema(as = Peer)]
pub(in crate::http) struct KnownPeer {
    /// Its node id.
    #[schema(value_type = NodeIdHex)]
    node_id: String,
    /// Its name in the network.
    #[schema(required)]
    peer_id: Option<String>,
    /// Where it was reached.
    address: String,
    /// How it stands: alive, suspect, dead or left.
    state: String,
    /// When it was last heard of.
    #[schema(value_type = EpochMs)]
    last_seen: u64,
    /// Milliseconds to it and back.
    #[schema(required, minimum = 0)]
    rtt_ms: Option<f64>,
    /// What it runs.
    #[schema(required)]
    agent_version: Option<String>,
    /// How well it behaves; below zero it is avoided.
    #[schema(required)]
    score: Option<f64>,
}

/// A proposal in a list.
#[derive(Debug, ToSchema)]
pub(in crate::http) struct ProposalHead {
    /// Its id: the digest of what it says.
    #[schema(value_type = ProposalIdText)]
    proposal_id: String,
    /// What became of it.
    #[schema(value_type = ProposalStatusName)]
    status: String,
    /// Name of the pattern.
    pattern_id: String,
    /// The node that saw it.
    #[schema(value_type = NodeIdHex)]
    source_node: String,
    /// How sure that node is.
    #[schema(value_type = ScoreNumber)]
    confidence: f64,
    /// When it was proposed.
    #[schema(value_type = TimeText)]
    proposed_at: String,
    /// When it expires if nothing is decided.
    #[schema(value_type = TimeText)]
    expires_at: String,
    /// How it is decided.
    #[schema(value_type = ModeName)]
    mode: String,
    /// Its number among the decisions; null if it was not committed.
    #[schema(required)]
    height: Option<u64>,
    /// Votes that it needs.
    quorum_needed: usize,
    /// Votes that it has.
    votes_received: usize,
    /// Why it was rejected: a reject code, or the id of a rule; null if it was not.
    #[schema(required)]
    code: Option<String>,
    /// The same in words.
    #[schema(required)]
    reason: Option<String>,
}

/// A page of what was proposed, newest first.
#[derive(Debug, ToSchema)]
#[schema(examples(json!({ "proposals": [], "next": null })))]
pub(in crate::http) struct ProposalPage {
    /// As many as were asked for, or fewer at the end.
    proposals: Vec<ProposalHead>,
    /// What to give as `after` for the next page; null at the end.
    #[schema(value_type = Option<ProposalIdText>, required)]
    next: Option<String>,
}

/// What was proposed. Of what was refused, the content is not kept.
#[derive(Debug, ToSchema)]
pub(in crate::http) struct ProposedPattern {
    /// Name of the pattern.
    pattern_id: String,
    /// Where it lies among other patterns.
    #[schema(value_type = Vec<EmbeddingNumber>)]
    pattern_embedding: Vec<f64>,
    /// The node that saw it.
    #[schema(value_type = NodeIdHex)]
    source_node: String,
    /// How sure that node is.
    #[schema(value_type = ScoreNumber)]
    confidence: f64,
    /// What it says; null without one, or if it was refused.
    #[schema(required)]
    content: Option<String>,
    /// Digest of the content; null without one.
    #[schema(value_type = Option<DigestHex>, required)]
    content_hash: Option<String>,
}

/// Whose proposal it is.
#[derive(Debug, ToSchema)]
pub(in crate::http) struct Proposer {
    /// Its node id.
    #[schema(value_type = NodeIdHex)]
    node_id: String,
    /// Its key.
    #[schema(value_type = PublicKeyHex)]
    public_key: String,
    /// Over the canonical form of the proposal, with the domain of proposals.
    #[schema(value_type = SignatureHex)]
    signature: String,
}

/// A vote for a decision.
#[derive(Debug, ToSchema)]
pub(in crate::http) struct Vote {
    /// The validator.
    #[schema(value_type = PublicKeyHex)]
    public_key: String,
    /// Over the canonical form of the certificate without its votes, with the domain of votes.
    #[schema(value_type = SignatureHex)]
    signature: String,
}

/// The proof of a decision. Whoever trusts the validators can check it with nothing else.
#[derive(Debug, ToSchema)]
pub(in crate::http) struct DecisionCertificate {
    /// The form of the certificate.
    #[schema(pattern = "^bizra-decision-v1$", example = "bizra-decision-v1")]
    r#type: String,
    /// solo if there was one validator, else federated.
    #[schema(pattern = "^(solo|federated)$", example = "solo")]
    mode: String,
    /// The number of the decision.
    #[schema(minimum = 1)]
    height: u64,
    /// What was decided.
    #[schema(value_type = ProposalIdText)]
    proposal: String,
    /// Digest of the constitution that it was judged under.
    #[schema(value_type = DigestHex)]
    constitution: String,
    /// When.
    #[schema(value_type = TimeText)]
    decided_at: String,
    /// Who could vote, sorted.
    #[schema(value_type = Vec<PublicKeyHex>)]
    validators: Vec<String>,
    /// How many of them had to.
    #[schema(minimum = 1)]
    quorum: usize,
    /// Those who did, sorted by key.
    votes: Vec<Vote>,
}

/// A proposal with its history.
#[derive(Debug, ToSchema)]
pub(in crate::http) struct ProposalRecord {
    /// What the list has of it.
    #[serde(flatten)]
    head: ProposalHead,
    /// What was proposed.
    proposal: ProposedPattern,
    /// Whose proposal it is.
    proposer: Proposer,
    /// Digest of the constitution it was judged under.
    #[schema(value_type = DigestHex)]
    constitution: String,
    /// What the gates said.
    gates: Receipt,
    /// The proof of the decision; null if it was not committed.
    #[schema(required)]
    certificate: Option<DecisionCertificate>,
}
