//! The verifiers of the dimensions.

use serde_json::{Value, json};

use crate::domain::ihsan::contract::{self, Outcome};
use crate::domain::ihsan::{Budget, Dimension, Facts, Provenance};
use crate::domain::score::Score;

/// Recent answers below which shares say nothing: of twenty, one more or less moves a share by a
/// twentieth.
pub const WORK_MIN: u64 = 20;

/// Providers that are compared at most; a node knows a few.
pub const PROVIDERS_MAX: usize = 1024;

/// Gini coefficient up to which work counts as spread.
const GINI_MAX: f64 = 0.35;

/// Why a dimension has the value it has.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Evidence {
    /// Correctness: all clauses hold, or the first that does not.
    Contract {
        /// How many there are.
        clauses: usize,
        /// How many hold.
        kept: usize,
        /// The place of the first that does not.
        first_broken: Option<usize>,
    },
    /// Safety: the harm that was detected.
    Harm(Score),
    /// Efficiency: the budget that was kept worst.
    Budget(Budget),
    /// Auditability.
    Audit {
        /// Whether the signature is valid.
        is_signed: bool,
        /// What became of the parents.
        provenance: Provenance,
    },
    /// Anti-centralization.
    Spread {
        /// The Gini coefficient (Gini 1912) of answers among providers: 0 all alike.
        gini: f64,
        /// How many there are.
        providers: usize,
        /// Answers in all.
        work: u64,
    },
}

impl Evidence {
    pub(super) fn to_json(self) -> Value {
        match self {
            Self::Contract { clauses, kept, first_broken } => {
                json!({ "clauses": clauses, "kept": kept, "first_broken": first_broken })
            }
            Self::Harm(harm) => json!({ "harm": harm }),
            Self::Budget(Budget { resource, used, allowed }) => {
                // Numbers that no double holds are written as text.
                let (used, allowed) = (used.to_string(), allowed.to_string());
                json!({ "resource": resource.as_str(), "used": used, "allowed": allowed })
            }
            Self::Audit { is_signed, provenance } => json!({
                "signature": is_signed,
                "parents_resolved": provenance.resolved.to_string(),
                "parents": provenance.total.to_string(),
            }),
            Self::Spread { gini, providers, work } => json!({
                "gini": gini,
                "gini_max": GINI_MAX,
                "providers": providers,
                "work": work.to_string(),
            }),
        }
    }
}

/// Why a dimension has no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unverified {
    /// This node cannot verify it.
    #[error("there is no local verifier")]
    NoVerifier,
    /// The facts it takes were not given.
    #[error("there are no facts: {0}")]
    NoFacts(&'static str),
    /// A clause asks for a number of tokens that nobody counted.
    #[error("clause {0} needs the number of tokens")]
    Uncounted(usize),
    /// More parents were found than are named.
    #[error("more parents are resolved than named")]
    Contradiction,
    /// Too few providers or answers to speak of shares.
    #[error("{work} answers of {providers} providers say nothing about shares")]
    TooLittle {
        /// Providers.
        providers: usize,
        /// Answers.
        work: u64,
    },
    /// More than is compared.
    #[error("more than {PROVIDERS_MAX} providers")]
    TooMany,
}

type Verified = Result<(Score, Evidence), Unverified>;

pub(super) fn verify(dimension: Dimension, facts: &Facts<'_>) -> Verified {
    match dimension {
        Dimension::Correctness => correctness(facts),
        Dimension::Safety => safety(facts),
        Dimension::Efficiency => efficiency(facts),
        Dimension::Auditability => auditability(facts),
        Dimension::AntiCentralization => anti_centralization(facts),
        Dimension::UserBenefit | Dimension::Robustness | Dimension::AdlFairness => {
            Err(Unverified::NoVerifier)
        }
    }
}

