//! Tables of proposals and decisions. A decision is one transaction: the record, its number, and
//! that it waits no more. So numbers have no gap and none comes twice, whoever dies when.

use redb::{ReadTransaction, ReadableTable, ReadableTableMetadata, TableDefinition};
use redb::{StorageError, WriteTransaction};

use super::writer::{Op, Outcome};
use super::{Store, StoreError, unless_absent};
use crate::domain::federation::{Bounds, Page, ProposalId, Record};
use crate::domain::json;

type Id = &'static [u8; 32];
type Source = &'static [u8; 16];

/// Proposal to its number, its source and its record.
const PROPOSALS: TableDefinition<'_, Id, (u64, Source, &[u8])> = TableDefinition::new("proposals");
/// Proposals by their number, in the order in which they came.
const ORDER: TableDefinition<'_, u64, Id> = TableDefinition::new("proposal_order");
/// The same by source.
const SOURCES: TableDefinition<'_, (Source, u64), Id> = TableDefinition::new("proposal_sources");
/// How many there are of each source.
const COUNTS: TableDefinition<'_, Source, u64> = TableDefinition::new("proposal_source_counts");
/// Those that wait for a decision.
const PENDING: TableDefinition<'_, u64, Id> = TableDefinition::new("proposals_pending");
/// Decided patterns, with the last height that a decision about each has.
const PATTERNS: TableDefinition<'_, &str, u64> = TableDefinition::new("decided_patterns");
/// The last height and the last number.
const CHAIN: TableDefinition<'_, &str, u64> = TableDefinition::new("decision_chain");
const HEIGHT: &str = "height";
const NUMBER: &str = "number";

/// What became of a proposal that was to be kept.
#[derive(Clone, Debug, PartialEq)]
pub enum Kept {
    /// It is kept.
    New,
    /// It was kept before; this is its record.
    Existing(Box<Record>),
    /// Too many wait for a decision.
    Crowded,
}

/// What became of a decision that was to be kept.
#[derive(Clone, Debug, PartialEq)]
pub enum Decided {
    /// It is kept.
    New,
    /// It was decided before; this is its record.
    Existing(Box<Record>),
    /// This is the last height, and the decision has not the one after it.
    Behind(u64),
    /// There is no such proposal.
    Unknown,
}

/// How far the decisions are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Decisions {
    /// The height of the last.
    pub height: u64,
    /// Patterns that a decision speaks for that is kept.
    pub patterns: u64,
    /// Proposals that wait for a decision.
    pub pending: u64,
}

/// A record as the writer takes it.
#[derive(Debug)]
pub(super) struct Row {
    id: ProposalId,
    source: [u8; 16],
    pattern: String,
    is_pending: bool,
    height: Option<u64>,
    pub(super) json: Vec<u8>,
}

/// What became of a row, with the record that was in its place as it is kept.
#[derive(Debug)]
pub(super) enum Placed {
    New,
    Existing(Vec<u8>),
    Crowded,
    Behind(u64),
    Unknown,
}

impl Row {
    fn of(record: &Record) -> Result<Self, StoreError> {
        let json = record.to_bytes().map_err(|error| StoreError::Read(error.to_string()))?;
        Ok(Self {
            id: record.id(),
            source: *record.proposal.source().as_bytes(),
            pattern: record.proposal.pattern_id().to_owned(),
            is_pending: record.is_pending(),
            height: record.height(),
            json,
        })
    }
}

impl Store {
    /// Keeps a proposal that is not kept yet, and lets the oldest decided ones go if there are more
    /// than `bounds` allow. Answers when that is on disk.
    ///
    /// # Errors
    /// As [`Store::append_envelope`].
    pub async fn keep_proposal(&self, record: &Record, bounds: Bounds) -> Result<Kept, StoreError> {
        let op = Op::Keep { row: Row::of(record)?, bounds };
        match self.submit(op).await? {
            Outcome::Placed(Placed::New) => Ok(Kept::New),
            Outcome::Placed(Placed::Existing(json)) => Ok(Kept::Existing(Box::new(read(&json)?))),
            Outcome::Placed(Placed::Crowded) => Ok(Kept::Crowded),
            _ => Err(StoreError::Closed),
        }
    }

    /// Keeps what became of a proposal that waits for a decision, if nothing has yet. Answers when
    /// that is on disk.
    ///
    /// # Errors
    /// As [`Store::append_envelope`].
    pub async fn decide_proposal(&self, record: &Record) -> Result<Decided, StoreError> {
        match self.submit(Op::Decide(Row::of(record)?)).await? {
            Outcome::Placed(Placed::New) => Ok(Decided::New),
            Outcome::Placed(Placed::Existing(json)) => {
                Ok(Decided::Existing(Box::new(read(&json)?)))
            }
            Outcome::Placed(Placed::Behind(last)) => Ok(Decided::Behind(last)),
            Outcome::Placed(Placed::Unknown) => Ok(Decided::Unknown),
            _ => Err(StoreError::Closed),
        }
    }

