//! The three ways in which a ledger changes, and each taken back.

use std::sync::Arc;

use super::{Ledger, Spot};
use crate::domain::pattern::index::Removed;
use crate::domain::pattern::{Observation, Pattern, PatternError, PatternId};

/// What takes one change back.
#[derive(Debug)]
pub(super) enum Undo {
    /// It was added.
    Remove(PatternId),
    /// It was let go; with what was said of it.
    Add { pattern: Arc<Pattern>, unit: Arc<[f32]> },
    /// It was another one before.
    Put(Arc<Pattern>),
    /// It was not observed before.
    Overlook(Observation),
    /// It was observed before.
    Observe(Observation, PatternId),
}

impl Ledger {
    /// Takes everything back that was done since it was settled.
    pub fn undo(&mut self) {
        self.rows.clear();
        self.weakest.clear();
        while let Some(undo) = self.undo.pop() {
            match undo {
                Undo::Remove(id) => {
                    // Added since, so it is there.
                    let _ = self.take(id);
                }
                Undo::Add { pattern, unit } => {
                    for observation in &pattern.observations {
                        self.observations.insert(*observation, pattern.id);
                    }
                    let embedder = Arc::clone(&pattern.embedder);
                    // It was there before: there is an index for it, and room.
                    if let Ok(index) = self.index_of(&embedder) {
                        let _ = self.place(index, pattern, &unit);
                    }
                }
                Undo::Put(pattern) => self.put(pattern),
                Undo::Overlook(observation) => _ = self.observations.remove(&observation),
                Undo::Observe(observation, id) => _ = self.observations.insert(observation, id),
            }
        }
    }

    /// Puts a pattern that is not held into an index.
    pub(super) fn place(
        &mut self,
        index: usize,
        pattern: Arc<Pattern>,
        unit: &[f32],
    ) -> Result<(), PatternError> {
        let (id, bytes, source) = (pattern.id, pattern.bytes(), pattern.source.clone());
        let (proposed, expected) = (pattern.proposed, self.view.indexes[index].1.dimension());
        let row = self.view.indexes[index].1.push(pattern, unit);
        let row = row.ok_or(PatternError::Dimension { found: unit.len(), expected })?;
        self.spots.insert(id, Spot { index, row });
        if let Some(proposal) = proposed {
            self.proposed.insert(id, proposal);
        }
        for held in [&mut self.view.held, self.sources.entry(source).or_default()] {
            held.patterns += 1;
            held.bytes += bytes;
        }
        self.view.sources = self.sources.len();
        Ok(())
    }

    /// Takes a pattern out of its index.
    pub(super) fn take(&mut self, id: PatternId) -> Result<Removed, PatternError> {
        let Spot { index, row } = *self.spots.get(&id).ok_or(PatternError::Unknown(id))?;
        let removed = self.view.indexes[index].1.swap_remove(row);
        let removed = removed.ok_or(PatternError::Unknown(id))?;
        self.spots.remove(&id);
        self.proposed.remove(&id);
        if let Some(moved) = &removed.moved {
            self.spots.insert(moved.id, Spot { index, row });
        }
        let (bytes, source) = (removed.pattern.bytes(), &removed.pattern.source);
        self.view.held.patterns -= 1;
        self.view.held.bytes -= bytes;
        if let Some(held) = self.sources.get_mut(source) {
            held.patterns -= 1;
            held.bytes -= bytes;
            if held.patterns == 0 {
                self.sources.remove(source);
            }
        }
        self.view.sources = self.sources.len();
        Ok(removed)
    }

    /// Puts a pattern in the place of itself as it was.
    pub(super) fn put(&mut self, pattern: Arc<Pattern>) {
        let Some(Spot { index, row }) = self.spots.get(&pattern.id).copied() else { return };
        match pattern.proposed {
            Some(proposal) => self.proposed.insert(pattern.id, proposal),
            None => self.proposed.remove(&pattern.id),
        };
        self.view.indexes[index].1.replace(row, pattern);
    }
}
