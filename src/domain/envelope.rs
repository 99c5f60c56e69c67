//! Envelopes, version "2.0": a payload, its hash, and a signed header that anyone can check.

use std::sync::Arc;

use crate::domain::id::NodeId;
use crate::domain::reject::RejectCode;

/// 128 random bits: names the envelope and is its replay nonce.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EnvelopeId(pub [u8; 16]);

/// A parent of an envelope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parent {
    /// Its id.
    pub id: EnvelopeId,
    /// Its content hash.
    pub content_hash: [u8; 32],
}

/// What is to be sealed. The caller draws `id` and reads the clock, so that making the same
/// envelope twice gives the same bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct Draft {
    /// Random, drawn by the caller.
    pub id: EnvelopeId,
    /// Milliseconds since the Unix epoch.
    pub timestamp_ms: i64,
    /// Seconds it is valid, 1..=3600.
    pub ttl_s: u32,
    /// The only node that may consume it.
    pub audience: Option<NodeId>,
    /// What it was made from, at most 64.
    pub provenance: Vec<Parent>,
    /// The receipt of the gates that judged the payload.
    pub gates: Option<serde_json::Value>,
    /// Any I-JSON value.
    pub payload: serde_json::Value,
}

/// A finished envelope.
#[derive(Clone, Debug, PartialEq)]
pub struct Sealed {
    /// Its id.
    pub id: EnvelopeId,
    /// The whole object, as in `pci.md`.
    pub json: Arc<serde_json::Value>,
}

/// One step of verification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// Its name.
    pub check: &'static str,
    /// Whether it held.
    pub passed: bool,
    /// What was seen.
    pub detail: Option<String>,
}

/// The outcome of verification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// `None` when valid.
    pub code: Option<RejectCode>,
    /// Why not valid.
    pub error: Option<String>,
    /// The checks in order, up to the first that failed.
    pub checks: Vec<Check>,
}

/// Why an envelope could not be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The draft breaks a rule of the format.
    #[error("{0}")]
    Invalid(String),
    /// The log or the key could not be used.
    #[error("{0}")]
    Unavailable(String),
}
