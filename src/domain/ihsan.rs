//! Ihsan, excellence, as a vector of eight dimensions, each with a verifier that returns a value and
//! evidence or says that it could not verify.
//!
//! The score is the weighted mean over what was verified, and coverage is how much of the weight
//! that is. Nothing is filled in: a dimension without facts has no value. Three dimensions have no
//! verifier in this node and are never verified.

pub mod contract;
mod reading;
mod verify;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::domain::harm::Harm;
use crate::domain::ihsan::contract::Clause;
pub use crate::domain::ihsan::reading::Shortfall;
pub use crate::domain::ihsan::verify::{Evidence, PROVIDERS_MAX, Unverified, WORK_MIN};
use crate::domain::score::Score;

/// The name of this scorer in evidence.
pub const SCORER: &str = "ihsan-local";

/// Raised whenever some facts are judged differently.
pub const VERSION: &str = "1";

/// The sum of all weights.
const WEIGHTS: u32 = 100;

/// One dimension of excellence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dimension {
    /// It keeps the contract that was declared for it.
    Correctness,
    /// It does no harm that can be detected.
    Safety,
    /// It helps whoever asked. No local verifier: that takes a judge.
    UserBenefit,
    /// It stays within its budgets.
    Efficiency,
    /// It is signed, and what it was made from is known.
    Auditability,
    /// Work is spread over providers.
    AntiCentralization,
    /// It does not change with small changes of the input. No local verifier: that takes several
    /// generations.
    Robustness,
    /// It treats people alike. No local verifier: that takes counterfactual generations.
    AdlFairness,
}

impl Dimension {
    /// Every dimension, in the order of the vector.
    pub const ALL: [Self; 8] = [
        Self::Correctness,
        Self::Safety,
        Self::UserBenefit,
        Self::Efficiency,
        Self::Auditability,
        Self::AntiCentralization,
        Self::Robustness,
        Self::AdlFairness,
    ];

    /// Its name on the wire and in the constitution.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Correctness => "correctness",
            Self::Safety => "safety",
            Self::UserBenefit => "user_benefit",
            Self::Efficiency => "efficiency",
            Self::Auditability => "auditability",
            Self::AntiCentralization => "anti_centralization",
            Self::Robustness => "robustness",
            Self::AdlFairness => "adl_fairness",
        }
    }

    /// Reads a name of [`Dimension::as_str`].
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|dimension| dimension.as_str() == name)
    }

    /// Its weight in percent; all together are 100.
    pub const fn weight(self) -> u32 {
        match self {
            Self::Correctness | Self::Safety => 22,
            Self::UserBenefit => 14,
            Self::Efficiency | Self::Auditability => 12,
            Self::AntiCentralization => 8,
            Self::Robustness => 6,
            Self::AdlFairness => 4,
        }
    }
}

/// What is known of an answer. A fact that is not known is left out, never guessed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Facts<'a> {
    /// The text itself, for the contract.
    pub text: Option<&'a str>,
    /// The tokens it has, as its model counted them.
    pub tokens: Option<u64>,
    /// What was detected in it.
    pub harm: Option<&'a Harm>,
    /// What was declared of it. Empty: nothing was, and correctness is unverified.
    pub contract: &'a [Clause],
    /// What it used of what it was allowed. Empty: efficiency is unverified.
    pub budgets: &'a [Budget],
    /// Whether its signature was verified, and how that came out.
    pub signature: Option<bool>,
    /// What became of the parents that it names.
    pub provenance: Option<Provenance>,
    /// Recent answers of each provider, those with none included. `None` or fewer than two:
    /// anti-centralization is unverified.
    pub work: Option<&'a [u64]>,
}

/// One thing that there is a limited amount of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// What it is.
    pub resource: Resource,
    /// How much was used, as measured.
    pub used: u64,
    /// How much was allowed.
    pub allowed: u64,
}

/// What is budgeted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Resource {
    /// Tokens that a model counted.
    Tokens,
    /// Characters of text.
    Chars,
    /// Milliseconds until the answer was whole.
    LatencyMs,
}

