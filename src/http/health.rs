//! Whether the node lives, is ready, and is well.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use axum::Json;
use axum::extract::State;
use serde::{Serialize, Serializer};
use serde_json::{Map, json};
use tokio::sync::Mutex;
use tokio::time::Instant;
use utoipa::ToSchema;

use crate::http::actors::walk;
use crate::http::app::App;
use crate::http::error::ApiError;
use crate::http::openapi::forms::ActorStateName;
use crate::http::openapi::shapes::Signal;
use crate::http::router;
use crate::messages::addr::Deadline;
use crate::messages::inference_router::InferenceMsg;
use crate::messages::supervisor::{ActorInfo, ActorState, SupervisorMsg};

/// Whoever asks for the health of a node has no patience with one that is not well.
const ANSWER_WAIT: Duration = Duration::from_secs(1);

/// Age up to which what was seen of the node is told again. Shorter than a heartbeat, so that it hides
/// nothing the supervisor knows for long; long enough that however many ask, the actors are asked
/// ten times a second.
const SIGHT_AGE_MAX: Duration = Duration::from_millis(100);

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
    /// State of every actor, by its name. At most 100 ms old, like `status` and `inference_ready`.
    #[serde(serialize_with = "states")]
    #[schema(value_type = BTreeMap<String, ActorStateName>)]
    actors: Arc<States>,
    /// Whether a prompt would be answered now.
    inference_ready: bool,
}

/// State of every actor, by its name.
type States = BTreeMap<String, &'static str>;

fn states<S: Serializer>(states: &Arc<States>, serializer: S) -> Result<S::Ok, S::Error> {
    states.as_ref().serialize(serializer)
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

/// What was seen of the node at one instant.
#[derive(Clone, Debug)]
struct Sight {
    at: Instant,
    condition: Condition,
    /// Why it is unhealthy.
    reason: &'static str,
    actors: Arc<States>,
    is_inference_ready: bool,
}

/// The last sight, shared by all who ask at about the same time: one of them looks, the others wait
/// for what it sees. So the health of a node costs its actors the same, however often it is asked for.
#[derive(Debug, Default)]
pub(super) struct Lookout {
    last: ArcSwapOption<Sight>,
    /// Held by the one that looks.
    looks: Mutex<()>,
}

impl Lookout {
    fn recent(&self) -> Option<Arc<Sight>> {
        self.last.load_full().filter(|sight| sight.at.elapsed() <= SIGHT_AGE_MAX)
    }

    /// What is seen now. That nobody answered is seen as well, and told to all who waited.
    async fn look(&self, app: &App) -> Arc<Sight> {
        if let Some(sight) = self.recent() {
            return sight;
        }
        let _looks = self.looks.lock().await;
        if let Some(sight) = self.recent() {
            return sight;
        }
        let sight = Arc::new(Sight::now(app).await);
        self.last.store(Some(Arc::clone(&sight)));
        sight
    }
}

impl Sight {
    async fn now(app: &App) -> Self {
        // Not the deadline of whoever happens to look: what is seen is told to others.
        let deadline = Deadline::after(ANSWER_WAIT.min(app.limits.request_timeout));
        let (tree, is_inference_ready) = tokio::join!(
            app.roster.supervisor.call(deadline, |reply| SupervisorMsg::Tree { reply }),
            is_inference_ready(app, deadline),
        );
        let at = Instant::now();
        let mut actors = States::new();
        let (condition, reason) = match &tree {
            Ok(tree) => {
                walk(tree, &mut |actor| {
                    actors.insert(actor.name.to_string(), actor.state.as_str());
                });
                (Condition::of(tree, is_inference_ready), "an actor is lost")
            }
            Err(_) => (Condition::Unhealthy, "the supervisor does not answer"),
        };
        Self { at, condition, reason, actors: Arc::new(actors), is_inference_ready }
    }
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
pub(super) async fn health(State(app): State<App>) -> Result<Json<Health>, ApiError> {
    let sight = app.lookout().look(&app).await;
    let health = Health {
        status: sight.condition.as_str(),
        version: env!("CARGO_PKG_VERSION"),
        uptime_seconds: app.started.elapsed().as_secs_f64(),
        requests_served: app.metrics.requests_served(),
        actors: Arc::clone(&sight.actors),
        inference_ready: sight.is_inference_ready,
    };
    match sight.condition {
        Condition::Healthy | Condition::Degraded => Ok(Json(health)),
        Condition::Unhealthy => Err(unhealthy(&health, sight.reason)),
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
pub(super) async fn ready(State(app): State<App>) -> Result<Json<serde_json::Value>, ApiError> {
    let refused = |reason| Err(ApiError::unavailable("NOT_READY", reason));
    if app.readiness.is_draining() {
        return refused("the node is on its way down");
    }
    let sight = app.lookout().look(&app).await;
    match sight.condition {
        Condition::Healthy | Condition::Degraded => Ok(Json(json!({ "status": "ready" }))),
        Condition::Unhealthy => refused(sight.reason),
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