    /// Looks up a proposal. Reads the disk: not for a thread that must not wait.
    ///
    /// # Errors
    /// [`StoreError::Read`], also if what is kept is damaged.
    pub fn find_proposal(&self, id: ProposalId) -> Result<Option<Record>, StoreError> {
        let found = self.read(|begun| find(begun, id))?;
        found.map(|json| read(&json)).transpose()
    }

    /// Lists a page of the proposals, newest first. Reads the disk.
    ///
    /// # Errors
    /// As [`Store::find_proposal`].
    pub fn proposals(&self, page: &Page) -> Result<Vec<Record>, StoreError> {
        let found = self.read(|begun| list(begun, page))?;
        found.iter().map(|json| read(json)).collect()
    }

    /// Lists those that wait for a decision, oldest first. Reads the disk.
    ///
    /// # Errors
    /// As [`Store::find_proposal`].
    pub fn pending_proposals(&self) -> Result<Vec<Record>, StoreError> {
        let found = self.read(|begun| {
            let Some(pending) = unless_absent(begun.open_table(PENDING))? else {
                return Ok(Vec::new());
            };
            let ids = pending.iter()?.map(|entry| Ok(ProposalId(*entry?.1.value())));
            let ids: Vec<_> = ids.collect::<Result<_, StorageError>>()?;
            let found = ids.into_iter().map(|id| find(begun, id)).collect::<Result<Vec<_>, _>>()?;
            Ok(found.into_iter().flatten().collect::<Vec<_>>())
        })?;
        found.iter().map(|json| read(json)).collect()
    }

    /// Tells how far the decisions are. Reads the disk.
    ///
    /// # Errors
    /// [`StoreError::Read`].
    pub fn decisions(&self) -> Result<Decisions, StoreError> {
        self.read(|begun| {
            let chain = unless_absent(begun.open_table(CHAIN))?;
            let height = match &chain {
                Some(chain) => chain.get(HEIGHT)?.map(|height| height.value()),
                None => None,
            };
            let patterns = unless_absent(begun.open_table(PATTERNS))?.map(|it| it.len());
            let pending = unless_absent(begun.open_table(PENDING))?.map(|it| it.len());
            Ok(Decisions {
                height: height.unwrap_or(0),
                patterns: patterns.transpose()?.unwrap_or(0),
                pending: pending.transpose()?.unwrap_or(0),
            })
        })
    }
}

fn read(json: &[u8]) -> Result<Record, StoreError> {
    let damaged = |error: String| StoreError::Read(format!("a proposal is damaged: {error}"));
    let value = json::parse(json).map_err(|error| damaged(error.to_string()))?;
    Record::from_json(&value).map_err(|error| damaged(error.to_string()))
}

fn find(begun: &ReadTransaction, id: ProposalId) -> Result<Option<Vec<u8>>, redb::Error> {
    let Some(table) = unless_absent(begun.open_table(PROPOSALS))? else { return Ok(None) };
    Ok(table.get(&id.0)?.map(|found| found.value().2.to_vec()))
}

fn list(begun: &ReadTransaction, page: &Page) -> Result<Vec<Vec<u8>>, redb::Error> {
    let Some(order) = unless_absent(begun.open_table(ORDER))? else { return Ok(Vec::new()) };
    let Some(table) = unless_absent(begun.open_table(PROPOSALS))? else { return Ok(Vec::new()) };
    let end = match page.after {
        None => u64::MAX,
        Some(after) => match table.get(&after.0)? {
            Some(found) => found.value().0,
            None => return Ok(Vec::new()),
        },
    };
    let mut found = Vec::new();
    for entry in order.range(..end)?.rev().take(page.limit) {
        let id = *entry?.1.value();
        found.extend(table.get(&id)?.map(|found| found.value().2.to_vec()));
    }
    Ok(found)
}

/// A proposal's number, source and record.
type Place = (u64, [u8; 16], Vec<u8>);

/// The tables, open for writing.
pub(super) struct Proposals<'t> {
    proposals: redb::Table<'t, Id, (u64, Source, &'static [u8])>,
    order: redb::Table<'t, u64, Id>,
    sources: redb::Table<'t, (Source, u64), Id>,
    counts: redb::Table<'t, Source, u64>,
    pending: redb::Table<'t, u64, Id>,
    patterns: redb::Table<'t, &'static str, u64>,
    chain: redb::Table<'t, &'static str, u64>,
}

