//! Metrics of models that are pulled.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::metrics::Metrics;

/// Labels: how a pull ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    /// `done`, `failed` or `cancelled`.
    outcome: &'static str,
}

/// The metrics of pulls; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct PullMeter {
    open: Gauge,
    ended: Family<OutcomeLabel, Counter>,
}

impl PullMeter {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let meter = Self::default();
        registry.register("pulls_open", "Pulls that wait or run", meter.open.clone());
        registry.register("pulls", "Pulls by how they ended", meter.ended.clone());
        meter
    }

    /// Notes that a pull waits or runs.
    pub(crate) fn began(&self) {
        self.open.inc();
    }

    /// Notes how one ended; for the outcomes see the label.
    pub(crate) fn ended(&self, outcome: &'static str) {
        self.open.dec();
        self.ended.get_or_create(&OutcomeLabel { outcome }).inc();
    }
}

impl Metrics {
    /// The metrics of pulls.
    pub fn pulls(&self) -> PullMeter {
        self.0.pulls.clone()
    }
}
