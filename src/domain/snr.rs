//! Signal to noise of a text: a score in [0, 1] for English prose, computed from the text alone
//! or with the sources it claims to rest on.
//!
//! The score is a weighted geometric mean of signal, diversity, grounding and balance, less half
//! the noise. It tells prose from what only looks like it (random letters, lists of words, words in
//! any order, repetition); it does not tell true from false, nor good from harmful. Everything is
//! computed with integers and, in a fixed order, with the four operations of IEEE doubles and the
//! logarithm and exponential of `libm`, so that every platform gives the same bits.

use serde_json::{Value, json};

use super::score::Score;

pub mod classes;
mod diversity;
mod grounding;
mod letters;
mod noise;
pub mod tables;
mod tally;
pub mod words;

#[cfg(test)]
mod tests;

/// Id of this scorer in receipts.
pub const SCORER: &str = "snr-en";

/// Fewest words that anything can be said about.
pub const WORDS_MIN: usize = 12;

/// Version of the scorer, which changes with its rules and with its tables.
pub fn version() -> &'static str {
    tables::version()
}

/// A measurement.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Snr {
    /// The score.
    pub score: Score,
    /// How much the text reads like English: its letters, its function words, its word order.
    pub signal: Score,
    /// How many different words there are in windows of fifty.
    pub diversity: Score,
    /// Share of sentences that the sources support; `None` without sources.
    pub grounding: Option<Score>,
    /// Whether words, names and sentences are in proportion.
    pub balance: Score,
    /// How much is repeated, invisible, disguised or encoded.
    pub noise: Score,
    /// Words in the text.
    pub words: usize,
    /// What the parts were made of.
    pub figures: Figures,
}

/// The figures behind the parts.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Figures {
    /// Bits per letter by the trigrams of English.
    pub letter_bits: f64,
    /// Share of function words among the words.
    pub function_share: f64,
    /// Bits per pair by which the order of words and marks is likelier than chance.
    pub order_bits: f64,
    /// Mean share of different words in windows of fifty.
    pub type_token: f64,
    /// Share of natural words among words, names and numbers.
    pub natural_share: f64,
    /// Mean words per sentence.
    pub sentence_words: f64,
    /// Share of words in sentences that came before.
    pub repeated: f64,
    /// Share of the words of distinct sentences in runs of five that came before.
    pub recurring: f64,
    /// Invisible characters and misplaced marks, for every five letters.
    pub invisible: f64,
    /// Words that mix scripts which look alike, and disguised letters, per word.
    pub alike: f64,
    /// What looks like encoded data, in words of eight characters, per word.
    pub blob: f64,
    /// Share of spans that are more, or less, compressible than prose.
    pub odd_spans: f64,
}

impl Snr {
    /// Whether sources were given, and grounding is part of the score.
    pub const fn is_grounded(&self) -> bool {
        self.grounding.is_some()
    }

    /// The parts and figures, for a receipt: a small object whose numbers are in canonical form.
    pub fn evidence(&self) -> Value {
        let figures = &self.figures;
        json!({
            "balance": number(self.balance.value()),
            "diversity": number(self.diversity.value()),
            "figures": {
                "alike": number(figures.alike),
                "blob": number(figures.blob),
                "function_share": number(figures.function_share),
                "invisible": number(figures.invisible),
                "letter_bits": number(figures.letter_bits),
                "natural_share": number(figures.natural_share),
                "odd_spans": number(figures.odd_spans),
                "order_bits": number(figures.order_bits),
                "recurring": number(figures.recurring),
                "repeated": number(figures.repeated),
                "sentence_words": number(figures.sentence_words),
                "type_token": number(figures.type_token),
            },
            "grounding": self.grounding.map(|grounding| number(grounding.value())),
            "noise": number(self.noise.value()),
            "signal": number(self.signal.value()),
            "words": self.words,
        })
    }
}

/// A whole number without a fraction, as canonical JSON has it, so that it is read back as it was.
fn number(value: f64) -> Value {
    let whole = value as i64;
    if whole as f64 == value { Value::from(whole) } else { Value::from(value) }
}

/// Why there is no measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unmeasured {
    /// Nothing can be said about so few words.
    #[error("{words} words are too few to measure")]
    TooShort {
        /// Words in the text, at most: in a short text, signs that stand alone count as words.
        words: usize,
    },
    /// The tables are for English, and this is something else.
    #[error("the text is not in English")]
    UnknownLanguage,
    /// The time was up before the measurement was done.
    #[error("the time for measuring was up")]
    Interrupted,
}

