//! What a run measures of its content, at most once each and only when a gate asks.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::str::Utf8Error;
use std::time::Duration;

use serde_json::Value;

use crate::domain::gate::{ContentType, Facts, GateInput};
use crate::domain::harm::{self, Harm};
use crate::domain::ihsan::{self, Assessment};
use crate::domain::json;
use crate::domain::profile::Tier;
use crate::domain::snr::{self, Snr, Unmeasured};

/// JSON of this length can be without enough words and is looked at for that; longer one is read.
const SHORT_BYTES_MAX: usize = 128;

/// A gate that was given up: its tier's time was over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Overdue;

/// Tells whether the time of a gate is over. The clock is read from the first question on: who
/// never asks was done before a clock could have been read.
pub(super) struct Stopwatch<'c> {
    clock: &'c mut dyn FnMut() -> Duration,
    limit: Duration,
    until: Option<Duration>,
}

impl<'c> Stopwatch<'c> {
    pub(super) fn new(clock: &'c mut dyn FnMut() -> Duration, tier: Tier) -> Self {
        Self { clock, limit: tier.limit(), until: None }
    }

    pub(super) fn is_over(&mut self) -> bool {
        let now = (self.clock)();
        now >= *self.until.get_or_insert(now + self.limit)
    }
}

/// One content and what was found in it so far.
pub(super) struct Measures<'i> {
    content: &'i [u8],
    /// The content as text, once somebody asked.
    raw: OnceCell<Result<&'i str, Utf8Error>>,
    /// The content as JSON, once somebody asked for the strings in it.
    json: OnceCell<Option<Value>>,
    content_type: ContentType,
    facts: &'i Facts,
    harm: Option<Harm>,
    ihsan: Option<Assessment>,
}

impl<'i> Measures<'i> {
    pub(super) fn new(input: &'i GateInput, facts: &'i Facts) -> Self {
        let GateInput { content, content_type, .. } = input;
        let (raw, json) = (OnceCell::new(), OnceCell::new());
        let content_type = *content_type;
        Self { content, raw, json, content_type, facts, harm: None, ihsan: None }
    }

    /// Harm in the content, by the patterns of `domain::harm`.
    pub(super) fn harm(&mut self, watch: &mut Stopwatch<'_>) -> Result<&Harm, Overdue> {
        if self.harm.is_none() {
            let text = match self.content_type {
                // Without escapes the strings stand in the content as they are.
                ContentType::Json if !self.has_escapes() => Cow::Borrowed(self.raw()),
                _ => self.text(Keys::Read),
            };
            self.harm = harm::detect(&text, &mut || watch.is_over());
        }
        self.harm.as_ref().ok_or(Overdue)
    }

    /// The signal-to-noise score of the content's text.
    pub(super) fn snr(
        &self,
        watch: &mut Stopwatch<'_>,
    ) -> Result<Result<Snr, Unmeasured>, Overdue> {
        if let Some(words) = self.few_words() {
            return Ok(Err(Unmeasured::TooShort { words }));
        }
        let sources: Vec<&str> = self.facts.sources.iter().map(String::as_str).collect();
        match snr::measure(&self.text(Keys::LeftOut), &sources, &mut || watch.is_over()) {
            Err(Unmeasured::Interrupted) => Err(Overdue),
            measured => Ok(measured),
        }
    }

    /// Every dimension of Ihsan that can be verified from what is known.
    pub(super) fn ihsan(&mut self, watch: &mut Stopwatch<'_>) -> Result<Assessment, Overdue> {
        if let Some(assessment) = self.ihsan {
            return Ok(assessment);
        }
        self.harm(watch)?;
        let Facts { contract, budgets, .. } = self.facts;
        // Read again only for a contract: nothing else asks for the text.
        let text = (!contract.is_empty()).then(|| self.raw());
        let assessment = ihsan::assess(&ihsan::Facts {
            text,
            tokens: self.facts.tokens,
            harm: self.harm.as_ref(),
            contract,
            budgets,
            signature: self.facts.sender.map(|_| true),
            provenance: self.facts.provenance,
            work: Some(&self.facts.work),
        });
        self.ihsan = Some(assessment);
        Ok(assessment)
    }

    /// The content as text.
    ///
    /// # Errors
    /// If it is not UTF-8.
    pub(super) fn utf8(&self) -> Result<&'i str, Utf8Error> {
        *self.raw.get_or_init(|| std::str::from_utf8(self.content))
    }

    /// The same, where the schema gate, which is strict in every profile, has seen that it is UTF-8.
    fn raw(&self) -> &'i str {
        self.utf8().unwrap_or_default()
    }

    fn has_escapes(&self) -> bool {
        self.content.contains(&b'\\')
    }

    /// The number of words in short JSON, at most, if it is plain that they are too few to be
    /// measured, so that it need not be read: letters and digits that follow on something else begin
    /// a word, also one of JSON's own. Text is turned away as quickly by the scorer itself.
    fn few_words(&self) -> Option<usize> {
        if self.content_type == ContentType::Text || self.content.len() > SHORT_BYTES_MAX {
            return None;
        }
        let (mut words, mut is_inside, mut run) = (0, false, 0);
        for byte in self.content {
            let is_part = byte.is_ascii_alphanumeric();
            words += usize::from(is_part && !is_inside);
            is_inside = is_part;
            run = if *byte <= b' ' || *byte == b'"' { 0 } else { run + 1 };
            // To the scorer, a long run is more than one word.
            let is_long = run >= snr::words::BLOB_MIN;
            if words >= snr::WORDS_MIN || is_long || !byte.is_ascii() || *byte == b'\\' {
                return None;
            }
        }
        Some(words)
    }

    /// The text in the content: all of it, or the strings in its JSON, a line each.
    fn text(&self, keys: Keys) -> Cow<'i, str> {
        match self.content_type {
            ContentType::Text => Cow::Borrowed(self.raw()),
            ContentType::Json => {
                let mut text = String::new();
                if let Some(value) = self.json.get_or_init(|| json::parse(self.content).ok()) {
                    strings(value, keys, &mut text);
                }
                Cow::Owned(text)
            }
        }
    }
}

/// Whether the names of members are text too: they may hide something, but are no prose.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Keys {
    Read,
    LeftOut,
}

/// Appends every string in `value`, a line each. It is nested no deeper than the strict reader
/// allows.
fn strings(value: &Value, keys: Keys, text: &mut String) {
    match value {
        Value::String(string) => {
            text.push_str(string);
            text.push('\n');
        }
        Value::Array(items) => items.iter().for_each(|item| strings(item, keys, text)),
        Value::Object(members) => {
            for (key, member) in members {
                if keys == Keys::Read {
                    text.push_str(key);
                    text.push('\n');
                }
                strings(member, keys, text);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
