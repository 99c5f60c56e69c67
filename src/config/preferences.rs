//! `[preferences]`

use serde::{Deserialize, Serialize};

/// What is learned of how people like to be answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Preferences {
    /// Subjects that have preferences.
    pub subjects_max: u64,
    /// Custom preferences of one subject.
    pub custom_max: usize,
}

impl Default for Preferences {
    /// A household, a team or a small service; more than are ever told to a model at once. Full, that is
    /// some dozens of megabytes.
    fn default() -> Self {
        Self { subjects_max: 4096, custom_max: 32 }
    }
}
