//! What a text holds that is no message: repetition, hidden characters, disguises, encoded data.

use super::words::Over;
use super::{Figures, ramp};

/// Bytes of a span whose entropy is looked at.
const SPAN: usize = 1024;

/// Entropy of the bytes of prose, in bits; samples of a KiB of it lie well inside.
const BAND: std::ops::Range<f64> = 3.4..5.5;

/// Spans between two questions whether time is up.
const SPANS: usize = 16;

/// Share of spans whose bytes are more evenly, or less evenly, spread than those of prose. A text
/// shorter than one span is not looked at.
pub(super) fn odd_spans(text: &str, is_over: &mut dyn FnMut() -> bool) -> Result<f64, Over> {
    let (mut odd, mut all) = (0_u32, 0_u32);
    for span in text.as_bytes().chunks_exact(SPAN) {
        all += 1;
        odd += u32::from(!BAND.contains(&entropy(span)));
        if all as usize % SPANS == 0 && is_over() {
            return Err(Over);
        }
    }
    Ok(if all == 0 { 0.0 } else { f64::from(odd) / f64::from(all) })
}

fn entropy(span: &[u8]) -> f64 {
    let mut counts = [0_u32; 256];
    for byte in span {
        counts[usize::from(*byte)] += 1;
    }
    let mut sum = 0.0;
    for count in counts.into_iter().filter(|count| *count > 0) {
        sum += f64::from(count) * libm::log2(f64::from(count));
    }
    let length = span.len() as f64;
    libm::log2(length) - sum / length
}

/// The noise: what remains when each kind takes its share of what the others left.
pub(super) fn noise(figures: &Figures) -> f64 {
    let kinds = [
        ramp(figures.repeated, 0.0, 0.5),
        ramp(figures.recurring, 0.15, 0.7),
        ramp(figures.invisible, 0.0, 0.05),
        ramp(figures.alike, 0.0, 0.1),
        ramp(figures.blob, 0.05, 0.5),
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
