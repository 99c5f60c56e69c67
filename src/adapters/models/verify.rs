//! Hashes installed models again.

use std::fs::File;
use std::path::Path;

use crate::adapters::models::part::{Stop, finish, hash};
use crate::adapters::models::{ModelStore, ModelStoreError, Tell};
use crate::domain::model_store::catalogue::Catalogue;
use crate::domain::model_store::listing::{Condition, Verified};
use crate::domain::model_store::{ModelName, Progress, Sha256, Stage};

impl ModelStore {
    /// Hashes the file of each installed model, or of the one that is named. Blocks for as long as
    /// reading them takes.
    ///
    /// # Errors
    /// When there is no such model, the index cannot be read, or `stop` says so. A damaged file is
    /// no error.
    pub fn verify(
        &self,
        name: Option<&ModelName>,
        stop: &Stop,
        tell: Tell<'_>,
    ) -> Result<Vec<Verified>, ModelStoreError> {
        let index = self.index()?;
        if let Some(name) = name
            && index.find(name).is_none()
        {
            return Err(self.unknown(name.as_str(), &Catalogue::default()));
        }
        let records = index.records().iter();
        let records = records.filter(|record| name.is_none_or(|name| record.name == *name));
        let mut verified = Vec::new();
        for record in records {
            let told = |bytes| {
                tell(Progress::of(Stage::Verifying, bytes, record.bytes));
            };
            let path = self.blob(&record.sha256);
            let condition = condition(&path, record.bytes, &record.sha256, stop, &told)?;
            let name = record.name.clone();
            verified.push(Verified { name, sha256: record.sha256, condition });
        }
        Ok(verified)
    }
}

/// Whether the file at `path` is what it is called.
pub(super) fn condition(
    path: &Path,
    bytes: u64,
    sha256: &Sha256,
    stop: &Stop,
    tell: &dyn Fn(u64),
) -> Result<Condition, ModelStoreError> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Ok(Condition::Missing);
        }
        Err(error) => return Err(ModelStoreError::io(path, error)),
    };
    let found = file.metadata().map_err(|error| ModelStoreError::io(path, error))?.len();
    if found != bytes {
        let reason = format!("it has {found} bytes where {bytes} were installed");
        return Ok(Condition::Damaged { reason });
    }
    match hash(&mut file, stop, tell) {
        Ok(None) => Err(ModelStoreError::Cancelled),
        Ok(Some((hasher, _))) => {
            let found = finish(hasher);
            let reason = || format!("its SHA-256 is {found}");
            let is_sound = found == *sha256;
            Ok(if is_sound { Condition::Ok } else { Condition::Damaged { reason: reason() } })
        }
        // A disk that cannot read it back is damage too.
        Err(error) => Ok(Condition::Damaged { reason: format!("it cannot be read: {error}") }),
    }
}
