//! What is held and what becomes of it: learning, feedback, letting go.
//!
//! A ledger is asked for changes one after another. Each is made here at once and comes out as rows to
//! be written; when they are on disk, [`Ledger::settle`] says so, and when they could not be written,
//! [`Ledger::undo`] takes all of them back. So memory never says what the disk does not, and of two
//! twins in one batch the second finds the first.

mod room;
mod undo;

use std::collections::HashMap;
use std::sync::Arc;

use crate::domain::embedding::EmbedderId;
use crate::domain::federation::ProposalId;
use crate::domain::pattern::feedback::Opinion;
use crate::domain::pattern::index::Index;
use crate::domain::pattern::record::{self, OBSERVATIONS_MAX, SIGNERS_MAX};
use crate::domain::pattern::view::{Held, View};
use crate::domain::pattern::{
    Bounds, Confidence, Elevation, Lesson, Observation, Pattern, PatternError, PatternId, Position,
    Signer, Source,
};

use room::Weakest;
use undo::Undo;

/// Embedders whose patterns are held at once: a node has one, and a few from before or elsewhere.
pub const EMBEDDERS_MAX: usize = 16;

/// Patterns that wait for a decision at once.
pub const WAITING_MAX: usize = 64;

/// Something to write.
#[derive(Clone, Debug, PartialEq)]
pub enum Row {
    /// A pattern that is new, with what it says and where it lies.
    Add {
        /// It.
        pattern: Arc<Pattern>,
        /// What it says.
        content: Arc<str>,
        /// Its vector.
        unit: Arc<[f32]>,
    },
    /// A pattern that was changed.
    Change(Arc<Pattern>),
    /// That a saying belongs to a pattern.
    Observe(Observation, PatternId),
    /// That it no longer does.
    Overlook(Observation),
    /// A pattern that is gone, with all that belongs to it.
    Remove(Arc<Pattern>),
}

/// What became of a lesson.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Learning {
    /// It is a new pattern.
    New,
    /// Its source has said so before: nothing changed.
    Known,
    /// It is further evidence for a pattern that is the same, or as good as.
    Merged {
        /// How similar they are (cosine); 1 if it is the same text.
        similarity: f32,
    },
}

/// What was learned.
#[derive(Clone, Debug, PartialEq)]
pub struct Learned {
    /// The pattern as it is now.
    pub pattern: Arc<Pattern>,
    /// What became of the lesson.
    pub learning: Learning,
    /// Those that were let go for it.
    pub evicted: Vec<PatternId>,
}

/// Where a pattern is.
#[derive(Clone, Copy, Debug)]
struct Spot {
    index: usize,
    row: usize,
}

/// Everything that is held, but contents.
#[derive(Debug)]
pub struct Ledger {
    view: View,
    spots: HashMap<PatternId, Spot>,
    observations: HashMap<Observation, PatternId>,
    sources: HashMap<Source, Held>,
    /// Those that were put to the vote and not heard of since.
    proposed: HashMap<PatternId, ProposalId>,
    /// The number of the last pattern.
    last: u64,
    rows: Vec<Row>,
    undo: Vec<Undo>,
    weakest: Vec<Weakest>,
}

impl Ledger {
    /// One that holds nothing.
    pub fn new(bounds: Bounds) -> Self {
        Self {
            view: View::empty(bounds),
            spots: HashMap::new(),
            observations: HashMap::new(),
            sources: HashMap::new(),
            proposed: HashMap::new(),
            last: 0,
            rows: Vec::new(),
            undo: Vec::new(),
            weakest: Vec::new(),
        }
    }

    /// Takes in a pattern that is on disk.
    ///
    /// # Errors
    /// [`PatternError`] if its vector is not of its dimension, or there are too many embedders.
    pub fn restore(&mut self, mut pattern: Pattern, unit: &[f32]) -> Result<(), PatternError> {
        let index = self.index_of(&pattern.embedder)?;
        // Patterns share what is the same for many of them.
        pattern.embedder = Arc::clone(&self.view.indexes[index].0);
        pattern.source = self.known_source(&pattern.source);
        self.last = self.last.max(pattern.number);
        for observation in &pattern.observations {
            self.observations.insert(*observation, pattern.id);
        }
        self.place(index, Arc::new(pattern), unit)
    }

