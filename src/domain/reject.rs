//! Reject codes.

/// Why something was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RejectCode {
    /// The JSON is malformed.
    RejectSchema,
}
