//! Finds the patterns nearest to a vector, exactly.
//!
//! Vectors lie one behind another, each also in a byte a number (`quantise`). A search reads
//! the bytes of all of them, keeps those that can be among the best as the bound on the error says,
//! and compares these in full. So the answer is that of a plain scan, with a quarter of the memory
//! read. What is equally near comes in the order of ids, so that an answer depends on nothing else.
//!
//! Rows are held in segments that copies of an index share: a copy costs a pointer a segment, and
//! changing one row copies its segment if somebody still reads it. Readers have a copy and are never
//! waited for. A removed row is overwritten by the last one, and nothing of it is left.

#[cfg(feature = "usearch")]
mod rows;
mod search;

use std::sync::Arc;

use crate::domain::pattern::quantise::{HEAD, Mark, encode, width};
use crate::domain::pattern::{Pattern, Tags};

#[cfg(feature = "usearch")]
pub use crate::domain::pattern::index::rows::Rows;
pub use crate::domain::pattern::index::search::{Hit, Search};

/// Rows of a segment: two megabytes at 384 dimensions, which are copied in less than half a millisecond,
/// and long enough for the memory to be read ahead. Tests cross from one to the next more often.
const SEGMENT_ROWS: usize = if cfg!(test) { 64 } else { 1024 };

/// The patterns of one embedder. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Index {
    dimension: usize,
    segments: Vec<Segment>,
    len: usize,
}

/// Numbers and patterns change at different times, so that neither is copied for the other.
#[derive(Clone, Debug, Default)]
struct Segment {
    block: Arc<Block>,
    patterns: Arc<Vec<Arc<Pattern>>>,
}

/// The numbers of a segment.
#[derive(Clone, Debug, Default)]
struct Block {
    units: Vec<f32>,
    codes: Vec<i8>,
    /// The first [`HEAD`] codes of each row once more, so that they are read one behind another.
    heads: Vec<i8>,
    marks: Vec<Mark>,
    /// Tells rows with other tags apart: what differs here has other tags.
    kinds: Vec<u32>,
}

/// What was taken out of an index.
#[derive(Debug)]
pub struct Removed {
    /// The pattern.
    pub pattern: Arc<Pattern>,
    /// Its vector.
    pub unit: Arc<[f32]>,
    /// The pattern that has its row now, if it was not the last.
    pub moved: Option<Arc<Pattern>>,
}

impl Index {
    /// An index of vectors of this dimension.
    pub fn new(dimension: usize) -> Self {
        Self { dimension, segments: Vec::new(), len: 0 }
    }

    /// How many patterns it has.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Numbers of each vector.
    pub fn dimension(&self) -> usize {
        self.dimension
    }

    /// Bytes that the vectors and their codes take.
    pub fn bytes(&self) -> u64 {
        let width = width(self.dimension);
        let row =
            4 * self.dimension + width + width.min(HEAD) + size_of::<Mark>() + size_of::<u32>();
        self.len as u64 * row as u64
    }

    /// Every pattern, row by row.
    pub fn patterns(&self) -> impl Iterator<Item = &Arc<Pattern>> {
        self.segments.iter().flat_map(|segment| segment.patterns.iter())
    }

    /// The pattern in a row.
    pub fn pattern(&self, row: usize) -> Option<&Arc<Pattern>> {
        self.segments.get(row / SEGMENT_ROWS)?.patterns.get(row % SEGMENT_ROWS)
    }

    /// The vector in a row.
    pub fn unit(&self, row: usize) -> Option<&[f32]> {
        let start = (row % SEGMENT_ROWS) * self.dimension;
        self.segments.get(row / SEGMENT_ROWS)?.block.units.get(start..start + self.dimension)
    }

    /// Adds a pattern at a vector of length 1; tells its row. A vector of another dimension is not
    /// taken.
    pub fn push(&mut self, pattern: Arc<Pattern>, unit: &[f32]) -> Option<usize> {
        if unit.len() != self.dimension {
            return None;
        }
        if self.len.is_multiple_of(SEGMENT_ROWS) {
            self.segments.push(Segment::default());
        }
        let segment = self.segments.last_mut()?;
        let block = Arc::make_mut(&mut segment.block);
        let start = block.codes.len();
        let mark = encode(unit, &mut block.codes);
        let row = &block.codes[start..];
        block.heads.extend_from_slice(&row[..row.len().min(HEAD)]);
        block.units.extend_from_slice(unit);
        block.marks.push(mark);
        block.kinds.push(kind(&pattern.tags));
        Arc::make_mut(&mut segment.patterns).push(pattern);
        self.len += 1;
        Some(self.len - 1)
    }

    /// Puts a pattern in the place of the one in a row, at the same vector.
    pub fn replace(&mut self, row: usize, pattern: Arc<Pattern>) -> Option<Arc<Pattern>> {
        let segment = self.segments.get_mut(row / SEGMENT_ROWS)?;
        let place = Arc::make_mut(&mut segment.patterns).get_mut(row % SEGMENT_ROWS)?;
        Some(std::mem::replace(place, pattern))
    }

    /// Takes a row out; the last one takes its place.
    pub fn swap_remove(&mut self, row: usize) -> Option<Removed> {
        let pattern = Arc::clone(self.pattern(row)?);
        let unit: Arc<[f32]> = self.unit(row)?.into();
        let last = self.len - 1;
        let moved = self.take_last()?;
        if row != last {
            let segment = self.segments.get_mut(row / SEGMENT_ROWS)?;
            Arc::make_mut(&mut segment.block).overwrite(row % SEGMENT_ROWS, &moved);
            self.replace(row, Arc::clone(&moved.pattern));
        }
        self.len = last;
        Some(Removed { pattern, unit, moved: (row != last).then_some(moved.pattern) })
    }

    fn take_last(&mut self) -> Option<Row> {
        let segment = self.segments.last_mut()?;
        let block = Arc::make_mut(&mut segment.block);
        let (mark, kind) = (block.marks.pop()?, block.kinds.pop()?);
        let row = block.marks.len();
        let units = block.units.split_off(row * self.dimension);
        let codes = block.codes.split_off(row * width(self.dimension));
        block.heads.truncate(row * width(self.dimension).min(HEAD));
        let pattern = Arc::make_mut(&mut segment.patterns).pop()?;
        if row == 0 {
            self.segments.pop();
        }
        Some(Row { pattern, units, codes, mark, kind })
    }
}

/// One row, taken out.
#[derive(Debug)]
struct Row {
    pattern: Arc<Pattern>,
    units: Vec<f32>,
    codes: Vec<i8>,
    mark: Mark,
    kind: u32,
}

/// A number that equal tags share (FNV-1a). What shares it by chance is compared in full.
fn kind(tags: &Tags) -> u32 {
    let byte = |hash: u32, byte: u8| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    // No character of a tag is a zero, so that it ends one.
    tags.iter().flat_map(|tag| tag.bytes().chain([0])).fold(0x811c_9dc5, byte)
}

impl Block {
    fn overwrite(&mut self, row: usize, with: &Row) {
        let (units, codes) = (with.units.len(), with.codes.len());
        self.units[row * units..(row + 1) * units].copy_from_slice(&with.units);
        self.codes[row * codes..(row + 1) * codes].copy_from_slice(&with.codes);
        let head = codes.min(HEAD);
        self.heads[row * head..(row + 1) * head].copy_from_slice(&with.codes[..head]);
        self.marks[row] = with.mark;
        self.kinds[row] = with.kind;
    }
}

#[cfg(test)]
pub(crate) mod tests;
