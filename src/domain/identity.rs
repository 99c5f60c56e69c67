//! Ed25519 keys, signatures and their verification (RFC 8032).
//!
//! Verification is strict: a signature has one encoding, and a key that is weak, not canonical or
//! has a torsion part is refused when it is admitted. Two verifiers then never disagree.

mod known;

use std::fmt;
use std::sync::Arc;

use ed25519_dalek::{Signer, SigningKey, Verifier, VerifyingKey};

use crate::domain::bytes;
use crate::domain::digest::domain_separated_digest;
use crate::domain::id::NodeId;
use crate::domain::rotation::Rotation;

/// Put before the header of an envelope when it is signed.
const ENVELOPE_TAG: &[u8] = b"bizra-pci-env-v2:";

/// Put before what a person approves when their key signs it.
const APPROVAL_TAG: &[u8] = b"bizra-pci-approval-v1:";

/// Put before a rotation record when the old key signs it.
const ROTATION_TAG: &[u8] = b"bizra-pci-rotation-v1:";

/// Put before a rotation record when the new key signs it.
const ROTATION_PROOF_TAG: &[u8] = b"bizra-pci-rotation-proof-v1:";

/// Put before a proposal in its canonical form when its proposer signs it.
const PROPOSAL_TAG: &[u8] = b"bizra-fed-proposal-v1:";

/// Put before a decision in its canonical form when a validator votes for it.
const VOTE_TAG: &[u8] = b"bizra-fed-vote-v1:";

/// Put before what somebody says of a pattern, in its canonical form, when they sign it.
const FEEDBACK_TAG: &[u8] = b"bizra-pattern-feedback-v1:";

/// The one encoding of the neutral element that a computed point can have.
const IDENTITY_POINT: [u8; 32] = {
    let mut bytes = [0; 32];
    bytes[0] = 1;
    bytes
};

/// Characters in a label.
pub const LABEL_CHARS_MAX: usize = 64;

/// A public key that was admitted: canonical, not weak, without a torsion part.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PublicKey(VerifyingKey);

impl PublicKey {
    /// Admits a key. Costs more than verifying a signature; [`PublicKey::verify`] then does not
    /// repeat it, and keys that were admitted of late are remembered.
    ///
    /// # Errors
    /// [`VerifyError::WeakKey`] if no honest signer would have it.
    pub fn admit(bytes: &[u8; 32]) -> Result<Self, VerifyError> {
        if let Some(key) = known::find(bytes) {
            return Ok(key);
        }
        let key = Self::examine(bytes)?;
        known::keep(key);
        Ok(key)
    }

    fn examine(bytes: &[u8; 32]) -> Result<Self, VerifyError> {
        let key = VerifyingKey::from_bytes(bytes).map_err(|_| VerifyError::WeakKey)?;
        let point = key.to_edwards();
        let is_canonical = point.compress().as_bytes() == bytes;
        if !is_canonical || key.is_weak() || !point.is_torsion_free() {
            return Err(VerifyError::WeakKey);
        }
        Ok(Self(key))
    }

    /// Admits a key from 64 lower-case hex digits.
    ///
    /// # Errors
    /// [`VerifyError::KeyForm`] for other text, otherwise as [`PublicKey::admit`].
    pub fn admit_hex(text: &str) -> Result<Self, VerifyError> {
        Self::admit(&bytes::from_hex(text).map_err(|_| VerifyError::KeyForm)?)
    }

    /// The key's 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// 64 lower-case hex digits.
    pub fn to_hex(&self) -> String {
        bytes::to_hex(self.as_bytes())
    }

    /// The id of the node with this key.
    pub fn node_id(&self) -> NodeId {
        NodeId::of_key(self.as_bytes())
    }

