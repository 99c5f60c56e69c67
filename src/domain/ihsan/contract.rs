//! A declared contract, checked clause by clause from the text alone.

use serde_json::Value;

use crate::domain::json;

/// Clauses in one contract.
pub const CLAUSES_MAX: usize = 32;

/// Keys in one clause, and characters in a key or a sequence.
pub const KEYS_MAX: usize = 64;

/// One thing that is declared of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Clause {
    /// It is one I-JSON value, with nothing around it.
    Json,
    /// It is a JSON object that has these members.
    Keys(Vec<String>),
    /// It has at most so many characters (Unicode scalar values).
    CharsMax(usize),
    /// It has at most so many tokens, as its model counted them.
    TokensMax(u64),
    /// This sequence is not in it.
    Excludes(String),
    /// It has something to read, and ends a sentence.
    Sentence,
    /// Its letters are of this script.
    Script(Script),
}

/// Letters that a text is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Script {
    /// Latin with all its marks.
    Latin,
    /// Arabic.
    Arabic,
    /// Cyrillic.
    Cyrillic,
    /// Greek.
    Greek,
    /// Hebrew.
    Hebrew,
    /// Chinese characters, and Japanese syllables among them.
    Han,
}

impl Script {
    /// Whether a letter belongs to it.
    fn has(self, c: char) -> bool {
        match self {
            Self::Latin => matches!(c, 'A'..='Z' | 'a'..='z' | '\u{aa}' | '\u{ba}'
                | '\u{c0}'..='\u{24f}' | '\u{1e00}'..='\u{1eff}'),
            Self::Arabic => matches!(c, '\u{600}'..='\u{6ff}' | '\u{750}'..='\u{77f}'
                | '\u{8a0}'..='\u{8ff}' | '\u{fb50}'..='\u{fdff}' | '\u{fe70}'..='\u{fefe}'),
            Self::Cyrillic => matches!(c, '\u{400}'..='\u{52f}'),
            Self::Greek => matches!(c, '\u{370}'..='\u{3ff}' | '\u{1f00}'..='\u{1fff}'),
            Self::Hebrew => matches!(c, '\u{590}'..='\u{5ff}' | '\u{fb1d}'..='\u{fb4f}'),
            Self::Han => matches!(c, '\u{3005}'..='\u{3007}' | '\u{3040}'..='\u{30ff}'
                | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{f900}'..='\u{faff}'
                | '\u{20000}'..='\u{323af}'),
        }
    }
}

/// Foreign letters among a hundred that a text may have: names and quotations.
const FOREIGN_PERCENT_MAX: usize = 10;

/// Whether a clause holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It does.
    Kept,
    /// It does not.
    Broken,
    /// A fact is missing that it takes.
    Unknown,
}

/// A text, read as JSON at most once.
#[derive(Debug)]
pub struct Text<'a> {
    text: &'a str,
    tokens: Option<u64>,
    json: Option<Option<Value>>,
}

impl<'a> Text<'a> {
    /// A text, and its tokens if they were counted.
    pub fn new(text: &'a str, tokens: Option<u64>) -> Self {
        Self { text, tokens, json: None }
    }

    fn json(&mut self) -> Option<&Value> {
        let text = self.text;
        self.json.get_or_insert_with(|| json::parse(text.as_bytes()).ok()).as_ref()
    }
}

/// Why a contract is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ContractError {
    /// It has too many clauses.
    #[error("a contract has at most {CLAUSES_MAX} clauses")]
    Clauses,
    /// A clause has no key, or too many.
    #[error("a clause has 1 to {KEYS_MAX} keys")]
    Keys,
    /// It excludes the empty sequence, which is in every text.
    #[error("an excluded sequence is not empty")]
    Empty,
}

/// Checks that a contract can be kept and is bounded.
///
/// # Errors
/// [`ContractError`] says what is wrong.
pub fn validate(contract: &[Clause]) -> Result<(), ContractError> {
    if contract.len() > CLAUSES_MAX {
        return Err(ContractError::Clauses);
    }
    contract.iter().try_for_each(|clause| match clause {
        Clause::Keys(keys) if !(1..=KEYS_MAX).contains(&keys.len()) => Err(ContractError::Keys),
        Clause::Excludes(sequence) if sequence.is_empty() => Err(ContractError::Empty),
        _ => Ok(()),
    })
}

impl Clause {
    /// Checks it against a text.
    pub fn check(&self, text: &mut Text<'_>) -> Outcome {
        let is_kept = match self {
            Self::Json => text.json().is_some(),
            Self::Keys(keys) => text
                .json()
                .and_then(Value::as_object)
                .is_some_and(|members| keys.iter().all(|key| members.contains_key(key))),
            Self::CharsMax(max) => text.text.chars().nth(*max).is_none(),
            Self::TokensMax(max) => match text.tokens {
                Some(tokens) => tokens <= *max,
                None => return Outcome::Unknown,
            },
            Self::Excludes(sequence) => !text.text.contains(sequence.as_str()),
            Self::Sentence => is_sentence(text.text),
            Self::Script(script) => is_written_in(text.text, *script),
        };
        if is_kept { Outcome::Kept } else { Outcome::Broken }
    }
}

/// Ends with a mark that ends sentences, apart from what closes quotations and brackets, and has a
/// letter or digit before it.
fn is_sentence(text: &str) -> bool {
    let is_closing = |c: char| {
        matches!(
            c,
            '"' | '\'' | ')' | ']' | '}' | '\u{201d}' | '\u{2019}' | '\u{bb}' | '*' | '_' | '`'
        )
    };
    let body = text.trim_end().trim_end_matches(is_closing);
    let ends = |c: char| {
        matches!(
            c,
            '.' | '!'
                | '?'
                | '\u{2026}'
                | '\u{3002}'
                | '\u{ff01}'
                | '\u{ff1f}'
                | '\u{61f}'
                | '\u{6d4}'
                | '\u{964}'
        )
    };
    body.ends_with(ends) && body.chars().any(char::is_alphanumeric)
}

/// Has letters, and at most a tenth of them are of another script.
fn is_written_in(text: &str, script: Script) -> bool {
    let (mut letters, mut foreign) = (0usize, 0usize);
    for c in text.chars().filter(|c| c.is_alphabetic()) {
        letters += 1;
        foreign += usize::from(!script.has(c));
    }
    letters > 0 && foreign.saturating_mul(100) <= letters.saturating_mul(FOREIGN_PERCENT_MAX)
}
