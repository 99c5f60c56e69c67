//! What is asked of patterns.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::embedding::EmbedderId;
use crate::domain::pattern::view::Near;
use crate::domain::pattern::{Lesson, PatternError, Position, Source, Tags};
use crate::http::openapi::forms::{
    PublicKeyHex, SignatureHex, SimilarityNumber, SourceText, TagText,
};

/// Whose name a pattern has that was taught without one.
const SOURCE_DEFAULT: &str = "local";

/// What gives vectors. Those of different embedders are never compared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(examples(json!({ "name": "all-MiniLM-L6-v2", "version": 1, "dimension": 384 })))]
pub(in crate::http) struct Embedder {
    /// Its name.
    #[schema(min_length = 1)]
    name: String,
    /// Its version: another one gives other vectors.
    version: u32,
    /// How many numbers it gives.
    #[schema(minimum = 1)]
    dimension: usize,
}

impl From<&EmbedderId> for Embedder {
    fn from(id: &EmbedderId) -> Self {
        Self { name: id.name.clone(), version: id.version, dimension: id.dimension }
    }
}

/// Something to learn.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = PatternLesson, examples(json!({
    "content": "Ask before you delete.", "tags": ["style"], "source": "laptop",
})))]
pub(in crate::http) struct LessonRequest {
    /// What it says; as many bytes of UTF-8 as characters are allowed here.
    #[schema(min_length = 1)]
    content: String,
    /// What it is about.
    #[serde(default)]
    #[schema(value_type = Vec<TagText>)]
    tags: Vec<String>,
    /// Who says so; `local` unless given.
    #[schema(value_type = Option<SourceText>)]
    source: Option<String>,
    /// Where it lies, as `embedder` sees it. Without it the node embeds the content.
    #[schema(min_items = 1)]
    embedding: Option<Vec<f64>>,
    /// Whose numbers `embedding` has; as many as its dimension.
    embedder: Option<Embedder>,
}

impl LessonRequest {
    pub(super) fn read(self) -> Result<Lesson, PatternError> {
        let position = position(self.embedding, self.embedder)?;
        let source = Source::new(self.source.as_deref().unwrap_or(SOURCE_DEFAULT))?;
        Lesson::new(&self.content, Tags::new(self.tags)?, source, position)
    }
}

/// A position, if one is given.
fn position(
    embedding: Option<Vec<f64>>,
    embedder: Option<Embedder>,
) -> Result<Option<Position>, PatternError> {
    match (embedding, embedder) {
        (None, None) => Ok(None),
        (Some(numbers), Some(Embedder { name, version, dimension })) => {
            Position::new(EmbedderId { name, version, dimension }, &numbers).map(Some)
        }
        (Some(_), None) | (None, Some(_)) => Err(PatternError::Either),
    }
}

/// Several things to learn.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = PatternBatch, examples(json!({ "patterns": [{ "content": "Ask first." }] })))]
pub(in crate::http) struct BatchRequest {
    /// They, in order.
    #[schema(min_items = 1)]
    pub(super) patterns: Vec<LessonRequest>,
}

/// What to recall: near a text, or near an embedding with its embedder.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = PatternRecallRequest, examples(json!({
    "query": "may I remove it?", "limit": 5, "tags": ["style"],
})))]
pub(in crate::http) struct RecallRequest {
    /// A text, which the node embeds.
    #[schema(min_length = 1)]
    pub(super) query: Option<String>,
    /// Where to look, as `embedder` sees it.
    #[schema(min_items = 1)]
    embedding: Option<Vec<f64>>,
    /// Whose numbers `embedding` has. Patterns of other embedders are not looked at.
    embedder: Option<Embedder>,
    /// At most so many.
    #[schema(minimum = 1)]
    pub(super) limit: Option<usize>,
    /// None that is less similar.
    #[schema(value_type = Option<SimilarityNumber>)]
    pub(super) min_similarity: Option<f64>,
    /// Only those with all of these tags.
    #[serde(default)]
    #[schema(value_type = Vec<TagText>)]
    pub(super) tags: Vec<String>,
    /// Only those that this one taught.
    #[schema(value_type = Option<SourceText>)]
    pub(super) source: Option<String>,
    /// Only those that are elevated, or only those that are not.
    pub(super) elevated: Option<bool>,
}

impl RecallRequest {
    pub(super) fn near(&mut self) -> Result<Near, PatternError> {
        let position = position(self.embedding.take(), self.embedder.take())?;
        match (self.query.take(), position) {
            (Some(text), None) => Ok(Near::Text(text.into())),
            (None, Some(position)) => Ok(Near::Position(position)),
            _ => Err(PatternError::Either),
        }
    }
}

/// Proof of who gives a feedback.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = FeedbackSignature)]
pub(in crate::http) struct SignedPart {
    /// The key.
    #[schema(value_type = PublicKeyHex)]
    pub(super) public_key: String,
    /// Above that of the key's last feedback on this pattern.
    #[schema(minimum = 1)]
    pub(super) number: u64,
    /// Over `bizra-pattern-feedback-v1:` and the canonical form of type, pattern, positive and number.
    #[schema(value_type = SignatureHex)]
    pub(super) signature: String,
}

/// What somebody says of a pattern.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = PatternFeedback, examples(json!({ "positive": true })))]
pub(in crate::http) struct FeedbackRequest {
    /// Whether it speaks for the pattern.
    pub(super) positive: bool,
    /// Who says so. Without it the feedback moves the confidence and speaks for no elevation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) signed: Option<SignedPart>,
}

/// What the node is to sign.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = FeedbackSignRequest, examples(json!({ "positive": true })))]
pub(in crate::http) struct SignRequest {
    /// Whether it speaks for the pattern.
    pub(super) positive: bool,
    /// Above that of the last one; the time in milliseconds unless given.
    #[schema(minimum = 1)]
    pub(super) number: Option<u64>,
}
