//! What is held at one moment, for whoever recalls. It does not change, and nobody waits for it.

use std::sync::Arc;

use crate::domain::embedding::EmbedderId;
use crate::domain::pattern::index::{Hit, Index, Search};
use crate::domain::pattern::{
    Bounds, Pattern, PatternError, Position, RECALL_MAX, SIMILARITY_DEFAULT, Source, Tags,
};

/// What is asked to be recalled. Every value keeps its rules.
#[derive(Clone, Debug, PartialEq)]
pub struct Query {
    /// A text, which the node embeds, or where to look.
    pub near: Near,
    limit: usize,
    similarity_min: f32,
    filter: Filter,
}

/// Near what.
#[derive(Clone, Debug, PartialEq)]
pub enum Near {
    /// What this text means to the node's embedder.
    Text(Arc<str>),
    /// This position.
    Position(Position),
}

/// Which patterns are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// With all of these tags.
    pub tags: Tags,
    /// Taught by this one.
    pub source: Option<Source>,
    /// Elevated, or not.
    pub is_elevated: Option<bool>,
}

impl Filter {
    /// Whether a pattern is wanted.
    pub fn takes(&self, pattern: &Pattern) -> bool {
        self.is_elevated.is_none_or(|wanted| wanted == pattern.elevation.is_some())
            && self.source.as_ref().is_none_or(|source| *source == pattern.source)
            && pattern.tags.hold(&self.tags)
    }
}

impl Query {
    /// Asks for at most `limit` patterns, of at least this similarity (0.5 unless given).
    ///
    /// # Errors
    /// [`PatternError`] for a number out of its range.
    pub fn new(
        near: Near,
        limit: usize,
        similarity_min: Option<f64>,
        filter: Filter,
    ) -> Result<Self, PatternError> {
        if !(1..=RECALL_MAX).contains(&limit) {
            return Err(PatternError::Limit);
        }
        let similarity_min = similarity_min.unwrap_or(f64::from(SIMILARITY_DEFAULT));
        if !(-1.0..=1.0).contains(&similarity_min) {
            return Err(PatternError::Similarity);
        }
        #[expect(clippy::cast_possible_truncation, reason = "-1 to 1")]
        let similarity_min = similarity_min as f32;
        Ok(Self { near, limit, similarity_min, filter })
    }

    /// Has `look` look for what it asks, around a position.
    pub fn looked_for<T>(&self, position: &Position, look: impl FnOnce(&Search<'_>) -> T) -> T {
        look(&Search {
            unit: position.unit(),
            limit: self.limit,
            similarity_min: self.similarity_min,
            is_wanted: &|pattern| self.filter.takes(pattern),
        })
    }
}

/// Everything that is held, but contents. Cheap to clone.
#[derive(Clone, Debug)]
pub struct View {
    /// Of each embedder the patterns that it placed.
    pub indexes: Vec<(Arc<EmbedderId>, Index)>,
    /// How many there are, and what they take.
    pub held: Held,
    /// Of how many sources.
    pub sources: usize,
    /// How many there may be.
    pub bounds: Bounds,
    /// Counts what was written, so that store and memory can be compared.
    pub revision: u64,
}

/// How many patterns, and the bytes that they take, as [`Pattern::bytes`] counts them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Patterns.
    pub patterns: u64,
    /// Bytes.
    pub bytes: u64,
}

impl View {
    /// One in which nothing is held.
    pub fn empty(bounds: Bounds) -> Self {
        Self { indexes: Vec::new(), held: Held::default(), sources: 0, bounds, revision: 0 }
    }

    /// The index of an embedder, if it placed any pattern.
    pub fn index(&self, embedder: &EmbedderId) -> Option<&Index> {
        self.indexes.iter().find(|(id, _)| **id == *embedder).map(|(_, index)| index)
    }

    /// The patterns nearest to `position`, nearest first. Those of other embedders are elsewhere and
    /// are never among them.
    pub fn recall(&self, query: &Query, position: &Position) -> Vec<Hit> {
        let Some(index) = self.index(position.embedder()) else { return Vec::new() };
        query.looked_for(position, |search| index.search(search))
    }

    /// Every pattern.
    pub fn patterns(&self) -> impl Iterator<Item = &Arc<Pattern>> {
        self.indexes.iter().flat_map(|(_, index)| index.patterns())
    }

    /// What may be counted of it at `now_ms`.
    pub fn figures(&self, now_ms: i64) -> Figures {
        let mut figures = Figures {
            held: self.held,
            sources: self.sources,
            bounds: self.bounds,
            embedders: self.indexes.iter().map(|(id, it)| (Arc::clone(id), it.len())).collect(),
            index_bytes: self.indexes.iter().map(|(_, index)| index.bytes()).sum(),
            elevated: 0,
            pinned: 0,
            candidates: 0,
        };
        for pattern in self.patterns() {
            figures.elevated += usize::from(pattern.elevation.is_some());
            figures.pinned += usize::from(pattern.is_pinned);
            figures.candidates += usize::from(pattern.is_candidate(now_ms));
        }
        figures
    }
}

/// Numbers about what is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Figures {
    /// Patterns, and the bytes that they take.
    pub held: Held,
    /// Who taught them.
    pub sources: usize,
    /// How many there may be.
    pub bounds: Bounds,
    /// How many each embedder placed.
    pub embedders: Vec<(Arc<EmbedderId>, usize)>,
    /// Bytes of memory of the vectors and their codes.
    pub index_bytes: u64,
    /// Those that a decision elevated.
    pub elevated: usize,
    /// Those that are never let go.
    pub pinned: usize,
    /// Those that may be put to the vote now.
    pub candidates: usize,
}
