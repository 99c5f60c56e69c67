//! What gives texts their vectors: one for the node, handed to whoever needs it.

use std::sync::Arc;

use tracing::info;

use crate::adapters::embedding::ModelEmbedder;
use crate::config::Embedding;
use crate::domain::embedding::ngram::NgramEmbedder;
use crate::domain::embedding::{Embed, EmbedError, EmbedderId};
use crate::metrics::Metrics;
use crate::node::StartError;

/// The embedder that is configured.
///
/// # Errors
/// When its model cannot be used: vectors of another embedder would be worth nothing to whoever asked for
/// that one.
pub(super) async fn embedder(config: &Embedding) -> Result<Arc<dyn Embed>, StartError> {
    let Some(folder) = config.model.clone() else {
        return Ok(Arc::new(NgramEmbedder::default()));
    };
    let load = tokio::task::spawn_blocking(move || ModelEmbedder::load(&folder));
    let embedder = load.await.map_err(|error| StartError::Actors(error.into()))??;
    info!(embedder = %embedder.id(), "the embedding model is loaded");
    Ok(Arc::new(embedder))
}

/// An embedder whose texts are counted, whoever wants them.
#[derive(Debug)]
pub(super) struct Counted {
    pub(super) embedder: Arc<dyn Embed>,
    pub(super) metrics: Metrics,
}

impl Embed for Counted {
    fn id(&self) -> &EmbedderId {
        self.embedder.id()
    }

    fn embed(&self, text: &str) -> Result<Vec<f32>, EmbedError> {
        let vector = self.embedder.embed(text)?;
        self.metrics.text_embedded(text.len());
        Ok(vector)
    }
}
