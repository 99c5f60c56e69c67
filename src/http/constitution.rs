//! What the gates enforce, and what it says of given facts.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::domain::constitution::document::Rule;
use crate::domain::constitution::{ConstitutionCheck, RuleCheck, Verdict};
use crate::domain::score::Score;
use crate::http::app::{App, Until};
use crate::http::body::Body;
use crate::http::error::ApiError;
use crate::messages::gate_chain::GateChainMsg;

/// `GET /constitution`
#[derive(Debug, Serialize)]
pub(super) struct Shown {
    version: String,
    digest: String,
    ihsan_threshold: Score,
    snr_threshold: Score,
    rules: Vec<Rule>,
    /// What a breach costs, by the rule's id.
    penalties: BTreeMap<String, Value>,
}

pub(super) async fn show(
    State(app): State<App>,
    Until(deadline): Until,
) -> Result<Json<Shown>, ApiError> {
    let ask = |reply| GateChainMsg::Constitution { reply };
    let constitution = app.roster.gate_chain.call(deadline, ask).await?;
    let penalty = |rule: &Rule| (rule.id.clone(), json!(rule.penalty));
    Ok(Json(Shown {
        version: constitution.version().to_owned(),
        digest: constitution.digest().to_string(),
        ihsan_threshold: constitution.ihsan_threshold(),
        snr_threshold: constitution.snr_threshold(),
        rules: constitution.rules().to_vec(),
        penalties: constitution.rules().iter().map(penalty).collect(),
    }))
}

/// `POST /constitution/check`
#[derive(Debug, Deserialize)]
pub(super) struct CheckRequest {
    ihsan_score: Option<f64>,
    snr_score: Option<f64>,
    has_signature: Option<bool>,
    has_provenance: Option<bool>,
}

/// What the rules say.
#[derive(Debug, Serialize)]
pub(super) struct Checked {
    compliant: bool,
    /// `compliant`, `violation` or `indeterminate`.
    verdict: &'static str,
    checks: Vec<Check>,
}

/// What one rule says.
#[derive(Debug, Serialize)]
pub(super) struct Check {
    rule: String,
    /// `null` when its input is missing.
    passed: Option<bool>,
    value: Option<Score>,
    comparator: &'static str,
    threshold: Score,
    enforcement: &'static str,
}

impl From<RuleCheck> for Check {
    fn from(check: RuleCheck) -> Self {
        Self {
            rule: check.rule,
            passed: check.passed,
            value: check.value,
            comparator: check.comparator.as_str(),
            threshold: check.threshold,
            enforcement: check.enforcement.as_str(),
        }
    }
}

pub(super) async fn check(
    State(app): State<App>,
    Until(deadline): Until,
    Body(request): Body<CheckRequest>,
) -> Result<Json<Checked>, ApiError> {
    let facts = ConstitutionCheck {
        ihsan: score("ihsan_score", request.ihsan_score)?,
        snr: score("snr_score", request.snr_score)?,
        has_signature: request.has_signature.unwrap_or(false),
        has_provenance: request.has_provenance.unwrap_or(false),
    };
    let ask = |reply| GateChainMsg::Constitution { reply };
    let compliance = app.roster.gate_chain.call(deadline, ask).await?.check(&facts);
    Ok(Json(Checked {
        compliant: compliance.verdict == Verdict::Compliant,
        verdict: compliance.verdict.as_str(),
        checks: compliance.checks.into_iter().map(Check::from).collect(),
    }))
}

/// A score as it came, if it came.
///
/// # Errors
/// 400 for a number that is no score.
pub(super) fn score(name: &str, given: Option<f64>) -> Result<Option<Score>, ApiError> {
    given.map(Score::try_from).transpose().map_err(|error| {
        ApiError::invalid("INVALID_SCORE", error.to_string()).details(format!("$.{name}"))
    })
}
