//! Tables of patterns. What is changed together is one transaction, with the revision that it makes;
//! a change to anything but the last revision is refused, so memory and disk cannot part unnoticed.

mod mend;

use std::sync::Arc;

use redb::{ReadTransaction, ReadableTable, ReadableTableMetadata, TableDefinition};
use redb::{StorageError, WriteTransaction};

pub use mend::Mended;

use super::writer::{Op, Outcome};
use super::{Store, StoreError, unless_absent};
use crate::domain::pattern::ledger::Row;
use crate::domain::pattern::{Observation, Page, Pattern, PatternId, Remembered};

type Id = &'static [u8; 16];

/// Pattern to what is kept of it.
const PATTERNS: TableDefinition<'_, Id, &[u8]> = TableDefinition::new("patterns");
/// Pattern to what it says. Read when it is recalled, and so not beside what is changed often.
const TEXTS: TableDefinition<'_, Id, &str> = TableDefinition::new("pattern_texts");
/// Pattern to its vector: single precision, little-endian.
const VECTORS: TableDefinition<'_, Id, &[u8]> = TableDefinition::new("pattern_vectors");
/// Patterns by their number, in the order in which they were learned.
const ORDER: TableDefinition<'_, u64, Id> = TableDefinition::new("pattern_order");
/// Who said what, to the pattern that it belongs to.
const OBSERVED: TableDefinition<'_, Id, Id> = TableDefinition::new("pattern_observations");
/// The last revision.
const STATE: TableDefinition<'_, &str, u64> = TableDefinition::new("pattern_state");
const REVISION: &str = "revision";

/// What was found on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// The last revision.
    pub revision: u64,
    /// Whether every pattern has all of its parts and no part is alone.
    pub is_whole: bool,
}

/// What became of changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// They are on disk.
    Done,
    /// This is the last revision, and they do not follow on it.
    Behind(u64),
}

/// Changes as the writer takes them.
#[derive(Debug)]
pub struct PatternBatch {
    rows: Vec<Encoded>,
    revision: u64,
    /// Whether there is more afterwards than before.
    pub(super) is_growth: bool,
    pub(super) bytes: usize,
}

#[derive(Debug)]
enum Encoded {
    Put { id: PatternId, kept: Vec<u8>, added: Option<(u64, Arc<str>, Vec<u8>)> },
    Observe(Observation, PatternId),
    Overlook(Observation),
    Remove { id: PatternId, number: u64, observations: Vec<Observation> },
}

impl PatternBatch {
    /// Changes that make this revision of the one before it.
    ///
    /// # Errors
    /// None: patterns have the form in which they are kept.
    pub fn of(rows: &[Row], revision: u64) -> Result<Self, StoreError> {
        let is_growth = rows.iter().any(|row| matches!(row, Row::Add { .. }));
        let rows: Vec<_> = rows.iter().map(encoded).collect::<Result<_, _>>()?;
        let bytes = rows.iter().map(Encoded::bytes).sum();
        Ok(Self { rows, revision, is_growth, bytes })
    }
}

impl Encoded {
    fn bytes(&self) -> usize {
        match self {
            Self::Put { kept, added, .. } => {
                kept.len() + added.as_ref().map_or(0, |(_, text, unit)| text.len() + unit.len())
            }
            Self::Observe(..) | Self::Overlook(_) | Self::Remove { .. } => 0,
        }
    }
}

fn encoded(row: &Row) -> Result<Encoded, StoreError> {
    let kept = |pattern: &Pattern| pattern.to_bytes().map_err(StoreError::Read);
    Ok(match row {
        Row::Add { pattern, content, unit } => {
            let unit = unit.iter().flat_map(|number| number.to_le_bytes()).collect();
            let added = Some((pattern.number, Arc::clone(content), unit));
            Encoded::Put { id: pattern.id, kept: kept(pattern)?, added }
        }
        Row::Change(pattern) => Encoded::Put { id: pattern.id, kept: kept(pattern)?, added: None },
        Row::Observe(observation, id) => Encoded::Observe(*observation, *id),
        Row::Overlook(observation) => Encoded::Overlook(*observation),
        Row::Remove(pattern) => Encoded::Remove {
            id: pattern.id,
            number: pattern.number,
            observations: pattern.observations.clone(),
        },
    })
}

