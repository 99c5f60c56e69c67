//! `[inference.models]`

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Models that are brought to this machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Models {
    /// What can be pulled; `None` (written as an empty string) is the catalogue built in.
    #[serde(with = "super::empty_is_none")]
    pub catalogue: Option<PathBuf>,
    /// Where it is pulled from: an https address, or http on this machine.
    pub endpoint: String,
    /// The hub's token, for models whose licence asks for one; empty is none.
    pub token: Secret,
    /// Whether nothing is fetched.
    pub offline: bool,
}

impl Default for Models {
    fn default() -> Self {
        Self {
            catalogue: None,
            endpoint: "https://huggingface.co".to_owned(),
            token: Secret::default(),
            offline: false,
        }
    }
}

/// A text that is not printed.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// The text, for whom it is meant for.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "\"\"" } else { "\"...\"" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_printed() {
        let models = Models { token: Secret("hf_secret".into()), ..Models::default() };
        assert!(!format!("{models:?}").contains("secret"));
        assert_eq!(models.token.expose(), "hf_secret");
    }
}
