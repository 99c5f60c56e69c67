//! What may be said to the root supervisor.

use std::time::Duration;

use crate::messages::addr::{ActorName, Message, Reply};

/// A part of what may be said, known also to those that may not name this module.
pub use crate::domain::fault::Fault;

/// Where a supervised actor stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ActorState {
    /// Not started yet.
    Waiting,
    /// Between the decision to start it and its first message.
    Starting,
    /// Serving.
    Running,
    /// Told to stop, still finishing.
    Stopping,
    /// Down, and started again after a pause.
    Restarting,
    /// Its restart budget is spent; tried again slowly.
    Failed,
    /// Failed in a way that must not be repeated; never started again.
    Fenced,
    /// Ended as it should.
    Stopped,
}

impl ActorState {
    /// Its name on the wire and in logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Restarting => "restarting",
            Self::Failed => "failed",
            Self::Fenced => "fenced",
            Self::Stopped => "stopped",
        }
    }
}

/// The last failure of an actor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// How it ended: `panic`, `error`, `stop`, `kill`, `frozen` or `start`.
    pub class: &'static str,
    /// What it said.
    pub text: String,
    /// When, as milliseconds since the Unix epoch.
    pub at_ms: u64,
}

/// One node of the supervision tree.
#[derive(Clone, Debug, PartialEq)]
pub struct ActorInfo {
    /// Unique within the node.
    pub name: ActorName,
    /// Where it stands.
    pub state: ActorState,
    /// How many times it has been started; 1 for the first incarnation.
    pub incarnation: u64,
    /// Time since the present incarnation started.
    pub uptime: Option<Duration>,
    /// Restarts since the node started.
    pub restarts: u64,
    /// Messages waiting or being handled.
    pub waiting: usize,
    /// The most that may wait.
    pub waiting_max: usize,
    /// Whether the node ends when this actor cannot be kept alive.
    pub is_critical: bool,
    /// Why it last failed.
    pub last_failure: Option<Failure>,
    /// Actors below this one, if it is a supervisor.
    pub children: Vec<ActorInfo>,
}

/// Why a drill was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DrillError {
    /// There is no actor of that name.
    #[error("no actor is called {0}")]
    Unknown(String),
    /// The actor, or the supervisor above it, is not there to fail.
    #[error("actor {name} does not answer; it is {}", state.as_str())]
    NotRunning {
        /// Its name.
        name: ActorName,
        /// Where it stands.
        state: ActorState,
    },
    /// Nobody watches the root.
    #[error("the root supervisor cannot be frozen: nobody above it would notice")]
    Unnoticed,
}

/// What may be said to a supervisor.
#[derive(Debug)]
pub enum SupervisorMsg {
    /// Tells how every actor below it stands.
    Tree {
        /// Takes the supervisor's children in start order.
        reply: Reply<Vec<ActorInfo>>,
    },
    /// Makes one actor fail; answered when the fault is on its way. A supervisor that is named
    /// itself fails, with all below it.
    Drill {
        /// The actor.
        name: String,
        /// The way to fail.
        fault: Fault,
        /// Takes whether it could be done.
        reply: Reply<Result<(), DrillError>>,
    },
}

impl Message for SupervisorMsg {
    fn kind(&self) -> &'static str {
        match self {
            Self::Tree { .. } => "tree",
            Self::Drill { .. } => "drill",
        }
    }

    fn is_idempotent(&self) -> bool {
        matches!(self, Self::Tree { .. })
    }

    fn is_abandoned(&self) -> bool {
        match self {
            Self::Tree { reply } => reply.is_closed(),
            Self::Drill { reply, .. } => reply.is_closed(),
        }
    }
}
