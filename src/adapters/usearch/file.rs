//! The file of a graph: what the library writes, then which vectors are in it, then a tail that says to
//! what it belongs, with a checksum of all before. Whoever opens it trusts no vector whose fingerprint is
//! not that of the store's.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use blake3::Hasher;
use usearch::Index;

use super::{CONNECTIVITY, EXPANSION_ADD, EXPANSION_SEARCH, Graph, failed, options};
use crate::adapters::store::free_bytes;
use crate::domain::embedding::EmbedderId;
use crate::domain::pattern::mirror::NearestError;
use crate::private_file;

/// Ends a whole file, with the version of this form.
const MAGIC: &[u8; 16] = b"BIZRA nearest 1\n";

/// The magic, the length of what the library wrote, the number of entries, the revision of the store, to
/// what it belongs, and the checksum.
const TAIL: usize = 16 + 3 * 8 + 32 + 32;

/// A key and the fingerprint of its vector.
const ENTRY: usize = 16;

/// Read at once.
const BUFFER: usize = 1 << 20;

/// A vector in the graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its key.
    pub key: u64,
    /// That of its vector; see [`fingerprint`].
    pub fingerprint: u64,
}

/// Why a file is of no use.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// There is none.
    #[error("there is no file")]
    Absent,
    /// It is of another embedder, another version of the library or other settings.
    #[error("it is of another embedder or version")]
    Foreign,
    /// It is not whole, or not as it was written.
    #[error("{0}")]
    Damaged(String),
}

impl From<io::Error> for Unfit {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::Absent,
            _ => Self::Damaged(error.to_string()),
        }
    }
}

/// Tells vectors apart: the first bytes of a digest of its numbers.
pub fn fingerprint(unit: &[f32]) -> u64 {
    let bytes: Vec<u8> = unit.iter().flat_map(|number| number.to_le_bytes()).collect();
    let digest = blake3::hash(&bytes);
    u64_of(&digest.as_bytes()[..8])
}

fn u64_of(bytes: &[u8]) -> u64 {
    let mut eight = [0; 8];
    eight.copy_from_slice(bytes);
    u64::from_le_bytes(eight)
}

/// To what a file belongs.
fn owner(embedder: &EmbedderId) -> [u8; 32] {
    let library = usearch::version();
    let made = format!("{library} {CONNECTIVITY} {EXPANSION_ADD} {embedder}");
    *blake3::hash(made.as_bytes()).as_bytes()
}

/// Puts a graph in place of the file at `path`, with these entries, as of a revision of the store: whole
/// or not at all. Nothing is written if less than `free_bytes_min` would be left of the disk.
///
/// # Errors
/// When it could not be written; what was there is there still.
pub fn save(
    graph: &Graph,
    path: &Path,
    embedder: &EmbedderId,
    revision: u64,
    entries: &[Entry],
    free_bytes_min: u64,
) -> io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    let length = graph.index.serialized_length();
    let needed = (length + entries.len() * ENTRY + TAIL) as u64;
    if free_bytes(dir).is_some_and(|free| free < free_bytes_min.saturating_add(needed)) {
        return Err(io::Error::new(io::ErrorKind::StorageFull, "too little of the disk is free"));
    }
    let temporary = path.with_extension("tmp");
    let written = write(graph, &temporary, embedder, revision, entries)
        .and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        // This error is the one to tell.
        let _ = fs::remove_file(&temporary);
    }
    written?;
    private_file::sync_dir(dir).map_err(io::Error::other)
}

fn write(
    graph: &Graph,
    path: &Path,
    embedder: &EmbedderId,
    revision: u64,
    entries: &[Entry],
) -> io::Result<()> {
    // Made here for its mode; the library writes into what is there.
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    graph.index.save(text(path)?).map_err(io::Error::other)?;
    let mut file = OpenOptions::new().read(true).write(true).open(path)?;
    let mut hasher = Hasher::new();
    let length = hash(&mut file, &mut hasher, u64::MAX)?;
    // The library does not say when the last bytes did not fit onto the disk.
    if length != graph.index.serialized_length() as u64 {
        return Err(io::Error::new(io::ErrorKind::WriteZero, "not all of it was written"));
    }
    let mut out = BufWriter::new(&mut file);
    let mut put = |bytes: &[u8]| {
        hasher.update(bytes);
        out.write_all(bytes)
    };
    for entry in entries {
        put(&entry.key.to_le_bytes())?;
        put(&entry.fingerprint.to_le_bytes())?;
    }
    put(MAGIC)?;
    for number in [length, entries.len() as u64, revision] {
        put(&number.to_le_bytes())?;
    }
    put(&owner(embedder))?;
    out.write_all(hasher.finalize().as_bytes())?;
    out.flush()?;
    drop(out);
    file.sync_all()
}

