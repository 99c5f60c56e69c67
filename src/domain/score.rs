//! Scores in [0, 1].

/// A finite number in [0, 1].
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Score(f64);
