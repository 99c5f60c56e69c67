//! An approximate index beside the exact one, for more patterns than a scan reads in good time.
//!
//! A [`Mirror`] follows an index: it knows which patterns lie in its approximate one ([`Nearest`]) and in
//! which rows they lay when it last followed. It is asked for candidates alone. Each is looked up in the
//! newest rows and compared in full, and rows that are newer than the mirror are compared beside it, so
//! that what was learned is found at once, what is gone is not found, and similarities are exact. What can
//! be missed is a pattern that the approximate index does not give as one of the nearest.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::domain::embedding::EmbedderId;
use crate::domain::pattern::index::{Hit, Index, Rows, Search};
use crate::domain::pattern::view::View;

/// Candidates for each pattern that is asked for. Of twice as many the true ten nearest were among them
/// more often by half a hundredth than of as many, at no cost that could be measured.
const CANDIDATES_PER_HIT: usize = 2;

/// How many times as many candidates are asked for when a filter lets too few through.
const GROWTH: usize = 8;

/// Most candidates: to walk a graph to more of them takes as long as to scan all patterns.
const CANDIDATES_MAX: usize = 1024;

/// Most rows that are newer than the mirror: with more of them the scan of all is no slower.
const NEWER_MAX: usize = 4096;

/// Finds what is probably nearest.
pub trait Nearest: std::fmt::Debug + Send + Sync {
    /// Adds a vector of length 1 under a key that it does not have.
    ///
    /// # Errors
    /// [`NearestError`]; what it finds from then on is not known.
    fn add(&mut self, key: u64, unit: &[f32]) -> Result<(), NearestError>;

    /// Takes a vector out: its key is not found any more.
    ///
    /// # Errors
    /// As [`Nearest::add`].
    fn remove(&mut self, key: u64) -> Result<(), NearestError>;

    /// The keys of at most `count` vectors, probably the nearest to `unit`.
    ///
    /// # Errors
    /// [`NearestError`].
    fn nearest(&self, unit: &[f32], count: usize) -> Result<Vec<u64>, NearestError>;
}

/// Why an approximate index could not do its part.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the approximate index: {0}")]
pub struct NearestError(pub String);

/// What it took to follow an index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Followed {
    /// Patterns that were added.
    pub added: usize,
    /// Patterns that were taken out.
    pub removed: usize,
    /// Whether it has all of them now; otherwise it was told to stop.
    pub is_whole: bool,
}

/// An approximate index and what it has. Keys are the numbers of patterns.
#[derive(Debug)]
pub struct Mirror<N>(RwLock<Held<N>>);

/// Changed as one, so that whoever searches knows of what moment his candidates are.
#[derive(Debug)]
struct Held<N> {
    nearest: N,
    /// The keys in it that were followed, each with its row in `of`.
    rows: HashMap<u64, usize>,
    /// The others in it.
    loose: HashSet<u64>,
    /// The rows that were followed last.
    of: Arc<Rows>,
}

impl<N: Nearest> Mirror<N> {
    /// One over an approximate index that has vectors under these keys, and no others.
    pub fn new(nearest: N, keys: impl IntoIterator<Item = u64>) -> Self {
        let loose = keys.into_iter().collect();
        Self(RwLock::new(Held { nearest, rows: HashMap::new(), loose, of: Arc::default() }))
    }

    /// Looks at the approximate index and at the keys in it, which do not change meanwhile.
    pub fn look<T>(&self, look: impl FnOnce(&N, &mut dyn Iterator<Item = u64>) -> T) -> T {
        let held = self.read();
        look(&held.nearest, &mut held.rows.keys().chain(&held.loose).copied())
    }

