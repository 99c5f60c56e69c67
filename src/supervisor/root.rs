//! The two places of a supervisor: at the root of a node, and as a child of another supervisor.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use ractor::{ActorCell, ActorProcessingErr};
use tokio::sync::watch;

use super::child::{Launch, Live, Order};
use super::known::Known;
use super::{ChildSpec, Myself, Note, Settings, Supervisor, note};
use crate::actor::{Announce, Failure, Pulse};
use crate::domain::restart::{ChildRules, Outcome};
use crate::messages::addr::{Addr, Mail};
use crate::messages::supervisor::{Fault, SupervisorMsg};
use crate::metrics::Metrics;

/// Questions that may wait for a supervisor. Its own notes do not count.
const WAITING_MAX: usize = 64;

/// Why a root supervisor ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    /// The kind of end.
    pub outcome: Outcome,
    /// In words.
    pub reason: String,
}

/// A running root supervisor.
#[derive(Debug)]
pub struct Root {
    addr: Addr<SupervisorMsg>,
    myself: Myself,
    exit: watch::Receiver<Option<Exit>>,
}

impl Root {
    /// An address for a root supervisor that is yet to start, so that its children can be given it.
    pub fn address(metrics: &Metrics) -> Addr<SupervisorMsg> {
        Addr::new("supervisor", WAITING_MAX, metrics.addr("supervisor"))
    }

    /// Starts the children in order; returns when each has come up or will not for now.
    ///
    /// # Errors
    /// When the supervisor itself does not start or ends before its children are up.
    pub async fn start(
        addr: Addr<SupervisorMsg>,
        settings: Settings,
        children: Vec<ChildSpec>,
    ) -> Result<Self, Failure> {
        let (ready, mut is_ready) = watch::channel(false);
        let (exit, has_exit) = watch::channel(None);
        let supervisor = Supervisor {
            name: "supervisor".to_owned(),
            settings,
            children: children.into(),
            pulse: Arc::default(),
            known: Known::default(),
            ready: Arc::new(ready),
            exit: Some(Arc::new(exit)),
        };
        let announce: Announce = Box::new(|_| {});
        let (myself, _) = <Supervisor as ractor::Actor>::spawn(None, supervisor, announce).await?;
        addr.bind(1, myself.clone());
        let root = Self { addr, myself, exit: has_exit };
        // The channel closes when the supervisor ends before that.
        if is_ready.wait_for(|ready| *ready).await.is_err() {
            return Err(root.ended().await.reason.into());
        }
        Ok(root)
    }

    /// Its address.
    pub fn addr(&self) -> &Addr<SupervisorMsg> {
        &self.addr
    }

    /// Waits until it has ended, and says why.
    pub async fn ended(&self) -> Exit {
        let mut exit = self.exit.clone();
        let ended = exit.wait_for(Option::is_some).await;
        match ended.as_deref() {
            Ok(Some(exit)) => exit.clone(),
            _ => Exit {
                outcome: Outcome::GroupBudget { child: 0 },
                reason: "the root supervisor died".to_owned(),
            },
        }
    }

    /// Stops the children in reverse order and waits for the end, at most `grace`; what has not
    /// ended by then is killed.
    pub async fn shutdown(&self, grace: Duration) -> Exit {
        note(&self.myself, Note::Shutdown);
        match tokio::time::timeout(grace, self.ended()).await {
            Ok(exit) => exit,
            Err(_) => {
                self.myself.kill();
                Exit {
                    outcome: Outcome::Shutdown,
                    reason: format!("shutdown took longer than {} s", grace.as_secs_f32()),
                }
            }
        }
    }
}

/// A supervisor as a child of another: one subsystem with rules of its own. Its children are
/// stopped in reverse order when it stops; when its budget is spent it fails, and the rules above
/// decide.
pub fn group(
    name: &str,
    child_rules: ChildRules,
    stop_grace: Duration,
    settings: Settings,
    children: Vec<ChildSpec>,
) -> ChildSpec {
    let addr = Addr::new(name, WAITING_MAX, settings.metrics.addr(name));
    let launch = GroupLaunch { addr, settings, children: children.into() };
    ChildSpec::new(name, child_rules, stop_grace, Arc::new(launch))
}

struct GroupLaunch {
    addr: Addr<SupervisorMsg>,
    settings: Settings,
    children: Arc<[ChildSpec]>,
}

impl Launch for GroupLaunch {
    fn launch(
        &self,
        parent: ActorCell,
        generation: u64,
        announce: Announce,
    ) -> std::pin::Pin<Box<dyn Future<Output = Result<Live, Failure>> + Send>> {
        let (ready, mut is_ready) = watch::channel(false);
        let addr = self.addr.clone();
        let pulse = Arc::new(Pulse::default());
        let supervisor = Supervisor {
            name: addr.name().as_str().to_owned(),
            settings: self.settings.clone(),
            children: self.children.clone(),
            pulse: pulse.clone(),
            known: Known::default(),
            ready: Arc::new(ready),
            exit: None,
        };
        Box::pin(async move {
            let spawned =
                <Supervisor as ractor::Actor>::spawn_linked(None, supervisor, announce, parent);
            let (myself, _) = spawned.await?;
            // The channel closes when the supervisor dies while its children start.
            is_ready.wait_for(|ready| *ready).await?;
            addr.bind(generation, myself.clone());
            let cell = myself.get_cell();
            let control = move |order| match order {
                Order::Drain => {
                    let shutdown = Note::Shutdown;
                    myself.send_message(Mail::Note(Box::new(shutdown))).is_ok()
                }
                Order::Probe => myself.send_message(Mail::Probe).is_ok(),
                Order::Fault(Fault::Kill) => {
                    myself.kill();
                    true
                }
                Order::Fault(fault) => myself.send_message(Mail::Fault(fault)).is_ok(),
            };
            Ok(Live { cell, pulse, control: Box::new(control) })
        })
    }

    fn is_quick(&self) -> bool {
        false
    }

    fn exonerate(&self, generation: u64) {
        self.addr.exonerate(generation);
    }

    fn unbind(&self, generation: u64, is_gone: bool) {
        self.addr.unbind(generation, is_gone);
        for spec in self.children.iter() {
            spec.ended_above(is_gone);
        }
    }

    fn waiting(&self) -> (usize, usize) {
        (self.addr.waiting(), self.addr.waiting_max())
    }

    fn below(&self) -> Option<(&Addr<SupervisorMsg>, &[ChildSpec])> {
        Some((&self.addr, &self.children))
    }
}

/// Carries out a drill on a supervisor.
pub(super) async fn fail(fault: Fault, myself: &Myself) -> Result<(), ActorProcessingErr> {
    match fault {
        Fault::Panic => std::panic::panic_any("drill: panic".to_owned()),
        Fault::Error => Err("drill: error".into()),
        Fault::Freeze => std::future::pending().await,
        Fault::Stop => {
            myself.stop(Some("drill: stop".to_owned()));
            Ok(())
        }
        Fault::Kill => {
            myself.kill();
            Ok(())
        }
    }
}

/// The text of a failure without ractor's framing around it.
pub(super) fn text(failure: &(dyn Error + Send + Sync + 'static)) -> String {
    match failure.downcast_ref::<ractor::SpawnErr>() {
        Some(ractor::SpawnErr::StartupFailed(inner)) => inner.to_string(),
        _ => failure.to_string(),
    }
}
