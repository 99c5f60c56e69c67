//! Gates: pure judgements over content, in fixed profiles.
//!
//! A run takes the gates of its profile in order and stops at the first strict one that refuses.
//! Scores are measured here, from the content; a claim beside a measurement can only lower it. The
//! outcome is a [`Receipt`], which goes into the envelope of what was judged.

mod measure;
mod receipt;
mod run;

use std::fmt;

use bytes::Bytes;
use serde_json::{Value, json};

pub use crate::domain::gate::receipt::Receipt;
pub use crate::domain::gate::run::{run, run_timed};

use crate::domain::constitution::document::Enforcement;
use crate::domain::digest::Digest;
use crate::domain::fate::approval::Approval;
use crate::domain::fate::{self, Autonomy, Certificate, Cost};
use crate::domain::harm::{self, Harm};
use crate::domain::identity::PublicKey;
use crate::domain::ihsan::contract::Clause;
use crate::domain::ihsan::{self, Assessment, Budget, Provenance, Shortfall};
use crate::domain::profile::Gate;
use crate::domain::reject::RejectCode;
use crate::domain::score::{Score, Source};
use crate::domain::snr::{self, Snr, Unmeasured};
use crate::domain::trust::{Refusal, Standing};

/// The most content a gate reads: what an envelope's payload may hold.
pub const CONTENT_BYTES_MAX: usize = 1024 * 1024;

/// How the content is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContentType {
    /// UTF-8 text.
    Text,
    /// I-JSON. Scores are measured over the strings in it.
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
    /// What else is known of it.
    pub facts: Option<Box<Facts>>,
}

impl GateInput {
    /// Text of which nothing else is known or claimed.
    pub fn text(content: impl Into<Bytes>) -> Self {
        let content = content.into();
        let (content_type, facts) = (ContentType::Text, None);
        Self { content, content_type, snr_claim: None, ihsan_claim: None, facts }
    }
}

/// Sources of one content that are taken from outside: each is read for every check.
pub const SOURCES_MAX: usize = 32;

/// What is known of a content beside the content. What is not known is not assumed: the gates say
/// that it is missing.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Texts that it is to be supported by.
    pub sources: Vec<String>,
    /// What it was agreed to be like.
    pub contract: Vec<Clause>,
    /// The tokens it has, as its model counted them.
    pub tokens: Option<u64>,
    /// What making it was allowed to take, and took.
    pub budgets: Vec<Budget>,
    /// How many of the things it was made from are known.
    pub provenance: Option<Provenance>,
    /// Recent answers of each provider, this one included.
    pub work: Vec<u64>,
    /// Who signed it. Only who has verified the signature may say so.
    pub sender: Option<PublicKey>,
    /// What would be done with it.
    pub action: Option<Action>,
}

/// What would be done with a content, for FATE to decide on. What is `None` is missing there. What
/// the gates measure themselves (harm, Ihsan, the contract) is not among it.
#[derive(Clone, Debug, Default)]
pub struct Action {
    /// The digest of what was declared to be wanted.
    pub intent_declared: Option<Digest>,
    /// The digest of what the content says it was made for.
    pub intent_of_output: Option<Digest>,
    /// The key that will seal it.
    pub signer: Option<PublicKey>,
    /// The keys that are known here.
    pub known_keys: Option<Vec<PublicKey>>,
    /// Whether there is a place to write the receipt to, and it takes writes.
    pub receipt_ready: Option<bool>,
    /// The digest of the inputs as recorded.
    pub inputs: Option<Digest>,
    /// The model as recorded.
    pub model: Option<String>,
    /// What the action costs.
    pub cost: Option<Cost>,
    /// The most it may cost.
    pub cost_max: Option<Cost>,
    /// How much is done without a person.
    pub autonomy: Option<Autonomy>,
    /// How much could go wrong, beside the harm in the content itself.
    pub risk: Option<Score>,
    /// Whether it can be undone.
    pub is_reversible: Option<bool>,
    /// A person's approval.
    pub approval: Option<Approval>,
}

/// What the judge knows by itself.
#[derive(Clone, Copy, Debug)]
pub struct Surroundings {
    /// The wall clock, in milliseconds since the Unix epoch.
    pub now_ms: i64,
    /// The standing of the sender.
    pub standing: Standing,
}

impl Default for Surroundings {
    /// No sender is known.
    fn default() -> Self {
        Self { now_ms: 0, standing: Standing::FULL }
    }
}

