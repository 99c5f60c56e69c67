//! What pattern memory is made of.

use std::sync::Arc;
use std::thread::available_parallelism;

#[cfg(feature = "usearch")]
use crate::actors::pattern_memory::Approximate;
use crate::actors::pattern_memory::{Keeper, Parts};
use crate::adapters::store::Store;
use crate::clock;
use crate::config::Config;
use crate::domain::embedding::Embed;
use crate::domain::pattern::Bounds;
use crate::messages::event::Events;
use crate::metrics::Metrics;

/// Folder of the approximate indexes in the data directory. All that is in it can be made again.
#[cfg(feature = "usearch")]
const GRAPHS: &str = "graphs";

/// Made once: memory and store are kept alike by it, whichever incarnation uses it.
pub(super) fn keeper(
    config: &Config,
    store: &Arc<Store>,
    embedder: &Arc<dyn Embed>,
    events: &Events,
    metrics: &Metrics,
) -> Arc<Keeper> {
    let limits = &config.patterns;
    let computing_max = available_parallelism().map_or(1, usize::from);
    let keeper = Keeper::new(Parts {
        store: Arc::clone(store),
        embedder: Arc::clone(embedder),
        bounds: Bounds {
            patterns_max: limits.patterns_max,
            bytes_max: limits.bytes_max,
            source_patterns_max: limits.source_patterns_max,
            source_bytes_max: limits.source_bytes_max,
        },
        computing_max,
        now_ms: clock::now_ms,
        events: events.clone(),
        meter: metrics.patterns(),
    });
    #[cfg(feature = "usearch")]
    let keeper = keeper.approximate(Approximate {
        above: limits.approximate_above,
        dir: config.node.data_dir.join(GRAPHS),
        free_bytes_min: config.store.free_bytes_min,
        searches_max: computing_max,
    });
    Arc::new(keeper)
}
