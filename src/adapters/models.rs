//! Models on disk: a store that any process may use at any time, a node as well as a command.
//!
//! ```text
//! <data_dir>/models/
//!   index.json               names, each with the digest it points to; replaced whole
//!   lock                     held while the index changes
//!   blobs/sha256/<hex>       files, called by what they hash to
//!   partial/<hex>.part       a file on its way, locked by whoever brings it
//! ```
//!
//! Nothing here is held in memory, so a restart loses nothing, and what one process does the next one
//! sees at once. Locks are the system's (`flock`): they end with their process, however it ends.

pub mod download;
pub mod hub;
mod import;
mod index;
pub mod inspect;
mod part;
mod verify;

use std::fmt;
use std::fs::{self, DirBuilder, File, TryLockError};
use std::io::{self, Read};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::adapters::store::free_bytes;
use crate::domain::model_store::catalogue::{Catalogue, CatalogueError, DOCUMENT_BYTES_MAX, Entry};
use crate::domain::model_store::index::{IndexError, Record};
use crate::domain::model_store::listing::{Listed, Removed};
use crate::domain::model_store::transfer::Refusal;
use crate::domain::model_store::{ModelName, NameError, NoRoom, Presence, Progress, Sha256, room};
use crate::private_file::{self, PrivateFileError};

pub use part::{Stop, StopOnDrop};

/// The store's folder in the data directory.
const FOLDER: &str = "models";
/// Tries to hold a file, and the pause between two.
const HOLD_TRIES: usize = 50;
const HOLD_PAUSE: Duration = Duration::from_millis(2);
/// Bytes written between two looks at the free space, and read between two looks whether to stop.
const STRIDE: usize = 1 << 20;

/// Why something was not done with a model.
#[derive(Debug, thiserror::Error)]
pub enum ModelStoreError {
    /// A file or folder could not be used.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A private file could not be used.
    #[error(transparent)]
    File(#[from] PrivateFileError),
    /// The index is of no use, or has no room.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// A text is no name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The catalogue cannot be used.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    /// There is no model of this name, neither here nor in the catalogue.
    #[error("there is no model {name}; there is: {}", known.join(", "))]
    Unknown {
        /// The name.
        name: String,
        /// Every name that there is.
        known: Vec<String>,
    },
    /// A process uses the file.
    #[error("{0} is in use by a process; stop it first, or remove it all the same with --force")]
    InUse(ModelName),
    /// Another process brings it.
    #[error("{0} is being brought here by a process; cancel that first")]
    Coming(ModelName),
    /// Another process changes the index and does not end.
    #[error("{} is locked by another process", .0.display())]
    Locked(PathBuf),
    /// The disk is too full.
    #[error("{0}")]
    NoRoom(#[from] NoRoom),
    /// It is no file that can be a model.
    #[error("{}: {reason}", path.display())]
    NotAFile {
        /// Which one.
        path: PathBuf,
        /// Why not.
        reason: &'static str,
    },
    /// The engine cannot use the file.
    #[error("{what} is no model that the engine can run: {reason}")]
    NotAModel {
        /// The file or the model.
        what: String,
        /// Why not.
        reason: String,
    },
    /// What came is not what the catalogue describes.
    #[error("what came has SHA-256 {found} where the catalogue has {expected}; it was thrown away")]
    Digest {
        /// What it hashes to.
        found: Sha256,
        /// What it should.
        expected: Sha256,
    },
    /// More came than the file has.
    #[error("more than the {0} bytes of the file came; it was thrown away")]
    TooMuch(u64),
    /// The hub refuses.
    #[error("{0}")]
    Refused(#[from] Refusal),
    /// It failed again and again.
    #[error("given up after {tries} tries without progress; the last: {reason}")]
    Exhausted {
        /// Tries in a row.
        tries: u32,
        /// What the last came to.
        reason: String,
    },
    /// It took too long as a whole.
    #[error("given up after {} h; what came is kept, and another pull goes on from there", .0 / 3600)]
    TooSlow(u64),
    /// The hub's address, or one it points to, cannot be used.
    #[error("{0}")]
    Address(String),
    /// The node is not to use the network.
    #[error(
        "{0} is not here, and inference.models.offline (or HF_HUB_OFFLINE) is set, so nothing is \
         fetched; bring its file with: bizra models import FILE"
    )]
    Offline(ModelName),
    /// Whoever asked for it no longer wants it.
    #[error("cancelled; what came is kept, and another pull goes on from there")]
    Cancelled,
    /// A panic of ours.
    #[error("the work ended without a result; the log says where")]
    Panicked,
}

impl ModelStoreError {
    fn io(path: &Path, source: io::Error) -> Self {
        Self::Io { path: path.to_owned(), source }
    }
}

/// A model that is here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installed {
    /// What it is called.
    pub name: String,
    /// Its file. Whoever loads it takes a [`hold`] first.
    pub path: PathBuf,
    /// What the file hashes to, in hex.
    pub sha256: String,
    /// Its size.
    pub bytes: u64,
    /// `llama`, `qwen2` or `qwen3`.
    pub architecture: String,
    /// The number format of its weights.
    pub quantization: String,
    /// Number of its weights.
    pub parameters: u64,
    /// Tokens of context that it was made for.
    pub context: u32,
}