impl Resource {
    /// Its name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tokens => "tokens",
            Self::Chars => "chars",
            Self::LatencyMs => "latency_ms",
        }
    }
}

/// How many of the named parents were found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Provenance {
    /// Parents that are known here with the hash that is named.
    pub resolved: u64,
    /// Parents that are named. None is a statement too: it was made from nothing.
    pub total: u64,
}

/// The vector: a value or the lack of one for each dimension, with its evidence.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Assessment {
    evidence: [Result<(Score, Evidence), Unverified>; 8],
}

/// Runs every verifier over the facts.
pub fn assess(facts: &Facts<'_>) -> Assessment {
    Assessment { evidence: Dimension::ALL.map(|dimension| verify::verify(dimension, facts)) }
}

/// The assessment of which nothing is known but that no harm was found.
pub fn harmless() -> Assessment {
    assess(&Facts { harm: Some(&Harm::NONE), ..Facts::default() })
}

impl Assessment {
    /// The value of a dimension, if it was verified.
    pub fn value(&self, dimension: Dimension) -> Option<Score> {
        self.evidence[dimension as usize].as_ref().ok().map(|(value, _)| *value)
    }

    /// The weighted mean over the verified dimensions; `None` if there is none.
    pub fn score(&self) -> Option<Score> {
        let (sum, weight) = self.verified().fold((0.0, 0), |(sum, weight), (dimension, value)| {
            let part = f64::from(dimension.weight()) * value.value();
            (sum + part, weight + dimension.weight())
        });
        // A mean of scores with whole weights is one: rounding is monotone, and at all ones exact.
        (weight > 0).then(|| Score::try_from(sum / f64::from(weight)).unwrap_or(Score::ZERO))
    }

    /// The share of the weight that is verified.
    pub fn coverage(&self) -> Score {
        let weight: u32 = self.verified().map(|(dimension, _)| dimension.weight()).sum();
        Score::try_from(f64::from(weight) / f64::from(WEIGHTS)).unwrap_or(Score::ZERO)
    }

    /// The dimensions without a value.
    pub fn unverified(&self) -> impl Iterator<Item = Dimension> + '_ {
        Dimension::ALL.into_iter().filter(|dimension| self.value(*dimension).is_none())
    }

    /// The score, if it may count: something is verified, everything that must be is, and so is
    /// enough of the weight.
    ///
    /// # Errors
    /// [`Shortfall`], which names what is missing.
    pub fn reading(
        &self,
        must_verify: &[Dimension],
        coverage_min: Score,
    ) -> Result<Score, Shortfall> {
        let missing: Vec<Dimension> =
            self.unverified().filter(|dimension| must_verify.contains(dimension)).collect();
        let coverage = self.coverage();
        match self.score() {
            Some(score) if missing.is_empty() && coverage >= coverage_min => Ok(score),
            _ => Err(Shortfall { missing, coverage, coverage_min }),
        }
    }

    /// What a receipt says about it: every dimension with its value and why, coverage, and the
    /// names of those that are not verified.
    pub fn evidence(&self) -> Value {
        let mut dimensions = Map::new();
        for dimension in Dimension::ALL {
            let entry = match &self.evidence[dimension as usize] {
                Ok((value, evidence)) => json!({
                    "weight": dimension.weight(),
                    "value": value,
                    "evidence": evidence.to_json(),
                }),
                Err(reason) => json!({
                    "weight": dimension.weight(),
                    "value": null,
                    "unverified": reason.to_string(),
                }),
            };
            dimensions.insert(dimension.as_str().into(), entry);
        }
        let unverified: Vec<&str> = self.unverified().map(Dimension::as_str).collect();
        json!({
            "scorer": SCORER,
            "version": VERSION,
            "score": self.score(),
            "coverage": self.coverage(),
            "unverified": unverified,
            "dimensions": dimensions,
        })
    }

    fn verified(&self) -> impl Iterator<Item = (Dimension, Score)> + '_ {
        Dimension::ALL
            .into_iter()
            .filter_map(|dimension| self.value(dimension).map(|value| (dimension, value)))
    }
}

#[cfg(test)]
mod tests;
