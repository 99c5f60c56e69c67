//! Tables of the envelope log. Nothing here changes or removes an entry.

use redb::{Database, ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition};
use redb::{ReadableTableMetadata, WriteTransaction};

use super::{BATCH_BYTES_MAX, BATCH_MAX, durable, unless_absent};
use crate::domain::envelope::{EnvelopeId, Head, Page, Sealed};

/// Envelope id to the envelope's JSON.
const ENVELOPES: TableDefinition<'_, &[u8; 16], &[u8]> = TableDefinition::new("envelopes");
/// Envelope id to the head, so that neither listing nor recognising a parent reads payloads.
const HEADS: TableDefinition<'_, &[u8; 16], &[u8; Head::BYTES]> =
    TableDefinition::new("envelope_heads");
/// Time and envelope id.
const TIMES: TableDefinition<'_, (i64, &[u8; 16]), ()> = TableDefinition::new("envelope_times");

/// The log's tables, open for writing.
pub(super) struct Log<'t> {
    envelopes: redb::Table<'t, &'static [u8; 16], &'static [u8]>,
    heads: redb::Table<'t, &'static [u8; 16], &'static [u8; Head::BYTES]>,
    times: redb::Table<'t, (i64, &'static [u8; 16]), ()>,
}

impl<'t> Log<'t> {
    pub(super) fn open(write: &'t WriteTransaction) -> Result<Self, redb::Error> {
        Ok(Self {
            envelopes: write.open_table(ENVELOPES)?,
            heads: write.open_table(HEADS)?,
            times: write.open_table(TIMES)?,
        })
    }

    /// Adds an envelope, unless its id is there: then that one's JSON is the answer.
    pub(super) fn append(
        &mut self,
        head: &Head,
        json: &[u8],
    ) -> Result<Option<Vec<u8>>, redb::Error> {
        if let Some(existing) = self.envelopes.get(&head.id.0)? {
            return Ok(Some(existing.value().to_vec()));
        }
        self.envelopes.insert(&head.id.0, json)?;
        self.index(head)?;
        Ok(None)
    }

    fn index(&mut self, head: &Head) -> Result<(), redb::Error> {
        self.heads.insert(&head.id.0, &head.to_bytes())?;
        self.times.insert((head.at_ms, &head.id.0), ())?;
        Ok(())
    }
}

pub(super) fn find(read: &ReadTransaction, id: EnvelopeId) -> Result<Option<Vec<u8>>, redb::Error> {
    let Some(table) = unless_absent(read.open_table(ENVELOPES))? else { return Ok(None) };
    Ok(table.get(&id.0)?.map(|json| json.value().to_vec()))
}

pub(super) fn head(read: &ReadTransaction, id: EnvelopeId) -> Result<Option<Head>, redb::Error> {
    let Some(table) = unless_absent(read.open_table(HEADS))? else { return Ok(None) };
    Ok(table.get(&id.0)?.map(|bytes| Head::from_bytes(id, bytes.value())))
}

pub(super) fn page(read: &ReadTransaction, page: &Page) -> Result<Vec<Head>, redb::Error> {
    let Some(times) = unless_absent(read.open_table(TIMES))? else { return Ok(Vec::new()) };
    let end = match page.after {
        None => (i64::MAX, [0xff; 16]),
        Some(after) => match head(read, after)? {
            Some(head) => (head.at_ms, after.0),
            None => return Ok(Vec::new()),
        },
    };
    if page.since_ms > end.0 {
        return Ok(Vec::new());
    }
    let mut heads = Vec::new();
    for entry in times.range((page.since_ms, &[0; 16])..(end.0, &end.1))?.rev().take(page.limit) {
        let (key, ()) = entry.map(|(key, _)| (key, ()))?;
        let id = EnvelopeId(*key.value().1);
        heads.extend(head(read, id)?);
    }
    Ok(heads)
}

/// Adds to the index what an earlier version logged without one, in transactions of bounded size.
/// If it is cut off, the rest is added next time.
///
/// # Errors
/// The store's, or which entry is damaged.
pub(super) fn complete_index(db: &Database) -> Result<(), String> {
    let text = |error: redb::Error| error.to_string();
    let mut from = Some([0; 16]);
    if is_indexed(db).map_err(text)? {
        return Ok(());
    }
    tracing::info!("the envelope log has no index yet; it is made now, once");
    while let Some(start) = from {
        let (heads, next) = unindexed(db, start).map_err(text)??;
        if !heads.is_empty() {
            write_index(db, &heads).map_err(text)?;
        }
        from = next;
    }
    Ok(())
}

fn is_indexed(db: &Database) -> Result<bool, redb::Error> {
    let read = db.begin_read()?;
    let envelopes = unless_absent(read.open_table(ENVELOPES))?.map(|it| it.len()).transpose()?;
    let heads = unless_absent(read.open_table(HEADS))?.map(|it| it.len()).transpose()?;
    Ok(envelopes.unwrap_or(0) == heads.unwrap_or(0))
}

type Unindexed = Result<(Vec<Head>, Option<[u8; 16]>), String>;

/// Heads that are missing from `start` on, as many as one transaction takes, and where to go on.
fn unindexed(db: &Database, start: [u8; 16]) -> Result<Unindexed, redb::Error> {
    let read = db.begin_read()?;
    let (mut missing, mut bytes) = (Vec::new(), 0);
    for entry in read.open_table(ENVELOPES)?.range::<&[u8; 16]>(&start..)? {
        let (key, json) = entry?;
        let id = EnvelopeId(*key.value());
        if missing.len() == BATCH_MAX || bytes > BATCH_BYTES_MAX {
            return Ok(Ok((missing, Some(id.0))));
        }
        if head(&read, id)?.is_some() {
            continue;
        }
        bytes += json.value().len();
        match Sealed::from_trusted_bytes(json.value()).and_then(|sealed| Head::of(&sealed)) {
            Ok(head) if head.id == id => missing.push(head),
            Ok(head) => return Ok(Err(format!("log entry {id} holds envelope {}", head.id))),
            Err(error) => return Ok(Err(format!("log entry {id} is damaged: {error}"))),
        }
    }
    Ok(Ok((missing, None)))
}

fn write_index(db: &Database, heads: &[Head]) -> Result<(), redb::Error> {
    let write = durable(db)?;
    {
        let mut log = Log::open(&write)?;
        heads.iter().try_for_each(|head| log.index(head))?;
    }
    write.commit()?;
    Ok(())
}
