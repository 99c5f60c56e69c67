//! The digest of the protocol.

use bizra_omega::domain::digest::domain_separated_digest as digest;
use pyo3::prelude::*;

use crate::error::{Result, apart, calmly};
use crate::input::Data;

/// Bytes that are hashed in less time than it takes to let another thread run.
const QUICK_BYTES_MAX: usize = 4096;

/// The domain-separated digest of a message: BLAKE3 over ``bizra-pci-v1:`` and the message.
///
/// Returns 64 lower-case hex digits, the same in every language and with or without a node. Takes
/// any bytes-like object, or a str as UTF-8, of any length.
#[pyfunction]
pub(crate) fn domain_separated_digest(py: Python<'_>, message: Data) -> Result<String> {
    if message.len() <= QUICK_BYTES_MAX {
        calmly(|| Ok(digest(&message).to_hex()))
    } else {
        apart(py, || Ok(digest(&message).to_hex()))
    }
}
