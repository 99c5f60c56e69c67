//! Metrics of embeddings that were asked for over HTTP.

use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::metrics::Metrics;

#[derive(Debug)]
pub(super) struct Families {
    texts: Counter,
    bytes: Counter,
    request_seconds: Histogram,
}

impl Families {
    pub(super) fn register(registry: &mut Registry) -> Self {
        // 0.1 milliseconds for a short text without a model to a quarter of a minute for many with one.
        let families = Self {
            texts: Counter::default(),
            bytes: Counter::default(),
            request_seconds: Histogram::new(exponential_buckets(0.0001, 2.0, 18)),
        };
        registry.register("texts", "Texts that got a vector", families.texts.clone());
        let help = "Bytes of these texts";
        registry.register("text_bytes", help, families.bytes.clone());
        let help = "Time for all texts of a request, waiting for a place included";
        let seconds = families.request_seconds.clone();
        registry.register_with_unit("request", help, Unit::Seconds, seconds);
        families
    }
}

impl Metrics {
    /// Counts texts of a request that got their vectors.
    pub(crate) fn embedded(&self, texts: usize, bytes: usize, elapsed: Duration) {
        let families = &self.0.embedding;
        families.texts.inc_by(u64::try_from(texts).unwrap_or(u64::MAX));
        families.bytes.inc_by(u64::try_from(bytes).unwrap_or(u64::MAX));
        families.request_seconds.observe(elapsed.as_secs_f64());
    }
}
