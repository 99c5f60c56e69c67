//! Why there is no answer: what a backend says, and what the caller is told.

use std::fmt;
use std::time::Duration;

use serde_json::Value;

use crate::domain::inference::Tier;
use crate::domain::reject::RejectCode;

/// What was waited for when time ran out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The first piece of the answer: nothing has come yet.
    FirstToken,
    /// The next piece of an answer that had begun.
    BetweenTokens,
    /// The whole: the caller's own deadline passed.
    Total,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::FirstToken => "did not begin to answer in time",
            Self::BetweenTokens => "fell silent in the middle of its answer",
            Self::Total => "did not answer in time",
        })
    }
}

/// Why a backend gave no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BackendError {
    /// It is known not to be there, or has no model; says what to do. Nothing was sent.
    #[error("{0}")]
    Unavailable(String),
    /// No connection, or it broke before the answer began; says where and what to do.
    #[error("{0}")]
    Unreachable(String),
    /// It has as much to do as it may. Said by this node, before anything was sent.
    #[error("{backend} is busy")]
    Busy {
        /// Its name.
        backend: String,
    },
    /// Its server turns work away: status 429, 502, 503 or 504.
    #[error("{backend} turns work away with status {status}")]
    TurnedAway {
        /// Its name.
        backend: String,
        /// The status.
        status: u16,
        /// How long the server asks to be left alone, if it says so.
        retry_after: Option<Duration>,
    },
    /// It offers no such model.
    #[error("no model {model}; there is: {}", available.join(", "))]
    UnknownModel {
        /// The model asked for.
        model: String,
        /// What there is.
        available: Vec<String>,
    },
    /// The prompt does not fit the model's context.
    #[error("{}", too_long(*tokens, *max_tokens, *context))]
    TooLong {
        /// Tokens of the prompt.
        tokens: usize,
        /// Tokens asked for.
        max_tokens: usize,
        /// Tokens of the context.
        context: usize,
    },
    /// Its server says that the request is at fault: any other status of 4xx.
    #[error("{backend} refuses the request with status {status}: {reason}")]
    Rejected {
        /// Its name.
        backend: String,
        /// The status.
        status: u16,
        /// What it said.
        reason: String,
    },
    /// Time ran out.
    #[error("{backend} {stage}")]
    Timeout {
        /// Its name.
        backend: String,
        /// What was waited for.
        stage: Stage,
    },
    /// The caller left.
    #[error("cancelled")]
    Cancelled,
    /// Its answer ended in the middle, with the connection or the process that made it.
    #[error("{backend}: {reason}")]
    BrokenOff {
        /// Its name.
        backend: String,
        /// What became of it.
        reason: String,
    },
    /// It failed while generating.
    #[error("{backend}: {reason}")]
    Failed {
        /// Its name.
        backend: String,
        /// What it said.
        reason: String,
    },
}

/// What an outcome says about the health of a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// It works.
    Works,
    /// It does not work.
    Fails,
    /// Nothing: the request, the caller or this node is the cause.
    None,
}

impl BackendError {
    /// One word for attempts, metrics and logs.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Unavailable(_)
            | Self::Unreachable(_)
            | Self::TurnedAway { status: 502 | 504, .. } => "unavailable",
            Self::Busy { .. } | Self::TurnedAway { .. } => "busy",
            Self::Timeout { .. } => "timeout",
            Self::Cancelled => "cancelled",
            Self::UnknownModel { .. }
            | Self::TooLong { .. }
            | Self::Rejected { .. }
            | Self::BrokenOff { .. }
            | Self::Failed { .. } => "failed",
        }
    }

    /// What it says about the backend's health. A server that answers 429 works, and a caller's own
    /// deadline says nothing of a backend that had less time than it may take. One that is known to
    /// be away is looked for by itself, and costs nothing to ask.
    pub const fn blame(&self) -> Blame {
        match self {
            Self::Unreachable(_) | Self::BrokenOff { .. } | Self::Failed { .. } => Blame::Fails,
            Self::Timeout { stage: Stage::FirstToken | Stage::BetweenTokens, .. } => Blame::Fails,
            Self::TurnedAway { status, .. } if *status != 429 => Blame::Fails,
            Self::UnknownModel { .. } | Self::TooLong { .. } | Self::Rejected { .. } => {
                Blame::Works
            }
            Self::TurnedAway { .. }
            | Self::Unavailable(_)
            | Self::Busy { .. }
            | Self::Timeout { .. }
            | Self::Cancelled => Blame::None,
        }
    }

    /// Whether the same backend may be asked the same again, if nothing of the answer was seen:
    /// nothing was done, or nobody knows of it.
    pub const fn is_passing(&self) -> bool {
        matches!(
            self,
            Self::Unreachable(_)
                | Self::TurnedAway { .. }
                | Self::Timeout { stage: Stage::FirstToken, .. }
        )
    }
}

