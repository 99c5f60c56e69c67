//! Approvals by people. An [`Approval`] exists only after its signature was verified under a key of
//! the human role, so nothing can claim to be approved.

use serde_json::json;

use crate::domain::digest::Digest;
use crate::domain::identity::{KeyUse, PublicKey, Signature};
use crate::domain::json;
use crate::domain::score::Score;

/// Keys of people that a node knows at most.
pub const HUMANS_MAX: usize = 64;

/// The longest an approval may be given for: a day. What is approved once is not approved for ever.
pub const LIFE_MS_MAX: u64 = 24 * 3600 * 1000;

/// What a person signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statement {
    /// The digest of the intent that is approved.
    pub intent: Digest,
    /// The most risk that is approved.
    pub risk_max: Score,
    /// Until when, in milliseconds since 1970 (UTC).
    pub not_after_ms: u64,
}

/// Why something is no approval.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApprovalError {
    /// The key is not one of a person.
    #[error("the key has no human role")]
    Role,
    /// It was approved until before now.
    #[error("the approval has expired")]
    Expired,
    /// It is approved for longer than may be.
    #[error("an approval holds for a day at most")]
    TooLong,
    /// The signature is not by this key over this statement.
    #[error("the signature does not match")]
    Signature,
}

/// A verified approval.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approval {
    statement: Statement,
    key: PublicKey,
}

impl Statement {
    /// The bytes that are signed with [`KeyUse::Approval`]: canonical JSON (RFC 8785) of the intent
    /// in hex, the risk, and the time as text, since it may exceed what a double holds.
    pub fn to_bytes(&self) -> Vec<u8> {
        let value = json!({
            "intent": self.intent.to_hex(),
            "not_after_ms": self.not_after_ms.to_string(),
            "risk_max": self.risk_max,
        });
        // Texts and one finite number always have a canonical form.
        json::canonical(&value).unwrap_or_default()
    }
}

impl Approval {
    /// Verifies an approval at the time `now_ms`. `humans` are the keys that the operator gave the
    /// human role; a key says nothing about its own role.
    ///
    /// # Errors
    /// [`ApprovalError`], cheap checks before the signature.
    pub fn verify(
        statement: Statement,
        key: PublicKey,
        signature: &Signature,
        humans: &[PublicKey],
        now_ms: u64,
    ) -> Result<Self, ApprovalError> {
        if !humans.iter().take(HUMANS_MAX).any(|human| *human == key) {
            return Err(ApprovalError::Role);
        }
        match statement.not_after_ms.checked_sub(now_ms) {
            None => return Err(ApprovalError::Expired),
            Some(left) if left > LIFE_MS_MAX => return Err(ApprovalError::TooLong),
            Some(_) => {}
        }
        key.verify(KeyUse::Approval, &statement.to_bytes(), signature)
            .map_err(|_| ApprovalError::Signature)?;
        Ok(Self { statement, key })
    }

    /// The digest of the intent that is approved.
    pub fn intent(&self) -> Digest {
        self.statement.intent
    }

    /// The most risk that is approved.
    pub fn risk_max(&self) -> Score {
        self.statement.risk_max
    }

    /// Whose approval it is.
    pub fn key(&self) -> &PublicKey {
        &self.key
    }
}
