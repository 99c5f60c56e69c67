//! A file on its way: locked by one process, hashed as it grows, and hashed again when it is taken up
//! later.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::OFlags;
use sha2::Digest;

use crate::adapters::models::{ModelStore, ModelStoreError, STRIDE, remove_if_there, write_error};
use crate::domain::model_store::Sha256;
use crate::private_file;

/// Bytes of an entity tag that are kept; a longer one is not used.
const ETAG_BYTES_MAX: usize = 256;
/// Bytes written between two looks at the free space.
const LOOK_EVERY: u64 = 1 << 20;
/// Files that take the place of one another while their lock is waited for.
const REOPENS_MAX: usize = 16;

/// Set when nobody wants the result any more.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    pub(super) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Sets it when what this returns is dropped.
    pub fn on_drop(&self) -> StopOnDrop {
        StopOnDrop(self.clone())
    }
}

/// Tells work on another thread to end.
#[derive(Debug)]
pub struct StopOnDrop(Stop);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.0.store(true, Ordering::Relaxed);
    }
}

/// A locked file that is not whole yet.
#[derive(Debug)]
pub(super) struct Part {
    store: ModelStore,
    path: PathBuf,
    /// Holds the lock.
    file: File,
    hasher: sha2::Sha256,
    bytes: u64,
    /// Bytes at the last look at the free space.
    looked: u64,
    /// What the server called the version that the bytes here are of.
    etag: Option<String>,
    /// Whether bytes here are from an earlier answer.
    pub(super) is_resumed: bool,
}

impl Part {
    /// The file that is to become `sha256`; `None` while another process brings it. Not read yet.
    pub(super) fn open(
        store: &ModelStore,
        sha256: &Sha256,
    ) -> Result<Option<Self>, ModelStoreError> {
        store.make()?;
        let path = store.partial(sha256);
        Self::at(store, path)
    }

