//! Keeps children alive; does not know which children. The rules are in `domain::restart`; this
//! carries out what they say on ractor, which reports ends but restarts nothing by itself.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use ractor::{ActorCell, ActorProcessingErr, SupervisionEvent};
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{error, warn};

use crate::actor::{Announce, Pulse};
use crate::clock;
use crate::domain::restart::{self, Effect, ExitClass, Group, GroupRules, Outcome, Standing};
use crate::messages::addr::Mail;
use crate::messages::event::{Change, Events};
use crate::messages::supervisor::{Failure, SupervisorMsg};
use crate::metrics::Metrics;

pub use child::ChildSpec;
use child::{Live, Order};
use known::Known;
use notes::{Myself, Note, note, note_after};
pub use root::{Exit, Root, group};

mod child;
mod known;
mod notes;
mod root;
mod view;
mod watchdog;

/// Time a killed actor has to end before it is given up: a handler that computes cannot be
/// interrupted, only left behind.
const KILL_GRACE: Duration = Duration::from_secs(1);

/// How a supervisor watches its children.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watch {
    /// Time between heartbeats.
    pub heartbeat: Duration,
    /// Time without any sign of life after which a child is frozen.
    pub frozen: Duration,
    /// Time a child may take to come up.
    pub start: Duration,
}

/// What supervisors of one node have in common, and the rules of one of them.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The rules of the group.
    pub rules: GroupRules,
    /// How it is watched.
    pub watch: Watch,
    /// The node's metrics.
    pub metrics: Metrics,
    /// The node's events.
    pub events: Events,
}

/// What a supervisor needs to exist.
struct Supervisor {
    name: String,
    settings: Settings,
    children: Arc<[ChildSpec]>,
    pulse: Arc<Pulse>,
    known: Known,
    /// Told when every child has come up.
    ready: Arc<watch::Sender<bool>>,
    /// Told why it ended; only the root has somebody who listens.
    exit: Option<Arc<watch::Sender<Option<Exit>>>>,
}

impl fmt::Debug for Supervisor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Supervisor").field("name", &self.name).finish_non_exhaustive()
    }
}

/// What a supervisor keeps of one child's present incarnation.
#[derive(Debug)]
struct Present {
    generation: u64,
    live: Live,
    since: Instant,
    /// When the unanswered probe was sent, and the beats counted then.
    probe: Option<(Instant, u64)>,
}

#[derive(Debug)]
struct State {
    group: Group,
    began: Instant,
    present: Vec<Option<Present>>,
    failures: Vec<Option<Failure>>,
    /// Text of the last unexpected end, for the reason of an exit.
    last_reason: String,
}

impl Supervisor {
    fn step(
        &self,
        event: restart::Event,
        myself: &Myself,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        let unit = unit();
        for effect in state.group.step(state.began.elapsed(), event, unit) {
            match effect {
                Effect::Start { child, generation } => {
                    self.launch(child, generation, myself);
                }
                Effect::Stop { child, generation } => self.stop(child, generation, myself, state),
                Effect::Wait { child, generation, pause } => {
                    let name = self.children[child].name.as_str();
                    let pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
                    warn!(actor = name, pause_ms, "pausing before the next start");
                    self.settings.metrics.set_paused(name, pause_ms);
                    note_after(myself, pause, Note::Elapsed { child, generation });
                }
                Effect::Ready => {
                    self.ready.send_replace(true);
                }
                Effect::Ended(outcome) => return self.ended(outcome, myself, state),
            }
        }
        Ok(())
    }

    fn launch(&self, child: usize, generation: u64, myself: &Myself) {
        let spec = &self.children[child];
        spec.begins(generation);
        let known = self.known.clone();
        let announce: Announce = Box::new({
            let known = known.clone();
            move |cell| {
                known.insert(child, generation, cell);
            }
        });
        let mut launching = spec.launch.launch(myself.get_cell(), generation, announce);
        let limit = self.settings.watch.start;
        let myself = myself.clone();
        let at_once = if spec.launch.is_quick() { (&mut launching).now_or_never() } else { None };
        let finish = move |live: Result<Live, String>| {
            if live.is_err() {
                known.forget(child, generation).inspect(ActorCell::kill);
            }
            note(&myself, Note::Launched { child, generation, live });
        };
        if let Some(launched) = at_once {
            return finish(launched.map_err(|failure| root::text(&*failure)));
        }
        tokio::spawn(async move {
            finish(match tokio::time::timeout(limit, launching).await {
                Ok(launched) => launched.map_err(|failure| root::text(&*failure)),
                Err(_) => Err(format!("did not start within {} s", limit.as_secs_f32())),
            });
        });
    }

