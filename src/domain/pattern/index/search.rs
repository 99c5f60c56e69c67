//! The search itself.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::sync::Arc;

use super::{Block, Index, SEGMENT_ROWS, Segment, kind};
use crate::domain::pattern::quantise::{HEAD, Probe, ROUNDING, dot, dot_codes, width};
use crate::domain::pattern::{Pattern, TWIN_SIMILARITY, Tags};

/// Rows on the shortlist after which those are let go that no longer can be among the best: when each
/// comes nearer than all before, every row is one for a while.
const SHORTLIST_ROWS: usize = 4096;

/// Of the rows of a segment the part below which those of one kind are multiplied one by one: side by side
/// the rest comes along for so little.
const FEW: usize = 4;

/// What is looked for.
#[derive(Clone, Copy)]
pub struct Search<'a> {
    /// A vector of length 1, of the index's dimension.
    pub unit: &'a [f32],
    /// At most so many, the nearest first.
    pub limit: usize,
    /// None that is less similar (cosine).
    pub similarity_min: f32,
    /// Only those that it takes. Asked of rows that are near enough.
    pub is_wanted: &'a dyn Fn(&Pattern) -> bool,
}

impl Search<'_> {
    /// The nearest of these that are near enough, nearest first, the equally near by id.
    pub(crate) fn best(&self, mut hits: Vec<Hit>) -> Vec<Hit> {
        hits.retain(|hit| hit.similarity >= self.similarity_min);
        hits.sort_unstable_by(|a, b| {
            b.similarity.total_cmp(&a.similarity).then_with(|| a.pattern.id.cmp(&b.pattern.id))
        });
        hits.truncate(self.limit);
        hits
    }
}

impl std::fmt::Debug for Search<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (limit, similarity_min) = (self.limit, self.similarity_min);
        f.debug_struct("Search")
            .field("limit", &limit)
            .field("similarity_min", &similarity_min)
            .finish_non_exhaustive()
    }
}

/// What was found.
#[derive(Clone, Debug)]
pub struct Hit {
    /// The pattern.
    pub pattern: Arc<Pattern>,
    /// Its row.
    pub row: usize,
    /// Cosine, -1 to 1.
    pub similarity: f32,
}

/// A row that may be among the best.
struct Candidate {
    row: usize,
    /// The similarity is at most this.
    above: f32,
}

/// A number in the order of its size.
#[derive(PartialEq)]
struct Ordered(f32);

impl Eq for Ordered {}

impl PartialOrd for Ordered {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Ordered {
    /// The smallest is the greatest, so that a heap gives the least of the best.
    fn cmp(&self, other: &Self) -> Ordering {
        other.0.total_cmp(&self.0)
    }
}

impl Index {
    /// The nearest patterns, nearest first, the equally near by id. Nothing for a vector of another
    /// dimension.
    pub fn search(&self, search: &Search<'_>) -> Vec<Hit> {
        if search.unit.len() != self.dimension || search.limit == 0 {
            return Vec::new();
        }
        let probe = Probe::new(search.unit);
        let arch = pulp::Arch::new();
        let mut shortlist = Shortlist::new(search);
        let mut products = [0_i32; SEGMENT_ROWS];
        for (number, segment) in self.segments.iter().enumerate() {
            let products = &mut products[..segment.block.marks.len()];
            arch.dispatch(|| segment.block.multiply(&probe, self.dimension, products));
            shortlist.look(&probe, segment, number * SEGMENT_ROWS, products);
        }
        let mut hits = shortlist.ended(self);
        self.compare(&mut hits, search.unit);
        search.best(hits)
    }

    /// Says how similar each is to a vector.
    fn compare(&self, hits: &mut [Hit], with: &[f32]) {
        pulp::Arch::new().dispatch(|| {
            for hit in hits {
                if let Some(unit) = self.unit(hit.row) {
                    hit.similarity = dot(unit, with).clamp(-1.0, 1.0);
                }
            }
        });
    }

    /// What lies in some rows, with how similar it is to a vector; wanted or not, in no order.
    #[cfg(feature = "usearch")]
    pub(crate) fn compared(&self, rows: impl Iterator<Item = usize>, with: &[f32]) -> Vec<Hit> {
        let hit = |row| {
            let pattern = Arc::clone(self.pattern(row)?);
            Some(Hit { pattern, row, similarity: 0.0 })
        };
        let mut hits: Vec<Hit> = rows.filter_map(hit).collect();
        self.compare(&mut hits, with);
        hits
    }

    /// The pattern nearest to a vector among those that are nearly the same and have the same tags, if
    /// there is one; of the equally near the one with the first id. Reads the beginnings of rows with such
    /// tags, and the rest of the few that begin alike.
    pub fn twin(&self, unit: &[f32], tags: &Tags) -> Option<Hit> {
        if unit.len() != self.dimension {
            return None;
        }
        let (probe, kind) = (Probe::new(unit), kind(tags));
        // The way between two vectors of length 1 with this cosine, and what rounding adds.
        let distance = libm::sqrtf(2.0 - 2.0 * TWIN_SIMILARITY) + ROUNDING;
        let arch = pulp::Arch::new();
        let mut best: Option<Hit> = None;
        let mut heads = [0_i32; SEGMENT_ROWS];
        for (number, segment) in self.segments.iter().enumerate() {
            let block = &segment.block;
            let heads = &mut heads[..block.marks.len()];
            let has_some = block.multiply_heads(arch, &probe, kind, heads);
            if !has_some {
                continue;
            }
            let rows = heads.iter().zip(&block.marks).zip(&block.kinds).enumerate();
            for (at, ((head, mark), own)) in rows {
                if *own != kind || !probe.can_be_within(distance, *head, mark) {
                    continue;
                }
                let row = number * SEGMENT_ROWS + at;
                let (Some(own), Some(pattern)) = (self.unit(row), segment.patterns.get(at)) else {
                    continue;
                };
                let similarity = dot(own, unit).clamp(-1.0, 1.0);
                let is_nearer = best.as_ref().is_none_or(|best| {
                    (similarity, best.pattern.id) > (best.similarity, pattern.id)
                });
                if similarity >= TWIN_SIMILARITY && is_nearer && pattern.tags == *tags {
                    best = Some(Hit { pattern: Arc::clone(pattern), row, similarity });
                }
            }
        }
        best
    }
}

impl Block {
    #[inline(always)]
    fn multiply(&self, probe: &Probe, dimension: usize, products: &mut [i32]) {
        multiply(&self.codes, &probe.codes, width(dimension), products);
    }