type FreeBytes = dyn Fn(&Path) -> Option<u64> + Send + Sync;

/// The store of a data directory; cheap to clone.
#[derive(Clone)]
pub struct ModelStore {
    dir: PathBuf,
    /// Bytes that stay free on the disk.
    floor: u64,
    free: Arc<FreeBytes>,
}

impl fmt::Debug for ModelStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ModelStore").field("dir", &self.dir).finish_non_exhaustive()
    }
}

/// Every model that is here with its whole file, by name. Reads one small file, and asks for the size
/// of each model; nobody has to wait for it.
///
/// # Errors
/// When the index cannot be read.
pub fn installed(data_dir: &Path) -> Result<Vec<Installed>, ModelStoreError> {
    ModelStore::new(data_dir, 0).installed()
}

/// Keeps the file of a model from being removed, until it is dropped or the process ends.
#[derive(Debug)]
pub struct Hold {
    /// Closing it gives the lock back.
    _file: File,
}

/// Says that this process uses the file at `path`, so that the store lists it as loaded and does not
/// remove it unless told to by force. May be called on any file; blocks for an instant at most.
///
/// # Errors
/// When it cannot be opened or locked.
pub fn hold(path: &Path) -> io::Result<Hold> {
    let file = File::open(path)?;
    // The store takes the lock for an instant when it looks whether it is free. Who keeps it for
    // longer is none of ours, and is not waited for.
    for _ in 0..HOLD_TRIES {
        match file.try_lock_shared() {
            Ok(()) => return Ok(Hold { _file: file }),
            Err(TryLockError::WouldBlock) => std::thread::sleep(HOLD_PAUSE),
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
    Err(io::ErrorKind::WouldBlock.into())
}

/// Whether a process holds the file.
fn is_held(path: &Path) -> bool {
    File::open(path).is_ok_and(|file| matches!(file.try_lock(), Err(TryLockError::WouldBlock)))
}

/// Reads the catalogue at `path`, or the built-in one.
///
/// # Errors
/// When it cannot be read, or is none.
pub fn catalogue(path: Option<&Path>) -> Result<Catalogue, ModelStoreError> {
    let Some(path) = path else { return Ok(Catalogue::built_in()?) };
    let fail = |source| ModelStoreError::io(path, source);
    let mut text = String::new();
    let limit = DOCUMENT_BYTES_MAX as u64 + 1;
    File::open(path).map_err(fail)?.take(limit).read_to_string(&mut text).map_err(fail)?;
    Ok(Catalogue::parse(&path.display().to_string(), &text)?)
}

impl ModelStore {
    /// The store in `data_dir`, which leaves `free_bytes_min` of the disk free. Makes nothing yet.
    pub fn new(data_dir: &Path, free_bytes_min: u64) -> Self {
        let free = Arc::new(free_bytes);
        Self { dir: data_dir.join(FOLDER), floor: free_bytes_min, free }
    }

    /// The same, told by `free` how much of the disk is free.
    #[must_use]
    pub fn with_free_bytes(
        mut self,
        free: impl Fn(&Path) -> Option<u64> + Send + Sync + 'static,
    ) -> Self {
        self.free = Arc::new(free);
        self
    }

    /// Every model that is here with its whole file, by name.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn installed(&self) -> Result<Vec<Installed>, ModelStoreError> {
        let index = self.index()?;
        let is_whole = |record: &&Record| {
            fs::metadata(self.blob(&record.sha256))
                .is_ok_and(|file| file.is_file() && file.len() == record.bytes)
        };
        let records = index.records().iter().filter(is_whole);
        Ok(records.map(|record| self.describe(record)).collect())
    }

    fn describe(&self, record: &Record) -> Installed {
        Installed {
            name: record.name.to_string(),
            path: self.blob(&record.sha256),
            sha256: record.sha256.to_hex(),
            bytes: record.bytes,
            architecture: record.architecture.clone(),
            quantization: record.quantization.clone(),
            parameters: record.parameters,
            context: record.context,
        }
    }

    /// What is installed, and what `catalogue` has beside it.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn list(&self, catalogue: &Catalogue) -> Result<Vec<Listed>, ModelStoreError> {
        let index = self.index()?;
        let mut listed: Vec<Listed> = index
            .records()
            .iter()
            .map(|record| self.list_installed(record, catalogue.find(&record.name)))
            .collect();
        let others = catalogue.entries().iter().filter(|entry| index.find(&entry.name).is_none());
        listed.extend(others.map(|entry| self.list_other(entry)));
        Ok(listed)
    }

    fn list_installed(&self, record: &Record, entry: Option<&Entry>) -> Listed {
        let blob = self.blob(&record.sha256);
        let bytes_here = fs::metadata(&blob).map_or(0, |file| file.len());
        let presence = match bytes_here == record.bytes {
            false => Presence::Missing,
            true if is_held(&blob) => Presence::Loaded,
            true => Presence::Installed,
        };
        // A name of the catalogue may have been given to another file.
        let entry = entry.filter(|entry| entry.sha256 == record.sha256);
        Listed {
            name: record.name.clone(),
            presence,
            bytes: record.bytes,
            bytes_here,
            sha256: record.sha256,
            quantization: record.quantization.clone(),
            parameters: Some(record.parameters),
            context: record.context,
            licence: record.licence.clone(),
            memory_bytes: entry.map(|entry| entry.memory_bytes),
            description: entry.map(|entry| entry.description.clone()),
            source: record.source.clone(),
        }
    }

    fn list_other(&self, entry: &Entry) -> Listed {
        let bytes_here =
            fs::metadata(self.partial(&entry.sha256)).map_or(0, |file| file.len().min(entry.bytes));
        Listed {
            name: entry.name.clone(),
            presence: if bytes_here > 0 { Presence::Partial } else { Presence::Available },
            bytes: entry.bytes,
            bytes_here,
            sha256: entry.sha256,
            quantization: entry.quantization.clone(),
            parameters: None,
            context: entry.context,
            licence: Some(entry.licence.clone()),
            memory_bytes: Some(entry.memory_bytes),
            description: Some(entry.description.clone()),
            source: entry.source(),
        }
    }

    /// Takes a name away, and its file if no other name points to it; also what a pull of it left.
    /// A file that a process uses is kept, unless `is_forced`.
    ///
    /// # Errors
    /// When it is in use, on its way, or not there at all.
    pub fn remove(
        &self,
        name: &ModelName,
        catalogue: &Catalogue,
        is_forced: bool,
    ) -> Result<Removed, ModelStoreError> {
        self.make()?;
        let _lock = self.lock()?;
        let mut index = self.index()?;
        let record = index.remove(name);
        let sha256 = match (&record, catalogue.find(name)) {
            (Some(record), _) => record.sha256,
            (None, Some(entry)) => entry.sha256,
            (None, None) => return Err(self.unknown(name.as_str(), catalogue)),
        };
        let blob = self.blob(&sha256);
        if record.is_some() && !is_forced && is_held(&blob) {
            return Err(ModelStoreError::InUse(name.clone()));
        }
        let partial = self.partial(&sha256);
        if is_held(&partial) {
            return Err(ModelStoreError::Coming(name.clone()));
        }
        let mut bytes_freed = 0;
        if record.is_some() {
            self.write_index(&index)?;
            bytes_freed += self.collect(&index)?;
        }
        match fs::metadata(&partial) {
            Ok(file) => {
                remove_if_there(&partial)?;
                remove_if_there(&partial.with_extension("etag"))?;
                bytes_freed += file.len();
            }
            Err(_) if record.is_none() => {
                return Err(self.unknown(name.as_str(), catalogue));
            }
            Err(_) => {}
        }
        Ok(Removed { bytes_freed })
    }

    /// That there is no model of this name, and which there are.
    pub fn unknown(&self, name: &str, catalogue: &Catalogue) -> ModelStoreError {
        let index = self.index().unwrap_or_default();
        let here = index.records().iter().map(|record| record.name.to_string());
        let mut known: Vec<String> =
            here.chain(catalogue.entries().iter().map(|entry| entry.name.to_string())).collect();
        known.sort();
        known.dedup();
        ModelStoreError::Unknown { name: name.chars().take(64).collect(), known }
    }

    /// Bytes that are free on the disk, if the system tells.
    pub fn free_bytes(&self) -> Option<u64> {
        // Before the first model the folder is not there yet.
        let dir = self.dir.ancestors().find(|dir| dir.exists())?;
        (self.free)(dir)
    }

    /// Whether `needed` bytes more fit on the disk.
    fn room(&self, needed: u64) -> Result<(), ModelStoreError> {
        Ok(room(needed, self.floor, self.free_bytes())?)
    }

    fn blobs(&self) -> PathBuf {
        self.dir.join("blobs").join("sha256")
    }

    fn blob(&self, sha256: &Sha256) -> PathBuf {
        self.blobs().join(sha256.to_hex())
    }

    fn partials(&self) -> PathBuf {
        self.dir.join("partial")
    }

    fn partial(&self, sha256: &Sha256) -> PathBuf {
        self.partials().join(format!("{}.part", sha256.to_hex()))
    }

    /// Makes the folders.
    fn make(&self) -> Result<(), ModelStoreError> {
        for dir in [self.blobs(), self.partials()] {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(&dir);
            made.map_err(|source| ModelStoreError::io(&dir, source))?;
        }
        Ok(())
    }
}

/// What a full disk says in its own words becomes ours.
fn write_error(path: &Path, source: io::Error, free: Option<u64>, floor: u64) -> ModelStoreError {
    if source.kind() == io::ErrorKind::StorageFull {
        let free = free.unwrap_or(0);
        return NoRoom { needed: STRIDE as u64, floor, free }.into();
    }
    ModelStoreError::io(path, source)
}

fn remove_if_there(path: &Path) -> Result<(), ModelStoreError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(ModelStoreError::io(path, error))
        }
        _ => Ok(()),
    }
}

fn sync_dir(dir: &Path) -> Result<(), ModelStoreError> {
    Ok(private_file::sync_dir(dir)?)
}

/// Hears of progress.
pub type Tell<'t> = &'t (dyn Fn(Progress) + Send + Sync);
