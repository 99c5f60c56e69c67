//! Every metric of the node, declared once. One [`Metrics`] per node: tests run several.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

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

/// Labels: a gate and what it found.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct GateLabels {
    /// The gate's name.
    pub gate: &'static str,
    /// `passed`, `unavailable` if there was nothing to judge, or a reject code.
    pub outcome: &'static str,
}

/// Labels: a kind of HTTP request. Both values come from the router's own lists.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct HttpLabels {
    /// The method, or `other`.
    pub method: &'static str,
    /// The pattern that matched, or `none`.
    pub route: &'static str,
}

/// Labels: a kind of HTTP request and how it was answered.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct AnswerLabels {
    /// As in [`HttpLabels`].
    pub method: &'static str,
    /// As in [`HttpLabels`].
    pub route: &'static str,
    /// The status, or 499 if the caller left before there was one.
    pub status: u32,
}

/// Labels: which way a WebSocket frame went.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct DirectionLabel {
    /// `in` from a client, `out` to one.
    pub direction: &'static str,
}

/// Labels: why a WebSocket was closed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ClosedLabel {
    /// `client`, `lost`, `protocol`, `too_large`, `slow_reader`, `silent` or `shutdown`.
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
    dead_letters: Family<ActorLabel, Counter>,
    waiting: Family<ActorLabel, Gauge>,
    waiting_max: Family<ActorLabel, Gauge>,
    wait_seconds: Family<ActorLabel, Histogram, fn() -> Histogram>,
    generation: Family<ActorLabel, Gauge>,
    paused_ms: Family<ActorLabel, Gauge>,
    handle_seconds: Family<HandleLabels, Histogram, fn() -> Histogram>,
    restarts: Family<RestartLabels, Counter>,
    missed_probes: Family<ActorLabel, Counter>,
    stuck: Family<ActorLabel, Gauge>,
    gate_verdicts: Family<GateLabels, Counter>,
    events_missed: Counter,
    http_requests: Family<AnswerLabels, Counter>,
    http_request_seconds: Family<HttpLabels, Histogram, fn() -> Histogram>,
    http_in_flight: Gauge,
    http_connections: Gauge,
    http_connections_refused: Counter,
    ws_clients: Gauge,
    ws_frames: Family<DirectionLabel, Counter>,
    ws_lagged: Counter,
    ws_closed: Family<ClosedLabel, Counter>,
    /// The sum of `http_requests`, which cannot be read from it.
    requests_served: AtomicU64,
}

/// 1 microsecond to 4 seconds in steps of four: a gate check is at the low end, a model's answer is
/// not handled inside a handler.
fn handle_buckets() -> Histogram {
    Histogram::new(exponential_buckets(1e-6, 4.0, 12))
}

