//! The standing of those who send messages: trust, which penalties lower and time restores, and
//! cooldowns, in which nothing is taken from them.
//!
//! A sender is the key that signed; whoever was never punished is not remembered. Time comes in as
//! milliseconds since the Unix epoch.

use std::collections::HashMap;

use crate::domain::constitution::document::{Penalty, Trust};
use crate::domain::score::Score;

/// Senders remembered: some megabyte. Making keys costs nothing, so whoever wants to be forgotten
/// need only use another; this bounds the memory, not the penalty.
pub const SENDERS_MAX: usize = 10_000;

const DAY_MS: i64 = 24 * 3600 * 1000;

/// A sender's public key.
pub type SenderKey = [u8; 32];

/// What a sender that was punished has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Trust at `at_ms`; 1 is full trust.
    pub trust: Score,
    /// When that was.
    pub at_ms: i64,
    /// Until when nothing is taken from it; in the past if there is no cooldown.
    pub cooldown_until_ms: i64,
}

impl Standing {
    /// Full trust, no cooldown.
    pub const FULL: Self = Self { trust: Score::ONE, at_ms: i64::MIN, cooldown_until_ms: i64::MIN };

    /// Trust at `now_ms`: what was left then and what has come back since.
    pub fn trust_at(&self, now_ms: i64, terms: &Trust) -> Score {
        let since_ms = now_ms.saturating_sub(self.at_ms).max(0);
        // A day more or less is beyond what a double rounds here.
        #[expect(clippy::cast_precision_loss, reason = "centuries of milliseconds are exact")]
        let days = since_ms as f64 / DAY_MS as f64;
        let restored = self.trust.value() + days * terms.recovery_per_day.value();
        Score::try_from(restored.min(1.0)).unwrap_or(Score::ONE)
    }

    /// Why nothing is taken from this sender at `now_ms`, if so.
    pub fn refusal(&self, now_ms: i64, terms: &Trust) -> Option<Refusal> {
        if self.cooldown_until_ms > now_ms {
            let left_ms = self.cooldown_until_ms.saturating_sub(now_ms);
            return Some(Refusal::Cooldown { seconds: (left_ms - 1) / 1000 + 1 });
        }
        let trust = self.trust_at(now_ms, terms);
        (trust < terms.minimum).then_some(Refusal::Trust { trust, minimum: terms.minimum })
    }

    fn is_full(&self, now_ms: i64, terms: &Trust) -> bool {
        self.cooldown_until_ms <= now_ms && self.trust_at(now_ms, terms) == Score::ONE
    }
}

/// Why nothing is taken from a sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is in a cooldown.
    #[error("the sender is in a cooldown for {seconds} s more")]
    Cooldown {
        /// Seconds until it ends.
        seconds: i64,
    },
    /// Too little trust is left.
    #[error("the trust in the sender is {}, at least {} is needed", trust.value(), minimum.value())]
    Trust {
        /// What is left.
        trust: Score,
        /// What is needed.
        minimum: Score,
    },
}

/// What changed in a [`Book`], to be kept on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Who was punished.
    pub sender: SenderKey,
    /// What it has now.
    pub standing: Standing,
    /// Those that are remembered no more.
    pub forgotten: Vec<SenderKey>,
}

/// The standing of every sender that was punished and has not recovered; bounded.
#[derive(Clone, Debug, Default)]
pub struct Book(HashMap<SenderKey, Standing>);

impl Book {
    /// Puts back what was kept on disk. Entries beyond [`SENDERS_MAX`] are left out.
    pub fn restore(entries: impl IntoIterator<Item = (SenderKey, Standing)>) -> Self {
        Self(entries.into_iter().take(SENDERS_MAX).collect())
    }

    /// The standing of `sender`.
    pub fn standing(&self, sender: &SenderKey) -> Standing {
        self.0.get(sender).copied().unwrap_or(Standing::FULL)
    }