/// All or nothing: if it were a share, easy clauses would pay for a hard one.
fn correctness(facts: &Facts<'_>) -> Verified {
    if facts.contract.is_empty() {
        return Err(Unverified::NoFacts("contract"));
    }
    let text = facts.text.ok_or(Unverified::NoFacts("text"))?;
    let (mut kept, mut first_broken, mut unknown) = (0, None, None);
    let mut text = contract::Text::new(text, facts.tokens);
    for (index, clause) in facts.contract.iter().enumerate() {
        match clause.check(&mut text) {
            Outcome::Kept => kept += 1,
            Outcome::Broken => first_broken = first_broken.or(Some(index)),
            Outcome::Unknown => unknown = unknown.or(Some(index)),
        }
    }
    let clauses = facts.contract.len();
    match (first_broken, unknown) {
        (Some(_), _) => Ok((Score::ZERO, Evidence::Contract { clauses, kept, first_broken })),
        (None, Some(index)) => Err(Unverified::Uncounted(index)),
        (None, None) => Ok((Score::ONE, Evidence::Contract { clauses, kept, first_broken })),
    }
}

fn safety(facts: &Facts<'_>) -> Verified {
    let harm = facts.harm.ok_or(Unverified::NoFacts("harm"))?.value();
    Ok((score(1.0 - harm.value()), Evidence::Harm(harm)))
}

/// Whole within the budget; beyond it, the part that was allowed. The worst budget counts.
fn efficiency(facts: &Facts<'_>) -> Verified {
    let values = facts.budgets.iter().map(|budget| (share(budget.allowed, budget.used), budget));
    let worst = values.min_by_key(|(value, _)| *value);
    let (value, budget) = worst.ok_or(Unverified::NoFacts("budgets"))?;
    Ok((value, Evidence::Budget(*budget)))
}

/// The share of parents that is known, if the signature is valid, and nothing if it is not.
fn auditability(facts: &Facts<'_>) -> Verified {
    let is_signed = facts.signature.ok_or(Unverified::NoFacts("signature"))?;
    let provenance = facts.provenance.ok_or(Unverified::NoFacts("provenance"))?;
    if provenance.resolved > provenance.total {
        return Err(Unverified::Contradiction);
    }
    let known = share(provenance.resolved, provenance.total);
    let value = if is_signed { known } else { Score::ZERO };
    Ok((value, Evidence::Audit { is_signed, provenance }))
}

/// Whole up to the limit; from there down to nothing where one provider does all.
fn anti_centralization(facts: &Facts<'_>) -> Verified {
    let work = facts.work.ok_or(Unverified::NoFacts("work"))?;
    if work.len() > PROVIDERS_MAX {
        return Err(Unverified::TooMany);
    }
    let total = work.iter().fold(0u64, |sum, each| sum.saturating_add(*each));
    if work.len() < 2 || total < WORK_MIN {
        return Err(Unverified::TooLittle { providers: work.len(), work: total });
    }
    let gini = gini(work);
    let evidence = Evidence::Spread { gini, providers: work.len(), work: total };
    if gini <= GINI_MAX {
        return Ok((Score::ONE, evidence));
    }
    let providers = work.len() as f64;
    let greatest = (providers - 1.0) / providers;
    Ok((score((greatest - gini) / (greatest - GINI_MAX)), evidence))
}

/// The Gini coefficient by its sorted form, in whole numbers up to the last division. Neither empty
/// nor all zero.
fn gini(work: &[u64]) -> f64 {
    let mut sorted = work.to_vec();
    sorted.sort_unstable();
    let count = sorted.len() as i128;
    let (mut sum, mut ranked) = (0i128, 0i128);
    for (rank, each) in (1i128..).zip(&sorted) {
        sum += i128::from(*each);
        ranked += (2 * rank - count - 1) * i128::from(*each);
    }
    ranked as f64 / (count * sum) as f64
}

/// `part / whole`, at most 1; all of nothing is 1.
fn share(part: u64, whole: u64) -> Score {
    if part >= whole {
        return Score::ONE;
    }
    score(part as f64 / whole as f64)
}

/// Keeps a quotient that rounding moved out of the range inside it. NaN becomes 0.
fn score(value: f64) -> Score {
    // Adding zero makes a negative zero positive.
    Score::try_from(value.clamp(0.0, 1.0) + 0.0).unwrap_or(Score::ZERO)
}