/// 1 millisecond to 2 minutes: a verification is at the low end, a long answer at the high end.
fn request_buckets() -> Histogram {
    Histogram::new([
        0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
        120.0,
    ])
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
        let paused_ms = Family::default();
        actor.register(
            "paused_ms",
            "Pause before the next start, 0 if none is under way",
            paused_ms.clone(),
        );
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
        let gate = registry.sub_registry_with_prefix("gate");
        let gate_verdicts = Family::default();
        gate.register("verdicts", "Verdicts by gate and outcome", gate_verdicts.clone());
        let events_missed = Counter::default();
        registry.register(
            "events_missed",
            "Events that subscribers were too slow to read",
            events_missed.clone(),
        );
        let http = registry.sub_registry_with_prefix("http");
        let http_requests = Family::default();
        http.register("requests", "Requests by route and status", http_requests.clone());
        let http_request_seconds: Family<HttpLabels, Histogram, fn() -> Histogram> =
            Family::new_with_constructor(request_buckets);
        http.register_with_unit(
            "request",
            "From a request's head to the last byte of its answer",
            Unit::Seconds,
            http_request_seconds.clone(),
        );
        let http_in_flight = Gauge::default();
        http.register("requests_in_flight", "Requests being served", http_in_flight.clone());
        let http_connections = Gauge::default();
        http.register("connections", "Open connections", http_connections.clone());
        let http_connections_refused = Counter::default();
        http.register(
            "connections_refused",
            "Connections closed because their client has too many",
            http_connections_refused.clone(),
        );
        let ws = registry.sub_registry_with_prefix("ws");
        let ws_clients = Gauge::default();
        ws.register("clients", "Open WebSockets", ws_clients.clone());
        let ws_frames = Family::default();
        ws.register("frames", "WebSocket messages by direction, pings apart", ws_frames.clone());
        let ws_lagged = Counter::default();
        ws.register("lagged_events", "Events that slow subscribers lost", ws_lagged.clone());
        let ws_closed = Family::default();
        ws.register("closed", "WebSockets closed, by reason", ws_closed.clone());
        Self(Arc::new(Inner {
            registry,
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
            paused_ms,
            handle_seconds,
            restarts,
            missed_probes,
            stuck,
            gate_verdicts,
            events_missed,
            http_requests,
            http_request_seconds,
            http_in_flight,
            http_connections,
            http_connections_refused,
            ws_clients,
            ws_frames,
            ws_lagged,
            ws_closed,
            requests_served: AtomicU64::new(0),
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
            dead_letters: self.0.dead_letters.get_or_create_owned(&label),
        }
    }

    /// The counters of gates; `gates` are their names, in the order in which they are numbered.
    pub fn gates(&self, gates: &[&'static str]) -> GateMeter {
        let passed = gates.iter().map(|gate| {
            let labels = GateLabels { gate, outcome: "passed" };
            self.0.gate_verdicts.get_or_create_owned(&labels)
        });
        GateMeter { passed: passed.collect(), verdicts: self.0.gate_verdicts.clone() }
    }

    /// The time that messages of this kind take.
    pub fn handle_seconds(&self, actor: &str, message: &'static str) -> Histogram {
        let labels = HandleLabels { actor: actor.to_owned(), message };
        self.0.handle_seconds.get_or_create_owned(&labels)
    }

    /// The time that messages wait behind the address.
    pub fn wait_seconds(&self, actor: &str) -> Histogram {
        self.0.wait_seconds.get_or_create_owned(&ActorLabel { actor: actor.to_owned() })
    }

    /// The events that subscribers missed.
    pub fn events_missed(&self) -> Counter {
        self.0.events_missed.clone()
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

    /// Says whether a handler runs without end.
    pub(crate) fn set_stuck(&self, actor: &str, is_stuck: bool) {
        let label = ActorLabel { actor: actor.to_owned() };
        self.0.stuck.get_or_create(&label).set(i64::from(is_stuck));
    }

    /// Sets how many messages wait behind an address, and how many may.
    pub fn set_waiting(&self, actor: &str, waiting: usize, waiting_max: usize) {
        let label = ActorLabel { actor: actor.to_owned() };
        let gauge = |count| i64::try_from(count).unwrap_or(i64::MAX);
        self.0.waiting.get_or_create(&label).set(gauge(waiting));
        self.0.waiting_max.get_or_create(&label).set(gauge(waiting_max));
    }

    /// Sets which incarnation of an actor there is. No pause is under way then.
    pub fn set_generation(&self, actor: &str, generation: u64) {
        let label = ActorLabel { actor: actor.to_owned() };
        let generation = i64::try_from(generation).unwrap_or(i64::MAX);
        self.0.generation.get_or_create(&label).set(generation);
        self.0.paused_ms.get_or_create(&label).set(0);
    }

    /// Sets the pause before the next start of an actor.
    pub fn set_paused(&self, actor: &str, pause_ms: u64) {
        let label = ActorLabel { actor: actor.to_owned() };
        let pause_ms = i64::try_from(pause_ms).unwrap_or(i64::MAX);
        self.0.paused_ms.get_or_create(&label).set(pause_ms);
    }

    /// Counts a connection as open until the guard is dropped.
    pub fn connection_opened(&self) -> Raised {
        Raised::new(&self.0.http_connections)
    }

    /// Counts a connection that its client may not have.
    pub fn connection_refused(&self) {
        self.0.http_connections_refused.inc();
    }

    /// Counts a request as in flight until the guard is dropped.
    pub fn request_began(&self) -> Raised {
        Raised::new(&self.0.http_in_flight)
    }

    /// Counts a request that was answered, or left by its caller.
    pub fn request_ended(&self, labels: &HttpLabels, status: u16, elapsed: Duration) {
        let HttpLabels { method, route } = *labels;
        let answer = AnswerLabels { method, route, status: status.into() };
        self.0.http_requests.get_or_create(&answer).inc();
        self.0.http_request_seconds.get_or_create(labels).observe(elapsed.as_secs_f64());
        self.0.requests_served.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a WebSocket as open until the guard is dropped.
    pub fn socket_opened(&self) -> Raised {
        Raised::new(&self.0.ws_clients)
    }

    /// The counter of WebSocket messages that went `in` or `out`.
    pub fn socket_frames(&self, direction: &'static str) -> Counter {
        self.0.ws_frames.get_or_create_owned(&DirectionLabel { direction })
    }

    /// Counts events that a slow subscriber lost.
    pub fn socket_lagged(&self, events: u64) {
        self.0.ws_lagged.inc_by(events);
    }

    /// Counts a closed WebSocket; for the reasons see [`ClosedLabel`].
    pub fn socket_closed(&self, reason: &'static str) {
        self.0.ws_closed.get_or_create(&ClosedLabel { reason }).inc();
    }

    /// Requests that ended so far.
    pub fn requests_served(&self) -> u64 {
        self.0.requests_served.load(Ordering::Relaxed)
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

/// A gauge that is one higher for as long as this lives.
#[derive(Debug)]
pub struct Raised(Gauge);

impl Raised {
    fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Raised {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// The counters of gates.
#[derive(Clone, Debug)]
pub struct GateMeter {
    /// The most frequent ones, by the gate's number.
    passed: Arc<[Counter]>,
    verdicts: Family<GateLabels, Counter>,
}

impl GateMeter {
    /// Counts how often each gate passed, by the gate's number.
    pub(crate) fn passed(&self, times: &[u64]) {
        for (counter, times) in self.passed.iter().zip(times).filter(|(_, times)| **times > 0) {
            counter.inc_by(*times);
        }
    }

    /// Counts what a gate found otherwise.
    pub(crate) fn found(&self, gate: &'static str, outcome: &'static str) {
        self.verdicts.get_or_create(&GateLabels { gate, outcome }).inc();
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
