//! What can be asked of a supervisor: how its children stand, and to make one fail.

use tracing::{info, warn};

use super::child::Order;
use super::{Myself, State, Supervisor};
use crate::domain::restart::Standing;
use crate::messages::addr::{Deadline, Mail, Message, Work};
use crate::messages::event::{ActorEvent, Change, Event};
use crate::messages::supervisor::{
    ActorInfo, ActorState, DrillError, Failure, Fault, SupervisorMsg,
};

/// Time a supervisor below may take to describe its children.
const TREE_WAIT: std::time::Duration = std::time::Duration::from_millis(250);

/// Time a supervisor below may take to begin a drill.
const DRILL_WAIT: std::time::Duration = std::time::Duration::from_secs(1);

impl Supervisor {
    pub(super) fn work(&self, work: Work<SupervisorMsg>, myself: &Myself, state: &State) {
        let Work { message, ticket, .. } = work;
        ticket.take();
        if message.is_abandoned() {
            return;
        }
        // Questions that are passed on keep their places until they are answered.
        match message {
            SupervisorMsg::Tree { reply } => {
                let children: Vec<_> = (0..self.children.len())
                    .map(|child| (self.describe(child, state), self.children[child].clone()))
                    .collect();
                tokio::spawn(async move {
                    let mut tree = Vec::with_capacity(children.len());
                    for (mut info, spec) in children {
                        if let Some((below, _)) = spec.launch.below() {
                            let wait = Deadline::after(TREE_WAIT);
                            let ask = |reply| SupervisorMsg::Tree { reply };
                            info.children = below.call(wait, ask).await.unwrap_or_default();
                        }
                        tree.push(info);
                    }
                    reply.send(tree);
                    drop(ticket);
                });
            }
            SupervisorMsg::Drill { name, fault, reply } => {
                if self.exit.is_some() && name == self.name {
                    return reply.send(self.drill_root(fault, myself));
                }
                let child = self.children.iter().position(|spec| spec.holds(&name));
                let Some(child) = child else { return reply.send(Err(DrillError::Unknown(name))) };
                let spec = &self.children[child];
                if let Some((below, _)) = spec.launch.below()
                    && spec.name.as_str() != name
                {
                    let below = below.clone();
                    let group = self.describe(child, state);
                    tokio::spawn(async move {
                        let ask = |reply| SupervisorMsg::Drill { name: name.clone(), fault, reply };
                        let passed_on = below.call(Deadline::after(DRILL_WAIT), ask).await;
                        let ActorInfo { name, state, .. } = group;
                        let refused = Err(DrillError::NotRunning { name, state });
                        reply.send(passed_on.unwrap_or(refused));
                        drop(ticket);
                    });
                    return;
                }
                reply.send(self.drill(child, fault, state));
            }
        }
    }

    fn drill_root(&self, fault: Fault, myself: &Myself) -> Result<(), DrillError> {
        if fault == Fault::Freeze {
            return Err(DrillError::Unnoticed);
        }
        warn!(fault = fault.as_str(), "drill: making the root supervisor fail, the node will end");
        // It is the one that sends, so it is there to take it.
        let _ = myself.send_message(Mail::Fault(fault));
        Ok(())
    }

    fn drill(&self, child: usize, fault: Fault, state: &State) -> Result<(), DrillError> {
        let name = self.children[child].name.clone();
        if let Some(present) = &state.present[child]
            && (present.live.control)(Order::Fault(fault))
        {
            warn!(actor = name.as_str(), fault = fault.as_str(), "drill: making an actor fail");
            return Ok(());
        }
        Err(DrillError::NotRunning { name, state: self.describe(child, state).state })
    }

    fn describe(&self, child: usize, state: &State) -> ActorInfo {
        let spec = &self.children[child];
        let (waiting, waiting_max) = spec.launch.waiting();
        let incarnation = spec.last_generation();
        let is_first = incarnation == 0;
        let actor_state = match state.group.standing(child) {
            Some(Standing::Idle) if is_first => ActorState::Waiting,
            Some(Standing::Idle | Standing::Pausing) | None => ActorState::Restarting,
            Some(Standing::Starting) if incarnation > 1 => ActorState::Restarting,
            Some(Standing::Starting) => ActorState::Starting,
            Some(Standing::Running { .. }) => ActorState::Running,
            Some(Standing::Stopping) => ActorState::Stopping,
            Some(Standing::Failed) => ActorState::Failed,
            Some(Standing::Fenced) => ActorState::Fenced,
            Some(Standing::Done) => ActorState::Stopped,
        };
        ActorInfo {
            name: spec.name.clone(),
            state: actor_state,
            incarnation,
            uptime: state.present[child].as_ref().map(|present| present.since.elapsed()),
            restarts: incarnation.saturating_sub(1),
            waiting,
            waiting_max,
            is_critical: spec.rules.is_critical,
            last_failure: state.failures[child].clone(),
            children: Vec::new(),
        }
    }

    pub(super) fn tell(&self, child: usize, generation: u64, change: Change) {
        let name = self.children[child].name.clone();
        info!(actor = name.as_str(), incarnation = generation, "actor {}", change.as_str());
        let event = ActorEvent { actor: name, change, incarnation: generation, reason: None };
        self.settings.events.publish(Event::Actor(event));
    }

    pub(super) fn tell_failure(&self, child: usize, generation: u64, failure: &Failure) {
        let name = self.children[child].name.clone();
        let (change, reason) = (Change::Failed, Some(failure.text.clone()));
        let event = ActorEvent { actor: name, change, incarnation: generation, reason };
        self.settings.events.publish_of(failure.at_ms, Event::Actor(event));
    }
}
