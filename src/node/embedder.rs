//! What gives texts their vectors: one for the node, handed to whoever needs it.

use std::sync::Arc;

use tracing::info;

use crate::adapters::embedding::ModelEmbedder;
use crate::config::Embedding;
use crate::domain::embedding::Embed;
use crate::domain::embedding::ngram::NgramEmbedder;
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
