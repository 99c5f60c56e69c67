//! Node ids.

use std::fmt;
use std::str::FromStr;

use crate::domain::bytes::{self, HexError};

/// The first 16 bytes of a node's public key; 32 lower-case hex digits as text. It names a node in
/// messages and logs. Trust decisions use the whole key.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId([u8; 16]);

impl NodeId {
    /// The id of the node with this public key.
    pub fn of_key(public_key: &[u8; 32]) -> Self {
        let mut id = [0; 16];
        id.copy_from_slice(&public_key[..16]);
        Self(id)
    }

    /// The id's bytes.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// Reads 32 lower-case hex digits.
    ///
    /// # Errors
    /// [`HexError`] for anything else.
    pub fn from_hex(text: &str) -> Result<Self, HexError> {
        bytes::from_hex(text).map(Self)
    }

    /// 32 lower-case hex digits.
    pub fn to_hex(&self) -> String {
        bytes::to_hex(&self.0)
    }

    /// `node_` and the first eight digits, for people.
    pub fn short(&self) -> String {
        format!("node_{}", bytes::to_hex(&self.0[..4]))
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_hex())
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for NodeId {
    type Err = HexError;

    fn from_str(text: &str) -> Result<Self, HexError> {
        Self::from_hex(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_half_a_key_and_nothing_else() {
        let key =
            bytes::from_hex("79b5562e8fe654f94078b112e8a98ba7901f853ae695bed7e0e3910bad049664");
        let id = NodeId::of_key(&key.unwrap());
        assert_eq!(id.to_string(), "79b5562e8fe654f94078b112e8a98ba7");
        assert_eq!(id.short(), "node_79b5562e");
        assert_eq!("79b5562e8fe654f94078b112e8a98ba7".parse(), Ok(id));
        for other in ["", "node_79b5562e", "79B5562e8fe654f94078b112e8a98ba7", "\u{e9}"] {
            assert!(other.parse::<NodeId>().is_err(), "{other:?}");
        }
    }
}
