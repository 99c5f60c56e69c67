//! What the node says went wrong, as exceptions. Their codes are those of the HTTP interface, where
//! there is one; a refusal by the gates has the reject code of the first gate.

use bizra_omega::config::ConfigError;
use bizra_omega::domain::envelope::SealError;
use bizra_omega::domain::federation::ProposalError;
use bizra_omega::domain::identity::IdentityError;
use bizra_omega::domain::inference::request::RequestError;
use bizra_omega::domain::inference::{InferenceError, is_context_full};
use bizra_omega::messages::addr::CallError;
use bizra_omega::messages::consensus::ConsensusError;
use bizra_omega::messages::supervisor::DrillError;
use bizra_omega::node::StartError;
use serde_json::json;

use crate::error::{Error, Family};

/// A value that cannot be used, and the argument it was given for.
pub(super) fn wrong(argument: &str, code: &'static str, message: impl Into<String>) -> Error {
    Error::invalid(message).code(code).details(json!({ "argument": argument }))
}

/// There is nothing of that name.
pub(super) fn unknown(code: &'static str, message: impl Into<String>) -> Error {
    Error::new(Family::NotFound, message).code(code)
}

impl From<CallError> for Error {
    fn from(error: CallError) -> Self {
        let message = error.to_string();
        match error {
            CallError::Busy { actor, waiting_max } => Error::unavailable(message)
                .code("ACTOR_BUSY")
                .details(json!({ "actor": actor.as_str(), "waiting_max": waiting_max })),
            CallError::Down { actor } => Error::unavailable(message)
                .code("ACTOR_DOWN")
                .details(json!({ "actor": actor.as_str() })),
            CallError::Late { actor } => {
                Error::new(Family::Timeout, message).details(json!({ "actor": actor.as_str() }))
            }
        }
    }
}

impl From<IdentityError> for Error {
    fn from(error: IdentityError) -> Self {
        let message = error.to_string();
        match error {
            IdentityError::Unknown(_) => unknown("IDENTITY_UNKNOWN", message),
            IdentityError::Full { .. } => Error::unavailable(message).code("KEYSTORE_FULL"),
            IdentityError::Retired { .. } => Error::invalid(message).code("IDENTITY_RETIRED"),
            IdentityError::Exists(_) => Error::invalid(message).code("IDENTITY_EXISTS"),
            IdentityError::Passphrase => Error::invalid(message).code("WRONG_PASSPHRASE"),
            IdentityError::Export(_) => Error::invalid(message).code("INVALID_EXPORT"),
            IdentityError::Label => wrong("label", "INVALID_LABEL", message),
            IdentityError::Batch { .. } => Error::invalid(message).code("BATCH_TOO_LARGE"),
            IdentityError::Store(_) => Error::unavailable(message).code("KEYSTORE_FAILED"),
        }
    }
}

impl From<SealError> for Error {
    fn from(error: SealError) -> Self {
        match error {
            SealError::Invalid(reason) => Error::invalid(reason).code("INVALID_ENVELOPE"),
            SealError::Unavailable(reason) => {
                Error::unavailable(reason).code("ENVELOPE_UNAVAILABLE")
            }
            SealError::Full(reason) => Error::unavailable(reason).code("DISK_FULL"),
        }
    }
}

impl From<ConsensusError> for Error {
    fn from(error: ConsensusError) -> Self {
        let message = error.to_string();
        match error {
            ConsensusError::Refused { code, .. } => {
                Error::new(Family::GateRejected, message).code(code.as_str())
            }
            ConsensusError::DiskFull(_) => Error::unavailable(message).code("DISK_FULL"),
            ConsensusError::Crowded { .. } => Error::unavailable(message).code("PROPOSALS_WAITING"),
            ConsensusError::Unavailable(_) => {
                Error::unavailable(message).code("CONSENSUS_UNAVAILABLE")
            }
        }
    }
}

impl From<ProposalError> for Error {
    fn from(error: ProposalError) -> Self {
        wrong(error.field().unwrap_or("proposal"), error.code(), error.to_string())
    }
}

impl From<RequestError> for Error {
    fn from(error: RequestError) -> Self {
        wrong(error.field(), error.code(), error.to_string())
    }
}

impl From<InferenceError> for Error {
    fn from(error: InferenceError) -> Self {
        let message = error.to_string();
        match error {
            InferenceError::Unavailable(_) => {
                Error::unavailable(message).code("INFERENCE_UNAVAILABLE")
            }
            InferenceError::PoolUnavailable(_) => {
                Error::unavailable(message).code("POOL_UNAVAILABLE")
            }
            InferenceError::Busy { wait } => Error::unavailable(message)
                .code("INFERENCE_BUSY")
                .details(json!({ "retry_after_seconds": wait.as_secs_f64() })),
            InferenceError::TooLong { tokens, context, .. } => {
                match is_context_full(tokens, context) {
                    true => wrong("prompt", "PROMPT_TOO_LONG", message),
                    false => wrong("max_tokens", "OUT_OF_RANGE", message),
                }
            }
            InferenceError::UnknownModel { available, .. } => {
                unknown("UNKNOWN_MODEL", message).details(json!({ "available": available }))
            }
            InferenceError::Refused { code, receipt, .. } => {
                Error::new(Family::GateRejected, message)
                    .code(code.as_str())
                    .details(json!({ "receipt": *receipt }))
            }
            InferenceError::Timeout => Error::new(Family::Timeout, message),
            InferenceError::Cancelled => Error::unavailable(message).code("CANCELLED"),
            InferenceError::Failed(_) => Error::unavailable(message).code("INFERENCE_FAILED"),
        }
    }
}

impl From<DrillError> for Error {
    fn from(error: DrillError) -> Self {
        let message = error.to_string();
        match error {
            DrillError::Unknown(_) => unknown("ACTOR_UNKNOWN", message),
            DrillError::NotRunning { .. } => Error::unavailable(message).code("ACTOR_NOT_RUNNING"),
            DrillError::Unnoticed => wrong("kind", "UNKNOWN_FAULT", message),
        }
    }
}

impl From<ConfigError> for Error {
    fn from(error: ConfigError) -> Self {
        let message = error.to_string();
        let wrong = Error::invalid(message).code("CONFIG");
        match error {
            ConfigError::Value { key, .. } => wrong.details(json!({ "key": key })),
            ConfigError::Homeless { key } => wrong.details(json!({ "key": key })),
            ConfigError::Unreadable { .. } | ConfigError::Syntax { .. } => wrong,
        }
    }
}

impl From<StartError> for Error {
    fn from(error: StartError) -> Self {
        let message = error.to_string();
        if let Some(key) = error.key() {
            return Error::invalid(message).code("CONFIG").details(json!({ "key": key }));
        }
        let code = match error {
            StartError::Lock(_) => "DATA_DIR",
            StartError::Keystore(_) => "KEYSTORE_FAILED",
            StartError::Store(_) => "STORE_FAILED",
            StartError::Bind { .. } => "BIND_FAILED",
            _ => "START_FAILED",
        };
        Error::unavailable(message).code(code)
    }
}