/// Measures `text`, with `sources` if there are any that say something.
///
/// Asks `is_over` after every few KiB of text or sources. Time is linear in the length of both;
/// memory is bounded by a few MiB.
///
/// # Errors
///
/// When there is nothing to measure, when the text is not English, when `is_over` says so. Letters
/// that are no language at all are no error: they have a low score.
pub fn measure(
    text: &str,
    sources: &[&str],
    is_over: &mut dyn FnMut() -> bool,
) -> Result<Snr, Unmeasured> {
    if let Some(words) = obviously_few(text) {
        return Err(Unmeasured::TooShort { words });
    }
    let interrupted = |_| Unmeasured::Interrupted;
    let has_sources = sources.iter().any(|source| !source.trim_ascii().is_empty());
    let index = match has_sources {
        true => Some(grounding::Index::of(sources, is_over).map_err(interrupted)?),
        false => None,
    };
    let tally = tally::Tally::of(text, index.as_ref(), is_over).map_err(interrupted)?;
    if tally.measurable() < WORDS_MIN {
        return Err(Unmeasured::TooShort { words: tally.measurable() });
    }
    if tally.is_of_another_language() {
        return Err(Unmeasured::UnknownLanguage);
    }
    Ok(score(&tally))
}

/// Longest text, in bytes, that is looked at for being too short before anything else.
const GLANCE: usize = 256;

/// The number of words, if it is certainly too small: one pass without branches over a text of a
/// few bytes of ASCII. Counted is the most that there can be: signs may join words, and a long run
/// counts as several.
fn obviously_few(text: &str) -> Option<usize> {
    if text.len() > GLANCE || !text.is_ascii() {
        return None;
    }
    let (mut starts, mut run, mut longest) = (0, 0, 0);
    for byte in text.bytes() {
        let is_space = byte <= b' ';
        starts += usize::from(((run == 0) & !is_space) | (byte == b'-') | (byte == b'/'));
        run = if is_space { 0 } else { run + 1 };
        longest = longest.max(run);
    }
    let parts = if longest < words::BLOB_MIN { 0 } else { text.len() / 8 };
    (starts + parts < WORDS_MIN).then_some(starts)
}

/// 0 up to `low`, 1 from `high` on, a line between. With `low` above `high` it falls.
fn ramp(value: f64, low: f64, high: f64) -> f64 {
    ((value - low) / (high - low)).clamp(0.0, 1.0)
}

/// Rounded to 1e-4, so that it is short as text.
fn rounded(value: f64) -> f64 {
    // Adding zero turns a negative zero, which has no canonical form, into a positive one.
    libm::floor(value * 1e4 + 0.5) / 1e4 + 0.0
}

fn to_score(value: f64) -> Score {
    Score::try_from(rounded(value.clamp(0.0, 1.0))).unwrap_or(Score::ZERO)
}

fn score(tally: &tally::Tally) -> Snr {
    let figures = tally.figures();
    let signal = ramp(figures.letter_bits, 5.2, 4.2)
        * ramp(figures.function_share, 0.02, 0.16)
        * ramp(figures.order_bits, -0.8, 0.0);
    let diversity = ramp(figures.type_token, 0.25, 0.5);
    let balance = ramp(figures.natural_share, 0.2, 0.5)
        * ramp(figures.function_share, 0.95, 0.8)
        * ramp(figures.sentence_words, 1.0, 4.0);
    let noise = noise::noise(&figures);
    let parts = [
        (0.30, Some(to_score(signal))),
        (0.25, Some(to_score(diversity))),
        (0.25, tally.grounding().map(to_score)),
        (0.20, Some(to_score(balance))),
    ];
    let noise = to_score(noise);
    Snr {
        score: to_score(mean(&parts) - noise.value() / 2.0),
        signal: to_score(signal),
        diversity: to_score(diversity),
        grounding: tally.grounding().map(to_score),
        balance: to_score(balance),
        noise,
        words: tally.words(),
        figures,
    }
}

/// The weighted geometric mean of the parts there are.
fn mean(parts: &[(f64, Option<Score>)]) -> f64 {
    let (mut sum, mut weights) = (0.0, 0.0);
    for (weight, part) in parts {
        if let Some(part) = part {
            if *part == Score::ZERO {
                return 0.0;
            }
            sum += weight * libm::log(part.value());
            weights += weight;
        }
    }
    libm::exp(sum / weights)
}
