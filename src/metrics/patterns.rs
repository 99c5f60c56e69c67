//! Metrics of what the node has learned.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::metrics::{Metrics, OutcomeLabel, gauge_of};

/// Label: why a pattern is gone.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    /// `forgotten` or `evicted`.
    reason: &'static str,
}

/// Label: which index answered.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct IndexLabel {
    /// `exact`, `approximate`, or `fallback`: the exact one where the approximate one had too few.
    index: &'static str,
}

/// Label: what an approximate index was made from.
#[cfg(feature = "usearch")]
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OriginLabel {
    /// `file`; or what was the matter with that, so that the index was built from the store: `absent`,
    /// `foreign`, `damaged`, `stale`; or `worn`, when most of what was in it had gone.
    origin: &'static str,
}

/// The metrics of pattern memory; cheap to clone.
#[derive(Clone, Debug)]
pub struct PatternMeter {
    held: Gauge,
    held_bytes: Gauge,
    lessons: Family<OutcomeLabel, Counter>,
    feedbacks: Family<OutcomeLabel, Counter>,
    removed: Family<ReasonLabel, Counter>,
    elevated: Counter,
    recall_seconds: Histogram,
    answers: Family<IndexLabel, Counter>,
    #[cfg(feature = "usearch")]
    indexes_made: Family<OriginLabel, Counter>,
}

impl PatternMeter {
    /// Registers them; `registry` has the prefix.
    pub(super) fn register(registry: &mut Registry) -> Self {
        let meter = Self {
            held: Gauge::default(),
            held_bytes: Gauge::default(),
            lessons: Family::default(),
            feedbacks: Family::default(),
            removed: Family::default(),
            elevated: Counter::default(),
            // 50 microseconds to 1.6 seconds in steps of two.
            recall_seconds: Histogram::new(exponential_buckets(0.000_05, 2.0, 16)),
            answers: Family::default(),
            #[cfg(feature = "usearch")]
            indexes_made: Family::default(),
        };
        registry.register("answers", "Recalls by the index that answered", meter.answers.clone());
        #[cfg(feature = "usearch")]
        registry.register(
            "indexes_made",
            "Approximate indexes that came into use, by where they came from",
            meter.indexes_made.clone(),
        );
        registry.register("held", "Patterns that are held", meter.held.clone());
        let help = "What patterns take of their limit";
        registry.register_with_unit("held", help, Unit::Bytes, meter.held_bytes.clone());
        let help = "Lessons by what became of them";
        registry.register("lessons", help, meter.lessons.clone());
        let help = "Feedbacks by what they said, or why they were not counted";
        registry.register("feedbacks", help, meter.feedbacks.clone());
        registry.register("removed", "Patterns that are gone", meter.removed.clone());
        registry.register("elevated", "Patterns that decisions elevated", meter.elevated.clone());
        let help = "Time to find what is near, without waiting";
        let seconds = meter.recall_seconds.clone();
        registry.register_with_unit("recall", help, Unit::Seconds, seconds);
        meter
    }

    /// Says what is held.
    pub(crate) fn holds(&self, patterns: u64, bytes: u64) {
        self.held.set(gauge_of(patterns));
        self.held_bytes.set(gauge_of(bytes));
    }

    /// Counts a lesson: `new`, `merged`, `known`, `refused`, or `failed` if it could not be kept.
    pub(crate) fn lesson(&self, outcome: &'static str) {
        self.lessons.get_or_create(&OutcomeLabel { outcome }).inc();
    }

    /// Counts a feedback: `positive`, `negative`, `repeated`, `refused` or `failed`.
    pub(crate) fn feedback(&self, outcome: &'static str) {
        self.feedbacks.get_or_create(&OutcomeLabel { outcome }).inc();
    }

    /// Counts a pattern that is gone: `forgotten` or `evicted`.
    pub(crate) fn removed(&self, reason: &'static str) {
        self.removed.get_or_create(&ReasonLabel { reason }).inc();
    }

    /// Counts a pattern that a decision elevated.
    pub(crate) fn elevated(&self) {
        self.elevated.inc();
    }

    /// Counts an answer of an index: `exact`, `approximate` or `fallback`.
    pub(crate) fn answered(&self, index: &'static str) {
        self.answers.get_or_create(&IndexLabel { index }).inc();
    }

    /// Counts an approximate index that came into use: see [`OriginLabel`].
    #[cfg(feature = "usearch")]
    pub(crate) fn index_made(&self, origin: &'static str) {
        self.indexes_made.get_or_create(&OriginLabel { origin }).inc();
    }

    /// Counts a recall.
    pub(crate) fn recalled(&self, took: Duration) {
        self.recall_seconds.observe(took.as_secs_f64());
    }
}

impl Metrics {
    /// The metrics of pattern memory.
    pub fn patterns(&self) -> PatternMeter {
        self.0.patterns.clone()
    }
}