    fn launched(
        &self,
        child: usize,
        generation: u64,
        live: Result<Live, String>,
        myself: &Myself,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match live {
            Ok(live) => {
                let is_current = state.group.generation(child) == generation;
                match state.group.standing(child) {
                    Some(Standing::Starting) if is_current => {}
                    // Told to stop while it started: the kill on its way will end it.
                    Some(Standing::Stopping) if is_current => {
                        live.cell.kill();
                        return Ok(());
                    }
                    // It has ended already, before it could be taken in, or was given up.
                    _ => {
                        live.cell.kill();
                        return Ok(());
                    }
                }
                watchdog::watch(&self.children[child].name, &self.settings.metrics, &live.pulse);
                let since = Instant::now();
                state.present[child] = Some(Present { generation, live, since, probe: None });
                self.settings
                    .metrics
                    .set_generation(self.children[child].name.as_str(), generation);
                let is_first = generation == 1;
                self.tell(
                    child,
                    generation,
                    if is_first { Change::Started } else { Change::Restarted },
                );
                self.step(restart::Event::Started { child, generation }, myself, state)
            }
            Err(text) => {
                self.exited(child, generation, ExitClass::StartFailed, text, myself, state)
            }
        }
    }

    fn stop(&self, child: usize, generation: u64, myself: &Myself, state: &State) {
        let spec = &self.children[child];
        let is_told = match &state.present[child] {
            Some(present) => (present.live.control)(Order::Drain),
            None => false,
        };
        if !is_told {
            self.known.kill(child, generation);
        }
        let later = Note::StopDue { child, generation, was_killed: !is_told };
        note_after(myself, if is_told { spec.stop_grace } else { KILL_GRACE }, later);
    }

    fn stop_due(
        &self,
        child: usize,
        generation: u64,
        was_killed: bool,
        myself: &Myself,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        let is_current = state.group.generation(child) == generation;
        if !is_current || state.group.standing(child) != Some(Standing::Stopping) {
            return Ok(());
        }
        let name = self.children[child].name.as_str();
        if was_killed {
            error!(actor = name, "actor does not end, leaving it behind");
            self.known.forget(child, generation);
            let text = "did not end after a kill".to_owned();
            return self.exited(child, generation, ExitClass::Killed, text, myself, state);
        }
        warn!(actor = name, "actor does not stop, killing it");
        self.known.kill(child, generation);
        note_after(myself, KILL_GRACE, Note::StopDue { child, generation, was_killed: true });
        Ok(())
    }

    fn exited(
        &self,
        child: usize,
        generation: u64,
        class: ExitClass,
        text: String,
        myself: &Myself,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        if state.group.generation(child) != generation {
            return Ok(());
        }
        let spec = &self.children[child];
        if matches!(class, ExitClass::Killed | ExitClass::Normal) {
            spec.launch.exonerate(generation);
        }
        spec.launch.unbind(generation, false);
        spec.ends();
        state.present[child] = None;
        let was_expected = state.group.standing(child) == Some(Standing::Stopping);
        if was_expected {
            self.tell(child, generation, Change::Stopped);
        } else {
            warn!(actor = spec.name.as_str(), generation, reason = %text, class = class.as_str(),
                "actor ended");
            state.last_reason = format!("actor {} ended: {text}", spec.name);
            let failure = Failure { class: class.as_str(), text, at_ms: clock::shown_ms() };
            self.tell_failure(child, generation, &failure);
            state.failures[child] = Some(failure);
        }
        self.step(restart::Event::Exited { child, generation, class }, myself, state)?;
        match state.group.standing(child) {
            Some(Standing::Failed) => {
                error!(actor = spec.name.as_str(), "restart budget spent, trying again slowly");
                spec.launch.unbind(generation, true);
            }
            Some(Standing::Fenced) => {
                error!(actor = spec.name.as_str(), "actor fenced, it is not started again");
                spec.fence();
                spec.launch.unbind(generation, true);
            }
            // A group that ends may be started again by the supervisor above it.
            Some(Standing::Done) if state.group.is_ending() => {}
            Some(Standing::Done) => spec.launch.unbind(generation, true),
            _ if !was_expected => {
                self.settings.metrics.restarted(spec.name.as_str(), class.as_str())
            }
            _ => {}
        }
        Ok(())
    }

    fn ended(
        &self,
        outcome: Outcome,
        myself: &Myself,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        if self.exit.is_some() {
            self.leave();
        }
        let reason = match outcome {
            Outcome::Shutdown => "shutdown".to_owned(),
            Outcome::ChildBudget { child } => {
                let spec = &self.children[child];
                let allowed = spec.rules.allowance;
                format!(
                    "{}; {} restarts within {} s are allowed",
                    state.last_reason,
                    allowed.restarts_max,
                    allowed.window.as_secs()
                )
            }
            Outcome::GroupBudget { .. } => format!(
                "{}; {} restarts within {} s are allowed under {}",
                state.last_reason,
                self.settings.rules.allowance.restarts_max,
                self.settings.rules.allowance.window.as_secs(),
                self.name
            ),
        };
        if let Some(exit) = &self.exit {
            exit.send_replace(Some(Exit { outcome, reason }));
        } else if outcome != Outcome::Shutdown {
            self.pulse.fail();
            return Err(reason.into());
        }
        myself.stop(None);
        Ok(())
    }

    /// Tells callers that no child is about to come back. Only the root knows that: whether a group
    /// that ends comes back is for the supervisor above it to say.
    fn leave(&self) {
        for spec in self.children.iter() {
            spec.ended_above(true);
        }
    }

