//! The supervision tree of a node, and drills in it.

use bizra_omega::domain::fault::Fault;
use bizra_omega::messages::roster::Roster;
use bizra_omega::messages::supervisor::{ActorInfo, SupervisorMsg};
use serde_json::{Value, json};

use super::answers::Json;
use super::call::Call;
use super::failure::wrong;
use super::running::{Running, deadline};
use crate::error::{Error, Result};

/// Shows every actor.
pub(super) fn tree(running: &Running, timeout: Option<f64>) -> Result<Call> {
    let until = deadline(timeout, running.facts.usual)?;
    let Roster { supervisor, .. } = running.roster.clone();
    running.begin(&running.lanes.supervisor, until, async move {
        let tree = supervisor.call(until, |reply| SupervisorMsg::Tree { reply }).await?;
        Ok(Json(tree.iter().map(shown).collect()))
    })
}

/// Makes an actor fail.
pub(super) fn stop(
    running: &Running,
    name: String,
    kind: &str,
    timeout: Option<f64>,
) -> Result<Call> {
    let fault = Fault::from_name(kind).ok_or_else(|| {
        let known = Fault::ALL.map(Fault::as_str).join(", ");
        wrong("kind", "UNKNOWN_FAULT", format!("kind is one of: {known}"))
    })?;
    if fault != Fault::Error && !running.facts.has_drills {
        let message = format!("{kind} is a drill; drills need chaos.enabled in the configuration");
        return Err(wrong("kind", "CHAOS_DISABLED", message));
    }
    let until = deadline(timeout, running.facts.usual)?;
    let Roster { supervisor, .. } = running.roster.clone();
    running.begin(&running.lanes.supervisor, until, async move {
        let ask = |reply| SupervisorMsg::Drill { name: name.clone(), fault, reply };
        supervisor.call(until, ask).await?.map_err(Error::from)
    })
}

fn shown(info: &ActorInfo) -> Value {
    let failure = info.last_failure.as_ref().map(
        |failure| json!({ "class": failure.class, "reason": failure.text, "at_ms": failure.at_ms }),
    );
    json!({
        "name": info.name.as_str(),
        "state": info.state.as_str(),
        "incarnation": info.incarnation,
        "uptime_seconds": info.uptime.map(|uptime| uptime.as_secs_f64()),
        "restarts": info.restarts,
        "queue_depth": info.waiting,
        "queue_depth_max": info.waiting_max,
        "critical": info.is_critical,
        "last_failure": failure,
        "children": info.children.iter().map(shown).collect::<Value>(),
    })
}
