//! What a run of gates leaves behind.

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::domain::constitution::document::Enforcement;
use crate::domain::digest::{Digest, domain_separated_digest};
use crate::domain::gate::{GATES_MAX, Gate, Profile, Verdict};
use crate::domain::reject::RejectCode;
use crate::domain::score::Source;

/// The outcome of a run: which gates said what about which content, under which constitution.
///
/// It holds its verdicts in place and hashes the content only when asked, so that a run that
/// passes allocates nothing.
#[derive(Clone, Debug)]
pub struct Receipt {
    profile: Profile,
    code: Option<RejectCode>,
    detail: Option<Box<str>>,
    verdicts: [Verdict; GATES_MAX],
    verdicts_len: usize,
    constitution: Digest,
    content: Bytes,
    took: Option<[Duration; GATES_MAX]>,
}

/// Fills the places of gates that did not run; never visible.
const VACANT: Verdict = Verdict {
    gate: Gate::Schema,
    passed: false,
    code: None,
    score: None,
    threshold: None,
    source: Source::Unavailable,
    enforcement: Enforcement::Strict,
};

impl Receipt {
    /// A receipt that no gate has spoken on, which is not a pass.
    pub(super) fn open(profile: Profile, constitution: Digest, content: Bytes) -> Self {
        Self {
            profile,
            code: None,
            detail: None,
            verdicts: [VACANT; GATES_MAX],
            verdicts_len: 0,
            constitution,
            content,
            took: None,
        }
    }

    /// A refusal before any gate could speak: no time, too much work, a fault of this node.
    pub fn refusal(
        profile: Profile,
        constitution: Digest,
        content: Bytes,
        code: RejectCode,
        reason: &str,
    ) -> Self {
        let receipt = Self::open(profile, constitution, content);
        Self { code: Some(code), detail: Some(reason.into()), ..receipt }
    }

    /// Adds a verdict; tells whether it ends the run.
    pub(super) fn push(&mut self, verdict: Verdict, detail: Option<Box<str>>) -> bool {
        debug_assert!(self.verdicts_len < GATES_MAX, "no profile has more than GATES_MAX gates");
        let Some(place) = self.verdicts.get_mut(self.verdicts_len) else { return true };
        *place = verdict;
        self.verdicts_len += 1;
        if verdict.passed || verdict.enforcement != Enforcement::Strict {
            return false;
        }
        self.code = verdict.code;
        self.detail = detail;
        true
    }

    /// Notes how long the gate at `index` took.
    pub(super) fn took(&mut self, index: usize, time: Duration) {
        let times = self.took.get_or_insert_default();
        if let Some(place) = times.get_mut(index) {
            *place = time;
        }
    }

    /// The gates that were run.
    pub fn profile(&self) -> Profile {
        self.profile
    }

    /// Whether every strict gate passed. A run in which no gate spoke has not.
    pub fn passed(&self) -> bool {
        self.code.is_none() && self.verdicts_len > 0
    }

    /// What the first strict gate that failed found, or why no gate could speak.
    pub fn code(&self) -> Option<RejectCode> {
        self.code
    }

    /// Why it did not pass, in words.
    pub fn reason(&self) -> Option<String> {
        self.code?;
        if let Some(detail) = &self.detail {
            return Some(detail.to_string());
        }
        let verdict = self.verdicts().last()?;
        let gate = verdict.gate.as_str();
        Some(match (verdict.score, verdict.threshold) {
            (Some(score), Some(threshold)) => {
                format!("the {gate} score {} is below {}", score.value(), threshold.value())
            }
            _ => format!("the {gate} score is missing"),
        })
    }

    /// What each gate said, in order, up to the first strict one that failed.
    pub fn verdicts(&self) -> &[Verdict] {
        &self.verdicts[..self.verdicts_len]
    }

    /// How long the gate at `index` took, if the run was timed.
    pub fn duration(&self, index: usize) -> Option<Duration> {
        if index >= self.verdicts_len {
            return None;
        }
        self.took.map(|times| times[index])
    }

    /// Digest of the constitution it was judged under.
    pub fn constitution_digest(&self) -> Digest {
        self.constitution
    }

    /// The domain digest of the content. Computed here and not in the run.
    pub fn input_hash(&self) -> Digest {
        domain_separated_digest(&self.content)
    }

    /// The receipt as it is signed. Times are left out: they are no part of the judgement.
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
    json!({
        "gate": verdict.gate.as_str(),
        "passed": verdict.passed,
        "code": verdict.code.map(RejectCode::as_str),
        "score": verdict.score,
        "threshold": verdict.threshold,
        "source": verdict.source.as_str(),
        "enforcement": verdict.enforcement.as_str(),
    })
}

/// Two receipts are equal when they say the same of the same; how long it took is no part of it.
impl PartialEq for Receipt {
    fn eq(&self, other: &Self) -> bool {
        self.profile == other.profile
            && self.code == other.code
            && self.detail == other.detail
            && self.verdicts() == other.verdicts()
            && self.constitution == other.constitution
            && self.content == other.content
    }
}
