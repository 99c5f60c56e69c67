//! Metrics of how prompts are shared out between backends. Backends are named by configuration,
//! never by callers.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::metrics::{BackendLabel, Metrics, gauge_of};

/// Labels: a backend and a state of its breaker.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BreakerLabels {
    /// The backend's name.
    backend: String,
    /// `closed`, `half_open` or `open`.
    state: &'static str,
}

/// The counters of how prompts are shared out; cheap to clone.
#[derive(Clone, Debug)]
pub struct RoutingMeter {
    breaker: Family<BreakerLabels, Gauge>,
    running: Family<BackendLabel, Gauge>,
    queued: Family<BackendLabel, Gauge>,
    shed: Family<BackendLabel, Counter>,
    retries: Family<BackendLabel, Counter>,
    retries_refused: Family<BackendLabel, Counter>,
    hedges: Family<BackendLabel, Counter>,
    hedges_won: Family<BackendLabel, Counter>,
    hedges_refused: Family<BackendLabel, Counter>,
    queue_seconds: Family<BackendLabel, Histogram, fn() -> Histogram>,
}

/// 1 millisecond to a minute in steps of two.
fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 2.0, 17))
}

impl Metrics {
    /// The counters of how prompts are shared out.
    pub fn routing(&self) -> RoutingMeter {
        self.0.routing.clone()
    }
}

impl RoutingMeter {
    /// Registers them; `registry` has the prefix.
    pub(super) fn register(registry: &mut Registry) -> Self {
        let meter = Self {
            breaker: Family::default(),
            running: Family::default(),
            queued: Family::default(),
            shed: Family::default(),
            retries: Family::default(),
            retries_refused: Family::default(),
            hedges: Family::default(),
            hedges_won: Family::default(),
            hedges_refused: Family::default(),
            queue_seconds: Family::new_with_constructor(seconds),
        };
        registry.register("breaker", "1 for the state of the breaker", meter.breaker.clone());
        registry.register("running", "Requests a backend works on", meter.running.clone());
        registry.register("queued", "Requests that wait for a backend", meter.queued.clone());
        registry.register("shed", "Requests that could not wait in vain", meter.shed.clone());
        for (name, help, counter) in [
            ("retries", "Calls made again", &meter.retries),
            (
                "retries_refused",
                "Calls not made again: the budget was spent",
                &meter.retries_refused,
            ),
            ("hedges", "Second calls for one answer", &meter.hedges),
            ("hedges_won", "Second calls that were quicker", &meter.hedges_won),
            (
                "hedges_refused",
                "Second calls not made: the budget was spent",
                &meter.hedges_refused,
            ),
        ] {
            registry.register(name, help, counter.clone());
        }
        let queue = meter.queue_seconds.clone();
        registry.register_with_unit("queue", "Time in the queue", Unit::Seconds, queue);
        meter
    }

    /// Shows all counters of a backend, at zero: what begins with its first increase has no rate then.
    pub fn begin(&self, backend: &str) {
        let label = label(backend);
        for counter in [
            &self.shed,
            &self.retries,
            &self.retries_refused,
            &self.hedges,
            &self.hedges_won,
            &self.hedges_refused,
        ] {
            drop(counter.get_or_create(&label));
        }
        drop(self.queue_seconds.get_or_create(&label));
    }

    /// Says how a breaker stands; `states` are all there are.
    pub fn set_breaker(&self, backend: &str, state: &str, states: [&'static str; 3]) {
        for known in states {
            let labels = BreakerLabels { backend: backend.to_owned(), state: known };
            self.breaker.get_or_create(&labels).set(i64::from(known == state));
        }
    }

    /// Says how many requests a backend works on and how many wait for it.
    pub fn set_load(&self, backend: &str, running: usize, queued: usize) {
        self.running.get_or_create(&label(backend)).set(gauge_of(running));
        self.queued.get_or_create(&label(backend)).set(gauge_of(queued));
    }

    /// Counts a request that could not be served in time or found no room.
    pub fn shed(&self, backend: &str) {
        self.shed.get_or_create(&label(backend)).inc();
    }

    /// Counts a call that is made again, or is not because the budget was spent.
    pub fn retried(&self, backend: &str, is_made: bool) {
        let counter = if is_made { &self.retries } else { &self.retries_refused };
        counter.get_or_create(&label(backend)).inc();
    }

    /// Counts a second call for one answer, or one not made because the budget was spent.
    pub fn hedged(&self, backend: &str, is_made: bool) {
        let counter = if is_made { &self.hedges } else { &self.hedges_refused };
        counter.get_or_create(&label(backend)).inc();
    }

    /// Counts a second call that was quicker than the first.
    pub fn hedge_won(&self, backend: &str) {
        self.hedges_won.get_or_create(&label(backend)).inc();
    }

    /// Notes how long a request waited for a backend.
    pub fn waited(&self, backend: &str, wait: Duration) {
        self.queue_seconds.get_or_create(&label(backend)).observe(wait.as_secs_f64());
    }
}

fn label(backend: &str) -> BackendLabel {
    BackendLabel { backend: backend.to_owned() }
}
