//! `[embedding]`

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// How texts get their vectors.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Embedding {
    /// The folder of an embedding model; `None` (written as an empty string) is the embedder built in.
    #[serde(with = "super::empty_is_none")]
    pub model: Option<PathBuf>,
}
