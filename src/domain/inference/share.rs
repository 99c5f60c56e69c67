//! Who did the work lately: pieces of recent work by provider.

use std::collections::VecDeque;

/// Pieces remembered: enough to tell a habit from chance, and a day's work of one person.
pub const PIECES_MAX: usize = 256;

/// The providers of the last [`PIECES_MAX`] pieces of work, named by number.
#[derive(Clone, Debug)]
pub struct RecentWork {
    pieces: VecDeque<usize>,
    counts: Vec<u64>,
}

impl RecentWork {
    /// Nothing done yet by any of `providers`.
    pub fn new(providers: usize) -> Self {
        Self { pieces: VecDeque::with_capacity(PIECES_MAX), counts: vec![0; providers] }
    }

    /// Notes a piece of work by `provider`; the oldest one is forgotten if there are too many.
    /// A provider that there is not is not noted.
    pub fn note(&mut self, provider: usize) {
        let Some(count) = self.counts.get_mut(provider) else { return };
        *count += 1;
        if self.pieces.len() == PIECES_MAX
            && let Some(oldest) = self.pieces.pop_front()
        {
            self.counts[oldest] -= 1;
        }
        self.pieces.push_back(provider);
    }

    /// Pieces by each provider.
    pub fn counts(&self) -> &[u64] {
        &self.counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_recent_work_counts() {
        let mut work = RecentWork::new(2);
        assert_eq!(work.counts(), [0, 0]);
        for _ in 0..PIECES_MAX {
            work.note(0);
        }
        work.note(1);
        work.note(2);
        assert_eq!(work.counts(), [PIECES_MAX as u64 - 1, 1]);
        for _ in 0..PIECES_MAX {
            work.note(1);
        }
        assert_eq!(work.counts(), [0, PIECES_MAX as u64]);
    }
}
