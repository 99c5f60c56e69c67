//! What a text holds that is no message: repetition, hidden characters, disguises, encoded data.

use super::{Figures, ramp};

/// Characters of a span whose entropy is looked at.
const SPAN: u32 = 1024;
/// Words that a span of prose holds.
pub(super) const SPAN_WORDS: usize = 200;

/// Entropy of the visible characters of prose, in bits; samples of so many lie well inside.
const BAND: std::ops::Range<f64> = 3.4..5.5;

/// Looks at the entropy of one span after another.
#[derive(Debug)]
pub(super) struct Spans {
    counts: [u32; 256],
    read: u32,
    odd: usize,
}

impl Spans {
    pub(super) const fn new() -> Self {
        Self { counts: [0; 256], read: 0, odd: 0 }
    }

    pub(super) fn push(&mut self, code: u8) {
        self.counts[usize::from(code)] += 1;
        self.read += 1;
        if self.read == SPAN {
            self.odd += usize::from(!BAND.contains(&entropy(&self.counts)));
            (self.counts, self.read) = ([0; 256], 0);
        }
    }

    /// Spans whose characters are more evenly, or less evenly, spread than those of prose. What is
    /// shorter than a span is not looked at.
    pub(super) const fn odd(&self) -> usize {
        self.odd
    }
}

fn entropy(counts: &[u32; 256]) -> f64 {
    let mut sum = 0.0;
    for count in counts.iter().filter(|count| **count > 0) {
        sum += f64::from(*count) * libm::log2(f64::from(*count));
    }
    libm::log2(f64::from(SPAN)) - sum / f64::from(SPAN)
}

/// The noise: what remains when each kind takes its share of what the others left.
pub(super) fn noise(figures: &Figures) -> f64 {
    let kinds = [
        ramp(figures.repeated, 0.0, 0.5),
        ramp(figures.recurring, 0.0, 0.8),
        ramp(figures.invisible, 0.0, 0.05),
        ramp(figures.alike, 0.0, 0.1),
        ramp(figures.blob, 0.15, 0.6),
        ramp(figures.odd_spans, 0.0, 0.5),
    ];
    1.0 - kinds.iter().fold(1.0, |rest, kind| rest * (1.0 - kind))
}

/// Words of a run that is looked for again.
const RUN: usize = 5;
/// Most runs that are remembered; of a longer text, roughly the latest.
const RUNS_MAX: usize = 1 << 16;

/// Remembers runs of words, to find those that come again.
#[derive(Debug)]
pub(super) struct Runs {
    seen: Vec<u32>,
    last: [u64; RUN],
    read: usize,
    /// Words since the end of the last repeated run.
    fresh: usize,
    repeated: usize,
}

impl Runs {
    /// For a text of so many bytes.
    pub(super) fn new(bytes: usize) -> Self {
        let slots = (bytes / 4).clamp(64, RUNS_MAX).next_power_of_two();
        Self { seen: vec![0; slots], last: [0; RUN], read: 0, fresh: 0, repeated: 0 }
    }

    pub(super) fn push(&mut self, word: u64) {
        self.last[self.read % RUN] = word;
        self.read += 1;
        self.fresh += 1;
        if self.read < RUN {
            return;
        }
        let mut hash = 0_u64;
        for back in 0..RUN {
            let word = self.last[(self.read + back) % RUN];
            hash = (hash.rotate_left(17) ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        }
        let slot = (hash >> 32) as usize % self.seen.len();
        let tag = hash as u32 | 1;
        if self.seen[slot] == tag {
            self.repeated += self.fresh.min(RUN);
            self.fresh = 0;
        }
        self.seen[slot] = tag;
    }

    /// Words that are part of a repeated run.
    pub(super) const fn repeated(&self) -> usize {
        self.repeated
    }
}
