//! Brings a file of this machine into the store.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use crate::adapters::models::index::Arrival;
use crate::adapters::models::inspect::inspect;
use crate::adapters::models::part::{Part, Stop};
use crate::adapters::models::{Installed, ModelStore, ModelStoreError, STRIDE, Tell};
use crate::domain::bytes;
use crate::domain::model_store::catalogue::Catalogue;
use crate::domain::model_store::{BYTES_MAX, ModelName, Progress, Stage};

/// Files that imports which were cut off left, looked at for each import.
const LEFT_MAX: usize = 256;

impl ModelStore {
    /// Copies the file at `path` into the store, or makes a second link to it (`is_linked`, on the
    /// same file system only). Without a `name` it gets that of its entry in the catalogue, if it has
    /// the digest of one, otherwise that of the file. Blocks for as long as reading it takes.
    ///
    /// # Errors
    /// When it is no model that the engine can run, does not fit, or has no name.
    pub fn import(
        &self,
        path: &Path,
        name: Option<ModelName>,
        catalogue: &Catalogue,
        is_linked: bool,
        now_ms: u64,
        tell: Tell<'_>,
    ) -> Result<Installed, ModelStoreError> {
        let fail = |source| ModelStoreError::io(path, source);
        let found = fs::metadata(path).map_err(fail)?;
        let not_a_file = |reason| ModelStoreError::NotAFile { path: path.to_owned(), reason };
        if !found.is_file() {
            return Err(not_a_file("is no regular file"));
        }
        if !(1..=BYTES_MAX).contains(&found.len()) {
            return Err(not_a_file("is empty or larger than a model may be"));
        }
        let no_model =
            |reason| ModelStoreError::NotAModel { what: path.display().to_string(), reason };
        // Before gigabytes are copied; what was copied is looked at again.
        inspect(path).map_err(no_model)?;
        self.make()?;
        self.remove_left()?;
        if !is_linked {
            self.room(found.len())?;
        }
        let place = self.partials().join(format!("import-{}.part", random()?));
        if is_linked {
            fs::hard_link(path, &place).map_err(|source| ModelStoreError::io(&place, source))?;
        }
        let part = Part::at(self, place)?;
        let Some(mut part) = part else { return Err(not_a_file("is in use by a process")) };
        let arrived = self.fill(path, found.len(), is_linked, &mut part, tell).and_then(|()| {
            let facts = inspect(part.path()).map_err(no_model)?;
            let sha256 = part.sha256();
            let entry = catalogue.entries().iter().find(|entry| entry.sha256 == sha256);
            let file_name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let name = match (name, entry) {
                (Some(name), _) => name,
                (None, Some(entry)) => entry.name.clone(),
                (None, None) => ModelName::of_file(file_name)?,
            };
            let arrival = Arrival {
                name,
                sha256,
                bytes: part.bytes(),
                facts,
                licence: entry.map(|entry| entry.licence.clone()),
                source: format!("imported from {file_name}"),
                now_ms,
            };
            self.take_in(part.path(), arrival)
        });
        match arrived {
            Ok(installed) => {
                part.leave();
                Ok(installed)
            }
            Err(error) => {
                // This error is the one to tell.
                let _ = part.discard();
                Err(error)
            }
        }
    }

    fn fill(
        &self,
        path: &Path,
        total: u64,
        is_linked: bool,
        part: &mut Part,
        tell: Tell<'_>,
    ) -> Result<(), ModelStoreError> {
        let told = |bytes| tell(Progress::of(Stage::Copying, bytes, total));
        if is_linked {
            return part.take_up(u64::MAX, &Stop::default(), &told);
        }
        let fail = |source| ModelStoreError::io(path, source);
        let mut source = File::open(path).map_err(fail)?;
        let mut buffer = vec![0; STRIDE];
        loop {
            let read = source.read(&mut buffer).map_err(fail)?;
            if read == 0 {
                return part.sync();
            }
            part.append(&buffer[..read])?;
            // A file that grows while it is read must not fill the disk.
            if part.bytes() > BYTES_MAX {
                return Err(ModelStoreError::TooMuch(BYTES_MAX));
            }
            told(part.bytes());
        }
    }

    /// Removes what imports left that were cut off.
    fn remove_left(&self) -> Result<(), ModelStoreError> {
        let dir = self.partials();
        let entries = fs::read_dir(&dir).map_err(|source| ModelStoreError::io(&dir, source))?;
        for entry in entries.take(LEFT_MAX).flatten() {
            let is_import = entry.file_name().to_str().is_some_and(|n| n.starts_with("import-"));
            // One whose lock is free belongs to nobody.
            if is_import && let Ok(Some(part)) = Part::at(self, entry.path()) {
                part.discard()?;
            }
        }
        Ok(())
    }
}

fn random() -> Result<String, ModelStoreError> {
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(crate::private_file::PrivateFileError::Random)?;
    Ok(bytes::to_hex(&random))
}