    /// What is held, as of the last change that was made here, written or not.
    pub fn view(&self) -> View {
        self.view.clone()
    }

    /// A pattern that is held.
    ///
    /// # Errors
    /// [`PatternError::Unknown`].
    pub fn pattern(&self, id: PatternId) -> Result<&Arc<Pattern>, PatternError> {
        let spot = self.spots.get(&id).ok_or(PatternError::Unknown(id))?;
        self.view.indexes[spot.index].1.pattern(spot.row).ok_or(PatternError::Unknown(id))
    }

    /// Where a pattern lies.
    ///
    /// # Errors
    /// [`PatternError::Unknown`].
    pub fn unit(&self, id: PatternId) -> Result<&[f32], PatternError> {
        let spot = self.spots.get(&id).ok_or(PatternError::Unknown(id))?;
        self.view.indexes[spot.index].1.unit(spot.row).ok_or(PatternError::Unknown(id))
    }

    /// Those that were put to the vote and not heard of since.
    pub fn proposed(&self) -> Vec<(PatternId, ProposalId)> {
        self.proposed.iter().map(|(id, proposal)| (*id, *proposal)).collect()
    }

    /// Learns a lesson at its position.
    ///
    /// # Errors
    /// [`PatternError`] if it has no position, or there is no room for it.
    pub fn learn(&mut self, lesson: &Lesson, now_ms: i64) -> Result<Learned, PatternError> {
        let position = lesson.position.as_ref().ok_or(PatternError::Either)?;
        let (id, observation) = lesson.ids(position.embedder())?;
        let known = self.observations.get(&observation).copied();
        if let Some(pattern) = known.and_then(|id| self.pattern(id).ok()) {
            let (pattern, evicted) = (Arc::clone(pattern), Vec::new());
            return Ok(Learned { pattern, learning: Learning::Known, evicted });
        }
        let twin = match self.pattern(id) {
            Ok(same) => Some((same.id, 1.0)),
            Err(_) => {
                let index = self.view.index(position.embedder());
                let hit = index.and_then(|index| index.twin(position.unit(), &lesson.tags));
                hit.map(|hit| (hit.pattern.id, hit.similarity))
            }
        };
        match twin {
            Some((twin, similarity)) => self.merge(twin, similarity, observation, now_ms),
            None => self.add(lesson, position, id, observation, now_ms),
        }
    }

    fn merge(
        &mut self,
        id: PatternId,
        similarity: f32,
        observation: Observation,
        now_ms: i64,
    ) -> Result<Learned, PatternError> {
        let mut overlooked = None;
        let pattern = self.change(id, |pattern| {
            pattern.use_at(now_ms, 1);
            pattern.evidence = pattern.evidence.saturating_add(1);
            if pattern.observations.len() >= OBSERVATIONS_MAX {
                overlooked = Some(pattern.observations.remove(0));
            }
            pattern.observations.push(observation);
        })?;
        if let Some(overlooked) = overlooked {
            self.overlook(overlooked);
        }
        self.observe(observation, id);
        Ok(Learned { pattern, learning: Learning::Merged { similarity }, evicted: Vec::new() })
    }

