//! What is kept of a pattern beside its text and its vector.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::domain::embedding::EmbedderId;
use crate::domain::federation::ProposalId;
use crate::domain::identity::PublicKey;
use crate::domain::pattern::confidence::worth;
use crate::domain::pattern::{Confidence, Observation, PatternError, PatternId, Source, Tags};

/// Positive feedbacks that were signed, before a pattern is put to the vote.
pub const POSITIVES_MIN: u64 = 9;

/// Keys that signed them.
pub const SIGNERS_MIN: usize = 3;

/// Keys whose feedback on one pattern is remembered: a few times as many as elevate it.
pub const SIGNERS_MAX: usize = 32;

/// Sayings of one pattern that are remembered, so that none is counted twice. Beyond that the oldest
/// is forgotten.
pub const OBSERVATIONS_MAX: usize = 64;

/// What a pattern takes beside its content and its numbers, in bytes.
const OTHER_BYTES: u64 = 512;

/// A key that gave feedback on a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signer {
    /// Whose it is.
    pub key: PublicKey,
    /// The number of its last feedback.
    pub last: u64,
    /// What that said.
    pub is_last_positive: bool,
    /// How often it spoke for the pattern.
    pub positives: u64,
}

/// The decision that a pattern is above others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elevation {
    /// What was decided.
    pub proposal: ProposalId,
    /// The number of the decision.
    pub height: u64,
    /// Who could vote. One is a node that was alone.
    pub validators: u64,
    /// When this node took note of it, in milliseconds since the Unix epoch.
    pub at_ms: i64,
}

impl Elevation {
    /// `solo` if there was one validator, else `federated`.
    pub fn mode(&self) -> &'static str {
        if self.validators == 1 { "solo" } else { "federated" }
    }
}

/// A pattern, without its text and its vector.
#[derive(Clone, Debug, PartialEq)]
pub struct Pattern {
    /// The digest of what it says.
    pub id: PatternId,
    /// Counts the patterns that the node has learned, from 1.
    pub number: u64,
    /// Whose numbers its vector has.
    pub embedder: Arc<EmbedderId>,
    /// What it is about.
    pub tags: Tags,
    /// Who taught it first.
    pub source: Source,
    /// Bytes of its content.
    pub content_bytes: u32,
    /// When it was learned, in milliseconds since the Unix epoch.
    pub learned_at_ms: i64,
    /// When it was last recalled, said again or spoken of.
    pub used_at_ms: i64,
    /// How often that was.
    pub uses: u64,
    /// How often it was said, by whom or in what words ever; at least 1.
    pub evidence: u64,
    /// As of `used_at_ms`.
    pub confidence: Confidence,
    /// Feedbacks that spoke for it.
    pub positives: u64,
    /// Feedbacks that spoke against it.
    pub negatives: u64,
    /// Keys that signed feedback.
    pub signers: Vec<Signer>,
    /// Whether it is never let go to make room.
    pub is_pinned: bool,
    /// The decision that elevated it.
    pub elevation: Option<Elevation>,
    /// What was put to the vote and not heard of since.
    pub proposed: Option<ProposalId>,
    /// Who said it, the latest last.
    pub observations: Vec<Observation>,
}

impl Pattern {
    /// What it takes of the limits: its content, four bytes a number, and the rest.
    pub fn bytes(&self) -> u64 {
        bytes(self.content_bytes as usize, self.embedder.dimension)
    }

    /// Its confidence at `now_ms`.
    pub fn confidence_at(&self, now_ms: i64) -> Confidence {
        self.confidence.decayed(now_ms.saturating_sub(self.used_at_ms))
    }

    /// What it is worth at `now_ms` when room is needed.
    pub fn worth_at(&self, now_ms: i64) -> f64 {
        let unused_ms = now_ms.saturating_sub(self.used_at_ms);
        worth(self.confidence_at(now_ms), unused_ms, self.uses)
    }

    /// Whether it is never let go to make room.
    pub fn is_exempt(&self) -> bool {
        self.is_pinned || self.elevation.is_some() || self.proposed.is_some()
    }

    /// Positive feedbacks that were signed, and by how many keys.
    pub fn signed_positives(&self) -> (u64, usize) {
        let positive = self.signers.iter().filter(|signer| signer.positives > 0);
        let sum = positive.clone().fold(0_u64, |sum, it| sum.saturating_add(it.positives));
        (sum, positive.count())
    }

    /// Whether it could be put to the vote at `now_ms`, and was not elevated before.
    pub fn is_candidate(&self, now_ms: i64) -> bool {
        self.elevation.is_none() && self.check_candidate(now_ms).is_ok()
    }

