//! Whether the node lives, is ready, and is well.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use serde_json::{Map, json};
use utoipa::ToSchema;

use crate::http::actors::walk;
use crate::http::app::{App, Until};
use crate::http::error::ApiError;
use crate::http::openapi::forms::ActorStateName;
use crate::http::openapi::shapes::Signal;
use crate::http::router;
use crate::messages::addr::Deadline;
use crate::messages::inference_router::InferenceMsg;
use crate::messages::supervisor::{ActorInfo, ActorState, SupervisorMsg};

/// Whoever asks for the health of a node has no patience with one that is not well.
const ANSWER_WAIT: Duration = Duration::from_secs(1);

/// How the node is.
#[derive(Debug, Serialize, ToSchema)]
#[schema(examples(json!({
    "status": "healthy",
    "version": "0.1.0",
    "uptime_seconds": 12.5,
    "requests_served": 3,
    "actors": { "identity": "running" },
    "inference_ready": true,
})))]
pub(super) struct Health {
    /// `healthy`, or `degraded` when something does not work; `unhealthy` comes with 503.
    #[schema(pattern = "^(healthy|degraded|unhealthy)$")]
    status: &'static str,
    /// The node's version.
    version: &'static str,
    /// Seconds since the node started.
    #[schema(minimum = 0)]
    uptime_seconds: f64,
    /// Requests answered since then.
    requests_served: u64,
    /// State of every actor, by its name.
    #[schema(value_type = BTreeMap<String, ActorStateName>)]
    actors: BTreeMap<String, &'static str>,
    /// Whether a prompt would be answered now.
    inference_ready: bool,
}

/// How the node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Condition {
    /// Everything works.
    Healthy,
    /// It serves, but something it should do does not work or is just coming back.
    Degraded,
    /// It cannot serve.
    Unhealthy,
}

