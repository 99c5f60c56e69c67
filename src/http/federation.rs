//! The federation: who is known, what is proposed, and what was decided.

use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use utoipa::{IntoParams, ToSchema};

use crate::domain::consensus::{fault_tolerance, needed};
use crate::domain::federation::{
    Draft, Outcome, PAGE_MAX, Page, Proposal, ProposalError, ProposalId, Record,
};
use crate::domain::gossip::{Mode, Peer};
use crate::http::app::{App, Until};
use crate::http::body::Body;
use crate::http::error::{ApiError, invalid_hex};
use crate::http::openapi::forms::{
    EmbeddingNumber, ModeName, NodeIdHex, ProposalIdText, ProposalStatusName,
};
use crate::http::openapi::proposals::{KnownPeer, ProposalPage, ProposalRecord};
use crate::http::page::{next_after, page_limit};
use crate::http::router;
use crate::messages::consensus::ConsensusMsg;
use crate::messages::gossip::GossipMsg;
use crate::messages::identity::IdentityMsg;
use crate::messages::pattern_memory::PatternMemoryMsg;

/// How the node takes part, and how far the decisions are.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = FederationStatus)]
pub(super) struct Status {
    /// Whether a socket to others is bound and listens.
    connected: bool,
    /// How the node takes part.
    #[schema(value_type = ModeName)]
    mode: Mode,
    /// Id of the active identity.
    #[schema(value_type = NodeIdHex)]
    node_id: String,
    /// The node's name in the network; null without one.
    #[schema(required)]
    peer_id: Option<String>,
    /// Where it listens to others.
    listen_addrs: Vec<String>,
    /// The port for others, as configured; open only if `connected`.
    gossip_port: u16,
    /// Other nodes that are known. Both names are read by clients.
    peers: usize,
    /// Other nodes that are known.
    peer_count: usize,
    /// Who they are.
    #[schema(value_type = Vec<KnownPeer>)]
    peer_list: Vec<Peer>,
    /// Rounds of gossip since the node started.
    gossip_round: u64,
    /// The number of the last decision; 0 before the first.
    consensus_height: u64,
    /// Patterns that the node holds.
    pattern_count: u64,
    /// Patterns that a decision speaks for that is kept.
    decided_count: u64,
    /// Proposals that wait for a decision.
    pending_count: u64,
    /// How many vote.
    validators: usize,
    /// How many of them may lie.
    fault_tolerance: usize,
    /// How many votes decide.
    quorum: usize,
}

/// Tells how the node takes part.
///
/// In the federation, and how far its decisions are. A node that is alone opens no socket, knows
/// nobody, and says so.
#[utoipa::path(
    get,
    path = router::FEDERATION_STATUS,
    responses((status = 200, body = Status)),
)]
pub(super) async fn status(
    State(app): State<App>,
    Until(deadline): Until,
) -> Result<Json<Status>, ApiError> {
    let (view, standing, active, patterns) = tokio::join!(
        app.roster.gossip.call(deadline, |reply| GossipMsg::View { reply }),
        app.roster.consensus.call(deadline, |reply| ConsensusMsg::Standing { reply }),
        app.roster.identity.call(deadline, |reply| IdentityMsg::Active { reply }),
        app.roster.pattern_memory.call(deadline, |reply| PatternMemoryMsg::Count { reply }),
    );
    let (view, standing, active) = (view?, standing??, active?);
    Ok(Json(Status {
        connected: view.is_connected,
        mode: view.mode,
        node_id: active.node_id.to_hex(),
        peer_id: None,
        listen_addrs: view.listen_addrs,
        gossip_port: view.port,
        peers: view.peers.len(),
        peer_count: view.peers.len(),
        peer_list: view.peers,
        gossip_round: view.round,
        consensus_height: standing.height,
        pattern_count: patterns?,
        decided_count: standing.patterns,
        pending_count: standing.pending,
        validators: standing.validators,
        fault_tolerance: fault_tolerance(standing.validators),
        quorum: needed(standing.validators),
    }))
}

