//! Proposals: patterns that are put to the vote of the federation.
//!
//! A proposal is named by the digest of what it says, so that the same proposal is the same one
//! whoever makes it and however often. Its content is in there by its hash: a content that the gates
//! refused need not be kept for the rest to be checked.

pub mod record;

use std::fmt;

use serde_json::{Map, Value, json};

pub use crate::domain::federation::record::{Outcome, Record, RecordError};

use crate::domain::bytes::{self, HexError};
use crate::domain::digest::{Digest, domain_separated_digest};
use crate::domain::harm;
use crate::domain::id::NodeId;
use crate::domain::json::{self, JsonError};
use crate::domain::name::is_plain;
use crate::domain::score::{Score, ScoreError};

/// What `type` says in the canonical form.
const TYPE: &str = "bizra-proposal-v1";

/// Before the digits of an id.
const ID_PREFIX: &str = "prop_";

/// Characters of a pattern's name.
pub const PATTERN_ID_CHARS_MAX: usize = 128;

/// Numbers of an embedding: the largest embedders in use give as many.
pub const DIMENSIONS_MAX: usize = 4096;

/// The largest number of an embedding. Embedders give numbers around one; this keeps whatever is
/// computed from them far from the limits of a double.
pub const VALUE_MAX: f64 = 1e6;

/// Bytes of a content: a pattern is a few sentences.
pub const CONTENT_BYTES_MAX: usize = 16 << 10;

/// Bytes of a proposal in its canonical form: what gossip carries in one message.
pub const PROPOSAL_BYTES_MAX: usize = 64 << 10;

/// The least confidence that is put to the vote, in hundredths: what is less sure stays with the
/// node that saw it.
const ELEVATION_PERCENT: u8 = 95;

/// The least confidence that is put to the vote.
pub fn elevation_min() -> Score {
    Score::try_from(f64::from(ELEVATION_PERCENT) / 100.0).unwrap_or(Score::ONE)
}

/// The digest of what a proposal says: `prop_` and 64 lower-case hex digits as text.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProposalId(pub [u8; 32]);

impl ProposalId {
    /// Reads `prop_` and 64 lower-case hex digits; `None` for anything else.
    pub fn from_text(text: &str) -> Option<Self> {
        bytes::from_hex(text.strip_prefix(ID_PREFIX)?).ok().map(Self)
    }
}

impl fmt::Display for ProposalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{ID_PREFIX}{}", bytes::to_hex(&self.0))
    }
}

impl fmt::Debug for ProposalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A proposal as somebody wrote it: nothing in it is checked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Draft {
    /// The pattern's name.
    pub pattern_id: String,
    /// Where it lies among other patterns.
    pub pattern_embedding: Vec<f64>,
    /// The node that saw it, in hex.
    pub source_node: String,
    /// How sure that node is.
    pub confidence: f64,
    /// What it says.
    pub content: Option<String>,
}

/// A proposal that keeps the rules. It does not change.
#[derive(Clone, Debug, PartialEq)]
pub struct Proposal {
    id: ProposalId,
    pattern_id: String,
    embedding: Vec<f64>,
    source: NodeId,
    confidence: Score,
    content: Option<String>,
    content_hash: Option<Digest>,
    statement: Vec<u8>,
}

/// Why something is no proposal.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ProposalError {
    /// Its pattern has no name of the right form.
    #[error("pattern_id has 1 to {PATTERN_ID_CHARS_MAX} of: letters, digits, . _ : -")]
    PatternId,
    /// It has no embedding, or one that is too long.
    #[error("pattern_embedding has {found} numbers, and 1 to {DIMENSIONS_MAX} are allowed")]
    Dimensions {
        /// How many.
        found: usize,
    },
    /// A number in the embedding is none that may be there.
    #[error("pattern_embedding[{at}] is not a number between -1e6 and 1e6")]
    Embedding {
        /// Which one.
        at: usize,
    },
    /// Its source is no node id.
    #[error("source_node is not a node id: {0}")]
    Source(HexError),
    /// Its confidence is no score.
    #[error("confidence: {0}")]
    Confidence(ScoreError),
    /// It is not sure enough to be put to the vote.
    #[error("a confidence of {found} is below the {least} from which on a pattern is proposed",
        found = .0.value(), least = elevation_min().value())]
    Unsure(Score),
    /// Its content is too long.
    #[error("content has {found} bytes, and at most {CONTENT_BYTES_MAX} are allowed")]
    Content {
        /// How many.
        found: usize,
    },
    /// It is too large as a whole.
    #[error("a proposal has at most {PROPOSAL_BYTES_MAX} bytes, and this one has {found}")]
    TooLarge {
        /// How many, in the canonical form.
        found: usize,
    },
    /// It has no canonical form.
    #[error("not a proposal: {0}")]
    Json(#[from] JsonError),
}

