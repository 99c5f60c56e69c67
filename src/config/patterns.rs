//! `[patterns]`

use serde::{Deserialize, Serialize};

/// How many patterns are held. Beyond that the least worthy are let go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Patterns {
    /// In all.
    pub patterns_max: u64,
    /// Bytes that they take: content, four a number of the embedding, and 512 for the rest.
    pub bytes_max: u64,
    /// Of one source.
    pub source_patterns_max: u64,
    /// Bytes of one source.
    pub source_bytes_max: u64,
    /// Above so many patterns of one embedder recall goes through an approximate index, in a build that
    /// has one.
    pub approximate_above: u64,
}

impl Default for Patterns {
    /// Two kilobytes of memory each at 384 dimensions; half of all for one source, so that none drives
    /// out the others.
    fn default() -> Self {
        Self {
            patterns_max: 100_000,
            bytes_max: 512 << 20,
            source_patterns_max: 50_000,
            source_bytes_max: 256 << 20,
            // A scan of so many takes some 15 ms.
            approximate_above: 200_000,
        }
    }
}