/// Other nodes.
#[derive(Debug, Serialize, ToSchema)]
#[schema(examples(json!({ "peers": [] })))]
pub(super) struct Peers {
    /// Those that are known.
    #[schema(value_type = Vec<KnownPeer>)]
    peers: Vec<Peer>,
}

/// Lists the other nodes that are known.
#[utoipa::path(get, path = router::FEDERATION_PEERS, responses((status = 200, body = Peers)))]
pub(super) async fn peers(
    State(app): State<App>,
    Until(deadline): Until,
) -> Result<Json<Peers>, ApiError> {
    let view = app.roster.gossip.call(deadline, |reply| GossipMsg::View { reply }).await?;
    Ok(Json(Peers { peers: view.peers }))
}

/// A pattern to put to the vote.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(examples(json!({
    "pattern_id": "pat_1",
    "pattern_embedding": [0.25, -1.0],
    "source_node": "2152f8d19b791d24453242e15f2eab6c",
    "confidence": 0.97,
    "content": "Ask before you act.",
})))]
pub(super) struct ProposeRequest {
    /// Its name.
    #[schema(min_length = 1, pattern = "^[A-Za-z0-9._:-]+$")]
    pattern_id: String,
    /// Where it lies among other patterns.
    #[schema(value_type = Vec<EmbeddingNumber>, min_items = 1)]
    pattern_embedding: Vec<f64>,
    /// The node that saw it.
    #[schema(value_type = NodeIdHex)]
    source_node: String,
    /// How sure that node is. Less is refused with 403 (`CONFIDENCE_TOO_LOW`).
    #[schema(maximum = 1)]
    confidence: f64,
    /// What it says; as many bytes of UTF-8 as characters are allowed here.
    content: Option<String>,
}

/// What became of a proposal.
#[derive(Debug, Serialize, ToSchema)]
#[schema(examples(json!({
    "proposal_id": "prop_79b5562e8fe654f94078b112e8a98ba7901f853ae695bed7e0e3910bad049664",
    "status": "committed",
    "mode": "solo",
    "quorum_needed": 1,
    "votes_received": 1,
    "height": 1,
})))]
pub(super) struct Proposed {
    /// Its id: the digest of what it says.
    #[schema(value_type = ProposalIdText)]
    proposal_id: String,
    /// What became of it.
    #[schema(value_type = ProposalStatusName)]
    status: &'static str,
    /// How it was decided.
    #[schema(value_type = ModeName)]
    mode: Mode,
    /// Votes that it needs.
    quorum_needed: usize,
    /// Votes that it has.
    votes_received: usize,
    /// Its number among the decisions; null if it was not committed.
    #[schema(required)]
    height: Option<u64>,
}

/// Puts a pattern to the vote.
///
/// It is signed, judged by the gates of profile `proposal`, kept, and decided; a node that is alone is
/// the only validator. The same proposal again is the same one, with the same answer. What the gates
/// refuse is a refusal by the constitution: 403 with what became of it and the receipt (`gates`) beside
/// the usual keys, and on record as `rejected`, without its content.
#[utoipa::path(
    post,
    path = router::PROPOSE,
    request_body = ProposeRequest,
    responses(
        (status = 200, body = Proposed),
        (status = 403, description = "The gates refused it (`REFUSED_BY_GATES`), it is not sure \
                                      enough (`CONFIDENCE_TOO_LOW`), or the host or origin is not \
                                      allowed."),
        (status = 507, description = "There is too little room on the disk (`DISK_FULL`)."),
    ),
)]
pub(super) async fn propose(
    State(app): State<App>,
    Until(deadline): Until,
    Body(request): Body<ProposeRequest>,
) -> Result<Json<Proposed>, ApiError> {
    let ProposeRequest { pattern_id, pattern_embedding, source_node, confidence, content } =
        request;
    let draft = Draft { pattern_id, pattern_embedding, source_node, confidence, content };
    let proposal = Box::new(Proposal::new(draft)?);
    let ask = |reply| ConsensusMsg::Propose { proposal: proposal.clone(), reply };
    let record = app.roster.consensus.call(deadline, ask).await??;
    Ok(Json(proposed(&record)?))
}

