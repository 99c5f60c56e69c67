//! Sorts words into classes by their neighbours: the exchange algorithm of Kneser and Ney (1993),
//! which moves one word at a time to the class that makes the text most likely.

use std::collections::HashMap;

use bizra_omega::domain::snr::classes::{CLASSES, CLUSTER};

const ROUNDS: usize = 14;

/// Classes for `words` words, which are the types from [`CLASSES`] on; types below are classes
/// already. `pairs` counts how often a type follows another.
pub(crate) fn exchange(words: usize, pairs: &HashMap<(u32, u32), u32>) -> Vec<u8> {
    let clusters = CLASSES - usize::from(CLUSTER);
    let mut class: Vec<u8> = (0..words).map(|at| CLUSTER + (at % clusters) as u8).collect();
    let mut before: Vec<Vec<(u32, u32)>> = vec![Vec::new(); words];
    let mut after: Vec<Vec<(u32, u32)>> = vec![Vec::new(); words];
    let mut sorted: Vec<_> = pairs.iter().map(|(pair, count)| (*pair, *count)).collect();
    sorted.sort_unstable();
    for ((first, second), count) in sorted {
        if let Some(at) = (second as usize).checked_sub(CLASSES) {
            before[at].push((first, count));
        }
        if let Some(at) = (first as usize).checked_sub(CLASSES) {
            after[at].push((second, count));
        }
    }
    let mut state = State::new(pairs, &class);
    for _ in 0..ROUNDS {
        let mut moved = 0;
        for word in 0..words {
            let of = |side: &[(u32, u32)], class: &[u8]| {
                let mut sums = vec![0_i64; CLASSES];
                for (other, count) in side {
                    // A word beside itself is left out: it moves along.
                    match (*other as usize).checked_sub(CLASSES) {
                        Some(at) if at == word => {}
                        Some(at) => sums[usize::from(class[at])] += i64::from(*count),
                        None => sums[*other as usize] += i64::from(*count),
                    }
                }
                let kept = sums.into_iter().enumerate().filter(|(_, count)| *count > 0);
                kept.collect::<Vec<_>>()
            };
            let left = of(&before[word], &class);
            let right = of(&after[word], &class);
            let from = class[word];
            state.add(usize::from(from), &left, &right, -1);
            let best = (usize::from(CLUSTER)..CLASSES)
                .map(|to| (state.gain(to, &left, &right), to))
                .max_by(|a, b| a.0.total_cmp(&b.0).then(b.1.cmp(&a.1)));
            let to = best.map_or(from, |(_, to)| to as u8);
            state.add(usize::from(to), &left, &right, 1);
            class[word] = to;
            moved += usize::from(to != from);
        }
        if moved * 200 < words {
            break;
        }
    }
    class
}

/// How often classes follow each other.
struct State {
    pairs: Vec<i64>,
    before: Vec<i64>,
    after: Vec<i64>,
}

impl State {
    fn new(pairs: &HashMap<(u32, u32), u32>, class: &[u8]) -> Self {
        let of = |at: u32| match (at as usize).checked_sub(CLASSES) {
            Some(word) => usize::from(class[word]),
            None => at as usize,
        };
        let mut state = Self {
            pairs: vec![0; CLASSES * CLASSES],
            before: vec![0; CLASSES],
            after: vec![0; CLASSES],
        };
        for ((first, second), count) in pairs {
            // Pairs of a word with itself never move in the sums; they are left out.
            if first != second || (*first as usize) < CLASSES {
                state.pairs[of(*first) * CLASSES + of(*second)] += i64::from(*count);
                state.before[of(*first)] += i64::from(*count);
                state.after[of(*second)] += i64::from(*count);
            }
        }
        state
    }

    fn add(&mut self, class: usize, left: &[(usize, i64)], right: &[(usize, i64)], sign: i64) {
        for (other, count) in left {
            self.pairs[other * CLASSES + class] += sign * count;
            self.after[class] += sign * count;
        }
        for (other, count) in right {
            self.pairs[class * CLASSES + other] += sign * count;
            self.before[class] += sign * count;
        }
    }

    /// What the likelihood gains when a word with these neighbours joins the class.
    fn gain(&self, class: usize, left: &[(usize, i64)], right: &[(usize, i64)]) -> f64 {
        let mut gain = 0.0;
        let (mut lefts, mut rights) = (0, 0);
        for (other, count) in left {
            gain += more(self.pairs[other * CLASSES + class], *count);
            lefts += count;
        }
        for (other, count) in right {
            gain += more(self.pairs[class * CLASSES + other], *count);
            rights += count;
        }
        gain - more(self.after[class], lefts) - more(self.before[class], rights)
    }
}

/// n log n at `count + more`, less that at `count`.
fn more(count: i64, more: i64) -> f64 {
    let of = |n: i64| if n > 0 { n as f64 * (n as f64).ln() } else { 0.0 };
    of(count + more) - of(count)
}
