//! How fast a backend begins to answer, and when a second one is asked as well.
//!
//! A hedge is a second call for the same answer, at an equal backend, when the first is slower than
//! nearly all before it. Whichever begins first goes on; the other is cancelled.

use std::collections::VecDeque;
use std::time::Duration;

/// Times remembered: the recent past of a busy backend, and small enough to sort.
const TIMES_MAX: usize = 128;

/// Times that must be known before one may be called slow: of fewer, the 95th of a hundred is the
/// largest.
const TIMES_MIN: usize = 20;

/// The last times to the first token of one backend.
#[derive(Clone, Debug, Default)]
pub struct FirstTokens(VecDeque<Duration>);

impl FirstTokens {
    /// Notes one; the oldest is forgotten if there are too many.
    pub fn note(&mut self, time: Duration) {
        if self.0.len() == TIMES_MAX {
            self.0.pop_front();
        }
        self.0.push_back(time);
    }

    /// The time that `percent` of a hundred did not exceed, if any is known.
    pub fn percentile(&self, percent: usize) -> Option<Duration> {
        let mut sorted: Vec<_> = self.0.iter().copied().collect();
        sorted.sort_unstable();
        let rank = (sorted.len() * percent.min(100)).div_ceil(100);
        sorted.get(rank.saturating_sub(1)).copied()
    }

    /// When to ask a second backend as well; `None` while too little is known.
    pub fn hedge_after(&self) -> Option<Duration> {
        (self.0.len() >= TIMES_MIN).then(|| self.percentile(95)).flatten()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn known(times_ms: impl IntoIterator<Item = u64>) -> FirstTokens {
        let mut known = FirstTokens::default();
        times_ms.into_iter().for_each(|ms| known.note(Duration::from_millis(ms)));
        known
    }

    #[test]
    fn nothing_is_slow_before_enough_is_known() {
        assert_eq!(known([]).percentile(50), None);
        assert_eq!(known(1..20).hedge_after(), None);
        assert_eq!(known(1..=20).hedge_after(), Some(Duration::from_millis(19)));
        let known = known(1..=100);
        for (percent, expected) in [(0, 1), (50, 50), (95, 95), (100, 100), (999, 100)] {
            assert_eq!(known.percentile(percent), Some(Duration::from_millis(expected)));
        }
    }

    #[test]
    fn only_the_recent_past_counts() {
        let slow_then_fast = (0..1000).map(|n| if n < 800 { 5000 } else { 10 });
        assert_eq!(known(slow_then_fast).hedge_after(), Some(Duration::from_millis(10)));
    }

    proptest! {
        #[test]
        fn at_most_one_in_twenty_was_slower(times in proptest::collection::vec(0..1000_u64, 20..128)) {
            let limit = known(times.clone()).hedge_after().unwrap();
            let slower = times.iter().filter(|ms| Duration::from_millis(**ms) > limit).count();
            prop_assert!(slower * 20 <= times.len());
        }
    }
}