    /// The products of the beginnings of rows of this kind, whatever those of others; whether there are
    /// any.
    fn multiply_heads(
        &self,
        arch: pulp::Arch,
        probe: &Probe,
        kind: u32,
        products: &mut [i32],
    ) -> bool {
        let count = self.kinds.iter().filter(|own| **own == kind).count();
        let head = &probe.codes[..probe.codes.len().min(HEAD)];
        if count < products.len() / FEW {
            let rows = self.heads.chunks_exact(head.len()).zip(products).zip(&self.kinds);
            let own = rows.filter(|(_, own)| **own == kind);
            arch.dispatch(|| own.for_each(|((row, product), _)| *product = dot_codes(row, head)));
        } else if let Some(head) = head.first_chunk::<HEAD>() {
            // By itself: the compiler knows the length of a row and takes a third of the time.
            arch.dispatch(|| multiply_beginnings(&self.heads, head, products));
        } else {
            arch.dispatch(|| multiply(&self.heads, head, head.len(), products));
        }
        count > 0
    }
}

/// The products of rows of [`HEAD`] codes with a probe.
#[inline(always)]
fn multiply_beginnings(codes: &[i8], probe: &[i16; HEAD], products: &mut [i32]) {
    let (rows, _) = codes.as_chunks::<HEAD>();
    for (product, row) in products.iter_mut().zip(rows) {
        *product = dot_codes(row, probe);
    }
}

/// The products of rows of so many codes with a probe. Four rows far from each other are read at a time:
/// what one of them waits for at the end of a page, the others use.
#[inline(always)]
fn multiply(codes: &[i8], probe: &[i16], width: usize, products: &mut [i32]) {
    let quarter = products.len() / 4;
    let (four, rest) = products.split_at_mut(4 * quarter);
    let (first, second) = four.split_at_mut(2 * quarter);
    let (first, second) = (first.split_at_mut(quarter), second.split_at_mut(quarter));
    let rows = |part: usize| codes[part * quarter * width..].chunks_exact(width);
    let outs = first.0.iter_mut().zip(first.1).zip(second.0.iter_mut().zip(second.1));
    let ins = rows(0).zip(rows(1)).zip(rows(2).zip(rows(3)));
    for (((a, b), (c, d)), ((row_a, row_b), (row_c, row_d))) in outs.zip(ins) {
        *a = dot_codes(row_a, probe);
        *b = dot_codes(row_b, probe);
        *c = dot_codes(row_c, probe);
        *d = dot_codes(row_d, probe);
    }
    for (product, row) in rest.iter_mut().zip(rows(4)) {
        *product = dot_codes(row, probe);
    }
}

/// The rows that may be among the best so far.
struct Shortlist<'a> {
    search: &'a Search<'a>,
    candidates: Vec<Candidate>,
    /// The least similarities that the best so far can have.
    best: BinaryHeap<Ordered>,
    /// Candidates after which it is tidied up.
    tidy_at: usize,
}

impl<'a> Shortlist<'a> {
    fn new(search: &'a Search<'a>) -> Self {
        let best = BinaryHeap::with_capacity(search.limit + 1);
        Self { search, candidates: Vec::new(), best, tidy_at: SHORTLIST_ROWS }
    }

    /// What a row must be able to reach: so many others are at least as near.
    fn threshold(&self) -> f32 {
        let is_full = self.best.len() == self.search.limit;
        let least = self.best.peek().filter(|_| is_full).map(|least| least.0);
        least.map_or(self.search.similarity_min, |least| least.max(self.search.similarity_min))
    }

    fn look(&mut self, probe: &Probe, segment: &Segment, start: usize, products: &[i32]) {
        let mut threshold = self.threshold();
        for (at, (codes, mark)) in products.iter().zip(&segment.block.marks).enumerate() {
            let (product, slack) = (probe.product(*codes, mark), probe.slack(mark));
            if product + slack < threshold {
                continue;
            }
            let Some(pattern) = segment.patterns.get(at) else { continue };
            if !(self.search.is_wanted)(pattern) {
                continue;
            }
            self.candidates.push(Candidate { row: start + at, above: product + slack });
            self.best.push(Ordered(product - slack));
            if self.best.len() > self.search.limit {
                self.best.pop();
            }
            threshold = self.threshold();
            if self.candidates.len() > self.tidy_at {
                self.candidates.retain(|candidate| candidate.above >= threshold);
                // When all of them may still be, looking again at each would be in vain.
                self.tidy_at = SHORTLIST_ROWS.max(2 * self.candidates.len());
            }
        }
    }

    fn ended(self, index: &Index) -> Vec<Hit> {
        let threshold = self.threshold();
        let last = self.candidates.into_iter().filter(|candidate| candidate.above >= threshold);
        let hit = |Candidate { row, .. }: Candidate| {
            let pattern = Arc::clone(index.pattern(row)?);
            Some(Hit { pattern, row, similarity: 0.0 })
        };
        last.filter_map(hit).collect()
    }
}
