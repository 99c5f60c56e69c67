//! What others say of a pattern, and proof of who said it.
//!
//! A signed feedback is over `bizra-pattern-feedback-v1:` and the canonical form (RFC 8785) of
//! `{type, pattern, positive, number}`. The pattern's id is the digest of its content, so the feedback
//! holds at every node that has the pattern. Numbers of one key over one pattern rise, so that none is
//! counted twice, however often it is sent.

use serde_json::json;

use crate::domain::identity::{KeyUse, PublicKey, Signature};
use crate::domain::json::{self, INTEGER_MAX};
use crate::domain::pattern::{PatternError, PatternId};

/// What `type` says.
pub const TYPE: &str = "bizra-pattern-feedback-v1";

/// The bytes that [`KeyUse::Feedback`] signs.
///
/// # Errors
/// [`PatternError::FeedbackNumber`] for a number that JSON does not hold, or zero.
pub fn statement(
    pattern: PatternId,
    is_positive: bool,
    number: u64,
) -> Result<Vec<u8>, PatternError> {
    if !(1..=INTEGER_MAX.unsigned_abs()).contains(&number) {
        return Err(PatternError::FeedbackNumber);
    }
    Ok(json::canonical(&json!({
        "type": TYPE,
        "pattern": pattern.to_string(),
        "positive": is_positive,
        "number": number,
    }))?)
}

/// What somebody says of a pattern. Whose it is was verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opinion {
    is_positive: bool,
    signer: Option<(PublicKey, u64)>,
}

impl Opinion {
    /// One that nobody signed. It moves the confidence and speaks for no elevation.
    pub fn unsigned(is_positive: bool) -> Self {
        Self { is_positive, signer: None }
    }

    /// One that `key` signed.
    ///
    /// # Errors
    /// [`PatternError::Signature`] if it did not, [`PatternError::FeedbackNumber`] for a number that
    /// is none.
    pub fn signed(
        pattern: PatternId,
        is_positive: bool,
        number: u64,
        key: PublicKey,
        signature: &Signature,
    ) -> Result<Self, PatternError> {
        let statement = statement(pattern, is_positive, number)?;
        let verified = key.verify(KeyUse::Feedback, &statement, signature);
        verified.map_err(|_| PatternError::Signature)?;
        Ok(Self { is_positive, signer: Some((key, number)) })
    }

    /// Whether it speaks for the pattern.
    pub fn is_positive(&self) -> bool {
        self.is_positive
    }

    /// Who signed it, and which number it has.
    pub fn signer(&self) -> Option<(PublicKey, u64)> {
        self.signer
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::identity::NodeKey;

    const ID: PatternId = PatternId([7; 16]);

    #[test]
    fn a_feedback_is_its_signers_for_one_pattern_one_verdict_and_one_number() {
        let key = NodeKey::from_secret(&[1; 32]);
        let signed = key.sign(KeyUse::Feedback, &statement(ID, true, 1).unwrap());
        let opinion = |pattern, is_positive, number, key| {
            Opinion::signed(pattern, is_positive, number, key, &signed.signature)
        };
        let own = *key.public_key();
        assert_eq!(opinion(ID, true, 1, own).unwrap().signer(), Some((own, 1)));
        let other = *NodeKey::from_secret(&[2; 32]).public_key();
        for changed in [
            opinion(PatternId([8; 16]), true, 1, own),
            opinion(ID, false, 1, own),
            opinion(ID, true, 2, own),
            opinion(ID, true, 1, other),
        ] {
            assert_eq!(changed, Err(PatternError::Signature));
        }
        assert_eq!(opinion(ID, true, 0, own), Err(PatternError::FeedbackNumber));
        assert_eq!(opinion(ID, true, 1 << 53, own), Err(PatternError::FeedbackNumber));
    }

    #[test]
    fn a_signed_message_is_no_feedback() {
        let key = NodeKey::from_secret(&[1; 32]);
        let statement = statement(ID, true, 1).unwrap();
        for key_use in [KeyUse::Message, KeyUse::Proposal, KeyUse::Vote, KeyUse::Approval] {
            let signed = key.sign(key_use, &statement);
            let opinion = Opinion::signed(ID, true, 1, *key.public_key(), &signed.signature);
            assert_eq!(opinion, Err(PatternError::Signature), "{key_use:?}");
        }
    }
}