impl ProposalError {
    /// The member of the request that is wrong.
    pub fn field(&self) -> Option<&'static str> {
        match self {
            Self::PatternId => Some("pattern_id"),
            Self::Dimensions { .. } | Self::Embedding { .. } => Some("pattern_embedding"),
            Self::Source(_) => Some("source_node"),
            Self::Confidence(_) | Self::Unsure(_) => Some("confidence"),
            Self::Content { .. } => Some("content"),
            Self::TooLarge { .. } | Self::Json(_) => None,
        }
    }

    /// The code by which programs tell it from others, the same at every door.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::PatternId => "INVALID_PATTERN_ID",
            Self::Dimensions { .. } | Self::Embedding { .. } => "INVALID_EMBEDDING",
            Self::Source(_) => "INVALID_NODE_ID",
            Self::Confidence(_) => "INVALID_SCORE",
            Self::Content { .. } => "CONTENT_TOO_LONG",
            Self::TooLarge { .. } => "PROPOSAL_TOO_LARGE",
            Self::Json(_) => "INVALID_JSON",
            Self::Unsure(_) => "CONFIDENCE_TOO_LOW",
        }
    }
}

impl Proposal {
    /// Checks every rule, cheap ones first.
    ///
    /// # Errors
    /// [`ProposalError`] with the first rule that is broken.
    pub fn new(draft: Draft) -> Result<Self, ProposalError> {
        let Draft { content, .. } = &draft;
        let found = content.as_ref().map_or(0, String::len);
        if found > CONTENT_BYTES_MAX {
            return Err(ProposalError::Content { found });
        }
        let hash = content.as_ref().map(|content| domain_separated_digest(content.as_bytes()));
        Self::with_hash(draft, hash)
    }

    fn with_hash(draft: Draft, content_hash: Option<Digest>) -> Result<Self, ProposalError> {
        let Draft { pattern_id, pattern_embedding, source_node, confidence, content } = draft;
        if !is_pattern_id(&pattern_id) {
            return Err(ProposalError::PatternId);
        }
        let source = NodeId::from_hex(&source_node).map_err(ProposalError::Source)?;
        let confidence = Score::try_from(confidence).map_err(ProposalError::Confidence)?;
        let embedding = checked(pattern_embedding)?;
        if confidence < elevation_min() {
            return Err(ProposalError::Unsure(confidence));
        }
        let statement = json::canonical(&json!({
            "type": TYPE,
            "pattern_id": pattern_id,
            "pattern_embedding": embedding,
            "source_node": source.to_hex(),
            "confidence": confidence,
            "content_hash": content_hash.map(|hash| hash.to_hex()),
        }))?;
        let found = statement.len() + content.as_ref().map_or(0, String::len);
        if found > PROPOSAL_BYTES_MAX {
            return Err(ProposalError::TooLarge { found });
        }
        let id = ProposalId(*domain_separated_digest(&statement).as_bytes());
        Ok(Self { id, pattern_id, embedding, source, confidence, content, content_hash, statement })
    }

    /// The digest of what it says.
    pub fn id(&self) -> ProposalId {
        self.id
    }

    /// The pattern's name.
    pub fn pattern_id(&self) -> &str {
        &self.pattern_id
    }

    /// The node that saw it, as the proposer says.
    pub fn source(&self) -> NodeId {
        self.source
    }

    /// Its canonical form (RFC 8785), which its proposer signs; the content is in there by its hash.
    pub fn statement(&self) -> &[u8] {
        &self.statement
    }

    /// What gates read of it: the texts in it. The numbers of an embedding say nothing to them, and
    /// some would look like those of a credit card.
    pub fn judged(&self) -> Result<Vec<u8>, JsonError> {
        json::canonical(&json!({ "pattern_id": self.pattern_id, "content": self.content }))
    }

