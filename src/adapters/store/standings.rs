//! The standings of senders, as they are kept in the store.

use redb::{ReadableTable, TableDefinition, WriteTransaction};

use super::{Op, Store, StoreError, unless_absent};
use crate::domain::score::Score;
use crate::domain::trust::{Change, SENDERS_MAX, SenderKey, Standing};

/// The bits of a double, and two times.
type Row = (u64, i64, i64);

/// Public key to trust (the bits of a double), since when, and the end of the cooldown; times in
/// milliseconds since the Unix epoch.
const STANDINGS: TableDefinition<'_, &SenderKey, Row> = TableDefinition::new("standings");

impl Store {
    /// Reads every standing, at most [`SENDERS_MAX`]. Reads the disk: not for a thread that must not
    /// wait.
    ///
    /// # Errors
    /// [`StoreError::Read`], also if an entry holds no score.
    pub fn load_standings(&self) -> Result<Vec<(SenderKey, Standing)>, StoreError> {
        let entries = self.read(|read| -> Result<Vec<(SenderKey, Row)>, redb::Error> {
            let Some(table) = unless_absent(read.open_table(STANDINGS))? else {
                return Ok(Vec::new());
            };
            let entry = |entry: Result<_, redb::StorageError>| {
                let (key, value): (redb::AccessGuard<'_, &SenderKey>, redb::AccessGuard<'_, _>) =
                    entry?;
                Ok((*key.value(), value.value()))
            };
            table.iter()?.take(SENDERS_MAX).map(entry).collect()
        })?;
        let standing = |(sender, (trust, at_ms, cooldown_until_ms))| {
            let trust = Score::try_from(f64::from_bits(trust))
                .map_err(|error| StoreError::Read(format!("standings: {error}")))?;
            Ok((sender, Standing { trust, at_ms, cooldown_until_ms }))
        };
        entries.into_iter().map(standing).collect()
    }

    /// Keeps what changed in the book of standings. Answers when it is on disk.
    ///
    /// # Errors
    /// As [`Store::append_envelope`].
    pub async fn put_standing(&self, change: Change) -> Result<(), StoreError> {
        self.submit(Op::Stand(change)).await.map(|_| ())
    }
}

/// Writes `change` as part of a transaction.
pub(super) fn write(write: &WriteTransaction, change: &Change) -> Result<(), redb::Error> {
    let mut table = write.open_table(STANDINGS)?;
    for sender in &change.forgotten {
        table.remove(sender)?;
    }
    let Standing { trust, at_ms, cooldown_until_ms } = change.standing;
    table.insert(&change.sender, (trust.value().to_bits(), at_ms, cooldown_until_ms))?;
    Ok(())
}
