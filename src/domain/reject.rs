//! Reject codes: why an envelope or content was refused, in a form that programs share.

use std::fmt;

/// Why something was refused. The number and the name are part of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum RejectCode {
    /// Nothing was refused.
    Success = 0,
    /// Malformed JSON, a wrong type, an unknown field, or a value out of its range.
    RejectSchema = 1,
    /// A required field is absent.
    RejectMissingField = 2,
    /// The envelope has another version.
    RejectVersion = 3,
    /// The signature was not made by the stated key over this header.
    RejectSignature = 10,
    /// Older than its time to live.
    RejectExpired = 11,
    /// Its nonce was recorded already.
    RejectReplay = 12,
    /// Dated further ahead than clocks may differ.
    RejectFuture = 13,
    /// The sender is not the first half of the public key.
    RejectSenderMismatch = 14,
    /// What was hashed is not what is here.
    RejectHashMismatch = 15,
    /// The key is of low order, has a torsion part, or is not canonical.
    RejectWeakKey = 16,
    /// Addressed to somebody else.
    RejectAudience = 17,
    /// The schema gate refused.
    RejectGateSchema = 20,
    /// The signature gate refused.
    RejectGateSig = 21,
    /// The rate gate refused.
    RejectGateRate = 22,
    /// The SNR gate refused.
    RejectGateSNR = 23,
    /// The FATE gate refused.
    RejectGateFATE = 24,
    /// The Ihsan gate refused.
    RejectGateIhsan = 25,
    /// A bounded resource is full.
    RejectQuota = 40,
    /// The work took too long.
    RejectTimeout = 42,
    /// The node could not do its part.
    RejectInternal = 50,
}

impl RejectCode {
    /// Every code, by number.
    pub const ALL: [Self; 21] = [
        Self::Success,
        Self::RejectSchema,
        Self::RejectMissingField,
        Self::RejectVersion,
        Self::RejectSignature,
        Self::RejectExpired,
        Self::RejectReplay,
        Self::RejectFuture,
        Self::RejectSenderMismatch,
        Self::RejectHashMismatch,
        Self::RejectWeakKey,
        Self::RejectAudience,
        Self::RejectGateSchema,
        Self::RejectGateSig,
        Self::RejectGateRate,
        Self::RejectGateSNR,
        Self::RejectGateFATE,
        Self::RejectGateIhsan,
        Self::RejectQuota,
        Self::RejectTimeout,
        Self::RejectInternal,
    ];

    /// The number of the code.
    pub fn number(self) -> u8 {
        self as u8
    }

    /// The name that JSON carries.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Success => "Success",
            Self::RejectSchema => "RejectSchema",
            Self::RejectMissingField => "RejectMissingField",
            Self::RejectVersion => "RejectVersion",
            Self::RejectSignature => "RejectSignature",
            Self::RejectExpired => "RejectExpired",
            Self::RejectReplay => "RejectReplay",
            Self::RejectFuture => "RejectFuture",
            Self::RejectSenderMismatch => "RejectSenderMismatch",
            Self::RejectHashMismatch => "RejectHashMismatch",
            Self::RejectWeakKey => "RejectWeakKey",
            Self::RejectAudience => "RejectAudience",
            Self::RejectGateSchema => "RejectGateSchema",
            Self::RejectGateSig => "RejectGateSig",
            Self::RejectGateRate => "RejectGateRate",
            Self::RejectGateSNR => "RejectGateSNR",
            Self::RejectGateFATE => "RejectGateFATE",
            Self::RejectGateIhsan => "RejectGateIhsan",
            Self::RejectQuota => "RejectQuota",
            Self::RejectTimeout => "RejectTimeout",
            Self::RejectInternal => "RejectInternal",
        }
    }

    /// Whether the same thing may be accepted when it is tried again later.
    pub fn is_retryable(self) -> bool {
        matches!(self, Self::RejectGateRate | Self::RejectQuota | Self::RejectTimeout)
    }

    fn text(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::RejectSchema => "the form is wrong",
            Self::RejectMissingField => "a field is missing",
            Self::RejectVersion => "the version is not supported",
            Self::RejectSignature => "the signature does not match",
            Self::RejectExpired => "the envelope has expired",
            Self::RejectReplay => "the envelope was seen before",
            Self::RejectFuture => "the envelope comes from the future",
            Self::RejectSenderMismatch => "the sender is not the owner of the key",
            Self::RejectHashMismatch => "the content hash does not match",
            Self::RejectWeakKey => "the public key is weak or not canonical",
            Self::RejectAudience => "the envelope is for another node",
            Self::RejectGateSchema => "the content has the wrong form",
            Self::RejectGateSig => "the content is not signed",
            Self::RejectGateRate => "too many in too short a time",
            Self::RejectGateSNR => "too little signal for the noise",
            Self::RejectGateFATE => "a FATE predicate does not hold",
            Self::RejectGateIhsan => "the excellence score is too low",
            Self::RejectQuota => "a limit is reached",
            Self::RejectTimeout => "the deadline has passed",
            Self::RejectInternal => "internal fault",
        }
    }
}

impl fmt::Display for RejectCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PCI-{:02}: {}", self.number(), self.text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_keep_their_numbers_and_names() {
        let numbers = RejectCode::ALL.map(RejectCode::number);
        assert_eq!(
            numbers,
            [0, 1, 2, 3, 10, 11, 12, 13, 14, 15, 16, 17, 20, 21, 22, 23, 24, 25, 40, 42, 50]
        );
        for code in RejectCode::ALL {
            assert_eq!(code.as_str(), format!("{code:?}"));
        }
        assert_eq!(RejectCode::RejectSchema.to_string(), "PCI-01: the form is wrong");
        assert_eq!(RejectCode::RejectInternal.to_string(), "PCI-50: internal fault");
    }

    #[test]
    fn only_what_may_pass_later_is_retryable() {
        let retryable: Vec<_> =
            RejectCode::ALL.into_iter().filter(|code| code.is_retryable()).collect();
        assert_eq!(
            retryable,
            [RejectCode::RejectGateRate, RejectCode::RejectQuota, RejectCode::RejectTimeout]
        );
    }
}
