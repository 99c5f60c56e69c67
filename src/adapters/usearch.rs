//! An approximate index by usearch: a graph in which a search walks from vector to vector towards what is
//! near. It is a cache of what the store has, and so is the file in which it outlives the process.
//!
//! Vectors are kept in it in two bytes a number (the upper half of single precision), which the library can
//! read on any processor without kernels of its own. The order of close neighbours that this blurs is put
//! right by whoever compares the candidates in full.

mod file;

use std::fmt;

use usearch::{Index, IndexOptions, MetricKind, ScalarKind};

pub use file::{Entry, Unfit, fingerprint, open, save};

use crate::domain::pattern::mirror::{Nearest, NearestError};

/// Neighbours of a vector, and how widely they are looked for when it is added: the library's own numbers.
/// With twice as many neighbours a hundred thousand take twice as long and find nothing more.
const CONNECTIVITY: usize = 16;
const EXPANSION_ADD: usize = 128;

/// How widely a search looks, unless it is asked for more.
const EXPANSION_SEARCH: usize = 64;

/// Vectors that there is room for at first. When it is full there is room for a quarter more: to make it
/// stops searches for the time of copying a few pointers a vector.
const ROOM_MIN: usize = 1024;

/// The graph of one embedder's vectors.
pub struct Graph {
    index: Index,
    dimension: usize,
    /// Places in it, taken or given up.
    places: usize,
    searches_max: usize,
}

impl fmt::Debug for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (dimension, places, len) = (self.dimension, self.places, self.len());
        f.debug_struct("Graph")
            .field("dimension", &dimension)
            .field("places", &places)
            .field("len", &len)
            .finish_non_exhaustive()
    }
}

fn options(dimension: usize) -> IndexOptions {
    IndexOptions {
        dimensions: dimension,
        // Of vectors of length 1 it is the cosine.
        metric: MetricKind::IP,
        quantization: ScalarKind::BF16,
        connectivity: CONNECTIVITY,
        expansion_add: EXPANSION_ADD,
        expansion_search: EXPANSION_SEARCH,
        multi: false,
    }
}

fn failed(error: impl fmt::Display) -> NearestError {
    NearestError(error.to_string())
}

impl Graph {
    /// An empty one, in which as many as `searches_max` search at once.
    ///
    /// # Errors
    /// [`NearestError`] when there is no memory for it.
    pub fn new(dimension: usize, searches_max: usize) -> Result<Self, NearestError> {
        let index = Index::new(&options(dimension)).map_err(failed)?;
        let graph = Self { index, dimension, places: 0, searches_max };
        graph.make_room(ROOM_MIN)?;
        Ok(graph)
    }

    /// Vectors in it.
    pub fn len(&self) -> usize {
        self.index.size()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Places of vectors that were taken out. They are on the way of searches until another takes them.
    pub fn holes(&self) -> usize {
        self.places.saturating_sub(self.len())
    }

    /// Bytes of memory that it has.
    pub fn bytes(&self) -> u64 {
        self.index.memory_usage() as u64
    }

    fn make_room(&self, vectors: usize) -> Result<(), NearestError> {
        // One more than search: who adds.
        self.index.reserve_capacity_and_threads(vectors, self.searches_max + 1).map_err(failed)
    }

    fn check(&self, unit: &[f32]) -> Result<(), NearestError> {
        if unit.len() == self.dimension {
            return Ok(());
        }
        Err(NearestError(format!("a vector has {} numbers, not {}", unit.len(), self.dimension)))
    }
}

impl Nearest for Graph {
    fn add(&mut self, key: u64, unit: &[f32]) -> Result<(), NearestError> {
        self.check(unit)?;
        let len = self.len();
        if len >= self.index.capacity() {
            self.make_room(len + (len / 4).max(ROOM_MIN))?;
        }
        self.index.add(key, unit).map_err(failed)?;
        self.places = self.places.max(self.len());
        Ok(())
    }

    fn remove(&mut self, key: u64) -> Result<(), NearestError> {
        self.index.remove(key).map(drop).map_err(failed)
    }

    fn nearest(&self, unit: &[f32], count: usize) -> Result<Vec<u64>, NearestError> {
        self.check(unit)?;
        Ok(self.index.search(unit, count).map_err(failed)?.keys)
    }
}
