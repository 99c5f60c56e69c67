//! Node ids.

/// The first 16 bytes of a node's public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId([u8; 16]);
