//! From what a caller sent to a request that can be served.

use crate::domain::inference::conversation::{Form, Turn};
use crate::domain::inference::{InferenceRequest, Sampling, Tier, UnknownTier};

/// Turns of a history: more than a conversation of a working day; each costs a template a few hundred
/// steps of its fuel.
pub const HISTORY_TURNS_MAX: usize = 256;

/// Stop strings: what other servers allow at most.
pub const STOP_STRINGS_MAX: usize = 8;

/// Characters of a stop string: each is searched for in every piece of the answer.
pub const STOP_CHARS_MAX: usize = 64;

/// Characters of a model's name.
pub const MODEL_CHARS_MAX: usize = 256;

/// A seed goes into signed JSON, where larger integers are not exact (RFC 7493, section 2.2).
pub const SEED_MAX: u64 = (1 << 53) - 1;

/// What a request may ask for. Lengths are in characters, so that every script counts alike.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Characters of a prompt, its system text and history included.
    pub prompt_chars_max: usize,
    /// Tokens of an answer.
    pub max_tokens_max: usize,
    /// Tokens of an answer when the request does not say.
    pub max_tokens_default: usize,
    /// Temperature when the request does not say.
    pub temperature_default: f64,
}

impl Default for Limits {
    /// A prompt of 64 Ki characters fills the longest common context; an answer of 4,096 tokens is
    /// minutes of work. 512 and 0.7 are the contract's.
    fn default() -> Self {
        Self {
            prompt_chars_max: 64 * 1024,
            max_tokens_max: 4096,
            max_tokens_default: 512,
            temperature_default: 0.7,
        }
    }
}

/// What a caller sent, well-typed and otherwise untrusted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RawRequest {
    /// What to answer.
    pub prompt: String,
    /// Instructions that go before everything.
    pub system: Option<String>,
    /// What was said before the prompt.
    pub history: Vec<Turn>,
    /// How the model is to read it.
    pub form: Form,
    /// The most tokens to generate.
    pub max_tokens: Option<u64>,
    /// 0 is greedy.
    pub temperature: Option<f64>,
    /// Mass of the nucleus.
    pub top_p: Option<f64>,
    /// Makes the choice repeatable.
    pub seed: Option<u64>,
    /// Strings that end the answer.
    pub stop: Vec<String>,
    /// The name of a tier.
    pub tier: Option<String>,
    /// The name of a model.
    pub model: Option<String>,
}

