//! What can be preferred, and the sentence that tells a model.

use std::fmt::{self, Display, Formatter};

use crate::domain::harm;

mod vocabulary;

pub use vocabulary::Word;

/// What a preference is about, in the order in which they are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// The language of answers.
    Language,
    /// Their tone.
    Style,
    /// Their length.
    Verbosity,
    /// How code is written.
    CodeStyle,
    /// Anything else: a note under a name of its own.
    Custom,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 5] =
        [Self::Language, Self::Style, Self::Verbosity, Self::CodeStyle, Self::Custom];

    /// Its name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Language => "language",
            Self::Style => "style",
            Self::Verbosity => "verbosity",
            Self::CodeStyle => "code_style",
            Self::Custom => "custom",
        }
    }

    /// Reads a name, in any case of letters.
    ///
    /// # Errors
    /// [`ChoiceError::Kind`].
    pub fn parse(name: &str) -> Result<Self, ChoiceError> {
        let is_named = |kind: &Self| kind.as_str().eq_ignore_ascii_case(name);
        Self::ALL.into_iter().find(is_named).ok_or(ChoiceError::Kind)
    }

    /// Its values with their sentences; none of notes, whose values are free within their form.
    pub const fn vocabulary(self) -> &'static [Word] {
        match self {
            Self::Language => vocabulary::LANGUAGES,
            Self::Style => vocabulary::STYLES,
            Self::Verbosity => vocabulary::VERBOSITIES,
            Self::CodeStyle => vocabulary::CODE_STYLES,
            Self::Custom => &[],
        }
    }
}

/// The key that older clients give with kinds that have none.
pub const RESPONSE: &str = "response";

/// Characters of the name of a note.
pub const NAME_CHARS_MAX: usize = 32;

/// Characters of a note.
pub const NOTE_CHARS_MAX: usize = 40;

/// Words of a note, and of its name: too few to tell a model what to do.
pub const WORDS_MAX: usize = 3;

/// Marks that a note may have beside letters and digits: names of tools and versions have them. None
/// of them ends a quotation, begins a line or a role, or is part of a chat template's tokens.
const MARKS: &[u8] = b".+#_-";

/// How words begin that speak to a model about its instructions, in the languages in which the detector
/// of harm knows phrases. A note has no use for them.
const TO_A_MODEL: [&str; 15] = [
    "anweisung",
    "disregard",
    "forget",
    "ignor",
    "instruc",
    "instruk",
    "istruzion",
    "jailbreak",
    "negeer",
    "obey",
    "overrid",
    "pretend",
    "prompt",
    "roleplay",
    "vergiss",
];

/// One thing that there is a preference about: values of one place compete.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot {
    kind: Kind,
    /// The name of a note; empty otherwise.
    name: String,
}

impl Slot {
    /// The place of this kind and key.
    ///
    /// # Errors
    /// [`ChoiceError`] if the kind has no such key.
    pub fn parse(kind: Kind, key: Option<&str>) -> Result<Self, ChoiceError> {
        let name = match (kind, key) {
            (Kind::Custom, Some(key)) => note_name(key)?,
            (Kind::Custom, None) => return Err(ChoiceError::Name),
            (_, None | Some(RESPONSE)) => String::new(),
            (_, Some(_)) => return Err(ChoiceError::Key(kind)),
        };
        Ok(Self { kind, name })
    }

    /// What it is about.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The name of a note; `None` of other kinds.
    pub fn key(&self) -> Option<&str> {
        (self.kind == Kind::Custom).then_some(&self.name)
    }
}

/// A value that can be preferred. Whatever is made a choice may be told to a model.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Choice {
    slot: Slot,
    value: String,
}

/// Why something cannot be preferred.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChoiceError {
    /// No such kind.
    #[error("a type of preference is {}", names(&Kind::ALL.map(Kind::as_str)))]
    Kind,
    /// The kind has one place and no keys.
    #[error("{kind} takes no key; leave it out", kind = .0.as_str())]
    Key(Kind),
    /// No name of a note.
    #[error(
        "key names a custom preference: 1 to {NAME_CHARS_MAX} of a-z, 0-9 and _, beginning with a \
         letter, at most {WORDS_MAX} words with _ between"
    )]
    Name,
    /// Not in the vocabulary.
    #[error("{} is {}", .0.as_str(), choices(*.0))]
    Value(Kind),
    /// No note.
    #[error(
        "a custom value has 1 to {NOTE_CHARS_MAX} of: letters a to z, digits, . + # _ - and at most \
         {WORDS_MAX} words with one space between, and begins with a letter or digit"
    )]
    Note,
    /// It reads like instructions, a secret or somebody's data.
    #[error("a preference is not kept whose {field} {reason}")]
    Harmful {
        /// The field at fault.
        field: &'static str,
        /// What it does.
        reason: &'static str,
    },
}

