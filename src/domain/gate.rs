//! Gates: pure judgements over content, in fixed profiles.
//!
//! A run takes the gates of its profile in order and stops at the first that refuses. The outcome
//! is a [`Receipt`], which goes into the envelope of what was judged.

mod receipt;

use std::time::Duration;

use bytes::Bytes;

pub use crate::domain::gate::receipt::Receipt;

use crate::domain::constitution::Constitution;
use crate::domain::constitution::document::{Enforcement, Enforcements};
use crate::domain::json;
use crate::domain::reject::RejectCode;
use crate::domain::score::{Reading, Score, Source, combine};

/// Gates in the longest profile.
pub const GATES_MAX: usize = 3;

/// The most content a gate reads: what an envelope's payload may hold.
pub const CONTENT_BYTES_MAX: usize = 1024 * 1024;

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

impl Profile {
    /// Every profile.
    pub const ALL: [Self; 3] = [Self::Check, Self::InferenceInput, Self::InferenceOutput];

    /// Its name on the wire and in the constitution.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Check => "check",
            Self::InferenceInput => "inference-input",
            Self::InferenceOutput => "inference-output",
        }
    }

    /// Reads a name of [`Profile::as_str`].
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|profile| profile.as_str() == name)
    }

    /// Its gates, in order.
    pub const fn gates(self) -> &'static [Gate] {
        match self {
            Self::Check | Self::InferenceInput | Self::InferenceOutput => {
                &[Gate::Schema, Gate::Ihsan, Gate::Snr]
            }
        }
    }
}

/// One judgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Gate {
    /// The content can be read as what it is said to be.
    Schema,
    /// The Ihsan score reaches the constitution's threshold.
    Ihsan,
    /// The signal-to-noise score reaches the constitution's threshold.
    Snr,
}

impl Gate {
    /// Its name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Schema => "schema",
            Self::Ihsan => "ihsan",
            Self::Snr => "snr",
        }
    }

    fn enforcement(self, enforcements: &Enforcements) -> Enforcement {
        match self {
            Self::Schema => enforcements.schema,
            Self::Ihsan => enforcements.ihsan,
            Self::Snr => enforcements.snr,
        }
    }
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

/// What one gate said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Which gate.
    pub gate: Gate,
    /// Whether its condition was found to hold. With advisory enforcement the run goes on either
    /// way.
    pub passed: bool,
    /// What was found wrong. `None` when it passed, and when a gate that does not refuse had no
    /// score to judge.
    pub code: Option<RejectCode>,
    /// The score judged, if the gate judges one and there was one.
    pub score: Option<Score>,
    /// What the score is held against, if the gate judges one.
    pub threshold: Option<Score>,
    /// Where the judgement's input came from.
    pub source: Source,
    /// What a failure means.
    pub enforcement: Enforcement,
}

/// Runs the gates of `profile` over `input`.
pub fn run(constitution: &Constitution, profile: Profile, input: GateInput) -> Receipt {
    judge(constitution, profile, input, |_, _| ())
}

/// As [`run`], and notes how long each gate took by `clock`, which tells the time since some
/// fixed moment. Reading a clock takes as long as a gate over given scores, hence two functions.
pub fn run_timed(
    constitution: &Constitution,
    profile: Profile,
    input: GateInput,
    mut clock: impl FnMut() -> Duration,
) -> Receipt {
    let mut before = clock();
    judge(constitution, profile, input, |receipt, index| {
        let now = clock();
        receipt.took(index, now.saturating_sub(before));
        before = now;
    })
}

fn judge(
    constitution: &Constitution,
    profile: Profile,
    input: GateInput,
    mut after: impl FnMut(&mut Receipt, usize),
) -> Receipt {
    let enforcements = constitution.enforcements(profile);
    let mut receipt = Receipt::open(profile, constitution.digest(), input.content.clone());
    for (index, gate) in profile.gates().iter().enumerate() {
        let enforcement = gate.enforcement(enforcements);
        let (verdict, detail) = match gate {
            Gate::Schema => schema(&input, enforcement),
            Gate::Ihsan => (
                Limit { gate: Gate::Ihsan, threshold: constitution.ihsan_threshold(), enforcement }
                    .judge(combine(None, input.ihsan_claim)),
                None,
            ),
            Gate::Snr => (
                Limit { gate: Gate::Snr, threshold: constitution.snr_threshold(), enforcement }
                    .judge(combine(None, input.snr_claim)),
                None,
            ),
        };
        let is_final = receipt.push(verdict, detail);
        after(&mut receipt, index);
        if is_final {
            break;
        }
    }
    receipt
}

/// Whether the content can be read.
fn schema(input: &GateInput, enforcement: Enforcement) -> (Verdict, Option<Box<str>>) {
    let fault = if input.content.len() > CONTENT_BYTES_MAX {
        Some(format!("the content has more than {CONTENT_BYTES_MAX} bytes"))
    } else {
        match input.content_type {
            ContentType::Text => std::str::from_utf8(&input.content)
                .err()
                .map(|error| format!("the content is not UTF-8: {error}")),
            ContentType::Json => json::parse(&input.content)
                .err()
                .map(|error| format!("the content is not I-JSON: {error}")),
        }
    };
    let verdict = Verdict {
        gate: Gate::Schema,
        passed: fault.is_none(),
        code: fault.is_some().then_some(RejectCode::RejectGateSchema),
        score: None,
        threshold: None,
        source: Source::Measured,
        enforcement,
    };
    (verdict, fault.map(String::into_boxed_str))
}

/// A score gate: the reading is held against a threshold.
struct Limit {
    gate: Gate,
    threshold: Score,
    enforcement: Enforcement,
}

impl Limit {
    fn judge(self, reading: Reading) -> Verdict {
        let passed = reading.score.is_some_and(|score| score >= self.threshold);
        let is_strict = self.enforcement == Enforcement::Strict;
        let code = match self.gate {
            Gate::Schema => RejectCode::RejectGateSchema,
            Gate::Ihsan => RejectCode::RejectGateIhsan,
            Gate::Snr => RejectCode::RejectGateSNR,
        };
        // Without a score nothing was found wrong; a strict gate refuses all the same.
        let is_wrong = !passed && (is_strict || reading.score.is_some());
        Verdict {
            gate: self.gate,
            passed,
            code: is_wrong.then_some(code),
            score: reading.score,
            threshold: Some(self.threshold),
            source: reading.source,
            enforcement: self.enforcement,
        }
    }
}

#[cfg(test)]
mod tests;