/// Why a request cannot be served as it is.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum RequestError {
    /// Nothing to answer.
    #[error("prompt is empty")]
    PromptEmpty,
    /// Too much to answer.
    #[error("prompt, system and history have {chars} characters; the limit is {chars_max}")]
    PromptTooLong {
        /// Its length.
        chars: usize,
        /// The limit.
        chars_max: usize,
    },
    /// More turns than a conversation may have.
    #[error("history has {0} turns; the limit is {HISTORY_TURNS_MAX}")]
    HistoryTurns(usize),
    /// A text to continue has nothing before it.
    #[error("{0} is not for a text that is continued as it is; make it part of the prompt")]
    NoConversation(&'static str),
    /// No tokens, or more than may be asked for.
    #[error("max_tokens is {tokens}; it lies in 1..={tokens_max}")]
    MaxTokens {
        /// What was asked for.
        tokens: u64,
        /// The limit.
        tokens_max: usize,
    },
    /// Not a number in 0..=2.
    #[error("temperature is {0}; it lies in 0..=2")]
    Temperature(f64),
    /// Not a number in (0, 1].
    #[error("top_p is {0}; it is above 0 and at most 1")]
    TopP(f64),
    /// Not exact in JSON.
    #[error("seed is {0}; it is at most {SEED_MAX}")]
    Seed(u64),
    /// Too many stop strings.
    #[error("stop has {0} strings; the limit is {STOP_STRINGS_MAX}")]
    StopCount(usize),
    /// A stop string is empty or too long.
    #[error("stop[{index}] has {chars} characters; it has 1 to {STOP_CHARS_MAX}")]
    StopLength {
        /// Which one.
        index: usize,
        /// Its length.
        chars: usize,
    },
    /// No such tier.
    #[error(transparent)]
    Tier(#[from] UnknownTier),
    /// No name of a model.
    #[error("model has {0} characters; it has 1 to {MODEL_CHARS_MAX}, no control characters")]
    Model(usize),
}

impl RequestError {
    /// The field at fault.
    pub fn field(&self) -> &'static str {
        match self {
            Self::PromptEmpty | Self::PromptTooLong { .. } => "prompt",
            Self::HistoryTurns(_) => "history",
            Self::NoConversation(field) => field,
            Self::MaxTokens { .. } => "max_tokens",
            Self::Temperature(_) => "temperature",
            Self::TopP(_) => "top_p",
            Self::Seed(_) => "seed",
            Self::StopCount(_) | Self::StopLength { .. } => "stop",
            Self::Tier(_) => "tier",
            Self::Model(_) => "model",
        }
    }

    /// The code by which programs tell it from others, the same at every door.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::PromptEmpty => "EMPTY_PROMPT",
            Self::PromptTooLong { .. } => "PROMPT_TOO_LONG",
            Self::Tier(_) => "UNKNOWN_TIER",
            Self::HistoryTurns(_) => "HISTORY_TOO_LONG",
            Self::NoConversation(_) => "INVALID_FIELD",
            Self::MaxTokens { .. }
            | Self::Temperature(_)
            | Self::TopP(_)
            | Self::Seed(_)
            | Self::StopCount(_)
            | Self::StopLength { .. }
            | Self::Model(_) => "OUT_OF_RANGE",
        }
    }
}

impl RawRequest {
    /// Checks every field and fills in what was left out.
    ///
    /// # Errors
    /// The first field that cannot be served, in the order of the struct.
    pub fn validate(self, limits: &Limits) -> Result<InferenceRequest, RequestError> {
        if self.prompt.trim().is_empty() {
            return Err(RequestError::PromptEmpty);
        }
        let before = self.history.iter().map(Turn::text).chain(self.system.as_deref());
        let chars_before: usize = before.map(|text| text.chars().count()).sum();
        let (chars, chars_max) =
            (self.prompt.chars().count() + chars_before, limits.prompt_chars_max);
        if chars > chars_max {
            return Err(RequestError::PromptTooLong { chars, chars_max });
        }
        if self.history.len() > HISTORY_TURNS_MAX {
            return Err(RequestError::HistoryTurns(self.history.len()));
        }
        // A blank system text says nothing and is left out.
        let system = self.system.filter(|text| !text.trim().is_empty());
        if self.form == Form::Completion {
            let found = [("system", system.is_some()), ("history", !self.history.is_empty())];
            if let Some((field, _)) = found.into_iter().find(|(_, is_there)| *is_there) {
                return Err(RequestError::NoConversation(field));
            }
        }
        Ok(InferenceRequest {
            max_tokens: max_tokens(self.max_tokens, limits)?,
            is_length_asked: self.max_tokens.is_some(),
            sampling: Sampling {
                temperature: temperature(self.temperature, limits)?,
                top_p: top_p(self.top_p)?,
                seed: seed(self.seed)?,
            },
            stop: stop(self.stop)?,
            tier: self.tier.as_deref().map(str::parse::<Tier>).transpose()?,
            model: self.model.map(model).transpose()?,
            system,
            history: self.history,
            form: self.form,
            prompt: self.prompt,
        })
    }
}

fn max_tokens(asked: Option<u64>, limits: &Limits) -> Result<usize, RequestError> {
    let Some(tokens) = asked else {
        return Ok(limits.max_tokens_default.min(limits.max_tokens_max));
    };
    let tokens_max = limits.max_tokens_max;
    usize::try_from(tokens)
        .ok()
        .filter(|count| (1..=tokens_max).contains(count))
        .ok_or(RequestError::MaxTokens { tokens, tokens_max })
}

