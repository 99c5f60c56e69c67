//! The supervision tree, and drills in it.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use hyper::StatusCode;
use serde::{Deserialize, Serialize};

use crate::http::app::{App, Until};
use crate::http::body::OptionalBody;
use crate::http::error::ApiError;
use crate::messages::supervisor::{ActorInfo, Failure, Fault, SupervisorMsg};

/// `GET /actors`
#[derive(Debug, Serialize)]
pub(super) struct Tree {
    /// The root's children in start order.
    actors: Vec<Node>,
}

/// One actor.
#[derive(Debug, Serialize)]
pub(super) struct Node {
    name: String,
    state: &'static str,
    /// How many times it has been started.
    incarnation: u64,
    /// Of this incarnation.
    uptime_seconds: Option<f64>,
    restarts: u64,
    /// Messages waiting or being handled, and the most there may be.
    queue_depth: usize,
    queue_depth_max: usize,
    /// Whether the node ends when this actor cannot be kept alive.
    critical: bool,
    last_failure: Option<LastFailure>,
    children: Vec<Node>,
}

/// Why an actor last failed.
#[derive(Debug, Serialize)]
pub(super) struct LastFailure {
    class: &'static str,
    reason: String,
    /// Milliseconds since the Unix epoch.
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

pub(super) async fn list(
    State(app): State<App>,
    Until(deadline): Until,
) -> Result<Json<Tree>, ApiError> {
    let tree = app.roster.supervisor.call(deadline, |reply| SupervisorMsg::Tree { reply }).await?;
    Ok(Json(Tree { actors: tree.into_iter().map(Node::from).collect() }))
}

/// How an actor is to fail.
#[derive(Debug, Default, Deserialize)]
pub(super) struct StopRequest {
    /// `error`, or with drills allowed `panic`, `stop`, `kill`, `freeze`.
    #[serde(default)]
    kind: Option<String>,
}

/// The fault is on its way.
#[derive(Debug, Serialize)]
pub(super) struct Stopped {
    actor: String,
    kind: &'static str,
}

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
