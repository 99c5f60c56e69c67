//! Gates: pure judgements over content, in fixed profiles.

use bytes::Bytes;

use crate::domain::score::Score;

/// A fixed list of gates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Profile {
    /// Schema, Ihsan, SNR over given scores; the default of `/pci/gates/check`.
    Check,
    /// Before a prompt goes to a model.
    InferenceInput,
    /// Before an answer leaves the node.
    InferenceOutput,
}

/// How the content is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContentType {
    /// UTF-8 text.
    Text,
    /// I-JSON.
    Json,
}

/// What the gates judge.
#[derive(Clone, Debug)]
pub struct GateInput {
    /// The content.
    pub content: Bytes,
    /// How to read it.
    pub content_type: ContentType,
    /// SNR as the caller claims it.
    pub snr_claim: Option<Score>,
    /// Ihsan as the caller claims it.
    pub ihsan_claim: Option<Score>,
}

/// What a run of gates leaves behind; goes into the envelope.
#[derive(Clone, Debug, PartialEq)]
pub struct Receipt {
    /// The profile.
    pub profile: Profile,
}
