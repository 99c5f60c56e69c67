//! Puts the tables of patterns right, should they not agree. A transaction is whole or not at all, so
//! they do, unless a version with an error or another program wrote them.

use std::collections::{BTreeMap, BTreeSet};

use redb::ReadableTable;

use super::{Patterns, REVISION, decoded};
use crate::domain::pattern::{Observation, Pattern, PatternId};

/// What was put right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mended {
    /// Patterns that missed a part, and are gone.
    pub removed: u64,
    /// Parts that belonged to no pattern, and are gone.
    pub stray: u64,
    /// Entries that could be told from the rest, and are there again.
    pub completed: u64,
}

impl Patterns<'_> {
    /// Removes what is not whole, completes what can be, and makes a revision of it if that changed
    /// anything. What cannot be read is left as it is: a later version may have written it.
    pub(in crate::adapters::store) fn mend(&mut self) -> Result<Mended, redb::Error> {
        let mut mended = Mended::default();
        let whole = self.remove_torn(&mut mended)?;
        self.remove_strays(&whole, &mut mended)?;
        for pattern in whole.values() {
            if self.order.insert(pattern.number, &pattern.id.0)?.is_none() {
                mended.completed += 1;
            }
            for observation in &pattern.observations {
                if self.observed.insert(&observation.0, &pattern.id.0)?.is_none() {
                    mended.completed += 1;
                }
            }
        }
        if mended != Mended::default() {
            let last = self.state.get(REVISION)?.map_or(0, |revision| revision.value());
            self.state.insert(REVISION, last + 1)?;
        }
        Ok(mended)
    }

    /// Those that have all of their parts; the others go.
    fn remove_torn(
        &mut self,
        mended: &mut Mended,
    ) -> Result<BTreeMap<PatternId, Pattern>, redb::Error> {
        let (mut whole, mut torn) = (BTreeMap::new(), Vec::new());
        for entry in self.patterns.iter()? {
            let (key, kept) = entry?;
            let id = PatternId(*key.value());
            let Ok(pattern) = decoded(kept.value()) else { continue };
            let bytes = self.vectors.get(&id.0)?.map(|vector| vector.value().len());
            let has_vector = bytes == Some(4 * pattern.embedder.dimension);
            if has_vector && pattern.id == id && self.texts.get(&id.0)?.is_some() {
                whole.insert(id, pattern);
            } else {
                torn.push((id, pattern));
            }
        }
        for (id, pattern) in torn {
            self.remove(id, pattern.number, &pattern.observations)?;
            mended.removed += 1;
        }
        Ok(whole)
    }

    fn remove_strays(
        &mut self,
        whole: &BTreeMap<PatternId, Pattern>,
        mended: &mut Mended,
    ) -> Result<(), redb::Error> {
        let mut kept = BTreeSet::new();
        for entry in self.patterns.iter()? {
            kept.insert(*entry?.0.value());
        }
        for ids in [keys(&self.vectors)?, keys(&self.texts)?] {
            for id in ids.iter().filter(|id| !kept.contains(*id)) {
                self.vectors.remove(id)?;
                self.texts.remove(id)?;
                mended.stray += 1;
            }
        }
        let has_number = |id: &[u8; 16], number| match whole.get(&PatternId(*id)) {
            Some(pattern) => pattern.number == number,
            None => kept.contains(id),
        };
        let mut strays = Vec::new();
        for entry in self.order.iter()? {
            let (number, id) = entry?;
            if !has_number(id.value(), number.value()) {
                strays.push(number.value());
            }
        }
        for number in strays {
            self.order.remove(number)?;
            mended.stray += 1;
        }
        let has_said = |id: &[u8; 16], said: &[u8; 16]| match whole.get(&PatternId(*id)) {
            Some(pattern) => pattern.observations.contains(&Observation(*said)),
            None => kept.contains(id),
        };
        let mut strays = Vec::new();
        for entry in self.observed.iter()? {
            let (said, id) = entry?;
            if !has_said(id.value(), said.value()) {
                strays.push(*said.value());
            }
        }
        for said in strays {
            self.observed.remove(&said)?;
            mended.stray += 1;
        }
        Ok(())
    }
}

fn keys<V: redb::Value>(
    table: &redb::Table<'_, &'static [u8; 16], V>,
) -> Result<Vec<[u8; 16]>, redb::Error> {
    let mut keys = Vec::new();
    for entry in table.iter()? {
        keys.push(*entry?.0.value());
    }
    Ok(keys)
}