impl Store {
    /// Writes changes. Answers when they are on disk.
    ///
    /// # Errors
    /// As [`Store::append_envelope`].
    pub async fn write_patterns(&self, batch: PatternBatch) -> Result<Written, StoreError> {
        match self.submit(Op::Patterns(batch)).await? {
            Outcome::Patterns(written) => Ok(written),
            _ => Err(StoreError::Closed),
        }
    }

    /// Removes parts that belong to no pattern and patterns that miss a part, and completes what can
    /// be told from the rest. Answers when that is on disk.
    ///
    /// # Errors
    /// As [`Store::append_envelope`].
    pub async fn mend_patterns(&self) -> Result<Mended, StoreError> {
        match self.submit(Op::MendPatterns).await? {
            Outcome::Mended(mended) => Ok(mended),
            _ => Err(StoreError::Closed),
        }
    }

    /// Reads every pattern with its vector, and hands them to `take` one by one. Reads the disk.
    ///
    /// # Errors
    /// [`StoreError::Read`], also if what is kept is damaged or `take` does not take it.
    pub fn load_patterns(
        &self,
        mut take: impl FnMut(Pattern, &[f32]) -> Result<(), String>,
    ) -> Result<Loaded, StoreError> {
        let loaded = self.read(|begun| {
            let revision = revision(begun)?;
            let Some(patterns) = unless_absent(begun.open_table(PATTERNS))? else {
                return Ok(Ok(Loaded { revision, is_whole: true }));
            };
            let (vectors, texts) = (begun.open_table(VECTORS)?, begun.open_table(TEXTS)?);
            let (order, observed) = (begun.open_table(ORDER)?, begun.open_table(OBSERVED)?);
            let count = patterns.len()?;
            let mut observations = 0;
            let mut is_whole = [vectors.len()?, texts.len()?, order.len()?] == [count; 3];
            let mut unit = Vec::new();
            for entry in patterns.iter()? {
                let (id, kept) = entry?;
                let pattern = match decoded(kept.value()) {
                    Ok(pattern) => pattern,
                    Err(error) => return Ok(Err(error)),
                };
                observations += pattern.observations.len() as u64;
                let vector = vectors.get(id.value())?;
                let bytes = vector.as_ref().map_or(&[][..], |vector| vector.value());
                let (numbers, _) = bytes.as_chunks::<4>();
                unit.clear();
                unit.extend(numbers.iter().map(|number| f32::from_le_bytes(*number)));
                if unit.len() != pattern.embedder.dimension || pattern.id.0 != *id.value() {
                    is_whole = false;
                    continue;
                }
                if let Err(error) = take(pattern, &unit) {
                    return Ok(Err(StoreError::Read(error)));
                }
            }
            is_whole &= observed.len()? == observations;
            Ok(Ok(Loaded { revision, is_whole }))
        });
        loaded?
    }

    /// The last revision of the patterns. Reads the disk.
    ///
    /// # Errors
    /// [`StoreError::Read`].
    pub fn pattern_revision(&self) -> Result<u64, StoreError> {
        self.read(revision)
    }

    /// Looks up a pattern and what it says. Reads the disk.
    ///
    /// # Errors
    /// [`StoreError::Read`], also if what is kept is damaged.
    pub fn find_pattern(&self, id: PatternId) -> Result<Option<Remembered>, StoreError> {
        self.read(|begun| told(begun, [Ok(id)]))?.map(|found| found.into_iter().next())
    }

    /// What these patterns say, in their order; nothing for one that is gone. Reads the disk.
    ///
    /// # Errors
    /// [`StoreError::Read`].
    pub fn pattern_texts(&self, ids: &[PatternId]) -> Result<Vec<Option<String>>, StoreError> {
        self.read(|begun| {
            let Some(texts) = unless_absent(begun.open_table(TEXTS))? else {
                return Ok(vec![None; ids.len()]);
            };
            let text = |id: &PatternId| Ok(texts.get(&id.0)?.map(|text| text.value().to_owned()));
            ids.iter().map(text).collect()
        })
    }

