//! What is told of patterns.

use std::sync::Arc;

use serde::Serialize;
use utoipa::ToSchema;

use super::requests::Embedder;
use crate::domain::embedding::EmbedderId;
use crate::domain::envelope::timestamp_text;
use crate::domain::pattern::ledger::{Learned, Learning};
use crate::domain::pattern::view::Figures;
use crate::domain::pattern::{Elevation, Pattern, PatternError, PatternId};
use crate::http::federation::Proposed;
use crate::http::openapi::forms::{
    LessonOutcomeName, ModeName, PatternIdText, ProposalIdText, ScoreNumber, SimilarityNumber,
    SourceText, TagText, TimeText,
};
use crate::messages::pattern_memory::Recalled;

/// What was learned.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PatternLearned)]
pub(in crate::http) struct LearnedAnswer {
    /// The pattern that it is now; null if it was refused.
    #[schema(value_type = Option<PatternIdText>, required)]
    id: Option<String>,
    /// What became of the lesson.
    #[schema(value_type = LessonOutcomeName)]
    outcome: &'static str,
    /// How similar it is to the pattern that it was merged with; null otherwise.
    #[schema(value_type = Option<SimilarityNumber>, required)]
    similarity: Option<f64>,
    /// How sure the node is of the pattern.
    #[schema(value_type = Option<ScoreNumber>, required)]
    confidence: Option<f64>,
    /// How often it was said by now.
    #[schema(required)]
    evidence: Option<u64>,
    /// Those that were let go to make room for it.
    #[schema(value_type = Vec<PatternIdText>)]
    evicted: Vec<String>,
    /// Why it was refused: a code word; null if it was not.
    #[schema(required)]
    code: Option<&'static str>,
    /// The same in words.
    #[schema(required)]
    error: Option<String>,
}

impl LearnedAnswer {
    pub(super) fn of(learned: &Learned, now_ms: i64) -> Self {
        let (outcome, similarity) = match learned.learning {
            Learning::New => ("new", None),
            Learning::Known => ("known", None),
            Learning::Merged { similarity } => ("merged", Some(rounded(similarity))),
        };
        Self {
            id: Some(learned.pattern.id.to_string()),
            outcome,
            similarity,
            confidence: Some(learned.pattern.confidence_at(now_ms).value()),
            evidence: Some(learned.pattern.evidence),
            evicted: learned.evicted.iter().map(PatternId::to_string).collect(),
            code: None,
            error: None,
        }
    }

    pub(super) fn refused(code: &'static str, error: &PatternError) -> Self {
        Self {
            id: None,
            outcome: "refused",
            similarity: None,
            confidence: None,
            evidence: None,
            evicted: Vec::new(),
            code: Some(code),
            error: Some(error.to_string()),
        }
    }
}

/// What became of each of several lessons, in their order.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PatternsLearned)]
pub(in crate::http) struct BatchAnswer {
    /// One for each.
    pub(super) results: Vec<LearnedAnswer>,
}

/// The decision that elevated a pattern.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PatternElevation)]
pub(in crate::http) struct ElevationAnswer {
    /// What was decided.
    #[schema(value_type = ProposalIdText)]
    proposal_id: String,
    /// The number of the decision.
    #[schema(minimum = 1)]
    height: u64,
    /// `solo` if this node was alone and decided it by itself.
    #[schema(value_type = ModeName)]
    mode: &'static str,
    /// How many could vote.
    #[schema(minimum = 1)]
    validators: u64,
    /// When this node took note of it.
    #[schema(value_type = TimeText)]
    at: Option<String>,
}

impl From<Elevation> for ElevationAnswer {
    fn from(it: Elevation) -> Self {
        Self {
            proposal_id: it.proposal.to_string(),
            height: it.height,
            mode: it.mode(),
            validators: it.validators,
            at: timestamp_text(it.at_ms),
        }
    }
}

/// A pattern.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Pattern)]
pub(in crate::http) struct PatternAnswer {
    /// Its id: the digest of what it says, its tags and its embedder.
    #[schema(value_type = PatternIdText)]
    id: String,
    /// What it says; null where it is gone.
    #[schema(required)]
    content: Option<String>,
    /// What it is about.
    #[schema(value_type = Vec<TagText>)]
    tags: Vec<String>,
    /// Who taught it first.
    #[schema(value_type = SourceText)]
    source: String,
    /// Whose numbers place it.
    embedder: Embedder,
    /// How sure the node is of it now.
    #[schema(value_type = ScoreNumber)]
    confidence: f64,
    /// How often it was said, by whomever and in whatever words.
    #[schema(minimum = 1)]
    evidence: u64,
    /// Feedbacks that spoke for it.
    positive: u64,
    /// Feedbacks that spoke against it.
    negative: u64,
    /// Feedbacks for it that somebody signed.
    signed_positive: u64,
    /// How many keys signed them.
    signers: usize,
    /// How often it was recalled, said again or spoken of; written down every few seconds.
    uses: u64,
    /// When it was learned.
    #[schema(value_type = TimeText)]
    learned_at: Option<String>,
    /// When it was last used.
    #[schema(value_type = TimeText)]
    used_at: Option<String>,
    /// Seconds since it was learned.
    age_seconds: u64,
    /// Whether it is never let go to make room.
    pinned: bool,
    /// Whether it may be put to the vote now.
    candidate: bool,
    /// Whether a decision elevated it.
    is_elevated: bool,
    /// That decision; null without one.
    #[schema(required)]
    elevation: Option<ElevationAnswer>,
}

