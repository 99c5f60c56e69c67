//! Patterns: short texts that the node has learned, each with where it lies among others by meaning.
//!
//! A pattern is named by the digest of what it says, its tags and its embedder, so that learning the
//! same twice is learning it once, whoever asks and however often. What is learned, recalled and let
//! go follows rules that know no store and no clock: [`ledger::Ledger`] decides, the index finds, and
//! what must be written comes out as rows.

pub mod confidence;
mod error;
pub mod feedback;
pub mod index;
pub mod ledger;
#[cfg(feature = "usearch")]
pub mod mirror;
mod quantise;
pub mod record;
pub mod view;

use std::fmt;
use std::sync::Arc;

use serde_json::json;

pub use crate::domain::pattern::confidence::Confidence;
pub use crate::domain::pattern::error::PatternError;
pub use crate::domain::pattern::record::{Elevation, Pattern, Signer};

use crate::domain::bytes;
use crate::domain::digest::domain_separated_digest;
use crate::domain::embedding::EmbedderId;
use crate::domain::json;
use crate::domain::name::is_plain;

/// Before the digits of an id.
const ID_PREFIX: &str = "pat_";

/// What `type` says in the form whose digest is the id.
const TYPE: &str = "bizra-pattern-v1";

/// Bytes of a content: some pages of text.
pub const CONTENT_BYTES_MAX: usize = 32 << 10;

/// Tags of one pattern.
pub const TAGS_MAX: usize = 16;

/// Characters of a tag.
pub const TAG_CHARS_MAX: usize = 64;

/// Characters of a source's name.
pub const SOURCE_CHARS_MAX: usize = 128;

/// Numbers of an embedding: the largest embedders in use give as many.
pub const DIMENSIONS_MAX: usize = 4096;

/// Characters of an embedder's name.
pub const EMBEDDER_CHARS_MAX: usize = 128;

/// Patterns learned with one message: each is looked for among all others before.
pub const BATCH_MAX: usize = 256;

/// Patterns recalled at once.
pub const RECALL_MAX: usize = 100;

/// The least similarity of what is recalled, unless told otherwise.
pub const SIMILARITY_DEFAULT: f32 = 0.5;

/// From this similarity on two patterns with the same tags are one.
pub const TWIN_SIMILARITY: f32 = 0.98;

/// Names a pattern: the first 16 bytes of the digest of what it says; `pat_` and 32 lower-case hex
/// digits as text.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PatternId(pub [u8; 16]);

impl PatternId {
    /// Reads `pat_` and 32 lower-case hex digits; `None` for anything else.
    pub fn from_text(text: &str) -> Option<Self> {
        bytes::from_hex(text.strip_prefix(ID_PREFIX)?).ok().map(Self)
    }
}

impl fmt::Display for PatternId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{ID_PREFIX}{}", bytes::to_hex(&self.0))
    }
}

impl fmt::Debug for PatternId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Where a text lies among others, as one embedder sees it: a vector of length 1.
#[derive(Clone, Debug, PartialEq)]
pub struct Position {
    embedder: Arc<EmbedderId>,
    unit: Arc<[f32]>,
}

impl Position {
    /// The direction of `numbers`, which `embedder` gave.
    ///
    /// # Errors
    /// [`PatternError`] if the embedder is none, or the numbers are not as many as it gives, not
    /// finite, or all zero.
    pub fn new(embedder: EmbedderId, numbers: &[f64]) -> Result<Self, PatternError> {
        let is_named = (1..=EMBEDDER_CHARS_MAX).contains(&embedder.name.chars().count())
            && !embedder.name.chars().any(char::is_control);
        if !is_named || !(1..=DIMENSIONS_MAX).contains(&embedder.dimension) {
            return Err(PatternError::Embedder);
        }
        if numbers.len() != embedder.dimension {
            let expected = embedder.dimension;
            return Err(PatternError::Dimension { found: numbers.len(), expected });
        }
        if let Some(at) = numbers.iter().position(|number| !number.is_finite()) {
            return Err(PatternError::Number { at });
        }
        // The largest first, so that no square of any double overflows or is lost.
        let largest = numbers.iter().fold(0.0_f64, |largest, number| largest.max(number.abs()));
        if largest == 0.0 {
            return Err(PatternError::Zero);
        }
        let scaled = numbers.iter().map(|number| number / largest);
        let length = libm::sqrt(scaled.clone().map(|number| number * number).sum());
        #[expect(clippy::cast_possible_truncation, reason = "numbers of at most 1")]
        let unit = scaled.map(|number| (number / length) as f32).collect();
        Ok(Self { embedder: Arc::new(embedder), unit })
    }

    /// As [`Position::new`], of what an embedder of this node gave.
    ///
    /// # Errors
    /// As [`Position::new`].
    pub fn of_embedded(embedder: &EmbedderId, numbers: &[f32]) -> Result<Self, PatternError> {
        let numbers: Vec<f64> = numbers.iter().map(|number| f64::from(*number)).collect();
        Self::new(embedder.clone(), &numbers)
    }

    /// Whose view it is.
    pub fn embedder(&self) -> &Arc<EmbedderId> {
        &self.embedder
    }

