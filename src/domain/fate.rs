//! FATE: Fidelity, Accountability, Transparency, Ethics. Four predicates over bound values.
//!
//! The decision is a total function. Every input is either there or missing, and a missing input
//! fails by its name; no value is assumed. The certificate lists every comparison with both its
//! sides, so that whoever has the inputs can repeat it.

pub mod approval;
mod certificate;

pub use crate::domain::fate::certificate::{Certificate, INEQUALITIES, Inequality};

use crate::domain::constitution::document::Comparator;
use crate::domain::digest::Digest;
use crate::domain::fate::approval::Approval;
use crate::domain::identity::PublicKey;
use crate::domain::score::Score;

/// The name of this decision procedure in evidence.
pub const DECIDER: &str = "fate";

/// Raised whenever some facts are decided differently.
pub const VERSION: &str = "1";

/// The largest cost: every whole number up to it is a double, so certificates show it exactly.
pub const COST_MAX: u64 = (1 << 53) - 1;

/// One of the four.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Predicate {
    /// The output is what was asked for.
    Fidelity,
    /// Somebody known answers for it, and it will be written down.
    Accountability,
    /// What it was made from and judged by is recorded.
    Transparency,
    /// Harm, excellence, cost and risk are within their bounds.
    Ethics,
}

impl Predicate {
    /// All four, in order.
    pub const ALL: [Self; 4] =
        [Self::Fidelity, Self::Accountability, Self::Transparency, Self::Ethics];

    /// Its name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fidelity => "fidelity",
            Self::Accountability => "accountability",
            Self::Transparency => "transparency",
            Self::Ethics => "ethics",
        }
    }
}

/// How much a node may do by itself: 0 nothing without a person, 4 everything it can.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Autonomy(u8);

/// Not a level of autonomy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("autonomy is 0 to 4, and {0} is not")]
pub struct AutonomyError(pub u8);

impl Autonomy {
    /// The level.
    pub const fn level(self) -> u8 {
        self.0
    }
}

impl TryFrom<u8> for Autonomy {
    type Error = AutonomyError;

    fn try_from(level: u8) -> Result<Self, AutonomyError> {
        if level < 5 { Ok(Self(level)) } else { Err(AutonomyError(level)) }
    }
}

/// A cost in whole units, at most [`COST_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cost(u64);

/// Not a cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a cost is at most {COST_MAX}, and {0} is more")]
pub struct CostError(pub u64);

impl Cost {
    /// The number of units.
    pub const fn units(self) -> u64 {
        self.0
    }

    fn as_f64(self) -> f64 {
        // Exact up to COST_MAX.
        self.0 as f64
    }
}

impl TryFrom<u64> for Cost {
    type Error = CostError;

    fn try_from(units: u64) -> Result<Self, CostError> {
        if units <= COST_MAX { Ok(Self(units)) } else { Err(CostError(units)) }
    }
}

/// What the constitution allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The most harm.
    pub harm_max: Score,
    /// The least Ihsan.
    pub ihsan_min: Score,
    /// The most risk for each level of autonomy.
    pub risk_max: [Score; 5],
    /// Above this risk an action is reversible or a person approved it.
    pub approval_above: Score,
}

impl Default for Bounds {
    /// Harm .30, Ihsan .95, risk 1.0, .9, .7, .5, .3, approval above .7.
    fn default() -> Self {
        Self {
            harm_max: percent(30),
            ihsan_min: percent(95),
            risk_max: [100, 90, 70, 50, 30].map(percent),
            approval_above: percent(70),
        }
    }
}

/// Hundredths as a score.
fn percent(hundredths: u8) -> Score {
    Score::try_from(f64::from(hundredths) / 100.0).unwrap_or(Score::ZERO)
}

/// What scored something, with which version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scorer<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its version.
    pub version: &'a str,
}

/// Everything that is decided over. What is `None` is missing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Facts<'a> {
    /// The digest of what was declared to be wanted.
    pub intent_declared: Option<Digest>,
    /// The digest of what the output says it was made for.
    pub intent_of_output: Option<Digest>,
    /// Whether the declared contract was checked, and holds.
    pub contract_holds: Option<bool>,
    /// The key whose signature over the output was verified, or that will seal it.
    pub signer: Option<PublicKey>,
    /// The keys that are known here: own ones, peers, and those that took their place.
    pub known_keys: Option<&'a [PublicKey]>,
    /// Whether there is a place to write the receipt to, and it takes writes.
    pub receipt_ready: Option<bool>,
    /// The digest of the inputs as recorded.
    pub inputs: Option<Digest>,
    /// The model, as recorded. An empty name is missing.
    pub model: Option<&'a str>,
    /// The scorers, as recorded. None of them, or one without a name or version, is missing.
    pub scorers: Option<&'a [Scorer<'a>]>,
    /// The digest of the evidence as recorded.
    pub evidence: Option<Digest>,
    /// Harm as measured.
    pub harm: Option<Score>,
    /// Ihsan as it may count.
    pub ihsan: Option<Score>,
    /// What the action costs.
    pub cost: Option<Cost>,
    /// The most it may cost at this autonomy.
    pub cost_max: Option<Cost>,
    /// The level of autonomy.
    pub autonomy: Option<Autonomy>,
    /// How much could go wrong.
    pub risk: Option<Score>,
    /// Whether it can be undone.
    pub is_reversible: Option<bool>,
    /// A person's approval, which is verified by how it is made. None is no missing input: without
    /// one, nobody approved.
    pub approval: Option<&'a Approval>,
}

