//! Metrics of preferences: what was observed, forgotten and told to models.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::metrics::{Metrics, gauge_of};

/// Labels: what an observation changed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct EffectLabel {
    /// `new`, `confirmed`, `activated` or `switched`; `full` if there was no room for it.
    pub effect: &'static str,
}

/// The metrics of preferences; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct PreferenceMeter {
    subjects: Gauge,
    observations: Family<EffectLabel, Counter>,
    forgotten: Counter,
    told: Counter,
    left_out: Counter,
}

pub(super) fn register(registry: &mut Registry) -> PreferenceMeter {
    let meter = PreferenceMeter::default();
    let registry = registry.sub_registry_with_prefix("preference");
    registry.register("subjects", "Subjects that have preferences", meter.subjects.clone());
    let help = "Observations by what they changed";
    registry.register("observations", help, meter.observations.clone());
    registry.register("forgotten", "Values that were forgotten", meter.forgotten.clone());
    registry.register("told", "Preferences that were rendered for a model", meter.told.clone());
    let help = "Active preferences that there was no room for when others were rendered";
    registry.register("left_out", help, meter.left_out.clone());
    meter
}

impl Metrics {
    /// The metrics of preferences.
    pub fn preferences(&self) -> PreferenceMeter {
        self.0.preferences.clone()
    }
}

impl PreferenceMeter {
    /// Sets how many subjects have preferences.
    pub(crate) fn set_subjects(&self, subjects: u64) {
        self.subjects.set(gauge_of(subjects));
    }

    /// Counts an observation; for the effects see [`EffectLabel`].
    pub(crate) fn observed(&self, effect: &'static str) {
        self.observations.get_or_create(&EffectLabel { effect }).inc();
    }

    /// Counts values that were forgotten.
    pub(crate) fn forgot(&self, values: usize) {
        self.forgotten.inc_by(u64::try_from(values).unwrap_or(u64::MAX));
    }

    /// Counts preferences that were rendered, and those that there was no room for.
    pub(crate) fn told(&self, told: usize, left_out: usize) {
        self.told.inc_by(u64::try_from(told).unwrap_or(u64::MAX));
        self.left_out.inc_by(u64::try_from(left_out).unwrap_or(u64::MAX));
    }
}