    /// Lists a page of the patterns, newest first. Reads the disk.
    ///
    /// # Errors
    /// As [`Store::find_pattern`].
    pub fn patterns(&self, page: &Page) -> Result<Vec<Remembered>, StoreError> {
        self.read(|begun| {
            let Some(order) = unless_absent(begun.open_table(ORDER))? else {
                return Ok(Ok(Vec::new()));
            };
            let end = match page.after {
                None => u64::MAX,
                Some(after) => match told(begun, [Ok(after)])? {
                    Ok(found) => match found.first() {
                        Some(found) => found.pattern.number,
                        None => return Ok(Ok(Vec::new())),
                    },
                    Err(error) => return Ok(Err(error)),
                },
            };
            let newest = order.range(..end)?.rev().take(page.limit);
            told(begun, newest.map(|entry| Ok(PatternId(*entry?.1.value()))))
        })?
    }
}

fn revision(begun: &ReadTransaction) -> Result<u64, redb::Error> {
    Ok(match unless_absent(begun.open_table(STATE))? {
        Some(state) => state.get(REVISION)?.map_or(0, |revision| revision.value()),
        None => 0,
    })
}

fn decoded(kept: &[u8]) -> Result<Pattern, StoreError> {
    let damaged = |error| StoreError::Read(format!("a pattern is damaged: {error}"));
    Pattern::from_bytes(kept).map_err(damaged)
}

type Read = Result<Result<Vec<Remembered>, StoreError>, redb::Error>;

/// Those of these patterns that are there.
fn told(
    begun: &ReadTransaction,
    ids: impl IntoIterator<Item = Result<PatternId, StorageError>>,
) -> Read {
    let Some(patterns) = unless_absent(begun.open_table(PATTERNS))? else {
        return Ok(Ok(Vec::new()));
    };
    let texts = begun.open_table(TEXTS)?;
    let mut found = Vec::new();
    for id in ids {
        let id = id?;
        let (Some(kept), Some(text)) = (patterns.get(&id.0)?, texts.get(&id.0)?) else { continue };
        match decoded(kept.value()) {
            Ok(pattern) => found
                .push(Remembered { pattern: Arc::new(pattern), content: text.value().to_owned() }),
            Err(error) => return Ok(Err(error)),
        }
    }
    Ok(Ok(found))
}

/// The tables, open for writing.
pub(super) struct Patterns<'t> {
    patterns: redb::Table<'t, Id, &'static [u8]>,
    texts: redb::Table<'t, Id, &'static str>,
    vectors: redb::Table<'t, Id, &'static [u8]>,
    order: redb::Table<'t, u64, Id>,
    observed: redb::Table<'t, Id, Id>,
    state: redb::Table<'t, &'static str, u64>,
}

impl<'t> Patterns<'t> {
    pub(super) fn open(write: &'t WriteTransaction) -> Result<Self, redb::Error> {
        Ok(Self {
            patterns: write.open_table(PATTERNS)?,
            texts: write.open_table(TEXTS)?,
            vectors: write.open_table(VECTORS)?,
            order: write.open_table(ORDER)?,
            observed: write.open_table(OBSERVED)?,
            state: write.open_table(STATE)?,
        })
    }

    /// Writes changes, if they follow on the last revision.
    pub(super) fn write(&mut self, batch: &PatternBatch) -> Result<Written, redb::Error> {
        let last = self.state.get(REVISION)?.map_or(0, |revision| revision.value());
        if batch.revision != last + 1 {
            return Ok(Written::Behind(last));
        }
        for row in &batch.rows {
            match row {
                Encoded::Put { id, kept, added } => {
                    self.patterns.insert(&id.0, kept.as_slice())?;
                    if let Some((number, text, unit)) = added {
                        self.texts.insert(&id.0, &**text)?;
                        self.vectors.insert(&id.0, unit.as_slice())?;
                        self.order.insert(number, &id.0)?;
                    }
                }
                Encoded::Observe(observation, id) => {
                    self.observed.insert(&observation.0, &id.0)?;
                }
                Encoded::Overlook(observation) => {
                    self.observed.remove(&observation.0)?;
                }
                Encoded::Remove { id, number, observations } => {
                    self.remove(*id, *number, observations)?;
                }
            }
        }
        self.state.insert(REVISION, batch.revision)?;
        Ok(Written::Done)
    }

    fn remove(
        &mut self,
        id: PatternId,
        number: u64,
        observations: &[Observation],
    ) -> Result<(), redb::Error> {
        self.patterns.remove(&id.0)?;
        self.texts.remove(&id.0)?;
        self.vectors.remove(&id.0)?;
        self.order.remove(number)?;
        for observation in observations {
            self.observed.remove(&observation.0)?;
        }
        Ok(())
    }
}