    /// The vector, of length 1.
    pub fn unit(&self) -> &Arc<[f32]> {
        &self.unit
    }
}

/// A set of tags: sorted, each once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tags(Box<[Box<str>]>);

impl Tags {
    /// Sorts them.
    ///
    /// # Errors
    /// [`PatternError`] for too many, or for one that is none.
    pub fn new(tags: Vec<String>) -> Result<Self, PatternError> {
        if tags.len() > TAGS_MAX {
            return Err(PatternError::Tags { found: tags.len() });
        }
        let is_tag = |tag: &String| {
            let is_short = tag.len() <= 4 * TAG_CHARS_MAX && tag.chars().count() <= TAG_CHARS_MAX;
            !tag.is_empty() && is_short && !tag.chars().any(char::is_control)
        };
        if !tags.iter().all(is_tag) {
            return Err(PatternError::Tag);
        }
        let mut tags: Vec<Box<str>> = tags.into_iter().map(String::into_boxed_str).collect();
        tags.sort_unstable();
        tags.dedup();
        Ok(Self(tags.into()))
    }

    /// They, in order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|tag| &**tag)
    }

    /// Whether each of `others` is among them.
    pub fn hold(&self, others: &Self) -> bool {
        others.0.iter().all(|tag| self.0.binary_search(tag).is_ok())
    }
}

/// Who taught a pattern: a name that is safe in paths and logs.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Source(Arc<str>);

impl Source {
    /// Reads it.
    ///
    /// # Errors
    /// [`PatternError::Source`] for other than 1 to [`SOURCE_CHARS_MAX`] letters, digits, `.`, `_`,
    /// `:` and `-`.
    pub fn new(text: &str) -> Result<Self, PatternError> {
        if is_plain(text, b"._:-", SOURCE_CHARS_MAX) {
            Ok(Self(text.into()))
        } else {
            Err(PatternError::Source)
        }
    }

    /// Its name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What is to be learned: every value keeps its rules.
#[derive(Clone, Debug, PartialEq)]
pub struct Lesson {
    content: Arc<str>,
    tags: Tags,
    source: Source,
    position: Option<Position>,
}

impl Lesson {
    /// A text with its tags, and who says so. Without a position the node embeds the text.
    ///
    /// # Errors
    /// [`PatternError::Content`].
    pub fn new(
        content: &str,
        tags: Tags,
        source: Source,
        position: Option<Position>,
    ) -> Result<Self, PatternError> {
        let found = content.len();
        if !(1..=CONTENT_BYTES_MAX).contains(&found) {
            return Err(PatternError::Content { found });
        }
        Ok(Self { content: content.into(), tags, source, position })
    }

    /// What it says.
    pub fn content(&self) -> &Arc<str> {
        &self.content
    }

    /// Where it lies, if that is known.
    pub fn position(&self) -> Option<&Position> {
        self.position.as_ref()
    }

    /// The same at this position.
    #[must_use]
    pub fn at(self, position: Position) -> Self {
        Self { position: Some(position), ..self }
    }

    /// The id that it has as seen by `embedder`, and that of its being said by its source.
    ///
    /// # Errors
    /// None: texts and whole numbers have a canonical form.
    pub fn ids(&self, embedder: &EmbedderId) -> Result<(PatternId, Observation), PatternError> {
        let said = json::canonical(&json!({
            "type": TYPE,
            "content": &*self.content,
            "tags": self.tags.iter().collect::<Vec<_>>(),
            "embedder": { "name": embedder.name, "version": embedder.version,
                "dimension": embedder.dimension },
        }))?;
        let id = PatternId(first_half(&said));
        let observed = [&id.0[..], self.source.as_str().as_bytes()].concat();
        Ok((id, Observation(first_half(&observed))))
    }
}

/// That a source has said this content. The same source saying it again is no further evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Observation(pub [u8; 16]);

fn first_half(bytes: &[u8]) -> [u8; 16] {
    let mut half = [0; 16];
    half.copy_from_slice(&domain_separated_digest(bytes).as_bytes()[..16]);
    half
}

/// A pattern and what it says.
#[derive(Clone, Debug, PartialEq)]
pub struct Remembered {
    /// The pattern.
    pub pattern: Arc<Pattern>,
    /// What it says.
    pub content: String,
}

/// Which part of the patterns is asked for. The newest come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// Entries, at most [`PAGE_MAX`].
    pub limit: usize,
    /// Only those that come after this one: the last of the page before. Nothing if it is not held.
    pub after: Option<PatternId>,
}

/// Patterns in one page: three megabytes of the largest.
pub const PAGE_MAX: usize = 100;

/// How many patterns are held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// In all. Each takes two kilobytes of memory at 384 dimensions.
    pub patterns_max: u64,
    /// Bytes in all, as [`Pattern::bytes`] counts them.
    pub bytes_max: u64,
    /// Of one source: no one drives out those of all others.
    pub source_patterns_max: u64,
    /// Bytes of one source.
    pub source_bytes_max: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            patterns_max: 100_000,
            bytes_max: 512 << 20,
            source_patterns_max: 50_000,
            source_bytes_max: 256 << 20,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