    /// Verifies strictly that this key signed `message` for `key_use`.
    ///
    /// # Errors
    /// [`VerifyError::Mismatch`] if it did not.
    pub fn verify(
        &self,
        key_use: KeyUse,
        message: &[u8],
        signature: &Signature,
    ) -> Result<(), VerifyError> {
        let signature = ed25519_dalek::Signature::from_bytes(&signature.0);
        let is_valid = key_use.with_signed_bytes(message, |bytes| {
            let is_valid = self.is_strictly_valid(bytes, &signature);
            debug_assert_eq!(is_valid, self.0.verify_strict(bytes, &signature).is_ok());
            is_valid
        });
        if is_valid { Ok(()) } else { Err(VerifyError::Mismatch) }
    }

    /// What `verify_strict` answers, in three quarters of its time. That function reads R as a point
    /// to see that it is one and not of small order, then compares its bytes with those of
    /// R' = sB - kA. Bytes that are equal are a point. R' has no torsion part, because A, which was
    /// admitted, has none: of such points only the identity is of small order.
    fn is_strictly_valid(&self, bytes: &[u8], signature: &ed25519_dalek::Signature) -> bool {
        #[expect(clippy::disallowed_methods, reason = "the key is admitted, R is not the identity")]
        let is_valid = self.0.verify(bytes, signature).is_ok();
        is_valid && signature.r_bytes() != &IDENTITY_POINT
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_hex())
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A node's secret key. It is overwritten when dropped, and nothing prints it.
pub struct NodeKey {
    signing: SigningKey,
    public: PublicKey,
}

impl NodeKey {
    /// The key of 32 secret bytes, which the caller draws and overwrites.
    pub fn from_secret(secret: &[u8; 32]) -> Self {
        let signing = SigningKey::from_bytes(secret);
        // A secret is a multiple of the base point, clamped: never weak, never with torsion.
        let public = PublicKey(signing.verifying_key());
        Self { signing, public }
    }

    /// Its public half.
    pub fn public_key(&self) -> &PublicKey {
        &self.public
    }

    /// The secret bytes, for the keystore to write down; nothing else may name this.
    pub(crate) fn expose_secret(&self) -> &[u8; 32] {
        self.signing.as_bytes()
    }

    /// Signs `message` for `key_use`. The same message gives the same signature.
    pub fn sign(&self, key_use: KeyUse, message: &[u8]) -> Signed {
        let signature = key_use.with_signed_bytes(message, |bytes| self.signing.sign(bytes));
        Signed {
            signature: Signature(signature.to_bytes()),
            public_key: self.public,
            node_id: self.public.node_id(),
        }
    }
}

impl fmt::Debug for NodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeKey").field("public_key", &self.public).finish_non_exhaustive()
    }
}

/// An Ed25519 signature, 64 bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signature(pub [u8; 64]);

impl Signature {
    /// Reads 128 lower-case hex digits.
    ///
    /// # Errors
    /// [`VerifyError::SignatureForm`] for anything else.
    pub fn from_hex(text: &str) -> Result<Self, VerifyError> {
        bytes::from_hex(text).map(Self).map_err(|_| VerifyError::SignatureForm)
    }

    /// 128 lower-case hex digits.
    pub fn to_hex(&self) -> String {
        bytes::to_hex(&self.0)
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_hex())
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

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

/// What a signature is for. Each use signs bytes that no other use can sign, so that a signature
/// obtained for one means nothing for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyUse {
    /// `identity.sign`: over the 64 hex digits of the domain digest, as existing nodes do. No tag
    /// consists of hex digits only, so these bytes begin no other use's bytes.
    Message,
    /// The canonical header of an envelope, after its tag.
    Envelope,
    /// What a person approves, in its canonical form, after its tag.
    Approval,
    /// A rotation record by the key that is replaced, after its tag.
    Rotation,
    /// A rotation record by the key in its place, after its tag.
    RotationProof,
    /// A proposal by its proposer, in its canonical form, after its tag.
    Proposal,
    /// A decision by a validator, in its canonical form, after its tag.
    Vote,
    /// What somebody says of a pattern, in its canonical form, after its tag.
    Feedback,
}