    /// Makes the approximate index have what `index` has, for as long as `goes_on` says so: to add one
    /// to a hundred thousand takes most of a millisecond. Only one may follow at a time.
    ///
    /// # Errors
    /// [`NearestError`]; the mirror is of no use any more.
    pub fn follow(
        &self,
        index: &Index,
        goes_on: &dyn Fn() -> bool,
    ) -> Result<Followed, NearestError> {
        let of = Arc::clone(&self.read().of);
        let wanted: HashMap<u64, usize> =
            index.new_since(&of).map(|(row, pattern)| (pattern.number, row)).collect();
        let mut gone: HashSet<u64> = of.not_in(index).map(|pattern| pattern.number).collect();
        gone.extend(&self.read().loose);
        gone.retain(|key| !wanted.contains_key(key));
        let mut followed = Followed::default();
        for key in gone {
            let mut held = self.write();
            if held.rows.remove(&key).is_some() | held.loose.remove(&key) {
                held.nearest.remove(key)?;
                followed.removed += 1;
            }
        }
        for (key, row) in &wanted {
            if self.read().has(*key) {
                continue;
            }
            if !goes_on() {
                return Ok(followed);
            }
            let Some(unit) = index.unit(*row) else { continue };
            // A recall waits for one insertion at most, never for all of them.
            let mut held = self.write();
            held.nearest.add(*key, unit)?;
            held.loose.insert(*key);
            followed.added += 1;
        }
        let mut held = self.write();
        held.rows.extend(wanted);
        held.loose.clear();
        held.of = Arc::new(index.rows());
        followed.is_whole = true;
        Ok(followed)
    }

    fn read(&self) -> RwLockReadGuard<'_, Held<N>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Held<N>> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The nearest patterns of an embedder, as [`Index::search`] would give them but for what the
    /// approximate index misses. `None` if the scan is the better way: too much is newer than the mirror,
    /// or the filter lets so few through that the nearest of them are not among as many candidates as may
    /// be asked for. `newest` gives what is held now.
    pub fn search(
        &self,
        search: &Search<'_>,
        embedder: &EmbedderId,
        newest: &dyn Fn() -> Arc<View>,
    ) -> Option<Vec<Hit>> {
        let mut count = search.limit.checked_mul(CANDIDATES_PER_HIT)?;
        while count <= CANDIDATES_MAX {
            let (rows, of, is_end) = self.read().candidates(search.unit, count)?;
            // Asked for after the candidates, so that it is no older than they are. Then whatever does not
            // lie in its row any more lies in one that is newer.
            let view = newest();
            let index = view.index(embedder)?;
            let newer: Vec<usize> =
                index.new_since(&of).map(|(row, _)| row).take(NEWER_MAX + 1).collect();
            if newer.len() > NEWER_MAX {
                return None;
            }
            let is_there = |(key, row): &(u64, usize)| {
                index.pattern(*row).is_some_and(|pattern| pattern.number == *key)
            };
            let rows: Vec<_> = rows.into_iter().filter(is_there).map(|(_, row)| row).collect();
            let mut hits = index.compared(rows.iter().copied(), search.unit);
            // What was not among the candidates is no nearer than the last of them.
            let reached = hits.iter().map(|hit| hit.similarity).reduce(f32::min).unwrap_or(1.0);
            let newer = newer.into_iter().filter(|row| !rows.contains(row));
            hits.extend(index.compared(newer, search.unit));
            hits.retain(|hit| (search.is_wanted)(&hit.pattern));
            let hits = search.best(hits);
            let is_full = hits.len() == search.limit
                && hits.last().is_some_and(|last| last.similarity >= reached);
            if is_end || is_full || reached < search.similarity_min {
                return Some(hits);
            }
            count = count.checked_mul(GROWTH)?;
        }
        None
    }
}

/// Keys and their rows.
type Places = Vec<(u64, usize)>;

impl<N: Nearest> Held<N> {
    /// The candidates with their rows, of what moment these are, and whether they are all that there are.
    fn candidates(&self, unit: &[f32], count: usize) -> Option<(Places, Arc<Rows>, bool)> {
        let keys = self.nearest.nearest(unit, count).ok()?;
        let is_end = keys.len() < count;
        // One that gives less than it was asked for and has more has lost its way.
        if is_end && keys.len() < self.rows.len() + self.loose.len() {
            return None;
        }
        let place = |key| Some((key, *self.rows.get(&key)?));
        Some((keys.into_iter().filter_map(place).collect(), Arc::clone(&self.of), is_end))
    }

    fn has(&self, key: u64) -> bool {
        self.rows.contains_key(&key) || self.loose.contains(&key)
    }
}

#[cfg(test)]
mod tests;
