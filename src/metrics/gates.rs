//! Metrics of the gates.

use std::sync::Arc;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use crate::metrics::Metrics;

/// Labels: a gate and what it found.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct GateLabels {
    /// The gate's name.
    pub gate: &'static str,
    /// `passed`, `unavailable` if there was nothing to judge, or a reject code.
    pub outcome: &'static str,
}

#[derive(Debug)]
pub(super) struct Families {
    verdicts: Family<GateLabels, Counter>,
}

impl Families {
    pub(super) fn register(gate: &mut Registry) -> Self {
        let verdicts = Family::default();
        gate.register("verdicts", "Verdicts by gate and outcome", verdicts.clone());
        Self { verdicts }
    }
}

impl Metrics {
    /// The counters of gates; `gates` are their names, in the order in which they are numbered.
    pub fn gates(&self, gates: &[&'static str]) -> GateMeter {
        let verdicts = &self.0.gates.verdicts;
        let passed = gates.iter().map(|gate| {
            let labels = GateLabels { gate, outcome: "passed" };
            verdicts.get_or_create_owned(&labels)
        });
        GateMeter { passed: passed.collect(), verdicts: verdicts.clone() }
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