impl KeyUse {
    /// Hands the bytes that Ed25519 signs for `message` to `then`.
    fn with_signed_bytes<T>(self, message: &[u8], then: impl FnOnce(&[u8]) -> T) -> T {
        let tag = match self {
            Self::Message => {
                return then(domain_separated_digest(message).to_hex().as_bytes());
            }
            Self::Envelope => ENVELOPE_TAG,
            Self::Approval => APPROVAL_TAG,
            Self::Rotation => ROTATION_TAG,
            Self::RotationProof => ROTATION_PROOF_TAG,
            Self::Proposal => PROPOSAL_TAG,
            Self::Vote => VOTE_TAG,
            Self::Feedback => FEEDBACK_TAG,
        };
        then(&[tag, message].concat())
    }
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
    /// The record by which another key took its place, if one did. It then signs no more.
    pub rotation: Option<Arc<Rotation>>,
}

/// What a rotation made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rotated {
    /// The identity that signs now.
    pub new: IdentityInfo,
    /// The record that says so.
    pub rotation: Arc<Rotation>,
}

/// Whether `label` may name an identity: 1 to [`LABEL_CHARS_MAX`] characters, no control characters.
pub fn is_label(label: &str) -> bool {
    // A character has at most four bytes: long text is not counted to its end.
    let is_short = label.len() <= 4 * LABEL_CHARS_MAX && label.chars().count() <= LABEL_CHARS_MAX;
    !label.is_empty() && is_short && !label.chars().any(char::is_control)
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
    /// Another key took its place, so it signs no more.
    #[error("identity {old} was replaced by {new} and signs no more")]
    Retired {
        /// The identity.
        old: NodeId,
        /// The one in its place.
        new: NodeId,
    },
    /// It is in the keystore already.
    #[error("identity {0} is in the keystore already")]
    Exists(NodeId),
    /// The passphrase does not open what was given.
    #[error("the passphrase is wrong")]
    Passphrase,
    /// What was given is no export of an identity.
    #[error("no export of an identity: {0}")]
    Export(String),
    /// The label is too long or has control characters.
    #[error("a label has 1 to 64 characters and no control characters")]
    Label,
    /// More messages at once than one batch may have.
    #[error("a batch has at most {max} messages")]
    Batch {
        /// The limit.
        max: usize,
    },
    /// The keystore could not be written or read.
    #[error("keystore: {0}")]
    Store(String),
}

/// A signature to verify, as it came: nothing in it is trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The signed bytes.
    pub message: ::bytes::Bytes,
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
    /// It came in a batch that is larger than a batch may be.
    #[error("a batch has at most 1024 claims")]
    Batch,
}

/// Verifies a claim that [`KeyUse::Message`] signed.
///
/// # Errors
/// [`VerifyError`]; forms are checked before the key, and the key before the signature.
pub fn verify_claim(claim: &Claim) -> Result<(), VerifyError> {
    let signature = Signature::from_hex(&claim.signature)?;
    let key = PublicKey::admit_hex(&claim.public_key)?;
    key.verify(KeyUse::Message, &claim.message, &signature)
}

/// Verifies claims in order, each as [`verify_claim`] would. A key that comes several times in a row
/// is admitted once.
pub fn verify_claims(claims: &[Claim]) -> Vec<Result<(), VerifyError>> {
    let mut last: Option<(&str, Result<PublicKey, VerifyError>)> = None;
    let mut results = Vec::with_capacity(claims.len());
    for Claim { message, signature, public_key } in claims {
        results.push(Signature::from_hex(signature).and_then(|signature| {
            let key = match last {
                Some((text, key)) if text == public_key => key,
                _ => PublicKey::admit_hex(public_key),
            };
            last = Some((public_key, key));
            key?.verify(KeyUse::Message, message, &signature)
        }));
    }
    results
}

#[cfg(test)]
mod tests;