    /// Senders remembered.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nobody is remembered.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Carries out `penalties` on `sender`; tells what changed, if they are of a kind that changes
    /// anything.
    pub fn punish(
        &mut self,
        sender: &SenderKey,
        penalties: &[Penalty],
        terms: &Trust,
        now_ms: i64,
    ) -> Option<Change> {
        let before = self.standing(sender);
        let mut trust = before.trust_at(now_ms, terms).value();
        let mut cooldown_until_ms = before.cooldown_until_ms;
        let mut is_changed = false;
        for penalty in penalties {
            match penalty {
                Penalty::Reject | Penalty::None => continue,
                Penalty::Trust { amount } => trust -= amount.value(),
                Penalty::Cooldown { seconds } => {
                    let until_ms = now_ms.saturating_add(i64::from(*seconds) * 1000);
                    cooldown_until_ms = cooldown_until_ms.max(until_ms);
                }
            }
            is_changed = true;
        }
        if !is_changed {
            return None;
        }
        // Differences of scores are finite; adding zero turns -0 into 0.
        let trust = Score::try_from(trust.max(0.0) + 0.0).unwrap_or(Score::ZERO);
        let standing = Standing { trust, at_ms: now_ms, cooldown_until_ms };
        let forgotten = self.make_room(sender, terms, now_ms);
        self.0.insert(*sender, standing);
        Some(Change { sender: *sender, standing, forgotten })
    }

    /// Forgets those that have recovered, or the one with the best standing, if there is no place.
    fn make_room(&mut self, sender: &SenderKey, terms: &Trust, now_ms: i64) -> Vec<SenderKey> {
        if self.0.len() < SENDERS_MAX || self.0.contains_key(sender) {
            return Vec::new();
        }
        let recovered = |(_, standing): &(&SenderKey, &Standing)| standing.is_full(now_ms, terms);
        let mut forgotten: Vec<_> =
            self.0.iter().filter(recovered).map(|(sender, _)| *sender).collect();
        if forgotten.is_empty() {
            let best = self.0.iter().max_by_key(|(sender, standing)| {
                let is_free = standing.cooldown_until_ms <= now_ms;
                // The key decides between equals, so that the choice can be repeated.
                (is_free, standing.trust_at(now_ms, terms), **sender)
            });
            forgotten.extend(best.map(|(sender, _)| *sender));
        }
        for sender in &forgotten {
            self.0.remove(sender);
        }
        forgotten
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: i64 = 1_800_000_000_000;

    fn score(value: f64) -> Score {
        Score::try_from(value).unwrap()
    }

    fn terms() -> Trust {
        Trust { minimum: score(0.25), recovery_per_day: score(0.5) }
    }

    fn trust(amount: f64) -> Penalty {
        Penalty::Trust { amount: score(amount) }
    }

    fn sender(number: usize) -> SenderKey {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&number.to_le_bytes());
        key
    }

    #[test]
    fn whoever_was_never_punished_has_full_trust_and_no_entry() {
        let mut book = Book::default();
        assert_eq!(book.standing(&sender(1)).refusal(NOW, &terms()), None);
        assert_eq!(book.standing(&sender(1)).trust_at(NOW, &terms()), Score::ONE);
        assert_eq!(book.punish(&sender(1), &[Penalty::Reject, Penalty::None], &terms(), NOW), None);
        assert!(book.is_empty());
    }

    #[test]
    fn penalties_add_up_until_nothing_is_taken_and_time_restores() {
        let mut book = Book::default();
        for left in [0.75, 0.5, 0.25] {
            book.punish(&sender(1), &[trust(0.25)], &terms(), NOW).unwrap();
            assert_eq!(book.standing(&sender(1)).trust, score(left));
            assert_eq!(book.standing(&sender(1)).refusal(NOW, &terms()), None);
        }
        let change = book.punish(&sender(1), &[trust(0.25)], &terms(), NOW).unwrap();
        assert_eq!(change.standing.trust, Score::ZERO);
        let refusal = Refusal::Trust { trust: Score::ZERO, minimum: score(0.25) };
        assert_eq!(change.standing.refusal(NOW, &terms()), Some(refusal));
        assert!(change.standing.refusal(NOW + DAY_MS / 2 - 1000, &terms()).is_some());
        assert_eq!(change.standing.refusal(NOW + DAY_MS / 2, &terms()), None);
        assert_eq!(change.standing.trust_at(NOW + 3 * DAY_MS, &terms()), Score::ONE);
        assert_eq!(book.standing(&sender(2)).refusal(NOW, &terms()), None, "nobody else pays");
    }

