//! What is asked of a model, what comes back, and which tier should answer.

pub mod admission;
pub mod breaker;
pub mod conversation;
pub mod estimate;
pub mod hedge;
pub mod recorded;
pub mod request;
pub mod resident;
pub mod retry;
pub mod route;
pub mod share;

mod error;

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

pub use error::{BackendError, Blame, InferenceError, Stage, is_context_full};

use crate::domain::inference::conversation::{Form, Turn};

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

impl Generated {
    /// Tokens generated a second, from the request's arrival at the backend on; `None` if no time
    /// was measured.
    pub fn tokens_per_second(&self) -> Option<f64> {
        let seconds = self.duration.as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "token counts are far below 2^53")]
        let tokens = self.completion_tokens as f64;
        (seconds > 0.0).then(|| tokens / seconds)
    }
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
    /// `ok`, the error's [`BackendError::word`], or `open` if its breaker let no call pass.
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
    fn another_name_is_no_tier_and_is_repeated_only_in_part() {
        for name in ["", " edge", "edge ", "\u{ff45}dge", "cloud"] {
            assert!(name.parse::<Tier>().is_err(), "{name}");
        }
        let UnknownTier(echo) = "\u{1f600}".repeat(1000).parse::<Tier>().unwrap_err();
        assert_eq!(echo.chars().count(), NAME_ECHO_CHARS_MAX);
    }
}
