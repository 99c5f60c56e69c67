//! What is told of a store: its models, how they were found, and why something was not done.

use serde::Serialize;

use crate::domain::model_store::pulls::PullInfo;
use crate::domain::model_store::{ModelName, Presence, Sha256};

/// A model of the list: installed, on its way, or in the catalogue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Listed {
    /// What it is called.
    pub name: ModelName,
    /// How far it is.
    #[serde(rename = "state")]
    pub presence: Presence,
    /// Its size.
    pub bytes: u64,
    /// Bytes of it that are here.
    pub bytes_here: u64,
    /// What it hashes to.
    pub sha256: Sha256,
    /// The number format of its weights.
    pub quantization: String,
    /// Number of its weights, if it was looked into.
    pub parameters: Option<u64>,
    /// Tokens of context that it was made for.
    #[serde(rename = "context_length")]
    pub context: u32,
    /// Its licence, if it is known.
    pub licence: Option<String>,
    /// Bytes of memory to run it, if it is in the catalogue.
    pub memory_bytes: Option<u64>,
    /// In one line, if it is in the catalogue.
    pub description: Option<String>,
    /// Where it is from.
    pub source: String,
}

/// A store and what is going on in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Listing {
    /// Installed models by name, then those of the catalogue that are not.
    pub models: Vec<Listed>,
    /// Bytes that are free on the disk, if the system tells.
    pub free_bytes: Option<u64>,
    /// The latest pulls, newest first.
    pub pulls: Vec<PullInfo>,
}

/// How a file was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "condition", rename_all = "snake_case")]
pub enum Condition {
    /// Its bytes are those it was installed with.
    Ok,
    /// They are not.
    Damaged {
        /// What is wrong.
        reason: String,
    },
    /// There is no file.
    Missing,
}

/// A model that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// What it is called.
    pub name: ModelName,
    /// What its file is to hash to.
    pub sha256: Sha256,
    /// How it was found.
    #[serde(flatten)]
    pub condition: Condition,
}

/// What the removal of a model came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Removed {
    /// Bytes that the disk has more now. None while another name points to the file, or a process
    /// that uses it keeps it until it ends.
    pub bytes_freed: u64,
}

/// Why something was not done with a model.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ModelsError {
    /// There is no such model, or no such pull.
    #[error("{0}")]
    Unknown(String),
    /// It is in use or on its way, or its name is taken.
    #[error("{0}")]
    Conflict(String),
    /// The disk is too full.
    #[error("{0}")]
    NoRoom(String),
    /// There are too many pulls.
    #[error("{waiting_max} pulls wait already; try again when one has ended")]
    Full {
        /// The most that may wait.
        waiting_max: usize,
    },
    /// The work was told to end.
    #[error("it was told to end")]
    Cancelled,
    /// The hub or the store failed.
    #[error("{0}")]
    Failed(String),
}
