//! Embedding models in this process: sentence encoders of the BERT family, such as all-MiniLM-L6-v2, from
//! a folder as they are published.
//!
//! A text is cut into the pieces that its model knows, at most 256 of them; what comes after is not seen.
//! The vector is the mean of what the network says of all pieces, made one long.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde::Deserialize;
use tokenizers::{Tokenizer, TruncationParams};

use crate::adapters::embedding::bert::{Bert, Shape};
use crate::domain::embedding::{Embed, EmbedError, EmbedderId, bounded, unit};
use crate::domain::name::is_plain;

mod bert;

/// Raised whenever this code gives some text another vector.
const VERSION: u32 = 1;

/// Pieces of a text that are looked at, with the marks of its beginning and end: what all-MiniLM-L6-v2
/// was trained for.
pub const PIECES_MAX: usize = 256;

/// Bytes of a small file, of the pieces, and of the weights: several times those of the largest encoders
/// that compute on a processor in a time that somebody waits.
const CONFIG_BYTES_MAX: u64 = 1 << 20;
const PIECES_BYTES_MAX: u64 = 64 << 20;
const WEIGHTS_BYTES_MAX: u64 = 4 << 30;

/// Characters of a folder's name that become part of the embedder's.
const LABEL_CHARS_MAX: usize = 64;

/// Bytes of the digest in the embedder's name: nobody chooses weights to meet another's.
const DIGEST_BYTES: usize = 6;

/// Why a folder holds no embedding model that can be used.
#[derive(Debug, thiserror::Error)]
#[error(
    "{folder}: {problem}; an embedding model is a folder with config.json, tokenizer.json and \
     model.safetensors, as all-MiniLM-L6-v2 is published"
)]
pub struct ModelError {
    /// The folder.
    folder: String,
    /// What is wrong.
    problem: String,
}

/// An embedding model.
pub struct ModelEmbedder {
    id: EmbedderId,
    tokenizer: Tokenizer,
    network: Bert,
}

impl fmt::Debug for ModelEmbedder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ModelEmbedder").field("id", &self.id).finish_non_exhaustive()
    }
}

impl ModelEmbedder {
    /// Reads a model. It is named by its folder and a digest of its files: one whose weights are others
    /// is another embedder. Reads some hundred megabytes: not for a thread that must not wait.
    ///
    /// # Errors
    /// [`ModelError`] if a file is missing, damaged or of another kind of model, or if a first text does
    /// not come out.
    pub fn load(folder: &Path) -> Result<Self, ModelError> {
        Self::read(folder)
            .map_err(|problem| ModelError { folder: folder.display().to_string(), problem })
    }

    fn read(folder: &Path) -> Result<Self, String> {
        let config = read_file(folder, "config.json", CONFIG_BYTES_MAX)?;
        let pieces = read_file(folder, "tokenizer.json", PIECES_BYTES_MAX)?;
        let weights = read_file(folder, "model.safetensors", WEIGHTS_BYTES_MAX)?;
        check_pooling(folder)?;
        let shape = shape(&config).map_err(|error| format!("config.json: {error}"))?;
        let tokenizer = tokenizer(&pieces, &shape)?;
        let mut digest = blake3::Hasher::new();
        for bytes in [&config, &pieces, &weights] {
            // With their lengths, so that nothing can move from one file to the next.
            digest.update(&(bytes.len() as u64).to_le_bytes()).update(bytes);
        }
        let digest = crate::domain::bytes::to_hex(&digest.finalize().as_bytes()[..DIGEST_BYTES]);
        let id = EmbedderId {
            name: format!("{}@{digest}", label(folder)),
            version: VERSION,
            dimension: shape.width,
        };
        let network = Bert::read(weights, &shape);
        let network = network.map_err(|error| format!("model.safetensors: {error}"))?;
        let embedder = Self { id, tokenizer, network };
        // Weights may be of the right form and hold no numbers.
        embedder.embed("a text").map_err(|error| format!("a first text: {error}"))?;
        Ok(embedder)
    }
}

impl Embed for ModelEmbedder {
    fn id(&self) -> &EmbedderId {
        &self.id
    }

    fn embed(&self, text: &str) -> Result<Vec<f32>, EmbedError> {
        let failed = |error: &dyn fmt::Display| EmbedError::Failed(error.to_string());
        let pieces = self.tokenizer.encode_fast(bounded(text)?, true);
        let pieces = pieces.map_err(|error| failed(&error))?;
        let mean = self.network.mean(pieces.get_ids()).map_err(|error| failed(&error))?;
        let sums: Vec<f64> = mean.into_iter().map(f64::from).collect();
        if sums.iter().any(|sum| !sum.is_finite()) {
            return Err(failed(&"it gave numbers that are none"));
        }
        unit(&sums)
    }
}

