//! What pattern memory is made of.

use std::sync::Arc;
use std::thread::available_parallelism;

use crate::actors::pattern_memory::{Keeper, Parts};
use crate::adapters::store::Store;
use crate::clock;
use crate::config::Patterns;
use crate::domain::embedding::Embed;
use crate::domain::pattern::Bounds;
use crate::messages::event::Events;
use crate::metrics::Metrics;

/// Made once: memory and store are kept alike by it, whichever incarnation uses it.
pub(super) fn keeper(
    limits: &Patterns,
    store: &Arc<Store>,
    embedder: &Arc<dyn Embed>,
    events: &Events,
    metrics: &Metrics,
) -> Arc<Keeper> {
    Arc::new(Keeper::new(Parts {
        store: Arc::clone(store),
        embedder: Arc::clone(embedder),
        bounds: Bounds {
            patterns_max: limits.patterns_max,
            bytes_max: limits.bytes_max,
            source_patterns_max: limits.source_patterns_max,
            source_bytes_max: limits.source_bytes_max,
        },
        computing_max: available_parallelism().map_or(1, usize::from),
        now_ms: clock::now_ms,
        events: events.clone(),
        meter: metrics.patterns(),
    }))
}
