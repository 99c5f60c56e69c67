//! The domain-separated digest: what is signed and referred to by hash in this protocol.

use std::fmt;

use crate::domain::bytes::{self, HexError};

/// Put before every hashed message, so that no digest of this protocol means anything in another.
const DOMAIN: &[u8] = b"bizra-pci-v1:";

/// A 32-byte BLAKE3 digest. Its text form is 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest itself.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Reads 64 lower-case hex digits.
    ///
    /// # Errors
    /// [`HexError`] for anything else.
    pub fn from_hex(text: &str) -> Result<Self, HexError> {
        bytes::from_hex(text).map(Self)
    }

    /// 64 lower-case hex digits.
    pub fn to_hex(&self) -> String {
        bytes::to_hex(&self.0)
    }
}

impl From<[u8; 32]> for Digest {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// BLAKE3 over the domain prefix and `message`. The same in every language binding.
pub fn domain_separated_digest(message: &[u8]) -> Digest {
    let mut hasher = blake3::Hasher::new();
    hasher.update(DOMAIN).update(message);
    Digest(*hasher.finalize().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_those_of_existing_nodes() {
        for (message, digest) in [
            ("", "f5fa1b2c12fd108f109f6b5e858ac45350dbc876c897fec20a6818049ef2aaff"),
            ("hello bizra", "c05bf844556babc164032a2144a8453f361569235e65455ffd0f81823fb6e126"),
        ] {
            assert_eq!(domain_separated_digest(message.as_bytes()).to_hex(), digest);
            assert_eq!(Digest::from_hex(digest).unwrap().to_string(), digest);
        }
    }

    #[test]
    fn a_digest_is_not_the_bare_hash() {
        assert_ne!(domain_separated_digest(b"x").as_bytes(), blake3::hash(b"x").as_bytes());
    }
}