    fn add(
        &mut self,
        lesson: &Lesson,
        position: &Position,
        id: PatternId,
        observation: Observation,
        now_ms: i64,
    ) -> Result<Learned, PatternError> {
        let index = self.index_of(position.embedder())?;
        let size = record::bytes(lesson.content.len(), position.unit().len());
        let evicted = self.make_room(&lesson.source, size, now_ms)?;
        let pattern = Arc::new(Pattern {
            id,
            number: self.last + 1,
            embedder: Arc::clone(&self.view.indexes[index].0),
            tags: lesson.tags.clone(),
            source: self.known_source(&lesson.source),
            // Within its limit.
            content_bytes: u32::try_from(lesson.content.len()).unwrap_or(u32::MAX),
            learned_at_ms: now_ms,
            used_at_ms: now_ms,
            uses: 0,
            evidence: 1,
            confidence: Confidence::MIDDLE,
            positives: 0,
            negatives: 0,
            signers: Vec::new(),
            is_pinned: false,
            elevation: None,
            proposed: None,
            observations: vec![observation],
        });
        self.last += 1;
        self.place(index, Arc::clone(&pattern), position.unit())?;
        self.undo.push(Undo::Remove(id));
        let (content, unit) = (Arc::clone(&lesson.content), Arc::clone(position.unit()));
        self.rows.push(Row::Add { pattern: Arc::clone(&pattern), content, unit });
        self.observe(observation, id);
        Ok(Learned { pattern, learning: Learning::New, evicted })
    }

    /// Takes note of what somebody says of a pattern. Whether it was counted: one that was signed and
    /// counted before is not counted again.
    ///
    /// # Errors
    /// [`PatternError`] if there is no such pattern, the number is not above the last one of its key,
    /// or too many keys have given feedback.
    pub fn feedback(
        &mut self,
        id: PatternId,
        opinion: &Opinion,
        now_ms: i64,
    ) -> Result<(Arc<Pattern>, bool), PatternError> {
        let pattern = self.pattern(id)?;
        let is_positive = opinion.is_positive();
        let signer = opinion.signer().map(|(key, number)| (key, number, is_positive));
        if let Some((key, number, _)) = signer {
            match pattern.signers.iter().find(|signer| signer.key == key) {
                Some(known) if number == known.last && is_positive == known.is_last_positive => {
                    return Ok((Arc::clone(pattern), false));
                }
                Some(known) if number <= known.last => {
                    return Err(PatternError::Stale { last: known.last });
                }
                None if pattern.signers.len() >= SIGNERS_MAX => {
                    return Err(PatternError::Signers { max: SIGNERS_MAX });
                }
                Some(_) | None => {}
            }
        }
        let changed = self.change(id, |pattern| {
            pattern.use_at(now_ms, 1);
            pattern.confidence = pattern.confidence.after(is_positive);
            let count = if is_positive { &mut pattern.positives } else { &mut pattern.negatives };
            *count = count.saturating_add(1);
            let Some((key, last, is_last_positive)) = signer else { return };
            let rise = u64::from(is_positive);
            match pattern.signers.iter_mut().find(|signer| signer.key == key) {
                Some(known) => {
                    (known.last, known.is_last_positive) = (last, is_last_positive);
                    known.positives = known.positives.saturating_add(rise);
                }
                None => {
                    pattern.signers.push(Signer { key, last, is_last_positive, positives: rise });
                }
            }
        })?;
        Ok((changed, true))
    }

    /// Notes that patterns were used: which, how often, and when last. Those that are gone are passed
    /// over.
    pub fn note_uses(&mut self, uses: impl IntoIterator<Item = (PatternId, u64, i64)>) {
        for (id, times, at_ms) in uses {
            // Fails only for one that is gone.
            let _ = self.change(id, |pattern| pattern.use_at(at_ms, times));
        }
    }

    /// Keeps a pattern from being let go to make room, or no longer.
    ///
    /// # Errors
    /// [`PatternError::Unknown`].
    pub fn pin(&mut self, id: PatternId, is_pinned: bool) -> Result<Arc<Pattern>, PatternError> {
        self.change(id, |pattern| pattern.is_pinned = is_pinned)
    }

    /// Notes that a pattern is put to the vote.
    ///
    /// # Errors
    /// [`PatternError`] if there is no such pattern, it is no candidate, or too many wait.
    pub fn propose(
        &mut self,
        id: PatternId,
        proposal: ProposalId,
        now_ms: i64,
    ) -> Result<Arc<Pattern>, PatternError> {
        let pattern = self.pattern(id)?;
        if pattern.proposed == Some(proposal) || pattern.elevation.is_some() {
            return Ok(Arc::clone(pattern));
        }
        pattern.check_candidate(now_ms)?;
        if self.proposed.len() >= WAITING_MAX && pattern.proposed.is_none() {
            return Err(PatternError::Waiting { max: WAITING_MAX });
        }
        self.change(id, |pattern| pattern.proposed = Some(proposal))
    }

