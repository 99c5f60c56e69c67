//! Child specifications: what a supervisor must know to keep one child alive.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use ractor::ActorCell;

use crate::actor::{Actor, Announce, Failure, Pulse, Shell};
use crate::domain::restart::{ChildRules, Restart};
use crate::messages::addr::{ActorName, Addr, Mail, Message};
use crate::messages::supervisor::{Fault, SupervisorMsg};
use crate::metrics::Metrics;

type Launching = Pin<Box<dyn Future<Output = Result<Live, Failure>> + Send>>;
type Control = Box<dyn Fn(Order) -> bool + Send + Sync>;

/// What a supervisor can tell an incarnation besides killing it. The answer says whether it could
/// be told.
#[derive(Clone, Copy, Debug)]
pub(super) enum Order {
    /// Finish what waits, then stop.
    Drain,
    /// Give a sign of life.
    Probe,
    /// Fail, for a drill.
    Fault(Fault),
}

/// A running incarnation.
pub(super) struct Live {
    pub(super) cell: ActorCell,
    pub(super) pulse: Arc<Pulse>,
    pub(super) control: Control,
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live").field("cell", &self.cell.get_id()).finish_non_exhaustive()
    }
}

/// How to start a child and how to reach what outlives its incarnations.
pub(super) trait Launch: Send + Sync {
    fn launch(&self, parent: ActorCell, generation: u64, announce: Announce) -> Launching;
    /// Whether launching ends at its first poll, as far as it is known.
    fn is_quick(&self) -> bool;
    fn exonerate(&self, generation: u64);
    fn unbind(&self, generation: u64, is_gone: bool);
    fn waiting(&self) -> (usize, usize);
    /// The address of the supervisor this child is, and the names below it.
    fn below(&self) -> Option<(&Addr<SupervisorMsg>, &[ChildSpec])>;
}

/// What is known of a child beyond the life of its supervisor.
#[derive(Debug, Default)]
struct Fate {
    /// The last one, so that generations only grow.
    generation: AtomicU64,
    /// Whether that generation has not been seen to end.
    is_up: AtomicBool,
    /// Whether it is never to be started again.
    is_fenced: AtomicBool,
}

/// A child as data: its name, its rules, and how to make it afresh.
#[derive(Clone)]
pub struct ChildSpec {
    pub(super) name: ActorName,
    pub(super) rules: ChildRules,
    /// Time to stop by itself before it is killed.
    pub(super) stop_grace: Duration,
    /// Survives the supervisor.
    fate: Arc<Fate>,
    pub(super) launch: Arc<dyn Launch>,
}

impl fmt::Debug for ChildSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChildSpec")
            .field("name", &self.name)
            .field("rules", &self.rules)
            .finish_non_exhaustive()
    }
}

impl ChildSpec {
    /// An actor that `make` makes, once per start, and the address it serves.
    pub fn actor<A: Actor>(
        name: &str,
        rules: ChildRules,
        stop_grace: Duration,
        waiting_max: usize,
        metrics: &Metrics,
        make: impl Fn() -> A + Send + Sync + 'static,
    ) -> (Self, Addr<A::Msg>) {
        let addr = Addr::new(name, waiting_max, metrics.addr(name));
        let launch = ActorLaunch { addr: addr.clone(), metrics: metrics.clone(), make };
        (Self::new(name, rules, stop_grace, Arc::new(launch)), addr)
    }

    pub(super) fn new(
        name: &str,
        rules: ChildRules,
        stop_grace: Duration,
        launch: Arc<dyn Launch>,
    ) -> Self {
        Self { name: name.into(), rules, stop_grace, fate: Arc::default(), launch }
    }

    /// Its name.
    pub fn name(&self) -> &ActorName {
        &self.name
    }

    pub(super) fn last_generation(&self) -> u64 {
        self.fate.generation.load(Ordering::Acquire)
    }

    pub(super) fn is_fenced(&self) -> bool {
        self.fate.is_fenced.load(Ordering::Acquire)
    }

    /// An incarnation is about to start.
    pub(super) fn begins(&self, generation: u64) {
        self.fate.generation.fetch_max(generation, Ordering::AcqRel);
        self.fate.is_up.store(true, Ordering::Release);
    }

    /// The incarnation has ended.
    pub(super) fn ends(&self) {
        self.fate.is_up.store(false, Ordering::Release);
    }

    /// It is never started again, whatever becomes of its supervisor.
    pub(super) fn fence(&self) {
        self.fate.is_fenced.store(true, Ordering::Release);
    }

    /// Its supervisor has ended, and it with it, if it had not before. That is a kill, and nothing
    /// that it was handling is to blame.
    pub(super) fn ended_above(&self, is_gone: bool) {
        let was_up = self.fate.is_up.swap(false, Ordering::AcqRel);
        if was_up && self.rules.restart == Restart::FailStop {
            self.fence();
        }
        let last = self.last_generation();
        if was_up {
            self.launch.exonerate(last);
        }
        self.launch.unbind(last, is_gone || self.is_fenced());
    }

    /// Whether `name` is this child or below it.
    pub(super) fn holds(&self, name: &str) -> bool {
        self.name.as_str() == name
            || self.launch.below().is_some_and(|(_, below)| below.iter().any(|c| c.holds(name)))
    }
}

struct ActorLaunch<M: Message, F> {
    addr: Addr<M>,
    metrics: Metrics,
    make: F,
}

impl<A, F> Launch for ActorLaunch<A::Msg, F>
where
    A: Actor,
    F: Fn() -> A + Send + Sync + 'static,
{
    fn launch(&self, parent: ActorCell, generation: u64, announce: Announce) -> Launching {
        let addr = self.addr.clone();
        let pulse = Arc::new(Pulse::default());
        let shell = Shell {
            actor: (self.make)(),
            name: addr.name().as_str().to_owned(),
            metrics: self.metrics.clone(),
            meter: self.metrics.addr(addr.name().as_str()),
            pulse: pulse.clone(),
        };
        Box::pin(async move {
            let spawned = <Shell<A> as ractor::Actor>::spawn_linked(None, shell, announce, parent);
            let (actor, _) = spawned.await?;
            addr.bind(generation, actor.clone());
            let cell = actor.get_cell();
            let told = pulse.clone();
            let control = move |order| match order {
                Order::Drain => {
                    told.tell();
                    actor.drain().is_ok()
                }
                Order::Probe => actor.send_message(Mail::Probe).is_ok(),
                Order::Fault(Fault::Kill) => {
                    actor.kill();
                    true
                }
                Order::Fault(fault) => actor.send_message(Mail::Fault(fault)).is_ok(),
            };
            Ok(Live { cell, pulse, control: Box::new(control) })
        })
    }

    fn is_quick(&self) -> bool {
        A::STARTS_AT_ONCE
    }

    fn exonerate(&self, generation: u64) {
        self.addr.exonerate(generation);
    }

    fn unbind(&self, generation: u64, is_gone: bool) {
        self.addr.unbind(generation, is_gone);
    }

    fn waiting(&self) -> (usize, usize) {
        (self.addr.waiting(), self.addr.waiting_max())
    }

    fn below(&self) -> Option<(&Addr<SupervisorMsg>, &[ChildSpec])> {
        None
    }
}