impl Condition {
    fn of(tree: &[ActorInfo], is_inference_ready: bool) -> Self {
        let mut condition = if is_inference_ready { Self::Healthy } else { Self::Degraded };
        walk(tree, &mut |actor| {
            let is_lost = match actor.state {
                ActorState::Running => return,
                ActorState::Starting | ActorState::Restarting => false,
                ActorState::Waiting
                | ActorState::Stopping
                | ActorState::Failed
                | ActorState::Fenced
                | ActorState::Stopped => actor.is_critical,
            };
            condition = match (condition, is_lost) {
                (_, true) | (Self::Unhealthy, _) => Self::Unhealthy,
                (_, false) => Self::Degraded,
            };
        });
        condition
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// How the node is, and what that was seen from.
async fn examine(app: &App, until: Deadline) -> Result<(Condition, Health), ApiError> {
    let deadline = until.at_most(ANSWER_WAIT);
    let (tree, is_inference_ready) = tokio::join!(
        app.roster.supervisor.call(deadline, |reply| SupervisorMsg::Tree { reply }),
        is_inference_ready(app, deadline),
    );
    let tree = tree?;
    let condition = Condition::of(&tree, is_inference_ready);
    let mut actors = BTreeMap::new();
    walk(&tree, &mut |actor| {
        actors.insert(actor.name.to_string(), actor.state.as_str());
    });
    let health = Health {
        status: condition.as_str(),
        version: env!("CARGO_PKG_VERSION"),
        uptime_seconds: app.started.elapsed().as_secs_f64(),
        requests_served: app.metrics.requests_served(),
        actors,
        inference_ready: is_inference_ready,
    };
    Ok((condition, health))
}

/// Whether any model would answer a prompt now.
pub(super) async fn is_inference_ready(app: &App, deadline: Deadline) -> bool {
    let models = app.roster.inference.call(deadline, |reply| InferenceMsg::Models { reply }).await;
    models.is_ok_and(|models| models.iter().any(|model| model.is_available))
}

/// Tells how the node is.
///
/// 200 while the node serves, also when it is degraded. 503 when a critical actor is lost; the error
/// then has the keys of this answer as well.
#[utoipa::path(get, path = router::HEALTH, responses((status = 200, body = Health)))]
pub(super) async fn health(
    State(app): State<App>,
    Until(deadline): Until,
) -> Result<Json<Health>, ApiError> {
    match examine(&app, deadline).await {
        Ok((Condition::Healthy | Condition::Degraded, health)) => Ok(Json(health)),
        Ok((Condition::Unhealthy, health)) => Err(unhealthy(&health, "an actor is lost")),
        Err(_) => {
            let health = Health {
                status: Condition::Unhealthy.as_str(),
                version: env!("CARGO_PKG_VERSION"),
                uptime_seconds: app.started.elapsed().as_secs_f64(),
                requests_served: app.metrics.requests_served(),
                actors: BTreeMap::new(),
                inference_ready: false,
            };
            Err(unhealthy(&health, "the supervisor does not answer"))
        }
    }
}

fn unhealthy(health: &Health, reason: &'static str) -> ApiError {
    let extra = match serde_json::to_value(health) {
        Ok(serde_json::Value::Object(keys)) => keys,
        _ => Map::new(),
    };
    ApiError::unavailable("UNHEALTHY", reason).extra(extra)
}

/// Tells that the process answers.
#[utoipa::path(get, path = router::LIVE, responses((status = 200, body = Signal)))]
pub(super) async fn live() -> Json<serde_json::Value> {
    Json(json!({ "status": "alive" }))
}

/// Tells whether to send work here.
///
/// 503 while the node is on its way down or cannot serve.
#[utoipa::path(get, path = router::READY, responses((status = 200, body = Signal)))]
pub(super) async fn ready(
    State(app): State<App>,
    Until(deadline): Until,
) -> Result<Json<serde_json::Value>, ApiError> {
    let refused = |reason| Err(ApiError::unavailable("NOT_READY", reason));
    if app.readiness.is_draining() {
        return refused("the node is on its way down");
    }
    match examine(&app, deadline).await {
        Ok((Condition::Healthy | Condition::Degraded, _)) => Ok(Json(json!({ "status": "ready" }))),
        Ok((Condition::Unhealthy, _)) => refused("an actor is lost"),
        Err(_) => refused("the supervisor does not answer"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::messages::addr::ActorName;

    fn actor(state: ActorState, is_critical: bool, children: Vec<ActorInfo>) -> ActorInfo {
        ActorInfo {
            name: ActorName::from("a"),
            state,
            incarnation: 1,
            uptime: None,
            restarts: 0,
            waiting: 0,
            waiting_max: 1,
            is_critical,
            last_failure: None,
            children,
        }
    }

    #[test]
    fn the_worst_actor_decides_over_health() {
        use ActorState::{
            Failed, Fenced, Restarting, Running, Starting, Stopped, Stopping, Waiting,
        };
        for state in [Failed, Fenced, Stopped, Stopping, Waiting] {
            let lost = actor(state, true, vec![]);
            assert_eq!(Condition::of(std::slice::from_ref(&lost), true), Condition::Unhealthy);
            let below = actor(Running, true, vec![actor(Running, false, vec![]), lost]);
            assert_eq!(Condition::of(&[below], true), Condition::Unhealthy);
            let lesser = [actor(state, false, vec![]), actor(Running, true, vec![])];
            assert_eq!(Condition::of(&lesser, true), Condition::Degraded);
        }
        for state in [Starting, Restarting] {
            assert_eq!(Condition::of(&[actor(state, true, vec![])], true), Condition::Degraded);
        }
        let well = [actor(Running, true, vec![])];
        assert_eq!(Condition::of(&well, true), Condition::Healthy);
        assert_eq!(Condition::of(&well, false), Condition::Degraded);
        assert_eq!(Condition::of(&[actor(Failed, true, vec![])], false), Condition::Unhealthy);
    }
}
