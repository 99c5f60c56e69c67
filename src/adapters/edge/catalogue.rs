//! Which models there are on this machine, as their headers say, without loading them.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufReader, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::adapters::edge::gguf::Header;
use crate::adapters::edge::metadata::{Metadata, required};
use crate::adapters::edge::model::{LoadError, LoadProblem, ModelSource, name, quantization};
use crate::adapters::edge::weights::shape;
use crate::adapters::models::installed;

/// Files of the folder that are looked at, the first by name.
const FILES_MAX: usize = 256;

/// What tells one state of a file from another without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
}

impl Stamp {
    /// That of an open or a named file.
    #[must_use]
    pub fn of(metadata: &fs::Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        }
    }
}

/// What a header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peek {
    /// From its metadata, otherwise the file's name without extension.
    pub name: String,
    /// The number of its weights.
    pub parameters: u64,
    /// The number format of its weights.
    pub quantization: String,
    /// The most tokens of prompt and answer together.
    pub context_length: usize,
    /// Bytes of its weights, which is what it takes in memory.
    pub weights_bytes: u64,
}

/// A model that could be loaded, or that cannot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// What to ask for it by: no other has this name.
    pub name: String,
    /// Where it is.
    pub source: ModelSource,
    /// The state of its file; `None` for one inside the program, or if there is no file.
    pub stamp: Option<Stamp>,
    /// What its header says, or why it cannot be loaded.
    pub peek: Result<Peek, String>,
}

/// Where models are looked for.
#[derive(Debug)]
pub struct Catalogue {
    /// Those that were named, the default first.
    named: Vec<ModelSource>,
    data_dir: Option<PathBuf>,
    /// What was read of files by their state: a header is read once.
    read: Mutex<BTreeMap<Stamp, Result<Peek, String>>>,
}

impl Catalogue {
    /// Looks at these, at what the model store in `data_dir` has, and at the files `*.gguf` of its
    /// folder `models`, which need not be there.
    #[must_use]
    pub fn new(named: Vec<ModelSource>, data_dir: Option<PathBuf>) -> Self {
        Self { named, data_dir, read: Mutex::default() }
    }

    /// The model for requests that name none.
    #[must_use]
    pub fn default_source(&self) -> Option<&ModelSource> {
        self.named.first()
    }

    /// The state of the folder `models`: another one when a file of it has come or gone.
    pub fn folder(&self) -> Option<Stamp> {
        let folder = self.data_dir.as_ref()?.join("models");
        fs::metadata(folder).ok().map(|metadata| Stamp::of(&metadata))
    }

    /// Looks at all of them; blocks for as long as that takes.
    #[must_use]
    pub fn look(&self) -> Vec<Seen> {
        // A store that cannot be read is told of by those who change it.
        let store = self.data_dir.as_deref().and_then(|data_dir| installed(data_dir).ok());
        let stored = store.into_iter().flatten().map(|model| (model.path, Some(model.name)));
        let found = self.data_dir.as_deref().map(files).unwrap_or_default();
        let found = stored.chain(found.into_iter().map(|path| (path, None)));
        let found = found.map(|(path, name)| (ModelSource::Path(path), name));
        let named = self.named.iter().map(|source| (source.clone(), None));
        let mut sources: Vec<(ModelSource, Option<String>)> = Vec::new();
        for (source, name) in named.chain(found) {
            // Two names of the store may point to one file; each can be asked for.
            if name.is_some() || sources.iter().all(|(known, _)| *known != source) {
                sources.push((source, name));
            }
        }
        let mut all: Vec<Seen> = Vec::with_capacity(sources.len());
        for (source, given) in sources {
            let seen = self.look_at(source);
            let is_taken = |name: &str| all.iter().any(|other| other.name == name);
            let name = given.into_iter().chain(names(&seen)).find(|name| !is_taken(name));
            // The last of its names is its path, which no other has.
            let name = name.unwrap_or_else(|| seen.source.title());
            all.push(Seen { name, ..seen });
        }
        let present = |stamp: &Stamp| all.iter().any(|seen| seen.stamp == Some(*stamp));
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        read.retain(|stamp, _| present(stamp));
        all
    }

    fn look_at(&self, source: ModelSource) -> Seen {
        let (stamp, peek) = match &source {
            ModelSource::Embedded { name, bytes } => {
                let peek = peek(*bytes, bytes.len() as u64, name);
                (None, peek.map_err(|problem| said(&source, problem)))
            }
            ModelSource::Path(path) => match fs::metadata(path) {
                Err(error) => (None, Err(said(&source, error.into()))),
                Ok(metadata) if !metadata.is_file() => {
                    (None, Err(said(&source, LoadProblem::NotAFile)))
                }
                Ok(metadata) => (Some(Stamp::of(&metadata)), self.read(&source, path, &metadata)),
            },
        };
        Seen { name: String::new(), source, stamp, peek }
    }

    fn read(
        &self,
        source: &ModelSource,
        path: &Path,
        metadata: &fs::Metadata,
    ) -> Result<Peek, String> {
        let stamp = Stamp::of(metadata);
        let known = || self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(read) = known().get(&stamp) {
            return read.clone();
        }
        let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        let opened = File::open(path).map_err(LoadProblem::from);
        let read = opened
            .and_then(|file| peek(BufReader::new(file), metadata.len(), &stem.unwrap_or_default()))
            .map_err(|problem| said(source, problem));
        known().insert(stamp, read.clone());
        read
    }
}

/// The names of a model, the best first: its own, its file's, its path.
fn names(seen: &Seen) -> Vec<String> {
    let own = seen.peek.as_ref().map(|peek| peek.name.clone()).ok();
    match &seen.source {
        ModelSource::Embedded { name, .. } => vec![(*name).to_owned()],
        ModelSource::Path(path) => {
            let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
            let file = own.is_some().then_some(stem).flatten();
            own.into_iter().chain(file).chain([path.display().to_string()]).collect()
        }
    }
}

/// The model files of the data directory's folder, by name.
fn files(data_dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(data_dir.join("models")).into_iter().flatten().flatten();
    let is_model = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "gguf");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(is_model).collect();
    files.sort();
    files.truncate(FILES_MAX);
    files
}

fn peek(reader: impl Read, bytes: u64, fallback_name: &str) -> Result<Peek, LoadProblem> {
    let header = Header::read(reader, bytes)?;
    let metadata = Metadata(&header.metadata);
    let key = "general.architecture";
    let architecture = required(metadata.text(key), key)?;
    Ok(Peek {
        name: name(metadata.text("general.name")?, fallback_name),
        parameters: header.tensors.values().map(|tensor| tensor.elements()).sum(),
        quantization: quantization(metadata.count("general.file_type")?, &header),
        context_length: shape(metadata, architecture)?.context,
        weights_bytes: header.tensors.values().map(|tensor| tensor.bytes).sum(),
    })
}

fn said(source: &ModelSource, problem: LoadProblem) -> String {
    LoadError { model: source.title(), problem: Box::new(problem) }.to_string()
}