impl<'t> Proposals<'t> {
    pub(super) fn open(write: &'t WriteTransaction) -> Result<Self, redb::Error> {
        Ok(Self {
            proposals: write.open_table(PROPOSALS)?,
            order: write.open_table(ORDER)?,
            sources: write.open_table(SOURCES)?,
            counts: write.open_table(COUNTS)?,
            pending: write.open_table(PENDING)?,
            patterns: write.open_table(PATTERNS)?,
            chain: write.open_table(CHAIN)?,
        })
    }

    /// Adds a proposal, unless it is there.
    pub(super) fn keep(&mut self, row: &Row, bounds: Bounds) -> Result<Placed, redb::Error> {
        if let Some((_, _, json)) = self.get(row.id)? {
            return Ok(Placed::Existing(json));
        }
        if row.is_pending && self.pending.len()? >= bounds.pending_max {
            return Ok(Placed::Crowded);
        }
        let number = self.last(NUMBER)? + 1;
        self.chain.insert(NUMBER, number)?;
        self.proposals.insert(&row.id.0, (number, &row.source, row.json.as_slice()))?;
        self.order.insert(number, &row.id.0)?;
        self.sources.insert((&row.source, number), &row.id.0)?;
        let count = self.count(&row.source)? + 1;
        self.counts.insert(&row.source, count)?;
        if row.is_pending {
            self.pending.insert(number, &row.id.0)?;
        }
        // One goes for one that comes, so a loop is for bounds that have become narrower. Its own
        // source comes first: nobody's proposals drive out those of others before their own.
        while self.count(&row.source)? > bounds.per_source_max && self.evict_of(&row.source)? {}
        while self.proposals.len()? > bounds.kept_max && self.evict()? {}
        Ok(Placed::New)
    }

    /// Puts what became of a proposal in the place of one that waits.
    pub(super) fn decide(&mut self, row: &Row) -> Result<Placed, redb::Error> {
        let Some((number, source, json)) = self.get(row.id)? else { return Ok(Placed::Unknown) };
        if self.pending.get(number)?.is_none() {
            return Ok(Placed::Existing(json));
        }
        if let Some(height) = row.height {
            let last = self.last(HEIGHT)?;
            if height != last + 1 {
                return Ok(Placed::Behind(last));
            }
            self.chain.insert(HEIGHT, height)?;
            self.patterns.insert(row.pattern.as_str(), height)?;
        }
        self.pending.remove(number)?;
        self.proposals.insert(&row.id.0, (number, &source, row.json.as_slice()))?;
        Ok(Placed::New)
    }

    fn get(&self, id: ProposalId) -> Result<Option<Place>, redb::Error> {
        Ok(self.proposals.get(&id.0)?.map(|found| {
            let (number, source, json) = found.value();
            (number, *source, json.to_vec())
        }))
    }

    fn last(&self, name: &str) -> Result<u64, redb::Error> {
        Ok(self.chain.get(name)?.map_or(0, |last| last.value()))
    }

    fn count(&self, source: &[u8; 16]) -> Result<u64, redb::Error> {
        Ok(self.counts.get(source)?.map_or(0, |count| count.value()))
    }

    /// Lets the oldest go that does not wait for a decision; tells whether there was one.
    fn evict(&mut self) -> Result<bool, redb::Error> {
        let mut oldest = None;
        for entry in self.order.iter()? {
            let (number, id) = entry?;
            if self.pending.get(number.value())?.is_none() {
                oldest = Some(ProposalId(*id.value()));
                break;
            }
        }
        self.remove(oldest)
    }

    /// The same among those of one source.
    fn evict_of(&mut self, source: &[u8; 16]) -> Result<bool, redb::Error> {
        let mut oldest = None;
        for entry in self.sources.range((source, 0)..=(source, u64::MAX))? {
            let (key, id) = entry?;
            if self.pending.get(key.value().1)?.is_none() {
                oldest = Some(ProposalId(*id.value()));
                break;
            }
        }
        self.remove(oldest)
    }

    fn remove(&mut self, id: Option<ProposalId>) -> Result<bool, redb::Error> {
        let Some(id) = id else { return Ok(false) };
        let Some((number, source, json)) = self.get(id)? else { return Ok(false) };
        self.proposals.remove(&id.0)?;
        self.order.remove(number)?;
        self.sources.remove((&source, number))?;
        match self.count(&source)? {
            0 | 1 => self.counts.remove(&source)?.map(drop),
            more => self.counts.insert(&source, more - 1)?.map(drop),
        };
        // A later decision about the same pattern still speaks for it.
        if let Ok(record) = read(&json)
            && let Some(height) = record.height()
        {
            let pattern = record.proposal.pattern_id();
            let last = self.patterns.get(pattern)?.map(|last| last.value());
            if last == Some(height) {
                self.patterns.remove(pattern)?;
            }
        }
        Ok(true)
    }
}
