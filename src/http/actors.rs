//! The supervision tree, and drills in it.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use hyper::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::http::app::{App, Until};
use crate::http::body::OptionalBody;
use crate::http::error::ApiError;
use crate::http::openapi::forms::{ActorStateName, EpochMs, FaultName};
use crate::http::router;
use crate::messages::supervisor::{ActorInfo, Failure, Fault, SupervisorMsg};

/// The supervision tree.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ActorTree)]
pub(super) struct Tree {
    /// The root's children in start order.
    actors: Vec<Node>,
}

/// One actor.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Actor, examples(json!({
    "name": "identity",
    "state": "running",
    "incarnation": 1,
    "uptime_seconds": 12.5,
    "restarts": 0,
    "queue_depth": 0,
    "queue_depth_max": 256,
    "critical": true,
    "last_failure": null,
    "children": [],
})))]
pub(super) struct Node {
    /// Its name.
    name: String,
    /// Where it stands.
    #[schema(value_type = ActorStateName)]
    state: &'static str,
    /// How many times it has been started.
    incarnation: u64,
    /// Seconds since this incarnation started; null when it does not run.
    #[schema(minimum = 0, required)]
    uptime_seconds: Option<f64>,
    /// How many times it was started again.
    restarts: u64,
    /// Messages waiting or being handled.
    queue_depth: usize,
    /// The most of them there may be.
    queue_depth_max: usize,
    /// Whether the node ends when this actor cannot be kept alive.
    critical: bool,
    /// Why it last failed; null if it never did.
    #[schema(required)]
    last_failure: Option<LastFailure>,
    /// Those that it supervises, in start order.
    #[schema(no_recursion)]
    children: Vec<Node>,
}

/// Why an actor last failed.
#[derive(Debug, Serialize, ToSchema)]
#[schema(examples(json!({ "class": "panic", "reason": "a drill", "at_ms": 1_767_225_600_123_u64 })))]
pub(super) struct LastFailure {
    /// How it ended.
    class: &'static str,
    /// The same in words.
    reason: String,
    /// When.
    #[schema(value_type = EpochMs)]
    at_ms: u64,
}

impl From<ActorInfo> for Node {
    fn from(info: ActorInfo) -> Self {
        Self {
            name: info.name.to_string(),
            state: info.state.as_str(),
            incarnation: info.incarnation,
            uptime_seconds: info.uptime.map(|uptime| uptime.as_secs_f64()),
            restarts: info.restarts,
            queue_depth: info.waiting,
            queue_depth_max: info.waiting_max,
            critical: info.is_critical,
            last_failure: info.last_failure.map(LastFailure::from),
            children: info.children.into_iter().map(Self::from).collect(),
        }
    }
}

impl From<Failure> for LastFailure {
    fn from(failure: Failure) -> Self {
        Self { class: failure.class, reason: failure.text, at_ms: failure.at_ms }
    }
}

/// Calls `visit` with every actor of a tree, parents first.
pub(super) fn walk<'a>(tree: &'a [ActorInfo], visit: &mut impl FnMut(&'a ActorInfo)) {
    for info in tree {
        visit(info);
        walk(&info.children, visit);
    }
}

/// Shows the supervision tree.
///
/// Every actor with its state, restarts, queue and last failure.
#[utoipa::path(get, path = router::ACTORS, responses((status = 200, body = Tree)))]
pub(super) async fn list(
    State(app): State<App>,
    Until(deadline): Until,
) -> Result<Json<Tree>, ApiError> {
    let tree = app.roster.supervisor.call(deadline, |reply| SupervisorMsg::Tree { reply }).await?;
    Ok(Json(Tree { actors: tree.into_iter().map(Node::from).collect() }))
}

/// How an actor is to fail.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(examples(json!({ "kind": "error" })))]
pub(super) struct StopRequest {
    /// `error` unless told otherwise; the others only where drills are allowed.
    #[serde(default)]
    #[schema(value_type = Option<FaultName>)]
    kind: Option<String>,
}

/// The fault is on its way.
#[derive(Debug, Serialize, ToSchema)]
#[schema(examples(json!({ "actor": "identity", "kind": "error" })))]
pub(super) struct Stopped {
    /// The actor that fails.
    actor: String,
    /// How.
    #[schema(value_type = FaultName)]
    kind: &'static str,
}

/// Makes an actor fail.
///
/// A drill: its supervisor starts it again. Every kind but `error` is refused with 403 unless drills
/// are enabled in the configuration (`chaos.enabled`).
#[utoipa::path(
    post,
    path = router::ACTOR_STOP,
    params(("name" = String, Path, description = "Name of the actor, as in the supervision tree.",
        min_length = 1, example = "identity")),
    request_body = Option<StopRequest>,
    responses(
        (status = 200, body = Stopped),
        (status = 404, description = "There is no such actor."),
        (status = 409, description = "The actor does not run."),
    ),
)]
pub(super) async fn stop(
    State(app): State<App>,
    Until(deadline): Until,
    name: Result<Path<String>, PathRejection>,
    OptionalBody(request): OptionalBody<StopRequest>,
) -> Result<Json<Stopped>, ApiError> {
    let Path(name) = name?;
    let fault = fault(request.kind.as_deref(), app.has_drills)?;
    if name == app.roster.supervisor.name().as_str() && !app.has_drills {
        // Nobody starts it again: the node ends.
        return Err(drills_disabled());
    }
    let drill = |reply| SupervisorMsg::Drill { name: name.clone(), fault, reply };
    app.roster.supervisor.call(deadline, drill).await??;
    tracing::warn!(actor = name, fault = fault.as_str(), "an actor was made to fail");
    Ok(Json(Stopped { actor: name, kind: fault.as_str() }))
}

fn fault(kind: Option<&str>, has_drills: bool) -> Result<Fault, ApiError> {
    let fault = kind.map_or(Some(Fault::Error), Fault::from_name).ok_or_else(|| {
        let known = Fault::ALL.map(Fault::as_str).join(", ");
        ApiError::invalid("UNKNOWN_FAULT", format!("kind must be one of: {known}"))
            .details("$.kind")
    })?;
    if fault == Fault::Error || has_drills {
        return Ok(fault);
    }
    Err(drills_disabled())
}

fn drills_disabled() -> ApiError {
    ApiError::new(
        StatusCode::FORBIDDEN,
        "CHAOS_DISABLED",
        "only kind error is allowed, and not of the supervisor, unless drills are enabled in the \
         configuration",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_an_error_unless_drills_are_allowed() {
        assert_eq!(fault(None, false).unwrap(), Fault::Error);
        assert_eq!(fault(Some("error"), false).unwrap(), Fault::Error);
        for kind in ["panic", "stop", "kill", "freeze"] {
            assert_eq!(fault(Some(kind), false).unwrap_err().code(), "CHAOS_DISABLED");
            assert_eq!(fault(Some(kind), true).unwrap().as_str(), kind);
        }
        for kind in ["", "Panic", "explode", "\u{7206}"] {
            assert_eq!(fault(Some(kind), true).unwrap_err().code(), "UNKNOWN_FAULT");
        }
    }
}