/// Decides.
pub fn decide(facts: &Facts<'_>, bounds: &Bounds) -> Certificate {
    let mut certificate = Certificate::open();
    fidelity(facts, &mut certificate);
    accountability(facts, &mut certificate);
    transparency(facts, &mut certificate);
    ethics(facts, bounds, &mut certificate);
    certificate
}

/// Statements are compared as numbers: 1 is true.
fn one_if(statement: bool) -> f64 {
    if statement { 1.0 } else { 0.0 }
}

fn fidelity(facts: &Facts<'_>, certificate: &mut Certificate) {
    let declared = certificate.bind("intent_declared", facts.intent_declared);
    let made_for = certificate.bind("intent_of_output", facts.intent_of_output);
    let is_same = declared.zip(made_for).map(|(declared, made_for)| declared == made_for);
    certificate.state(Predicate::Fidelity, "intent_matches", is_same);
    let holds = certificate.bind("contract_holds", facts.contract_holds);
    certificate.state(Predicate::Fidelity, "contract_holds", holds);
}

fn accountability(facts: &Facts<'_>, certificate: &mut Certificate) {
    let signer = certificate.bind("signer", facts.signer);
    let known = certificate.bind("known_keys", facts.known_keys);
    let is_known = signer.zip(known).map(|(signer, known)| known.contains(&signer));
    certificate.state(Predicate::Accountability, "signer_is_known", is_known);
    let is_ready = certificate.bind("receipt_ready", facts.receipt_ready);
    certificate.state(Predicate::Accountability, "receipt_ready", is_ready);
}

fn transparency(facts: &Facts<'_>, certificate: &mut Certificate) {
    let is_named = |scorer: &Scorer<'_>| !scorer.name.is_empty() && !scorer.version.is_empty();
    let scorers = facts.scorers.filter(|all| !all.is_empty() && all.iter().all(is_named));
    let model = facts.model.filter(|model| !model.trim().is_empty());
    for (input, name, is_there) in [
        ("inputs", "inputs_recorded", facts.inputs.is_some()),
        ("model", "model_recorded", model.is_some()),
        ("scorers", "scorers_recorded", scorers.is_some()),
        ("evidence", "evidence_recorded", facts.evidence.is_some()),
    ] {
        let is_there = certificate.bind(input, is_there.then_some(true));
        certificate.state(Predicate::Transparency, name, is_there);
    }
}

fn ethics(facts: &Facts<'_>, bounds: &Bounds, certificate: &mut Certificate) {
    let harm = certificate.bind("harm", facts.harm);
    certificate.compare_scores("harm", harm, Comparator::AtMost, Some(bounds.harm_max));
    let ihsan = certificate.bind("ihsan", facts.ihsan);
    certificate.compare_scores("ihsan", ihsan, Comparator::AtLeast, Some(bounds.ihsan_min));

    let cost = certificate.bind("cost", facts.cost);
    let cost_max = certificate.bind("cost_max", facts.cost_max);
    certificate.push(Inequality {
        predicate: Predicate::Ethics,
        name: "cost",
        left: cost.map(Cost::as_f64),
        comparator: Comparator::AtMost,
        right: cost_max.map(Cost::as_f64),
        holds: cost.zip(cost_max).is_some_and(|(cost, max)| cost <= max),
    });

    let risk = certificate.bind("risk", facts.risk);
    let autonomy = certificate.bind("autonomy", facts.autonomy);
    let risk_max =
        autonomy.and_then(|autonomy| bounds.risk_max.get(usize::from(autonomy.level())).copied());
    certificate.compare_scores("risk", risk, Comparator::AtMost, risk_max);

    // Reversible or approved actions have no bound of their own: that of the autonomy is all.
    let is_reversible = certificate.bind("is_reversible", facts.is_reversible);
    let is_approved = is_approved(facts);
    let unapproved_max = is_reversible.map(|is_reversible| {
        if is_reversible || is_approved { Score::ONE } else { bounds.approval_above }
    });
    certificate.compare_scores("risk_unapproved", risk, Comparator::AtMost, unapproved_max);
}

/// An approval counts for the intent it names, up to the risk it names, and not for the key that
/// gave it: nobody approves their own.
fn is_approved(facts: &Facts<'_>) -> bool {
    let (Some(approval), Some(intent), Some(risk), Some(signer)) =
        (facts.approval, facts.intent_declared, facts.risk, facts.signer)
    else {
        return false;
    };
    approval.intent() == intent && risk <= approval.risk_max() && *approval.key() != signer
}

#[cfg(test)]
mod tests;