    /// Whether it may be put to the vote at `now_ms`.
    ///
    /// # Errors
    /// [`PatternError::NoCandidate`] with what it has.
    pub fn check_candidate(&self, now_ms: i64) -> Result<(), PatternError> {
        let confidence = self.confidence_at(now_ms);
        let (positives, signers) = self.signed_positives();
        let is_candidate = confidence >= Confidence::ELEVATION
            && positives >= POSITIVES_MIN
            && signers >= SIGNERS_MIN;
        if is_candidate {
            return Ok(());
        }
        Err(PatternError::NoCandidate { confidence: confidence.value(), positives, signers })
    }

    /// Notes that it was used so often, the last time at `at_ms`; what has faded until then is gone.
    pub fn use_at(&mut self, at_ms: i64, times: u64) {
        self.confidence = self.confidence_at(at_ms);
        self.used_at_ms = self.used_at_ms.max(at_ms);
        self.uses = self.uses.saturating_add(times);
    }

    /// As it is kept (MessagePack, with the names of the members).
    ///
    /// # Errors
    /// None: it is built of what has this form.
    pub fn to_bytes(&self) -> Result<Vec<u8>, String> {
        rmp_serde::to_vec_named(&Kept::from(self)).map_err(|error| error.to_string())
    }

    /// Reads what [`Pattern::to_bytes`] wrote.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, String> {
        let kept: Kept = rmp_serde::from_slice(bytes).map_err(|error| error.to_string())?;
        kept.try_into()
    }
}

/// What a pattern of so long a content and of this dimension takes of the limits.
pub fn bytes(content_bytes: usize, dimension: usize) -> u64 {
    content_bytes as u64 + 4 * dimension as u64 + OTHER_BYTES
}

/// The form in which a pattern is kept.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    id: [u8; 16],
    number: u64,
    embedder: (String, u32, u32),
    tags: Vec<String>,
    source: String,
    content_bytes: u32,
    learned_at_ms: i64,
    used_at_ms: i64,
    uses: u64,
    evidence: u64,
    confidence: u32,
    positives: u64,
    negatives: u64,
    signers: Vec<([u8; 32], u64, bool, u64)>,
    pinned: bool,
    elevation: Option<([u8; 32], u64, u64, i64)>,
    proposed: Option<[u8; 32]>,
    observations: Vec<[u8; 16]>,
}

impl From<&Pattern> for Kept {
    fn from(it: &Pattern) -> Self {
        let EmbedderId { name, version, dimension } = &*it.embedder;
        let signer = |it: &Signer| (*it.key.as_bytes(), it.last, it.is_last_positive, it.positives);
        let elevation = |it: &Elevation| (it.proposal.0, it.height, it.validators, it.at_ms);
        Self {
            id: it.id.0,
            number: it.number,
            // At most 4096.
            embedder: (name.clone(), *version, u32::try_from(*dimension).unwrap_or(u32::MAX)),
            tags: it.tags.iter().map(str::to_owned).collect(),
            source: it.source.as_str().to_owned(),
            content_bytes: it.content_bytes,
            learned_at_ms: it.learned_at_ms,
            used_at_ms: it.used_at_ms,
            uses: it.uses,
            evidence: it.evidence,
            confidence: it.confidence.millionths(),
            positives: it.positives,
            negatives: it.negatives,
            signers: it.signers.iter().map(signer).collect(),
            pinned: it.is_pinned,
            elevation: it.elevation.as_ref().map(elevation),
            proposed: it.proposed.map(|proposal| proposal.0),
            observations: it.observations.iter().map(|it| it.0).collect(),
        }
    }
}

impl TryFrom<Kept> for Pattern {
    type Error = String;

    fn try_from(kept: Kept) -> Result<Self, String> {
        let text = |error: PatternError| error.to_string();
        let (name, version, dimension) = kept.embedder;
        let dimension = usize::try_from(dimension).map_err(|error| error.to_string())?;
        let signer = |(key, last, is_last_positive, positives): ([u8; 32], u64, bool, u64)| {
            let key = PublicKey::admit(&key).map_err(|error| error.to_string())?;
            Ok::<_, String>(Signer { key, last, is_last_positive, positives })
        };
        Ok(Self {
            id: PatternId(kept.id),
            number: kept.number,
            embedder: Arc::new(EmbedderId { name, version, dimension }),
            tags: Tags::new(kept.tags).map_err(text)?,
            source: Source::new(&kept.source).map_err(text)?,
            content_bytes: kept.content_bytes,
            learned_at_ms: kept.learned_at_ms,
            used_at_ms: kept.used_at_ms,
            uses: kept.uses,
            evidence: kept.evidence,
            confidence: Confidence::from_millionths(kept.confidence),
            positives: kept.positives,
            negatives: kept.negatives,
            signers: kept.signers.into_iter().map(signer).collect::<Result<_, _>>()?,
            is_pinned: kept.pinned,
            elevation: kept.elevation.map(|(proposal, height, validators, at_ms)| Elevation {
                proposal: ProposalId(proposal),
                height,
                validators,
                at_ms,
            }),
            proposed: kept.proposed.map(ProposalId),
            observations: kept.observations.into_iter().map(Observation).collect(),
        })
    }
}