    #[test]
    fn a_cooldown_ends_when_it_is_over_and_a_shorter_one_does_not_shorten_it() {
        let mut book = Book::default();
        let cooldown = |seconds| Penalty::Cooldown { seconds };
        book.punish(&sender(1), &[cooldown(60)], &terms(), NOW).unwrap();
        book.punish(&sender(1), &[cooldown(1)], &terms(), NOW).unwrap();
        let standing = book.standing(&sender(1));
        assert_eq!(standing.refusal(NOW, &terms()), Some(Refusal::Cooldown { seconds: 60 }));
        let last = standing.refusal(NOW + 59_999, &terms());
        assert_eq!(last, Some(Refusal::Cooldown { seconds: 1 }));
        assert_eq!(standing.refusal(NOW + 60_000, &terms()), None);
        assert_eq!(standing.trust, Score::ONE);
    }

    #[test]
    fn a_clock_that_goes_back_restores_nothing() {
        let mut book = Book::default();
        book.punish(&sender(1), &[trust(0.5)], &terms(), NOW).unwrap();
        assert_eq!(book.standing(&sender(1)).trust_at(NOW - DAY_MS, &terms()), score(0.5));
        assert_eq!(book.standing(&sender(1)).trust_at(i64::MIN, &terms()), score(0.5));
        assert_eq!(book.standing(&sender(1)).trust_at(i64::MAX, &terms()), Score::ONE);
    }

    #[test]
    fn the_book_is_bounded_and_keeps_the_worst() {
        let mut book = Book::default();
        for number in 0..SENDERS_MAX {
            book.punish(&sender(number), &[trust(1.0)], &terms(), NOW).unwrap();
        }
        book.punish(&sender(7), &[trust(0.1)], &terms(), NOW).unwrap();
        assert_eq!(book.len(), SENDERS_MAX);
        // The first newcomer takes the place of one that is as bad as all others.
        let change = book.punish(&sender(SENDERS_MAX), &[trust(0.1)], &terms(), NOW).unwrap();
        assert_eq!(change.forgotten.len(), 1);
        // The second one takes the place of the first, which has the best standing.
        let change = book.punish(&sender(SENDERS_MAX + 1), &[trust(0.2)], &terms(), NOW).unwrap();
        assert_eq!(change.forgotten, [sender(SENDERS_MAX)]);
        assert_eq!(book.len(), SENDERS_MAX);
        // Two days later everybody else has recovered.
        let later = NOW + 2 * DAY_MS;
        let change = book.punish(&sender(SENDERS_MAX + 2), &[trust(0.1)], &terms(), later).unwrap();
        assert_eq!(change.forgotten.len(), SENDERS_MAX);
        assert_eq!(book.len(), 1);
    }

    #[test]
    fn what_is_restored_is_bounded_too() {
        let entries = (0..SENDERS_MAX + 5).map(|number| (sender(number), Standing::FULL));
        assert_eq!(Book::restore(entries).len(), SENDERS_MAX);
    }

    proptest! {
        #[test]
        fn trust_is_a_score_whatever_happens(
            steps in proptest::collection::vec((0.0..=1.0f64, any::<i64>(), 1..u32::MAX), 1..20),
        ) {
            let mut book = Book::default();
            for (amount, now_ms, seconds) in steps {
                let penalties = [trust(amount), Penalty::Cooldown { seconds }];
                let change = book.punish(&sender(1), &penalties, &terms(), now_ms).unwrap();
                prop_assert!(change.standing.cooldown_until_ms >= now_ms);
                prop_assert!(change.standing.refusal(now_ms, &terms()).is_some()
                    || change.standing.cooldown_until_ms == i64::MAX || now_ms == i64::MAX);
            }
        }
    }
}
