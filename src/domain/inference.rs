//! What is asked of a model, what comes back, and which tier should answer.

pub mod conversation;
pub mod estimate;
pub mod recorded;
pub mod request;
pub mod resident;
pub mod route;
pub mod share;

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde_json::Value;

use crate::domain::inference::conversation::{Form, Turn};
use crate::domain::reject::RejectCode;

/// Where a model runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Tier {
    /// In this process.
    Edge,
    /// On a model server of this machine or site.
    Local,
    /// On other nodes.
    Pool,
}

impl Tier {
    /// Its name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Edge => "Edge",
            Self::Local => "Local",
            Self::Pool => "Pool",
        }
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// There is no tier of that name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no tier {0:?}; tiers are edge|nano, local|medium, pool|large")]
pub struct UnknownTier(
    /// The name, at most its first 32 characters.
    pub String,
);

/// Characters of a wrong name that an error repeats.
const NAME_ECHO_CHARS_MAX: usize = 32;

impl FromStr for Tier {
    type Err = UnknownTier;

    /// Reads either of a tier's two names, in any case.
    fn from_str(name: &str) -> Result<Self, UnknownTier> {
        [
            ("edge", Self::Edge),
            ("nano", Self::Edge),
            ("local", Self::Local),
            ("medium", Self::Local),
            ("pool", Self::Pool),
            ("large", Self::Pool),
        ]
        .into_iter()
        .find(|(known, _)| known.eq_ignore_ascii_case(name))
        .map(|(_, tier)| tier)
        .ok_or_else(|| UnknownTier(name.chars().take(NAME_ECHO_CHARS_MAX).collect()))
    }
}

/// How models choose the next token.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampling {
    /// 0 is greedy; at most 2.
    pub temperature: f64,
    /// Mass of the nucleus, in (0, 1]; `None` is 1.
    pub top_p: Option<f64>,
    /// Makes the choice repeatable.
    pub seed: Option<u64>,
}

/// A validated request.
#[derive(Clone, Debug, PartialEq)]
pub struct InferenceRequest {
    /// What to answer, or to continue.
    pub prompt: String,
    /// Instructions that go before everything.
    pub system: Option<String>,
    /// What was said between them and the prompt, oldest first. At most 256 turns.
    pub history: Vec<Turn>,
    /// How the model is to read it. A [`Form::Completion`] has neither system text nor history.
    pub form: Form,
    /// The most tokens to generate.
    pub max_tokens: usize,
    /// Whether the caller asked for that many. Otherwise a model with less room gives what it has;
    /// with it, a request that does not fit is refused.
    pub is_length_asked: bool,
    /// How to choose them.
    pub sampling: Sampling,
    /// Strings that end the answer; they are not part of it. At most 8.
    pub stop: Vec<String>,
    /// The tier asked for.
    pub tier: Option<Tier>,
    /// The model asked for.
    pub model: Option<String>,
}

/// Why generation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinishReason {
    /// The model ended, or a stop string came.
    Stop,
    /// `max_tokens` or the context was reached.
    Length,
}

impl FinishReason {
    /// Its name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
        }
    }
}

/// What one backend generated.
#[derive(Clone, Debug, PartialEq)]
pub struct Generated {
    /// The text, without prompt and stop string.
    pub text: String,
    /// The model's name.
    pub model: String,
    /// What identifies the model's bytes, as the backend reports it (`blake3:` and hex for edge).
    pub model_digest: Option<String>,
    /// Tokens of the prompt as the model read it.
    pub prompt_tokens: usize,
    /// Tokens generated.
    pub completion_tokens: usize,
    /// Whether either count is a guess, because the backend did not report it.
    pub is_estimated: bool,
    /// The code that computed it, if that is known: with the same one, the same model and
    /// temperature 0, the same text comes again.
    pub engine: Option<String>,
    /// Why it ended.
    pub finish_reason: FinishReason,
    /// From the request's arrival at the backend to its first token.
    pub time_to_first_token: Duration,
    /// From the request's arrival at the backend to its end.
    pub duration: Duration,
}

/// A model that a backend was seen to offer.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelInfo {
    /// Its name.
    pub name: String,
    /// Where it runs.
    pub tier: Tier,
    /// Who runs it.
    pub backend: String,
    /// Number of weights, if reported.
    pub parameters: Option<u64>,
    /// Name of the weights' number format, if reported.
    pub quantization: Option<String>,
    /// Tokens of context, if reported.
    pub context_length: Option<usize>,
    /// Whether a request would be served now.
    pub is_available: bool,
    /// Whether it is in memory.
    pub is_loaded: bool,
    /// When it was last seen, as milliseconds since the Unix epoch.
    pub last_seen_ms: u64,
    /// What an operator should know, for instance that it is a demo.
    pub note: Option<String>,
}

/// How one attempt at a backend ended: one line of `attempts`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// The tier tried.
    pub tier: Tier,
    /// The backend tried.
    pub backend: String,
    /// `ok`, `unavailable`, `busy`, `timeout`, `failed`.
    pub outcome: &'static str,
    /// How long it took.
    pub elapsed: Duration,
}

impl Attempt {
    /// How long it took, in milliseconds to three places: the one number for answers and proofs.
    pub fn elapsed_ms(&self) -> f64 {
        (self.elapsed.as_secs_f64() * 1e6).round() / 1e3
    }
}

/// Why a backend gave no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BackendError {
    /// It is not there, or has no model; says what to do.
    #[error("{0}")]
    Unavailable(String),
    /// It has as much to do as it may.
    #[error("{backend} is busy")]
    Busy {
        /// Its name.
        backend: String,
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
    /// Time ran out.
    #[error("{backend} did not answer in time")]
    Timeout {
        /// Its name.
        backend: String,
    },
    /// The caller left.
    #[error("cancelled")]
    Cancelled,
    /// It failed while generating.
    #[error("{backend}: {reason}")]
    Failed {
        /// Its name.
        backend: String,
        /// What it said.
        reason: String,
    },
}

/// Why there is no answer to a request.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum InferenceError {
    /// No backend can serve it; says what was tried and what to do.
    #[error("{0}")]
    Unavailable(String),
    /// Every backend that could serve it has as much to do as it may.
    #[error("every backend is busy")]
    Busy,
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
    fn a_tier_has_two_names_in_any_case() {
        for (names, tier) in [
            (["edge", "Nano"], Tier::Edge),
            (["LOCAL", "medium"], Tier::Local),
            (["Pool", "lArGe"], Tier::Pool),
        ] {
            for name in names {
                assert_eq!(name.parse(), Ok(tier));
            }
            assert_eq!(tier.to_string().parse(), Ok(tier));
        }
    }

    #[test]
    fn a_prompt_that_fills_the_context_is_told_without_what_was_to_follow() {
        for (tokens, follows) in [(8, true), (9, false), (10, false)] {
            let said = too_long(tokens, 4, 9);
            assert_eq!(said.contains("4 are to follow"), follows, "{said}");
            assert!(said.contains(&format!("has {tokens} tokens")), "{said}");
        }
    }

    #[test]
    fn another_name_is_no_tier_and_is_repeated_only_in_part() {
        for name in ["", " edge", "edge ", "\u{ff45}dge", "cloud"] {
            assert!(name.parse::<Tier>().is_err(), "{name}");
        }
        let UnknownTier(echo) = "\u{1f600}".repeat(1000).parse::<Tier>().unwrap_err();
        assert_eq!(echo.chars().count(), NAME_ECHO_CHARS_MAX);
    }
}
