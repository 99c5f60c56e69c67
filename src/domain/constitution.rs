//! The constitution: thresholds, rules and profiles, with a digest.

/// The document the gates enforce.
#[derive(Clone, Debug, PartialEq)]
pub struct Constitution {}
