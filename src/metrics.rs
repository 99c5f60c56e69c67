//! Every metric of the node, declared once. One [`Metrics`] per node: tests run several.

use std::sync::Arc;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::messages::addr::CallError;

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

/// Handles to every metric; cheap to clone.
#[derive(Clone, Debug)]
pub struct Metrics(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    registry: Registry,
    busy: Family<ActorLabel, Counter>,
    late: Family<ActorLabel, Counter>,
    down: Family<ActorLabel, Counter>,
    retries: Family<ActorLabel, Counter>,
    skipped: Family<ActorLabel, Counter>,
    waiting: Family<ActorLabel, Gauge>,
    handle_seconds: Family<HandleLabels, Histogram, fn() -> Histogram>,
    restarts: Family<RestartLabels, Counter>,
    missed_probes: Family<ActorLabel, Counter>,
}

/// 1 microsecond to 4 seconds in steps of four: a gate check is at the low end, a model's answer is
/// not handled inside a handler.
fn handle_buckets() -> Histogram {
    Histogram::new(exponential_buckets(1e-6, 4.0, 12))
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// A set of metrics of its own, all at zero.
    pub fn new() -> Self {
        let mut registry = Registry::default();
        let actor = registry.sub_registry_with_prefix("actor");
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
        Self(Arc::new(Inner {
            registry,
            busy,
            late,
            down,
            retries,
            skipped,
            waiting,
            handle_seconds,
            restarts,
            missed_probes,
        }))
    }

    /// The counters of one address.
    pub fn addr(&self, actor: &str) -> AddrMeter {
        let label = ActorLabel { actor: actor.to_owned() };
        AddrMeter {
            busy: self.0.busy.get_or_create_owned(&label),
            late: self.0.late.get_or_create_owned(&label),
            down: self.0.down.get_or_create_owned(&label),
            retries: self.0.retries.get_or_create_owned(&label),
            skipped: self.0.skipped.get_or_create_owned(&label),
        }
    }

    /// The time that messages of this kind take.
    pub fn handle_seconds(&self, actor: &str, message: &'static str) -> Histogram {
        let labels = HandleLabels { actor: actor.to_owned(), message };
        self.0.handle_seconds.get_or_create_owned(&labels)
    }

    /// Counts a restart.
    pub fn restarted(&self, actor: &str, reason: &'static str) {
        let labels = RestartLabels { actor: actor.to_owned(), reason };
        self.0.restarts.get_or_create(&labels).inc();
    }

    /// Counts a heartbeat that was not answered.
    pub fn missed_probe(&self, actor: &str) {
        self.0.missed_probes.get_or_create(&ActorLabel { actor: actor.to_owned() }).inc();
    }

    /// Sets how many messages wait behind an address.
    pub fn set_waiting(&self, actor: &str, waiting: usize) {
        let label = ActorLabel { actor: actor.to_owned() };
        self.0.waiting.get_or_create(&label).set(i64::try_from(waiting).unwrap_or(i64::MAX));
    }

    /// Every metric in the OpenMetrics text format.
    ///
    /// # Errors
    /// Only if the text cannot be written to memory.
    pub fn encode(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.0.registry)?;
        Ok(text)
    }
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
