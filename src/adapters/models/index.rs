//! The index file of a store, its lock, and how a file gets its name.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::adapters::models::inspect::Facts;
use crate::adapters::models::{
    Installed, ModelStore, ModelStoreError, is_held, remove_if_there, sync_dir,
};
use crate::domain::model_store::index::{INDEX_BYTES_MAX, Index, IndexError, Record, clean};
use crate::domain::model_store::{ModelName, Sha256};
use crate::private_file;

/// The index's file.
const FILE: &str = "index.json";
/// Held while the index changes.
const LOCK: &str = "lock";
/// How long to wait for another process that changes the index: it takes milliseconds.
const LOCK_WAIT: Duration = Duration::from_secs(10);
/// Time between two tries to get the lock.
const LOCK_PAUSE: Duration = Duration::from_millis(10);
/// Files looked at when those without a name are removed.
const BLOBS_MAX: usize = 4096;

/// What a new name points to, and what is known of it.
#[derive(Clone, Debug)]
pub(super) struct Arrival {
    pub(super) name: ModelName,
    pub(super) sha256: Sha256,
    pub(super) bytes: u64,
    pub(super) facts: Facts,
    pub(super) licence: Option<String>,
    pub(super) source: String,
    pub(super) now_ms: u64,
}

impl ModelStore {
    /// The index as it is now; an empty one if there is none.
    pub(super) fn index(&self) -> Result<Index, ModelStoreError> {
        match private_file::read(&self.dir.join(FILE), INDEX_BYTES_MAX) {
            Ok(bytes) => Ok(Index::parse(&bytes)?),
            Err(error) if error.is_absent() => Ok(Index::default()),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits until nobody else changes the index. Blocks.
    pub(super) fn lock(&self) -> Result<File, ModelStoreError> {
        let path = self.dir.join(LOCK);
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(|source| ModelStoreError::io(&path, source))?;
        let began = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::WouldBlock) if began.elapsed() < LOCK_WAIT => {
                    std::thread::sleep(LOCK_PAUSE);
                }
                Err(TryLockError::WouldBlock) => return Err(ModelStoreError::Locked(path)),
                Err(TryLockError::Error(source)) => return Err(ModelStoreError::io(&path, source)),
            }
        }
    }

    /// Puts the index in place. Whoever calls holds the lock.
    pub(super) fn write_index(&self, index: &Index) -> Result<(), ModelStoreError> {
        private_file::remove_temporary(&self.dir)?;
        Ok(private_file::write(&self.dir, FILE, index.to_json().as_bytes())?)
    }

    /// Removes files that no name points to, and says how many bytes that freed. One that a process
    /// uses goes too: its bytes stay until that process ends. Whoever calls holds the lock.
    pub(super) fn collect(&self, index: &Index) -> Result<u64, ModelStoreError> {
        let dir = self.blobs();
        let entries = fs::read_dir(&dir).map_err(|source| ModelStoreError::io(&dir, source))?;
        let mut freed = 0;
        for entry in entries.take(BLOBS_MAX) {
            let entry = entry.map_err(|source| ModelStoreError::io(&dir, source))?;
            let name = entry.file_name();
            let sha256 = name.to_str().and_then(|name| Sha256::from_hex(name).ok());
            // What is not called by a digest is not ours.
            let Some(sha256) = sha256 else { continue };
            if index.holds(&sha256) {
                continue;
            }
            let path = entry.path();
            if !is_held(&path) {
                freed += entry.metadata().map_or(0, |file| file.len());
            }
            remove_if_there(&path)?;
        }
        Ok(freed)
    }

    /// Refuses what could not be taken in, before any of it is fetched.
    pub(super) fn expect(&self, name: &ModelName, sha256: &Sha256) -> Result<(), ModelStoreError> {
        let mut index = self.index()?;
        if let Some(record) = index.find(name)
            && record.sha256 != *sha256
        {
            let (name, sha256) = (name.clone(), record.sha256);
            return Err(IndexError::Taken { name, sha256 }.into());
        }
        // Only the number of names can still refuse.
        index.put(blank(name, sha256))?;
        Ok(())
    }

    /// Moves the whole and checked file at `from` to its place and gives it its name. The file is
    /// synced already. All or nothing: a crash in between leaves a file without a name, which the
    /// next removal collects.
    pub(super) fn take_in(
        &self,
        from: &Path,
        arrival: Arrival,
    ) -> Result<Installed, ModelStoreError> {
        let _lock = self.lock()?;
        let mut index = self.index()?;
        let record = Record {
            name: arrival.name,
            sha256: arrival.sha256,
            bytes: arrival.bytes,
            architecture: clean(&arrival.facts.architecture),
            quantization: clean(&arrival.facts.quantization),
            parameters: arrival.facts.parameters,
            context: arrival.facts.context,
            licence: arrival.licence.as_deref().map(clean),
            source: clean(&arrival.source),
            added_ms: arrival.now_ms,
        };
        index.put(record.clone())?;
        let blob = self.blob(&arrival.sha256);
        if from != blob {
            fs::rename(from, &blob).map_err(|source| ModelStoreError::io(&blob, source))?;
            sync_dir(&self.blobs())?;
        }
        self.write_index(&index)?;
        Ok(self.describe(&record))
    }
}

fn blank(name: &ModelName, sha256: &Sha256) -> Record {
    Record {
        name: name.clone(),
        sha256: *sha256,
        bytes: 0,
        architecture: String::new(),
        quantization: String::new(),
        parameters: 0,
        context: 0,
        licence: None,
        source: String::new(),
        added_ms: 0,
    }
}