    /// Asks every child for a sign of life and replaces those that gave none in time.
    fn heartbeat(&self, myself: &Myself, state: &mut State) -> Result<(), ActorProcessingErr> {
        let now = Instant::now();
        let mut frozen = Vec::new();
        for (child, present) in state.present.iter_mut().enumerate() {
            let Some(Present { generation, live, probe, .. }) = present else { continue };
            let pulse = &live.pulse;
            let beats = pulse.beats();
            match *probe {
                Some((sent, before)) if before == beats => {
                    let is_late = now.duration_since(sent) >= self.settings.watch.frozen;
                    if is_late && !pulse.is_long() {
                        frozen.push((child, *generation));
                    }
                }
                _ => *probe = (live.control)(Order::Probe).then_some((now, beats)),
            }
            let (waiting, waiting_max) = self.children[child].launch.waiting();
            let name = self.children[child].name.as_str();
            self.settings.metrics.set_waiting(name, waiting, waiting_max);
        }
        for (child, generation) in frozen {
            self.settings.metrics.missed_probe(self.children[child].name.as_str());
            self.known.forget(child, generation).inspect(ActorCell::kill);
            let text = format!("no sign of life for {} ms", self.settings.watch.frozen.as_millis());
            self.exited(child, generation, ExitClass::Frozen, text, myself, state)?;
        }
        Ok(())
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        // However it ended, its children end with it. ractor lets those live that are draining, and
        // one that is stuck over it would hold its callers until their deadlines.
        self.known.kill_all();
        // Nobody starts those of a root again; for a group, the supervisor above decides.
        if self.exit.is_some() {
            self.leave();
        }
    }
}

/// A random number in [0, 1) for jitter; in the middle should the system have none to give.
fn unit() -> f64 {
    getrandom::u32().map_or(0.5, |random| f64::from(random) / (f64::from(u32::MAX) + 1.0))
}

impl ractor::Actor for Supervisor {
    type Msg = Mail<SupervisorMsg>;
    type State = State;
    type Arguments = Announce;

    async fn pre_start(
        &self,
        myself: Myself,
        announce: Announce,
    ) -> Result<State, ActorProcessingErr> {
        announce(myself.get_cell());
        let children = self.children.iter().map(|spec| (spec.rules, spec.last_generation()));
        let mut group = Group::new(self.settings.rules, children);
        let fenced = self.children.iter().enumerate().filter(|(_, spec)| spec.is_fenced());
        fenced.for_each(|(child, _)| group.fence(child));
        Ok(State {
            group,
            began: Instant::now(),
            present: self.children.iter().map(|_| None).collect(),
            failures: vec![None; self.children.len()],
            last_reason: String::new(),
        })
    }

    async fn post_start(
        &self,
        myself: Myself,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        myself
            .send_interval(self.settings.watch.heartbeat, || Mail::Note(Box::new(Note::Heartbeat)));
        self.step(restart::Event::Begin, &myself, state)
    }

    async fn handle(
        &self,
        myself: Myself,
        mail: Mail<SupervisorMsg>,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        self.pulse.beat();
        let note = match mail {
            Mail::Work(work) => {
                self.work(work, &myself, state);
                return Ok(());
            }
            Mail::Probe => return Ok(()),
            Mail::Fault(fault) => return root::fail(fault, &myself).await,
            Mail::Note(note) => note.downcast::<Note>(),
        };
        let Ok(note) = note else { return Ok(()) };
        match *note {
            Note::Launched { child, generation, live } => {
                self.launched(child, generation, live, &myself, state)
            }
            Note::Elapsed { child, generation } => {
                self.step(restart::Event::Elapsed { child, generation }, &myself, state)
            }
            Note::StopDue { child, generation, was_killed } => {
                self.stop_due(child, generation, was_killed, &myself, state)
            }
            Note::Heartbeat => self.heartbeat(&myself, state),
            Note::Shutdown => self.step(restart::Event::Shutdown, &myself, state),
        }
    }

    async fn handle_supervisor_evt(
        &self,
        myself: Myself,
        event: SupervisionEvent,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        let (cell, failure, reason) = match event {
            SupervisionEvent::ActorFailed(cell, failure) => (cell, Some(failure), None),
            SupervisionEvent::ActorTerminated(cell, _, reason) => (cell, None, reason),
            _ => return Ok(()),
        };
        let Some((child, generation)) = self.known.remove(&cell) else {
            return Ok(());
        };
        let (class, text) = match (failure, reason) {
            (Some(failure), _) => {
                let present = state.present[child].as_ref();
                let is_error = present.is_some_and(|p| p.live.pulse.returned_error());
                let class = if is_error { ExitClass::Error } else { ExitClass::Panic };
                (class, root::text(&*failure))
            }
            (None, Some(reason)) if reason == "killed" => (ExitClass::Killed, reason),
            (None, reason) => (ExitClass::Normal, reason.unwrap_or_else(|| "stopped".to_owned())),
        };
        self.exited(child, generation, class, text, &myself, state)
    }
}