/// What one gate said.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// Which gate.
    pub gate: Gate,
    /// Whether its condition was found to hold. With advisory enforcement the run goes on either
    /// way.
    pub passed: bool,
    /// What was found wrong. `None` when it passed, and when a gate that does not refuse had
    /// nothing to judge.
    pub code: Option<RejectCode>,
    /// The score judged, if the gate judges one and there was one.
    pub score: Option<Score>,
    /// What the score is held against, if the gate judges one.
    pub threshold: Option<Score>,
    /// Where the judgement's input came from.
    pub source: Source,
    /// What a failure means.
    pub enforcement: Enforcement,
    /// What the judgement rests on.
    pub evidence: Option<Evidence>,
}

impl Verdict {
    /// What measured the score that was judged, and its version.
    pub fn scorer(&self) -> Option<(&'static str, &'static str)> {
        match self.evidence.as_ref()? {
            Evidence::Harm(_) | Evidence::Veto(_) => Some((harm::DETECTOR, harm::VERSION)),
            Evidence::Ihsan(..) | Evidence::Safety => Some((ihsan::SCORER, ihsan::VERSION)),
            Evidence::Snr(_) | Evidence::Unmeasured(_) => Some((snr::SCORER, snr::version())),
            Evidence::Fate(_) => Some((fate::DECIDER, fate::VERSION)),
            Evidence::Fault(_) | Evidence::Standing(_) => None,
        }
    }
}

/// What a judgement rests on.
#[derive(Clone, Debug, PartialEq)]
pub enum Evidence {
    /// What is wrong with the form, or why the gate was given up.
    Fault(String),
    /// Why nothing is taken from the sender.
    Standing(Refusal),
    /// What harm was found.
    Harm(Box<Harm>),
    /// The dimensions of Ihsan, and what it lacks to count as measured.
    Ihsan(Box<Assessment>, Option<Box<Shortfall>>),
    /// Nothing was known beside the content, and no harm was found in it: of Ihsan, only safety is
    /// verified.
    Safety,
    /// Harm above the ceiling: no score counts beside it.
    Veto(Box<Harm>),
    /// The parts of the signal-to-noise score.
    Snr(Box<Snr>),
    /// Why nothing was measured.
    Unmeasured(Unmeasured),
    /// The inequalities of FATE.
    Fate(Box<Certificate>),
}

impl Evidence {
    /// Whether it is by itself why a gate refused; otherwise the score is.
    fn is_reason(&self) -> bool {
        match self {
            Self::Fault(_) | Self::Standing(_) | Self::Veto(_) | Self::Fate(_) => true,
            Self::Harm(_) | Self::Ihsan(..) | Self::Safety | Self::Snr(_) | Self::Unmeasured(_) => {
                false
            }
        }
    }

    /// For receipts and answers: an object, or text. Never holds content.
    pub fn to_json(&self) -> Value {
        match self {
            Self::Fault(_) | Self::Standing(_) | Self::Unmeasured(_) => json!(self.to_string()),
            Self::Harm(harm) | Self::Veto(harm) => harm.evidence(),
            Self::Ihsan(assessment, _) => assessment.evidence(),
            Self::Safety => ihsan::harmless().evidence(),
            Self::Snr(snr) => snr.evidence(),
            Self::Fate(certificate) => certificate.to_json(),
        }
    }
}

/// As the reason of a refusal, where it says more than the score does.
impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fault(fault) => f.write_str(fault),
            Self::Standing(refusal) => refusal.fmt(f),
            Self::Harm(harm) => findings(harm, f),
            Self::Veto(harm) => {
                write!(f, "harm of {} is a veto: ", harm.value().value())?;
                findings(harm, f)
            }
            Self::Ihsan(_, Some(shortfall)) => shortfall.fmt(f),
            Self::Ihsan(_, None) => f.write_str("measured"),
            Self::Safety => f.write_str("nothing but safety is verified"),
            Self::Snr(snr) => write!(f, "measured over {} words", snr.words),
            Self::Unmeasured(why) => why.fmt(f),
            Self::Fate(certificate) => {
                f.write_str(certificate.reason().as_deref().unwrap_or("every predicate holds"))
            }
        }
    }
}

/// Findings that a reason names; the evidence has the rest.
const NAMED_MAX: usize = 3;

/// What was found and where, never what it says.
fn findings(harm: &Harm, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for (index, finding) in harm.findings().iter().take(NAMED_MAX).enumerate() {
        let comma = if index == 0 { "" } else { ", " };
        write!(f, "{comma}{} at byte {}", finding.kind.as_str(), finding.at)?;
    }
    match harm.total().saturating_sub(NAMED_MAX) {
        0 => Ok(()),
        more => write!(f, " and {more} more"),
    }
}

#[cfg(test)]
mod tests;
