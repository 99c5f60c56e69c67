//! How sure the node is of a pattern.
//!
//! Confidence begins in the middle, rises with positive feedback, falls with negative, and comes back
//! towards the middle while the pattern is not used. It is counted in millionths, so that nine steps
//! of 0.05 from 0.5 are 0.95 and not a little less.

use crate::domain::score::Score;

/// Millionths in one.
const ONE: u32 = 1_000_000;

/// A confidence, 0 to 1 in millionths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Confidence(u32);

/// A day in milliseconds.
const DAY_MS: i64 = 86_400_000;

/// Days unused after which half of the way to the middle is gone.
const HALF_LIFE_DAYS: f64 = 30.0;

impl Confidence {
    /// That of a new pattern, to which unused ones return.
    pub const MIDDLE: Self = Self(ONE / 2);

    /// The least with which a pattern is put to the vote.
    pub const ELEVATION: Self = Self(950_000);

    /// What positive feedback adds.
    const RISE: u32 = 50_000;

    /// What negative feedback takes.
    const FALL: u32 = 30_000;

    /// From millionths; what is more than 1 is 1.
    pub fn from_millionths(millionths: u32) -> Self {
        Self(millionths.min(ONE))
    }

    /// In millionths.
    pub fn millionths(self) -> u32 {
        self.0
    }

    /// As a number, 0 to 1.
    pub fn value(self) -> f64 {
        f64::from(self.0) / f64::from(ONE)
    }

    /// As a score.
    pub fn score(self) -> Score {
        // Between 0 and 1 by construction.
        Score::try_from(self.value()).unwrap_or(Score::ONE)
    }

    /// What is left of it after `unused_ms` without use: the way from 0.5 halves in 30 days. Whole
    /// days count, so that what is used every day does not fade.
    #[must_use]
    pub fn decayed(self, unused_ms: i64) -> Self {
        let days = unused_ms.max(0) / DAY_MS;
        if days == 0 {
            return self;
        }
        #[expect(clippy::cast_precision_loss, reason = "days since 1970 are few")]
        let left = libm::exp2(-(days as f64) / HALF_LIFE_DAYS);
        let middle = f64::from(Self::MIDDLE.0);
        let decayed = middle + (f64::from(self.0) - middle) * left;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between 0 and a million"
        )]
        Self::from_millionths(libm::round(decayed) as u32)
    }

    /// It after one more feedback.
    #[must_use]
    pub fn after(self, is_positive: bool) -> Self {
        if is_positive {
            Self::from_millionths(self.0 + Self::RISE)
        } else {
            Self(self.0.saturating_sub(Self::FALL))
        }
    }
}

/// What a pattern is worth when room is needed: confidence, how lately it was used, and how often.
/// The least goes first.
pub fn worth(confidence: Confidence, unused_ms: i64, uses: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "an estimate")]
    let (days, uses) = (unused_ms.max(0) as f64 / DAY_MS as f64, uses as f64);
    let recency = libm::exp2(-days / HALF_LIFE_DAYS);
    confidence.value() * recency * (1.0 + libm::log2(1.0 + uses))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nine_positive_feedbacks_are_enough_and_eight_are_not() {
        let after = |count| (0..count).fold(Confidence::MIDDLE, |it, _| it.after(true));
        assert!(after(8) < Confidence::ELEVATION);
        assert_eq!(after(9), Confidence::ELEVATION);
        assert_eq!(after(9).score(), crate::domain::federation::elevation_min());
        assert_eq!(after(100).value(), 1.0);
        assert_eq!(Confidence::MIDDLE.after(false).value(), 0.47);
        let none = (0..100).fold(Confidence::MIDDLE, |it, _| it.after(false));
        assert_eq!(none.value(), 0.0);
    }

    #[test]
    fn half_of_the_way_is_left_after_thirty_days() {
        let sure = Confidence::from_millionths(900_000);
        assert_eq!(sure.decayed(30 * DAY_MS).value(), 0.7);
        assert_eq!(sure.decayed(60 * DAY_MS).value(), 0.6);
        assert_eq!(Confidence(0).decayed(30 * DAY_MS).value(), 0.25);
        assert_eq!(sure.decayed(DAY_MS - 1), sure, "a day is no time");
        assert_eq!(sure.decayed(i64::MIN), sure, "the clock went back");
        assert_eq!(sure.decayed(i64::MAX), Confidence::MIDDLE);
    }

    #[test]
    fn what_is_sure_fresh_or_used_is_worth_more() {
        let sure = Confidence::from_millionths(900_000);
        assert!(worth(sure, 0, 1) > worth(Confidence::MIDDLE, 0, 1));
        assert!(worth(sure, 0, 1) > worth(sure, DAY_MS, 1));
        assert!(worth(sure, 0, 2) > worth(sure, 0, 1));
        assert!(worth(sure, i64::MAX, u64::MAX).is_finite());
    }

    proptest! {
        #[test]
        fn whatever_happens_it_stays_between_0_and_1_and_never_passes_the_middle(
            millionths: u32, unused_ms: i64, is_positive: bool,
        ) {
            let before = Confidence::from_millionths(millionths);
            let after = before.decayed(unused_ms);
            let (least, most) =
                (before.min(Confidence::MIDDLE), before.max(Confidence::MIDDLE));
            prop_assert!((least..=most).contains(&after));
            prop_assert!((0.0..=1.0).contains(&after.after(is_positive).value()));
        }
    }
}
