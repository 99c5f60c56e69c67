//! Tables of the replay window. An entry is removed when it has expired and the window is closed up
//! to that time.

use redb::{ReadTransaction, ReadableTable, TableDefinition, WriteTransaction};

use super::{Recorded, Replay, unless_absent};
use crate::domain::envelope::EnvelopeId;
use crate::domain::replay::Nonce;

/// Expired nonces removed in one transaction, so that a long pause does not make it a long one.
const EXPIRED_MAX: usize = 512;

/// Consumed envelopes of one id that are looked at: keys are many, and ids are theirs to choose.
const SAME_ID_MAX: usize = 16;

/// Public key and envelope id to when it expires, in milliseconds.
const NONCES: TableDefinition<'_, &[u8; 48], i64> = TableDefinition::new("nonces");
/// The same by expiry.
const EXPIRIES: TableDefinition<'_, (i64, &[u8; 48]), ()> = TableDefinition::new("nonce_expiries");
/// Envelope id and public key to the content hash of what was consumed.
const CONTENTS: TableDefinition<'_, &[u8; 48], &[u8; 32]> = TableDefinition::new("nonce_contents");
const META: TableDefinition<'_, &str, i64> = TableDefinition::new("meta");
const CLOSED_UNTIL: &str = "replay_closed_until_ms";

/// The window's tables, open for writing.
pub(super) struct Window<'t> {
    nonces: redb::Table<'t, &'static [u8; 48], i64>,
    expiries: redb::Table<'t, (i64, &'static [u8; 48]), ()>,
    contents: redb::Table<'t, &'static [u8; 48], &'static [u8; 32]>,
    meta: redb::Table<'t, &'static str, i64>,
}

impl<'t> Window<'t> {
    pub(super) fn open(write: &'t WriteTransaction) -> Result<Self, redb::Error> {
        Ok(Self {
            nonces: write.open_table(NONCES)?,
            expiries: write.open_table(EXPIRIES)?,
            contents: write.open_table(CONTENTS)?,
            meta: write.open_table(META)?,
        })
    }

    pub(super) fn record(
        &mut self,
        nonce: &Nonce,
        content_hash: &[u8; 32],
        expires_ms: i64,
    ) -> Result<Recorded, redb::Error> {
        let key = key_first(nonce);
        if self.nonces.get(&key)?.is_some() {
            return Ok(Recorded::Seen);
        }
        self.nonces.insert(&key, expires_ms)?;
        self.expiries.insert((expires_ms, &key), ())?;
        self.contents.insert(&id_first(nonce), content_hash)?;
        Ok(Recorded::New)
    }

    /// Closes the window up to `closed_until_ms` and removes what expired by then.
    pub(super) fn close(&mut self, closed_until_ms: i64) -> Result<(), redb::Error> {
        let before = self.meta.get(CLOSED_UNTIL)?.map(|before| before.value());
        if before.is_none_or(|before| before < closed_until_ms) {
            self.meta.insert(CLOSED_UNTIL, closed_until_ms)?;
        }
        for _ in 0..EXPIRED_MAX {
            let first = self.expiries.first()?.map(|(key, _)| {
                let (expires_ms, key) = key.value();
                (expires_ms, *key)
            });
            let Some((expires_ms, key)) = first.filter(|first| first.0 <= closed_until_ms) else {
                break;
            };
            self.expiries.remove((expires_ms, &key))?;
            self.nonces.remove(&key)?;
            self.contents.remove(&id_first(&from_key_first(&key)))?;
        }
        Ok(())
    }
}

/// The live nonces, at most `nonces_max` of them, those that live longest first. If there are more,
/// the window is closed up to the last that was left out, so that none of them is forgotten open.
pub(super) fn load(read: &ReadTransaction, nonces_max: usize) -> Result<Replay, redb::Error> {
    let mut replay = Replay { nonces: Vec::new(), closed_until_ms: i64::MIN };
    if let Some(table) = unless_absent(read.open_table(META))?
        && let Some(closed) = table.get(CLOSED_UNTIL)?
    {
        replay.closed_until_ms = closed.value();
    }
    let Some(table) = unless_absent(read.open_table(EXPIRIES))? else { return Ok(replay) };
    for entry in table.iter()?.rev() {
        let (entry, _) = entry?;
        let (expires_ms, key) = entry.value();
        // What expired before it was closed is removed bit by bit and refused all the same.
        if expires_ms <= replay.closed_until_ms {
            break;
        }
        if replay.nonces.len() == nonces_max {
            replay.closed_until_ms = expires_ms;
            break;
        }
        replay.nonces.push((from_key_first(key), expires_ms));
    }
    Ok(replay)
}

/// Whether an envelope of this id and content was consumed and has not expired.
pub(super) fn is_consumed(
    read: &ReadTransaction,
    id: EnvelopeId,
    content_hash: &[u8; 32],
) -> Result<bool, redb::Error> {
    let Some(table) = unless_absent(read.open_table(CONTENTS))? else { return Ok(false) };
    let (first, last) = ([0; 32], [0xff; 32]);
    let (first, last) = (Nonce { public_key: first, id }, Nonce { public_key: last, id });
    for entry in table.range::<&[u8; 48]>(&id_first(&first)..=&id_first(&last))?.take(SAME_ID_MAX) {
        if entry?.1.value() == content_hash {
            return Ok(true);
        }
    }
    Ok(false)
}

fn key_first(nonce: &Nonce) -> [u8; 48] {
    let mut key = [0; 48];
    key[..32].copy_from_slice(&nonce.public_key);
    key[32..].copy_from_slice(&nonce.id.0);
    key
}

fn from_key_first(key: &[u8; 48]) -> Nonce {
    let mut nonce = Nonce { public_key: [0; 32], id: EnvelopeId([0; 16]) };
    nonce.public_key.copy_from_slice(&key[..32]);
    nonce.id.0.copy_from_slice(&key[32..]);
    nonce
}

fn id_first(nonce: &Nonce) -> [u8; 48] {
    let mut key = [0; 48];
    key[..16].copy_from_slice(&nonce.id.0);
    key[16..].copy_from_slice(&nonce.public_key);
    key
}
