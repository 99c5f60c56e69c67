//! Metrics of the federation: peers, proposals, decisions.

use std::sync::atomic::Ordering;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::metrics::{Metrics, gauge_of};

/// Labels: what became of a proposal.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OutcomeLabel {
    /// `committed`, `rejected` or `expired`; `repeated` if it was known already, `failed` if it could
    /// not be kept.
    pub outcome: &'static str,
}

/// The metrics of the federation; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct FederationMeter {
    peers: Gauge,
    height: Gauge,
    proposals: Family<OutcomeLabel, Counter>,
}

pub(super) fn register(registry: &mut Registry) -> FederationMeter {
    let meter = FederationMeter::default();
    let federation = registry.sub_registry_with_prefix("federation");
    federation.register("peers", "Other nodes that are known", meter.peers.clone());
    let consensus = registry.sub_registry_with_prefix("consensus");
    consensus.register("height", "Number of the last decision", meter.height.clone());
    let help = "Proposals by what became of them";
    consensus.register("proposals", help, meter.proposals.clone());
    meter
}

impl Metrics {
    /// The metrics of the federation.
    pub fn federation(&self) -> FederationMeter {
        self.0.federation.clone()
    }
}

impl FederationMeter {
    /// Sets how many other nodes are known.
    pub(crate) fn set_peers(&self, peers: usize) {
        self.peers.set(gauge_of(peers));
    }

    /// Says that there is a decision of this number. Numbers may come out of order.
    pub(crate) fn reached(&self, height: u64) {
        self.height.inner().fetch_max(gauge_of(height), Ordering::Relaxed);
    }

    /// Counts a proposal; for the outcomes see [`OutcomeLabel`].
    pub(crate) fn proposal(&self, outcome: &'static str) {
        self.proposals.get_or_create(&OutcomeLabel { outcome }).inc();
    }
}