    pub(super) fn at(store: &ModelStore, path: PathBuf) -> Result<Option<Self>, ModelStoreError> {
        let fail = |source| ModelStoreError::io(&path, source);
        for _ in 0..REOPENS_MAX {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed())
                .open(&path)
                .map_err(fail)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(source)) => return Err(fail(source)),
            }
            let locked = file.metadata().map_err(fail)?;
            if !locked.is_file() {
                return Err(ModelStoreError::NotAFile { path, reason: "is no regular file" });
            }
            // Whoever had the lock may have moved or removed the file it was on.
            let is_same = fs::symlink_metadata(&path)
                .is_ok_and(|now| (now.dev(), now.ino()) == (locked.dev(), locked.ino()));
            if is_same {
                let store = store.clone();
                let hasher = sha2::Sha256::new();
                let (bytes, looked) = (0, 0);
                let (etag, is_resumed) = (None, false);
                let part = Self { store, path, file, hasher, bytes, looked, etag, is_resumed };
                return Ok(Some(part));
            }
        }
        Ok(None)
    }

    /// Hashes what is here, so that more can be appended. More than `total` is thrown away.
    pub(super) fn take_up(
        &mut self,
        total: u64,
        stop: &Stop,
        tell: &dyn Fn(u64),
    ) -> Result<(), ModelStoreError> {
        let here = self.file.metadata().map_err(|error| self.fail(error))?.len();
        if here > total {
            return self.restart();
        }
        self.file.seek(SeekFrom::Start(0)).map_err(|error| self.fail(error))?;
        let (hasher, bytes) = hash(&mut self.file, stop, tell)
            .map_err(|error| self.fail(error))?
            .ok_or(ModelStoreError::Cancelled)?;
        (self.hasher, self.bytes, self.looked) = (hasher, bytes, bytes);
        self.is_resumed = bytes > 0;
        self.etag = private_file::read(&self.etag_path(), ETAG_BYTES_MAX)
            .ok()
            .and_then(|etag| String::from_utf8(etag.to_vec()).ok())
            .filter(|etag| is_strong(etag));
        Ok(())
    }

    /// Bytes that are here.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The server's name for the version that the bytes here are of, fit for `If-Range`.
    pub(super) fn etag(&self) -> Option<&str> {
        self.etag.as_deref()
    }

    /// Remembers which version comes now.
    pub(super) fn set_etag(&mut self, etag: Option<&str>) -> Result<(), ModelStoreError> {
        let etag = etag.filter(|etag| is_strong(etag)).map(str::to_owned);
        if etag == self.etag {
            return Ok(());
        }
        let path = self.etag_path();
        remove_if_there(&path)?;
        if let Some(etag) = &etag {
            // Losing it costs a comparison, so it is not synced with the rest.
            private_file::write_new(&path, etag.as_bytes())?;
        }
        self.etag = etag;
        Ok(())
    }

    /// Writes what comes next. The disk is looked at every now and then.
    pub(super) fn append(&mut self, piece: &[u8]) -> Result<(), ModelStoreError> {
        self.file.write_all(piece).map_err(|error| self.fail(error))?;
        self.hasher.update(piece);
        self.bytes += piece.len() as u64;
        if self.bytes - self.looked >= LOOK_EVERY {
            self.looked = self.bytes;
            self.store.room(0)?;
        }
        Ok(())
    }

    /// Begins anew with nothing.
    pub(super) fn restart(&mut self) -> Result<(), ModelStoreError> {
        self.file.set_len(0).map_err(|error| self.fail(error))?;
        self.file.seek(SeekFrom::Start(0)).map_err(|error| self.fail(error))?;
        self.hasher = sha2::Sha256::new();
        (self.bytes, self.looked, self.is_resumed) = (0, 0, false);
        self.set_etag(None)
    }

    /// What all of it hashes to.
    pub(super) fn sha256(&self) -> Sha256 {
        finish(self.hasher.clone())
    }

    /// Everything is on disk.
    pub(super) fn sync(&self) -> Result<(), ModelStoreError> {
        self.file.sync_all().map_err(|error| self.fail(error))
    }

    /// Its place.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Removes it.
    pub(super) fn discard(self) -> Result<(), ModelStoreError> {
        remove_if_there(&self.path)?;
        remove_if_there(&self.etag_path())
    }

    /// It became a model; removes what is left beside it, and gives the lock back.
    pub(super) fn leave(self) {
        // What is left is small and is overwritten by the next pull.
        let _ = fs::remove_file(self.etag_path());
    }

    fn etag_path(&self) -> PathBuf {
        self.path.with_extension("etag")
    }

    fn fail(&self, source: io::Error) -> ModelStoreError {
        write_error(&self.path, source, self.store.free_bytes(), self.store.floor)
    }
}

/// `If-Range` takes no weak tags, and a header no control characters.
fn is_strong(etag: &str) -> bool {
    etag.len() <= ETAG_BYTES_MAX
        && etag.len() > 2
        && etag.starts_with('"')
        && etag.ends_with('"')
        && etag.bytes().all(|byte| (0x21..0x7f).contains(&byte))
}

/// Hashes a file to its end from where it stands; `None` if it is told to stop.
pub(super) fn hash(
    file: &mut File,
    stop: &Stop,
    tell: &dyn Fn(u64),
) -> io::Result<Option<(sha2::Sha256, u64)>> {
    let mut hasher = sha2::Sha256::new();
    let mut buffer = vec![0; STRIDE];
    let mut bytes = 0;
    loop {
        if stop.is_set() {
            return Ok(None);
        }
        let read = match file.read(&mut buffer) {
            Ok(0) => return Ok(Some((hasher, bytes))),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        hasher.update(&buffer[..read]);
        bytes += read as u64;
        tell(bytes);
    }
}

pub(super) fn finish(hasher: sha2::Sha256) -> Sha256 {
    Sha256::from(<[u8; 32]>::from(hasher.finalize()))
}