    /// Whether harm is found in the name alone, which is kept also of what is refused.
    pub fn has_harmful_name(&self) -> bool {
        let harm = harm::detect(&self.pattern_id, &mut || false);
        harm.is_none_or(|harm| harm.value() > Score::ZERO)
    }

    /// The same without its content, which is then only known by its hash.
    #[must_use]
    pub fn withheld(self) -> Self {
        Self { content: None, ..self }
    }

    /// As an object: what was proposed, and the hash of the content.
    pub fn to_json(&self) -> Value {
        json!({
            "pattern_id": self.pattern_id,
            "pattern_embedding": self.embedding,
            "source_node": self.source.to_hex(),
            "confidence": self.confidence,
            "content": self.content,
            "content_hash": self.content_hash.map(|hash| hash.to_hex()),
        })
    }

    /// Reads what [`Proposal::to_json`] wrote, by the same rules as [`Proposal::new`].
    ///
    /// # Errors
    /// Why it is none, in words.
    pub fn from_json(value: &Value) -> Result<Self, String> {
        let members = value.as_object().ok_or("a proposal is an object")?;
        let text = |name: &str| optional_text(members, name);
        let numbers = members.get("pattern_embedding").and_then(Value::as_array);
        let numbers = numbers.ok_or("pattern_embedding is missing")?;
        let numbers: Option<Vec<f64>> = numbers.iter().map(Value::as_f64).collect();
        let draft = Draft {
            pattern_id: text("pattern_id")?.ok_or("pattern_id is missing")?,
            pattern_embedding: numbers.ok_or("pattern_embedding holds what is no number")?,
            source_node: text("source_node")?.ok_or("source_node is missing")?,
            confidence: members.get("confidence").and_then(Value::as_f64).ok_or("no confidence")?,
            content: text("content")?,
        };
        let hash = text("content_hash")?.map(|hash| Digest::from_hex(&hash)).transpose();
        let hash = hash.map_err(|error| format!("content_hash: {error}"))?;
        let is_withheld = draft.content.is_none();
        let read = if is_withheld { Self::with_hash(draft, hash) } else { Self::new(draft) };
        let read = read.map_err(|error| error.to_string())?;
        if read.content_hash != hash {
            return Err("content_hash is not that of the content".to_owned());
        }
        Ok(read)
    }
}

/// Text of a member that may be absent or null.
fn optional_text(members: &Map<String, Value>, name: &str) -> Result<Option<String>, String> {
    match members.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(format!("{name} is not a text")),
    }
}

/// Letters, digits and what names are joined with, so that a name is safe in paths and logs.
fn is_pattern_id(text: &str) -> bool {
    is_plain(text, b"._:-", PATTERN_ID_CHARS_MAX)
}

fn checked(mut embedding: Vec<f64>) -> Result<Vec<f64>, ProposalError> {
    let found = embedding.len();
    if !(1..=DIMENSIONS_MAX).contains(&found) {
        return Err(ProposalError::Dimensions { found });
    }
    for (at, value) in embedding.iter_mut().enumerate() {
        if !value.is_finite() || value.abs() > VALUE_MAX {
            return Err(ProposalError::Embedding { at });
        }
        // Negative zero is the same number and has no canonical form of its own.
        *value += 0.0;
    }
    Ok(embedding)
}

/// How many proposals a node keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// In all; the oldest that are decided go first. Of the largest it is half a gigabyte, of
    /// ordinary ones some dozens of megabytes.
    pub kept_max: u64,
    /// From one source: a quarter, so that none drives out those of all others.
    pub per_source_max: u64,
    /// Without a decision. A node that decides by itself has a handful.
    pub pending_max: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { kept_max: 4096, per_source_max: 1024, pending_max: 256 }
    }
}

/// Which part of the proposals is asked for. The newest come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// Entries, at most [`PAGE_MAX`].
    pub limit: usize,
    /// Only those that come after this one: the last of the page before. Nothing if it is not kept.
    pub after: Option<ProposalId>,
}

/// Proposals in one page: some hundred kilobytes, and a few megabytes of the largest.
pub const PAGE_MAX: usize = 100;

#[cfg(test)]
pub(crate) mod tests;
