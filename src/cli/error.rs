//! Why a command did not do what it was asked for, and how the program then ends.

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::adapters::keystore::KeystoreError;
use crate::adapters::lock::LockError;
use crate::adapters::models::ModelStoreError;
use crate::cli::printable;
use crate::config::ConfigError;
use crate::passphrase_file::PassphraseFileError;
use crate::private_file::PrivateFileError;
use crate::token_file::TokenError;

/// Interrupted by the user, as a shell tells it.
pub const INTERRUPTED: u8 = 130;

/// Why a command did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// Nobody answers there.
    #[error(
        "no node answers at {url} ({reason}); start one with bizra-api, or name another with --url"
    )]
    Unreachable {
        /// Where it was looked for.
        url: String,
        /// What the connection said.
        reason: String,
    },
    /// It shows a certificate that is not trusted.
    #[error(
        "the certificate of {url} is not trusted: {reason}; if it is the right one, name it or the \
         authority that it stands on with --ca FILE"
    )]
    Untrusted {
        /// Where it was met.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The node refused.
    #[error("{}", refusal(*status, body))]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The whole answer.
        body: Value,
    },
    /// The node began with an answer and could not end it.
    #[error("the answer broke off: {}", told(body))]
    BrokenOff {
        /// What the node says about it.
        body: Value,
    },
    /// Whoever answers does not speak as a node does.
    #[error("{url} does not answer as a node does: {reason}")]
    Strange {
        /// What was asked.
        url: String,
        /// What is wrong with the answer.
        reason: String,
    },
    /// There is no token.
    #[error("{0}; the node makes the API token when it first starts, see --data-dir")]
    NoToken(TokenError),
    /// The token cannot be read, or is not to be trusted.
    #[error("the API token: {0}")]
    Token(Arc<TokenError>),
    /// Who answers is not known to be the node whose token lies here.
    #[error(
        "the node at {url} asks for its token, and does not run on {}, so the token there was not \
         sent; name the node with --url, or its token with --token",
        data_dir.display()
    )]
    Stranger {
        /// Where it answers.
        url: String,
        /// Where a token is.
        data_dir: PathBuf,
    },
    /// The configuration cannot be read.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The command cannot be carried out as it was given.
    #[error("{0}")]
    Usage(String),
    /// Somebody has the data directory.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// Somebody has the data directory, and no node answers where it was looked for.
    #[error("{lock}; a node that runs there is named with --url, as none answers at {url}")]
    Elsewhere {
        /// Who has it.
        lock: LockError,
        /// Where a node was looked for.
        url: String,
    },
    /// The keystore could not be used.
    #[error(transparent)]
    Keystore(Box<KeystoreError>),
    /// A file that only its owner may read could not be read or written.
    #[error(transparent)]
    File(#[from] PrivateFileError),
    /// There is no passphrase in the file that was named.
    #[error("the passphrase: {0}")]
    Passphrase(#[from] PassphraseFileError),
    /// A model could not be brought or kept.
    #[error(transparent)]
    Models(Box<ModelStoreError>),
    /// The answer could not be written.
    #[error(transparent)]
    Output(#[from] std::io::Error),
}

impl From<ModelStoreError> for CliError {
    fn from(error: ModelStoreError) -> Self {
        Self::Models(Box::new(error))
    }
}

impl CliError {
    /// The exit code: 1 it went wrong, 2 wrong usage, 3 no node answers.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Unreachable { .. } => 3,
            Self::Usage(_) | Self::Config(_) | Self::Passphrase(_) => 2,
            Self::Keystore(error) if error.is_passphrase() => 2,
            Self::Lock(_) | Self::Elsewhere { .. } | Self::Keystore(_) | Self::File(_) => 1,
            Self::Refused { .. } | Self::Strange { .. } | Self::Output(_) => 1,
            Self::NoToken(_) | Self::Token(_) | Self::Stranger { .. } => 1,
            Self::Untrusted { .. } | Self::BrokenOff { .. } | Self::Models(_) => 1,
        }
    }

    /// What kind of failure it is, for programs.
    pub fn code(&self) -> &str {
        match self {
            Self::Refused { body, .. } | Self::BrokenOff { body } => {
                body["code"].as_str().unwrap_or("REFUSED")
            }
            Self::Models(_) => "MODELS_FAILED",
            Self::Unreachable { .. } => "NO_NODE",
            Self::Untrusted { .. } => "CERTIFICATE_NOT_TRUSTED",
            Self::Strange { .. } => "NO_ANSWER_OF_A_NODE",
            Self::NoToken(_) | Self::Token(_) | Self::Stranger { .. } => "NO_TOKEN",
            Self::Config(_) => "WRONG_CONFIGURATION",
            Self::Usage(_) => "WRONG_USAGE",
            Self::Lock(_) | Self::Elsewhere { .. } => "DATA_DIR_IN_USE",
            Self::Keystore(_) => "KEYSTORE",
            Self::Passphrase(_) => "PASSPHRASE",
            Self::File(_) | Self::Output(_) => "FILE",
        }
    }

    /// For people; a terminal obeys nothing in it.
    pub fn to_text(&self) -> String {
        printable::text(&self.to_string())
    }

    /// For whoever reads JSON: the node's own answer, or the same members.
    pub fn to_json(&self) -> Value {
        match self {
            Self::Refused { body, .. } | Self::BrokenOff { body } => body.clone(),
            error => json!({ "error": error.to_string(), "code": error.code() }),
        }
    }
}

/// What the node's error body says, in one line.
fn refusal(status: u16, body: &Value) -> String {
    let code = body["code"].as_str().unwrap_or("no code");
    format!("{} ({}, HTTP {status})", told(body), printable::line(code))
}

fn told(body: &Value) -> String {
    let text = |key: &str| body.get(key).and_then(Value::as_str).map(printable::line);
    let line = text("error").unwrap_or_else(|| "the node gave no reason".to_owned());
    match text("details") {
        Some(details) => format!("{line}: {details}"),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told_with_its_code() {
        let body = json!({"error": "no", "code": "CHAOS_DISABLED", "details": "set it"});
        assert_eq!(refusal(403, &body), "no: set it (CHAOS_DISABLED, HTTP 403)");
        assert_eq!(refusal(500, &json!([])), "the node gave no reason (no code, HTTP 500)");
        let hostile = json!({"error": "\u{1b}[2J", "code": "\n\u{9b}"});
        assert_eq!(refusal(400, &hostile), "\\u{1b}[2J (\\n\\u{9b}, HTTP 400)");
    }

    #[test]
    fn programs_hear_the_kind_of_a_failure() {
        let error = CliError::Usage("x".to_owned());
        assert_eq!(error.to_json(), json!({ "error": "x", "code": "WRONG_USAGE" }));
        let body = json!({ "error": "no", "code": "UNKNOWN_TIER", "request_id": "1" });
        assert_eq!(CliError::Refused { status: 400, body: body.clone() }.to_json(), body);
    }
}
