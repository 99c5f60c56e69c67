//! What a run of gates leaves behind.

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Map, Value, json};
use smallvec::SmallVec;

use crate::domain::constitution::document::Enforcement;
use crate::domain::digest::{Digest, domain_separated_digest};
use crate::domain::gate::{Evidence, Verdict};
use crate::domain::profile::Profile;
use crate::domain::reject::RejectCode;

/// Verdicts that lie in the receipt itself: those of a check, which is made most often. In a batch
/// they would otherwise be allocated on one thread and freed on another.
const INLINE: usize = 3;

/// The outcome of a run: which gates said what about which content, under which constitution.
///
/// The content is hashed only when asked for.
#[derive(Clone, Debug)]
pub struct Receipt {
    profile: Profile,
    code: Option<RejectCode>,
    /// Why no gate could speak.
    fault: Option<Box<str>>,
    verdicts: SmallVec<[Verdict; INLINE]>,
    constitution: Digest,
    content: Bytes,
    took: Vec<Duration>,
}

impl Receipt {
    /// A receipt that no gate has spoken on, which is not a pass.
    pub(super) fn open(profile: Profile, constitution: Digest) -> Self {
        Self {
            profile,
            code: None,
            fault: None,
            verdicts: SmallVec::new(),
            constitution,
            content: Bytes::new(),
            took: Vec::new(),
        }
    }

    /// The same, of `content`.
    pub(super) fn of(self, content: Bytes) -> Self {
        Self { content, ..self }
    }

    /// A refusal before any gate could speak: no time, too much work, a fault of this node.
    pub fn refusal(
        profile: Profile,
        constitution: Digest,
        content: Bytes,
        code: RejectCode,
        reason: &str,
    ) -> Self {
        let receipt = Self::open(profile, constitution).of(content);
        Self { code: Some(code), fault: Some(reason.into()), ..receipt }
    }

    /// Adds a verdict; tells whether it ends the run.
    pub(super) fn push(&mut self, verdict: Verdict) -> bool {
        let is_final = !verdict.passed && verdict.enforcement == Enforcement::Strict;
        if is_final {
            self.code = verdict.code;
        }
        self.verdicts.push(verdict);
        is_final
    }

    /// Notes how long the last gate took.
    pub(super) fn took(&mut self, time: Duration) {
        self.took.push(time);
    }

    /// The gates that were run.
    pub fn profile(&self) -> Profile {
        self.profile
    }

    /// Whether every strict gate passed. A run in which no gate spoke has not.
    pub fn passed(&self) -> bool {
        self.code.is_none() && !self.verdicts.is_empty()
    }

    /// What the first strict gate that failed found, or why no gate could speak.
    pub fn code(&self) -> Option<RejectCode> {
        self.code
    }

    /// Why it did not pass, in words.
    pub fn reason(&self) -> Option<String> {
        self.code?;
        match &self.fault {
            Some(fault) => Some(fault.to_string()),
            None => self.verdicts.last().map(reason),
        }
    }

    /// What was found wrong and refused nothing, in words: the warnings of advisory gates.
    pub fn warnings(&self) -> Vec<String> {
        let is_warning = |verdict: &&Verdict| {
            verdict.code.is_some() && verdict.enforcement == Enforcement::Advisory
        };
        self.verdicts.iter().filter(is_warning).map(reason).collect()
    }

    /// What each gate said, in order, up to the first strict one that failed.
    pub fn verdicts(&self) -> &[Verdict] {
        &self.verdicts
    }

    /// How long the gate at `index` took, if the run was timed.
    pub fn duration(&self, index: usize) -> Option<Duration> {
        self.took.get(index).copied()
    }

    /// Digest of the constitution it was judged under.
    pub fn constitution_digest(&self) -> Digest {
        self.constitution
    }

    /// The domain digest of the content. Computed here and not in the run.
    pub fn input_hash(&self) -> Digest {
        domain_separated_digest(&self.content)
    }

    /// The form that goes into an envelope: no content, no times.
    pub fn to_json(&self) -> Value {
        let mut receipt = Map::new();
        receipt.insert("profile".into(), self.profile.as_str().into());
        receipt.insert("passed".into(), self.passed().into());
        receipt.insert("constitution".into(), self.constitution.to_hex().into());
        receipt.insert("input_hash".into(), self.input_hash().to_hex().into());
        if let (Some(code), Some(reason)) = (self.code, self.reason()) {
            receipt.insert("code".into(), code.as_str().into());
            receipt.insert("reason".into(), reason.into());
        }
        let gates: Vec<Value> = self.verdicts().iter().map(verdict_json).collect();
        receipt.insert("gates".into(), gates.into());
        Value::Object(receipt)
    }
}

fn verdict_json(verdict: &Verdict) -> Value {
    let (scorer, version) = verdict.scorer().unzip();
    json!({
        "gate": verdict.gate.as_str(),
        "passed": verdict.passed,
        "code": verdict.code.map(RejectCode::as_str),
        "score": verdict.score,
        "threshold": verdict.threshold,
        "source": verdict.source.as_str(),
        "enforcement": verdict.enforcement.as_str(),
        "scorer": scorer,
        "version": version,
        "evidence": verdict.evidence.as_ref().map(Evidence::to_json),
    })
}

/// Why a gate did not pass.
fn reason(verdict: &Verdict) -> String {
    let gate = verdict.gate.as_str();
    let because = verdict.evidence.as_ref();
    match (because, verdict.score, verdict.threshold) {
        (Some(Evidence::Harm(harm)), _, Some(ceiling)) => {
            let (value, ceiling) = (harm.value().value(), ceiling.value());
            format!("the harm {value} is above {ceiling}: {}", Evidence::Harm(harm.clone()))
        }
        (Some(evidence), _, _) if evidence.is_reason() => evidence.to_string(),
        (_, Some(score), Some(threshold)) => {
            format!("the {gate} score {} is below {}", score.value(), threshold.value())
        }
        (Some(evidence), _, _) => format!("the {gate} score is missing: {evidence}"),
        (None, _, _) => format!("the {gate} score is missing"),
    }
}

/// Two receipts are equal when they say the same of the same; how long it took is no part of it.
impl PartialEq for Receipt {
    fn eq(&self, other: &Self) -> bool {
        self.profile == other.profile
            && self.code == other.code
            && self.fault == other.fault
            && self.verdicts == other.verdicts
            && self.constitution == other.constitution
            && self.content == other.content
    }
}