/// Why there is no answer to a request.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum InferenceError {
    /// No backend can serve it; says what was tried and what to do.
    #[error("{0}")]
    Unavailable(String),
    /// The pool was asked for, no backend serves it, and no lower tier can take its place.
    #[error("{0}")]
    PoolUnavailable(String),
    /// Every backend that could serve it has as much to do as it may.
    #[error("every backend is busy")]
    Busy {
        /// How long it is likely to take until one has room.
        wait: Duration,
    },
    /// The prompt, or it and the tokens asked for, do not fit the model's context.
    #[error("{}", too_long(*tokens, *max_tokens, *context))]
    TooLong {
        /// Tokens of the prompt.
        tokens: usize,
        /// Tokens asked for.
        max_tokens: usize,
        /// Tokens of the context.
        context: usize,
    },
    /// There is no such model, or not in the tier asked for.
    #[error("no model {model}{}; there is: {}", within(*tier), available.join(", "))]
    UnknownModel {
        /// The model asked for.
        model: String,
        /// The tier asked for.
        tier: Option<Tier>,
        /// What there is.
        available: Vec<String>,
    },
    /// The gates refused the prompt or the answer.
    #[error("{reason}")]
    Refused {
        /// The first gate's code.
        code: RejectCode,
        /// Why.
        reason: String,
        /// The receipt of the run, as a proof would hold it: what was found, and not in what.
        receipt: Box<Value>,
    },
    /// Time ran out.
    #[error("no answer in time")]
    Timeout,
    /// The caller left.
    #[error("cancelled")]
    Cancelled,
    /// A backend failed and no other could take over.
    #[error("{0}")]
    Failed(String),
}

/// Whether a prompt of `tokens` fills the context, so that nothing could follow.
pub const fn is_context_full(tokens: usize, context: usize) -> bool {
    tokens >= context
}

fn too_long(tokens: usize, max_tokens: usize, context: usize) -> String {
    if is_context_full(tokens, context) {
        return format!(
            "the prompt has {tokens} tokens; the context holds {context}, the answer included"
        );
    }
    format!(
        "the prompt has {tokens} tokens and {max_tokens} are to follow; the context holds {context}"
    )
}

fn within(tier: Option<Tier>) -> String {
    tier.map(|tier| format!(" in tier {tier}")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prompt_that_fills_the_context_is_told_without_what_was_to_follow() {
        for (tokens, follows) in [(8, true), (9, false), (10, false)] {
            let said = too_long(tokens, 4, 9);
            assert_eq!(said.contains("4 are to follow"), follows, "{said}");
            assert!(said.contains(&format!("has {tokens} tokens")), "{said}");
        }
    }

    #[test]
    fn an_error_says_whether_the_backend_is_ill_and_may_be_asked_again() {
        let backend = || "b".to_owned();
        let away =
            |status| BackendError::TurnedAway { backend: backend(), status, retry_after: None };
        let late = |stage| BackendError::Timeout { backend: backend(), stage };
        let rejected =
            BackendError::Rejected { backend: backend(), status: 400, reason: "no".into() };
        let unknown = BackendError::UnknownModel { model: "m".into(), available: vec![] };
        let too_long = BackendError::TooLong { tokens: 9, max_tokens: 9, context: 9 };
        let failed = BackendError::Failed { backend: backend(), reason: "no".into() };
        for (error, word, blame, is_passing) in [
            (BackendError::Unavailable("a".into()), "unavailable", Blame::None, false),
            (BackendError::Unreachable("a".into()), "unavailable", Blame::Fails, true),
            (BackendError::Busy { backend: backend() }, "busy", Blame::None, false),
            (away(429), "busy", Blame::None, true),
            (away(502), "unavailable", Blame::Fails, true),
            (away(503), "busy", Blame::Fails, true),
            (away(504), "unavailable", Blame::Fails, true),
            (unknown, "failed", Blame::Works, false),
            (too_long, "failed", Blame::Works, false),
            (rejected, "failed", Blame::Works, false),
            (late(Stage::FirstToken), "timeout", Blame::Fails, true),
            (late(Stage::BetweenTokens), "timeout", Blame::Fails, false),
            (late(Stage::Total), "timeout", Blame::None, false),
            (BackendError::Cancelled, "cancelled", Blame::None, false),
            (failed, "failed", Blame::Fails, false),
        ] {
            let said = (error.word(), error.blame(), error.is_passing());
            assert_eq!(said, (word, blame, is_passing), "{error}");
        }
    }
}