fn temperature(asked: Option<f64>, limits: &Limits) -> Result<f64, RequestError> {
    let value = asked.unwrap_or(limits.temperature_default);
    if !(0.0..=2.0).contains(&value) {
        return Err(RequestError::Temperature(value));
    }
    // Negative zero has no canonical JSON form of its own.
    Ok(value.abs())
}

fn top_p(asked: Option<f64>) -> Result<Option<f64>, RequestError> {
    match asked {
        Some(value) if !(value > 0.0 && value <= 1.0) => Err(RequestError::TopP(value)),
        other => Ok(other),
    }
}

fn seed(asked: Option<u64>) -> Result<Option<u64>, RequestError> {
    match asked {
        Some(seed) if seed > SEED_MAX => Err(RequestError::Seed(seed)),
        other => Ok(other),
    }
}

fn stop(strings: Vec<String>) -> Result<Vec<String>, RequestError> {
    if strings.len() > STOP_STRINGS_MAX {
        return Err(RequestError::StopCount(strings.len()));
    }
    for (index, text) in strings.iter().enumerate() {
        let chars = text.chars().count();
        if !(1..=STOP_CHARS_MAX).contains(&chars) {
            return Err(RequestError::StopLength { index, chars });
        }
    }
    Ok(strings)
}

fn model(name: String) -> Result<String, RequestError> {
    let chars = name.chars().count();
    if !(1..=MODEL_CHARS_MAX).contains(&chars) || name.chars().any(char::is_control) {
        return Err(RequestError::Model(chars));
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn raw() -> RawRequest {
        RawRequest { prompt: "why?".into(), ..RawRequest::default() }
    }

    fn refused_field(raw: RawRequest) -> &'static str {
        raw.validate(&Limits::default()).unwrap_err().field()
    }

    #[test]
    fn a_bare_prompt_gets_the_defaults() {
        let request = raw().validate(&Limits::default()).unwrap();
        assert_eq!(request.max_tokens, 512);
        assert_eq!(request.sampling.temperature, 0.7);
        assert_eq!(request.sampling.top_p, None);
        assert_eq!((request.tier, request.model, request.system), (None, None, None));
    }

    #[test]
    fn an_empty_or_blank_prompt_is_refused() {
        for prompt in ["", " ", "\n\t", "\u{2003}\u{a0}"] {
            assert_eq!(refused_field(RawRequest { prompt: prompt.into(), ..raw() }), "prompt");
        }
    }

    #[test]
    fn lengths_are_counted_in_characters() {
        let limits = Limits { prompt_chars_max: 4, ..Limits::default() };
        let prompt = "\u{1f600}\u{5b57}\u{e9}x";
        assert!(RawRequest { prompt: prompt.into(), ..raw() }.validate(&limits).is_ok());
        let over = RawRequest { prompt: format!("{prompt}x"), ..raw() };
        assert_eq!(
            over.validate(&limits),
            Err(RequestError::PromptTooLong { chars: 5, chars_max: 4 })
        );
        let over = RawRequest { system: Some("\u{5b57}".into()), ..raw() };
        assert_eq!(over.validate(&limits).unwrap_err().field(), "prompt");
        let over = RawRequest { history: vec![Turn::assistant("\u{5b57}\u{e9}")], ..raw() };
        assert_eq!(
            over.validate(&limits),
            Err(RequestError::PromptTooLong { chars: 6, chars_max: 4 })
        );
    }

    #[test]
    fn a_history_has_so_many_turns() {
        let of = |count| RawRequest { history: vec![Turn::user(""); count], ..raw() };
        assert!(of(HISTORY_TURNS_MAX).validate(&Limits::default()).is_ok());
        assert_eq!(refused_field(of(HISTORY_TURNS_MAX + 1)), "history");
    }

    #[test]
    fn a_text_that_is_continued_has_nothing_before_it() {
        let bare = RawRequest { form: Form::Completion, ..raw() };
        assert!(bare.clone().validate(&Limits::default()).is_ok());
        let system = |text: &str| RawRequest { system: Some(text.into()), ..bare.clone() };
        assert_eq!(refused_field(system("be brief")), "system");
        assert!(system(" ").validate(&Limits::default()).is_ok());
        let history = RawRequest { history: vec![Turn::user("a")], ..bare.clone() };
        assert_eq!(refused_field(history), "history");
    }

    #[test]
    fn numbers_out_of_range_are_refused() {
        for tokens in [0, 4097, u64::MAX] {
            assert_eq!(
                refused_field(RawRequest { max_tokens: Some(tokens), ..raw() }),
                "max_tokens"
            );
        }
        for value in [-0.1, 2.0000001, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let raw = RawRequest { temperature: Some(value), ..raw() };
            assert_eq!(refused_field(raw), "temperature", "{value}");
        }
        for value in [0.0, -0.0, -1.0, 1.0000001, f64::NAN, f64::INFINITY] {
            assert_eq!(refused_field(RawRequest { top_p: Some(value), ..raw() }), "top_p");
        }
        assert_eq!(refused_field(RawRequest { seed: Some(1 << 53), ..raw() }), "seed");
    }

    #[test]
    fn numbers_at_the_ends_of_their_ranges_are_served() {
        for temperature in [0.0, -0.0, 2.0] {
            let request = RawRequest { temperature: Some(temperature), ..raw() };
            let request = request.validate(&Limits::default()).unwrap();
            assert!(request.sampling.temperature.is_sign_positive());
        }
        let ends =
            RawRequest { max_tokens: Some(4096), top_p: Some(1.0), seed: Some(SEED_MAX), ..raw() };
        assert!(ends.validate(&Limits::default()).is_ok());
    }

    #[test]
    fn stop_strings_are_few_short_and_not_empty() {
        let stop = |strings: Vec<String>| RawRequest { stop: strings, ..raw() };
        assert!(stop(vec!["\u{5b57}".repeat(64); 8]).validate(&Limits::default()).is_ok());
        assert_eq!(refused_field(stop(vec!["x".into(); 9])), "stop");
        assert_eq!(refused_field(stop(vec!["x".into(), String::new()])), "stop");
        assert_eq!(refused_field(stop(vec!["\u{5b57}".repeat(65)])), "stop");
    }

    #[test]
    fn an_unknown_tier_is_refused_and_the_tiers_are_listed() {
        let raw = RawRequest { tier: Some("cloud".into()), ..raw() };
        let said = raw.validate(&Limits::default()).unwrap_err().to_string();
        assert_eq!(said, "no tier \"cloud\"; tiers are edge|nano, local|medium, pool|large");
    }

    #[test]
    fn a_model_name_has_no_control_characters() {
        for name in ["", "a\nb", "\u{0}"] {
            assert_eq!(refused_field(RawRequest { model: Some(name.into()), ..raw() }), "model");
        }
        let long = RawRequest { model: Some("m".repeat(257)), ..raw() };
        assert_eq!(refused_field(long), "model");
    }

    proptest! {
        #[test]
        fn what_is_served_keeps_the_limits(
            prompt: String, system: Option<String>, turns: Vec<String>, max_tokens: Option<u64>,
            temperature: Option<f64>, top_p: Option<f64>, seed: Option<u64>, stop: Vec<String>,
            tier: Option<String>, model: Option<String>,
        ) {
            let limits = Limits { prompt_chars_max: 20, ..Limits::default() };
            let history = turns.into_iter().map(Turn::assistant).collect();
            let raw = RawRequest {
                prompt, system, history, form: Form::Chat, max_tokens, temperature, top_p, seed,
                stop, tier, model,
            };
            if let Ok(request) = raw.validate(&limits) {
                prop_assert!(!request.prompt.trim().is_empty());
                let chars: usize = request.messages().map(|it| it.text.chars().count()).sum();
                prop_assert!(chars <= 20);
                prop_assert!(request.history.len() <= HISTORY_TURNS_MAX);
                prop_assert!((1..=limits.max_tokens_max).contains(&request.max_tokens));
                prop_assert!((0.0..=2.0).contains(&request.sampling.temperature));
                prop_assert!(request.stop.len() <= 8);
            }
        }
    }
}
