//! What the gates enforce, and what it says of given facts.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::domain::constitution::document::{Autonomy, Profiles, Rule, Trust};
use crate::domain::constitution::{Constitution, ConstitutionCheck, RuleCheck, Verdict};
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
    ihsan_target: Score,
    snr_threshold: Score,
    harm_ceiling: Score,
    autonomy: Autonomy,
    trust: Trust,
    rules: Vec<Rule>,
    /// What a breach costs, by the rule's id.
    penalties: BTreeMap<String, Value>,
    profiles: Profiles,
}

impl From<&Constitution> for Shown {
    fn from(constitution: &Constitution) -> Self {
        let document = constitution.document();
        let penalty = |rule: &Rule| (rule.id.clone(), json!(rule.penalty));
        Self {
            version: document.version.clone(),
            digest: constitution.digest().to_string(),
            ihsan_threshold: document.ihsan.threshold,
            ihsan_target: document.ihsan.target,
            snr_threshold: document.snr.threshold,
            harm_ceiling: document.harm.ceiling,
            autonomy: document.autonomy,
            trust: document.trust,
            rules: document.rules.clone(),
            penalties: document.rules.iter().map(penalty).collect(),
            profiles: document.profiles.clone(),
        }
    }
}

pub(super) async fn show(
    State(app): State<App>,
    Until(deadline): Until,
) -> Result<Json<Shown>, ApiError> {
    let ask = |reply| GateChainMsg::Constitution { reply };
    let constitution = app.roster.gate_chain.call(deadline, ask).await?;
    Ok(Json(Shown::from(&*constitution)))
}

/// `POST /constitution/reload`: reads the file again, and shows what is in force afterwards.
pub(super) async fn reload(
    State(app): State<App>,
    Until(deadline): Until,
) -> Result<Json<Shown>, ApiError> {
    let ask = |reply| GateChainMsg::Reload { reply };
    let constitution = app.roster.gate_chain.call(deadline, ask).await??;
    Ok(Json(Shown::from(&*constitution)))
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
