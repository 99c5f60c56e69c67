//! Scores in [0, 1], where they come from, and how two of them become one.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

/// A finite number in [0, 1] that is not negative zero.
///
/// There is no other way to a value than [`Score::try_from`], so code that holds one never asks
/// again whether it is a number.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Score(f64);

/// Why a number is no score.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum ScoreError {
    /// NaN or an infinity.
    #[error("a score is a finite number")]
    NotFinite,
    /// Below 0 (negative zero included, which has no canonical JSON form) or above 1.
    #[error("a score lies between 0 and 1, and {0} does not")]
    OutOfRange(f64),
}

impl Score {
    /// The lowest score.
    pub const ZERO: Self = Self(0.0);
    /// The highest score.
    pub const ONE: Self = Self(1.0);

    /// The number.
    pub const fn value(self) -> f64 {
        self.0
    }
}

impl TryFrom<f64> for Score {
    type Error = ScoreError;

    fn try_from(value: f64) -> Result<Self, ScoreError> {
        if !value.is_finite() {
            return Err(ScoreError::NotFinite);
        }
        if value.is_sign_negative() || value > 1.0 {
            return Err(ScoreError::OutOfRange(value));
        }
        Ok(Self(value))
    }
}

impl From<Score> for f64 {
    fn from(score: Score) -> Self {
        score.0
    }
}

/// NaN and negative zero are excluded by construction, so equality is total.
impl Eq for Score {}

impl Ord for Score {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl PartialOrd for Score {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Who vouches for a score.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// This node computed it.
    Measured,
    /// A trusted scorer signed it.
    Attested,
    /// The caller said so.
    Claimed,
    /// Nobody: there is no score.
    Unavailable,
}

impl Source {
    /// Its name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Measured => "measured",
            Self::Attested => "attested",
            Self::Claimed => "claimed",
            Self::Unavailable => "unavailable",
        }
    }
}

/// A score as a gate reads it: the value that counts, and where that value came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The value; `None` exactly when the source is [`Source::Unavailable`].
    pub score: Option<Score>,
    /// Who vouches for it.
    pub source: Source,
}

/// Joins a measurement and a claim: with both the lower counts, so that a claim never raises a
/// measurement; with neither the score is unavailable.
pub fn combine(measured: Option<Score>, claimed: Option<Score>) -> Reading {
    let (score, source) = match (measured, claimed) {
        (Some(measured), Some(claimed)) if claimed < measured => (claimed, Source::Claimed),
        (Some(measured), _) => (measured, Source::Measured),
        (None, Some(claimed)) => (claimed, Source::Claimed),
        (None, None) => return Reading { score: None, source: Source::Unavailable },
    };
    Reading { score: Some(score), source }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_outside_zero_to_one_are_refused() {
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!(Score::try_from(value), Err(ScoreError::NotFinite));
        }
        for value in [-0.0, -f64::MIN_POSITIVE, -1.0, 1.0 + f64::EPSILON, 100.0, f64::MAX] {
            assert_eq!(Score::try_from(value), Err(ScoreError::OutOfRange(value)), "{value:?}");
        }
    }

    #[test]
    fn both_ends_are_scores() {
        assert_eq!(Score::try_from(0.0), Ok(Score::ZERO));
        assert_eq!(Score::try_from(1.0), Ok(Score::ONE));
        assert!(Score::try_from(1.0 - f64::EPSILON).is_ok());
        assert!(Score::try_from(f64::MIN_POSITIVE).is_ok());
    }

    #[test]
    fn json_cannot_smuggle_a_bad_score_in() {
        assert_eq!(serde_json::from_str::<Score>("0.95").unwrap().value(), 0.95);
        for text in ["1.0000000000000002", "-0.0", "-1", "1e400", "\"0.9\"", "null"] {
            assert!(serde_json::from_str::<Score>(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_double_is_a_score_exactly_when_it_lies_in_the_range(bits: u64) {
            let value = f64::from_bits(bits);
            let is_within = (0.0..=1.0).contains(&value) && !value.is_sign_negative();
            prop_assert_eq!(Score::try_from(value).is_ok(), is_within);
        }

        #[test]
        fn a_claim_never_raises_a_measurement(measured in 0.0..=1.0f64, claimed in 0.0..=1.0f64) {
            let measured = Score::try_from(measured).unwrap();
            let claimed = Score::try_from(claimed).unwrap();
            let alone = combine(Some(measured), None).score.unwrap();
            let joined = combine(Some(measured), Some(claimed)).score.unwrap();
            prop_assert!(joined <= alone);
            prop_assert_eq!(joined, measured.min(claimed));
        }
    }

    #[test]
    fn without_measurement_and_claim_there_is_no_score() {
        assert_eq!(combine(None, None), Reading { score: None, source: Source::Unavailable });
        assert_eq!(combine(None, Some(Score::ONE)).source, Source::Claimed);
        assert_eq!(combine(Some(Score::ZERO), Some(Score::ONE)).source, Source::Measured);
    }
}