/// What became of a proposal.
///
/// # Errors
/// 403 if the gates refused it.
pub(super) fn proposed(record: &Record) -> Result<Proposed, ApiError> {
    let proposed = Proposed {
        proposal_id: record.id().to_string(),
        status: record.status(),
        mode: Mode::Solo,
        quorum_needed: record.quorum_needed(),
        votes_received: record.votes_received(),
        height: record.height(),
    };
    match &record.outcome {
        Outcome::Rejected { code, reason } => Err(refused(record, code, reason, &proposed)),
        Outcome::Pending | Outcome::Committed(_) | Outcome::Expired => Ok(proposed),
    }
}

fn refused(record: &Record, code: &str, reason: &str, proposed: &Proposed) -> ApiError {
    let mut extra = match serde_json::to_value(proposed) {
        Ok(Value::Object(extra)) => extra,
        _ => Map::new(),
    };
    extra.insert("gates".into(), record.gates.clone());
    ApiError::forbidden("REFUSED_BY_GATES", reason.to_owned()).details(code).extra(extra)
}

impl From<ProposalError> for ApiError {
    fn from(error: ProposalError) -> Self {
        let path = error.field().map_or("$".to_owned(), |field| format!("$.{field}"));
        let (code, text) = (error.code(), error.to_string());
        match error {
            ProposalError::Unsure(_) => Self::forbidden(code, text),
            ProposalError::PatternId
            | ProposalError::Dimensions { .. }
            | ProposalError::Embedding { .. }
            | ProposalError::Source(_)
            | ProposalError::Confidence(_)
            | ProposalError::Content { .. }
            | ProposalError::TooLarge { .. }
            | ProposalError::Json(_) => Self::invalid(code, text),
        }
        .details(path)
    }
}

/// Follows a proposal.
///
/// The whole record, down to the certificate, which anybody can check without a node.
#[utoipa::path(
    get,
    path = router::PROPOSAL,
    params(("id" = ProposalIdText, Path, description = "Id of the proposal.")),
    responses(
        (status = 200, body = ProposalRecord),
        (status = 404, description = "This node keeps no such proposal."),
    ),
)]
pub(super) async fn find(
    State(app): State<App>,
    Until(deadline): Until,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<Value>, ApiError> {
    let Path(id) = id?;
    let id = proposal_id("id", &id)?;
    let ask = |reply| ConsensusMsg::Find { id, reply };
    let record = app.roster.consensus.call(deadline, ask).await??;
    let record = record.ok_or_else(|| {
        let error = format!("this node keeps no proposal {id}");
        ApiError::new(hyper::StatusCode::NOT_FOUND, "PROPOSAL_UNKNOWN", error)
    })?;
    Ok(Json(record.to_json()))
}

/// What may be asked of the list of proposals.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ListQuery {
    /// Entries, and 50 unless told otherwise.
    #[param(nullable = false, minimum = 1)]
    limit: Option<usize>,
    /// The last id of the page before.
    #[param(value_type = ProposalIdText, required = false)]
    after: Option<String>,
}

/// Lists what was proposed.
///
/// Newest first, without embeddings and contents. `next` is what to give as `after` for more, or null.
#[utoipa::path(
    get,
    path = router::PROPOSALS,
    params(ListQuery),
    responses((status = 200, body = ProposalPage)),
)]
pub(super) async fn list(
    State(app): State<App>,
    Until(deadline): Until,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Json<Value>, ApiError> {
    let Query(ListQuery { limit, after }) = query?;
    let limit = page_limit(limit, PAGE_MAX)?;
    let after = after.map(|after| proposal_id("after", &after)).transpose()?;
    let page = Page { limit, after };
    let ask = |reply| ConsensusMsg::List { page, reply };
    let records = app.roster.consensus.call(deadline, ask).await??;
    let next = next_after(&records, limit, |last| last.id().to_string());
    let heads: Vec<Value> = records.iter().map(Record::head_json).collect();
    Ok(Json(json!({ "proposals": heads, "next": next })))
}

fn proposal_id(name: &str, text: &str) -> Result<ProposalId, ApiError> {
    ProposalId::from_text(text)
        .ok_or_else(|| invalid_hex(name, &"a proposal id is prop_ and 64 lower-case hex digits"))
}
