//! Texts as vectors, by an Ollama server.

use serde::Deserialize;
use serde_json::json;

use crate::adapters::ollama::Server;
use crate::adapters::upstream::{ANSWER_BYTES_MAX, ServerError, read_at_most, refusal};

/// Texts in one question, so that neither the question nor its answer grows without end.
pub const TEXTS_MAX: usize = 256;

/// Components of one vector. The longest in use have 8,192.
const WIDTH_MAX: usize = 16_384;

/// Vectors of texts.
#[derive(Clone, Debug, PartialEq)]
pub struct Embeddings {
    /// One for each text, in the same order, all of the same width.
    pub vectors: Vec<Vec<f32>>,
    /// Tokens read, if reported.
    pub prompt_tokens: Option<usize>,
}

#[derive(Deserialize)]
struct Wire {
    embeddings: Vec<Vec<f32>>,
    prompt_eval_count: Option<usize>,
}

impl Server {
    /// The vectors that `model` gives for `texts`, at most [`TEXTS_MAX`].
    ///
    /// # Errors
    /// When the server is not there, refuses, is silent for too long, or answers with anything but
    /// one vector of numbers for each text.
    pub async fn embed(&self, model: &str, texts: &[String]) -> Result<Embeddings, ServerError> {
        if texts.len() > TEXTS_MAX {
            let reason = format!("{} texts at once; the limit is {TEXTS_MAX}", texts.len());
            return Err(ServerError::Refused(reason));
        }
        let asked = json!({ "model": model, "input": texts, "truncate": false });
        let answer = self.post("embed", &asked).await?;
        if !answer.status().is_success() {
            return Err(refusal(answer, model, self.waits.probe).await);
        }
        let wait = self.waits.first_token;
        let read = tokio::time::timeout(wait, read_at_most(answer, ANSWER_BYTES_MAX));
        let bytes = read.await.unwrap_or(Err(ServerError::Stalled(wait)))?;
        read_vectors(&bytes, texts.len())
    }
}

fn read_vectors(json: &[u8], count: usize) -> Result<Embeddings, ServerError> {
    let unreadable = |reason: String| ServerError::Unreadable(reason);
    let wire: Wire = serde_json::from_slice(json).map_err(|error| unreadable(error.to_string()))?;
    let vectors = wire.embeddings;
    if vectors.len() != count {
        return Err(unreadable(format!("{} vectors for {count} texts", vectors.len())));
    }
    let width = vectors.first().map_or(1, Vec::len);
    if !(1..=WIDTH_MAX).contains(&width) || vectors.iter().any(|vector| vector.len() != width) {
        return Err(unreadable("vectors of different or impossible widths".to_owned()));
    }
    if vectors.iter().flatten().any(|component| !component.is_finite()) {
        return Err(unreadable("a vector with what is no number".to_owned()));
    }
    Ok(Embeddings { vectors, prompt_tokens: wire.prompt_eval_count })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_has_one_vector_of_one_width() {
        let two = br#"{"embeddings":[[0.5,1],[2,-3]],"prompt_eval_count":4}"#;
        let read = read_vectors(two, 2).unwrap();
        assert_eq!(read.vectors, [[0.5, 1.0], [2.0, -3.0]]);
        assert_eq!(read.prompt_tokens, Some(4));
        assert!(read_vectors(br#"{"embeddings":[]}"#, 0).is_ok());
        for (json, count) in [
            (&two[..], 1),
            (br#"{"embeddings":[[1],[1,2]]}"#, 2),
            (br#"{"embeddings":[[]]}"#, 1),
            (br#"{"embeddings":[[1e999]]}"#, 1),
            (br#"{"embeddings":[["a"]]}"#, 1),
            (br#"{"error":"no"}"#, 1),
            (b"<html>", 1),
        ] {
            assert!(matches!(read_vectors(json, count), Err(ServerError::Unreadable(_))));
        }
    }
}
