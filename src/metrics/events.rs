//! Metrics of the events that actors publish.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;

use crate::metrics::Metrics;

#[derive(Debug)]
pub(super) struct Families {
    missed: Counter,
}

impl Families {
    pub(super) fn register(events: &mut Registry) -> Self {
        let missed = Counter::default();
        let help = "Events that subscribers, such as WebSockets, were too slow to read";
        events.register("missed", help, missed.clone());
        Self { missed }
    }
}

impl Metrics {
    /// The events that subscribers missed.
    pub fn events_missed(&self) -> Counter {
        self.0.events.missed.clone()
    }
}