impl PatternAnswer {
    pub(super) fn of(pattern: &Pattern, content: Option<String>, now_ms: i64) -> Self {
        let (signed_positive, signers) = pattern.signed_positives();
        let age_ms = now_ms.saturating_sub(pattern.learned_at_ms).max(0);
        Self {
            id: pattern.id.to_string(),
            content,
            tags: pattern.tags.iter().map(str::to_owned).collect(),
            source: pattern.source.as_str().to_owned(),
            embedder: Embedder::from(&*pattern.embedder),
            confidence: pattern.confidence_at(now_ms).value(),
            evidence: pattern.evidence,
            positive: pattern.positives,
            negative: pattern.negatives,
            signed_positive,
            signers,
            uses: pattern.uses,
            learned_at: timestamp_text(pattern.learned_at_ms),
            used_at: timestamp_text(pattern.used_at_ms),
            age_seconds: age_ms.unsigned_abs() / 1000,
            pinned: pattern.is_pinned,
            candidate: pattern.is_candidate(now_ms),
            is_elevated: pattern.elevation.is_some(),
            elevation: pattern.elevation.map(ElevationAnswer::from),
        }
    }
}

/// A pattern that was recalled.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PatternRecalled)]
pub(in crate::http) struct RecalledPattern {
    /// How near it is: the cosine of both embeddings.
    #[schema(value_type = SimilarityNumber)]
    similarity: f64,
    #[serde(flatten)]
    pattern: PatternAnswer,
}

impl RecalledPattern {
    pub(super) fn of(recalled: Recalled, now_ms: i64) -> Self {
        let Recalled { pattern, content, similarity } = recalled;
        let pattern = PatternAnswer::of(&pattern, Some(content), now_ms);
        Self { similarity: rounded(similarity), pattern }
    }
}

/// What was recalled.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PatternsRecalled, examples(json!({ "patterns": [] })))]
pub(in crate::http) struct RecallAnswer {
    /// The nearest first; the equally near by id.
    pub(super) patterns: Vec<RecalledPattern>,
}

/// A page of patterns, newest first.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PatternPage, examples(json!({ "patterns": [], "next": null })))]
pub(in crate::http) struct PageAnswer {
    /// As many as were asked for, or fewer at the end.
    pub(super) patterns: Vec<PatternAnswer>,
    /// What to give as `after` for the next page; null at the end.
    #[schema(value_type = Option<PatternIdText>, required)]
    pub(super) next: Option<String>,
}

/// An embedder, and how many patterns it placed.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PatternEmbedder)]
pub(in crate::http) struct EmbedderCount {
    /// Which one.
    embedder: Embedder,
    /// How many.
    patterns: usize,
}

/// What is held, and how much may be.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PatternStats)]
pub(in crate::http) struct StatsAnswer {
    /// Patterns.
    patterns: u64,
    /// How many there may be; beyond that the least worthy go.
    patterns_max: u64,
    /// What they take: content, four bytes a number, and 512 for the rest of each.
    bytes: u64,
    /// What they may take.
    bytes_max: u64,
    /// Who taught them.
    sources: usize,
    /// How many one of these may teach.
    source_patterns_max: u64,
    /// What those of one may take.
    source_bytes_max: u64,
    /// Those that a decision elevated.
    elevated: usize,
    /// Those that are never let go.
    pinned: usize,
    /// Those that may be put to the vote now.
    candidates: usize,
    /// Bytes of memory that vectors take, with what finds them.
    index_bytes: u64,
    /// By embedder.
    embedders: Vec<EmbedderCount>,
}

impl From<Figures> for StatsAnswer {
    fn from(it: Figures) -> Self {
        let embedder = |(id, patterns): &(Arc<EmbedderId>, usize)| EmbedderCount {
            embedder: Embedder::from(&**id),
            patterns: *patterns,
        };
        Self {
            patterns: it.held.patterns,
            patterns_max: it.bounds.patterns_max,
            bytes: it.held.bytes,
            bytes_max: it.bounds.bytes_max,
            sources: it.sources,
            source_patterns_max: it.bounds.source_patterns_max,
            source_bytes_max: it.bounds.source_bytes_max,
            elevated: it.elevated,
            pinned: it.pinned,
            candidates: it.candidates,
            index_bytes: it.index_bytes,
            embedders: it.embedders.iter().map(embedder).collect(),
        }
    }
}

/// What a feedback came to.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PatternFeedbackCounted)]
pub(in crate::http) struct FeedbackAnswer {
    /// Whether it was counted; not if the same was before.
    pub(super) counted: bool,
    /// The pattern as it is now, without its content.
    pub(super) pattern: PatternAnswer,
}

/// A pattern that is gone.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PatternForgotten)]
pub(in crate::http) struct Forgotten {
    /// Which one.
    #[schema(value_type = PatternIdText)]
    pub(super) id: String,
    /// That it is gone.
    pub(super) forgotten: bool,
}

/// A pattern that was put to the vote.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PatternElevated)]
pub(in crate::http) struct ElevateAnswer {
    /// Which one.
    #[schema(value_type = PatternIdText)]
    pub(super) id: String,
    /// Whether a decision elevated it.
    pub(super) is_elevated: bool,
    /// That decision; null without one.
    #[schema(required)]
    pub(super) elevation: Option<ElevationAnswer>,
    /// What became of the proposal; null if its record is no longer kept.
    #[schema(required)]
    pub(super) proposal: Option<Proposed>,
}

/// Without the digits that single precision does not have.
fn rounded(similarity: f32) -> f64 {
    libm::round(f64::from(similarity) * 1e6) / 1e6 + 0.0
}
