//! Ed25519 keys, signatures and their verification (RFC 8032).

use crate::domain::id::NodeId;

/// A public key that was admitted: canonical, not weak, without a torsion part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PublicKey([u8; 32]);

/// An Ed25519 signature, 64 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signature(pub [u8; 64]);

/// A signature and who made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// The signature.
    pub signature: Signature,
    /// The key it verifies under.
    pub public_key: PublicKey,
    /// The node the key belongs to.
    pub node_id: NodeId,
}

/// What a signature is for. Each use has a domain tag of its own, and no tag is a prefix of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyUse {
    /// `identity.sign`: over the hex of the domain digest.
    Message,
    /// The header of an envelope.
    Envelope,
}

/// One identity of the keystore.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityInfo {
    /// First 16 bytes of the public key.
    pub node_id: NodeId,
    /// The public key.
    pub public_key: PublicKey,
    /// The owner's name for it.
    pub label: Option<String>,
    /// Whether it is the one that signs.
    pub is_active: bool,
}

/// Why an identity could not be used or made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// No such identity in the keystore.
    #[error("no identity {0} in the keystore")]
    Unknown(String),
    /// The keystore holds as many as it may.
    #[error("the keystore holds {max} identities, which is the most")]
    Full {
        /// The limit.
        max: usize,
    },
    /// The label is too long or has control characters.
    #[error("a label has 1 to 64 characters and no control characters")]
    Label,
    /// The keystore could not be written or read.
    #[error("keystore: {0}")]
    Store(String),
}

/// A signature to verify, as it came: nothing in it is trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The signed bytes.
    pub message: bytes::Bytes,
    /// The signature in hex.
    pub signature: String,
    /// The public key in hex.
    pub public_key: String,
}

/// Why a signature is not valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// The signature is not 128 lower-case hex digits.
    #[error("the signature is not 128 lower-case hex digits")]
    SignatureForm,
    /// The key is not 64 lower-case hex digits.
    #[error("the public key is not 64 lower-case hex digits")]
    KeyForm,
    /// The key is weak, not canonical, or has a torsion part.
    #[error("the public key is weak or not canonical")]
    WeakKey,
    /// The signature was not made by this key over this message.
    #[error("the signature does not match")]
    Mismatch,
}
