//! Metrics of actors and of the addresses before them.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::messages::addr::CallError;
use crate::metrics::{Metrics, gauge_of};

/// Label: an actor. Names come from `node.rs` and configuration, never from callers.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ActorLabel {
    /// Its name.
    pub actor: String,
}

/// Labels: an actor and one kind of its messages.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct HandleLabels {
    /// The actor's name.
    pub actor: String,
    /// The message's kind.
    pub message: &'static str,
}

/// Labels: an actor and how it ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RestartLabels {
    /// The actor's name.
    pub actor: String,
    /// `panic`, `error`, `stop`, `kill`, `frozen`, `start` or `group`.
    pub reason: &'static str,
}

#[derive(Debug)]
pub(super) struct Families {
    busy: Family<ActorLabel, Counter>,
    late: Family<ActorLabel, Counter>,
    down: Family<ActorLabel, Counter>,
    retries: Family<ActorLabel, Counter>,
    skipped: Family<ActorLabel, Counter>,
    dead_letters: Family<ActorLabel, Counter>,
    waiting: Family<ActorLabel, Gauge>,
    waiting_max: Family<ActorLabel, Gauge>,
    wait_seconds: Family<ActorLabel, Histogram, fn() -> Histogram>,
    generation: Family<ActorLabel, Gauge>,
    paused_seconds: Family<ActorLabel, Gauge<f64, AtomicU64>>,
    up: Family<ActorLabel, Gauge>,
    critical: Family<ActorLabel, Gauge>,
    handle_seconds: Family<HandleLabels, Histogram, fn() -> Histogram>,
    restarts: Family<RestartLabels, Counter>,
    missed_probes: Family<ActorLabel, Counter>,
    stuck: Family<ActorLabel, Gauge>,
}

/// 1 microsecond to 4 seconds in steps of four: a gate check is at the low end, a model's answer is
/// not handled inside a handler.
fn handle_buckets() -> Histogram {
    Histogram::new(exponential_buckets(1e-6, 4.0, 12))
}

impl Families {
    pub(super) fn register(actor: &mut Registry) -> Self {
        let busy = Family::default();
        actor.register("busy", "Messages refused because too many waited", busy.clone());
        let late = Family::default();
        actor.register("late", "Calls whose deadline passed first", late.clone());
        let down = Family::default();
        actor.register("down", "Calls lost with an actor, or said to none", down.clone());
        let retries = Family::default();
        actor.register("retries", "Messages said again to another incarnation", retries.clone());
        let skipped = Family::default();
        actor.register("skipped", "Messages left out because nobody waited", skipped.clone());
        let waiting = Family::default();
        actor.register("waiting", "Messages waiting or being handled", waiting.clone());
        let dead_letters = Family::default();
        actor.register(
            "dead_letters",
            "Unanswered messages lost with a mailbox",
            dead_letters.clone(),
        );
        let waiting_max = Family::default();
        actor.register("waiting_max", "The most messages that may wait", waiting_max.clone());
        let wait_seconds: Family<ActorLabel, Histogram, fn() -> Histogram> =
            Family::new_with_constructor(handle_buckets);
        actor.register_with_unit(
            "wait",
            "Time in the queue, of some of the messages",
            Unit::Seconds,
            wait_seconds.clone(),
        );
        let generation = Family::default();
        actor.register("generation", "Number of the present incarnation", generation.clone());
        let paused_seconds = Family::default();
        actor.register_with_unit(
            "paused",
            "Pause before the next start, 0 if none is under way",
            Unit::Seconds,
            paused_seconds.clone(),
        );
        let up = Family::default();
        actor.register("up", "1 while it runs", up.clone());
        let critical = Family::default();
        actor.register("critical", "1 if the node ends without it", critical.clone());
        let handle_seconds: Family<HandleLabels, Histogram, fn() -> Histogram> =
            Family::new_with_constructor(handle_buckets);
        actor.register_with_unit(
            "handle",
            "Time in the handler, per message kind",
            Unit::Seconds,
            handle_seconds.clone(),
        );
        let restarts = Family::default();
        actor.register("restarts", "Restarts by the reason of the end before", restarts.clone());
        let missed_probes = Family::default();
        actor.register("missed_probes", "Heartbeats not answered in time", missed_probes.clone());
        let stuck = Family::default();
        actor.register("stuck", "1 while a handler runs for more than a second", stuck.clone());
        Self {
            busy,
            late,
            down,
            retries,
            skipped,
            dead_letters,
            waiting,
            waiting_max,
            wait_seconds,
            generation,
            paused_seconds,
            up,
            critical,
            handle_seconds,
            restarts,
            missed_probes,
            stuck,
        }
    }
}

