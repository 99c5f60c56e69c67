//! Metrics of embeddings: of all texts, whoever wants them, and of requests for nothing else.

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
        let help =
            "Time for all texts of a request to /v1/embeddings, waiting for a place included";
        let seconds = families.request_seconds.clone();
        registry.register_with_unit("request", help, Unit::Seconds, seconds);
        families
    }
}

impl Metrics {
    /// Notes how long a request waited for its vectors.
    pub(crate) fn embeddings_made(&self, elapsed: Duration) {
        self.0.embedding.request_seconds.observe(elapsed.as_secs_f64());
    }

    /// Counts a text of so many bytes that got its vector.
    pub(crate) fn text_embedded(&self, bytes: usize) {
        let families = &self.0.embedding;
        families.texts.inc();
        families.bytes.inc_by(u64::try_from(bytes).unwrap_or(u64::MAX));
    }
}