/// Opens the file of an embedder's graph, without the vectors of which `is_right` does not know that they
/// are the store's. Tells the keys that are left, and the revision of which it is.
///
/// # Errors
/// [`Unfit`] if there is nothing in it to go on with.
pub fn open(
    path: &Path,
    embedder: &EmbedderId,
    searches_max: usize,
    is_right: impl Fn(Entry) -> bool,
) -> Result<(Graph, Vec<u64>, u64), Unfit> {
    let mut file = File::open(path)?;
    let size = file.metadata()?.len();
    let damaged = |what: &str| Unfit::Damaged(what.to_owned());
    let Some(body) = size.checked_sub(TAIL as u64) else { return Err(damaged("it is too short")) };
    let mut tail = [0; TAIL];
    file.seek(SeekFrom::Start(body))?;
    file.read_exact(&mut tail)?;
    let (magic, rest) = tail.split_at(MAGIC.len());
    let (numbers, rest) = rest.split_at(24);
    let (belongs, checksum) = rest.split_at(32);
    if magic != MAGIC {
        return Err(damaged("its end is missing"));
    }
    if belongs != owner(embedder) {
        return Err(Unfit::Foreign);
    }
    let number = |at: usize| u64_of(&numbers[8 * at..8 * at + 8]);
    let (length, count, revision) = (number(0), number(1), number(2));
    let entries = count.checked_mul(ENTRY as u64).and_then(|bytes| bytes.checked_add(length));
    if entries != Some(body) {
        return Err(damaged("its lengths do not agree"));
    }
    let mut hasher = Hasher::new();
    file.seek(SeekFrom::Start(0))?;
    hash(&mut file, &mut hasher, size - 32)?;
    if hasher.finalize() != *<&[u8; 32]>::try_from(checksum).unwrap_or(&[0; 32]) {
        return Err(damaged("its checksum is another"));
    }
    file.seek(SeekFrom::Start(length))?;
    // No more than the file has: the lengths agree.
    let mut bytes = vec![0; usize::try_from(body - length).unwrap_or_default()];
    file.read_exact(&mut bytes)?;
    let (pairs, _) = bytes.as_chunks::<ENTRY>();
    let entries: Vec<Entry> = pairs
        .iter()
        .map(|pair| Entry { key: u64_of(&pair[..8]), fingerprint: u64_of(&pair[8..]) })
        .collect();
    let graph = load(path, embedder.dimension, searches_max)?;
    if graph.len() != entries.len() {
        return Err(damaged("it has not the vectors that it says"));
    }
    let mut keys = Vec::with_capacity(entries.len());
    for entry in entries {
        if is_right(entry) {
            keys.push(entry.key);
        } else {
            graph.index.remove(entry.key).map_err(|error| Unfit::Damaged(error.to_string()))?;
        }
    }
    Ok((graph, keys, revision))
}

fn load(path: &Path, dimension: usize, searches_max: usize) -> Result<Graph, Unfit> {
    let fail = |error: NearestError| Unfit::Damaged(error.to_string());
    let index = Index::new(&options(dimension)).map_err(failed).map_err(fail)?;
    index.load(text(path)?).map_err(failed).map_err(fail)?;
    if index.dimensions() != dimension {
        return Err(Unfit::Foreign);
    }
    index.change_expansion_add(EXPANSION_ADD);
    index.change_expansion_search(EXPANSION_SEARCH);
    let graph = Graph { places: index.stats().nodes, index, dimension, searches_max };
    let room = graph.index.capacity();
    graph.make_room(room).map_err(fail)?;
    Ok(graph)
}

/// The library takes names of files as text.
fn text(path: &Path) -> io::Result<&str> {
    let strange = || io::Error::new(io::ErrorKind::InvalidInput, "its path is not Unicode");
    path.to_str().ok_or_else(strange)
}

/// Hashes what comes, at most so many bytes; tells how many.
fn hash(file: &mut File, hasher: &mut Hasher, bytes_max: u64) -> io::Result<u64> {
    let mut buffer = vec![0; BUFFER];
    let mut done = 0;
    while done < bytes_max {
        let most = usize::try_from(bytes_max - done).unwrap_or(BUFFER).min(BUFFER);
        let read = file.read(&mut buffer[..most])?;
        if read == 0 {
            break;
        }
        hasher.update(&buffer[..read]);
        done += read as u64;
    }
    Ok(done)
}