    /// Notes what a decision about this proposal came to: `None` if it did not elevate it. Nothing
    /// changes if another one was put to the vote since.
    ///
    /// # Errors
    /// [`PatternError::Unknown`].
    pub fn decided(
        &mut self,
        id: PatternId,
        proposal: ProposalId,
        elevation: Option<Elevation>,
    ) -> Result<Arc<Pattern>, PatternError> {
        let pattern = self.pattern(id)?;
        if pattern.proposed != Some(proposal) {
            return Ok(Arc::clone(pattern));
        }
        self.change(id, |pattern| (pattern.proposed, pattern.elevation) = (None, elevation))
    }

    /// Lets a pattern go, with all that belongs to it.
    ///
    /// # Errors
    /// [`PatternError::Unknown`].
    pub fn forget(&mut self, id: PatternId) -> Result<Arc<Pattern>, PatternError> {
        let removed = self.take(id)?;
        let pattern = Arc::clone(&removed.pattern);
        for observation in &pattern.observations {
            self.observations.remove(observation);
        }
        self.undo.push(Undo::Add { pattern: removed.pattern, unit: removed.unit });
        self.rows.push(Row::Remove(Arc::clone(&pattern)));
        Ok(pattern)
    }

    /// What is to be written, in order, with the revision that it makes.
    pub fn take_rows(&mut self) -> (Vec<Row>, u64) {
        (std::mem::take(&mut self.rows), self.view.revision + 1)
    }

    /// Says that everything is on disk as this revision.
    pub fn settle(&mut self, revision: u64) {
        self.view.revision = revision;
        self.undo.clear();
        self.weakest.clear();
    }

    fn index_of(&mut self, embedder: &Arc<EmbedderId>) -> Result<usize, PatternError> {
        let indexes = &mut self.view.indexes;
        if let Some(at) = indexes.iter().position(|(id, _)| **id == **embedder) {
            return Ok(at);
        }
        // One that is empty gives its place to a new embedder.
        if let Some(at) = indexes.iter().position(|(_, index)| index.is_empty()) {
            indexes[at] = (Arc::clone(embedder), Index::new(embedder.dimension));
            return Ok(at);
        }
        if indexes.len() >= EMBEDDERS_MAX {
            return Err(PatternError::Embedders { max: EMBEDDERS_MAX });
        }
        indexes.push((Arc::clone(embedder), Index::new(embedder.dimension)));
        Ok(indexes.len() - 1)
    }

    /// The same name, shared by all patterns that have it.
    fn known_source(&self, source: &Source) -> Source {
        self.sources.get_key_value(source).map_or(source, |(known, _)| known).clone()
    }

    fn change(
        &mut self,
        id: PatternId,
        change: impl FnOnce(&mut Pattern),
    ) -> Result<Arc<Pattern>, PatternError> {
        let before = Arc::clone(self.pattern(id)?);
        let mut pattern = (*before).clone();
        change(&mut pattern);
        let pattern = Arc::new(pattern);
        self.put(Arc::clone(&pattern));
        self.undo.push(Undo::Put(before));
        self.rows.push(Row::Change(Arc::clone(&pattern)));
        Ok(pattern)
    }

    fn observe(&mut self, observation: Observation, id: PatternId) {
        self.observations.insert(observation, id);
        self.undo.push(Undo::Overlook(observation));
        self.rows.push(Row::Observe(observation, id));
    }

    fn overlook(&mut self, observation: Observation) {
        if let Some(id) = self.observations.remove(&observation) {
            self.undo.push(Undo::Observe(observation, id));
        }
        self.rows.push(Row::Overlook(observation));
    }
}

#[cfg(test)]
mod tests;
