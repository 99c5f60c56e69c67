//! Why something was not done with patterns, as callers are told.

use hyper::StatusCode;

use crate::domain::pattern::PatternError;
use crate::http::error::ApiError;
use crate::messages::pattern_memory::MemoryError;

/// What the caller is told of a broken rule; `place` is the path of what it was broken in.
pub(super) fn refused(error: &PatternError, place: &str) -> ApiError {
    let (code, text) = (error.code(), error.to_string());
    let refused = match error {
        PatternError::Content { .. }
        | PatternError::Tags { .. }
        | PatternError::Tag
        | PatternError::Source
        | PatternError::Embedder
        | PatternError::Dimension { .. }
        | PatternError::Number { .. }
        | PatternError::Zero
        | PatternError::Either
        | PatternError::Limit
        | PatternError::Similarity
        | PatternError::FeedbackNumber
        | PatternError::TooLarge { .. }
        | PatternError::Json(_) => ApiError::invalid(code, text),
        PatternError::Signature => ApiError::forbidden(code, text),
        PatternError::Embedders { .. } | PatternError::Stale { .. } => {
            ApiError::new(StatusCode::CONFLICT, code, text)
        }
        // These are about no part of the request.
        PatternError::Unknown(_) => return ApiError::new(StatusCode::NOT_FOUND, code, text),
        PatternError::Full { .. }
        | PatternError::Signers { .. }
        | PatternError::NoCandidate { .. } => {
            return ApiError::new(StatusCode::CONFLICT, code, text);
        }
        PatternError::Waiting { .. } => return ApiError::unavailable(code, text),
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