impl ChoiceError {
    /// The field at fault.
    pub fn field(&self) -> &'static str {
        match self {
            Self::Kind => "type",
            Self::Key(_) | Self::Name => "key",
            Self::Value(_) | Self::Note => "value",
            Self::Harmful { field, .. } => field,
        }
    }
}

fn names(names: &[&str]) -> String {
    names.join(", ")
}

fn choices(kind: Kind) -> String {
    let words: Vec<&str> = kind.vocabulary().iter().map(|word| word.value).collect();
    format!("one of {}", names(&words))
}

impl Choice {
    /// What has been a choice before, and was kept as it was.
    pub(super) fn again(slot: &Slot, value: &str) -> Self {
        Self { slot: slot.clone(), value: value.to_owned() }
    }

    /// Reads a value of this place. Values of the vocabulary may be in any case of letters, with hyphen
    /// or space for underscore, and languages may be called by their names.
    ///
    /// # Errors
    /// [`ChoiceError`].
    pub fn parse(slot: Slot, value: &str) -> Result<Self, ChoiceError> {
        let value = match slot.kind {
            Kind::Custom => note(&slot.name, value)?,
            kind => {
                let word = kind.vocabulary().iter().find(|word| word.is_called(value));
                word.ok_or(ChoiceError::Value(kind))?.value.to_owned()
            }
        };
        Ok(Self { slot, value })
    }

    /// What it is a value of.
    pub fn slot(&self) -> &Slot {
        &self.slot
    }

    /// The value, as it is kept.
    pub fn value(&self) -> &str {
        &self.value
    }

    /// How a model is told.
    pub fn sentence(&self) -> Sentence<'_> {
        let word = self.slot.kind.vocabulary().iter().find(|word| word.value == self.value);
        match word {
            Some(word) => Sentence::Ours(word.sentence),
            None => Sentence::Note { name: &self.slot.name, note: &self.value },
        }
    }
}

/// A sentence of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sentence<'c> {
    /// As it stands.
    Ours(&'static str),
    /// With a note in it, quoted.
    Note {
        /// The name of the note.
        name: &'c str,
        /// What it says.
        note: &'c str,
    },
}

impl Display for Sentence<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ours(sentence) => f.write_str(sentence),
            Self::Note { name, note } => write!(f, "Noted as \"{name}\": \"{note}\"."),
        }
    }
}

fn note_name(key: &str) -> Result<String, ChoiceError> {
    let is_allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_');
    let is_name = (1..=NAME_CHARS_MAX).contains(&key.len())
        && key.bytes().all(is_allowed)
        && key.starts_with(|first: char| first.is_ascii_lowercase())
        && key.split('_').count() <= WORDS_MAX;
    if !is_name {
        return Err(ChoiceError::Name);
    }
    harmless("key", &key.replace('_', " "))?;
    Ok(key.to_owned())
}

fn note(name: &str, value: &str) -> Result<String, ChoiceError> {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || MARKS.contains(&byte);
    let is_word = |word: &str| !word.is_empty() && word.bytes().all(is_allowed);
    let is_note = value.len() <= NOTE_CHARS_MAX
        && value.starts_with(|first: char| first.is_ascii_alphanumeric())
        && value.split(' ').all(is_word)
        && value.split(' ').count() <= WORDS_MAX;
    if !is_note {
        return Err(ChoiceError::Note);
    }
    // Alone, as a model is told, and as it may read that: marks between words are like spaces.
    harmless("value", value)?;
    harmless("value", &Sentence::Note { name, note: value }.to_string())?;
    let apart = |text: &str| text.replace(['_', '-', '.', '+', '#'], " ");
    harmless("value", &format!("{} {}", apart(name), apart(value)))?;
    Ok(value.to_owned())
}

/// Refuses what the detector finds, however little, and words that a note has no use for. Letters are
/// ASCII here, so nothing can look like another word.
fn harmless(field: &'static str, text: &str) -> Result<(), ChoiceError> {
    let refused = |reason| Err(ChoiceError::Harmful { field, reason });
    let words = text.split(|char: char| !char.is_ascii_alphabetic());
    let mut words = words.map(str::to_ascii_lowercase);
    if words.any(|word| TO_A_MODEL.iter().any(|beginning| word.starts_with(beginning))) {
        return refused("speaks to a model about its instructions");
    }
    match harm::detect(text, &mut || false) {
        Some(found) if found.total() == 0 => Ok(()),
        Some(found) => refused(meaning(&found)),
        // It gives up when it is told to, which it is not.
        None => refused("could not be judged"),
    }
}

fn meaning(found: &harm::Harm) -> &'static str {
    match found.findings().first().map(|finding| finding.kind.category()) {
        Some(harm::Category::Secrets) => "looks like a secret",
        Some(harm::Category::Personal) => "looks like data of a person",
        Some(harm::Category::Injection) | None => "reads like instructions to a model",
    }
}
