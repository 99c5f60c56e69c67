//! Why something was not done with patterns, as callers are told.

use hyper::StatusCode;

use crate::domain::pattern::PatternError;
use crate::http::error::ApiError;
use crate::messages::pattern_memory::MemoryError;

/// What the caller is told of a broken rule; `place` is the path of what it was broken in.
pub(super) fn refused(error: &PatternError, place: &str) -> ApiError {
    let text = error.to_string();
    let conflict = |code| ApiError::new(StatusCode::CONFLICT, code, text.clone());
    let refused = match error {
        PatternError::Content { .. } => ApiError::invalid("INVALID_CONTENT", text),
        PatternError::Tags { .. } | PatternError::Tag => ApiError::invalid("INVALID_TAGS", text),
        PatternError::Source => ApiError::invalid("INVALID_SOURCE", text),
        PatternError::Embedder => ApiError::invalid("INVALID_EMBEDDER", text),
        PatternError::Dimension { .. } | PatternError::Number { .. } | PatternError::Zero => {
            ApiError::invalid("INVALID_EMBEDDING", text)
        }
        PatternError::Either => ApiError::invalid("TEXT_OR_EMBEDDING", text),
        PatternError::Limit | PatternError::Similarity | PatternError::FeedbackNumber => {
            ApiError::invalid("OUT_OF_RANGE", text)
        }
        PatternError::TooLarge { .. } => ApiError::invalid("PATTERN_TOO_LARGE", text),
        PatternError::Json(_) => ApiError::invalid("INVALID_JSON", text),
        PatternError::Signature => ApiError::forbidden("FEEDBACK_SIGNATURE", text),
        PatternError::Unknown(_) => {
            return ApiError::new(StatusCode::NOT_FOUND, "PATTERN_UNKNOWN", text);
        }
        PatternError::Embedders { .. } => conflict("EMBEDDERS_FULL"),
        PatternError::Full { .. } => return conflict("PATTERNS_FULL"),
        PatternError::Stale { .. } => conflict("FEEDBACK_STALE"),
        PatternError::Signers { .. } => return conflict("SIGNERS_FULL"),
        PatternError::NoCandidate { .. } => return conflict("NOT_A_CANDIDATE"),
        PatternError::Waiting { .. } => {
            return ApiError::unavailable("PROPOSALS_WAITING", text);
        }
    };
    let field = error.field().map_or(place.to_owned(), |field| format!("{place}.{field}"));
    refused.details(field)
}

impl From<PatternError> for ApiError {
    fn from(error: PatternError) -> Self {
        refused(&error, "$")
    }
}

impl From<MemoryError> for ApiError {
    fn from(error: MemoryError) -> Self {
        match error {
            MemoryError::Pattern(error) => error.into(),
            MemoryError::Proposal(error) => {
                Self::new(StatusCode::CONFLICT, "NOT_PROPOSABLE", error.to_string())
            }
            MemoryError::Consensus(error) => error.into(),
            MemoryError::Embedding(_) => Self::invalid("TEXT_NOT_EMBEDDED", error.to_string()),
            MemoryError::DiskFull(reason) => {
                Self::new(StatusCode::INSUFFICIENT_STORAGE, "DISK_FULL", reason)
            }
            MemoryError::Unavailable(inner) => {
                let text = "patterns cannot be dealt with at present";
                Self::unavailable("PATTERNS_UNAVAILABLE", text).because(inner)
            }
        }
    }
}
