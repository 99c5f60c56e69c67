//! `GET /status`: what the node is and how its parts stand.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::adapters::store::free_bytes;
use crate::http::actors::{LastFailure, walk};
use crate::http::app::{App, Until};
use crate::http::error::ApiError;
use crate::http::health::is_inference_ready;
use crate::http::openapi::forms::{ActorStateName, DigestHex, NodeIdHex, PublicKeyHex};
use crate::http::router;
use crate::messages::gate_chain::GateChainMsg;
use crate::messages::gossip::GossipMsg;
use crate::messages::identity::IdentityMsg;
use crate::messages::supervisor::SupervisorMsg;

/// A part that does not answer in this time is reported as missing, and the rest is told.
const ANSWER_WAIT: Duration = Duration::from_secs(1);

/// The node. A value that could not be had is `null`.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Status {
    /// The node's version.
    #[schema(example = "0.1.0")]
    version: &'static str,
    /// Id of the active identity.
    #[schema(value_type = Option<NodeIdHex>, required)]
    node_id: Option<String>,
    /// Its public key.
    #[schema(value_type = Option<PublicKeyHex>, required)]
    public_key: Option<String>,
    /// Whole seconds since the node started. Both names are read by clients.
    uptime_secs: u64,
    /// Seconds since the node started.
    #[schema(minimum = 0)]
    uptime_seconds: f64,
    /// Requests answered since then. Both names are read by clients.
    total_requests: u64,
    /// Requests answered since then.
    requests_served: u64,
    /// Whether there is a key that signs.
    identity_initialized: bool,
    /// Whether a prompt would be answered now.
    inference_ready: bool,
    /// Whether a socket to other nodes is open.
    federation_connected: bool,
    /// The version of the constitution in force.
    #[schema(required, example = "1.0.0")]
    constitution_version: Option<String>,
    /// Its digest.
    #[schema(value_type = Option<DigestHex>, required)]
    constitution_digest: Option<String>,
    /// Bytes that are free where the node keeps its data.
    #[schema(required)]
    data_dir_free_bytes: Option<u64>,
    /// How the actors stand, by their names.
    supervision: BTreeMap<String, Supervised>,
}

/// How one actor stands.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Supervised {
    /// Where it stands.
    #[schema(value_type = ActorStateName)]
    state: &'static str,
    /// How many times it was started again.
    restarts: u64,
    /// Messages waiting or being handled.
    queue_depth: usize,
    /// Why it last failed; null if it never did.
    #[schema(required)]
    last_failure: Option<LastFailure>,
}

/// Tells what the node is.
///
/// Its identity and how its parts stand. What could not be had within a second is null.
#[utoipa::path(get, path = router::STATUS, responses((status = 200, body = Status)))]
pub(super) async fn status(
    State(app): State<App>,
    Until(deadline): Until,
) -> Result<Json<Status>, ApiError> {
    let deadline = deadline.at_most(ANSWER_WAIT);
    let data_dir = app.data_dir.clone();
    // Asking a file system that hangs must not hang the node.
    let free = tokio::task::spawn_blocking(move || free_bytes(&data_dir));
    let (active, constitution, tree, inference_ready, view, free) = tokio::join!(
        app.roster.identity.call(deadline, |reply| IdentityMsg::Active { reply }),
        app.roster.gate_chain.call(deadline, |reply| GateChainMsg::Constitution { reply }),
        app.roster.supervisor.call(deadline, |reply| SupervisorMsg::Tree { reply }),
        is_inference_ready(&app, deadline),
        app.roster.gossip.call(deadline, |reply| GossipMsg::View { reply }),
        tokio::time::timeout_at(deadline.instant(), free),
    );
    let (active, constitution) = (active.ok(), constitution.ok());
    let mut supervision = BTreeMap::new();
    walk(&tree.unwrap_or_default(), &mut |actor| {
        let supervised = Supervised {
            state: actor.state.as_str(),
            restarts: actor.restarts,
            queue_depth: actor.waiting,
            last_failure: actor.last_failure.clone().map(LastFailure::from),
        };
        supervision.insert(actor.name.to_string(), supervised);
    });
    let uptime = app.started.elapsed();
    let served = app.metrics.requests_served();
    Ok(Json(Status {
        version: env!("CARGO_PKG_VERSION"),
        node_id: active.as_ref().map(|active| active.node_id.to_hex()),
        public_key: active.as_ref().map(|active| active.public_key.to_hex()),
        uptime_secs: uptime.as_secs(),
        uptime_seconds: uptime.as_secs_f64(),
        total_requests: served,
        requests_served: served,
        identity_initialized: active.is_some(),
        inference_ready,
        federation_connected: view.is_ok_and(|view| view.is_connected),
        constitution_version: constitution.as_ref().map(|it| it.version().to_owned()),
        constitution_digest: constitution.as_ref().map(|it| it.digest().to_string()),
        data_dir_free_bytes: free.ok().and_then(Result::ok).flatten(),
        supervision,
    }))
}
