//! Every metric of the node, declared once. One [`Metrics`] per node: tests run several.
//!
//! Each theme has its families in a file of its own, and what counts them beside them. A theme adds
//! itself to [`Metrics::new`] in two lines. No label holds what a caller chose.

use std::sync::Arc;

use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

mod actors;
mod embedding;
mod events;
mod federation;
mod gates;
mod http;
mod inference;
mod models;
mod patterns;
mod preferences;
mod process;
mod proofs;
mod routing;
mod sockets;

pub use actors::{ActorLabel, AddrMeter, HandleLabels, RestartLabels};
pub use federation::{FederationMeter, OutcomeLabel};
pub use gates::{GateLabels, GateMeter};
pub use http::{AnswerLabels, HttpLabels};
pub(crate) use inference::Work;
pub use inference::{AnswerLabel, AttemptLabels, BackendLabel, InferenceMeter, TokenLabels};
pub use models::PullMeter;
pub use patterns::PatternMeter;
pub use preferences::{EffectLabel, PreferenceMeter};
pub use process::{ProcessFigures, StoreFigures};
pub use proofs::{AuditMeter, CheckLabel, EnvelopeMeter, NotMadeLabel, RecordLabel, RefusalLabels};
pub use routing::RoutingMeter;
pub use sockets::{ClosedLabel, DirectionLabel};

/// Handles to every metric; cheap to clone.
#[derive(Clone, Debug)]
pub struct Metrics(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    registry: Registry,
    actors: actors::Families,
    embedding: embedding::Families,
    events: events::Families,
    federation: FederationMeter,
    gates: gates::Families,
    http: http::Families,
    inference: inference::Families,
    patterns: PatternMeter,
    pulls: PullMeter,
    preferences: PreferenceMeter,
    proofs: proofs::Families,
    routing: RoutingMeter,
    sockets: sockets::Families,
    /// Read at each scrape.
    sources: Arc<process::Sources>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// A set of metrics of its own, all at zero.
    pub fn new() -> Self {
        let mut registry = Registry::default();
        let actors = actors::Families::register(registry.sub_registry_with_prefix("actor"));
        let gates = gates::Families::register(registry.sub_registry_with_prefix("gate"));
        let events = events::Families::register(registry.sub_registry_with_prefix("events"));
        let embedding =
            embedding::Families::register(registry.sub_registry_with_prefix("embedding"));
        let federation = federation::register(&mut registry);
        let http = http::Families::register(registry.sub_registry_with_prefix("http"));
        let inference =
            inference::Families::register(registry.sub_registry_with_prefix("inference"));
        let patterns = PatternMeter::register(registry.sub_registry_with_prefix("pattern"));
        let preferences = preferences::register(&mut registry);
        let proofs = proofs::Families::register(&mut registry);
        let pulls = PullMeter::register(registry.sub_registry_with_prefix("model"));
        let routing = RoutingMeter::register(registry.sub_registry_with_prefix("inference"));
        let sockets = sockets::Families::register(registry.sub_registry_with_prefix("ws"));
        let sources = process::register(&mut registry);
        Self(Arc::new(Inner {
            registry,
            actors,
            embedding,
            events,
            federation,
            gates,
            http,
            inference,
            patterns,
            pulls,
            preferences,
            proofs,
            routing,
            sockets,
            sources,
        }))
    }

    /// Every metric in the OpenMetrics text format.
    ///
    /// # Errors
    /// Only if the text cannot be written to memory.
    pub fn encode(&self) -> Result<String, std::fmt::Error> {
        self.0.sources.refresh();
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.0.registry)?;
        Ok(text)
    }
}

/// A gauge that is one higher for as long as this lives.
#[derive(Debug)]
pub struct Raised(Gauge);

impl Raised {
    fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Raised {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// A count as the number that a gauge takes.
fn gauge_of(count: impl TryInto<i64>) -> i64 {
    count.try_into().unwrap_or(i64::MAX)
}
