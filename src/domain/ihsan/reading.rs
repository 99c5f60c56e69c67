//! Why an Ihsan score may not count.

use std::fmt;

use crate::domain::ihsan::Dimension;
use crate::domain::score::Score;

/// Too little was verified for the score to count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shortfall {
    /// What must be verified and is not; may be empty.
    pub missing: Vec<Dimension>,
    /// The share of the weight that is verified.
    pub coverage: Score,
    /// The least share that is asked for.
    pub coverage_min: Score,
}

impl fmt::Display for Shortfall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.missing.is_empty() {
            let names: Vec<&str> = self.missing.iter().map(|missing| missing.as_str()).collect();
            return write!(f, "not verified: {}", names.join(", "));
        }
        if self.coverage == Score::ZERO {
            return f.write_str("no dimension is verified");
        }
        let (coverage, coverage_min) = (self.coverage.value(), self.coverage_min.value());
        write!(f, "the verified share is {coverage}, and {coverage_min} is asked for")
    }
}

impl std::error::Error for Shortfall {}