/// What `config.json` says, as far as it matters.
#[derive(Debug, Deserialize)]
struct Config {
    model_type: String,
    hidden_act: String,
    hidden_size: usize,
    intermediate_size: usize,
    layer_norm_eps: f64,
    max_position_embeddings: usize,
    num_attention_heads: usize,
    num_hidden_layers: usize,
    type_vocab_size: usize,
    vocab_size: usize,
    #[serde(default)]
    position_embedding_type: Option<String>,
}

fn shape(config: &[u8]) -> Result<Shape, String> {
    let config: Config = serde_json::from_slice(config).map_err(|error| error.to_string())?;
    let positions = config.position_embedding_type.as_deref().unwrap_or("absolute");
    for (key, found, known) in [
        ("model_type", &*config.model_type, "bert"),
        ("hidden_act", &*config.hidden_act, "gelu"),
        ("position_embedding_type", positions, "absolute"),
    ] {
        if found != known {
            return Err(format!("{key} is {found:?}, and only {known:?} is known here"));
        }
    }
    for (key, number, max) in [
        ("hidden_size", config.hidden_size, 4096),
        ("intermediate_size", config.intermediate_size, 1 << 14),
        ("max_position_embeddings", config.max_position_embeddings, 1 << 16),
        ("num_attention_heads", config.num_attention_heads, 256),
        ("num_hidden_layers", config.num_hidden_layers, 64),
        ("type_vocab_size", config.type_vocab_size, 16),
        ("vocab_size", config.vocab_size, 1 << 20),
    ] {
        if !(1..=max).contains(&number) {
            return Err(format!("{key} is {number}, not within 1..={max}"));
        }
    }
    if !config.hidden_size.is_multiple_of(config.num_attention_heads) {
        return Err("hidden_size is no multiple of num_attention_heads".to_owned());
    }
    if !(config.layer_norm_eps > 0.0 && config.layer_norm_eps < 1.0) {
        return Err("layer_norm_eps is not between 0 and 1".to_owned());
    }
    // The marks of beginning and end, and something between.
    if config.max_position_embeddings < 3 {
        return Err("max_position_embeddings leaves no room for a text".to_owned());
    }
    Ok(Shape {
        width: config.hidden_size,
        feed_forward: config.intermediate_size,
        epsilon: config.layer_norm_eps,
        positions: config.max_position_embeddings,
        heads: config.num_attention_heads,
        layers: config.num_hidden_layers,
        kinds: config.type_vocab_size,
        pieces: config.vocab_size,
    })
}

/// The tokenizer of the file, cutting where we do and filling up nothing.
fn tokenizer(bytes: &[u8], shape: &Shape) -> Result<Tokenizer, String> {
    let wrong = |error: tokenizers::Error| format!("tokenizer.json: {error}");
    let mut tokenizer = Tokenizer::from_bytes(bytes).map_err(wrong)?;
    let known = tokenizer.get_vocab_size(true);
    if known > shape.pieces {
        return Err(format!("tokenizer.json: it has {known} pieces, the model {}", shape.pieces));
    }
    let max_length = PIECES_MAX.min(shape.positions);
    let cut = TruncationParams { max_length, ..TruncationParams::default() };
    tokenizer.with_truncation(Some(cut)).map_err(wrong)?;
    tokenizer.with_padding(None);
    Ok(tokenizer)
}

/// A model may say how its pieces become one vector; the mean is the way that is known here.
fn check_pooling(folder: &Path) -> Result<(), String> {
    const NAME: &str = "1_Pooling/config.json";
    if !folder.join(NAME).exists() {
        return Ok(());
    }
    let bytes = read_file(folder, NAME, CONFIG_BYTES_MAX)?;
    let pooling: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(&bytes).map_err(|error| format!("{NAME}: {error}"))?;
    let modes = pooling.iter().filter(|(key, _)| key.starts_with("pooling_mode_"));
    let mut chosen = modes.filter(|(_, is_chosen)| **is_chosen == true).map(|(mode, _)| mode);
    match (chosen.next().map(String::as_str), chosen.next()) {
        (Some("pooling_mode_mean_tokens"), None) => Ok(()),
        _ => Err(format!("{NAME}: only pooling_mode_mean_tokens is known here")),
    }
}

/// The folder's name, if it can stand in a name.
fn label(folder: &Path) -> String {
    let name = folder.file_name().and_then(|name| name.to_str());
    let name = name.filter(|name| is_plain(name, b"._-", LABEL_CHARS_MAX));
    name.unwrap_or("bert").to_owned()
}

fn read_file(folder: &Path, name: &str, bytes_max: u64) -> Result<Vec<u8>, String> {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(folder.join(name))?.take(bytes_max + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().map_err(|error| format!("{name}: {error}"))?;
    if bytes.len() as u64 > bytes_max {
        return Err(format!("{name}: it is larger than {bytes_max} bytes"));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests;
