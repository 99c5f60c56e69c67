//! What the gates enforce, and what it says of given facts.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::domain::constitution::document::{Autonomy, Profiles, Rule, Trust};
use crate::domain::constitution::{Constitution, ConstitutionCheck, RuleCheck, Verdict};
use crate::domain::score::Score;
use crate::http::app::{App, Until};
use crate::http::body::Body;
use crate::http::error::ApiError;
use crate::http::openapi::forms::{
    ComparatorName, DigestHex, EnforcementName, ScoreNumber, VerdictName,
};
use crate::http::openapi::shapes::{
    AutonomyTerms, PenaltyTerms, ProfileTerms, RuleTerms, TrustTerms,
};
use crate::http::router;
use crate::messages::gate_chain::GateChainMsg;

/// What is enforced.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Constitution)]
pub(super) struct Shown {
    /// Three numbers with dots, raised with every change.
    #[schema(pattern = "^[0-9]+\\.[0-9]+\\.[0-9]+$", example = "1.0.0")]
    version: String,
    /// What proofs name it by.
    #[schema(value_type = DigestHex)]
    digest: String,
    /// The least Ihsan score that passes.
    #[schema(value_type = ScoreNumber)]
    ihsan_threshold: Score,
    /// The Ihsan score to strive for.
    #[schema(value_type = ScoreNumber)]
    ihsan_target: Score,
    /// The least signal-to-noise score that passes.
    #[schema(value_type = ScoreNumber)]
    snr_threshold: Score,
    /// The most harm that passes. More is a veto, whatever the other scores.
    #[schema(value_type = ScoreNumber)]
    harm_ceiling: Score,
    /// What may be done without a person.
    #[schema(value_type = AutonomyTerms)]
    autonomy: Autonomy,
    /// What is asked of the standing of a sender.
    #[schema(value_type = TrustTerms)]
    trust: Trust,
    /// What is compared with what.
    #[schema(value_type = Vec<RuleTerms>)]
    rules: Vec<Rule>,
    /// What a breach costs, by the rule's id.
    #[schema(value_type = BTreeMap<String, PenaltyTerms>)]
    penalties: BTreeMap<String, Value>,
    /// How gates are enforced, by the profile's name.
    #[schema(value_type = BTreeMap<String, ProfileTerms>)]
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

/// Shows what is enforced.
///
/// The constitution in force: thresholds, rules, penalties and profiles.
#[utoipa::path(get, path = router::CONSTITUTION, responses((status = 200, body = Shown)))]
pub(super) async fn show(
    State(app): State<App>,
    Until(deadline): Until,
) -> Result<Json<Shown>, ApiError> {
    let ask = |reply| GateChainMsg::Constitution { reply };
    let constitution = app.roster.gate_chain.call(deadline, ask).await?;
    Ok(Json(Shown::from(&*constitution)))
}

/// Reads the constitution's file again.
///
/// A changed file comes into force if it is valid and its version is higher. Answers with what is in
/// force afterwards.
#[utoipa::path(
    post,
    path = router::CONSTITUTION_RELOAD,
    responses(
        (status = 200, body = Shown),
        (status = 409, description = "The constitution is the built-in one, or its file cannot be \
                                      read or is not valid; the former one stays in force."),
    ),
)]
pub(super) async fn reload(
    State(app): State<App>,
    Until(deadline): Until,
) -> Result<Json<Shown>, ApiError> {
    let ask = |reply| GateChainMsg::Reload { reply };
    let constitution = app.roster.gate_chain.call(deadline, ask).await??;
    Ok(Json(Shown::from(&*constitution)))
}

/// Facts to judge. What is not given is not known.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = ConstitutionCheckRequest, examples(json!({
    "ihsan_score": 0.97,
    "snr_score": 0.9,
    "has_signature": true,
    "has_provenance": true,
})))]
pub(super) struct CheckRequest {
    /// The Ihsan score.
    #[schema(value_type = Option<ScoreNumber>)]
    ihsan_score: Option<f64>,
    /// The signal-to-noise score.
    #[schema(value_type = Option<ScoreNumber>)]
    snr_score: Option<f64>,
    /// Whether there is a valid signature; no unless told otherwise.
    has_signature: Option<bool>,
    /// Whether its origin is stated; no unless told otherwise.
    has_provenance: Option<bool>,
}

/// What the rules say.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ConstitutionChecked)]
pub(super) struct Checked {
    /// Whether the verdict is `compliant`.
    compliant: bool,
    /// Missing facts are indeterminate, never compliant.
    #[schema(value_type = VerdictName)]
    verdict: &'static str,
    /// What each rule says that these facts concern.
    checks: Vec<Check>,
}

/// What one rule says.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RuleCheck, examples(json!({
    "rule": "IHSAN_OUTPUT",
    "passed": true,
    "value": 0.97,
    "comparator": ">=",
    "threshold": 0.95,
    "enforcement": "advisory",
})))]
pub(super) struct Check {
    /// The rule's id.
    rule: String,
    /// Whether it is kept; null when its input is missing.
    #[schema(required)]
    passed: Option<bool>,
    /// What was compared.
    #[schema(value_type = Option<ScoreNumber>, required)]
    value: Option<Score>,
    /// How.
    #[schema(value_type = ComparatorName)]
    comparator: &'static str,
    /// With what.
    #[schema(value_type = ScoreNumber)]
    threshold: Score,
    /// What a breach means.
    #[schema(value_type = EnforcementName)]
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

/// Judges given facts by the rules.
///
/// Missing facts are indeterminate, never compliant.
#[utoipa::path(
    post,
    path = router::CONSTITUTION_CHECK,
    request_body = CheckRequest,
    responses((status = 200, body = Checked)),
)]
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