impl Metrics {
    /// The counters of one address.
    pub fn addr(&self, actor: &str) -> AddrMeter {
        let (label, actors) = (label(actor), &self.0.actors);
        AddrMeter {
            busy: actors.busy.get_or_create_owned(&label),
            late: actors.late.get_or_create_owned(&label),
            down: actors.down.get_or_create_owned(&label),
            retries: actors.retries.get_or_create_owned(&label),
            skipped: actors.skipped.get_or_create_owned(&label),
            dead_letters: actors.dead_letters.get_or_create_owned(&label),
        }
    }

    /// The time that messages of this kind take.
    pub fn handle_seconds(&self, actor: &str, message: &'static str) -> Histogram {
        let labels = HandleLabels { actor: actor.to_owned(), message };
        self.0.actors.handle_seconds.get_or_create_owned(&labels)
    }

    /// The time that messages wait behind the address.
    pub fn wait_seconds(&self, actor: &str) -> Histogram {
        self.0.actors.wait_seconds.get_or_create_owned(&label(actor))
    }

    /// Counts a restart.
    pub fn restarted(&self, actor: &str, reason: &'static str) {
        let labels = RestartLabels { actor: actor.to_owned(), reason };
        self.0.actors.restarts.get_or_create(&labels).inc();
    }

    /// Counts a heartbeat that was not answered.
    pub fn missed_probe(&self, actor: &str) {
        self.0.actors.missed_probes.get_or_create(&label(actor)).inc();
    }

    /// Says whether a handler runs without end.
    pub(crate) fn set_stuck(&self, actor: &str, is_stuck: bool) {
        self.0.actors.stuck.get_or_create(&label(actor)).set(i64::from(is_stuck));
    }

    /// Sets how many messages wait behind an address, and how many may.
    pub fn set_waiting(&self, actor: &str, waiting: usize, waiting_max: usize) {
        let label = label(actor);
        self.0.actors.waiting.get_or_create(&label).set(gauge_of(waiting));
        self.0.actors.waiting_max.get_or_create(&label).set(gauge_of(waiting_max));
    }

    /// Sets which incarnation of an actor there is. No pause is under way then.
    pub fn set_generation(&self, actor: &str, generation: u64) {
        let label = label(actor);
        self.0.actors.generation.get_or_create(&label).set(gauge_of(generation));
        self.0.actors.paused_seconds.get_or_create(&label).set(0.0);
    }

    /// Sets the pause before the next start of an actor.
    pub fn set_paused(&self, actor: &str, pause_ms: u64) {
        let pause = Duration::from_millis(pause_ms).as_secs_f64();
        self.0.actors.paused_seconds.get_or_create(&label(actor)).set(pause);
    }

    /// Says whether an actor runs, and whether the node ends without it.
    pub fn set_standing(&self, actor: &str, is_up: bool, is_critical: bool) {
        let label = label(actor);
        self.0.actors.up.get_or_create(&label).set(i64::from(is_up));
        self.0.actors.critical.get_or_create(&label).set(i64::from(is_critical));
    }
}

fn label(actor: &str) -> ActorLabel {
    ActorLabel { actor: actor.to_owned() }
}

/// The counters of one address.
#[derive(Clone, Debug)]
pub struct AddrMeter {
    busy: Counter,
    late: Counter,
    down: Counter,
    /// Messages said again to another incarnation.
    pub(crate) retries: Counter,
    /// Messages left out because nobody waited.
    pub(crate) skipped: Counter,
    /// Unanswered messages lost with a mailbox.
    pub(crate) dead_letters: Counter,
}

impl AddrMeter {
    /// Counts a failed call by its kind.
    pub(crate) fn failed(&self, error: &CallError) {
        match error {
            CallError::Busy { .. } => self.busy.inc(),
            CallError::Late { .. } => self.late.inc(),
            CallError::Down { .. } => self.down.inc(),
        };
    }
}
