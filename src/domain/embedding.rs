//! Embeddings: texts as directions, so that what is alike lies close together.
//!
//! An embedder says which it is by an [`EmbedderId`]. Vectors of two embedders, of two versions of
//! one, or of two dimensions have nothing to do with each other and are never compared.

use std::fmt::{self, Debug, Display, Formatter};

use serde::{Deserialize, Serialize};

pub mod ngram;

/// Longest text that is embedded, in bytes of UTF-8: what a pattern may hold, and about as much as
/// the longest inputs of the embedding models that are offered as a service (8192 tokens).
pub const TEXT_BYTES_MAX: usize = 32 * 1024;

/// Which embedder made a vector. Its parts are all of them needed: whatever changes a vector changes
/// one of them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EmbedderId {
    /// Its name; of one that is read from files, with a digest of them in it.
    pub name: String,
    /// Raised whenever some text gets another vector.
    pub version: u32,
    /// Numbers in each vector.
    pub dimension: usize,
}

impl Display for EmbedderId {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.name, self.version, self.dimension)
    }
}

/// Why a text has no embedding.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EmbedError {
    /// There is nothing in it that could have a direction: it is blank, or, which no honest text does,
    /// its parts cancel each other out.
    #[error("the text holds nothing to embed")]
    Empty,
    /// More than is embedded at once.
    #[error("the text has {bytes} bytes; the limit is {TEXT_BYTES_MAX}")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// The model did not give a vector.
    #[error("the embedding model failed: {0}")]
    Failed(String),
}

/// Gives texts their vectors.
pub trait Embed: Send + Sync + Debug {
    /// Which embedder this is.
    fn id(&self) -> &EmbedderId;

    /// The vector of a text: as many finite numbers as the id says, of length 1, so that the cosine of
    /// two is their scalar product. The same text always gets the same one. Computes, with a model for
    /// many milliseconds: not for a thread that must not wait.
    ///
    /// # Errors
    /// [`EmbedError`].
    fn embed(&self, text: &str) -> Result<Vec<f32>, EmbedError>;
}

/// The vector of length 1 that points where `sums` does.
///
/// # Errors
/// [`EmbedError::Empty`] if that is nowhere.
pub fn unit(sums: &[f64]) -> Result<Vec<f32>, EmbedError> {
    let length = sums.iter().map(|sum| sum * sum).sum::<f64>().sqrt();
    if !(length.is_finite() && length > 0.0) {
        return Err(EmbedError::Empty);
    }
    // Halves lose nothing here: what is below the least f32 is zero beside a length of 1.
    Ok(sums.iter().map(|sum| (sum / length) as f32).collect())
}

/// The text, if it is not too long and not blank.
///
/// # Errors
/// [`EmbedError::TooLong`], [`EmbedError::Empty`].
pub fn bounded(text: &str) -> Result<&str, EmbedError> {
    match text.len() {
        bytes if bytes > TEXT_BYTES_MAX => Err(EmbedError::TooLong { bytes }),
        _ if text.trim().is_empty() => Err(EmbedError::Empty),
        _ => Ok(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_told_by_each_of_its_parts() {
        let id = EmbedderId { name: "a".into(), version: 1, dimension: 4 };
        assert_eq!(id.to_string(), "a/1/4");
        let json = serde_json::to_string(&id).unwrap();
        assert_eq!(serde_json::from_str::<EmbedderId>(&json).unwrap(), id);
        for other in [
            EmbedderId { name: "b".into(), ..id.clone() },
            EmbedderId { version: 2, ..id.clone() },
            EmbedderId { dimension: 5, ..id.clone() },
        ] {
            assert!(other > id);
            assert_ne!(other.to_string(), id.to_string());
        }
    }

    #[test]
    fn what_points_nowhere_has_no_direction() {
        assert_eq!(unit(&[3.0, -4.0]), Ok(vec![0.6, -0.8]));
        for sums in [&[][..], &[0.0, -0.0], &[f64::NAN, 1.0], &[f64::INFINITY, 1.0]] {
            assert_eq!(unit(sums), Err(EmbedError::Empty), "{sums:?}");
        }
    }

    #[test]
    fn a_text_is_neither_blank_nor_too_long() {
        for blank in ["", " \n\t", "\u{2003}\u{a0}"] {
            assert_eq!(bounded(blank), Err(EmbedError::Empty));
        }
        let longest = "\u{e9}".repeat(TEXT_BYTES_MAX / 2);
        assert_eq!(bounded(&longest), Ok(longest.as_str()));
        let error = bounded(&"x".repeat(TEXT_BYTES_MAX + 1)).unwrap_err();
        assert_eq!(error.to_string(), "the text has 32769 bytes; the limit is 32768");
    }
}
